//! Cells equal the specification where they exist, and do not exist where they would not.

use super::*;

/// A staircase by one scaled sum for channels of different scales, one of which falls and one of which is constant.
pub(crate) fn silu(
    levels: u8,
    zero: i64,
    reach: i32,
    channels: usize,
) -> (RequantizeSpec, Vec<AccumulatorRange>) {
    let fraction = 30;
    let one = f64::from(1 << fraction);
    // The level of a value of the axis: a line through SiLU's output, with its dip below zero.
    let step = 8.0 / f64::from(levels);
    let level = |value: i64| {
        let x = value as f64 / one;
        let y = x / (1.0 + (-x).exp()) / step;
        (y.round_ties_even() as i64 + zero).clamp(0, levels.into())
    };
    let (mut thresholds, mut outputs) = (Vec::new(), vec![level(-(20 << fraction)) as u8]);
    let stride = 1 << 18;
    let mut value = -(20i64 << fraction);
    while value < 20 << fraction {
        if level(value + stride) != level(value) {
            let (mut before, mut after) = (value, value + stride);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                if level(middle) == level(value) { before = middle } else { after = middle }
            }
            thresholds.push(after);
            outputs.push(level(after) as u8);
        }
        value += stride;
    }
    let multiplier = |channel: usize| match channel % 7 {
        6 => 0,
        3 => -(f64::from(8 << 20) / f64::from(reach) * 1024.0) as i32,
        other => (f64::from(8 << 20) / f64::from(reach) * 1024.0 / (1.0 + other as f64 * 0.77)) as i32,
    };
    let multipliers: Vec<i32> = (0..channels).map(multiplier).collect();
    let bias = (0..channels).map(|channel| (channel as i64 * 977 - 3000) << 17).collect();
    let range = |channel: usize| AccumulatorRange { min: -reach * 3, max: reach * 2 + channel as i32 };
    (
        RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels: outputs },
        (0..channels).map(range).collect(),
    )
}

/// Compares at the ends of the ranges, on both sides of each edge, and between edges.
fn check(cells: &Cells, spec: &RequantizeSpec, ranges: &[AccumulatorRange]) {
    let RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, .. } = spec else {
        panic!("a scaled staircase");
    };
    for channel in 0..spec.channels() {
        let range = ranges[channel];
        let line = Line { multiplier: multipliers[channel].into(), bias: bias[channel], range };
        let edges = thresholds.iter().map(|&threshold| line.edge(threshold));
        let around = edges.flat_map(|edge| [edge - 2, edge - 1, edge, edge + 1]);
        let spread = (0..500)
            .map(|part| i64::from(range.min) + (i64::from(range.max) - i64::from(range.min)) * part / 499);
        for accumulator in around.chain(spread) {
            let Some(accumulator) =
                i32::try_from(accumulator).ok().filter(|a| (range.min..=range.max).contains(a))
            else {
                continue;
            };
            assert_eq!(
                cells.level(channel, accumulator),
                spec.level(channel, accumulator),
                "accumulator {accumulator} of channel {channel}"
            );
        }
    }
}

#[test]
fn staircases_of_silu_have_cells() {
    for (levels, zero, reach) in
        [(255, 9, 60_000), (255, 0, 2_000_000), (15, 1, 900), (63, 2, 30_000), (127, 0, 400)]
    {
        let (spec, ranges) = silu(levels, zero, reach, 20);
        let cells = Cells::new(&spec, &ranges).expect("an axis is exact");
        check(&cells, &spec, &ranges);
        assert!(cells.table.len() <= 4096 && SHIFTS.contains(&cells.shift));
    }
}

#[test]
fn levels_may_rise_and_fall_in_any_order() {
    let thresholds = vec![-5000, -3000, -1000, 1000, 3000, 5000, 7000];
    let levels = vec![7, 8, 9, 8, 7, 6, 7, 8];
    let spec = RequantizeSpec::ScaledStaircase {
        multipliers: vec![13, -9],
        bias: vec![-77, 1234],
        thresholds,
        levels,
    };
    let ranges = [AccumulatorRange { min: -800, max: 900 }; 2];
    check(&Cells::new(&spec, &ranges).expect("an axis is exact"), &spec, &ranges);
}

#[test]
fn steps_that_never_happen_do_not_matter() {
    // The first and the last step lie far outside of what occurs; the one in between is passed by one channel only.
    let thresholds = vec![i64::MIN / 4, 0, 50, i64::MAX / 4];
    let levels = vec![0, 9, 10, 11, 200];
    let spec =
        RequantizeSpec::ScaledStaircase { multipliers: vec![1, 1], bias: vec![0, -1000], thresholds, levels };
    let ranges = [AccumulatorRange { min: -100, max: 100 }; 2];
    check(&Cells::new(&spec, &ranges).expect("an axis is exact"), &spec, &ranges);
}

#[test]
fn wide_steps_and_other_specifications_have_none() {
    let wide = |levels: Vec<u8>| RequantizeSpec::ScaledStaircase {
        multipliers: vec![1],
        bias: vec![0],
        thresholds: vec![-10, 10],
        levels,
    };
    let ranges = [AccumulatorRange { min: -100, max: 100 }];
    assert!(Cells::new(&wide(vec![0, 1, 2]), &ranges).is_some());
    assert_eq!(Cells::new(&wide(vec![0, 1, 3]), &ranges), None);
    let by_channel =
        RequantizeSpec::Staircase { thresholds: vec![vec![-10, 10]], levels: vec![vec![0, 1, 2]] };
    assert_eq!(Cells::new(&by_channel, &ranges), None);
}

/// Two channels with accumulators on both sides of a threshold that are closer together than 32 bits resolve: what a
/// cell would say of one of them is wrong, and the check says so.
#[test]
fn an_axis_that_is_too_coarse_is_refused() {
    let spec = |slack: i64| RequantizeSpec::ScaledStaircase {
        multipliers: vec![i32::MAX, i32::MAX - 2],
        bias: vec![0, slack],
        thresholds: vec![0, (1 << 61) + 1],
        levels: vec![0, 1, 2],
    };
    let ranges = [AccumulatorRange { min: -(1 << 30), max: (1 << 30) + 5 }; 2];
    // In the second channel the accumulator 0 has the sum −1, and in the first it is 0: one unit of 2^61.
    assert_eq!(Cells::new(&spec(-1), &ranges), None);
    let near = spec(1);
    let cells = Cells::new(&near, &ranges);
    if let Some(cells) = cells {
        check(&cells, &near, &ranges);
    }
}

/// What the check protects from: with a threshold moved by more than its window, levels are wrong, and `check` finds it.
#[test]
#[should_panic(expected = "accumulator")]
fn a_threshold_outside_its_window_is_wrong() {
    let (spec, ranges) = silu(255, 9, 60_000, 20);
    let staircase = Staircase::new(&spec, &ranges).unwrap();
    let (first, last) = (staircase.thresholds[0], *staircase.thresholds.last().unwrap());
    let cells = Cells::new(&spec, &ranges).unwrap();
    let axis = SPANS
        .iter()
        .filter_map(|&span| staircase.axis(first, last, span))
        .find(|axis| axis.multipliers == cells.multipliers[..20]);
    let windows = staircase.windows(&axis.unwrap()).unwrap();
    let mut thresholds: Vec<i64> = windows.iter().map(|&(_, at_least)| at_least).collect();
    let (_, exact) = table(&thresholds, &staircase.levels).unwrap();
    check(&Cells { table: exact, ..cells.clone() }, &spec, &ranges);
    thresholds[100] += 1;
    let (_, wrong) = table(&thresholds, &staircase.levels).unwrap();
    check(&Cells { table: wrong, ..cells }, &spec, &ranges);
}

/// The same on an axis of 2^14 times as many units, as the converter makes them.
fn finer((spec, ranges): (RequantizeSpec, Vec<AccumulatorRange>)) -> (RequantizeSpec, Vec<AccumulatorRange>) {
    let RequantizeSpec::ScaledStaircase { multipliers, thresholds, levels, .. } = spec else {
        panic!("a scaled staircase");
    };
    let odd = |channel: usize| (channel as i32 * 7919) & 0x3fff;
    let multipliers = multipliers
        .iter()
        .enumerate()
        .map(|(channel, &m)| (m.max(6000) << 14) + odd(channel))
        .collect::<Vec<i32>>();
    let bias = (0..multipliers.len() as i64).map(|channel| (channel * 977 % 8000 - 4000) << 31);
    let thresholds = thresholds.iter().map(|&threshold| threshold << 14);
    let spec = RequantizeSpec::ScaledStaircase {
        multipliers,
        bias: bias.collect(),
        thresholds: thresholds.collect(),
        levels,
    };
    (spec, ranges)
}

/// Which share of the axis leaves all windows of 256 channels open is chance.
#[test]
fn wide_accumulators_of_many_channels_find_an_axis() {
    let (mut found, mut first) = (0, 0);
    for reach in (350_000..650_000).step_by(25_000) {
        let (spec, ranges) = finer(silu(135, 5, reach, 256));
        let staircase = Staircase::new(&spec, &ranges).unwrap();
        let ends = (staircase.thresholds[0], *staircase.thresholds.last().unwrap());
        let open = |span: &i128| {
            let axis = staircase.axis(ends.0, ends.1, *span);
            axis.is_some_and(|axis| staircase.windows(&axis).is_some())
        };
        first += usize::from(SPANS[..6].iter().any(open));
        if let Some(cells) = Cells::new(&spec, &ranges) {
            check(&cells, &spec, &ranges);
            found += 1;
        }
    }
    println!("{found} of 12 found an axis, {first} among the first shares");
    assert!(found > first, "the first shares are enough: {first} of {found}");
    assert!(found >= 11, "only {found} of 12");
}

/// Two channels: steps of 1000 between the first one's sums leave wide windows, which the second one narrows.
fn beside_a_coarse_channel(
    (multiplier, bias): (i32, i64),
    thresholds: [i64; 2],
    range: [i32; 2],
) -> (RequantizeSpec, [AccumulatorRange; 2]) {
    let spec = RequantizeSpec::ScaledStaircase {
        multipliers: vec![1000, multiplier],
        bias: vec![0, bias],
        // The last one, which the first channel alone reaches, makes the axis long enough.
        thresholds: [&thresholds[..], &[25_000]].concat(),
        levels: vec![5, 6, 7, 8],
    };
    (spec, [AccumulatorRange { min: -5, max: 30 }, AccumulatorRange { min: range[0], max: range[1] }])
}

#[test]
fn ends_of_ranges_bound_thresholds_that_lie_outside() {
    for (line, thresholds, range) in [
        // All sums up to 800 lie below the second threshold; that without them would lie before the first.
        ((1, 0), [700, 990], [0, 800]),
        // All from 200 on are above the first.
        ((1, 0), [10, 300], [200, 1500]),
        ((-1, 0), [700, 990], [-800, 0]),
        ((-1, 0), [10, 300], [-1500, -200]),
        // One that is always the same, and below; and above.
        ((0, 700), [-500, 990], [-9, 9]),
        ((0, 300), [10, 1990], [-9, 9]),
    ] {
        let (spec, ranges) = beside_a_coarse_channel(line, thresholds, range);
        check(&Cells::new(&spec, &ranges).expect("an axis is exact"), &spec, &ranges);
    }
}

#[test]
fn what_saturates_between_the_limits_is_refused() {
    // At the last threshold the product is five sixths of the distance between both: of six tenths of the axis that is
    // just more than its half.
    let spec = RequantizeSpec::ScaledStaircase {
        multipliers: vec![10],
        bias: vec![1_665],
        thresholds: vec![0, 10_000],
        levels: vec![5, 6, 7],
    };
    let ranges = [AccumulatorRange { min: -1_000, max: 2_000 }];
    let staircase = Staircase::new(&spec, &ranges).unwrap();
    let axis = |span: i128| staircase.axis(0, 10_000, span).unwrap();
    assert_eq!(staircase.limits(&axis(620)), None);
    assert!(staircase.limits(&axis(600)).is_some());
    check(&Cells::new(&spec, &ranges).expect("a smaller share"), &spec, &ranges);

    let axis = |bias: i32| Axis { multipliers: vec![1 << 20], bias: vec![bias], shift: 4 };
    let just = (1 << 15) - 1;
    assert!(axis(0).fits(0, just) && axis(0).fits(0, -1 << 15));
    // The product, then the sum.
    assert!(!axis(-1).fits(0, just + 1) && !axis(i32::MIN).fits(0, 1 << 15));
    assert!(!axis(1 << 30).fits(0, just) && axis(1 << 30).fits(0, just / 2));
    assert!(!axis(-1).fits(0, -1 << 15));
}

#[test]
fn thresholds_at_the_ends_of_what_occurs_count() {
    let spec = |thresholds: Vec<i64>, levels: Vec<u8>| RequantizeSpec::ScaledStaircase {
        multipliers: vec![1],
        bias: vec![0],
        thresholds,
        levels,
    };
    let ranges = [AccumulatorRange { min: -100, max: 100 }];
    // The largest accumulator alone reaches the last threshold.
    let last = spec(vec![0, 100], vec![1, 2, 3]);
    check(&Cells::new(&last, &ranges).expect("an axis is exact"), &last, &ranges);
    // Every one reaches the first, whatever the level before.
    let first = spec(vec![-100, 0, 60], vec![9, 2, 3, 4]);
    check(&Cells::new(&first, &ranges).expect("an axis is exact"), &first, &ranges);
}
