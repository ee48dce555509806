//! Channels of values, for sums and products of concats whose parts end at different channels.
//!
//! The file format has no operator that takes some channels out of a value. A convolution with one weight of 1 for each
//! output does: exactly, and as slowly as a convolution. It is seldom needed. Of a concat that is cut between its parts
//! the parts are taken; convolutions that read all slices of a value read the value itself
//! ([`Lowering::take_whole`]); and slices that nothing reads in the end are dropped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;

use ylb_format::limits::MAX_DEPTH;
use ylb_format::model::{Operator, Requantize, ValueId, WeightEncoding, Weights, Window};

use super::conv::{PendingConv, PendingTerm};
use super::elementwise::slice;
use super::linear::Addend;
use super::{Feature, LoweredValue, Lowering, Segment, id_of, too_large};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Expr, ValueIndex};
use crate::report::{Row, Warning, WarningKind};

/// Most weights of a slice.
const MAX_WEIGHTS: usize = 1 << 26;

/// Slices of values.
#[derive(Default)]
pub(super) struct Slices {
    /// By value and channels.
    made: HashMap<(ValueIndex, Range<usize>), ValueIndex>,
    /// By slice.
    of: BTreeMap<ValueIndex, Slice>,
}

struct Slice {
    source: ValueIndex,
    channels: Range<usize>,
    /// The node that made it necessary.
    node: String,
}

/// Some channels of a value, as a slice of it that is read.
type Piece = (Range<usize>, Addend);

/// What a convolution reads in some of its input channels.
pub(super) type Read = (Range<usize>, Vec<Addend>);

impl Lowering<'_> {
    /// Both tensors in segments that end at the same channels.
    pub(super) fn aligned(
        &mut self,
        node: &str,
        a: &Feature,
        b: &Feature,
    ) -> Result<[Feature; 2], ConvertError> {
        let ends = |feature: &Feature| {
            let mut end = 0;
            let ends = feature.segments.iter().map(|segment| {
                end += segment.channels;
                end
            });
            ends.collect::<Vec<usize>>()
        };
        let mut all = [ends(a), ends(b)].concat();
        all.sort_unstable();
        all.dedup();
        Ok([self.split(node, a, &all)?, self.split(node, b, &all)?])
    }

    /// The same tensor, whose segments are cut where `ends` lie within them.
    fn split(&mut self, node: &str, feature: &Feature, ends: &[usize]) -> Result<Feature, ConvertError> {
        let mut first = 0;
        let mut segments = Vec::with_capacity(ends.len());
        for segment in &feature.segments {
            let (mut start, last) = (0, segment.channels);
            for end in ends.iter().filter(|end| (first + 1..=first + last).contains(end)) {
                let channels = start..end - first;
                let expr = match channels.len() == last {
                    true => Rc::clone(&segment.expr),
                    false => self.part(node, segment, channels.clone())?,
                };
                segments.push(Segment { channels: channels.len(), expr });
                start = channels.end;
            }
            first += last;
        }
        Ok(Feature { segments, height: feature.height, width: feature.width })
    }

    /// The expression of some channels of a segment.
    fn part(
        &mut self,
        node: &str,
        segment: &Segment,
        channels: Range<usize>,
    ) -> Result<Rc<Expr>, ConvertError> {
        let leaves = segment.expr.leaves();
        if let Some(conv) = leaves.convs.first() {
            return Err(ConvertError::new(
                ErrorKind::NotQuantized,
                format!(
                    "its operands are concats of different parts, one of which ends within the channels of \
                     convolution \"{}\"; expected a quantizer behind the convolution",
                    self.convs[conv.0].name
                ),
            ));
        }
        let addends = self.linear(&segment.expr).map_or(Vec::new(), |linear| linear.addends);
        let mut parts = HashMap::new();
        for source in leaves.values {
            let addend = addends.iter().find(|addend| addend.value == source);
            let value = addend.map_or(source, |addend| self.fix_zero_point(addend));
            let part = self.slice_of(node, value, channels.clone())?;
            parts.insert(source, Rc::new(Expr::Codes(part)));
        }
        Ok(segment.expr.substitute(|leaf| match leaf {
            Expr::Codes(value) => parts.get(value).cloned(),
            Expr::Constant(numbers) => Some(slice(numbers, channels.clone())),
            _ => None,
        }))
    }

    /// A value that is some channels of another.
    fn slice_of(
        &mut self,
        node: &str,
        value: ValueIndex,
        channels: Range<usize>,
    ) -> Result<ValueIndex, ConvertError> {
        let (source, channels) = match self.slices.of.get(&value) {
            Some(slice) => {
                let first = slice.channels.start;
                (slice.source, first + channels.start..first + channels.end)
            }
            None => (value, channels),
        };
        if let Some(&made) = self.slices.made.get(&(source, channels.clone())) {
            return Ok(made);
        }
        if let Some(parts) = self.parts(source, &channels) {
            return self.concat_values("", "", &parts);
        }
        let made = self.select(node, source, &channels)?;
        self.slices.made.insert((source, channels.clone()), made);
        self.slices.of.insert(made, Slice { source, channels, node: node.to_owned() });
        Ok(made)
    }

    /// The inputs of a concat that are just these channels of it.
    fn parts(&self, value: ValueIndex, channels: &Range<usize>) -> Option<Vec<ValueIndex>> {
        let writes = |node: &&ylb_format::model::Node| node.output == id_of(value);
        let node = self.nodes.iter().rev().find(writes)?;
        let Operator::Concat { inputs } = &node.operator else { return None };
        let (mut end, mut parts) = (0, Vec::new());
        for input in inputs {
            let (first, part) = (end, ValueIndex(input.index()));
            end += self.values[part.0].shape[0];
            if channels.contains(&first) && end <= channels.end {
                parts.push(part);
            }
        }
        let len: usize = parts.iter().map(|part| self.values[part.0].shape[0]).sum();
        (len == channels.len()).then_some(parts)
    }

    /// Appends a convolution that hands channels of a value on.
    fn select(
        &mut self,
        node: &str,
        source: ValueIndex,
        channels: &Range<usize>,
    ) -> Result<ValueIndex, ConvertError> {
        self.values[source.0].zero_point.get_or_insert(0);
        let value = self.values[source.0].clone();
        let ([inputs, height, width], outputs) = (value.shape, channels.len());
        if inputs as u64 > MAX_DEPTH || outputs.saturating_mul(inputs) > MAX_WEIGHTS {
            return Err(too_large(format!("{outputs} of {inputs} channels, taken out of a concat's part")));
        }
        let codes: Vec<u8> = channels
            .clone()
            .flat_map(|channel| (0..inputs).map(move |input| u8::from(input == channel)))
            .collect();
        let shape = [outputs as u32, inputs as u32, 1, 1];
        let weights = Weights::from_codes(shape, WeightEncoding::Unsigned, 1, &codes, Vec::new());
        // (integer + zero point − low) / step
        let bias = i64::from(value.zero_point.unwrap_or(0)) - value.low;
        let requantize = Requantize::Scale {
            multipliers: vec![1; outputs],
            bias: vec![bias; outputs],
            shift: u8::from(value.step == 2),
        };
        let range = (value.integer(0), value.integer(value.max_level));
        let conv = PendingConv {
            name: node.to_owned(),
            terms: vec![PendingTerm { value: source, scale: 1.0, weights, ranges: vec![range; outputs] }],
            weight_scales: vec![1.0; outputs],
            bias: None,
            window: Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] },
            groups: 1,
            shape: [outputs, height, width],
            emitted: true,
        };
        let operator = conv.operator(Some(requantize));
        let row = Row::of_conv(&conv, &operator, "exact");
        let slice = LoweredValue { name: String::new(), shape: conv.shape, origin: None, ..value };
        let output = self.add_value(slice);
        self.add_row(row, "", output, &[source]);
        self.add_node("", output, operator);
        Ok(output)
    }

    /// Takes out of addends what together is all of a value, and returns it with the channels that it is read as.
    pub(super) fn take_whole(&self, reads: &mut [Read]) -> Vec<(Range<usize>, Addend)> {
        // By value, place, scale and zero point: the slices, in order.
        let mut runs: BTreeMap<_, Vec<Piece>> = BTreeMap::new();
        for (range, addends) in reads.iter() {
            for addend in addends.iter().filter(|addend| addend.factors.is_none()) {
                let Some(Slice { source, channels, .. }) = self.slices.of.get(&addend.value) else {
                    continue;
                };
                let Some(place) = range.start.checked_sub(channels.start) else { continue };
                let key = (*source, place, addend.scale.to_bits(), addend.zero_point.to_bits());
                runs.entry(key).or_default().push((channels.clone(), addend.clone()));
            }
        }
        let mut wholes = Vec::new();
        for ((source, place, ..), slices) in runs {
            let channels = self.values[source.0].shape[0];
            let end = slices.iter().try_fold(0, |end, (own, _)| (own.start == end).then_some(own.end));
            if end != Some(channels) {
                continue;
            }
            for (range, addends) in reads.iter_mut() {
                let is_slice = |addend: &Addend| {
                    slices.iter().any(|(own, slice)| place + own.start == range.start && slice == addend)
                };
                addends.retain(|addend| !is_slice(addend));
            }
            let addend = Addend { value: source, ..slices[0].1.clone() };
            wholes.push((place..place + channels, addend));
        }
        wholes
    }

    /// Warns of slices that an operator reads. The others are dropped, as everything that nothing reads.
    pub(super) fn warn_of_slices(&mut self) {
        let read: BTreeSet<ValueId> = self.nodes.iter().flat_map(|node| node.operator.inputs()).collect();
        for slice in
            self.slices.of.iter().filter(|(value, _)| read.contains(&id_of(**value))).map(|(_, slice)| slice)
        {
            let [all, ..] = self.values[slice.source.0].shape;
            let message = format!(
                "its operands are concats whose parts end at different channels: channels {} to {} of {all} \
                     are taken out by a convolution, which changes no code, but takes time",
                slice.channels.start,
                slice.channels.end - 1,
            );
            self.warnings.push(Warning::at(&slice.node, WarningKind::Slices, message));
        }
    }
}
