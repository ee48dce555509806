//! [`Cells`] with NEON: 2.1 cycles a level on a Cortex-A72 (pipe bound), of which 16 levels take 33 to dispatch. Entries
//! of the table are loaded one by one, by way of the stack: LD1 into lanes is slower.

use std::arch::aarch64::*;
use std::hint::black_box;

use super::{Words, load_words, store_bytes};
use crate::arch::aarch64::simd::Neon;
use crate::arch::generic::requantize::{Accumulators, Convert, Instructions, lanes};
use crate::requantize::RequantizeTile;
use crate::requantize::cells::{Cells, LEVEL_SHIFT, SHIFTS};
use crate::requantize::forms::LANES;

/// Converts a tile with the loop for the shift.
pub(super) fn requantize(neon: Neon, form: &Cells, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
    macro_rules! by_shift {
        ($($shift:literal)*) => {
            match form.shift {
                $($shift => neon.convert(&Shifted::<$shift>(form), one_for_all, tile),)*
                shift => unreachable!("{shift} is outside {SHIFTS:?}"),
            }
        };
    }
    by_shift!(4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20);
}

/// [`Cells`] with a shift of `N`.
struct Shifted<'a, const N: i32>(&'a Cells);

// SAFETY of all blocks below: as in the module above.

impl<const N: i32> Convert<1> for Shifted<'_, N> {
    /// Multipliers, bias, table and the shift of a cell.
    type Constants = (Words, Words, *const i32, u32);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let Cells { multipliers, bias, cell_shift, .. } = self.0;
        (
            load_words(lanes(multipliers, channel)),
            load_words(lanes(bias, channel)),
            self.0.entries(),
            *cell_shift,
        )
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let &(multipliers, bias, table, cell_shift) = constants;
        let accumulators = load_words(accumulators);
        let mut axis = [0u32; LANES];
        let mut entries = [0i32; LANES];
        // SAFETY: as said above; `constants` checked that the table has an entry for each of the highest bits.
        unsafe {
            // By hand: closures of `from_fn` are not always inlined here, and then a level takes twice as long.
            let u = [
                axis_of::<N>(accumulators[0], multipliers[0], bias[0]),
                axis_of::<N>(accumulators[1], multipliers[1], bias[1]),
                axis_of::<N>(accumulators[2], multipliers[2], bias[2]),
                axis_of::<N>(accumulators[3], multipliers[3], bias[3]),
            ];
            for (part, &u) in u.iter().enumerate() {
                vst1q_u32(axis.as_mut_ptr().add(4 * part), vreinterpretq_u32_s32(u));
            }
            // Kept from turning memory into moves between registers, which are slower on both ways.
            for (entry, &u) in entries.iter_mut().zip(black_box(&axis)) {
                *entry = *table.add((u >> cell_shift) as usize);
            }
            let entries = load_words(black_box(&entries));
            const FRACTION: i32 = LEVEL_SHIFT as i32 - 16;
            let low = unsigned([entries[0], entries[1]], [u[0], u[1]]);
            let high = unsigned([entries[2], entries[3]], [u[2], u[3]]);
            store_bytes(vshrn_high_n_u16::<FRACTION>(vshrn_n_u16::<FRACTION>(low), high))
        }
    }
}

/// Positions on the axis.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn axis_of<const N: i32>(
    accumulators: int32x4_t,
    multipliers: int32x4_t,
    bias: int32x4_t,
) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let low = vqshrn_n_s64::<N>(vmull_s32(vget_low_s32(accumulators), vget_low_s32(multipliers)));
        vqaddq_s32(vqshrn_high_n_s64::<N>(low, vmull_high_s32(accumulators, multipliers)), bias)
    }
}

/// The high halves of the sums of entries and positions, complemented where they are negative: a level and its fraction.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn unsigned(entries: [int32x4_t; 2], u: [int32x4_t; 2]) -> uint16x8_t {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = vaddhn_high_s32(vaddhn_s32(entries[0], u[0]), entries[1], u[1]);
        vreinterpretq_u16_s16(veorq_s16(sums, vreinterpretq_s16_u16(vcltzq_s16(sums))))
    }
}
