//! Absorbs the Focus stem of older networks into the convolution behind it.
//!
//! ```text
//! x ─ Slice ×4, every second row and column ─ Concat ─ [quantizer] ─ Conv k×k, stride s
//! x ─ [quantizer] ─ Conv 2k×2k, stride 2s
//! ```
//!
//! `SpaceToDepth` of blocks of 2 is the same.
//!
//! A quantizer of its own for every slice is one behind the concat, if all are the same.
//!
//! Focus moves each 2×2 block of pixels into one cell of four times the channels. A convolution over
//! cells reads the same pixels as one of twice the extent over pixels, with the same weights in
//! another order, so the result is the same number for number.

use std::sync::Arc;

use ylb_source::ir::{Attribute, Graph, Node, TensorId, TensorInfo};
use ylb_source::quantizer::{QuantizedConstant, Quantizer};
use ylb_source::window;

use crate::error::ConvertError;

/// Row and column of a pixel in its 2×2 block.
type Phase = [usize; 2];

/// A Focus stem: the tensor it rearranges, and which pixel each quarter of its channels holds.
struct Focus {
    source: TensorId,
    phases: [Phase; 4],
    /// Channels of the source.
    channels: usize,
}

/// Runs the pass. Returns how many stems were absorbed.
///
/// # Errors
/// If weights contradict their shape.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut absorbed = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        index += 1;
        hoist_quantizers(graph, index - 1)?;
        let (index, producers) = (index - 1, graph.producers());
        let Some(focus) = focus_of(graph, &producers, &graph.nodes[index]) else { continue };
        let Some((steps, convolutions)) = readers(graph, graph.nodes[index].output()?, &focus) else {
            continue;
        };
        absorb(graph, index, &focus, &steps, &convolutions)?;
        absorbed += 1;
    }
    Ok(absorbed)
}

/// Moves the quantizer of every quarter behind the concat, where all have the same: ONNX Runtime writes
/// them so.
fn hoist_quantizers(graph: &mut Graph, index: usize) -> Result<(), ConvertError> {
    let node = &graph.nodes[index];
    if !node.is("Concat") || node.inputs.len() != 4 {
        return Ok(());
    }
    let producers = graph.producers();
    let quantizer = |id: &Option<TensorId>| {
        let node = &graph.nodes[producers[(*id)?.0]?];
        let is_slice = |id: TensorId| producers[id.0].is_some_and(|index| graph.nodes[index].is("Slice"));
        (node.quantizer.is_some() && is_slice(node.input(0)?)).then_some(node)
    };
    let Some(quantizers) = node.inputs.iter().map(quantizer).collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let first = quantizers[0].clone();
    let same =
        |a: &Quantizer, b: &Quantizer| Quantizer { codes_name: b.codes_name.clone(), ..a.clone() } == *b;
    let all_same = quantizers.iter().all(|node| match (&node.quantizer, &first.quantizer) {
        (Some(a), Some(b)) => same(a, b) && a.scale.scalar().is_some() && a.zero_point.scalar().is_some(),
        _ => false,
    });
    if !all_same {
        return Ok(());
    }
    let inputs = quantizers.iter().map(|node| node.input(0)).collect();
    let output = node.output()?;
    let shape = graph.tensor(output).shape.clone();
    let concat = graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() });
    graph.nodes[index].inputs = inputs;
    graph.nodes[index].outputs = vec![concat];
    graph.nodes.insert(index + 1, Node { inputs: vec![Some(concat)], outputs: vec![output], ..first });
    Ok(())
}

/// The stem that a node completes, if it does.
fn focus_of(graph: &Graph, producers: &[Option<usize>], node: &Node) -> Option<Focus> {
    if node.is("SpaceToDepth") && node.int("blocksize", 0) == 2 {
        let source = node.input(0)?;
        let channels = *graph.tensor(source).shape.as_deref()?.get(1)?;
        return Some(Focus { source, phases: [[0, 0], [0, 1], [1, 0], [1, 1]], channels });
    }
    if !node.is("Concat") || !matches!(node.int("axis", 0), 1 | -3) || node.inputs.len() != 4 {
        return None;
    }
    let mut quarters = Vec::with_capacity(4);
    for input in &node.inputs {
        quarters.push(every_second(graph, producers, (*input)?)?);
    }
    let source = quarters[0].0;
    let phases: [Phase; 4] = std::array::from_fn(|quarter| quarters[quarter].1);
    let all = [[0, 0], [0, 1], [1, 0], [1, 1]].iter().all(|phase| phases.contains(phase));
    if !all || quarters.iter().any(|(other, _)| *other != source) {
        return None;
    }
    match *graph.tensor(source).shape.as_deref()? {
        [1, channels, height, width] if height % 2 == 0 && width % 2 == 0 => {
            Some(Focus { source, phases, channels })
        }
        _ => None,
    }
}

/// Follows slices back to the tensor of which they keep every second row and column.
fn every_second(graph: &Graph, producers: &[Option<usize>], tensor: TensorId) -> Option<(TensorId, Phase)> {
    let mut phase = [None; 2];
    let mut id = tensor;
    while phase.contains(&None) {
        let node = &graph.nodes[producers[id.0]?];
        if !node.is("Slice") {
            return None;
        }
        let parameter = |position: usize| graph.constant_input(node, position).map(|t| t.to_integers());
        let (starts, ends, axes, steps) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        id = node.input(0)?;
        let shape = graph.tensor(id).shape.as_deref()?;
        for (k, &axis) in axes.iter().enumerate() {
            let axis = usize::try_from(if axis < 0 { axis + 4 } else { axis }).ok()?;
            let (start, end, step) = (*starts.get(k)?, *ends.get(k)?, *steps.get(k)?);
            let slot = phase.get_mut(axis.checked_sub(2)?)?;
            let to_the_end = end >= *shape.get(axis)? as i64;
            if slot.is_some() || step != 2 || !matches!(start, 0 | 1) || !to_the_end {
                return None;
            }
            *slot = Some(start as usize);
        }
    }
    Some((id, [phase[0]?, phase[1]?]))
}

/// The element-wise nodes behind a stem and the convolutions that they end in; `None` if anything
/// else reads it.
fn readers(graph: &Graph, stem: TensorId, focus: &Focus) -> Option<(Vec<usize>, Vec<usize>)> {
    let (mut steps, mut convolutions) = (Vec::new(), Vec::new());
    let mut reached = vec![stem];
    for (index, node) in graph.nodes.iter().enumerate() {
        let reads = node.inputs.iter().flatten().filter(|id| reached.contains(id)).count();
        if reads == 0 {
            continue;
        }
        if node.is("Conv") && reads == 1 && fits(graph, node, focus) {
            convolutions.push(index);
        } else if is_element_wise(graph, node, &reached) {
            steps.push(index);
            reached.extend(&node.outputs);
        } else {
            return None;
        }
    }
    let is_output = reached.iter().any(|id| graph.outputs.contains(id));
    (!is_output && !convolutions.is_empty()).then_some((steps, convolutions))
}

/// Whether a convolution over the stem has a form over its source.
fn fits(graph: &Graph, node: &Node, focus: &Focus) -> bool {
    let weights = node.input(1).map(|id| graph.tensor(id));
    let shape = weights.filter(|info| info.constant.is_some()).and_then(|info| info.shape.as_deref());
    let channels = shape.is_some_and(|shape| shape.len() == 4 && shape[1] == 4 * focus.channels);
    let dilated = window::dilations(node) != Ok([1, 1]);
    let plain = matches!(node.text("auto_pad", "NOTSET"), "NOTSET" | "") && !dilated;
    channels && plain && node.int("group", 1) == 1
}

/// Whether a node treats every element the same.
fn is_element_wise(graph: &Graph, node: &Node, reached: &[TensorId]) -> bool {
    let per_tensor = |q: &Quantizer| q.scale.scalar().is_some() && q.zero_point.scalar().is_some();
    let known = match &node.quantizer {
        Some(quantizer) => per_tensor(quantizer),
        None => matches!(
            node.op_type.as_str(),
            "Identity" | "Cast" | "Mul" | "Div" | "Add" | "Sub" | "Min" | "Max" | "Clip" | "Round" | "Relu"
        ),
    };
    let single = |id: &TensorId| reached.contains(id) || graph.constant(*id).is_some_and(|t| t.len() == 1);
    known && node.inputs.iter().flatten().all(single)
}

fn absorb(
    graph: &mut Graph,
    stem: usize,
    focus: &Focus,
    steps: &[usize],
    convolutions: &[usize],
) -> Result<(), ConvertError> {
    let stem = graph.nodes[stem].output()?;
    let shape = graph.tensor(focus.source).shape.clone();
    for &index in steps.iter().chain(convolutions) {
        for input in graph.nodes[index].inputs.iter_mut().flatten().filter(|input| **input == stem) {
            *input = focus.source;
        }
    }
    for &index in steps {
        // The codes are those of the source model in another arrangement: its names would mislead.
        if let Some(quantizer) = &mut graph.nodes[index].quantizer {
            Arc::make_mut(quantizer).codes_name.clear();
        }
        for output in graph.nodes[index].outputs.clone() {
            graph.tensors[output.0].shape.clone_from(&shape);
            graph.tensors[output.0].name.clear();
        }
    }
    for &index in convolutions {
        let weights = over_pixels(graph, &graph.nodes[index], focus)?;
        let weights = graph.add_tensor(weights);
        let node = &mut graph.nodes[index];
        node.inputs[1] = Some(weights);
        for name in ["kernel_shape", "pads"] {
            if let Some(Attribute::Ints(extents)) = node.attributes.get_mut(name) {
                extents.iter_mut().for_each(|extent| *extent = extent.saturating_mul(2));
            }
        }
        let strides = node.ints("strides").map_or_else(|| vec![1, 1], <[i64]>::to_vec);
        let strides = strides.into_iter().map(|stride| stride.saturating_mul(2)).collect();
        node.attributes.insert("strides".into(), Attribute::Ints(strides));
    }
    Ok(())
}

/// Weights over cells as weights over pixels.
fn over_pixels(graph: &Graph, node: &Node, focus: &Focus) -> Result<TensorInfo, ConvertError> {
    let info = graph.tensor(node.required_input(1)?);
    let Some((constant, &[outputs, inputs, rows, columns])) =
        info.constant.as_ref().zip(info.shape.as_deref().and_then(|shape| shape.first_chunk::<4>()))
    else {
        return Err(node.blame(ConvertError::unsupported("expected constant weights of rank 4")));
    };
    let shape = [outputs, focus.channels, 2 * rows, 2 * columns];
    let quarter = |y: usize, x: usize| focus.phases.iter().position(|phase| *phase == [y % 2, x % 2]);
    let mut order = Vec::with_capacity(constant.len());
    for output in 0..outputs {
        for channel in 0..focus.channels {
            for y in 0..2 * rows {
                for x in 0..2 * columns {
                    let input = quarter(y, x).unwrap_or(0) * focus.channels + channel;
                    order.push(((output * inputs + input) * rows + y / 2) * columns + x / 2);
                }
            }
        }
    }
    let quantized = info.quantized.as_ref().map(|quantized| {
        let codes = order.iter().map(|&index| quantized.codes[index]).collect();
        Arc::new(QuantizedConstant { codes, ..QuantizedConstant::clone(quantized) })
    });
    let constant = constant.gathered(&shape, &order).map_err(|error| node.blame(error))?;
    Ok(TensorInfo {
        name: info.name.clone(),
        shape: Some(shape.to_vec()),
        constant: Some(Arc::new(constant)),
        quantized,
    })
}
