//! Batch normalization, and activations that no constant goes through.

use crate::error::SourceError;
use crate::eval::{Inputs, required};
use crate::ir::{Node, Tensor};

/// The result of an operator of this module; `None` for others.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>) -> Result<Option<Tensor>, SourceError> {
    let number = |name: &str, default: f32| f64::from(node.float(name, default));
    let tensor = match node.op_type.as_str() {
        "BatchNormalization" => batch_normalization(node, inputs)?,
        "HardSigmoid" => {
            let (alpha, beta) = (number("alpha", 0.2), number("beta", 0.5));
            map(inputs, |x| hard_sigmoid(x, alpha, beta))?
        }
        "HardSwish" => map(inputs, |x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5))?,
        "PRelu" => parametric_relu(inputs)?,
        "Softplus" => map(inputs, softplus)?,
        "Mish" => map(inputs, |x| x * softplus(x).tanh())?,
        _ => return Ok(None),
    };
    Ok(Some(tensor))
}

fn map(inputs: &Inputs<'_>, function: impl Fn(f64) -> f64) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    Tensor::f64(input.shape(), input.to_f64().into_iter().map(function).collect())
}

/// `x < 0 ? slope · x : x`, with a slope for all or one for each channel.
fn parametric_relu(inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let (input, slopes) = (required(inputs, 0)?, required(inputs, 1)?);
    let shape = input.shape();
    let channels = if shape.len() > 1 { shape[1] } else { 1 };
    let plane: usize = shape.iter().skip(2).product();
    let single = slopes.len() == 1;
    let by_channel = match *slopes.shape() {
        [c, 1, 1] | [1, c, 1, 1] => shape.len() == 4 && c == channels,
        _ => false,
    };
    if !single && !by_channel {
        return Err(SourceError::unsupported(format!(
            "slopes of shape {:?} for an input of shape {shape:?}; expected one, or one for each channel",
            slopes.shape()
        )));
    }
    let slope = |index: usize| slopes.get(if single { 0 } else { index / plane.max(1) % channels });
    let sloped = |(index, x): (usize, f64)| if x < 0.0 { slope(index) * x } else { x };
    Tensor::f64(shape, input.to_f64().into_iter().enumerate().map(sloped).collect())
}

fn hard_sigmoid(x: f64, alpha: f64, beta: f64) -> f64 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

/// `ln(1 + e^x)`, which must not overflow where it is nearly x.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `(x − mean) / sqrt(variance + epsilon) · gamma + beta`.
fn batch_normalization(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let shape = input.shape();
    let &[_, channels, ref plane @ ..] = shape else {
        return Err(SourceError::malformed(format!("an input of shape {shape:?}; expected channels")));
    };
    let mut parameters = Vec::with_capacity(4);
    for position in 1..5 {
        let parameter = required(inputs, position)?;
        if parameter.shape() != [channels] {
            return Err(SourceError::malformed(format!(
                "a parameter of shape {:?} for an input of shape {shape:?}",
                parameter.shape()
            )));
        }
        parameters.push(parameter.to_f64());
    }
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let plane: usize = plane.iter().product();
    let mut data = input.to_f64();
    for (index, plane) in data.chunks_exact_mut(plane.max(1)).enumerate() {
        let channel = index % channels;
        let [gamma, beta, mean, variance] = [0, 1, 2, 3].map(|k| parameters[k][channel]);
        let deviation = (variance + epsilon).sqrt();
        plane.iter_mut().for_each(|x| *x = (*x - mean) / deviation * gamma + beta);
    }
    Tensor::f64(shape, data)
}
