//! Finds the grid of weights whose quantizer is gone.
//!
//! Graph simplifiers fold a weight's quantizer, and the batch normalization behind its convolution,
//! into plain floats. What the quantizer made of them is still there: every weight of an output
//! channel is an integer times that channel's step. This pass recovers steps and integers:
//!
//! ```text
//! Conv(x, floats)  ─►  Conv(x, codes · step by channel)
//! ```
//!
//! A step is accepted when it explains every weight of its channel up to the rounding of 32-bit
//! floats ([`TOLERANCE`]), so the codes *are* the weights, whatever made them: there is no such thing
//! as a fit that is merely good. The coarsest step is taken; where all codes of a channel have a
//! common factor the quantizer's own step was finer, with the same products.
//!
//! Where no step explains a channel, but one for each group of input channels does, as many, the convolution is written as
//! a sum of one for each group ([`blocks`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ylb_source::ir::{Graph, Node, Tensor, TensorId};
use ylb_source::quantizer::QuantizedConstant;

use crate::error::{ConvertError, ErrorKind};

mod blocks;

/// Largest distance of a weight from its grid, relative to the channel's largest weight.
///
/// `code · alpha` and then `· gamma / sigma` are rounded to 24 bits each, which is at most 2⁻²³ of the
/// largest weight; exports measured stay below 2⁻²⁴. Twice the bound leaves room for one more
/// product. Weights of a float model do not get here: a channel with `d` different magnitudes below
/// its largest lies this close to one of the 255 grids with a probability of
/// `Σ (2 · k · 2⁻²²)ᵈ, k = 1 … 255`: 1.6 % for one, 10⁻⁶ for two, 10⁻³⁸ for the ten that the smallest
/// convolution of a detector has.
///
/// A weight that is this small itself is not near 0 for that: a product is 0 only if its code is, so code 0 is taken for
/// zeros alone. Else one huge weight would swallow all others of its channel.
const TOLERANCE: f64 = 1.0 / (1 << 22) as f64;

/// Largest integer of a grid: that of 8 bits whose zero point is the smallest code.
const MAX_INTEGER: u32 = 255;

/// Convolutions with recovered grids, by bits of their weights.
pub type Found = BTreeMap<u32, usize>;

/// Runs the pass. Of convolutions that write `spared` tensors weights may lie on no grid.
///
/// # Errors
/// If a convolution's weights are constants that lie on no grid.
pub fn run(graph: &mut Graph, spared: &BTreeSet<TensorId>) -> Result<Found, ConvertError> {
    let mut found = Found::new();
    let mut parts = BTreeMap::new();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some(id) = node.input(1).filter(|_| node.is("Conv")) else { continue };
        let info = graph.tensor(id);
        let Some(weights) = info.constant.as_ref().filter(|_| info.quantized.is_none()) else { continue };
        let bits = match of_weights(node, &info.name, weights, &graph_end(graph, node)) {
            Ok(quantized) => {
                let bits = bits_for(quantized.high - quantized.low);
                graph.tensors[id.0].quantized = Some(Arc::new(quantized));
                bits
            }
            Err(error) => {
                if node.outputs.iter().any(|output| spared.contains(output)) {
                    continue;
                }
                let blocks = blocks::of_weights(weights).filter(|_| node.int("group", 1) == 1);
                let blocks = blocks.ok_or(error)?;
                let bits = blocks.iter().map(|block| bits_for(block.high - block.low)).max().unwrap_or(1);
                parts.insert(index, blocks);
                bits
            }
        };
        *found.entry(bits).or_insert(0) += 1;
    }
    blocks::write(graph, parts)?;
    Ok(found)
}

/// What is to be done about a convolution at an end of the network, which recipes of training often leave in floats.
fn graph_end(graph: &Graph, node: &Node) -> String {
    let producers = graph.producers();
    let producer = |id: TensorId| producers[id.0].map(|index| &graph.nodes[index]);
    let mut pending: Vec<TensorId> = node.inputs.first().copied().flatten().into_iter().collect();
    let mut seen: BTreeSet<TensorId> = pending.iter().copied().collect();
    let mut first = true;
    while let Some(before) = pending.pop().map(producer) {
        let Some(before) = before else { continue };
        first &= !before.is("Conv");
        pending.extend(before.inputs.iter().flatten().filter(|&&id| seen.insert(id)));
    }
    let reads = |quantizer: &Node| quantizer.input(0).is_some_and(|id| node.outputs.contains(&id));
    let last = graph.outputs.iter().any(|&id| node.outputs.contains(&id) || producer(id).is_some_and(reads));
    let (which, taken) = match (first, last) {
        (true, _) => ("the first convolution", ""),
        (_, true) => ("the detection convolution", ", or take this one as it is (--float-heads)"),
        _ => return String::new(),
    };
    format!(
        ". It is {which}: train the first and the last layers with 8-bit weights in place of floats{taken}"
    )
}

fn of_weights(
    node: &Node,
    name: &str,
    weights: &Tensor,
    advice: &str,
) -> Result<QuantizedConstant, ConvertError> {
    let refused = |what: &str| {
        node.blame(ConvertError::new(
            ErrorKind::NotQuantized,
            format!(
                "its weights \"{name}\" are plain floats; {what}: expected a weight quantizer (Quant, \
                 BipolarQuant, DequantizeLinear, or Round of scaled weights), or weights folded onto \
                 its grid{advice}"
            ),
        ))
    };
    let channels = weights.shape().first().copied().unwrap_or(0);
    if weights.is_empty() || channels == 0 || !weights.element().is_float() {
        return Err(refused("there are none"));
    }
    let values = weights.to_f64();
    let mut grids = Vec::with_capacity(channels);
    for (channel, values) in values.chunks(values.len() / channels).enumerate() {
        let grid = channel_grid(values).ok_or_else(|| refused(&off_grid(channel, values)))?;
        grids.push(grid);
    }
    join(&grids).ok_or_else(|| refused("they lie on no grid of at most 8 bits"))
}

/// Why the weights of a channel lie on no grid.
fn off_grid(channel: usize, weights: &[f64]) -> String {
    if let Some(index) = weights.iter().position(|weight| !weight.is_finite()) {
        return format!("weight {index} of output channel {channel} is {}", weights[index]);
    }
    let magnitudes = || weights.iter().map(|weight| weight.abs()).filter(|&magnitude| magnitude > 0.0);
    let (smallest, largest) = (magnitudes().fold(f64::INFINITY, f64::min), magnitudes().fold(0.0, f64::max));
    if smallest <= TOLERANCE * largest {
        return format!(
            "in output channel {channel} there is a weight of {smallest:.3e} beside one of {largest:.3e}, which no grid of \
             8 bits holds"
        );
    }
    format!("those of output channel {channel} lie on no grid of at most 8 bits")
}

/// Weights of an output channel: `integer · step`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelGrid {
    /// Positive.
    pub step: f64,
    /// At most 255 in magnitude.
    pub integers: Vec<i32>,
}

/// The coarsest grid through 0 that holds all weights of a channel.
pub fn channel_grid(weights: &[f64]) -> Option<ChannelGrid> {
    let largest = weights.iter().map(|weight| weight.abs()).fold(0.0, f64::max);
    if weights.iter().any(|weight| !weight.is_finite()) {
        return None;
    }
    if largest == 0.0 {
        return Some(ChannelGrid { step: 1.0, integers: vec![0; weights.len()] });
    }
    let mut magnitudes: Vec<f64> = weights.iter().map(|weight| weight.abs()).collect();
    magnitudes.sort_by(f64::total_cmp);
    magnitudes.dedup();
    let off = |weight: f64, step: f64| match (weight / step).round() {
        0.0 if weight != 0.0 => f64::INFINITY,
        integer => (weight - integer * step).abs(),
    };
    (1..=MAX_INTEGER).find_map(|integer| {
        let step = largest / f64::from(integer);
        // The step inherits the largest weight's own rounding: twice the tolerance until it is fitted.
        if magnitudes.iter().any(|&weight| off(weight, step) > 2.0 * TOLERANCE * largest) {
            return None;
        }
        let step = fitted(&magnitudes, step);
        let on_grid = magnitudes.iter().all(|&weight| off(weight, step) <= TOLERANCE * largest);
        on_grid.then(|| ChannelGrid {
            step,
            integers: weights.iter().map(|weight| (weight / step).round() as i32).collect(),
        })
    })
}

/// The step with the smallest sum of squares for the integers that another one gives.
fn fitted(magnitudes: &[f64], step: f64) -> f64 {
    let (mut products, mut squares) = (0.0, 0.0);
    for &weight in magnitudes {
        let integer = (weight / step).round();
        products += weight * integer;
        squares += integer * integer;
    }
    products / squares
}

/// Codes of all channels in one format of as few bits as possible.
fn join(grids: &[ChannelGrid]) -> Option<QuantizedConstant> {
    let candidates = [without_zero(grids), with_signs(grids)];
    let narrow = candidates.into_iter().flatten().min_by_key(|c| bits_for(c.high - c.low));
    narrow.or_else(|| with_zero_points(grids))
}

/// Odd integers alone, as binary weights are: codes from 0 on, the middle of which stands for 0.
fn without_zero(grids: &[ChannelGrid]) -> Option<QuantizedConstant> {
    let mut integers = grids.iter().flat_map(|grid| &grid.integers);
    if integers.clone().any(|integer| integer % 2 == 0) {
        return None;
    }
    let largest = integers.by_ref().map(|integer| integer.unsigned_abs()).max()?;
    let high = (1i64 << bits_for(largest.into())) - 1;
    let codes = grids.iter().flat_map(|grid| &grid.integers).map(|integer| (integer + high as i32) / 2);
    Some(QuantizedConstant {
        codes: codes.collect(),
        low: 0,
        high,
        step: 1,
        scale: grids.iter().map(|grid| 2.0 * grid.step).collect(),
        zero_point: vec![high as f64 / 2.0],
    })
}

/// The integers themselves. A negative gamma turns −8 into +8; a negative step turns it back.
/// Codes −1 and 0 take one bit.
fn with_signs(grids: &[ChannelGrid]) -> Option<QuantizedConstant> {
    let (mut codes, mut scale) = (Vec::new(), Vec::new());
    for grid in grids {
        let (low, high) = extremes(&grid.integers);
        let sign = if high > -low { -1 } else { 1 };
        codes.extend(grid.integers.iter().map(|integer| sign * integer));
        scale.push(f64::from(sign) * grid.step);
    }
    let (low, high) = extremes(&codes);
    let reach = high.max(-1 - low);
    let half = 1i64 << (32 - reach.leading_zeros());
    let (low, high) = (-half, half - 1);
    (half <= 128).then(|| QuantizedConstant { codes, low, high, step: 1, scale, zero_point: vec![0.0] })
}

/// A zero point for each channel, for 8-bit grids that reach further to one side.
fn with_zero_points(grids: &[ChannelGrid]) -> Option<QuantizedConstant> {
    let (mut codes, mut zero_point) = (Vec::new(), Vec::new());
    for grid in grids {
        let (low, high) = extremes(&grid.integers);
        let low = low.min(0);
        if high.max(0) - low > 255 {
            return None;
        }
        codes.extend(grid.integers.iter().map(|integer| integer - low));
        zero_point.push(f64::from(-low));
    }
    let scale = grids.iter().map(|grid| grid.step).collect();
    Some(QuantizedConstant { codes, low: 0, high: 255, step: 1, scale, zero_point })
}

fn extremes(integers: &[i32]) -> (i32, i32) {
    let low = integers.iter().copied().min().unwrap_or(0);
    (low, integers.iter().copied().max().unwrap_or(0))
}

/// Bits of an unsigned number, at least 1.
fn bits_for(number: i64) -> u32 {
    (64 - number.leading_zeros()).max(1)
}

#[cfg(test)]
mod tests;
