//! Shares and means of a distribution that is given by logits, in fixed point.

use super::exp::{LOWER, MANTISSA_BITS, exp};

/// Fraction bits of a share.
pub const SHARE_BITS: u32 = 30;
/// Fraction bits of a mean.
pub const MEAN_BITS: u32 = 24;

/// Softmax's shares `e^l / Σ e^l` of some logits, which have [`LOGIT_BITS`](super::sigmoid::LOGIT_BITS) fraction bits and
/// may be of any size: only their differences count.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    largest: i64,
    sum: u64,
}

impl Shares {
    /// Looks at all logits, of which there may be 65 536.
    pub fn of(logits: impl Iterator<Item = i64> + Clone) -> Self {
        let largest = largest(logits.clone());
        Self { largest, sum: logits.map(|logit| weight(logit, largest)).sum() }
    }

    /// The share of one of the logits, with [`SHARE_BITS`] fraction bits. The error is below (n + 4)·2⁻³⁰ for n logits.
    pub fn share(&self, logit: i64) -> u32 {
        // The largest is 2^30 itself, so that the sum is not 0, unless there are no logits; and at most 2^46.
        let sum = u128::from(self.sum.max(1));
        let share = (u128::from(weight(logit, self.largest)) << SHARE_BITS) + sum / 2;
        (share / sum) as u32
    }
}

/// The mean of `0, 1, 2, ...` under softmax's shares, `Σ j·e^l / Σ e^l`, with [`MEAN_BITS`] fraction bits: a distance
/// of which the head gives the distribution. 0 if there are no logits.
///
/// The error is below 2e-6 for up to 64 logits, which may be of any size.
pub fn mean(logits: impl Iterator<Item = i64> + Clone) -> u32 {
    let largest = largest(logits.clone());
    let (mut sum, mut moment) = (0u64, 0u64);
    for (logit, position) in logits.zip(0..) {
        let weight = weight(logit, largest);
        sum += weight;
        moment += position * weight;
    }
    if sum == 0 {
        return 0;
    }
    (((u128::from(moment) << MEAN_BITS) + u128::from(sum / 2)) / u128::from(sum)) as u32
}

fn largest(logits: impl Iterator<Item = i64>) -> i64 {
    logits.max().unwrap_or(0)
}

/// `e^(logit − largest)` with 30 fraction bits, at most 1.
fn weight(logit: i64, largest: i64) -> u64 {
    // In range after the clamp.
    let power = exp(logit.saturating_sub(largest).clamp(i64::from(LOWER), 0) as i32);
    // No logit exceeds the largest: the exponent is not above 0.
    let shift = power.exponent.unsigned_abs();
    let rounding = if shift == 0 { 0 } else { 1 << (shift - 1) };
    const { assert!(MANTISSA_BITS == 30) };
    (u64::from(power.mantissa) + rounding) >> shift
}

#[cfg(test)]
mod tests {
    use super::super::sigmoid::{LOGIT_BITS, LOGIT_LIMIT};
    use super::*;

    /// Logits of so many entries that go through the whole range, alike and as different as can be.
    fn distributions(entries: usize) -> Vec<Vec<i64>> {
        const LIMIT: i64 = LOGIT_LIMIT as i64;
        let spread = |seed: u64, reach: i64| {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((i128::from(state >> 1) * i128::from(2 * reach + 1)) >> 63) as i64 - reach
            };
            (0..entries).map(|_| next()).collect::<Vec<i64>>()
        };
        // From sixteen times the range of σ down to an eighth of it.
        let mut all: Vec<_> = (1..200).map(|seed| spread(seed, (LIMIT << 4) >> (seed % 8))).collect();
        all.push(vec![LIMIT; entries]);
        let mut one = vec![-LIMIT; entries];
        one[entries - 1] = LIMIT;
        all.push(one.clone());
        // Weights of just less than half the last bit, which all go the same way.
        one[..entries - 1].fill(LIMIT - (21 << LOGIT_BITS) - (1 << (LOGIT_BITS - 1)));
        all.push(one);
        // Only differences count, however far from 0.
        let far: Vec<_> = all[0].iter().map(|logit| logit + (1 << 39)).collect();
        all.push(far);
        all
    }

    fn exact(logits: &[i64]) -> Vec<f64> {
        let largest = logits.iter().max().expect("logits");
        let real = |logit: &i64| ((logit - largest) as f64 / f64::from(1 << LOGIT_BITS)).exp();
        let sum: f64 = logits.iter().map(real).sum();
        logits.iter().map(|logit| real(logit) / sum).collect()
    }

    #[test]
    fn shares_have_the_error_that_is_stated() {
        for entries in [1, 2, 16, 80, 1000] {
            for logits in distributions(entries) {
                let shares = Shares::of(logits.iter().copied());
                for (of, exact) in exact(&logits).into_iter().enumerate().step_by(1 + entries / 50) {
                    let found = f64::from(shares.share(logits[of])) / f64::from(1 << SHARE_BITS);
                    let bound = (entries + 4) as f64 * 2f64.powi(-30);
                    assert!((found - exact).abs() < bound, "{found} {exact} of {entries}");
                }
            }
        }
    }

    #[test]
    fn means_have_an_error_below_2e_6() {
        for entries in [1, 2, 16, 17, 64] {
            for logits in distributions(entries) {
                let exact: f64 = exact(&logits).iter().enumerate().map(|(j, share)| j as f64 * share).sum();
                let found = f64::from(mean(logits.iter().copied())) / f64::from(1 << MEAN_BITS);
                assert!((found - exact).abs() < 2e-6, "{found} {exact} of {entries}");
            }
        }
        assert_eq!(mean(std::iter::empty()), 0);
    }
}
