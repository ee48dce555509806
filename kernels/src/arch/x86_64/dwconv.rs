//! Depthwise convolution with AVX2: VPMADDWD multiplies the levels of two taps with their weights and adds both products.
//!
//! ```text
//! for each output pixel, each 16 channels:
//!     sums[2 vectors of 8 channels] = 0
//!     for each pair of taps:
//!         x[2] = their levels, in turn, widened to 16 bits               # VPUNPCKLBW, VPUNPCKHBW, VPMOVZXBW
//!         sums[v] += VPMADDWD(x[v], weights of both, in turn)
//! ```
//!
//! Exact for all weights of 16 bits. In kernels of an odd number of taps the last is paired with itself, with a weight of 0.

use std::arch::x86_64::*;

use crate::families::depthwise::{CHANNELS, DepthwiseKernel, DepthwiseTile};
use crate::ukernel::Engine;

/// Any operands.
pub(crate) static DWCONV_I32_U8_SX_1X16_AVX2_MADD: DepthwiseKernel = DepthwiseKernel {
    name: "dwconv_i32_u8_sx_1x16_avx2_madd",
    engine: Engine::Avx2,
    mr: 1,
    supports: |_| true,
    rate: |_| 12.0,
    packed_len: |taps| taps.div_ceil(2) * PAIR * size_of::<i16>(),
    pack,
    run: dwconv_i32_u8_sx_1x16_avx2_madd,
};

/// Weights of two taps.
const PAIR: usize = 2 * CHANNELS;

/// Packs weights as `[pair of taps][channel][tap]`, of 16 bits.
fn pack(weights: &[[i16; CHANNELS]], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<2>();
    for (index, out) in out.iter_mut().enumerate() {
        let tap = index / PAIR * 2 + index % 2;
        let weight = weights.get(tap).map_or(0, |weights| weights[index / 2 % CHANNELS]);
        *out = weight.to_ne_bytes();
    }
}

#[target_feature(enable = "avx2")]
fn dwconv_i32_u8_sx_1x16_avx2_madd(tile: &mut DepthwiseTile<'_>) {
    let block_len = tile.taps().div_ceil(2) * PAIR * size_of::<i16>();
    for first in (0..tile.channels).step_by(CHANNELS) {
        let weights = tile.weights[first / CHANNELS * block_len..].as_ptr();
        for pixel in 0..tile.pixels {
            let window = tile.input_offset + pixel * tile.pixel_step + first;
            // SAFETY: this function's own contract: the CPU has AVX2 and the tile was checked, so that the block's weights
            // exist, and there is room for a block of sums at each pixel.
            unsafe {
                let sums = convolve(tile, weights.cast(), window);
                let out = tile.sums.as_mut_ptr().add(pixel * tile.sums_stride + first);
                _mm256_storeu_si256(out.cast(), sums[0]);
                _mm256_storeu_si256(out.add(CHANNELS / 2).cast(), sums[1]);
            }
        }
    }
}

/// The sums of 16 channels.
///
/// # Safety
/// - The CPU has AVX2, and the tile has been checked.
/// - `window` is where the levels of these channels lie in a window of the tile, and `weights` are theirs.
#[inline(always)]
unsafe fn convolve(tile: &DepthwiseTile<'_>, mut weights: *const __m256i, window: usize) -> [__m256i; 2] {
    // SAFETY: `check` found 16 bytes to be read at each tap, and there are two vectors of weights for each two taps.
    unsafe {
        let mut sums = [_mm256_setzero_si256(); 2];
        let window = tile.input.as_ptr().add(window);
        let mut offsets = tile.offsets();
        while let Some(offset) = offsets.next() {
            let a = _mm_loadu_si128(window.add(offset).cast());
            let b = offsets.next().map_or(a, |offset| _mm_loadu_si128(window.add(offset).cast()));
            let levels = [_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)];
            for (half, levels) in levels.into_iter().enumerate() {
                let weights = _mm256_loadu_si256(weights.add(half));
                let products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(levels), weights);
                sums[half] = _mm256_add_epi32(sums[half], products);
            }
            weights = weights.add(2);
        }
        sums
    }
}
