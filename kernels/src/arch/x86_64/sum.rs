//! Sums of levels with AVX2: the portable body, compiled for it.

use super::simd::Avx2;
use crate::sum::NarrowSum;

/// Computes a row. The lengths have been checked.
pub(crate) fn apply(_: Avx2, sum: &NarrowSum, a: &[u8], b: &[u8], output: &mut [u8]) {
    // SAFETY: the token proves AVX2.
    unsafe { instantiation(sum, a, b, output) }
}

#[target_feature(enable = "avx2")]
fn instantiation(sum: &NarrowSum, a: &[u8], b: &[u8], output: &mut [u8]) {
    sum.levels(a, b, output);
}
