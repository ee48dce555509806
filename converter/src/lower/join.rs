//! Joining values: what a convolution over concats and sums reads.
//!
//! Only integers of one scale can share an accumulator. Values of one scale and encoding are joined
//! by a concat or an exact sum; whatever remains becomes a term of the convolution each.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use ylb_format::limits::{MAX_ADDENDS, MAX_CONCAT_INPUTS};
use ylb_format::model::{Operator, Requantize};

use super::cut::Codes;
use super::linear::Addend;
use super::{Feature, LoweredValue, Lowering, id_of};
use crate::error::ConvertError;
use crate::expr::{Binary, Expr, Unary, ValueIndex};
use crate::ir::{Node, TensorId};
use crate::quantizer::{Order, PerAxis, Quantizer, Rounding};
use crate::report::{Row, Warning};
use crate::staircase::Levels;

/// A value that a convolution reads, for some of its input channels.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) value: ValueIndex,
    pub(super) scale: f64,
    /// The channels of the convolution's input that the value's channels are, in order.
    pub(super) channels: Vec<Range<usize>>,
}

/// A value and the channels of the joined tensor that it is.
type Member = (ValueIndex, Range<usize>);

impl Lowering<'_> {
    /// What a convolution reads. If it joins values of different scales, and requantized joins were
    /// asked for, then its codes of 8 bits over all that it can be; whoever reads it from here on
    /// reads those.
    pub(super) fn join_requantized(
        &mut self,
        node: &Node,
        id: TensorId,
    ) -> Result<Rc<Feature>, ConvertError> {
        let feature = self.feature(id)?;
        if !self.requantize_joins {
            return Ok(feature);
        }
        let mut scales: Vec<f64> = Vec::new();
        let (mut low, mut high) = (0.0f64, 0.0f64);
        for segment in &feature.segments {
            let addends = self.linear(&segment.expr)?;
            low = low.min(self.lowest(&addends));
            high = high.max(self.highest(&addends));
            scales.extend(addends.iter().map(|addend| addend.scale));
        }
        scales.sort_by(f64::total_cmp);
        scales.dedup();
        if scales.len() < 2 {
            return Ok(feature);
        }
        let scale = ((high - low) / 255.0) as f32;
        let zero_point = (-low / f64::from(scale)).round().clamp(0.0, 255.0);
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
        let value = self.cut(node, &feature, &Unary::Quantize(Arc::new(quantizer)), &codes)?;
        let real = Rc::new(Expr::Codes(value))
            .binary(Binary::Sub, &Expr::number(zero_point))
            .binary(Binary::Mul, &Expr::number(f64::from(scale)));
        self.warnings.push(Warning {
            node: node.name.clone(),
            message: format!(
                "its input \"{}\" joins values of {} different scales and was requantized to 8 bits on \
                 request: codes behind it differ from the export's",
                self.graph.tensor(id).name,
                scales.len()
            ),
        });
        let feature = Rc::new(feature.whole(real));
        self.features[id.0] = Some(Rc::clone(&feature));
        Ok(feature)
    }

    /// The values that together are a tensor, as few as possible.
    pub(super) fn operands(&mut self, feature: &Feature) -> Result<Vec<Operand>, ConvertError> {
        let mut groups: Vec<(f64, Vec<Member>)> = Vec::new();
        let mut first = 0;
        for segment in &feature.segments {
            let range = first..first + segment.channels;
            first = range.end;
            let addends = self.linear(&segment.expr)?;
            for (value, scale) in self.summed(addends)? {
                let fits = |(own, members): &&mut (f64, Vec<Member>)| {
                    let (last, last_range) = &members[members.len() - 1];
                    *own == scale
                        && last_range.end <= range.start
                        && members.len() < MAX_CONCAT_INPUTS
                        && self.values[last.0].same_levels(&self.values[value.0])
                };
                match groups.iter_mut().find(fits) {
                    Some((_, members)) => members.push((value, range.clone())),
                    None => groups.push((scale, vec![(value, range.clone())])),
                }
            }
        }
        let mut operands = Vec::with_capacity(groups.len());
        for (scale, members) in groups {
            let (values, channels): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            operands.push(Operand { value: self.concat_values("", "", &values)?, scale, channels });
        }
        Ok(operands)
    }

    /// Sums addends of equal scale exactly; the others stay apart.
    fn summed(&mut self, addends: Vec<Addend>) -> Result<Vec<(ValueIndex, f64)>, ConvertError> {
        let mut groups: Vec<(f64, Vec<ValueIndex>)> = Vec::new();
        for addend in addends {
            let value = self.fix_zero_point(addend);
            let fits = |(scale, members): &&mut (f64, Vec<ValueIndex>)| {
                let all = members.iter().chain([&value]);
                let levels: u32 = all.map(|member| u32::from(self.values[member.0].max_level)).sum();
                *scale == addend.scale
                    && members.len() < MAX_ADDENDS
                    && levels <= 255
                    && self.values[members[0].0].step == self.values[value.0].step
            };
            match groups.iter_mut().find(fits) {
                Some((_, members)) => members.push(value),
                None => groups.push((addend.scale, vec![value])),
            }
        }
        let mut sums = Vec::with_capacity(groups.len());
        for (scale, members) in groups {
            sums.push((self.sum_values(&members), scale));
        }
        Ok(sums)
    }

    /// The exact sum of values of one scale and step, in as many bits as it needs.
    pub(super) fn sum_values(&mut self, members: &[ValueIndex]) -> ValueIndex {
        if let &[only] = members {
            return only;
        }
        if let Some(&sum) = self.sums.get(members) {
            return sum;
        }
        let (mut low, mut max_level, mut zero_point) = (0, 0, 0);
        for member in members {
            let value = &self.values[member.0];
            low += value.low;
            max_level += value.max_level;
            zero_point += value.zero_point.unwrap_or(0);
        }
        let sum = LoweredValue {
            name: String::new(),
            low,
            max_level,
            zero_point: Some(zero_point),
            origin: None,
            ..self.values[members[0].0].clone()
        };
        // integers = Σ low − Σ zero points + step · Σ levels
        let bias = i64::from(zero_point) - low;
        let shift = u8::from(sum.step == 2);
        let requantize = Requantize::Scale { multipliers: vec![1; members.len()], bias: vec![bias], shift };
        let output = self.add_value(sum);
        let inputs = members.iter().map(|&member| id_of(member)).collect();
        self.add_row(Row::of("Add", "exact"), "", output, members);
        self.add_node("", output, Operator::Add { inputs, requantize });
        self.sums.insert(members.to_vec(), output);
        output
    }

    /// Channels of values with the same levels one after another.
    pub(super) fn concat_values(
        &mut self,
        node_name: &str,
        codes_name: &str,
        members: &[ValueIndex],
    ) -> Result<ValueIndex, ConvertError> {
        if let (&[only], true) = (members, codes_name.is_empty()) {
            return Ok(only);
        }
        if let (Some(&joined), true) = (self.concats.get(members), codes_name.is_empty()) {
            return Ok(joined);
        }
        let mut joined =
            LoweredValue { name: codes_name.to_owned(), origin: None, ..self.values[members[0].0].clone() };
        joined.shape[0] = 0;
        for member in members {
            let value = &self.values[member.0];
            joined.shape[0] += value.shape[0];
            if value.scale != joined.scale {
                joined.scale = 0.0;
            }
        }
        if members.len() > MAX_CONCAT_INPUTS {
            return Err(ConvertError::unsupported(format!(
                "a concat of {} parts; expected at most {MAX_CONCAT_INPUTS}",
                members.len()
            )));
        }
        let output = self.add_value(joined);
        let inputs = members.iter().map(|&member| id_of(member)).collect();
        self.add_row(Row::of("Concat", ""), node_name, output, members);
        self.add_node(node_name, output, Operator::Concat { inputs });
        self.concats.insert(members.to_vec(), output);
        Ok(output)
    }
}
