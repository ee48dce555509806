//! Quantizers: reading their parameters, applying them to constants, following their codes.

use std::sync::Arc;

use super::{Inputs, arithmetic, required, tools};
use crate::error::SourceError;
use crate::ir::{Attribute, Data, Domain, ElementType, Node, Tensor};
use crate::quantizer::{Order, PerAxis, QuantizedConstant, Quantizer, Rounding, along_first_axis};

/// The quantizer that a `Quant`, `BipolarQuant` or `QuantizeLinear` node is, or one of MQBench, for data of a rank.
/// Inputs behind the first must be known. `None` for other operators.
///
/// # Errors
/// If its parameters are none that a quantizer can have.
pub fn quantizer_of(node: &Node, inputs: &Inputs<'_>, rank: usize) -> Result<Option<Quantizer>, SourceError> {
    let quantizer = match (&node.domain, node.op_type.as_str()) {
        (Domain::Qonnx, "Quant" | "IntQuant") => qonnx_quant(node, inputs, rank)?,
        (Domain::Qonnx, "BipolarQuant") => Quantizer {
            order: Order::Bipolar,
            rounding: Rounding::HalfEven,
            low: -1,
            high: 1,
            scale: PerAxis::broadcast(required(inputs, 1)?, rank)?,
            zero_point: PerAxis::uniform(0.0),
            codes_name: String::new(),
        },
        (Domain::Onnx | Domain::Microsoft, "QuantizeLinear") => quantize_linear(node, inputs, rank)?,
        _ => match tools::mqbench(node, inputs, rank)? {
            Some(quantizer) => quantizer,
            None => match tools::openvino(node, inputs, rank)? {
                Some(quantizer) => quantizer,
                None => return Ok(None),
            },
        },
    };
    quantizer.validate()?;
    Ok(Some(quantizer))
}

fn qonnx_quant(node: &Node, inputs: &Inputs<'_>, rank: usize) -> Result<Quantizer, SourceError> {
    let bits = required(inputs, 3)?
        .scalar()
        .filter(|bits| bits.fract() == 0.0 && (1.0..=32.0).contains(bits))
        .ok_or_else(|| SourceError::unsupported("expected a bit width of 1 to 32"))? as u32;
    let narrow = i64::from(node.int("narrow", 0) != 0);
    let signed = node.int("signed", 1) != 0;
    // The definition says that the operator is not for binary codes. Its formula gives -1 and 0, and tools
    // that execute it give -1 and +1.
    if signed && bits == 1 {
        return Err(SourceError::unsupported(
            "a signed quantizer of 1 bit, whose codes QONNX leaves open; \
             write BipolarQuant for -1 and +1",
        ));
    }
    let (low, high) = if signed {
        (-(1i64 << (bits - 1)) + narrow, (1i64 << (bits - 1)) - 1)
    } else {
        (0, (1i64 << bits) - 1 - narrow)
    };
    let rounding = Rounding::named(node.text("rounding_mode", "ROUND"))?;
    Ok(Quantizer {
        order: Order::ClampThenRound,
        rounding,
        low,
        high,
        scale: PerAxis::broadcast(required(inputs, 1)?, rank)?,
        zero_point: PerAxis::broadcast(required(inputs, 2)?, rank)?,
        codes_name: String::new(),
    })
}

fn quantize_linear(node: &Node, inputs: &Inputs<'_>, rank: usize) -> Result<Quantizer, SourceError> {
    refuse_blocks(node)?;
    let axis = node.int("axis", 1);
    let zero_point = inputs.get(2).copied().flatten();
    let element = match (zero_point, node.int("output_dtype", 0)) {
        (Some(zero_point), _) => zero_point.element(),
        (None, 0) => ElementType::Unsigned(8),
        (None, number) => i32::try_from(number)
            .ok()
            .and_then(crate::onnx::element_type)
            .ok_or_else(|| SourceError::unsupported(format!("ONNX data type {number}")))?,
    };
    let (low, high) =
        element.integer_range().ok_or_else(|| SourceError::unsupported("expected integer codes"))?;
    Ok(Quantizer {
        order: Order::RoundThenClamp,
        rounding: Rounding::HalfEven,
        low,
        high,
        scale: PerAxis::along(required(inputs, 1)?, axis, rank)?,
        zero_point: zero_point
            .map_or_else(|| Ok(PerAxis::uniform(0.0)), |z| PerAxis::along(z, axis, rank))?,
        codes_name: String::new(),
    })
}

fn refuse_blocks(node: &Node) -> Result<(), SourceError> {
    if node.int("block_size", 0) != 0 {
        return Err(SourceError::unsupported("block-wise scales; expected one scale a channel"));
    }
    Ok(())
}

/// Scale and zero point of a `DequantizeLinear` for data of a rank.
fn dequantizer(node: &Node, inputs: &Inputs<'_>, rank: usize) -> Result<(PerAxis, PerAxis), SourceError> {
    refuse_blocks(node)?;
    let axis = node.int("axis", 1);
    let zero_point = match inputs.get(2).copied().flatten() {
        Some(tensor) => PerAxis::along(tensor, axis, rank)?,
        None => PerAxis::uniform(0.0),
    };
    Ok((PerAxis::along(required(inputs, 1)?, axis, rank)?, zero_point))
}

/// `(code − zero_point) · scale` for every element, in 32 bits.
fn dequantize(codes: &Tensor, scale: &PerAxis, zero_point: &PerAxis) -> Result<Tensor, SourceError> {
    let shape = codes.shape();
    let real =
        |index: usize| (codes.get(index) as f32 - zero_point.at(shape, index)) * scale.at(shape, index);
    let mut values = Vec::with_capacity(codes.len());
    values.extend((0..codes.len()).map(real));
    Tensor::f32(shape, values)
}

/// `(code − zero_point) · scale` with a scale for each block along an axis, in 64 bits: so the blocks' grids are exact.
fn dequantize_blocks(node: &Node, codes: &Tensor, inputs: &Inputs<'_>) -> Result<Tensor, SourceError> {
    let (scale, zero_point) = (required(inputs, 1)?, inputs.get(2).copied().flatten());
    let shape = codes.shape();
    let axis = node.int("axis", 1);
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok();
    let axis = axis.filter(|&axis| axis < shape.len());
    let size = usize::try_from(node.int("block_size", 0)).ok().filter(|&size| size > 0);
    let (Some(axis), Some(size)) = (axis, size) else {
        return Err(SourceError::malformed("block-wise scales without an axis or a size"));
    };
    let blocks = [&shape[..axis], &[shape[axis].div_ceil(size)], &shape[axis + 1..]].concat();
    if [Some(scale), zero_point].iter().flatten().any(|numbers| numbers.shape() != blocks) {
        let found = scale.shape();
        return Err(SourceError::malformed(format!(
            "block-wise scales of shape {found:?}; expected {blocks:?}"
        )));
    }
    let (extent, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>().max(1));
    let same = |numbers: &&Tensor| {
        numbers.to_f64().chunks(inner).all(|kernel| kernel.iter().all(|own| *own == kernel[0]))
    };
    let alike = [Some(scale), zero_point].iter().flatten().all(same);
    if shape.len() == 4 && !(axis == 1 && alike && size * inner >= 4 && blocks[1] <= 64) {
        return Err(SourceError::unsupported(
            "block-wise scales; expected blocks of input channels (axis 1), at most 64, of four weights or more each, with one \
             scale for all rows and columns of a kernel, or one scale a channel",
        ));
    }
    let mut values = Vec::with_capacity(codes.len());
    for index in 0..codes.len() {
        let (row, place) = (index / (extent * inner), index / inner % extent);
        let block = (row * blocks[axis] + place / size) * inner + index % inner;
        let zero_point = zero_point.map_or(0.0, |numbers| numbers.get(block));
        values.push((codes.get(index) - zero_point) * f64::from(scale.get(block) as f32));
    }
    Tensor::f64(shape, values)
}

/// Value of a quantizer node, for known inputs; `None` for other operators.
pub(super) fn evaluate(node: &Node, inputs: &Inputs<'_>) -> Result<Option<Tensor>, SourceError> {
    if node.is_linear_quantizer("DequantizeLinear") {
        let codes = required(inputs, 0)?;
        if node.int("block_size", 0) != 0 {
            return dequantize_blocks(node, codes, inputs).map(Some);
        }
        let (scale, zero_point) = dequantizer(node, inputs, codes.shape().len())?;
        along_shape(&scale, codes)?;
        along_shape(&zero_point, codes)?;
        return dequantize(codes, &scale, &zero_point).map(Some);
    }
    let quantizer = match (&node.domain, &node.quantizer) {
        (Domain::Converter, Some(quantizer)) => Some(Quantizer::clone(quantizer)),
        _ => match inputs.first().copied().flatten() {
            Some(input) => quantizer_of(node, inputs, input.shape().len())?,
            None => None,
        },
    };
    let Some(quantizer) = quantizer else {
        let rank = inputs.first().copied().flatten().map_or(0, |input| input.shape().len());
        let own = tools::fake_quantize(node, inputs, rank)?;
        return own.map(|own| own.evaluate(required(inputs, 0)?)).transpose();
    };
    let input = required(inputs, 0)?;
    let codes = quantizer.codes(input)?;
    if node.is_linear_quantizer("QuantizeLinear") {
        let element = linear_element(&quantizer);
        return Tensor::integers(input.shape(), element, codes.into_iter()).map(Some);
    }
    let codes = Tensor::integers(input.shape(), ElementType::Signed(64), codes.into_iter())?;
    let real = dequantize(&codes, &quantizer.scale, &quantizer.zero_point)?;
    Ok(Some(match input.data() {
        Data::F64(_) => Tensor::f64(input.shape(), real.to_f64())?,
        _ => real,
    }))
}

/// The integer type with exactly the range of a `QuantizeLinear`.
fn linear_element(quantizer: &Quantizer) -> ElementType {
    let bits = 64 - quantizer.high.abs_diff(quantizer.low).leading_zeros();
    if quantizer.low < 0 { ElementType::Signed(bits as u8) } else { ElementType::Unsigned(bits as u8) }
}

fn along_shape(numbers: &PerAxis, codes: &Tensor) -> Result<(), SourceError> {
    if numbers.values.len() == 1 || codes.shape().get(numbers.axis) == Some(&numbers.values.len()) {
        return Ok(());
    }
    Err(SourceError::malformed("scales or zero points that do not match the tensor's shape"))
}

/// Codes of a constant under a `Quant` or `BipolarQuant` node; `None` where scales do not lie along
/// the first axis, which no weight's do.
fn codes_of_constant(
    quantizer: &Quantizer,
    input: &Tensor,
) -> Result<Option<QuantizedConstant>, SourceError> {
    let codes = to_i32(quantizer.codes(input)?);
    let numbers = |numbers| along_first_axis(numbers, input.shape()).ok();
    let (Some(scale), Some(zero_point)) = (numbers(&quantizer.scale), numbers(&quantizer.zero_point)) else {
        return Ok(None);
    };
    let (low, high, step) = (quantizer.low, quantizer.high, quantizer.step());
    Ok(Some(QuantizedConstant { codes, low, high, step, scale, zero_point }))
}

/// See [`super::quantized_output`].
pub(super) fn quantized_output(
    node: &Node,
    inputs: &[Option<(&Tensor, Option<&QuantizedConstant>)>],
    clip: Option<(f64, f64)>,
    output: &Tensor,
) -> Result<Option<Arc<QuantizedConstant>>, SourceError> {
    let tensors: Vec<Option<&Tensor>> = inputs.iter().map(|i| i.map(|(tensor, _)| tensor)).collect();
    let Some((input, source)) = inputs.first().copied().flatten() else { return Ok(None) };
    if !node.is_linear_quantizer("QuantizeLinear")
        && let Some(quantizer) = quantizer_of(node, &tensors, input.shape().len())?
    {
        // Widths above 16 bits are biases: plain numbers with a fine grid, no weights.
        let narrow = quantizer.bits() <= 16;
        return Ok(if narrow { codes_of_constant(&quantizer, input)?.map(Arc::new) } else { None });
    }
    if let Some(own) = tools::fake_quantize(node, &tensors, input.shape().len())? {
        return Ok(own.quantized(input)?.map(Arc::new));
    }
    if node.is_linear_quantizer("DequantizeLinear") {
        if node.int("block_size", 0) != 0 {
            return Ok(None); // found again as a grid of each block
        }
        let (scale, zero_point) = dequantizer(node, &tensors, input.shape().len())?;
        let (low, high) = match (source, input.element().integer_range()) {
            (Some(source), _) => (source.low, source.high),
            (None, Some(range)) => range,
            (None, None) => return Ok(None),
        };
        let numbers = |numbers| along_first_axis(numbers, input.shape()).ok();
        let (Some(scale), Some(zero_point)) = (numbers(&scale), numbers(&zero_point)) else {
            return Ok(None);
        };
        let codes = to_i32(input.to_integers());
        return Ok(Some(Arc::new(QuantizedConstant { codes, low, high, step: 1, scale, zero_point })));
    }
    if node.domain != Domain::Onnx {
        return Ok(None);
    }
    Ok(match node.op_type.as_str() {
        "Identity" | "Cast" => source.cloned().map(Arc::new),
        "Clip" if !input.element().is_float() => {
            let (low, high) = arithmetic::clip_bounds(node, &tensors)?;
            let (low, high) = (low as i64, high as i64);
            Some(Arc::new(QuantizedConstant::plain(to_i32(output.to_integers()), low, high)))
        }
        // Quantizers written out as arithmetic: the codes are what Round or Sign make ...
        "Round" | "Floor" | "Ceil" | "Sign" if input.len() > 1 => {
            Some(Arc::new(written_out_codes(node, clip, output)))
        }
        // ... and what follows is an affine map of them.
        "Mul" | "Div" | "Add" | "Sub" => affine(node, inputs, output)?.map(Arc::new),
        _ => None,
    })
}

/// Codes of more than 32 bits belong to no weight; they are saturated and refused as too wide later.
fn to_i32(codes: Vec<i64>) -> Vec<i32> {
    codes.into_iter().map(|code| code.clamp(i32::MIN.into(), i32::MAX.into()) as i32).collect()
}

fn written_out_codes(node: &Node, clip: Option<(f64, f64)>, output: &Tensor) -> QuantizedConstant {
    let codes = to_i32(output.to_integers());
    let mut low = codes.iter().copied().min().map_or(0, i64::from);
    let mut high = codes.iter().copied().max().map_or(0, i64::from);
    if let (Some((first, last)), true) = (clip, node.op_type != "Sign") {
        (low, high) = (first.max(-1e9) as i64, last.min(1e9) as i64);
    }
    let mut constant = QuantizedConstant::plain(codes, low, high);
    // Signs without a zero are bipolar; with one they are ternary.
    if node.op_type == "Sign" && !constant.codes.contains(&0) && low < high {
        constant.step = 2;
    }
    constant
}

/// Codes under `scale · (code − zero_point)` after one more `Mul`, `Div`, `Add` or `Sub` with numbers
/// along the first axis.
fn affine(
    node: &Node,
    inputs: &[Option<(&Tensor, Option<&QuantizedConstant>)>],
    output: &Tensor,
) -> Result<Option<QuantizedConstant>, SourceError> {
    let [Some(a), Some(b)] = inputs else { return Ok(None) };
    let (source, factor, swapped) = match (a, b) {
        ((tensor, Some(source)), (factor, _)) if tensor.shape() == output.shape() => {
            (*source, *factor, false)
        }
        ((factor, _), (tensor, Some(source))) if tensor.shape() == output.shape() => (*source, *factor, true),
        _ => return Ok(None),
    };
    let numbers = PerAxis::broadcast(factor, output.shape().len())
        .and_then(|numbers| along_first_axis(&numbers, output.shape()));
    let Ok(numbers) = numbers else { return Ok(None) };
    let channels = [numbers.len(), source.scale.len(), source.zero_point.len()].into_iter().max();
    let mut result = source.clone();
    (result.scale, result.zero_point) = (Vec::new(), Vec::new());
    for channel in 0..channels.unwrap_or(1) {
        let number = numbers[if numbers.len() == 1 { 0 } else { channel }];
        let (scale, zero_point) = (source.scale_at(channel), source.zero_point_at(channel));
        let (scale, zero_point) = match (node.op_type.as_str(), swapped) {
            ("Mul", _) => (scale * number, zero_point),
            ("Div", false) => (scale / number, zero_point),
            ("Add", _) => (scale, zero_point - number / scale),
            ("Sub", false) => (scale, zero_point + number / scale),
            _ => return Ok(None),
        };
        if !(scale.is_finite() && scale != 0.0 && zero_point.is_finite()) {
            return Ok(None);
        }
        result.scale.push(scale);
        result.zero_point.push(zero_point);
    }
    Ok(Some(result))
}

/// Bounds of a `Clip` node whose bounds are known.
pub fn known_clip(node: &Node, inputs: &Inputs<'_>) -> Result<Option<(f64, f64)>, SourceError> {
    let is_clip = node.is("Clip") && !matches!(node.attribute("min"), Some(Attribute::Tensor(_)));
    if is_clip { arithmetic::clip_bounds(node, inputs).map(Some) } else { Ok(None) }
}
