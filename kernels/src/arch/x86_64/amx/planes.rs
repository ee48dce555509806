//! Tiles that end in bit planes: as with [`levels`](super::levels), by way of the L1 cache.

use std::arch::x86_64::*;

use super::tiles::{Grid, for_sums};
use super::{LANES, OUTPUTS, PARTS};
use crate::arch::x86_64::avx512::planes::{Steps, store_planes};
use crate::families::direct::{PlanesTile, TileRows};
use crate::requantize::PlaneStepsRows;

/// # Safety
/// - As [`crate::families::direct::ConvPlanes`].
pub(super) unsafe fn run_planes<const S: usize>(tile: &mut PlanesTile<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.steps.bits {
            1 => planes::<1>(tile, S),
            _ => planes::<2>(tile, S),
        }
    }
}

/// # Safety
/// - As [`run_planes`], and the planes are those of `A` bits.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn planes<const A: usize>(tile: &mut PlanesTile<'_>, parts: usize) {
    let PlanesTile { conv, steps, first_channel, outputs, planes, planes_stride, .. } = tile;
    let PlaneStepsRows::Wide(rows) = &steps.rows else {
        unreachable!("steps are those of a multiplying micro-kernel");
    };
    let steps: [Steps<2>; PARTS] = std::array::from_fn(|part| {
        let first = *first_channel + part.min(parts - 1) * OUTPUTS;
        // SAFETY: the CPU is the caller's promise, and `check` found steps for all of the block's channels.
        unsafe { Steps::wide::<A>(rows, first) }
    });
    let mut store = |pixel: usize, part: usize, sums: &[i32; OUTPUTS]| {
        let first = part * OUTPUTS;
        if first < *outputs {
            let planes = planes[pixel * *planes_stride + first / 8 * A..].as_mut_ptr();
            // SAFETY: the CPU is the caller's promise; sums are two vectors; `check` found the planes of all outputs at
            // each pixel.
            unsafe {
                let sums = [0, LANES].map(|half| _mm512_loadu_si512(sums.as_ptr().add(half).cast()));
                store_planes::<2, A>(planes, *outputs - first, &sums, &steps[part]);
            }
        }
    };
    if conv.pixels == 0 {
        return;
    }
    if conv.depth == 0 || conv.runs.is_empty() {
        for pixel in 0..conv.pixels {
            (0..parts).for_each(|part| store(pixel, part, &[0; OUTPUTS]));
        }
        return;
    }
    let grid = Grid::new(conv, TileRows::ONE);
    // SAFETY: the CPU is the caller's promise, and `is_available` has got the permission. The tile was checked, and has
    // pixels, runs and levels.
    unsafe {
        for_sums(conv, &grid, parts, |tile, part, sums| {
            let [_, first] = grid.first(tile);
            sums.iter().enumerate().for_each(|(pixel, sums)| store(first + pixel, part, sums));
        });
    }
}
