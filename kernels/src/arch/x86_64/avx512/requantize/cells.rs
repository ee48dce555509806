//! [`Cells`] with AVX-512: gathered on Intel, where a level takes 0.7 cycles so, and by bytes of the entries on AMD.
//!
//! Nanoseconds a level on a Zen 5 that was busy with other work, too: gathered 0.54, entries loaded one by one and put
//! together in registers 0.50, the same by way of memory 0.38 to 0.65, by bytes 0.24 with 1024 cells and 0.20 with 640;
//! the axis alone takes 0.15. YOLOv5n at 640×640 with SiLU, quiet: W8A8 11.2 to 8.9 ms, W4A4 9.7 to 7.4.

use std::arch::x86_64::*;

use super::{bytes, load, odd_lanes};
use crate::arch::generic::requantize::{Accumulators, Convert, lanes};
use crate::arch::x86_64::avx512::amd;
use crate::requantize::cells::bytes::{Bytes, PART};
use crate::requantize::cells::{Cells, LEVEL_SHIFT};
use crate::requantize::forms::LANES;

// SAFETY of all blocks below: as in the module above.

/// [`Cells`], their entries gathered.
pub(crate) struct Gathered<'a>(pub(crate) &'a Cells);

impl Convert<1> for Gathered<'_> {
    /// Limits, multipliers, bias, table.
    type Constants = ([__m512i; 2], __m512i, __m512i, *const i32);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let Cells { multipliers, bias, low, high, .. } = self.0;
        let load = |values: &[i32]| load(lanes(values, channel));
        ([load(low), load(high)], load(multipliers), load(bias), self.0.entries())
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let &(limits, multipliers, bias, table) = constants;
        // SAFETY: as said above; `constants` checked that the table has an entry for each of the highest bits.
        unsafe {
            let axis = axis(self.0.shift, limits, multipliers, bias, accumulators);
            let cells = _mm512_srl_epi32(axis, _mm_cvtsi32_si128(self.0.cell_shift as i32));
            let entries = _mm512_i32gather_epi32::<4>(cells, table);
            bytes(_mm512_cvtepi32_epi8(levels(entries, axis)))
        }
    }
}

/// [`Cells`] by bytes of their entries.
pub(crate) struct InBytes<'a>(&'a Cells, &'a Bytes);

impl<'a> InBytes<'a> {
    /// `None` where gathering is faster, or there are too many cells.
    pub(crate) fn of(form: &'a Cells) -> Option<Self> {
        if amd() { Self::new(form) } else { None }
    }

    /// `None` if there are too many cells.
    pub(super) fn new(form: &'a Cells) -> Option<Self> {
        Some(Self(form, form.bytes.as_ref()?))
    }
}

impl Convert<1> for InBytes<'_> {
    const FOUR: bool = true;

    /// Limits, multipliers, bias.
    type Constants = ([__m512i; 2], __m512i, __m512i);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let Self(Cells { multipliers, low, high, .. }, Bytes { bias, .. }) = self;
        let load = |values: &[i32]| load(lanes(values, channel));
        ([load(low), load(high)], load(multipliers), load(bias))
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, 1>) -> [u8; LANES] {
        let [levels, ..] = self.convert_four(constants, [accumulators; 4]);
        levels
    }

    #[inline(always)]
    fn convert_four(
        &self,
        &(limits, multipliers, bias): &Self::Constants,
        [[a], [b], [c], [d]]: [Accumulators<'_, 1>; 4],
    ) -> [[u8; LANES]; 4] {
        let Self(Cells { shift, cell_shift, .. }, Bytes { parts, .. }) = *self;
        // SAFETY: as said above; limited accumulators lead to cells that are in a part. 64 bytes are 4 x 16, and every
        // pattern of bits is one of each.
        unsafe {
            let a = axis(*shift, limits, multipliers, bias, a);
            let b = axis(*shift, limits, multipliers, bias, b);
            let c = axis(*shift, limits, multipliers, bias, c);
            let d = axis(*shift, limits, multipliers, bias, d);
            // Packing interleaves the four pixels by four channels; unpacking the bytes of entries undoes it.
            let count = _mm_cvtsi32_si128(*cell_shift as i32);
            let first = _mm512_packus_epi32(_mm512_srl_epi32(a, count), _mm512_srl_epi32(b, count));
            let second = _mm512_packus_epi32(_mm512_srl_epi32(c, count), _mm512_srl_epi32(d, count));
            let within = _mm512_set1_epi16(PART as i16 - 1);
            let index =
                _mm512_packus_epi16(_mm512_and_si512(first, within), _mm512_and_si512(second, within));
            let part_of = _mm512_packus_epi16(_mm512_srli_epi16::<7>(first), _mm512_srli_epi16::<7>(second));
            let (head, rest) = parts.split_first().expect("there is at least one part");
            let mut entries = [
                permuted(&head.0[0], index),
                permuted(&head.0[1], index),
                permuted(&head.0[2], index),
                permuted(&head.0[3], index),
            ];
            for (number, part) in (1i8..).zip(rest) {
                let here = _mm512_cmpeq_epi8_mask(part_of, _mm512_set1_epi8(number));
                for (entries, part) in entries.iter_mut().zip(&part.0) {
                    *entries = _mm512_mask_mov_epi8(*entries, here, permuted(part, index));
                }
            }
            let low = _mm512_unpacklo_epi8(entries[0], entries[1]);
            let high = _mm512_unpacklo_epi8(entries[2], entries[3]);
            let a = levels(_mm512_unpacklo_epi16(low, high), a);
            let b = levels(_mm512_unpackhi_epi16(low, high), b);
            let low = _mm512_unpackhi_epi8(entries[0], entries[1]);
            let high = _mm512_unpackhi_epi8(entries[2], entries[3]);
            let c = levels(_mm512_unpacklo_epi16(low, high), c);
            let d = levels(_mm512_unpackhi_epi16(low, high), d);
            let levels = super::pixels_in_order(_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d));
            std::mem::transmute(levels)
        }
    }
}

/// Positions on the axis.
///
/// # Safety
/// - The CPU has AVX-512F.
#[inline(always)]
unsafe fn axis(
    shift: u32,
    [low, high]: [__m512i; 2],
    multipliers: __m512i,
    bias: __m512i,
    accumulators: &[i32; LANES],
) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let limited = _mm512_min_epi32(_mm512_max_epi32(load(accumulators), low), high);
        // The low halves of the shifted products of even lanes, the high ones of odd lanes.
        let right = _mm_cvtsi32_si128(shift as i32);
        let left = _mm_cvtsi32_si128(32 - shift as i32);
        let even = _mm512_srl_epi64(_mm512_mul_epi32(limited, multipliers), right);
        let odd = _mm512_sll_epi64(_mm512_mul_epi32(odd_lanes(limited), odd_lanes(multipliers)), left);
        _mm512_add_epi32(_mm512_mask_mov_epi32(even, 0xaaaa, odd), bias)
    }
}

/// The bytes at the indices, of which the lowest seven bits count.
///
/// # Safety
/// - The CPU has AVX512_VBMI.
#[inline(always)]
unsafe fn permuted(bytes: &[u8; PART], index: __m512i) -> __m512i {
    // SAFETY: the caller's promise; the array has two vectors.
    unsafe {
        let (low, high) =
            (_mm512_loadu_si512(bytes.as_ptr().cast()), _mm512_loadu_si512(bytes[64..].as_ptr().cast()));
        _mm512_permutex2var_epi8(low, index, high)
    }
}

/// Levels as words.
///
/// # Safety
/// - The CPU has AVX-512F.
#[inline(always)]
unsafe fn levels(entries: __m512i, axis: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = _mm512_add_epi32(entries, axis);
        _mm512_srli_epi32::<LEVEL_SHIFT>(_mm512_xor_si512(sums, _mm512_srai_epi32::<31>(sums)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Avx512;
    use super::{Gathered, InBytes};
    use crate::arch::generic::requantize::Instructions;
    use crate::requantize::RequantizeTile;
    use crate::requantize::cells::Cells;
    use crate::requantize::cells::tests::silu;

    /// Which of the two a CPU takes is a matter of speed: here both are compared, on any.
    #[test]
    fn gathered_entries_and_bytes_of_them_give_the_same_levels() {
        let Some(avx512) = Avx512::new() else {
            eprintln!("skipped: this CPU has no AVX-512");
            return;
        };
        let mut parts = Vec::new();
        for (levels, zero, reach) in [(255, 9, 60_000), (255, 0, 2_000_000), (15, 1, 900), (63, 2, 30_000)] {
            for channels in [16, 20, 33] {
                let (spec, ranges) = silu(levels, zero, reach, channels);
                let cells = Cells::new(&spec, &ranges).expect("an axis is exact");
                let in_bytes = InBytes::new(&cells).expect("few cells are reached");
                parts.push(in_bytes.1.parts.len());
                let (pixels, stride) = (1003, channels + 3);
                let accumulators: Vec<i32> = (0..pixels * stride)
                    .map(|index| {
                        let range = ranges[(index % stride).min(channels - 1)];
                        let span = i64::from(range.max) - i64::from(range.min) + 1;
                        let step = (index / stride) as i64 * span / pixels as i64;
                        (i64::from(range.min) + (step + index as i64 * 7919) % span) as i32
                    })
                    .collect();
                let convert = |by_bytes: bool| {
                    let mut levels = vec![255; pixels * channels];
                    let mut tile = RequantizeTile {
                        accumulators: &[&accumulators],
                        stride,
                        pixels,
                        first_channel: 0,
                        channels,
                        levels: &mut levels,
                        level_stride: channels,
                    };
                    if by_bytes {
                        avx512.convert(&InBytes::new(&cells).unwrap(), false, &mut tile);
                    } else {
                        avx512.convert(&Gathered(&cells), false, &mut tile);
                    }
                    levels
                };
                let expected: Vec<u8> = (0..pixels * channels)
                    .map(|index| {
                        let (pixel, channel) = (index / channels, index % channels);
                        cells.level(channel, accumulators[pixel * stride + channel])
                    })
                    .collect();
                assert_eq!(convert(false), expected);
                assert_eq!(convert(true), expected);
            }
        }
        assert!(parts.iter().any(|&parts| parts > 2), "{parts:?}: one part is too easy");
    }
}
