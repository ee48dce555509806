//! Kernels of 3×3, with stride 1 and 2.
//!
//! Taps are taken in pairs of two rows, column by column, and then those of the last row: so only two levels have
//! to be kept, whatever the stride.

use std::arch::aarch64::*;

use super::{CORRECTIONS, Chain, Levels, Sums, load_corrections, load_levels, opaque, store};
use crate::families::depthwise::{CHANNELS, DepthwiseTile};

/// Taps.
const TAPS: usize = 9;

/// # Safety
/// - As [`convolve`](super::convolve); the kernel is 3×3, and a pixel's window begins `STRIDE` columns after the one
///   before it.
#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) unsafe fn convolve_three<L: Levels, const STRIDE: usize>(tile: &mut DepthwiseTile<'_>) {
    // SAFETY: the caller's promises.
    unsafe { three::<L, STRIDE>(tile) }
}

/// # Safety
/// - As [`convolve_three`].
#[inline(always)]
unsafe fn three<L: Levels, const STRIDE: usize>(tile: &mut DepthwiseTile<'_>) {
    for first in (0..tile.channels).step_by(CHANNELS) {
        // `check` found all blocks.
        let block = tile.weights[first / CHANNELS * (CORRECTIONS + TAPS * CHANNELS)..].as_ptr();
        // SAFETY: a block is its corrections and 16 weights for each tap.
        let mut weights: [int8x16_t; TAPS] =
            std::array::from_fn(|tap| unsafe { vld1q_s8(block.add(CORRECTIONS + tap * CHANNELS).cast()) });
        let mut pixel = 0;
        while pixel + 2 <= tile.pixels {
            for weights in &mut weights {
                // SAFETY: the CPU is the caller's promise.
                *weights = unsafe { opaque(*weights) };
            }
            // SAFETY: both pixels and the block exist; the rest is the caller's promise.
            unsafe {
                let sums = pixels::<L, 2, STRIDE>(tile, &weights, block, [pixel, first]);
                store(tile, &sums, [pixel, first]);
            }
            pixel += 2;
        }
        if pixel < tile.pixels {
            // SAFETY: as above, for one pixel.
            unsafe {
                let sums = pixels::<L, 1, STRIDE>(tile, &weights, block, [pixel, first]);
                store(tile, &sums, [pixel, first]);
            }
        }
    }
}

/// The sums of `P` pixels and 16 channels.
///
/// # Safety
/// - As [`convolve_three`]; the pixels and the block from channel `first` on exist.
#[inline(always)]
unsafe fn pixels<L: Levels, const P: usize, const STRIDE: usize>(
    tile: &DepthwiseTile<'_>,
    weights: &[int8x16_t; TAPS],
    block: *const u8,
    [pixel, first]: [usize; 2],
) -> [Sums; P] {
    // SAFETY: a block begins with its corrections. `check` found the levels of all taps of these pixels, with 16
    // bytes to be read from each of these channels on.
    unsafe {
        let mut sums = [load_corrections(block); P];
        let mut chains: [Chain<1>; P] = std::array::from_fn(|_| Chain::new());
        let top = tile.input.as_ptr().add(tile.input_offset + pixel * tile.pixel_step + first);
        let middle = top.add(tile.row_step);
        let bottom = middle.add(tile.row_step);
        for column in 0..(P - 1) * STRIDE + 3 {
            let [a, b] = [top, middle].map(|row| load_levels::<L, 1>(row.add(column * tile.column_step), 0));
            for pixel in 0..P {
                if column >= pixel * STRIDE && column < pixel * STRIDE + 3 {
                    let tap = column - pixel * STRIDE;
                    let sums = std::array::from_mut(&mut sums[pixel]);
                    chains[pixel].pair::<L>(sums, (&a, weights[tap]), (&b, weights[3 + tap]));
                }
            }
        }
        let last: [[int8x16_t; 1]; 5] = std::array::from_fn(|column| {
            // Columns that there are not are not used.
            let column = column.min((P - 1) * STRIDE + 2);
            load_levels::<L, 1>(bottom.add(column * tile.column_step), 0)
        });
        for pixel in 0..P {
            let column = pixel * STRIDE;
            let sums = std::array::from_mut(&mut sums[pixel]);
            chains[pixel].pair::<L>(sums, (&last[column], weights[6]), (&last[column + 1], weights[7]));
            chains[pixel].single::<L>(sums, (&last[column + 2], weights[8]));
            chains[pixel].end::<L>(sums);
        }
        sums
    }
}
