//! The exact map from accumulators to levels, as a list of steps.
//!
//! A quantized function of an accumulator takes finitely many values over the accumulator's reachable
//! range, so it is a staircase. Its steps are found by bisection: where the function's bounds over an
//! interval of accumulators already are the same level, the interval needs no further look; else it is
//! halved, down to single accumulators. Nothing is assumed about the function, so activations that
//! are not monotone (SiLU, Hardswish, Mish) need no case of their own.

use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Interval, Program};

/// Most steps of one channel.
pub const MAX_STEPS: usize = 4096;
/// Most evaluations for one channel. 255 steps in a range of 2^23 take about 12 000.
const MAX_EVALUATIONS: usize = 4_000_000;

/// Levels over a range of accumulators: `level(a)` is that of the last step with `start ≤ a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staircase {
    /// First accumulator of each step and its level. Starts ascend, the first is the range's, and
    /// levels of neighbours differ.
    pub steps: Vec<(i64, u8)>,
    /// Last accumulator of the range.
    pub last: i64,
}

/// From codes, as a program computes them, to levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Code of level 0.
    pub low: i64,
    /// Difference of the codes of neighbouring levels.
    pub step: i64,
    /// Largest level.
    pub max_level: u8,
}

impl Levels {
    /// The level of a code.
    ///
    /// # Errors
    /// If the number is no code.
    pub fn level(&self, code: f64) -> Result<u8, ConvertError> {
        let level = (code - self.low as f64) / self.step as f64;
        if level.fract() != 0.0 || !(0.0..=f64::from(self.max_level)).contains(&level) {
            return Err(ConvertError::new(
                ErrorKind::Inexact,
                format!(
                    "the function before the quantizer gives code {code}; expected {} to {}",
                    self.low,
                    self.low + self.step * i64::from(self.max_level)
                ),
            ));
        }
        Ok(level as u8)
    }

    /// The level that all codes of an interval have, if they have the same.
    fn common(&self, codes: Interval) -> Option<u8> {
        if codes.low == codes.high { self.level(codes.low).ok() } else { None }
    }
}

impl Staircase {
    /// Steps of `program`, a function of one accumulator, over `first..=last`.
    ///
    /// # Errors
    /// If it gives something that is no code, or has too many steps.
    pub fn find(program: &Program, levels: Levels, first: i64, last: i64) -> Result<Self, ConvertError> {
        let (mut scratch, mut range_scratch) = (Vec::new(), Vec::new());
        let mut steps: Vec<(i64, u8)> = Vec::new();
        // Intervals still to look at, the lowest on top.
        let mut pending = vec![(first, last)];
        let mut evaluations = 0;
        while let Some((low, high)) = pending.pop() {
            evaluations += 1;
            let level = if low == high {
                Some(levels.level(program.value(&[low as f64], &mut scratch))?)
            } else {
                let input = Interval { low: low as f64, high: high as f64 };
                levels.common(program.range(&[input], &mut range_scratch))
            };
            match level {
                Some(level) if steps.last().is_none_or(|&(_, last)| last != level) => {
                    steps.push((low, level));
                }
                Some(_) => {}
                None => {
                    let middle = low + (high - low) / 2;
                    pending.push((middle + 1, high));
                    pending.push((low, middle));
                }
            }
            if steps.len() > MAX_STEPS || evaluations > MAX_EVALUATIONS {
                return Err(ConvertError::new(
                    ErrorKind::Inexact,
                    format!("the function before the quantizer has more than {MAX_STEPS} steps"),
                ));
            }
        }
        Ok(Self { steps, last })
    }

    /// First accumulator of the range.
    pub fn first(&self) -> i64 {
        self.steps.first().map_or(self.last, |&(start, _)| start)
    }

    /// The level of an accumulator of the range.
    #[cfg(test)]
    pub fn level(&self, accumulator: i64) -> u8 {
        let after = self.steps.partition_point(|&(start, _)| start <= accumulator);
        self.steps.get(after.saturating_sub(1)).map_or(0, |&(_, level)| level)
    }

    /// Whether levels only rise (`Some(true)`), only fall (`Some(false)`), or do both (`None`).
    /// A single level counts as rising.
    pub fn rising(&self) -> Option<bool> {
        let rises = self.steps.windows(2).all(|pair| pair[0].1 < pair[1].1);
        let falls = self.steps.windows(2).all(|pair| pair[0].1 > pair[1].1);
        if rises {
            Some(true)
        } else if falls {
            Some(false)
        } else {
            None
        }
    }

    /// The same function of the negated accumulator.
    pub fn mirrored(&self) -> Self {
        let mut steps = Vec::with_capacity(self.steps.len());
        let mut end = self.last;
        for &(start, level) in self.steps.iter().rev() {
            steps.push((-end, level));
            end = start - 1;
        }
        Self { steps, last: -self.first() }
    }
}

#[cfg(test)]
mod tests;
