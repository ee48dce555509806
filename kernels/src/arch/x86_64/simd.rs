//! AVX2 vectors of 32 bytes.

use std::arch::x86_64::*;

use crate::simd::{Simd, sealed::Sealed};

/// Proof that the CPU has AVX2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// `None` if this CPU lacks the instructions.
    pub(crate) fn new() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// The proof without the check.
    ///
    /// # Safety
    /// - The CPU has AVX2.
    #[inline(always)]
    pub(crate) unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Sealed for Avx2 {}

impl Simd for Avx2 {
    const LANES: usize = 32;
    // A few more than there are: spilling a counter costs less than to broadcast twice.
    const REGISTERS: usize = 20;
    type Bytes = __m256i;
    type Sums = [__m256i; 2];
    type Source = *const u8;

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load(self, pointer: *const u8) -> __m256i {
        // SAFETY: `self` proves AVX2; the caller vouches for 32 readable bytes.
        unsafe { _mm256_loadu_si256(pointer.cast()) }
    }

    #[inline(always)]
    unsafe fn source(self, pointer: *const u8) -> *const u8 {
        pointer
    }

    #[inline(always)]
    unsafe fn broadcast(self, source: *const u8, lane: usize) -> __m256i {
        // SAFETY: `self` proves AVX2; the source has 16 readable bytes, and the caller keeps within
        // them.
        unsafe { _mm256_set1_epi8(*source.add(lane) as i8) }
    }

    #[inline(always)]
    unsafe fn skip<const N: usize>(self, source: *const u8) -> *const u8 {
        // SAFETY: the source has 16 readable bytes, and the caller skips no more.
        unsafe { source.add(N) }
    }

    #[inline(always)]
    fn after(self, source: *const u8, _: __m256i) -> *const u8 {
        source
    }

    #[inline(always)]
    fn keep_in_memory(self, _: &mut [[__m256i; 2]]) {}

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi8(a, b) }
    }

    /// Two look-ups of nibbles in a table of 16 counts, since AVX2 counts no bits.
    /// Source: Muła, Kurz, Lemire, "Faster Population Counts Using AVX2 Instructions", 2016.
    #[inline(always)]
    fn popcount(self, a: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let counts =
                _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
            let nibble = _mm256_set1_epi8(0x0f);
            let low = _mm256_and_si256(a, nibble);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(a), nibble);
            _mm256_add_epi8(_mm256_shuffle_epi8(counts, low), _mm256_shuffle_epi8(counts, high))
        }
    }

    #[inline(always)]
    fn reduce(self, a: __m256i) -> u32 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let sums = _mm256_sad_epu8(a, _mm256_setzero_si256());
            let sums = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
            (_mm_extract_epi32::<0>(sums) + _mm_extract_epi32::<2>(sums)) as u32
        }
    }

    #[inline(always)]
    fn zero_sums(self) -> [__m256i; 2] {
        [self.zero(); 2]
    }

    #[inline(always)]
    fn add_shifted(self, sums: [__m256i; 2], a: __m256i, shift: u32) -> [__m256i; 2] {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let shift = _mm_cvtsi32_si128(shift as i32);
            let low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(a));
            let high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(a));
            [
                _mm256_add_epi16(sums[0], _mm256_sll_epi16(low, shift)),
                _mm256_add_epi16(sums[1], _mm256_sll_epi16(high, shift)),
            ]
        }
    }

    #[inline(always)]
    fn subtract_shifted(self, sums: [__m256i; 2], a: __m256i, shift: u32) -> [__m256i; 2] {
        let shifted = self.add_shifted(self.zero_sums(), a, shift);
        // SAFETY: `self` proves AVX2.
        [0, 1].map(|half| unsafe { _mm256_sub_epi16(sums[half], shifted[half]) })
    }

    #[inline(always)]
    unsafe fn store_sums(self, sums: [__m256i; 2], pointer: *mut i32, accumulate: bool) {
        // SAFETY: `self` proves AVX2; the caller vouches for 32 numbers, initialised where they are
        // read; the quarters lie at 0, 8, 16 and 24 and take 8 each.
        unsafe {
            for (half, sums) in sums.into_iter().enumerate() {
                let quarters = [_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)];
                for (quarter, sums) in quarters.into_iter().enumerate() {
                    let pointer = pointer.add(16 * half + 8 * quarter).cast::<__m256i>();
                    let mut wide = _mm256_cvtepu16_epi32(sums);
                    if accumulate {
                        wide = _mm256_add_epi32(wide, _mm256_loadu_si256(pointer));
                    }
                    _mm256_storeu_si256(pointer, wide);
                }
            }
        }
    }
}
