//! Sums of two rows of levels with their quantizer in 16 bits, where that is exact.

use std::ops::RangeInclusive;

#[cfg(target_arch = "x86_64")]
use crate::arch::{self, x86_64::simd::Avx2};

/// Fraction bits: levels of four bits and factors of up to 2 stay inside an i16.
const SHIFT: u32 = 8;

/// `clamp((a · factors[0] + b · factors[1] + bias) >> 8, 0, max_level)`, where nothing leaves an i16: 16 levels take 8
/// cycles on a Cortex-A72, where a table takes 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NarrowSum {
    factors: [i16; 2],
    bias: i16,
    max_level: u8,
}

impl NarrowSum {
    /// The sum that equals `level` for all levels up to `max_levels`; `None` if there is none near
    /// `multipliers / 2^shift`, the exact factors.
    pub fn new(
        multipliers: [i64; 2],
        shift: u8,
        max_levels: [u8; 2],
        max_level: u8,
        level: impl Fn(u8, u8) -> u8,
    ) -> Option<Self> {
        let [first, second] = multipliers.map(|multiplier| {
            let floor = (i128::from(multiplier) << SHIFT) >> shift;
            [0, 1].map(|up| i16::try_from(floor + up).ok())
        });
        let pairs = first.iter().flat_map(|a| second.iter().map(move |b| (*a, *b)));
        let mut found =
            pairs.filter_map(|(a, b)| Self::with_factors([a?, b?], max_levels, max_level, &level));
        found.next()
    }

    /// The one with these factors and a bias in the middle of those that do.
    fn with_factors(
        factors: [i16; 2],
        max_levels: [u8; 2],
        max_level: u8,
        level: &impl Fn(u8, u8) -> u8,
    ) -> Option<Self> {
        let [m, n] = factors.map(i64::from);
        let reach = |levels: RangeInclusive<u8>| levels.map(i64::from);
        let (mut low, mut high) = (i64::from(i16::MIN), i64::from(i16::MAX));
        for a in reach(0..=max_levels[0]) {
            for b in reach(0..=max_levels[1]) {
                let product = a * m + b * n;
                let level = level(a as u8, b as u8);
                if level > 0 {
                    low = low.max((i64::from(level) << SHIFT) - product);
                }
                if level < max_level {
                    high = high.min(((i64::from(level) + 1) << SHIFT) - 1 - product);
                }
                // Neither the first product nor the sum, with any bias between, may wrap around.
                low = low.max(i64::from(i16::MIN) - product);
                high = high.min(i64::from(i16::MAX) - product);
                if i16::try_from(product).is_err() || i16::try_from(a * m).is_err() {
                    return None;
                }
            }
        }
        let bias = i16::try_from(low + (high - low) / 2).ok()?;
        (low <= high).then_some(Self { factors, bias, max_level })
    }

    /// Computes a row.
    ///
    /// # Panics
    /// If the rows' lengths differ.
    pub fn apply(&self, a: &[u8], b: &[u8], output: &mut [u8]) {
        assert!(a.len() == output.len() && b.len() == output.len(), "row lengths differ");
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::new() {
            return arch::x86_64::sum::apply(avx2, self, a, b, output);
        }
        self.levels(a, b, output);
    }

    /// A loop that compilers vectorise.
    #[inline(always)]
    pub(crate) fn levels(&self, a: &[u8], b: &[u8], output: &mut [u8]) {
        let Self { factors: [m, n], bias, max_level } = *self;
        for (output, (&a, &b)) in output.iter_mut().zip(a.iter().zip(b)) {
            let product = i16::from(a).wrapping_mul(m).wrapping_add(i16::from(b).wrapping_mul(n));
            *output = (product.wrapping_add(bias) >> SHIFT).clamp(0, max_level.into()) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(multipliers: [i64; 2], bias: i64, shift: u8, max_level: u8) -> impl Fn(u8, u8) -> u8 {
        move |a, b| {
            let sum = i64::from(a) * multipliers[0] + i64::from(b) * multipliers[1] + bias;
            (sum >> shift).clamp(0, max_level.into()) as u8
        }
    }

    #[test]
    fn sums_equal_the_map_or_are_none() {
        let mut found = 0;
        for (number, multipliers) in [
            [1 << 23, 1 << 23],
            [9_000_000, 7_000_000],
            [-4_000_000, 16_000_000],
            [1, 1 << 27],
            [12_345_678; 2],
        ]
        .into_iter()
        .enumerate()
        {
            for (max_levels, max_level) in [([15, 15], 15), ([15, 7], 3), ([1, 1], 1), ([15, 15], 200)] {
                let bias = (1 << 23) - (number as i64 * 5_000_000);
                let level = level(multipliers, bias, 24, max_level);
                let Some(sum) = NarrowSum::new(multipliers, 24, max_levels, max_level, &level) else {
                    continue;
                };
                found += 1;
                for a in 0..=max_levels[0] {
                    for b in 0..=max_levels[1] {
                        let mut output = [0];
                        sum.apply(&[a], &[b], &mut output);
                        assert_eq!(output, [level(a, b)], "{sum:?}: {a}, {b}");
                    }
                }
            }
        }
        assert!(found >= 8, "{found} sums of 20");
    }

    /// Halves of a + b rounded to the nearest, where sums that are equal round in two ways: no bias is between
    /// them, by one.
    #[test]
    fn a_bias_must_tell_levels_apart() {
        let level = |a: u8, b: u8| match (a, b) {
            (0, 1) => 0,
            (2, 1) => 1,
            _ => (a + b).div_ceil(2),
        };
        assert_eq!(NarrowSum::new([1 << 23; 2], 24, [2; 2], 3, level), None);
        let sum = NarrowSum::new([1 << 23; 2], 24, [2; 2], 3, |a, b| (a + b).div_ceil(2));
        let mut output = [0; 3];
        sum.expect("a sum").apply(&[0, 2, 1], &[1, 1, 2], &mut output);
        assert_eq!(output, [1, 2, 2]);
    }

    #[test]
    fn a_map_that_is_no_sum_has_none() {
        let table = |a: u8, b: u8| (a * 7 + b * 5) % 16;
        assert_eq!(NarrowSum::new([1 << 23; 2], 24, [15; 2], 15, table), None);
    }
}
