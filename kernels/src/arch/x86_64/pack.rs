//! Packing with AVX2: a movemask for each plane of 32 levels. Unpacking is the portable one.

use std::arch::x86_64::*;

use crate::arch::generic::combine::combine_row;
use crate::arch::generic::pack::{lookup2_row, pack_pixel, unpack_row};
use crate::arch::x86_64::simd::Avx2;
use crate::rows::{PackRow, RowKernels};
use crate::ukernel::Engine;

/// Row functions with AVX2.
pub(crate) static ROWS_AVX2: RowKernels = RowKernels {
    engine: Engine::Avx2,
    pack: pack_row,
    unpack: unpack_row,
    combine: combine_row,
    lookup2: lookup2_row,
};

/// By `[planes − 1]`: where the bytes `[group][plane]` are in `[plane][group]`, 4 groups of 8 levels.
static INTERLEAVE: [[u8; 16]; 4] = {
    let mut table = [[0; 16]; 4];
    let mut planes = 1;
    while planes <= 4 {
        let mut byte = 0;
        while byte < 4 * planes {
            table[planes - 1][byte] = (byte % planes * 4 + byte / planes) as u8;
            byte += 1;
        }
        planes += 1;
    }
    table
};

/// # Safety
/// - As [`RowKernels::pack`].
unsafe fn pack_row(row: &mut PackRow<'_>) {
    // SAFETY: the CPU has AVX2, the caller's promise.
    unsafe {
        match row.bits {
            1 => pack_avx2::<1>(row),
            2 => pack_avx2::<2>(row),
            3 => pack_avx2::<3>(row),
            _ => pack_avx2::<4>(row),
        }
    }
}

/// # Safety
/// - The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn pack_avx2<const A: usize>(row: &mut PackRow<'_>) {
    // SAFETY: the caller's promise.
    pack_planes::<A>(unsafe { Avx2::new_unchecked() }, row);
}

#[inline(always)]
fn pack_planes<const A: usize>(avx2: Avx2, row: &mut PackRow<'_>) {
    let len = row.pixel_len();
    for pixel in 0..row.pixels {
        let levels = &row.levels[pixel * row.level_stride..][..row.channels];
        let planes = &mut row.planes[pixel * row.pixel_stride..][..len];
        let (vectors, rest) = levels.as_chunks::<32>();
        let (planes, rest_planes) = planes.split_at_mut(vectors.len() * 4 * A);
        for (vector, planes) in vectors.iter().zip(planes.chunks_exact_mut(4 * A)) {
            planes.copy_from_slice(&pack_vector::<A>(avx2, vector)[..4 * A]);
        }
        pack_pixel(rest, A as u8, rest_planes);
    }
}

/// The planes of 32 levels, in the first `4 · A` bytes.
#[inline(always)]
fn pack_vector<const A: usize>(_: Avx2, levels: &[u8; 32]) -> [u8; 16] {
    // SAFETY: the token proves AVX2; every load is of an array's length from an array, and the store
    // to one.
    unsafe {
        let levels = _mm256_loadu_si256(levels.as_ptr().cast());
        let mut masks = [0; 4];
        for (plane, mask) in masks.iter_mut().enumerate().take(A) {
            // Bit `plane` of every byte to its top. What crosses into the next byte stays below that.
            let top = _mm256_sll_epi16(levels, _mm_cvtsi32_si128(7 - plane as i32));
            *mask = _mm256_movemask_epi8(top);
        }
        let bytes = _mm_setr_epi32(masks[0], masks[1], masks[2], masks[3]);
        let order = _mm_loadu_si128(INTERLEAVE[A - 1].as_ptr().cast());
        let mut planes = [0; 16];
        _mm_storeu_si128(planes.as_mut_ptr().cast(), _mm_shuffle_epi8(bytes, order));
        planes
    }
}
