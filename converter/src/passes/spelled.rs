//! What the passes share that read quantizers spelled as arithmetic.

use std::sync::Arc;

use ylb_source::SourceError;
use ylb_source::eval;
use ylb_source::ir::{Domain, ElementType, Graph, Node, Tensor, TensorId, TensorInfo};

use super::trunc;

/// The tensor that another one is a copy of: behind `Identity`, `Dropout` and casts between floats.
pub fn origin(graph: &Graph, producers: &[Option<usize>], mut id: TensorId) -> TensorId {
    while let Some(source) = producers[id.0].and_then(|index| copied(&graph.nodes[index])) {
        id = source;
    }
    id
}

/// The input of a node that hands it on.
pub fn copied(node: &Node) -> Option<TensorId> {
    let to_float = || eval::cast_target(node).is_ok_and(|to| to.is_float());
    let copies = node.is("Identity") || node.is("Dropout") || (node.is("Cast") && to_float());
    node.input(0).filter(|_| copies)
}

/// Whether a node makes integers of real numbers, nearby ones that are monotone in them and the same for integers.
pub fn rounds(node: &Node) -> bool {
    let own =
        node.domain == Domain::Converter && [trunc::ROUND, trunc::TRUNC].contains(&node.op_type.as_str());
    own || ["Round", "Floor", "Ceil"].iter().any(|op| node.is(op))
}

/// The tensor that integers are copies of: also behind casts to integers that hold all that a quantizer makes.
pub fn integer_origin(graph: &Graph, producers: &[Option<usize>], mut id: TensorId) -> TensorId {
    loop {
        id = origin(graph, producers, id);
        let Some(node) = producers[id.0].map(|index| &graph.nodes[index]).filter(|node| node.is("Cast"))
        else {
            return id;
        };
        match (eval::cast_target(node), node.input(0)) {
            (Ok(ElementType::Signed(32 | 64)), Some(source)) => id = source,
            _ => return id,
        }
    }
}

/// The one number that a constant holds.
pub fn number(graph: &Graph, id: TensorId) -> Option<f64> {
    graph.constant(id)?.scalar().filter(|number| !number.is_nan())
}

/// Of an operator of two operands, one of which is a constant number: the other, the number, and whether the number
/// comes first.
pub fn with_number(graph: &Graph, node: &Node) -> Option<(TensorId, f64, bool)> {
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    match (graph.constant(a).is_some(), graph.constant(b).is_some()) {
        (false, true) => Some((a, number(graph, b)?, false)),
        (true, false) => Some((b, number(graph, a)?, true)),
        _ => None,
    }
}

/// What `Add` or `Sub` adds to a tensor, if it is a number.
pub fn offset(graph: &Graph, node: &Node) -> Option<(TensorId, f64)> {
    match (node.is("Add"), node.is("Sub"), with_number(graph, node)?) {
        (true, _, (source, number, _)) => Some((source, number)),
        (_, true, (source, number, false)) => Some((source, -number)),
        _ => None,
    }
}

/// What a node clamps, and the bounds: `Clip`, `Relu`, `Min` and `Max` with a number.
pub fn clamp(graph: &Graph, node: &Node) -> Option<(TensorId, [f64; 2])> {
    const ALL: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];
    if node.is("Relu") {
        return Some((node.input(0)?, [0.0, ALL[1]]));
    }
    if node.is("Min") || node.is("Max") {
        let (source, number, _) = with_number(graph, node)?;
        return Some((source, if node.is("Min") { [ALL[0], number] } else { [number, ALL[1]] }));
    }
    let known = (1..node.inputs.len()).all(|k| node.input(k).is_none_or(|id| number(graph, id).is_some()));
    if !node.is("Clip") || !known {
        return None;
    }
    let inputs: Vec<Option<&Tensor>> =
        (0..node.inputs.len()).map(|k| graph.constant_input(node, k).map(AsRef::as_ref)).collect();
    let (low, high) = eval::known_clip(node, &inputs).ok()??;
    (low <= high).then_some((node.input(0)?, [low, high]))
}

/// Whether a bound is an integer, or none.
pub fn is_whole(bound: f64) -> bool {
    bound.is_infinite() || bound.fract() == 0.0
}

/// The node that writes a tensor.
pub fn producer<'g>(graph: &'g Graph, producers: &[Option<usize>], id: TensorId) -> Option<&'g Node> {
    producers[id.0].map(|index| &graph.nodes[index])
}

/// A node in the place of another one, with its name, that writes a new tensor of its shape.
pub fn in_place_of(
    graph: &mut Graph,
    node: &Node,
    domain: Domain,
    op_type: &str,
    inputs: &[TensorId],
) -> Node {
    let shape = node.outputs.first().and_then(|&id| graph.tensor(id).shape.clone());
    let output = graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() });
    node.rewritten(domain, op_type, inputs).writing(&[output])
}

/// A constant number in 64 bits.
pub fn add_number(graph: &mut Graph, number: f64) -> Result<TensorId, SourceError> {
    let constant = Some(Arc::new(Tensor::f64(&[], vec![number])?));
    Ok(graph.add_tensor(TensorInfo { shape: Some(Vec::new()), constant, ..TensorInfo::default() }))
}

/// Whether a node compares two tensors.
pub fn compares(node: &Node) -> bool {
    let operators = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"];
    operators.iter().any(|op| node.is(op))
}

/// Whether a node works element by element, whatever its number of operands.
pub fn is_elementwise(node: &Node) -> bool {
    const OPERATORS: [&str; 29] = [
        "Abs",
        "Add",
        "And",
        "Cast",
        "Ceil",
        "Clip",
        "Div",
        "Dropout",
        "Equal",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Log",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Relu",
        "Round",
        "Sign",
        "Sqrt",
        "Sub",
        "Where",
    ];
    node.domain == Domain::Onnx && OPERATORS.contains(&node.op_type.as_str())
}
