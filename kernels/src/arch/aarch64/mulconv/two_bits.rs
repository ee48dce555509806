//! Convolution of levels 0 to 3 with 8-bit weights: both pipes of a Cortex-A72 at work.
//!
//! ```text
//! for each output pixel, each run, each 16 levels of it:
//!     for each of the first 12 levels, 8 of the 32 outputs:
//!         acc16[8 outputs] += weights[8 outputs] · level                                 DUP, SMLAL
//!     for each pair of the other 4, bit b of 0 and 1, 8 of the 32 outputs:
//!         m = bit b of the pair's levels, as bytes of all ones or all zeros              CMTST, DUP
//!         acc16[b][8 outputs] += pairs of (weights[8 outputs × 2 levels] & m)            AND, SADALP
//!     every 80 levels, or at the end: acc32 += acc16[0] + 2 · acc16[1];  acc16 = 0
//! ```
//!
//! A multiplication is 8 products on pipe F0, whatever the levels. Two planes of masks are 8 products on F1,
//! but take an AND for each 8 products more. With 12 of 16 levels multiplied, 512 products are 48 SMLAL on F0
//! and 16 SADALP, 16 AND and 18 others on F1: 10.4 a cycle, where multiplying alone has 8.

use std::arch::aarch64::*;

use super::masks::{LEVELS, OUTPUTS, VECTOR, VECTORS, add_masked, packed_len, store_sums, utilisation};
use crate::arch::generic::mulconv::add_up_totals;
use crate::families::direct::{Capabilities, ConvKernel, ConvTile, WeightBlock};
use crate::ukernel::Engine;

/// Levels of at most 3, any weights.
pub(crate) static MULCONV_I32_U2_S8_1X32_NEON_PADAL: ConvKernel = ConvKernel {
    name: "mulconv_i32_u2_s8_1x32_neon_padal",
    engine: Engine::Neon,
    bit_serial: false,
    capabilities: Capabilities::NONE,
    nr: OUTPUTS,
    mr: 1,
    supports: |operands| operands.max_level <= 3,
    rate: |operands| 9.8 * utilisation(operands),
    packed_len: |runs, depth, _| packed_len(runs, depth),
    pack,
    run: mulconv_i32_u2_s8_1x32_neon_padal,
    planes: None,
    levels: None,
};

/// Levels of a vector that are multiplied; the others become masks.
const MULTIPLIED: usize = 12;
/// Half a vector: 6 levels that are multiplied, and a pair of masks.
const HALF: usize = OUTPUTS * LEVELS / 2;
/// Vectors of levels between two widenings: 80 products of −128 · 3 are just an i16.
const ROOM: usize = 5;

/// Packs `[run][16 levels][half]([6 levels][output], [8 outputs][output][2 levels])`.
fn pack(block: &WeightBlock<'_>, out: &mut [u8]) {
    let vectors = block.depth.div_ceil(LEVELS);
    for (index, out) in out.iter_mut().enumerate().take(packed_len(block.runs, block.depth)) {
        let (half, within) = (index / HALF, index % HALF);
        let (run, vector) = (half / 2 / vectors, half / 2 % vectors);
        let (output, level) = match within.checked_sub(MULTIPLIED / 2 * OUTPUTS) {
            None => (within % OUTPUTS, half % 2 * (MULTIPLIED / 2) + within / OUTPUTS),
            Some(pair) => (pair / 2, MULTIPLIED + half % 2 * 2 + pair % 2),
        };
        let weights = &block.codes[(output * block.runs + run) * block.depth..][..block.depth];
        *out = weights.get(vector * LEVELS + level).copied().unwrap_or(0);
    }
}

/// Sums of 16 bits.
struct Narrow {
    /// Of products, and of weights whose levels have bit 0.
    once: [int16x8_t; VECTORS],
    /// Of weights whose levels have bit 1.
    twice: [int16x8_t; VECTORS],
}

#[target_feature(enable = "neon")]
fn mulconv_i32_u2_s8_1x32_neon_padal(tile: &mut ConvTile<'_>) {
    let vectors = tile.depth.div_ceil(LEVELS);
    for pixel in 0..tile.pixels {
        let window = tile.input_offset + pixel * tile.pixel_step;
        let mut weights = tile.weights.as_ptr();
        let mut narrow = Narrow { once: [vdupq_n_s16(0); VECTORS], twice: [vdupq_n_s16(0); VECTORS] };
        let mut sums = [[vdupq_n_s32(0); 2]; VECTORS];
        let mut room = ROOM;
        for &run in tile.runs {
            for vector in 0..vectors {
                if room == 0 {
                    widen(&mut narrow, &mut sums);
                    room = ROOM;
                }
                room -= 1;
                // SAFETY: `check` found this run in the input, and the slack behind it; the block has
                // 32 weights for each level of a run, filled up to vectors.
                unsafe {
                    let levels = vld1q_u8(tile.input.as_ptr().add(window + run + vector * LEVELS));
                    let masks = [1, 2].map(|bit| vreinterpretq_s16_u8(vtstq_u8(levels, vdupq_n_u8(bit))));
                    let levels = vreinterpretq_s8_u8(levels);
                    half::<0, 1, 2, 3, 4, 5, 6>(&mut narrow, levels, &masks, weights);
                    half::<6, 7, 8, 9, 10, 11, 7>(&mut narrow, levels, &masks, weights.add(HALF));
                    weights = weights.add(2 * HALF);
                }
            }
        }
        widen(&mut narrow, &mut sums);
        store_sums(&sums, tile, pixel);
    }
    add_up_totals(tile);
}

/// Half a vector: levels `A` to `F` by multiplication and the pair `PAIR` by masks, in turns, so that both
/// pipes have something to do.
///
/// # Safety
/// - The CPU has NEON, and the weights of half a vector are readable at `weights`.
#[inline(always)]
unsafe fn half<
    const A: i32,
    const B: i32,
    const C: i32,
    const D: i32,
    const E: i32,
    const F: i32,
    const PAIR: i32,
>(
    narrow: &mut Narrow,
    levels: int8x16_t,
    masks: &[int16x8_t; 2],
    weights: *const u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let pair = weights.add(MULTIPLIED / 2 * OUTPUTS);
        multiply::<A>(&mut narrow.once, levels, weights);
        multiply::<B>(&mut narrow.once, levels, weights.add(OUTPUTS));
        multiply::<C>(&mut narrow.once, levels, weights.add(2 * OUTPUTS));
        add_masked::<PAIR>(&mut narrow.twice, masks[1], pair);
        multiply::<D>(&mut narrow.once, levels, weights.add(3 * OUTPUTS));
        multiply::<E>(&mut narrow.once, levels, weights.add(4 * OUTPUTS));
        multiply::<F>(&mut narrow.once, levels, weights.add(5 * OUTPUTS));
        add_masked::<PAIR>(&mut narrow.once, masks[0], pair);
    }
}

/// Adds the products of level `LEVEL`.
///
/// # Safety
/// - The CPU has NEON, and the weights of a level are readable at `weights`.
#[inline(always)]
unsafe fn multiply<const LEVEL: i32>(sums: &mut [int16x8_t; VECTORS], levels: int8x16_t, weights: *const u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let level = vdupq_laneq_s8::<LEVEL>(levels);
        for (vector, sums) in sums.chunks_exact_mut(2).enumerate() {
            let weights = vld1q_s8(weights.add(vector * VECTOR).cast());
            sums[0] = vmlal_s8(sums[0], vget_low_s8(weights), vget_low_s8(level));
            sums[1] = vmlal_high_s8(sums[1], weights, level);
        }
    }
}

/// Moves sums of 16 bits to those of 32.
#[inline]
#[target_feature(enable = "neon")]
fn widen(narrow: &mut Narrow, sums: &mut [[int32x4_t; 2]; VECTORS]) {
    let Narrow { once, twice } = narrow;
    for ((once, twice), [low, high]) in once.iter_mut().zip(twice).zip(sums) {
        let sum = vaddq_s16(*once, vaddq_s16(*twice, *twice));
        *low = vaddw_s16(*low, vget_low_s16(sum));
        *high = vaddw_high_s16(*high, sum);
        (*once, *twice) = (vdupq_n_s16(0), vdupq_n_s16(0));
    }
}
