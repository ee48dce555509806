//! Evaluates nodes whose inputs are known: scale arithmetic, shape arithmetic, decodes of heads.
//!
//! 32-bit floats are computed in 32 bits and in the graph's order, so a folded constant equals the
//! one that the exporting framework would compute. 64-bit floats stay 64-bit floats.

use std::sync::Arc;

use crate::error::SourceError;
use crate::ir::{Attribute, Domain, ElementType, Node, Tensor};
use crate::quantizer::QuantizedConstant;

mod arithmetic;
mod budget;
mod depth;
mod movement;
mod pad;
mod quantize;
mod reduce;
mod softmax;
mod tools;

pub use arithmetic::broadcast_shape;
pub use budget::Budget;
pub use movement::moves_elements;
pub use pad::{Padding, padding_of};
pub use quantize::known_clip;
pub use quantize::quantizer_of;
pub use tools::{FakeQuantize, fake_quantize};

/// Inputs of a node, `None` where an optional one is absent.
pub type Inputs<'a> = [Option<&'a Tensor>];

/// Outputs of a node for known inputs; `None` for operators that are not evaluated.
///
/// # Errors
/// If inputs or attributes contradict the operator's definition.
pub fn evaluate(node: &Node, inputs: &Inputs<'_>, opset: i64) -> Result<Option<Vec<Tensor>>, SourceError> {
    evaluate_operator(node, inputs, opset).map_err(|error| node.blame(error))
}

fn evaluate_operator(
    node: &Node,
    inputs: &Inputs<'_>,
    opset: i64,
) -> Result<Option<Vec<Tensor>>, SourceError> {
    if let Some(tensor) = quantize::evaluate(node, inputs)? {
        return Ok(Some(vec![tensor]));
    }
    if node.domain != Domain::Onnx {
        return Ok(None);
    }
    if let Some(outputs) = movement::evaluate(node, inputs, opset)? {
        return Ok(Some(outputs));
    }
    let output = match node.op_type.as_str() {
        "Constant" => Some(constant(node)?),
        "Dropout" => Some(required(inputs, 0)?.clone()),
        "Cast" => Some(cast(node, required(inputs, 0)?)?),
        "ReduceMax" | "ReduceMin" | "ReduceSum" | "ReduceMean" => Some(reduce::evaluate(node, inputs)?),
        "Softmax" => Some(softmax::evaluate(node, inputs, opset)?),
        _ => arithmetic::evaluate(node, inputs)?,
    };
    Ok(output.map(|tensor| vec![tensor]))
}

/// An input that must be present.
pub fn required<'a>(inputs: &Inputs<'a>, position: usize) -> Result<&'a Tensor, SourceError> {
    inputs
        .get(position)
        .copied()
        .flatten()
        .ok_or_else(|| SourceError::malformed(format!("expected an input number {position}")))
}

fn constant(node: &Node) -> Result<Tensor, SourceError> {
    let attribute = ["value", "value_float", "value_int", "value_floats", "value_ints"]
        .into_iter()
        .find_map(|name| node.attribute(name));
    match attribute {
        Some(Attribute::Tensor(tensor)) => Ok(Tensor::clone(tensor)),
        Some(Attribute::Float(value)) => Tensor::f32(&[], vec![*value]),
        Some(Attribute::Floats(values)) => Tensor::f32(&[values.len()], values.clone()),
        Some(Attribute::Int(value)) => Tensor::indices(&[*value]).reshaped(&[]),
        Some(Attribute::Ints(values)) => Ok(Tensor::indices(values)),
        _ => Err(SourceError::unsupported("expected a numeric value attribute")),
    }
}

/// The type that a `Cast` makes.
pub fn cast_target(node: &Node) -> Result<ElementType, SourceError> {
    let to = node.int("to", 0);
    i32::try_from(to)
        .ok()
        .and_then(crate::onnx::element_type)
        .ok_or_else(|| SourceError::unsupported(format!("a cast to ONNX data type {to}")))
}

fn cast(node: &Node, input: &Tensor) -> Result<Tensor, SourceError> {
    let element = cast_target(node)?;
    match element {
        ElementType::F32 => {
            Tensor::f32(input.shape(), input.to_f64().into_iter().map(|x| x as f32).collect())
        }
        ElementType::F64 => Tensor::f64(input.shape(), input.to_f64()),
        ElementType::Bool => {
            let values = input.to_f64().into_iter().map(|x| i64::from(x != 0.0));
            Tensor::integers(input.shape(), element, values)
        }
        _ => Tensor::integers(input.shape(), element, input.to_integers().into_iter()),
    }
}

/// The quantized form of a node's constant output: codes that it makes, or codes of its input under
/// an affine map of its own. `None` where the output lies on no grid that is written in the graph.
///
/// `inputs` are the node's inputs with their quantized forms, `clip` the bounds of the `Clip` in
/// front of it, if there is one.
pub fn quantized_output(
    node: &Node,
    inputs: &[Option<(&Tensor, Option<&QuantizedConstant>)>],
    clip: Option<(f64, f64)>,
    output: &Tensor,
) -> Result<Option<Arc<QuantizedConstant>>, SourceError> {
    quantize::quantized_output(node, inputs, clip, output).map_err(|error| node.blame(error))
}
