//! Quantizers inside the decode of the boxes, between the heads and the graph's outputs.
//!
//! ```text
//! head ─ Sigmoid ─ FakeQuant ─ Mul ─ FakeQuant ─ ...  ─►  head ─ Sigmoid ─ Mul ─ ...
//! ```
//!
//! A `.ylb` model decodes in floats, so these quantizers have no place in it. Some tools put them there
//! by default, and one scale for box corners in pixels and scores below 1 leaves little of the
//! scores. Dropping them changes the outputs (for the better), therefore only on request.

use std::collections::BTreeSet;

use ylb_source::ir::{Domain, Graph, Node, TensorId};

use crate::error::{ConvertError, ErrorKind};
use crate::heads;
use crate::report::{Warning, WarningKind};

/// Runs the pass, which drops quantizers only if told to. Returns what the user should know.
///
/// # Errors
/// If there are such quantizers and they must not be dropped.
pub fn run(graph: &mut Graph, ignore: bool) -> Result<Option<Warning>, ConvertError> {
    let quantizers = find(graph);
    let Some(&first) = quantizers.first() else { return Ok(None) };
    if !ignore {
        if let Some(output) = feature_map(graph, first) {
            return Err(output);
        }
        return Err(graph.nodes[first].blame(ConvertError::unsupported(format!(
            "quantizes inside the decode of the boxes, the first of {} that do; expected a decode in \
             floats: exclude it from quantization, or drop these quantizers (--ignore-decode-quantizers)",
            quantizers.len()
        ))));
    }
    let names: Vec<&str> = quantizers.iter().map(|&index| graph.nodes[index].name.as_str()).collect();
    let message = format!(
        "dropped inside the decode of the boxes, as asked ({}): {}; boxes and scores are finer than the \
         export's",
        names.len(),
        names.join(", ")
    );
    for index in quantizers {
        let node = &mut graph.nodes[index];
        // Those of constants are folded: nothing runs them any more.
        if node.quantizer.take().is_some() {
            node.domain = Domain::Onnx;
            node.op_type = "Identity".into();
        }
    }
    Ok(Some(Warning::of_model(WarningKind::DecodeQuantizers, message)))
}

/// The refusal of an output that is a feature map behind its quantizer.
fn feature_map(graph: &Graph, quantizer: usize) -> Option<ConvertError> {
    let output = graph.nodes[quantizer].outputs.iter().find(|id| graph.outputs.contains(id))?;
    let info = graph.tensor(*output);
    let shape = info.shape.as_ref().filter(|shape| shape.len() == 4)?;
    let others = graph.outputs.iter().filter(|id| *id != output);
    let others: Vec<&str> = others.map(|&id| graph.tensor(id).name.as_str()).collect();
    let cut = if others.is_empty() { String::new() } else { format!(" (--outputs {})", others.join(",")) };
    Some(graph.nodes[quantizer].blame(ConvertError::new(
        ErrorKind::NotADetector,
        format!(
            "output \"{}\" (shape {shape:?}) is quantized behind an activation function, as feature maps are, and no \
             head: leave it out{cut}; if it is a head, drop its quantizer (--ignore-decode-quantizers)",
            info.name
        ),
    )))
}

/// Nodes between heads and outputs that quantize activations, or constants such as the grid.
fn find(graph: &Graph) -> Vec<usize> {
    let producers = graph.producers();
    let mut found = BTreeSet::new();
    let mut seen: BTreeSet<TensorId> = graph.outputs.iter().copied().collect();
    let mut pending = graph.outputs.clone();
    while let Some(id) = pending.pop() {
        let Some(index) = producers[id.0] else { continue };
        let node = &graph.nodes[index];
        if graph.constant(id).is_some() {
            if is_constant_quantizer(node) {
                found.insert(index);
            }
            continue;
        }
        if heads::is_head(graph, &producers, node) {
            continue;
        }
        if node.quantizer.is_some() {
            found.insert(index);
        }
        pending.extend(node.inputs.iter().flatten().filter(|&&input| seen.insert(input)));
    }
    found.into_iter().collect()
}

/// Whether a folded node put its constant on a quantization grid.
fn is_constant_quantizer(node: &Node) -> bool {
    node.is_linear_quantizer("DequantizeLinear") || node.domain == Domain::Qonnx
}

/// Whether a decode reads constants that were quantized, such as the grid of cells.
pub fn has_quantized_constants(graph: &Graph) -> bool {
    find(graph).into_iter().any(|index| is_constant_quantizer(&graph.nodes[index]))
}
