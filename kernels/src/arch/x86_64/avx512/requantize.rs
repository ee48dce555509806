//! Accumulators to levels with AVX-512, by hand where comparisons make masks and where a product's high half is
//! wanted; other forms are left to AVX2.

mod cells;
mod words;

use std::arch::x86_64::*;

pub(crate) use cells::{Gathered, InBytes};
use words::Words;

use super::Avx512;
use crate::arch::generic::requantize as generic;
use crate::arch::generic::requantize::{Accumulators, Convert, Instructions, another_form, kernel, lanes};
use crate::requantize::forms::{Form, LANES, Narrow, Scale64, Thresholds};
use crate::requantize::{RequantizeKernel, RequantizeTile, Transform, TransformTile};
use crate::ukernel::Engine;

impl Instructions for Avx512 {
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
        // SAFETY: the token proves the instructions.
        unsafe { convert(form, one_for_all, tile) }
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn convert<F: Convert<T>, const T: usize>(form: &F, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    generic::convert(form, one_for_all, tile);
}

pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS16_AVX512: RequantizeKernel =
    kernel("requantize_u8_i32_thresholds16_avx512", Engine::Avx512, "thresholds16", thresholds16);
pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS32_AVX512: RequantizeKernel =
    kernel("requantize_u8_i32_thresholds32_avx512", Engine::Avx512, "thresholds32", thresholds32);
pub(crate) static REQUANTIZE_U8_I32_NARROW_AVX512: RequantizeKernel =
    kernel("requantize_u8_i32_narrow_avx512", Engine::Avx512, "narrow", narrow);
pub(crate) static REQUANTIZE_U8_I32_FIXED_AVX512: RequantizeKernel =
    kernel("requantize_u8_i32_fixed_avx512", Engine::Avx512, "fixed", fixed);
pub(crate) static REQUANTIZE_U8_I32_CELLS_AVX512: RequantizeKernel =
    kernel("requantize_u8_i32_cells_avx512", Engine::Avx512, "cells", cells);

/// Sums to accumulators.
pub(crate) static TRANSFORM_AVX512: Transform = Transform { engine: Engine::Avx512, run: transform_avx512 };

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn thresholds16(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Thresholds16(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    let avx512 = unsafe { Avx512::assume() };
    match form.steps {
        0..=3 => thresholds(avx512, form, one_for_all, tile),
        4..=7 => avx512.convert(&Words::<7>(form), one_for_all, tile),
        _ => avx512.convert(&Words::<15>(form), one_for_all, tile),
    }
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn thresholds32(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Thresholds32(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    thresholds(unsafe { Avx512::assume() }, form, one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn narrow(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Narrow(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { Avx512::assume() }.convert(&Shifted(form), one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn fixed(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Fixed(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { Avx512::assume() }.convert_terms(&Fixed(form), one_for_all, tile);
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn cells(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Cells(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    let avx512 = unsafe { Avx512::assume() };
    match InBytes::of(form) {
        Some(form) => avx512.convert(&form, one_for_all, tile),
        None => avx512.convert(&Gathered(form), one_for_all, tile),
    }
}

fn thresholds<E: Element>(
    avx512: Avx512,
    form: &Thresholds<E>,
    one_for_all: bool,
    tile: &mut RequantizeTile<'_>,
) {
    match form.steps {
        0 => avx512.convert(&Few::<E, 0>(form), one_for_all, tile),
        1 => avx512.convert(&Few::<E, 1>(form), one_for_all, tile),
        2 => avx512.convert(&Few::<E, 2>(form), one_for_all, tile),
        3 => avx512.convert(&Few::<E, 3>(form), one_for_all, tile),
        4..=7 => avx512.convert(&Few::<E, 7>(form), one_for_all, tile),
        _ => avx512.convert(&Few::<E, 15>(form), one_for_all, tile),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn transform_avx512(tile: &TransformTile<'_>, sums: &mut [i32], totals: &[i32]) {
    generic::transform(tile, sums, totals);
}

// SAFETY of all blocks below: the types are only used with a token of the instructions, so
// the CPU has the instructions; pointers come from array references of the length that is loaded or stored.

/// A type of thresholds.
pub(crate) trait Element: Copy {
    /// The thresholds of 16 channels, such that comparing an accumulator as it is gives what comparing it
    /// saturated to this type gives.
    fn load(thresholds: &[Self; LANES]) -> __m512i;
}

impl Element for i32 {
    #[inline(always)]
    fn load(thresholds: &[i32; LANES]) -> __m512i {
        // SAFETY: as said above.
        unsafe { _mm512_loadu_si512(thresholds.as_ptr().cast()) }
    }
}

impl Element for i16 {
    /// The one threshold that no saturated accumulator exceeds must be out of reach here, too.
    #[inline(always)]
    fn load(thresholds: &[i16; LANES]) -> __m512i {
        // SAFETY: as said above.
        unsafe {
            let wide = _mm512_cvtepi16_epi32(_mm256_loadu_si256(thresholds.as_ptr().cast()));
            let never = _mm512_cmpeq_epi32_mask(wide, _mm512_set1_epi32(i16::MAX.into()));
            _mm512_mask_set1_epi32(wide, never, i32::MAX)
        }
    }
}

/// [`Thresholds`] of at most `N` steps.
pub(crate) struct Few<'a, E, const N: usize>(pub(crate) &'a Thresholds<E>);

impl<E: Element, const N: usize> Convert<1> for Few<'_, E, N> {
    type Constants = ([__m512i; N], __m128i, __m128i);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let form = self.0;
        let row = form.base.len();
        // SAFETY: as said above.
        unsafe {
            let mut thresholds = [_mm512_set1_epi32(i32::MAX); N];
            for (step, thresholds) in thresholds.iter_mut().enumerate().take(form.steps) {
                *thresholds = E::load(lanes(&form.thresholds, step * row + channel));
            }
            let load = |bytes: &[u8]| _mm_loadu_si128(lanes(bytes, channel).as_ptr().cast());
            (thresholds, load(&form.base), load(&form.direction))
        }
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let (thresholds, base, direction) = constants;
        // SAFETY: as said above.
        unsafe {
            let accumulators = _mm512_loadu_si512(accumulators.as_ptr().cast());
            let mut count = _mm512_setzero_si512();
            for &thresholds in thresholds {
                let passed = _mm512_cmpgt_epi32_mask(accumulators, thresholds);
                count = _mm512_mask_sub_epi32(count, passed, count, _mm512_set1_epi32(1));
            }
            let count = _mm_xor_si128(_mm512_cvtepi32_epi8(count), *direction);
            bytes(_mm_add_epi8(*base, count))
        }
    }
}

/// [`Narrow`].
pub(crate) struct Shifted<'a>(pub(crate) &'a Narrow);

impl Convert<1> for Shifted<'_> {
    type Constants = (__m512i, __m512i);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        (load(lanes(&self.0.multipliers, channel)), load(lanes(&self.0.bias, channel)))
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let &(multipliers, bias) = constants;
        // SAFETY: as said above.
        unsafe {
            let shift = _mm_cvtsi32_si128(self.0.pre_shift as i32);
            let shifted = _mm512_sll_epi32(load(accumulators), shift);
            let even = _mm512_mul_epi32(shifted, multipliers);
            let odd = _mm512_mul_epi32(odd_lanes(shifted), odd_lanes(multipliers));
            let sums = _mm512_add_epi32(high_halves(even, odd), bias);
            clamp(_mm512_srai_epi32::<16>(sums), self.0.max_level)
        }
    }
}

/// [`Scale64`] with a shift that counts from bit 32.
pub(crate) struct Fixed<'a>(pub(crate) &'a Scale64);

/// A factor or an addend of the even and of the odd channels.
type Halves = [__m512i; 2];

impl<const T: usize> Convert<T> for Fixed<'_> {
    type Constants = ([Halves; T], Halves);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let row = self.0.bias.len();
        // SAFETY: as said above.
        unsafe {
            let mut multipliers = [[_mm512_setzero_si512(); 2]; T];
            for (term, halves) in multipliers.iter_mut().enumerate() {
                let all = load(lanes(&self.0.multipliers, term * row + channel));
                *halves = [all, odd_lanes(all)];
            }
            let bias = lanes(&self.0.bias, channel);
            let low = _mm512_loadu_si512(bias.as_ptr().cast());
            let high = _mm512_loadu_si512(bias.as_ptr().add(LANES / 2).cast());
            let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
            let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
            let select = |order: __m512i| _mm512_permutex2var_epi64(low, order, high);
            (multipliers, [select(even), select(odd)])
        }
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, T>) -> [u8; LANES] {
        let (multipliers, bias) = constants;
        // SAFETY: as said above.
        unsafe {
            let [mut even, mut odd] = *bias;
            for (multipliers, accumulators) in multipliers.iter().zip(accumulators) {
                let accumulators = load(accumulators);
                even = _mm512_add_epi64(even, _mm512_mul_epi32(accumulators, multipliers[0]));
                odd = _mm512_add_epi64(odd, _mm512_mul_epi32(odd_lanes(accumulators), multipliers[1]));
            }
            let shift = _mm_cvtsi32_si128(self.0.shift as i32);
            clamp(_mm512_sra_epi32(high_halves(even, odd), shift), self.0.max_level)
        }
    }
}

#[inline(always)]
fn load(lanes: &[i32; LANES]) -> __m512i {
    // SAFETY: as said above.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

/// The odd lanes in the places of the even ones, where VPMULDQ reads.
#[inline(always)]
fn odd_lanes(lanes: __m512i) -> __m512i {
    // SAFETY: as said above.
    unsafe { _mm512_srli_epi64::<32>(lanes) }
}

/// The high halves of the products of even and of odd lanes, in the order of the lanes.
#[inline(always)]
fn high_halves(even: __m512i, odd: __m512i) -> __m512i {
    // SAFETY: as said above.
    unsafe { _mm512_mask_mov_epi32(odd_lanes(even), 0xaaaa, odd) }
}

/// `clamp(value, 0, max_level)` in bytes.
#[inline(always)]
fn clamp(values: __m512i, max_level: u8) -> [u8; LANES] {
    // SAFETY: as said above.
    unsafe {
        let values = _mm512_max_epi32(values, _mm512_setzero_si512());
        let values = _mm512_min_epi32(values, _mm512_set1_epi32(max_level.into()));
        bytes(_mm512_cvtepi32_epi8(values))
    }
}

#[inline(always)]
fn bytes(vector: __m128i) -> [u8; LANES] {
    let mut bytes = [0; LANES];
    // SAFETY: as said above.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) };
    bytes
}

/// The bytes of four pixels, one after another, from their words: of pixels 0 and 1 and of 2 and 3, packed as VPACKUSDW
/// and VPACKSSDW do, alternating every four channels.
///
/// # Safety
/// - The CPU has AVX-512BW.
#[inline(always)]
unsafe fn pixels_in_order(first: __m512i, second: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second))
    }
}
