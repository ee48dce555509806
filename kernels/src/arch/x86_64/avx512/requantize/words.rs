//! [`Thresholds`] of more than three steps with AVX-512, compared in 16 bits: 32 at a time instead of 16.

use std::arch::x86_64::*;

use crate::arch::generic::requantize::{Accumulators, Convert, lanes};
use crate::requantize::forms::{LANES, Thresholds};

/// [`Thresholds`] of at most `N` steps, of four pixels at a time.
pub(super) struct Words<'a, const N: usize>(pub(super) &'a Thresholds<i16>);

// SAFETY of all blocks below: as in the module above.

impl<const N: usize> Convert<1> for Words<'_, N> {
    const FOUR: bool = true;

    /// Thresholds, base, direction.
    type Constants = ([__m512i; N], __m512i, __m512i);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let form = self.0;
        let row = form.base.len();
        // SAFETY: as said above.
        unsafe {
            // Packed pixels alternate every four channels.
            let order = _mm512_set_epi16(
                15, 14, 13, 12, 15, 14, 13, 12, 11, 10, 9, 8, 11, 10, 9, 8, //
                7, 6, 5, 4, 7, 6, 5, 4, 3, 2, 1, 0, 3, 2, 1, 0,
            );
            // What no accumulator exceeds.
            let mut thresholds = [_mm512_set1_epi16(i16::MAX); N];
            for (step, thresholds) in thresholds.iter_mut().enumerate().take(form.steps) {
                let once = _mm256_loadu_si256(lanes(&form.thresholds, step * row + channel).as_ptr().cast());
                *thresholds = _mm512_permutexvar_epi16(order, _mm512_castsi256_si512(once));
            }
            let load =
                |bytes: &[u8]| _mm512_broadcast_i32x4(_mm_loadu_si128(lanes(bytes, channel).as_ptr().cast()));
            (thresholds, load(&form.base), load(&form.direction))
        }
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, 1>) -> [u8; LANES] {
        let [levels, ..] = self.convert_four(constants, [accumulators; 4]);
        levels
    }

    #[inline(always)]
    fn convert_four(
        &self,
        (thresholds, base, direction): &Self::Constants,
        [[a], [b], [c], [d]]: [Accumulators<'_, 1>; 4],
    ) -> [[u8; LANES]; 4] {
        // SAFETY: as said above; 64 bytes are 4 x 16, and every pattern of bits is one of each.
        unsafe {
            let first = _mm512_packs_epi32(super::load(a), super::load(b));
            let second = _mm512_packs_epi32(super::load(c), super::load(d));
            let one = _mm512_set1_epi16(1);
            let mut counts = [_mm512_setzero_si512(); 2];
            for &thresholds in thresholds {
                let passed = _mm512_cmpgt_epi16_mask(first, thresholds);
                counts[0] = _mm512_mask_add_epi16(counts[0], passed, counts[0], one);
                let passed = _mm512_cmpgt_epi16_mask(second, thresholds);
                counts[1] = _mm512_mask_add_epi16(counts[1], passed, counts[1], one);
            }
            let counts = super::pixels_in_order(counts[0], counts[1]);
            let negated = _mm512_sub_epi8(_mm512_setzero_si512(), counts);
            std::mem::transmute(_mm512_add_epi8(*base, _mm512_xor_si512(negated, *direction)))
        }
    }
}
