//! From a graph's outputs back to the convolutions that they come from.

use std::collections::{BTreeSet, HashMap};

use super::{Map, not_a_detector};
use crate::error::ConvertError;
use ylb_source::eval;
use ylb_source::ir::{Graph, Node, Tensor, TensorId};

/// A graph with the producers of its tensors.
pub(super) struct Finder<'g> {
    pub graph: &'g Graph,
    producers: Vec<Option<usize>>,
}

/// Whether a node writes what may be a head: a convolution, or the quantizer behind it.
pub fn is_head(graph: &Graph, producers: &[Option<usize>], node: &Node) -> bool {
    let producer = |id: TensorId| producers[id.0].map(|index| &graph.nodes[index]);
    let from_conv = |id: TensorId| producer(id).is_some_and(|node| node.is("Conv"));
    node.is("Conv") || (node.quantizer.is_some() && node.input(0).is_some_and(from_conv))
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

    /// A feature map, whose anchors are not known yet.
    pub fn map(&self, tensor: TensorId) -> Result<Map, ConvertError> {
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
        Ok(Map { tensor, channels, size, stride, anchors_per_cell: 0, anchors: Vec::new(), scale_xy: 1.0 })
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
            let Some(outputs) = eval::evaluate(node, &inputs, self.graph.opset)? else {
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
