//! From 32-bit sums to bit planes without leaving the registers: as
//! [`bsconv`](crate::arch::aarch64::bsconv::planes) does it, with comparisons of 32 bits that are narrowed
//! behind them. A level takes 1.0 cycles on a Cortex-A72; by way of memory it is 3.

use std::arch::aarch64::*;

use super::{Multiply, convolve_pixels};
use crate::arch::aarch64::bsconv::planes::{BOTH_BITS, LOW_BITS, add_eights, store_bytes};
use crate::arch::generic::mulconv::OUTPUTS;
use crate::families::direct::PlanesTile;
use crate::requantize::PlaneStepsRows;

/// Outputs of a byte of a plane.
const GROUP: usize = 8;

/// Computes a tile.
///
/// # Safety
/// - The CPU has the instructions of `M`.
/// - The tile has been checked by `PlanesTile::check` against a micro-kernel of [`OUTPUTS`] outputs, and
///   its weights were packed by `pack_block`.
#[inline(always)]
pub(in crate::arch::aarch64) unsafe fn convolve_planes<M: Multiply>(tile: &mut PlanesTile<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.steps.bits {
            1 => convolve_bits::<M, 1>(tile),
            _ => convolve_bits::<M, 2>(tile),
        }
    }
}

/// # Safety
/// - As [`convolve_planes`], and levels have `A` bits.
#[inline(always)]
unsafe fn convolve_bits<M: Multiply, const A: usize>(tile: &mut PlanesTile<'_>) {
    let PlaneStepsRows::Wide(rows) = &tile.steps.rows else {
        unreachable!("steps are those of a multiplying micro-kernel");
    };
    let rows = &rows[tile.first_channel / GROUP * tile.steps.group_len()..][..2 * tile.steps.group_len()];
    let falling = tile.steps.falling;
    let len = tile.outputs.div_ceil(GROUP) * A;
    let mut pixel = 0;
    while pixel + 4 <= tile.conv.pixels {
        // SAFETY: these 4 pixels exist, and `check` found `len` bytes for each; the rows are those of
        // two groups. The rest is the caller's promise.
        unsafe {
            let sums = convolve_pixels::<M, 4>(&tile.conv, pixel);
            let bytes = levels_to_planes::<A, 4>(&sums, rows, falling);
            let out = tile.planes.as_mut_ptr().add(pixel * tile.planes_stride);
            if len == 2 * A && tile.planes_stride == len {
                store_bytes(bytes, out, 8 * A, 8 * A);
            } else {
                let mut copy = [0; 16];
                vst1q_u8(copy.as_mut_ptr(), bytes);
                for index in 0..4 {
                    let pixel = copy.as_ptr().add(2 * A * index);
                    std::ptr::copy_nonoverlapping(pixel, out.add(index * tile.planes_stride), len);
                }
            }
        }
        pixel += 4;
    }
    while pixel < tile.conv.pixels {
        // SAFETY: as above, for one pixel.
        unsafe {
            let sums = convolve_pixels::<M, 1>(&tile.conv, pixel);
            let bytes = levels_to_planes::<A, 1>(&sums, rows, falling);
            store_bytes(bytes, tile.planes.as_mut_ptr().add(pixel * tile.planes_stride), 2 * A, len);
        }
        pixel += 1;
    }
}

/// The planes of `P` pixels of [`OUTPUTS`] sums, one after another. `P` is 1 or 4.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - `rows` has those of two groups.
#[inline(always)]
unsafe fn levels_to_planes<const A: usize, const P: usize>(
    sums: &[[int32x4_t; 4]; P],
    rows: &[i32],
    falling: bool,
) -> uint8x16_t {
    const { assert!(OUTPUTS == 2 * GROUP && (P == 1 || P == 4)) }
    let rows_of_group = 1 << A;
    // SAFETY: the caller's promises; the static arrays have the length of a vector.
    unsafe {
        let (low_bits, both_bits) = (vld1q_u16(LOW_BITS.as_ptr()), vld1q_u16(BOTH_BITS.as_ptr()));
        let mut bits = [vdupq_n_u16(0); 8];
        for (index, bits) in bits.iter_mut().enumerate().take(2 * P) {
            let (pixel, half) = (index / 2, index % 2);
            let row = |row: usize, part: usize| {
                vld1q_s32(rows.as_ptr().add((half * rows_of_group + row) * GROUP + 4 * part))
            };
            let passed = |step: usize, part: usize| vcgtq_s32(sums[pixel][2 * half + part], row(step, part));
            *bits = if A == 1 {
                vandq_u16(narrow(passed(0, 0), passed(0, 1)), low_bits)
            } else {
                let odd = |part: usize| veorq_u32(passed(0, part), passed(2, part));
                let odd = vandq_u16(narrow(odd(0), odd(1)), low_bits);
                veorq_u16(odd, vandq_u16(narrow(passed(1, 0), passed(1, 1)), both_bits))
            };
            if falling {
                let inverted = |part: usize| vreinterpretq_u32_s32(row(rows_of_group - 1, part));
                *bits = veorq_u16(*bits, vmovn_high_u32(vmovn_u32(inverted(0)), inverted(1)));
            }
        }
        let halves = add_eights(&bits, 2 * P);
        if A == 1 {
            let bytes = vmovn_u16(halves);
            vcombine_u8(bytes, bytes)
        } else {
            vreinterpretq_u8_u16(halves)
        }
    }
}

/// Two vectors of all ones or all zeros as one; with saturation, or LLVM takes UZP1, which is three
/// slots on a Cortex-A72.
///
/// # Safety
/// - The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn narrow(low: uint32x4_t, high: uint32x4_t) -> uint16x8_t {
    // SAFETY: the caller's promise.
    unsafe {
        let low = vqmovn_s32(vreinterpretq_s32_u32(low));
        vreinterpretq_u16_s16(vqmovn_high_s32(low, vreinterpretq_s32_u32(high)))
    }
}
