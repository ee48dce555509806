//! NEON vectors of 16 bytes.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::simd::{Simd, sealed::Sealed};

/// Proof that the CPU has Advanced SIMD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// The proof without the check.
    ///
    /// # Safety
    /// - The CPU has Advanced SIMD.
    #[inline(always)]
    pub(crate) unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

impl Sealed for Neon {}

impl Simd for Neon {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type Bytes = uint8x16_t;
    type Sums = [uint16x8_t; 2];
    type Source = uint8x16_t;

    #[inline(always)]
    fn zero(self) -> uint8x16_t {
        // SAFETY: `self` proves NEON.
        unsafe { vdupq_n_u8(0) }
    }

    #[inline(always)]
    unsafe fn load(self, pointer: *const u8) -> uint8x16_t {
        // SAFETY: `self` proves NEON; the caller vouches for 16 readable bytes.
        unsafe { vld1q_u8(pointer) }
    }

    /// One load: a broadcast from memory or from a general register would take the load pipe, too.
    #[inline(always)]
    unsafe fn source(self, pointer: *const u8) -> uint8x16_t {
        // SAFETY: `self` proves NEON; the caller vouches for 16 readable bytes.
        unsafe { vld1q_u8(pointer) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, source: uint8x16_t, lane: usize) -> uint8x16_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            match lane {
                0 => vdupq_laneq_u8::<0>(source),
                1 => vdupq_laneq_u8::<1>(source),
                2 => vdupq_laneq_u8::<2>(source),
                3 => vdupq_laneq_u8::<3>(source),
                4 => vdupq_laneq_u8::<4>(source),
                5 => vdupq_laneq_u8::<5>(source),
                6 => vdupq_laneq_u8::<6>(source),
                7 => vdupq_laneq_u8::<7>(source),
                8 => vdupq_laneq_u8::<8>(source),
                9 => vdupq_laneq_u8::<9>(source),
                10 => vdupq_laneq_u8::<10>(source),
                11 => vdupq_laneq_u8::<11>(source),
                12 => vdupq_laneq_u8::<12>(source),
                13 => vdupq_laneq_u8::<13>(source),
                14 => vdupq_laneq_u8::<14>(source),
                _ => vdupq_laneq_u8::<15>(source),
            }
        }
    }

    #[inline(always)]
    unsafe fn skip<const N: usize>(self, source: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            match N {
                1 => vextq_u8::<1>(source, source),
                2 => vextq_u8::<2>(source, source),
                3 => vextq_u8::<3>(source, source),
                _ => vextq_u8::<4>(source, source),
            }
        }
    }

    #[inline(always)]
    fn after(self, source: uint8x16_t, other: uint8x16_t) -> uint8x16_t {
        let result;
        // SAFETY: there is no instruction: the source is handed on in its register.
        unsafe {
            asm!(
                "/* {source:v} after {other:v} */",
                source = inout(vreg) source => result,
                other = in(vreg) other,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        result
    }

    #[inline(always)]
    fn keep_in_memory(self, sums: &mut [[uint16x8_t; 2]]) {
        // SAFETY: there is no instruction; the compiler must assume that one reads the sums.
        unsafe {
            asm!("/* {} */", in(reg) sums.as_mut_ptr(), options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn and(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves NEON.
        unsafe { vandq_u8(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves NEON.
        unsafe { veorq_u8(a, b) }
    }

    #[inline(always)]
    fn add(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves NEON.
        unsafe { vaddq_u8(a, b) }
    }

    #[inline(always)]
    fn popcount(self, a: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves NEON.
        unsafe { vcntq_u8(a) }
    }

    #[inline(always)]
    fn reduce(self, a: uint8x16_t) -> u32 {
        // SAFETY: `self` proves NEON.
        unsafe { u32::from(vaddlvq_u8(a)) }
    }

    #[inline(always)]
    fn zero_sums(self) -> [uint16x8_t; 2] {
        // SAFETY: `self` proves NEON.
        unsafe { [vdupq_n_u16(0); 2] }
    }

    /// UMLAL by a power of two: one instruction for each half. The compiler must not know the factor,
    /// or it shifts and adds, two instructions and up to 20 % more cycles.
    #[inline(always)]
    fn add_shifted(self, sums: [uint16x8_t; 2], a: uint8x16_t, shift: u32) -> [uint16x8_t; 2] {
        // SAFETY: `self` proves NEON.
        unsafe {
            if shift == 0 {
                return [vaddw_u8(sums[0], vget_low_u8(a)), vaddw_high_u8(sums[1], a)];
            }
            let factor = self.after(vdupq_n_u8(1 << shift), a);
            let low = vmlal_u8(sums[0], vget_low_u8(a), vget_low_u8(factor));
            [low, vmlal_high_u8(sums[1], a, factor)]
        }
    }

    /// As [`Simd::add_shifted`].
    #[inline(always)]
    fn subtract_shifted(self, sums: [uint16x8_t; 2], a: uint8x16_t, shift: u32) -> [uint16x8_t; 2] {
        // SAFETY: `self` proves NEON.
        unsafe {
            if shift == 0 {
                return [vsubw_u8(sums[0], vget_low_u8(a)), vsubw_high_u8(sums[1], a)];
            }
            let factor = self.after(vdupq_n_u8(1 << shift), a);
            let low = vmlsl_u8(sums[0], vget_low_u8(a), vget_low_u8(factor));
            [low, vmlsl_high_u8(sums[1], a, factor)]
        }
    }

    #[inline(always)]
    unsafe fn store_sums(self, sums: [uint16x8_t; 2], pointer: *mut i32, accumulate: bool) {
        let pointer = pointer.cast::<u32>();
        for (half, sums) in sums.into_iter().enumerate() {
            // SAFETY: `self` proves NEON; the caller vouches for 16 numbers, initialised where they are
            // read; the halves lie at 0 and 8 and take 8 each.
            unsafe {
                let pointer = pointer.add(8 * half);
                let (low, high) = if accumulate {
                    let (low, high) = (vld1q_u32(pointer), vld1q_u32(pointer.add(4)));
                    (vaddw_u16(low, vget_low_u16(sums)), vaddw_high_u16(high, sums))
                } else {
                    (vmovl_u16(vget_low_u16(sums)), vmovl_high_u16(sums))
                };
                vst1q_u32(pointer, low);
                vst1q_u32(pointer.add(4), high);
            }
        }
    }
}
