//! Convolutions: their weights as integers, and what their accumulators can reach.

use std::ops::Range;
use std::rc::Rc;

use ylb_format::limits::{MAX_DEPTH, MAX_TERMS};
use ylb_format::model::{self, WeightEncoding, Weights, Window};

use super::join::Operand;
use super::{Feature, Lowering, Segment, id_of, too_large};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{ConvIndex, ConvReading, Expr, ValueIndex};
use crate::ir::Node;
use crate::quantizer::QuantizedConstant;
use crate::window;

/// A convolution that waits for its requantization.
#[derive(Clone, Debug)]
pub struct PendingConv {
    /// Name of the source node.
    pub name: String,
    /// One for each scale of its input.
    pub terms: Vec<PendingTerm>,
    /// What one unit of a weight stands for: one number for each output channel.
    pub weight_scales: Vec<f64>,
    /// One number for each output channel.
    pub bias: Option<Vec<f64>>,
    /// Window, stride and padding.
    pub window: Window,
    /// Independent groups of channels.
    pub groups: usize,
    /// Output channels, rows and columns.
    pub shape: [usize; 3],
    /// Whether an operator was emitted for it.
    pub emitted: bool,
}

/// One term of a pending convolution.
#[derive(Clone, Debug)]
pub struct PendingTerm {
    /// The value it reads.
    pub value: ValueIndex,
    /// What one integer of that value stands for.
    pub scale: f64,
    /// Its weights.
    pub weights: Weights,
    /// Smallest and largest accumulator of each output channel.
    pub ranges: Vec<(i64, i64)>,
}

impl PendingConv {
    /// How a program for one output channel reads the accumulators; term `t` is input `t`.
    pub fn reading(&self, channel: usize) -> ConvReading {
        let scale = self.weight_scales[channel];
        let terms = self.terms.iter().enumerate();
        ConvReading {
            terms: terms.map(|(index, term)| (index, term.scale * scale)).collect(),
            bias: self.bias.as_ref().map(|bias| bias[channel]),
        }
    }

    /// The operator.
    pub fn operator(&self, requantize: Option<model::Requantize>) -> model::Operator {
        let term =
            |term: &PendingTerm| model::ConvTerm { input: id_of(term.value), weights: term.weights.clone() };
        model::Operator::Conv(model::Conv {
            terms: self.terms.iter().map(term).collect(),
            window: self.window,
            groups: self.groups as u32,
            requantize,
        })
    }
}

/// How a weight quantizer's codes lie in bits.
struct WeightFormat {
    encoding: WeightEncoding,
    bits: u8,
    /// Bits of a code are those of `(code − first) / step` as an unsigned number.
    first: i64,
    step: i64,
    zero_points: Vec<i16>,
    /// What one unit stands for, by output channel.
    scales: Vec<f64>,
}

impl Lowering<'_> {
    pub(super) fn conv(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let weights_id = node.required_input(1)?;
        let info = self.graph.tensor(weights_id);
        let Some(quantized) = info.quantized.clone() else {
            let found = if info.constant.is_some() { "plain floats" } else { "not constant" };
            return Err(ConvertError::new(
                ErrorKind::NotQuantized,
                format!(
                    "its weights \"{}\" are {found}; expected a weight quantizer (Quant, \
                     BipolarQuant, DequantizeLinear, or Round of scaled weights)",
                    info.name
                ),
            ));
        };
        let Some(&[out_channels, in_channels, rows, columns]) = info.shape.as_deref() else {
            return Err(ConvertError::unsupported("expected weights of rank 4"));
        };
        let feature = self.join_requantized(node, node.required_input(0)?)?;
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        if groups == 0
            || out_channels % groups != 0
            || out_channels == 0
            || in_channels.checked_mul(groups) != Some(feature.channels())
        {
            return Err(ConvertError::malformed(format!(
                "weights of shape [{out_channels}, {in_channels}, {rows}, {columns}] in {groups} \
                 groups for an input of {} channels",
                feature.channels()
            )));
        }
        let shape = [1, feature.channels(), feature.height, feature.width];
        let geometry = window::of_node(node, &shape, Some([rows, columns]))?;
        let [height, width] = geometry.output_size([feature.height, feature.width])?;
        let format = weight_format(&quantized, out_channels)?;
        let operands = self.operands(&feature)?;
        let limit = if groups > 1 { 1 } else { MAX_TERMS };
        if operands.len() > limit {
            return Err(ConvertError::unsupported(format!(
                "its input joins values of {} different scales or ranges; expected at most {limit}, or \
                 a requantization of joins (--requantize-joins 8)",
                operands.len()
            )));
        }
        let window = geometry.to_format();
        let mut terms = Vec::with_capacity(operands.len());
        for operand in operands {
            let shape = [out_channels, in_channels, rows, columns];
            terms.push(self.term(&operand, &quantized, &format, shape, window)?);
        }
        self.convs.push(PendingConv {
            name: node.name.clone(),
            terms,
            weight_scales: format.scales,
            bias: self.bias(node, out_channels)?,
            window,
            groups,
            shape: [out_channels, height, width],
            emitted: false,
        });
        let expr = Rc::new(Expr::Conv(ConvIndex(self.convs.len() - 1)));
        let segments = vec![Segment { channels: out_channels, expr }];
        Ok(Feature { segments, height, width })
    }

    fn bias(&self, node: &Node, channels: usize) -> Result<Option<Vec<f64>>, ConvertError> {
        let Some(id) = node.input(2) else { return Ok(None) };
        let Some(bias) = self.graph.constant(id) else {
            return Err(ConvertError::unsupported("expected a constant bias"));
        };
        let bias = bias.to_f64();
        if bias.len() != channels || bias.iter().any(|b| !b.is_finite()) {
            return Err(ConvertError::malformed(format!("expected a bias of {channels} finite numbers")));
        }
        Ok(Some(bias))
    }

    /// The part of a convolution that reads one operand.
    fn term(
        &self,
        operand: &Operand,
        quantized: &QuantizedConstant,
        format: &WeightFormat,
        [out_channels, in_channels, rows, columns]: [usize; 4],
        window: Window,
    ) -> Result<PendingTerm, ConvertError> {
        let whole = operand.channels.iter().map(Range::len).sum::<usize>() >= in_channels;
        let all = std::iter::once(0..in_channels).collect();
        let ranges: &Vec<Range<usize>> = if whole { &all } else { &operand.channels };
        let taps = rows * columns;
        let own_channels: usize = ranges.iter().map(Range::len).sum();
        if (own_channels * taps) as u64 > MAX_DEPTH {
            return Err(too_large(format!("{} weights of one output channel", own_channels * taps)));
        }
        let mut codes = Vec::with_capacity(out_channels * own_channels * taps);
        for output in 0..out_channels {
            for range in ranges {
                let start = (output * in_channels + range.start) * taps;
                let part = &quantized.codes[start..start + range.len() * taps];
                for &code in part {
                    codes.push(format.bits_of(i64::from(code))?);
                }
            }
        }
        let shape = [out_channels, own_channels, rows, columns].map(|extent| extent as u32);
        let zero_points = format.zero_points.clone();
        let weights = Weights::from_codes(shape, format.encoding, format.bits, &codes, zero_points);
        let value = self.values[operand.value.0].clone().into_model();
        let Some(encoding) = value.encoding() else {
            return Err(ConvertError::unsupported("expected levels as input"));
        };
        let padded = window.padding.iter().any(|&extent| extent > 0);
        let mut ranges = Vec::with_capacity(out_channels);
        for sum in weights.channel_sums() {
            let range = sum.accumulators(encoding, padded);
            if *range.start() < i64::from(i32::MIN) || *range.end() > i64::from(i32::MAX) {
                return Err(too_large("its sums of products do not fit 32 bits"));
            }
            ranges.push((*range.start(), *range.end()));
        }
        Ok(PendingTerm { value: operand.value, scale: operand.scale, weights, ranges })
    }
}

impl WeightFormat {
    fn bits_of(&self, code: i64) -> Result<u8, ConvertError> {
        let index = (code - self.first).rem_euclid(1 << self.bits.max(1) << (self.step - 1));
        // Two's complement codes keep their low bits; the others count from the first code.
        let bits = if self.step == 1 { index } else { index / 2 };
        u8::try_from(bits).map_err(|_| too_large(format!("a weight code of {code}")))
    }
}

/// Width and first code of a grid of odd numbers of half the scale, if the zero point lies between two codes
/// and is that of all channels. The grid is as wide as the codes need on the wider side: constants that an
/// exporter computed use some of their levels only.
fn grid_without_zero(zero_points: &[f64], low: i64, high: i64) -> Option<(u8, i64)> {
    let z = *zero_points.first()?;
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    if !near(z.fract().abs(), 0.5) || !zero_points.iter().all(|&other| near(other, z)) {
        return None;
    }
    // Levels on the wider side of the zero point: 1, 2, 4, ...
    let side = (high as f64 - z).max(z - low as f64) + 0.5;
    let bits = (1..=8u8).find(|&bits| f64::from(1u32 << (bits - 1)) >= side - 1e-6)?;
    Some((bits, (z + 0.5).round() as i64 - (1 << (bits - 1))))
}

/// Chooses encoding and width for a weight quantizer's codes.
fn weight_format(quantized: &QuantizedConstant, channels: usize) -> Result<WeightFormat, ConvertError> {
    let count = |len: usize| len == 1 || len == channels;
    if !count(quantized.scale.len()) || !count(quantized.zero_point.len()) {
        return Err(ConvertError::malformed(format!(
            "{} weight scales for {channels} output channels",
            quantized.scale.len()
        )));
    }
    let scales: Vec<f64> = (0..channels).map(|channel| quantized.scale_at(channel)).collect();
    // Negative where a negative gamma was folded into it.
    if let Some(bad) = scales.iter().find(|scale| !(**scale != 0.0 && scale.is_finite())) {
        return Err(ConvertError::unsupported(format!(
            "a weight scale of {bad}; expected a finite number other than 0"
        )));
    }
    let (low, high) = (quantized.low, quantized.high);
    let outside = |code: &i32| i64::from(*code) < low || i64::from(*code) > high;
    if low > high || high - low > 255 || quantized.codes.iter().any(outside) {
        return Err(ConvertError::unsupported(format!(
            "weight codes from {low} to {high}; expected at most 8 bits"
        )));
    }
    let zero_points: Vec<f64> = (0..channels).map(|channel| quantized.zero_point_at(channel)).collect();
    let near = |number: f64, target: f64| (number - target).abs() < 1e-6;
    if quantized.step == 2 {
        if !zero_points.iter().all(|&z| near(z, 0.0)) {
            return Err(ConvertError::unsupported("bipolar weights with a zero point"));
        }
        let encoding = WeightEncoding::Bipolar;
        return Ok(WeightFormat { encoding, bits: 1, first: -1, step: 2, zero_points: Vec::new(), scales });
    }
    let bits_for = |levels: i64| (64 - levels.leading_zeros()).max(1) as u8;
    if let Some((bits, first)) = grid_without_zero(&zero_points, low, high) {
        return Ok(WeightFormat {
            encoding: WeightEncoding::Bipolar,
            bits,
            first,
            step: 1,
            zero_points: Vec::new(),
            scales: scales.into_iter().map(|scale| scale / 2.0).collect(),
        });
    }
    if let Some(bad) = zero_points.iter().find(|&&z| !near(z, z.round()) || z.abs() > 255.0) {
        return Err(ConvertError::unsupported(format!(
            "a weight zero point of {bad}; expected an integer, or the middle of the codes"
        )));
    }
    let (encoding, bits) = if low >= 0 {
        (WeightEncoding::Unsigned, bits_for(high))
    } else {
        (WeightEncoding::TwosComplement, 1 + bits_for(high.max(-1 - low)))
    };
    // One bit of two's complement is 0 and −1.
    let bits = if (low, high) == (-1, 0) { 1 } else { bits };
    if bits > 8 {
        return Err(ConvertError::unsupported(format!(
            "weight codes from {low} to {high}; expected at most 8 bits"
        )));
    }
    let mut zero_points: Vec<i16> = zero_points.into_iter().map(|z| z.round() as i16).collect();
    if zero_points.iter().all(|&z| z == 0) {
        zero_points.clear();
    }
    Ok(WeightFormat { encoding, bits, first: 0, step: 1, zero_points, scales })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(low: i64, high: i64, zero_point: f64) -> WeightFormat {
        let mut quantized = QuantizedConstant::plain(vec![0], low, high);
        quantized.zero_point = vec![zero_point];
        if low > 0 || high < 0 {
            quantized.codes = vec![low as i32];
        }
        weight_format(&quantized, 1).unwrap()
    }

    /// Every code comes back as `(code − zero point) · scale` through bits and encoding.
    #[test]
    fn all_codes_survive_their_bits() {
        let cases = [
            (-7, 7, 0.0, 4),
            (-8, 7, 0.0, 4),
            (-1, 1, 0.0, 2),
            (-1, 0, 0.0, 1),
            (-127, 127, 0.0, 8),
            (-128, 127, 0.0, 8),
            (0, 255, 128.0, 8),
            (0, 15, 7.0, 4),
            (0, 3, 1.5, 2),
            (0, 1, 0.5, 1),
            (-4, 3, -0.5, 3),
            // Levels that no weight uses.
            (1, 3, 1.5, 2),
            (0, 2, 1.5, 2),
            (1, 2, 1.5, 1),
            (0, 1, 1.5, 2),
        ];
        for (low, high, zero_point, bits) in cases {
            let format = format(low, high, zero_point);
            assert_eq!(format.bits, bits, "{low}..={high}");
            let codes: Vec<u8> = (low..=high).map(|code| format.bits_of(code).unwrap()).collect();
            let shape = [1, codes.len() as u32, 1, 1];
            let zeros = format.zero_points.clone();
            let weights = Weights::from_codes(shape, format.encoding, bits, &codes, zeros);
            for (index, code) in (low..=high).enumerate() {
                let real = f64::from(weights.value(index)) * format.scales[0];
                assert_eq!(real, code as f64 - zero_point, "{low}..={high}: {code}");
            }
        }
    }

    #[test]
    fn bipolar_codes_take_one_bit() {
        let mut quantized = QuantizedConstant::plain(vec![-1, 1], -1, 1);
        quantized.step = 2;
        let format = weight_format(&quantized, 1).unwrap();
        assert_eq!((format.encoding, format.bits), (WeightEncoding::Bipolar, 1));
        assert_eq!([format.bits_of(-1).unwrap(), format.bits_of(1).unwrap()], [0, 1]);
    }

    #[test]
    fn wide_codes_and_bad_scales_are_refused() {
        let wide = QuantizedConstant::plain(vec![0], -256, 255);
        assert!(weight_format(&wide, 1).is_err());
        for scale in [0.0, f64::NAN, f64::INFINITY] {
            let mut bad = QuantizedConstant::plain(vec![0], -8, 7);
            bad.scale = vec![scale];
            assert!(weight_format(&bad, 1).is_err(), "{scale}");
        }
    }
}
