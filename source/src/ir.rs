//! The graph that sources are read into: what passes read and change. No protobuf type gets here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Blame, SourceError};
use crate::quantizer::{QuantizedConstant, Quantizer};

mod builder;
mod tensor;

pub use builder::Builder;
pub use tensor::{Data, ElementType, MAX_ELEMENTS, Tensor, element_count};

/// Index of a tensor in [`Graph::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub usize);

/// What is known about a tensor.
#[derive(Clone, Debug, Default)]
pub struct TensorInfo {
    /// Its name in the source model. Never parsed for meaning.
    pub name: String,
    /// Its extents, once known.
    pub shape: Option<Vec<usize>>,
    /// Its elements, if they do not depend on the picture. Shared, never edited in place.
    pub constant: Option<Arc<Tensor>>,
    /// For constants that lie on a quantization grid: the codes.
    pub quantized: Option<Arc<QuantizedConstant>>,
}

/// Value of a node's attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A float.
    Float(f32),
    /// An integer.
    Int(i64),
    /// Bytes, mostly text.
    Text(String),
    /// A tensor.
    Tensor(Arc<Tensor>),
    /// Floats.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
}

/// Where an operator is defined, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The standard's default domain.
    Onnx,
    /// QONNX: `qonnx.custom_op.general` and its older names.
    Qonnx,
    /// `com.microsoft`.
    Microsoft,
    /// An operator of this converter: `FakeQuant`, or what `Trunc` is written as.
    Converter,
    /// Any other.
    Other(String),
}

/// One operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the source model, or that of its first output if it has none.
    pub name: String,
    /// Where its operator is defined.
    pub domain: Domain,
    /// The operator's type, such as `Conv`.
    pub op_type: String,
    /// Tensors read; `None` where an optional one is absent.
    pub inputs: Vec<Option<TensorId>>,
    /// Tensors written.
    pub outputs: Vec<TensorId>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// For `FakeQuant` of [`Domain::Converter`]: what it does.
    pub quantizer: Option<Arc<Quantizer>>,
}

/// A model: nodes in topological order over shared tensors.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// All tensors.
    pub tensors: Vec<TensorInfo>,
    /// All nodes, each behind those it reads from.
    pub nodes: Vec<Node>,
    /// Inputs without initializers; their shapes hold 0 for extents that the model leaves open.
    pub inputs: Vec<TensorId>,
    /// The inputs' types, of those that declare one.
    pub input_types: BTreeMap<TensorId, ElementType>,
    /// Outputs in the model's order.
    pub outputs: Vec<TensorId>,
    /// Version of the default operator set.
    pub opset: i64,
    /// Free-form properties of the model, such as YOLOv5's `names` and `stride`.
    pub metadata: BTreeMap<String, String>,
}

impl Node {
    /// The attribute of a node that a pass wrote, which says which operator of the file it stands for.
    const WRITTEN_FOR: &'static str = "written_for";

    /// Another operator in the place of this one: with its name and its outputs, and in messages still the operator that
    /// the file has there, however often it is rewritten.
    pub fn rewritten(&self, domain: Domain, op_type: &str, inputs: &[TensorId]) -> Self {
        Self {
            name: self.name.clone(),
            domain,
            op_type: op_type.to_owned(),
            inputs: inputs.iter().map(|&id| Some(id)).collect(),
            outputs: self.outputs.clone(),
            attributes: [(Self::WRITTEN_FOR.to_owned(), Attribute::Text(self.written_for()))].into(),
            quantizer: None,
        }
    }

    /// The same node with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: Attribute) -> Self {
        self.attributes.insert(name.to_owned(), value);
        self
    }

    /// The same node with other outputs.
    #[must_use]
    pub fn writing(self, outputs: &[TensorId]) -> Self {
        Self { outputs: outputs.to_vec(), ..self }
    }

    /// An attribute by name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.get(name)
    }

    /// An integer attribute, or the default where it is absent or of another type.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attribute(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// A float attribute, or the default where it is absent or of another type.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attribute(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    /// A text attribute, or the default where it is absent or of another type.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        match self.attribute(name) {
            Some(Attribute::Text(value)) => value,
            _ => default,
        }
    }

    /// An attribute that is a list of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// The input at a position, if it is present.
    pub fn input(&self, position: usize) -> Option<TensorId> {
        self.inputs.get(position).copied().flatten()
    }

    /// The input at a position.
    ///
    /// # Errors
    /// If it is absent.
    pub fn required_input(&self, position: usize) -> Result<TensorId, SourceError> {
        self.input(position)
            .ok_or_else(|| self.blame(SourceError::malformed(format!("expected an input number {position}"))))
    }

    /// The first output.
    ///
    /// # Errors
    /// If there is none.
    pub fn output(&self) -> Result<TensorId, SourceError> {
        let first = self.outputs.first().copied();
        first.ok_or_else(|| self.blame(SourceError::malformed("expected an output")))
    }

    /// Whether it is this operator of the default domain.
    pub fn is(&self, op_type: &str) -> bool {
        self.domain == Domain::Onnx && self.op_type == op_type
    }

    /// Whether it is this operator of the default domain or of `com.microsoft`, where it means the same.
    pub fn is_linear_quantizer(&self, op_type: &str) -> bool {
        matches!(self.domain, Domain::Onnx | Domain::Microsoft) && self.op_type == op_type
    }

    /// The operator that the file has in this place, with its domain where that is not the default: what messages call it.
    pub fn written_for(&self) -> String {
        if let Some(Attribute::Text(operator)) = self.attribute(Self::WRITTEN_FOR) {
            return operator.clone();
        }
        match &self.domain {
            Domain::Onnx | Domain::Converter => self.op_type.clone(),
            Domain::Qonnx => format!("qonnx.custom_op.general::{}", self.op_type),
            Domain::Microsoft => format!("com.microsoft::{}", self.op_type),
            Domain::Other(domain) => format!("{domain}::{}", self.op_type),
        }
    }

    /// Blames an error on this node.
    pub fn blame<E: Blame>(&self, error: E) -> E {
        error.at(&self.name, &self.written_for())
    }
}

impl Graph {
    /// What is known about a tensor.
    pub fn tensor(&self, id: TensorId) -> &TensorInfo {
        &self.tensors[id.0]
    }

    /// A tensor's elements, if constant.
    pub fn constant(&self, id: TensorId) -> Option<&Arc<Tensor>> {
        self.tensor(id).constant.as_ref()
    }

    /// A constant input of a node by position.
    pub fn constant_input(&self, node: &Node, position: usize) -> Option<&Arc<Tensor>> {
        node.input(position).and_then(|id| self.constant(id))
    }

    /// Appends a tensor.
    pub fn add_tensor(&mut self, info: TensorInfo) -> TensorId {
        self.tensors.push(info);
        TensorId(self.tensors.len() - 1)
    }

    /// For every tensor the index of the node that writes it.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.tensors.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for output in &node.outputs {
                producers[output.0] = Some(index);
            }
        }
        producers
    }
}
