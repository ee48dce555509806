//! Depthwise convolution in plain loops that compilers vectorise. See [`crate::depthwise`].

use crate::depthwise::DepthwiseTile;

/// Channels that are computed side by side: their sums stay in registers over all taps.
const LANES: usize = 16;

/// Computes a tile. The tile has been checked.
#[inline(always)]
pub(crate) fn depthwise(tile: &mut DepthwiseTile<'_>) {
    for pixel in 0..tile.pixels {
        let mut channel = 0;
        while channel + LANES <= tile.channels {
            convolve::<LANES>(tile, pixel, channel);
            channel += LANES;
        }
        while channel < tile.channels {
            convolve::<1>(tile, pixel, channel);
            channel += 1;
        }
    }
}

/// Computes `N` channels of a pixel.
#[inline(always)]
fn convolve<const N: usize>(tile: &mut DepthwiseTile<'_>, pixel: usize, channel: usize) {
    let window = tile.input_offset + pixel * tile.pixel_step + channel;
    let mut sums = [0i32; N];
    for (tap, &offset) in tile.taps.iter().enumerate() {
        let levels = &tile.input[window + offset..][..N];
        let weights = &tile.weights[tap * tile.channels + channel..][..N];
        for ((sum, &level), &weight) in sums.iter_mut().zip(levels).zip(weights) {
            *sum = sum.wrapping_add(i32::from(level) * i32::from(weight));
        }
    }
    tile.sums[pixel * tile.channels + channel..][..N].copy_from_slice(&sums);
}
