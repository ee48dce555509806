//! Numbers that codes stand for: equal steps, or powers of two.

/// Codes for numbers: `code = clamp(round(x / scale) + zero_point, 0, top)`, or the nearest of `0`, `±scale · 2^k`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The difference between neighbouring codes' numbers, or the smallest power.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: u8,
    /// The largest code.
    pub top: u8,
    /// Whether its numbers are powers of two, of which `zero_point` are negative.
    pub is_powers: bool,
}

/// How the numbers of a grid are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// By equal steps.
    #[default]
    Equal,
    /// As powers of two on both sides of 0.
    Powers,
}

/// Powers of a side, and of the other side where this one has so many: as integers they are at most 255 apart.
pub const MOST_POWERS: [u8; 2] = [8, 7];

impl Grid {
    /// A grid of equal steps.
    pub fn equal(scale: f32, zero_point: u8, top: u8) -> Self {
        Self { scale, zero_point, top, is_powers: false }
    }

    /// Powers of two, the smallest of which is `scale`, to four bits: what lies halfway between two of them is exact, too.
    pub fn powers(scale: f32, negative: u8, positive: u8) -> Self {
        let scale = f32::from_bits(scale.to_bits() & !0xf);
        Self { scale, zero_point: negative, top: negative + positive, is_powers: true }
    }

    /// The number that stands for `x`.
    pub fn nearest(self, x: f32) -> f32 {
        if self.is_powers {
            return self.power(f64::from(x)) as f32;
        }
        let zero = f32::from(self.zero_point);
        let code = ((x / self.scale).round_ties_even() + zero).clamp(0.0, f32::from(self.top));
        (code - zero) * self.scale
    }

    /// The same for grids of powers. What lies halfway between two is nearer to the lower one.
    fn power(self, x: f64) -> f64 {
        let scale = f64::from(self.scale);
        let (is_negative, magnitude) = (x < 0.0, x.abs() / scale);
        let powers = if is_negative { self.zero_point } else { self.top - self.zero_point };
        if powers == 0 || magnitude < 0.5 || magnitude == 0.5 && !is_negative {
            return 0.0;
        }
        // Between 2^k and 2^(k + 1) the middle is 1.5 · 2^k.
        let bits = (magnitude / 1.5).to_bits();
        let (exponent, is_middle) = ((bits >> 52) as i32 - 1023, bits << 12 == 0);
        let index = exponent + i32::from(!is_middle || is_negative);
        let power = f64::from(1u32 << index.clamp(0, i32::from(powers) - 1)) * scale;
        if is_negative { -power } else { power }
    }

    /// Sum of squared errors over numbers and how often they are; it is not finished once it exceeds `enough`.
    pub fn error(self, cells: &[(f64, f64)], enough: f64) -> f64 {
        let (scale, zero, top) = (f64::from(self.scale), f64::from(self.zero_point), f64::from(self.top));
        let mut sum = 0.0;
        for block in cells.chunks(256) {
            let error = |(x, count): &(f64, f64)| {
                let code = ((x / scale).round_ties_even() + zero).clamp(0.0, top);
                let difference = (code - zero) * scale - x;
                difference * difference * count
            };
            let of_powers = |(x, count): &(f64, f64)| (self.power(*x) - x).powi(2) * count;
            sum += match self.is_powers {
                true => block.iter().map(of_powers).sum::<f64>(),
                false => block.iter().map(error).sum::<f64>(),
            };
            if sum > enough {
                break;
            }
        }
        sum
    }

    /// Bits of a code.
    pub fn bits(self) -> u32 {
        8 - self.top.leading_zeros()
    }

    /// The numbers of a grid of powers in ascending order, each with what a number must exceed to become it; exact in 32 bits.
    pub fn thresholds(self) -> Vec<(f32, f32)> {
        let at = |code: u8| number(code, self.zero_point) as f32 * self.scale;
        let below =
            |code: u8| code.checked_sub(1).map_or(f32::NEG_INFINITY, |less| (at(less) + at(code)) / 2.0);
        (0..=self.top).map(|code| (below(code), at(code))).collect()
    }
}

/// A scale of 12 significant bits, the next one from `x` on upwards, or else the nearest. The product of two of them is exact in the 31
/// bits of a multiplier, so that all channels of a convolution can share a staircase.
pub fn short(x: f32, upwards: bool) -> f32 {
    let last = (1 << SPARE) - 1;
    f32::from_bits((x.to_bits() + if upwards { last } else { 1 << (SPARE - 1) }) & !last)
}

/// Bits that are left of the 24 of a float.
const SPARE: u32 = 12;

/// The integer of a code of powers.
fn number(code: u8, zero: u8) -> i32 {
    match code.checked_sub(zero) {
        Some(0) => 0,
        Some(positive) => 1 << (positive - 1),
        None => -(1 << (zero - code - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest of all powers, and what is compared is what the emitted graph compares.
    #[test]
    fn powers_are_nearest_and_their_thresholds_exact() {
        for (negative, positive) in [(0, 8), (7, 8), (2, 4), (0, 1)] {
            let grid = Grid::powers(0.037_123, negative, positive);
            assert_eq!(grid.nearest(0.0), 0.0);
            let numbers = grid.thresholds();
            assert_eq!(numbers.len(), usize::from(grid.top) + 1);
            for step in -4000..4000 {
                let x = step as f32 * 0.0031;
                let nearest = numbers.iter().map(|(_, number)| (x - number).abs()).reduce(f32::min);
                assert_eq!((x - grid.nearest(x)).abs(), nearest.unwrap(), "{x}");
                let found = numbers.iter().rev().find(|(below, _)| x > *below);
                assert_eq!(found.unwrap().1, grid.nearest(x), "{x}");
            }
            for pair in numbers.windows(2) {
                let [(_, low), (threshold, high)] = [pair[0], pair[1]];
                assert_eq!(f64::from(threshold), (f64::from(low) + f64::from(high)) / 2.0);
                assert_eq!(grid.nearest(threshold), low);
                assert_eq!(grid.nearest(threshold.next_up()), high);
            }
        }
    }

    #[test]
    fn short_scales_have_twelve_bits() {
        for x in [0.0123f32, 1.0, 3e-20, 255.1, 0.1] {
            let [up, near] = [true, false].map(|upwards| short(x, upwards));
            assert!(up >= x && (near / x - 1.0).abs() <= 1.0 / 4096.0 && up / x < 1.0 + 1.0 / 2048.0, "{x}");
            assert!([up, near].iter().all(|short| short.to_bits() % 4096 == 0));
        }
    }

    #[test]
    fn integers_of_powers_fit_a_byte() {
        let [most, other] = MOST_POWERS;
        assert!(number(0, other).unsigned_abs() + number(most + other, other).unsigned_abs() <= 255);
        assert_eq!([0, 1, 2, 3, 4].map(|code| number(code, 2)), [-2, -1, 0, 1, 2]);
    }
}
