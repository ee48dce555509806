//! Fixes the input's size, then walks the graph once: evaluates every node whose inputs are known,
//! and tells the shapes of all others.
//!
//! Constants that quantizers make keep their codes beside their values, so that a weight behind
//! `Quant`, `Clip` and `DequantizeLinear`, or `Div`, `Clip`, `Round` and `Mul`, ends up as integers
//! with a scale whatever the format was.

use std::collections::BTreeSet;
use std::sync::Arc;

use ylb_source::eval::{self, Budget};
use ylb_source::ir::{Domain, Graph, Node, Tensor, TensorId};
use ylb_source::quantizer::QuantizedConstant;

use super::shapes;
use crate::error::{ConvertError, ErrorKind};

/// Runs the pass. Returns how many nodes were folded.
///
/// # Errors
/// If the input is no picture, its size is not known, or a constant cannot be computed.
pub fn run(graph: &mut Graph, image_size: Option<[usize; 2]>) -> Result<usize, ConvertError> {
    fix_input(graph, image_size)?;
    let producers = graph.producers();
    let mut budget = Budget::of(graph);
    let mut folded = 0;
    for index in 0..graph.nodes.len() {
        let node = graph.nodes[index].clone();
        check_finite(graph, &producers, &node).map_err(|error| node.blame(error))?;
        match constant_outputs(graph, &node, &mut budget)? {
            Some(outputs) => {
                folded += 1;
                let quantized = quantized_output(graph, &producers, &node, &outputs)?;
                for (position, (&id, tensor)) in node.outputs.iter().zip(outputs).enumerate() {
                    let info = &mut graph.tensors[id.0];
                    info.shape = Some(tensor.shape().to_vec());
                    info.constant = Some(Arc::new(tensor));
                    info.quantized = if position == 0 { quantized.clone() } else { None };
                }
            }
            None => {
                for (&id, shape) in node.outputs.iter().zip(shapes::infer(graph, &node)) {
                    graph.tensors[id.0].shape = shape;
                }
            }
        }
    }
    Ok(folded)
}

/// Gives the picture input a definite shape.
fn fix_input(graph: &mut Graph, image_size: Option<[usize; 2]>) -> Result<(), ConvertError> {
    let &[input] = graph.inputs.as_slice() else {
        return Err(ConvertError::new(
            ErrorKind::NotADetector,
            format!("the graph has {} inputs; expected one picture", graph.inputs.len()),
        ));
    };
    let info = &graph.tensors[input.0];
    let declared = info.shape.clone().unwrap_or_else(|| vec![0; 4]);
    let &[batch, channels, height, width] = declared.as_slice() else {
        return Err(ConvertError::new(
            ErrorKind::NotADetector,
            format!("input \"{}\" has shape {declared:?}; expected [1, 3, h, w]", info.name),
        ));
    };
    if batch > 1 || (channels != 3 && channels != 0) {
        let advice = if batch > 1 { ": export it with a batch of 1" } else { "" };
        return Err(ConvertError::unsupported(format!(
            "input \"{}\" has shape {declared:?}; expected one RGB picture [1, 3, h, w]{advice}",
            info.name
        )));
    }
    let mut size = [height, width];
    for (d, extent) in size.iter_mut().enumerate() {
        match image_size.map(|wanted| wanted[d]) {
            Some(wanted) if *extent == 0 => *extent = wanted,
            Some(wanted) if wanted != *extent => {
                return Err(ConvertError::unsupported(format!(
                    "the model was exported for pictures of {height}x{width}; an image size of \
                     {wanted} does not fit"
                )));
            }
            _ => {}
        }
    }
    if size.contains(&0) {
        return Err(ConvertError::new(
            ErrorKind::DynamicShape,
            format!("input \"{}\" leaves its size open: give an image size (--imgsz)", info.name),
        ));
    }
    if size.iter().any(|&extent| extent > 1 << 14) {
        let message = format!("pictures of {size:?} pixels");
        return Err(ConvertError::new(ErrorKind::TooLarge, message));
    }
    graph.tensors[input.0].shape = Some(vec![1, 3, size[0], size[1]]);
    Ok(())
}

/// A node's outputs if they do not depend on the picture.
fn constant_outputs(
    graph: &Graph,
    node: &Node,
    budget: &mut Budget,
) -> Result<Option<Vec<Tensor>>, ConvertError> {
    if node.is("Shape") {
        let shape = node.input(0).and_then(|id| graph.tensor(id).shape.as_ref());
        return shape.map(|shape| shape_of(node, shape).map(|t| vec![t])).transpose();
    }
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for id in &node.inputs {
        match id {
            None => inputs.push(None),
            Some(id) => match graph.constant(*id) {
                Some(constant) => inputs.push(Some(constant.as_ref())),
                None => return Ok(None),
            },
        }
    }
    budget.take(node, &inputs).map_err(|error| node.blame(error))?;
    let outputs = eval::evaluate(node, &inputs, graph.opset)?;
    Ok(outputs.filter(|outputs| outputs.len() == node.outputs.len()))
}

/// Refuses constants that are no numbers where a node makes codes of them: rounded, they would be numbers like all
/// others. A layer of zeros gets there where its export divides by the largest weight.
fn check_finite(graph: &Graph, producers: &[Option<usize>], node: &Node) -> Result<(), ConvertError> {
    let makes_codes = match node.op_type.as_str() {
        "Quant" | "IntQuant" | "BipolarQuant" => node.domain == Domain::Qonnx,
        "QuantizeLinear" => node.is_linear_quantizer("QuantizeLinear"),
        "Round" | "Floor" | "Ceil" | "Sign" => node.domain == Domain::Onnx,
        "Cast" => node.domain == Domain::Onnx && eval::cast_target(node).is_ok_and(|to| !to.is_float()),
        _ => false,
    };
    let Some(id) = node.input(0).filter(|_| makes_codes) else { return Ok(()) };
    // Single numbers are scales and widths, which are checked where they are used.
    let Some(tensor) = graph.constant(id).filter(|tensor| tensor.element().is_float() && tensor.len() > 1)
    else {
        return Ok(());
    };
    match (0..tensor.len()).find(|&index| !tensor.get(index).is_finite()) {
        None => Ok(()),
        Some(index) => Err(ConvertError::malformed(format!(
            "the weights \"{}\" are {} where they become codes (element {index}); expected finite numbers",
            weights_name(graph, producers, id),
            tensor.get(index)
        ))),
    }
}

/// Name of the largest initializer that a constant was computed from.
fn weights_name(graph: &Graph, producers: &[Option<usize>], constant: TensorId) -> String {
    let (mut pending, mut seen) = (vec![constant], BTreeSet::from([constant]));
    let mut largest = (0, constant);
    while let Some(id) = pending.pop() {
        match producers[id.0] {
            Some(index) => {
                let inputs = graph.nodes[index].inputs.iter().flatten();
                pending.extend(inputs.filter(|&&input| seen.insert(input)));
            }
            None => {
                let len = graph.constant(id).map_or(0, |tensor| tensor.len());
                largest = largest.max((len, id));
            }
        }
    }
    graph.tensor(largest.1).name.clone()
}

fn shape_of(node: &Node, shape: &[usize]) -> Result<Tensor, ConvertError> {
    let rank = shape.len() as i64;
    let bound = |value: i64| (if value < 0 { value + rank } else { value }).clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)), bound(node.int("end", rank)));
    let extents: Vec<i64> = shape[start..end.max(start)].iter().map(|&e| e as i64).collect();
    Ok(Tensor::indices(&extents))
}

/// The first output's codes, if it lies on a quantization grid.
fn quantized_output(
    graph: &Graph,
    producers: &[Option<usize>],
    node: &Node,
    outputs: &[Tensor],
) -> Result<Option<Arc<QuantizedConstant>>, ConvertError> {
    let Some(output) = outputs.first() else { return Ok(None) };
    let inputs: Vec<_> = node
        .inputs
        .iter()
        .map(|id| {
            let info = graph.tensor((*id)?);
            Some((info.constant.as_deref()?, info.quantized.as_deref()))
        })
        .collect();
    let clip = clip_before(graph, producers, node)?;
    Ok(eval::quantized_output(node, &inputs, clip, output)?)
}

/// Bounds of the `Clip` that a node's first input comes from.
fn clip_before(
    graph: &Graph,
    producers: &[Option<usize>],
    node: &Node,
) -> Result<Option<(f64, f64)>, ConvertError> {
    let producer = |id: TensorId| producers[id.0].map(|index| &graph.nodes[index]);
    let Some(clip) = node.input(0).and_then(producer) else { return Ok(None) };
    let inputs: Vec<Option<&Tensor>> =
        (0..clip.inputs.len()).map(|k| graph.constant_input(clip, k).map(Arc::as_ref)).collect();
    Ok(eval::known_clip(clip, &inputs).map_err(|error| clip.blame(error))?)
}

#[cfg(test)]
mod tests;
