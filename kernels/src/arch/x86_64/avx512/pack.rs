//! Packing and unpacking with AVX-512: a test makes the mask of a plane of 64 levels, and a mask makes bytes.

use std::arch::x86_64::*;

use super::combine::combine_row;
use super::lookup::lookup2_row;
use crate::rows::{PackRow, RowKernels, UnpackRow};
use crate::ukernel::Engine;

/// Row functions with AVX-512.
pub(crate) static ROWS_AVX512: RowKernels = RowKernels {
    engine: Engine::Avx512,
    pack: pack_row,
    unpack: unpack_row,
    combine: combine_row,
    lookup2: lookup2_row,
};

/// Levels of a vector.
const LANES: usize = 64;
/// Most planes.
const MAX_BITS: usize = 4;

/// By `[planes − 1]`: where the bytes `[group][plane]` are in `[plane][group]`, 8 groups of 8 levels.
static INTERLEAVE: [[u8; 32]; MAX_BITS] = {
    let mut table = [[0; 32]; MAX_BITS];
    let mut at = 0;
    while at < MAX_BITS * 32 {
        let (planes, byte) = (at / 32 + 1, at % 32);
        table[planes - 1][byte] = (byte % planes * 8 + byte / planes) as u8 % 32;
        at += 1;
    }
    table
};

/// The reverse.
static SEPARATE: [[u8; 32]; MAX_BITS] = {
    let mut table = [[0; 32]; MAX_BITS];
    let mut at = 0;
    while at < MAX_BITS * 32 {
        let (planes, byte) = (at / 32 + 1, at % 32);
        table[planes - 1][byte] = (byte % 8 * planes + byte / 8) as u8 % 32;
        at += 1;
    }
    table
};

/// # Safety
/// - As [`RowKernels::pack`].
unsafe fn pack_row(row: &mut PackRow<'_>) {
    // SAFETY: the CPU has the instructions, the caller's promise.
    unsafe {
        match row.bits {
            1 => pack_planes::<1>(row),
            2 => pack_planes::<2>(row),
            3 => pack_planes::<3>(row),
            _ => pack_planes::<4>(row),
        }
    }
}

/// # Safety
/// - As [`RowKernels::unpack`].
unsafe fn unpack_row(row: &mut UnpackRow<'_>) {
    // SAFETY: the CPU has the instructions, the caller's promise.
    unsafe {
        match row.bits {
            1 => unpack_planes::<1>(row),
            2 => unpack_planes::<2>(row),
            3 => unpack_planes::<3>(row),
            _ => unpack_planes::<4>(row),
        }
    }
}

/// # Safety
/// - The CPU has AVX-512, and the row has `A` planes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn pack_planes<const A: usize>(row: &mut PackRow<'_>) {
    for pixel in 0..row.pixels {
        let levels = &row.levels[pixel * row.level_stride..][..row.channels];
        let planes = &mut row.planes[pixel * row.pixel_stride..];
        for (levels, planes) in levels.chunks(LANES).zip(planes.chunks_mut(8 * A)) {
            let planes = &mut planes[..levels.len().div_ceil(8) * A];
            // SAFETY: the CPU is the caller's promise; the masks leave only bytes of the slices.
            unsafe {
                let levels = _mm512_maskz_loadu_epi8(head(levels.len()), levels.as_ptr().cast());
                let mut masks = [0i64; MAX_BITS];
                for (plane, mask) in masks.iter_mut().enumerate().take(A) {
                    *mask = _mm512_test_epi8_mask(levels, _mm512_set1_epi8(1 << plane)) as i64;
                }
                let bytes = _mm256_loadu_si256(masks.as_ptr().cast());
                let order = _mm256_loadu_si256(INTERLEAVE[A - 1].as_ptr().cast());
                let bytes = if A == 1 { bytes } else { _mm256_permutexvar_epi8(order, bytes) };
                _mm256_mask_storeu_epi8(planes.as_mut_ptr().cast(), head(planes.len()) as u32, bytes);
            }
        }
    }
}

/// # Safety
/// - The CPU has AVX-512, and the row has `A` planes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn unpack_planes<const A: usize>(row: &mut UnpackRow<'_>) {
    for pixel in 0..row.pixels {
        let levels = &mut row.levels[pixel * row.level_stride..][..row.channels];
        let planes = &row.planes[pixel * row.pixel_stride..];
        for (levels, planes) in levels.chunks_mut(LANES).zip(planes.chunks(8 * A)) {
            let planes = &planes[..levels.len().div_ceil(8) * A];
            // SAFETY: the CPU is the caller's promise; the masks leave only bytes of the slices.
            unsafe {
                let bytes = _mm256_maskz_loadu_epi8(head(planes.len()) as u32, planes.as_ptr().cast());
                let order = _mm256_loadu_si256(SEPARATE[A - 1].as_ptr().cast());
                let bytes = if A == 1 { bytes } else { _mm256_permutexvar_epi8(order, bytes) };
                let mut masks = [0u64; MAX_BITS];
                _mm256_storeu_si256(masks.as_mut_ptr().cast(), bytes);
                let mut sum = _mm512_setzero_si512();
                for (plane, &mask) in masks.iter().enumerate().take(A) {
                    let bits = _mm512_maskz_set1_epi8(mask, 1 << plane);
                    sum = _mm512_or_si512(sum, bits);
                }
                _mm512_mask_storeu_epi8(levels.as_mut_ptr().cast(), head(levels.len()), sum);
            }
        }
    }
}

/// The mask of the first `len` of 64 bytes, 1 to 64.
#[inline(always)]
fn head(len: usize) -> u64 {
    u64::MAX >> (LANES - len)
}
