//! Rewrites averages as convolutions with weights of 1, and maxima of whole maps as poolings.
//!
//! ```text
//! AveragePool                         ─►  Conv of a group for each channel, weights of 1 ─ Div(elements)
//! GlobalAveragePool, ReduceMean(y, x) ─►  the same, with a window as large as the map; of rows or columns alone, as they are
//! ReduceMean(channels)                ─►  Conv of one output, weights of 1 ─ Div(channels)
//! GlobalMaxPool, ReduceMax(y, x)      ─►  MaxPool, two where the map is larger than a window can be
//! ```
//!
//! AveragePool with padding that is not counted  ─►  an operator of the converter
//!
//! The sum of integers is exact, and the quotient a part of the function before the next quantizer. Padding adds zeros, so
//! where windows count it (`count_include_pad`), or there is none, the elements of a window are the same number
//! everywhere.

use std::sync::Arc;

use ylb_format::limits::{MAX_DEPTH, MAX_WINDOW};
use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::QuantizedConstant;
use ylb_source::window::{self, Geometry};

use super::placement::{self, State};
use super::spelled::{add_number, in_place_of};
use crate::error::{ConvertError, ErrorKind};

/// The converter's operator for averages of windows that have fewer elements at the border.
pub const BORDER_AVERAGE: &str = "BorderAverage";

/// Largest extent of a window in the file format.
const MAX_EXTENT: usize = MAX_WINDOW as usize;

/// Runs the pass. Returns how many averages and maxima were rewritten.
///
/// # Errors
/// If an average is one of floats, or has too large windows.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut count = 0;
    let states = placement::states(graph);
    for node in std::mem::take(&mut graph.nodes) {
        if node.outputs.iter().any(|&id| graph.constant(id).is_some()) {
            graph.nodes.push(node);
            continue;
        }
        let average = average(graph, &node).map_err(|error| node.blame(error))?;
        match average {
            Some(average) if states[average.input.0] == State::Floats => {
                let message =
                    "averages an activation that is not quantized; train with a quantizer before it";
                return Err(node.blame(ConvertError::new(ErrorKind::NotQuantized, message)));
            }
            Some(average) if average.counted => {
                sum(graph, &node, average)?;
                count += 1;
            }
            Some(average) => {
                let Average { input, geometry, .. } = average;
                let border = node.rewritten(Domain::Converter, BORDER_AVERAGE, &[input]);
                graph.nodes.push(of_window(border, &geometry));
                count += 1;
            }
            None if of_maximum(graph, &node).is_some() => {
                maximum(graph, &node)?;
                count += 1;
            }
            None => graph.nodes.push(node),
        }
    }
    Ok(count)
}

/// What is averaged.
struct Average {
    input: TensorId,
    /// Output channels, input channels of each group, rows and columns of the weights.
    shape: [usize; 4],
    geometry: Geometry,
    /// Whether every window has as many elements as its extents say.
    counted: bool,
}

fn average(graph: &Graph, node: &Node) -> Result<Option<Average>, ConvertError> {
    let pool = node.is("AveragePool");
    if !pool && !node.is("GlobalAveragePool") && !node.is("ReduceMean") {
        return Ok(None);
    }
    let input = node.required_input(0)?;
    let Some(&[1, channels, height, width]) = graph.tensor(input).shape.as_deref() else { return Ok(None) };
    let plain = |kernel: [usize; 2]| Geometry { kernel, stride: [1, 1], padding: [0; 4] };
    let geometry = if pool {
        window::of_node(node, &[1, channels, height, width], None)?
    } else {
        match reduced(graph, node).as_deref() {
            Some([1]) => {
                let shape = [1, channels, 1, 1];
                return Ok(Some(Average { input, shape, geometry: plain([1, 1]), counted: true }));
            }
            Some([2]) => plain([height, 1]),
            Some([3]) => plain([1, width]),
            Some([2, 3]) => plain([height, width]),
            _ => return Ok(None),
        }
    };
    let [rows, columns] = geometry.kernel;
    if rows > MAX_EXTENT || columns > MAX_EXTENT || (rows * columns) as u64 > MAX_DEPTH {
        return Err(ConvertError::new(
            ErrorKind::TooLarge,
            format!("averages {rows}x{columns} elements; expected at most {MAX_DEPTH}"),
        ));
    }
    let counted = geometry.padding == [0; 4] || node.int("count_include_pad", 0) != 0;
    Ok(Some(Average { input, shape: [channels, 1, rows, columns], geometry, counted }))
}

/// The axes of a reduction that keeps them as extents of 1, in ascending order.
fn reduced(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    if node.is("GlobalAveragePool") || node.is("GlobalMaxPool") {
        return Some(vec![2, 3]);
    }
    let axes = match graph.constant_input(node, 1) {
        Some(axes) => axes.to_integers(),
        None => node.ints("axes").map(<[i64]>::to_vec).unwrap_or_default(),
    };
    let mut axes: Vec<i64> = axes.into_iter().map(|axis| if axis < 0 { axis + 4 } else { axis }).collect();
    axes.sort_unstable();
    (node.int("keepdims", 1) != 0).then_some(axes)
}

fn ints(numbers: &[usize]) -> Attribute {
    Attribute::Ints(numbers.iter().map(|&number| number as i64).collect())
}

fn of_window(node: Node, geometry: &Geometry) -> Node {
    node.with("kernel_shape", ints(&geometry.kernel))
        .with("strides", ints(&geometry.stride))
        .with("pads", ints(&geometry.padding))
}

fn sum(graph: &mut Graph, node: &Node, average: Average) -> Result<(), ConvertError> {
    let Average { input, shape, geometry, .. } = average;
    let len = shape.iter().product();
    let ones = TensorInfo {
        shape: Some(shape.to_vec()),
        constant: Some(Arc::new(Tensor::f32(&shape, vec![1.0; len])?)),
        quantized: Some(Arc::new(QuantizedConstant::plain(vec![1; len], -1, 1))),
        ..TensorInfo::default()
    };
    let weights = graph.add_tensor(ones);
    let sum = in_place_of(graph, node, Domain::Onnx, "Conv", &[input, weights]);
    let summed = sum.output()?;
    graph.nodes.push(of_window(sum.with("group", Attribute::Int(shape[0] as i64)), &geometry));
    let elements = add_number(graph, (len / shape[0]) as f64)?;
    let quotient = in_place_of(graph, node, Domain::Onnx, "Div", &[summed, elements]);
    graph.nodes.push(quotient.writing(&node.outputs));
    Ok(())
}

/// Of a maximum over rows, columns or both: rows and columns of the map, and of the window.
fn of_maximum(graph: &Graph, node: &Node) -> Option<([usize; 2], [usize; 2])> {
    if !node.is("GlobalMaxPool") && !node.is("ReduceMax") {
        return None;
    }
    let &[1, _, height, width] = graph.tensor(node.input(0)?).shape.as_deref()? else { return None };
    let window = match reduced(graph, node)?.as_slice() {
        [2] => [height, 1],
        [3] => [1, width],
        [2, 3] => [height, width],
        _ => return None,
    };
    Some(([height, width], window))
}

/// A maximum of a map as that of the maxima of its blocks, which are the whole map where that is possible.
fn maximum(graph: &mut Graph, node: &Node) -> Result<(), ConvertError> {
    let (Some((size, window)), Some(mut input)) = (of_maximum(graph, node), node.input(0)) else {
        return Ok(());
    };
    let channels = graph.tensor(input).shape.as_deref().map_or(0, |shape| shape[1]);
    let mut window = window;
    if window.iter().any(|&extent| extent > MAX_EXTENT) {
        let block = window.map(|extent| extent.isqrt().max(1));
        if window.iter().zip(block).any(|(extent, block)| extent.div_ceil(block) > MAX_EXTENT) {
            let message = format!("the maximum of a map of {}x{}", size[0], size[1]);
            return Err(node.blame(ConvertError::new(ErrorKind::TooLarge, message)));
        }
        // Padding below and on the right, where the last block is a smaller one, never wins.
        let blocks = [0, 1].map(|d| size[d].div_ceil(block[d]));
        let more = [0, 1].map(|d| blocks[d] * block[d] - size[d]);
        let pool = in_place_of(graph, node, Domain::Onnx, "MaxPool", &[input]);
        input = pool.output()?;
        graph.tensors[input.0].shape = Some(vec![1, channels, blocks[0], blocks[1]]);
        let pool = pool
            .with("kernel_shape", ints(&block))
            .with("strides", ints(&block))
            .with("pads", ints(&[0, 0, more[0], more[1]]));
        graph.nodes.push(pool);
        window = [0, 1].map(|d| if window[d] == size[d] { blocks[d] } else { 1 });
    }
    let pool = in_place_of(graph, node, Domain::Onnx, "MaxPool", &[input]);
    graph.nodes.push(pool.with("kernel_shape", ints(&window)).writing(&node.outputs));
    Ok(())
}
