//! Rewrites every format's activation quantizers as `FakeQuant` nodes of our own.
//!
//! ```text
//! Quant, BipolarQuant                                  ─►  FakeQuant
//! MQBench's LearnablePerTensorAffine, ...              ─►  FakeQuant
//! QuantizeLinear [─ Clip on codes] ─ DequantizeLinear  ─►  FakeQuant
//! ```
//!
//! A `Cast` of codes to an integer type that holds all of them, as torch writes behind quantized modules,
//! changes nothing and is passed over.
//!
//! The bytes of a picture are codes that no quantizer made: a `DequantizeLinear` of them stays, as arithmetic.
//!
//! Quantizers that are written out as arithmetic (`Div`, `Clip`, `Round`, `Mul`) stay as they are:
//! wherever a function of an accumulator becomes an integer, lowering cuts it all the same.

use std::collections::HashMap;
use std::sync::Arc;

use ylb_source::eval;
use ylb_source::ir::{Domain, ElementType, Graph, Node, Tensor, TensorId};
use ylb_source::quantizer::{PerAxis, Quantizer};

use crate::error::ConvertError;

/// The converter's operator that quantizes: its node says how.
pub const FAKE_QUANT: &str = "FakeQuant";

/// What the pass found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `Quant` and `BipolarQuant` nodes over activations.
    pub qonnx: usize,
    /// `QuantizeLinear` / `DequantizeLinear` pairs over activations.
    pub linear: usize,
    /// Those of them with a `Clip` between.
    pub clipped: usize,
}

/// Runs the pass.
///
/// # Errors
/// If a quantizer has parameters that are not constant, or codes that no quantizer made.
pub fn run(graph: &mut Graph) -> Result<Found, ConvertError> {
    let producers = graph.producers();
    let mut found = Found::default();
    // Codes that several DequantizeLinear nodes read become values only once.
    let mut first_reader: HashMap<TensorId, TensorId> = HashMap::new();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let is_constant = |id: TensorId| graph.constant(id).is_some();
        if node.outputs.first().is_none_or(|&id| is_constant(id)) {
            continue;
        }
        if let Some(rewritten) = qonnx(graph, node)? {
            graph.nodes[index] = rewritten;
            found.qonnx += 1;
        } else if node.is_linear_quantizer("DequantizeLinear") && !reads_bytes(graph, &producers, node) {
            let codes = node.required_input(0)?;
            let (rewritten, clipped) = linear(graph, &producers, node)?;
            found.linear += 1;
            found.clipped += usize::from(clipped);
            let output = node.output()?;
            graph.nodes[index] = match first_reader.get(&codes) {
                Some(&first) => identity(node, first),
                None => rewritten,
            };
            first_reader.entry(codes).or_insert(output);
        }
    }
    Ok(found)
}

/// Whether the codes are the bytes of the graph's input, moved at most.
fn reads_bytes(graph: &Graph, producers: &[Option<usize>], node: &Node) -> bool {
    let mut source = node.input(0);
    loop {
        match source.map(|id| (id, producers[id.0].map(|index| &graph.nodes[index]))) {
            Some((id, None)) => return graph.input_types.get(&id) == Some(&ElementType::Unsigned(8)),
            Some((_, Some(node))) if ["Identity", "Slice", "Concat"].iter().any(|op| node.is(op)) => {
                source = node.input(0);
            }
            _ => return false,
        }
    }
}

fn identity(node: &Node, source: TensorId) -> Node {
    node.rewritten(Domain::Onnx, "Identity", &[source])
}

/// The node that quantizes in the place of another one.
pub(super) fn fake_quant(node: &Node, input: TensorId, quantizer: Quantizer) -> Node {
    Node { quantizer: Some(Arc::new(quantizer)), ..node.rewritten(Domain::Converter, FAKE_QUANT, &[input]) }
}

fn rank(graph: &Graph, id: TensorId) -> usize {
    graph.tensor(id).shape.as_ref().map_or(4, Vec::len)
}

/// The node's inputs behind the first, which must be known.
fn parameters<'g>(graph: &'g Graph, node: &Node) -> Result<Vec<Option<&'g Tensor>>, ConvertError> {
    let mut parameters = vec![None];
    for position in 1..node.inputs.len() {
        parameters.push(match node.input(position) {
            None => None,
            Some(id) => Some(graph.constant(id).map(Arc::as_ref).ok_or_else(|| {
                node.blame(ConvertError::unsupported(
                    "scale, zero point and width must be constants; this one depends on the picture",
                ))
            })?),
        });
    }
    Ok(parameters)
}

fn qonnx(graph: &Graph, node: &Node) -> Result<Option<Node>, ConvertError> {
    let of_tool = node.op_type.ends_with("Affine") && node.quantizer.is_none();
    if node.domain != Domain::Qonnx && !of_tool {
        return Ok(None);
    }
    let input = node.required_input(0)?;
    let parameters = parameters(graph, node)?;
    let quantizer =
        eval::quantizer_of(node, &parameters, rank(graph, input)).map_err(|error| node.blame(error))?;
    let Some(mut quantizer) = quantizer else {
        if of_tool {
            return Ok(None);
        }
        return Err(node.blame(ConvertError::unsupported(
            "an operator of QONNX that no YOLOv5 has; expected Quant, IntQuant, BipolarQuant or Trunc",
        )));
    };
    quantizer.codes_name = graph.tensor(node.output()?).name.clone();
    Ok(Some(fake_quant(node, input, quantizer)))
}

/// The `FakeQuant` for a `DequantizeLinear`, and whether a `Clip` narrows its codes.
fn linear(
    graph: &Graph,
    producers: &[Option<usize>],
    dequantize: &Node,
) -> Result<(Node, bool), ConvertError> {
    let codes = dequantize.required_input(0)?;
    let (mut low, mut high, mut clipped) = (i64::MIN, i64::MAX, false);
    let mut source = codes;
    let mut holds = (i64::MIN, i64::MAX);
    let quantize = loop {
        let producer = producers[source.0].map(|index| &graph.nodes[index]);
        match producer {
            Some(node) if node.is_linear_quantizer("QuantizeLinear") => break node,
            Some(node) if node.is("Identity") => source = node.required_input(0)?,
            Some(node) if node.is("Cast") => {
                let (first, last) = cast_range(node)?;
                holds = (holds.0.max(first), holds.1.min(last));
                source = node.required_input(0)?;
            }
            Some(node) if node.is("Clip") => {
                let bounds = eval::known_clip(node, &parameters(graph, node)?);
                if let Some((first, last)) = bounds.map_err(|error| node.blame(error))? {
                    (low, high) = (low.max(first as i64), high.min(last as i64));
                    clipped = true;
                }
                source = node.required_input(0)?;
            }
            _ => {
                let maker = producer.map_or_else(|| "the graph's input".into(), Node::written_for);
                return Err(dequantize.blame(ConvertError::unsupported(format!(
                    "its codes come from {maker}; expected QuantizeLinear, with a Clip at most between"
                ))));
            }
        }
    };
    let input = quantize.required_input(0)?;
    let rank = rank(graph, input);
    let mut quantizer = eval::quantizer_of(quantize, &parameters(graph, quantize)?, rank)
        .map_err(|error| quantize.blame(error))?
        .ok_or_else(|| quantize.blame(ConvertError::unsupported("expected a quantizer")))?;
    quantizer.low = quantizer.low.max(low);
    quantizer.high = quantizer.high.min(high);
    quantizer.codes_name = graph.tensor(codes).name.clone();
    if quantizer.low < holds.0 || quantizer.high > holds.1 {
        return Err(dequantize.blame(ConvertError::unsupported(format!(
            "codes from {} to {} are cast to a type of {} to {}; expected one that holds them all",
            quantizer.low, quantizer.high, holds.0, holds.1
        ))));
    }
    quantizer.validate().map_err(|error| quantize.blame(error))?;
    check_same_parameters(graph, dequantize, &quantizer, rank).map_err(|error| dequantize.blame(error))?;
    Ok((fake_quant(dequantize, input, quantizer), clipped))
}

/// The integers that a `Cast` of codes can give.
fn cast_range(node: &Node) -> Result<(i64, i64), ConvertError> {
    let range = eval::cast_target(node)?.integer_range();
    range.ok_or_else(|| {
        node.blame(ConvertError::unsupported("codes cast to floats; expected DequantizeLinear to read them"))
    })
}

/// Codes must be read with the scale and zero point they were written with.
fn check_same_parameters(
    graph: &Graph,
    node: &Node,
    quantizer: &Quantizer,
    rank: usize,
) -> Result<(), ConvertError> {
    let axis = node.int("axis", 1);
    let parameters = parameters(graph, node)?;
    let read = |position: usize, default: f32| match parameters.get(position).copied().flatten() {
        Some(tensor) => PerAxis::along(tensor, axis, rank),
        None => Ok(PerAxis::uniform(default)),
    };
    let (scale, zero_point) = (read(1, f32::NAN)?, read(2, 0.0)?);
    if scale.values != quantizer.scale.values || zero_point.values != quantizer.zero_point.values {
        return Err(ConvertError::unsupported(
            "scale or zero point differ from those of its QuantizeLinear; expected the same",
        ));
    }
    Ok(())
}
