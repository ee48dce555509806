//! Levels by counting the thresholds that an accumulator exceeds.

use super::{Accumulators, Convert, lanes};
use crate::requantize::forms::{LANES, Thresholds};

/// A type that accumulators are compared in.
pub(crate) trait Element: Copy {
    /// No threshold counted.
    const ZERO: Self;

    /// The accumulator, or what is nearest to it.
    fn saturate(accumulator: i32) -> Self;

    /// One less than `self` if the accumulator exceeds the threshold.
    fn count(self, accumulator: Self, threshold: Self) -> Self;

    /// A negative count, which fits a byte.
    fn byte(self) -> u8;
}

macro_rules! implement_element {
    ($element:ty) => {
        impl Element for $element {
            const ZERO: Self = 0;

            #[inline(always)]
            fn saturate(accumulator: i32) -> Self {
                accumulator.clamp(Self::MIN.into(), Self::MAX.into()) as Self
            }

            #[inline(always)]
            fn count(self, accumulator: Self, threshold: Self) -> Self {
                self - Self::from(accumulator > threshold)
            }

            #[inline(always)]
            fn byte(self) -> u8 {
                self as u8
            }
        }
    };
}

implement_element!(i16);
implement_element!(i32);

/// [`Thresholds`] of at most `N` steps, all in registers.
pub(crate) struct Few<'a, E, const N: usize>(pub(crate) &'a Thresholds<E>);

impl<E: Element, const N: usize> Convert<1> for Few<'_, E, N> {
    type Constants = ([[E; LANES]; N], [u8; LANES], [u8; LANES]);

    #[inline(always)]
    fn constants(&self, channel: usize) -> Self::Constants {
        let form = self.0;
        let row = form.base.len();
        let thresholds = std::array::from_fn(|step| *lanes(&form.thresholds, step * row + channel));
        (thresholds, *lanes(&form.base, channel), *lanes(&form.direction, channel))
    }

    #[inline(always)]
    fn convert(&self, constants: &Self::Constants, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let (thresholds, base, direction) = constants;
        let mut counts = [E::ZERO; LANES];
        for lane in 0..LANES {
            let accumulator = E::saturate(accumulators[lane]);
            for thresholds in thresholds {
                counts[lane] = counts[lane].count(accumulator, thresholds[lane]);
            }
        }
        levels_of_counts(counts, base, direction)
    }
}

/// Any number of steps.
impl<E: Element> Convert<1> for Thresholds<E> {
    type Constants = usize;

    #[inline(always)]
    fn constants(&self, channel: usize) -> usize {
        channel
    }

    #[inline(always)]
    fn convert(&self, &channel: &usize, [accumulators]: Accumulators<'_, 1>) -> [u8; LANES] {
        let mut saturated = [E::ZERO; LANES];
        for lane in 0..LANES {
            saturated[lane] = E::saturate(accumulators[lane]);
        }
        let mut counts = [E::ZERO; LANES];
        for thresholds in self.thresholds.chunks_exact(self.base.len()) {
            let thresholds = lanes(thresholds, channel);
            for lane in 0..LANES {
                counts[lane] = counts[lane].count(saturated[lane], thresholds[lane]);
            }
        }
        levels_of_counts(counts, lanes(&self.base, channel), lanes(&self.direction, channel))
    }
}

#[inline(always)]
fn levels_of_counts<E: Element>(
    counts: [E; LANES],
    base: &[u8; LANES],
    direction: &[u8; LANES],
) -> [u8; LANES] {
    let mut levels = [0; LANES];
    for lane in 0..LANES {
        levels[lane] = base[lane].wrapping_add(counts[lane].byte() ^ direction[lane]);
    }
    levels
}
