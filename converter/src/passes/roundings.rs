//! Roundings spelled as arithmetic, as the converter's own operator that rounds by a mode.
//!
//! ```text
//! Sign(x) · Floor(Abs(x) + 0.5)        ─►  Trunc(x), rounding_mode HALF_UP
//! Sign(x) · Floor(Abs(x))              ─►  DOWN
//! Sign(x) · Ceil(Abs(x)), Ceil(Abs(x) − 0.5), Round(Abs(x))  ─►  UP, HALF_DOWN, ROUND
//! Cast(x) to int32 or int64            ─►  DOWN, where x is no integer
//! ```

use ylb_source::eval;
use ylb_source::ir::{Attribute, Domain, ElementType, Graph, Node, TensorId};

use super::spelled::{clamp, integer_origin, is_whole, offset, origin, producer, rounds};
use super::trunc::TRUNC;

/// Runs the pass, behind `constants`. Returns how many roundings were found.
pub fn run(graph: &mut Graph) -> usize {
    let producers = graph.producers();
    let mut whole = vec![false; graph.tensors.len()];
    let mut found = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some(&output) = node.outputs.first() else { continue };
        if graph.constant(output).is_some() {
            continue;
        }
        let rounding = by_magnitude(graph, &producers, node).or_else(|| truncation(&whole, node));
        whole[output.0] = rounding.is_some() || gives_integers(graph, &whole, node);
        let Some((source, mode)) = rounding else { continue };
        graph.nodes[index] = node
            .rewritten(Domain::Converter, TRUNC, &[source])
            .with("rounding_mode", Attribute::Text(mode.into()));
        found += 1;
    }
    found
}

/// The number that a product of its sign and its rounded magnitude rounds, and the mode.
fn by_magnitude(graph: &Graph, producers: &[Option<usize>], node: &Node) -> Option<(TensorId, &'static str)> {
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    if !node.is("Mul") {
        return None;
    }
    let written = |id: TensorId| producer(graph, producers, integer_origin(graph, producers, id));
    let (sign, rounding) = match (written(a)?, written(b)?) {
        (sign, rounding) if sign.is("Sign") => (sign, rounding),
        (rounding, sign) if sign.is("Sign") => (sign, rounding),
        _ => return None,
    };
    let x = origin(graph, producers, sign.input(0)?);
    let inner = producer(graph, producers, origin(graph, producers, rounding.input(0)?))?;
    let (magnitude, added) = match offset(graph, inner) {
        Some((id, number)) => (producer(graph, producers, origin(graph, producers, id))?, number),
        None => (inner, 0.0),
    };
    if !magnitude.is("Abs") || origin(graph, producers, magnitude.input(0)?) != x {
        return None;
    }
    let mode = match (rounding.op_type.as_str(), added) {
        ("Floor", 0.5) => "HALF_UP",
        ("Floor", 0.0) => "DOWN",
        ("Ceil", 0.0) => "UP",
        ("Ceil", -0.5) => "HALF_DOWN",
        ("Round", 0.0) => "ROUND",
        _ => return None,
    };
    (rounding.domain == Domain::Onnx).then_some((x, mode))
}

/// What a cast to an integer cuts off, where it does.
fn truncation(whole: &[bool], node: &Node) -> Option<(TensorId, &'static str)> {
    let id = node.input(0).filter(|id| node.is("Cast") && !whole[id.0])?;
    let wide = matches!(eval::cast_target(node), Ok(ElementType::Signed(32 | 64)));
    wide.then_some((id, "DOWN"))
}

/// Whether a node's output holds integers.
fn gives_integers(graph: &Graph, whole: &[bool], node: &Node) -> bool {
    const KEPT: [&str; 22] = [
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ];
    let integers = |id: &TensorId| match graph.constant(*id) {
        Some(constant) => constant.len() > 64 || constant.to_f64().into_iter().all(is_whole),
        None => whole[id.0],
    };
    let of_type = |id: TensorId| graph.input_types.get(&id).is_some_and(|element| !element.is_float());
    if rounds(node) || node.is("Sign") || node.is_linear_quantizer("QuantizeLinear") {
        return true;
    }
    if node.is("Cast") && eval::cast_target(node).is_ok_and(|to| !to.is_float()) {
        return true;
    }
    // Of a clamp the bounds count, of a movement the first input.
    if clamp(graph, node).is_some_and(|(id, bounds)| whole[id.0] && bounds.into_iter().all(is_whole)) {
        return true;
    }
    if node.domain != Domain::Onnx || !KEPT.contains(&node.op_type.as_str()) {
        return false;
    }
    let arithmetic = ["Add", "Sub", "Mul", "Min", "Max", "Concat"].iter().any(|op| node.is(op));
    let count = if arithmetic { node.inputs.len() } else { 1 };
    let mut inputs = node.inputs.iter().take(count).flatten();
    !node.is("Clip") && inputs.all(|id| integers(id) || of_type(*id))
}
