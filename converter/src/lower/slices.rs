//! Some channels of values and of convolutions, and of functions of them: for slices, and for sums and products of concats
//! whose parts end at different channels.
//!
//! Of a concat that is cut between its parts the parts are taken; convolutions that read all slices of a value read the value
//! itself ([`Lowering::take_whole`]); of a convolution that is not quantized yet some outputs are computed; and slices that
//! nothing reads in the end are dropped.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use ylb_format::model::{Operator, Weights};

use super::attention::not_quantized;
use super::conv::{PendingConv, PendingKind, PendingTerm};
use super::elementwise::slice;
use super::linear::Addend;
use super::{Feature, LoweredValue, Lowering, Segment, id_of};
use crate::error::ConvertError;
use crate::expr::{ConvIndex, Expr, ValueIndex};
use crate::report::Row;

/// Slices of values.
#[derive(Default)]
pub(super) struct Slices {
    /// By value and channels.
    made: HashMap<(ValueIndex, Range<usize>), ValueIndex>,
    /// By slice.
    of: BTreeMap<ValueIndex, Slice>,
    /// By convolution and outputs.
    of_convs: HashMap<(ConvIndex, Range<usize>), ConvIndex>,
}

struct Slice {
    source: ValueIndex,
    channels: Range<usize>,
}

/// Some channels of a value, as a slice of it that is read.
type Piece = (Range<usize>, Addend);

/// What a convolution reads in some of its input channels.
pub(super) type Read = (Range<usize>, Vec<Addend>);

impl Lowering<'_> {
    /// Both tensors in segments that end at the same channels.
    pub(super) fn aligned(&mut self, a: &Feature, b: &Feature) -> Result<[Feature; 2], ConvertError> {
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
        Ok([self.split(a, &all)?, self.split(b, &all)?])
    }

    /// The same tensor, whose segments are cut where `ends` lie within them.
    fn split(&mut self, feature: &Feature, ends: &[usize]) -> Result<Feature, ConvertError> {
        let mut first = 0;
        let mut segments = Vec::with_capacity(ends.len());
        for segment in &feature.segments {
            let (mut start, last) = (0, segment.channels);
            for end in ends.iter().filter(|end| (first + 1..=first + last).contains(end)) {
                let channels = start..end - first;
                let expr = match channels.len() == last {
                    true => Rc::clone(&segment.expr),
                    false => self.part(segment, channels.clone())?,
                };
                segments.push(Segment { channels: channels.len(), expr });
                start = channels.end;
            }
            first += last;
        }
        Ok(Feature { segments, ..feature.clone() })
    }

    /// The expression of some channels of a segment.
    pub(super) fn part(
        &mut self,
        segment: &Segment,
        channels: Range<usize>,
    ) -> Result<Rc<Expr>, ConvertError> {
        self.part_of(&segment.expr, segment.channels, channels)
    }

    fn part_of(
        &mut self,
        expr: &Rc<Expr>,
        all: usize,
        channels: Range<usize>,
    ) -> Result<Rc<Expr>, ConvertError> {
        let leaves = expr.leaves();
        let addends = self.linear(expr).map_or(Vec::new(), |linear| linear.addends);
        let mut convs = HashMap::new();
        for &conv in &leaves.convs {
            convs.insert(conv, Rc::new(Expr::Conv(self.part_of_conv(conv, channels.clone())?)));
        }
        let mut parts = HashMap::new();
        for source in leaves.values {
            // What has one channel for all others is the same for some.
            if self.values[source.0].shape[0] != all {
                continue;
            }
            let addend = addends.iter().find(|addend| addend.value == source);
            let value = addend.map_or(source, |addend| self.fix_zero_point(addend));
            let part = self.slice_of(value, channels.clone())?;
            // Beside the convolution that it is a function of, it has to be known as such.
            if let Some(whole) = self.definitions.get(&source).filter(|_| !convs.is_empty()).cloned() {
                let own = self.part_of(&whole, all, channels.clone())?;
                self.definitions.insert(part, own);
            }
            parts.insert(source, Rc::new(Expr::Codes(part)));
        }
        Ok(expr.substitute(|leaf| match leaf {
            Expr::Codes(value) => parts.get(value).cloned(),
            Expr::Conv(conv) => convs.get(conv).cloned(),
            Expr::Constant(numbers) => Some(slice(numbers, channels.clone())),
            _ => None,
        }))
    }

    /// A convolution that computes some outputs of another: with their weights, over the channels that their groups read.
    fn part_of_conv(&mut self, whole: ConvIndex, channels: Range<usize>) -> Result<ConvIndex, ConvertError> {
        if let Some(&made) = self.slices.of_convs.get(&(whole, channels.clone())) {
            return Ok(made);
        }
        let conv = self.convs[whole.0].clone();
        if conv.kind != PendingKind::Conv {
            return Err(not_quantized(&conv.name));
        }
        let each = conv.shape[0] / conv.groups;
        let groups = channels.start / each..channels.end.div_ceil(each);
        let whole_groups = channels.start.is_multiple_of(each) && channels.end.is_multiple_of(each);
        if conv.groups > 1 && !whole_groups {
            return Err(ConvertError::unsupported(format!(
                "takes channels {} to {} of convolution \"{}\", whose groups have {each} channels; expected whole groups, or a \
                 quantizer behind the convolution",
                channels.start,
                channels.end - 1,
                conv.name
            )));
        }
        let mut terms = Vec::with_capacity(conv.terms.len());
        for term in &conv.terms {
            let value = match conv.groups {
                1 => term.value,
                _ => {
                    let inputs = term.weights.shape[1] as usize;
                    self.slice_of(term.value, groups.start * inputs..groups.end * inputs)?
                }
            };
            let ranges = term.ranges[channels.clone()].to_vec();
            let weights = some_outputs(&term.weights, channels.clone());
            let factors = term.factors.as_ref().map(|factors| factors[channels.clone()].to_vec());
            terms.push(PendingTerm { value, scale: term.scale, factors, weights, ranges });
        }
        self.convs.push(PendingConv {
            terms,
            weight_scales: conv.weight_scales[channels.clone()].to_vec(),
            bias: conv.bias.as_ref().map(|bias| bias[channels.clone()].to_vec()),
            groups: if conv.groups == 1 { 1 } else { groups.len() },
            shape: [channels.len(), conv.shape[1], conv.shape[2]],
            emitted: false,
            ..conv
        });
        let made = ConvIndex(self.convs.len() - 1);
        self.slices.of_convs.insert((whole, channels), made);
        Ok(made)
    }

    /// A value that is some channels of another.
    fn slice_of(&mut self, value: ValueIndex, channels: Range<usize>) -> Result<ValueIndex, ConvertError> {
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
        let made = self.select(source, &channels);
        self.slices.made.insert((source, channels.clone()), made);
        self.slices.of.insert(made, Slice { source, channels });
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

    /// Appends a slice.
    fn select(&mut self, source: ValueIndex, channels: &Range<usize>) -> ValueIndex {
        // Levels keep their meaning, so that must be known before they are handed on.
        self.values[source.0].zero_point.get_or_insert(0);
        let value = self.values[source.0].clone();
        let [_, height, width] = value.shape;
        let shape = [channels.len(), height, width];
        let output = self.add_value(LoweredValue { name: String::new(), shape, origin: None, ..value });
        self.add_row(Row::of("Slice", ""), "", output, &[source]);
        self.add_node("", output, Operator::Slice { input: id_of(source), first: channels.start as u32 });
        output
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
}

/// The weights of some output channels.
fn some_outputs(weights: &Weights, channels: Range<usize>) -> Weights {
    let [outputs, inputs, rows, columns] = weights.shape;
    let each = weights.len() / outputs as usize;
    let codes = &weights.codes()[channels.start * each..channels.end * each];
    let shape = [channels.len() as u32, inputs, rows, columns];
    let zero_points = match weights.zero_points.is_empty() {
        true => Vec::new(),
        false => weights.zero_points[channels].to_vec(),
    };
    Weights::from_codes(shape, weights.encoding, weights.bits, codes, zero_points)
}
