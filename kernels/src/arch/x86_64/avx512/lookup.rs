//! Tables of two levels with AVX-512: up to 256 entries lie in four registers, and VPERMI2B looks 64 bytes up in two.

use std::arch::x86_64::*;

use crate::arch::generic::pack as generic;
use crate::rows::Lookup2;

/// Bytes of a vector.
const LANES: usize = 64;
/// Vectors of the largest table.
const VECTORS: usize = 4;

/// # Safety
/// - As [`RowKernels::lookup2`](crate::rows::RowKernels).
pub(super) unsafe fn lookup2_row(rows: Lookup2<'_>, output: &mut [u8]) {
    let a_levels = rows.table.len().div_ceil(rows.b_levels.max(1));
    // SAFETY: the caller's promises; the tables fit.
    unsafe {
        match rows.table.len() {
            1..=64 if a_levels <= LANES => lookup2::<1>(rows, output),
            65..=256 if a_levels <= LANES => lookup2::<4>(rows, output),
            _ => generic::lookup2_row(rows, output),
        }
    }
}

/// # Safety
/// - As [`lookup2_row`]; the table has at most `64 · V` entries, 1 or 4, for at most 64 levels of `a`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn lookup2<const V: usize>(Lookup2 { a, b, b_levels, table }: Lookup2<'_>, output: &mut [u8]) {
    let head = |len: usize| if len == 0 { 0 } else { u64::MAX >> (LANES - len.min(LANES)) };
    let mut rows = [0; LANES];
    for (level, row) in rows.iter_mut().enumerate() {
        *row = (level * b_levels) as u8;
    }
    // SAFETY: the CPU and equal lengths are the caller's promise; the masks leave only bytes of the slices.
    unsafe {
        let rows = _mm512_loadu_si512(rows.as_ptr().cast());
        let mut entries = [_mm512_setzero_si512(); VECTORS];
        for (entries, table) in entries.iter_mut().zip(table.chunks(LANES)) {
            *entries = _mm512_maskz_loadu_epi8(head(table.len()), table.as_ptr().cast());
        }
        for at in (0..output.len()).step_by(LANES) {
            let mask = head(output.len() - at);
            let a = _mm512_maskz_loadu_epi8(mask, a.as_ptr().add(at).cast());
            let b = _mm512_maskz_loadu_epi8(mask, b.as_ptr().add(at).cast());
            let index = _mm512_add_epi8(_mm512_permutexvar_epi8(a, rows), b);
            let levels = if V == 1 {
                _mm512_permutexvar_epi8(index, entries[0])
            } else {
                let low = _mm512_permutex2var_epi8(entries[0], index, entries[1]);
                let high = _mm512_permutex2var_epi8(entries[2], index, entries[3]);
                _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(index), high)
            };
            _mm512_mask_storeu_epi8(output.as_mut_ptr().add(at).cast(), mask, levels);
        }
    }
}
