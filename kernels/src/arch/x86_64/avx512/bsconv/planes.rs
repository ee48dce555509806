//! Bit-serial convolution that ends in bit planes.

use std::arch::x86_64::*;

use super::super::for_pixels;
use super::super::planes::{Steps, store_planes};
use super::{add_up_totals, convolve};
use crate::families::direct::PlanesTile;
use crate::requantize::PlaneStepsRows;

/// # Safety
/// - As [`crate::families::direct::ConvPlanes`].
pub(super) unsafe fn run_planes<const V: usize>(tile: &mut PlanesTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise; the instance is that of its widths. Steps are for
    // one or two bits, those of the levels.
    unsafe {
        match (tile.conv.weight_bits, tile.conv.activation_bits) {
            (1, 1) => difference_planes::<1, V>(tile),
            (1, 2) => difference_planes::<2, V>(tile),
            (2, 1) => planes::<2, 1, V>(tile),
            (2, 2) => planes::<2, 2, V>(tile),
            (3, 1) => planes::<3, 1, V>(tile),
            (4, 1) => planes::<4, 1, V>(tile),
            (w, a) => unreachable!("{w} by {a} bits are not supported"),
        }
    }
}

/// For weights −1 and +1.
///
/// # Safety
/// - As [`crate::families::direct::ConvPlanes`], and the tile has weights of one bit and levels of `A` bits.
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bitalg,avx512vpopcntdq,popcnt"
)]
unsafe fn difference_planes<const A: usize, const V: usize>(tile: &mut PlanesTile<'_>) {
    let PlaneStepsRows::Wide(rows) = &tile.steps.rows else {
        unreachable!("steps are those of weights −1 and +1");
    };
    // SAFETY: the CPU and the tile are the caller's promise.
    let steps = unsafe { Steps::wide::<A>(rows, tile.first_channel) };
    for_pixels!(tile.conv.pixels, [8, 4, 2, 1], |pixel, P| {
        // SAFETY: the CPU and the tile are the caller's promise; the pixels exist.
        unsafe {
            let sums = convolve::<1, A, V, P, true>(&tile.conv, pixel);
            for (index, sums) in sums.iter().enumerate() {
                let planes = tile.planes.as_mut_ptr().add((pixel + index) * tile.planes_stride);
                store_planes::<V, A>(planes, tile.outputs, sums, &steps);
            }
        }
    });
}

/// # Safety
/// - As [`crate::families::direct::ConvPlanes`], and the tile has these widths.
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bitalg,avx512vpopcntdq,popcnt"
)]
unsafe fn planes<const W: usize, const A: usize, const V: usize>(tile: &mut PlanesTile<'_>) {
    let total_scale = i32::from(tile.steps.total_scale);
    let PlaneStepsRows::Narrow(rows) = &tile.steps.rows else {
        unreachable!("steps are those of sums that are compared as they are");
    };
    // SAFETY: the CPU and the tile are the caller's promise.
    let steps = unsafe {
        if tile.compute_totals && total_scale != 0 {
            add_up_totals::<A>(&mut tile.conv);
        }
        Steps::narrow::<A>(rows, tile.first_channel)
    };
    for_pixels!(tile.conv.pixels, [8, 4, 2, 1], |pixel, P| {
        // SAFETY: the CPU and the tile are the caller's promise; the pixels exist.
        unsafe {
            let sums = convolve::<W, A, V, P, false>(&tile.conv, pixel);
            for (index, mut sums) in sums.into_iter().enumerate() {
                let total = if total_scale == 0 { 0 } else { tile.conv.totals[pixel + index] };
                for sum in &mut sums {
                    *sum = _mm512_add_epi32(*sum, _mm512_set1_epi32(total.wrapping_mul(total_scale)));
                }
                let planes = tile.planes.as_mut_ptr().add((pixel + index) * tile.planes_stride);
                store_planes::<V, A>(planes, tile.outputs, &sums, &steps);
            }
        }
    });
}
