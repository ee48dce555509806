//! Every Winograd micro-kernel of the registry that this CPU can run equals the convolution, bit for bit.

#[path = "support/case.rs"]
mod case;

use case::{Random, report};
use ylb_kernels::families::direct::Operands;
use ylb_kernels::families::winograd::{
    LevelsStrip, OUTPUTS, OutputsStrip, Winograd, WinogradKernel, partial_len, sums_len, supports,
    transform_weights, transformed_len,
};
use ylb_kernels::layout::{Border, Form, Layout, READ_SLACK};
use ylb_kernels::registry;

/// What a number that must not be written holds.
const UNTOUCHED: i32 = i32::MIN + 77;

#[derive(Clone, Copy, Debug)]
struct Case {
    channels: usize,
    rows: usize,
    columns: usize,
    /// Bytes between the channels of a pixel and the next pixel.
    gap: usize,
    weights: [i32; 2],
    max_level: u8,
}

fn available() -> impl Iterator<Item = Winograd> {
    registry::available::<WinogradKernel>()
}

/// A message if the sums differ from the definition's. `extreme` levels and weights are at their ends.
fn failure(winograd: &Winograd, case: Case, seed: u64, extreme: bool) -> Option<String> {
    let Case { channels, rows, columns, gap, weights, max_level } = case;
    let mut random = Random(seed);
    let mut pick = |low: i32, high: i32| match extreme {
        true => [low, high][random.within(0..=1) as usize],
        false => random.within(low..=high),
    };
    let border = Border { top: 1, left: 1, bottom: 1, right: 1 };
    let dense = Layout::dense(Form::Bytes, channels, rows, columns, border);
    let layout = Layout { pixel_stride: channels + gap, ..dense };
    // What lies between pixels and behind the last is arbitrary.
    let mut input: Vec<u8> = (0..layout.len() - gap + READ_SLACK).map(|_| pick(0, 255) as u8).collect();
    for y in 0..layout.rows() {
        for x in 0..columns + 2 {
            let pixel = layout.offset(y as isize - 1, x as isize - 1);
            input[pixel..][..channels].fill_with(|| pick(0, i32::from(max_level)) as u8);
        }
    }
    let codes: Vec<u8> = (0..OUTPUTS * 9 * channels).map(|_| pick(weights[0], weights[1]) as u8).collect();
    let mut packed = vec![0; winograd.packed_len(channels)];
    winograd.pack(&codes, channels, &mut packed);
    let mut transformed = vec![0; transformed_len(channels, columns)];
    winograd.transform(&mut LevelsStrip {
        input: &input,
        input_offset: 0,
        row_stride: layout.row_stride(),
        pixel_stride: layout.pixel_stride,
        channels,
        rows,
        columns,
        transformed: &mut transformed,
    });
    let mut sums = vec![UNTOUCHED; sums_len(columns) + 3];
    winograd.run(&mut OutputsStrip {
        transformed: &transformed,
        channels,
        columns,
        weights: &packed,
        partial: &mut vec![0; partial_len(columns)],
        sums: &mut sums,
    });
    let row_len = columns.next_multiple_of(2) * OUTPUTS;
    for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
        for output in 0..OUTPUTS {
            let tap = |tap: usize| -> i32 {
                let pixel = &input[layout.offset((y + tap / 3) as isize - 1, (x + tap % 3) as isize - 1)..];
                let codes = &codes[(output * 9 + tap) * channels..][..channels];
                codes.iter().zip(pixel).map(|(&code, &level)| i32::from(code as i8) * i32::from(level)).sum()
            };
            let (expected, ours) = ((0..9).map(tap).sum::<i32>(), sums[y * row_len + x * OUTPUTS + output]);
            if ours != expected {
                let name = winograd.kernel().name;
                return Some(format!("{name} {case:?}: ({y}, {x}, {output}) is {ours}, not {expected}"));
            }
        }
    }
    (sums[sums_len(columns)..] != [UNTOUCHED; 3]).then(|| format!("{case:?}: written beyond the sums"))
}

#[test]
fn micro_kernels_equal_the_convolution() {
    let usual = Case { channels: 16, rows: 2, columns: 4, gap: 0, weights: [-8, 7], max_level: 15 };
    let mut cases = vec![usual];
    cases.extend([1, 2, 3, 5, 8, 31, 32].map(|columns| Case { columns, ..usual }));
    cases.extend([1, 3, 4, 8, 15, 17, 24, 33, 48, 64].map(|channels| Case { channels, ..usual }));
    for rows in [1, 2] {
        cases.extend([1, 2, 3].map(|columns| Case { rows, columns, gap: 7, channels: 5, ..usual }));
    }
    cases.extend([1, 3, 7, 31].map(|max_level| Case { max_level, ..usual }));
    cases.extend([[-1, 1], [-2, 1], [0, 3], [-4, 3], [-14, 14]].map(|weights| Case { weights, ..usual }));
    cases.push(Case { weights: [-14, 14], max_level: 31, channels: 264, ..usual });
    let (mut count, mut failures) = (0, Vec::new());
    for winograd in available() {
        for &case in &cases {
            for extreme in [false, true] {
                count += 1;
                failures.extend(failure(&winograd, case, count as u64, extreme));
            }
        }
    }
    report(count, &failures);
}

/// The ends of what is supported are reached, and no transformed weight leaves a byte.
#[test]
fn what_would_overflow_is_refused() {
    let operands = |min_weight, max_weight, max_level| Operands {
        max_level,
        weight_bits: 5,
        min_weight,
        max_weight,
        depth: 48,
        outputs: 16,
    };
    assert!(supports(&operands(-14, 14, 31)));
    assert!(!supports(&operands(-15, 14, 31)));
    assert!(!supports(&operands(-128, 0, 31)));
    assert!(!supports(&operands(-14, 15, 31)));
    assert!(!supports(&operands(-14, 14, 32)));
    assert_eq!(transform_weights(&[14; 9])[1], [252 / 9 * 3, 126, 42, 84]);
    assert_eq!(transform_weights(&[1, 2, 3, 4, 5, 6, 7, 8, 9])[1], [24, 45, 15, 36]);
}

#[test]
fn short_operands_panic() {
    for winograd in available() {
        let panics = |input: usize, room: usize, weights: usize, partial: usize, sums: usize| {
            let run = || {
                let mut transformed = vec![0; transformed_len(16, 3) - room];
                winograd.transform(&mut LevelsStrip {
                    input: &vec![0; 4 * 5 * 16 + READ_SLACK - input],
                    input_offset: 0,
                    row_stride: 5 * 16,
                    pixel_stride: 16,
                    channels: 16,
                    rows: 2,
                    columns: 3,
                    transformed: &mut transformed,
                });
                winograd.run(&mut OutputsStrip {
                    transformed: &transformed,
                    channels: 16,
                    columns: 3,
                    weights: &vec![0; winograd.packed_len(16) - weights],
                    partial: &mut vec![0; partial_len(3) - partial],
                    sums: &mut vec![0; sums_len(3) - sums],
                });
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        assert!(!panics(0, 0, 0, 0, 0), "{}", winograd.kernel().name);
        for at in 0..5 {
            let short = |index| usize::from(index == at);
            assert!(panics(short(0), short(1), short(2), short(3), short(4)), "operand {at}");
        }
    }
}
