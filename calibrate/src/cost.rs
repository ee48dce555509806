//! What a convolution costs: bytes of a file, and cycles of a Cortex-A72 by a model.
//!
//! Cycles are multiply-accumulates over the rate of the kernel that a Cortex-A72 would take, and a few for each level that is
//! written. The rates are those by which the runtime chooses among its kernels there (`kernels/src/arch/aarch64`), what a level takes
//! was fitted to counts of whole networks (`make arm-cycles`), which the sum meets within 4 in a hundred (the test below). So one
//! "Mcycle" is a million cycles of one core of that CPU, if all it does is wait for its fullest pipe.

/// A convolution, as far as its cost goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Output channels, input channels of a group, rows, columns.
    pub shape: [usize; 4],
    /// Groups.
    pub groups: usize,
    /// Whether its window moves by one pixel and has no gaps.
    pub is_dense: bool,
    /// Pixels between neighbouring windows, rows times columns.
    pub step: usize,
    /// Pixels of a channel of the output.
    pub pixels: usize,
}

/// Cycles for a number that stays an accumulator.
const ACCUMULATOR: f64 = 1.0;

impl Work {
    /// Bytes of its weights in a file, where each bit has a plane.
    pub fn bytes(&self, most: i32) -> f64 {
        let weights: usize = self.shape.iter().product();
        (weights * bits_of(most) as usize).div_ceil(8) as f64
    }

    /// Cycles of its sums of products, with codes up to `most` and levels of so many bits.
    pub fn cycles(&self, most: i32, bits: u32) -> f64 {
        let products: usize = self.shape.iter().product();
        (products * self.pixels) as f64 / self.rate(most, bits)
    }

    /// Multiply-accumulates a cycle.
    fn rate(&self, most: i32, bits: u32) -> f64 {
        let [outputs, inputs, rows, columns] = self.shape;
        let outputs = outputs / self.groups.max(1);
        if inputs == 1 && self.groups > 1 {
            return match (rows == 3 && columns == 3, bits <= 4) {
                (true, true) => 7.3,
                (true, false) => 6.0,
                (false, _) => 4.3,
            };
        }
        let run = if rows == 1 { inputs } else { inputs * columns };
        let multiplied = if bits <= 2 { 9.8 } else { 8.0 } * filled(run, 4) * filled(outputs, 16);
        let others = [
            self.winograd([outputs, inputs], most, bits),
            self.looked_up([outputs, inputs], most, bits),
            counted([outputs, run], most, bits),
        ];
        others.into_iter().flatten().fold(multiplied, f64::max)
    }

    /// Multiplications, 110 cycles of stores and sums for 16 outputs, 34 of transforming for 16 channels.
    fn winograd(&self, [outputs, inputs]: [usize; 2], most: i32, bits: u32) -> Option<f64> {
        if self.shape[2..] != [3, 3] || !self.is_dense || most > 14 || bits > 5 {
            return None;
        }
        let [blocks, vectors] = [outputs, inputs].map(|count| count.div_ceil(16) as f64);
        let cycles = 512.0 * vectors * blocks + 110.0 * blocks + 34.0 * vectors;
        Some(36.0 * (inputs * outputs) as f64 / cycles)
    }

    /// Tables of 16 sums of four levels: 31 look-ups a cycle and 0.8 cycles for a level's share of a table.
    fn looked_up(&self, [outputs, inputs]: [usize; 2], most: i32, bits: u32) -> Option<f64> {
        if most > 3 || bits > 6 {
            return None;
        }
        let window = inputs * self.shape[2] * self.shape[3];
        let fresh = if window == inputs { inputs } else { inputs * self.step };
        let look_ups = window * bits_of(most) as usize * outputs.next_multiple_of(32);
        Some((window * outputs) as f64 / (look_ups as f64 / 31.0 + fresh as f64 * 0.8))
    }
}

/// Bits counted in planes: half of three slots and the broadcasts' share for 128 pairs of bits.
fn counted([outputs, run]: [usize; 2], most: i32, bits: u32) -> Option<f64> {
    if most > 7 || bits > 4 || !run.is_multiple_of(8) {
        return None;
    }
    let planes = f64::from(bits_of(most));
    let rate = |block: usize| {
        let slots = (3.0 + 16.0 / (block as f64 * planes)) / 2.0 * 1.07;
        128.0 / (planes * f64::from(bits) * slots) * filled(outputs, block)
    };
    [64, 32, 16].into_iter().map(rate).reduce(f64::max)
}

/// Cycles for writing a level of so many bits; `is_line`: whether all before it are clamped lines, such as ReLU.
pub fn level(bits: u32, is_line: bool) -> f64 {
    match (bits, is_line) {
        (..=2, _) => 2.4,
        (3..=4, true) => 1.6,
        (_, true) => 3.2,
        (_, false) => 4.6,
    }
}

/// Cycles for results that stay numbers.
pub fn accumulators(count: usize) -> f64 {
    ACCUMULATOR * count as f64
}

/// Bits of codes from `-most` to `most`.
pub fn bits_of(most: i32) -> u32 {
    33 - most.leading_zeros()
}

/// How much of its units a number of things fills.
fn filled(used: usize, unit: usize) -> f64 {
    used as f64 / used.next_multiple_of(unit).max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ylb_zoo::{Net, Op, yolov5::Size};

    use super::*;

    /// YOLOv5n at 640×640: its inner convolutions, the first, and the heads of so many classes.
    fn yolov5n(classes: usize) -> [Vec<Work>; 3] {
        let mut made: BTreeMap<String, [usize; 2]> = [("image".to_owned(), [3, 640])].into();
        let [mut inner, mut first, mut heads] = [const { Vec::new() }; 3];
        for layer in Net::Yolov5(Size::N).architecture(classes).layers {
            let inputs: Vec<[usize; 2]> = layer.from.iter().map(|name| made[name]).collect();
            let [channels, side] = inputs[0];
            let work = |outputs: usize, kernel: usize, stride: usize| Work {
                shape: [outputs, channels, kernel, kernel],
                groups: 1,
                is_dense: stride == 1,
                step: stride * stride,
                pixels: (side / stride) * (side / stride),
            };
            let own = match layer.op {
                Op::Conv { channels: outputs, window, .. } => {
                    let list = if channels == 3 { &mut first } else { &mut inner };
                    list.push(work(outputs, window.kernel, window.stride));
                    [outputs, side / window.stride]
                }
                Op::Concat => [inputs.iter().map(|input| input[0]).sum(), side],
                Op::Upsample(factor) => [channels, side * factor],
                Op::Detect => {
                    heads = inputs
                        .iter()
                        .map(|&[channels, side]| Work {
                            shape: [3 * (classes + 5), channels, 1, 1],
                            groups: 1,
                            is_dense: true,
                            step: 1,
                            pixels: side * side,
                        })
                        .collect();
                    [0, 0]
                }
                _ => [channels, side],
            };
            made.insert(layer.name, own);
        }
        [inner, first, heads]
    }

    fn total(classes: usize, most: i32, bits: u32, is_line: bool) -> f64 {
        let [inner, first, heads] = yolov5n(classes);
        let levels = |work: &Work| (work.shape[0] * work.pixels) as f64 * level(bits, is_line);
        let inner: f64 = inner.iter().map(|work| work.cycles(most, bits) + levels(work)).sum();
        let first: f64 = first.iter().map(|work| work.cycles(127, 8) + levels(work)).sum();
        let heads =
            heads.iter().map(|work| work.cycles(127, bits) + accumulators(work.shape[0] * work.pixels));
        (inner + first + heads.sum::<f64>()) / 1e6
    }

    /// Counts of `docs/performance.md`, and for levels of 5 and 6 bits of the same program.
    #[test]
    fn the_model_meets_counts_of_whole_networks() {
        for (classes, most, bits, is_line, counted) in [
            (80, 127, 8, true, 323.6),
            (80, 7, 4, true, 260.2),
            (80, 1, 4, true, 196.0),
            (80, 1, 2, true, 173.1),
            (80, 3, 6, true, 282.8),
            (80, 1, 6, true, 217.1),
            (80, 14, 5, true, 276.3),
            (3, 127, 8, false, 318.2),
            (3, 7, 4, false, 271.1),
            (3, 1, 2, false, 154.8),
        ] {
            let model = total(classes, most, bits, is_line);
            println!("{most} {bits} {is_line}: {model:.1} of {counted}");
            assert!((model / counted - 1.0).abs() < 0.04, "{most} {bits}: {model} of {counted}");
        }
    }

    #[test]
    fn bytes_are_those_of_planes() {
        let work = Work { shape: [16, 8, 3, 3], groups: 1, ..Work::default() };
        assert_eq!([127, 7, 1].map(|most| work.bytes(most)), [1152.0, 576.0, 288.0]);
    }
}
