//! QONNX `Trunc`, from its definition and nothing else.

use super::Results;
use super::quantize::{Along, on_grid, rounding};
use crate::error::SourceError;
use crate::eval::{Inputs, required};
use crate::ir::{Node, Tensor};

/// Version 1, five inputs: with `k` the difference of the widths,
/// `(round(halfeven(x / scale + zero) / 2^k) − zero) · scale`.
///
/// Version 2, six inputs: with `2^k` the ratio of the scales,
/// `(round(clamp(halfeven(x / scale + zero) / 2^k, low, high)) − zero / 2^k) · output_scale`.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>, double: bool) -> Result<Results, SourceError> {
    let input = required(inputs, 0)?;
    let scale = Along::broadcast(required(inputs, 1)?, input.shape())?;
    let zero = Along::broadcast(required(inputs, 2)?, input.shape())?;
    let round = rounding(node.text("rounding_mode", "FLOOR"), double)?;
    let width = |position: usize| {
        let bits = required(inputs, position)?.scalar().filter(|bits| (1.0..=32.0).contains(bits));
        bits.ok_or_else(|| SourceError::unsupported("expected a bit width of 1 to 32"))
    };
    let integer =
        |index: usize| on_grid(input.get(index), scale.at(index), zero.at(index), double).round_ties_even();
    let mut codes = Vec::with_capacity(input.len());
    let mut reals = Vec::with_capacity(input.len());
    if inputs.len() < 6 {
        let divisor = (width(3)? - width(4)?).exp2();
        for index in 0..input.len() {
            let code = round(integer(index) / divisor);
            codes.push(code);
            reals.push((code - zero.at(index)) * scale.at(index));
        }
    } else {
        let output_scale = Along::broadcast(required(inputs, 4)?, input.shape())?;
        let bits = width(5)?;
        let narrow = f64::from(u8::from(node.int("narrow", 0) != 0));
        let (low, high) = match node.int("signed", 1) {
            0 => (0.0, bits.exp2() - 1.0 - narrow),
            _ => (narrow - (bits - 1.0).exp2(), (bits - 1.0).exp2() - 1.0),
        };
        for index in 0..input.len() {
            let divisor = (output_scale.at(index) / scale.at(index)).log2().round_ties_even().exp2();
            let code = round((integer(index) / divisor).clamp(low, high));
            codes.push(code);
            reals.push((code - zero.at(index) / divisor) * output_scale.at(index));
        }
    }
    Ok(Results { tensors: vec![Tensor::f64(input.shape(), reals)?], codes: Some(codes) })
}
