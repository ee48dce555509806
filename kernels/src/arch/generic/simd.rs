//! Portable vectors: eight bytes in a 64-bit integer.

use crate::simd::{Simd, sealed::Sealed};

/// Eight byte lanes in a `u64`, lane 0 in the lowest byte. Available everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swar;

/// The even lanes, widened.
const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
/// A 1 in every lane.
const ONES: u64 = 0x0101_0101_0101_0101;

impl Sealed for Swar {}

impl Simd for Swar {
    const LANES: usize = 8;
    // More than there are, so that two strips always share broadcasts: side by side they become vectors
    // of what the target has by default. On x86-64 that is 6 times as fast as one strip, at 2 bits.
    const REGISTERS: usize = 25;
    type Bytes = u64;
    /// Even lanes, odd lanes.
    type Sums = [u64; 2];
    type Source = *const u8;

    #[inline(always)]
    fn zero(self) -> u64 {
        0
    }

    #[inline(always)]
    unsafe fn load(self, pointer: *const u8) -> u64 {
        // SAFETY: the caller vouches for 8 readable bytes, and the alignment does not matter.
        u64::from_le(unsafe { pointer.cast::<u64>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn source(self, pointer: *const u8) -> *const u8 {
        pointer
    }

    #[inline(always)]
    unsafe fn broadcast(self, source: *const u8, lane: usize) -> u64 {
        // SAFETY: the source has 16 readable bytes, and the caller keeps within them.
        u64::from(unsafe { *source.add(lane) }) * ONES
    }

    #[inline(always)]
    unsafe fn skip<const N: usize>(self, source: *const u8) -> *const u8 {
        // SAFETY: the source has 16 readable bytes, and the caller skips no more.
        unsafe { source.add(N) }
    }

    #[inline(always)]
    fn after(self, source: *const u8, _: u64) -> *const u8 {
        source
    }

    #[inline(always)]
    fn keep_in_memory(self, _: &mut [[u64; 2]]) {}

    #[inline(always)]
    fn and(self, a: u64, b: u64) -> u64 {
        a & b
    }

    #[inline(always)]
    fn add(self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    #[inline(always)]
    fn popcount(self, a: u64) -> u64 {
        let pairs = a - (a >> 1 & 0x5555_5555_5555_5555);
        let nibbles = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
        (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f
    }

    #[inline(always)]
    fn reduce(self, a: u64) -> u32 {
        let pairs = (a & EVEN) + (a >> 8 & EVEN);
        (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as u32
    }

    #[inline(always)]
    fn zero_sums(self) -> [u64; 2] {
        [0; 2]
    }

    #[inline(always)]
    fn add_shifted(self, sums: [u64; 2], a: u64, shift: u32) -> [u64; 2] {
        let even = (a & EVEN) << shift;
        let odd = (a >> 8 & EVEN) << shift;
        [sums[0].wrapping_add(even), sums[1].wrapping_add(odd)]
    }

    #[inline(always)]
    unsafe fn store_sums(self, sums: [u64; 2], pointer: *mut i32, accumulate: bool) {
        for lane in 0..Self::LANES {
            let sum = (sums[lane % 2] >> (16 * (lane / 2)) & 0xffff) as i32;
            // SAFETY: the caller vouches for 8 numbers, initialised where they are read.
            unsafe {
                let pointer = pointer.add(lane);
                let before = if accumulate { pointer.read() } else { 0 };
                pointer.write(before.wrapping_add(sum));
            }
        }
    }
}
