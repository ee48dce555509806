//! Fixed-point multipliers for several terms.
//!
//! Steps of a channel are found on the real result of the convolution itself, which is looked at in
//! [`RESOLUTION_BITS`]. What then approximates are the multipliers: 31 bits for the coarsest term of
//! the steepest channel, and as many fraction bits for all others.

use std::rc::Rc;

use ylb_format::model::Requantize;

use super::{Approximation, PendingConv, compile};
use crate::error::ConvertError;
use crate::expr::Expr;
use crate::fit::{MAX_MULTIPLIER, MAX_SHIFT};
use crate::staircase::{Levels, Staircase};

/// Bits in which the range of a real number is looked at: fewer than a float has, so that rounding
/// errors of a few units in its last place do not show.
pub(super) const RESOLUTION_BITS: i32 = 46;
/// Largest magnitude of a sum: the promise of the file format bounds accumulators by up to twice what
/// they reach, and has one bit more.
const MAX_SUM: f64 = (1u64 << 60) as f64;
/// Steps that lie farther from where a line has them, in levels, are not those of a line.
const MAX_DEVIATION: f64 = 1e-9;

/// Integer multipliers for each channel's terms.
pub(super) struct Sums {
    /// By channel and term.
    pub(super) multipliers: Vec<Vec<i64>>,
    /// By channel.
    pub(super) bias: Vec<i64>,
    /// By channel, how far a sum can be from what it stands for.
    pub(super) errors: Vec<f64>,
}

/// The real number that sums of a channel stand for: `Σ factors_t · accumulator_t + offset`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) factors: Vec<f64>,
    pub(super) offset: f64,
    /// How far it is known to be right.
    pub(super) error: f64,
}

impl Sums {
    /// Rounds lines times `2^shift`; `ranges` are those of accumulators, by channel and term.
    pub(super) fn rounded(lines: &[Line], ranges: &[Vec<(i64, i64)>], shift: u8) -> Self {
        let unit = f64::from(shift).exp2();
        let mut sums = Self { multipliers: Vec::new(), bias: Vec::new(), errors: Vec::new() };
        for (line, ranges) in lines.iter().zip(ranges) {
            let bias = (line.offset * unit).round();
            let mut error = line.error * unit + (bias - line.offset * unit).abs();
            let mut multipliers = Vec::with_capacity(ranges.len());
            for (factor, range) in line.factors.iter().zip(ranges) {
                let multiplier = (factor * unit).round();
                error += (multiplier - factor * unit).abs() * reach(*range);
                multipliers.push(multiplier as i64);
            }
            sums.multipliers.push(multipliers);
            sums.bias.push(bias as i64);
            sums.errors.push(error);
        }
        sums
    }

    /// Multipliers in the order of the file format: by term, then channel.
    pub(super) fn by_term(&self) -> Vec<i32> {
        let terms = self.multipliers.first().map_or(0, Vec::len);
        // `largest_shift` keeps them in 31 bits.
        let term = |term: usize| self.multipliers.iter().map(move |channel| channel[term] as i32);
        (0..terms).flat_map(term).collect()
    }
}

fn reach((first, last): (i64, i64)) -> f64 {
    first.unsigned_abs().max(last.unsigned_abs()) as f64
}

/// The largest shift with which every multiplier is at most `most` and no sum leaves an i64.
pub(super) fn largest_shift(lines: &[Line], ranges: &[Vec<(i64, i64)>], most: i64) -> Option<u8> {
    let (mut factor, mut sum) = (0.0f64, 0.0f64);
    for (line, ranges) in lines.iter().zip(ranges) {
        let mut own = line.offset.abs();
        for (a, range) in line.factors.iter().zip(ranges) {
            factor = factor.max(a.abs());
            own += a.abs() * reach(*range);
        }
        sum = sum.max(own);
    }
    (0..=MAX_SHIFT).rev().find(|&shift| {
        let unit = f64::from(shift).exp2();
        factor * unit < most as f64 && sum * unit < MAX_SUM
    })
}

/// Ranges by channel and term.
pub(super) fn ranges(conv: &PendingConv) -> Vec<Vec<(i64, i64)>> {
    let of_channel = |channel: usize| conv.terms.iter().map(|term| term.ranges[channel]).collect();
    (0..conv.shape[0]).map(of_channel).collect()
}

/// Fraction bits with which a range is looked at.
pub(in crate::lower) fn resolution(low: f64, high: f64) -> i32 {
    let reach = low.abs().max(high.abs()).max(f64::MIN_POSITIVE);
    // Far from the ends of a float's exponents even for a range of 0.
    (RESOLUTION_BITS - reach.log2().ceil() as i32).clamp(-900, 900)
}

/// Steps of a channel's staircase over its real result, if they are those of a clamped line.
enum Shape {
    Line(Line),
    /// A single step that is both the first and the last: any slope will do. The line is 0 there.
    Step(Line),
}

/// The requantization by multipliers, biases and a shift. `None` if some channel is no clamped line.
pub(super) fn scale(
    conv: &PendingConv,
    expr: &Rc<Expr>,
    levels: Levels,
) -> Result<Option<Approximation>, ConvertError> {
    let mut shapes = Vec::with_capacity(conv.shape[0]);
    for channel in 0..conv.shape[0] {
        let (low, high) = conv.real_range(channel);
        let resolution = resolution(low, high);
        let unit = f64::from(resolution).exp2();
        let program = compile(expr, channel, conv.reading_of_real(channel, resolution));
        let (first, last) = ((low * unit).floor() as i64, (high * unit).ceil() as i64);
        let staircase = Staircase::find(&program, levels, first, last)?;
        let Some(line) = shape(&staircase, levels.max_level, &conv.factors(channel), unit) else {
            return Ok(None);
        };
        shapes.push(line);
    }
    let ranges = ranges(conv);
    let lines_only: Vec<Line> = shapes
        .iter()
        .filter_map(|s| if let Shape::Line(line) = s { Some(line.clone()) } else { None })
        .collect();
    let line_ranges: Vec<Vec<(i64, i64)>> = shapes
        .iter()
        .zip(&ranges)
        .filter(|(shape, _)| matches!(shape, Shape::Line(_)))
        .map(|(_, ranges)| ranges.clone())
        .collect();
    let Some(shift) = largest_shift(&lines_only, &line_ranges, MAX_MULTIPLIER) else { return Ok(None) };
    let one_level = f64::from(shift).exp2();
    let (mut lines, mut unit) = (Vec::with_capacity(shapes.len()), Vec::with_capacity(shapes.len()));
    for (shape, ranges) in shapes.into_iter().zip(&ranges) {
        match shape {
            Shape::Line(line) => {
                lines.push(line);
                unit.push(one_level);
            }
            Shape::Step(line) => {
                let own =
                    largest_shift(std::slice::from_ref(&line), std::slice::from_ref(ranges), MAX_MULTIPLIER);
                let Some(own) = own else { return Ok(None) };
                let slope = f64::from(i32::from(own) - i32::from(shift)).exp2();
                let line = line.times(slope);
                unit.push(line.factors.iter().fold(0.0f64, |a, b| a.max(b.abs())) * one_level);
                lines.push(Line { offset: line.offset + 1.0, ..line });
            }
        }
    }
    let sums = Sums::rounded(&lines, &ranges, shift);
    let map = Requantize::Scale { multipliers: sums.by_term(), bias: sums.bias.clone(), shift };
    Ok(Some(Approximation { map, sums, unit }))
}

impl Line {
    fn times(self, factor: f64) -> Self {
        Self {
            factors: self.factors.into_iter().map(|own| own * factor).collect(),
            offset: self.offset * factor,
            error: self.error * factor,
        }
    }
}

/// Reads a staircase over the real result, in units of `1 / unit`, as a clamped line in levels.
fn shape(staircase: &Staircase, max_level: u8, factors: &[f64], unit: f64) -> Option<Shape> {
    let steps = &staircase.steps;
    let (_, bottom) = *steps.first()?;
    if steps.len() == 1 {
        let factors = vec![0.0; factors.len()];
        return Some(Shape::Line(Line { factors, offset: f64::from(bottom) + 0.5, error: 0.0 }));
    }
    let rising = staircase.rising()?;
    let sign = if rising { 1.0 } else { -1.0 };
    if steps.windows(2).any(|pair| pair[0].1.abs_diff(pair[1].1) != 1) {
        return None;
    }
    // A step is between the first position of the new level and the one before.
    let position = |index: usize| steps[index].0 as f64 - 0.5;
    let last = steps.len() - 1;
    let anchor = (1..=last).min_by_key(|&index| steps[index].0.unsigned_abs())?;
    let ends = (steps[0].0 as f64, staircase.last as f64);
    let scaled = |slope: f64, offset: f64, error: f64| Line {
        factors: factors.iter().map(|factor| factor * unit * slope).collect(),
        offset,
        error,
    };
    if last == 1 && max_level == 1 {
        return Some(Shape::Step(scaled(sign / unit, -sign * position(1) / unit, 0.5 / unit)));
    }
    // Levels for each position. One step alone leaves it open: the whole range within two levels.
    let slope = if last == 1 {
        sign * 0.5 / (position(1) - ends.0).max(ends.1 - position(1))
    } else {
        sign * (last - 1) as f64 / (position(last) - position(1))
    };
    // The level whose beginning the anchor is.
    let reached = f64::from(steps[anchor].1.max(steps[anchor - 1].1));
    let at = |x: f64| reached + (x - position(anchor)) * slope;
    let expected = |index: usize| f64::from(steps[index].1.max(steps[index - 1].1));
    let deviation = (1..=last).map(|index| (at(position(index)) - expected(index)).abs()).fold(0.0, f64::max);
    // Beyond the outermost steps the line must go on being clamped, or stay within the level.
    let (low, high) = if rising { ends } else { (ends.1, ends.0) };
    let (lowest, highest) = if rising { (bottom, steps[last].1) } else { (steps[last].1, bottom) };
    let stays = (lowest == 0 || at(low) >= f64::from(lowest))
        && (highest == max_level || at(high) < f64::from(highest) + 1.0);
    if deviation > MAX_DEVIATION || !stays {
        return None;
    }
    let error = deviation + slope.abs();
    Some(Shape::Line(scaled(slope, reached - position(anchor) * slope, error)))
}
