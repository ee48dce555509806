//! Convolutions: their weights as integers, and what their accumulators can reach.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use ylb_format::limits::{MAX_DEPTH, MAX_TERMS};
use ylb_format::model::{self, Along, Weights, Window};
use ylb_source::ir::{Node, Tensor};
use ylb_source::quantizer::QuantizedConstant;
use ylb_source::window;

use super::channels::{outputs_in_order, weights_in_order};
use super::join::{Joined, Operand};
use super::weights::{WeightFormat, weight_format};
use super::{Feature, Lowering, Segment, format_window, id_of, too_large};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{ConvIndex, ConvReading, Expr, ValueIndex};
use crate::report::{Warning, WarningKind};

/// Terms of a convolution above which it is worth a warning.
const MANY_TERMS: usize = 8;

/// What waits for its requantization.
#[derive(Clone, Debug, PartialEq)]
pub enum PendingKind {
    /// A convolution.
    Conv,
    /// One that says of each window its sum and its number of elements.
    Average,
    /// A product of two values as matrices: its one term has the scale of both.
    MatMul {
        /// What is multiplied, and what stands for weights.
        inputs: [ValueIndex; 2],
        /// Groups of channels.
        groups: u32,
        /// Areas of positions.
        areas: u32,
        /// What is summed.
        along: Along,
    },
    /// A softmax, whose accumulators are shares.
    Softmax {
        /// What is compared.
        input: ValueIndex,
        /// Groups of channels.
        groups: u32,
        /// For each distance from the largest level.
        exponentials: Vec<u64>,
    },
}

/// A convolution that waits for its requantization, or what is requantized like one.
#[derive(Clone, Debug)]
pub struct PendingConv {
    /// Name of the source node.
    pub name: String,
    /// What it is. All but convolutions have one channel for all.
    pub kind: PendingKind,
    /// One for each scale of its input.
    pub terms: Vec<PendingTerm>,
    /// What one unit of a weight stands for: one number for each output channel.
    pub weight_scales: Vec<f64>,
    /// One number for each output channel.
    pub bias: Option<Vec<f64>>,
    /// Window, stride and padding.
    pub window: Window,
    /// Independent groups of channels.
    pub groups: usize,
    /// Output channels, rows and columns.
    pub shape: [usize; 3],
    /// Whether an operator was emitted for it.
    pub emitted: bool,
}

/// One term of a pending convolution.
#[derive(Clone, Debug)]
pub struct PendingTerm {
    /// The value it reads.
    pub value: ValueIndex,
    /// What one integer of that value stands for.
    pub scale: f64,
    /// By output channel, what multiplies the scale beside that of the weights; `None`: nothing does.
    pub factors: Option<Vec<f64>>,
    /// Its weights.
    pub weights: Weights,
    /// Smallest and largest accumulator of each output channel.
    pub ranges: Vec<(i64, i64)>,
}

impl PendingConv {
    /// How a program for one output channel reads the accumulators; term `t` is input `t`.
    pub fn reading(&self, channel: usize) -> ConvReading {
        ConvReading {
            terms: self.factors(channel).into_iter().enumerate().collect(),
            bias: self.bias.as_ref().map(|bias| bias[channel]),
        }
    }

    /// What one integer of each term adds to the real result of a channel.
    pub(super) fn factors(&self, channel: usize) -> Vec<f64> {
        let scale = self.weight_scales[channel];
        let own = |term: &PendingTerm| term.factors.as_ref().map_or(1.0, |factors| factors[channel]);
        self.terms.iter().map(|term| term.scale * scale * own(term)).collect()
    }

    /// The operator.
    pub fn operator(&self, requantize: Option<model::Requantize>) -> model::Operator {
        let term =
            |term: &PendingTerm| model::ConvTerm { input: id_of(term.value), weights: term.weights.clone() };
        model::Operator::Conv(model::Conv {
            terms: self.terms.iter().map(term).collect(),
            window: self.window,
            groups: self.groups as u32,
            requantize,
        })
    }
}

impl Lowering<'_> {
    pub(super) fn conv(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let weights_id = node.required_input(1)?;
        let info = self.graph.tensor(weights_id);
        let Some(quantized) = info.quantized.clone() else {
            if let (true, Some(weights)) = (self.float_heads, info.constant.clone()) {
                return self.float_conv(node, &weights);
            }
            let found = if info.constant.is_some() { "plain floats" } else { "not constant" };
            return Err(ConvertError::new(
                ErrorKind::NotQuantized,
                format!(
                    "its weights \"{}\" are {found}; expected a weight quantizer (Quant, \
                     BipolarQuant, DequantizeLinear, or Round of scaled weights)",
                    info.name
                ),
            ));
        };
        let Some(&[out_channels, in_channels, rows, columns]) = info.shape.as_deref() else {
            return Err(ConvertError::unsupported("expected weights of rank 4"));
        };
        let numbers = |tensor: &Tensor| (0..tensor.len()).map(|k| tensor.get(k)).find(|x| !x.is_finite());
        if let Some(bad) = info.constant.as_deref().and_then(numbers) {
            let message = format!("its weights \"{}\" hold {bad}; expected finite numbers", info.name);
            return Err(ConvertError::malformed(message));
        }
        self.bring_on_grids(node, node.required_input(0)?)?;
        let mut feature = self.join_requantized(node, node.required_input(0)?)?;
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        if groups == 0
            || out_channels % groups != 0
            || out_channels == 0
            || in_channels.checked_mul(groups) != Some(feature.channels())
        {
            return Err(ConvertError::malformed(format!(
                "weights of shape [{out_channels}, {in_channels}, {rows}, {columns}] in {groups} \
                 groups for an input of {} channels",
                feature.channels()
            )));
        }
        let depthwise = groups == feature.channels();
        if groups > 1 && !depthwise {
            feature = self.in_order(&feature)?;
        }
        let (mut quantized, mut order) = (quantized, None);
        if let Some(places) = &feature.order {
            let shape = [out_channels, in_channels, rows, columns];
            quantized = Arc::new(weights_in_order(&quantized, shape, places));
            order = depthwise.then(|| outputs_in_order(out_channels, places));
        }
        let shape = [1, feature.channels(), feature.height, feature.width];
        let geometry = window::of_node(node, &shape, Some([rows, columns]))?;
        let [height, width] = geometry.output_size([feature.height, feature.width])?;
        let mut format = weight_format(&quantized, out_channels)?;
        let window = format_window(geometry);
        let padded = window.padding.iter().any(|&extent| extent > 0);
        let Joined { operands, offsets } = self.operands(&feature, groups, padded)?;
        let parts = parts(operands, groups, &mut format.scales);
        if parts.len() > MAX_TERMS {
            return Err(ConvertError::unsupported(format!(
                "its input joins values of {} different scales or ranges; expected at most {MAX_TERMS}, or \
                 a requantization of joins (--requantize-joins)",
                parts.len()
            )));
        }
        if parts.len() > MANY_TERMS {
            let message = format!(
                "its input joins values of {} different scales or ranges: it is computed once for each, which is \
                     exact, but slow; a requantization of joins (--requantize-joins) makes it one convolution",
                parts.len()
            );
            self.warnings.push(Warning::at(&node.name, WarningKind::ManyScales, message));
        }
        let shape = [out_channels, in_channels, rows, columns];
        let mut terms = Vec::with_capacity(parts.len());
        for part in &parts {
            terms.push(self.term(part, &quantized, &format, shape, groups, window)?);
        }
        let mut bias = self.bias(node, out_channels)?;
        if let (Some(bias), Some(order)) = (&mut bias, &order) {
            let own = bias.clone();
            order.iter().zip(own).for_each(|(&place, own)| bias[place] = own);
        }
        if !offsets.is_empty() {
            let bias = bias.get_or_insert_with(|| vec![0.0; out_channels]);
            add_offsets(bias, &offsets, &quantized, shape, groups);
        }
        self.convs.push(PendingConv {
            name: node.name.clone(),
            kind: PendingKind::Conv,
            terms,
            weight_scales: format.scales,
            bias,
            window,
            groups,
            shape: [out_channels, height, width],
            emitted: false,
        });
        let expr = Rc::new(Expr::Conv(ConvIndex(self.convs.len() - 1)));
        let segments = vec![Segment { channels: out_channels, expr }];
        let feature = Feature { segments, height, width, order: None };
        Ok(match order {
            Some(order) => feature.ordered(order),
            None => feature,
        })
    }

    pub(super) fn bias(&self, node: &Node, channels: usize) -> Result<Option<Vec<f64>>, ConvertError> {
        let Some(id) = node.input(2) else { return Ok(None) };
        let Some(bias) = self.graph.constant(id) else {
            return Err(ConvertError::unsupported("expected a constant bias"));
        };
        let bias = bias.to_f64();
        if bias.len() != channels || bias.iter().any(|b| !b.is_finite()) {
            return Err(ConvertError::malformed(format!("expected a bias of {channels} finite numbers")));
        }
        Ok(Some(bias))
    }

    /// The part of a convolution that reads one operand, or some of its channels.
    pub(super) fn term(
        &self,
        part: &Part,
        quantized: &QuantizedConstant,
        format: &WeightFormat,
        [out_channels, in_channels, rows, columns]: [usize; 4],
        groups: usize,
        window: Window,
    ) -> Result<PendingTerm, ConvertError> {
        let operand = &part.operand;
        let whole = operand.channels.iter().map(Range::len).sum::<usize>() >= in_channels * groups;
        let all = std::iter::once(0..in_channels).collect();
        let ranges: &Vec<Range<usize>> = if whole { &all } else { &operand.channels };
        let taps = rows * columns;
        let own_channels: usize = ranges.iter().map(Range::len).sum();
        if (own_channels * taps) as u64 > MAX_DEPTH {
            return Err(too_large(format!("{} weights of one output channel", own_channels * taps)));
        }
        let mut codes = Vec::with_capacity(out_channels * own_channels * taps);
        for output in 0..out_channels {
            let first = output / (out_channels / groups) * in_channels;
            for (position, channel) in ranges.iter().cloned().flatten().enumerate() {
                if part.keep.as_ref().is_some_and(|keep| !keep[first + position]) {
                    let zero = format.zero_bits(output)?;
                    codes.extend(std::iter::repeat_n(zero, taps));
                    continue;
                }
                let start = (output * in_channels + channel) * taps;
                for &code in &quantized.codes[start..start + taps] {
                    codes.push(format.bits_of(i64::from(code))?);
                }
            }
        }
        let shape = [out_channels, own_channels, rows, columns].map(|extent| extent as u32);
        let zero_points = format.zero_points.clone();
        let weights = Weights::from_codes(shape, format.encoding, format.bits, &codes, zero_points);
        let value = self.values[operand.value.0].clone().into_model();
        let Some(encoding) = value.encoding() else {
            return Err(ConvertError::unsupported("expected levels as input"));
        };
        let padded = window.padding.iter().any(|&extent| extent > 0);
        let mut ranges = Vec::with_capacity(out_channels);
        for sum in weights.channel_sums() {
            let range = sum.accumulators(encoding, padded);
            if *range.start() < i64::from(i32::MIN) || *range.end() > i64::from(i32::MAX) {
                return Err(too_large("its sums of products do not fit 32 bits"));
            }
            ranges.push((*range.start(), *range.end()));
        }
        Ok(PendingTerm { value: operand.value, scale: part.scale, factors: None, weights, ranges })
    }
}

/// What one term reads.
pub(super) struct Part {
    operand: Operand,
    scale: f64,
    /// By channel of the operand, whether it is one of this scale; `None`: all are.
    keep: Option<Vec<bool>>,
}

/// One part for each scale. Scales that differ between the groups of a convolution only, as in a
/// depthwise one, go into the scales of the weights.
pub(super) fn parts(mut operands: Vec<Operand>, groups: usize, weight_scales: &mut [f64]) -> Vec<Part> {
    if let [Operand { scale, factors: Some(factors), .. }] = operands.as_mut_slice() {
        let by_group: Vec<&[f64]> = factors.chunks(factors.len().div_ceil(groups).max(1)).collect();
        if groups > 1 && by_group.iter().all(|own| own.iter().all(|factor| *factor == own[0])) {
            let outputs = weight_scales.len() / groups;
            for (group, scales) in weight_scales.chunks_mut(outputs.max(1)).enumerate() {
                scales.iter_mut().for_each(|own| *own *= *scale * by_group[group][0]);
            }
            *scale = 1.0;
            operands[0].factors = None;
        }
    }
    let mut parts = Vec::with_capacity(operands.len());
    for operand in operands {
        let Some(factors) = operand.factors.clone() else {
            parts.push(Part { scale: operand.scale, operand, keep: None });
            continue;
        };
        let mut distinct = factors.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        for factor in distinct {
            let keep = factors.iter().map(|&own| own == factor).collect();
            let scale = operand.scale * factor;
            parts.push(Part { operand: operand.clone(), scale, keep: Some(keep) });
        }
    }
    parts
}

/// Adds what numbers that stand beside some input channels add to each output, where nothing is padded:
/// the number times the sum of the weights.
fn add_offsets(
    bias: &mut [f64],
    offsets: &[(Range<usize>, f64)],
    quantized: &QuantizedConstant,
    [out_channels, in_channels, rows, columns]: [usize; 4],
    groups: usize,
) {
    let taps = rows * columns;
    for (output, bias) in bias.iter_mut().enumerate() {
        let first = output / (out_channels / groups) * in_channels;
        let zero_point = quantized.zero_point_at(output);
        for (range, offset) in offsets {
            let own =
                range.start.clamp(first, first + in_channels)..range.end.clamp(first, first + in_channels);
            let start = output * in_channels * taps;
            let codes = &quantized.codes[start..][(own.start - first) * taps..(own.end - first) * taps];
            let sum: f64 = codes.iter().map(|&code| f64::from(code) - zero_point).sum();
            *bias += sum * quantized.scale_at(output) * offset;
        }
    }
}
