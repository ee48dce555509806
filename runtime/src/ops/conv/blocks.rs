//! The parts in which a convolution's outputs are computed.

use ylb_format::model::ConvTerm;

use crate::storage::Store;
use crate::weight_codes::WeightCodes;

/// Output channels that a micro-kernel computes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First output channel.
    pub first: usize,
    /// Number of output channels that exist.
    pub outputs: usize,
    /// The group whose input channels it reads.
    pub group: usize,
}

/// Output pixels of a block that are computed in one call: `pixels` from (y, x) on, in row y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the block.
    pub block: usize,
    /// Row of the output.
    pub y: usize,
    /// First column.
    pub x: usize,
    /// Number of columns.
    pub pixels: usize,
}

/// Divides the outputs of each group into blocks of `nr`.
pub fn blocks(outputs: usize, groups: usize, nr: usize) -> Vec<Block> {
    let per_group = outputs / groups;
    let group_blocks = |group: usize| {
        (0..per_group).step_by(nr).map(move |start| Block {
            first: group * per_group + start,
            outputs: nr.min(per_group - start),
            group,
        })
    };
    (0..groups).flat_map(group_blocks).collect()
}

/// The block's codes as `[output][kernel row][kernel column][stored channel]`; zeros elsewhere.
pub fn gather(
    term: &ConvTerm,
    codes: &WeightCodes,
    store: &Store,
    block: &Block,
    channels: usize,
    plain: &mut [u8],
) {
    let [_, input_channels, kernel_rows, kernel_columns] = term.weights.shape.map(|extent| extent as usize);
    let taps = kernel_rows * kernel_columns;
    plain.fill(0);
    for output in 0..block.outputs {
        let source = &codes.codes[(block.first + output) * input_channels * taps..];
        let target = &mut plain[output * taps * channels..][..taps * channels];
        let mut put = |stored: usize, logical: usize| {
            for tap in 0..taps {
                target[tap * channels + stored] = source[logical * taps + tap];
            }
        };
        if channels == input_channels {
            (0..channels).for_each(|channel| put(channel, channel));
        } else {
            for segment in &store.segments {
                (0..segment.len).for_each(|i| put(segment.stored + i, segment.logical + i));
            }
        }
    }
}
