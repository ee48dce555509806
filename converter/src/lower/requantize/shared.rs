//! One staircase for all channels.
//!
//! Behind a convolution, channels differ by their scale, bias and normalization, which are linear, and
//! share what follows: the activation and the quantizer. So one staircase over the normalized real
//! number serves all of them, whatever its shape.

use std::collections::HashSet;
use std::rc::Rc;

use ylb_format::model::Requantize;

use super::fixed::{Line, Sums, largest_shift, ranges, resolution};
use super::{Approximation, PendingConv, Units, compile};
use crate::expr::{Binary, ConvReading, Expr, Program, ValueIndex};
use crate::fit::MAX_MULTIPLIER;
use crate::staircase::{Levels, Staircase};

/// What channels share, and what they do not.
pub(super) struct Shared {
    /// Real results to the number that is common ground, by channel: factor and addend.
    affine: Vec<(f64, f64)>,
    /// Over that number, in units of `2^−resolution`.
    staircase: Staircase,
    resolution: i32,
}

impl Shared {
    /// Splits an expression into a linear part by channel and a common rest. `None` if it is not made
    /// like that.
    pub(super) fn find(conv: &PendingConv, expr: &Rc<Expr>, levels: Levels) -> Option<Self> {
        let (ground, rest) = split(expr)?;
        let mut affine = Vec::with_capacity(conv.shape[0]);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for channel in 0..conv.shape[0] {
            let (first, last) = conv.real_range(channel);
            let (factor, addend) = conv.affine_of_real(&ground, channel);
            let ends = [first * factor + addend, last * factor + addend];
            low = low.min(ends[0]).min(ends[1]);
            high = high.max(ends[0]).max(ends[1]);
            affine.push((factor, addend));
        }
        if !(low.is_finite() && high.is_finite()) {
            return None;
        }
        let resolution = resolution(low, high);
        let unit = f64::from(resolution).exp2();
        let leaf = Rc::new(Expr::Codes(ValueIndex(0)));
        let real = leaf.binary(Binary::Mul, &Expr::number(1.0 / unit));
        let rest = rest.substitute(|node| matches!(node, Expr::Codes(_)).then(|| Rc::clone(&real)));
        let program = Program::compile(&rest, 0, |_| 0, |_| ConvReading { terms: Vec::new(), bias: None });
        let (first, last) = ((low * unit).floor() as i64 - 1, (high * unit).ceil() as i64 + 1);
        let staircase = Staircase::find(&program, levels, first, last).ok()?;
        Some(Self { affine, staircase, resolution })
    }

    /// Number of thresholds.
    pub(super) fn thresholds(&self) -> usize {
        self.staircase.steps.len() - 1
    }

    /// The requantization of a convolution that is a function of one integer a channel, if it equals
    /// the staircases of all channels.
    pub(super) fn exact(
        &self,
        conv: &PendingConv,
        units: &Units,
        staircases: &[Staircase],
    ) -> Option<Requantize> {
        // The scale of weights that are all 0 says nothing, and must not take bits of what the others share.
        let moves = |channel: usize| staircases[channel].first() < staircases[channel].last;
        let line = |(channel, &(factor, offset)): (usize, &(f64, f64))| Line {
            factors: vec![if moves(channel) {
                factor * (units.unit * conv.weight_scales[channel])
            } else {
                0.0
            }],
            offset,
            error: 0.0,
        };
        let lines: Vec<Line> = self.affine.iter().enumerate().map(line).collect();
        let ranges: Vec<_> = staircases.iter().map(|s| vec![(s.first(), s.last)]).collect();
        let shift = largest_shift(&lines, &ranges, MAX_MULTIPLIER / units.largest())?;
        let sums = Sums::rounded(&lines, &ranges, shift);
        let (rounded, levels) = self.scaled(shift)?;
        let mut windows = Windows::all(rounded.len());
        for (channel, staircase) in staircases.iter().enumerate() {
            let (multiplier, bias) = (sums.multipliers[channel][0], sums.bias[channel]);
            windows.narrow(&plateaus(staircase, multiplier, bias), &rounded, &levels)?;
        }
        let thresholds = windows.thresholds(&rounded)?;
        let multipliers = units.repeated(&sums.by_term());
        Some(Requantize::ScaledStaircase { multipliers, bias: sums.bias, thresholds, levels })
    }

    /// The requantization of any convolution, as near as multipliers come.
    pub(super) fn approximate(&self, conv: &PendingConv) -> Option<Approximation> {
        let ranges = ranges(conv);
        let line = |(channel, &(factor, offset)): (usize, &(f64, f64))| Line {
            factors: conv.factors(channel).into_iter().map(|own| own * factor).collect(),
            offset,
            // Half a position, and less than a sum's unit by rounding the threshold.
            error: f64::from(-self.resolution).exp2(),
        };
        let lines: Vec<Line> = self.affine.iter().enumerate().map(line).collect();
        let shift = largest_shift(&lines, &ranges, MAX_MULTIPLIER)?;
        let mut sums = Sums::rounded(&lines, &ranges, shift);
        sums.errors.iter_mut().for_each(|error| *error += 1.0);
        let (thresholds, levels) = self.scaled(shift)?;
        let unit = match thresholds.as_slice() {
            [first, .., last] => vec![(last - first) as f64 / (thresholds.len() - 1) as f64; lines.len()],
            _ => {
                let largest =
                    |own: &Vec<i64>| own.iter().map(|m| m.unsigned_abs()).max().unwrap_or(1).max(1) as f64;
                sums.multipliers.iter().map(largest).collect()
            }
        };
        let map = Requantize::ScaledStaircase {
            multipliers: sums.by_term(),
            bias: sums.bias.clone(),
            thresholds,
            levels,
        };
        Some(Approximation { map, sums, unit })
    }

    /// Thresholds on sums with a shift, and levels. `None` if thresholds fall together.
    fn scaled(&self, shift: u8) -> Option<(Vec<i64>, Vec<u8>)> {
        let unit = f64::from(i32::from(shift) - self.resolution).exp2();
        let threshold = |&(start, _): &(i64, u8)| ((start as f64 - 0.5) * unit).ceil() as i64;
        let thresholds: Vec<i64> = self.staircase.steps.iter().skip(1).map(threshold).collect();
        let levels = self.staircase.steps.iter().map(|&(_, level)| level).collect();
        thresholds.windows(2).all(|pair| pair[0] < pair[1]).then_some((thresholds, levels))
    }
}

impl PendingConv {
    /// Factor and addend of a linear function of a channel's real result, its bias apart.
    pub(in crate::lower) fn affine_of_real(&self, ground: &Rc<Expr>, channel: usize) -> (f64, f64) {
        let (first, last) = self.real_range(channel);
        let program = compile(ground, channel, self.reading_of_real(channel, 0));
        let mut scratch = Vec::new();
        let reach = first.abs().max(last.abs()).max(f64::MIN_POSITIVE).log2().ceil().exp2();
        let mut at = |x: f64| program.value(&[x], &mut scratch);
        ((at(reach) - at(-reach)) / (2.0 * reach), at(0.0))
    }
}

/// The steps of a channel's staircase on the axis of its sums, in ascending order: the smallest and the largest sum of
/// each, and its level.
fn plateaus(staircase: &Staircase, multiplier: i64, bias: i64) -> Vec<(i64, i64, u8)> {
    let sum = |accumulator: i64| accumulator * multiplier + bias;
    let plateau = |(index, &(start, level)): (usize, &(i64, u8))| {
        let end = staircase.steps.get(index + 1).map_or(staircase.last, |&(next, _)| next - 1);
        (sum(start).min(sum(end)), sum(start).max(sum(end)), level)
    };
    let mut plateaus: Vec<_> = staircase.steps.iter().enumerate().map(plateau).collect();
    if multiplier < 0 {
        plateaus.reverse();
    }
    plateaus
}

/// For each threshold the largest sum of any channel that must lie below it, and the smallest that must not. Where a
/// threshold was rounded it may lie on the wrong side of a sum that is close to it; any other one between both is as
/// good for the sums that occur.
struct Windows(Vec<(i64, i64)>);

impl Windows {
    /// Without any channel.
    fn all(thresholds: usize) -> Self {
        Self(vec![(i64::MIN, i64::MAX); thresholds])
    }

    /// Takes a channel's sums into account. `None` if its levels are not some of the common ones in their order, which
    /// `rounded` thresholds tell to within one.
    fn narrow(&mut self, plateaus: &[(i64, i64, u8)], rounded: &[i64], levels: &[u8]) -> Option<()> {
        let mut before = None;
        for &(low, high, level) in plateaus {
            let middle = low + (high - low) / 2;
            let near = rounded.partition_point(|&threshold| threshold <= middle);
            // The threshold that is closer to the middle is the one that may be on the wrong side.
            let distance = |index: usize| rounded.get(index).map_or(u64::MAX, |&t| t.abs_diff(middle));
            let below = near.checked_sub(1);
            let above = Some(near + 1);
            let below_first = below.is_some_and(|below| distance(below) <= distance(near));
            let order = if below_first { [Some(near), below, above] } else { [Some(near), above, below] };
            let matches =
                |&index: &usize| levels.get(index) == Some(&level) && before.is_none_or(|last| last < index);
            let index = order.into_iter().flatten().find(matches)?;
            // The plateau lies between the thresholds before and after it.
            if let Some((_, at_least)) = index.checked_sub(1).map(|before| &mut self.0[before]) {
                *at_least = low.min(*at_least);
            }
            if let Some((below, _)) = self.0.get_mut(index) {
                *below = high.max(*below);
            }
            before = Some(index);
        }
        Some(())
    }

    /// Thresholds in their windows, as near to the rounded ones as possible. `None` if there are none in ascending
    /// order.
    fn thresholds(mut self, rounded: &[i64]) -> Option<Vec<i64>> {
        // A threshold that no channel bounds lies below the next one all the same.
        let mut next = i64::MAX;
        for (_, at_least) in self.0.iter_mut().rev() {
            *at_least = next.min(*at_least);
            next = at_least.checked_sub(1)?;
        }
        let mut thresholds: Vec<i64> = Vec::with_capacity(rounded.len());
        for (&(below, at_least), &near) in self.0.iter().zip(rounded) {
            let below = thresholds.last().map_or(below, |&last| last.max(below));
            if below >= at_least {
                return None;
            }
            thresholds.push(near.clamp(below + 1, at_least));
        }
        Some(thresholds)
    }
}

/// The innermost linear function of a convolution such that all that follows is the same for all
/// channels, and what follows as an expression of codes.
pub(in crate::lower) fn split(expr: &Rc<Expr>) -> Option<(Rc<Expr>, Rc<Expr>)> {
    let leaf = Rc::new(Expr::Codes(ValueIndex(0)));
    let mut linear: HashSet<*const Expr> = HashSet::new();
    for node in expr.nodes() {
        let is_linear = |operand: &Rc<Expr>| linear.contains(&Rc::as_ptr(operand));
        let constant = |operand: &Rc<Expr>| matches!(**operand, Expr::Constant(_));
        let own = match &*node {
            Expr::Conv(_) => true,
            Expr::Binary(Binary::Add | Binary::Sub | Binary::Mul, a, b) => {
                is_linear(a) && constant(b) || constant(a) && is_linear(b)
            }
            Expr::Binary(Binary::Div, a, b) => is_linear(a) && constant(b),
            _ => false,
        };
        if !own {
            continue;
        }
        linear.insert(Rc::as_ptr(&node));
        let rest = expr.with_leaf(&node, &leaf);
        if rest.leaves().convs.is_empty() && rest.is_uniform() {
            return Some((node, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests;
