//! Portable packing and unpacking: eight levels in a `u64`.

use crate::arch::generic::combine::combine_row;
use crate::rows::{Lookup2, PackRow, RowKernels, UnpackRow};
use crate::ukernel::Engine;

/// A 1 in every byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// Multiplied with bits at the lowest place of every byte, puts that of byte `i` at place `56 + i`;
/// no two products meet, so nothing carries.
const GATHER: u64 = 0x0102_0408_1020_4080;
/// Bit `i` in byte `i`.
const DIAGONAL: u64 = 0x8040_2010_0804_0201;

/// Portable row functions.
pub(crate) static ROWS_GENERIC: RowKernels = RowKernels {
    engine: Engine::Generic,
    pack: pack_row,
    unpack: unpack_row,
    combine: combine_row,
    lookup2: lookup2_row,
};

/// Bit `plane` of each of 8 codes or levels; that of the first in the lowest bit.
///
/// # Panics
/// If there are not 8 of them.
pub(crate) fn plane_byte(levels: &[u8], plane: usize) -> u8 {
    let levels: [u8; 8] = levels.try_into().expect("a byte of a plane belongs to 8 levels");
    gather(u64::from_le_bytes(levels), plane)
}

fn gather(levels: u64, plane: usize) -> u8 {
    ((levels >> plane & ONES).wrapping_mul(GATHER) >> 56) as u8
}

/// Packs the levels of one pixel: `bits` bytes for each 8 levels, the last padded with level 0.
pub(crate) fn pack_pixel(levels: &[u8], bits: u8, planes: &mut [u8]) {
    let bits = usize::from(bits);
    for (levels, planes) in levels.chunks(8).zip(planes.chunks_exact_mut(bits)) {
        let mut group = [0; 8];
        group[..levels.len()].copy_from_slice(levels);
        let group = u64::from_le_bytes(group);
        for (plane, byte) in planes.iter_mut().enumerate() {
            *byte = gather(group, plane);
        }
    }
}

/// Unpacks the levels of one pixel: as many as `levels` holds.
pub(crate) fn unpack_pixel(planes: &[u8], bits: u8, levels: &mut [u8]) {
    let bits = usize::from(bits);
    for (planes, levels) in planes.chunks_exact(bits).zip(levels.chunks_mut(8)) {
        let group = planes.iter().enumerate().fold(0, |group, (plane, &byte)| {
            // The byte in every lane, then its bit `i` alone in lane `i`, then 1 where that is set.
            let bit = u64::from(byte).wrapping_mul(ONES) & DIAGONAL;
            let bit = (bit + 0x7f7f_7f7f_7f7f_7f7f) >> 7 & ONES;
            group | bit << plane
        });
        levels.copy_from_slice(&group.to_le_bytes()[..levels.len()]);
    }
}

/// # Safety
/// - As [`RowKernels::lookup2`], though this one relies on nothing.
pub(crate) unsafe fn lookup2_row(Lookup2 { a, b, b_levels, table }: Lookup2<'_>, output: &mut [u8]) {
    for ((output, &a), &b) in output.iter_mut().zip(a).zip(b) {
        *output = table[usize::from(a) * b_levels + usize::from(b)];
    }
}

/// # Safety
/// - As [`RowKernels::pack`], though this one relies on nothing.
unsafe fn pack_row(row: &mut PackRow<'_>) {
    let len = row.pixel_len();
    for pixel in 0..row.pixels {
        let levels = &row.levels[pixel * row.level_stride..][..row.channels];
        pack_pixel(levels, row.bits, &mut row.planes[pixel * row.pixel_stride..][..len]);
    }
}

/// # Safety
/// - As [`RowKernels::unpack`], though this one relies on nothing.
pub(crate) unsafe fn unpack_row(row: &mut UnpackRow<'_>) {
    let len = row.pixel_len();
    for pixel in 0..row.pixels {
        let planes = &row.planes[pixel * row.pixel_stride..][..len];
        unpack_pixel(planes, row.bits, &mut row.levels[pixel * row.level_stride..][..row.channels]);
    }
}
