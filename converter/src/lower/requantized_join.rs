//! Joins of different scales that become codes of one scale, on request.
//!
//! In 8 bits they are one value, made by the same quantizer for all parts. The file format has no wider
//! values, so 16 bits are two: `code = 256 · high + low`, of scales in the ratio 256, which a convolution
//! reads as two terms whose sum is as exact as one term is. `high` and `low` are sums of their own:
//!
//! ```text
//! x    = Σ integer_t · multiplier_t + bias          16-bit code, with `shift` fraction bits
//! high = x >> (shift + 8)
//! low  = (x − high · 2^(shift + 8)) >> shift
//! ```

use std::rc::Rc;
use std::sync::Arc;

use ylb_format::limits::MAX_ADDENDS;
use ylb_format::model::{Operator, Requantize};
use ylb_source::ir::{Node, TensorId};
use ylb_source::quantizer::{Order, PerAxis, Quantizer, Rounding};

use super::cut::Codes;
use super::linear::Linear;
use super::{Feature, LoweredValue, Lowering, Segment, id_of};
use crate::error::ConvertError;
use crate::expr::{Binary, Expr, Unary, ValueIndex};
use crate::report::{Row, Warning, WarningKind};
use crate::staircase::Levels;

/// Most fraction bits: `-2^(shift + 8)` is a multiplier.
const MAX_SHIFT: i32 = 22;

/// What a join can be.
struct Range {
    low: f64,
    high: f64,
    /// Number of different scales.
    scales: usize,
}

/// 16-bit codes: `real = (code − zero_point) · scale`.
struct Wide {
    scale: f64,
    zero_point: i64,
}

impl Lowering<'_> {
    /// What a convolution reads. If it joins values of different scales, and requantized joins were
    /// asked for, then its codes of 8 or 16 bits over all that it can be; whoever reads it from here on
    /// reads those.
    pub(super) fn join_requantized(
        &mut self,
        node: &Node,
        id: TensorId,
    ) -> Result<Rc<Feature>, ConvertError> {
        let feature = self.feature(id)?;
        let Some(bits) = self.requantize_joins else { return Ok(feature) };
        let Some(range) = self.range_of_join(&feature)? else { return Ok(feature) };
        let joined = match bits {
            16 => self.join_in_16_bits(&feature, &range)?,
            _ => self.join_in_8_bits(node, &feature, &range)?,
        };
        let message = format!(
            "its input \"{}\" joins values of {} different scales and was requantized to {bits} bits on \
             request: codes behind it differ from the export's",
            self.graph.tensor(id).name,
            range.scales
        );
        self.warnings.push(Warning::at(&node.name, WarningKind::RequantizedJoin, message));
        let joined = Rc::new(joined);
        self.features[id.0] = Some(Rc::clone(&joined));
        Ok(joined)
    }

    /// `None` where there is nothing to requantize: one scale, the two of 16 bits, or scales by channel, which
    /// are no join.
    fn range_of_join(&self, feature: &Feature) -> Result<Option<Range>, ConvertError> {
        let mut scales: Vec<f64> = Vec::new();
        let (mut low, mut high) = (0.0f64, 0.0f64);
        for segment in &feature.segments {
            let Linear { addends, offset, offsets } = self.linear(&segment.expr)?;
            if offsets.is_some() || addends.iter().any(|addend| addend.factors.is_some()) {
                return Ok(None);
            }
            low = low.min(self.lowest(&addends) + offset);
            high = high.max(self.highest(&addends) + offset);
            scales.extend(addends.iter().map(|addend| addend.scale));
        }
        scales.sort_by(f64::total_cmp);
        scales.dedup();
        let wide = matches!(*scales, [fine, coarse] if coarse == 256.0 * fine);
        let join = scales.len() > 1 && !(wide && self.requantize_joins == Some(16));
        Ok(join.then_some(Range { low, high, scales: scales.len() }))
    }

    fn join_in_8_bits(
        &mut self,
        node: &Node,
        feature: &Feature,
        range: &Range,
    ) -> Result<Feature, ConvertError> {
        let scale = ((range.high - range.low) / 255.0) as f32;
        let zero_point = (-range.low / f64::from(scale)).round().clamp(0.0, 255.0);
        let quantizer = Quantizer {
            order: Order::RoundThenClamp,
            rounding: Rounding::HalfEven,
            low: 0,
            high: 255,
            scale: PerAxis::uniform(scale),
            zero_point: PerAxis::uniform(zero_point as f32),
            codes_name: String::new(),
        };
        quantizer.validate()?;
        let codes = Codes {
            name: String::new(),
            levels: Levels { low: 0, step: 1, max_level: 255 },
            zero_point: Some(zero_point as i16),
            scale: f64::from(scale),
        };
        let value = self.cut(node, feature, &Unary::Quantize(Arc::new(quantizer)), &codes)?;
        let real = Rc::new(Expr::Codes(value))
            .binary(Binary::Sub, &Expr::number(zero_point))
            .binary(Binary::Mul, &Expr::number(f64::from(scale)));
        Ok(feature.whole(real))
    }

    fn join_in_16_bits(&mut self, feature: &Feature, range: &Range) -> Result<Feature, ConvertError> {
        // A code is left at each end, so that rounded multipliers never leave the range.
        let scale = f64::from(((range.high - range.low) / 65533.0) as f32);
        let zero_point = (1.0 - range.low / scale).round();
        if !(scale > 0.0 && (0.0..=65535.0).contains(&zero_point)) {
            return Err(ConvertError::unsupported(format!(
                "joins values from {} to {}, which 16 bits cannot hold",
                range.low, range.high
            )));
        }
        let wide = Wide { scale, zero_point: zero_point as i64 };
        let mut segments = Vec::with_capacity(feature.segments.len());
        for segment in &feature.segments {
            let Linear { addends, offset, .. } = self.linear(&segment.expr)?;
            let values: Vec<ValueIndex> = addends.iter().map(|addend| self.fix_zero_point(addend)).collect();
            let steps: Vec<f64> = addends.iter().map(|addend| addend.scale / scale).collect();
            let halves = self.halves(&values, &steps, offset / scale, &wide)?;
            let part = |value: ValueIndex, zero_point: i64, scale: f64| {
                Rc::new(Expr::Codes(value))
                    .binary(Binary::Sub, &Expr::number(zero_point as f64))
                    .binary(Binary::Mul, &Expr::number(scale))
            };
            let high = part(halves[0], wide.zero_point >> 8, 256.0 * scale);
            let expr = high.binary(Binary::Add, &part(halves[1], wide.zero_point & 255, scale));
            segments.push(Segment { channels: segment.channels, expr });
        }
        Ok(Feature { segments, ..feature.clone() })
    }

    /// The upper and the lower byte of `Σ integer_t · steps_t + offset + zero point`, rounded.
    fn halves(
        &mut self,
        values: &[ValueIndex],
        steps: &[f64],
        offset: f64,
        wide: &Wide,
    ) -> Result<[ValueIndex; 2], ConvertError> {
        if values.len() >= MAX_ADDENDS {
            return Err(ConvertError::unsupported(format!(
                "a sum of {} values of different scales in 16 bits; expected at most {}, or \
                 --requantize-joins 8",
                values.len(),
                MAX_ADDENDS - 1
            )));
        }
        let largest = steps.iter().copied().fold(1.0, f64::max);
        // Multipliers of up to 30 bits.
        let shift = (30 - largest.log2().ceil() as i32).clamp(0, MAX_SHIFT);
        let unit = f64::from(shift).exp2();
        let multipliers: Vec<i64> = steps.iter().map(|step| (step * unit).round() as i64).collect();
        let bias = ((offset + wide.zero_point as f64 + 0.5) * unit).round() as i64;
        let half = |lowering: &Self, zero_point: i64, scale: f64| LoweredValue {
            name: String::new(),
            low: 0,
            step: 1,
            max_level: 255,
            zero_point: Some(zero_point as i16),
            scale,
            origin: None,
            ..lowering.values[values[0].0].clone()
        };
        let [upper, lower] = [wide.zero_point >> 8, wide.zero_point & 255];
        let (high, low) = (half(self, upper, 256.0 * wide.scale), half(self, lower, wide.scale));
        if let &[only] = values {
            let source = self.values[only.0].clone();
            let code = |level| (source.integer(level) * multipliers[0] + bias) >> shift;
            let codes: Vec<i64> = (0..=source.max_level).map(code).collect();
            let table = |bits: u32| codes.iter().map(|code| (code >> bits) as u8).collect();
            let high = self.add_map("", only, high, table(8));
            return Ok([high, self.add_map("", only, low, table(0))]);
        }
        let high = self.add_half(values, &multipliers, bias, shift + 8, high);
        let carried = -(1i64 << (shift + 8));
        let (values, multipliers) = ([values, &[high]].concat(), [&multipliers[..], &[carried]].concat());
        // The sum sees `high` less its zero point.
        let low = self.add_half(&values, &multipliers, bias + upper * carried, shift, low);
        Ok([high, low])
    }

    fn add_half(
        &mut self,
        values: &[ValueIndex],
        multipliers: &[i64],
        bias: i64,
        shift: i32,
        output: LoweredValue,
    ) -> ValueIndex {
        let multipliers = multipliers.iter().map(|&multiplier| multiplier as i32).collect();
        let requantize = Requantize::Scale { multipliers, bias: vec![bias], shift: shift as u8 };
        let output = self.add_value(output);
        let inputs = values.iter().map(|&value| id_of(value)).collect();
        self.add_row(Row::of("Add", "scale"), "", output, values);
        self.add_node("", output, Operator::Add { inputs, requantize });
        output
    }
}
