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

/// A 32-bit scale and a zero point, if the bounds are those of such a quantizer but for their rounding to 32 bits.
fn grid(low: f64, high: f64, most: f64) -> Option<(f64, f64)> {
    let nearest = ((high - low) / most) as f32;
    let zero = (-low / f64::from(nearest)).round();
    let single = |x: f64| f64::from(x as f32);
    let fits = |scale: f32| {
        single(-zero * f64::from(scale)) == low && single((most - zero) * f64::from(scale)) == high
    };
    let exact = [nearest, nearest.next_up(), nearest.next_down()].into_iter().find(|&scale| fits(scale));
    let off = (low + zero * f64::from(nearest)).abs().max((high - (most - zero) * f64::from(nearest)).abs());
    let near = off <= low.abs().max(high) * f64::from(2f32.powi(-22));
    let scale = exact.or(near.then_some(nearest))?;
    (zero >= 0.0 && zero <= most).then_some((f64::from(scale), zero))
}

/// On a grid with 0, the quantizer of its scale. Else `round((x − low) / (high − low) · (levels − 1))` of `x` between the bounds, and from there to the output's.
fn openvino(node: &Node, inputs: &Inputs<'_>, double: bool) -> Result<Results, SourceError> {
    let input = required(inputs, 0)?;
    let bound = |position: usize| Along::broadcast(required(inputs, position)?, input.shape());
    let (from, to) = ([bound(1)?, bound(2)?], [bound(3)?, bound(4)?]);
    let most = node.int("levels", 0) as f64 - 1.0;
    let same = |index: usize| (0..2).all(|end| from[end].at(index) == to[end].at(index));
    let grid = |index: usize| same(index).then(|| grid(from[0].at(index), from[1].at(index), most)).flatten();
    let grids: Vec<Option<(f64, f64)>> = (0..input.len()).map(grid).collect();
    if let Some(grids) = grids.into_iter().collect::<Option<Vec<_>>>() {
        let code = |(index, &(scale, zero)): (usize, &(f64, f64))| {
            let x = input.get(index);
            let steps = if double { x / scale } else { f64::from(x as f32 / scale as f32) };
            steps.round_ties_even().max(-zero).min(most - zero)
        };
        let codes: Vec<f64> = grids.iter().enumerate().map(code).collect();
        let reals = codes.iter().zip(&grids).map(|(code, (scale, _))| code * scale).collect();
        return Ok(Results { tensors: vec![Tensor::f64(input.shape(), reals)?], codes: Some(codes) });
    }
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
