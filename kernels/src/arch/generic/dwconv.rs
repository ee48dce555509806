//! Depthwise convolution in plain loops that compilers vectorise. See [`crate::families::depthwise`].

use crate::families::depthwise::{CHANNELS, DepthwiseKernel, DepthwiseTile};
use crate::ukernel::Engine;

/// Any operands.
pub(crate) static DWCONV_I32_U8_SX_1X16_GENERIC: DepthwiseKernel = DepthwiseKernel {
    name: "dwconv_i32_u8_sx_1x16_generic",
    engine: Engine::Generic,
    mr: 1,
    supports: |_| true,
    rate: |_| 1.2,
    packed_len: |taps| taps * CHANNELS * size_of::<i16>(),
    pack,
    run: dwconv_i32_u8_sx_1x16_generic,
};

/// Packs weights as they are: `[tap][channel]`, of 16 bits.
pub(crate) fn pack(weights: &[[i16; CHANNELS]], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<2>();
    for (out, weight) in out.iter_mut().zip(weights.as_flattened()) {
        *out = weight.to_ne_bytes();
    }
}

fn dwconv_i32_u8_sx_1x16_generic(tile: &mut DepthwiseTile<'_>) {
    let block_len = tile.taps() * CHANNELS * size_of::<i16>();
    for pixel in 0..tile.pixels {
        for first in (0..tile.channels).step_by(CHANNELS) {
            let window = tile.input_offset + pixel * tile.pixel_step + first;
            let (weights, _) = tile.weights[first / CHANNELS * block_len..][..block_len].as_chunks::<2>();
            let mut sums = [0i32; CHANNELS];
            for (offset, weights) in tile.offsets().zip(weights.chunks_exact(CHANNELS)) {
                let levels = &tile.input[window + offset..][..CHANNELS];
                for ((sum, &level), &weight) in sums.iter_mut().zip(levels).zip(weights) {
                    *sum = sum.wrapping_add(i32::from(level) * i32::from(i16::from_ne_bytes(weight)));
                }
            }
            tile.sums[pixel * tile.sums_stride + first..][..CHANNELS].copy_from_slice(&sums);
        }
    }
}
