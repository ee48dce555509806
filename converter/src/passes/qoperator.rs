//! Rewrites integer operators as what they mean: floats between quantizers.
//!
//! ```text
//! QLinearConv(x, w, B)        ─►  DequantizeLinear ×3 ─ Conv ─ QuantizeLinear
//! ConvInteger(x, w)           ─►  DequantizeLinear ×2 ─ Div ─ Conv
//! QLinearAdd, QLinearConcat   ─►  DequantizeLinear … ─ Add, Concat ─ QuantizeLinear
//! MaxPool on codes            ─►  DequantizeLinear ─ MaxPool
//! ```
//!
//! The last line holds for all operators that move codes or choose among them: the codes behind them
//! are those of the same quantizer, so they are followed as the real numbers that they stand for.

use std::collections::HashMap;
use std::sync::Arc;

use ylb_source::eval;
use ylb_source::ir::{Attribute, Domain, ElementType, Graph, Node, Tensor, TensorId, TensorInfo};

use crate::error::{ConvertError, ErrorKind};

/// Runs the pass. Returns how many integer operators were rewritten.
///
/// # Errors
/// For integer operators that are not known, and codes that are read with other parameters than they
/// were written with.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut rewriter = Rewriter { graph, parameters: HashMap::new(), reals: HashMap::new() };
    let mut rewritten = 0;
    for node in nodes {
        let result = rewriter.node(&node).map_err(|error| node.blame(error))?;
        rewritten += usize::from(result == Rewrite::IntegerOperator);
        if result == Rewrite::None {
            rewriter.graph.nodes.push(node);
        }
    }
    Ok(rewritten)
}

/// Scale and zero point of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parameters {
    scale: TensorId,
    zero_point: Option<TensorId>,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewrite {
    None,
    Movement,
    IntegerOperator,
}

struct Rewriter<'g> {
    graph: &'g mut Graph,
    /// Of every tensor of codes that a quantizer wrote.
    parameters: HashMap<TensorId, Parameters>,
    /// The real numbers that codes stand for, where some node makes them.
    reals: HashMap<TensorId, TensorId>,
}

/// Operators whose outputs are elements of their inputs.
const MOVEMENTS: &[&str] = &[
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "MaxPool",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Upsample",
];

impl Rewriter<'_> {
    fn node(&mut self, node: &Node) -> Result<Rewrite, ConvertError> {
        if node.is("Constant") {
            // Scales may be nodes; `constants` runs later.
            let value =
                eval::evaluate(node, &[], self.graph.opset)?.and_then(|values| values.into_iter().next());
            self.graph.tensors[node.output()?.0].constant = value.map(Arc::new);
            return Ok(Rewrite::None);
        }
        if node.is_linear_quantizer("QuantizeLinear") {
            let parameters = parameters(node, 1)?;
            self.parameters.insert(node.output()?, parameters);
            return Ok(Rewrite::None);
        }
        if node.is_linear_quantizer("DequantizeLinear") {
            return self.dequantize_moved(node);
        }
        if node.domain == Domain::Onnx && MOVEMENTS.contains(&node.op_type.as_str()) {
            return self.movement(node);
        }
        if !matches!(node.domain, Domain::Onnx | Domain::Microsoft) {
            return Ok(Rewrite::None);
        }
        match node.op_type.as_str() {
            "QLinearConv" => self.convolution(node)?,
            "QLinearAdd" => self.element_wise(node, "Add", 2)?,
            "QLinearMul" => self.element_wise(node, "Mul", 2)?,
            "QLinearSigmoid" => self.element_wise(node, "Sigmoid", 1)?,
            "QLinearLeakyRelu" => self.element_wise(node, "LeakyRelu", 1)?,
            "QLinearConcat" => self.concat(node)?,
            "ConvInteger" => self.integer_convolution(node)?,
            "DynamicQuantizeLinear" | "MatMulInteger" => {
                return Err(ConvertError::new(
                    ErrorKind::NotQuantized,
                    "an operator of dynamic quantization, whose scales depend on the picture; expected \
                     static quantization",
                ));
            }
            other if other.starts_with("QLinear") || other == "QGemm" => {
                return Err(ConvertError::unsupported(
                    "an integer operator that no YOLOv5 has; expected QLinearConv, QLinearAdd, \
                     QLinearMul, QLinearConcat, QLinearSigmoid or QLinearLeakyRelu",
                ));
            }
            _ => return Ok(Rewrite::None),
        }
        Ok(Rewrite::IntegerOperator)
    }

    /// Appends a node that writes a new tensor.
    fn push(
        &mut self,
        model: &Node,
        op_type: &str,
        inputs: &[Option<TensorId>],
        attributes: &[(&str, Attribute)],
    ) -> TensorId {
        let output = self.graph.add_tensor(TensorInfo::default());
        let mut made = model.rewritten(Domain::Onnx, op_type, &[]).writing(&[output]);
        made.inputs = inputs.to_vec();
        for (name, value) in attributes {
            made = made.with(name, value.clone());
        }
        self.graph.nodes.push(made);
        output
    }

    /// Appends the quantizer that writes an integer operator's output.
    fn quantize(&mut self, node: &Node, real: TensorId, parameters: Parameters) -> Result<(), ConvertError> {
        let codes = node.output()?;
        self.push(node, "QuantizeLinear", &[Some(real), Some(parameters.scale), parameters.zero_point], &[]);
        let last = self.graph.nodes.len() - 1;
        self.graph.nodes[last].outputs = vec![codes];
        self.parameters.insert(codes, parameters);
        Ok(())
    }

    /// The real numbers of activation codes.
    fn real(&mut self, node: &Node, codes: TensorId, read: Parameters) -> Result<TensorId, ConvertError> {
        if let Some(&written) = self.parameters.get(&codes)
            && !self.same(written, read)
        {
            return Err(ConvertError::unsupported(
                "scale or zero point differ from those its codes were written with; expected the same",
            ));
        }
        if let Some(&real) = self.reals.get(&codes) {
            return Ok(real);
        }
        let inputs = [Some(codes), Some(read.scale), read.zero_point];
        let real = self.push(node, "DequantizeLinear", &inputs, &[]);
        self.reals.insert(codes, real);
        Ok(real)
    }

    fn same(&self, a: Parameters, b: Parameters) -> bool {
        let equal = |a: TensorId, b: TensorId| {
            let both = self.graph.constant(a).zip(self.graph.constant(b));
            a == b || both.is_some_and(|(a, b)| a.to_f64() == b.to_f64())
        };
        let zero = |z: Option<TensorId>| match z {
            Some(z) => self.graph.constant(z).is_some_and(|z| z.to_f64().iter().all(|&z| z == 0.0)),
            None => true,
        };
        equal(a.scale, b.scale)
            && match (a.zero_point, b.zero_point) {
                (Some(a), Some(b)) => equal(a, b),
                (a, b) => zero(a) && zero(b),
            }
    }

    /// A `DequantizeLinear` behind moved codes reads real numbers that exist already.
    fn dequantize_moved(&mut self, node: &Node) -> Result<Rewrite, ConvertError> {
        let codes = node.required_input(0)?;
        let Some(&real) = self.reals.get(&codes) else { return Ok(Rewrite::None) };
        self.real(node, codes, parameters(node, 1)?)?;
        self.push(node, "Identity", &[Some(real)], &[]);
        let last = self.graph.nodes.len() - 1;
        self.graph.nodes[last].outputs = vec![node.output()?];
        Ok(Rewrite::Movement)
    }

    /// An operator that moves codes moves the real numbers instead.
    fn movement(&mut self, node: &Node) -> Result<Rewrite, ConvertError> {
        let data = if node.op_type == "Concat" { node.inputs.len() } else { 1 };
        let first = node.input(0).and_then(|id| self.parameters.get(&id).copied());
        let Some(first) = first else { return Ok(Rewrite::None) };
        let mut inputs = node.inputs.clone();
        for input in inputs.iter_mut().take(data).flatten() {
            *input = self.real(node, *input, first)?;
        }
        let outputs = node.outputs.iter().map(|_| self.graph.add_tensor(TensorInfo::default()));
        let moved = Node { inputs, outputs: outputs.collect(), ..node.clone() };
        for (&codes, &real) in node.outputs.iter().zip(&moved.outputs) {
            self.parameters.insert(codes, first);
            self.reals.insert(codes, real);
        }
        self.graph.nodes.push(moved);
        Ok(Rewrite::Movement)
    }

    fn convolution(&mut self, node: &Node) -> Result<(), ConvertError> {
        if node.int("channels_last", 0) != 0 {
            return Err(ConvertError::unsupported("channels last; expected channels first"));
        }
        let read = parameters(node, 1)?;
        let x = self.real(node, node.required_input(0)?, read)?;
        let axis = [("axis", Attribute::Int(0))];
        let weights = parameters(node, 4)?;
        let codes = Some(node.required_input(3)?);
        let w = self.push(node, "DequantizeLinear", &[codes, Some(weights.scale), weights.zero_point], &axis);
        let mut inputs = vec![Some(x), Some(w)];
        if let Some(codes) = node.input(8) {
            inputs.push(Some(self.bias(codes, read.scale, weights.scale)?));
        }
        let real = self.push(node, "Conv", &inputs, &[]);
        self.keep_attributes(node);
        self.quantize(node, real, parameters(node, 6)?)
    }

    /// Sums of products of codes, their zero points taken off: the convolution of numbers whose unit is 1.
    fn integer_convolution(&mut self, node: &Node) -> Result<(), ConvertError> {
        let codes = node.required_input(0)?;
        let one = self.one()?;
        let (read, written) = match self.parameters.get(&codes) {
            Some(&written) => (Parameters { zero_point: node.input(2), ..written }, true),
            // The picture's bytes.
            None if self.graph.input_types.get(&codes) == Some(&ElementType::Unsigned(8)) => {
                (Parameters { scale: one, zero_point: node.input(2) }, false)
            }
            None => {
                return Err(ConvertError::unsupported(
                    "its codes come from no QuantizeLinear; expected static quantization of its input",
                ));
            }
        };
        let mut x = self.real(node, codes, read)?;
        if written {
            x = self.push(node, "Div", &[Some(x), Some(read.scale)], &[]);
        }
        let weights = [Some(node.required_input(1)?), Some(one), node.input(3)];
        let w = self.push(node, "DequantizeLinear", &weights, &[("axis", Attribute::Int(0))]);
        self.push(node, "Conv", &[Some(x), Some(w)], &[]);
        self.keep_attributes(node);
        if let Some(last) = self.graph.nodes.last_mut() {
            last.outputs = vec![node.output()?];
        }
        Ok(())
    }

    /// The number 1 as a constant.
    fn one(&mut self) -> Result<TensorId, ConvertError> {
        let constant = Some(Arc::new(Tensor::f32(&[], vec![1.0])?));
        Ok(self.graph.add_tensor(TensorInfo { shape: Some(Vec::new()), constant, ..TensorInfo::default() }))
    }

    /// The bias counts units of the accumulator, which are the product of both scales. A product of 32
    /// bits would move it against the sum, and decide ties that are exact.
    fn bias(
        &mut self,
        codes: TensorId,
        input: TensorId,
        weights: TensorId,
    ) -> Result<TensorId, ConvertError> {
        let constant = |id| {
            self.graph.constant(id).map(|tensor| tensor.to_f64()).ok_or_else(|| {
                ConvertError::unsupported("scales and bias must be constants; expected initializers")
            })
        };
        let (codes, input, weights) = (constant(codes)?, constant(input)?, constant(weights)?);
        let (&[input], true) = (&input[..], weights.len() == 1 || weights.len() == codes.len()) else {
            return Err(ConvertError::malformed(
                "expected one input scale, and a weight scale for each bias",
            ));
        };
        let unit = |channel: usize| input * weights[if weights.len() == 1 { 0 } else { channel }];
        let bias = codes.iter().enumerate().map(|(channel, code)| code * unit(channel)).collect();
        let bias = Tensor::f64(&[codes.len()], bias)?;
        let shape = Some(bias.shape().to_vec());
        Ok(self.graph.add_tensor(TensorInfo {
            shape,
            constant: Some(Arc::new(bias)),
            ..TensorInfo::default()
        }))
    }

    fn element_wise(&mut self, node: &Node, op_type: &str, operands: usize) -> Result<(), ConvertError> {
        let mut inputs = Vec::with_capacity(operands);
        for operand in 0..operands {
            let codes = node.required_input(3 * operand)?;
            inputs.push(Some(self.real(node, codes, parameters(node, 3 * operand + 1)?)?));
        }
        let real = self.push(node, op_type, &inputs, &[]);
        self.keep_attributes(node);
        self.quantize(node, real, parameters(node, 3 * operands)?)
    }

    fn concat(&mut self, node: &Node) -> Result<(), ConvertError> {
        let mut inputs = Vec::new();
        for position in (2..node.inputs.len()).step_by(3) {
            let codes = node.required_input(position)?;
            inputs.push(Some(self.real(node, codes, parameters(node, position + 1)?)?));
        }
        let real = self.push(node, "Concat", &inputs, &[]);
        self.keep_attributes(node);
        self.quantize(node, real, parameters(node, 0)?)
    }

    /// Gives the last node the attributes of the one that it replaces.
    fn keep_attributes(&mut self, node: &Node) {
        if let Some(last) = self.graph.nodes.last_mut() {
            last.attributes.extend(node.attributes.clone());
        }
    }
}

/// Scale at a position of the inputs, and the zero point behind it.
fn parameters(node: &Node, position: usize) -> Result<Parameters, ConvertError> {
    Ok(Parameters { scale: node.required_input(position)?, zero_point: node.input(position + 1) })
}
