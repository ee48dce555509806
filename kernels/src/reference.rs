//! The oracle: every operator as its formula says, in naive loops over unpacked integers.
//!
//! Nothing here is fast, and nothing knows of bits, layouts or instruction sets. Tensors are dense
//! `[channels][height][width]` of one picture. Whatever a micro-kernel, an executor or a converter
//! computes must equal these functions bit for bit.

use crate::requantize::RequantizeSpec;

/// Geometry of a sliding window; `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns covered.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Rows and columns added at top, left, bottom and right.
    pub padding: [usize; 4],
}

/// Shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of the input: a multiple of `groups`.
    pub channels: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the output: a multiple of `groups`.
    pub outputs: usize,
    /// Independent convolutions that input and output channels are divided into.
    pub groups: usize,
    /// Window, stride and padding.
    pub window: Window,
}

impl Window {
    /// Height and width of the output for an input of `height × width`; 0 where the window does not
    /// fit into the padded input.
    pub fn output_size(&self, height: usize, width: usize) -> [usize; 2] {
        let [top, left, bottom, right] = self.padding;
        let extent = |padded: usize, axis: usize| {
            padded.checked_sub(self.kernel[axis]).map_or(0, |rest| rest / self.stride[axis] + 1)
        };
        [extent(height + top + bottom, 0), extent(width + left + right, 1)]
    }

    /// The input position that tap (`ky`, `kx`) of output (`y`, `x`) reads; `None` in the padding.
    fn position(&self, y: usize, x: usize, ky: usize, kx: usize, size: [usize; 2]) -> Option<[usize; 2]> {
        let row = (y * self.stride[0] + ky).checked_sub(self.padding[0])?;
        let column = (x * self.stride[1] + kx).checked_sub(self.padding[1])?;
        (row < size[0] && column < size[1]).then_some([row, column])
    }
}

impl ConvShape {
    /// Height and width of the output.
    pub fn output_size(&self) -> [usize; 2] {
        self.window.output_size(self.height, self.width)
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.outputs * (self.channels / self.groups) * self.window.kernel[0] * self.window.kernel[1]
    }
}

/// Convolution on integers; padding contributes integer 0.
///
/// `input` is `[channels][height][width]`, `weights` `[outputs][channels / groups][ky][kx]`, the
/// result `[outputs][output height][output width]`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn conv(shape: &ConvShape, input: &[i32], weights: &[i32]) -> Vec<i64> {
    let ConvShape { channels, height, width, outputs, groups, window } = *shape;
    assert_eq!(input.len(), channels * height * width, "input");
    assert_eq!(weights.len(), shape.weights(), "weights");
    let [output_height, output_width] = shape.output_size();
    let [kernel_height, kernel_width] = window.kernel;
    let group_channels = channels / groups;
    let group_outputs = outputs / groups;

    let mut result = Vec::with_capacity(outputs * output_height * output_width);
    for o in 0..outputs {
        let first_channel = o / group_outputs * group_channels;
        for y in 0..output_height {
            for x in 0..output_width {
                let mut sum = 0i64;
                for i in 0..group_channels {
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            let Some([row, column]) = window.position(y, x, ky, kx, [height, width]) else {
                                continue;
                            };
                            let integer = input[((first_channel + i) * height + row) * width + column];
                            let weight =
                                weights[((o * group_channels + i) * kernel_height + ky) * kernel_width + kx];
                            sum += i64::from(weight) * i64::from(integer);
                        }
                    }
                }
                result.push(sum);
            }
        }
    }
    result
}

/// The level of one output element of channel `channel`, from one accumulator a term.
///
/// # Panics
/// If the specification has no entry for the channel, or several terms meet a staircase of one.
pub fn requantize(spec: &RequantizeSpec, channel: usize, accumulators: &[i64]) -> u8 {
    let scaled = |multipliers: &[i32], bias: &[i64]| {
        let channels = bias.len();
        assert_eq!(multipliers.len(), channels * accumulators.len(), "multipliers");
        let terms = accumulators.iter().enumerate();
        terms.map(|(t, sum)| sum * i64::from(multipliers[t * channels + channel])).sum::<i64>()
            + bias[channel]
    };
    match spec {
        RequantizeSpec::Scale { multipliers, bias, shift, max_level } => {
            (scaled(multipliers, bias) >> shift).clamp(0, i64::from(*max_level)) as u8
        }
        RequantizeSpec::Staircase { thresholds, levels } => {
            assert_eq!(accumulators.len(), 1, "a staircase has one term");
            let steps = thresholds[channel].iter().filter(|&&t| i64::from(t) <= accumulators[0]).count();
            levels[channel][steps]
        }
        RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels } => {
            let sum = scaled(multipliers, bias);
            levels[thresholds.iter().filter(|&&t| t <= sum).count()]
        }
    }
}

/// Sum of tensors of equal shape, requantized: the accumulators are the inputs' integers, and the
/// specification has one channel for all.
///
/// # Panics
/// If the inputs' lengths differ, or the specification does not have a term for each.
pub fn add(inputs: &[&[i32]], spec: &RequantizeSpec) -> Vec<u8> {
    let len = inputs.first().map_or(0, |input| input.len());
    assert!(inputs.iter().all(|input| input.len() == len), "lengths differ");
    let element = |index: usize| inputs.iter().map(|input| i64::from(input[index])).collect::<Vec<_>>();
    (0..len).map(|index| requantize(spec, 0, &element(index))).collect()
}

/// Look-up table: `output = table[input]`.
///
/// # Panics
/// If a level has no entry.
pub fn map(input: &[u8], table: &[u8]) -> Vec<u8> {
    input.iter().map(|&level| table[usize::from(level)]).collect()
}

/// Largest level of every window; positions in the padding never win.
///
/// # Panics
/// If the input's length does not fit the shape, or a window lies in the padding altogether.
pub fn max_pool(channels: usize, height: usize, width: usize, window: &Window, input: &[u8]) -> Vec<u8> {
    assert_eq!(input.len(), channels * height * width, "input");
    let [output_height, output_width] = window.output_size(height, width);
    let mut result = Vec::with_capacity(channels * output_height * output_width);
    for c in 0..channels {
        for y in 0..output_height {
            for x in 0..output_width {
                let taps = (0..window.kernel[0])
                    .flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx)))
                    .filter_map(|(ky, kx)| window.position(y, x, ky, kx, [height, width]))
                    .map(|[row, column]| input[(c * height + row) * width + column]);
                result.push(taps.max().expect("a window lies in the padding altogether"));
            }
        }
    }
    result
}

/// Nearest-neighbour upsampling: output (y, x) = input (y / factor, x / factor).
///
/// # Panics
/// If the input's length does not fit the shape.
pub fn upsample(channels: usize, height: usize, width: usize, factor: usize, input: &[u8]) -> Vec<u8> {
    assert_eq!(input.len(), channels * height * width, "input");
    let mut result = Vec::with_capacity(input.len() * factor * factor);
    for c in 0..channels {
        for y in 0..height * factor {
            for x in 0..width * factor {
                result.push(input[(c * height + y / factor) * width + x / factor]);
            }
        }
    }
    result
}

/// Channels of the inputs one after another. The inputs have equal height and width.
pub fn concat(inputs: &[&[u8]]) -> Vec<u8> {
    inputs.concat()
}
