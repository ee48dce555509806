//! The float network on a picture, fast: what takes time is computed in 32-bit floats here, the rest by the interpreter.
//!
//! | operator | is computed |
//! |---|---|
//! | `Conv` | as a product of matrices, in blocks ([`conv`]) |
//! | `Sigmoid`, `Relu`, `LeakyRelu`, `BatchNormalization`; `Mul` and `Add` of equal shapes; `Concat` of channels | in plain loops ([`elementwise`]) |
//! | everything else | by [`Interpreter::node`], in 64 bits, then rounded to 32 |
//!
//! Nothing depends on the number of threads or on the machine: sums have one order, and the exponential function is
//! one of our own.

use std::sync::Arc;

use ylb_source::SourceError;
use ylb_source::interpret::Interpreter;
use ylb_source::ir::{ElementType, Graph, Node, Tensor, TensorId};

pub mod conv;
pub mod elementwise;

use conv::Convolution;

use crate::grid::Grid;

/// A float network, ready to be run.
#[derive(Debug)]
pub struct Forward {
    interpreter: Interpreter,
    /// The convolution of a step, by position.
    convolutions: Vec<Option<Convolution>>,
}

/// What is known of a picture: tensors by [`TensorId`].
#[derive(Clone, Debug)]
pub struct Values(Vec<Option<Arc<Tensor>>>);

impl Values {
    /// A tensor that depends on the picture.
    pub fn get(&self, id: TensorId) -> Option<&Arc<Tensor>> {
        self.0[id.0].as_ref()
    }

    /// Sets one.
    pub fn set(&mut self, id: TensorId, tensor: Arc<Tensor>) {
        self.0[id.0] = Some(tensor);
    }
}

impl Forward {
    /// Reads a graph for pictures of `[height, width]` pixels.
    ///
    /// # Errors
    /// If it takes no such picture, or a constant cannot be computed.
    pub fn new(graph: Graph, size: [usize; 2]) -> Result<Self, SourceError> {
        let interpreter = Interpreter::of_graph(graph, size)?;
        let graph = interpreter.graph();
        let convolution = |&index: &usize| {
            let node = &graph.nodes[index];
            if !node.is("Conv") {
                return Ok(None);
            }
            let constant = |position: usize| node.input(position).and_then(|id| interpreter.constant(id));
            let Some(weights) = constant(1) else { return Ok(None) };
            let bias = constant(2).map(Arc::as_ref);
            Convolution::new(node, weights, bias).map(Some).map_err(|error| node.blame(error))
        };
        let convolutions = interpreter.steps().iter().map(convolution).collect::<Result<_, _>>()?;
        Ok(Self { interpreter, convolutions })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        self.interpreter.graph()
    }

    /// A tensor that needs no picture.
    pub fn constant(&self, id: TensorId) -> Option<&Arc<Tensor>> {
        self.interpreter.constant(id)
    }

    /// The grid of the picture's bytes, where the input takes floats.
    pub fn picture_grid(&self) -> Option<(TensorId, Grid)> {
        let scale = self.interpreter.picture_scale()?;
        Some((self.graph().inputs[0], Grid::equal(scale, 0, u8::MAX)))
    }

    /// How many nodes depend on the picture.
    pub fn len(&self) -> usize {
        self.interpreter.steps().len()
    }

    /// The node of a step.
    pub fn node(&self, position: usize) -> &Node {
        &self.graph().nodes[self.interpreter.steps()[position]]
    }

    /// The convolution of a step, if it is one with constant weights.
    pub fn convolution(&self, position: usize) -> Option<&Convolution> {
        self.convolutions[position].as_ref()
    }

    /// The beginning: a picture, bytes of `[3, height, width]`, and nothing else.
    ///
    /// # Errors
    /// If there are not as many bytes as the picture has.
    pub fn start(&self, pixels: &[u8]) -> Result<Values, SourceError> {
        let mut values = Values(vec![None; self.graph().tensors.len()]);
        let picture = self.interpreter.picture(pixels)?;
        values.set(self.graph().inputs[0], Arc::new(narrowed(picture)?));
        Ok(values)
    }

    /// Computes a step, and forgets what nobody reads any more, but for the tensors in `keep`.
    ///
    /// # Errors
    /// If the node is not known, or contradicts itself.
    pub fn step(&self, position: usize, values: &mut Values, keep: &[TensorId]) -> Result<(), SourceError> {
        self.step_with(position, values, keep, self.convolution(position))
    }

    /// The same with another convolution in the place of the step's own.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_with(
        &self,
        position: usize,
        values: &mut Values,
        keep: &[TensorId],
        convolution: Option<&Convolution>,
    ) -> Result<(), SourceError> {
        let node = self.node(position);
        let outputs = self.outputs(node, values, convolution).map_err(|error| node.blame(error))?;
        for (id, tensor) in node.outputs.iter().zip(outputs) {
            values.set(*id, tensor);
        }
        for id in node.inputs.iter().flatten() {
            if self.interpreter.is_last_reader(*id, position) && !keep.contains(id) {
                values.0[id.0] = None;
            }
        }
        Ok(())
    }

    fn outputs(
        &self,
        node: &Node,
        values: &Values,
        convolution: Option<&Convolution>,
    ) -> Result<Vec<Arc<Tensor>>, SourceError> {
        let mut inputs: Vec<Option<&Arc<Tensor>>> = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            inputs.push(match id {
                None => None,
                Some(id) => Some(values.get(*id).or_else(|| self.constant(*id)).ok_or_else(|| {
                    let name = &self.graph().tensor(*id).name;
                    SourceError::malformed(format!("tensor \"{name}\" was not computed"))
                })?),
            });
        }
        if let (Some(convolution), Some(&Some(input))) = (convolution, inputs.first()) {
            return Ok(vec![Arc::new(convolution.run(node, input)?)]);
        }
        if let Some(same) = elementwise::copied(node, &inputs) {
            return Ok(vec![same]);
        }
        let tensors: Vec<Option<&Tensor>> = inputs.iter().map(|input| input.map(Arc::as_ref)).collect();
        if let Some(output) = elementwise::evaluate(node, &tensors)? {
            return Ok(vec![Arc::new(output)]);
        }
        let outputs = self.interpreter.node(node, &tensors)?;
        outputs.into_iter().map(|tensor| narrowed(tensor).map(Arc::new)).collect()
    }
}

/// Floats of 64 bits as floats of 32.
fn narrowed(tensor: Tensor) -> Result<Tensor, SourceError> {
    if tensor.element() != ElementType::F64 {
        return Ok(tensor);
    }
    Tensor::f32(tensor.shape(), (0..tensor.len()).map(|index| tensor.get(index) as f32).collect())
}

#[cfg(test)]
mod tests;
