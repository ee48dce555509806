//! Every arithmetic of a requantizer equals the specification: on whole ranges where they are narrow,
//! elsewhere at both ends, around every step and at random.

use std::collections::HashSet;

use ylb_kernels::reference;
use ylb_kernels::requantize::{
    AccumulatorRange, AccumulatorTransform, RequantizeSpec, RequantizeTile, Requantizer,
};

/// Reproducible numbers: the xorshift generator of Marsaglia with 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn within(&mut self, range: std::ops::RangeInclusive<i64>) -> i64 {
        range.start() + (self.next() % (range.end() - range.start() + 1) as u64) as i64
    }
}

/// Accumulators of one term at which a channel is checked.
fn interesting(
    spec: &RequantizeSpec,
    channel: usize,
    range: AccumulatorRange,
    random: &mut Random,
) -> Vec<i32> {
    let (min, max) = (i64::from(range.min), i64::from(range.max));
    if max - min < 2_000 {
        return (range.min..=range.max).collect();
    }
    let mut all = vec![min, min + 1, max - 1, max, 0];
    all.extend((0..100).map(|_| random.within(min..=max)));
    let mut around = |value: f64| all.extend((-2..=2).map(|d| (value as i64).saturating_add(d)));
    match spec {
        RequantizeSpec::Scale { multipliers, bias, shift, max_level } => {
            for level in 0..=*max_level {
                let value = f64::from(level) * 2f64.powi(i32::from(*shift)) - bias[channel] as f64;
                around((value / f64::from(multipliers[channel])).floor());
            }
        }
        RequantizeSpec::Staircase { thresholds, .. } => {
            thresholds[channel].iter().for_each(|&threshold| around(f64::from(threshold)));
        }
        RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, .. } => {
            for &threshold in thresholds {
                let value = threshold as f64 - bias[channel] as f64;
                around((value / f64::from(multipliers[channel])).floor());
            }
        }
    }
    all.into_iter().filter(|value| (min..=max).contains(value)).map(|value| value as i32).collect()
}

/// Compares a requantizer of one term with the reference, a pixel for each interesting accumulator.
fn check(spec: &RequantizeSpec, ranges: &[AccumulatorRange], forms: &mut HashSet<&'static str>) {
    let random = &mut Random(7);
    let channels = spec.channels();
    let columns: Vec<Vec<i32>> =
        (0..channels).map(|channel| interesting(spec, channel, ranges[channel], random)).collect();
    let pixels = columns.iter().map(Vec::len).max().unwrap();
    let stride = channels + 3;
    let mut accumulators = vec![i32::MIN; pixels * stride];
    for pixel in 0..pixels {
        for (channel, column) in columns.iter().enumerate() {
            accumulators[pixel * stride + channel] = column[pixel % column.len()];
        }
    }
    let best = Requantizer::new(spec, ranges);
    forms.insert(best.form());
    for requantizer in Requantizer::engines().map(|engine| best.clone().with_engine(engine)) {
        for (first_channel, count) in [(0, channels), (channels / 3, channels - channels / 3)] {
            let level_stride = channels + 1;
            let mut levels = vec![0xee; pixels * level_stride];
            requantizer.apply(&mut RequantizeTile {
                accumulators: &[&accumulators[first_channel..]],
                stride,
                pixels,
                first_channel,
                channels: count,
                levels: &mut levels,
                level_stride,
            });
            for pixel in 0..pixels {
                let (row, rest) = levels[pixel * level_stride..][..level_stride].split_at(count);
                for (c, &level) in row.iter().enumerate() {
                    let channel = first_channel + c;
                    let accumulator = accumulators[pixel * stride + channel];
                    let expected = reference::requantize(spec, channel, &[i64::from(accumulator)]);
                    let form = requantizer.form();
                    assert_eq!(
                        level, expected,
                        "{form}: accumulator {accumulator}, channel {channel} of {spec:?}"
                    );
                }
                assert!(rest.iter().all(|&byte| byte == 0xee), "wrote beyond its channels");
            }
        }
    }
}

/// A scale that takes accumulators of about `reach` to the largest level.
fn random_scale(
    random: &mut Random,
    channels: usize,
    max_level: u8,
    reach: f64,
    shift: u8,
) -> RequantizeSpec {
    let mut multiplier = || {
        let spread = 2f64.powf(random.within(-300..=300) as f64 / 100.0);
        let sign = [1.0, 1.0, 1.0, -1.0][random.next() as usize % 4];
        let slope = f64::from(max_level) / reach * spread * sign;
        (slope * 2f64.powi(shift.into())).clamp(-2147483647.0, 2147483647.0) as i32
    };
    let multipliers: Vec<i32> = (0..channels).map(|_| multiplier()).collect();
    let one = 1i64 << shift;
    let bias = (0..channels).map(|_| random.within(-one..=one * i64::from(max_level / 2 + 1))).collect();
    RequantizeSpec::Scale { multipliers, bias, shift, max_level }
}

fn random_ranges(random: &mut Random, channels: usize, reach: f64) -> Vec<AccumulatorRange> {
    let mut end = || random.within((reach / 4.0) as i64..=(reach * 8.0) as i64) as i32;
    (0..channels).map(|_| AccumulatorRange { min: -end(), max: end() }).collect()
}

#[test]
fn scales_are_exact() {
    let random = &mut Random(1);
    let mut forms = HashSet::new();
    for max_level in [1, 2, 3, 4, 7, 15, 127, 255] {
        for reach in [20.0, 300.0, 5_000.0, 100_000.0, 3_000_000.0] {
            for shift in [0, 5, 20, 31, 32, 38, 45] {
                for channels in [1, 16, 37] {
                    let spec = random_scale(random, channels, max_level, reach, shift);
                    let ranges = random_ranges(random, channels, reach);
                    check(&spec, &ranges, &mut forms);
                }
            }
        }
    }
    let all = ["thresholds16", "thresholds32", "narrow", "fixed", "wide"];
    assert!(all.iter().all(|form| forms.contains(form)), "only {forms:?} were reached");
}

#[test]
fn degenerate_scales_are_exact() {
    let full = [AccumulatorRange::FULL];
    for (multiplier, bias, shift, max_level) in [
        (0, 0, 0, 255),
        (0, 7 << 20, 20, 15),
        (0, 255 << 20, 20, 255),
        (1, 0, 0, 1),
        (1, 0, 0, 255),
        (-1, 0, 0, 3),
        (i32::MAX, i64::MAX / 2, 62, 1),
        (i32::MIN, 0, 62, 3),
        (i32::MIN, -1, 31, 255),
        (i32::MAX, 0, 32, 15),
        (1 << 30, (1 << 29) - 1, 30, 255),
    ] {
        let spec =
            RequantizeSpec::Scale { multipliers: vec![multiplier], bias: vec![bias], shift, max_level };
        check(&spec, &full, &mut HashSet::new());
        check(&spec, &[AccumulatorRange { min: -3, max: 3 }], &mut HashSet::new());
        for end in [i32::MIN, 5, i32::MAX] {
            check(&spec, &[AccumulatorRange { min: end, max: end }], &mut HashSet::new());
        }
    }
}

/// Ascending thresholds within `reach`, about `count` of them.
fn random_thresholds(random: &mut Random, count: usize, reach: i64) -> Vec<i64> {
    let mut thresholds: Vec<i64> = (0..count).map(|_| random.within(-reach..=reach)).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    thresholds
}

/// Levels for `count` thresholds: rising, falling, or at random.
fn random_levels(random: &mut Random, count: usize, kind: usize) -> Vec<u8> {
    let rising = |step: usize| (step * 255 / count.max(1)).min(step * 2) as u8;
    let mut level = |step: usize| match kind {
        0 => rising(step),
        1 => rising(count - step),
        _ => random.next() as u8,
    };
    (0..=count).map(&mut level).collect()
}

#[test]
fn staircases_are_exact() {
    let random = &mut Random(2);
    let mut forms = HashSet::new();
    for reach in [30, 1000, 40_000, 10_000_000] {
        for count in [0, 1, 2, 3, 7, 15, 40, 600] {
            for kinds in [vec![0], vec![1], vec![0, 1], vec![0, 1, 2]] {
                for channels in [1, 3, 19] {
                    let thresholds: Vec<Vec<i64>> =
                        (0..channels).map(|_| random_thresholds(random, count, reach)).collect();
                    let levels = thresholds
                        .iter()
                        .enumerate()
                        .map(|(c, thresholds)| {
                            random_levels(random, thresholds.len(), kinds[c % kinds.len()])
                        })
                        .collect();
                    let narrow = |column: Vec<i64>| column.into_iter().map(|t| t as i32).collect();
                    let thresholds = thresholds.into_iter().map(narrow).collect();
                    let spec = RequantizeSpec::Staircase { thresholds, levels };
                    let ranges = random_ranges(random, channels, reach as f64);
                    check(&spec, &ranges, &mut forms);
                }
            }
        }
    }
    let all = ["thresholds16", "thresholds32", "search"];
    assert!(all.iter().all(|form| forms.contains(form)), "only {forms:?} were reached");
}

#[test]
fn scaled_staircases_are_exact() {
    let random = &mut Random(3);
    for reach in [30.0, 5_000.0, 1_000_000.0] {
        for count in [0, 1, 3, 15, 300] {
            for kind in 0..3 {
                for channels in [1, 4, 33] {
                    let scale = random_scale(random, channels, 15, reach, 24);
                    let RequantizeSpec::Scale { multipliers, bias, .. } = scale else { unreachable!() };
                    let thresholds = random_thresholds(random, count, 16 << 24);
                    let levels = random_levels(random, thresholds.len(), kind);
                    let spec = RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels };
                    let ranges = random_ranges(random, channels, reach);
                    check(&spec, &ranges, &mut HashSet::new());
                }
            }
        }
    }
}

/// Levels that change by one at each of many thresholds, upwards and downwards, as those of SiLU and Mish do.
#[test]
fn scaled_staircases_of_single_steps_are_exact() {
    let random = &mut Random(6);
    let mut forms = HashSet::new();
    for reach in [300.0, 5_000.0, 100_000.0, 3_000_000.0] {
        for steps in [17, 60, 255, 600] {
            for channels in [1, 4, 33] {
                let scale = random_scale(random, channels, 15, reach, 24);
                let RequantizeSpec::Scale { multipliers, bias, .. } = scale else { unreachable!() };
                let thresholds: Vec<i64> = (1..=steps)
                    .map(|step| ((step * 15) << 24) / steps + random.within(0..=1 << 16))
                    .collect();
                let mut level = random.within(0..=255) as u8;
                let mut levels = vec![level];
                for step in 0..thresholds.len() {
                    let falls =
                        level == 255 || (level > 0 && (step % 40 < 7 || random.next().is_multiple_of(9)));
                    level = if falls { level - 1 } else { level + 1 };
                    levels.push(level);
                }
                let spec = RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels };
                check(&spec, &random_ranges(random, channels, reach), &mut forms);
            }
        }
    }
    assert!(forms.contains("cells"), "only {forms:?} were reached");
}

#[test]
fn far_thresholds_do_not_overflow() {
    let spec = RequantizeSpec::ScaledStaircase {
        multipliers: vec![i32::MAX, i32::MIN, 0],
        bias: vec![0, 0, 5],
        thresholds: vec![i64::MIN, -1, 0, 1 << 40, i64::MAX],
        levels: vec![9, 0, 1, 0, 3, 2],
    };
    check(&spec, &[AccumulatorRange::FULL; 3], &mut HashSet::new());
}

#[test]
fn terms_are_added_before_they_are_shifted() {
    let random = &mut Random(4);
    for terms in (2..=9).chain([17, 64]) {
        for shift in [3, 24, 33] {
            for channels in [1, 20] {
                let scale = random_scale(random, channels * terms, 15, 3000.0, shift);
                let RequantizeSpec::Scale { multipliers, bias, .. } = scale else { unreachable!() };
                let bias = bias[..channels].to_vec();
                let ranges = random_ranges(random, channels * terms, 3000.0);
                let thresholds = random_thresholds(random, 40, 16 << shift);
                let levels = random_levels(random, thresholds.len(), 2);
                let (m, b) = (multipliers.clone(), bias.clone());
                for spec in [
                    RequantizeSpec::Scale { multipliers: m, bias: b, shift, max_level: 15 },
                    RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels },
                ] {
                    check_terms(&spec, &ranges, terms, random);
                }
            }
        }
    }
}

/// A specification of one channel is used for 20 channels, too, and for tensors of one.
fn check_terms(spec: &RequantizeSpec, ranges: &[AccumulatorRange], terms: usize, random: &mut Random) {
    check_tile(spec, ranges, terms, [50, 20], random);
    if spec.channels() == 1 {
        check_tile(spec, ranges, terms, [50, 1], random);
    }
}

fn check_tile(
    spec: &RequantizeSpec,
    ranges: &[AccumulatorRange],
    terms: usize,
    [pixels, channels]: [usize; 2],
    random: &mut Random,
) {
    let of_tensor = spec.channels();
    let accumulators: Vec<Vec<i32>> = (0..terms)
        .map(|term| {
            let range = |index: usize| ranges[term * of_tensor + index % channels % of_tensor];
            let within = |index: usize| i64::from(range(index).min)..=i64::from(range(index).max);
            (0..pixels * channels).map(|index| random.within(within(index)) as i32).collect()
        })
        .collect();
    let terms: Vec<&[i32]> = accumulators.iter().map(Vec::as_slice).collect();
    let best = Requantizer::new(spec, ranges);
    for requantizer in Requantizer::engines().map(|engine| best.clone().with_engine(engine)) {
        let mut levels = vec![0; pixels * channels];
        requantizer.apply(&mut RequantizeTile {
            accumulators: &terms,
            stride: channels,
            pixels,
            first_channel: 0,
            channels,
            levels: &mut levels,
            level_stride: channels,
        });
        for (index, &level) in levels.iter().enumerate() {
            let element: Vec<i64> = terms.iter().map(|term| i64::from(term[index])).collect();
            let expected = reference::requantize(spec, index % channels % of_tensor, &element);
            assert_eq!(level, expected, "element {index} of {spec:?}");
        }
    }
}

#[test]
fn transform_is_affine_and_wraps_around() {
    let random = &mut Random(5);
    for (sum_scale, with_totals) in [(1, false), (2, false), (1, true), (2, true), (-1, true)] {
        let (pixels, stride, first_channel, channels) = (5, 24, 2, 21);
        let mut column = |count: usize, reach: i64| -> Vec<i32> {
            (0..count).map(|_| random.within(-reach..=reach) as i32).collect()
        };
        let transform = AccumulatorTransform {
            sum_scale,
            total_scales: if with_totals { column(first_channel + channels, 200) } else { Vec::new() },
            constants: column(first_channel + channels, 1 << 30),
        };
        let before = column(pixels * stride, i64::from(i32::MAX));
        let totals = column(pixels, 1 << 26);
        let mut sums = before.clone();
        let totals_read: &[i32] = if with_totals { &totals } else { &[] };
        transform.apply(&mut sums, totals_read, pixels, stride, first_channel, channels);
        for (index, (&sum, &after)) in before.iter().zip(&sums).enumerate() {
            let (pixel, c) = (index / stride, index % stride);
            let expected = if c < channels {
                let channel = first_channel + c;
                let total = if with_totals {
                    i64::from(transform.total_scales[channel]) * i64::from(totals[pixel])
                } else {
                    0
                };
                (i64::from(sum) * i64::from(sum_scale) + total + i64::from(transform.constants[channel]))
                    as i32
            } else {
                sum
            };
            assert_eq!(after, expected, "pixel {pixel}, channel {c}");
        }
    }
}

#[test]
fn identity_transform_needs_no_totals() {
    let transform = AccumulatorTransform { sum_scale: 1, total_scales: Vec::new(), constants: vec![0; 4] };
    assert!(transform.is_identity());
    let mut sums = vec![1, 2, 3, 4];
    transform.apply(&mut sums, &[], 1, 4, 0, 4);
    assert_eq!(sums, [1, 2, 3, 4]);
}
