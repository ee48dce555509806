//! From a [`Graph`] back to an ONNX file.
//!
//! What reading leaves out stays out: documentation, shapes of tensors inside. Outputs are 32-bit floats; their shapes are written where the
//! graph has them, which other tools want. Half floats were read as 32-bit floats,
//! and that is what is written; a `Cast` to them becomes one to 32 bits.

use std::collections::BTreeSet;

use prost::Message as _;

use super::schema::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::tensor;
use crate::error::SourceError;
use crate::ir::{Attribute, Domain, ElementType, Graph, Node, TensorId};

/// Numbers of ONNX's `AttributeProto.AttributeType`.
mod attribute_type {
    pub const FLOAT: i32 = 1;
    pub const INT: i32 = 2;
    pub const STRING: i32 = 3;
    pub const TENSOR: i32 = 4;
    pub const FLOATS: i32 = 6;
    pub const INTS: i32 = 7;
}

/// The bytes of an ONNX file of a graph. The same graph gives the same bytes.
///
/// # Errors
/// If a node is none of ONNX, QONNX or a tool, but of the converter's own.
pub fn encode(graph: &Graph) -> Result<Vec<u8>, SourceError> {
    let names = Names::of(graph);
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        nodes.push(names.node(node).map_err(|error| node.blame(error))?);
    }
    let value = |&id: &TensorId, element: Option<ElementType>, shape: Option<&Vec<usize>>| ValueInfoProto {
        name: Some(names.of_tensor(id)),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(tensor::data_type(element.unwrap_or(ElementType::F32))),
                shape: shape.map(|shape| TensorShapeProto {
                    dim: shape.iter().enumerate().map(|(axis, &extent)| dimension(axis, extent)).collect(),
                }),
            }),
        }),
    };
    let input = |id| value(id, graph.input_types.get(id).copied(), graph.tensor(*id).shape.as_ref());
    let proto = GraphProto {
        node: nodes,
        name: Some("network".into()),
        initializer: names.initializers(graph),
        input: graph.inputs.iter().map(input).collect(),
        output: graph.outputs.iter().map(|id| value(id, None, graph.tensor(*id).shape.as_ref())).collect(),
        sparse_initializer: Vec::new(),
    };
    let entry = |(key, value): (&String, &String)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    let model = ModelProto {
        ir_version: Some(ir_version(graph.opset)),
        producer_name: Some(format!("yolo-lowbit {}", env!("CARGO_PKG_VERSION"))),
        graph: Some(proto),
        opset_import: operator_sets(graph),
        metadata_props: graph.metadata.iter().map(entry).collect(),
        functions: Vec::new(),
    };
    Ok(model.encode_to_vec())
}

/// The oldest version of the format that has the operator set.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        _ => 11,
    }
}

fn operator_sets(graph: &Graph) -> Vec<OperatorSetIdProto> {
    let domains: BTreeSet<&str> = graph.nodes.iter().map(|node| domain(&node.domain)).collect();
    let set = |name: &str, version| OperatorSetIdProto { domain: Some(name.into()), version: Some(version) };
    let others = domains.into_iter().filter(|name| !name.is_empty()).map(|name| set(name, 1));
    std::iter::once(set("", graph.opset)).chain(others).collect()
}

fn domain(domain: &Domain) -> &str {
    match domain {
        Domain::Onnx | Domain::Converter => "",
        Domain::Qonnx => "qonnx.custom_op.general",
        Domain::Microsoft => "com.microsoft",
        Domain::Other(name) => name,
    }
}

/// An extent that is left open is named by its axis.
fn dimension(axis: usize, extent: usize) -> DimensionProto {
    match extent {
        0 => DimensionProto { dim_value: None, dim_param: Some(format!("axis{axis}")) },
        extent => DimensionProto { dim_value: Some(extent as i64), dim_param: None },
    }
}

/// The tensors' names: those without one get one.
struct Names {
    names: Vec<String>,
    /// Tensors that nodes write, or that are the graph's inputs.
    written: BTreeSet<TensorId>,
    /// Tensors that somebody reads.
    read: BTreeSet<TensorId>,
}

impl Names {
    fn of(graph: &Graph) -> Self {
        let taken: BTreeSet<&str> = graph.tensors.iter().map(|info| info.name.as_str()).collect();
        let name = |(index, name): (usize, &String)| {
            let mut given = name.clone();
            while given.is_empty() || (name.is_empty() && taken.contains(given.as_str())) {
                given = format!("{given}tensor{index}");
            }
            given
        };
        let names = graph.tensors.iter().map(|info| &info.name).enumerate().map(name).collect();
        let outputs = graph.nodes.iter().flat_map(|node| node.outputs.iter().copied());
        let inputs = graph.nodes.iter().flat_map(|node| node.inputs.iter().copied().flatten());
        Self {
            names,
            written: outputs.chain(graph.inputs.iter().copied()).collect(),
            read: inputs.chain(graph.outputs.iter().copied()).collect(),
        }
    }

    fn of_tensor(&self, id: TensorId) -> String {
        self.names[id.0].clone()
    }

    fn node(&self, node: &Node) -> Result<NodeProto, SourceError> {
        if node.domain == Domain::Converter {
            return Err(SourceError::unsupported("an operator that no ONNX file has"));
        }
        // What is optional and not wanted has an empty name.
        let output =
            |&id: &TensorId| if self.read.contains(&id) { self.of_tensor(id) } else { String::new() };
        let single = node.outputs.len() == 1;
        let outputs = node.outputs.iter();
        Ok(NodeProto {
            input: node.inputs.iter().map(|id| id.map_or(String::new(), |id| self.of_tensor(id))).collect(),
            output: outputs.map(|id| if single { self.of_tensor(*id) } else { output(id) }).collect(),
            name: Some(node.name.clone()),
            op_type: Some(node.op_type.clone()),
            attribute: node.attributes.iter().map(|(name, value)| attribute(node, name, value)).collect(),
            domain: Some(domain(&node.domain).into()),
        })
    }

    fn initializers(&self, graph: &Graph) -> Vec<TensorProto> {
        let wanted = |id: &TensorId| self.read.contains(id) && !self.written.contains(id);
        let ids = (0..graph.tensors.len()).map(TensorId).filter(wanted);
        ids.filter_map(|id| Some(tensor::encode(graph.constant(id)?, &self.names[id.0]))).collect()
    }
}

fn attribute(node: &Node, name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.into()), ..AttributeProto::default() };
    proto.r#type = Some(match value {
        Attribute::Float(value) => {
            proto.f = Some(*value);
            attribute_type::FLOAT
        }
        Attribute::Int(value) => {
            let halves = node.is("Cast") && name == "to";
            let kept = i32::try_from(*value).ok().filter(|_| halves).and_then(tensor::element_type);
            proto.i = Some(kept.map_or(*value, |element| tensor::data_type(element).into()));
            attribute_type::INT
        }
        Attribute::Text(text) => {
            proto.s = Some(text.clone().into_bytes());
            attribute_type::STRING
        }
        Attribute::Tensor(tensor) => {
            proto.t = Some(tensor::encode(tensor, ""));
            attribute_type::TENSOR
        }
        Attribute::Floats(values) => {
            proto.floats.clone_from(values);
            attribute_type::FLOATS
        }
        Attribute::Ints(values) => {
            proto.ints.clone_from(values);
            attribute_type::INTS
        }
    });
    proto
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ir::{Builder, Tensor};

    /// All that a graph says survives, once what reading adds to names and versions is set aside.
    #[test]
    fn what_was_written_is_read_again() {
        let (mut builder, picture) = Builder::picture(8, 0);
        let element = ElementType::Signed(8);
        let codes = Tensor::integers(&[2, 3, 1, 1], element, [-7i64, 0, 7, 1, -128, 127].into_iter());
        let codes = builder.constant(codes.unwrap());
        let scales = builder.floats(&[2], &[0.5, 0.25]);
        let weights = builder.node("DequantizeLinear", &[codes, scales], &[("axis", Attribute::Int(0))]);
        let pads = ("pads", Attribute::Ints(vec![0; 4]));
        let conv = builder.node("Conv", &[picture, weights], &[pads]);
        let text = ("mode", Attribute::Text("nearest".into()));
        let shapes = builder.constant(Tensor::indices(&[1, 1, 2, 2]));
        let resized = builder.node("Resize", &[conv, shapes], &[text]);
        let value = Attribute::Tensor(Arc::new(Tensor::f64(&[1], vec![0.1]).unwrap()));
        let constant = builder.node("Constant", &[], &[("value", value)]);
        let scaled = builder.node("microsoft::Scale", &[resized, constant], &[("by", Attribute::Float(0.1))]);
        builder.graph.outputs.push(scaled);
        builder.graph.metadata.insert("names".into(), "{0: 'a'}".into());
        let bytes = encode(&builder.graph).unwrap();
        let (read, files) = crate::onnx::decode(&bytes, None).unwrap();
        assert!(files.is_empty());
        assert_eq!((read.opset, &read.metadata), (17, &builder.graph.metadata));
        let named = |graph: &Graph, ids: &[TensorId]| -> Vec<String> {
            ids.iter().map(|id| graph.tensor(*id).name.clone()).collect()
        };
        for (own, read_node) in builder.graph.nodes.iter().zip(&read.nodes) {
            assert_eq!((&own.op_type, &own.domain), (&read_node.op_type, &read_node.domain));
            assert_eq!(own.attributes, read_node.attributes);
            let inputs = |graph: &Graph, node: &Node| {
                named(graph, &node.inputs.iter().copied().flatten().collect::<Vec<_>>())
            };
            assert_eq!(inputs(&builder.graph, own), inputs(&read, read_node));
        }
        let by_name = |name: &str| read.tensors.iter().find(|info| info.name == name).unwrap();
        for info in builder.graph.tensors.iter().filter(|info| info.constant.is_some()) {
            assert_eq!(info.constant, by_name(&info.name).constant);
        }
        assert_eq!(read.tensor(read.inputs[0]).shape, Some(vec![1, 3, 8, 0]));
        assert_eq!(encode(&read).unwrap(), bytes);
    }

    #[test]
    fn casts_to_halves_become_casts_to_floats() {
        let (mut builder, picture) = Builder::picture(8, 8);
        let half = builder.node("Cast", &[picture], &[("to", Attribute::Int(10))]);
        builder.graph.outputs.push(half);
        let (read, _) = crate::onnx::decode(&encode(&builder.graph).unwrap(), None).unwrap();
        assert_eq!(read.nodes[0].int("to", 0), 1);
    }

    #[test]
    fn operators_of_the_converter_are_refused() {
        let (mut builder, picture) = Builder::picture(8, 8);
        builder.node("Relu", &[picture], &[]);
        builder.graph.nodes[0].domain = Domain::Converter;
        assert!(encode(&builder.graph).unwrap_err().to_string().contains("no ONNX file has"));
    }

    #[test]
    fn tensors_without_a_name_get_one_of_their_own() {
        let (mut builder, picture) = Builder::picture(8, 8);
        let number = builder.float(2.0);
        let product = builder.node("Mul", &[picture, number], &[]);
        builder.graph.tensors[number.0].name = String::new();
        builder.graph.tensors[product.0].name = format!("tensor{}", number.0);
        builder.graph.outputs.push(product);
        let (read, _) = crate::onnx::decode(&encode(&builder.graph).unwrap(), None).unwrap();
        assert_eq!(read.constant_input(&read.nodes[0], 1).unwrap().scalar(), Some(2.0));
    }
}
