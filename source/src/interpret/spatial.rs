//! Convolution, pooling and resizing.

use crate::error::SourceError;
use crate::eval::{Inputs, required};
use crate::ir::{Node, Tensor, element_count};
use crate::window::{self, Geometry};

/// The result of an operator of this module; `None` for others.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>, opset: i64) -> Result<Option<Tensor>, SourceError> {
    Ok(Some(match node.op_type.as_str() {
        "Conv" => conv(node, inputs)?,
        "ConvTranspose" => conv_transpose(node, inputs)?,
        "MaxPool" => max_pool(node, required(inputs, 0)?)?,
        "AveragePool" => average_pool(node, required(inputs, 0)?)?,
        "GlobalAveragePool" => {
            of_maps(required(inputs, 0)?, |map| map.iter().sum::<f64>() / map.len() as f64)?
        }
        "GlobalMaxPool" => {
            of_maps(required(inputs, 0)?, |map| map.iter().copied().fold(f64::NEG_INFINITY, f64::max))?
        }
        "Resize" | "Upsample" => resize(node, inputs, opset)?,
        _ => return Ok(None),
    }))
}

/// A convolution's input and geometry.
struct Convolution {
    input: Vec<f64>,
    /// Rows and columns of the input.
    size: [usize; 2],
    weights: Vec<f64>,
    bias: Option<Vec<f64>>,
    /// Output channels, input channels of a group, rows, columns.
    shape: [usize; 4],
    groups: usize,
    window: Geometry,
    /// Distances between the rows and columns that the window looks at.
    dilations: [usize; 2],
    /// Rows and columns of the output.
    output: [usize; 2],
}

/// A convolution of one picture, in 64-bit floats.
///
/// # Errors
/// If its inputs or attributes contradict each other.
pub fn conv(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let (input, weights) = (required(inputs, 0)?, required(inputs, 1)?);
    let (&[1, channels, height, width], &[outputs, group, rows, columns]) = (input.shape(), weights.shape())
    else {
        return Err(SourceError::unsupported("expected one picture and weights of rank 4"));
    };
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
    if groups == 0 || group.checked_mul(groups) != Some(channels) || !outputs.is_multiple_of(groups) {
        return Err(SourceError::malformed(format!(
            "weights of shape {:?} in {groups} groups over {channels} channels",
            weights.shape()
        )));
    }
    let bias = inputs.get(2).copied().flatten().map(Tensor::to_f64);
    if bias.as_ref().is_some_and(|bias| bias.len() != outputs) {
        return Err(SourceError::malformed("a bias that is not one number for each output channel"));
    }
    let geometry = window::of_node(node, input.shape(), Some([rows, columns]))?;
    let output = geometry.output_size([height, width])?;
    let convolution = Convolution {
        input: input.to_f64(),
        size: [height, width],
        weights: weights.to_f64(),
        bias,
        shape: [outputs, group, rows, columns],
        groups,
        window: geometry,
        dilations: window::dilations(node)?,
        output,
    };
    let shape = [1, outputs, output[0], output[1]];
    let mut data = vec![0.0; element_count(&shape)?];
    for (channel, plane) in data.chunks_exact_mut((output[0] * output[1]).max(1)).enumerate() {
        convolution.channel(channel, plane);
    }
    Tensor::f64(&shape, data)
}

impl Convolution {
    /// Computes an output channel, row by row: a row of sums stays in the nearest cache.
    fn channel(&self, channel: usize, plane: &mut [f64]) {
        let width = self.output[1];
        plane.fill(self.bias.as_ref().map_or(0.0, |bias| bias[channel]));
        for (y, sums) in plane.chunks_exact_mut(width.max(1)).enumerate() {
            self.row(channel, y, sums);
        }
    }

    fn row(&self, channel: usize, y: usize, sums: &mut [f64]) {
        let [outputs, group, kernel_rows, kernel_columns] = self.shape;
        let [height, width] = self.size;
        let [stride_y, stride_x] = self.window.stride;
        let [top, left, ..] = self.window.padding;
        let first_input = channel / (outputs / self.groups) * group;
        for (input, ky) in (0..group).flat_map(|input| (0..kernel_rows).map(move |ky| (input, ky))) {
            let Some(row) =
                (y * stride_y + ky * self.dilations[0]).checked_sub(top).filter(|&row| row < height)
            else {
                continue;
            };
            let row = &self.input[((first_input + input) * height + row) * width..][..width];
            let first_weight = ((channel * group + input) * kernel_rows + ky) * kernel_columns;
            for (kx, &weight) in self.weights[first_weight..][..kernel_columns].iter().enumerate() {
                let kx = kx * self.dilations[1];
                // Output columns x with 0 ≤ x · stride + kx − left < width.
                let first = left.saturating_sub(kx).div_ceil(stride_x).min(sums.len());
                let end = (width + left).saturating_sub(kx).div_ceil(stride_x).min(sums.len());
                if weight == 0.0 || first >= end {
                    continue;
                }
                let row = &row[first * stride_x + kx - left..];
                let sums = &mut sums[first..end];
                if stride_x == 1 {
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
                } else {
                    sums.iter_mut().zip(row.iter().step_by(stride_x)).for_each(|(sum, x)| *sum += weight * x);
                }
            }
        }
    }
}

/// Each element of the input adds a window of weights to the output.
fn conv_transpose(node: &Node, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let (input, weights) = (required(inputs, 0)?, required(inputs, 1)?);
    let (&[1, channels, height, width], &[own, group, rows, columns]) = (input.shape(), weights.shape())
    else {
        return Err(SourceError::unsupported("expected one picture and weights of rank 4"));
    };
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
    if groups == 0 || own != channels || !channels.is_multiple_of(groups) || channels == 0 {
        return Err(SourceError::malformed(format!(
            "weights of shape {:?} in {groups} groups over {channels} channels",
            weights.shape()
        )));
    }
    let window = window::transposed(node, input.shape(), [rows, columns])?;
    let [tall, wide] = window.output;
    let outputs = group * groups;
    let bias = inputs.get(2).copied().flatten().map(Tensor::to_f64);
    if bias.as_ref().is_some_and(|bias| bias.len() != outputs) {
        return Err(SourceError::malformed("a bias that is not one number for each output channel"));
    }
    let shape = [1, outputs, tall, wide];
    let mut sums = vec![0.0; element_count(&shape)?];
    let (elements, weights) = (input.to_f64(), weights.to_f64());
    for (index, x) in elements.into_iter().enumerate() {
        let (channel, row, column) = (index / (height * width), index / width % height, index % width);
        for (tap, weight) in
            weights[channel * group * rows * columns..][..group * rows * columns].iter().enumerate()
        {
            let output = channel / (channels / groups) * group + tap / (rows * columns);
            let at = |position: usize, tap: usize, d: usize| {
                (position * window.stride[d] + tap)
                    .checked_sub(window.padding[d])
                    .filter(|&at| at < window.output[d])
            };
            if let (Some(y), Some(x_out)) = (at(row, tap / columns % rows, 0), at(column, tap % columns, 1)) {
                sums[(output * tall + y) * wide + x_out] += weight * x;
            }
        }
    }
    for (plane, bias) in sums.chunks_exact_mut(tall * wide).zip(bias.iter().flatten()) {
        plane.iter_mut().for_each(|sum| *sum += bias);
    }
    Tensor::f64(&shape, sums)
}

/// Padded positions never win.
fn max_pool(node: &Node, input: &Tensor) -> Result<Tensor, SourceError> {
    let window = window::of_node(node, input.shape(), None)?;
    let [height, width] = [input.shape()[2], input.shape()[3]];
    let [rows, columns] = window.output_size([height, width])?;
    let covered = |at: usize, d: usize, extent: usize| {
        let (stride, padding) = (window.stride[d], window.padding[d]);
        let start = (at * stride).saturating_sub(padding);
        start..(at * stride + window.kernel[d]).saturating_sub(padding).min(extent)
    };
    let shape = [input.shape()[0], input.shape()[1], rows, columns];
    let mut data = Vec::with_capacity(element_count(&shape)?);
    let elements = input.to_f64();
    for plane in elements.chunks_exact((height * width).max(1)) {
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let columns = covered(x, 1, width);
            let rows = covered(y, 0, height).map(|y| &plane[y * width..][columns.clone()]);
            data.push(rows.flatten().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }
    if input.element().is_float() {
        return Tensor::f64(&shape, data);
    }
    Tensor::integers(&shape, input.element(), data.into_iter().map(|x| x as i64))
}

/// Sums of windows by their elements: those of the picture, and with `count_include_pad` those of the padding, too.
fn average_pool(node: &Node, input: &Tensor) -> Result<Tensor, SourceError> {
    let window = window::of_node(node, input.shape(), None)?;
    let [height, width] = [input.shape()[2], input.shape()[3]];
    let [rows, columns] = window.output_size([height, width])?;
    let counts_padding = node.int("count_include_pad", 0) != 0;
    let shape = [input.shape()[0], input.shape()[1], rows, columns];
    let mut data = Vec::with_capacity(element_count(&shape)?);
    let elements = input.to_f64();
    for plane in elements.chunks_exact((height * width).max(1)) {
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let (mut sum, mut count) = (0.0, 0usize);
            for (ky, kx) in (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x))) {
                let row =
                    (y * window.stride[0] + ky).checked_sub(window.padding[0]).filter(|&row| row < height);
                let column =
                    (x * window.stride[1] + kx).checked_sub(window.padding[1]).filter(|&x| x < width);
                let own = row.zip(column);
                sum += own.map_or(0.0, |(row, column)| plane[row * width + column]);
                count += usize::from(own.is_some() || counts_padding);
            }
            data.push(sum / count as f64);
        }
    }
    Tensor::f64(&shape, data)
}

/// A function of each channel's map.
fn of_maps(input: &Tensor, function: fn(&[f64]) -> f64) -> Result<Tensor, SourceError> {
    let &[batch, channels, height, width] = input.shape() else {
        return Err(SourceError::unsupported(format!("input shape {:?}; expected rank 4", input.shape())));
    };
    let elements = input.to_f64();
    let results = elements.chunks_exact((height * width).max(1)).map(function);
    Tensor::f64(&[batch, channels, 1, 1], results.collect())
}

/// Where an element of an output axis comes from, in input positions.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    scale: f64,
}

/// Nearest-neighbour resizing.
fn resize(node: &Node, inputs: &Inputs<'_>, opset: i64) -> Result<Tensor, SourceError> {
    let input = required(inputs, 0)?;
    if node.text("mode", "nearest") != "nearest" {
        return Err(SourceError::unsupported("expected mode \"nearest\""));
    }
    let old = node.op_type == "Upsample" || opset < 11;
    let (coordinates, rounding) = match old {
        true => ("asymmetric", "floor"),
        false => (
            node.text("coordinate_transformation_mode", "half_pixel"),
            node.text("nearest_mode", "round_prefer_floor"),
        ),
    };
    let axes = resized_axes(input.shape(), inputs, old)?;
    let shape: Vec<usize> = axes.iter().map(|axis| axis.output).collect();
    element_count(&shape)?;
    let mut sources = Vec::with_capacity(axes.len());
    for axis in &axes {
        let source = |at: usize| source(*axis, at, coordinates, rounding);
        sources.push((0..axis.output).map(source).collect::<Result<Vec<_>, _>>()?);
    }
    let mut indices = vec![0];
    for (axis, sources) in axes.iter().zip(&sources) {
        indices = indices
            .iter()
            .flat_map(|&outer| sources.iter().map(move |&own| outer * axis.input + own))
            .collect();
    }
    input.gathered(&shape, &indices)
}

fn resized_axes(shape: &[usize], inputs: &Inputs<'_>, old: bool) -> Result<Vec<Axis>, SourceError> {
    let given = |position: usize| inputs.get(position).copied().flatten().filter(|t| t.len() == shape.len());
    let (scales, sizes) = if old { (given(1), None) } else { (given(2), given(3)) };
    let axis = |(d, &input): (usize, &usize)| match (sizes, scales) {
        (Some(sizes), _) => {
            let output = usize::try_from(sizes.get_integer(d)).ok()?;
            Some(Axis { input, output, scale: output as f64 / input as f64 })
        }
        (None, Some(scales)) => {
            let scale = scales.get(d);
            let output = (input as f64 * scale).floor();
            (0.0..1e9).contains(&output).then_some(Axis { input, output: output as usize, scale })
        }
        (None, None) => None,
    };
    let axes: Option<Vec<Axis>> = shape.iter().enumerate().map(axis).collect();
    axes.ok_or_else(|| SourceError::unsupported("expected scales or sizes for every axis"))
}

fn source(axis: Axis, at: usize, coordinates: &str, rounding: &str) -> Result<usize, SourceError> {
    let at = at as f64;
    let position = match coordinates {
        "asymmetric" => at / axis.scale,
        "half_pixel" => (at + 0.5) / axis.scale - 0.5,
        "pytorch_half_pixel" if axis.output <= 1 => 0.0,
        "pytorch_half_pixel" => (at + 0.5) / axis.scale - 0.5,
        "align_corners" if axis.output <= 1 => 0.0,
        "align_corners" => at * (axis.input as f64 - 1.0) / (axis.output as f64 - 1.0),
        other => return Err(SourceError::unsupported(format!("coordinate_transformation_mode {other}"))),
    };
    let nearest = match rounding {
        "round_prefer_floor" => (position - 0.5).ceil(),
        "round_prefer_ceil" => (position + 0.5).floor(),
        "floor" => position.floor(),
        "ceil" => position.ceil(),
        other => return Err(SourceError::unsupported(format!("nearest_mode {other}"))),
    };
    Ok(nearest.clamp(0.0, axis.input.saturating_sub(1) as f64) as usize)
}
