//! Depthwise convolution of weights of 16 bits: levels are widened to 16 bits, and SMLAL adds products to 32, four
//! a cycle on a Cortex-A72.

use std::arch::aarch64::*;

use super::{Sums, store};
use crate::arch::generic::dwconv::pack;
use crate::families::depthwise::{CHANNELS, DepthwiseKernel, DepthwiseTile};
use crate::ukernel::Engine;

/// Any weights.
pub(crate) static DWCONV_I32_U8_SX_2X16_NEON_MLAL: DepthwiseKernel = DepthwiseKernel {
    name: "dwconv_i32_u8_sx_2x16_neon_mlal",
    engine: Engine::Neon,
    mr: 2,
    supports: |_| true,
    rate: |_| 2.8,
    packed_len: |taps| taps * CHANNELS * size_of::<i16>(),
    pack,
    run: dwconv_i32_u8_sx_2x16_neon_mlal,
};

#[target_feature(enable = "neon")]
fn dwconv_i32_u8_sx_2x16_neon_mlal(tile: &mut DepthwiseTile<'_>) {
    let block_len = tile.taps() * CHANNELS * size_of::<i16>();
    for first in (0..tile.channels).step_by(CHANNELS) {
        let weights = tile.weights[first / CHANNELS * block_len..].as_ptr().cast();
        let mut pixel = 0;
        while pixel + 2 <= tile.pixels {
            // SAFETY: both pixels and the block exist; the rest is this function's own contract: the CPU has NEON and
            // the tile was checked.
            unsafe { store(tile, &pixels::<2>(tile, weights, [pixel, first]), [pixel, first]) };
            pixel += 2;
        }
        if pixel < tile.pixels {
            // SAFETY: as above, for one pixel.
            unsafe { store(tile, &pixels::<1>(tile, weights, [pixel, first]), [pixel, first]) };
        }
    }
}

/// The sums of `P` pixels and 16 channels.
///
/// # Safety
/// - The CPU has NEON, and the tile has been checked.
/// - The pixels and the block from channel `first` on exist, and `weights` are the block's.
#[inline(always)]
unsafe fn pixels<const P: usize>(
    tile: &DepthwiseTile<'_>,
    mut weights: *const i16,
    [pixel, first]: [usize; 2],
) -> [Sums; P] {
    // SAFETY: `check` found the levels of all taps of these pixels, with 16 bytes to be read from each of these channels
    // on, and 16 weights for each tap.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; P];
        let window = tile.input.as_ptr().add(tile.input_offset + pixel * tile.pixel_step + first);
        let [rows, columns] = tile.kernel;
        for row in 0..rows {
            let mut levels = window.add(row * tile.row_step);
            for _ in 0..columns {
                let [low, high] = [vld1q_s16(weights), vld1q_s16(weights.add(8))];
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let levels = vld1q_u8(levels.add(pixel * tile.pixel_step));
                    let a = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(levels)));
                    let b = vreinterpretq_s16_u16(vmovl_high_u8(levels));
                    sums[0] = vmlal_s16(sums[0], vget_low_s16(a), vget_low_s16(low));
                    sums[1] = vmlal_high_s16(sums[1], a, low);
                    sums[2] = vmlal_s16(sums[2], vget_low_s16(b), vget_low_s16(high));
                    sums[3] = vmlal_high_s16(sums[3], b, high);
                }
                levels = levels.wrapping_add(tile.column_step);
                weights = weights.add(CHANNELS);
            }
        }
        sums
    }
}
