//! Reductions over axes.

use super::{Inputs, required};
use crate::error::SourceError;
use crate::ir::{Data, Node, Tensor};

pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let rank = input.shape().len();
    let axes = match inputs.get(1).copied().flatten() {
        Some(axes) => axes.to_integers(),
        None => node.ints("axes").map(<[i64]>::to_vec).unwrap_or_default(),
    };
    let mut reduced = vec![axes.is_empty() && node.int("noop_with_empty_axes", 0) == 0; rank];
    for axis in axes {
        reduced[super::movement::axis(axis, rank)?] = true;
    }
    let kept: Vec<usize> = (0..rank).map(|d| if reduced[d] { 1 } else { input.shape()[d] }).collect();
    let targets = super::arithmetic::broadcast_indices(&kept, input.shape());
    let len: usize = kept.iter().product();
    if input.is_empty() {
        return Err(SourceError::malformed("a reduction of nothing"));
    }
    let mut sums: Vec<Option<f64>> = vec![None; len];
    for (index, &target) in targets.iter().enumerate() {
        let x = input.get(index);
        sums[target] = Some(match (sums[target], node.op_type.as_str()) {
            (None, _) => x,
            (Some(sum), "ReduceMax" | "ReduceMin") if sum.is_nan() || x.is_nan() => f64::NAN,
            (Some(sum), "ReduceMax") => sum.max(x),
            (Some(sum), "ReduceMin") => sum.min(x),
            (Some(sum), _) => sum + x,
        });
    }
    let divisor = if node.op_type == "ReduceMean" { (input.len() / len) as f64 } else { 1.0 };
    let results = sums.into_iter().map(|sum| sum.unwrap_or_default() / divisor);
    let shape: Vec<usize> = if node.int("keepdims", 1) != 0 {
        kept
    } else {
        (0..rank).filter(|&d| !reduced[d]).map(|d| input.shape()[d]).collect()
    };
    match input.data() {
        Data::F32(_) => Tensor::f32(&shape, results.map(|x| x as f32).collect()),
        Data::F64(_) => Tensor::f64(&shape, results.collect()),
        _ => {
            let results: Vec<i64> = results.map(|x| x as i64).collect();
            Tensor::integers(&shape, input.element(), results.into_iter())
        }
    }
}
