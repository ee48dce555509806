//! What the passes share that read quantizers spelled as arithmetic.

use ylb_source::eval;
use ylb_source::ir::{Domain, Graph, Node, TensorId};

use super::trunc;

/// The tensor that another one is a copy of: behind `Identity`, `Dropout` and casts between floats.
pub fn origin(graph: &Graph, producers: &[Option<usize>], mut id: TensorId) -> TensorId {
    while let Some(source) = producers[id.0].and_then(|index| copied(&graph.nodes[index])) {
        id = source;
    }
    id
}

/// The input of a node that hands it on.
fn copied(node: &Node) -> Option<TensorId> {
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

/// Whether a node works element by element, whatever its number of operands.
pub fn is_elementwise(node: &Node) -> bool {
    const OPERATORS: [&str; 20] = [
        "Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Dropout", "Floor", "Greater", "Identity", "Less",
        "Max", "Min", "Mul", "Neg", "Pow", "Relu", "Round", "Sign", "Sub",
    ];
    node.domain == Domain::Onnx && OPERATORS.contains(&node.op_type.as_str())
}
