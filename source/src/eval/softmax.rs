//! Softmax along an axis.

use super::{Inputs, required};
use crate::error::SourceError;
use crate::ir::{Data, Node, Tensor};

/// `e^x / Σ e^x`. Before opset 13 the sum goes over the axis and all behind it, and the default axis is 1, not the last.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>, opset: i64) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let shape = input.shape();
    let along = opset >= 13;
    let axis = super::movement::axis(node.int("axis", if along { -1 } else { 1 }), shape.len())?;
    let (len, inner): (usize, usize) = match along {
        true => (shape[axis], shape[axis + 1..].iter().product()),
        false => (shape[axis..].iter().product(), 1),
    };
    let numbers = input.to_f64();
    let mut shares = vec![0.0; numbers.len()];
    for start in (0..numbers.len()).step_by((len * inner).max(1)) {
        for lane in start..start + inner {
            let places = || (0..len).map(|k| lane + k * inner);
            // Only differences count, and e to the power of the largest may be beyond every float.
            let largest = places().map(|place| numbers[place]).fold(f64::NEG_INFINITY, f64::max);
            let weight = |place: usize| (numbers[place] - largest).exp();
            let sum: f64 = places().map(weight).sum();
            places().for_each(|place| shares[place] = weight(place) / sum);
        }
    }
    match input.data() {
        Data::F32(_) => Tensor::f32(shape, shares.into_iter().map(|x| x as f32).collect()),
        Data::F64(_) => Tensor::f64(shape, shares),
        _ => Err(SourceError::malformed("a softmax of integers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::evaluate as evaluate_node;
    use crate::ir::{Attribute, Builder};

    fn softmax(shape: &[usize], numbers: &[f64], axis: Option<i64>, opset: i64) -> Vec<f64> {
        let (mut builder, image) = Builder::picture(4, 4);
        let attributes: Vec<(&str, Attribute)> =
            axis.map(|axis| ("axis", Attribute::Int(axis))).into_iter().collect();
        builder.node("Softmax", &[image], &attributes);
        let input = Tensor::f64(shape, numbers.to_vec()).unwrap();
        let node = builder.graph.nodes.last().unwrap();
        evaluate_node(node, &[Some(&input)], opset).unwrap().unwrap()[0].to_f64()
    }

    fn close(found: &[f64], expected: &[f64]) -> bool {
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn shares_sum_to_one_along_the_axis() {
        let third = 1.0 / 3.0;
        let two = [2f64.ln(), 0.0, 0.0, 0.0];
        assert!(close(&softmax(&[2, 2], &two, Some(0), 13), &[2.0 * third, 0.5, third, 0.5]));
        assert!(close(&softmax(&[2, 2], &two, None, 13), &[2.0 * third, third, 0.5, 0.5]));
        // Numbers whose exponentials are beyond every float.
        assert!(close(&softmax(&[2], &[1000.0, 1000.0], Some(0), 13), &[0.5, 0.5]));
    }

    /// Opset 11 sums over the axis and all behind it.
    #[test]
    fn before_opset_13_it_goes_over_all_behind_the_axis() {
        let fifth = 0.2;
        let found = softmax(&[1, 2, 2], &[2f64.ln(), 0.0, 0.0, 0.0], None, 11);
        assert!(close(&found, &[2.0 * fifth, fifth, fifth, fifth]));
    }
}
