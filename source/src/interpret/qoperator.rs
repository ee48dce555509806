//! The QOperator format: an operator on codes is the operator on the numbers that they stand for,
//! quantized. (ONNX Runtime computes the same with 32-bit multipliers.)

use super::quantize::{Along, dequantized, saturated};
use crate::error::SourceError;
use crate::eval::{Inputs, required};
use crate::ir::{Domain, Node, Tensor};

/// The result of a QOperator; `None` for other operators.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>, opset: i64) -> Result<Option<Tensor>, SourceError> {
    if node.is("ConvInteger") {
        return integer_convolution(node, inputs, opset).map(Some);
    }
    let (operator, reals, output) = match (&node.domain, node.op_type.as_str()) {
        (Domain::Onnx | Domain::Microsoft, "QLinearConv") => ("Conv", conv_operands(inputs)?, 6),
        (Domain::Microsoft, "QLinearAdd") => ("Add", vec![real(inputs, 0)?, real(inputs, 3)?], 6),
        (Domain::Microsoft, "QLinearMul") => ("Mul", vec![real(inputs, 0)?, real(inputs, 3)?], 6),
        (Domain::Microsoft, "QLinearSigmoid") => ("Sigmoid", vec![real(inputs, 0)?], 3),
        (Domain::Microsoft, "QLinearLeakyRelu") => ("LeakyRelu", vec![real(inputs, 0)?], 3),
        (Domain::Microsoft, "QLinearConcat") => {
            let parts = (2..inputs.len()).step_by(3).map(|position| real(inputs, position));
            ("Concat", parts.collect::<Result<_, _>>()?, 0)
        }
        _ => return Ok(None),
    };
    let inner = Node { domain: Domain::Onnx, op_type: operator.into(), ..node.clone() };
    let reals: Vec<Option<&Tensor>> = reals.iter().map(Some).collect();
    let results = super::evaluate(&inner, &reals, true, opset)?.tensors;
    let result = results.first().ok_or_else(|| SourceError::malformed("expected an output"))?;
    let (scale, zero) = (required(inputs, output)?, required(inputs, output + 1)?);
    let element = zero.element();
    let [scale, zero] = [scale, zero].map(|numbers| Along::axis(numbers, 1, result.shape()));
    saturated(result, &scale?, &zero?, element, true).map(Some)
}

/// A convolution of codes, each less its zero point; its sums are integers.
fn integer_convolution(node: &Node, inputs: &Inputs<'_>, opset: i64) -> Result<Tensor, SourceError> {
    let one = Tensor::f32(&[], vec![1.0])?;
    let operand = |position: usize, axis: i64| {
        let zero = inputs.get(position + 2).copied().flatten();
        dequantized(required(inputs, position)?, &one, zero, axis)
    };
    let (x, w) = (operand(0, 1)?, operand(1, 0)?);
    let inner = Node { op_type: "Conv".into(), ..node.clone() };
    let results = super::evaluate(&inner, &[Some(&x), Some(&w)], true, opset)?.tensors;
    results.into_iter().next().ok_or_else(|| SourceError::malformed("expected an output"))
}

/// What the codes at a position stand for; scale and zero point follow them.
fn real(inputs: &Inputs<'_>, position: usize) -> Result<Tensor, SourceError> {
    let zero = inputs.get(position + 2).copied().flatten();
    dequantized(required(inputs, position)?, required(inputs, position + 1)?, zero, 1)
}

/// Input, weights with a scale for each output channel, and the bias, whose scale is the product of
/// both.
fn conv_operands(inputs: &Inputs<'_>) -> Result<Vec<Tensor>, SourceError> {
    let (weights, scales) = (required(inputs, 3)?, required(inputs, 4)?);
    let mut reals = vec![real(inputs, 0)?, dequantized(weights, scales, Some(required(inputs, 5)?), 0)?];
    if let Some(bias) = inputs.get(8).copied().flatten() {
        let input_scale = required(inputs, 1)?.scalar();
        let input_scale = input_scale.ok_or_else(|| SourceError::unsupported("expected one input scale"))?;
        let scale = |channel: usize| scales.get(if scales.len() == 1 { 0 } else { channel });
        if scales.len() != 1 && scales.len() != bias.len() {
            return Err(SourceError::malformed("weight scales and bias of different length"));
        }
        let numbers = (0..bias.len()).map(|c| bias.get(c) * (input_scale * scale(c)));
        reals.push(Tensor::f64(bias.shape(), numbers.collect())?);
    }
    Ok(reals)
}
