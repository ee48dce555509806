//! Rewrites averages as convolutions with weights of 1.
//!
//! ```text
//! AveragePool                       ─►  Conv of a group for each channel, weights of 1 ─ Div(elements)
//! GlobalAveragePool, ReduceMean(y, x) ─►  the same, with a window as large as the map
//! ```
//!
//! The sum of integers is exact, and the quotient a part of the function before the next quantizer. Padding adds
//! zeros, so
//! windows must count it (`count_include_pad`), or there must be none: the elements of a window are the same number
//! everywhere then.

use std::collections::BTreeMap;
use std::sync::Arc;

use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::QuantizedConstant;
use ylb_source::window::{self, Geometry};

use super::placement::{self, State};
use super::spelled::{add_number, in_place_of};
use crate::error::{ConvertError, ErrorKind};

/// Largest extent of a window in the file format.
const MAX_EXTENT: usize = 64;

/// Runs the pass. Returns how many averages were rewritten.
///
/// # Errors
/// If an average has windows of different numbers of elements, or too large ones.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut count = 0;
    let states = placement::states(graph);
    for node in std::mem::take(&mut graph.nodes) {
        let average = if node.outputs.iter().any(|&id| graph.constant(id).is_some()) {
            None
        } else {
            average(graph, &node).map_err(|error| node.blame(error))?
        };
        match average {
            Some(average) if states[average.input.0] == State::Floats => {
                let message =
                    "averages an activation that is not quantized; train with a quantizer before it";
                return Err(node.blame(ConvertError::new(ErrorKind::NotQuantized, message)));
            }
            Some(average) => {
                rewrite(graph, &node, average)?;
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
    channels: usize,
    geometry: Geometry,
}

fn average(graph: &Graph, node: &Node) -> Result<Option<Average>, ConvertError> {
    let pool = node.is("AveragePool");
    if !pool && !node.is("GlobalAveragePool") && !node.is("ReduceMean") {
        return Ok(None);
    }
    let input = node.required_input(0)?;
    let Some(&[1, channels, height, width]) = graph.tensor(input).shape.as_deref() else { return Ok(None) };
    let geometry = if pool {
        let geometry = window::of_node(node, &[1, channels, height, width], None)?;
        if geometry.padding != [0; 4] && node.int("count_include_pad", 0) == 0 {
            return Err(ConvertError::unsupported(format!(
                "averages with padding {:?} that is not counted: windows at the border have fewer elements; expected \
                 count_include_pad 1, or no padding",
                geometry.padding
            )));
        }
        geometry
    } else {
        if node.is("ReduceMean") && !is_over_map(graph, node) {
            return Ok(None);
        }
        if height > MAX_EXTENT || width > MAX_EXTENT {
            return Err(ConvertError::new(
                ErrorKind::TooLarge,
                format!(
                    "the average of a map of {height}x{width}; expected at most {MAX_EXTENT}x{MAX_EXTENT}"
                ),
            ));
        }
        Geometry { kernel: [height, width], stride: [1, 1], padding: [0; 4] }
    };
    Ok(Some(Average { input, channels, geometry }))
}

/// Whether a reduction is over rows and columns, and keeps them as extents of 1.
fn is_over_map(graph: &Graph, node: &Node) -> bool {
    let axes = match graph.constant_input(node, 1) {
        Some(axes) => axes.to_integers(),
        None => node.ints("axes").map(<[i64]>::to_vec).unwrap_or_default(),
    };
    let mut axes: Vec<i64> = axes.into_iter().map(|axis| if axis < 0 { axis + 4 } else { axis }).collect();
    axes.sort_unstable();
    axes == [2, 3] && node.int("keepdims", 1) != 0
}

fn rewrite(graph: &mut Graph, node: &Node, average: Average) -> Result<(), ConvertError> {
    let Average { input, channels, geometry } = average;
    let [rows, columns] = geometry.kernel;
    let shape = [channels, 1, rows, columns];
    let len = channels * rows * columns;
    let ones = TensorInfo {
        shape: Some(shape.to_vec()),
        constant: Some(Arc::new(Tensor::f32(&shape, vec![1.0; len])?)),
        quantized: Some(Arc::new(QuantizedConstant::plain(vec![1; len], -1, 1))),
        ..TensorInfo::default()
    };
    let weights = graph.add_tensor(ones);
    let ints = |numbers: &[usize]| Attribute::Ints(numbers.iter().map(|&number| number as i64).collect());
    let sum = in_place_of(graph, node, Domain::Onnx, "Conv", &[input, weights]);
    let summed = sum.output()?;
    let attributes = BTreeMap::from([
        ("group".to_owned(), Attribute::Int(channels as i64)),
        ("kernel_shape".to_owned(), ints(&geometry.kernel)),
        ("strides".to_owned(), ints(&geometry.stride)),
        ("pads".to_owned(), ints(&geometry.padding)),
    ]);
    graph.nodes.push(Node { attributes, ..sum });
    let elements = add_number(graph, (rows * columns) as f64)?;
    let quotient = in_place_of(graph, node, Domain::Onnx, "Div", &[summed, elements]);
    graph.nodes.push(Node { outputs: node.outputs.clone(), ..quotient });
    Ok(())
}
