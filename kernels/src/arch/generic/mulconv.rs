//! Multiplying convolution, portable: bytes of levels times signed bytes of weights.
//!
//! All multiplying micro-kernels share the block of [`OUTPUTS`] outputs side by side in the lanes of
//! vectors, so that a sum never has to be gathered from lanes; they differ in how many successive
//! levels a lane takes at once (`GROUP`), because instructions do:
//!
//! ```text
//! packed weights    [run][depth / GROUP, rounded up][16 outputs][GROUP levels]
//! ```
//!
//! A run is padded with zero weights to a whole number of groups. What a vector load reads behind the
//! run meets them, so it does not matter what it is.
//!
//! Sums wrap around. A model's accumulators fit an i32, and so whatever is affine in these sums and
//! equals an accumulator is exact even where the sum alone would not fit.

use crate::families::direct::{Capabilities, ConvKernel, ConvTile, Operands, WeightBlock};
use crate::ukernel::Engine;

/// Output channels of a block.
pub(crate) const OUTPUTS: usize = 16;

/// The portable micro-kernel: any operands.
pub(crate) static MULCONV_I32_U8_S8_1X16_GENERIC: ConvKernel = ConvKernel {
    name: "mulconv_i32_u8_s8_1x16_generic",
    engine: Engine::Generic,
    bit_serial: false,
    capabilities: Capabilities::NONE,
    nr: OUTPUTS,
    mr: 1,
    supports: |_| true,
    rate: |operands| 2.2 * utilisation(operands, 1),
    packed_len: |runs, depth, _| packed_len::<1>(runs, depth),
    pack: |block, out| {
        pack::<1>(block, |index, weight| out[index] = weight as u8);
    },
    run: mulconv_i32_u8_s8_1x16_generic,
    planes: None,
    levels: None,
};

fn mulconv_i32_u8_s8_1x16_generic(tile: &mut ConvTile<'_>) {
    for pixel in 0..tile.pixels {
        let window = tile.input_offset + pixel * tile.pixel_step;
        let mut sums = [0i32; OUTPUTS];
        let mut weights = tile.weights.chunks_exact(OUTPUTS);
        for &run in tile.runs {
            let levels = &tile.input[window + run..][..tile.depth];
            for (&level, weights) in levels.iter().zip(&mut weights) {
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum = sum.wrapping_add(i32::from(level) * i32::from(weight as i8));
                }
            }
        }
        tile.sums[pixel * tile.sums_stride..][..OUTPUTS].copy_from_slice(&sums);
    }
    add_up_totals(tile);
}

/// Share of the multiplications that are not padding, if runs are padded to a multiple of `group`.
pub(crate) fn utilisation(operands: &Operands, group: usize) -> f32 {
    let share = |used: usize, unit: usize| used as f32 / used.next_multiple_of(unit).max(1) as f32;
    share(operands.depth, group) * share(operands.outputs, OUTPUTS)
}

/// Number of weights of a packed block.
pub(crate) fn packed_len<const GROUP: usize>(runs: usize, depth: usize) -> usize {
    runs * depth.next_multiple_of(GROUP) * OUTPUTS
}

/// Calls `put(index, weight)` for every weight of a packed block, padding included, in ascending
/// order of `index`.
pub(crate) fn pack<const GROUP: usize>(block: &WeightBlock<'_>, mut put: impl FnMut(usize, i8)) {
    let mut index = 0;
    for run in 0..block.runs {
        for first in (0..block.depth).step_by(GROUP) {
            for output in 0..OUTPUTS {
                let weights = &block.codes[(output * block.runs + run) * block.depth..][..block.depth];
                for k in first..first + GROUP {
                    put(index, weights.get(k).map_or(0, |&code| code as i8));
                    index += 1;
                }
            }
        }
    }
}

/// Computes [`ConvTile::totals`], if they are wanted. They are wanted once for all blocks of an
/// output and rarely at all (weights with zero points), so this need not be fast.
#[inline]
pub(crate) fn add_up_totals(tile: &mut ConvTile<'_>) {
    for (pixel, total) in tile.totals.iter_mut().take(tile.pixels).enumerate() {
        let window = tile.input_offset + pixel * tile.pixel_step;
        let runs = tile.runs.iter().map(|run| &tile.input[window + run..][..tile.depth]);
        *total = runs.map(|levels| levels.iter().map(|&level| i32::from(level)).sum::<i32>()).sum();
    }
}
