//! Operators that ONNX Runtime makes of several when it saves an optimized model, as those several.
//!
//! | operator of `com.microsoft` | is |
//! |---|---|
//! | `FusedConv` | `Conv`, the sum with a fourth input if there is one, the activation that the attribute names |
//! | `QuickGelu` | `x · Sigmoid(alpha · x)`: SiLU where alpha is 1 |

use std::sync::Arc;

use crate::error::SourceError;
use crate::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};

/// Writes what comes before the last operator of a fused one; the node becomes that last one.
///
/// # Errors
/// If its activation is none that is known.
pub fn node(graph: &mut Graph, node: &mut Node) -> Result<(), SourceError> {
    if node.domain != Domain::Microsoft {
        return Ok(());
    }
    match node.op_type.as_str() {
        "FusedConv" => fused_conv(graph, node),
        "QuickGelu" => quick_gelu(graph, node),
        _ => Ok(()),
    }
}

fn fused_conv(graph: &mut Graph, node: &mut Node) -> Result<(), SourceError> {
    let numbers = match node.attributes.remove("activation_params") {
        Some(Attribute::Floats(numbers)) => numbers,
        _ => Vec::new(),
    };
    let activation = node.text("activation", "").to_owned();
    node.attributes.remove("activation");
    let number = |position: usize, default: f32| numbers.get(position).copied().unwrap_or(default);
    let (own, bounds): (Vec<(&str, f32)>, Vec<f32>) = match activation.as_str() {
        "Relu" | "Sigmoid" | "Tanh" => (Vec::new(), Vec::new()),
        "LeakyRelu" => (vec![("alpha", number(0, 0.01))], Vec::new()),
        "HardSigmoid" => (vec![("alpha", number(0, 0.2)), ("beta", number(1, 0.5))], Vec::new()),
        "Clip" => (Vec::new(), vec![number(0, f32::MIN), number(1, f32::MAX)]),
        other => return Err(SourceError::unsupported(format!("a convolution fused with \"{other}\""))),
    };
    let mut conv = Node { domain: Domain::Onnx, op_type: "Conv".to_owned(), ..node.clone() };
    let added = if conv.inputs.len() > 3 { conv.inputs.split_off(3)[0] } else { None };
    let mut last = written(graph, conv);
    if let Some(added) = added {
        last = written(graph, plain(node, "Add", &[last, added]));
    }
    let attributes = own.into_iter().map(|(name, value)| (name.to_owned(), Attribute::Float(value)));
    let mut inputs = vec![Some(last)];
    for bound in bounds {
        inputs.push(Some(number_of(graph, bound)?));
    }
    node.domain = Domain::Onnx;
    node.op_type = activation;
    node.attributes = attributes.collect();
    node.inputs = inputs;
    Ok(())
}

fn quick_gelu(graph: &mut Graph, node: &mut Node) -> Result<(), SourceError> {
    let input = node.required_input(0)?;
    let alpha = node.float("alpha", 1.702);
    let mut scaled = input;
    if alpha != 1.0 {
        let alpha = number_of(graph, alpha)?;
        scaled = written(graph, plain(node, "Mul", &[input, alpha]));
    }
    let sigmoid = written(graph, plain(node, "Sigmoid", &[scaled]));
    let product = plain(node, "Mul", &[input, sigmoid]);
    node.domain = product.domain;
    node.op_type = product.op_type;
    node.attributes = product.attributes;
    node.inputs = product.inputs;
    Ok(())
}

/// An operator with a fused one's name.
fn plain(node: &Node, op_type: &str, inputs: &[TensorId]) -> Node {
    Node {
        domain: Domain::Onnx,
        op_type: op_type.to_owned(),
        inputs: inputs.iter().copied().map(Some).collect(),
        attributes: Default::default(),
        ..node.clone()
    }
}

/// Appends a node and returns what it writes.
fn written(graph: &mut Graph, node: Node) -> TensorId {
    let output = graph.add_tensor(TensorInfo::default());
    graph.nodes.push(node.writing(&[output]));
    output
}

fn number_of(graph: &mut Graph, number: f32) -> Result<TensorId, SourceError> {
    let constant = Some(Arc::new(Tensor::f32(&[], vec![number])?));
    Ok(graph.add_tensor(TensorInfo { shape: Some(Vec::new()), constant, ..TensorInfo::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Builder;

    fn unfused(op_type: &str, attributes: &[(&str, Attribute)]) -> Result<Vec<Node>, SourceError> {
        let (mut builder, image) = Builder::picture(4, 4);
        let weights = builder.floats(&[2, 3, 1, 1], &[0.5; 6]);
        let added = builder.floats(&[1, 2, 4, 4], &[1.0; 32]);
        builder.node(op_type, &[image, weights, added, added], attributes);
        let mut fused = Node { domain: Domain::Microsoft, ..builder.graph.nodes.remove(0) };
        node(&mut builder.graph, &mut fused)?;
        Ok(builder.graph.nodes.into_iter().chain([fused]).collect())
    }

    fn operators(nodes: &[Node]) -> Vec<&str> {
        assert!(nodes.iter().all(|node| node.domain == Domain::Onnx));
        nodes.iter().map(|node| node.op_type.as_str()).collect()
    }

    #[test]
    fn fused_operators_are_several() {
        let text = |text: &str| ("activation", Attribute::Text(text.into()));
        let group = ("group", Attribute::Int(1));
        let leaky = ("activation_params", Attribute::Floats(vec![0.25]));
        let nodes = unfused("FusedConv", &[text("LeakyRelu"), group.clone(), leaky]).unwrap();
        assert_eq!(operators(&nodes), ["Conv", "Add", "LeakyRelu"]);
        assert_eq!((nodes[0].int("group", 0), nodes[0].inputs.len()), (1, 3));
        assert_eq!(nodes[2].float("alpha", 0.0), 0.25);
        assert!(nodes[0].attribute("activation").is_none());
        let clip = ("activation_params", Attribute::Floats(vec![0.0, 6.0]));
        let nodes = unfused("FusedConv", &[text("Clip"), clip]).unwrap();
        assert_eq!((operators(&nodes), nodes[2].inputs.len()), (vec!["Conv", "Add", "Clip"], 3));
        let nodes = unfused("QuickGelu", &[("alpha", Attribute::Float(1.0))]).unwrap();
        assert_eq!(operators(&nodes), ["Sigmoid", "Mul"]);
        assert_eq!(operators(&unfused("QuickGelu", &[]).unwrap()), ["Mul", "Sigmoid", "Mul"]);
        let error = unfused("FusedConv", &[text("Elu")]).unwrap_err().to_string();
        assert!(error.contains("fused with \"Elu\""), "{error}");
    }
}
