//! From 32-bit sums to bit planes without leaving the registers: a comparison with a threshold makes a mask of
//! 16 bits, which is two bytes of a plane.

use std::arch::x86_64::*;

use super::mulconv::LANES;

/// Channels of a group of rows.
const GROUP: usize = 8;
/// Most thresholds: those of two bits.
const STEPS: usize = 3;

/// Thresholds of `16 · V` channels.
pub(crate) struct Steps<const V: usize> {
    /// `[vector][threshold]`; at one bit only the first.
    thresholds: [[__m512i; STEPS]; V],
    /// The bits to invert, where levels fall.
    inverted: [u16; V],
}

impl<const V: usize> Steps<V> {
    /// Thresholds of 32 bits of `A`-bit levels, from channel `first` on.
    ///
    /// # Safety
    /// - The CPU has AVX-512.
    #[inline(always)]
    pub(crate) unsafe fn wide<const A: usize>(rows: &[i32], first: usize) -> Self {
        // SAFETY: the caller's promise; each slice has the length of the vector loaded.
        unsafe {
            Self::load::<A, i32>(rows, first, |low, high| {
                let low = _mm512_castsi256_si512(_mm256_loadu_si256(low.as_ptr().cast()));
                _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(high.as_ptr().cast()))
            })
        }
    }

    /// Thresholds of 16 bits. Sums of 32 bits that fit 16 pass the same ones: what [`PlaneSteps`] made sure of.
    ///
    /// [`PlaneSteps`]: crate::requantize::PlaneSteps
    ///
    /// # Safety
    /// - The CPU has AVX-512.
    #[inline(always)]
    pub(super) unsafe fn narrow<const A: usize>(rows: &[i16], first: usize) -> Self {
        // SAFETY: the caller's promise; each slice has the length of the vector loaded.
        unsafe {
            Self::load::<A, i16>(rows, first, |low, high| {
                let low = _mm512_cvtepi16_epi32(_mm256_castsi128_si256(_mm_loadu_si128(low.as_ptr().cast())));
                let high = _mm256_cvtepi16_epi32(_mm_loadu_si128(high.as_ptr().cast()));
                _mm512_inserti64x4::<1>(low, high)
            })
        }
    }

    /// # Safety
    /// - The CPU has AVX-512.
    #[inline(always)]
    unsafe fn load<const A: usize, T>(
        rows: &[T],
        first: usize,
        vector: impl Fn(&[T], &[T]) -> __m512i,
    ) -> Self {
        let rows_of_group = 1 << A;
        // SAFETY: the caller's promise; registers only.
        unsafe {
            let mut steps = Self { thresholds: [[_mm512_setzero_si512(); STEPS]; V], inverted: [0; V] };
            for v in 0..V {
                let group = (first + v * LANES) / GROUP;
                let row = |row: usize| {
                    let of_group = |group: usize| &rows[(group * rows_of_group + row) * GROUP..][..GROUP];
                    vector(of_group(group), of_group(group + 1))
                };
                for step in 0..rows_of_group - 1 {
                    steps.thresholds[v][step] = row(step);
                }
                let bits = row(rows_of_group - 1);
                steps.inverted[v] = _mm512_test_epi32_mask(bits, bits);
            }
            steps
        }
    }
}

/// Writes the planes of a pixel, `A` bits of `outputs` channels, at most `16 · V` of them, from `planes` on.
///
/// # Safety
/// - The CPU has AVX-512.
/// - `A` bytes for each 8 of these channels are writable.
#[inline(always)]
pub(crate) unsafe fn store_planes<const V: usize, const A: usize>(
    planes: *mut u8,
    outputs: usize,
    sums: &[__m512i; V],
    steps: &Steps<V>,
) {
    const { assert!(V <= 2 && (A == 1 || A == 2)) }
    let (mut low, mut high) = (0u32, 0u32);
    for (v, &sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promise; registers only.
        let (l, h) = unsafe {
            let passed = |step: usize| _mm512_cmpgt_epi32_mask(sum, steps.thresholds[v][step]);
            if A == 1 { (passed(0), 0) } else { (passed(0) ^ passed(1) ^ passed(2), passed(1)) }
        };
        low |= u32::from(l ^ steps.inverted[v]) << (LANES * v);
        high |= u32::from(h ^ steps.inverted[v]) << (LANES * v);
    }
    let bytes = if A == 1 {
        u64::from(low)
    } else {
        // SAFETY: the caller's promise; registers only.
        unsafe {
            let (low, high) = (_mm_cvtsi32_si128(low as i32), _mm_cvtsi32_si128(high as i32));
            _mm_cvtsi128_si64(_mm_unpacklo_epi8(low, high)) as u64
        }
    };
    let whole = 2 * V * A;
    let (out, len) = (planes, outputs.div_ceil(GROUP) * A);
    // SAFETY: there are `len` bytes, the caller's promise; `whole` is at most 8.
    unsafe {
        match (len >= whole, whole) {
            (true, 2) => out.cast::<u16>().write_unaligned(bytes as u16),
            (true, 4) => out.cast::<u32>().write_unaligned(bytes as u32),
            (true, 8) => out.cast::<u64>().write_unaligned(bytes),
            _ => std::ptr::copy_nonoverlapping(bytes.to_le_bytes().as_ptr(), out, len.min(whole)),
        }
    }
}
