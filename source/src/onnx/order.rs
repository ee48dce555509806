//! Nodes in the order in which they can be computed.
//!
//! ONNX asks for that order, and runtimes do without it: what turns exports into half precision adds its `Cast` nodes in the
//! end, those of the graph's input too.

use std::collections::{HashMap, HashSet};

use super::schema::NodeProto;

/// Puts each node behind those that write what it reads; nodes that stand so already stay where they are. Those on a cycle
/// come last.
pub(super) fn sorted(nodes: Vec<NodeProto>) -> Vec<NodeProto> {
    let mut unwritten: HashSet<String> = nodes.iter().flat_map(|node| node.output.iter().cloned()).collect();
    let mut nodes: Vec<Option<NodeProto>> = nodes.into_iter().map(Some).collect();
    let mut waiting: HashMap<String, Vec<usize>> = HashMap::new();
    let mut in_order = Vec::with_capacity(nodes.len());
    for index in 0..nodes.len() {
        let mut ready = vec![index];
        while let Some(index) = ready.pop() {
            let Some(node) = nodes[index].take() else { continue };
            if let Some(missing) = node.input.iter().find(|name| unwritten.contains(*name)) {
                waiting.entry(missing.clone()).or_default().push(index);
                nodes[index] = Some(node);
                continue;
            }
            for output in &node.output {
                unwritten.remove(output);
                ready.extend(waiting.remove(output).into_iter().flatten().rev());
            }
            in_order.push(node);
        }
    }
    in_order.extend(nodes.into_iter().flatten());
    in_order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto { input: owned(inputs), output: owned(outputs), ..NodeProto::default() }
    }

    fn order(nodes: Vec<NodeProto>) -> Vec<String> {
        sorted(nodes).into_iter().map(|node| node.output[0].clone()).collect()
    }

    #[test]
    fn ordered_nodes_stay() {
        let nodes = vec![node(&["image"], &["a"]), node(&["image", ""], &["b"]), node(&["b", "a"], &["c"])];
        assert_eq!(order(nodes), ["a", "b", "c"]);
    }

    #[test]
    fn nodes_wait_for_all_that_they_read() {
        let nodes = vec![
            node(&["cast", "weights"], &["a"]),
            node(&["a", "b"], &["c"]),
            node(&["cast"], &["d"]),
            node(&["image"], &["cast"]),
            node(&["d"], &["b"]),
        ];
        assert_eq!(order(nodes), ["cast", "a", "d", "b", "c"]);
    }

    #[test]
    fn cycles_come_last() {
        let nodes = vec![node(&["b"], &["a"]), node(&["a"], &["b"]), node(&["image"], &["c"])];
        assert_eq!(order(nodes), ["c", "a", "b"]);
    }
}
