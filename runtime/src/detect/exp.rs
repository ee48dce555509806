//! The exponential function in fixed point.

use super::sigmoid::LOGIT_BITS;

/// Fraction bits of a mantissa.
pub const MANTISSA_BITS: u32 = 30;

/// Largest logit: eˣ of what is above is that of 16, some nine millions.
const UPPER: i32 = 16 << LOGIT_BITS;
/// Smallest logit: eˣ of what is below is that of −22, a quarter of 2⁻³⁰.
pub(super) const LOWER: i32 = -(22 << LOGIT_BITS);

/// Fraction bits of [`LOG2_E`]: its product with a logit of 22 is just below 2^63.
const LOG_BITS: u32 = 34;
/// The binary logarithm of e.
const LOG2_E: i64 = (std::f64::consts::LOG2_E * (1i64 << LOG_BITS) as f64 + 0.5) as i64;
/// Fraction bits of a logit times [`LOG2_E`].
const POWER_BITS: u32 = LOGIT_BITS + LOG_BITS;
/// The fraction of a power is cut into 64 intervals.
const INDEX_BITS: u32 = 6;

/// Fraction bits inside an interval.
const STEP_BITS: u32 = 36;
const LN_BITS: u32 = 30;
const LN_2: u64 = (std::f64::consts::LN_2 * (1u64 << LN_BITS) as f64 + 0.5) as u64;
/// Fraction bits of the factor by which an interval's beginning is multiplied.
const FACTOR_BITS: u32 = 32;

/// 2^(n / 64) with [`MANTISSA_BITS`] fraction bits. Made by the compiler, so no machine's `exp` has a say.
static TABLE: [u32; 1 << INDEX_BITS] = table();

/// A positive number: `mantissa / 2^30 · 2^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    /// From 2^30 to 2^31.
    pub mantissa: u32,
    /// −32 to 23.
    pub exponent: i32,
}

/// e to the `logit`, which has [`LOGIT_BITS`] fraction bits and is clamped to −22 to 16.
///
/// The relative error is below 3e-9 for every logit in that range.
///
/// Method: eˣ is 2^(x·log₂e), whose integer part is the exponent. The fraction's first six bits choose a power from a
/// table, and the rest `r` multiplies it by `1 + u + u²/2 + u³/6` with `u = r·ln 2` below 0.011: what is left out is
/// below 6e-10, and the rest of the error is the table's and the result's last bit.
#[inline]
pub fn exp(logit: i32) -> Power {
    let power = i64::from(logit.clamp(LOWER, UPPER)) * LOG2_E;
    let exponent = (power >> POWER_BITS) as i32;
    let fraction = (power & ((1 << POWER_BITS) - 1)).cast_unsigned();
    let index = (fraction >> (POWER_BITS - INDEX_BITS)) as usize;
    let rest = (fraction & ((1 << (POWER_BITS - INDEX_BITS)) - 1)) >> (POWER_BITS - STEP_BITS);
    let u = (rest * LN_2) >> LN_BITS;
    let square = (u * u) >> STEP_BITS;
    let cube = (square * u) >> STEP_BITS;
    let factor = (1 << STEP_BITS) + u + square / 2 + cube / 6;
    let factor = (factor + (1 << (STEP_BITS - FACTOR_BITS - 1))) >> (STEP_BITS - FACTOR_BITS);
    // Below 2^31 · 2^32.02.
    let mantissa = (u64::from(TABLE[index]) * factor + (1 << (FACTOR_BITS - 1))) >> FACTOR_BITS;
    Power { mantissa: mantissa as u32, exponent }
}

const fn table() -> [u32; 1 << INDEX_BITS] {
    // 2^(1/64) by the Taylor series of e^(ln 2 / 64); eight terms are exact to the last bit of an f64.
    let step = std::f64::consts::LN_2 / (1 << INDEX_BITS) as f64;
    let (mut root, mut term) = (1.0, 1.0);
    let mut n = 1;
    while n < 9 {
        term *= step / n as f64;
        root += term;
        n += 1;
    }
    let mut table = [0; 1 << INDEX_BITS];
    let mut power = 1.0;
    let mut index = 0;
    while index < table.len() {
        table[index] = (power * (1u32 << MANTISSA_BITS) as f64 + 0.5) as u32;
        power *= root;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(power: Power) -> f64 {
        f64::from(power.mantissa) / f64::from(1 << MANTISSA_BITS) * f64::from(power.exponent).exp2()
    }

    fn error(logit: i32) -> f64 {
        let exact = (f64::from(logit) / f64::from(1 << LOGIT_BITS)).exp();
        (real(exp(logit)) / exact - 1.0).abs()
    }

    #[test]
    fn the_relative_error_is_below_3e_9_over_the_whole_range() {
        // The step is coprime to an interval's length: every phase of an interval is met.
        let worst = (LOWER..=UPPER).step_by(1021).map(error).fold(0.0, f64::max);
        assert!(worst < 3e-9, "{worst:e}");
        assert!([LOWER, -1, 0, 1, UPPER].into_iter().all(|logit| error(logit) < 3e-9));
    }

    #[test]
    fn mantissas_keep_their_range() {
        for logit in (LOWER..=UPPER).step_by(4093) {
            let power = exp(logit);
            assert!((1 << MANTISSA_BITS..=2u32 << MANTISSA_BITS).contains(&power.mantissa), "{logit}");
            assert!((-32..=23).contains(&power.exponent), "{logit}");
        }
        assert_eq!(exp(0), Power { mantissa: 1 << MANTISSA_BITS, exponent: 0 });
    }

    #[test]
    fn beyond_the_range_are_its_ends() {
        assert_eq!(exp(i32::MAX), exp(UPPER));
        assert_eq!(exp(i32::MIN), exp(LOWER));
    }
}
