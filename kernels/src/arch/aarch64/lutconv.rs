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
//! 4. A table is made of 7 operations of 64 bits. Its lower half, the subsets of three levels, is the sum of three
//!    look-ups *in the levels*: an index beyond 15 gives 0. The upper half adds the fourth level. With masks of
//!    128 bits it takes 11.

use std::arch::aarch64::*;

use crate::lookup::{LookupCost, LookupKernel, LookupTile, OUTPUTS, QUAD, TABLE};
use crate::ukernel::Engine;

/// Levels of up to 6 bits.
pub(crate) static LUTCONV_NEON: LookupKernel = LookupKernel {
    name: "lutconv_i32_u6_sx_4x32_neon_tbl",
    engine: Engine::Neon,
    mr: 4,
    cost: LookupCost { rate: 31.0, table: 1.0 },
    make_tables: lutconv_i32_u6_sx_4x32_neon_tables,
    run: lutconv_i32_u6_sx_4x32_neon_tbl,
};

/// Vectors of sums of a pixel.
const VECTORS: usize = OUTPUTS / 8;
/// No index of a level.
const NONE: u8 = 0xff;
/// Which of three levels the lower half of a table adds up.
static SUBSETS: [[u8; 8]; 3] = [
    [NONE, 0, NONE, 0, NONE, 0, NONE, 0],
    [NONE, NONE, 1, 1, NONE, NONE, 1, 1],
    [NONE, NONE, NONE, NONE, 2, 2, 2, 2],
];

#[target_feature(enable = "neon")]
fn lutconv_i32_u6_sx_4x32_neon_tables(levels: &[u8], tables: &mut [u8]) {
    // SAFETY: an array of 8 bytes is read.
    let subsets = SUBSETS.map(|subset| unsafe { vld1_u8(subset.as_ptr()) });
    // Indices of further quads are 4 more each; none stays none.
    let of_quad = |quad| subsets.map(|subset| vqadd_u8(subset, vdup_n_u8((QUAD * quad) as u8)));
    let subsets: [[uint8x8_t; 3]; 4] = std::array::from_fn(of_quad);
    let mut levels = levels.chunks_exact(4 * QUAD);
    let mut tables = tables.chunks_exact_mut(4 * TABLE);
    for (levels, tables) in levels.by_ref().zip(tables.by_ref()) {
        // SAFETY: 16 levels, and 16 bytes for each four of them.
        unsafe {
            let levels = vld1q_u8(levels.as_ptr());
            let out = tables.as_mut_ptr();
            store_table(levels, &subsets[0], vdup_laneq_u8::<3>(levels), out);
            store_table(levels, &subsets[1], vdup_laneq_u8::<7>(levels), out.add(TABLE));
            store_table(levels, &subsets[2], vdup_laneq_u8::<11>(levels), out.add(2 * TABLE));
            store_table(levels, &subsets[3], vdup_laneq_u8::<15>(levels), out.add(3 * TABLE));
        }
    }
    let tables = tables.into_remainder().chunks_exact_mut(TABLE);
    for (levels, table) in levels.remainder().chunks_exact(QUAD).zip(tables) {
        let mut quad = [0; 16];
        quad[..QUAD].copy_from_slice(levels);
        // SAFETY: 16 bytes here and there.
        unsafe {
            let levels = vld1q_u8(quad.as_ptr());
            store_table(levels, &subsets[0], vdup_laneq_u8::<3>(levels), table.as_mut_ptr());
        }
    }
}

/// Stores the table of a quad.
///
/// # Safety
/// - The CPU has NEON, and [`TABLE`] bytes are writable at `out`.
#[inline(always)]
unsafe fn store_table(levels: uint8x16_t, subsets: &[uint8x8_t; 3], fourth: uint8x8_t, out: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b, c] = subsets.map(|subset| vqtbl1_u8(levels, subset));
        let low = vadd_u8(vadd_u8(a, b), c);
        vst1_u8(out, low);
        vst1_u8(out.add(TABLE / 2), vadd_u8(low, fourth));
    }
}

#[target_feature(enable = "neon")]
fn lutconv_i32_u6_sx_4x32_neon_tbl(tile: &mut LookupTile<'_>) {
    let mut pixel = 0;
    while pixel + 4 <= tile.pixels {
        // SAFETY: these 4 pixels exist; the CPU has NEON, and the tile was checked.
        unsafe { look_up::<4>(tile, pixel) };
        pixel += 4;
    }
    while pixel < tile.pixels {
        // SAFETY: this pixel exists; as above.
        unsafe { look_up::<1>(tile, pixel) };
        pixel += 1;
    }
}

/// Computes the pixels `pixel..pixel + P`.
///
/// # Safety
/// - The CPU has NEON.
/// - The tile has been checked by `LookupTile::check`, and `pixel + P <= tile.pixels`.
#[inline(always)]
unsafe fn look_up<const P: usize>(tile: &mut LookupTile<'_>, pixel: usize) {
    // SAFETY: the caller's promises: `check` found a run's tables for each pixel, an index for each
    // output, table and plane, and the sums.
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
        for (p, sums) in sums.iter().enumerate() {
            for (vector, &sums) in sums.iter().enumerate() {
                let out = tile.sums.as_mut_ptr().add((pixel + p) * OUTPUTS + 8 * vector);
                let sums = vreinterpretq_s16_u16(sums);
                vst1q_s32(out, vmovl_s16(vget_low_s16(sums)));
                vst1q_s32(out.add(4), vmovl_high_s16(sums));
            }
        }
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
