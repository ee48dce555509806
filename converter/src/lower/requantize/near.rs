//! Proof by looking at every combination of accumulators whose sum comes close to a step.
//!
//! Where a sum is farther from a step than its error, its level is right. The others are few, and
//! found without trying all combinations: for given accumulators of all terms but two, the sum of the
//! two must lie in a short interval, `low ≤ m · x + n · y ≤ high`. That is a condition on `m · x`
//! modulo `n`, and the smallest `x` that meets it follows by Euclid's algorithm ([`first_within`]).
//!
//! Where the level of such a sum is wrong, a change of the bias may right it: a bias that suits all of
//! a channel's near sums makes the channel exact.

use std::rc::Rc;

use ylb_format::model::Requantize;

use super::{PendingConv, Sums, compile};
use crate::error::ConvertError;
use crate::expr::Expr;
use crate::staircase::Levels;

/// Most searches for one convolution: a second or two.
const MAX_SEARCHES: u64 = 1 << 24;
/// Most near sums of one channel.
const MAX_NEAR: u32 = 1 << 16;

/// Makes a requantization by sums equal to the expression for all accumulators that the convolution
/// can reach, by changes of its biases. `false`, and nothing is changed, where there are too many
/// combinations to look at, or no bias suits.
///
/// # Errors
/// If the expression gives something that is no level.
pub(super) fn prove(
    conv: &PendingConv,
    expr: &Rc<Expr>,
    levels: Levels,
    map: &mut Requantize,
    sums: &Sums,
) -> Result<bool, ConvertError> {
    let steps = steps(map, levels.max_level);
    let channels = conv.shape[0];
    let searches: Vec<Search<'_>> =
        (0..channels).map(|channel| Search::new(conv, sums, channel, &steps)).collect();
    let count = searches.iter().fold(0u64, |sum, search| sum.saturating_add(search.count()));
    if count > MAX_SEARCHES {
        return Ok(false);
    }
    let mut changes = Vec::with_capacity(channels);
    for (channel, search) in searches.iter().enumerate() {
        let program = compile(expr, channel, conv.reading(channel));
        let mut scratch = Vec::new();
        let level = |accumulators: &[i64]| {
            let inputs: Vec<f64> = accumulators.iter().map(|&a| a as f64).collect();
            levels.level(program.value(&inputs, &mut scratch))
        };
        match search.bias_change(level)? {
            Some(change) => changes.push(change),
            None => return Ok(false),
        }
    }
    if let Requantize::Scale { bias, .. } | Requantize::ScaledStaircase { bias, .. } = map {
        bias.iter_mut().zip(changes).for_each(|(bias, change)| *bias += change);
    }
    Ok(true)
}

/// A step on the sums: where it is, and the levels before and behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    at: i64,
    before: u8,
    behind: u8,
}

fn steps(map: &Requantize, max_level: u8) -> Vec<Step> {
    match map {
        Requantize::Scale { shift, .. } => (1..=max_level)
            .map(|level| Step { at: i64::from(level) << shift, before: level - 1, behind: level })
            .collect(),
        Requantize::ScaledStaircase { thresholds, levels, .. } => thresholds
            .iter()
            .zip(levels.windows(2))
            .map(|(&at, pair)| Step { at, before: pair[0], behind: pair[1] })
            .collect(),
        Requantize::Staircase { .. } => Vec::new(),
    }
}

/// The sums of one channel.
struct Search<'s> {
    multipliers: &'s [i64],
    bias: i64,
    ranges: Vec<(i64, i64)>,
    /// Sums this far from a step are looked at: by twice their error, so that a change of the bias by
    /// up to the error leaves no other unseen.
    distance: i64,
    /// The largest change of the bias.
    change: i64,
    /// The two terms that are searched: the one with the largest multiplier, and the widest other one.
    pair: [usize; 2],
    /// Steps that sums can reach.
    steps: Vec<Step>,
}

impl<'s> Search<'s> {
    fn new(conv: &PendingConv, sums: &'s Sums, channel: usize, steps: &[Step]) -> Self {
        let multipliers = &sums.multipliers[channel];
        let ranges: Vec<(i64, i64)> = conv.terms.iter().map(|term| term.ranges[channel]).collect();
        let bias = sums.bias[channel];
        let change = sums.errors[channel].ceil() as i64 + 1;
        let distance = 2 * change;
        let (mut low, mut high) = (bias - distance, bias + distance);
        for (multiplier, (first, last)) in multipliers.iter().zip(&ranges) {
            low += (multiplier * first).min(multiplier * last);
            high += (multiplier * first).max(multiplier * last);
        }
        let steps = steps.iter().copied().filter(|step| (low..=high).contains(&step.at)).collect();
        let terms = 0..ranges.len();
        let modulus = terms.clone().max_by_key(|&term| multipliers[term].unsigned_abs()).unwrap_or(0);
        let others = terms.filter(|&term| term != modulus);
        let widest = others.max_by_key(|&term| ranges[term].1 - ranges[term].0).unwrap_or(modulus);
        Self { multipliers, bias, ranges, distance, change, pair: [widest, modulus], steps }
    }

    /// How many searches it takes.
    fn count(&self) -> u64 {
        let others = (0..self.ranges.len()).filter(|term| !self.pair.contains(term));
        let widths = others.map(|term| (self.ranges[term].1 - self.ranges[term].0).unsigned_abs() + 1);
        widths.fold(self.steps.len() as u64, u64::saturating_mul)
    }

    /// The smallest change of the bias that puts every sum near a step on the side of it where its
    /// level is. `None` if there is none.
    fn bias_change(
        &self,
        mut level: impl FnMut(&[i64]) -> Result<u8, ConvertError>,
    ) -> Result<Option<i64>, ConvertError> {
        let (mut least, mut most) = (-self.change, self.change);
        let mut suits = |accumulators: &[i64], step: &Step, sum: i64| -> Result<bool, ConvertError> {
            match level(accumulators)? {
                level if level == step.behind => least = least.max(step.at - sum),
                level if level == step.before => most = most.min(step.at - 1 - sum),
                _ => return Ok(false),
            }
            Ok(least <= most)
        };
        let mut accumulators: Vec<i64> = self.ranges.iter().map(|range| range.0).collect();
        let mut near = 0;
        loop {
            for step in &self.steps {
                if !self.near(&mut accumulators, step, &mut near, &mut suits)? {
                    return Ok(None);
                }
            }
            if !self.advance(&mut accumulators) {
                return Ok(Some(0i64.clamp(least, most)));
            }
        }
    }

    /// Calls `suits` for every near sum that differs from `accumulators` in the pair only, and returns
    /// whether all of them do.
    fn near(
        &self,
        accumulators: &mut [i64],
        step: &Step,
        count: &mut u32,
        suits: &mut impl FnMut(&[i64], &Step, i64) -> Result<bool, ConvertError>,
    ) -> Result<bool, ConvertError> {
        let [widest, modulus] = self.pair;
        let factor = self.multipliers[modulus];
        if factor == 0 {
            // All multipliers are 0, and no sum is near a step: constant levels lie in the middle.
            return Ok((self.bias - step.at).abs() > self.distance);
        }
        let (size, (first, last)) = (factor.abs(), self.ranges[modulus]);
        let [own_first, own_last] = match widest == modulus {
            true => [0, 0],
            false => [self.ranges[widest].0, self.ranges[widest].1],
        };
        let own = if widest == modulus { 0 } else { self.multipliers[widest] };
        accumulators[widest] = 0;
        accumulators[modulus] = 0;
        let rest = self.bias + accumulators.iter().zip(self.multipliers).map(|(a, m)| a * m).sum::<i64>();
        let mut x = own_first;
        loop {
            // factor · y = step ± distance − rest − own · x
            let low = step.at - self.distance - rest - own * x;
            let Some(skipped) =
                first_within(own.rem_euclid(size), size, low.rem_euclid(size), 2 * self.distance)
            else {
                return Ok(true);
            };
            x += skipped;
            if x > own_last {
                return Ok(true);
            }
            *count += 1;
            if *count > MAX_NEAR {
                return Ok(false);
            }
            let low = step.at - self.distance - rest - own * x;
            let high = low + 2 * self.distance;
            let (low, high) = if factor > 0 { (low, high) } else { (-high, -low) };
            accumulators[widest] = x;
            for y in (-(-low).div_euclid(size)).max(first)..=high.div_euclid(size).min(last) {
                accumulators[modulus] = y;
                if !suits(accumulators, step, rest + own * x + factor * y)? {
                    return Ok(false);
                }
            }
            x += 1;
            if x > own_last {
                return Ok(true);
            }
        }
    }

    /// The next combination of all terms but the pair; `false` behind the last one.
    fn advance(&self, accumulators: &mut [i64]) -> bool {
        for (term, &(first, last)) in self.ranges.iter().enumerate() {
            if self.pair.contains(&term) {
                continue;
            }
            if accumulators[term] < last {
                accumulators[term] += 1;
                return true;
            }
            accumulators[term] = first;
        }
        false
    }
}

/// The smallest `x ≥ 0` for which some multiple of `size` lies within `low − a · x ..= low − a · x +
/// width`; `a` and `low` are less than `size`, which is less than 2^31.
fn first_within(a: i64, size: i64, low: i64, width: i64) -> Option<i64> {
    // a · x mod size within low ..= low + width
    if width >= size - 1 || low == 0 || low + width >= size {
        return Some(0);
    }
    smallest_multiple(a, size, low, low + width)
}

/// The smallest `x ≥ 0` with `low ≤ a · x mod size ≤ high`, for `0 ≤ a < size`, `0 ≤ low ≤ high <
/// size`.
///
/// If no multiple of `a` lies in the interval itself, then `a · x` lies in the interval plus a
/// multiple `size · y`, and the smallest such `y` is the solution for `size mod a` modulo `a`.
fn smallest_multiple(a: i64, size: i64, low: i64, high: i64) -> Option<i64> {
    if low == 0 {
        return Some(0);
    }
    if a == 0 {
        return None;
    }
    let multiple = (low + a - 1) / a;
    if multiple * a <= high {
        return Some(multiple);
    }
    let turns = smallest_multiple(size % a, a, a - high % a, a - low % a)?;
    Some((low + size * turns + a - 1) / a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn smallest_multiples_are_those_found_by_trying(
            size in 1i64..400,
            a in 0i64..400,
            ends in (0i64..400, 0i64..400),
        ) {
            let (a, low, high) = (a % size, ends.0.min(ends.1) % size, ends.0.max(ends.1) % size);
            prop_assume!(low <= high);
            let expected = (0..size).find(|x| (low..=high).contains(&(a * x % size)));
            prop_assert_eq!(smallest_multiple(a, size, low, high), expected);
        }

        #[test]
        fn near_multiples_are_those_found_by_trying(
            size in 1i64..300, a in 0i64..300, low in 0i64..300, width in 0i64..40,
        ) {
            let (a, low) = (a % size, low % size);
            let near = |x: &i64| (low - a * x + width).div_euclid(size) * size >= low - a * x;
            prop_assert_eq!(first_within(a, size, low, width), (0..size).find(near));
        }
    }

    /// Every sum near a step is found, and no other.
    #[test]
    fn all_near_sums_are_found() {
        let multipliers = [911, -353, 74];
        let ranges = vec![(-9, 12), (-20, 31), (-3, 3)];
        let steps: Vec<Step> =
            [-4000, 300, 9000].into_iter().map(|at| Step { at, before: 0, behind: 1 }).collect();
        let search = Search {
            multipliers: &multipliers,
            bias: 17,
            ranges,
            distance: 40,
            change: 20,
            pair: [1, 0],
            steps,
        };
        let mut found = std::collections::BTreeSet::new();
        for step in &search.steps {
            let mut accumulators = vec![-9, -20, -3];
            loop {
                let mut note = |accumulators: &[i64], step: &Step, sum: i64| {
                    assert!((sum - step.at).abs() <= 40);
                    assert!(found.insert((step.at, accumulators.to_vec())));
                    Ok(true)
                };
                assert!(search.near(&mut accumulators, step, &mut 0, &mut note).unwrap());
                if !search.advance(&mut accumulators) {
                    break;
                }
            }
        }
        let mut expected = std::collections::BTreeSet::new();
        for (x, y) in (-9i64..=12).flat_map(|x| (-20i64..=31).map(move |y| (x, y))) {
            for z in -3i64..=3 {
                let sum = 911 * x - 353 * y + 74 * z + 17;
                let near = search.steps.iter().filter(|step| (sum - step.at).abs() <= 40);
                expected.extend(near.map(|step| (step.at, vec![x, y, z])));
            }
        }
        assert!(expected.len() > 30);
        assert_eq!(found, expected);
    }

    /// A sum on the wrong side of a step moves the bias; contradictions do not.
    #[test]
    fn biases_move_just_enough() {
        let mut search = Search {
            multipliers: &[10],
            bias: 0,
            ranges: vec![(0, 9)],
            distance: 6,
            change: 3,
            pair: [0, 0],
            steps: vec![Step { at: 52, before: 0, behind: 1 }],
        };
        assert_eq!(search.bias_change(|a| Ok(u8::from(a[0] >= 5))).unwrap(), Some(2));
        assert_eq!(search.bias_change(|a| Ok(u8::from(a[0] >= 6))).unwrap(), Some(0));
        search.distance = 12;
        assert_eq!(search.bias_change(|a| Ok(u8::from(a[0] == 5))).unwrap(), None);
    }
}
