//! Multiplying convolution that ends in levels as bytes: sums are requantized in registers. By way of memory, the
//! first layer of YOLOv5s takes 1.2 times as long.

use std::arch::x86_64::*;

use super::super::for_pixels;
use super::super::requantize::{Few, Fixed, Gathered, InBytes, Shifted};
use super::{LANES, convolve};
use crate::arch::generic::requantize::Convert;
use crate::families::direct::{LevelsEnd, LevelsTile};
use crate::requantize::Requantizer;
use crate::requantize::forms::Form;

/// Most thresholds that are compared in registers.
const STEPS: usize = 3;

/// Whether there is a loop for this arithmetic.
pub(super) fn takes(requantizer: &Requantizer) -> bool {
    match requantizer.arithmetic() {
        Form::Thresholds16(form) => form.steps <= STEPS,
        Form::Thresholds32(form) => form.steps <= STEPS,
        Form::Narrow(_) | Form::Fixed(_) | Form::Cells(_) => true,
        Form::Wide(_) | Form::Search(_) | Form::Many(_) => false,
    }
}

/// # Safety
/// - As `run` of [`ConvLevels`](crate::families::direct::ConvLevels), for a micro-kernel of `16 · V` outputs.
pub(super) unsafe fn run_levels<const V: usize>(tile: &mut LevelsTile<'_>) {
    let requantizer = tile.end.requantizer;
    // SAFETY: the caller's promise.
    unsafe {
        match requantizer.arithmetic() {
            Form::Thresholds16(form) => levels::<_, V>(&Few::<i16, STEPS>(form), tile),
            Form::Thresholds32(form) => levels::<_, V>(&Few::<i32, STEPS>(form), tile),
            Form::Narrow(form) => levels::<_, V>(&Shifted(form), tile),
            Form::Fixed(form) => levels::<_, V>(&Fixed(form), tile),
            Form::Cells(form) => match InBytes::of(form) {
                Some(form) => levels::<_, V>(&form, tile),
                None => levels::<_, V>(&Gathered(form), tile),
            },
            Form::Wide(_) | Form::Search(_) | Form::Many(_) => unreachable!("`takes` refuses these"),
        }
    }
}

/// # Safety
/// - As [`run_levels`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")]
unsafe fn levels<F: Convert<1>, const V: usize>(form: &F, tile: &mut LevelsTile<'_>) {
    let LevelsTile { conv, end, .. } = tile;
    let constants: [F::Constants; V] = std::array::from_fn(|v| {
        // A vector without outputs has constants, too; what they give is not stored.
        let output = if v * LANES < end.outputs { v * LANES } else { 0 };
        form.constants(end.constants_channel(output))
    });
    if V == 1 {
        for_pixels!(conv.pixels, [16, 8, 4, 2, 1], |pixel, P| {
            // SAFETY: the CPU and the tile are the caller's promise; the pixels exist.
            let sums = unsafe { convolve::<V, P>(conv, pixel) };
            store_levels(form, &constants, end, pixel, &sums);
        });
    } else {
        for_pixels!(conv.pixels, [8, 4, 2, 1], |pixel, P| {
            // SAFETY: as above.
            let sums = unsafe { convolve::<V, P>(conv, pixel) };
            store_levels(form, &constants, end, pixel, &sums);
        });
    }
}

/// Stores the levels of the pixels from `pixel` on.
#[inline(always)]
fn store_levels<F: Convert<1>, const V: usize, const P: usize>(
    form: &F,
    constants: &[F::Constants; V],
    end: &mut LevelsEnd<'_>,
    pixel: usize,
    sums: &[[__m512i; V]; P],
) {
    let by_fours = if F::FOUR { P - P % 4 } else { 0 };
    for index in (0..by_fours).step_by(4) {
        for (v, constants) in constants.iter().enumerate() {
            let four = [
                words(sums[index][v]),
                words(sums[index + 1][v]),
                words(sums[index + 2][v]),
                words(sums[index + 3][v]),
            ];
            let levels = form.convert_four(constants, [[&four[0]], [&four[1]], [&four[2]], [&four[3]]]);
            for (next, &levels) in levels.iter().enumerate() {
                store(end, pixel + index + next, v, levels);
            }
        }
    }
    for (index, sums) in sums.iter().enumerate().skip(by_fours) {
        for (v, (&sums, constants)) in sums.iter().zip(constants).enumerate() {
            store(end, pixel + index, v, form.convert(constants, [&words(sums)]));
        }
    }
}

/// Stores a pixel's levels of the outputs from `v * LANES` on, as far as they exist.
#[inline(always)]
fn store(end: &mut LevelsEnd<'_>, pixel: usize, v: usize, levels: [u8; LANES]) {
    let out = &mut end.levels[pixel * end.level_stride..][..end.outputs];
    let out = &mut out[(v * LANES).min(end.outputs)..];
    match out.first_chunk_mut() {
        Some(out) => *out = levels,
        None => out.copy_from_slice(&levels[..out.len()]),
    }
}

#[inline(always)]
fn words(sums: __m512i) -> [i32; LANES] {
    // SAFETY: both are 64 bytes, and every pattern of bits is one of each.
    unsafe { std::mem::transmute(sums) }
}
