//! What micro-kernels that end in levels share: the end, where requantization needs 32 bits only ([`Narrow`]).

use std::arch::aarch64::*;

use super::requantize::{NarrowConstants, narrow_levels};
use crate::families::direct::LevelsEnd;
use crate::requantize::Requantizer;
use crate::requantize::forms::{Form, LANES, Narrow};

/// Whether [`store_levels`] has the arithmetic.
pub(super) fn takes(requantizer: &Requantizer) -> bool {
    matches!(requantizer.arithmetic(), Form::Narrow(_))
}

/// The arithmetic of a requantizer that [`takes`] accepts.
pub(super) fn narrow(requantizer: &Requantizer) -> &Narrow {
    match requantizer.arithmetic() {
        Form::Narrow(narrow) => narrow,
        _ => unreachable!("the requantizer is one that the micro-kernel takes"),
    }
}

/// Calls a function with the constant that is a pre-shift less the one that SQDMULH does by doubling.
macro_rules! call_by_pre_shift {
    ($pre_shift:expr, $function:ident($($argument:expr),*)) => {{
        let [p0, p1, p2, p3, p4, _] = $crate::requantize::forms::PRE_SHIFTS;
        match $pre_shift {
            shift if shift == p0 => $function::<0>($($argument),*),
            shift if shift == p1 => $function::<4>($($argument),*),
            shift if shift == p2 => $function::<8>($($argument),*),
            shift if shift == p3 => $function::<12>($($argument),*),
            shift if shift == p4 => $function::<16>($($argument),*),
            _ => $function::<20>($($argument),*),
        }
    }};
}
pub(super) use call_by_pre_shift;

/// Turns the sums of [`LANES`] outputs from `first` on of the pixels `pixel..pixel + P` into levels, and stores those
/// of outputs that exist.
///
/// # Safety
/// - The CPU has NEON.
/// - `end` has been checked by `LevelsEnd::check` for these pixels and outputs, and its requantizer is `narrow`,
///   with a pre-shift of `HALF + 1`.
#[inline(always)]
pub(super) unsafe fn store_levels<const HALF: i32, const P: usize>(
    sums: &[[int32x4_t; 4]; P],
    end: &mut LevelsEnd<'_>,
    narrow: &Narrow,
    (pixel, first): (usize, usize),
) {
    if end.outputs <= first {
        return;
    }
    let outputs = end.outputs - first;
    let constants = NarrowConstants::new(narrow, end.constants_channel(first));
    // SAFETY: the caller's promises: `check` found `end.outputs` levels of each pixel. A loop instead of a closure,
    // which LLVM may call with all sums in memory.
    unsafe {
        let out = end.levels.as_mut_ptr().add(pixel * end.level_stride + first);
        if outputs >= LANES {
            for (index, &sums) in sums.iter().enumerate() {
                vst1q_u8(out.add(index * end.level_stride), narrow_levels::<HALF>(sums, &constants));
            }
        } else {
            for (index, &sums) in sums.iter().enumerate() {
                let mut copy = [0; LANES];
                vst1q_u8(copy.as_mut_ptr(), narrow_levels::<HALF>(sums, &constants));
                std::ptr::copy_nonoverlapping(copy.as_ptr(), out.add(index * end.level_stride), outputs);
            }
        }
    }
}
