//! Cuts off what selects boxes inside the graph, as end-to-end exports do: `run` does that itself.
//!
//! ```text
//! heads ─ decode ─ boxes ─ TopK ─ Gather ─ …  ─►  heads ─ decode ─ boxes
//! ```
//!
//! The boxes are the last tensor in front of the selection that is what a known head gives, tried one after another.

use ylb_format::model::OutputKind;
use ylb_source::ir::{Graph, TensorId};

use super::Hints;
use super::check::SIDES;
use super::find::Finder;

/// Most tensors that are tried: between a decode and its selection lie transpositions, scores and corners.
const MAX_TRIED: usize = 12;

/// What was cut off.
#[derive(Debug)]
pub struct Cut {
    /// Name of the node that selects.
    pub node: String,
    /// Its operator.
    pub op_type: String,
    /// Name of the tensor that is an output instead.
    pub output: String,
}

/// Makes the boxes in front of a selection the output, instead of all outputs that are selected. `None`, and nothing has
/// changed, where nothing selects, or what is selected from is no known head's.
pub fn cut(graph: &mut Graph, hints: Hints) -> Option<Cut> {
    let finder = Finder::new(graph);
    let mut selected = Vec::new();
    for &output in &graph.outputs {
        let heads = finder.frontier(output).ok()?;
        if let Some(node) = finder.selection(output, |id| heads.contains(id)) {
            selected.push((output, heads, node));
        }
    }
    let (first, heads, node) = selected.first()?;
    let between = finder.ancestors(*first, |id| heads.contains(id));
    let boxes = |id: &&TensorId| {
        let rows = matches!(graph.tensor(**id).shape.as_deref(), Some([1, _, _]));
        rows && between.contains(id)
            && graph.constant(**id).is_none()
            && finder.selection(**id, |id| heads.contains(id)).is_none()
            && finder.frontier(**id).is_ok_and(|own| own == *heads)
    };
    let candidates: Vec<TensorId> = graph
        .nodes
        .iter()
        .rev()
        .flat_map(|node| &node.outputs)
        .filter(boxes)
        .take(MAX_TRIED)
        .copied()
        .collect();
    let kept = |output: &&TensorId| selected.iter().all(|(own, ..)| own != *output);
    let kept: Vec<TensorId> = graph.outputs.iter().filter(kept).copied().collect();
    let (node, op_type) = (node.name.clone(), node.op_type.clone());
    let mut best: Option<(usize, TensorId, Graph)> = None;
    for candidate in candidates {
        let mut tried = graph.clone();
        tried.outputs = [candidate].into_iter().chain(kept.iter().copied()).collect();
        // Raw heads would have to be guessed at.
        let Some(heads) = super::run(&mut tried.clone(), hints).ok().filter(|heads| heads.family_known)
        else {
            continue;
        };
        let columns = boxes_columns(&heads.outputs[0].kind);
        if best.as_ref().is_none_or(|&(most, ..)| columns > most) {
            best = Some((columns, candidate, tried));
        }
        if columns >= SIDES + heads.classes {
            break;
        }
    }
    let (_, output, cut) = best?;
    *graph = cut;
    let output = graph.tensor(output).name.clone();
    Some(Cut { node, op_type, output })
}

/// Columns of decoded boxes with what belongs to them.
fn boxes_columns(kind: &OutputKind) -> usize {
    match kind {
        OutputKind::Arranged(own) if own.numbers.are_boxes() => own.count as usize,
        _ => 0,
    }
}
