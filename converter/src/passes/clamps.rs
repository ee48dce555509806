//! Moves clamps of integers in front of the rounding that makes them.
//!
//! ```text
//! x ─ Round ─ Clip(0, 15)          ─►  x ─ Clip(0, 15) ─ Round
//! x ─ Round ─ Add(8) ─ Clip(0, 15) ─►  x ─ Clip(−8, 7) ─ Round ─ Add(8)
//! ```
//!
//! With integers as bounds it is the same function: rounding is monotone and leaves integers alone. Behind the rounding
//! there are then no more codes than the quantizer has. `Relu`, and `Min` and `Max` with a number, are clamps too, one after
//! another as well.

use ylb_source::ir::{Domain, Graph, Node, TensorId};

use super::spelled::{add_number, clamp, in_place_of, integer_origin, is_whole, offset, producer, rounds};
use crate::error::ConvertError;

/// Longest way from a clamp back to the rounding.
const MAX_STEPS: usize = 8;
/// Largest zero point behind a rounding.
const MAX_OFFSET: f64 = 65536.0;

/// Runs the pass, behind `constants`. Returns how many clamps were moved.
///
/// # Errors
/// If a constant cannot be made.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut producers = vec![None; graph.tensors.len()];
    let mut moved = 0;
    for node in std::mem::take(&mut graph.nodes) {
        let found = clamped_rounding(graph, &producers, &node);
        let first = graph.nodes.len();
        match found {
            Some(found) => {
                rewrite(graph, &node, found)?;
                moved += 1;
            }
            None => graph.nodes.push(node),
        }
        producers.resize(graph.tensors.len(), None);
        for (index, node) in graph.nodes.iter().enumerate().skip(first) {
            node.outputs.iter().for_each(|id| producers[id.0] = Some(index));
        }
    }
    Ok(moved)
}

/// A clamp of a rounding.
struct Found {
    rounding: Node,
    /// What is added between, nearest to the rounding first.
    offsets: Vec<f64>,
    /// Bounds of the rounding itself.
    bounds: [f64; 2],
}

fn clamped_rounding(graph: &Graph, producers: &[Option<usize>], node: &Node) -> Option<Found> {
    let (mut source, mut bounds) = clamp(graph, node)?;
    let mut offsets = Vec::new();
    for _ in 0..MAX_STEPS {
        source = integer_origin(graph, producers, source);
        let node = producer(graph, producers, source)?;
        if !bounds.into_iter().all(is_whole) {
            return None;
        }
        // A sign is a rounding of what lies between −1 and 1.
        let sign = node.is("Sign") && bounds[0] <= 1.0 && bounds[1] >= -1.0;
        if rounds(node) || sign {
            offsets.reverse();
            return Some(Found { rounding: node.clone(), offsets, bounds });
        }
        let (inner, number) = offset(graph, node)?;
        if number.fract() != 0.0 || number.abs() > MAX_OFFSET {
            return None;
        }
        bounds = bounds.map(|bound| bound - number);
        offsets.push(number);
        source = inner;
    }
    None
}

fn rewrite(graph: &mut Graph, node: &Node, found: Found) -> Result<(), ConvertError> {
    let Found { rounding, offsets, bounds } = found;
    let input = rounding.required_input(0)?;
    let bounds = [add_number(graph, bounds[0])?, add_number(graph, bounds[1])?];
    let clip = in_place_of(graph, node, Domain::Onnx, "Clip", &[input, bounds[0], bounds[1]]);
    let mut x: TensorId = clip.output()?;
    graph.nodes.push(clip);
    let rounded = in_place_of(graph, node, rounding.domain.clone(), &rounding.op_type, &[x]);
    x = rounded.output()?;
    let mode = rounding.attribute("rounding_mode").cloned();
    graph.nodes.push(match mode {
        Some(mode) => rounded.with("rounding_mode", mode),
        None => rounded,
    });
    for number in offsets {
        let number = add_number(graph, number)?;
        let sum = in_place_of(graph, node, Domain::Onnx, "Add", &[x, number]);
        x = sum.output()?;
        graph.nodes.push(sum);
    }
    if let Some(last) = graph.nodes.last_mut() {
        last.outputs.clone_from(&node.outputs);
    }
    Ok(())
}
