//! Sums of the levels of neighbouring windows, with NEON.
//!
//! Windows overlap. So their bytes are counted once, in *units*: stretches of a power of two, or of a
//! multiple of 16, that divides both a run and the step from window to window, most often a pixel.
//!
//! ```text
//! for each unit of the row:  units[u] = Σ_{runs} Σ_{bytes of the unit} popcount · weight of the plane
//! for each window p:         totals[p] = Σ_{i < units of a run} units[p · units of a step + i]
//! ```

use std::arch::aarch64::*;

use crate::arch::aarch64::simd::Neon;
use crate::arch::generic::bsconv::window_total;
use crate::families::direct::ConvTile;

/// Units that are kept at a time.
const UNITS: usize = 256;
/// Vectors whose counts fit a byte, the planes' weights 1 and 2 included.
const VECTORS: usize = 255 / 24;
/// Bytes of a vector.
const LANES: usize = 16;

/// How windows divide into units.
#[derive(Clone, Copy)]
struct Units {
    /// Bytes of a unit.
    len: usize,
    /// Units of a run.
    per_run: usize,
    /// Units from a window to the next.
    per_step: usize,
    /// Windows at a time.
    windows: usize,
}

/// Computes [`ConvTile::totals`] of as many pixels as there is room for.
///
/// # Safety
/// - The tile has been checked by `ConvTile::check_input` for a bit-serial kernel; its levels have `A`
///   planes.
#[inline(always)]
pub(super) unsafe fn add_up_totals<const A: usize>(neon: Neon, tile: &mut ConvTile<'_>) {
    let pixels = tile.pixels.min(tile.totals.len());
    let start = tile.input_offset;
    let totals = &mut tile.totals[..pixels];
    match units::<A>(tile.depth / 8 * A, tile.pixel_step, tile.runs.len()) {
        Some(units) => {
            for (chunk, totals) in totals.chunks_mut(units.windows).enumerate() {
                let first = start + chunk * units.windows * tile.pixel_step;
                // SAFETY: `check` found every run of these windows, and the slack behind, in the input.
                unsafe { chunk_totals::<A>(neon, tile.input.as_ptr().add(first), tile.runs, units, totals) };
            }
        }
        None => {
            for (pixel, total) in totals.iter_mut().enumerate() {
                // SAFETY: as above.
                *total = unsafe {
                    let window = tile.input.as_ptr().add(start + pixel * tile.pixel_step);
                    window_total::<Neon, A>(neon, window, tile.runs, tile.depth / 8)
                };
            }
        }
    }
}

/// `None` where units do not fit: three planes, or too many bytes.
fn units<const A: usize>(run_len: usize, step: usize, runs: usize) -> Option<Units> {
    let (mut len, mut other) = (run_len, step);
    while other != 0 {
        (len, other) = (other, len % other);
    }
    if !len.is_multiple_of(LANES) {
        len = 1 << len.trailing_zeros();
    }
    if runs * len.div_ceil(LANES) > VECTORS {
        len = len.min(LANES);
    }
    let vectors = runs * len.div_ceil(LANES);
    if A == 3 || len < A.max(2) || vectors > VECTORS || step == 0 {
        return None;
    }
    let (per_run, per_step) = (run_len / len, step / len);
    // Small units come in whole vectors.
    let windows = (UNITS - LANES).checked_sub(per_run)? / per_step;
    (windows > 0).then_some(Units { len, per_run, per_step, windows })
}

/// Totals of neighbouring windows, no more than `units.windows`.
///
/// # Safety
/// - Every run of these windows is readable, and 16 bytes more.
#[inline(always)]
unsafe fn chunk_totals<const A: usize>(
    neon: Neon,
    window: *const u8,
    runs: &[usize],
    units: Units,
    totals: &mut [i32],
) {
    let Units { len, per_run, per_step, .. } = units;
    let mut sums = [0u16; UNITS];
    let count = (totals.len() - 1) * per_step + per_run;
    // SAFETY: unit `u` begins `u · len` bytes behind the first window and belongs to a run; a vector
    // reaches less than 16 bytes beyond the last. As `count ≤ UNITS − LANES`, so do the sums.
    unsafe {
        let mut unit = 0;
        while unit < count {
            let bytes = window.add(unit * len);
            let out = sums.as_mut_ptr().add(unit);
            let pairs = unit_counts::<A>(neon, bytes, runs, len.div_ceil(LANES));
            match len {
                2 => vst1q_u16(out, pairs),
                4 => vst1_u16(out, vmovn_u32(vpaddlq_u16(pairs))),
                8 => {
                    *out = vaddv_u16(vget_low_u16(pairs));
                    *out.add(1) = vaddv_u16(vget_high_u16(pairs));
                }
                _ => *out = vaddvq_u16(pairs),
            }
            unit += (LANES / len).max(1);
        }
    }
    totals.fill(0);
    for unit in 0..per_run {
        if per_step == 1 {
            for (total, &sum) in totals.iter_mut().zip(&sums[unit..]) {
                *total += i32::from(sum);
            }
        } else {
            for (total, &sum) in totals.iter_mut().zip(sums[unit..].iter().step_by(per_step)) {
                *total += i32::from(sum);
            }
        }
    }
}

/// Sums of pairs of bytes of `vectors` vectors of each run.
///
/// # Safety
/// - The vectors are readable.
#[inline(always)]
unsafe fn unit_counts<const A: usize>(
    _: Neon,
    bytes: *const u8,
    runs: &[usize],
    vectors: usize,
) -> uint16x8_t {
    // SAFETY: the token proves NEON; the vectors are the caller's promise.
    unsafe {
        let mut counts = vdupq_n_u8(0);
        for &run in runs {
            for vector in 0..vectors {
                counts = vaddq_u8(counts, vcntq_u8(vld1q_u8(bytes.add(run + vector * LANES))));
            }
        }
        if A == 1 {
            return vpaddlq_u8(counts);
        }
        // Every other byte counts twice; of four planes, every other pair four times.
        let odd = vreinterpretq_u8_u16(vdupq_n_u16(0xff00));
        let pairs = vpaddlq_u8(vaddq_u8(counts, vandq_u8(counts, odd)));
        if A == 2 {
            return pairs;
        }
        vmulq_u16(pairs, vreinterpretq_u16_u32(vdupq_n_u32(0x0004_0001)))
    }
}
