//! The oracle against results worked out by hand.

use ylb_kernels::reference::{ConvShape, Window, add, concat, conv, map, max_pool, requantize, upsample};
use ylb_kernels::requantize::RequantizeSpec;

const SAME: Window = Window { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1] };

#[test]
fn convolution_of_ones_counts_the_positions_inside() {
    let shape = ConvShape { channels: 2, height: 3, width: 3, outputs: 1, groups: 1, window: SAME };
    let sums = conv(&shape, &[1; 18], &[1; 18]);
    assert_eq!(sums, [8, 12, 8, 12, 18, 12, 8, 12, 8]);
}

#[test]
fn convolution_puts_every_weight_in_its_place() {
    // A single 1 in the middle shows the kernel turned by 180 degrees.
    let shape = ConvShape { channels: 1, height: 3, width: 3, outputs: 1, groups: 1, window: SAME };
    let sums = conv(&shape, &[0, 0, 0, 0, 1, 0, 0, 0, 0], &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(sums, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn stride_and_uneven_padding() {
    // Rows 1 2 3 / 4 5 6, windows of 1×2 at columns −1 and 1, at rows 0 only.
    let window = Window { kernel: [1, 2], stride: [2, 2], padding: [0, 1, 0, 0] };
    let shape = ConvShape { channels: 1, height: 2, width: 3, outputs: 1, groups: 1, window };
    assert_eq!(shape.output_size(), [1, 2]);
    assert_eq!(conv(&shape, &[1, 2, 3, 4, 5, 6], &[10, 1]), [1, 23]);
}

#[test]
fn groups_read_their_own_channels() {
    let window = Window { kernel: [1, 1], stride: [1, 1], padding: [0; 4] };
    let shape = ConvShape { channels: 4, height: 1, width: 1, outputs: 2, groups: 2, window };
    assert_eq!(conv(&shape, &[1, 10, 100, 1000], &[1, 2, 3, -4]), [21, -3700]);
}

#[test]
fn a_window_larger_than_the_input_has_no_output() {
    let window = Window { kernel: [3, 3], stride: [1, 1], padding: [0; 4] };
    let shape = ConvShape { channels: 1, height: 2, width: 5, outputs: 1, groups: 1, window };
    assert_eq!(shape.output_size(), [0, 3]);
    assert_eq!(conv(&shape, &[0; 10], &[0; 9]), []);
}

#[test]
fn scale_rounds_towards_minus_infinity_and_clamps() {
    let spec = RequantizeSpec::Scale { multipliers: vec![1, 3], bias: vec![0, -4], shift: 1, max_level: 7 };
    let level = |channel, sum| requantize(&spec, channel, &[sum]);
    assert_eq!([-1, 0, 1, 2, 3, 15, 99].map(|sum| level(0, sum)), [0, 0, 0, 1, 1, 7, 7]);
    assert_eq!([0, 1, 2, 3, 9].map(|sum| level(1, sum)), [0, 0, 1, 2, 7]);
}

#[test]
fn scale_adds_terms() {
    let spec = RequantizeSpec::Scale {
        multipliers: vec![1, 1, 10, 100],
        bias: vec![1, 2],
        shift: 0,
        max_level: 255,
    };
    assert_eq!(requantize(&spec, 0, &[5, 3]), 36);
    assert_eq!(requantize(&spec, 1, &[5, 1]), 107);
}

#[test]
fn staircases_count_thresholds_reached() {
    let spec = RequantizeSpec::Staircase {
        thresholds: vec![vec![-2, 0, 5], vec![]],
        levels: vec![vec![3, 2, 0, 1], vec![9]],
    };
    let level = |sum| requantize(&spec, 0, &[sum]);
    assert_eq!([-3, -2, -1, 0, 4, 5, 6].map(level), [3, 2, 2, 0, 0, 1, 1]);
    assert_eq!(requantize(&spec, 1, &[7]), 9);
    let spec = RequantizeSpec::ScaledStaircase {
        multipliers: vec![2],
        bias: vec![1],
        thresholds: vec![1 << 40, 1 << 41],
        levels: vec![0, 1, 2],
    };
    let level = |sum| requantize(&spec, 0, &[sum]);
    assert_eq!([0, (1 << 39) - 1, 1 << 39, 1 << 40].map(level), [0, 0, 1, 2]);
}

#[test]
fn sums_of_tensors() {
    let spec = RequantizeSpec::Scale { multipliers: vec![1, 2], bias: vec![0], shift: 0, max_level: 9 };
    assert_eq!(add(&[&[1, 2, -5], &[3, 4, 1]], &spec), [7, 9, 0]);
}

#[test]
fn pooling_upsampling_concat_and_map() {
    let window = Window { kernel: [2, 2], stride: [1, 1], padding: [1, 0, 0, 0] };
    assert_eq!(max_pool(1, 2, 3, &window, &[1, 5, 2, 4, 0, 3]), [5, 5, 5, 5]);
    assert_eq!(upsample(2, 1, 2, 2, &[1, 2, 3, 4]), [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
    assert_eq!(concat(&[&[1, 2], &[3]]), [1, 2, 3]);
    assert_eq!(map(&[2, 0, 1], &[7, 8, 9]), [9, 7, 8]);
}
