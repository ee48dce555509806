//! Rewrites linear layers between a pooled map and its gate as convolutions of one pixel.
//!
//! ```text
//! [1, c, 1, 1] ─ Flatten ─ Gemm ─ Relu ─ quantizer ─ MatMul ─ Add ─ Reshape ─ Expand ─ Mul
//! [1, c, 1, 1] ─ Conv 1×1 ─ Relu ─ quantizer ─ Conv 1×1 ─ Add ─ Mul
//! ```
//!
//! A vector `[1, c]` is a feature map of one pixel. What works element by element does so in either shape, its constants
//! brought into that of the pixel; a reduction of a map keeps its extents of 1; and an `Expand` in front of a product is what
//! the product does by itself.

use std::collections::HashSet;
use std::sync::Arc;

use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::QuantizedConstant;

use super::spelled::is_elementwise;
use crate::error::ConvertError;

/// Runs the pass. Returns how many linear layers became convolutions.
///
/// # Errors
/// If weights contradict their shape.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut pass = Pass { vectors: HashSet::new(), shrunk: HashSet::new(), layers: 0 };
    let factors = factors(graph);
    for node in std::mem::take(&mut graph.nodes) {
        let constant = node.outputs.iter().all(|&id| graph.constant(id).is_some());
        let rewritten = match node.outputs.as_slice() {
            &[output] if !constant => pass.node(graph, &factors, &node, output),
            _ => Ok(None),
        };
        let rewritten = rewritten.map_err(|error| node.blame(error))?;
        graph.nodes.push(rewritten.unwrap_or(node));
    }
    Ok(pass.layers)
}

/// Tensors that nothing but products read, be it through a quantizer.
fn factors(graph: &Graph) -> Vec<bool> {
    let mut factors = vec![true; graph.tensors.len()];
    graph.outputs.iter().for_each(|id| factors[id.0] = false);
    for node in graph.nodes.iter().rev() {
        let hands_on = node.quantizer.is_some() || node.is("Identity");
        let fits = node.is("Mul") || (hands_on && node.outputs.iter().all(|id| factors[id.0]));
        node.inputs.iter().flatten().for_each(|id| factors[id.0] &= fits);
    }
    factors
}

struct Pass {
    /// Tensors of shape `[1, c]` in the file, which have the shape `[1, c, 1, 1]` now.
    vectors: HashSet<TensorId>,
    /// Tensors of one pixel that are maps of equal pixels in the file.
    shrunk: HashSet<TensorId>,
    layers: usize,
}

impl Pass {
    fn node(
        &mut self,
        graph: &mut Graph,
        factors: &[bool],
        node: &Node,
        output: TensorId,
    ) -> Result<Option<Node>, ConvertError> {
        let Some(input) = node.input(0) else { return Ok(None) };
        let from = graph.tensor(input).shape.clone().unwrap_or_default();
        let to = graph.tensor(output).shape.clone().unwrap_or_default();
        match node.op_type.as_str() {
            _ if node.domain != Domain::Onnx => {}
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => {
                return Ok(self.reshaped(graph, node, [&from, &to]));
            }
            "ReduceMean" | "ReduceMax" => {
                if let (&[1, _, _, _], &[1, channels]) = (&from[..], &to[..]) {
                    let mut kept = node.clone();
                    kept.attributes.insert("keepdims".into(), Attribute::Int(1));
                    self.make_pixel(graph, output, channels);
                    return Ok(Some(kept));
                }
            }
            "Gemm" | "MatMul" if self.vectors.contains(&input) => return self.layer(graph, node, output),
            "Expand" => {
                if let (&[1, channels, 1, 1], &[1, same, _, _]) = (&from[..], &to[..])
                    && channels == same
                    && factors[output.0]
                {
                    graph.tensors[output.0].shape = Some(from);
                    self.shrunk.insert(output);
                    return Ok(Some(handed_on(node)));
                }
            }
            _ => {}
        }
        if self.shrunk.contains(&input) && !node.is("Mul") {
            return Ok(Some(self.pixel_of_map(graph, node, output, from)));
        }
        self.elementwise(graph, node, output)
    }

    /// A pixel that becomes a vector, or a vector that becomes a pixel.
    fn reshaped(&mut self, graph: &mut Graph, node: &Node, [from, to]: [&[usize]; 2]) -> Option<Node> {
        let (&[1, channels, 1, 1], output) = (from, *node.outputs.first()?) else { return None };
        match *to {
            [1, same] if same == channels => self.make_pixel(graph, output, channels),
            [1, same, 1, 1] if same == channels => {}
            _ => return None,
        }
        Some(handed_on(node))
    }

    /// A quantizer between an `Expand` and a product: of one pixel, so that its codes are fewer than the file's.
    fn pixel_of_map(&mut self, graph: &mut Graph, node: &Node, output: TensorId, shape: Vec<usize>) -> Node {
        let mut own = node.clone();
        if let Some(quantizer) = &mut own.quantizer {
            Arc::make_mut(quantizer).codes_name.clear();
        }
        graph.tensors[output.0].shape = Some(shape);
        self.shrunk.insert(output);
        own
    }

    fn make_pixel(&mut self, graph: &mut Graph, tensor: TensorId, channels: usize) {
        graph.tensors[tensor.0].shape = Some(vec![1, channels, 1, 1]);
        self.vectors.insert(tensor);
    }

    /// What works element by element on vectors, and their quantizers.
    fn elementwise(
        &mut self,
        graph: &mut Graph,
        node: &Node,
        output: TensorId,
    ) -> Result<Option<Node>, ConvertError> {
        let moving: Vec<TensorId> =
            node.inputs.iter().flatten().copied().filter(|&id| graph.constant(id).is_none()).collect();
        let functions =
            ["Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "Tanh", "BatchNormalization", "PRelu"];
        let known = is_elementwise(node)
            || node.quantizer.is_some()
            || functions.iter().any(|op_type| node.is(op_type));
        if !known || moving.is_empty() || !moving.iter().all(|id| self.vectors.contains(id)) {
            return Ok(None);
        }
        let Some(&[1, channels]) = graph.tensor(output).shape.as_deref() else { return Ok(None) };
        let mut own = node.clone();
        if !node.is("BatchNormalization") && !node.is("Clip") {
            for input in own.inputs.iter_mut().flatten() {
                if let Some(constant) = graph.constant(*input).filter(|tensor| tensor.len() > 1).cloned() {
                    let shape = [1, constant.len(), 1, 1];
                    let pixel = Tensor::clone(&constant).reshaped(&shape)?;
                    let constant = Some(Arc::new(pixel));
                    let info = TensorInfo { shape: Some(shape.to_vec()), constant, ..TensorInfo::default() };
                    *input = graph.add_tensor(info);
                }
            }
        }
        // Its codes have two extents in the file: their name would stand for a tensor of another shape.
        if let Some(quantizer) = &mut own.quantizer {
            Arc::make_mut(quantizer).codes_name.clear();
        }
        self.make_pixel(graph, output, channels);
        Ok(Some(own))
    }

    /// `x · W + b` with constant `W` as a convolution.
    fn layer(
        &mut self,
        graph: &mut Graph,
        node: &Node,
        output: TensorId,
    ) -> Result<Option<Node>, ConvertError> {
        let gemm = node.is("Gemm");
        let factors = [node.float("alpha", 1.0), node.float("beta", 1.0)];
        if gemm && (factors != [1.0, 1.0] || node.int("transA", 0) != 0) {
            return Err(ConvertError::unsupported(
                "a linear layer with factors or a transposed input; expected alpha 1, beta 1 and transA 0",
            ));
        }
        let (Some(input), Some(weights)) = (node.input(0), node.input(1)) else { return Ok(None) };
        let info = graph.tensor(weights).clone();
        let (Some(constant), Some(&[rows, columns])) = (&info.constant, info.shape.as_deref()) else {
            return Err(ConvertError::unsupported("a product of activations; expected constant weights"));
        };
        let outputs_first = gemm && node.int("transB", 0) != 0;
        let [outputs, inputs] = if outputs_first { [rows, columns] } else { [columns, rows] };
        let order: Vec<usize> = (0..outputs * inputs)
            .map(|at| if outputs_first { at } else { at % inputs * columns + at / inputs })
            .collect();
        let shape = [outputs, inputs, 1, 1];
        let per_row = |numbers: &[f64]| numbers.len() == 1 || outputs_first;
        let reordered = |quantized: &Arc<QuantizedConstant>| {
            let codes = order.iter().map(|&at| quantized.codes[at]).collect();
            Arc::new(QuantizedConstant { codes, ..quantized.as_ref().clone() })
        };
        // Numbers along the inputs are none of a convolution: the grid is found anew.
        let quantized = info
            .quantized
            .as_ref()
            .filter(|quantized| per_row(&quantized.scale) && per_row(&quantized.zero_point))
            .map(reordered);
        let constant = Some(Arc::new(constant.gathered(&shape, &order)?));
        let own = TensorInfo { shape: Some(shape.to_vec()), constant, quantized, name: info.name.clone() };
        let mut inputs = vec![Some(input), Some(graph.add_tensor(own))];
        if let Some(bias) = node.input(2).filter(|_| gemm) {
            let Some(constant) = graph.constant(bias) else {
                return Err(ConvertError::unsupported("expected a constant bias"));
            };
            let numbers = constant.to_f64();
            let numbers = if numbers.len() == 1 { vec![numbers[0]; outputs] } else { numbers };
            let constant = Some(Arc::new(Tensor::f64(&[numbers.len()], numbers)?));
            let shape = Some(vec![outputs]);
            inputs.push(Some(graph.add_tensor(TensorInfo { shape, constant, ..TensorInfo::default() })));
        }
        self.make_pixel(graph, output, outputs);
        self.layers += 1;
        Ok(Some(Node { inputs, ..node.rewritten(Domain::Onnx, "Conv", &[]) }))
    }
}

/// A node that hands its first input on.
fn handed_on(node: &Node) -> Node {
    Node { inputs: node.inputs[..1].to_vec(), ..node.rewritten(Domain::Onnx, "Identity", &[]) }
}
