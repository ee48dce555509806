//! Multiplication in 64 bits.

use super::super::{AccumulatorRange, RequantizeSpec};
use super::{Problem, pad};

/// `clamp((Σ_t acc[t] · multipliers[t] + bias) >> shift, 0, max_level)` in 64 bits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale64 {
    /// `[term][channels + LANES]`
    pub(crate) multipliers: Vec<i32>,
    pub(crate) bias: Vec<i64>,
    pub(crate) shift: u32,
    pub(crate) max_level: u8,
}

/// Where the shift can be one of at least 32 bits.
pub(super) fn fixed(problem: &Problem<'_>) -> Option<Scale64> {
    let RequantizeSpec::Scale { multipliers, bias, shift, max_level } = problem.spec else {
        return None;
    };
    let (multipliers, bias, shift) = scale_to_bit_32(multipliers, bias, *shift, problem.ranges)?;
    Some(Scale64::new(&multipliers, &bias, shift, *max_level))
}

/// For every scale.
pub(super) fn wide(problem: &Problem<'_>) -> Option<Scale64> {
    let RequantizeSpec::Scale { multipliers, bias, shift, max_level } = problem.spec else {
        return None;
    };
    Some(Scale64::new(multipliers, bias, u32::from(*shift), *max_level))
}

impl Scale64 {
    fn new(multipliers: &[i32], bias: &[i64], shift: u32, max_level: u8) -> Self {
        let terms = multipliers.chunks(bias.len().max(1));
        Self {
            multipliers: terms.flat_map(|term| pad(term.to_vec())).collect(),
            bias: pad(bias.to_vec()),
            shift,
            max_level,
        }
    }
}

/// Multiplies multipliers and bias with the power of two that makes the right shift at least 32, and
/// returns them with the rest of the shift. `None` if something would no longer fit.
fn scale_to_bit_32(
    multipliers: &[i32],
    bias: &[i64],
    shift: u8,
    ranges: &[AccumulatorRange],
) -> Option<(Vec<i32>, Vec<i64>, u32)> {
    let shift = u32::from(shift);
    let left = 32u32.saturating_sub(shift);
    let channels = bias.len();
    let range = |index: usize| ranges.get(index).copied().unwrap_or(AccumulatorRange::FULL);
    let multiply = |(index, &multiplier): (usize, &i32)| {
        let scaled = i32::try_from(i64::from(multiplier) << left).ok()?;
        let AccumulatorRange { min, max } = range(index);
        Some((scaled, u128::from(min.unsigned_abs().max(max.unsigned_abs()))))
    };
    let scaled: Vec<(i32, u128)> = multipliers.iter().enumerate().map(multiply).collect::<Option<_>>()?;
    if left > 0 {
        for (channel, &bias) in bias.iter().enumerate() {
            let terms = scaled.iter().skip(channel).step_by(channels);
            let products = terms.map(|&(multiplier, end)| end * u128::from(multiplier.unsigned_abs()));
            let largest = (u128::from(bias.unsigned_abs()) << left) + products.sum::<u128>();
            if largest > i64::MAX as u128 {
                return None;
            }
        }
    }
    let bias = bias.iter().map(|&bias| bias << left).collect();
    let multipliers = scaled.into_iter().map(|(multiplier, _)| multiplier).collect();
    Some((multipliers, bias, shift + left - 32))
}
