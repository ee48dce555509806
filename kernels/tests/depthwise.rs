//! Every depthwise micro-kernel of the registry that this CPU can run equals the reference, from one channel and pixel to
//! several vectors of them, with the largest operands, and refuses operands that are too short.

#[path = "support/case.rs"]
mod case;

use case::{Random, report};
use ylb_kernels::families::depthwise::{
    CHANNELS, Depthwise, DepthwiseKernel, DepthwiseOperands, DepthwiseTile,
};
use ylb_kernels::layout::READ_SLACK;
use ylb_kernels::reference::{self, ConvShape, Window};
use ylb_kernels::registry;

/// What a number that must not be written holds.
const UNTOUCHED: i32 = i32::MIN + 77;

fn available() -> impl Iterator<Item = Depthwise> {
    registry::available::<DepthwiseKernel>()
}

/// A row of outputs.
#[derive(Clone, Copy, Debug)]
struct Case {
    channels: usize,
    pixels: usize,
    kernel: [usize; 2],
    stride: usize,
    /// Bytes between the channels of a pixel and the next pixel.
    gap: usize,
}

/// Levels and weights.
#[derive(Clone, Copy, Debug)]
struct Range {
    max_level: u8,
    weights: [i16; 2],
}

/// What micro-kernels tell apart: widths of levels, weights of 8 bits with and without their least number, and weights less
/// a zero point.
const RANGES: [Range; 9] = [
    Range { max_level: 255, weights: [-383, 383] },
    Range { max_level: 255, weights: [-128, 127] },
    Range { max_level: 255, weights: [-127, 127] },
    Range { max_level: 255, weights: [0, 255] },
    Range { max_level: 127, weights: [-127, 127] },
    Range { max_level: 15, weights: [-128, 127] },
    Range { max_level: 15, weights: [-8, 7] },
    Range { max_level: 3, weights: [-1, 1] },
    Range { max_level: 1, weights: [-129, 128] },
];

/// How operands are filled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    Random(u64),
    /// The largest level, the smallest weight.
    Smallest,
    /// The largest level, the largest weight.
    Largest,
    /// Level 0, which a border has, and the smallest weight.
    Border,
}

/// A message if the sums differ from the definition's, or something else was written.
fn failure(depthwise: &Depthwise, case: Case, range: Range, fill: Fill) -> Option<String> {
    let Case { channels, pixels, kernel: [rows, columns], stride, gap } = case;
    let Range { max_level, weights: [low, high] } = range;
    let mut random = Random(if let Fill::Random(seed) = fill { seed } else { 0 });
    let width = pixels.saturating_sub(1) * stride + columns;
    let pixel_len = channels + gap;
    let offset = 5;
    // What lies between and after the levels is not theirs, and has any value.
    let mut input: Vec<u8> =
        (0..offset + rows * width * pixel_len + READ_SLACK).map(|_| random.within(0..=255) as u8).collect();
    let mut levels = vec![0i32; channels * rows * width];
    for pixel in 0..rows * width {
        for channel in 0..channels {
            let level = match fill {
                Fill::Random(_) => random.within(0..=max_level.into()),
                Fill::Border => 0,
                _ => max_level.into(),
            };
            input[offset + pixel * pixel_len + channel] = level as u8;
            levels[channel * rows * width + pixel] = level;
        }
    }
    // `[channel][tap]`
    let taps = rows * columns;
    let weights: Vec<i32> = (0..channels * taps)
        .map(|_| match fill {
            Fill::Random(_) => random.within(low.into()..=high.into()),
            Fill::Largest => high.into(),
            _ => low.into(),
        })
        .collect();
    let window = Window { kernel: case.kernel, stride: [1, stride], padding: [0; 4] };
    let shape = ConvShape { channels, height: rows, width, outputs: channels, groups: channels, window };
    let expected = if pixels == 0 { Vec::new() } else { reference::conv(&shape, &levels, &weights) };

    let mut packed = vec![0; depthwise.packed_len(channels, taps)];
    depthwise.pack(|tap, channel| weights[channel * taps + tap] as i16, [channels, taps], &mut packed);
    let sums_stride = channels.next_multiple_of(CHANNELS) + 3;
    let mut sums = vec![UNTOUCHED; pixels * sums_stride];
    depthwise.run(&mut DepthwiseTile {
        input: &input,
        input_offset: offset,
        pixel_step: stride * pixel_len,
        kernel: case.kernel,
        row_step: width * pixel_len,
        column_step: pixel_len,
        channels,
        weights: &packed,
        pixels,
        sums: &mut sums,
        sums_stride,
    });
    let wrong = |(index, &sum): (usize, &i32)| {
        let (pixel, channel) = (index / sums_stride, index % sums_stride);
        let right = match channel {
            _ if channel < channels => i64::from(sum) == expected[channel * pixels + pixel],
            _ if channel < channels.next_multiple_of(CHANNELS) => true,
            _ => sum == UNTOUCHED,
        };
        (!right).then(|| {
            format!(
                "{}: {case:?} {range:?} {fill:?}: pixel {pixel}, channel {channel}",
                depthwise.kernel().name
            )
        })
    };
    sums.iter().enumerate().find_map(wrong)
}

fn operands(range: Range, kernel: [usize; 2]) -> DepthwiseOperands {
    let Range { max_level, weights: [min_weight, max_weight] } = range;
    DepthwiseOperands { max_level, min_weight, max_weight, kernel }
}

/// Sizes below, at and above each edge: of pixels, of vectors of channels, of pairs and chains of taps.
fn cases() -> Vec<Case> {
    let usual = Case { channels: 20, pixels: 5, kernel: [3, 3], stride: 1, gap: 0 };
    let mut cases = Vec::new();
    for kernel in [[3, 3], [1, 1], [1, 2], [2, 2], [5, 5], [5, 2], [1, 7], [7, 1], [7, 7], [4, 9]] {
        for stride in [1, 2, 3] {
            cases.push(Case { kernel, stride, ..usual });
            cases.extend([0, 1, 2, 3, 4].map(|pixels| Case { kernel, stride, pixels, channels: 16, gap: 4 }));
        }
    }
    for channels in [1, 2, 15, 16, 17, 31, 32, 33, 48, 67] {
        for stride in [1, 2] {
            cases.push(Case { channels, stride, ..usual });
            cases.push(Case { channels, stride, gap: 13, kernel: [5, 5], ..usual });
        }
    }
    cases
}

#[test]
fn micro_kernels_equal_the_reference() {
    let (mut count, mut failures) = (0u64, Vec::new());
    for depthwise in available() {
        for case in cases() {
            for range in RANGES {
                if (depthwise.kernel().supports)(&operands(range, case.kernel)) {
                    count += 1;
                    failures.extend(failure(&depthwise, case, range, Fill::Random(count)));
                }
            }
        }
    }
    report(count as usize, &failures);
}

#[test]
fn largest_operands_are_exact() {
    let (mut count, mut failures) = (0, Vec::new());
    for depthwise in available() {
        for kernel in [[3, 3], [5, 5], [4, 4], [9, 9], [1, 17]] {
            for range in RANGES {
                for fill in [Fill::Smallest, Fill::Largest, Fill::Border] {
                    if (depthwise.kernel().supports)(&operands(range, kernel)) {
                        count += 1;
                        let case = Case { channels: 33, pixels: 3, kernel, stride: 1, gap: 0 };
                        failures.extend(failure(&depthwise, case, range, fill));
                    }
                }
            }
        }
    }
    report(count, &failures);
}

/// Whatever the operands, each instruction set has a micro-kernel for them.
#[test]
fn every_instruction_set_takes_all_operands() {
    for kernel in registry::kernels::<DepthwiseKernel>() {
        let takes = |other: &DepthwiseKernel, range: Range| {
            other.engine == kernel.engine && (other.supports)(&operands(range, [3, 3]))
        };
        for range in RANGES {
            let found = registry::kernels().any(|other| takes(other, range));
            assert!(found, "none with {:?} for {range:?}", kernel.engine);
        }
    }
}

/// A tile of 2 pixels, 4 channels and 2 taps that fits its operands exactly.
fn run(input_len: usize, less_weights: usize, sums_len: usize, sums_stride: usize) -> Vec<i32> {
    let mut sums = vec![0; sums_len];
    let depthwise = available().last().expect("there is a portable one");
    let mut weights = vec![0; depthwise.packed_len(4, 2)];
    depthwise.pack(|_, _| 1, [4, 2], &mut weights);
    depthwise.run(&mut DepthwiseTile {
        input: &vec![1; input_len],
        input_offset: 1,
        pixel_step: 4,
        kernel: [2, 1],
        row_step: 8,
        column_step: 4,
        channels: 4,
        weights: &weights[less_weights..],
        pixels: 2,
        sums: &mut sums,
        sums_stride,
    });
    sums
}

#[test]
fn exact_lengths_suffice() {
    let sums = run(17 + READ_SLACK, 0, 32, 16);
    assert_eq!([&sums[..4], &sums[16..20]], [[2; 4]; 2]);
}

#[test]
#[should_panic(expected = "input of 80 bytes, 81 needed")]
fn short_input_is_refused() {
    run(16 + READ_SLACK, 0, 32, 16);
}

#[test]
#[should_panic(expected = "weights are too short")]
fn short_weights_are_refused() {
    run(17 + READ_SLACK, 1, 32, 16);
}

#[test]
#[should_panic(expected = "sums are too short")]
fn short_sums_are_refused() {
    run(17 + READ_SLACK, 0, 31, 16);
}

#[test]
#[should_panic(expected = "16 sums in a stride of 15")]
fn sums_must_not_overlap() {
    run(17 + READ_SLACK, 0, 32, 15);
}
