//! The detection head: accumulators (or levels) to logits.

use std::rc::Rc;

use ylb_format::model::{Detect, HeadMap, HeadPart, Requantize};
use ylb_source::ir::TensorId;

use super::attention::not_quantized;
use super::conv::PendingKind;
use super::{LoweredValue, Lowering, PendingConv, id_of};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{ConvIndex, ConvReading, Expr, Program, ValueIndex};
use crate::heads::{Heads, Map, Part};

/// Largest shift of the logits.
const MAX_SHIFT: u32 = 50;

/// An affine function of a channel's integer.
#[derive(Clone, Copy, Debug)]
struct Affine {
    factor: f64,
    addend: f64,
}

impl Lowering<'_> {
    pub(super) fn detect(&mut self, heads: &Heads) -> Result<Detect, ConvertError> {
        let mut detect = heads.detect();
        for map in &heads.maps {
            detect.maps.push(self.map(map)?);
        }
        Ok(detect)
    }

    fn blame_producer(&self, tensor: TensorId, error: ConvertError) -> ConvertError {
        match self.graph.nodes.iter().find(|node| node.outputs.contains(&tensor)) {
            Some(node) => node.blame(error),
            None => error,
        }
    }

    fn map(&mut self, map: &Map) -> Result<HeadMap, ConvertError> {
        let mut parts = Vec::with_capacity(map.parts.len());
        for part in &map.parts {
            let part = self.head_part(part).map_err(|error| self.blame_producer(part.tensor, error))?;
            parts.push(part);
        }
        Ok(HeadMap {
            stride: map.stride as u32,
            anchors_per_cell: map.anchors_per_cell as u32,
            anchors: map.anchors.clone(),
            scale_xy: map.scale_xy,
            parts,
        })
    }

    fn head_part(&mut self, part: &Part) -> Result<HeadPart, ConvertError> {
        let feature = self.feature(part.tensor)?;
        let feature = self.in_order(&feature)?;
        let [segment] = feature.segments.as_slice() else {
            return Err(ConvertError::unsupported("expected a head that one convolution writes"));
        };
        let writer = self.graph.nodes.iter().find(|node| node.outputs.contains(&part.tensor)).cloned();
        let name = writer.as_ref().map_or_else(String::new, |node| node.name.clone());
        let expr = match writer {
            Some(node) => {
                let shape = [segment.channels, feature.height, feature.width];
                self.joinable(&node, shape, Rc::clone(&segment.expr))?
            }
            None => Rc::clone(&segment.expr),
        };
        let leaves = expr.leaves();
        let values: Vec<ValueIndex> = leaves.values.into_iter().collect();
        let convs: Vec<ConvIndex> = leaves.convs.into_iter().collect();
        let (value, affine) = match (values.as_slice(), convs.as_slice()) {
            ([], &[conv]) => self.accumulators(conv, &expr)?,
            (&[value], []) => self.head_levels(value, &expr, segment.channels)?,
            _ => match self.one_convolution(&name, &expr)? {
                Some((conv, expr)) => self.accumulators(conv, &expr)?,
                None => {
                    return Err(ConvertError::unsupported(
                        "expected a head of one convolution, or of a sum of some",
                    ));
                }
            },
        };
        let (multipliers, bias, shift) = fixed_point(&affine)?;
        let fields = part.fields.start as u32..part.fields.end as u32;
        Ok(HeadPart { value: id_of(value), fields, multipliers, bias, shift })
    }

    /// A head that is a convolution's output: its accumulators are kept.
    fn accumulators(
        &mut self,
        conv: ConvIndex,
        expr: &Rc<Expr>,
    ) -> Result<(ValueIndex, Vec<Affine>), ConvertError> {
        let pending = self.convs[conv.0].clone();
        if pending.kind != PendingKind::Conv {
            return Err(not_quantized(&pending.name));
        }
        let sum = match pending.terms.as_slice() {
            [_] => None,
            _ => Some(ScaledSum::of(&pending)?),
        };
        let mut affine = Vec::with_capacity(pending.shape[0]);
        for channel in 0..pending.shape[0] {
            let (reading, range) = match &sum {
                Some(sum) => (sum.reading(&pending, channel), sum.range),
                None => (pending.reading(channel), pending.terms[0].ranges[channel]),
            };
            let program = Program::compile(expr, channel, |_| 0, |_| reading.clone());
            affine.push(affine_of(&program, range)?);
        }
        let output = self.add_value(LoweredValue::accumulators(pending.shape));
        let kind = if sum.is_some() { "sum" } else { "" };
        self.emit_conv(conv, output, pending.operator(sum.map(ScaledSum::requantize)), kind);
        Ok((output, affine))
    }

    /// A head that the export quantized: its levels are kept.
    fn head_levels(
        &mut self,
        value: ValueIndex,
        expr: &Rc<Expr>,
        channels: usize,
    ) -> Result<(ValueIndex, Vec<Affine>), ConvertError> {
        let zero_point = i64::from(*self.values[value.0].zero_point.get_or_insert(0));
        let lowered = &self.values[value.0];
        let high = lowered.low + lowered.step * i64::from(lowered.max_level);
        let mut affine = Vec::with_capacity(channels);
        for channel in 0..channels {
            let program = Program::compile(expr, channel, |_| 0, |_| super::cut::unreachable_conv());
            let of_code = affine_of(&program, (lowered.low, high))?;
            // From codes to integers.
            let addend = of_code.addend + of_code.factor * zero_point as f64;
            affine.push(Affine { factor: of_code.factor, addend });
        }
        Ok((value, affine))
    }
}

/// Terms of a head of different scales as one accumulator of about 30 bits, which is what logits are computed of: no code
/// hangs on it, and a logit is off by 2^−28 of its range for each term.
struct ScaledSum {
    /// By term, then by channel.
    multipliers: Vec<i32>,
    channels: usize,
    shift: u8,
    /// What one real unit is, by channel.
    units: Vec<f64>,
    /// What a sum can be, in any channel.
    range: (i64, i64),
}

impl ScaledSum {
    /// Bits of a sum. Magnitudes of weights bound it by twice what it reaches at most, in the file format.
    const BITS: i32 = 28;

    fn of(conv: &PendingConv) -> Result<Self, ConvertError> {
        let channels = conv.shape[0];
        let units: Vec<f64> = (0..channels)
            .map(|channel| {
                let own = conv.terms.iter().zip(conv.factors(channel)).map(|(term, factor)| {
                    let (low, high) = term.ranges[channel];
                    low.unsigned_abs().max(high.unsigned_abs()) as f64 * factor.abs()
                });
                let reach: f64 = own.sum();
                f64::from(Self::BITS - reach.max(f64::from(f32::MIN_POSITIVE)).log2().ceil() as i32).exp2()
            })
            .collect();
        let scaled = |channel: usize| conv.factors(channel).into_iter().map(move |factor| (channel, factor));
        let largest = (0..channels)
            .flat_map(scaled)
            .map(|(channel, factor)| (factor * units[channel]).abs())
            .fold(f64::MIN_POSITIVE, f64::max);
        let shift = (30.0 - largest.log2().ceil()).min(30.0);
        if shift < 0.0 {
            return Err(super::too_large("factors of a head's terms of more than 31 bits"));
        }
        let mut multipliers = Vec::with_capacity(conv.terms.len() * channels);
        for term in 0..conv.terms.len() {
            for (channel, unit) in units.iter().enumerate() {
                multipliers.push((conv.factors(channel)[term] * unit * shift.exp2()).round() as i32);
            }
        }
        let reach = 1 << Self::BITS;
        Ok(Self { multipliers, channels, shift: shift as u8, units, range: (-reach, reach) })
    }

    /// How a program reads the sum in the place of the accumulators.
    fn reading(&self, conv: &PendingConv, channel: usize) -> ConvReading {
        let bias = conv.bias.as_ref().map(|bias| bias[channel]);
        ConvReading { terms: vec![(0, 1.0 / self.units[channel])], bias }
    }

    fn requantize(self) -> Requantize {
        // Rounded to the nearest.
        let bias = vec![(1 << self.shift) / 2; self.channels];
        Requantize::Scale { multipliers: self.multipliers, bias, shift: self.shift }
    }
}

/// Reads an affine function off a program by its values at the ends of the range and at 0, and checks
/// it between.
fn affine_of(program: &Program, (first, last): (i64, i64)) -> Result<Affine, ConvertError> {
    let mut scratch = Vec::new();
    let mut at = |x: f64| program.value(&[x], &mut scratch);
    let reach = (first.unsigned_abs().max(last.unsigned_abs()).max(1)) as f64;
    let addend = at(0.0);
    let factor = (at(reach) - at(-reach)) / (2.0 * reach);
    let linear = (-4..=4).all(|quarter| {
        let x = reach * f64::from(quarter) / 4.0;
        (at(x) - (factor * x + addend)).abs() <= 1e-9 * (1.0 + (factor * reach).abs() + addend.abs())
    });
    if !linear || !factor.is_finite() || !addend.is_finite() {
        return Err(ConvertError::new(
            ErrorKind::NotADetector,
            "expected a head that is an affine function of a convolution",
        ));
    }
    Ok(Affine { factor, addend })
}

/// Multipliers of up to 31 bits, addends and the shift that they share.
fn fixed_point(affine: &[Affine]) -> Result<(Vec<i32>, Vec<i64>, u8), ConvertError> {
    let factor = affine.iter().map(|a| a.factor.abs()).fold(0.0, f64::max);
    let addend = affine.iter().map(|a| a.addend.abs()).fold(0.0, f64::max);
    let fits = |shift: &u32| {
        let unit = f64::from(*shift).exp2();
        factor * unit < f64::from(i32::MAX) && addend * unit < (61f64).exp2()
    };
    let Some(shift) = (0..=MAX_SHIFT).rev().find(fits) else {
        return Err(super::too_large("logits of more than 31 bits"));
    };
    let unit = f64::from(shift).exp2();
    let multipliers = affine.iter().map(|a| (a.factor * unit).round() as i32).collect();
    let bias = affine.iter().map(|a| (a.addend * unit).round() as i64).collect();
    Ok((multipliers, bias, shift as u8))
}
