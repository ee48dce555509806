//! Recognises what only takes channels out of a feature map, or puts them in another order.
//!
//! ```text
//! Slice, Split, Gather along the channels                        ─►  Channels
//! Reshape [1, g, c/g, h, w] ─ Transpose ─ Reshape [1, c, h, w]   ─►  Channels
//! DepthToSpace, or Reshape ─ Transpose ─ Reshape [1, c, f·h, f·w] ─►  f² × Channels ─ Interleave
//! ```
//!
//! However it is written: the operators are run on the numbers of the elements, and where every plane of the result is a
//! plane of the feature map, a node says which. So a channel shuffle is found in any spelling, and so are halves whose
//! bounds an exporter computes from shapes. Where every pixel is repeated, as PyTorch's `expand` is exported, the node is an
//! enlargement.

use std::collections::HashMap;

use ylb_source::eval;
use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};

use super::attention;
use super::transposed::INTERLEAVE;
use crate::error::ConvertError;

/// The operator of [`Domain::Converter`] that takes channels, in the order of its attribute [`ORDER`].
pub const CHANNELS: &str = "Channels";
/// For each channel of the output the channel of the input that it is.
pub const ORDER: &str = "order";

/// Most elements whose numbers 32-bit floats hold.
const MAX_ELEMENTS: usize = 1 << 24;

/// Runs the pass. Returns how many tensors are channels of others.
///
/// # Errors
/// If an operator contradicts the shapes of its operands.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut count = 0;
    let mut moved: HashMap<TensorId, Moved> = HashMap::new();
    for node in std::mem::take(&mut graph.nodes) {
        let Some(outputs) = moved_by(graph, &moved, &node)? else {
            if let Some(own) = attention::rewritten(graph, &moved, &node)? {
                graph.nodes.extend(own.nodes);
                moved.insert(node.outputs[0], own.output);
                count += 1;
            }
            graph.nodes.push(node);
            continue;
        };
        if let ([moved], &[output]) = (&outputs[..], node.outputs.as_slice())
            && let Some(phases) = phases_of(graph, moved)
        {
            interleaved(graph, &node, moved.base, output, phases);
            count += 1;
            continue;
        }
        if let [only] = &outputs[..]
            && let Some(factor) = repeated(graph, only)
        {
            let enlarged = enlarged(graph, &node, only.base, factor);
            graph.nodes.push(enlarged);
            count += 1;
            continue;
        }
        let orders: Option<Vec<Vec<i64>>> = outputs.iter().map(|moved| order_of(graph, moved)).collect();
        let Some(orders) = orders else {
            moved.extend(node.outputs.iter().copied().zip(outputs));
            graph.nodes.push(node);
            continue;
        };
        for ((&output, from), order) in node.outputs.iter().zip(outputs).zip(orders) {
            graph.nodes.push(taken(graph, &node, from.base, output, order));
            count += 1;
        }
    }
    Ok(count)
}

/// A tensor of elements of a feature map, by their numbers in it.
pub(super) struct Moved {
    pub(super) base: TensorId,
    pub(super) elements: Tensor,
}

/// What each output of a node is, if the node moves elements of one tensor.
fn moved_by(
    graph: &Graph,
    moved: &HashMap<TensorId, Moved>,
    node: &Node,
) -> Result<Option<Vec<Moved>>, ConvertError> {
    let movement = [
        "Slice",
        "Split",
        "Gather",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "DepthToSpace",
        "Expand",
    ];
    let constant = |id: &TensorId| graph.constant(*id).is_some();
    if !movement.iter().any(|op_type| node.is(op_type)) || node.outputs.iter().any(constant) {
        return Ok(None);
    }
    let Some(input) = node.input(0).filter(|id| !constant(id)) else { return Ok(None) };
    let others = node.inputs.iter().skip(1).flatten();
    if !others.clone().all(constant) {
        return Ok(None);
    }
    let fresh;
    let (base, elements) = match moved.get(&input) {
        Some(moved) => (moved.base, &moved.elements),
        None => {
            let Some(numbers) = numbered(graph, input)? else { return Ok(None) };
            fresh = numbers;
            (input, &fresh)
        }
    };
    let constants = (1..node.inputs.len()).map(|at| graph.constant_input(node, at).map(AsRef::as_ref));
    let operands: Vec<Option<&Tensor>> = std::iter::once(Some(elements)).chain(constants).collect();
    let fits = |id: &TensorId| {
        let shape = graph.tensor(*id).shape.as_ref();
        shape.is_some_and(|shape| shape.iter().product::<usize>() <= MAX_ELEMENTS)
    };
    if node.is("Expand") && !node.outputs.iter().all(fits) {
        return Ok(None);
    }
    let outputs = eval::evaluate(node, &operands, graph.opset)?;
    let outputs = outputs.filter(|outputs| outputs.len() == node.outputs.len());
    Ok(outputs.map(|outputs| outputs.into_iter().map(|elements| Moved { base, elements }).collect()))
}

/// The numbers of a feature map's elements.
pub(super) fn numbered(graph: &Graph, id: TensorId) -> Result<Option<Tensor>, ConvertError> {
    let Some(shape @ &[1, channels, height, width]) = graph.tensor(id).shape.as_deref() else {
        return Ok(None);
    };
    let len = [channels, height, width].into_iter().try_fold(1usize, usize::checked_mul);
    let Some(len) = len.filter(|&len| len <= MAX_ELEMENTS) else { return Ok(None) };
    Ok(Some(Tensor::f32(shape, (0..len).map(|number| number as f32).collect())?))
}

/// The channels of its base that a tensor is, if it is a feature map of whole planes, each taken once.
fn order_of(graph: &Graph, moved: &Moved) -> Option<Vec<i64>> {
    let &[1, channels, height, width] = graph.tensor(moved.base).shape.as_deref()? else { return None };
    let &[1, taken, rows, columns] = moved.elements.shape() else { return None };
    if [rows, columns] != [height, width] || taken == 0 {
        return None;
    }
    let plane = height * width;
    let mut order = Vec::with_capacity(taken);
    let mut seen = vec![false; channels];
    for output in 0..taken {
        let number = |at: usize| moved.elements.get(output * plane + at) as usize;
        let channel = number(0) / plane;
        if (0..plane).any(|at| number(at) != channel * plane + at)
            || std::mem::replace(&mut seen[channel], true)
        {
            return None;
        }
        order.push(channel as i64);
    }
    Some(order)
}

/// The channels of its base for each pixel of a block, if a tensor has its planes' pixels in turn: every second or third of
/// both its rows and columns is a plane of the base, each taken once.
fn phases_of(graph: &Graph, moved: &Moved) -> Option<Vec<Vec<i64>>> {
    let &[1, channels, height, width] = graph.tensor(moved.base).shape.as_deref()? else { return None };
    let &[1, taken, rows, columns] = moved.elements.shape() else { return None };
    let factor = rows / height.max(1);
    if !(2..=4).contains(&factor) || [rows, columns] != [height * factor, width * factor] {
        return None;
    }
    let plane = height * width;
    let mut seen = vec![false; channels];
    let mut phases = Vec::with_capacity(factor * factor);
    for (down, right) in (0..factor).flat_map(|down| (0..factor).map(move |right| (down, right))) {
        let mut order = Vec::with_capacity(taken);
        for output in 0..taken {
            let number = |at: usize| {
                let [y, x] = [at / width * factor + down, at % width * factor + right];
                moved.elements.get((output * rows + y) * columns + x) as usize
            };
            let channel = number(0) / plane;
            if (0..plane).any(|at| number(at) != channel * plane + at)
                || std::mem::replace(&mut seen[channel], true)
            {
                return None;
            }
            order.push(channel as i64);
        }
        phases.push(order);
    }
    Some(phases)
}

/// The nodes that take the channels of each pixel of a block, and the one that puts them in turn.
fn interleaved(graph: &mut Graph, node: &Node, base: TensorId, output: TensorId, phases: Vec<Vec<i64>>) {
    let shape =
        graph.tensor(base).shape.as_deref().map(|shape| [1, phases[0].len(), shape[2], shape[3]].to_vec());
    let mut parts = Vec::with_capacity(phases.len());
    for order in phases {
        let part = graph.add_tensor(TensorInfo { shape: shape.clone(), ..TensorInfo::default() });
        graph.nodes.push(taken(graph, node, base, part, order));
        parts.push(part);
    }
    graph.nodes.push(node.rewritten(Domain::Converter, INTERLEAVE, &parts).writing(&[output]));
}

/// How often a tensor repeats the rows and the columns of its base, if that is all it does.
fn repeated(graph: &Graph, moved: &Moved) -> Option<usize> {
    let &[1, channels, height, width] = graph.tensor(moved.base).shape.as_deref()? else { return None };
    let &[1, own, rows, columns] = moved.elements.shape() else { return None };
    let factor = rows / height.max(1);
    // A map of one pixel is a gate.
    if factor < 2
        || [own, rows, columns] != [channels, height * factor, width * factor]
        || height * width == 1
    {
        return None;
    }
    let source = |at: usize| {
        let (channel, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
        (channel * height + row / factor) * width + column / factor
    };
    (0..moved.elements.len()).all(|at| moved.elements.get(at) == source(at) as f64).then_some(factor)
}

fn enlarged(graph: &mut Graph, node: &Node, base: TensorId, factor: usize) -> Node {
    let text = |text: &str| Attribute::Text(text.to_owned());
    let shape = graph.tensor(base).shape.as_deref().map(|shape| {
        let own = |(axis, &extent): (usize, &usize)| if axis < 2 { extent } else { extent * factor };
        shape.iter().enumerate().map(own).collect()
    });
    for &output in &node.outputs {
        graph.tensors[output.0].shape.clone_from(&shape);
    }
    let enlarged = node.rewritten(Domain::Onnx, "Resize", &[base]).writing(&node.outputs);
    enlarged
        .with("mode", text("nearest"))
        .with("coordinate_transformation_mode", text("asymmetric"))
        .with("nearest_mode", text("floor"))
}

/// The node that takes channels, or hands all of them on.
fn taken(graph: &Graph, node: &Node, base: TensorId, output: TensorId, order: Vec<i64>) -> Node {
    let channels = graph.tensor(base).shape.as_deref().map_or(0, |shape| shape[1]);
    let whole = order.len() == channels && order.iter().enumerate().all(|(at, &own)| own == at as i64);
    let (domain, op_type) = if whole { (Domain::Onnx, "Identity") } else { (Domain::Converter, CHANNELS) };
    let taken = node.rewritten(domain, op_type, &[base]).writing(&[output]);
    if whole { taken } else { taken.with(ORDER, Attribute::Ints(order)) }
}
