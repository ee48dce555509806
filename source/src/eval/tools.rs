//! Quantizers of tools that export nodes of their own.
//!
//! | node | inputs |
//! |---|---|
//! | MQBench: `LearnablePerTensorAffine`, `FakeQuantizeLearnablePerchannelAffine`, ... | data, scale, zero point, smallest and largest code; the codes also as attributes |
//! | NNCF and OpenVINO: `org.openvinotoolkit::FakeQuantize` | data, bounds of the input, bounds of the output |

use super::{Inputs, required};
use crate::error::SourceError;
use crate::ir::{Attribute, Domain, Node, Tensor};
use crate::quantizer::{Order, PerAxis, QuantizedConstant, Quantizer, Rounding, along_first_axis};

/// The quantizer that a node of MQBench is: `clamp(round(x / scale) + zero point, low, high)`, as torch's fake quantizers
/// compute it. `None` for other operators.
pub(super) fn mqbench(
    node: &Node,
    inputs: &Inputs<'_>,
    rank: usize,
) -> Result<Option<Quantizer>, SourceError> {
    let names = [
        "LearnablePerTensorAffine",
        "FixedPerTensorAffine",
        "FakeQuantizeLearnablePerchannelAffine",
        "FixedPerChannelAffine",
    ];
    let of_tools = !matches!(node.domain, Domain::Qonnx | Domain::Microsoft | Domain::Converter);
    if !of_tools || !names.contains(&node.op_type.as_str()) {
        return Ok(None);
    }
    let axis = node.int("ch_axis", node.int("axis", 0));
    let bound = |position: usize, name: &str| {
        let number = match (inputs.get(position).copied().flatten(), node.attribute(name)) {
            (Some(tensor), _) => tensor.scalar(),
            (None, Some(Attribute::Int(value))) => Some(*value as f64),
            (None, Some(Attribute::Float(value))) => Some(f64::from(*value)),
            (None, _) => None,
        };
        let integer = number.filter(|number| number.fract() == 0.0 && number.abs() < 1e9);
        integer.map(|number| number as i64).ok_or_else(|| {
            SourceError::unsupported(format!("expected an integer as {name}, input {position} or attribute"))
        })
    };
    let zero_point = match inputs.get(2).copied().flatten() {
        Some(tensor) => PerAxis::along(tensor, axis, rank)?,
        None => PerAxis::uniform(0.0),
    };
    Ok(Some(Quantizer {
        order: Order::RoundThenClamp,
        rounding: Rounding::HalfEven,
        low: bound(3, "quant_min")?,
        high: bound(4, "quant_max")?,
        scale: PerAxis::along(required(inputs, 1)?, axis, rank)?,
        zero_point,
        codes_name: String::new(),
    }))
}

/// OpenVINO's `FakeQuantize`: `round((x − low) / (high − low) · (levels − 1))`, of `x` between the bounds, is a code, which stands for
/// `code / (levels − 1) · (high − low) + low` with the bounds of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantize {
    /// Lower and upper bound of the input.
    pub input: [PerAxis; 2],
    /// Lower and upper bound of the output.
    pub output: [PerAxis; 2],
    /// Number of codes, which begin with 0.
    pub levels: i64,
}

/// The `FakeQuantize` that a node is, for data of a rank. Inputs behind the first must be known. `None` for other operators.
///
/// # Errors
/// If its bounds or levels are none that a quantizer can have.
pub fn fake_quantize(
    node: &Node,
    inputs: &Inputs<'_>,
    rank: usize,
) -> Result<Option<FakeQuantize>, SourceError> {
    let domain = matches!(&node.domain, Domain::Other(name) if name == "org.openvinotoolkit");
    if !domain || node.op_type != "FakeQuantize" {
        return Ok(None);
    }
    let bound = |position: usize| PerAxis::broadcast(required(inputs, position)?, rank);
    let (input, output) = ([bound(1)?, bound(2)?], [bound(3)?, bound(4)?]);
    for bounds in [&input, &output] {
        let count = bounds[0].values.len().max(bounds[1].values.len());
        let own =
            |bound: &PerAxis, index: usize| bound.values[if bound.values.len() == 1 { 0 } else { index }];
        let lengths = bounds.iter().all(|bound| [1, count].contains(&bound.values.len()));
        let ascends = |index: usize| {
            let range = own(&bounds[1], index) - own(&bounds[0], index);
            range > 0.0 && range.is_finite()
        };
        if !lengths || !(0..count).all(ascends) {
            return Err(SourceError::unsupported(
                "bounds that do not ascend; expected a finite range above 0 for each channel",
            ));
        }
    }
    let levels = node.int("levels", 0);
    if !(2..=65536).contains(&levels) {
        return Err(SourceError::unsupported(format!("{levels} levels; expected 2 to 65536")));
    }
    Ok(Some(FakeQuantize { input, output, levels }))
}

/// The quantizer of a 32-bit scale and an integer zero point whose smallest and largest number a `FakeQuantize` has as bounds, as
/// NNCF computes them. `None` where there is none.
pub(super) fn openvino(
    node: &Node,
    inputs: &Inputs<'_>,
    rank: usize,
) -> Result<Option<Quantizer>, SourceError> {
    let Some(own) = fake_quantize(node, inputs, rank)?.filter(|own| own.input == own.output) else {
        return Ok(None);
    };
    let [low, high] = &own.input;
    let count = low.values.len().max(high.values.len());
    let at = |bound: &PerAxis, index: usize| bound.values[if bound.values.len() == 1 { 0 } else { index }];
    let steps: Option<Vec<(f32, f32)>> =
        (0..count).map(|index| scale_between(at(low, index), at(high, index), own.levels)).collect();
    let Some(steps) = steps else { return Ok(None) };
    let axis = if low.values.len() == count { low.axis } else { high.axis };
    let along = |values: Vec<f32>| PerAxis { values, axis };
    // Codes round 0, where that is one code of all channels.
    let first = steps[0].1;
    let shift = if steps.iter().all(|step| step.1 == first) { first } else { 0.0 };
    Ok(Some(Quantizer {
        order: Order::RoundThenClamp,
        rounding: Rounding::HalfEven,
        low: -(shift as i64),
        high: own.levels - 1 - shift as i64,
        scale: along(steps.iter().map(|step| step.0).collect()),
        zero_point: along(steps.iter().map(|step| step.1 - shift).collect()),
        codes_name: String::new(),
    }))
}

/// Scale and zero point of which two bounds are the products, rounded to 32 bits; those next to it if none is exactly.
fn scale_between(low: f32, high: f32, levels: i64) -> Option<(f32, f32)> {
    let most = (levels - 1) as f64;
    let scale = ((f64::from(high) - f64::from(low)) / most) as f32;
    let zero = (-f64::from(low) / f64::from(scale)).round();
    let ends = |scale: f32| [-zero, most - zero].map(|code| code as f32 * scale);
    if !((0.0..=most).contains(&zero) && scale > 0.0 && scale.is_finite()) {
        return None;
    }
    let exact = [scale, scale.next_up(), scale.next_down()].into_iter().find(|&own| ends(own) == [low, high]);
    let tolerance = low.abs().max(high) / (1 << 22) as f32;
    let near = ends(scale).iter().zip([low, high]).all(|(own, bound)| (own - bound).abs() <= tolerance);
    exact.or(near.then_some(scale)).map(|scale| (scale, zero as f32))
}

impl FakeQuantize {
    /// Codes of a constant, in 32-bit arithmetic.
    fn codes(&self, tensor: &Tensor) -> Result<Vec<i64>, SourceError> {
        let shape = tensor.shape();
        for bound in self.input.iter().chain(&self.output) {
            bound.check_extent(shape)?;
        }
        let most = (self.levels - 1) as f32;
        let code = |index: usize| {
            let x = tensor.get(index) as f32;
            if !x.is_finite() {
                return Err(SourceError::malformed(format!("quantizes {x}; expected finite numbers")));
            }
            let [low, high] = [&self.input[0], &self.input[1]].map(|bound| bound.at(shape, index));
            let steps = (x.clamp(low, high) - low) / (high - low) * most;
            Ok((steps.round_ties_even() as i64).clamp(0, self.levels - 1))
        };
        (0..tensor.len()).map(code).collect()
    }

    /// What a constant becomes, in 32-bit arithmetic.
    pub(super) fn evaluate(&self, tensor: &Tensor) -> Result<Tensor, SourceError> {
        let (shape, most) = (tensor.shape(), (self.levels - 1) as f32);
        let real = |(index, code): (usize, i64)| {
            let [low, high] = [&self.output[0], &self.output[1]].map(|bound| bound.at(shape, index));
            code as f32 / most * (high - low) + low
        };
        let codes = self.codes(tensor)?;
        Tensor::f32(shape, codes.into_iter().enumerate().map(real).collect())
    }

    /// A constant on the grid of the output. Bounds are 32-bit numbers: a code that stands for 0 but for their rounding does.
    /// `None` where bounds do not lie along the first axis, which no weight's do.
    pub(super) fn quantized(&self, tensor: &Tensor) -> Result<Option<QuantizedConstant>, SourceError> {
        let along = |bound: &PerAxis| along_first_axis(bound, tensor.shape()).ok();
        let (Some(low), Some(high)) = (along(&self.output[0]), along(&self.output[1])) else {
            return Ok(None);
        };
        let count = low.len().max(high.len());
        let own = |bound: &[f64], index: usize| bound[if bound.len() == 1 { 0 } else { index }];
        let most = (self.levels - 1) as f64;
        let scale: Vec<f64> = (0..count).map(|c| (own(&high, c) - own(&low, c)) / most).collect();
        let tolerance = self.levels as f64 / f64::from(1 << 22);
        let snapped = |zero: f64| if (zero - zero.round()).abs() <= tolerance { zero.round() } else { zero };
        let zeros: Vec<f64> = (0..count).map(|c| snapped(-own(&low, c) / scale[c])).collect();
        // Codes round 0, where that is one code of all channels.
        let shift = zeros[0];
        let shift = if zeros.iter().all(|&zero| zero == shift && zero.fract() == 0.0) { shift } else { 0.0 };
        let codes = self.codes(tensor)?.into_iter().map(|code| (code - shift as i64) as i32).collect();
        Ok(Some(QuantizedConstant {
            codes,
            low: -(shift as i64),
            high: self.levels - 1 - shift as i64,
            step: 1,
            scale,
            zero_point: zeros.into_iter().map(|zero| zero - shift).collect(),
        }))
    }
}
