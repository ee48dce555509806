//! Accumulators to levels with NEON, by hand where compilers do not find the narrowing instructions.
//!
//! Cycles per level on a Cortex-A72, the pipe bound of tiles of 40 pixels and 64 channels, calls
//! included:
//!
//! | | by hand | portable loops |
//! |---|---|---|
//! | 1 threshold of 16 bits | 0.47 | 0.49 |
//! | 3 thresholds of 16 bits | 0.65 | 0.80 |
//! | 3 thresholds of 32 bits | 0.97 | 1.44 |
//! | narrow | 0.67 | 3.01 |
//! | fixed | 1.06 | 2.89 |

mod cells;

use std::arch::aarch64::*;

use super::simd::Neon;
use crate::arch::generic::requantize as generic;
use crate::arch::generic::requantize::{Accumulators, Convert, Instructions, another_form, kernel, lanes};
use crate::requantize::forms::{Form, LANES, Narrow, PRE_SHIFTS, Scale64, Thresholds};
use crate::requantize::{RequantizeKernel, RequantizeTile};
use crate::ukernel::Engine;

impl Instructions for Neon {
    unsafe fn assume() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::new_unchecked() }
    }

    fn convert<F: Convert<T>, const T: usize>(
        self,
        form: &F,
        one_for_all: bool,
        tile: &mut RequantizeTile<'_>,
    ) {
        // SAFETY: the token proves NEON.
        unsafe { convert(form, one_for_all, tile) }
    }
}

#[inline(never)]
#[target_feature(enable = "neon")]
fn convert<F: Convert<T>, const T: usize>(form: &F, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    generic::convert(form, one_for_all, tile);
}

pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS16_NEON: RequantizeKernel =
    kernel("requantize_u8_i32_thresholds16_neon", Engine::Neon, "thresholds16", thresholds16);
pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS32_NEON: RequantizeKernel =
    kernel("requantize_u8_i32_thresholds32_neon", Engine::Neon, "thresholds32", thresholds32);
pub(crate) static REQUANTIZE_U8_I32_NARROW_NEON: RequantizeKernel =
    kernel("requantize_u8_i32_narrow_neon", Engine::Neon, "narrow", narrow);
pub(crate) static REQUANTIZE_U8_I32_FIXED_NEON: RequantizeKernel =
    kernel("requantize_u8_i32_fixed_neon", Engine::Neon, "fixed", fixed);
pub(crate) static REQUANTIZE_U8_I32_WIDE_NEON: RequantizeKernel =
    kernel("requantize_u8_i32_wide_neon", Engine::Neon, "wide", generic::wide::<Neon>);
pub(crate) static REQUANTIZE_U8_I32_CELLS_NEON: RequantizeKernel =
    kernel("requantize_u8_i32_cells_neon", Engine::Neon, "cells", cells);
pub(crate) static REQUANTIZE_U8_I32_SEARCH_NEON: RequantizeKernel =
    kernel("requantize_u8_i32_search_neon", Engine::Neon, "search", generic::search::<Neon>);

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn thresholds16(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Thresholds16(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    let neon = unsafe { Neon::assume() };
    match form.steps {
        1 => neon.convert(&Few16::<1>(form), one_for_all, tile),
        2 => neon.convert(&Few16::<2>(form), one_for_all, tile),
        3 => neon.convert(&Few16::<3>(form), one_for_all, tile),
        _ => generic::thresholds(neon, form, one_for_all, tile),
    }
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn thresholds32(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Thresholds32(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    let neon = unsafe { Neon::assume() };
    match form.steps {
        1 => neon.convert(&Few32::<1>(form), one_for_all, tile),
        2 => neon.convert(&Few32::<2>(form), one_for_all, tile),
        3 => neon.convert(&Few32::<3>(form), one_for_all, tile),
        _ => generic::thresholds(neon, form, one_for_all, tile),
    }
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn narrow(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Narrow(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    by_pre_shift(unsafe { Neon::assume() }, form, one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn fixed(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Fixed(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { Neon::assume() }.convert_terms(&Fixed(form), one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn cells(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Cells(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    cells::requantize(unsafe { Neon::assume() }, form, one_for_all, tile);
}

/// The loop for each pre-shift, less the one that SQDMULH does by doubling.
fn by_pre_shift(neon: Neon, form: &Narrow, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let [p0, p1, p2, p3, p4, _] = PRE_SHIFTS;
    match form.pre_shift {
        shift if shift == p0 => neon.convert(&Shifted::<0>(form), one_for_all, tile),
        shift if shift == p1 => neon.convert(&Shifted::<4>(form), one_for_all, tile),
        shift if shift == p2 => neon.convert(&Shifted::<8>(form), one_for_all, tile),
        shift if shift == p3 => neon.convert(&Shifted::<12>(form), one_for_all, tile),
        shift if shift == p4 => neon.convert(&Shifted::<16>(form), one_for_all, tile),
        _ => neon.convert(&Shifted::<20>(form), one_for_all, tile),
    }
}

/// [`Thresholds`] of 16 bits with `N` steps.
struct Few16<'a, const N: usize>(&'a Thresholds<i16>);

/// [`Thresholds`] of 32 bits with `N` steps.
struct Few32<'a, const N: usize>(&'a Thresholds<i32>);

/// [`Narrow`] with a pre-shift of `HALF + 1`.
struct Shifted<'a, const HALF: i32>(&'a Narrow);

/// [`Scale64`] with a shift that counts from bit 32.
struct Fixed<'a>(&'a Scale64);

/// 16 accumulators, multipliers or thresholds.
pub(super) type Words = [int32x4_t; 4];

// SAFETY of all blocks below: the types are private to this file and only used with
// a token, so the CPU has NEON; pointers come from arrays and array references of the length that is loaded or
// stored.

impl<const N: usize> Convert<1> for Few16<'_, N> {
    type Constants = ([[int16x8_t; 2]; N], uint8x16_t, uint8x16_t);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let form = self.0;
        let thresholds = std::array::from_fn(|step| {
            let row = lanes(&form.thresholds, step * form.base.len() + channel);
            // SAFETY: as said above.
            unsafe { [vld1q_s16(row.as_ptr()), vld1q_s16(row.as_ptr().add(8))] }
        });
        let [base, direction] = [&form.base, &form.direction].map(|bytes| load_bytes(lanes(bytes, channel)));
        (thresholds, base, direction)
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let (thresholds, base, direction) = constants;
        let [a, b, c, d] = load_words(accumulators);
        // SAFETY: as said above.
        unsafe {
            let low = vqmovn_high_s32(vqmovn_s32(a), b);
            let high = vqmovn_high_s32(vqmovn_s32(c), d);
            let count = |accumulators: int16x8_t, half: usize| {
                let mut count = vcgtq_s16(accumulators, thresholds[0][half]);
                for thresholds in &thresholds[1..] {
                    count = vaddq_u16(count, vcgtq_s16(accumulators, thresholds[half]));
                }
                vreinterpretq_s16_u16(count)
            };
            levels_of_counts(count(low, 0), count(high, 1), *base, *direction)
        }
    }
}

impl<const N: usize> Convert<1> for Few32<'_, N> {
    type Constants = ([Words; N], uint8x16_t, uint8x16_t);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let form = self.0;
        let row = form.base.len();
        let thresholds =
            std::array::from_fn(|step| load_words(lanes(&form.thresholds, step * row + channel)));
        let [base, direction] = [&form.base, &form.direction].map(|bytes| load_bytes(lanes(bytes, channel)));
        (thresholds, base, direction)
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let (thresholds, base, direction) = constants;
        let accumulators = load_words(accumulators);
        // SAFETY: as said above.
        unsafe {
            let count = |part: usize| {
                let mut count = vcgtq_s32(accumulators[part], thresholds[0][part]);
                for thresholds in &thresholds[1..] {
                    count = vaddq_u32(count, vcgtq_s32(accumulators[part], thresholds[part]));
                }
                vreinterpretq_s32_u32(count)
            };
            let low = vqmovn_high_s32(vqmovn_s32(count(0)), count(1));
            let high = vqmovn_high_s32(vqmovn_s32(count(2)), count(3));
            levels_of_counts(low, high, *base, *direction)
        }
    }
}

impl<const HALF: i32> Convert<1> for Shifted<'_, HALF> {
    type Constants = NarrowConstants;

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        NarrowConstants::new(self.0, channel)
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        // SAFETY: as said above.
        store_bytes(unsafe { narrow_levels::<HALF>(load_words(accumulators), constants) })
    }
}

/// What [`narrow_levels`] needs for [`LANES`] channels.
pub(super) struct NarrowConstants {
    multipliers: Words,
    bias: Words,
    max_level: uint8x16_t,
}

impl NarrowConstants {
    /// Those of the channels from `channel` on.
    #[inline(always)]
    pub(super) fn new(form: &Narrow, channel: usize) -> Self {
        Self {
            multipliers: load_words(lanes(&form.multipliers, channel)),
            bias: load_words(lanes(&form.bias, channel)),
            max_level: load_bytes(&[form.max_level; LANES]),
        }
    }
}

/// [`Narrow`] with a pre-shift of `HALF + 1`.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
pub(super) unsafe fn narrow_levels<const HALF: i32>(
    accumulators: Words,
    NarrowConstants { multipliers, bias, max_level }: &NarrowConstants,
) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe {
        let product = |part: usize| {
            let shifted = vshlq_n_s32::<HALF>(accumulators[part]);
            vqdmulhq_s32(shifted, multipliers[part])
        };
        let sums = |part: usize| {
            let low = vaddhn_s32(product(part), bias[part]);
            vaddhn_high_s32(low, product(part + 1), bias[part + 1])
        };
        let levels = vqmovun_high_s16(vqmovun_s16(sums(0)), sums(2));
        vminq_u8(levels, *max_level)
    }
}

impl<const T: usize> Convert<T> for Fixed<'_> {
    /// Multipliers, bias, shift to the left, largest level.
    type Constants = ([Words; T], [int64x2_t; 8], int32x4_t, uint8x16_t);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let form = self.0;
        let row = form.bias.len();
        let term = |term: usize| load_words(lanes(&form.multipliers, term * row + channel));
        let bias = lanes(&form.bias, channel);
        // SAFETY: as said above.
        let bias = std::array::from_fn(|pair| unsafe { vld1q_s64(bias.as_ptr().add(2 * pair)) });
        // SAFETY: as said above.
        let shift = unsafe { vdupq_n_s32(-(form.shift as i32)) };
        (std::array::from_fn(term), bias, shift, load_bytes(&[form.max_level; LANES]))
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, T>) -> [u8; LANES] {
        let (multipliers, bias, shift, max_level) = constants;
        let accumulators = accumulators.map(load_words);
        // SAFETY: as said above.
        unsafe {
            let part = |part: usize| {
                let (a, m) = (accumulators[0][part], multipliers[0][part]);
                let mut low = vmull_s32(vget_low_s32(a), vget_low_s32(m));
                let mut high = vmull_high_s32(a, m);
                for term in 1..T {
                    let (a, m) = (accumulators[term][part], multipliers[term][part]);
                    low = vmlal_s32(low, vget_low_s32(a), vget_low_s32(m));
                    high = vmlal_high_s32(high, a, m);
                }
                let sum = vaddhn_high_s64(vaddhn_s64(low, bias[2 * part]), high, bias[2 * part + 1]);
                vshlq_s32(sum, *shift)
            };
            let low = vqmovun_high_s32(vqmovun_s32(part(0)), part(1));
            let high = vqmovun_high_s32(vqmovun_s32(part(2)), part(3));
            let levels = vqmovn_high_u16(vqmovn_u16(low), high);
            store_bytes(vminq_u8(levels, *max_level))
        }
    }
}

/// Levels from negative counts. Counts are narrowed with saturation, although they are small: LLVM
/// turns a plain narrowing of comparisons into UZP1, which takes three slots on a Cortex-A72, and into
/// one for each comparison.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn levels_of_counts(
    low: int16x8_t,
    high: int16x8_t,
    base: uint8x16_t,
    direction: uint8x16_t,
) -> [u8; LANES] {
    // SAFETY: the caller's promise.
    unsafe {
        let counts = vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(low), high));
        store_bytes(vaddq_u8(base, veorq_u8(counts, direction)))
    }
}

#[inline(always)]
fn load_words(words: &[i32; LANES]) -> Words {
    let words = words.as_ptr();
    // Without a closure, which is not always inlined.
    // SAFETY: as said above.
    unsafe { [vld1q_s32(words), vld1q_s32(words.add(4)), vld1q_s32(words.add(8)), vld1q_s32(words.add(12))] }
}

#[inline(always)]
fn load_bytes(bytes: &[u8; LANES]) -> uint8x16_t {
    // SAFETY: as said above.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline(always)]
fn store_bytes(bytes: uint8x16_t) -> [u8; LANES] {
    let mut array = [0; LANES];
    // SAFETY: as said above.
    unsafe { vst1q_u8(array.as_mut_ptr(), bytes) };
    array
}
