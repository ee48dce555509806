//! Levels by multiplying, shifting and clamping.

use super::{Accumulators, Convert, lanes};
use crate::requantize::forms::{LANES, Narrow, Scale64};

impl Convert<1> for Narrow {
    type Constants = ([i32; LANES], [i32; LANES]);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        (*lanes(&self.multipliers, channel), *lanes(&self.bias, channel))
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let (multipliers, bias) = constants;
        let mut levels = [0; LANES];
        for lane in 0..LANES {
            let product = i64::from(accumulators[lane] << self.pre_shift) * i64::from(multipliers[lane]);
            let sum = ((product >> 32) as i32).wrapping_add(bias[lane]);
            levels[lane] = (sum >> 16).clamp(0, i32::from(self.max_level)) as u8;
        }
        levels
    }
}

/// [`Scale64`] with a shift that counts from bit 32, so that 32 bits are left to shift.
pub(crate) struct Fixed<'a>(pub(crate) &'a Scale64);

/// [`Scale64`] with any shift.
pub(crate) struct Wide<'a>(pub(crate) &'a Scale64);

/// Multipliers by term, and bias.
pub(crate) type ScaleConstants<const T: usize> = ([[i32; LANES]; T], [i64; LANES]);

impl Scale64 {
    #[inline(always)]
    fn constants<const T: usize>(&self, channel: usize) -> ScaleConstants<T> {
        let row = self.bias.len();
        let multipliers = std::array::from_fn(|term| *lanes(&self.multipliers, term * row + channel));
        (multipliers, *lanes(&self.bias, channel))
    }
}

/// `Σ_t accumulators[t] · multipliers[t] + bias` of a lane.
#[inline(always)]
fn scaled_sum<const T: usize>(
    (multipliers, bias): &ScaleConstants<T>,
    accumulators: Accumulators<'_, T>,
    lane: usize,
) -> i64 {
    let mut sum = bias[lane];
    for term in 0..T {
        let product = i64::from(accumulators[term][lane]) * i64::from(multipliers[term][lane]);
        sum = sum.wrapping_add(product);
    }
    sum
}

impl<const T: usize> Convert<T> for Fixed<'_> {
    type Constants = ScaleConstants<T>;

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        self.0.constants(channel)
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, T>) -> [u8; LANES] {
        let mut levels = [0; LANES];
        for (lane, level) in levels.iter_mut().enumerate() {
            let high = (scaled_sum(constants, accumulators, lane) >> 32) as i32;
            *level = (high >> self.0.shift).clamp(0, i32::from(self.0.max_level)) as u8;
        }
        levels
    }
}

impl<const T: usize> Convert<T> for Wide<'_> {
    type Constants = ScaleConstants<T>;

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        self.0.constants(channel)
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, accumulators: Accumulators<'_, T>) -> [u8; LANES] {
        let mut levels = [0; LANES];
        for (lane, level) in levels.iter_mut().enumerate() {
            let sum = scaled_sum(constants, accumulators, lane);
            *level = (sum >> self.0.shift).clamp(0, i64::from(self.0.max_level)) as u8;
        }
        levels
    }
}
