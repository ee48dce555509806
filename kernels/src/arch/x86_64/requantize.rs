//! Accumulators to levels with AVX2: the portable bodies, compiled for it, and by hand where loads are gathered.

mod cells;

use super::simd::Avx2;
use crate::arch::generic::requantize as generic;
use crate::arch::generic::requantize::{Convert, Instructions};
use crate::requantize::forms::Form;
use crate::requantize::{RequantizeTile, TransformTile};

impl Instructions for Avx2 {
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

/// Converts a tile, which has been checked; see [`generic::requantize`].
pub(crate) fn requantize(avx2: Avx2, form: &Form, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    match form {
        Form::Cells(form) => avx2.convert(&cells::Gathered(form), one_for_all, tile),
        form => generic::requantize(avx2, form, one_for_all, tile),
    }
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn convert<F: Convert<T>, const T: usize>(form: &F, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    generic::convert(form, one_for_all, tile);
}

/// Sums to accumulators, in place.
pub(crate) fn transform(_: Avx2, tile: &TransformTile<'_>, sums: &mut [i32], totals: &[i32]) {
    // SAFETY: the token proves AVX2.
    unsafe { transform_avx2(tile, sums, totals) }
}

#[target_feature(enable = "avx2")]
fn transform_avx2(tile: &TransformTile<'_>, sums: &mut [i32], totals: &[i32]) {
    generic::transform(tile, sums, totals);
}
