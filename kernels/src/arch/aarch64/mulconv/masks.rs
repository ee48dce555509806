//! Convolution of levels 0 and 1 with 8-bit weights: AND and SADALP, no multiplication.
//!
//! ```text
//! for each output pixel, each run, each 16 levels of it:
//!     m = 0 − levels                                       # bytes of all ones or all zeros
//!     for each 2 of the 16 levels:
//!         d = those 2 bytes of m in every pair of lanes                                  DUP
//!         for each 8 of the 32 outputs:
//!             acc16[8 outputs] += pairs of (weights[8 outputs × 2 levels] & d)           AND, SADALP
//!     every 256 levels, or at the end: acc32 += acc16;  acc16 = 0
//! ```
//!
//! Multiplying takes pipe F0 of a Cortex-A72 for 8 products a cycle. Here 64 products are 4 SADALP on F1,
//! and 4 AND and a DUP on either: 14.2 a cycle in the loop, 11.9 in the heads of YOLOv5n, stores included.
//! Eight bit planes of weights would give 10.4. The heads of a network with 1-bit levels are the use for it.

use std::arch::aarch64::*;

use crate::arch::generic::mulconv::add_up_totals;
use crate::families::direct::{Capabilities, ConvKernel, ConvTile, Operands, WeightBlock};
use crate::ukernel::Engine;

/// Levels of at most 1, any weights.
pub(crate) static MULCONV_I32_U1_S8_1X32_NEON_PADAL: ConvKernel = ConvKernel {
    name: "mulconv_i32_u1_s8_1x32_neon_padal",
    engine: Engine::Neon,
    bit_serial: false,
    capabilities: Capabilities::NONE,
    nr: OUTPUTS,
    mr: 1,
    supports: |operands| operands.max_level <= 1,
    rate: |operands| 13.0 * utilisation(operands),
    packed_len: |runs, depth, _| packed_len(runs, depth),
    pack,
    run: mulconv_i32_u1_s8_1x32_neon_padal,
    planes: None,
    levels: None,
};

/// Outputs of a block.
pub(super) const OUTPUTS: usize = 32;
/// Levels of a vector; runs are filled up to it with weights of 0.
pub(super) const LEVELS: usize = 16;
/// Weights of a vector, 8 outputs by 2 levels.
pub(super) const VECTOR: usize = 16;
/// Vectors of a pair of levels.
pub(super) const VECTORS: usize = OUTPUTS / 8;
/// Weights of a pair of levels.
const PAIR: usize = VECTORS * VECTOR;
/// Vectors of levels between two widenings: 128 sums of two weights of −128 are just an i16.
const ROOM: usize = 16;

/// Share of the multiplications that are not padding.
pub(super) fn utilisation(operands: &Operands) -> f32 {
    let share = |used: usize, unit: usize| used as f32 / used.next_multiple_of(unit).max(1) as f32;
    share(operands.depth, LEVELS) * share(operands.outputs, OUTPUTS)
}

/// Number of weights of a packed block.
pub(super) fn packed_len(runs: usize, depth: usize) -> usize {
    runs * depth.next_multiple_of(LEVELS) * OUTPUTS
}

/// Packs `[run][pair of levels][8 outputs][output][2 levels]`.
fn pack(block: &WeightBlock<'_>, out: &mut [u8]) {
    let depth = block.depth.next_multiple_of(LEVELS);
    for (index, out) in out.iter_mut().enumerate().take(packed_len(block.runs, block.depth)) {
        let (pair, within) = (index / (2 * OUTPUTS), index % (2 * OUTPUTS));
        let (run, k) = (2 * pair / depth, 2 * pair % depth + within % 2);
        let weights = &block.codes[(within / 2 * block.runs + run) * block.depth..][..block.depth];
        *out = weights.get(k).copied().unwrap_or(0);
    }
}

#[target_feature(enable = "neon")]
fn mulconv_i32_u1_s8_1x32_neon_padal(tile: &mut ConvTile<'_>) {
    let vectors = tile.depth.div_ceil(LEVELS);
    for pixel in 0..tile.pixels {
        let window = tile.input_offset + pixel * tile.pixel_step;
        let mut weights = tile.weights.as_ptr();
        let mut narrow = [vdupq_n_s16(0); VECTORS];
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
                    let masks = vreinterpretq_s16_s8(vnegq_s8(vreinterpretq_s8_u8(levels)));
                    add_masked::<0>(&mut narrow, masks, weights);
                    add_masked::<1>(&mut narrow, masks, weights.add(PAIR));
                    add_masked::<2>(&mut narrow, masks, weights.add(2 * PAIR));
                    add_masked::<3>(&mut narrow, masks, weights.add(3 * PAIR));
                    add_masked::<4>(&mut narrow, masks, weights.add(4 * PAIR));
                    add_masked::<5>(&mut narrow, masks, weights.add(5 * PAIR));
                    add_masked::<6>(&mut narrow, masks, weights.add(6 * PAIR));
                    add_masked::<7>(&mut narrow, masks, weights.add(7 * PAIR));
                    weights = weights.add(8 * PAIR);
                }
            }
        }
        widen(&mut narrow, &mut sums);
        store_sums(&sums, tile, pixel);
    }
    add_up_totals(tile);
}

/// Writes the sums of a pixel.
///
/// # Panics
/// If there is no room for them.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_sums(sums: &[[int32x4_t; 2]; VECTORS], tile: &mut ConvTile<'_>, pixel: usize) {
    let out = &mut tile.sums[pixel * tile.sums_stride..][..OUTPUTS];
    for (out, sum) in out.chunks_exact_mut(4).zip(sums.iter().flatten()) {
        // SAFETY: `out` has room for the 4 numbers of a vector.
        unsafe { vst1q_s32(out.as_mut_ptr(), *sum) };
    }
}

/// Adds the weights of pair `PAIR` of the levels whose masks are given.
///
/// # Safety
/// - The CPU has NEON, and the weights of a pair are readable at `weights`.
#[inline(always)]
pub(super) unsafe fn add_masked<const PAIR: i32>(
    sums: &mut [int16x8_t; VECTORS],
    masks: int16x8_t,
    weights: *const u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = vreinterpretq_s8_s16(vdupq_laneq_s16::<PAIR>(masks));
        for (vector, sum) in sums.iter_mut().enumerate() {
            let weights = vld1q_s8(weights.add(vector * VECTOR).cast());
            *sum = vpadalq_s8(*sum, vandq_s8(weights, mask));
        }
    }
}

/// Moves sums of 16 bits to those of 32.
#[inline]
#[target_feature(enable = "neon")]
fn widen(narrow: &mut [int16x8_t; VECTORS], sums: &mut [[int32x4_t; 2]; VECTORS]) {
    for (narrow, [low, high]) in narrow.iter_mut().zip(sums) {
        *low = vaddw_s16(*low, vget_low_s16(*narrow));
        *high = vaddw_high_s16(*high, *narrow);
        *narrow = vdupq_n_s16(0);
    }
}
