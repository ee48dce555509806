//! Convolutions: geometry, weights, and that no accumulator leaves an i32.

use super::NodeProblem;
use super::graph::{Levels, input, input_count, input_shape, output, output_shape, window_positions};
use super::requantize;
use crate::limits::{MAX_CODE, MAX_DEPTH, MAX_TERMS};
use crate::model::{Conv, Model, Value, Weights};
use crate::weights::to_usize;

pub(super) fn validate(model: &Model, conv: &Conv, written: &Value) -> Result<(), NodeProblem> {
    input_count(conv.terms.len(), 1, MAX_TERMS)?;
    let mut inputs = Vec::with_capacity(conv.terms.len());
    for term in &conv.terms {
        inputs.push(input(model, term.input)?);
    }
    geometry(conv, &inputs, written)?;

    let mut bounds = Vec::with_capacity(conv.terms.len());
    for (index, (term, input)) in conv.terms.iter().zip(&inputs).enumerate() {
        weights(index, &term.weights)?;
        bounds.push(accumulator_bounds(index, &term.weights, input)?);
    }
    match &conv.requantize {
        None if written.encoding().is_some() => Err(NodeProblem::OutputIsLevels),
        None if conv.terms.len() != 1 => Err(NodeProblem::SeveralAccumulators { terms: conv.terms.len() }),
        None => Ok(()),
        Some(sum) if written.encoding().is_none() && conv.terms.len() > 1 => {
            requantize::accumulators(sum, &bounds, to_usize(written.channels))
        }
        Some(requantize) => {
            let channels = to_usize(written.channels);
            requantize::validate(requantize, &bounds, channels, output(written)?.encoding)
        }
    }
}

/// Groups, the shapes of inputs, weights and output.
fn geometry(conv: &Conv, inputs: &[Levels<'_>], written: &Value) -> Result<(), NodeProblem> {
    let groups = conv.groups;
    for (index, (term, input)) in conv.terms.iter().zip(inputs).enumerate() {
        let channels = input.value.channels;
        for channels in [written.channels, channels] {
            if groups == 0 || !channels.is_multiple_of(groups) {
                return Err(NodeProblem::Groups { groups, channels });
            }
        }
        let [rows, columns] = conv.window.kernel;
        let expected = [written.channels, channels / groups, rows, columns];
        let actual = term.weights.shape;
        if actual != expected {
            return Err(NodeProblem::WeightShape { term: index, expected, actual });
        }
        if let Some(first) = inputs.first() {
            let [_, height, width] = first.value.shape();
            input_shape(index, [channels, height, width], input.value)?;
        }
        let [rows, columns] = window_positions(&conv.window, input.value)?;
        output_shape([u64::from(written.channels), rows, columns], written)?;
    }
    Ok(())
}

/// Weights by themselves; their shape has been checked to be the convolution's.
fn weights(term: usize, weights: &Weights) -> Result<(), NodeProblem> {
    let &Weights { shape: [channels, inputs, rows, columns], bits, .. } = weights;
    if !(1..=8).contains(&bits) {
        return Err(NodeProblem::WeightBits { term, bits });
    }
    // At most 2^16 · 2^6 · 2^6, and times 2^16 output channels.
    let depth = u64::from(inputs) * u64::from(rows) * u64::from(columns);
    if depth > MAX_DEPTH {
        return Err(NodeProblem::Depth { term, depth, limit: MAX_DEPTH });
    }
    let len = u64::from(channels) * depth;
    let expected = len.div_ceil(8) * u64::from(bits);
    if u64::try_from(weights.planes.len()) != Ok(expected) {
        return Err(NodeProblem::PlanesLen { term, len: weights.planes.len(), expected });
    }
    if !len.is_multiple_of(8) {
        let planes = weights.planes.chunks_exact(weights.plane_len());
        for (bytes, plane) in planes.zip(0u8..) {
            if bytes.last().is_some_and(|last| last >> (len % 8) != 0) {
                return Err(NodeProblem::PlaneTail { term, plane });
            }
        }
    }
    let zero_points = &weights.zero_points;
    if !zero_points.is_empty() && zero_points.len() != to_usize(channels) {
        return Err(NodeProblem::ZeroPointsLen { term, len: zero_points.len(), channels });
    }
    match zero_points.iter().find(|zero_point| !(-MAX_CODE..=MAX_CODE).contains(zero_point)) {
        None => Ok(()),
        Some(&zero_point) => Err(NodeProblem::WeightZeroPoint { term, zero_point }),
    }
}

/// `Σ |weight| · max |integer|` by output channel, an i32 each.
fn accumulator_bounds(term: usize, weights: &Weights, input: &Levels<'_>) -> Result<Vec<i64>, NodeProblem> {
    let integer = input.encoding.max_magnitude();
    // At most MAX_DEPTH · 510 · 1020.
    let bounds: Vec<i64> = weights.channel_sums().iter().map(|channel| channel.magnitude * integer).collect();
    match bounds.iter().enumerate().find(|(_, bound)| **bound > i64::from(i32::MAX)) {
        None => Ok(bounds),
        Some((channel, &magnitude)) => Err(NodeProblem::AccumulatorRange { term, channel, magnitude }),
    }
}
