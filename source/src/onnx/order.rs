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
    // An output or an input that is left out has no name.
    unwritten.remove("");
    let mut nodes: Vec<Option<NodeProto>> = nodes.into_iter().map(Some).collect();
    let mut waiting: HashMap<String, Vec<usize>> = HashMap::new();
    // How many inputs of each are known to be written: none is looked at twice.
    let mut known = vec![0; nodes.len()];
    let mut in_order = Vec::with_capacity(nodes.len());
    for index in 0..nodes.len() {
        let mut ready = vec![index];
        while let Some(index) = ready.pop() {
            let Some(node) = nodes[index].take() else { continue };
            let missing = node.input[known[index]..].iter().position(|name| unwritten.contains(name));
            if let Some(position) = missing {
                known[index] += position;
                let missing = &node.input[known[index]];
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

    /// Of two inputs without a name and an output without one, nobody waits for anybody.
    #[test]
    fn names_that_are_left_out_are_nobodys() {
        let nodes = vec![node(&["image", ""], &["a"]), node(&["a", ""], &["b", ""]), node(&["b"], &["c"])];
        assert_eq!(order(nodes), ["a", "b", "c"]);
        let nodes = vec![node(&["b", ""], &["c"]), node(&["a"], &["b", ""]), node(&["image", ""], &["a"])];
        assert_eq!(order(nodes), ["a", "b", "c"]);
    }

    /// A node waits for one input after another, and each is looked at once.
    #[test]
    fn many_inputs_are_known_one_by_one() {
        let names: Vec<String> = (0..100_000).map(|index| index.to_string()).collect();
        let all = NodeProto { input: names.clone(), output: vec!["all".into()], ..NodeProto::default() };
        let one = |name: &String| NodeProto { output: vec![name.clone()], ..NodeProto::default() };
        let found = order([all].into_iter().chain(names.iter().map(one)).collect());
        assert_eq!((found.len(), found.last().map(String::as_str)), (100_001, Some("all")));
    }

    #[test]
    fn cycles_come_last() {
        let nodes = vec![node(&["b"], &["a"]), node(&["a"], &["b"]), node(&["image"], &["c"])];
        assert_eq!(order(nodes), ["c", "a", "b"]);
    }
}
