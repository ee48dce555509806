//! What a quantizer computes, whatever export wrote it.

use crate::error::{ErrorKind, SourceError};
use crate::ir::Tensor;

/// How a real number becomes a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `round(clamp(x / scale + zero_point, low, high))`: QONNX `Quant`.
    ClampThenRound,
    /// `clamp(round(x / scale) + zero_point, low, high)`: ONNX `QuantizeLinear`.
    RoundThenClamp,
    /// `x ≥ 0 ? +1 : −1`: QONNX `BipolarQuant`.
    Bipolar,
}

/// Rounding to an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, halves to the even one.
    HalfEven,
    /// Towards −∞.
    Floor,
    /// Towards +∞.
    Ceil,
    /// Towards 0.
    Truncate,
    /// Away from 0.
    Up,
    /// To the nearest, halves away from 0.
    HalfUp,
    /// To the nearest, halves towards 0.
    HalfDown,
}

impl Rounding {
    /// The mode that QONNX writes as `rounding_mode`, in upper or lower case.
    ///
    /// # Errors
    /// If neither QONNX 1.0 nor Brevitas has a mode of this name.
    pub fn named(name: &str) -> Result<Self, SourceError> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "ROUND" | "HALF_EVEN" => Self::HalfEven,
            "FLOOR" => Self::Floor,
            "CEIL" => Self::Ceil,
            "ROUND_TO_ZERO" | "DOWN" => Self::Truncate,
            "UP" => Self::Up,
            "HALF_UP" => Self::HalfUp,
            "HALF_DOWN" => Self::HalfDown,
            other => {
                return Err(SourceError::unsupported(format!(
                    "rounding mode {other}; expected ROUND, HALF_EVEN, FLOOR, CEIL, UP, DOWN, ROUND_TO_ZERO, \
                     HALF_UP or HALF_DOWN"
                )));
            }
        })
    }

    /// Rounds a 64-bit float. Halves are found as QONNX defines it, by adding or subtracting one in the
    /// same precision; every mode is monotone, so bounds of `x` give bounds of the result.
    pub fn round(self, x: f64) -> f64 {
        match self {
            Self::HalfEven => x.round_ties_even(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Truncate => x.trunc(),
            Self::Up => x.abs().ceil().copysign(x),
            Self::HalfUp => (x.abs() + 0.5).floor().copysign(x),
            Self::HalfDown => (x.abs() - 0.5).ceil().max(0.0).copysign(x),
        }
    }

    /// Rounds a 32-bit float in 32-bit arithmetic.
    fn round_f32(self, x: f32) -> f64 {
        f64::from(match self {
            Self::HalfUp => (x.abs() + 0.5).floor().copysign(x),
            Self::HalfDown => (x.abs() - 0.5).ceil().max(0.0).copysign(x),
            // These give the same integer in any precision that holds the number.
            _ => return self.round(f64::from(x)),
        })
    }
}

/// One number for a whole tensor, or one for each index along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct PerAxis {
    /// The numbers: one, or as many as the axis is long.
    pub values: Vec<f32>,
    /// The axis; meaningless for one number.
    pub axis: usize,
}

impl PerAxis {
    /// One number for all.
    pub fn uniform(value: f32) -> Self {
        Self { values: vec![value], axis: 0 }
    }

    /// The one number, if it is the same for all.
    pub fn scalar(&self) -> Option<f32> {
        let first = *self.values.first()?;
        self.values.iter().all(|&value| value == first).then_some(first)
    }

    /// The number for the element with this flat index in a tensor of this shape.
    pub fn at(&self, shape: &[usize], index: usize) -> f32 {
        if self.values.len() == 1 {
            return self.values[0];
        }
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        let extent = shape.get(self.axis).copied().unwrap_or(1);
        self.values[index / inner.max(1) % extent.max(1)]
    }

    /// Reads a scale or zero point that broadcasts against a tensor of rank `rank`, as QONNX has it.
    ///
    /// # Errors
    /// If more than one extent differs from 1.
    pub fn broadcast(tensor: &Tensor, rank: usize) -> Result<Self, SourceError> {
        let values: Vec<f32> = tensor.to_f64().into_iter().map(|value| value as f32).collect();
        let wide: Vec<usize> = (0..tensor.shape().len()).filter(|&d| tensor.shape()[d] != 1).collect();
        match (wide.as_slice(), values.len()) {
            (_, 0) => Err(SourceError::malformed("an empty scale or zero point")),
            ([], _) => Ok(Self { values, axis: 0 }),
            ([dimension], _) if tensor.shape().len() <= rank => {
                Ok(Self { values, axis: rank - tensor.shape().len() + dimension })
            }
            _ => Err(SourceError::unsupported(format!(
                "a scale or zero point of shape {:?}; expected one number, or one a channel",
                tensor.shape()
            ))),
        }
    }

    /// Reads a scale or zero point of `QuantizeLinear` or `DequantizeLinear` with its `axis`.
    ///
    /// # Errors
    /// If it has more than one dimension, as block-wise scales do.
    pub fn along(tensor: &Tensor, axis: i64, rank: usize) -> Result<Self, SourceError> {
        let values: Vec<f32> = tensor.to_f64().into_iter().map(|value| value as f32).collect();
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        match values.len() {
            0 => Err(SourceError::malformed("an empty scale or zero point")),
            1 => Ok(Self::uniform(values[0])),
            _ if tensor.shape().len() == 1 && (0..rank as i64).contains(&axis) => {
                Ok(Self { values, axis: axis as usize })
            }
            _ => Err(SourceError::unsupported(format!(
                "a scale or zero point of shape {:?}; expected one number, or one a channel",
                tensor.shape()
            ))),
        }
    }

    pub(crate) fn check_extent(&self, shape: &[usize]) -> Result<(), SourceError> {
        if self.values.len() == 1 || shape.get(self.axis) == Some(&self.values.len()) {
            return Ok(());
        }
        Err(SourceError::malformed(format!(
            "{} scales or zero points along axis {} of a tensor of shape {shape:?}",
            self.values.len(),
            self.axis
        )))
    }
}

/// A quantizer: real numbers to codes, and codes back to real numbers by
/// `(code − zero_point) · scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantizer {
    /// How a real number becomes a code.
    pub order: Order,
    /// How it is rounded.
    pub rounding: Rounding,
    /// Smallest code.
    pub low: i64,
    /// Largest code.
    pub high: i64,
    /// Positive and finite.
    pub scale: PerAxis,
    /// The code that stands for 0; an integer in every export but written as a float in some.
    pub zero_point: PerAxis,
    /// Name of the source tensor that holds the codes.
    pub codes_name: String,
}

impl Quantizer {
    /// Difference between neighbouring codes.
    pub fn step(&self) -> i64 {
        if self.order == Order::Bipolar { 2 } else { 1 }
    }

    /// Bits that the codes need.
    pub fn bits(&self) -> u32 {
        let levels = self.high.abs_diff(self.low) / self.step().unsigned_abs();
        64 - levels.leading_zeros()
    }

    /// Refuses what no quantizer may have: no codes, or scales that are not positive and finite.
    ///
    /// # Errors
    /// If so.
    pub fn validate(&self) -> Result<(), SourceError> {
        if let Some(bad) = self.scale.values.iter().find(|&&s| !(s > 0.0 && s.is_finite())) {
            return Err(SourceError::unsupported(format!(
                "a scale of {bad}; expected a positive finite number"
            )));
        }
        if let Some(bad) = self.zero_point.values.iter().find(|z| z.fract() != 0.0 || z.abs() > 1e9) {
            return Err(SourceError::unsupported(format!("a zero point of {bad}; expected an integer")));
        }
        if self.low >= self.high {
            return Err(SourceError::unsupported(format!(
                "codes from {} to {}; expected at least two",
                self.low, self.high
            )));
        }
        Ok(())
    }

    /// Code of a number in 32-bit arithmetic, as the exporters' frameworks compute it.
    pub fn code_f32(&self, x: f32, scale: f32, zero_point: f32) -> i64 {
        let (low, high) = (self.low as f32, self.high as f32);
        let code = match self.order {
            Order::ClampThenRound => self.rounding.round_f32((x / scale + zero_point).clamp(low, high)),
            Order::RoundThenClamp => self.rounding.round_f32(x / scale) + f64::from(zero_point),
            Order::Bipolar => return if x >= 0.0 { 1 } else { -1 },
        };
        (code as i64).clamp(self.low, self.high)
    }

    /// Code of a number in 64-bit arithmetic; the scale is per tensor.
    pub fn code_f64(&self, x: f64, scale: f64, zero_point: f64) -> f64 {
        let (low, high) = (self.low as f64, self.high as f64);
        match self.order {
            Order::ClampThenRound => self.rounding.round((x / scale + zero_point).clamp(low, high)),
            Order::RoundThenClamp => (self.rounding.round(x / scale) + zero_point).clamp(low, high),
            Order::Bipolar if x >= 0.0 => 1.0,
            Order::Bipolar if x.is_nan() => x,
            Order::Bipolar => -1.0,
        }
    }

    /// Codes of a constant tensor, in 32-bit arithmetic.
    ///
    /// # Errors
    /// If it holds something that is no number, or the scales do not fit its shape.
    pub fn codes(&self, tensor: &Tensor) -> Result<Vec<i64>, SourceError> {
        self.scale.check_extent(tensor.shape())?;
        self.zero_point.check_extent(tensor.shape())?;
        let code = |index: usize| {
            let x = tensor.get(index) as f32;
            if !x.is_finite() {
                return Err(SourceError::malformed(format!("quantizes {x}; expected finite numbers")));
            }
            let scale = self.scale.at(tensor.shape(), index);
            Ok(self.code_f32(x, scale, self.zero_point.at(tensor.shape(), index)))
        };
        (0..tensor.len()).map(code).collect()
    }
}

/// A constant tensor on a quantization grid: `real = (code − zero_point) · scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedConstant {
    /// The codes in row-major order.
    pub codes: Vec<i32>,
    /// Smallest code of the quantizer.
    pub low: i64,
    /// Largest code of the quantizer.
    pub high: i64,
    /// Difference between neighbouring codes.
    pub step: i64,
    /// Numbers along axis 0, or one.
    pub scale: Vec<f64>,
    /// Numbers along axis 0, or one; a half where no code stands for 0.
    pub zero_point: Vec<f64>,
}

impl QuantizedConstant {
    /// Codes that are themselves the real numbers.
    pub fn plain(codes: Vec<i32>, low: i64, high: i64) -> Self {
        Self { codes, low, high, step: 1, scale: vec![1.0], zero_point: vec![0.0] }
    }

    /// Scale for an index along axis 0.
    pub fn scale_at(&self, channel: usize) -> f64 {
        self.scale[if self.scale.len() == 1 { 0 } else { channel }]
    }

    /// Zero point for an index along axis 0.
    pub fn zero_point_at(&self, channel: usize) -> f64 {
        self.zero_point[if self.zero_point.len() == 1 { 0 } else { channel }]
    }
}

/// Numbers along axis 0 of a constant tensor of a shape.
///
/// # Errors
/// If they lie along another axis.
pub fn along_first_axis(numbers: &PerAxis, shape: &[usize]) -> Result<Vec<f64>, SourceError> {
    numbers.check_extent(shape)?;
    if numbers.values.len() > 1 && numbers.axis != 0 {
        return Err(SourceError::new(
            ErrorKind::Unsupported,
            format!("weight scales along axis {}; expected output channels, axis 0", numbers.axis),
        ));
    }
    Ok(numbers.values.iter().map(|&value| f64::from(value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantizer(order: Order, low: i64, high: i64, zero_point: f32) -> Quantizer {
        Quantizer {
            order,
            rounding: Rounding::HalfEven,
            low,
            high,
            scale: PerAxis::uniform(1.0),
            zero_point: PerAxis::uniform(zero_point),
            codes_name: String::new(),
        }
    }

    #[test]
    fn orders_differ_at_ties_with_an_odd_zero_point() {
        let quant = quantizer(Order::ClampThenRound, 0, 15, 1.0);
        let linear = quantizer(Order::RoundThenClamp, 0, 15, 1.0);
        assert_eq!(quant.code_f64(2.5, 1.0, 1.0), 4.0);
        assert_eq!(linear.code_f64(2.5, 1.0, 1.0), 3.0);
        assert_eq!(quant.code_f32(2.5, 1.0, 1.0), 4);
        assert_eq!(linear.code_f32(2.5, 1.0, 1.0), 3);
    }

    #[test]
    fn bipolar_gives_plus_one_at_zero() {
        let bipolar = quantizer(Order::Bipolar, -1, 1, 0.0);
        assert_eq!([-0.1, 0.0, 0.1].map(|x| bipolar.code_f64(x, 1.0, 0.0)), [-1.0, 1.0, 1.0]);
        assert_eq!((bipolar.bits(), bipolar.step()), (1, 2));
    }

    #[test]
    fn weights_a_hair_outside_are_clamped() {
        let narrow = quantizer(Order::ClampThenRound, -127, 127, 0.0);
        let weights = Tensor::f32(&[2], vec![127.6, -128.4]).unwrap();
        assert_eq!(narrow.codes(&weights).unwrap(), [127, -127]);
    }

    #[test]
    fn scales_follow_their_axis() {
        let scales = PerAxis::broadcast(&Tensor::f32(&[2, 1, 1], vec![1.0, 2.0]).unwrap(), 4).unwrap();
        assert_eq!(scales.axis, 1);
        assert_eq!(scales.at(&[1, 2, 2, 2], 3), 1.0);
        assert_eq!(scales.at(&[1, 2, 2, 2], 4), 2.0);
        let blocks = Tensor::f32(&[2, 2], vec![1.0; 4]).unwrap();
        assert!(PerAxis::along(&blocks, 0, 4).is_err());
    }

    #[test]
    fn bad_scales_and_empty_ranges_are_refused() {
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let mut bad = quantizer(Order::ClampThenRound, 0, 15, 0.0);
            bad.scale = PerAxis::uniform(scale);
            assert!(bad.validate().is_err(), "{scale}");
        }
        assert!(quantizer(Order::ClampThenRound, 0, 0, 0.0).validate().is_err());
        assert_eq!(quantizer(Order::RoundThenClamp, i64::MIN, i64::MAX, 0.0).bits(), 64);
    }
}
