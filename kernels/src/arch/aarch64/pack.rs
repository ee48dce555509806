//! Packing and unpacking with NEON.
//!
//! There is no movemask, but pairwise sums do as well, and keep the channels in order:
//!
//! ```text
//! bits[v][j] = (vector v has bit j set) AND (1, 2, 4, ... 128, 1, 2, 4, ... 128)      CMTST, AND
//! three rounds of pairwise sums (ADDP) over 8 such vectors: a byte for each 8 lanes
//! one look-up (TBL) orders them by group of 8 channels, then plane
//! ```
//!
//! 8 vectors `bits` are 128 levels of one bit or 32 of four: 24 instructions for 16 bytes of planes.
//! Shifting and inserting (SLI) takes as many, but permutes the channels.

use std::arch::aarch64::*;

use crate::arch::aarch64::combine::combine_row;
use crate::arch::aarch64::simd::Neon;
use crate::arch::generic::pack::{lookup2_row, pack_pixel, unpack_pixel};
use crate::rows::{PackRow, RowKernels, UnpackRow};
use crate::ukernel::Engine;

/// Row functions with NEON.
pub(crate) static ROWS_NEON: RowKernels = RowKernels {
    engine: Engine::Neon,
    pack: pack_row,
    unpack: unpack_row,
    combine: combine_row,
    lookup2: lookup2_row,
};

/// Lane `i` of each half stands for bit `i` of a byte of a plane.
static BIT_OF_LANE: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

/// By `[planes − 1]`: where the bytes `[vector][group][plane]` are in `[vector][plane][group]`.
static INTERLEAVE: [[u8; 16]; 4] = {
    let mut table = [[0; 16]; 4];
    let mut planes = 1;
    while planes <= 4 {
        let mut byte = 0;
        while byte < 16 {
            let vector = byte / (2 * planes);
            let (group, plane) = (byte / planes % 2, byte % planes);
            table[planes - 1][byte] = (vector * 2 * planes + plane * 2 + group) as u8;
            byte += 1;
        }
        planes += 1;
    }
    table
};

/// # Safety
/// - As [`RowKernels::pack`].
unsafe fn pack_row(row: &mut PackRow<'_>) {
    // SAFETY: the CPU has NEON, the caller's promise.
    let neon = unsafe { Neon::new_unchecked() };
    match row.bits {
        1 => pack_planes::<1, 8>(neon, row),
        2 => pack_planes::<2, 4>(neon, row),
        3 => pack_planes::<3, 2>(neon, row),
        _ => pack_planes::<4, 2>(neon, row),
    }
}

/// Packs `A` planes; `V` vectors of 16 levels make up to 16 bytes of planes.
fn pack_planes<const A: usize, const V: usize>(neon: Neon, row: &mut PackRow<'_>) {
    let len = row.pixel_len();
    for pixel in 0..row.pixels {
        let levels = &row.levels[pixel * row.level_stride..][..row.channels];
        let planes = &mut row.planes[pixel * row.pixel_stride..][..len];
        let (vectors, rest) = levels.as_chunks::<16>();
        let (planes, rest_planes) = planes.split_at_mut(vectors.len() * 2 * A);
        let (units, vectors) = vectors.as_chunks::<V>();
        let (unit_planes, vector_planes) = planes.split_at_mut(units.len() * V * 2 * A);

        for (unit, planes) in units.iter().zip(unit_planes.chunks_exact_mut(V * 2 * A)) {
            planes.copy_from_slice(&pack_vectors::<A, V>(neon, unit)[..V * 2 * A]);
        }
        for (vector, planes) in vectors.iter().zip(vector_planes.chunks_exact_mut(2 * A)) {
            planes.copy_from_slice(&pack_vectors::<A, 1>(neon, &[*vector])[..2 * A]);
        }
        pack_pixel(rest, A as u8, rest_planes);
    }
}

/// The planes of `V` vectors of 16 levels, in the first `2 · A · V` bytes.
#[inline(always)]
fn pack_vectors<const A: usize, const V: usize>(_: Neon, levels: &[[u8; 16]; V]) -> [u8; 16] {
    // SAFETY: the token proves NEON; every load is of 16 bytes from, and the store to, an array of 16 bytes.
    unsafe {
        let bit_of_lane = vld1q_u8(BIT_OF_LANE.as_ptr());
        let mut bits = [vdupq_n_u8(0); 8];
        for (vector, levels) in levels.iter().enumerate() {
            let levels = vld1q_u8(levels.as_ptr());
            for plane in 0..A {
                let set = vtstq_u8(levels, vdupq_n_u8(1 << plane));
                bits[vector * A + plane] = vandq_u8(set, bit_of_lane);
            }
        }
        let bytes = if A * V <= 4 {
            let quarters = vpaddq_u8(vpaddq_u8(bits[0], bits[1]), vpaddq_u8(bits[2], bits[3]));
            vpaddq_u8(quarters, quarters)
        } else {
            let low = vpaddq_u8(vpaddq_u8(bits[0], bits[1]), vpaddq_u8(bits[2], bits[3]));
            let high = vpaddq_u8(vpaddq_u8(bits[4], bits[5]), vpaddq_u8(bits[6], bits[7]));
            vpaddq_u8(low, high)
        };
        let bytes = if A == 1 { bytes } else { vqtbl1q_u8(bytes, vld1q_u8(INTERLEAVE[A - 1].as_ptr())) };
        let mut planes = [0; 16];
        vst1q_u8(planes.as_mut_ptr(), bytes);
        planes
    }
}

/// # Safety
/// - As [`RowKernels::unpack`].
unsafe fn unpack_row(row: &mut UnpackRow<'_>) {
    // SAFETY: the CPU has NEON, the caller's promise.
    let neon = unsafe { Neon::new_unchecked() };
    match row.bits {
        1 => unpack_planes::<1>(neon, row),
        2 => unpack_planes::<2>(neon, row),
        3 => unpack_planes::<3>(neon, row),
        _ => unpack_planes::<4>(neon, row),
    }
}

fn unpack_planes<const A: usize>(neon: Neon, row: &mut UnpackRow<'_>) {
    let len = row.pixel_len();
    for pixel in 0..row.pixels {
        let planes = &row.planes[pixel * row.pixel_stride..][..len];
        let levels = &mut row.levels[pixel * row.level_stride..][..row.channels];
        let (vectors, rest) = levels.as_chunks_mut::<16>();
        let (planes, rest_planes) = planes.split_at(vectors.len() * 2 * A);
        for (vector, planes) in vectors.iter_mut().zip(planes.chunks_exact(2 * A)) {
            unpack_vector::<A>(neon, planes, vector);
        }
        unpack_pixel(rest_planes, A as u8, rest);
    }
}

/// 16 levels from `2 · A` bytes of planes.
#[inline(always)]
fn unpack_vector<const A: usize>(_: Neon, planes: &[u8], levels: &mut [u8; 16]) {
    let mut bytes = [0; 8];
    bytes[..2 * A].copy_from_slice(&planes[..2 * A]);
    // SAFETY: the token proves NEON; the load is of 16 bytes from, and the store to, an array of 16 bytes.
    unsafe {
        let bytes = vcreate_u8(u64::from_le_bytes(bytes));
        let bit_of_lane = vld1q_u8(BIT_OF_LANE.as_ptr());
        let mut sum = vdupq_n_u8(0);
        for plane in 0..A {
            let group = |group: usize| vdup_n_u8((group * A + plane) as u8);
            let spread = vqtbl1q_u8(vcombine_u8(bytes, bytes), vcombine_u8(group(0), group(1)));
            let set = vtstq_u8(spread, bit_of_lane);
            sum = vorrq_u8(sum, vandq_u8(set, vdupq_n_u8(1 << plane)));
        }
        vst1q_u8(levels.as_mut_ptr(), sum);
    }
}
