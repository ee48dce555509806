//! Depthwise convolution with AVX2: the portable body, compiled for it.

use super::simd::Avx2;
use crate::arch::generic;
use crate::depthwise::DepthwiseTile;

/// Computes a tile. The tile has been checked.
pub(crate) fn depthwise(_: Avx2, tile: &mut DepthwiseTile<'_>) {
    // SAFETY: the token proves AVX2.
    unsafe { instantiation(tile) }
}

#[target_feature(enable = "avx2")]
fn instantiation(tile: &mut DepthwiseTile<'_>) {
    generic::depthwise::depthwise(tile);
}
