//! Weights with a step for each group of input channels.
//!
//! ```text
//! Conv(x, W)  ─►  Conv(x, W with zeros outside of group 1) + Conv(x, W with zeros outside of group 2) + …
//! ```
//!
//! Lowering makes one convolution with a term for each group of the sum.

use std::collections::BTreeMap;
use std::sync::Arc;

use ylb_format::limits::MAX_TERMS;
use ylb_source::ir::{Domain, Graph, Node, Tensor, TensorInfo};
use ylb_source::quantizer::QuantizedConstant;

use super::super::spelled::in_place_of;
use super::{channel_grid, with_signs, with_zero_points};
use crate::error::ConvertError;

/// Fewest weights of a group: three of them that lie on a grid of the largest by chance are one group in 10^10, and all
/// groups must.
const MIN_WEIGHTS: usize = 4;

/// The weights of each group, with zeros in the place of all others, for the largest groups of equally many input channels
/// that have a grid each.
pub(super) fn of_weights(weights: &Tensor) -> Option<Vec<QuantizedConstant>> {
    let &[outputs, inputs, rows, columns] = weights.shape() else { return None };
    let (taps, values) = (rows * columns, weights.to_f64());
    let sizes = (1..=inputs / 2).rev().filter(|size| inputs % size == 0 && size * taps >= MIN_WEIGHTS);
    for size in sizes.take_while(|size| inputs / size <= MAX_TERMS) {
        let grids = values.chunks_exact(size * taps).map(channel_grid).collect::<Option<Vec<_>>>();
        let Some(grids) = grids else { continue };
        let all = with_signs(&grids).or_else(|| with_zero_points(&grids))?;
        let count = inputs / size;
        return Some((0..count).map(|block| only(&all, [outputs, count, size * taps], block)).collect());
    }
    None
}

/// One group of weights whose scales are `outputs` times `count`, and zeros.
fn only(all: &QuantizedConstant, [outputs, count, len]: [usize; 3], block: usize) -> QuantizedConstant {
    let mut codes = Vec::with_capacity(all.codes.len());
    for (index, own) in all.codes.chunks_exact(len).enumerate() {
        match index % count == block {
            true => codes.extend(own),
            // Both kinds of grid have integers for zero points.
            false => codes
                .extend(std::iter::repeat_n(all.zero_point_at(index / count * count + block) as i32, len)),
        }
    }
    let at = |number: &dyn Fn(usize) -> f64| -> Vec<f64> {
        (0..outputs).map(|output| number(output * count + block)).collect()
    };
    QuantizedConstant {
        codes,
        scale: at(&|index| all.scale_at(index)),
        zero_point: at(&|index| all.zero_point_at(index)),
        ..*all
    }
}

/// Writes the convolutions with these indices as sums.
pub(super) fn write(
    graph: &mut Graph,
    mut parts: BTreeMap<usize, Vec<QuantizedConstant>>,
) -> Result<(), ConvertError> {
    if parts.is_empty() {
        return Ok(());
    }
    for (index, node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
        match parts.remove(&index) {
            Some(blocks) => write_one(graph, &node, blocks)?,
            None => graph.nodes.push(node),
        }
    }
    Ok(())
}

fn write_one(graph: &mut Graph, node: &Node, blocks: Vec<QuantizedConstant>) -> Result<(), ConvertError> {
    let weights = graph.tensor(node.required_input(1)?).clone();
    let shape = weights.shape.clone().unwrap_or_default();
    let per_output: usize = shape.iter().skip(1).product();
    let mut sum = None;
    for block in blocks {
        let real = |(index, &code): (usize, &i32)| {
            let output = index / per_output.max(1);
            (f64::from(code) - block.zero_point_at(output)) * block.scale_at(output)
        };
        let reals = block.codes.iter().enumerate().map(real).collect();
        let constant = Some(Arc::new(Tensor::f64(&shape, reals)?));
        let own = TensorInfo { constant, quantized: Some(Arc::new(block)), ..weights.clone() };
        let own = graph.add_tensor(own);
        let output = graph.tensor(node.output()?).shape.clone();
        let output = graph.add_tensor(TensorInfo { shape: output, ..TensorInfo::default() });
        let mut conv = node.clone().writing(&[output]);
        conv.inputs[1] = Some(own);
        if sum.is_some() {
            // The bias is added once.
            conv.inputs.truncate(2);
        }
        graph.nodes.push(conv);
        sum = Some(match sum {
            None => output,
            Some(before) => {
                let add = in_place_of(graph, node, Domain::Onnx, "Add", &[before, output]);
                let both = add.output()?;
                graph.nodes.push(add);
                both
            }
        });
    }
    if let Some(last) = graph.nodes.last_mut() {
        last.outputs.clone_from(&node.outputs);
    }
    Ok(())
}
