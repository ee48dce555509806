//! The logistic function in fixed point.

/// Fraction bits of a logit.
pub const LOGIT_BITS: u32 = 24;

/// Logits lie between `−LOGIT_LIMIT` and `LOGIT_LIMIT`, ±16: beyond, σ is within 1.2e-7 of 0 or 1.
pub const LOGIT_LIMIT: i32 = 16 << LOGIT_BITS;

/// Fraction bits of σ.
pub const SIGMOID_BITS: u32 = 30;

/// σ = 1.
pub const SIGMOID_ONE: u32 = 1 << SIGMOID_BITS;

/// Fraction bits of a position inside a table interval; an interval is 1/32 wide.
const STEP_BITS: u32 = LOGIT_BITS - 5;

const INTERVALS: usize = (LOGIT_LIMIT >> STEP_BITS) as usize;

/// σ(n / 32). Made by the compiler, so no machine's `exp` has a say.
static TABLE: [u32; INTERVALS + 1] = table();

/// σ(`logit`) with [`SIGMOID_BITS`] fraction bits, for a logit with [`LOGIT_BITS`] fraction bits.
///
/// Monotone, and nowhere further than 1.2e-7 from the real σ (of any logit that is brought to this
/// range by clamping): 3.1e-8 from interpolation, the rest is the range's end.
///
/// Method: on `[x, x + h]` the straight line misses σ by `h²/2 · f · (1 − f) · σ″` to third order,
/// where `f` is the position in the interval and `σ″ = σ(1 − σ)(1 − 2σ)` needs no second table. That
/// term makes 513 entries (2 KiB) do where the line alone would take several thousand.
#[inline]
pub fn sigmoid(logit: i32) -> u32 {
    let magnitude = logit.unsigned_abs().min(LOGIT_LIMIT.unsigned_abs());
    let positive = at_or_above_zero(magnitude);
    if logit < 0 { SIGMOID_ONE - positive } else { positive }
}

/// σ of `magnitude ≤ LOGIT_LIMIT`.
#[inline]
fn at_or_above_zero(magnitude: u32) -> u32 {
    let index = (magnitude >> STEP_BITS) as usize;
    let Some(&end) = TABLE.get(index + 1) else {
        return TABLE[INTERVALS];
    };
    let (start, end) = (u64::from(TABLE[index]), u64::from(end));
    let position = u64::from(magnitude & ((1 << STEP_BITS) - 1));

    let line = (start << STEP_BITS) + (end - start) * position;

    // −σ″ in the interval's middle. All factors are below 1, as is their product.
    let one = u64::from(SIGMOID_ONE);
    let middle = (start + end) / 2;
    let variance = (middle * (one - middle)) >> SIGMOID_BITS;
    let bend = (variance * (2 * middle - one)) >> SIGMOID_BITS;
    // position · (1 − position) has 2 · STEP_BITS fraction bits and is at most 2^36; −σ″ ≤ 0.097, so
    // the product stays below 2^63. The factor h²/2 is 2^−11.
    let bow = (position * ((1 << STEP_BITS) - position) * bend)
        >> (2 * STEP_BITS + SIGMOID_BITS + 11 - (SIGMOID_BITS + STEP_BITS));

    // Rounded once, at the end: separately rounded terms would not be monotone.
    ((line + bow + (1 << (STEP_BITS - 1))) >> STEP_BITS) as u32
}

const fn table() -> [u32; INTERVALS + 1] {
    // e^(−1/32) by its Taylor series; nine terms are exact to the last bit of an f64.
    let mut decay = 1.0;
    let mut term = 1.0;
    let mut n = 1;
    while n < 10 {
        term *= -1.0 / 32.0 / n as f64;
        decay += term;
        n += 1;
    }
    let mut table = [0; INTERVALS + 1];
    let mut power = 1.0;
    let mut index = 0;
    while index <= INTERVALS {
        table[index] = (SIGMOID_ONE as f64 / (1.0 + power) + 0.5) as u32;
        power *= decay;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(logit: f64) -> f64 {
        1.0 / (1.0 + (-logit).exp())
    }

    fn error(logit: i32) -> f64 {
        let exact = real(f64::from(logit) / f64::from(1 << LOGIT_BITS));
        (f64::from(sigmoid(logit)) / f64::from(SIGMOID_ONE) - exact).abs()
    }

    #[test]
    fn inside_the_range_the_error_is_below_4e_8() {
        // The step is coprime to an interval's length: every phase of an interval is met.
        let worst = (-LOGIT_LIMIT..=LOGIT_LIMIT).step_by(1021).map(error).fold(0.0, f64::max);
        assert!(worst < 4e-8, "{worst:e}");
    }

    #[test]
    fn beyond_the_range_the_error_is_below_1_2e_7() {
        for logit in [LOGIT_LIMIT, -LOGIT_LIMIT, i32::MAX, i32::MIN] {
            let value = f64::from(sigmoid(logit)) / f64::from(SIGMOID_ONE);
            let limit = if logit < 0 { 0.0 } else { 1.0 };
            assert!((value - limit).abs() < 1.2e-7, "{logit}: {value}");
        }
    }

    #[test]
    fn it_is_monotone() {
        // Each logit of stretches round the interval ends, where slopes change, and of the far tail.
        let interval = 1 << STEP_BITS;
        for knot in (-LOGIT_LIMIT..=LOGIT_LIMIT).step_by(interval as usize) {
            for logit in knot.saturating_sub(300)..knot.saturating_add(300) {
                assert!(sigmoid(logit) <= sigmoid(logit + 1), "at {logit}");
            }
        }
        for logit in LOGIT_LIMIT - 2 * interval..LOGIT_LIMIT {
            assert!(sigmoid(logit) <= sigmoid(logit + 1), "at {logit}");
        }
    }

    #[test]
    fn it_is_symmetric_and_a_half_at_zero() {
        assert_eq!(sigmoid(0), SIGMOID_ONE / 2);
        for logit in (0..LOGIT_LIMIT).step_by(99_991) {
            assert_eq!(sigmoid(logit) + sigmoid(-logit), SIGMOID_ONE);
        }
    }
}
