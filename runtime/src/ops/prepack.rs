//! A convolution's weights, written for its micro-kernel and its plan.

use ylb_format::model::{Conv as ModelConv, ConvTerm, Model, Window};
use ylb_kernels::layout::Form;
use ylb_kernels::requantize::AccumulatorTransform;
use ylb_kernels::ukernel::{Conv, ConvTile, WeightBlock};

use super::conv::columns::Columns;
use crate::choice::WeightCodes;
use crate::plan::border_level;
use crate::storage::{ALIGNMENT, AlignedBytes, Borrowed, Store};

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

/// One term of a convolution, ready to run.
pub struct Term {
    /// Where its input lies.
    pub store: Store,
    /// Offset of each run of a window from the window's first pixel.
    pub runs: Vec<usize>,
    /// Levels of a run.
    pub depth: usize,
    /// Bits of a stored level.
    pub activation_bits: u8,
    /// Bits of a packed weight.
    pub weight_bits: u8,
    /// Bytes from the channels of a group to those of the next in a pixel.
    pub group_len: usize,
    /// Packed blocks, one after another.
    pub weights: AlignedBytes,
    /// Bytes of a packed block.
    pub block_len: usize,
    /// From sums to accumulators.
    pub transform: AccumulatorTransform,
    /// Whether the transform changes nothing: finding out takes as long as some transforms.
    pub sums_are_accumulators: bool,
    /// What padded positions contributed that they must not.
    pub correction: Option<BorderCorrection>,
}

/// For inputs without a level for zero: padded positions held level 0, which stands for
/// `low − zero_point`, and what that added is taken back, by output channel and by which part of the
/// window was outside.
pub struct BorderCorrection {
    /// Class of each output row: which kernel rows are outside.
    row_classes: Vec<usize>,
    /// Class of each output column.
    column_classes: Vec<usize>,
    columns: usize,
    /// `[row class][column class][output]`.
    addends: Vec<i32>,
    outputs: usize,
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

impl Term {
    /// Packs a term for a micro-kernel.
    pub fn new(
        model: &Model,
        conv: &ModelConv,
        term: &ConvTerm,
        (codes, columns): (&WeightCodes, Option<Columns>),
        store: &Store,
        kernel: Conv,
    ) -> Self {
        let [outputs, _, kernel_rows, kernel_columns] = term.weights.shape.map(|extent| extent as usize);
        let groups = conv.groups as usize;
        let layout = &store.layout;
        // Channels of a group as stored; in planes (one group only) this includes holes.
        let channels = layout.channels / groups;
        // The taps of a kernel row are one run where pixels touch each other.
        let joined = groups == 1 && layout.pixel_stride == layout.pixel_len();
        let taps_per_run = if joined { kernel_columns } else { 1 };
        let runs: Vec<usize> = (0..kernel_rows)
            .flat_map(|y| (0..kernel_columns).step_by(taps_per_run).map(move |x| (y, x)))
            .map(|(y, x)| y * layout.row_stride() + x * layout.pixel_stride)
            .collect();
        let (runs, depth) = match columns {
            Some(columns) => (vec![0], columns.depth()),
            None => (runs, taps_per_run * channels),
        };
        let block_list = blocks(outputs, groups, kernel.kernel().nr);
        let weight_bits = codes.bits;
        let packed_len = (kernel.kernel().packed_len)(runs.len(), depth, weight_bits);
        let block_len = packed_len.next_multiple_of(ALIGNMENT);
        let mut weights = AlignedBytes::zeroed(block_len * block_list.len());
        let mut plain = vec![0u8; kernel.kernel().nr * runs.len() * depth];
        for (block, out) in block_list.iter().zip(weights.bytes_mut().chunks_exact_mut(block_len)) {
            gather(term, codes, store, block, channels, &mut plain);
            if let Some(columns) = columns {
                columns.reorder(&mut plain);
            }
            let block = WeightBlock { codes: &plain, runs: runs.len(), depth, weight_bits };
            (kernel.kernel().pack)(&block, &mut out[..packed_len]);
        }
        let activation_bits = match layout.form {
            Form::Planes { bits } => bits,
            Form::Bytes => 8,
        };
        let (transform, correction) = transform(model, conv, term, codes);
        Self {
            store: store.clone(),
            runs,
            depth,
            activation_bits,
            weight_bits,
            group_len: layout.form.pixel_len(channels),
            weights,
            block_len,
            sums_are_accumulators: transform.is_identity(),
            transform,
            correction,
        }
    }

    /// What a micro-kernel computes: block `number` of `pixels` output pixels, the window of the first
    /// of which begins at (row, column) of the input. Without results.
    pub fn tile<'a>(
        &'a self,
        memory: &Borrowed<'a>,
        number: usize,
        [row, column]: [isize; 2],
        stride: usize,
        pixels: usize,
    ) -> ConvTile<'a> {
        ConvTile {
            input: memory.read(&self.store.range),
            input_offset: self.store.offset(row, column),
            pixel_step: stride * self.store.layout.pixel_stride,
            runs: &self.runs,
            depth: self.depth,
            activation_bits: self.activation_bits,
            weight_bits: self.weight_bits,
            weights: &self.weights.bytes()[number * self.block_len..][..self.block_len],
            pixels,
            sums: &mut [],
            sums_stride: 0,
            totals: &mut [],
        }
    }
}

/// What turns a term's sums into its accumulators.
pub fn transform(
    model: &Model,
    conv: &ModelConv,
    term: &ConvTerm,
    codes: &WeightCodes,
) -> (AccumulatorTransform, Option<BorderCorrection>) {
    let input = model.encoding(term.input);
    let step = i32::from(input.step);
    let offset = i32::from(input.low) - i32::from(input.zero_point);
    let transform = AccumulatorTransform {
        sum_scale: codes.scale * step,
        total_scales: codes.offsets.iter().map(|scale| scale * step).collect(),
        constants: codes.sums.iter().map(|weights| weights.sum as i32 * offset).collect(),
    };
    let padded = conv.window.padding != [0; 4];
    let correction = (padded && input.integer(border_level(input)) != 0)
        .then(|| BorderCorrection::new(model, conv, term, offset));
    (transform, correction)
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

impl BorderCorrection {
    fn new(model: &Model, conv: &ModelConv, term: &ConvTerm, offset: i32) -> Self {
        let value = model.value(term.input);
        let [outputs, channels, kernel_rows, kernel_columns] =
            term.weights.shape.map(|extent| extent as usize);
        let (row_ranges, row_classes) = classes(&conv.window, 0, value.height as usize);
        let (column_ranges, column_classes) = classes(&conv.window, 1, value.width as usize);
        let weights = term.weights.decode();
        let mut addends = Vec::with_capacity(row_ranges.len() * column_ranges.len() * outputs);
        for rows in &row_ranges {
            for columns in &column_ranges {
                for weights in weights.chunks(channels * kernel_rows * kernel_columns) {
                    let outside = weights.iter().enumerate().filter(|(index, _)| {
                        let (y, x) = (index / kernel_columns % kernel_rows, index % kernel_columns);
                        !(rows.contains(&y) && columns.contains(&x))
                    });
                    let sum: i32 = outside.map(|(_, &weight)| i32::from(weight)).sum();
                    addends.push(-offset * sum);
                }
            }
        }
        Self { row_classes, column_classes, columns: column_ranges.len(), addends, outputs }
    }

    /// Corrects the accumulators of the output pixels from (y, x) on, `stride` apart, each of `channels`.
    pub fn apply(
        &self,
        [y, x]: [usize; 2],
        sums: &mut [i32],
        pixels: usize,
        stride: usize,
        channels: std::ops::Range<usize>,
    ) {
        let row = self.row_classes[y];
        let columns = &self.column_classes[x..][..pixels];
        for (sums, &column) in sums.chunks_mut(stride).zip(columns) {
            let addends = &self.addends[(row * self.columns + column) * self.outputs..][channels.clone()];
            for (sum, addend) in sums[..channels.len()].iter_mut().zip(addends) {
                *sum = sum.wrapping_add(*addend);
            }
        }
    }
}

/// The different ranges of kernel taps that lie inside the input, along one axis, and for each output
/// position which of them applies.
fn classes(window: &Window, axis: usize, extent: usize) -> (Vec<std::ops::Range<usize>>, Vec<usize>) {
    let kernel = window.kernel[axis] as usize;
    let stride = window.stride[axis] as usize;
    let before = window.padding[axis] as usize;
    let after = window.padding[axis + 2] as usize;
    let positions = (extent + before + after - kernel) / stride + 1;
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let of_position = |position: usize| {
        let start = position * stride;
        let first = before.saturating_sub(start).min(kernel);
        let end = (extent + before).saturating_sub(start).min(kernel);
        let range = first..end.max(first);
        ranges.iter().position(|other| *other == range).unwrap_or_else(|| {
            ranges.push(range);
            ranges.len() - 1
        })
    };
    let classes = (0..positions).map(of_position).collect();
    (ranges, classes)
}
