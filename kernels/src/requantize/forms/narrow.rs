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

#[cfg(test)]
mod tests {
    use super::super::super::AccumulatorRange;
    use super::*;

    /// The level as instructions compute it: shifted and added in 32 bits.
    fn level(narrow: &Narrow, accumulator: i32) -> u8 {
        let shifted = i64::from(accumulator << narrow.pre_shift);
        let high = ((shifted * i64::from(narrow.multipliers[0])) >> 32) as i32;
        (high.wrapping_add(narrow.bias[0]) >> 16).clamp(0, narrow.max_level.into()) as u8
    }

    /// Multipliers from coarse to fine: of many a bias would be wrong by one accumulator, and those have none.
    #[test]
    fn biases_are_exact_or_there_are_none() {
        let (mut random, mut exact, mut none) = (1u64, 0, 0);
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for round in 0..60_000 {
            let shift = 24 + (round % 8) as u8;
            // Accumulators of a level: about the 2^16 units of a level, so that rounding decides.
            let distance = 1 << (4 + round % 14);
            let multiplier = ((1u64 << shift) / distance) as i32 - next(1 << 6) as i32;
            let reach = (distance * 20) as i32;
            let (max_level, one) = ([3, 7, 15][round % 3], 1u64 << shift);
            let spec = RequantizeSpec::Scale {
                multipliers: vec![if round % 5 == 0 { -multiplier } else { multiplier }],
                bias: vec![next(u64::from(max_level) * one) as i64],
                shift,
                max_level,
            };
            let range = AccumulatorRange { min: -reach - next(99) as i32, max: reach };
            let steps = Steps::of(&spec, 0, range, MOST_STEPS);
            let problem =
                Problem { spec: &spec, ranges: &[range], steps: steps.clone().map(|own| vec![own]) };
            let (Some(narrow), Some(steps)) = (of(&problem), steps) else {
                none += 1;
                continue;
            };
            exact += 1;
            let around = steps.positions.iter().flat_map(|&position| [position - 1, position]);
            for accumulator in around.chain([range.min, range.max]) {
                assert_eq!(
                    level(&narrow, accumulator),
                    spec.level(0, accumulator),
                    "{accumulator} of {spec:?}"
                );
            }
        }
        assert!(exact > 5_000 && none > 1_000, "{exact} and {none}");
    }
}
