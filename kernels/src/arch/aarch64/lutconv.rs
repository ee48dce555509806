//! Convolution by table look-up with TBL: the loops of [the portable form](crate::arch::generic::lutconv), 8 outputs
//! an instruction.
//!
//! ```text
//! for each 4 pixels, plane, run, quad:
//!     t[p] = load the table of each pixel
//!     for each 8 of the 32 outputs:
//!         i = load 8 indices
//!         for each pixel:  sums[p] += TBL(t[p], i)                                    # TBL, UADDW
//! ```
//!
//! 1. Two slots on either pipe of a Cortex-A72 are 32 multiply-accumulates of a plane: 32 a cycle, with two planes 16,
//!    where multiplying has 8. The loads, 8 for 32 slots, are hidden.
//! 2. TBL of 64 bits takes one slot; that of 128 bits takes three by LLVM's model of the core, and Arm's guide is
//!    silent. So indices are taken 8 at a time.
//! 3. Planes go outside, so that one set of sums suffices: it is doubled between planes, and negated after the top one.
//!    Tables are read again for each plane, from the L1 cache.
//! 4. A table is made of 6 operations. It is looked up itself, in a vector of 8 levels and of the sums of each with its
//!    neighbour, where an index beyond 15 gives 0: the subsets of two levels, to which those of the third are added
//!    for one half, and the fourth with those of the third for the other. In levels alone it takes 7, with
//!    masks of 128 bits 11.

use std::arch::aarch64::*;
use std::arch::asm;

use super::levels::{call_by_pre_shift, narrow, store_levels, takes};
use crate::families::direct::LevelsEnd;
use crate::families::lookup::{LookupCost, LookupKernel, LookupLevels, LookupTile, OUTPUTS, QUAD, TABLE};
use crate::requantize::forms::{LANES, Narrow};
use crate::ukernel::Engine;

/// Levels of up to 6 bits.
pub(crate) static LUTCONV_I32_U6_SX_4X32_NEON_TBL: LookupKernel = LookupKernel {
    name: "lutconv_i32_u6_sx_4x32_neon_tbl",
    engine: Engine::Neon,
    mr: 4,
    cost: LookupCost { rate: 31.0, table: 0.8 },
    make_tables: lutconv_i32_u6_sx_4x32_neon_tables,
    run: lutconv_i32_u6_sx_4x32_neon_tbl,
    levels: Some(LookupLevels { takes, run: lutconv_levels_u6_sx_4x32_neon_tbl }),
};

/// Vectors of sums of a pixel.
const VECTORS: usize = OUTPUTS / 8;
/// No index of a level.
const NONE: u8 = 0xff;
/// Indices, among 8 levels and then the sums of each with its neighbour, that the tables of the first four levels
/// are made of: subsets of the first two levels; of the third; of the fourth, with and without the third.
static SUBSETS: [[u8; 8]; 3] =
    [[NONE, 0, 1, 8, NONE, 0, 1, 8], [NONE, NONE, NONE, NONE, 2, 2, 2, 2], [3, 3, 3, 3, 10, 10, 10, 10]];

/// # Safety
/// - As `make_tables` of [`LookupKernel`].
#[target_feature(enable = "neon")]
unsafe fn lutconv_i32_u6_sx_4x32_neon_tables(levels: &[u8], tables: &mut [u8]) {
    // SAFETY: an array of 8 bytes is read; the CPU has NEON.
    let first = SUBSETS.map(|subset| unsafe { vld1_u8(subset.as_ptr()) });
    // Indices of the second four levels are 4 more each; none stays none.
    let second = first.map(|subset| vqadd_u8(subset, vdup_n_u8(QUAD as u8)));
    // SAFETY: the CPU has NEON.
    let subsets = [first, second]
        .map(|subsets| subsets.map(|subset| unsafe { vget_low_u8(unknown(vcombine_u8(subset, subset))) }));
    let quads = levels.len() / QUAD;
    for quad in (0..quads / 4 * 4).step_by(4) {
        // SAFETY: there are 16 levels from there on, and as the caller promised, four tables for them.
        unsafe {
            let out = tables.as_mut_ptr().add(quad * TABLE);
            store_tables(levels.as_ptr().add(quad * QUAD), &subsets, out);
        }
    }
    let first = quads / 4 * 4;
    if first < quads {
        let (mut copy, mut made) = ([0; 4 * QUAD], [0; 4 * TABLE]);
        let rest = &levels[first * QUAD..quads * QUAD];
        copy[..rest.len()].copy_from_slice(rest);
        // SAFETY: 16 levels, and four tables.
        unsafe { store_tables(copy.as_ptr(), &subsets, made.as_mut_ptr()) };
        tables[first * TABLE..quads * TABLE].copy_from_slice(&made[..(quads - first) * TABLE]);
    }
}

/// The same vector, of which the compiler no longer knows the contents: look-ups with indices that it knows
/// it makes shuffles of, and those many instructions.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn unknown(mut vector: uint8x16_t) -> uint8x16_t {
    // SAFETY: no instruction at all; the register exists with NEON.
    unsafe { asm!("/* {0:q} */", inout(vreg) vector, options(pure, nomem, nostack, preserves_flags)) };
    vector
}

/// Stores four tables.
///
/// # Safety
/// - The CPU has NEON, 16 levels are readable at `levels`, and four times [`TABLE`] bytes are writable at `out`.
#[inline(always)]
unsafe fn store_tables(levels: *const u8, subsets: &[[uint8x8_t; 3]; 2], out: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let all = vld1q_u8(levels);
        let sums = vaddq_u8(all, vrev16q_u8(all));
        // Or it is a ZIP2, which is three slots.
        let swapped = unknown(vextq_u8::<8>(all, all));
        let halves = [all, swapped].map(|levels| vreinterpretq_u64_u8(levels));
        let sums = vreinterpretq_u64_u8(sums);
        let low = vreinterpretq_u8_u64(vcopyq_laneq_u64::<1, 0>(halves[0], sums));
        let high = vreinterpretq_u8_u64(vcopyq_laneq_u64::<1, 1>(halves[1], sums));
        for (half, indexed) in [low, high].into_iter().enumerate() {
            for (quad, subsets) in subsets.iter().enumerate() {
                let [two, third, fourth] = subsets.map(|subset| vqtbl1_u8(indexed, subset));
                let out = out.add((2 * half + quad) * TABLE);
                vst1_u8(out, vadd_u8(two, third));
                vst1_u8(out.add(TABLE / 2), vadd_u8(two, fourth));
            }
        }
    }
}

/// # Safety
/// - As `run` of [`LookupKernel`].
#[target_feature(enable = "neon")]
unsafe fn lutconv_i32_u6_sx_4x32_neon_tbl(tile: &mut LookupTile<'_>) {
    let mut pixel = 0;
    while pixel + 4 <= tile.pixels {
        // SAFETY: these 4 pixels exist; the CPU has NEON, and the tile was checked.
        unsafe { store(&look_up::<4>(tile, pixel), tile, pixel) };
        pixel += 4;
    }
    while pixel < tile.pixels {
        // SAFETY: this pixel exists; as above.
        unsafe { store(&look_up::<1>(tile, pixel), tile, pixel) };
        pixel += 1;
    }
}

/// Ends in levels.
///
/// # Safety
/// - The CPU has NEON.
/// - Both have been checked, by `LookupTile::check_tables` and `LevelsEnd::check`, and the requantizer is narrow.
#[target_feature(enable = "neon")]
unsafe fn lutconv_levels_u6_sx_4x32_neon_tbl(tile: &mut LookupTile<'_>, end: &mut LevelsEnd<'_>) {
    let narrow = narrow(end.requantizer);
    // SAFETY: the caller's promises.
    unsafe { call_by_pre_shift!(narrow.pre_shift, look_up_levels(tile, end, narrow)) }
}

/// # Safety
/// - As [`lutconv_levels_u6_sx_4x32_neon_tbl`], and the pre-shift is `HALF + 1`.
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn look_up_levels<const HALF: i32>(
    tile: &mut LookupTile<'_>,
    end: &mut LevelsEnd<'_>,
    narrow: &Narrow,
) {
    let mut pixel = 0;
    while pixel + 4 <= tile.pixels {
        // SAFETY: these 4 pixels exist; the rest is the caller's promise.
        unsafe { end_in_levels::<HALF, 4>(&look_up::<4>(tile, pixel), end, narrow, pixel) };
        pixel += 4;
    }
    while pixel < tile.pixels {
        // SAFETY: this pixel exists; the rest is the caller's promise.
        unsafe { end_in_levels::<HALF, 1>(&look_up::<1>(tile, pixel), end, narrow, pixel) };
        pixel += 1;
    }
}

/// # Safety
/// - As [`store_levels`], for both halves of a block's outputs.
#[inline(always)]
unsafe fn end_in_levels<const HALF: i32, const P: usize>(
    sums: &[[uint16x8_t; VECTORS]; P],
    end: &mut LevelsEnd<'_>,
    narrow: &Narrow,
    pixel: usize,
) {
    const { assert!(VECTORS == 4 && OUTPUTS == 2 * LANES) }
    // Not a loop: LLVM leaves it one, and keeps all sums in memory for it.
    // SAFETY: the caller's promises.
    unsafe {
        store_levels::<HALF, P>(&sums.map(|[a, b, ..]| widen_both(a, b)), end, narrow, (pixel, 0));
        store_levels::<HALF, P>(&sums.map(|[.., c, d]| widen_both(c, d)), end, narrow, (pixel, LANES));
    }
}

/// Stores the sums of the pixels `pixel..pixel + P`.
///
/// # Safety
/// - The CPU has NEON.
/// - The tile has been checked by `LookupTile::check`, and `pixel + P <= tile.pixels`.
#[inline(always)]
unsafe fn store<const P: usize>(sums: &[[uint16x8_t; VECTORS]; P], tile: &mut LookupTile<'_>, pixel: usize) {
    for (p, sums) in sums.iter().enumerate() {
        for (vector, &sums) in sums.iter().enumerate() {
            let [low, high] = widen(sums);
            // SAFETY: the caller's promises: `check` found the sums.
            unsafe {
                let out = tile.sums.as_mut_ptr().add((pixel + p) * OUTPUTS + 8 * vector);
                vst1q_s32(out, low);
                vst1q_s32(out.add(4), high);
            }
        }
    }
}

/// Sums of [`LANES`] outputs in 32 bits.
#[inline(always)]
fn widen_both(low: uint16x8_t, high: uint16x8_t) -> [int32x4_t; 4] {
    let [low, high] = [low, high].map(widen);
    [low[0], low[1], high[0], high[1]]
}

/// Sums in 32 bits.
#[inline(always)]
fn widen(sums: uint16x8_t) -> [int32x4_t; 2] {
    // SAFETY: vectors exist with NEON only.
    unsafe {
        let sums = vreinterpretq_s16_u16(sums);
        [vmovl_s16(vget_low_s16(sums)), vmovl_high_s16(sums)]
    }
}

/// The sums of the pixels `pixel..pixel + P`.
///
/// # Safety
/// - The CPU has NEON.
/// - The tile has been checked by `LookupTile::check_tables`, and `pixel + P <= tile.pixels`.
#[inline(always)]
unsafe fn look_up<const P: usize>(tile: &LookupTile<'_>, pixel: usize) -> [[uint16x8_t; VECTORS]; P] {
    // SAFETY: the caller's promises: `check_tables` found a run's tables for each pixel, and an index for each
    // output, table and plane.
    unsafe {
        let window = tile.tables.as_ptr().add(tile.offset + pixel * tile.pixel_step);
        let mut indices = tile.weights.as_ptr();
        let mut sums = [[vdupq_n_u16(0); VECTORS]; P];
        for plane in 0..tile.planes {
            if plane > 0 {
                double(&mut sums, plane == 1);
            }
            for &run in tile.runs {
                let mut tables = window.add(run);
                for _ in 0..tile.quads {
                    let quad: [uint8x16_t; P] =
                        std::array::from_fn(|p| vld1q_u8(tables.add(p * tile.pixel_step)));
                    for vector in 0..VECTORS {
                        let index = vld1_u8(indices.add(8 * vector));
                        for (sums, &table) in sums.iter_mut().zip(&quad) {
                            sums[vector] = vaddw_u8(sums[vector], vqtbl1_u8(table, index));
                        }
                    }
                    indices = indices.add(OUTPUTS);
                    tables = tables.add(TABLE);
                }
            }
        }
        sums
    }
}

/// Doubles sums; negates them, too, if they are those of the top plane.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn double<const P: usize>(sums: &mut [[uint16x8_t; VECTORS]; P], negate: bool) {
    // Two loops of constant length: over a flattened iterator LLVM does not unroll, and keeps sums in memory.
    for pixel in sums {
        for sum in pixel {
            // SAFETY: the caller's promise.
            unsafe {
                let doubled = vaddq_u16(*sum, *sum);
                *sum = if negate { vsubq_u16(vdupq_n_u16(0), doubled) } else { doubled };
            }
        }
    }
}
