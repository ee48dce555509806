//! Multiplier, bias and shift that reproduce a staircase exactly, where there are some.
//!
//! `(accumulator · multiplier + bias) >> shift` reaches level `k` at accumulator `t` if and only if
//! `t · multiplier + bias ≥ k · 2^shift`, and stays below it at `u` if and only if
//! `u · multiplier + bias ≤ k · 2^shift − 1`. A rising staircase is a list of such bounds. For a given
//! multiplier each bounds the bias from one side, and a bias exists if no two bounds contradict each
//! other; and each pair of bounds in turn bounds the multiplier from one side. So the multipliers that
//! work are one interval, searched here without rounding: where it is empty, no multiplier works.

use crate::staircase::Staircase;

/// Largest magnitude of a multiplier.
pub const MAX_MULTIPLIER: i64 = i32::MAX as i64;
/// Largest shift tried: levels up to 255 shifted left stay far from the ends of an i64.
pub const MAX_SHIFT: u8 = 50;

/// Bounds that `accumulator · multiplier + bias` must keep for a rising staircase.
struct Bounds {
    /// `(accumulator, k)`: at least `k · 2^shift` there.
    lower: Vec<(i64, i64)>,
    /// `(accumulator, k)`: below `k · 2^shift` there.
    upper: Vec<(i64, i64)>,
}

impl Bounds {
    /// The bounds of a rising staircase whose levels are clamped to `0..=max_level`.
    fn of(staircase: &Staircase, max_level: u8) -> Self {
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for (index, &(start, level)) in staircase.steps.iter().enumerate() {
            let end = staircase.steps.get(index + 1).map_or(staircase.last, |&(next, _)| next - 1);
            if level > 0 {
                lower.push((start, i64::from(level)));
            }
            if level < max_level {
                upper.push((end, i64::from(level) + 1));
            }
        }
        Self { lower, upper }
    }

    /// Bounds of the real slope `multiplier / 2^shift` from the outermost steps, which are the
    /// tightest where the staircase is regular. Only for choosing the shift.
    fn slopes(&self) -> (f64, f64) {
        let (mut low, mut high) = (0.0f64, f64::INFINITY);
        for &(t, k) in [self.lower.first(), self.lower.last()].into_iter().flatten() {
            for &(u, l) in [self.upper.first(), self.upper.last()].into_iter().flatten() {
                let (distance, levels) = ((u - t) as f64, (l - k) as f64);
                if distance > 0.0 {
                    high = high.min(levels / distance);
                } else if distance < 0.0 {
                    low = low.max(levels / distance);
                }
            }
        }
        (low, high)
    }

    /// The bounds of the bias for a multiplier: the tightest lower and upper one, as indices.
    fn tightest(&self, multiplier: i64, shift: u8) -> (Option<usize>, Option<usize>) {
        let at = |&(accumulator, k): &(i64, i64)| bias_at(accumulator, k, multiplier, shift);
        let lower = (0..self.lower.len()).max_by_key(|&index| at(&self.lower[index]));
        let upper = (0..self.upper.len()).min_by_key(|&index| at(&self.upper[index]));
        (lower, upper)
    }

    /// A multiplier near `guess` and its bias, from the middle of those that work. `None` only if no
    /// multiplier from 0 to `max_multiplier` works.
    ///
    /// Where a multiplier fails, the two bounds that contradict each other also contradict it for all
    /// multipliers on one side: `k·2^s − t·m ≤ l·2^s − 1 − u·m` is linear in `m`. Cutting that side off
    /// and halving what remains ends after 32 steps.
    fn fit(&self, guess: i64, shift: u8, max_multiplier: i64) -> Option<(i64, i64)> {
        let (mut low, mut high) = (0, max_multiplier);
        let mut multiplier = guess.clamp(low, high);
        loop {
            let (lower, upper) = match self.tightest(multiplier, shift) {
                (Some(lower), Some(upper)) => (self.lower[lower], self.upper[upper]),
                (Some(lower), None) => {
                    let (t, k) = self.lower[lower];
                    return checked_bias(multiplier, bias_at(t, k, multiplier, shift));
                }
                (None, Some(upper)) => {
                    let (u, l) = self.upper[upper];
                    return checked_bias(multiplier, bias_at(u, l, multiplier, shift) - 1);
                }
                (None, None) => return Some((multiplier, 0)),
            };
            let ((t, k), (u, l)) = (lower, upper);
            let least = bias_at(t, k, multiplier, shift);
            let most = bias_at(u, l, multiplier, shift) - 1;
            if least <= most {
                return checked_bias(multiplier, least + (most - least) / 2);
            }
            let room = (i128::from(l - k) << shift) - 1;
            let distance = i128::from(u - t);
            let limit = |quotient: i128| i64::try_from(quotient).unwrap_or(i64::MAX);
            match distance {
                0 => return None,
                1.. => high = high.min(limit(room.div_euclid(distance))),
                _ => low = low.max(limit(-room.div_euclid(-distance))),
            }
            if low > high {
                return None;
            }
            multiplier = low + (high - low) / 2;
        }
    }
}

/// The bias with which `accumulator · multiplier + bias` is exactly `k · 2^shift`.
fn bias_at(accumulator: i64, k: i64, multiplier: i64, shift: u8) -> i128 {
    (i128::from(k) << shift) - i128::from(accumulator) * i128::from(multiplier)
}

/// Keeps `accumulator · multiplier + bias` far from the ends of an i64.
fn checked_bias(multiplier: i64, bias: i128) -> Option<(i64, i64)> {
    i64::try_from(bias).ok().filter(|bias| bias.unsigned_abs() < 1 << 61).map(|b| (multiplier, b))
}

/// Multipliers and biases by channel, and the shift they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// One factor a channel.
    pub multipliers: Vec<i32>,
    /// One addend a channel.
    pub bias: Vec<i64>,
    /// Right shift.
    pub shift: u8,
}

/// Finds a scale that equals every channel's staircase at every accumulator of its range, or `None`
/// if there is none with multipliers of at most `max_multiplier` in magnitude.
pub fn scale(staircases: &[Staircase], max_level: u8, max_multiplier: i64) -> Option<Scale> {
    let mut channels = Vec::with_capacity(staircases.len());
    let mut largest = 0.0f64;
    for staircase in staircases {
        let rising = staircase.rising()?;
        let mirrored;
        let staircase = if rising {
            staircase
        } else {
            mirrored = staircase.mirrored();
            &mirrored
        };
        let bounds = Bounds::of(staircase, max_level);
        let (low, high) = bounds.slopes();
        // A single step fits every slope from some on: take the least steep half.
        let slope = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * low };
        // Constant channels need no slope at all.
        let slope = if staircase.steps.len() == 1 { 0.0 } else { slope.max(f64::MIN_POSITIVE) };
        largest = largest.max(slope);
        channels.push((rising, bounds, slope));
    }
    let mut shift = MAX_SHIFT;
    while shift > 0 && largest * f64::from(shift).exp2() >= max_multiplier as f64 {
        shift -= 1;
    }
    let mut result = Scale { multipliers: Vec::new(), bias: Vec::new(), shift };
    for (rising, bounds, slope) in channels {
        let guess = (slope * f64::from(shift).exp2()).round() as i64;
        let (multiplier, bias) = bounds.fit(guess, shift, max_multiplier)?;
        let multiplier = i32::try_from(multiplier).ok()?;
        result.multipliers.push(if rising { multiplier } else { -multiplier });
        result.bias.push(bias);
    }
    Some(result)
}

#[cfg(test)]
mod tests;
