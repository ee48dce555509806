//! From a graph's outputs back to the convolutions that they come from.

use std::collections::{BTreeSet, HashMap};

use super::{Map, Part, not_a_detector};
use crate::error::ConvertError;
use ylb_source::SourceError;
use ylb_source::ir::{Graph, Node, Tensor, TensorId};
use ylb_source::{eval, interpret};

/// A graph with the producers of its tensors.
pub(super) struct Finder<'g> {
    pub graph: &'g Graph,
    producers: Vec<Option<usize>>,
}

/// Whether a node writes what may be a head: a convolution, or the quantizer or the numbers by channel behind it. A
/// convolution of what a softmax gives is none: it takes the mean of distributions.
pub fn is_head(graph: &Graph, producers: &[Option<usize>], node: &Node) -> bool {
    if node.is("Conv") {
        return !node.input(0).is_some_and(|input| is_softmax(graph, producers, input));
    }
    let before = match node.quantizer.is_some() {
        true => node.input(0),
        false => before_numbers_by_channel(graph, node),
    };
    let producer = before.and_then(|id| producers[id.0]);
    producer.is_some_and(|index| is_head(graph, producers, &graph.nodes[index]))
}

/// Whether a tensor is what a softmax gives, moved or quantized.
fn is_softmax(graph: &Graph, producers: &[Option<usize>], mut tensor: TensorId) -> bool {
    while let Some(index) = producers[tensor.0] {
        let node = &graph.nodes[index];
        if node.is("Softmax") {
            return true;
        }
        let passes = node.quantizer.is_some() || eval::moves_elements(&node.op_type);
        match node.input(0).filter(|_| passes) {
            Some(input) => tensor = input,
            None => return false,
        }
    }
    false
}

/// What a node adds numbers by channel to, or multiplies by them: a head's implicit knowledge, or a normalization.
fn before_numbers_by_channel(graph: &Graph, node: &Node) -> Option<TensorId> {
    if !["Add", "Sub", "Mul", "Div"].iter().any(|op| node.is(op)) {
        return None;
    }
    let (a, b) = (node.input(0)?, node.input(1)?);
    let by_channel = |id: TensorId| {
        let shape = graph.constant(id).map(|constant| constant.shape());
        matches!(shape, Some(&[1, channels, 1, 1] | &[channels, 1, 1]) if channels > 1)
    };
    match (graph.constant(a).is_some(), graph.constant(b).is_some()) {
        (false, true) if by_channel(b) => Some(a),
        // A number less a head, or divided by one, is no head.
        (true, false) if by_channel(a) && (node.is("Add") || node.is("Mul")) => Some(b),
        _ => None,
    }
}

impl<'g> Finder<'g> {
    pub fn new(graph: &'g Graph) -> Self {
        Self { graph, producers: graph.producers() }
    }

    pub(super) fn producer(&self, id: TensorId) -> Option<&Node> {
        self.producers[id.0].map(|index| &self.graph.nodes[index])
    }

    /// The error with the name of the node that writes a tensor.
    pub fn blame(&self, id: TensorId, error: ConvertError) -> ConvertError {
        match self.producer(id) {
            Some(node) => node.blame(error),
            None => error,
        }
    }

    /// The nearest convolutions (with their quantizers) that an output is computed from.
    pub fn frontier(&self, output: TensorId) -> Result<Vec<TensorId>, ConvertError> {
        let mut seen = BTreeSet::from([output]);
        let mut pending = vec![output];
        let mut heads = Vec::new();
        while let Some(id) = pending.pop() {
            if self.graph.constant(id).is_some() {
                continue;
            }
            match self.producer(id) {
                Some(node) if is_head(self.graph, &self.producers, node) => heads.push(id),
                Some(node) => {
                    pending.extend(node.inputs.iter().flatten().filter(|&&id| seen.insert(id)));
                }
                None => {
                    return Err(not_a_detector(format!(
                        "output \"{}\" does not come from convolutions alone",
                        self.graph.tensor(output).name
                    )));
                }
            }
        }
        if heads.is_empty() {
            let name = &self.graph.tensor(output).name;
            return Err(not_a_detector(format!("output \"{name}\" does not depend on the picture")));
        }
        heads.sort();
        Ok(heads)
    }

    /// Feature maps by the size of their cells, the finest first. Heads of one size are parts of one map.
    pub fn maps(&self, heads: BTreeSet<TensorId>) -> Result<Vec<Map>, ConvertError> {
        let mut maps: Vec<Map> = Vec::with_capacity(heads.len());
        for tensor in heads {
            let map = self.map(tensor)?;
            match maps.iter_mut().find(|own| own.size == map.size) {
                Some(own) => own.parts.extend(map.parts),
                None => maps.push(map),
            }
        }
        maps.sort_by_key(|map| map.stride);
        Ok(maps)
    }

    /// A feature map of one part, whose fields and anchors are not known yet.
    fn map(&self, tensor: TensorId) -> Result<Map, ConvertError> {
        let image = self.graph.inputs.first().and_then(|&id| self.graph.tensor(id).shape.clone());
        let Some(&[_, _, image_height, image_width]) = image.as_deref() else {
            return Err(not_a_detector("expected a picture as input"));
        };
        let Some(&[1, channels, height, width]) = self.graph.tensor(tensor).shape.as_deref() else {
            return Err(self.shapeless(tensor));
        };
        let stride = image_height / height.max(1);
        if stride == 0 || stride * height != image_height || stride * width != image_width {
            let message = format!(
                "a head of {height}x{width} cells for a picture of {image_height}x{image_width} pixels; \
                 expected one stride"
            );
            return Err(self.blame(tensor, not_a_detector(message)));
        }
        let size = [height, width];
        let parts = vec![Part { tensor, channels, fields: 0..0 }];
        Ok(Map { parts, size, stride, anchors_per_cell: 1, anchors: Vec::new(), scale_xy: 1.0 })
    }

    /// Value of an output for given values of the heads.
    pub fn run(
        &self,
        output: TensorId,
        mut values: HashMap<TensorId, Tensor>,
    ) -> Result<Tensor, ConvertError> {
        if let Some(value) = values.remove(&output) {
            return Ok(value);
        }
        for node in &self.graph.nodes {
            let known =
                node.outputs.iter().all(|id| values.contains_key(id) || self.graph.constant(*id).is_some());
            let lookup = |id: &Option<TensorId>| match id {
                None => Some(None),
                Some(id) => {
                    let constant = self.graph.constant(*id).map(AsRef::as_ref);
                    values.get(id).or(constant).map(Some)
                }
            };
            let Some(inputs) = node.inputs.iter().map(lookup).collect::<Option<Vec<_>>>() else {
                continue;
            };
            if known || !node.inputs.iter().flatten().any(|id| values.contains_key(id)) {
                continue;
            }
            let Some(outputs) = evaluate(node, &inputs, self.graph.opset)? else {
                continue;
            };
            values.extend(node.outputs.iter().copied().zip(outputs));
        }
        match values.remove(&output) {
            Some(value) => Ok(value),
            None => Err(self.not_run(output, &values)),
        }
    }
}

/// Outputs of a node between heads and boxes; `None` if its operator is not known here.
fn evaluate(node: &Node, inputs: &eval::Inputs<'_>, opset: i64) -> Result<Option<Vec<Tensor>>, SourceError> {
    match eval::required(inputs, 0) {
        Ok(input) if node.is("Shape") => Ok(Some(vec![interpret::shape_of(node, input)])),
        _ if node.is("Conv") => {
            let output = interpret::conv(node, inputs).map_err(|error| node.blame(error))?;
            Ok(Some(vec![output]))
        }
        _ if node.is("MatMul") => {
            let output = interpret::matrix(node, inputs).map_err(|error| node.blame(error))?;
            Ok(output.map(|output| vec![output]))
        }
        _ => {
            // Heads are 64-bit floats, beside 32-bit constants.
            let widened = interpret::widened(inputs)?;
            let inputs: Vec<Option<&Tensor>> =
                widened.iter().zip(inputs).map(|(wide, own)| wide.as_ref().or(*own)).collect();
            eval::evaluate(node, &inputs, opset)
        }
    }
}
