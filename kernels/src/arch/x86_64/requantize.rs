//! Accumulators to levels with AVX2: the portable bodies, compiled for it, and by hand where loads are gathered.

mod cells;

use super::simd::Avx2;
use crate::arch::generic::requantize as generic;
use crate::arch::generic::requantize::{Convert, Instructions, another_form, kernel};
use crate::requantize::forms::Form;
use crate::requantize::{RequantizeKernel, RequantizeTile, Transform, TransformTile};
use crate::ukernel::Engine;

pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS16_AVX2: RequantizeKernel = kernel(
    "requantize_u8_i32_thresholds16_avx2",
    Engine::Avx2,
    "thresholds16",
    generic::thresholds16::<Avx2>,
);
pub(crate) static REQUANTIZE_U8_I32_THRESHOLDS32_AVX2: RequantizeKernel = kernel(
    "requantize_u8_i32_thresholds32_avx2",
    Engine::Avx2,
    "thresholds32",
    generic::thresholds32::<Avx2>,
);
pub(crate) static REQUANTIZE_U8_I32_NARROW_AVX2: RequantizeKernel =
    kernel("requantize_u8_i32_narrow_avx2", Engine::Avx2, "narrow", generic::narrow::<Avx2>);
pub(crate) static REQUANTIZE_U8_I32_FIXED_AVX2: RequantizeKernel =
    kernel("requantize_u8_i32_fixed_avx2", Engine::Avx2, "fixed", generic::fixed::<Avx2>);
pub(crate) static REQUANTIZE_U8_I32_WIDE_AVX2: RequantizeKernel =
    kernel("requantize_u8_i32_wide_avx2", Engine::Avx2, "wide", generic::wide::<Avx2>);
pub(crate) static REQUANTIZE_U8_I32_CELLS_AVX2: RequantizeKernel =
    kernel("requantize_u8_i32_cells_avx2", Engine::Avx2, "cells", cells);
pub(crate) static REQUANTIZE_U8_I32_SEARCH_AVX2: RequantizeKernel =
    kernel("requantize_u8_i32_search_avx2", Engine::Avx2, "search", generic::search::<Avx2>);

/// Sums to accumulators.
pub(crate) static TRANSFORM_AVX2: Transform = Transform { engine: Engine::Avx2, run: transform_avx2 };

impl Instructions for Avx2 {
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
        // SAFETY: the token proves AVX2.
        unsafe { convert(form, one_for_all, tile) }
    }
}

/// # Safety
/// - As [`RequantizeKernel::run`].
unsafe fn cells(form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    let Form::Cells(form) = form else { another_form(form) };
    // SAFETY: the caller's promise.
    unsafe { Avx2::assume() }.convert(&cells::Gathered(form), one_for_all, tile);
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn convert<F: Convert<T>, const T: usize>(form: &F, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    generic::convert(form, one_for_all, tile);
}

#[target_feature(enable = "avx2")]
fn transform_avx2(tile: &TransformTile<'_>, sums: &mut [i32], totals: &[i32]) {
    generic::transform(tile, sums, totals);
}
