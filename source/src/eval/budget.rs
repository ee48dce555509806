//! How much may be computed of constants: a small file must not ask for gigabytes.

use super::{Inputs, broadcast_shape, required};
use crate::error::{ErrorKind, SourceError};
use crate::ir::{Attribute, Domain, Graph, Node, Tensor};

/// Elements that a model may make of nothing: more than the grids of any decode.
const FREE: usize = 1 << 24;
/// Elements for each that the file holds: weights go through a dozen operators of a quantizer that is written out.
const FOR_EACH_STORED: usize = 32;
/// Most elements altogether.
const MOST: usize = 1 << 29;

/// Elements that the constants of a model may still have, all together. Taken from before anything is allocated.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    all: usize,
    left: usize,
}

impl Budget {
    /// For a model as it was read.
    pub fn of(graph: &Graph) -> Self {
        let constants = graph.tensors.iter().filter_map(|info| info.constant.as_deref());
        let attributes = graph.nodes.iter().flat_map(|node| node.attributes.values());
        let tensors = attributes.filter_map(|attribute| match attribute {
            Attribute::Tensor(tensor) => Some(tensor.as_ref()),
            _ => None,
        });
        let stored = constants.chain(tensors).map(Tensor::len).fold(0, usize::saturating_add);
        let all = stored.saturating_mul(FOR_EACH_STORED).saturating_add(FREE).min(MOST);
        Self { all, left: all }
    }

    /// Takes what a node needs: the elements that it makes, or reads if these are more.
    ///
    /// # Errors
    /// If there are not so many left.
    pub fn take(&mut self, node: &Node, inputs: &Inputs<'_>) -> Result<(), SourceError> {
        let read = inputs.iter().flatten().map(|tensor| tensor.len()).max().unwrap_or(0);
        match self.left.checked_sub(read.max(made(node, inputs))) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(SourceError::new(
                ErrorKind::TooLarge,
                format!(
                    "constants of more than {} elements together, which is too much for what the file holds",
                    self.all
                ),
            )),
        }
    }
}

/// Elements that a node makes, where these can be more than it reads of one input; else 0. What has no meaning is told
/// when it is evaluated.
fn made(node: &Node, inputs: &Inputs<'_>) -> usize {
    if node.domain != Domain::Onnx {
        return 0;
    }
    let tensor = |position: usize| required(inputs, position).ok();
    let product = |extents: &[i64]| {
        let extent = |&extent: &i64| usize::try_from(extent).unwrap_or(0);
        extents.iter().map(extent).fold(1, usize::saturating_mul)
    };
    let together = |shapes: &[&[usize]]| {
        broadcast_shape(shapes).map_or(0, |shape| shape.into_iter().fold(1, usize::saturating_mul))
    };
    let shapes: Vec<&[usize]> = inputs.iter().flatten().map(|tensor| tensor.shape()).collect();
    let made = match node.op_type.as_str() {
        "ConstantOfShape" => tensor(0).map(|shape| product(&shape.to_integers())),
        "Expand" => tensor(0).zip(tensor(1)).map(|(input, shape)| {
            let wanted = shape.to_integers().into_iter().map(|extent| usize::try_from(extent).unwrap_or(0));
            together(&[input.shape(), &wanted.collect::<Vec<_>>()])
        }),
        "Range" => (|| {
            let number = |position: usize| tensor(position)?.scalar();
            // Beyond any budget, and NaN, become numbers that `as` defines.
            Some(((number(1)? - number(0)?) / number(2)?).ceil().max(0.0) as usize)
        })(),
        "Concat" => Some(inputs.iter().flatten().map(|tensor| tensor.len()).fold(0, usize::saturating_add)),
        "Pad" => tensor(0).map(|input| {
            let padding = super::padding_of(node, inputs, input.shape().len());
            let added = |axis: usize| {
                let padding = padding.as_ref().ok();
                padding.map_or(0, |padding| padding.before[axis].saturating_add(padding.after[axis]))
            };
            let extent =
                |(axis, &own): (usize, &usize)| own.saturating_add(usize::try_from(added(axis)).unwrap_or(0));
            input.shape().iter().enumerate().map(extent).fold(1, usize::saturating_mul)
        }),
        "Gather" => tensor(0).zip(tensor(1)).map(|(data, indices)| {
            let axis = super::movement::axis(node.int("axis", 0), data.shape().len());
            let extent = axis.map_or(1, |axis| data.shape()[axis].max(1));
            (data.len() / extent).saturating_mul(indices.len())
        }),
        "ScatterND" => {
            tensor(0).zip(tensor(2)).map(|(data, updates)| data.len().saturating_add(updates.len()))
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Where" | "Equal" | "Less" | "Greater"
        | "LessOrEqual" | "GreaterOrEqual" | "And" | "Or" => Some(together(&shapes)),
        _ => None,
    };
    made.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Builder;

    /// What every operator makes is counted before it is made.
    #[test]
    fn elements_are_counted_before_they_are_made() {
        let (mut builder, _) = Builder::picture(8, 8);
        let shape = Tensor::indices(&[1 << 12, 1 << 12]);
        let column = Tensor::f32(&[1 << 12, 1], vec![0.0; 1 << 12]).unwrap();
        let row = Tensor::f32(&[1, 1 << 12], vec![0.0; 1 << 12]).unwrap();
        let many = Tensor::indices(&[0; 1 << 12]);
        let number = |x: f64| Tensor::f64(&[], vec![x]).unwrap();
        let range = [number(0.0), number(f64::from(1 << 24)), number(1.0)];
        let codes = Tensor::f32(&[64, 8, 1, 1], vec![0.0; 512]).unwrap();
        let scales = Tensor::f32(&[64], vec![1.0; 64]).unwrap();
        let cases: [(&str, Vec<&Tensor>, usize); 9] = [
            ("ConstantOfShape", vec![&shape], 1 << 24),
            ("Expand", vec![&column, &shape], 1 << 24),
            ("Range", range.iter().collect(), 1 << 24),
            ("Add", vec![&column, &row], 1 << 24),
            ("Where", vec![&column, &row, &row], 1 << 24),
            ("Gather", vec![&row, &many], 1 << 24),
            ("Concat", vec![&row, &row], 1 << 13),
            // One for each of what it reads; scales lie along an axis.
            ("Round", vec![&row], 0),
            ("DequantizeLinear", vec![&codes, &scales], 0),
        ];
        for (op_type, inputs, count) in cases {
            let output = builder.node(op_type, &[], &[]);
            let inputs: Vec<Option<&Tensor>> = inputs.into_iter().map(Some).collect();
            assert_eq!(made(builder.producer(output), &inputs), count, "{op_type}");
        }
        let gather = builder.node("Gather", &[], &[]);
        assert_eq!(made(builder.producer(gather), &[Some(&column), Some(&many)]), 1 << 12);
        // Extents that overflow, negative ones, steps of 0.
        let huge = Tensor::indices(&[i64::MAX, i64::MAX, 4]);
        let constant = builder.node("ConstantOfShape", &[], &[]);
        assert_eq!(made(builder.producer(constant), &[Some(&huge)]), usize::MAX);
        assert_eq!(made(builder.producer(constant), &[Some(&Tensor::indices(&[-1]))]), 0);
        let range = builder.node("Range", &[], &[]);
        let zero = [number(0.0), number(5.0), number(0.0)];
        assert_eq!(made(builder.producer(range), &zero.each_ref().map(Some)), usize::MAX);
    }

    #[test]
    fn what_is_stored_may_be_worked_on() {
        let (mut builder, _) = Builder::picture(8, 8);
        let weights = vec![0.5; 1 << 20];
        let id = builder.floats(&[1 << 20], &weights);
        let round = builder.node("Round", &[id], &[]);
        let mut budget = Budget::of(&builder.graph);
        let tensor = builder.graph.constant(id).unwrap().clone();
        for _ in 0..FREE / (1 << 20) + FOR_EACH_STORED {
            budget.take(builder.producer(round), &[Some(&tensor)]).unwrap();
        }
        let error = budget.take(builder.producer(round), &[Some(&tensor)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
