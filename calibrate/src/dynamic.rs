//! Files of ONNX Runtime's `quantize_dynamic`: integer weights, and activations whose grids are computed anew for every picture.
//!
//! ```text
//! x ─ DynamicQuantizeLinear ─ ConvInteger ─ Cast ─ Mul(scale of x · scale of w) ─ Add(bias)    ─►    Conv(x, DequantizeLinear(w), bias)
//! ```
//!
//! The weights keep their codes; the activations are floats again, and get grids as those of any network in floats.

use std::collections::{BTreeMap, BTreeSet};

use ylb_source::ir::{Attribute, Domain, Graph, Node, TensorId, TensorInfo};

/// The graph with convolutions of floats. Where nothing is dynamic, it is the same.
pub fn rewritten(source: &Graph) -> Graph {
    let mut graph = source.clone();
    let mut found = Vec::new();
    for node in source.nodes.iter().filter(|node| node.is("ConvInteger")) {
        found.extend(conv(&mut graph, source, node));
    }
    if found.is_empty() {
        return graph;
    }
    for node in std::mem::take(&mut graph.nodes) {
        let own = found.iter().position(|(product, _)| node.outputs.contains(product));
        match own {
            Some(index) => graph.nodes.extend(found[index].1.clone()),
            None => graph.nodes.push(node),
        }
    }
    prune(&mut graph);
    graph
}

/// The tensor that a convolution of integers ends in, and the nodes that compute it in floats.
fn conv(graph: &mut Graph, source: &Graph, node: &Node) -> Option<(TensorId, [Node; 2])> {
    let writer = |id: TensorId| source.nodes.iter().find(|node| node.outputs.contains(&id));
    let reader = |id: TensorId| {
        let mut readers = source.nodes.iter().filter(|node| node.inputs.contains(&Some(id)));
        readers.next().filter(|_| readers.next().is_none())
    };
    let quantize = writer(node.input(0)?).filter(|node| node.is("DynamicQuantizeLinear"))?;
    let &[codes, scale, zero_point] = quantize.outputs.as_slice() else { return None };
    if node.input(0) != Some(codes) || node.input(2) != Some(zero_point) {
        return None;
    }
    let weights = node.input(1).filter(|&id| source.constant(id).is_some())?;
    let cast = reader(node.output().ok()?).filter(|node| node.is("Cast"))?.output().ok()?;
    let product = reader(cast).filter(|node| node.is("Mul"))?;
    let other = |node: &Node, one: TensorId| {
        node.inputs
            .iter()
            .flatten()
            .copied()
            .find(|&id| id != one)
            .filter(|_| node.inputs.contains(&Some(one)))
    };
    let scales = writer(other(product, cast)?).filter(|node| node.is("Mul"))?;
    let weight_scale =
        other(scales, scale).filter(|&id| source.constant(id).is_some_and(|s| s.shape().len() < 2))?;
    let output = product.output().ok()?;
    let name = format!("{}/dequantized", source.tensor(weights).name);
    let real = graph.add_tensor(TensorInfo { name: name.clone(), ..TensorInfo::default() });
    let axis: BTreeMap<String, Attribute> = [("axis".to_owned(), Attribute::Int(0))].into();
    let mut inputs = vec![Some(weights), Some(weight_scale)];
    inputs.extend(node.input(3).map(Some));
    let dequantize = Node {
        name,
        domain: Domain::Onnx,
        op_type: "DequantizeLinear".into(),
        inputs,
        outputs: vec![real],
        attributes: axis,
        quantizer: None,
    };
    let mut inputs = vec![quantize.input(0), Some(real)];
    let sum = reader(output).filter(|node| node.is("Add"));
    let bias = sum.and_then(|sum| bias(source, other(sum, output)?));
    let output = match (bias, sum) {
        (Some(bias), Some(sum)) => {
            inputs.push(Some(bias));
            sum.output().ok()?
        }
        _ => output,
    };
    let conv = Node { op_type: "Conv".into(), inputs, outputs: vec![output], ..node.clone() };
    Some((output, [dequantize, conv]))
}

/// The numbers of a bias that is brought into the shape of a feature map before it is added.
fn bias(source: &Graph, added: TensorId) -> Option<TensorId> {
    let reshape = source.nodes.iter().find(|node| node.outputs.contains(&added) && node.is("Reshape"))?;
    let numbers = reshape.input(0).filter(|&id| source.constant(id).is_some_and(|t| t.shape().len() == 1))?;
    let shape = source.constant_input(reshape, 1)?.to_integers();
    let len = source.constant(numbers)?.len() as i64;
    (shape == [1, -1, 1, 1] || shape == [1, len, 1, 1]).then_some(numbers)
}

/// Removes what nobody reads any more.
fn prune(graph: &mut Graph) {
    let mut needed: BTreeSet<TensorId> = graph.outputs.iter().copied().collect();
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if node.outputs.iter().any(|id| needed.contains(id)) {
            needed.extend(node.inputs.iter().flatten());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.nodes = kept;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ylb_source::ir::{Builder, ElementType, Tensor};

    use super::*;
    use crate::{Bits, calibrate};

    /// A convolution as `quantize_dynamic` writes it. `twice`: whether somebody else reads its integers.
    fn dynamic(twice: bool) -> Graph {
        let (mut builder, picture) = Builder::picture(8, 8);
        let first =
            builder.floats(&[4, 3, 1, 1], &[0.3, -0.2, 0.1, 0.5, 0.25, -0.4, 0.2, 0.1, 0.3, -0.6, 0.7, 0.1]);
        let stem = builder.node("Conv", &[picture, first], &[]);
        let stem = builder.node("Relu", &[stem], &[]);
        let codes = builder.node("DynamicQuantizeLinear", &[stem], &[]);
        let mut more =
            |name: &str| builder.graph.add_tensor(TensorInfo { name: name.into(), ..Default::default() });
        let outputs = [codes, more("x_scale"), more("x_zero_point")];
        builder.graph.nodes.last_mut().unwrap().outputs = outputs.to_vec();
        let unsigned = ElementType::Unsigned(8);
        let numbers: Vec<i64> = (0..24).map(|k| (k * 53 + 7) % 256).collect();
        let weights =
            builder.constant(Tensor::integers(&[6, 4, 1, 1], unsigned, numbers.into_iter()).unwrap());
        let zero = builder.constant(Tensor::integers(&[], unsigned, [121].into_iter()).unwrap());
        let conv = builder.node("ConvInteger", &[codes, weights, outputs[2], zero], &[]);
        let cast = builder.node("Cast", &[conv], &[("to", Attribute::Int(1))]);
        let scale = builder.floats(&[1], &[0.01]);
        let scales = builder.node("Mul", &[outputs[1], scale], &[]);
        let product = builder.node("Mul", &[cast, scales], &[]);
        let bias = builder.floats(&[6], &[0.5; 6]);
        let shape = builder.constant(Tensor::indices(&[1, -1, 1, 1]));
        let bias = builder.node("Reshape", &[bias, shape], &[]);
        let sum = builder.node("Add", &[product, bias], &[]);
        builder.graph.outputs.push(sum);
        if twice {
            builder.graph.outputs.push(conv);
            builder.node("Cast", &[conv], &[("to", Attribute::Int(1))]);
        }
        builder.graph
    }

    #[test]
    fn dynamic_convolutions_keep_their_weights_codes() {
        let graph = rewritten(&dynamic(false));
        let types: BTreeSet<&str> = graph.nodes.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(types, BTreeSet::from(["Conv", "DequantizeLinear", "Relu"]));
        let picture = vec![(0..192).map(|k| (k * 7 % 256) as u8).collect()];
        let calibrated = calibrate(&graph, [8, 8], &picture, Bits::default().into(), &|_| {}).unwrap();
        let conv = calibrated.graph.nodes.iter().rfind(|node| node.is("Conv")).unwrap();
        let dequantize =
            calibrated.graph.nodes.iter().find(|node| node.outputs[0] == conv.inputs[1].unwrap());
        let codes = calibrated.graph.constant_input(dequantize.unwrap(), 0).unwrap();
        assert_eq!(codes.get(1), 60.0);
        assert_eq!(calibrated.graph.constant_input(conv, 2).unwrap().len(), 6);
        // Its input has a grid.
        let input = calibrated.graph.nodes.iter().find(|node| node.outputs[0] == conv.inputs[0].unwrap());
        assert!(input.unwrap().is("DequantizeLinear"));
    }

    #[test]
    fn what_is_not_understood_stays() {
        let graph = rewritten(&dynamic(true));
        assert!(graph.nodes.iter().any(|node| node.is("ConvInteger")));
        let plain = crate::samples::network();
        assert_eq!(rewritten(&plain).nodes.len(), plain.nodes.len());
    }
}
