use super::*;
use proptest::prelude::*;

/// The staircase of any function, by looking at every accumulator.
fn staircase(first: i64, last: i64, level: impl Fn(i64) -> u8) -> Staircase {
    let mut steps: Vec<(i64, u8)> = Vec::new();
    for accumulator in first..=last {
        let level = level(accumulator);
        if steps.last().is_none_or(|&(_, last)| last != level) {
            steps.push((accumulator, level));
        }
    }
    Staircase { steps, last }
}

fn rounded(slope: f64, offset: f64, max_level: u8) -> impl Fn(i64) -> u8 {
    move |accumulator| {
        let x = (accumulator as f64 * slope + offset).clamp(0.0, f64::from(max_level));
        x.round_ties_even() as u8
    }
}

fn assert_equal(staircases: &[Staircase], max_level: u8) {
    let scale = scale(staircases, max_level, MAX_MULTIPLIER).expect("an affine staircase has a scale");
    for (channel, staircase) in staircases.iter().enumerate() {
        for accumulator in staircase.first()..=staircase.last {
            let sum = accumulator * i64::from(scale.multipliers[channel]) + scale.bias[channel];
            let level = (sum >> scale.shift).clamp(0, i64::from(max_level)) as u8;
            assert_eq!(level, staircase.level(accumulator), "channel {channel}, {accumulator}");
        }
    }
}

#[test]
fn rising_falling_and_constant_channels_share_a_shift() {
    let channels = [
        staircase(-700, 900, rounded(0.0173, 3.2, 15)),
        staircase(-700, 900, rounded(-0.31, 7.7, 15)),
        staircase(-20, 30, rounded(0.0, 9.0, 15)),
        staircase(-700, 900, rounded(0.0004, 0.3, 15)),
        staircase(0, 0, |_| 5),
    ];
    assert_equal(&channels, 15);
}

#[test]
fn steps_that_skip_levels_are_kept() {
    assert_equal(&[staircase(-3, 3, rounded(4.6, 7.0, 15))], 15);
    assert_equal(&[staircase(-3, 3, |accumulator| if accumulator < 1 { 0 } else { 15 })], 15);
}

#[test]
fn unreachable_levels_bound_nothing() {
    assert_equal(&[staircase(10, 20, rounded(0.1, 3.0, 255))], 255);
}

#[test]
fn what_is_not_affine_has_no_scale() {
    let curved = staircase(0, 1000, |accumulator| ((accumulator as f64).sqrt() / 2.1) as u8);
    assert_eq!(scale(&[curved], 15, MAX_MULTIPLIER), None);
    let dip = staircase(-10, 10, |accumulator| (accumulator.unsigned_abs() / 3) as u8);
    assert_eq!(scale(&[dip], 15, MAX_MULTIPLIER), None);
}

/// At exact ties half to even alternates, which a shift cannot.
#[test]
fn alternating_ties_have_no_scale() {
    let ties = staircase(0, 12, rounded(0.5, 0.0, 15));
    assert_eq!(scale(&[ties], 15, MAX_MULTIPLIER), None);
}

proptest! {
    #[test]
    fn affine_staircases_are_reproduced(
        slope in 0.0002f64..3.0,
        negative in any::<bool>(),
        offset in -300.0f64..300.0,
        bits in 1u32..=8,
        first in -3000i64..0,
        last in 0i64..3000,
    ) {
        let max_level = ((1u32 << bits) - 1) as u8;
        let slope = if negative { -slope } else { slope };
        assert_equal(&[staircase(first, last, rounded(slope, offset, max_level))], max_level);
    }
}
