//! Cuts off what a tool put behind the heads: the tensors that are named become the graph's outputs.

use std::collections::BTreeMap;

use ylb_source::ir::{Graph, TensorId};

use super::prune;
use crate::error::{ConvertError, ErrorKind};

/// Runs the pass: nodes that no named tensor needs are gone. Without names nothing changes.
///
/// # Errors
/// If no node writes a tensor of that name, or one is named twice.
pub fn run(graph: &mut Graph, names: &[String]) -> Result<(), ConvertError> {
    if names.is_empty() {
        return Ok(());
    }
    let written = graph.nodes.iter().flat_map(|node| &node.outputs);
    let tensors: BTreeMap<&str, TensorId> = written.map(|&id| (graph.tensor(id).name.as_str(), id)).collect();
    let mut outputs: Vec<TensorId> = Vec::with_capacity(names.len());
    for name in names {
        let Some(&id) = tensors.get(name.as_str()) else { return Err(unknown(graph, name)) };
        if outputs.contains(&id) {
            let message = format!("\"{name}\" is named twice as an output (--outputs)");
            return Err(ConvertError::new(ErrorKind::Unsupported, message));
        }
        outputs.push(id);
    }
    if outputs != graph.outputs {
        graph.outputs = outputs;
        prune::run(graph);
    }
    Ok(())
}

fn unknown(graph: &Graph, name: &str) -> ConvertError {
    let own = match graph.nodes.iter().find(|node| node.name == name).and_then(|node| node.outputs.first()) {
        Some(&id) => format!("a node is called so, which writes \"{}\"", graph.tensor(id).name),
        None => {
            let names = graph.outputs.iter().map(|&id| format!("\"{}\"", graph.tensor(id).name));
            format!("the model's own outputs are {}", names.collect::<Vec<_>>().join(", "))
        }
    };
    ConvertError::new(
        ErrorKind::Unsupported,
        format!("no node writes a tensor \"{name}\" (--outputs): {own}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ylb_source::ir::Builder;

    #[test]
    fn named_tensors_become_the_outputs() {
        let (mut builder, image) = Builder::picture(4, 4);
        let inner = builder.node("Relu", &[image], &[]);
        let behind = builder.node("NonMaxSuppression", &[inner], &[]);
        builder.graph.outputs = vec![behind];
        let cut = |names: &[&str]| {
            let mut graph = builder.graph.clone();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            run(&mut graph, &names).map(|()| graph)
        };
        let name = builder.graph.tensor(inner).name.clone();
        let graph = cut(&[&name]).unwrap();
        assert_eq!((graph.outputs, graph.nodes.len()), (vec![inner], 1));
        assert_eq!(cut(&[]).unwrap().nodes.len(), 2);
        let error = cut(&["missing"]).unwrap_err().to_string();
        assert!(error.contains("the model's own outputs are \"NonMaxSuppression1\""), "{error}");
        let error = cut(&[&name, &name]).unwrap_err().to_string();
        assert!(error.contains("named twice"), "{error}");
    }
}
