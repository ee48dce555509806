//! The requantization of a convolution.
//!
//! A convolution whose terms have scales in the ratio of small integers is a function of one integer
//! for each channel, and its requantization is exact: every step of every channel is known and
//! checked. One over other scales is a function of a real number, `Σ scale_t · accumulator_t`, which
//! fixed-point arithmetic only approximates. Then it is proven that no reachable accumulators come so
//! close to a step that this matters; where they are too many to look at, the distance up to which it
//! might matter is reported.
//!
//! | module | does |
//! |---|---|
//! | `units` | scales as multiples of one unit |
//! | `fixed` | multipliers and biases of several terms |
//! | `shared` | one staircase for all channels |
//! | `near` | accumulators that come close to a step |

use std::rc::Rc;

use ylb_format::model::Requantize;

use super::conv::PendingKind;
use super::{Lowering, PendingConv};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{ConvIndex, ConvReading, Expr, Program, ValueIndex};
use crate::fit;
use crate::staircase::{Levels, Staircase};

mod fixed;
mod near;
mod shared;
mod units;

use fixed::Sums;
pub(super) use fixed::resolution;
use shared::Shared;
pub(super) use shared::split;
use units::Units;

/// A requantization, and how exact it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Requantized {
    pub(super) map: Requantize,
    /// See [`Row::tie_bound`](crate::report::Row::tie_bound).
    pub(super) tie_bound: f64,
}

impl Lowering<'_> {
    /// Accumulators of a convolution to the levels that an expression of it gives.
    pub(super) fn requantize(
        &self,
        conv: ConvIndex,
        expr: &Rc<Expr>,
        levels: Levels,
    ) -> Result<Requantized, ConvertError> {
        let conv = &self.convs[conv.0];
        if conv.kind == PendingKind::Average && !expr.is_uniform() {
            return Err(ConvertError::unsupported(format!(
                "quantizes a function that differs between channels, of the average \"{}\", whose windows have fewer \
                 elements at the border; expected a quantizer directly behind the average, or count_include_pad 1",
                conv.name
            )));
        }
        let scales: Vec<f64> = conv.terms.iter().map(|term| term.scale).collect();
        // Terms whose ratio differs between channels have no unit in common.
        let one_ratio = conv.terms.iter().all(|term| term.factors.is_none());
        if let Some(units) = Units::of(&scales).filter(|_| one_ratio)
            && let Some(map) = of_one_unit(conv, expr, levels, &units)?
        {
            return Ok(Requantized { map, tie_bound: 0.0 });
        }
        of_several_units(conv, expr, levels)
    }
}

/// The exact requantization of a convolution that is a function of `Σ counts_t · accumulator_t`.
/// `None` if it has several terms and 31-bit multipliers are too coarse.
fn of_one_unit(
    conv: &PendingConv,
    expr: &Rc<Expr>,
    levels: Levels,
    units: &Units,
) -> Result<Option<Requantize>, ConvertError> {
    let (channels, terms) = (conv.shape[0], conv.terms.len());
    let mut staircases = Vec::with_capacity(channels);
    for channel in 0..channels {
        let (mut first, mut last) = (0, 0);
        for (term, count) in conv.terms.iter().zip(&units.counts) {
            first += term.ranges[channel].0 * count;
            last += term.ranges[channel].1 * count;
        }
        let program = compile(expr, channel, conv.reading_of_sum(channel, units.unit));
        staircases.push(Staircase::find(&program, levels, first, last)?);
    }
    // Bytes in a file. Only one accumulator can have a staircase of its own for each channel.
    let scale_bytes = (4 * terms + 8) * channels;
    let table_bytes = |staircase: &Staircase| 5 * staircase.steps.len() + 4;
    let tables: usize = staircases.iter().map(table_bytes).sum();
    let single = terms == 1 && units.counts == [1];
    let worth = |bytes: usize| !single || bytes <= tables;
    let most = fit::MAX_MULTIPLIER / units.largest();
    if worth(scale_bytes)
        && let Some(scale) = fit::scale(&staircases, levels.max_level, most)
    {
        let fit::Scale { multipliers, bias, shift } = scale;
        return Ok(Some(Requantize::Scale { multipliers: units.repeated(&multipliers), bias, shift }));
    }
    if worth(scale_bytes + 9)
        && let Some(shared) = Shared::find(conv, expr, levels)
        && worth(scale_bytes + 9 * shared.thresholds())
        && let Some(map) = shared.exact(conv, units, &staircases)
    {
        return Ok(Some(map));
    }
    Ok(if single { Some(by_channel(staircases)) } else { of_equal(units, &staircases) })
}

/// The staircase of all channels, if they have the same: of the sums themselves.
fn of_equal(units: &Units, staircases: &[Staircase]) -> Option<Requantize> {
    let (first, others) = staircases.split_first()?;
    if others.iter().any(|other| other != first) {
        return None;
    }
    let multipliers = units.repeated(&vec![1; staircases.len()]);
    let thresholds = first.steps.iter().skip(1).map(|&(start, _)| start).collect();
    let levels = first.steps.iter().map(|&(_, level)| level).collect();
    Some(Requantize::ScaledStaircase { multipliers, bias: vec![0; staircases.len()], thresholds, levels })
}

/// A staircase for each channel.
fn by_channel(staircases: Vec<Staircase>) -> Requantize {
    let (mut thresholds, mut levels) = (Vec::new(), Vec::new());
    for staircase in staircases {
        // Starts are reachable accumulators, which fit an i32.
        thresholds.push(staircase.steps.iter().skip(1).map(|&(start, _)| start as i32).collect());
        levels.push(staircase.steps.iter().map(|&(_, level)| level).collect());
    }
    Requantize::Staircase { thresholds, levels }
}

/// The requantization of a convolution over scales without a common unit.
fn of_several_units(
    conv: &PendingConv,
    expr: &Rc<Expr>,
    levels: Levels,
) -> Result<Requantized, ConvertError> {
    let found = match fixed::scale(conv, expr, levels)? {
        Some(found) => Some(found),
        None => Shared::find(conv, expr, levels).and_then(|shared| shared.approximate(conv)),
    };
    let Some(Approximation { mut map, sums, unit }) = found else {
        return Err(ConvertError::new(
            ErrorKind::Inexact,
            format!(
                "convolution \"{}\" reads values of {} different scales, and what follows it is neither \
                 linear between clamps nor the same function for all channels, such as a PReLU of a slope for each; \
                 expected a quantizer behind the concat or sum that it reads, or --requantize-joins 8",
                conv.name,
                conv.terms.len()
            ),
        ));
    };
    let proven = near::prove(conv, expr, levels, &mut map, &sums)?;
    let bound = sums.errors.iter().zip(&unit).map(|(error, unit)| error / unit).fold(0.0, f64::max);
    Ok(Requantized { map, tie_bound: if proven { 0.0 } else { bound } })
}

/// A requantization by scaled sums with their errors.
struct Approximation {
    map: Requantize,
    sums: Sums,
    /// By channel, what errors are compared with: the mean distance between steps, or, where there is
    /// only one step, what one integer of the coarsest term adds.
    unit: Vec<f64>,
}

impl PendingConv {
    /// How a program for one output channel reads a sum of accumulators whose unit has a scale.
    fn reading_of_sum(&self, channel: usize, scale: f64) -> ConvReading {
        let bias = self.bias.as_ref().map(|bias| bias[channel]);
        ConvReading { terms: vec![(0, scale * self.weight_scales[channel])], bias }
    }

    /// How a program for one output channel reads the real result, its bias apart, in units of
    /// `2^−resolution`.
    pub(super) fn reading_of_real(&self, channel: usize, resolution: i32) -> ConvReading {
        let bias = self.bias.as_ref().map(|bias| bias[channel]);
        ConvReading { terms: vec![(0, f64::from(-resolution).exp2())], bias }
    }

    /// Bounds of the real result of a channel, its bias apart.
    pub(super) fn real_range(&self, channel: usize) -> (f64, f64) {
        let (mut low, mut high) = (0.0, 0.0);
        for (term, factor) in self.terms.iter().zip(self.factors(channel)) {
            let (first, last) = term.ranges[channel];
            let (a, b) = (first as f64 * factor, last as f64 * factor);
            low += a.min(b);
            high += a.max(b);
        }
        (low, high)
    }
}

fn compile(expr: &Rc<Expr>, channel: usize, reading: ConvReading) -> Program {
    Program::compile(expr, channel, |_: ValueIndex| 0, |_| reading.clone())
}

/// A requantization's name in tables.
pub(super) fn kind_name(requantize: &Requantize) -> &'static str {
    match requantize {
        Requantize::Scale { .. } => "scale",
        Requantize::Staircase { .. } => "staircase",
        Requantize::ScaledStaircase { .. } => "scaled staircase",
    }
}
