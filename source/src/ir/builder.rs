//! Graphs made node by node, as tests and tools make them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};

/// Builds a graph node by node.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// What was built so far.
    pub graph: Graph,
}

impl Builder {
    /// A graph with one picture of 3 channels.
    pub fn picture(height: usize, width: usize) -> (Self, TensorId) {
        let mut builder = Self { graph: Graph { opset: 17, ..Graph::default() } };
        let shape = Some(vec![1, 3, height, width]);
        let name = "images".to_owned();
        let input = builder.graph.add_tensor(TensorInfo { name, shape, ..TensorInfo::default() });
        builder.graph.inputs.push(input);
        (builder, input)
    }

    /// An initializer of 32-bit floats.
    ///
    /// # Panics
    /// If there are not as many as the shape says.
    pub fn floats(&mut self, shape: &[usize], data: &[f32]) -> TensorId {
        self.constant(Tensor::f32(shape, data.to_vec()).expect("as many floats as the shape says"))
    }

    /// An initializer that is one float.
    pub fn float(&mut self, value: f32) -> TensorId {
        self.floats(&[], &[value])
    }

    /// An initializer.
    pub fn constant(&mut self, tensor: Tensor) -> TensorId {
        let name = format!("c{}", self.graph.tensors.len());
        let (shape, constant) = (Some(tensor.shape().to_vec()), Some(Arc::new(tensor)));
        self.graph.add_tensor(TensorInfo { name, shape, constant, quantized: None })
    }

    /// A node with one output, which has the node's name. A domain other than the default stands before the
    /// operator: `qonnx::Quant`, `microsoft::QLinearAdd`.
    pub fn node(&mut self, op_type: &str, inputs: &[TensorId], attributes: &[(&str, Attribute)]) -> TensorId {
        let (domain, op_type) = match op_type.split_once("::") {
            Some(("qonnx", op_type)) => (Domain::Qonnx, op_type),
            Some(("microsoft", op_type)) => (Domain::Microsoft, op_type),
            Some((domain, op_type)) => (Domain::Other(domain.into()), op_type),
            None => (Domain::Onnx, op_type),
        };
        let name = format!("{op_type}{}", self.graph.nodes.len());
        let output = self.graph.add_tensor(TensorInfo { name: name.clone(), ..Default::default() });
        let attributes: BTreeMap<String, Attribute> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        self.graph.nodes.push(Node {
            name,
            domain,
            op_type: op_type.to_owned(),
            inputs: inputs.iter().map(|&id| Some(id)).collect(),
            outputs: vec![output],
            attributes,
            quantizer: None,
        });
        output
    }

    /// A QONNX quantizer of so many bits.
    pub fn quant(&mut self, x: TensorId, scale: f32, zero_point: f32, bits: f32, signed: bool) -> TensorId {
        let parameters = [scale, zero_point, bits].map(|value| self.float(value));
        let signed = [("signed", Attribute::Int(signed.into()))];
        self.node("qonnx::Quant", &[x, parameters[0], parameters[1], parameters[2]], &signed)
    }

    /// The node that writes a tensor.
    ///
    /// # Panics
    /// If there is none.
    pub fn producer(&self, id: TensorId) -> &Node {
        self.graph.nodes.iter().find(|node| node.outputs.contains(&id)).expect("a node that writes it")
    }
}
