//! The reference interpreter: what the source model computes, in plain loops and 64-bit floats.
//!
//! It runs the graph as the file has it, before anything was recognised or lowered, so that it checks
//! those parts and shares nothing with them but the reading of the file and the evaluator of
//! constants. Its arithmetic:
//!
//! | what | is computed in |
//! |---|---|
//! | everything that depends on the picture | 64-bit floats, in the graph's order |
//! | codes of constant weights | 32-bit floats, as the exporting frameworks do |
//! | what those codes stand for | 64-bit floats, so that `(code − zero point) · scale` is not rounded |
//! | other constants: scales, shapes, grids | the types that the file says |
//! | the picture | `byte / 255` in 32 bits, as YOLOv5 feeds it; the bytes where the graph takes them |

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::error::{ErrorKind, SourceError};
use crate::eval::{self, Budget, Inputs};
use crate::ir::{Data, Domain, ElementType, Graph, Node, Tensor, TensorId};
use crate::onnx;
use crate::picture::is_channels_last;

mod elementwise;
mod matrix;
mod picture;
mod qoperator;
mod quantize;
mod spatial;
mod steps;
mod tools;
mod trunc;

pub use matrix::evaluate as matrix;
pub use spatial::conv;

use picture::Feed;

/// A source model, ready to be run.
#[derive(Debug)]
pub struct Interpreter {
    graph: Graph,
    /// What needs no picture, by tensor.
    constants: Vec<Option<Arc<Tensor>>>,
    /// Nodes that need one, by index.
    steps: Vec<usize>,
    /// Position in `steps` of the last reader, by tensor.
    last_reader: Vec<usize>,
    size: [usize; 2],
    feed: Feed,
}

/// What a source model computes for one picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interpretation {
    /// Codes of the tensors that were asked for, by name. Tensors that the model does not have are
    /// absent.
    pub codes: BTreeMap<String, Vec<i32>>,
    /// The graph's outputs in its order.
    pub outputs: Vec<Reals>,
}

/// A tensor of 64-bit floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Reals {
    /// Its name in the source model.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<f64>,
}

/// A tensor while the graph is run.
#[derive(Clone, Debug)]
struct Operand {
    tensor: Arc<Tensor>,
    from_picture: bool,
}

/// Outputs of a node.
#[derive(Debug)]
struct Results {
    tensors: Vec<Tensor>,
    /// Codes behind the first output, where a quantizer gives real numbers.
    codes: Option<Vec<f64>>,
}

impl From<Tensor> for Results {
    fn from(tensor: Tensor) -> Self {
        Self { tensors: vec![tensor], codes: None }
    }
}

impl Interpreter {
    /// Reads a model for pictures of `[height, width]` pixels, and computes what needs no picture.
    /// Tensors that lie in other files are looked for in `folder`.
    ///
    /// # Errors
    /// If the file is no ONNX model, takes no such picture, or a constant cannot be computed.
    pub fn new(onnx: &[u8], folder: Option<&Path>, size: [usize; 2]) -> Result<Self, SourceError> {
        Self::of_graph(onnx::decode(onnx, folder)?.0, size)
    }

    /// Takes a graph that was read already.
    ///
    /// # Errors
    /// If it takes no picture of `[height, width]` pixels, or a constant cannot be computed.
    pub fn of_graph(graph: Graph, size: [usize; 2]) -> Result<Self, SourceError> {
        check_input(&graph, size)?;
        let constants = graph.tensors.iter().map(|info| info.constant.clone()).collect();
        let last_reader = vec![0; graph.tensors.len()];
        let feed = Feed::default();
        let mut interpreter = Self { graph, constants, steps: Vec::new(), last_reader, size, feed };
        interpreter.compute_constants()?;
        interpreter.feed = Feed::of(&interpreter)?;
        Ok(interpreter)
    }

    /// Names of all tensors that depend on the picture, in the order of computation.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        let outputs = self.steps.iter().flat_map(|&index| &self.graph.nodes[index].outputs);
        outputs.map(|id| self.graph.tensor(*id).name.as_str())
    }

    fn compute_constants(&mut self) -> Result<(), SourceError> {
        let mut budget = Budget::of(&self.graph);
        let needed = self.needed();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if !needed[index] {
                continue;
            }
            let known = |id: &Option<TensorId>| match id {
                Some(id) => self.constants[id.0].as_deref().map(Some),
                None => Some(None),
            };
            let Some(inputs) = node.inputs.iter().map(known).collect::<Option<Vec<_>>>() else {
                for id in node.inputs.iter().flatten() {
                    self.last_reader[id.0] = self.steps.len();
                }
                self.steps.push(index);
                continue;
            };
            let results = budget
                .take(node, &inputs)
                .and_then(|()| evaluate(node, &inputs, false, self.graph.opset))
                .map_err(|error| node.blame(error))?;
            for (id, tensor) in node.outputs.iter().zip(results.tensors) {
                self.constants[id.0] = Some(Arc::new(tensor));
            }
        }
        Ok(())
    }

    /// By node, whether some output of the graph depends on it; of a graph without outputs all are needed.
    fn needed(&self) -> Vec<bool> {
        let mut read: BTreeSet<TensorId> = self.graph.outputs.iter().copied().collect();
        let mut needed = vec![read.is_empty(); self.graph.nodes.len()];
        for (needed, node) in needed.iter_mut().zip(&self.graph.nodes).rev() {
            *needed |= node.outputs.iter().any(|id| read.contains(id));
            if *needed {
                read.extend(node.inputs.iter().flatten());
            }
        }
        needed
    }

    /// Runs the model on a picture: `pixels` are bytes, `[3, height, width]`, letterboxed already.
    /// `wanted` are names of tensors whose codes are to be kept: quantizers' outputs, or integers.
    /// `progress` is told how many of how many nodes are done.
    ///
    /// # Errors
    /// If there are not as many pixels as the input has elements, a node is not known here or
    /// contradicts itself, or a wanted tensor holds no codes.
    pub fn run(
        &self,
        pixels: &[u8],
        wanted: &BTreeSet<&str>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Interpretation, SourceError> {
        let constant = |tensor: &Option<Arc<Tensor>>| {
            tensor.clone().map(|tensor| Operand { tensor, from_picture: false })
        };
        let mut operands: Vec<Option<Operand>> = self.constants.iter().map(constant).collect();
        let picture = self.feed.picture(pixels, self.size)?;
        let input = self.graph.inputs[0];
        operands[input.0] = Some(Operand { tensor: Arc::new(picture), from_picture: true });
        let mut interpretation = Interpretation::default();
        for (position, &index) in self.steps.iter().enumerate() {
            progress(position, self.steps.len());
            let node = &self.graph.nodes[index];
            self.step(node, &mut operands, wanted, &mut interpretation.codes)
                .map_err(|error| node.blame(error))?;
            for id in node.inputs.iter().flatten() {
                if self.last_reader[id.0] == position && !self.graph.outputs.contains(id) {
                    operands[id.0] = None;
                }
            }
        }
        for id in &self.graph.outputs {
            let name = self.graph.tensor(*id).name.clone();
            let tensor = operands[id.0].as_ref().map(|operand| &operand.tensor).ok_or_else(|| {
                SourceError::malformed(format!("graph output \"{name}\" is written by no node"))
            })?;
            let (shape, data) = (tensor.shape().to_vec(), tensor.to_f64());
            interpretation.outputs.push(Reals { name, shape, data });
        }
        Ok(interpretation)
    }

    fn step(
        &self,
        node: &Node,
        operands: &mut [Option<Operand>],
        wanted: &BTreeSet<&str>,
        codes: &mut BTreeMap<String, Vec<i32>>,
    ) -> Result<(), SourceError> {
        let mut inputs: Vec<Option<Operand>> = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            inputs.push(match id {
                None => None,
                Some(id) => Some(operands[id.0].clone().ok_or_else(|| {
                    let name = &self.graph.tensor(*id).name;
                    SourceError::malformed(format!("tensor \"{name}\" was not computed"))
                })?),
            });
        }
        let from_picture = inputs.iter().flatten().any(|operand| operand.from_picture);
        let tensors: Vec<Option<&Tensor>> =
            inputs.iter().map(|operand| operand.as_ref().map(|operand| operand.tensor.as_ref())).collect();
        let results = evaluate(node, &tensors, from_picture, self.graph.opset)?;
        for (position, (id, tensor)) in node.outputs.iter().zip(results.tensors).enumerate() {
            let name = self.graph.tensor(*id).name.as_str();
            if wanted.contains(name) {
                let own = results.codes.as_deref().filter(|_| position == 0);
                codes.insert(name.to_owned(), own.map_or_else(|| integers(&tensor), whole)?);
            }
            // A shape is known once the picture's is.
            let from_picture = from_picture && !node.is("Shape");
            operands[id.0] = Some(Operand { tensor: Arc::new(tensor), from_picture });
        }
        Ok(())
    }
}

/// The graph must have one input, which takes a picture of this size.
fn check_input(graph: &Graph, size: [usize; 2]) -> Result<(), SourceError> {
    let &[input] = graph.inputs.as_slice() else {
        return Err(SourceError::new(
            ErrorKind::Unsupported,
            format!("the graph has {} inputs; expected one picture", graph.inputs.len()),
        ));
    };
    let info = graph.tensor(input);
    let picture = match info.shape.as_deref().is_some_and(is_channels_last) {
        true => [1, size[0], size[1], 3],
        false => [1, 3, size[0], size[1]],
    };
    let fits = |declared: &Vec<usize>| {
        declared.len() == 4 && declared.iter().zip(picture).all(|(&own, given)| own == 0 || own == given)
    };
    if info.shape.as_ref().is_none_or(fits) {
        return Ok(());
    }
    let shape = info.shape.as_deref().unwrap_or_default();
    let advice =
        if shape.first().is_some_and(|&batch| batch > 1) { ": export it with a batch of 1" } else { "" };
    Err(SourceError::unsupported(format!(
        "input \"{}\" has shape {shape:?}, which {picture:?} does not fit{advice}",
        info.name
    )))
}

/// Outputs of a node. `from_picture`: whether an input depends on the picture.
fn evaluate(
    node: &Node,
    inputs: &Inputs<'_>,
    from_picture: bool,
    opset: i64,
) -> Result<Results, SourceError> {
    if let Some(results) = quantize::evaluate(node, inputs, from_picture)? {
        return Ok(results);
    }
    if let Some(results) = tools::evaluate(node, inputs, from_picture)? {
        return Ok(results);
    }
    if let Some(tensor) = qoperator::evaluate(node, inputs, opset)? {
        return Ok(tensor.into());
    }
    let unknown = || SourceError::unsupported("the reference interpreter does not know this operator");
    if node.domain != Domain::Onnx {
        return Err(unknown());
    }
    if let Some(tensor) = spatial::evaluate(node, inputs, opset)? {
        return Ok(tensor.into());
    }
    if let Some(tensor) = matrix::evaluate(node, inputs)? {
        return Ok(tensor.into());
    }
    if let Some(tensor) = elementwise::evaluate(node, inputs)? {
        return Ok(tensor.into());
    }
    match node.op_type.as_str() {
        "Shape" => return Ok(shape_of(node, eval::required(inputs, 0)?).into()),
        // What the graph computes in 32 bits, or 16, is computed in 64 here.
        "Cast" if from_picture && is_float(node.int("to", 0)) => {
            let input = eval::required(inputs, 0)?;
            return Ok(Tensor::f64(input.shape(), input.to_f64())?.into());
        }
        _ => {}
    }
    let widened = widened(inputs)?;
    let inputs: Vec<Option<&Tensor>> =
        widened.iter().zip(inputs).map(|(wide, own)| wide.as_ref().or(*own)).collect();
    let mut tensors = eval::evaluate(node, &inputs, opset)?.ok_or_else(unknown)?;
    if matches!(node.op_type.as_str(), "Round" | "Floor" | "Ceil" | "Sign") {
        // The codes of weights whose quantizer is written out as arithmetic: from here on, 64 bits.
        // Single numbers are scales or widths, which stay what the framework makes of them.
        for tensor in tensors.iter_mut().filter(|t| t.element() == ElementType::F32 && t.len() > 1) {
            *tensor = Tensor::f64(tensor.shape(), tensor.to_f64())?;
        }
    }
    Ok(Results { tensors, codes: None })
}

/// 64-bit copies of the 32-bit inputs of a node that has 64-bit inputs; `None` for inputs that stay as they are.
///
/// # Errors
/// Never, of tensors that are what their shapes say.
pub fn widened(inputs: &Inputs<'_>) -> Result<Vec<Option<Tensor>>, SourceError> {
    let wide = inputs.iter().flatten().any(|tensor| tensor.element() == ElementType::F64);
    let widen = |input: &Option<&Tensor>| match input {
        Some(tensor) if wide && tensor.element() == ElementType::F32 => {
            Tensor::f64(tensor.shape(), tensor.to_f64()).map(Some)
        }
        _ => Ok(None),
    };
    inputs.iter().map(widen).collect()
}

/// Whether ONNX's number of a data type is that of a float.
fn is_float(data_type: i64) -> bool {
    let element = i32::try_from(data_type).ok().and_then(onnx::element_type);
    element.is_some_and(ElementType::is_float)
}

/// What `Shape` gives.
pub fn shape_of(node: &Node, input: &Tensor) -> Tensor {
    let rank = input.shape().len() as i64;
    let bound = |value: i64| (if value < 0 { value + rank } else { value }).clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)), bound(node.int("end", rank)));
    let extents: Vec<i64> = input.shape()[start..end.max(start)].iter().map(|&e| e as i64).collect();
    Tensor::indices(&extents)
}

/// Elements of a tensor of integers, whatever their type.
fn integers(tensor: &Tensor) -> Result<Vec<i32>, SourceError> {
    match tensor.data() {
        Data::Small(values) => Ok(values.iter().map(|&value| value.into()).collect()),
        _ => whole(&tensor.to_f64()),
    }
}

fn whole(numbers: &[f64]) -> Result<Vec<i32>, SourceError> {
    let integer = |&x: &f64| (x.fract() == 0.0 && x.abs() <= f64::from(i32::MAX)).then_some(x as i32);
    let integers: Option<Vec<i32>> = numbers.iter().map(integer).collect();
    integers.ok_or_else(|| SourceError::unsupported("its output holds no codes, which the model has of it"))
}

#[cfg(test)]
mod tests;
