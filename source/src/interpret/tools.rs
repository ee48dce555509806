//! Quantizers of tools, from their definitions.

use super::Results;
use super::quantize::Along;
use crate::error::SourceError;
use crate::eval::{Inputs, required};
use crate::ir::{Attribute, Domain, Node, Tensor};

/// What a quantizer of a tool gives; `None` for other operators.
pub(super) fn evaluate(
    node: &Node,
    inputs: &Inputs<'_>,
    double: bool,
) -> Result<Option<Results>, SourceError> {
    let domain = match &node.domain {
        Domain::Onnx => "",
        Domain::Other(domain) => domain,
        _ => return Ok(None),
    };
    Ok(match (domain, node.op_type.as_str()) {
        ("org.openvinotoolkit", "FakeQuantize") => Some(openvino(node, inputs, double)?),
        (_, "LearnablePerTensorAffine" | "FixedPerTensorAffine")
        | (_, "FakeQuantizeLearnablePerchannelAffine" | "FixedPerChannelAffine") => {
            Some(mqbench(node, inputs, double)?)
        }
        _ => None,
    })
}

/// `(clamp(round(x / scale) + zero, low, high) − zero) · scale`.
fn mqbench(node: &Node, inputs: &Inputs<'_>, double: bool) -> Result<Results, SourceError> {
    let input = required(inputs, 0)?;
    let axis = node.int("ch_axis", node.int("axis", 0));
    let scale = Along::axis(required(inputs, 1)?, axis, input.shape())?;
    let none = Tensor::f32(&[], vec![0.0])?;
    let zero = Along::axis(inputs.get(2).copied().flatten().unwrap_or(&none), axis, input.shape())?;
    let bound =
        |position: usize, name: &str| match (inputs.get(position).copied().flatten(), node.attribute(name)) {
            (Some(tensor), _) => tensor.scalar(),
            (None, Some(Attribute::Int(value))) => Some(*value as f64),
            (None, Some(Attribute::Float(value))) => Some(f64::from(*value)),
            (None, _) => None,
        };
    let (Some(low), Some(high)) = (bound(3, "quant_min"), bound(4, "quant_max")) else {
        return Err(SourceError::unsupported("expected a smallest and a largest code"));
    };
    let code = |index: usize| {
        let (x, scale) = (input.get(index), scale.at(index));
        let steps = if double { x / scale } else { f64::from(x as f32 / scale as f32) };
        (steps.round_ties_even() + zero.at(index)).max(low).min(high)
    };
    let codes: Vec<f64> = (0..input.len()).map(code).collect();
    let real = |(index, code): (usize, &f64)| (code - zero.at(index)) * scale.at(index);
    let reals = codes.iter().enumerate().map(real).collect();
    Ok(Results { tensors: vec![Tensor::f64(input.shape(), reals)?], codes: Some(codes) })
}

/// `round((x − low) / (high − low) · (levels − 1))` of `x` between the bounds, and from there to the output's.
fn openvino(node: &Node, inputs: &Inputs<'_>, double: bool) -> Result<Results, SourceError> {
    let input = required(inputs, 0)?;
    let bound = |position: usize| Along::broadcast(required(inputs, position)?, input.shape());
    let (from, to) = ([bound(1)?, bound(2)?], [bound(3)?, bound(4)?]);
    let most = node.int("levels", 0) as f64 - 1.0;
    let code = |index: usize| {
        let (x, low, high) = (input.get(index), from[0].at(index), from[1].at(index));
        let x = x.max(low).min(high);
        let steps = if double {
            (x - low) / (high - low) * most
        } else {
            let (x, low, high) = (x as f32, low as f32, high as f32);
            f64::from((x - low) / (high - low) * most as f32)
        };
        steps.round_ties_even()
    };
    let codes: Vec<f64> = (0..input.len()).map(code).collect();
    let real = |(index, code): (usize, &f64)| {
        let (low, high) = (to[0].at(index), to[1].at(index));
        code / most * (high - low) + low
    };
    let reals = codes.iter().enumerate().map(real).collect();
    Ok(Results { tensors: vec![Tensor::f64(input.shape(), reals)?], codes: Some(codes) })
}
