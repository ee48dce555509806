//! A channel's map from accumulators to levels as a list of steps: what decides which arithmetic
//! computes it exactly.

use super::{AccumulatorRange, RequantizeSpec};

/// A monotone map on a range of accumulators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Where the map is defined.
    pub(crate) range: AccumulatorRange,
    /// The level at the range's smallest accumulator.
    pub(crate) first: u8,
    /// Whether steps lead down instead of up.
    pub(crate) falling: bool,
    /// The accumulators from which on the level is one more, or one less, in ascending order; all in
    /// the range and above its smallest. Equal ones where the level changes by more than one.
    pub(crate) positions: Vec<i32>,
}

/// Two neighbouring accumulators with a step between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    /// The level that one of them has at least, and the other has not.
    pub(crate) level: u8,
    /// The one that has.
    pub(crate) at_least: i32,
    /// The one that has not.
    pub(crate) less: i32,
}

impl Steps {
    /// The steps of one channel of a specification with one term. `None` if the map is not monotone,
    /// or has more than `most` steps.
    pub(crate) fn of(
        spec: &RequantizeSpec,
        channel: usize,
        range: AccumulatorRange,
        most: usize,
    ) -> Option<Self> {
        let AccumulatorRange { min, max } = range;
        let first = spec.level(channel, min);
        let mut steps = Self { range, first, falling: false, positions: Vec::new() };
        let mut last = i16::from(first);
        for edge in edges(spec, channel, range, most)? {
            let Some(position) = i32::try_from(edge).ok().filter(|&edge| min < edge && edge <= max) else {
                continue;
            };
            let change = i16::from(spec.level(channel, position)) - last;
            let count = steps.positions.len() + usize::from(change.unsigned_abs());
            if change == 0 {
                continue;
            }
            if steps.positions.is_empty() {
                steps.falling = change < 0;
            }
            if steps.falling != (change < 0) || count > most {
                return None;
            }
            steps.positions.resize(count, position);
            last += change;
        }
        Some(steps)
    }

    /// Every step.
    pub(crate) fn crossings(&self) -> impl Iterator<Item = Crossing> {
        self.positions.iter().enumerate().map(|(index, &position)| {
            if self.falling {
                Crossing { level: self.first - index as u8, at_least: position - 1, less: position }
            } else {
                Crossing { level: self.first + 1 + index as u8, at_least: position, less: position - 1 }
            }
        })
    }

    /// The smallest and the largest accumulator, each with its level.
    pub(crate) fn ends(&self) -> [(i32, u8); 2] {
        let steps = self.positions.len() as u8;
        let last = if self.falling { self.first - steps } else { self.first + steps };
        [(self.range.min, self.first), (self.range.max, last)]
    }
}

/// The accumulators from which on the level may be another one, in ascending order. `None` if there
/// would be more than `most` for a reason that is known at once.
fn edges(spec: &RequantizeSpec, channel: usize, range: AccumulatorRange, most: usize) -> Option<Vec<i128>> {
    let (line, values): (_, Vec<i128>) = match spec {
        RequantizeSpec::Scale { multipliers, bias, shift, .. } => {
            let [a, b] = [range.min, range.max].map(|end| spec.level(channel, end));
            if usize::from(a.abs_diff(b)) > most {
                return None;
            }
            let values = (a.min(b)..a.max(b)).map(|level| (i128::from(level) + 1) << shift).collect();
            ((multipliers[channel], bias[channel]), values)
        }
        RequantizeSpec::Staircase { thresholds, .. } => {
            return Some(thresholds[channel].iter().copied().map(i128::from).collect());
        }
        RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, .. } => {
            let values = thresholds.iter().copied().map(i128::from).collect();
            ((multipliers[channel], bias[channel]), values)
        }
    };
    let (multiplier, bias) = (i128::from(line.0), i128::from(line.1));
    let mut edges: Vec<i128> = match multiplier {
        0 => Vec::new(),
        // The smallest a with a·multiplier + bias ≥ value: the quotient, rounded up.
        1.. => values.iter().map(|value| -floor(bias - value, multiplier)).collect(),
        // The smallest a with a·multiplier + bias < value.
        _ => values.iter().map(|value| floor(bias - value, -multiplier) + 1).collect(),
    };
    if multiplier < 0 {
        edges.reverse();
    }
    Some(edges)
}

/// `dividend / divisor`, rounded towards −∞, for divisors above 0. Nearly all dividends fit 64 bits, where a
/// division is an instruction.
fn floor(dividend: i128, divisor: i128) -> i128 {
    match (i64::try_from(dividend), i64::try_from(divisor)) {
        (Ok(dividend), Ok(divisor)) => dividend.div_euclid(divisor).into(),
        _ => dividend.div_euclid(divisor),
    }
}

impl RequantizeSpec {
    /// The level of an accumulator, for specifications with one term.
    pub(super) fn level(&self, channel: usize, accumulator: i32) -> u8 {
        let scaled = |multipliers: &[i32], bias: &[i64]| {
            i128::from(accumulator) * i128::from(multipliers[channel]) + i128::from(bias[channel])
        };
        match self {
            Self::Scale { multipliers, bias, shift, max_level } => {
                (scaled(multipliers, bias) >> shift).clamp(0, i128::from(*max_level)) as u8
            }
            Self::Staircase { thresholds, levels } => {
                levels[channel][thresholds[channel].partition_point(|&t| t <= accumulator)]
            }
            Self::ScaledStaircase { multipliers, bias, thresholds, levels } => {
                let scaled = scaled(multipliers, bias);
                levels[thresholds.partition_point(|&t| i128::from(t) <= scaled)]
            }
        }
    }
}
