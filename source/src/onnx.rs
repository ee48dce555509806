//! The only adapter over ONNX's protobuf: bytes to [`Graph`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use prost::Message as _;

use crate::error::{Blame as _, ErrorKind, SourceError};
use crate::ir::{Attribute, Domain, ElementType, Graph, Node, TensorId, TensorInfo};

mod external;
mod fused;
mod inline;
mod order;
pub mod schema;
mod tensor;
mod upgrade;
mod write;

pub use tensor::element_type;
pub use write::encode;

use external::External;
use inline::Inliner;
use schema::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// Largest file accepted: protobuf itself ends at 2 GiB.
const MAX_FILE_LEN: usize = 1 << 31;
/// Most nodes of a graph; the largest YOLOv5 export measured has about 2000.
const MAX_NODES: usize = 50_000;
/// Most inputs, outputs and attributes of a node.
const MAX_NODE_ITEMS: usize = 4096;

/// Reads a model file. Tensors that lie in other files are looked for in `folder`. Returns those files'
/// names too.
///
/// # Errors
/// If the bytes are no ONNX model, contradict themselves, or need something that is not there.
pub fn decode(bytes: &[u8], folder: Option<&Path>) -> Result<(Graph, BTreeSet<String>), SourceError> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(SourceError::new(ErrorKind::TooLarge, "the file is larger than 2 GiB"));
    }
    let model = ModelProto::decode(bytes)
        .map_err(|error| SourceError::malformed(format!("not an ONNX model, or a truncated one: {error}")))?;
    from_proto(model, folder)
}

/// Translates a decoded message.
pub fn from_proto(
    model: ModelProto,
    folder: Option<&Path>,
) -> Result<(Graph, BTreeSet<String>), SourceError> {
    let proto = model.graph.ok_or_else(|| SourceError::malformed("not an ONNX model: it has no graph"))?;
    if proto.node.len() > MAX_NODES {
        let message = format!("the graph has more than {MAX_NODES} nodes");
        return Err(SourceError::new(ErrorKind::TooLarge, message));
    }
    if !proto.sparse_initializer.is_empty() {
        return Err(SourceError::unsupported("sparse initializers are not supported"));
    }
    let opset = model
        .opset_import
        .iter()
        .find(|import| matches!(import.domain.as_deref(), None | Some("" | "ai.onnx")))
        .and_then(|import| import.version)
        .unwrap_or(1);
    let metadata =
        model.metadata_props.into_iter().filter_map(|entry| Some((entry.key?, entry.value?))).collect();
    let mut builder = Builder {
        graph: Graph { opset, metadata, ..Graph::default() },
        by_name: HashMap::new(),
        external: External::new(folder),
        inliner: Inliner::new(model.functions),
    };
    builder.graph(proto)?;
    Ok((builder.graph, builder.external.into_names()))
}

/// Collects a graph while its names are resolved.
struct Builder<'a> {
    graph: Graph,
    by_name: HashMap<String, TensorId>,
    external: External<'a>,
    inliner: Inliner,
}

impl Builder<'_> {
    fn graph(&mut self, proto: GraphProto) -> Result<(), SourceError> {
        for initializer in proto.initializer {
            self.initializer(&initializer)?;
        }
        for input in proto.input {
            let name = input.name.clone().unwrap_or_default();
            // Exports in the style of IR 3 list initializers among the inputs.
            if self.by_name.contains_key(&name) {
                continue;
            }
            let id = self.define(&name)?;
            self.graph.tensors[id.0].shape = declared_shape(&input);
            self.graph.inputs.push(id);
            if let Some(element) = declared_type(&input)? {
                self.graph.input_types.insert(id, element);
            }
        }
        for node in order::sorted(proto.node) {
            self.nodes(node, 0)?;
        }
        for output in proto.output {
            let name = output.name.unwrap_or_default();
            let id = self.by_name.get(&name).copied().ok_or_else(|| {
                SourceError::malformed(format!("graph output \"{name}\" is written by no node"))
            })?;
            self.graph.outputs.push(id);
        }
        Ok(())
    }

    fn initializer(&mut self, initializer: &TensorProto) -> Result<(), SourceError> {
        let name = initializer.name.clone().unwrap_or_default();
        let id = self.define(&name)?;
        let constant = tensor::decode(initializer, &mut self.external).map_err(|error| {
            let message = format!("initializer \"{name}\": {}", error.message());
            SourceError::new(error.kind(), message)
        })?;
        self.graph.tensors[id.0].shape = Some(constant.shape().to_vec());
        self.graph.tensors[id.0].constant = Some(Arc::new(constant));
        Ok(())
    }

    /// A node, or those that it stands for.
    fn nodes(&mut self, proto: NodeProto, depth: usize) -> Result<(), SourceError> {
        let name = name_of(&proto);
        let op_type = proto.op_type.clone().unwrap_or_default();
        let blame = |error: SourceError| error.at(&name, &op_type);
        let called = self.inliner.call(&proto, self.graph.opset).map_err(blame)?;
        let is_branch = op_type == "If" && matches!(proto.domain.as_deref(), None | Some("" | "ai.onnx"));
        if called.is_none() && !is_branch {
            return self.node(proto);
        }
        if depth >= inline::MAX_DEPTH {
            return Err(blame(SourceError::malformed(
                "functions or branches inside one another without end",
            )));
        }
        if let Some(nodes) = called {
            return nodes.into_iter().try_for_each(|node| self.nodes(node, depth + 1));
        }
        let condition = proto.input.first().and_then(|name| self.by_name.get(name).copied());
        let condition = condition.and_then(|id| inline::condition(&self.graph, id)).ok_or_else(|| {
            blame(SourceError::unsupported(
                "its condition is no constant; expected a graph without branches, as an export for one size of pictures is",
            ))
        })?;
        let branch = self.inliner.branch(&proto, condition).map_err(blame)?;
        branch.initializer.iter().try_for_each(|initializer| self.initializer(initializer))?;
        branch.node.into_iter().try_for_each(|node| self.nodes(node, depth + 1))
    }

    /// Introduces a tensor that must not exist yet.
    fn define(&mut self, name: &str) -> Result<TensorId, SourceError> {
        let id = self.graph.add_tensor(TensorInfo { name: name.to_owned(), ..Default::default() });
        if self.by_name.insert(name.to_owned(), id).is_some() {
            return Err(SourceError::malformed(format!("tensor \"{name}\" is defined twice")));
        }
        Ok(id)
    }

    fn node(&mut self, proto: NodeProto) -> Result<(), SourceError> {
        let name = name_of(&proto);
        let op_type = proto.op_type.unwrap_or_default();
        let blame = |error: SourceError| error.at(&name, &op_type);
        let items = [proto.input.len(), proto.output.len(), proto.attribute.len()];
        if items.iter().any(|&count| count > MAX_NODE_ITEMS) {
            let message = format!("more than {MAX_NODE_ITEMS} inputs, outputs or attributes");
            return Err(blame(SourceError::new(ErrorKind::TooLarge, message)));
        }
        let mut inputs = Vec::with_capacity(proto.input.len());
        for input in &proto.input {
            inputs.push(match input.as_str() {
                "" => None,
                input => Some(*self.by_name.get(input).ok_or_else(|| {
                    blame(SourceError::malformed(format!(
                        "reads tensor \"{input}\", which nothing before it writes"
                    )))
                })?),
            });
        }
        let mut attributes = BTreeMap::new();
        for attribute in proto.attribute {
            let key = attribute.name.clone().unwrap_or_default();
            if let Some(value) = decode_attribute(attribute, &mut self.external).map_err(blame)? {
                attributes.insert(key, value);
            }
        }
        let mut outputs = Vec::with_capacity(proto.output.len());
        for output in &proto.output {
            // An optional output that is not wanted has an empty name; it still needs an identity.
            outputs.push(match output.as_str() {
                "" => self.graph.add_tensor(TensorInfo::default()),
                output => self.define(output).map_err(blame)?,
            });
        }
        let domain = decode_domain(proto.domain.as_deref().unwrap_or_default());
        let mut node = Node { name, domain, op_type, inputs, outputs, attributes, quantizer: None };
        upgrade::node(&mut self.graph, &mut node).map_err(|error| node.blame(error))?;
        fused::node(&mut self.graph, &mut node).map_err(|error| node.blame(error))?;
        if self.graph.nodes.len() >= MAX_NODES {
            let message = format!("the graph has more than {MAX_NODES} nodes");
            return Err(SourceError::new(ErrorKind::TooLarge, message));
        }
        self.graph.nodes.push(node);
        Ok(())
    }
}

/// A node's name, or that of its first output.
fn name_of(proto: &NodeProto) -> String {
    let name = proto.name.clone().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| proto.output.first().cloned().unwrap_or_default())
}

fn decode_domain(domain: &str) -> Domain {
    match domain {
        "" | "ai.onnx" => Domain::Onnx,
        "com.microsoft" => Domain::Microsoft,
        // Brevitas, QONNX and FINN used these names over the years; the operators are the same.
        "qonnx.custom_op.general" | "onnx.brevitas" | "finn.custom_op.general" => Domain::Qonnx,
        other => Domain::Other(other.to_owned()),
    }
}

/// Extents of an input, 0 where the model leaves one open.
fn declared_shape(info: &ValueInfoProto) -> Option<Vec<usize>> {
    let shape = info.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    let extent = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    Some(shape.dim.iter().map(|dim| extent(dim.dim_value).unwrap_or(0)).collect())
}

/// Type of an input's elements, if it declares one.
fn declared_type(info: &ValueInfoProto) -> Result<Option<ElementType>, SourceError> {
    let number = info.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()?.elem_type);
    let Some(number) = number.filter(|&number| number != 0) else { return Ok(None) };
    let element = element_type(number).ok_or_else(|| {
        let name = info.name.as_deref().unwrap_or_default();
        SourceError::unsupported(format!("input \"{name}\" holds elements of ONNX data type {number}"))
    })?;
    Ok(Some(element))
}

/// `None` for kinds of attributes that no operator we know has (subgraphs, lists of text).
fn decode_attribute(
    attribute: AttributeProto,
    external: &mut External<'_>,
) -> Result<Option<Attribute>, SourceError> {
    const FLOAT: i32 = 1;
    const INT: i32 = 2;
    const STRING: i32 = 3;
    const TENSOR: i32 = 4;
    const FLOATS: i32 = 6;
    const INTS: i32 = 7;
    Ok(match attribute.r#type {
        Some(FLOAT) => Some(Attribute::Float(attribute.f.unwrap_or_default())),
        Some(INT) => Some(Attribute::Int(attribute.i.unwrap_or_default())),
        Some(STRING) => {
            let text = attribute.s.unwrap_or_default();
            Some(Attribute::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        Some(TENSOR) => match attribute.t {
            Some(proto) => Some(Attribute::Tensor(Arc::new(tensor::decode(&proto, external)?))),
            None => return Err(SourceError::malformed("a tensor attribute without a tensor")),
        },
        Some(FLOATS) => Some(Attribute::Floats(attribute.floats)),
        Some(INTS) => Some(Attribute::Ints(attribute.ints)),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
