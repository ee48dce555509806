//! Operators that move elements without changing them.

use super::{Inputs, required};
use crate::error::SourceError;
use crate::ir::{Attribute, Data, ElementType, MAX_ELEMENTS, Node, Tensor, element_count};

/// Whether the operator only moves elements, so that the shape of its output follows from the shape
/// of its first input and from its other inputs.
pub fn moves_elements(op_type: &str) -> bool {
    matches!(
        op_type,
        "Identity"
            | "Reshape"
            | "Flatten"
            | "Transpose"
            | "Unsqueeze"
            | "Squeeze"
            | "Concat"
            | "Slice"
            | "Split"
            | "Gather"
            | "Expand"
            | "ScatterND"
            | "DepthToSpace"
            | "SpaceToDepth"
    )
}

/// The results of an operator that moves or makes elements; `None` for other operators.
pub(super) fn evaluate(
    node: &Node,
    inputs: &Inputs<'_>,
    opset: i64,
) -> Result<Option<Vec<Tensor>>, SourceError> {
    let one = |tensor: Tensor| Ok(Some(vec![tensor]));
    match node.op_type.as_str() {
        "Identity" => one(required(inputs, 0)?.clone()),
        "Reshape" => one(reshape(node, inputs)?),
        "Flatten" => {
            let input = required(inputs, 0)?;
            let rank = input.shape().len();
            let at = node.int("axis", 1);
            let at = if at == rank as i64 { rank } else { axis(at, rank)? };
            let outer = input.shape()[..at].iter().product();
            let inner = input.shape()[at..].iter().product();
            one(input.clone().reshaped(&[outer, inner])?)
        }
        "Transpose" => one(transpose(node, required(inputs, 0)?)?),
        "Unsqueeze" => one(unsqueeze(node, inputs)?),
        "Squeeze" => one(squeeze(node, inputs)?),
        "Concat" => one(concat(node, inputs)?),
        "Slice" => one(slice(node, inputs)?),
        "Split" => split(node, inputs, opset).map(Some),
        "Gather" => one(gather(node, inputs)?),
        "Expand" => one(expand(inputs)?),
        "Pad" => one(super::pad::evaluate(node, inputs)?),
        "ConstantOfShape" => one(constant_of_shape(node, inputs)?),
        "Range" => one(range(inputs)?),
        "ScatterND" => one(scatter_nd(node, inputs)?),
        "DepthToSpace" | "SpaceToDepth" => one(super::depth::evaluate(node, required(inputs, 0)?)?),
        _ => Ok(None),
    }
}

/// A valid axis from one that may count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, SourceError> {
    let rank = rank as i64;
    if !(-rank..rank).contains(&axis) {
        return Err(SourceError::malformed(format!("axis {axis} of a tensor of rank {rank}")));
    }
    Ok(axis.rem_euclid(rank) as usize)
}

/// Integers given by an attribute in older opsets and by an input in newer ones.
fn integers(node: &Node, inputs: &Inputs<'_>, position: usize, attribute: &str) -> Option<Vec<i64>> {
    match inputs.get(position).copied().flatten() {
        Some(tensor) => Some(tensor.to_integers()),
        None => node.ints(attribute).map(<[i64]>::to_vec),
    }
}

fn extents(values: &[i64]) -> Result<Vec<usize>, SourceError> {
    let convert = |&value: &i64| usize::try_from(value);
    values
        .iter()
        .map(convert)
        .collect::<Result<_, _>>()
        .map_err(|_| SourceError::malformed(format!("negative extents {values:?}")))
}

fn reshape(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let wanted =
        integers(node, inputs, 1, "shape").ok_or_else(|| SourceError::malformed("expected a shape"))?;
    let mut shape = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (dimension, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            -1 if free.is_none() => {
                free = Some(dimension);
                1
            }
            0 if node.int("allowzero", 0) == 0 => *input
                .shape()
                .get(dimension)
                .ok_or_else(|| SourceError::malformed("extent 0 beyond the input's rank"))?,
            1.. => extents(&[extent])?[0],
            _ => return Err(SourceError::malformed(format!("a reshape to {wanted:?}"))),
        });
    }
    if let Some(dimension) = free {
        let rest = element_count(&shape)?;
        if rest == 0 || input.len() % rest != 0 {
            return Err(SourceError::malformed(format!(
                "shape {:?} cannot become {wanted:?}",
                input.shape()
            )));
        }
        shape[dimension] = input.len() / rest;
    }
    input.clone().reshaped(&shape)
}

pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for dimension in (1..shape.len()).rev() {
        strides[dimension - 1] = strides[dimension] * shape[dimension];
    }
    strides
}

/// Elements at `Σ start + position · step` for all positions in `shape`; steps may be negative.
pub(super) fn strided(
    input: &Tensor,
    shape: &[usize],
    start: usize,
    steps: &[isize],
) -> Result<Tensor, SourceError> {
    let len = element_count(shape)?;
    let mut indices = Vec::with_capacity(len);
    let mut position = vec![0; shape.len()];
    let mut index = start as isize;
    while indices.len() < len {
        indices.push(index as usize);
        for dimension in (0..shape.len()).rev() {
            position[dimension] += 1;
            index += steps[dimension];
            if position[dimension] < shape[dimension] {
                break;
            }
            index -= steps[dimension] * position[dimension] as isize;
            position[dimension] = 0;
        }
    }
    input.gathered(shape, &indices)
}

fn transpose(node: &Node, input: &Tensor) -> Result<Tensor, SourceError> {
    let rank = input.shape().len();
    let order: Vec<usize> = match node.ints("perm") {
        Some(order) => order.iter().map(|&d| axis(d, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return Err(SourceError::malformed(format!("perm {order:?} of rank {rank}")));
    }
    let own = strides(input.shape());
    let shape: Vec<usize> = order.iter().map(|&d| input.shape()[d]).collect();
    let steps: Vec<isize> = order.iter().map(|&d| own[d] as isize).collect();
    strided(input, &shape, 0, &steps)
}

fn unsqueeze(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let axes = integers(node, inputs, 1, "axes").ok_or_else(|| SourceError::malformed("expected axes"))?;
    let rank = input.shape().len() + axes.len();
    let mut new = vec![false; rank];
    for value in axes {
        let position = axis(value, rank)?;
        if std::mem::replace(&mut new[position], true) {
            return Err(SourceError::malformed(format!("axis {value} twice")));
        }
    }
    let mut own = input.shape().iter().copied();
    let shape: Vec<usize> =
        new.into_iter().map(|new| if new { 1 } else { own.next().unwrap_or(1) }).collect();
    input.clone().reshaped(&shape)
}

fn squeeze(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let rank = input.shape().len();
    let dropped: Vec<usize> = match integers(node, inputs, 1, "axes") {
        Some(axes) => axes.iter().map(|&value| axis(value, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).filter(|&d| input.shape()[d] == 1).collect(),
    };
    let kept = (0..rank).filter(|d| !dropped.contains(d)).map(|d| input.shape()[d]);
    let shape: Vec<usize> = kept.collect();
    input.clone().reshaped(&shape)
}

pub(super) fn concat(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let first = required(inputs, 0)?;
    let at = axis(node.int("axis", 0), first.shape().len())?;
    let mut shape = first.shape().to_vec();
    shape[at] = 0;
    let mut parts = Vec::with_capacity(inputs.len());
    for position in 0..inputs.len() {
        let part = required(inputs, position)?;
        let mut other = part.shape().to_vec();
        if other.len() != shape.len() {
            return Err(SourceError::malformed("operands of different rank"));
        }
        let extent = std::mem::replace(&mut other[at], shape[at]);
        if other != shape || part.element() != first.element() {
            return Err(SourceError::malformed("operands of different shape or type"));
        }
        shape[at] = shape[at].saturating_add(extent);
        parts.push(part);
    }
    let len = element_count(&shape)?;
    let outer: usize = shape[..at].iter().product();
    let inner: usize = shape[at + 1..].iter().product();
    let blocks = |f: &mut dyn FnMut(&Tensor, std::ops::Range<usize>)| {
        for block in 0..outer {
            for part in &parts {
                let width = part.shape()[at] * inner;
                f(part, block * width..(block + 1) * width);
            }
        }
    };
    match first.element() {
        ElementType::F32 => {
            let mut values = Vec::with_capacity(len);
            blocks(&mut |part, range| values.extend(range.map(|i| part.get(i) as f32)));
            Tensor::f32(&shape, values)
        }
        ElementType::F64 => {
            let mut values = Vec::with_capacity(len);
            blocks(&mut |part, range| values.extend(range.map(|i| part.get(i))));
            Tensor::f64(&shape, values)
        }
        element => {
            let mut values = Vec::with_capacity(len);
            blocks(&mut |part, range| values.extend(range.map(|i| part.get_integer(i))));
            Tensor::integers(&shape, element, values.into_iter())
        }
    }
}

fn slice(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let rank = input.shape().len();
    let missing = || SourceError::malformed("expected starts and ends");
    let starts = integers(node, inputs, 1, "starts").ok_or_else(missing)?;
    let ends = integers(node, inputs, 2, "ends").ok_or_else(missing)?;
    let axes =
        integers(node, inputs, 3, "axes").unwrap_or_else(|| (0..starts.len()).map(|d| d as i64).collect());
    let steps = integers(node, inputs, 4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(SourceError::malformed("starts, ends, axes and steps of different length"));
    }
    let own = strides(input.shape());
    let mut shape = input.shape().to_vec();
    let mut moves: Vec<isize> = own.iter().map(|&stride| stride as isize).collect();
    let mut first = 0;
    for k in 0..starts.len() {
        let dimension = axis(axes[k], rank)?;
        let extent = input.shape()[dimension] as i64;
        let step = steps[k];
        if step == 0 || step.unsigned_abs() > MAX_ELEMENTS as u64 {
            return Err(SourceError::malformed(format!("a slice with step {step}")));
        }
        let absolute = |value: i64| if value < 0 { value.saturating_add(extent) } else { value };
        let (start, count) = if step > 0 {
            let start = absolute(starts[k]).clamp(0, extent);
            (start, (absolute(ends[k]).clamp(0, extent) - start + step - 1).div_euclid(step))
        } else {
            let start = absolute(starts[k]).clamp(-1, extent - 1);
            let end = absolute(ends[k]).clamp(-1, extent - 1);
            (start, (start - end - step - 1).div_euclid(-step))
        };
        shape[dimension] = count.max(0) as usize;
        first += start.max(0) as usize * own[dimension];
        moves[dimension] = own[dimension] as isize * step as isize;
    }
    strided(input, &shape, first, &moves)
}

fn split(node: &Node, inputs: &Inputs<'_>, opset: i64) -> Result<Vec<Tensor>, SourceError> {
    let input = required(inputs, 0)?;
    let at = axis(node.int("axis", 0), input.shape().len())?;
    let extent = input.shape()[at];
    let count = match node.int("num_outputs", 0) {
        declared if declared > 0 && opset >= 18 => declared as usize,
        _ => node.outputs.len(),
    };
    let sizes = match integers(node, inputs, 1, "split") {
        Some(sizes) => extents(&sizes)?,
        None if count > 0 && count <= extent => {
            // Equal parts; the last is smaller where the extent does not divide.
            let part = extent.div_ceil(count);
            (0..count).map(|k| part.min(extent.saturating_sub(k * part))).collect()
        }
        None => return Err(SourceError::malformed(format!("{extent} in {count} parts"))),
    };
    let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if total != Some(extent) || sizes.len() != node.outputs.len() {
        return Err(SourceError::malformed(format!("parts {sizes:?} of {extent}")));
    }
    let own = strides(input.shape());
    let moves: Vec<isize> = own.iter().map(|&stride| stride as isize).collect();
    let mut start = 0;
    let mut outputs = Vec::with_capacity(sizes.len());
    for size in sizes {
        let mut shape = input.shape().to_vec();
        shape[at] = size;
        outputs.push(strided(input, &shape, start * own[at], &moves)?);
        start += size;
    }
    Ok(outputs)
}

fn gather(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let [input, chosen] = [required(inputs, 0)?, required(inputs, 1)?];
    let at = axis(node.int("axis", 0), input.shape().len())?;
    let extent = input.shape()[at];
    let outer: usize = input.shape()[..at].iter().product();
    let inner: usize = input.shape()[at + 1..].iter().product();
    let shape = [&input.shape()[..at], chosen.shape(), &input.shape()[at + 1..]].concat();
    let mut indices = Vec::with_capacity(element_count(&shape)?);
    let chosen = chosen.to_integers().into_iter().map(|i| axis(i, extent)).collect::<Result<Vec<_>, _>>()?;
    for block in 0..outer {
        for index in &chosen {
            let start = (block * extent + index) * inner;
            indices.extend(start..start + inner);
        }
    }
    input.gathered(&shape, &indices)
}

fn expand(inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    let wanted = extents(&required(inputs, 1)?.to_integers())?;
    let shape = super::broadcast_shape(&[input.shape(), &wanted])?;
    element_count(&shape)?;
    input.gathered(&shape, &super::arithmetic::broadcast_indices(input.shape(), &shape))
}

fn constant_of_shape(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let shape = extents(&required(inputs, 0)?.to_integers())?;
    let len = element_count(&shape)?;
    match node.attribute("value") {
        Some(Attribute::Tensor(value)) if value.len() == 1 => match value.data() {
            Data::F32(values) => Tensor::f32(&shape, vec![values[0]; len]),
            Data::F64(values) => Tensor::f64(&shape, vec![values[0]; len]),
            _ => {
                let number = value.get_integer(0);
                Tensor::integers(&shape, value.element(), (0..len).map(|_| number))
            }
        },
        None => Tensor::f32(&shape, vec![0.0; len]),
        _ => Err(SourceError::malformed("expected a value with one element")),
    }
}

fn range(inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let start = required(inputs, 0)?;
    let number = |position: usize| -> Result<f64, SourceError> {
        required(inputs, position)?.scalar().ok_or_else(|| SourceError::malformed("expected single numbers"))
    };
    let (first, limit, step) = (number(0)?, number(1)?, number(2)?);
    let count = ((limit - first) / step).ceil().max(0.0);
    if !(step != 0.0 && count <= MAX_ELEMENTS as f64) {
        return Err(SourceError::malformed(format!("a range of {first}, {limit}, {step}")));
    }
    let count = count as usize;
    let values = (0..count).map(|k| first + k as f64 * step);
    match start.data() {
        Data::F32(_) => Tensor::f32(&[count], values.map(|x| x as f32).collect()),
        Data::F64(_) => Tensor::f64(&[count], values.collect()),
        _ => Tensor::integers(&[count], start.element(), values.map(|x| x as i64)),
    }
}

fn scatter_nd(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let [data, indices, updates] = [required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?];
    let malformed = || SourceError::malformed("shapes of data, indices and updates disagree");
    if node.text("reduction", "none") != "none" {
        return Err(SourceError::unsupported("expected reduction \"none\""));
    }
    let depth = *indices.shape().last().ok_or_else(malformed)?;
    if depth == 0 || depth > data.shape().len() || data.element() != updates.element() {
        return Err(malformed());
    }
    let inner: usize = data.shape()[depth..].iter().product();
    let rows = indices.len() / depth;
    if updates.len() != rows * inner {
        return Err(malformed());
    }
    let own = strides(data.shape());
    // Source of every element: below data.len() from `data`, behind it from `updates`.
    let mut sources: Vec<usize> = (0..data.len()).collect();
    for row in 0..rows {
        let mut start = 0;
        for (d, stride) in own.iter().enumerate().take(depth) {
            start += axis(indices.get_integer(row * depth + d), data.shape()[d])? * stride;
        }
        for k in 0..inner {
            sources[start + k] = data.len() + row * inner + k;
        }
    }
    let (flat_data, flat_updates) =
        (data.clone().reshaped(&[data.len()])?, updates.clone().reshaped(&[updates.len()])?);
    let join = Node { op_type: "Concat".into(), attributes: Default::default(), ..node.clone() };
    let all = concat(&join, &[Some(&flat_data), Some(&flat_updates)])?;
    all.gathered(data.shape(), &sources)
}
