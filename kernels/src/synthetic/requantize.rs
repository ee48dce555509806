//! Calls of requantization, one for each form, to time them.

use crate::requantize::{AccumulatorRange, RequantizeSpec, RequantizeTile, Requantizer};

const CHANNELS: usize = 64;
const PIXELS: usize = 32;

/// A tile of accumulators and what turns them into levels.
#[derive(Debug)]
pub struct RequantizeStrip {
    /// What it is an example of.
    pub example: &'static str,
    requantizer: Requantizer,
    accumulators: Vec<Vec<i32>>,
    levels: Vec<u8>,
}

impl RequantizeStrip {
    /// Examples of every form, from the cheapest arithmetic to the most general.
    pub fn all() -> Vec<Self> {
        vec![
            Self::new("2 bits, a line", 1, 900, line(1, 3, 900, 20)),
            Self::new("4 bits, a staircase by channel", 1, 9_000, by_channel(15, 9_000)),
            Self::new("2 bits, a line, wide range", 1, 3_000_000, line(1, 3, 3_000_000, 28)),
            Self::new("4 bits, a line", 1, 3_000, line(1, 15, 3_000, 28)),
            Self::new("8 bits, a line", 1, 60_000, line(1, 255, 60_000, 36)),
            Self::new("8 bits, a line, narrow range", 1, 60, line(1, 255, 60, 8)),
            Self::new("8 bits, like SiLU", 1, 60_000, scaled(1, (12, 150, 1), 60_000)),
            Self::new("8 bits, steps of two levels", 1, 60_000, scaled(1, (12, 120, 2), 60_000)),
            Self::new("9 scales", 9, 3_000, line(9, 15, 3_000, 28)),
        ]
    }

    fn new(example: &'static str, terms: usize, reach: i32, spec: RequantizeSpec) -> Self {
        let ranges = vec![AccumulatorRange { min: -reach, max: reach }; terms * CHANNELS];
        let accumulator = |index: usize| {
            let random = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            (random % (2 * reach as u64 + 1)) as i32 - reach
        };
        let of_term =
            |term: usize| (0..PIXELS * CHANNELS).map(|index| accumulator(index * 64 + term)).collect();
        Self {
            example,
            requantizer: Requantizer::new(&spec, &ranges),
            accumulators: (0..terms).map(of_term).collect(),
            levels: vec![0; PIXELS * CHANNELS],
        }
    }

    /// The form of arithmetic.
    pub fn form(&self) -> &'static str {
        self.requantizer.form()
    }

    /// The name of its micro-kernel on this CPU.
    pub fn kernel(&self) -> &'static str {
        self.requantizer.kernel().name
    }

    /// Levels of a call.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Makes the levels.
    pub fn run(&mut self) {
        const MOST_TERMS: usize = 9;
        let mut terms: [&[i32]; MOST_TERMS] = [&[]; MOST_TERMS];
        for (slot, term) in terms.iter_mut().zip(&self.accumulators) {
            *slot = term;
        }
        self.requantizer.apply(&mut RequantizeTile {
            accumulators: &terms[..self.accumulators.len()],
            stride: CHANNELS,
            pixels: PIXELS,
            first_channel: 0,
            channels: CHANNELS,
            levels: &mut self.levels,
            level_stride: CHANNELS,
        });
    }
}

/// Multipliers of magnitudes within a factor of three.
fn multipliers(terms: usize, largest: i32) -> Vec<i32> {
    (0..terms * CHANNELS).map(|index| largest - largest / 35 * (index as i32 % 23)).collect()
}

/// Takes accumulators of up to `reach` to the levels.
fn line(terms: usize, max_level: u8, reach: i32, shift: u8) -> RequantizeSpec {
    let largest = f64::from(max_level) / f64::from(reach) / terms as f64 * f64::from(shift).exp2();
    let bias = vec![(i64::from(max_level) << shift) / 3 + 7; CHANNELS];
    RequantizeSpec::Scale { multipliers: multipliers(terms, largest as i32), bias, shift, max_level }
}

/// A staircase by channel.
fn by_channel(steps: i32, reach: i32) -> RequantizeSpec {
    let distance = reach / (steps + 2);
    let thresholds =
        |channel: i32| (0..steps).map(|step| (step - steps / 2) * distance + channel % 7).collect();
    let levels = (0..=steps as u8).collect::<Vec<u8>>();
    RequantizeSpec::Staircase {
        thresholds: (0..CHANNELS as i32).map(thresholds).collect(),
        levels: vec![levels; CHANNELS],
    }
}

/// A staircase over scaled sums that falls by `dip` levels and then rises, by `jump` each time.
fn scaled(terms: usize, (dip, steps, jump): (i64, i64, u8), reach: i32) -> RequantizeSpec {
    let distance = (1i64 << 20) * i64::from(reach) / steps;
    let level = |step: i64| (step - dip).unsigned_abs() as u8 * jump;
    RequantizeSpec::ScaledStaircase {
        multipliers: multipliers(terms, 1 << 20),
        bias: vec![distance * 8; CHANNELS],
        thresholds: (0..steps).map(|step| (step - steps / 2) * distance).collect(),
        levels: (0..=steps).map(level).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_an_example() {
        let forms: Vec<&str> = RequantizeStrip::all().iter().map(RequantizeStrip::form).collect();
        let wanted =
            ["thresholds16", "thresholds16", "thresholds32", "narrow", "fixed", "wide", "cells", "search"];
        assert_eq!(forms[..8], wanted);
        assert_eq!(forms[8..], ["many"]);
        for mut strip in RequantizeStrip::all() {
            strip.run();
            let levels: std::collections::BTreeSet<u8> = strip.levels.iter().copied().collect();
            assert!(levels.len() > 3, "{}: {levels:?}", strip.example);
        }
    }
}
