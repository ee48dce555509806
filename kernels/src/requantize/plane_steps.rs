//! Levels of one or two bits straight from sums of 16 bits to bit planes, for micro-kernels that do it in
//! registers: see [`PlanesTile`](crate::families::direct::PlanesTile).
//!
//! The accumulator `sum_scale · S + total_scale · T + constant[c]` is never computed. The constant goes
//! into the thresholds, and what divides both factors is divided out. There remain
//!
//! | weights | a level's threshold is passed if |
//! |---|---|
//! | two's complement and the like | `S + h > t[c]`, where `h = total_scale · T` is what the sum starts from |
//! | bipolar of one bit, where the micro-kernel makes `2 S − T` | `2 S − T > t[c]` |
//!
//! With thresholds `t0 ≤ t1 ≤ t2` that are passed or not, the bits of a level of two bits are
//! `t0 ^ t1 ^ t2` and `t1`. A channel whose levels fall inverts them.

use super::forms::all_steps;
use super::steps::Steps;
use super::{AccumulatorRange, AccumulatorTransform, RequantizeSpec};

/// Channels of a vector.
pub(crate) const GROUP: usize = 8;
/// Channels are filled up to a multiple of this: the widest block of a micro-kernel.
const BLOCK: usize = 128;

/// A requantizer to planes, prepared for a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneSteps {
    /// Bits of a level.
    pub(crate) bits: u8,
    /// `h` in units of a total.
    pub(crate) total_scale: i16,
    /// Whether any channel inverts its bits.
    pub(crate) falling: bool,
    pub(crate) rows: Rows,
}

/// `[group of 8 channels][threshold, …, bits to invert][channel]`. Channels that do not exist get level 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rows {
    /// For sums of 16 bits.
    Narrow(Vec<i16>),
    /// For sums of 32 bits, without totals.
    Wide(Vec<i32>),
}

impl PlaneSteps {
    /// Steps for sums of 16 bits. `None` if this way is not exact, or not made for it: levels of more
    /// than two bits, factors of the totals that differ between channels, sums that leave 16 bits.
    ///
    /// `ranges` are the accumulators that can occur, by channel.
    pub(crate) fn narrow(
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        transform: &AccumulatorTransform,
        bits: u8,
    ) -> Option<Self> {
        let (1, total_scale, divisor) = factors(transform)? else {
            return None;
        };
        let total_scale = i16::try_from(total_scale).ok()?;
        let (rows, falling) = rows(spec, ranges, transform, bits, divisor)?;
        Some(Self { bits, total_scale, falling, rows: Rows::Narrow(rows) })
    }

    /// Steps for sums of 32 bits. `None` likewise, or if totals are needed.
    pub(crate) fn wide(
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        transform: &AccumulatorTransform,
        bits: u8,
    ) -> Option<Self> {
        let (1, 0, divisor) = factors(transform)? else {
            return None;
        };
        let (rows, falling) = rows(spec, ranges, transform, bits, divisor)?;
        Some(Self { bits, total_scale: 0, falling, rows: Rows::Wide(rows) })
    }

    /// Steps for `2 S − T`, the sums of weights −1 and +1, in 32 bits if they are `wide`, otherwise in 16. `None`
    /// likewise, or for other weights.
    pub(crate) fn of_differences(
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        transform: &AccumulatorTransform,
        bits: u8,
        wide: bool,
    ) -> Option<Self> {
        let (2, -1, divisor) = factors(transform)? else {
            return None;
        };
        let (rows, falling) = if wide {
            let (rows, falling) = rows::<i32>(spec, ranges, transform, bits, divisor)?;
            (Rows::Wide(rows), falling)
        } else {
            let (rows, falling) = rows::<i16>(spec, ranges, transform, bits, divisor)?;
            (Rows::Narrow(rows), falling)
        };
        Some(Self { bits, total_scale: 0, falling, rows })
    }

    /// Bits of a level.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Elements of `rows` for a channel group.
    pub(crate) fn group_len(&self) -> usize {
        (1 << self.bits) * GROUP
    }

    /// Channels that there are rows for.
    pub(crate) fn channels(&self) -> usize {
        let len = match &self.rows {
            Rows::Narrow(rows) => rows.len(),
            Rows::Wide(rows) => rows.len(),
        };
        len / self.group_len() * GROUP
    }
}

/// The factors of sums and totals without what divides both, and that. `None` if totals have different
/// ones.
fn factors(transform: &AccumulatorTransform) -> Option<(i32, i32, i32)> {
    let total_scale = transform.total_scales.first().copied().unwrap_or(0);
    if transform.sum_scale <= 0 || transform.total_scales.iter().any(|&scale| scale != total_scale) {
        return None;
    }
    let divisor = greatest_common_divisor(transform.sum_scale, total_scale);
    Some((transform.sum_scale / divisor, total_scale / divisor, divisor))
}

/// See [`Rows`]; and whether any channel falls.
fn rows<T: Element>(
    spec: &RequantizeSpec,
    ranges: &[AccumulatorRange],
    transform: &AccumulatorTransform,
    bits: u8,
    divisor: i32,
) -> Option<(Vec<T>, bool)> {
    if !(1..=2).contains(&bits) {
        return None;
    }
    let count = (1 << bits) - 1;
    let all = all_steps(spec, ranges, count)?;
    let row = |channel: usize| {
        let Some(steps) = all.get(channel) else {
            return Some((vec![T::NEVER; count], false));
        };
        let constant = transform.constants.get(channel).copied().unwrap_or(0);
        Some((thresholds(steps, count, constant, divisor)?, steps.falling))
    };
    let mut rows = Vec::new();
    for group in (0..all.len().next_multiple_of(BLOCK)).step_by(GROUP) {
        let channels: Vec<(Vec<T>, bool)> = (group..group + GROUP).map(row).collect::<Option<_>>()?;
        for step in 0..count {
            rows.extend(channels.iter().map(|(thresholds, _)| thresholds[step]));
        }
        let inverted = |(lane, (_, falling)): (usize, &(Vec<T>, bool))| {
            let bit = if bits == 1 { 1u16 << lane } else { 0x101 << lane };
            T::bits(if *falling { bit } else { 0 })
        };
        rows.extend(channels.iter().enumerate().map(inverted));
    }
    Some((rows, all.iter().any(|steps| steps.falling)))
}

/// What sums are compared in.
trait Element: Copy + TryFrom<i64> {
    /// Every sum exceeds it.
    const ALWAYS: Self;
    /// No sum exceeds it.
    const NEVER: Self;

    /// Bits of planes.
    fn bits(bits: u16) -> Self;
}

impl Element for i16 {
    const ALWAYS: Self = Self::MIN;
    const NEVER: Self = Self::MAX;

    fn bits(bits: u16) -> Self {
        bits as Self
    }
}

impl Element for i32 {
    const ALWAYS: Self = Self::MIN;
    const NEVER: Self = Self::MAX;

    fn bits(bits: u16) -> Self {
        bits.into()
    }
}

/// `count` thresholds in ascending order; as many are passed as the level, or as the level is below the
/// largest if it falls. `None` if an accumulator leaves the range in which none is mistaken.
fn thresholds<T: Element>(steps: &Steps, count: usize, constant: i32, divisor: i32) -> Option<Vec<T>> {
    let scaled = |accumulator: i32| {
        let without = i64::from(accumulator) - i64::from(constant);
        T::try_from(without.div_euclid(i64::from(divisor))).ok()
    };
    // The smallest must exceed the threshold that is always passed.
    scaled(steps.range.min.checked_sub(divisor)?)?;
    scaled(steps.range.max)?;
    let passed = if steps.falling { count.checked_sub(steps.first.into())? } else { steps.first.into() };
    let mut thresholds = vec![T::ALWAYS; passed];
    for &position in &steps.positions {
        thresholds.push(scaled(position - 1)?);
    }
    if thresholds.len() > count {
        return None;
    }
    thresholds.resize(count, T::NEVER);
    Some(thresholds)
}

fn greatest_common_divisor(a: i32, b: i32) -> i32 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
