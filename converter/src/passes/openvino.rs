//! Writes OpenVINO's `FakeQuantize` of feature maps as a quantizer, or the arithmetic that it stands for.
//!
//! ```text
//! FakeQuantize(x)  ─►  FakeQuant, where the bounds are those of a 32-bit scale and an integer zero point
//! FakeQuantize(x)  ─►  Max(low) ─ Min(high) ─ Sub(low) ─ Div(high − low) ─ Mul(levels − 1) ─ Round
//!                      ─ Div(levels − 1) ─ Mul(high − low) ─ Add(low), with the bounds of the output
//! ```
//!
//! NNCF computes bounds from a scale and a zero point, and 32 bits round them. Elsewhere the step is a quotient of 32-bit bounds, no 32-bit number as a quantizer's scale is; written so, it is not rounded.

use std::sync::Arc;

use ylb_source::eval;
use ylb_source::ir::{Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::{PerAxis, Quantizer};

use super::quantizers::fake_quant;
use super::spelled::in_place_of;
use crate::error::ConvertError;

/// Runs the pass, behind `constants`. Returns how many nodes were rewritten.
///
/// # Errors
/// If bounds are not constant, or none that a quantizer can have.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut rewritten = 0;
    for node in std::mem::take(&mut graph.nodes) {
        let constant = node.outputs.first().is_none_or(|&id| graph.constant(id).is_some());
        let found = if constant { None } else { found(graph, &node).map_err(|error| node.blame(error))? };
        rewritten += usize::from(found.is_some());
        match found {
            Some(Found::Quantizer(quantizer)) => {
                let input = node.required_input(0)?;
                graph.nodes.push(fake_quant(&node, input, quantizer));
            }
            Some(Found::Bounds(found)) => rewrite(graph, &node, &found)?,
            None => graph.nodes.push(node),
        }
    }
    Ok(rewritten)
}

/// What a node is.
enum Found {
    Quantizer(Quantizer),
    Bounds(eval::FakeQuantize),
}

fn found(graph: &Graph, node: &Node) -> Result<Option<Found>, ConvertError> {
    if !matches!(node.domain, Domain::Other(_)) || node.op_type != "FakeQuantize" {
        return Ok(None);
    }
    let known = |position: usize| graph.constant_input(node, position).map(AsRef::as_ref);
    let inputs: Vec<Option<&Tensor>> = (0..node.inputs.len()).map(known).collect();
    if inputs.iter().skip(1).any(Option::is_none) {
        return Err(ConvertError::unsupported("bounds must be constants; these depend on the picture"));
    }
    let rank = node.input(0).and_then(|id| graph.tensor(id).shape.as_ref()).map_or(4, Vec::len);
    if let Some(mut quantizer) = eval::quantizer_of(node, &inputs, rank)? {
        quantizer.codes_name = graph.tensor(node.output()?).name.clone();
        return Ok(Some(Found::Quantizer(quantizer)));
    }
    Ok(eval::fake_quantize(node, &inputs, rank)?.map(Found::Bounds))
}

fn rewrite(graph: &mut Graph, node: &Node, found: &eval::FakeQuantize) -> Result<(), ConvertError> {
    let most = PerAxis::uniform((found.levels - 1) as f32);
    let number = |bound: &PerAxis| bound.values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let range = |[low, high]: &[PerAxis; 2]| {
        let (low, high) = (number(low), number(high));
        let own = |bound: &[f64], index: usize| bound[if bound.len() == 1 { 0 } else { index }];
        (0..low.len().max(high.len())).map(|c| own(&high, c) - own(&low, c)).collect::<Vec<f64>>()
    };
    let bounds = found.input.iter().chain(&found.output);
    if let Some(other) = bounds.into_iter().find(|bound| bound.values.len() > 1 && bound.axis != 1) {
        return Err(node.blame(ConvertError::unsupported(format!(
            "bounds along axis {}; expected one for all, or one for each channel",
            other.axis
        ))));
    }
    let mut x = node.required_input(0)?;
    let steps: [(&str, Vec<f64>); 5] = [
        ("Max", number(&found.input[0])),
        ("Min", number(&found.input[1])),
        ("Sub", number(&found.input[0])),
        ("Div", range(&found.input)),
        ("Mul", number(&most)),
    ];
    for (op_type, numbers) in steps {
        x = with(graph, node, op_type, x, &numbers)?;
    }
    let round = in_place_of(graph, node, Domain::Onnx, "Round", &[x]);
    x = round.output()?;
    // The codes are known by the name of the tensor that stands for them in the source.
    graph.tensors[x.0].name = graph.tensor(node.output()?).name.clone();
    graph.nodes.push(round);
    for (op_type, numbers) in
        [("Div", number(&most)), ("Mul", range(&found.output)), ("Add", number(&found.output[0]))]
    {
        x = with(graph, node, op_type, x, &numbers)?;
    }
    if let Some(last) = graph.nodes.last_mut() {
        last.outputs.clone_from(&node.outputs);
    }
    Ok(())
}

/// Appends an operator of a tensor and numbers: one, or one a channel.
fn with(
    graph: &mut Graph,
    node: &Node,
    op_type: &str,
    x: TensorId,
    numbers: &[f64],
) -> Result<TensorId, ConvertError> {
    let shape = if numbers.len() == 1 { vec![] } else { vec![numbers.len(), 1, 1] };
    let constant = Some(Arc::new(Tensor::f64(&shape, numbers.to_vec())?));
    let constant = graph.add_tensor(TensorInfo { shape: Some(shape), constant, ..TensorInfo::default() });
    let made = in_place_of(graph, node, Domain::Onnx, op_type, &[x, constant]);
    let output = made.output()?;
    graph.nodes.push(made);
    Ok(output)
}
