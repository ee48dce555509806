//! Histograms of numbers that come a picture at a time, and the grid of codes that fits them best.

use crate::grid::{Grid, MOST_POWERS, short};

/// How often numbers lay in each of so many cells of one width, 0 in the middle. The width is a power of two and doubles where a
/// number lies outside, so that the same numbers give the same histogram in whatever order they come.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    /// The width of a cell is two to this power.
    exponent: i32,
    low: f32,
    high: f32,
}

/// Cells.
const CELLS: usize = 1 << 14;
/// The narrowest cell is two to this power.
const NARROWEST: i32 = -30;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; CELLS], exponent: NARROWEST, low: 0.0, high: 0.0 }
    }
}

impl Histogram {
    /// Counts numbers, which must be finite: others are told by `false`.
    pub fn add(&mut self, numbers: &[f32]) -> bool {
        let (mut low, mut high, mut finite) = (self.low, self.high, true);
        for &x in numbers {
            low = low.min(x);
            high = high.max(x);
            finite &= x.is_finite();
        }
        if !finite {
            return false;
        }
        (self.low, self.high) = (low, high);
        self.widen(exponent_of(high.max(-low)));
        let (inverse, middle) = (exp2(-self.exponent), (CELLS / 2) as f32);
        for &x in numbers {
            // Scaling by a power of two is exact, and the cell of a number on an edge is the upper one.
            let cell = (x * inverse).floor() + middle;
            self.counts[(cell as usize).min(CELLS - 1)] += 1;
        }
        true
    }

    /// Counts what another one has counted.
    pub fn merge(&mut self, mut other: Self) {
        self.widen(other.exponent);
        other.widen(self.exponent);
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        (self.low, self.high) = (self.low.min(other.low), self.high.max(other.high));
    }

    /// Joins cells until they have a width.
    fn widen(&mut self, exponent: i32) {
        while self.exponent < exponent {
            let mut counts = vec![0; CELLS];
            for (cell, count) in self.counts.iter().enumerate() {
                counts[CELLS / 4 + cell / 2] += count;
            }
            self.counts = counts;
            self.exponent += 1;
        }
    }

    /// Middles of the cells that have numbers, and how many.
    fn cells(&self) -> Vec<(f64, f64)> {
        let width = f64::from(exp2(self.exponent));
        let middle = |cell: usize| (cell as f64 - (CELLS / 2) as f64 + 0.5) * width;
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(|(cell, &count)| (middle(cell), count as f64)).collect()
    }

    /// The grid of so many bits with the least sum of squared errors, among 80 upper ends (denser where they are small) and
    /// three lower ends, five for few codes. 0 is a code always, so that padding is exact.
    pub fn grid(&self, bits: u32) -> Grid {
        let top = (1u32 << bits.clamp(1, 8)) - 1;
        let steps = if bits <= 5 { 4 } else { 2 };
        let cells = self.cells();
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let mut best = (f64::INFINITY, Grid::equal(1.0, 0, top as u8));
        for (k, part) in (1..=80).flat_map(|k| (0..=steps).map(move |part| (k, part))) {
            let upper = high * (f64::from(k) / 80.0).powf(1.5);
            let lower = low * f64::from(part) / f64::from(steps);
            let scale = short(((upper - lower) / f64::from(top)) as f32, false);
            if !(scale > f32::MIN_POSITIVE && scale.is_finite()) {
                continue;
            }
            let zero_point = (-lower / f64::from(scale)).round().clamp(0.0, f64::from(top)) as u8;
            let grid = Grid::equal(scale, zero_point, top as u8);
            let error = grid.error(&cells, best.0);
            if error < best.0 {
                best = (error, grid);
            }
        }
        best.1
    }

    /// The powers of two on both sides of 0, `2^bits` numbers with it at most, with the least sum of squared errors, among 60
    /// upper ends and all ways to share the codes between both sides.
    pub fn powers(&self, bits: u32) -> Grid {
        let codes = (1u8 << bits.clamp(1, 4)) - 1;
        let cells = self.cells();
        let ends = [self.low, self.high].map(|end| f64::from(end.abs()));
        let [most, other] = MOST_POWERS;
        let mut best = (f64::INFINITY, Grid::powers(1.0, 0, codes.min(most)));
        for negative in 0..=codes.min(most) {
            let positive = (codes - negative).min(if negative > other { other } else { most });
            let negative = if positive > other { negative.min(other) } else { negative };
            // The largest power is that of the side with more of them.
            let largest = 2.0f64.powi(i32::from(negative.max(positive)) - 1);
            let end = if positive >= negative { ends[1] } else { ends[0] };
            for k in 1..=60 {
                let scale = (1.2 * end * (f64::from(k) / 60.0).powf(1.5) / largest) as f32;
                if !(scale > f32::MIN_POSITIVE * 1e6 && scale.is_finite()) {
                    continue;
                }
                let grid = Grid::powers(scale, negative, positive);
                let error = grid.error(&cells, best.0);
                if error < best.0 {
                    best = (error, grid);
                }
            }
        }
        best.1
    }

    /// Energy of the numbers over that of the errors of a grid, in decibels.
    pub fn signal_to_noise(&self, grid: Grid) -> f64 {
        let cells = self.cells();
        let energy: f64 = cells.iter().map(|(x, count)| x * x * count).sum();
        10.0 * (energy / grid.error(&cells, f64::INFINITY).max(f64::MIN_POSITIVE)).log10()
    }
}

/// The width of cells that holds a number on either side of 0.
fn exponent_of(x: f32) -> i32 {
    let mut exponent = NARROWEST;
    while exponent < 100 && x >= exp2(exponent) * (CELLS / 2) as f32 {
        exponent += 1;
    }
    exponent
}

fn exp2(exponent: i32) -> f32 {
    (f64::from(exponent)).exp2() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u32, len: usize, scale: f32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.3
        };
        (0..len).map(|_| next() * scale).collect()
    }

    /// Widths grow in another order, and pictures come in another order: the histogram is the same.
    #[test]
    fn the_order_of_numbers_does_not_matter() {
        let parts = [numbers(1, 500, 0.01), numbers(2, 700, 40.0), numbers(3, 300, 1.0)];
        let mut all = Histogram::default();
        parts.iter().for_each(|part| assert!(all.add(part)));
        let mut merged = Histogram::default();
        for part in parts.iter().rev() {
            let mut own = Histogram::default();
            assert!(own.add(part));
            merged.merge(own);
        }
        assert_eq!(all, merged);
        assert_eq!(all.counts.iter().sum::<u64>(), 1500);
    }

    #[test]
    fn numbers_that_are_none_are_told() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Histogram::default().add(&[1.0, bad, 2.0]), "{bad}");
        }
    }

    /// Uniform numbers are fitted by the whole range; one number far away does not stretch the grid of the others.
    #[test]
    fn grids_follow_the_numbers() {
        let mut uniform = Histogram::default();
        assert!(uniform.add(&(0..4096).map(|k| k as f32 / 4096.0).collect::<Vec<_>>()));
        let grid = uniform.grid(8);
        assert!((grid.scale * 255.0 - 1.0).abs() < 0.03, "{grid:?}");
        assert_eq!((grid.zero_point, grid.top, grid.bits()), (0, 255, 8));
        // A uniform error of a step has a twelfth of the step squared: 6.02 decibels a bit.
        assert!((uniform.signal_to_noise(grid) - 52.9).abs() < 1.5, "{}", uniform.signal_to_noise(grid));
        let mut stretched = uniform.clone();
        assert!(stretched.add(&[3.0]));
        assert!(stretched.grid(4).scale * 15.0 < 1.5, "{:?}", stretched.grid(4));
    }

    /// Numbers of one sign spend no code on the other, and a bell has more than equal steps give it at few bits.
    #[test]
    fn powers_follow_the_numbers() {
        let mut positive = Histogram::default();
        assert!(positive.add(&(1..2000).map(|k| k as f32 / 500.0).collect::<Vec<_>>()));
        let grid = positive.powers(4);
        assert_eq!((grid.zero_point, grid.top, grid.bits()), (0, 8, 4));
        assert!((3.0..5.0).contains(&(grid.scale * 128.0)), "{grid:?}");
        let mut bell = Histogram::default();
        let third = |k: i32| (f64::from(k - 3000) / 1000.0).powi(3) as f32;
        assert!(bell.add(&(0..6000).map(third).collect::<Vec<_>>()));
        let (powers, equal) = (bell.powers(3), bell.grid(3));
        assert!(powers.is_powers && powers.zero_point > 0);
        assert!(bell.signal_to_noise(powers) > 3.0 && bell.signal_to_noise(equal) > 3.0);
        let mut zeros = Histogram::default();
        assert!(zeros.add(&[0.0; 9]));
        assert_eq!(zeros.powers(4).nearest(0.0), 0.0);
    }

    #[test]
    fn zero_is_always_a_code() {
        let mut negative = Histogram::default();
        assert!(negative.add(&numbers(9, 2000, 3.0)));
        for bits in 2..=8 {
            let grid = negative.grid(bits);
            assert_eq!(grid.nearest(0.0), 0.0);
            assert!(grid.zero_point > 0, "{grid:?}");
            assert_eq!(grid.bits(), bits);
        }
        // Nothing but zeros has a grid, too.
        let mut zeros = Histogram::default();
        assert!(zeros.add(&[0.0; 9]));
        assert_eq!(zeros.grid(8).nearest(0.0), 0.0);
        assert!(zeros.grid(8).scale > 0.0);
    }

    /// The error that the search compares is the one of the grid.
    #[test]
    fn the_best_of_all_ends_is_taken() {
        let mut histogram = Histogram::default();
        assert!(histogram.add(&numbers(5, 3000, 7.0)));
        let (cells, best) = (histogram.cells(), histogram.grid(4));
        let least = best.error(&cells, f64::INFINITY);
        for factor in [0.5f32, 0.8, 1.25, 2.0] {
            let other = Grid { scale: best.scale * factor, ..best };
            assert!(other.error(&cells, f64::INFINITY) > least, "{factor}");
        }
    }
}
