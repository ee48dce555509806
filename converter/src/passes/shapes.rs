//! Shapes of outputs from shapes of inputs, for operators whose data is not known.

use ylb_source::eval;
use ylb_source::ir::{Domain, ElementType, Graph, Node, Tensor};

use crate::error::ConvertError;

use super::trunc;

/// Most elements of a tensor whose data is not known: more than any network has, and few enough to be counted.
const MAX_ELEMENTS: usize = 1 << 40;

/// Shapes of a node's outputs; `None` for each that cannot be told.
pub(super) fn infer(graph: &Graph, node: &Node) -> Vec<Option<Vec<usize>>> {
    let mut shapes = inferred(graph, node);
    for slot in &mut shapes {
        let elements = slot.iter().flatten().try_fold(1usize, |product, &extent| {
            product.checked_mul(extent.max(1)).filter(|&product| product <= MAX_ELEMENTS)
        });
        if elements.is_none() {
            *slot = None;
        }
    }
    shapes
}

/// Why the shape of a node's output cannot be told, though those of its inputs are known.
pub fn why_without_shape(graph: &Graph, node: &Node) -> ConvertError {
    // Some tools give theirs no domain.
    let named = ["FakeQuant", "Affine"].iter().any(|part| node.op_type.contains(part));
    if named || matches!(node.domain, Domain::Other(_)) {
        return ConvertError::unsupported(
            "an operator of a tool's own, which the converter does not know; expected operators of ONNX: export \
             quantizers as QuantizeLinear and DequantizeLinear, or as Quant of QONNX",
        );
    }
    let first = node.input(0).and_then(|id| graph.tensor(id).shape.clone()).unwrap_or_default();
    let reason = match node.op_type.as_str() {
        "Conv" => convolution(graph, node, &first).err(),
        "ConvTranspose" => transposed(graph, node, &first).err(),
        "MaxPool" | "AveragePool" => window_extents(node, &first, None, None).err(),
        "Pad" => padded(graph, node, &first).err(),
        op_type if eval::moves_elements(op_type) => moved(graph, node).err(),
        "Resize" | "Upsample" => {
            Some(ConvertError::unsupported("its scales are not known; expected constants"))
        }
        _ => None,
    };
    reason.unwrap_or_else(|| {
        ConvertError::unsupported("an operator that the converter does not know in the body of a detector")
    })
}

fn inferred(graph: &Graph, node: &Node) -> Vec<Option<Vec<usize>>> {
    let unknown = vec![None; node.outputs.len()];
    let Some(first) = node.input(0).and_then(|id| graph.tensor(id).shape.clone()) else {
        return unknown;
    };
    let one = |shape: Option<Vec<usize>>| {
        let mut shapes = unknown.clone();
        if let Some(slot) = shapes.first_mut() {
            *slot = shape;
        }
        shapes
    };
    if node.domain != Domain::Onnx || node.op_type.ends_with("Affine") {
        // Quantizers of every domain keep the shape; other operators are not known.
        let keeps = node.quantizer.is_some()
            || node.op_type.contains("Quant")
            || node.op_type == trunc::TRUNC
            || node.op_type.ends_with("Affine");
        return one((keeps || node.op_type == "DequantizeLinear").then_some(first));
    }
    match node.op_type.as_str() {
        "Conv" => one(convolution(graph, node, &first).ok()),
        "ConvTranspose" => one(transposed(graph, node, &first).ok()),
        "MaxPool" | "AveragePool" => one(window_extents(node, &first, None, None).ok()),
        "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceMax" => {
            one(reduced(graph, node, &first))
        }
        "Gemm" | "MatMul" => one(product(graph, node, &first)),
        "Resize" | "Upsample" => one(resize(graph, node, &first)),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Where" | "Equal" | "Greater"
        | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" => {
            let shapes: Option<Vec<&[usize]>> = (0..node.inputs.len())
                .map(|position| graph.tensor(node.input(position)?).shape.as_deref())
                .collect();
            one(shapes.and_then(|shapes| eval::broadcast_shape(&shapes).ok()))
        }
        "Pad" => one(padded(graph, node, &first).ok()),
        op_type if eval::moves_elements(op_type) => moved(graph, node).ok().flatten().unwrap_or(unknown),
        "QuantizeLinear" | "DequantizeLinear" | "BatchNormalization" | "Clip" | "Cast" => one(Some(first)),
        _ if KEEP_SHAPE.contains(&node.op_type.as_str()) => one(Some(first)),
        _ => unknown,
    }
}

/// Functions of one tensor, element by element.
const KEEP_SHAPE: &[&str] = &[
    "Abs",
    "Ceil",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "PRelu",
    "Reciprocal",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Tanh",
];

/// Runs an operator that only moves elements on zeros.
fn moved(graph: &Graph, node: &Node) -> Result<Option<Vec<Option<Vec<usize>>>>, ConvertError> {
    let mut operands = Vec::with_capacity(node.inputs.len());
    for id in &node.inputs {
        operands.push(match id.map(|id| graph.tensor(id)) {
            None => None,
            Some(info) => match (&info.constant, &info.shape) {
                (Some(constant), _) => Some(Tensor::clone(constant)),
                (None, Some(shape)) => {
                    let len = ylb_source::ir::element_count(shape)?;
                    Some(Tensor::f32(shape, vec![0.0; len])?)
                }
                (None, None) => return Ok(None),
            },
        });
    }
    let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
    let outputs = eval::evaluate(node, &operands, graph.opset)?;
    Ok(outputs.map(|outputs| outputs.iter().map(|t| Some(t.shape().to_vec())).collect()))
}

fn padded(graph: &Graph, node: &Node, input: &[usize]) -> Result<Vec<usize>, ConvertError> {
    let constants: Vec<Option<&Tensor>> = (0..node.inputs.len())
        .map(|position| graph.constant_input(node, position).map(AsRef::as_ref))
        .collect();
    let padding = eval::padding_of(node, &constants, input.len())?;
    let extent = |(axis, &own): (usize, &usize)| {
        let sum =
            i64::try_from(own).ok()?.checked_add(padding.before[axis])?.checked_add(padding.after[axis])?;
        usize::try_from(sum).ok()
    };
    let shape: Option<Vec<usize>> = input.iter().enumerate().map(extent).collect();
    shape.ok_or_else(|| ConvertError::malformed("pads that leave less than nothing"))
}

fn convolution(graph: &Graph, node: &Node, input: &[usize]) -> Result<Vec<usize>, ConvertError> {
    let weights = graph.tensor(node.required_input(1)?).shape.clone().unwrap_or_default();
    let [out_channels, _, height, width] = weights[..] else {
        return Err(ConvertError::unsupported("expected weights of rank 4"));
    };
    window_extents(node, input, Some([height, width]), Some(out_channels))
}

fn transposed(graph: &Graph, node: &Node, input: &[usize]) -> Result<Vec<usize>, ConvertError> {
    let weights = graph.tensor(node.required_input(1)?).shape.clone().unwrap_or_default();
    let (&[batch, channels, _, _], &[own, outputs, height, width]) = (input, &weights[..]) else {
        return Err(ConvertError::unsupported("expected a feature map and weights of rank 4"));
    };
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
    let [rows, columns] = ylb_source::window::transposed(node, input, [height, width])?.output;
    match outputs.checked_mul(groups) {
        Some(outputs) if own == channels && groups > 0 && channels % groups == 0 => {
            Ok(vec![batch, outputs, rows, columns])
        }
        _ => Err(ConvertError::malformed(format!(
            "weights of shape {weights:?} in {groups} groups for an input of {channels} channels"
        ))),
    }
}

/// `[batch, channels, rows, columns]` behind a sliding window; without `channels` those of the input.
fn window_extents(
    node: &Node,
    input: &[usize],
    kernel: Option<[usize; 2]>,
    channels: Option<usize>,
) -> Result<Vec<usize>, ConvertError> {
    let window = ylb_source::window::of_node(node, input, kernel)?;
    let &[batch, own_channels, height, width] = input else {
        return Err(ConvertError::unsupported(format!("input shape {input:?}; expected rank 4")));
    };
    let [height, width] = window.output_size([height, width])?;
    Ok(vec![batch, channels.unwrap_or(own_channels), height, width])
}

/// The extents of a product of matrices.
fn product(graph: &Graph, node: &Node, input: &[usize]) -> Option<Vec<usize>> {
    let (front, &[rows, columns]) = graph.tensor(node.input(1)?).shape.as_deref()?.split_last_chunk::<2>()?;
    if !front.is_empty() && Some(front) != input.split_last_chunk::<2>().map(|(front, _)| front) {
        return None;
    }
    let transposed = node.is("Gemm") && node.int("transB", 0) != 0;
    let [depth, outputs] = if transposed { [columns, rows] } else { [rows, columns] };
    let (&last, others) = input.split_last()?;
    let plain = node.int("transA", 0) == 0 && last == depth;
    plain.then(|| others.iter().copied().chain([outputs]).collect())
}

/// The extents behind a mean or a maximum: 1 where it was taken.
fn reduced(graph: &Graph, node: &Node, input: &[usize]) -> Option<Vec<usize>> {
    let axes = match graph.constant_input(node, 1) {
        Some(axes) => axes.to_integers(),
        None if node.op_type.starts_with("Reduce") && node.inputs.len() > 1 => return None,
        None if node.op_type.starts_with("Reduce") => node.ints("axes")?.to_vec(),
        None => (2..input.len() as i64).collect(),
    };
    let mut shape: Vec<Option<usize>> = input.iter().copied().map(Some).collect();
    for axis in axes {
        let axis = if axis < 0 { axis + input.len() as i64 } else { axis };
        let slot = shape.get_mut(usize::try_from(axis).ok()?)?;
        *slot = (node.int("keepdims", 1) != 0).then_some(1);
    }
    Some(shape.into_iter().flatten().collect())
}

fn resize(graph: &Graph, node: &Node, input: &[usize]) -> Option<Vec<usize>> {
    let constant = |position: usize| graph.constant_input(node, position).filter(|t| !t.shape().contains(&0));
    let integers = |tensor: &Tensor| tensor.element().integer_range().is_some();
    if let Some(sizes) = constant(3).filter(|t| t.element() != ElementType::Bool && integers(t)) {
        let sizes = sizes.to_integers();
        return sizes.into_iter().map(|size| usize::try_from(size).ok()).collect();
    }
    // Opset 10 and `Upsample` have the scales second, later opsets third.
    let scales = constant(2).or_else(|| constant(1))?;
    if scales.len() != input.len() {
        return None;
    }
    let scaled = |(d, &extent): (usize, &usize)| (extent as f64 * scales.get(d)).floor() as usize;
    Some(input.iter().enumerate().map(scaled).collect())
}
