//! Which arithmetic a requantizer uses, and its constants.
//!
//! From the cheapest to the most general:
//!
//! | form | level | where |
//! |---|---|---|
//! | [`Thresholds`] i16 | `first ± number of thresholds < acc saturated to 16 bits` | few steps |
//! | [`Thresholds`] i32 | `first ± number of thresholds < acc` | few steps |
//! | [`Narrow`] | `clamp(((acc << k) · m >> 32) + b >> 16)` in 32 bits | where a bias makes it equal |
//! | [`Scale64`], fixed | `clamp((Σ acc · m + b >> 32) >> shift)` in 64 bits | a shift of 32 or more |
//! | [`Scale64`] | `clamp(Σ acc · m + b >> shift)` in 64 bits | always |
//! | [`Cells`] | an entry of a table by the highest bits of an axis, plus the axis | staircases of steps by one level |
//! | [`Search`] | look-up among thresholds | all other staircases |
//! | [`Many`] | the specification's own arithmetic | more than eight terms |
//!
//! Constants lie side by side by channel, with [`LANES`] more at the end that vectors may read.

use super::cells::Cells;
use super::many::Many;
use super::search::Search;
use super::steps::Steps;
use super::{AccumulatorRange, RequantizeSpec};

/// Channels that are converted side by side.
pub(crate) const LANES: usize = 16;

/// Steps up to which comparing with all thresholds is at least as fast as multiplying.
const FEW_STEPS: usize = 3;
/// Steps up to which comparing with all thresholds is faster than a search.
const MANY_STEPS: usize = 15;
/// Largest level for which [`Narrow`] is worth trying: with more, its 16 fraction bits never suffice.
const NARROW_MAX_LEVEL: u8 = 15;

/// The pre-shifts of [`Narrow`]: few, so that code for constant shifts can be kept for each (shifts by
/// a register are four times as dear on a Cortex-A72), and one more than what is shifted where the
/// multiplication itself doubles.
pub(crate) const PRE_SHIFTS: [u32; 6] = [1, 5, 9, 13, 17, 21];

/// Arithmetic with its constants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    Thresholds16(Thresholds<i16>),
    Thresholds32(Thresholds<i32>),
    Narrow(Narrow),
    /// The shift counts from bit 32 of the sum.
    Fixed(Scale64),
    Wide(Scale64),
    Cells(Cells),
    Search(Search),
    Many(Many),
}

/// `base + (−count ^ direction)` in bytes that wrap around, where `count` is the number of thresholds
/// less than the accumulator (vector comparisons give −1) and `direction` is all ones in rising
/// channels. There, as `−count ^ −1` is `count − 1`, the base is one more than the first level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thresholds<T> {
    /// `[step][channels + LANES]`
    pub(crate) thresholds: Vec<T>,
    /// Steps of the channel that has most.
    pub(crate) steps: usize,
    pub(crate) base: Vec<u8>,
    pub(crate) direction: Vec<u8>,
}

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

/// `clamp((Σ_t acc[t] · multipliers[t] + bias) >> shift, 0, max_level)` in 64 bits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale64 {
    /// `[term][channels + LANES]`
    pub(crate) multipliers: Vec<i32>,
    pub(crate) bias: Vec<i64>,
    pub(crate) shift: u32,
    pub(crate) max_level: u8,
}

impl Form {
    /// The cheapest arithmetic that equals the specification on all of the ranges.
    pub(crate) fn new(spec: &RequantizeSpec, ranges: &[AccumulatorRange]) -> Self {
        if let Some(many) = Many::new(spec) {
            return Self::Many(many);
        }
        let (few, many) = match spec {
            RequantizeSpec::Scale { .. } => (FEW_STEPS, usize::from(NARROW_MAX_LEVEL)),
            _ => (MANY_STEPS, MANY_STEPS),
        };
        let steps = all_steps(spec, ranges, many);
        if let Some(steps) = &steps
            && steps.iter().all(|steps| steps.positions.len() <= few)
        {
            return Thresholds::new(steps, i16::MAX)
                .map(Self::Thresholds16)
                .or_else(|| Thresholds::new(steps, i32::MAX).map(Self::Thresholds32))
                .expect("a threshold that is an i32 fits an i32");
        }
        match spec {
            RequantizeSpec::Scale { multipliers, bias, shift, max_level } => {
                let narrow = |steps: Vec<Steps>| Narrow::new(multipliers, *shift, *max_level, &steps);
                if let Some(narrow) = steps.and_then(narrow) {
                    return Self::Narrow(narrow);
                }
                match scale_to_bit_32(multipliers, bias, *shift, ranges) {
                    Some((multipliers, bias, shift)) => {
                        Self::Fixed(Scale64::new(&multipliers, &bias, shift, *max_level))
                    }
                    None => Self::Wide(Scale64::new(multipliers, bias, u32::from(*shift), *max_level)),
                }
            }
            RequantizeSpec::Staircase { thresholds, levels } => {
                Self::Search(Search::by_channel(thresholds, levels))
            }
            RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels } => {
                match Cells::new(spec, ranges) {
                    Some(cells) => Self::Cells(cells),
                    None => Self::Search(Search::of_sums(multipliers, bias, thresholds, levels)),
                }
            }
        }
    }
}

/// The steps of all channels, if they are monotone with at most `most` steps each.
pub(super) fn all_steps(
    spec: &RequantizeSpec,
    ranges: &[AccumulatorRange],
    most: usize,
) -> Option<Vec<Steps>> {
    if spec.terms() != 1 {
        return None;
    }
    let range = |channel: usize| ranges.get(channel).copied().unwrap_or(AccumulatorRange::FULL);
    (0..spec.channels()).map(|channel| Steps::of(spec, channel, range(channel), most)).collect()
}

impl<T: Copy + TryFrom<i64> + Ord> Thresholds<T> {
    /// `never` is the largest `T`: no saturated accumulator exceeds it. `None` if a threshold is not
    /// below it or no `T` at all.
    fn new(all: &[Steps], never: T) -> Option<Self> {
        let steps = all.iter().map(|steps| steps.positions.len()).max().unwrap_or(0);
        let mut thresholds = Vec::with_capacity(steps * (all.len() + LANES));
        for step in 0..steps {
            let of_channel = |steps: &Steps| match steps.positions.get(step) {
                None => Some(never),
                Some(&position) => {
                    T::try_from(i64::from(position) - 1).ok().filter(|&threshold| threshold < never)
                }
            };
            let row: Option<Vec<T>> = all.iter().map(of_channel).collect();
            thresholds.extend(pad(row?));
        }
        let base = |steps: &Steps| steps.first.wrapping_add(u8::from(!steps.falling));
        let direction = |steps: &Steps| if steps.falling { 0 } else { u8::MAX };
        Some(Self {
            thresholds,
            steps,
            base: pad(all.iter().map(base).collect()),
            direction: pad(all.iter().map(direction).collect()),
        })
    }
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

/// Adds [`LANES`] copies of the last element.
pub(super) fn pad<T: Copy>(mut values: Vec<T>) -> Vec<T> {
    if let Some(&last) = values.last() {
        values.resize(values.len() + LANES, last);
    }
    values
}
