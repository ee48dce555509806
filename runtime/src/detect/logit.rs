//! From the integers of a head to logits.
//!
//! `raw = x · multiplier + bias` is a logit with `shift` fraction bits, exact in an i64. The integer
//! path rounds it to [`LOGIT_BITS`]; the floating-point path takes it as it is.

use super::sigmoid::{LOGIT_BITS, LOGIT_LIMIT, sigmoid};
use ylb_format::limits::MAX_SHIFT;
use ylb_format::model::HeadPart;

/// Logits that are not brought to the range of σ lie between `−WIDE_LIMIT` and `WIDE_LIMIT`: as distances in cells they
/// reach across any picture.
pub(crate) const WIDE_LIMIT: i64 = 1 << (15 + LOGIT_BITS);

/// The affine maps of one part's channels.
#[derive(Clone, Debug)]
pub(crate) struct LogitScale {
    channels: Vec<(i64, i64)>,
    shift: u32,
}

/// Integers `low..=high`; none if `low > high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passing {
    pub low: i32,
    pub high: i32,
}

impl LogitScale {
    /// Takes multipliers, bias and shift of a part.
    pub fn new(part: &HeadPart) -> Self {
        let multipliers = part.multipliers.iter().map(|&factor| i64::from(factor));
        Self { channels: multipliers.zip(part.bias.iter().copied()).collect(), shift: u32::from(part.shift) }
    }

    /// The maps of channels `first..first + count`.
    pub fn channels(&self, first: usize, count: usize) -> &[(i64, i64)] {
        &self.channels[first..first + count]
    }

    /// A raw logit in parts of 2⁻⁶²: such logits of several parts can be compared.
    pub fn aligned(&self, raw: i64) -> i128 {
        i128::from(raw) << (u32::from(MAX_SHIFT) - self.shift)
    }

    /// A raw logit with [`LOGIT_BITS`] fraction bits, rounded half up, clamped to [`WIDE_LIMIT`].
    #[inline]
    pub fn wide(&self, raw: i64) -> i64 {
        let logit = match self.shift.checked_sub(LOGIT_BITS) {
            Some(0) => raw,
            // The bit below the last one kept, added: rounds half up without leaving the i64.
            Some(excess) => (raw >> excess) + (raw >> (excess - 1) & 1),
            None => {
                let beyond = WIDE_LIMIT >> (LOGIT_BITS - self.shift);
                raw.clamp(-beyond, beyond) << (LOGIT_BITS - self.shift)
            }
        };
        logit.clamp(-WIDE_LIMIT, WIDE_LIMIT)
    }

    /// The same clamped to [`LOGIT_LIMIT`].
    #[inline]
    pub fn fixed(&self, raw: i64) -> i32 {
        limited(self.wide(raw))
    }

    /// A raw logit as a real number.
    pub fn real(&self, raw: i64) -> f64 {
        // Exact but for the conversion of an integer beyond 53 bits.
        raw as f64 / (1u64 << self.shift) as f64
    }

    /// The integers of `channel` whose [`LogitScale::fixed`] logit is at least `logit`.
    ///
    /// Where `raw` would leave an i64 the answer may include integers that do not qualify, but it
    /// excludes none that does.
    pub fn passing(&self, channel: usize, logit: i32) -> Passing {
        if logit <= -LOGIT_LIMIT {
            return Passing::EVERYTHING;
        }
        let wanted = i128::from(logit);
        let raw = match self.shift.checked_sub(LOGIT_BITS) {
            Some(0) => wanted,
            Some(excess) => (wanted << excess) - (1 << (excess - 1)),
            None => -(-wanted >> (LOGIT_BITS - self.shift)),
        };
        let (multiplier, bias) = self.channels[channel];
        let rest = raw.min(i128::from(i64::MAX)) - i128::from(bias);
        let multiplier = i128::from(multiplier);
        // x · multiplier ≥ rest; div_euclid by a positive number rounds towards −∞.
        if multiplier > 0 {
            let low = -(-rest).div_euclid(multiplier);
            if low > i128::from(i32::MAX) {
                return Passing::NOTHING;
            }
            let low = low.max(i128::from(i32::MIN)) as i32;
            Passing { low, ..Passing::EVERYTHING }
        } else if multiplier < 0 {
            let high = (-rest).div_euclid(-multiplier);
            if high < i128::from(i32::MIN) {
                return Passing::NOTHING;
            }
            let high = high.min(i128::from(i32::MAX)) as i32;
            Passing { high, ..Passing::EVERYTHING }
        } else if rest <= 0 {
            Passing::EVERYTHING
        } else {
            Passing::NOTHING
        }
    }
}

impl Passing {
    pub const EVERYTHING: Self = Self { low: i32::MIN, high: i32::MAX };
    pub const NOTHING: Self = Self { low: i32::MAX, high: i32::MIN };

    /// Whether `x` is one of them.
    #[cfg(test)]
    pub fn contains(self, x: i32) -> bool {
        self.low <= x && x <= self.high
    }
}

/// `x · multiplier + bias`, at the ends of an i64 where it would leave it.
#[inline]
pub(crate) fn raw_logit(x: i32, (multiplier, bias): (i64, i64)) -> i64 {
    // Both factors are i32, so the product fits.
    (i64::from(x) * multiplier).saturating_add(bias)
}

/// A logit clamped to [`LOGIT_LIMIT`].
#[inline]
pub(crate) fn limited(logit: i64) -> i32 {
    let limit = i64::from(LOGIT_LIMIT);
    // In range after the clamp.
    logit.clamp(-limit, limit) as i32
}

/// Smallest logit whose [`sigmoid`] exceeds `probability`, if one does.
pub(crate) fn logit_above(probability: u64) -> Option<i32> {
    let passes = |logit: i32| u64::from(sigmoid(logit)) > probability;
    let (mut fails, mut found) = (-LOGIT_LIMIT, LOGIT_LIMIT);
    if !passes(found) {
        return None;
    }
    if passes(fails) {
        return Some(fails);
    }
    while found - fails > 1 {
        let middle = fails + (found - fails) / 2;
        if passes(middle) {
            found = middle;
        } else {
            fails = middle;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(multiplier: i64, bias: i64, shift: u32) -> LogitScale {
        LogitScale { channels: vec![(multiplier, bias)], shift }
    }

    #[test]
    fn fixed_logits_are_rounded_and_clamped() {
        let table = [
            // shift, raw, expected
            (LOGIT_BITS, 5, 5),
            (LOGIT_BITS + 1, 5, 3),
            (LOGIT_BITS + 1, -5, -2),
            (LOGIT_BITS - 3, 5, 40),
            (LOGIT_BITS, i64::from(LOGIT_LIMIT) + 1, LOGIT_LIMIT),
            (0, 17, LOGIT_LIMIT),
            (0, -15, -15 << LOGIT_BITS),
            (0, i64::MIN, -LOGIT_LIMIT),
            (62, i64::MAX, 2 << LOGIT_BITS),
            (62, i64::MIN, -(2 << LOGIT_BITS)),
        ];
        for (shift, raw, expected) in table {
            let found = scale(1, 0, shift).fixed(raw);
            assert_eq!(found, expected, "{raw} with {shift} fraction bits");
        }
    }

    #[test]
    fn wide_logits_reach_across_a_picture() {
        let table = [
            // shift, raw, expected
            (LOGIT_BITS, i64::from(LOGIT_LIMIT) + 1, i64::from(LOGIT_LIMIT) + 1),
            (LOGIT_BITS + 1, -5, -2),
            (0, 500, 500 << LOGIT_BITS),
            (0, i64::MAX, WIDE_LIMIT),
            (3, i64::MIN, -WIDE_LIMIT),
            (62, i64::MIN, -(2 << LOGIT_BITS)),
        ];
        for (shift, raw, expected) in table {
            assert_eq!(scale(1, 0, shift).wide(raw), expected, "{raw} with {shift} fraction bits");
        }
        // A half, of any number of fraction bits.
        assert_eq!(scale(1, 0, 1).aligned(1), scale(1, 0, 62).aligned(1 << 61));
    }

    #[test]
    fn passing_is_exactly_the_integers_that_reach_a_logit() {
        let scales = [(1, 0), (3, -7), (-3, 100), (40_000, 123_456), (-70_001, -5), (0, 9), (0, -9)];
        for (multiplier, bias) in scales {
            for shift in [0, 3, 12, 23, 24, 25, 30] {
                let scale = scale(multiplier, bias, shift);
                for logit in [-LOGIT_LIMIT, -(3 << 20), -1, 0, 1, 77_777, 9 << 21, LOGIT_LIMIT] {
                    let passing = scale.passing(0, logit);
                    for x in -3000..3000 {
                        let raw = raw_logit(x, (multiplier, bias));
                        let reached = scale.fixed(raw) >= logit;
                        assert_eq!(
                            passing.contains(x),
                            reached,
                            "{x} · {multiplier} + {bias} >> {shift} against {logit}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn passing_excludes_nothing_at_the_extremes() {
        for shift in [0, 24, 62] {
            for multiplier in [i64::from(i32::MIN), -1, 0, 1, i64::from(i32::MAX)] {
                for bias in [i64::MIN, -1, 0, i64::MAX] {
                    let scale = scale(multiplier, bias, shift);
                    for logit in [-LOGIT_LIMIT + 1, 0, LOGIT_LIMIT] {
                        let passing = scale.passing(0, logit);
                        for x in [i32::MIN, -1, 0, 1, i32::MAX] {
                            let raw = raw_logit(x, (multiplier, bias));
                            if scale.fixed(raw) >= logit {
                                assert!(passing.contains(x), "{x} {multiplier} {bias} {shift}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn logit_above_is_the_least_that_passes() {
        for probability in [1, 1 << 10, 1 << 20, 1 << 28, 3 << 28, (1 << 30) - 200] {
            let logit = logit_above(probability).expect("σ reaches further");
            assert!(u64::from(sigmoid(logit)) > probability);
            if logit > -LOGIT_LIMIT {
                assert!(u64::from(sigmoid(logit - 1)) <= probability);
            }
        }
        assert_eq!(logit_above(1 << 30), None);
        assert_eq!(logit_above(0), Some(-LOGIT_LIMIT));
    }
}
