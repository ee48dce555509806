//! Staircases of many steps of one level each, such as those of SiLU: one table entry and one addition a level.
//!
//! All channels share an axis of 32 bits: `u = (acc · m >> n) + b`, with `m` and `b` by channel and one `n`. The axis is
//! divided into cells of `2^s`, few enough thresholds apart that no cell has two. An entry of the table is
//!
//! ```text
//! E[cell] = ((y + 1) << 23) − T        wrapping around, T the cell's threshold, or its end if it has none
//! ```
//!
//! and then the nine highest bits of `E + u`, as a signed number, are `y` below `T` and `y + 1` from `T` on. Where the
//! level rises at `T`, `y` is the level below it; where it falls, as in the dip of SiLU, `y` is the complement of that
//! level, `−level − 1`: `x ^ (x >> 31)` gives the level for both signs. So any sequence of steps by one level will do.
//!
//! # Why it is exact
//!
//! `u` is monotone in the accumulator, saturation and rounding included. So a channel has the right levels everywhere
//! if it has them on both sides of each of its steps, and at the ends of its range: each of these accumulators bounds
//! the step's threshold on the axis from one side. The bounds of all channels together leave a window for each
//! threshold. The form is used where no window is empty: nothing is estimated.

#[cfg(target_arch = "x86_64")]
pub(crate) mod bytes;

use super::forms::pad;
use super::{AccumulatorRange, RequantizeSpec};

/// Bits of a level and its sign above the fraction of a table entry.
pub(crate) const LEVEL_SHIFT: u32 = 23;
/// Shifts of the product: few enough to keep code with a constant shift for each.
pub(crate) const SHIFTS: std::ops::RangeInclusive<u32> = 4..=20;
/// Bits of a cell's number, at least: cells are then no larger than the fraction.
const LEAST_BITS: u32 = 32 - LEVEL_SHIFT;
/// And at most: a table of 16 KiB, of which the levels of one picture touch a part.
const MOST_BITS: u32 = 12;
/// Shares of the axis that the thresholds may span, in 1024ths, in the order in which they are tried. The more, the
/// finer; but a product must not saturate before the bias is added.
///
/// With many channels and wide accumulators the windows are a few units wide, and rounding closes one or leaves it open as
/// chance has it: each share rounds in another way, so those behind the first six are further draws.
const SPANS: [i128; 22] = [
    614, 502, 358, 251, 123, 61, //
    607, 599, 592, 585, 578, 571, 564, 557, 550, 543, 536, 529, 521, 495, 467, 439,
];

/// Table and constants; those by channel lie side by side with [`LANES`](super::forms::LANES) more at the end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cells {
    /// `m`.
    pub(crate) multipliers: Vec<i32>,
    /// `b`.
    pub(crate) bias: Vec<i32>,
    /// Accumulators from which on, downwards and upwards, the level does not change. Limited to them, no product
    /// and no sum leaves an i32.
    pub(crate) low: Vec<i32>,
    pub(crate) high: Vec<i32>,
    /// `n`, one of [`SHIFTS`].
    pub(crate) shift: u32,
    /// `s`.
    pub(crate) cell_shift: u32,
    /// `E`, by the highest bits of `u` as an unsigned number: the cells of negative `u` come last.
    pub(crate) table: Vec<i32>,
    /// The same for CPUs that look up bytes faster than words, if there are not too many cells.
    #[cfg(target_arch = "x86_64")]
    pub(crate) bytes: Option<bytes::Bytes>,
}

/// A channel's line to the thresholds' axis of the model, and the accumulators that occur.
struct Line {
    multiplier: i64,
    bias: i64,
    range: AccumulatorRange,
}

/// The thresholds that separate accumulators which occur, and how the level changes there.
struct Staircase {
    lines: Vec<Line>,
    thresholds: Vec<i64>,
    /// One more than thresholds.
    levels: Vec<u8>,
    /// `[channel][threshold]`: the smallest accumulator on the threshold's far side, in the direction of
    /// accumulators; may lie outside the channel's range.
    edges: Vec<Vec<i64>>,
    /// By channel, the accumulators beside the outermost edges inside the range, between which all levels change.
    /// `None` if the level is always the same.
    limits: Vec<Option<(i32, i32)>>,
}

/// An axis of 32 bits for all channels.
struct Axis {
    multipliers: Vec<i32>,
    bias: Vec<i32>,
    shift: u32,
}

impl Cells {
    /// `None` if no axis is exact, the levels change by more than one at a threshold, or the specification is not one
    /// scaled staircase of one term.
    pub(crate) fn new(spec: &RequantizeSpec, ranges: &[AccumulatorRange]) -> Option<Self> {
        let staircase = Staircase::new(spec, ranges)?;
        let first = *staircase.thresholds.first()?;
        let last = *staircase.thresholds.last()?;
        let axes = SPANS.iter().filter_map(|&span| staircase.axis(first, last, span));
        axes.into_iter().find_map(|axis| {
            // The cheaper question first.
            let (low, high) = staircase.limits(&axis)?;
            let windows = staircase.windows(&axis)?;
            let thresholds = windows.iter().map(|&(below, at_least)| below + (at_least - below + 1) / 2);
            let (cell_shift, table) = table(&thresholds.collect::<Vec<i64>>(), &staircase.levels)?;
            Some(Self {
                #[cfg(target_arch = "x86_64")]
                bytes: bytes::Bytes::new(&axis, [&low, &high], cell_shift, &table),
                multipliers: pad(axis.multipliers),
                bias: pad(axis.bias),
                low: pad(low),
                high: pad(high),
                shift: axis.shift,
                cell_shift,
                table,
            })
        })
    }

    /// The table, for code that reads without bounds what [`Self::cell_shift`] leaves of `u`.
    ///
    /// # Panics
    /// If it has not an entry for each cell.
    #[inline(always)]
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    pub(crate) fn entries(&self) -> *const i32 {
        assert!(self.table.len() == 1 << (32 - self.cell_shift), "an entry for each cell");
        self.table.as_ptr()
    }

    /// The level of an accumulator.
    #[inline(always)]
    pub(crate) fn level(&self, channel: usize, accumulator: i32) -> u8 {
        let limited = accumulator.max(self.low[channel]).min(self.high[channel]);
        let product = i64::from(limited) * i64::from(self.multipliers[channel]);
        let u = ((product >> self.shift) as i32).wrapping_add(self.bias[channel]);
        let sum = self.table[(u as u32 >> self.cell_shift) as usize].wrapping_add(u);
        ((sum ^ (sum >> 31)) >> LEVEL_SHIFT) as u8
    }
}

impl Staircase {
    /// `None` for other specifications, and if some level changes by more than one.
    fn new(spec: &RequantizeSpec, ranges: &[AccumulatorRange]) -> Option<Self> {
        let RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels } = spec else {
            return None;
        };
        if multipliers.len() != bias.len() {
            return None;
        }
        let line = |(channel, (&multiplier, &bias)): (usize, (&i32, &i64))| Line {
            multiplier: multiplier.into(),
            bias,
            range: ranges.get(channel).copied().unwrap_or(AccumulatorRange::FULL),
        };
        let lines: Vec<Line> = multipliers.iter().zip(bias).enumerate().map(line).collect();
        let steps: Vec<usize> = (0..thresholds.len()).filter(|&at| levels[at] != levels[at + 1]).collect();
        let thresholds: Vec<i64> = steps.iter().map(|&at| thresholds[at]).collect();
        let levels: Vec<u8> =
            levels.first().copied().into_iter().chain(steps.iter().map(|&at| levels[at + 1])).collect();
        // What no accumulator passes, or every one, decides nothing.
        let ends = |line: &Line| line.values_at_ends();
        let lowest = lines.iter().map(|line| ends(line).0).min()?;
        let highest = lines.iter().map(|line| ends(line).1).max()?;
        let from = thresholds.partition_point(|&t| i128::from(t) <= lowest);
        let to = thresholds.partition_point(|&t| i128::from(t) <= highest);
        let (thresholds, levels) = (thresholds[from..to].to_vec(), levels[from..=to].to_vec());
        if levels.windows(2).any(|pair| pair[0].abs_diff(pair[1]) != 1) {
            return None;
        }
        let edges: Vec<Vec<i64>> =
            lines.iter().map(|line| thresholds.iter().map(|&t| line.edge(t)).collect()).collect();
        let limits = lines.iter().zip(&edges).map(|(line, edges)| line.limits(edges)).collect();
        Some(Self { lines, thresholds, levels, edges, limits })
    }

    /// The axis on which the thresholds from `first` to `last` span so many 1024ths of 2^32, around 0. `None` if
    /// constants do not fit.
    fn axis(&self, first: i64, last: i64, span: i128) -> Option<Axis> {
        let distance = (i128::from(last) - i128::from(first)).max(1);
        let middle = i128::from(first) + distance / 2;
        // From the model's axis to this one: multiplied by `scale / distance`.
        let scale = span << 22;
        let moving = self.lines.iter().zip(&self.limits).filter(|(_, limits)| limits.is_some());
        let largest = moving.map(|(line, _)| i128::from(line.multiplier).abs()).max()?;
        let shift = SHIFTS.rev().find(|&shift| {
            // Below 2^31, with room for rounding.
            divide(largest * (scale << shift), distance) < (1 << 31) - 1
        })?;
        let constants = |(line, limits): (&Line, &Option<(i32, i32)>)| {
            let multiplier = divide((i128::from(line.multiplier) * scale) << shift, distance);
            let bias = divide((i128::from(line.bias) - middle).checked_mul(scale)?, distance);
            if limits.is_some() {
                return Some((i32::try_from(multiplier).ok()?, i32::try_from(bias).ok()?));
            }
            // One value for all accumulators: that of the first.
            let value = (multiplier.checked_mul(line.range.min.into())? >> shift) + bias;
            Some((0, value.clamp(i32::MIN.into(), i32::MAX.into()) as i32))
        };
        let (multipliers, bias) =
            self.lines.iter().zip(&self.limits).map(constants).collect::<Option<_>>()?;
        Some(Axis { multipliers, bias, shift })
    }

    /// For each threshold the largest `u` that lies below it in any channel, and the smallest that does not. `None` if
    /// they are the wrong way round somewhere.
    fn windows(&self, axis: &Axis) -> Option<Vec<(i64, i64)>> {
        let mut windows = vec![(i64::from(i32::MIN) - 1, i64::from(i32::MAX) + 1); self.thresholds.len()];
        for (channel, line) in self.lines.iter().enumerate() {
            let u = |accumulator: i64| axis.saturating(channel, accumulator);
            let (min, max) = (i64::from(line.range.min), i64::from(line.range.max));
            let ends = (u(min), u(max));
            for ((below, at_least), (&edge, &threshold)) in
                windows.iter_mut().zip(self.edges[channel].iter().zip(&self.thresholds))
            {
                // Accumulators before the edge are on one side of the threshold, from there on they are on the other.
                let before = if edge > max { Some(ends.1) } else { (edge > min).then(|| u(edge - 1)) };
                let from = if edge <= min { Some(ends.0) } else { (edge <= max).then(|| u(edge)) };
                let (lower, upper) = match line.multiplier {
                    1.. => (before, from),
                    0 if line.bias >= threshold => (None, Some(ends.0)),
                    0 => (Some(ends.0), None),
                    _ => (from, before),
                };
                *below = lower.map_or(*below, |u| u.max(*below));
                *at_least = upper.map_or(*at_least, |u| u.min(*at_least));
                if *below >= *at_least {
                    return None;
                }
            }
        }
        Some(windows)
    }

    /// The limits of all channels. `None` if something saturates between them.
    fn limits(&self, axis: &Axis) -> Option<(Vec<i32>, Vec<i32>)> {
        let of_channel = |(channel, limits): (usize, &Option<(i32, i32)>)| {
            let (low, high) = limits.unwrap_or((0, 0));
            [low, high].iter().all(|&end| axis.fits(channel, end)).then_some((low, high))
        };
        self.limits.iter().enumerate().map(of_channel).collect()
    }
}

impl Line {
    /// The smallest and the largest value on the model's axis.
    fn values_at_ends(&self) -> (i128, i128) {
        let value = |end: i32| i128::from(end) * i128::from(self.multiplier) + i128::from(self.bias);
        let ends = [value(self.range.min), value(self.range.max)];
        (ends[0].min(ends[1]), ends[0].max(ends[1]))
    }

    /// See [`Staircase::limits`].
    fn limits(&self, edges: &[i64]) -> Option<(i32, i32)> {
        let AccumulatorRange { min, max } = self.range;
        let inside = |edge: &&i64| i64::from(min) < **edge && **edge <= i64::from(max);
        let inside = || edges.iter().filter(inside);
        let (&first, &last) = (inside().min()?, inside().max()?);
        (self.multiplier != 0).then_some(((first - 1) as i32, last as i32))
    }

    /// The smallest accumulator whose value is at least the threshold, or where values fall, below it. Any number if
    /// all values are equal.
    fn edge(&self, threshold: i64) -> i64 {
        let distance = i128::from(threshold) - i128::from(self.bias);
        let quotient = |dividend: i128, divisor: i64| match i64::try_from(dividend) {
            // Nearly always; a division of 128 bits takes ten times as long.
            Ok(dividend) => dividend.div_euclid(divisor),
            Err(_) => dividend.div_euclid(divisor.into()).clamp(i64::MIN.into(), i64::MAX.into()) as i64,
        };
        match self.multiplier {
            0 => 0,
            // Rounded up: a · multiplier ≥ distance.
            1.. => quotient(distance - 1, self.multiplier).saturating_add(1),
            // a · |multiplier| > −distance.
            _ => quotient(-distance, -self.multiplier).saturating_add(1),
        }
    }
}

impl Axis {
    /// `u` as instructions that saturate compute it.
    fn saturating(&self, channel: usize, accumulator: i64) -> i64 {
        let saturate = |value: i64| value.clamp(i32::MIN.into(), i32::MAX.into());
        let product = (accumulator * i64::from(self.multipliers[channel])) >> self.shift;
        saturate(saturate(product) + i64::from(self.bias[channel]))
    }

    /// Whether nothing saturates.
    fn fits(&self, channel: usize, accumulator: i32) -> bool {
        let product = (i64::from(accumulator) * i64::from(self.multipliers[channel])) >> self.shift;
        [product, product + i64::from(self.bias[channel])].iter().all(|&value| i32::try_from(value).is_ok())
    }
}

/// Rounded to the nearest.
fn divide(dividend: i128, divisor: i128) -> i128 {
    (dividend + divisor / 2).div_euclid(divisor)
}

/// The bits of `u` below a cell's number, and the table. `None` if cells would have to be too small.
fn table(thresholds: &[i64], levels: &[u8]) -> Option<(u32, Vec<i32>)> {
    let cell_shift = (LEAST_BITS..=MOST_BITS).map(|bits| 32 - bits).find(|&shift| {
        // A threshold that is the first of its cell separates it from the one before.
        let inside = thresholds.iter().filter(|&&threshold| threshold & ((1 << shift) - 1) != 0);
        let cells: Vec<i64> = inside.map(|&threshold| threshold >> shift).collect();
        cells.windows(2).all(|pair| pair[0] != pair[1]) && thresholds.windows(2).all(|pair| pair[0] < pair[1])
    })?;
    let cells = 1i64 << (32 - cell_shift);
    let entry = |index: i64| {
        let start = (if index < cells / 2 { index } else { index - cells }) << cell_shift;
        let end = start + (1 << cell_shift);
        let passed = thresholds.partition_point(|&threshold| threshold <= start);
        let level = i64::from(levels[passed]);
        let (y, threshold) = match thresholds.get(passed) {
            Some(&threshold) if threshold < end => {
                let rises = levels[passed + 1] > levels[passed];
                (if rises { level } else { -level - 1 }, threshold)
            }
            _ => (level, end),
        };
        (((y + 1) << LEVEL_SHIFT) - threshold) as i32
    };
    Some((cell_shift, (0..cells).map(entry).collect()))
}

#[cfg(test)]
pub(crate) mod tests;
