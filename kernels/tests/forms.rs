//! Every form of requantization is chosen somewhere, and equals the specification there with the instructions of every
//! engine: on both sides of each edge, one further, and at both ends of what occurs.

use std::collections::BTreeSet;

use ylb_kernels::reference;
use ylb_kernels::registry;
use ylb_kernels::requantize::{
    AccumulatorRange, RequantizeKernel, RequantizeSpec, RequantizeTile, Requantizer,
};

/// A specification with the ranges of its accumulators, `[term][channel]`, and the form that it takes.
struct Case {
    form: &'static str,
    spec: RequantizeSpec,
    ranges: Vec<AccumulatorRange>,
}

/// More than two vectors of 16 channels.
const CHANNELS: usize = 37;

fn ranges(terms: usize, reach: i32) -> Vec<AccumulatorRange> {
    let range = |index: usize| {
        let other = index as i32 % 41 * (reach / 97);
        AccumulatorRange { min: -reach + other, max: reach - other / 2 }
    };
    (0..terms * CHANNELS).map(range).collect()
}

/// Multipliers of magnitudes within a factor of three, a tenth of them negative, one 0.
fn multipliers(terms: usize, largest: i32) -> Vec<i32> {
    let multiplier = |index: usize| match index % 23 {
        11 => 0,
        5 | 17 => -largest / 2 - index as i32,
        other => largest - largest / 35 * other as i32,
    };
    (0..terms * CHANNELS).map(multiplier).collect()
}

fn bias(reach: i64) -> Vec<i64> {
    (0..CHANNELS as i64).map(|channel| (channel * 7919 % 101 - 50) * (reach / 120) + channel).collect()
}

/// Takes accumulators of half of `reach` to the largest level.
fn scale(form: &'static str, terms: usize, max_level: u8, reach: i32, shift: u8) -> Case {
    let largest = 2.0 * f64::from(max_level) / f64::from(reach) / terms as f64 * f64::from(shift).exp2();
    let (multipliers, one) = (multipliers(terms, largest as i32), 1i64 << shift);
    let bias = bias(one * i64::from(max_level)).into_iter();
    let bias = bias.map(|bias| bias + one * i64::from(max_level) / 3);
    let spec = RequantizeSpec::Scale { multipliers, bias: bias.collect(), shift, max_level };
    Case { form, spec, ranges: ranges(terms, reach) }
}

/// A channel is always at the largest level, by a bias that has no room for 12 more bits.
fn far_bias(form: &'static str) -> Case {
    let mut case = scale(form, 1, 255, 60_000, 20);
    let RequantizeSpec::Scale { bias, .. } = &mut case.spec else { unreachable!() };
    bias[3] = 1 << 52;
    case
}

/// As [`scale`], with accumulators far beyond the steps, on one side.
fn far_end(form: &'static str, below: bool) -> Case {
    let mut case = scale(form, 1, 15, 3_000, 28);
    let end = if below { &mut case.ranges[7].min } else { &mut case.ranges[7].max };
    // More than 32 bits when it is shifted left by 13.
    *end = if below { -1 << 19 } else { 1 << 19 };
    case
}

/// A threshold of 16 bits that no accumulator of 16 bits exceeds.
fn last_threshold(form: &'static str) -> Case {
    let mut case = by_channel(form, 2, 40_000);
    let RequantizeSpec::Staircase { thresholds, .. } = &mut case.spec else { unreachable!() };
    thresholds[4][1] = 1 << 15;
    case
}

/// The largest accumulator of a channel alone passes the last threshold.
fn step_at_the_end(form: &'static str) -> Case {
    let mut case = by_channel(form, 3, 900);
    let RequantizeSpec::Staircase { thresholds, .. } = &mut case.spec else { unreachable!() };
    thresholds[2][2] = case.ranges[2].max;
    case
}

/// Few steps, down and up.
fn dip_by_channel(form: &'static str) -> Case {
    let mut case = by_channel(form, 6, 5_000);
    let RequantizeSpec::Staircase { levels, .. } = &mut case.spec else { unreachable!() };
    levels[9] = vec![3, 2, 1, 2, 3, 4, 5];
    case
}

/// A staircase by channel of `steps` steps of one level.
fn by_channel(form: &'static str, steps: usize, reach: i32) -> Case {
    let distance = reach / (steps as i32 + 2);
    let thresholds = |channel: usize| {
        let start = -distance * steps as i32 / 2 + channel as i32 % 7;
        (0..steps as i32).map(|step| start + step * distance - step % 3).collect()
    };
    let levels = |channel: usize| {
        let rising = (0..=steps).map(|step| step as u8 + 3);
        if channel.is_multiple_of(5) { rising.rev().collect() } else { rising.collect() }
    };
    let spec = RequantizeSpec::Staircase {
        thresholds: (0..CHANNELS).map(thresholds).collect(),
        levels: (0..CHANNELS).map(levels).collect(),
    };
    Case { form, spec, ranges: ranges(1, reach) }
}

/// A staircase over scaled sums that falls by `dip` levels and then rises, by `jump` each time.
fn scaled(form: &'static str, terms: usize, (dip, steps, jump): (i64, i64, u8), reach: i32) -> Case {
    let (largest, distance) = (1 << 20, (1i64 << 20) * i64::from(reach) / steps);
    let thresholds = (0..steps).map(|step| (step - steps / 2) * distance + step * step % 997).collect();
    let level = |step: i64| ((step - dip).unsigned_abs() as u8) * jump;
    let spec = RequantizeSpec::ScaledStaircase {
        multipliers: multipliers(terms, largest),
        bias: bias(distance * 8),
        thresholds,
        levels: (0..=steps).map(level).collect(),
    };
    Case { form, spec, ranges: ranges(terms, reach) }
}

fn cases() -> Vec<Case> {
    // On ARM cells are faster than many comparisons.
    let many = |compared| if cfg!(target_arch = "aarch64") { "cells" } else { compared };
    vec![
        scale("thresholds16", 1, 1, 900, 20),
        scale("thresholds16", 1, 3, 20_000, 24),
        by_channel("thresholds16", 15, 9_000),
        step_at_the_end("thresholds16"),
        scaled(many("thresholds16"), 1, (0, 15, 1), 4_000),
        scale("thresholds32", 1, 3, 3_000_000, 28),
        by_channel("thresholds32", 7, 1 << 24),
        scaled(many("thresholds32"), 1, (0, 12, 1), 400_000),
        last_threshold("thresholds32"),
        scale("narrow", 1, 15, 3_000, 28),
        scale("narrow", 1, 7, 20_000, 30),
        scale("fixed", 1, 255, 60_000, 36),
        scale("fixed", 1, 15, 900_000_000, 52),
        far_end("fixed", true),
        far_end("fixed", false),
        scale("fixed", 3, 255, 60_000, 36),
        scale("wide", 1, 255, 60, 8),
        far_bias("wide"),
        scale("wide", 8, 255, 90, 10),
        scaled("cells", 1, (1, 17, 1), 900),
        scaled("cells", 1, (3, 12, 1), 900),
        scaled("cells", 1, (12, 150, 1), 60_000),
        scaled("cells", 1, (0, 255, 1), 3_000_000),
        by_channel("search", 40, 5_000),
        dip_by_channel("search"),
        scaled("search", 1, (9, 120, 2), 60_000),
        scaled("search", 4, (12, 150, 1), 60_000),
        scale("many", 9, 15, 3_000, 28),
        scaled("many", 17, (12, 150, 1), 60_000),
    ]
}

/// Accumulators of the last term of a channel from which on the level may change, where the other terms add `sum`.
fn edges(spec: &RequantizeSpec, channel: usize, sum: i128) -> Vec<i128> {
    let of_line = |multipliers: &[i32], bias: &[i64], values: Vec<i128>| -> Vec<i128> {
        let multiplier = i128::from(multipliers[multipliers.len() - bias.len() + channel]);
        let addend = sum + i128::from(bias[channel]);
        // The first accumulator at or past the value, in either direction.
        let edge = |value: i128| match multiplier {
            0 => 0,
            1.. => -(addend - value).div_euclid(multiplier),
            _ => (addend - value).div_euclid(-multiplier) + 1,
        };
        values.into_iter().map(edge).collect()
    };
    match spec {
        RequantizeSpec::Scale { multipliers, bias, shift, max_level } => {
            let values = (1..=i128::from(*max_level)).map(|level| level << shift);
            of_line(multipliers, bias, values.collect())
        }
        RequantizeSpec::Staircase { thresholds, .. } => {
            thresholds[channel].iter().copied().map(i128::from).collect()
        }
        RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, .. } => {
            of_line(multipliers, bias, thresholds.iter().copied().map(i128::from).collect())
        }
    }
}

/// Rows of a channel's accumulators, `[row][term]`: at both ends, and at, before and after each edge. How many rows lie
/// where the level changes.
fn rows(case: &Case, channel: usize) -> (Vec<Vec<i32>>, usize) {
    let Case { spec, ranges, .. } = case;
    let terms = spec.terms();
    let range = |term: usize| ranges[term * CHANNELS + channel];
    let mut state = 0x9e37_79b9u64 + channel as u64;
    let mut rows: Vec<Vec<i32>> = vec![
        (0..terms).map(|term| range(term).min).collect(),
        (0..terms).map(|term| range(term).max).collect(),
    ];
    let mut crossings = 0;
    let level = |row: &[i32]| {
        let row: Vec<i64> = row.iter().copied().map(i64::from).collect();
        reference::requantize(spec, channel, &row)
    };
    let repetitions = if terms == 1 { 1 } else { 3 };
    for _ in 0..repetitions {
        let mut others = Vec::new();
        let mut sum = 0;
        for term in 0..terms - 1 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let AccumulatorRange { min, max } = range(term);
            let other = i64::from(min) + (state % (i64::from(max) - i64::from(min)) as u64) as i64;
            if let RequantizeSpec::Scale { multipliers, .. }
            | RequantizeSpec::ScaledStaircase { multipliers, .. } = spec
            {
                sum += i128::from(other) * i128::from(multipliers[term * CHANNELS + channel]);
            }
            others.push(other as i32);
        }
        let AccumulatorRange { min, max } = range(terms - 1);
        let inside = |accumulator: &i128| (i128::from(min)..=i128::from(max)).contains(accumulator);
        for edge in edges(spec, channel, sum) {
            let row = |accumulator: i128| [&others[..], &[accumulator as i32]].concat();
            let around = [edge - 2, edge - 1, edge, edge + 1].into_iter().filter(inside);
            rows.extend(around.map(row));
            if inside(&edge) && inside(&(edge - 1)) {
                crossings += usize::from(level(&row(edge)) != level(&row(edge - 1)));
            }
        }
    }
    (rows, crossings)
}

#[test]
fn every_form_is_exact_at_every_edge() {
    let mut reached = BTreeSet::new();
    for case in cases() {
        let best = Requantizer::new(&case.spec, &case.ranges);
        assert_eq!(best.form(), case.form, "for {:?}", case.spec);
        reached.insert(case.form);
        let (columns, crossings): (Vec<_>, Vec<_>) =
            (0..CHANNELS).map(|channel| rows(&case, channel)).unzip();
        assert!(crossings.iter().sum::<usize>() > CHANNELS / 2, "{}: hardly any level changes", case.form);
        let (terms, pixels) = (case.spec.terms(), columns.iter().map(Vec::len).max().unwrap());
        let mut accumulators = vec![vec![0; pixels * CHANNELS]; terms];
        for (channel, rows) in columns.iter().enumerate() {
            for (pixel, row) in rows.iter().cycle().take(pixels).enumerate() {
                (0..terms).for_each(|term| accumulators[term][pixel * CHANNELS + channel] = row[term]);
            }
        }
        let accumulators: Vec<&[i32]> = accumulators.iter().map(Vec::as_slice).collect();
        for requantizer in Requantizer::engines().map(|engine| best.clone().with_engine(engine)) {
            let mut levels = vec![0xee; pixels * CHANNELS];
            requantizer.apply(&mut RequantizeTile {
                accumulators: &accumulators,
                stride: CHANNELS,
                pixels,
                first_channel: 0,
                channels: CHANNELS,
                levels: &mut levels,
                level_stride: CHANNELS,
            });
            for (index, &level) in levels.iter().enumerate() {
                let channel = index % CHANNELS;
                let row: Vec<i64> = accumulators.iter().map(|term| i64::from(term[index])).collect();
                let expected = reference::requantize(&case.spec, channel, &row);
                let name = requantizer.kernel().name;
                assert_eq!(
                    level, expected,
                    "{name}: accumulators {row:?} of channel {channel} of {:?}",
                    case.spec
                );
            }
        }
    }
    let all: BTreeSet<&str> =
        registry::available::<RequantizeKernel>().map(|found| found.kernel().form).collect();
    assert_eq!(reached, all, "forms with micro-kernels, and forms that were reached");
}
