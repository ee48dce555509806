//! Depthwise convolution equals the reference, from one channel and pixel to several vectors of
//! them, with the largest operands, and refuses operands that are too short.

use ylb_kernels::depthwise::{Depthwise, DepthwiseTile};
use ylb_kernels::reference::{self, ConvShape, Window};

/// Reproducible numbers: the linear congruential generator of Knuth's MMIX.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}

/// One output row of a convolution without padding, through both instantiations.
fn check(channels: usize, width: usize, kernel: [usize; 2], stride: usize, extreme: bool) {
    let mut random = Random(channels as u64 * 31 + width as u64);
    let height = kernel[0];
    let levels: Vec<u8> =
        (0..channels * height * width).map(|_| if extreme { u8::MAX } else { random.next() as u8 }).collect();
    let taps_count = kernel[0] * kernel[1];
    // An 8-bit weight less a zero point: −383 to 383.
    let weights: Vec<i16> = (0..taps_count * channels)
        .map(|_| if extreme { -383 } else { (random.next() % 767) as i16 - 383 })
        .collect();

    let window = Window { kernel, stride: [1, stride], padding: [0; 4] };
    let shape = ConvShape { channels, height, width, outputs: channels, groups: channels, window };
    let input: Vec<i32> = (0..channels)
        .flat_map(|c| (0..height * width).map(move |pixel| (c, pixel)))
        .map(|(c, pixel)| i32::from(levels[pixel * channels + c]))
        .collect();
    let planar: Vec<i32> = (0..channels)
        .flat_map(|c| (0..taps_count).map(move |tap| (c, tap)))
        .map(|(c, tap)| i32::from(weights[tap * channels + c]))
        .collect();
    let [_, pixels] = shape.output_size();
    let expected = reference::conv(&shape, &input, &planar);

    let taps: Vec<usize> =
        (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y * width + x) * channels)).collect();
    for depthwise in [Depthwise::new(), Depthwise::portable()] {
        let mut sums = vec![i32::MIN; pixels * channels];
        depthwise.run(&mut DepthwiseTile {
            input: &levels,
            input_offset: 0,
            pixel_step: stride * channels,
            taps: &taps,
            channels,
            weights: &weights,
            pixels,
            sums: &mut sums,
        });
        for (index, &sum) in sums.iter().enumerate() {
            let (pixel, channel) = (index / channels, index % channels);
            let expected = expected[channel * pixels + pixel];
            assert_eq!(i64::from(sum), expected, "pixel {pixel}, channel {channel} of {channels}");
        }
    }
}

#[test]
fn equals_the_reference() {
    for channels in [1, 2, 15, 16, 17, 31, 32, 48, 67] {
        for width in [1, 2, 3, 4, 7, 12] {
            for kernel in [[1, 1], [3, 3], [5, 2]] {
                for stride in [1, 2] {
                    check(channels, width, kernel, stride, false);
                }
            }
        }
    }
}

#[test]
fn largest_operands_are_exact() {
    check(33, 9, [7, 7], 1, true);
}

/// A tile of 2 pixels, 4 channels and 2 taps that fits its operands exactly.
fn run(input_len: usize, weights_len: usize, sums_len: usize) -> Vec<i32> {
    let mut sums = vec![0; sums_len];
    Depthwise::new().run(&mut DepthwiseTile {
        input: &vec![1; input_len],
        input_offset: 1,
        pixel_step: 4,
        taps: &[0, 8],
        channels: 4,
        weights: &vec![1; weights_len],
        pixels: 2,
        sums: &mut sums,
    });
    sums
}

#[test]
fn exact_lengths_suffice() {
    assert_eq!(run(17, 8, 8), [2; 8]);
}

#[test]
#[should_panic(expected = "input of 16 bytes, 17 needed")]
fn short_input_is_refused() {
    run(16, 8, 8);
}

#[test]
#[should_panic(expected = "weights are too short")]
fn short_weights_are_refused() {
    run(17, 7, 8);
}

#[test]
#[should_panic(expected = "sums are too short")]
fn short_sums_are_refused() {
    run(17, 8, 7);
}
