//! Weights as integers: the encoding and the bits of a weight quantizer's codes.

use ylb_format::model::WeightEncoding;
use ylb_source::quantizer::QuantizedConstant;

use super::too_large;
use crate::error::ConvertError;

/// How a weight quantizer's codes lie in bits.
pub(super) struct WeightFormat {
    pub(super) encoding: WeightEncoding,
    pub(super) bits: u8,
    /// Bits of a code are those of `(code − first) / step` as an unsigned number.
    first: i64,
    step: i64,
    pub(super) zero_points: Vec<i16>,
    /// What one unit stands for, by output channel.
    pub(super) scales: Vec<f64>,
}

impl WeightFormat {
    /// Bits of a code.
    pub(super) fn bits_of(&self, code: i64) -> Result<u8, ConvertError> {
        let index = (code - self.first).rem_euclid(1 << self.bits.max(1) << (self.step - 1));
        // Two's complement codes keep their low bits; the others count from the first code.
        let bits = if self.step == 1 { index } else { index / 2 };
        u8::try_from(bits).map_err(|_| too_large(format!("a weight code of {code}")))
    }

    /// Bits of the weight 0 in an output channel.
    pub(super) fn zero_bits(&self, output: usize) -> Result<u8, ConvertError> {
        let zero = self.zero_points.get(output).map_or(0, |&zero| i64::from(zero));
        let range = match self.encoding {
            WeightEncoding::Unsigned => 0..1 << self.bits,
            WeightEncoding::TwosComplement => -(1 << (self.bits - 1))..1 << (self.bits - 1),
            WeightEncoding::Bipolar => 0..0,
        };
        if !range.contains(&zero) {
            return Err(ConvertError::unsupported(
                "its input has scales by channel, and its weights have no code for 0; expected one scale for \
                 the whole tensor",
            ));
        }
        self.bits_of(zero)
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
pub(super) fn weight_format(
    quantized: &QuantizedConstant,
    channels: usize,
) -> Result<WeightFormat, ConvertError> {
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
    if low > high || high.abs_diff(low) > 255 || quantized.codes.iter().any(outside) {
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
        let zero_points = Vec::new();
        return Ok(WeightFormat { encoding, bits: 1, first: -1, step: 2, zero_points, scales });
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
    use ylb_format::model::Weights;

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
    fn zeros_have_a_code_or_are_refused() {
        for (low, high, zero_point) in [(-8, 7, 0.0), (-8, 7, -3.0), (0, 15, 7.0), (0, 255, 0.0)] {
            let format = format(low, high, zero_point);
            let code = format.bits_of(zero_point as i64).unwrap();
            assert_eq!(format.zero_bits(0).unwrap(), code, "{low}..={high}");
        }
        for (low, high, zero_point) in [(-8, 7, -20.0), (0, 15, 16.0), (0, 3, 1.5), (0, 15, -1.0)] {
            assert!(format(low, high, zero_point).zero_bits(0).is_err(), "{low}..={high}");
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
        for (low, high) in [(-256, 255), (i64::MIN, i64::MAX), (i64::MIN, 0), (1, 0)] {
            let wide = QuantizedConstant::plain(vec![0], low, high);
            assert!(weight_format(&wide, 1).is_err(), "{low} to {high}");
        }
        for scale in [0.0, f64::NAN, f64::INFINITY] {
            let mut bad = QuantizedConstant::plain(vec![0], -8, 7);
            bad.scale = vec![scale];
            assert!(weight_format(&bad, 1).is_err(), "{scale}");
        }
    }
}
