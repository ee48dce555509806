//! Multiplication whose high half is all that is needed.

use super::super::RequantizeSpec;
use super::super::steps::Steps;
use super::{Problem, pad};

/// Steps, and so the largest level, for which [`Narrow`] is worth trying: with more, its 16 fraction bits never suffice.
pub(super) const MOST_STEPS: usize = 15;

/// The pre-shifts of [`Narrow`]: few, so that code for constant shifts can be kept for each (shifts by
/// a register are four times as dear on a Cortex-A72), and one more than what is shifted where the
/// multiplication itself doubles.
pub(crate) const PRE_SHIFTS: [u32; 6] = [1, 5, 9, 13, 17, 21];

/// `clamp(((acc << pre_shift) · multiplier >> 32) + bias >> 16, 0, max_level)`; nothing leaves 32 bits
/// but the product.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Narrow {
    pub(crate) multipliers: Vec<i32>,
    pub(crate) bias: Vec<i32>,
    /// One of [`PRE_SHIFTS`].
    pub(crate) pre_shift: u32,
    pub(crate) max_level: u8,
}

/// Where a bias makes it equal.
pub(super) fn of(problem: &Problem<'_>) -> Option<Narrow> {
    let RequantizeSpec::Scale { multipliers, shift, max_level, .. } = problem.spec else {
        return None;
    };
    Narrow::new(multipliers, *shift, *max_level, problem.steps.as_ref()?)
}

impl Narrow {
    /// `None` if some channel cannot be made exact.
    ///
    /// The pre-shift moves the multiplier, a fixed-point number with 16 fraction bits for the level and
    /// 32 for the high half, into an i32. Then any bias will do that puts the sum on the right side of
    /// every step: see [`narrow_bias`].
    fn new(multipliers: &[i32], shift: u8, max_level: u8, all: &[Steps]) -> Option<Self> {
        let largest = multipliers.iter().map(|m| m.unsigned_abs()).max()?;
        let significant = (u32::BITS - largest.leading_zeros()) as i32;
        let least = significant + 17 - i32::from(shift);
        let pre_shift = PRE_SHIFTS.into_iter().find(|&pre_shift| pre_shift as i32 >= least)?;
        let left = 48 - i32::from(shift) - pre_shift as i32;
        let channels = multipliers.iter().zip(all).map(|(&multiplier, steps)| {
            let fits = |end: i32| i32::try_from(i64::from(end) << pre_shift).is_ok();
            if !fits(steps.range.min) || !fits(steps.range.max) {
                return None;
            }
            let multiplier = shift_rounding(multiplier, left)?;
            [0, 1, -1].into_iter().find_map(|change| {
                let multiplier = multiplier.checked_add(change)?;
                let bias = narrow_bias(multiplier, pre_shift, max_level, steps)?;
                Some((multiplier, bias))
            })
        });
        let (multipliers, bias) = channels.collect::<Option<(Vec<_>, Vec<_>)>>()?;
        Some(Self { multipliers: pad(multipliers), bias: pad(bias), pre_shift, max_level })
    }
}

/// `value · 2^left`, rounded to the nearest, if it is an i32.
fn shift_rounding(value: i32, left: i32) -> Option<i32> {
    let value = i128::from(value);
    let shifted = match left {
        0.. => value.checked_shl(left as u32).filter(|_| left < 64)?,
        -64..0 => (value + (1 << (-left - 1))) >> -left,
        _ => 0,
    };
    i32::try_from(shifted).ok()
}

/// The bias with which [`Narrow`] is exact for a channel, if there is one.
///
/// `high(a) = (a << pre_shift) · multiplier >> 32` is monotone, and so is the map it must equal: they
/// are equal everywhere if they are at both ends and on both sides of every step. The level at `a` is
/// at least `v` just if `high(a) + bias ≥ v · 2^16`, so that each of these points bounds the bias.
fn narrow_bias(multiplier: i32, pre_shift: u32, max_level: u8, steps: &Steps) -> Option<i32> {
    let high = |accumulator: i32| {
        let shifted = i64::from(accumulator) << pre_shift;
        (shifted * i64::from(multiplier)) >> 32
    };
    let least = |accumulator: i32, level: u8| (i64::from(level) << 16) - high(accumulator);
    let (mut low, mut top) = (i64::from(i32::MIN), i64::from(i32::MAX));
    for crossing in steps.crossings() {
        low = low.max(least(crossing.at_least, crossing.level));
        top = top.min(least(crossing.less, crossing.level) - 1);
    }
    for (end, level) in steps.ends() {
        if level > 0 {
            low = low.max(least(end, level));
        }
        if level < max_level {
            top = top.min(least(end, level + 1) - 1);
        }
        // The sum itself must stay in 32 bits.
        low = low.max(i64::from(i32::MIN) - high(end));
        top = top.min(i64::from(i32::MAX) - high(end));
    }
    (low <= top).then(|| (low + (top - low) / 2) as i32)
}
