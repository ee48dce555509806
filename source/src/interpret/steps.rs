//! The interpreter's parts, for those who run a graph in arithmetic of their own: what is known without a picture, which
//! nodes need one, and each of them alone.

use std::sync::Arc;

use super::{Interpreter, evaluate};
use crate::error::SourceError;
use crate::eval::Inputs;
use crate::ir::{Graph, Node, Tensor, TensorId};

impl Interpreter {
    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A tensor that needs no picture.
    pub fn constant(&self, id: TensorId) -> Option<&Arc<Tensor>> {
        self.constants[id.0].as_ref()
    }

    /// Indices of the nodes that need a picture, in the order of computation.
    pub fn steps(&self) -> &[usize] {
        &self.steps
    }

    /// Whether the step at a position is the last that reads a tensor, which is no output of the graph.
    pub fn is_last_reader(&self, id: TensorId, position: usize) -> bool {
        self.last_reader[id.0] == position && !self.graph.outputs.contains(&id)
    }

    /// What the graph's input is for a picture: `pixels` are bytes, `[3, height, width]`.
    ///
    /// # Errors
    /// If there are not as many pixels as the input has elements.
    pub fn picture(&self, pixels: &[u8]) -> Result<Tensor, SourceError> {
        self.feed.picture(pixels, self.size)
    }

    /// What a byte of the picture is multiplied by in the graph's input; `None` for inputs of integers, which take the bytes.
    pub fn picture_scale(&self) -> Option<f32> {
        self.feed.scale()
    }

    /// Outputs of a node that needs a picture, in 64-bit floats; shapes and integers stay what they are.
    ///
    /// # Errors
    /// If the node is not known here, or contradicts itself.
    pub fn node(&self, node: &Node, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, SourceError> {
        // Shapes are computed with as the types say.
        let from_picture = inputs.iter().flatten().any(|tensor| tensor.element().is_float());
        let results = evaluate(node, inputs, from_picture, self.graph.opset);
        results.map(|results| results.tensors).map_err(|error| node.blame(error))
    }
}
