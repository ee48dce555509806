//! Look-ups of the levels of windows, in the tables that there can be.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{QUAD, STRIP};
use crate::arch::aarch64::simd::Neon;
use crate::simd::Simd;

/// Look-ups whose sum fits a byte: one adds at most 3 for each channel.
const ROOM: usize = 255 / (3 * QUAD);

/// A table for each byte of levels.
#[repr(align(64))]
struct Tables([[u8; 16]; 256]);

/// Counts ones in both weights and levels.
static ONES: Tables = tables(false);
/// Counts bits in which weights and levels differ.
static DIFFERENCES: Tables = tables(true);

const fn tables(differences: bool) -> Tables {
    let mut tables = [[0; 16]; 256];
    let mut index = 0;
    while index < tables.as_flattened().len() {
        let (levels, weights) = (index / 16, index % 16);
        // All of four channels: the lower plane, the upper one.
        let planes = [levels % 16, levels / 16];
        let [low, high] = if differences {
            [planes[0] ^ weights, planes[1] ^ weights]
        } else {
            [planes[0] & weights, planes[1] & weights]
        };
        tables[levels][weights] = (low.count_ones() + 2 * high.count_ones()) as u8;
        index += 1;
    }
    Tables(tables)
}

/// Adds what is counted in `P` windows to their sums, or subtracts what differs.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - `groups` times two bytes are readable from each window plus each run's offset on, and from `indices` on
///   `2 · M · groups` vectors for each run.
#[inline(always)]
pub(super) unsafe fn look_up_windows<const M: usize, const P: usize, const DIFFER: bool>(
    windows: [*const u8; P],
    runs: &[usize],
    groups: usize,
    mut indices: *const u8,
    sums: &mut [[[uint16x8_t; 2]; M]; P],
) {
    // SAFETY: levels are read from the start of a run on, two bytes for each group and not more; indices
    // advance by as many groups.
    unsafe {
        let mut counts = [[vdupq_n_u8(0); M]; P];
        let mut room = ROOM;
        for &run in runs {
            let mut levels = windows.map(|window| window.add(run));
            let (mut chunks, mut rest) = (groups / 4, groups % 4);
            while chunks > 0 {
                if room < 8 {
                    empty::<M, P, DIFFER>(&mut counts, sums);
                    room = ROOM;
                }
                let now = chunks.min(room / 8);
                for _ in 0..now {
                    look_up::<8, M, P, DIFFER>(levels, indices, &mut counts);
                    levels = levels.map(|levels| levels.add(8));
                    indices = indices.add(8 * M * STRIP);
                }
                room -= 8 * now;
                chunks -= now;
            }
            if room < 2 * rest {
                empty::<M, P, DIFFER>(&mut counts, sums);
                room = ROOM;
            }
            room -= 2 * rest;
            if rest >= 2 {
                look_up::<4, M, P, DIFFER>(levels, indices, &mut counts);
                levels = levels.map(|levels| levels.add(4));
                indices = indices.add(4 * M * STRIP);
                rest -= 2;
            }
            if rest > 0 {
                look_up::<2, M, P, DIFFER>(levels, indices, &mut counts);
                indices = indices.add(2 * M * STRIP);
            }
        }
        empty::<M, P, DIFFER>(&mut counts, sums);
    }
}

/// Empties counts into sums.
///
/// # Safety
/// - The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn empty<const M: usize, const P: usize, const DIFFER: bool>(
    counts: &mut [[uint8x16_t; M]; P],
    sums: &mut [[[uint16x8_t; 2]; M]; P],
) {
    // SAFETY: the caller's promise.
    let neon = unsafe { Neon::new_unchecked() };
    for (counts, sums) in counts.iter_mut().zip(sums) {
        for (count, sums) in counts.iter_mut().zip(sums) {
            *sums = if DIFFER {
                neon.subtract_shifted(*sums, *count, 0)
            } else {
                neon.add_shifted(*sums, *count, 0)
            };
            *count = neon.zero();
        }
    }
}

/// `N` look-ups, 2, 4 or 8, for each output and pixel.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - `N` bytes are readable at each of `levels`, and `N · M` vectors at `indices`.
#[inline(always)]
unsafe fn look_up<const N: usize, const M: usize, const P: usize, const DIFFER: bool>(
    levels: [*const u8; P],
    indices: *const u8,
    counts: &mut [[uint8x16_t; M]; P],
) {
    let tables = if DIFFER { &DIFFERENCES } else { &ONES };
    // SAFETY: the caller's promises; a table has 16 bytes.
    unsafe {
        let levels = levels.map(|levels| in_quads(read::<N>(levels)));
        for quad in 0..N {
            let tables =
                levels.map(|levels| vld1q_u8(tables.0[usize::from((levels >> (8 * quad)) as u8)].as_ptr()));
            for m in 0..M {
                let index = vld1q_u8(indices.add((quad * M + m) * STRIP));
                for (counts, table) in counts.iter_mut().zip(tables) {
                    counts[m] = vaddq_u8(counts[m], vqtbl1q_u8(table, index));
                }
            }
        }
    }
}

/// `N` bytes, 2, 4 or 8.
///
/// # Safety
/// - They are readable.
#[inline(always)]
unsafe fn read<const N: usize>(bytes: *const u8) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match N {
            8 => u64::from_le(bytes.cast::<u64>().read_unaligned()),
            4 => u32::from_le(bytes.cast::<u32>().read_unaligned()).into(),
            _ => u16::from_le(bytes.cast::<u16>().read_unaligned()).into(),
        }
    }
}

/// Swaps the inner two nibbles of every 16 bits: from bytes of one plane of 8 channels to bytes of both planes of 4.
#[inline(always)]
fn in_quads(levels: u64) -> u64 {
    let differ = (levels ^ levels >> 4) & 0x00f0_00f0_00f0_00f0;
    let mut quads = levels ^ differ ^ differ << 4;
    // SAFETY: no instruction. Or the compiler does this for several pixels in vectors, whose pipes are full.
    unsafe { asm!("/* {0} */", inout(reg) quads, options(pure, nomem, nostack, preserves_flags)) };
    quads
}
