//! Removes nodes whose outputs nothing needs.

use ylb_source::ir::Graph;

/// Runs the pass. Returns how many nodes were removed.
pub fn run(graph: &mut Graph) -> usize {
    sweep(graph, false)
}

/// The same, but leaves nodes of constants, of which later passes may want to know how they came about.
pub fn unread(graph: &mut Graph) -> usize {
    sweep(graph, true)
}

fn sweep(graph: &mut Graph, keep_constants: bool) -> usize {
    let mut needed = vec![false; graph.tensors.len()];
    for output in &graph.outputs {
        needed[output.0] = true;
    }
    let mut keep = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let constant = node.outputs.iter().all(|id| graph.tensors[id.0].constant.is_some());
        if constant {
            keep[index] = keep_constants;
            continue;
        }
        if !node.outputs.iter().any(|id| needed[id.0]) {
            continue;
        }
        keep[index] = true;
        for input in node.inputs.iter().flatten() {
            needed[input.0] = true;
        }
    }
    let before = graph.nodes.len();
    let mut keep = keep.into_iter();
    graph.nodes.retain(|_| keep.next().unwrap_or(true));
    before - graph.nodes.len()
}
