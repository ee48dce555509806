//! From 32-bit sums to levels as bytes without leaving the registers. A level takes 0.7 cycles on a Cortex-A72; by
//! way of memory it is 1.3.

use super::{Mlal, convolve_pixels};
use crate::arch::aarch64::levels::{call_by_pre_shift, narrow, store_levels};
use crate::arch::generic::mulconv::OUTPUTS;
use crate::families::direct::LevelsTile;
use crate::requantize::forms::{LANES, Narrow};

/// Computes a tile, with [`Mlal`].
///
/// # Safety
/// - The CPU has NEON.
/// - The tile has been checked, by `ConvTile::check_input` and `LevelsEnd::check`, against a micro-kernel of
///   [`OUTPUTS`] outputs, its weights were packed by `pack_block`, and its requantizer is narrow.
#[target_feature(enable = "neon")]
pub(super) unsafe fn convolve_levels(tile: &mut LevelsTile<'_>) {
    let narrow = narrow(tile.end.requantizer);
    // SAFETY: the caller's promises.
    unsafe { call_by_pre_shift!(narrow.pre_shift, convolve_shifted(tile, narrow)) }
}

/// # Safety
/// - As [`convolve_levels`], and the pre-shift is `HALF + 1`.
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn convolve_shifted<const HALF: i32>(tile: &mut LevelsTile<'_>, narrow: &Narrow) {
    const { assert!(OUTPUTS == LANES) }
    let mut pixel = 0;
    while pixel + 4 <= tile.conv.pixels {
        // SAFETY: these 4 pixels exist; the rest is the caller's promise.
        unsafe {
            let sums = convolve_pixels::<Mlal, 4>(&tile.conv, pixel);
            store_levels::<HALF, 4>(&sums, &mut tile.end, narrow, (pixel, 0));
        }
        pixel += 4;
    }
    while pixel < tile.conv.pixels {
        // SAFETY: this pixel exists; the rest is the caller's promise.
        unsafe {
            let sums = convolve_pixels::<Mlal, 1>(&tile.conv, pixel);
            store_levels::<HALF, 1>(&sums, &mut tile.end, narrow, (pixel, 0));
        }
        pixel += 1;
    }
}
