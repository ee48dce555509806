//! Quantizers, from their definitions and nothing else.

use super::Results;
use crate::error::SourceError;
use crate::eval::{Inputs, required};
use crate::ir::{Domain, ElementType, Node, Tensor};

/// Numbers along an axis of a tensor, or one number.
pub(super) struct Along {
    numbers: Vec<f64>,
    /// Elements of the tensor between two neighbours along the axis.
    inner: usize,
}

impl Along {
    pub(super) fn at(&self, index: usize) -> f64 {
        if self.numbers.len() == 1 {
            return self.numbers[0];
        }
        self.numbers[index / self.inner % self.numbers.len()]
    }

    /// One number for all.
    fn one(number: f64) -> Self {
        Self { numbers: vec![number], inner: 1 }
    }

    /// Of a `QuantizeLinear` or `DequantizeLinear`.
    pub(super) fn axis(tensor: &Tensor, axis: i64, shape: &[usize]) -> Result<Self, SourceError> {
        let numbers = single_precision(tensor);
        if numbers.len() == 1 {
            return Ok(Self { numbers, inner: 1 });
        }
        let at = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok();
        match at {
            Some(at) if tensor.shape().len() == 1 && shape.get(at) == Some(&numbers.len()) => {
                Ok(Self { numbers, inner: shape[at + 1..].iter().product() })
            }
            _ => Err(no_fit(tensor, shape)),
        }
    }

    /// By numpy's rules, with one extent that is not 1 at most.
    pub(super) fn broadcast(tensor: &Tensor, shape: &[usize]) -> Result<Self, SourceError> {
        let numbers = single_precision(tensor);
        let own = tensor.shape();
        if numbers.len() == 1 {
            return Ok(Self { numbers, inner: 1 });
        }
        let fits = |d: &usize| {
            let at = (d + shape.len()).checked_sub(own.len());
            own[*d] == numbers.len() && at.is_some_and(|at| shape[at] == numbers.len())
        };
        match (0..own.len()).find(fits) {
            Some(d) => {
                let at = d + shape.len() - own.len();
                Ok(Self { numbers, inner: shape[at + 1..].iter().product() })
            }
            None => Err(no_fit(tensor, shape)),
        }
    }
}

/// Scales and zero points are 32-bit numbers in every format.
fn single_precision(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64().into_iter().map(|number| f64::from(number as f32)).collect()
}

fn no_fit(tensor: &Tensor, shape: &[usize]) -> SourceError {
    SourceError::unsupported(format!(
        "a scale or zero point of shape {:?} for a tensor of shape {shape:?}",
        tensor.shape()
    ))
}

/// `x / scale + zero`, where constants are quantized in 32 bits and activations in 64.
pub(super) fn on_grid(x: f64, scale: f64, zero: f64, double: bool) -> f64 {
    if double { x / scale + zero } else { f64::from(x as f32 / scale as f32 + zero as f32) }
}

/// What a quantizer node gives; `None` for other operators.
pub(super) fn evaluate(
    node: &Node,
    inputs: &Inputs<'_>,
    from_picture: bool,
) -> Result<Option<Results>, SourceError> {
    let results = match (&node.domain, node.op_type.as_str()) {
        (Domain::Qonnx, "Quant" | "IntQuant") => quant(node, inputs, from_picture)?,
        (Domain::Qonnx, "BipolarQuant") => bipolar(inputs)?,
        (Domain::Qonnx, "Trunc") => super::trunc::evaluate(node, inputs, from_picture)?,
        (Domain::Onnx | Domain::Microsoft, "QuantizeLinear") => {
            quantize_linear(node, inputs, from_picture)?.into()
        }
        (Domain::Onnx | Domain::Microsoft, "DequantizeLinear") => dequantize_linear(node, inputs)?.into(),
        _ => return Ok(None),
    };
    Ok(Some(results))
}

/// `(round(clamp(x / scale + zero, low, high)) − zero) · scale`.
fn quant(node: &Node, inputs: &Inputs<'_>, double: bool) -> Result<Results, SourceError> {
    let input = required(inputs, 0)?;
    let scale = Along::broadcast(required(inputs, 1)?, input.shape())?;
    let zero = Along::broadcast(required(inputs, 2)?, input.shape())?;
    let bits = required(inputs, 3)?.scalar().filter(|bits| (1.0..=32.0).contains(bits));
    let bits = bits.ok_or_else(|| SourceError::unsupported("expected a bit width of 1 to 32"))?;
    let narrow = if node.int("narrow", 0) == 0 { 0.0 } else { 1.0 };
    let (low, high) = if node.int("signed", 1) == 0 {
        (0.0, bits.exp2() - 1.0 - narrow)
    } else {
        (-(bits - 1.0).exp2() + narrow, (bits - 1.0).exp2() - 1.0)
    };
    let round = rounding(node.text("rounding_mode", "ROUND"), double)?;
    let code = |index: usize| {
        round(on_grid(input.get(index), scale.at(index), zero.at(index), double).clamp(low, high))
    };
    let codes: Vec<f64> = (0..input.len()).map(code).collect();
    let real = |(index, code): (usize, &f64)| (code - zero.at(index)) * scale.at(index);
    let reals = codes.iter().enumerate().map(real).collect();
    Ok(Results { tensors: vec![Tensor::f64(input.shape(), reals)?], codes: Some(codes) })
}

/// A `rounding_mode` as QONNX defines it; of 32-bit numbers, where constants are, in 32 bits.
pub(super) fn rounding(name: &str, double: bool) -> Result<impl Fn(f64) -> f64, SourceError> {
    let add = move |x: f64, half: f64| if double { x + half } else { f64::from(x as f32 + half as f32) };
    let name = name.to_ascii_uppercase();
    let known =
        ["ROUND", "HALF_EVEN", "FLOOR", "CEIL", "DOWN", "ROUND_TO_ZERO", "UP", "HALF_UP", "HALF_DOWN"];
    if !known.contains(&name.as_str()) {
        return Err(SourceError::unsupported(format!("rounding mode {name}")));
    }
    Ok(move |x: f64| match name.as_str() {
        "FLOOR" => x.floor(),
        "CEIL" => x.ceil(),
        "DOWN" | "ROUND_TO_ZERO" => x.trunc(),
        "UP" => x.signum() * x.abs().ceil(),
        "HALF_UP" => x.signum() * add(x.abs(), 0.5).floor(),
        "HALF_DOWN" => x.signum() * add(x.abs(), -0.5).ceil(),
        _ => x.round_ties_even(),
    })
}

/// `x ≥ 0 ? +scale : −scale`.
fn bipolar(inputs: &Inputs<'_>) -> Result<Results, SourceError> {
    let input = required(inputs, 0)?;
    let scale = Along::broadcast(required(inputs, 1)?, input.shape())?;
    let code = |index: usize| if input.get(index) >= 0.0 { 1.0 } else { -1.0 };
    let codes: Vec<f64> = (0..input.len()).map(code).collect();
    let reals = codes.iter().enumerate().map(|(index, code)| code * scale.at(index)).collect();
    Ok(Results { tensors: vec![Tensor::f64(input.shape(), reals)?], codes: Some(codes) })
}

fn refuse_blocks(node: &Node) -> Result<(), SourceError> {
    if node.int("block_size", 0) != 0 {
        return Err(SourceError::unsupported("block-wise scales"));
    }
    Ok(())
}

fn quantize_linear(node: &Node, inputs: &Inputs<'_>, double: bool) -> Result<Tensor, SourceError> {
    refuse_blocks(node)?;
    let input = required(inputs, 0)?;
    let declared = i32::try_from(node.int("output_dtype", 0)).ok().and_then(crate::onnx::element_type);
    let zero = inputs.get(2).copied().flatten();
    let element = zero.map(Tensor::element).or(declared).unwrap_or(ElementType::Unsigned(8));
    let axis = node.int("axis", 1);
    let scale = Along::axis(required(inputs, 1)?, axis, input.shape())?;
    let zero = match zero {
        Some(zero) => Along::axis(zero, axis, input.shape())?,
        None => Along::one(0.0),
    };
    saturated(input, &scale, &zero, element, double)
}

/// `saturate(round(x / scale) + zero)`, to the range of an integer type.
pub(super) fn saturated(
    input: &Tensor,
    scale: &Along,
    zero: &Along,
    element: ElementType,
    double: bool,
) -> Result<Tensor, SourceError> {
    let code = |index: usize| {
        let steps = on_grid(input.get(index), scale.at(index), 0.0, double).round_ties_even();
        (steps + zero.at(index)) as i64
    };
    Tensor::integers(input.shape(), element, (0..input.len()).map(code))
}

fn dequantize_linear(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let zero = inputs.get(2).copied().flatten();
    if node.int("block_size", 0) != 0 {
        return dequantized_blocks(node, required(inputs, 0)?, required(inputs, 1)?, zero);
    }
    dequantized(required(inputs, 0)?, required(inputs, 1)?, zero, node.int("axis", 1))
}

/// `(code − zero) · scale`, with one scale for so many neighbours along an axis.
fn dequantized_blocks(
    node: &Node,
    codes: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
) -> Result<Tensor, SourceError> {
    let shape = codes.shape();
    let axis = node.int("axis", 1);
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).unwrap_or(usize::MAX);
    let size = usize::try_from(node.int("block_size", 0)).unwrap_or(0);
    let (Some(&extent), 1..) = (shape.get(axis), size) else {
        return Err(SourceError::malformed("blocks along no axis, or of no size"));
    };
    let blocks = extent.div_ceil(size);
    let mut expected = shape.to_vec();
    expected[axis] = blocks;
    if scale.shape() != expected || zero.is_some_and(|zero| zero.shape() != expected) {
        return Err(SourceError::malformed(format!("block-wise scales that are not of shape {expected:?}")));
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let real = |index: usize| {
        let (outer, along, rest) = (index / inner / extent, index / inner % extent, index % inner);
        let own = (outer * blocks + along / size) * inner + rest;
        (codes.get(index) - zero.map_or(0.0, |zero| zero.get(own))) * f64::from(scale.get(own) as f32)
    };
    Tensor::f64(shape, (0..codes.len()).map(real).collect())
}

/// `(code − zero) · scale`, with scales and zero points along an axis.
pub(super) fn dequantized(
    codes: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
    axis: i64,
) -> Result<Tensor, SourceError> {
    let scale = Along::axis(scale, axis, codes.shape())?;
    let zero = match zero {
        Some(zero) => Along::axis(zero, axis, codes.shape())?,
        None => Along::one(0.0),
    };
    let real = |index: usize| (codes.get(index) - zero.at(index)) * scale.at(index);
    Tensor::f64(codes.shape(), (0..codes.len()).map(real).collect())
}
