//! Multiplying convolution with AVX2.
//!
//! Two bodies. VPMADDUBSW multiplies 32 unsigned levels with signed weights and adds pairs of
//! products, but in 16 bits with saturation:
//!
//! ```text
//! for each 4 output pixels:
//!     acc[4][16 outputs] = 0
//!     for each run, for each GROUPS · 4 levels of it:
//!         sum16[4][16 outputs][2] = 0
//!         for each 4 of them:                                # levels broadcast as 32 bits
//!             sum16[p] += VPMADDUBSW(levels, weights)        # no saturation: `supports`
//!         acc[p] += VPMADDWD(sum16[p], 1)
//! ```
//!
//! 1. `2 · GROUPS` products must fit an i16. With 8-bit levels these are two at 7-bit weights
//!    (`GROUPS` = 1) and sixteen at 4-bit weights (`GROUPS` = 8), where adding up in 32 bits costs
//!    next to nothing.
//! 2. Otherwise VPMADDWD multiplies weights that were packed as 16 bits with levels that are widened
//!    to 16 bits for a stretch of a run at a time. Widening them in registers instead takes a
//!    shuffle for each pair of levels, and shuffles compete with multiplications for ports.
//!
//! Measured, L1-resident, on an Intel core of 2023 with three vector ports: 23, 32 and 45 products a
//! cycle for 8, 7 and 4 bits.

use std::arch::x86_64::*;

use crate::arch::generic::mulconv::{OUTPUTS, add_up_totals, pack, packed_len, utilisation};
use crate::families::direct::{Capabilities, ConvKernel, ConvTile, Operands};
use crate::ukernel::Engine;

/// Any operands.
pub(crate) static MULCONV_I32_U8_S8_4X16_AVX2_MADD: ConvKernel = ConvKernel {
    name: "mulconv_i32_u8_s8_4x16_avx2_madd",
    engine: Engine::Avx2,
    bit_serial: false,
    capabilities: Capabilities::NONE,
    nr: OUTPUTS,
    mr: 4,
    supports: |_| true,
    rate: |operands| 23.0 * utilisation(operands, 2),
    packed_len: |runs, depth, _| packed_len::<2>(runs, depth) * size_of::<i16>(),
    pack: |block, out| {
        pack::<2>(block, |index, weight| {
            out[2 * index..][..2].copy_from_slice(&i16::from(weight).to_ne_bytes());
        });
    },
    run: mulconv_i32_u8_s8_4x16_avx2_madd,
    planes: None,
    levels: None,
};

/// Operands of which two products fit 16 bits, such as 8-bit levels and 7-bit weights.
pub(crate) static MULCONV_I32_U8_S7_4X16_AVX2_MADDUBS: ConvKernel = ConvKernel {
    name: "mulconv_i32_u8_s7_4x16_avx2_maddubs",
    supports: |operands| products_fit(operands, 2),
    rate: |operands| 32.0 * utilisation(operands, 4),
    packed_len: |runs, depth, _| packed_len::<4>(runs, depth),
    pack: |block, out| pack::<4>(block, |index, weight| out[index] = weight as u8),
    run: mulconv_i32_u8_s7_4x16_avx2_maddubs,
    ..MULCONV_I32_U8_S8_4X16_AVX2_MADD
};

/// Operands of which sixteen products fit 16 bits, such as 8-bit levels and 4-bit weights.
pub(crate) static MULCONV_I32_U8_S4_4X16_AVX2_MADDUBS: ConvKernel = ConvKernel {
    name: "mulconv_i32_u8_s4_4x16_avx2_maddubs",
    supports: |operands| products_fit(operands, 2 * GROUPS_4BIT as i32),
    rate: |operands| 45.0 * utilisation(operands, 4),
    run: mulconv_i32_u8_s4_4x16_avx2_maddubs,
    ..MULCONV_I32_U8_S7_4X16_AVX2_MADDUBS
};

/// Groups of 4 levels whose products the 4-bit micro-kernel adds up in 16 bits.
const GROUPS_4BIT: usize = 8;

/// Levels of a run that are widened at a time.
const STRETCH: usize = 64;

/// Whether the sum of `count` products always fits an i16.
fn products_fit(operands: &Operands, count: i32) -> bool {
    let factor = count * i32::from(operands.max_level);
    let fits = |weight: i8| i16::try_from(factor * i32::from(weight)).is_ok();
    fits(operands.min_weight) && fits(operands.max_weight)
}

#[target_feature(enable = "avx2")]
fn mulconv_i32_u8_s8_4x16_avx2_madd(tile: &mut ConvTile<'_>) {
    let mut pixel = 0;
    while pixel + 4 <= tile.pixels {
        // SAFETY: the CPU has AVX2 and the tile was checked, as this function asks; 4 pixels exist.
        unsafe { convolve_wide::<4>(tile, pixel) };
        pixel += 4;
    }
    while pixel < tile.pixels {
        // SAFETY: as above; one pixel exists.
        unsafe { convolve_wide::<1>(tile, pixel) };
        pixel += 1;
    }
    add_up_totals(tile);
}

#[target_feature(enable = "avx2")]
fn mulconv_i32_u8_s7_4x16_avx2_maddubs(tile: &mut ConvTile<'_>) {
    // SAFETY: this function's own contract: the CPU has AVX2 and the tile was checked.
    unsafe { convolve_narrow::<1>(tile) }
}

#[target_feature(enable = "avx2")]
fn mulconv_i32_u8_s4_4x16_avx2_maddubs(tile: &mut ConvTile<'_>) {
    // SAFETY: this function's own contract: the CPU has AVX2 and the tile was checked.
    unsafe { convolve_narrow::<GROUPS_4BIT>(tile) }
}

/// Sums of 16 outputs: 8 in a vector.
type Sums = [__m256i; 2];

/// Computes the pixels `pixel..pixel + P` of a tile with VPMADDWD.
///
/// # Safety
/// - The CPU has AVX2.
/// - The tile has been checked by `ConvTile::check`, its weights were packed as 16 bits in groups of
///   2 levels, and `pixel + P <= tile.pixels`.
#[inline(always)]
unsafe fn convolve_wide<const P: usize>(tile: &mut ConvTile<'_>, pixel: usize) {
    let window = tile.input_offset + pixel * tile.pixel_step;
    let mut weights = tile.weights.as_ptr();
    let mut wide = [[0i16; STRETCH]; P];
    // SAFETY: the CPU has AVX2; a stretch of a run is read in pieces of 16 bytes, so up to 15 bytes
    // behind the run, within READ_SLACK; a run was packed as depth / 2 groups, rounded up, of 64 bytes.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); 2]; P];
        for &run in tile.runs {
            for first in (0..tile.depth).step_by(STRETCH) {
                let len = STRETCH.min(tile.depth - first);
                for (p, wide) in wide.iter_mut().enumerate() {
                    let levels = tile.input.as_ptr().add(window + p * tile.pixel_step + run + first);
                    for k in (0..len).step_by(16) {
                        let widened = _mm256_cvtepu8_epi16(_mm_loadu_si128(levels.add(k).cast()));
                        _mm256_storeu_si256(wide.as_mut_ptr().add(k).cast(), widened);
                    }
                }
                for group in 0..len.div_ceil(2) {
                    let group_weights = load_group(&mut weights);
                    for (sums, wide) in sums.iter_mut().zip(&wide) {
                        let levels = broadcast(wide.as_ptr().add(2 * group).cast());
                        for (sum, weights) in sums.iter_mut().zip(group_weights) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(levels, weights));
                        }
                    }
                }
            }
        }
        store(tile, pixel, &sums);
    }
}

/// Computes a tile with VPMADDUBSW.
///
/// # Safety
/// - The CPU has AVX2.
/// - The tile has been checked by `ConvTile::check`, and its weights were packed in groups of 4 levels.
#[inline(always)]
unsafe fn convolve_narrow<const GROUPS: usize>(tile: &mut ConvTile<'_>) {
    let mut pixel = 0;
    while pixel + 4 <= tile.pixels {
        // SAFETY: these 4 pixels exist; the rest is the caller's promise.
        unsafe { convolve_narrow_pixels::<GROUPS, 4>(tile, pixel) };
        pixel += 4;
    }
    while pixel < tile.pixels {
        // SAFETY: this pixel exists; the rest is the caller's promise.
        unsafe { convolve_narrow_pixels::<GROUPS, 1>(tile, pixel) };
        pixel += 1;
    }
    add_up_totals(tile);
}

/// Computes the pixels `pixel..pixel + P` of a tile with VPMADDUBSW.
///
/// # Safety
/// - As [`convolve_narrow`], and `pixel + P <= tile.pixels`.
#[inline(always)]
unsafe fn convolve_narrow_pixels<const GROUPS: usize, const P: usize>(tile: &mut ConvTile<'_>, pixel: usize) {
    let window = tile.input_offset + pixel * tile.pixel_step;
    let mut weights = tile.weights.as_ptr();
    // SAFETY: the CPU has AVX2; levels are read 4 at a time, so up to 3 bytes behind the run, within
    // READ_SLACK; a run was packed as depth / 4 groups, rounded up, of 64 bytes.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); 2]; P];
        for &run in tile.runs {
            let levels = tile.input.as_ptr().add(window + run);
            let groups = tile.depth.div_ceil(4);
            let mut group = 0;
            while group < groups {
                let end = groups.min(group + GROUPS);
                let mut narrow = [[_mm256_setzero_si256(); 2]; P];
                while group < end {
                    let group_weights = load_group(&mut weights);
                    for (p, narrow) in narrow.iter_mut().enumerate() {
                        let levels = broadcast(levels.add(p * tile.pixel_step + 4 * group));
                        for (sum, weights) in narrow.iter_mut().zip(group_weights) {
                            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(levels, weights));
                        }
                    }
                    group += 1;
                }
                for (sums, narrow) in sums.iter_mut().zip(narrow) {
                    for (sum, narrow) in sums.iter_mut().zip(narrow) {
                        let products = _mm256_madd_epi16(narrow, _mm256_set1_epi16(1));
                        *sum = _mm256_add_epi32(*sum, products);
                    }
                }
            }
        }
        store(tile, pixel, &sums);
    }
}

/// The weights of a group for 16 outputs. Moves `weights` to the next group.
///
/// # Safety
/// - The CPU has AVX2, and 64 bytes at `weights` are readable.
#[inline(always)]
unsafe fn load_group(weights: &mut *const u8) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let group = [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
        *weights = weights.add(64);
        group
    }
}

/// 4 bytes in every 32-bit lane.
///
/// # Safety
/// - The CPU has AVX2, and 4 bytes at `bytes` are readable.
#[inline(always)]
unsafe fn broadcast(bytes: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_set1_epi32(bytes.cast::<i32>().read_unaligned()) }
}

/// Writes the sums of the pixels from `pixel` on.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn store<const P: usize>(tile: &mut ConvTile<'_>, pixel: usize, sums: &[Sums; P]) {
    for (index, sums) in sums.iter().enumerate() {
        let out = &mut tile.sums[(pixel + index) * tile.sums_stride..][..OUTPUTS];
        for (out, &sum) in out.chunks_exact_mut(8).zip(sums) {
            // SAFETY: `out` has room for the 8 numbers of a vector.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
        }
    }
}
