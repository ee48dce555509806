//! Joining values: what a convolution over concats and sums reads.
//!
//! Only integers of one scale can share an accumulator. Values of one scale and encoding are joined
//! by a concat or an exact sum; whatever remains becomes a term of the convolution each.

use std::ops::Range;
use std::rc::Rc;

use ylb_format::limits::{MAX_ADDENDS, MAX_CONCAT_INPUTS};
use ylb_format::model::{Operator, Requantize};

use super::linear::{Addend, Linear};
use super::{Feature, LoweredValue, Lowering, id_of};
use crate::error::ConvertError;
use crate::expr::ValueIndex;
use crate::report::Row;

/// A value that a convolution reads, for some of its input channels.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) value: ValueIndex,
    pub(super) scale: f64,
    /// By channel of the value, what multiplies the scale; `None`: nothing does.
    pub(super) factors: Option<Rc<[f64]>>,
    /// The channels of the convolution's input that the value's channels are, in order.
    pub(super) channels: Vec<Range<usize>>,
}

/// What a convolution reads.
pub(super) struct Joined {
    pub(super) operands: Vec<Operand>,
    pub(super) offsets: Vec<Offset>,
}

/// A number that stands beside the operands in some input channels.
pub(super) type Offset = (Range<usize>, f64);

/// A value and the channels of the joined tensor that it is.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) value: ValueIndex,
    pub(super) scale: f64,
    pub(super) factors: Option<Rc<[f64]>>,
    range: Range<usize>,
}

impl Lowering<'_> {
    /// The values that together are a tensor, as few as possible. `padded`: whether a window sees positions
    /// outside of the tensor, where every operand is 0. A convolution of several groups reads values
    /// of all channels only.
    pub(super) fn operands(
        &mut self,
        feature: &Feature,
        groups: usize,
        padded: bool,
    ) -> Result<Joined, ConvertError> {
        let (members, offsets) = self.members(feature, padded)?;
        let mut joined: Vec<Vec<Member>> = Vec::new();
        for member in members {
            let fits = |own: &&mut Vec<Member>| {
                let last = &own[own.len() - 1];
                let plain = last.factors.is_none() && member.factors.is_none();
                (groups > 1 || (plain && last.scale == member.scale))
                    && last.range.end <= member.range.start
                    && own.len() < MAX_CONCAT_INPUTS
                    && self.values[last.value.0].same_levels(&self.values[member.value.0])
            };
            match joined.iter_mut().find(fits) {
                Some(own) => own.push(member),
                None => joined.push(vec![member]),
            }
        }
        let mut operands = Vec::with_capacity(joined.len());
        for members in joined {
            let operand = self.operand(&members)?;
            if groups > 1 && operand.channels.iter().map(Range::len).sum::<usize>() < feature.channels() {
                return Err(ConvertError::unsupported(format!(
                    "its input joins values of different ranges, in {groups} groups of channels; expected a \
                     quantizer behind the concat"
                )));
            }
            operands.push(operand);
        }
        Ok(Joined { operands, offsets })
    }

    /// The values that a tensor is a sum of, in the order of their first channels, and the numbers beside them.
    fn members(
        &mut self,
        feature: &Feature,
        padded: bool,
    ) -> Result<(Vec<Member>, Vec<Offset>), ConvertError> {
        let mut members = Vec::new();
        let (mut first, mut offsets, mut reads) = (0, Vec::new(), Vec::new());
        for segment in &feature.segments {
            let range = first..first + segment.channels;
            first = range.end;
            let Linear { addends, offset, offsets: by_channel } = self.linear(&segment.expr)?;
            if let Some(by_channel) = by_channel {
                if padded {
                    return Err(ConvertError::unsupported(
                        "its input has offsets by channel, and its window padding; expected one offset for the \
                         whole tensor",
                    ));
                }
                let each = by_channel.iter().enumerate();
                offsets.extend(each.map(|(at, &own)| (range.start + at..range.start + at + 1, own)));
            }
            match addends.first() {
                Some(any) if offset != 0.0 && padded => {
                    let (value, scale) = (self.ones(any.value, offset < 0.0), offset.abs());
                    members.push(Member { value, scale, factors: None, range: range.clone() });
                }
                _ if offset != 0.0 => offsets.push((range.clone(), offset)),
                _ => {}
            }
            reads.push((range, addends));
        }
        for (range, addend) in self.take_whole(&mut reads) {
            let value = self.fix_zero_point(&addend);
            members.push(Member { value, scale: addend.scale, factors: None, range });
        }
        for (range, addends) in reads {
            members.extend(self.summed(addends, &range)?);
        }
        members.sort_by_key(|member| member.range.start);
        Ok((members, offsets))
    }

    /// Members one after another as one value.
    fn operand(&mut self, members: &[Member]) -> Result<Operand, ConvertError> {
        let values: Vec<ValueIndex> = members.iter().map(|member| member.value).collect();
        let channels = members.iter().map(|member| member.range.clone()).collect();
        let value = self.concat_values("", "", &values)?;
        let scale = members[0].scale;
        if members.iter().all(|member| member.factors.is_none() && member.scale == scale) {
            return Ok(Operand { value, scale, factors: None, channels });
        }
        let of_member = |member: &Member| -> Vec<f64> {
            match &member.factors {
                Some(factors) => factors.iter().map(|factor| member.scale * factor).collect(),
                None => vec![member.scale; member.range.len()],
            }
        };
        let factors = members.iter().flat_map(of_member).collect();
        Ok(Operand { value, scale: 1.0, factors: Some(factors), channels })
    }

    /// A value of the shape of another that is 1 everywhere, or −1: only padding tells positions apart.
    pub(super) fn ones(&mut self, like: ValueIndex, negative: bool) -> ValueIndex {
        if let Some(&ones) = self.ones.get(&(like, negative)) {
            return ones;
        }
        let source = &self.values[like.0];
        let table = vec![u8::from(!negative); usize::from(source.max_level) + 1];
        let ones = LoweredValue {
            name: String::new(),
            low: if negative { -1 } else { 0 },
            step: 1,
            max_level: 1,
            zero_point: Some(0),
            scale: 1.0,
            origin: None,
            ..source.clone()
        };
        let ones = self.add_map("", like, ones, table);
        self.ones.insert((like, negative), ones);
        ones
    }

    /// Sums addends of equal scale exactly; the others stay apart.
    pub(super) fn summed(
        &mut self,
        addends: Vec<Addend>,
        range: &Range<usize>,
    ) -> Result<Vec<Member>, ConvertError> {
        let mut groups: Vec<(Addend, Vec<ValueIndex>)> = Vec::new();
        for addend in addends {
            let value = self.fix_zero_point(&addend);
            let fits = |(first, members): &&mut (Addend, Vec<ValueIndex>)| {
                let all = members.iter().chain([&value]);
                let levels: u32 = all.map(|member| u32::from(self.values[member.0].max_level)).sum();
                first.scale == addend.scale
                    && first.factors == addend.factors
                    && members.len() < MAX_ADDENDS
                    && levels <= 255
                    && self.values[members[0].0].step == self.values[value.0].step
            };
            match groups.iter_mut().find(fits) {
                Some((_, members)) => members.push(value),
                None => groups.push((addend, vec![value])),
            }
        }
        let mut sums = Vec::with_capacity(groups.len());
        for (Addend { scale, factors, .. }, members) in groups {
            sums.push(Member { value: self.sum_values(&members), scale, factors, range: range.clone() });
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
