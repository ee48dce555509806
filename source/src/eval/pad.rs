//! `Pad`: elements put around a tensor.

use super::movement::{axis, concat};
use super::{Inputs, required};
use crate::error::SourceError;
use crate::ir::{Data, Node, Tensor, element_count};

/// What a `Pad` puts around its input, axis by axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Padding {
    /// Elements before the first; negative where some are cut off.
    pub before: Vec<i64>,
    /// Elements behind the last.
    pub after: Vec<i64>,
    /// What they are.
    pub value: f64,
}

/// The padding of a node whose input has so many axes, from attributes as older opsets have them or from inputs.
///
/// # Errors
/// If it is not known, fits no such input, or repeats elements of the input.
pub fn padding_of(node: &Node, inputs: &Inputs<'_>, rank: usize) -> Result<Padding, SourceError> {
    let mode = node.text("mode", "constant");
    if mode != "constant" {
        return Err(SourceError::unsupported(format!("padding of mode \"{mode}\"; expected zeros")));
    }
    let present = |position: usize| inputs.get(position).copied().flatten();
    let known = |position: usize| node.input(position).is_none() || present(position).is_some();
    if !(1..4).all(known) {
        return Err(SourceError::unsupported("its padding depends on the picture; expected constants"));
    }
    let pads = present(1).map(Tensor::to_integers).or_else(|| node.ints("pads").map(<[i64]>::to_vec));
    let pads = pads.ok_or_else(|| SourceError::malformed("expected pads"))?;
    let axes = match present(3) {
        Some(axes) => axes.to_integers().into_iter().map(|at| axis(at, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect::<Vec<_>>(),
    };
    if pads.len() != 2 * axes.len() {
        let message = format!("{} pads for {} axes; expected two for each", pads.len(), axes.len());
        return Err(SourceError::malformed(message));
    }
    let value = match present(2) {
        // An empty tensor is an absent one.
        Some(value) if value.is_empty() => 0.0,
        Some(value) => {
            value.scalar().ok_or_else(|| SourceError::malformed("expected one value to pad with"))?
        }
        None => f64::from(node.float("value", 0.0)),
    };
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for (position, &axis) in axes.iter().enumerate() {
        before[axis] = pads[position];
        after[axis] = pads[position + axes.len()];
    }
    Ok(Padding { before, after, value })
}

/// The padded tensor.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let Padding { before, after, value } = padding_of(node, inputs, input.shape().len())?;
    let extent = |(axis, &own): (usize, &usize)| {
        let extent = i64::try_from(own).ok()?.checked_add(before[axis])?.checked_add(after[axis])?;
        usize::try_from(extent).ok()
    };
    let shape: Option<Vec<usize>> = input.shape().iter().enumerate().map(extent).collect();
    let shape = shape.ok_or_else(|| SourceError::malformed("pads that leave less than nothing"))?;
    let len = element_count(&shape)?;
    let fill = match input.data() {
        Data::F32(_) => Tensor::f32(&[1], vec![value as f32])?,
        Data::F64(_) => Tensor::f64(&[1], vec![value])?,
        _ => Tensor::integers(&[1], input.element(), std::iter::once(value as i64))?,
    };
    let source = |index: usize| {
        let (mut rest, mut from, mut step) = (index, 0, 1);
        for axis in (0..shape.len()).rev() {
            let at = (rest % shape[axis]) as i64;
            let at = at.saturating_sub(before[axis]);
            rest /= shape[axis];
            let at = usize::try_from(at).ok().filter(|&at| at < input.shape()[axis])?;
            from += at * step;
            step *= input.shape()[axis];
        }
        Some(from)
    };
    let sources: Vec<usize> = (0..len).map(|index| source(index).unwrap_or(input.len())).collect();
    let join = Node { op_type: "Concat".into(), attributes: Default::default(), ..node.clone() };
    let flat = input.clone().reshaped(&[input.len()])?;
    concat(&join, &[Some(&flat), Some(&fill)])?.gathered(&shape, &sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attribute, Builder};

    fn padded(attributes: &[(&str, Attribute)], rest: &[Tensor]) -> Result<Vec<f64>, SourceError> {
        let (mut builder, image) = Builder::picture(2, 2);
        let constants: Vec<_> = rest.iter().map(|tensor| builder.constant(tensor.clone())).collect();
        let ids: Vec<_> = std::iter::once(image).chain(constants).collect();
        let output = builder.node("Pad", &ids, attributes);
        let input = Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
        let inputs: Vec<Option<&Tensor>> = std::iter::once(&input).chain(rest).map(Some).collect();
        evaluate(builder.producer(output), &inputs).map(|tensor| tensor.to_f64())
    }

    #[test]
    fn elements_are_put_around_or_cut_off() {
        let pads = |values: &[i64]| ("pads", Attribute::Ints(values.to_vec()));
        let value = ("value", Attribute::Float(9.0));
        assert_eq!(padded(&[pads(&[0, 1, 1, 0])], &[]).unwrap(), [0., 1., 2., 0., 3., 4., 0., 0., 0.]);
        assert_eq!(padded(&[pads(&[0, -1, 1, 0]), value], &[]).unwrap(), [2., 4., 9.]);
        let axes = [Tensor::indices(&[1, 0]), Tensor::f32(&[], vec![7.0]).unwrap(), Tensor::indices(&[-1])];
        assert_eq!(padded(&[], &axes).unwrap(), [7., 1., 2., 7., 3., 4.]);
    }

    #[test]
    fn pads_that_are_none_are_refused() {
        let pads = |values: &[i64]| ("pads", Attribute::Ints(values.to_vec()));
        for values in [&[1, 1][..], &[-3, 0, 0, 0], &[i64::MAX; 4]] {
            assert!(padded(&[pads(values)], &[]).is_err(), "{values:?}");
        }
        let mode = ("mode", Attribute::Text("reflect".into()));
        let error = padded(&[mode, pads(&[1; 4])], &[]).unwrap_err().to_string();
        assert!(error.contains("mode \"reflect\""), "{error}");
        assert!(padded(&[], &[]).unwrap_err().to_string().contains("expected pads"));
    }
}
