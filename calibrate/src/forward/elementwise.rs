//! What is done with each element, in 32-bit floats.

use std::sync::Arc;

use ylb_source::SourceError;
use ylb_source::ir::{Data, Node, Tensor};

/// The input of a node that changes nothing.
pub fn copied(node: &Node, inputs: &[Option<&Arc<Tensor>>]) -> Option<Arc<Tensor>> {
    let is_copy = ["Identity", "Dropout"].iter().any(|op| node.is(op)) && node.outputs.len() == 1;
    inputs.first().copied().flatten().filter(|_| is_copy).cloned()
}

/// The result of an operator of this module; `None` for others, or for shapes that are not equal.
pub fn evaluate(node: &Node, inputs: &[Option<&Tensor>]) -> Result<Option<Tensor>, SourceError> {
    let Some(first) = inputs.first().copied().flatten() else { return Ok(None) };
    let Data::F32(x) = first.data() else { return Ok(None) };
    let second = inputs.get(1).copied().flatten().filter(|second| second.shape() == first.shape());
    let second = match second.map(Tensor::data) {
        Some(Data::F32(y)) => Some(y),
        _ => None,
    };
    let data = match (node.is("Concat"), node.op_type.as_str(), second) {
        (true, _, _) => return concat(node, inputs),
        _ if node.domain != ylb_source::ir::Domain::Onnx => return Ok(None),
        (_, "Sigmoid", _) => x.iter().map(|&x| sigmoid(x)).collect(),
        (_, "Relu", _) => x.iter().map(|&x| x.max(0.0)).collect(),
        (_, "LeakyRelu", _) => {
            let slope = node.float("alpha", 0.01);
            x.iter().map(|&x| if x < 0.0 { slope * x } else { x }).collect()
        }
        (_, "Mul", Some(y)) => x.iter().zip(y).map(|(x, y)| x * y).collect(),
        (_, "Add", Some(y)) => x.iter().zip(y).map(|(x, y)| x + y).collect(),
        (_, "BatchNormalization", _) => return batch_normalization(node, inputs, x),
        _ => return Ok(None),
    };
    Tensor::f32(first.shape(), data).map(Some)
}

/// Channels one after another.
fn concat(node: &Node, inputs: &[Option<&Tensor>]) -> Result<Option<Tensor>, SourceError> {
    let (mut channels, mut data) = (0, Vec::new());
    let Some(&[1, _, height, width]) = inputs.first().copied().flatten().map(Tensor::shape) else {
        return Ok(None);
    };
    for input in inputs {
        let Some(input) = input else { return Ok(None) };
        let (&[1, own, rows, columns], Data::F32(x)) = (input.shape(), input.data()) else { return Ok(None) };
        if [rows, columns] != [height, width] || !matches!(node.int("axis", 0), 1 | -3) {
            return Ok(None);
        }
        channels += own;
        data.extend_from_slice(x);
    }
    Tensor::f32(&[1, channels, height, width], data).map(Some)
}

/// `x · factor + offset` by channel; both are computed in 64 bits.
fn batch_normalization(
    node: &Node,
    inputs: &[Option<&Tensor>],
    x: &[f32],
) -> Result<Option<Tensor>, SourceError> {
    let (Some(first), epsilon) = (inputs[0], f64::from(node.float("epsilon", 1e-5))) else { return Ok(None) };
    let &[1, channels, height, width] = first.shape() else { return Ok(None) };
    let mut parameters = Vec::with_capacity(4);
    for position in 1..5 {
        match inputs.get(position).copied().flatten() {
            Some(parameter) if parameter.shape() == [channels] => parameters.push(parameter),
            _ => return Ok(None),
        }
    }
    let mut data = Vec::with_capacity(x.len());
    for (channel, plane) in x.chunks_exact((height * width).max(1)).enumerate() {
        let [gamma, beta, mean, variance] = [0, 1, 2, 3].map(|k| parameters[k].get(channel));
        let factor = gamma / (variance + epsilon).sqrt();
        let (factor, offset) = (factor as f32, (beta - mean * factor) as f32);
        data.extend(plane.iter().map(|x| x * factor + offset));
    }
    Tensor::f32(first.shape(), data).map(Some)
}

/// The logistic function, as far as 32-bit floats go.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `e^x`, within 3 units of the last place; beyond ±87 what it is there. One loop of additions and multiplications, which the compiler
/// vectorises: `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`, and a Taylor polynomial of `e^r`.
pub fn exp(x: f32) -> f32 {
    /// Adding and subtracting it rounds to an integer.
    const ROUNDER: f32 = 12_582_912.0;
    /// The upper bits of ln 2, which have room for the product with `n`, and the rest (Cody and Waite).
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 87.0);
    let n = (x * std::f32::consts::LOG2_E + ROUNDER) - ROUNDER;
    let r = (x - n * LN2[0]) - n * LN2[1];
    let mut power = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power * r + factor;
    }
    power * f32::from_bits(((n as i32 + 127) as u32) << 23)
}
