//! [`Cells`] with AVX2, their entries gathered.

use std::arch::x86_64::*;

use crate::arch::generic::requantize::{Accumulators, Convert, lanes};
use crate::requantize::cells::{Cells, LEVEL_SHIFT};
use crate::requantize::forms::LANES;

/// [`Cells`] by gathering.
pub(super) struct Gathered<'a>(pub(super) &'a Cells);

/// The values of [`LANES`] channels.
type Words = [__m256i; 2];

// SAFETY of all blocks below: this type is only used by the module above, with a token, so the CPU has AVX2; pointers
// come from arrays and array references of the length that is loaded or stored.

impl Convert<1> for Gathered<'_> {
    /// Limits, multipliers, bias, table.
    type Constants = ([Words; 2], Words, Words, *const i32);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let Cells { multipliers, bias, low, high, .. } = self.0;
        let load = |values: &[i32]| load(lanes(values, channel));
        ([load(low), load(high)], load(multipliers), load(bias), self.0.entries())
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let accumulators = load(accumulators);
        let mut levels = [0; LANES];
        // SAFETY: as said above; `constants` checked the table, and channels come in two halves.
        unsafe {
            // Not by a closure, which is not inlined where instructions are enabled by attribute.
            let first = half(self.0, constants, accumulators[0], 0);
            let second = half(self.0, constants, accumulators[1], 1);
            // Words in the order 0..4, 8..12, 4..8, 12..16.
            let words = _mm256_packus_epi32(first, second);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(levels.as_mut_ptr().cast(), bytes);
        }
        levels
    }
}

/// The levels of 8 channels as words.
///
/// # Safety
/// - The CPU has AVX2.
/// - The table has an entry for each of the highest bits of a word. `half` is 0 or 1.
#[inline(always)]
unsafe fn half(
    form: &Cells,
    &([low, high], multipliers, bias, table): &([Words; 2], Words, Words, *const i32),
    accumulators: __m256i,
    half: usize,
) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let limited = _mm256_min_epi32(_mm256_max_epi32(accumulators, low[half]), high[half]);
        // The low halves of the shifted products of even lanes, the high ones of odd lanes.
        let right = _mm_cvtsi32_si128(form.shift as i32);
        let left = _mm_cvtsi32_si128(32 - form.shift as i32);
        let even = _mm256_srl_epi64(_mm256_mul_epi32(limited, multipliers[half]), right);
        let odd_lanes = (_mm256_srli_epi64::<32>(limited), _mm256_srli_epi64::<32>(multipliers[half]));
        let odd = _mm256_sll_epi64(_mm256_mul_epi32(odd_lanes.0, odd_lanes.1), left);
        let axis = _mm256_add_epi32(_mm256_blend_epi32::<0b1010_1010>(even, odd), bias[half]);
        let cells = _mm256_srl_epi32(axis, _mm_cvtsi32_si128(form.cell_shift as i32));
        let entries = _mm256_i32gather_epi32::<4>(table, cells);
        let sums = _mm256_add_epi32(entries, axis);
        let levels = _mm256_xor_si256(sums, _mm256_srai_epi32::<31>(sums));
        _mm256_srli_epi32::<{ LEVEL_SHIFT as i32 }>(levels)
    }
}

#[inline(always)]
fn load(lanes: &[i32; LANES]) -> Words {
    // SAFETY: as said above.
    unsafe { [_mm256_loadu_si256(lanes.as_ptr().cast()), _mm256_loadu_si256(lanes.as_ptr().add(8).cast())] }
}
