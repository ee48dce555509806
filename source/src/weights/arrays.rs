//! The arrays of a layer: which there are, and what they must hold.

use super::network::{Codes, Kind, Network};
use crate::error::{ErrorKind, SourceError};
use crate::ir::Tensor;
use crate::npy::{Array, Elements};
use crate::quantizer::QuantizedConstant;

/// Where arrays come from.
pub trait Arrays {
    /// The array of a file name, which has one of the shapes; `None` if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or has another shape.
    fn array(&mut self, file: &str, shapes: &[&[usize]]) -> Result<Option<Array>, SourceError>;
}

/// Arrays by layer.
pub struct Parameters<'n> {
    pub network: &'n Network,
    pub arrays: &'n mut dyn Arrays,
}

/// Real numbers in the type they were saved in.
#[derive(Clone, Debug, PartialEq)]
pub enum Reals {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Reals {
    /// A tensor of these numbers.
    ///
    /// # Errors
    /// If their number is not that of the shape.
    pub fn into_tensor(self, shape: &[usize]) -> Result<Tensor, SourceError> {
        match self {
            Self::F32(numbers) => Tensor::f32(shape, numbers),
            Self::F64(numbers) => Tensor::f64(shape, numbers),
        }
    }

    fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(numbers) => numbers.iter().copied().map(f64::from).collect(),
            Self::F64(numbers) => numbers.clone(),
        }
    }
}

/// An error that names a file.
pub(super) fn in_file(file: &str, reason: impl std::fmt::Display) -> SourceError {
    SourceError::malformed(format!("{file}: {reason}"))
}

fn missing(file: &str, what: &str) -> SourceError {
    in_file(file, format_args!("no such file; expected {what}"))
}

impl Parameters<'_> {
    /// Real numbers by channel: `NAME.WHAT.npy`.
    pub fn reals(&mut self, name: &str, what: &str, channels: usize) -> Result<Option<Reals>, SourceError> {
        let file = format!("{name}.{what}.npy");
        let array = self.arrays.array(&file, &[&[channels]])?;
        array.map(|array| reals(&file, array)).transpose()
    }

    /// Gamma, beta, mean and variance; all of them or none.
    pub fn normalization(&mut self, name: &str, channels: usize) -> Result<Option<[Reals; 4]>, SourceError> {
        let parts = ["bn_gamma", "bn_beta", "bn_mean", "bn_var"];
        let mut found = Vec::with_capacity(4);
        for part in parts {
            found.push(self.reals(name, part, channels)?);
        }
        if found.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut numbers = Vec::with_capacity(4);
        for (part, found) in parts.into_iter().zip(found) {
            let file = format!("{name}.{part}.npy");
            numbers.push(found.ok_or_else(|| missing(&file, "it beside the layer's other bn_ files"))?);
        }
        Ok(<[Reals; 4]>::try_from(numbers).ok())
    }

    /// Scale and zero point of a layer's output, if it is quantized.
    pub fn activations(&mut self, name: &str, required: bool) -> Result<Option<(f32, f32)>, SourceError> {
        let codes = self.network.activations(name);
        let (scale_file, zero_file) =
            (format!("{name}.output_scale.npy"), format!("{name}.output_zero_point.npy"));
        let zero_point = self.arrays.array(&zero_file, &[&[], &[1]])?;
        let Some(scale) = self.arrays.array(&scale_file, &[&[], &[1]])? else {
            return match (required, zero_point) {
                (false, None) => Ok(None),
                (_, Some(_)) => Err(missing(&scale_file, "it beside the zero point")),
                (true, None) => Err(missing(&scale_file, "the scale of the layer's output")),
            };
        };
        let Elements::F32(scale) = &scale.elements else {
            let found = scale.elements.type_name();
            return Err(in_file(&scale_file, format_args!("{found}; expected float32")));
        };
        let scale = scale[0];
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(in_file(&scale_file, format_args!("a scale of {scale}; expected a positive number")));
        }
        let zero_point = match zero_point {
            None => 0,
            Some(_) if codes.kind == Kind::Bipolar => {
                return Err(in_file(&zero_file, "bipolar codes have no zero point; expected no such file"));
            }
            Some(array) => integers(&zero_file, array)?[0],
        };
        if zero_point.abs() > 255 {
            return Err(in_file(&zero_file, format_args!("{zero_point}; expected -255 to 255")));
        }
        Ok(Some((scale, zero_point as f32)))
    }

    /// A convolution's weights: as real numbers, and as codes.
    pub fn weights(
        &mut self,
        name: &str,
        shape: [usize; 4],
    ) -> Result<(Tensor, QuantizedConstant), SourceError> {
        let codes = self.network.weights(name);
        let channels = shape[0];
        let by_channel: [&[usize]; 2] = [&[], &[channels]];
        let file = format!("{name}.weight.npy");
        let array = self.arrays.array(&file, &[&shape])?;
        let array = array.ok_or_else(|| missing(&file, "the codes of the layer's weights"))?;
        let integers_found = integers(&file, array)?;
        check_codes(&file, &integers_found, codes)?;
        let scale_file = format!("{name}.weight_scale.npy");
        let scale = self.arrays.array(&scale_file, &by_channel)?;
        let scale = scale.ok_or_else(|| missing(&scale_file, "the scales of the layer's weights"))?;
        let scale = reals(&scale_file, scale)?.to_f64();
        if let Some(bad) = scale.iter().find(|&&scale| scale == 0.0) {
            return Err(in_file(&scale_file, format_args!("a scale of {bad}; expected another number")));
        }
        let zero_file = format!("{name}.weight_zero_point.npy");
        let zero_points = match self.arrays.array(&zero_file, &by_channel)? {
            None => vec![0],
            Some(_) if codes.kind == Kind::Bipolar => {
                return Err(in_file(&zero_file, "bipolar codes have no zero point; expected no such file"));
            }
            Some(array) => integers(&zero_file, array)?,
        };
        if let Some(bad) = zero_points.iter().find(|zero| zero.abs() > 255) {
            return Err(in_file(&zero_file, format_args!("{bad}; expected -255 to 255")));
        }
        let quantized = quantized(&integers_found, codes, scale, &zero_points);
        let per_channel = (integers_found.len() / channels).max(1);
        let real = |(index, &code): (usize, &i32)| {
            let channel = index / per_channel;
            (f64::from(code) - quantized.zero_point_at(channel)) * quantized.scale_at(channel)
        };
        let data = quantized.codes.iter().enumerate().map(real).collect();
        Ok((Tensor::f64(&shape, data)?, quantized))
    }
}

/// Codes as the converter has them: odd numbers become a range without gaps, and twice the scale.
fn quantized(integers: &[i64], codes: Codes, scale: Vec<f64>, zero_points: &[i64]) -> QuantizedConstant {
    let (low, high) = codes.range();
    match codes.kind {
        Kind::Bipolar => QuantizedConstant {
            codes: integers.iter().map(|code| ((code - low) / 2) as i32).collect(),
            low: 0,
            high: (high - low) / 2,
            step: 1,
            scale: scale.into_iter().map(|scale| 2.0 * scale).collect(),
            zero_point: vec![-low as f64 / 2.0],
        },
        Kind::Signed | Kind::Unsigned => QuantizedConstant {
            codes: integers.iter().map(|&code| code as i32).collect(),
            low,
            high,
            step: 1,
            scale,
            zero_point: zero_points.iter().map(|&zero| zero as f64).collect(),
        },
    }
}

fn check_codes(file: &str, found: &[i64], codes: Codes) -> Result<(), SourceError> {
    let (low, high) = codes.range();
    let odd = codes.kind == Kind::Bipolar;
    let bad = |&&code: &&i64| !(low..=high).contains(&code) || (odd && code % 2 == 0);
    match found.iter().find(bad) {
        None => Ok(()),
        Some(code) => {
            let odd = if odd { "odd numbers from " } else { "" };
            Err(in_file(file, format_args!("a code of {code}; expected {odd}{low} to {high} ({codes})")))
        }
    }
}

fn integers(file: &str, array: Array) -> Result<Vec<i64>, SourceError> {
    match array.elements {
        Elements::Integers(integers) => Ok(integers),
        other => Err(in_file(file, format_args!("{}; expected integers", other.type_name()))),
    }
}

fn reals(file: &str, array: Array) -> Result<Reals, SourceError> {
    let numbers = match array.elements {
        Elements::F32(numbers) => Reals::F32(numbers),
        Elements::F64(numbers) => Reals::F64(numbers),
        Elements::Integers(_) => return Err(in_file(file, "integers; expected float32 or float64")),
    };
    match numbers.to_f64().iter().find(|number| !number.is_finite()) {
        None => Ok(numbers),
        Some(bad) => Err(in_file(file, format_args!("holds {bad}; expected finite numbers"))),
    }
}

/// Blames a file that is larger than accepted.
pub(super) fn too_large(file: &str, reason: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::TooLarge, format!("{file}: {reason}"))
}
