//! Operands of micro-kernel calls, and what the calls must return.
#![allow(dead_code)] // Every test file uses a part.

use ylb_kernels::families::direct::{Conv, ConvKernel, ConvTile, Operands, WeightBlock};
use ylb_kernels::layout::READ_SLACK;

/// A generator of reproducible numbers: the linear congruential one of Knuth's MMIX.
pub struct Random(pub u64);

impl Random {
    /// A number of `range`, which has at most 2^32 elements.
    pub fn within(&mut self, range: std::ops::RangeInclusive<i32>) -> i32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let span = (i64::from(*range.end()) - i64::from(*range.start()) + 1) as u64;
        (i64::from(*range.start()) + ((self.0 >> 32) % span) as i64) as i32
    }
}

/// Size of a call.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Output pixels.
    pub pixels: usize,
    /// Runs of a window.
    pub runs: usize,
    /// Levels of a run.
    pub depth: usize,
    /// Levels from a window to the next; a multiple of 8 for bit-serial micro-kernels.
    pub step: usize,
    /// Outputs of the block that exist.
    pub outputs: usize,
}

/// How weights and levels are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// At random.
    Random(u64),
    /// The largest of both.
    Largest,
    /// The smallest weight, the largest level.
    Smallest,
    /// At random, with levels of 0 in the first run, as a border has, and in three channels of eight, as
    /// channels that fill up a group have: whatever weights they meet, they must not count.
    Holes(u64),
}

/// A call of a micro-kernel with all its operands.
pub struct Case {
    pub operands: Operands,
    pub shape: Shape,
    pub input: Vec<u8>,
    pub input_offset: usize,
    pub runs: Vec<usize>,
    pub pixel_step: usize,
    pub weights: Vec<u8>,
    /// Outputs of a block.
    pub nr: usize,
    /// `[pixels][nr]`
    pub expected_sums: Vec<i32>,
    /// `[pixels]`
    pub expected_totals: Vec<i32>,
}

/// Weights and levels that the families of micro-kernels are tested with: all that `kernel` supports.
pub fn operands_of(kernel: &ConvKernel, depth: usize, outputs: usize) -> Vec<Operands> {
    let mut all = Vec::new();
    let mut push = |max_level, weight_bits, min_weight, max_weight| {
        let operands = Operands { max_level, weight_bits, min_weight, max_weight, depth, outputs };
        if (kernel.supports)(&operands) {
            all.push(operands);
        }
    };
    if kernel.bit_serial {
        for weight_bits in 1..=4 {
            for level_bits in 1..=4 {
                push((1 << level_bits) - 1, weight_bits, 0, (1 << weight_bits) - 1);
            }
        }
        // Levels that do not use all codes of their planes.
        push(4, 2, 0, 3);
    } else {
        for max_level in [1, 3, 15, 127, 255] {
            for (weight_bits, min_weight, max_weight) in [
                (1, -1, 1),
                (2, -2, 1),
                (3, -4, 3),
                (4, -8, 7),
                (4, -15, 15),
                (7, -64, 63),
                (8, -127, 127),
                (8, -128, 127),
            ] {
                push(max_level, weight_bits, min_weight, max_weight);
            }
        }
    }
    all
}

impl Case {
    /// Makes operands and computes the result by the formula of `ukernel`.
    pub fn new(kernel: &ConvKernel, operands: Operands, shape: Shape, fill: Fill) -> Self {
        let Shape { pixels, runs, depth, step, outputs } = shape;
        let mut random = Random(if let Fill::Random(seed) | Fill::Holes(seed) = fill { seed } else { 0 });
        let max_level = i32::from(operands.max_level);
        let weight_range = if kernel.bit_serial {
            0..=(1 << operands.weight_bits) - 1
        } else {
            i32::from(operands.min_weight)..=i32::from(operands.max_weight)
        };
        let row_len = pixels.saturating_sub(1) * step + depth;
        let row_len = if kernel.bit_serial { row_len.next_multiple_of(8) } else { row_len };
        let mut level = |index: usize| match fill {
            Fill::Holes(_) if index < row_len || index % row_len % 8 >= 5 => 0,
            Fill::Random(_) | Fill::Holes(_) => random.within(0..=max_level),
            Fill::Largest | Fill::Smallest => max_level,
        };
        // Without runs, there must still be something for an offset to point to.
        let levels: Vec<i32> = (0..runs.max(1) * row_len).map(&mut level).collect();
        let mut weight = |output: usize| match fill {
            _ if output >= outputs => 0,
            Fill::Random(_) | Fill::Holes(_) => random.within(weight_range.clone()),
            Fill::Largest => *weight_range.end(),
            Fill::Smallest => *weight_range.start(),
        };
        let count = kernel.nr * runs * depth;
        let weights: Vec<i32> = (0..count).map(|index| weight(index / (runs * depth))).collect();

        let mut expected_sums = Vec::new();
        let mut expected_totals = Vec::new();
        for p in 0..pixels {
            for o in 0..kernel.nr {
                let mut sum = 0;
                for r in 0..runs {
                    for k in 0..depth {
                        sum += weights[(o * runs + r) * depth + k] * levels[r * row_len + p * step + k];
                    }
                }
                expected_sums.push(sum);
            }
            let window = (0..runs).flat_map(|r| &levels[r * row_len + p * step..][..depth]);
            expected_totals.push(window.sum());
        }

        let bits = level_bits(&operands);
        let stored = |levels: usize| if kernel.bit_serial { levels / 8 * bits } else { levels };
        // Some bytes in front, so that offsets count; ones behind, so that over-reads show.
        let input_offset = 3;
        let mut input = vec![0xff; input_offset];
        input.extend(if kernel.bit_serial { planes(&levels, bits) } else { bytes(&levels) });
        input.extend([0xff; READ_SLACK]);
        let codes: Vec<u8> = weights.iter().map(|&weight| weight as u8).collect();
        let block = WeightBlock { codes: &codes, runs, depth, weight_bits: operands.weight_bits };
        let mut packed = vec![0xa5; (kernel.packed_len)(runs, depth, operands.weight_bits)];
        (kernel.pack)(&block, &mut packed);
        Self {
            operands,
            shape,
            input,
            input_offset,
            runs: (0..runs).map(|r| stored(r * row_len)).collect(),
            pixel_step: stored(step),
            weights: packed,
            nr: kernel.nr,
            expected_sums,
            expected_totals,
        }
    }

    /// The call's argument, with operands that may lie elsewhere.
    pub fn tile<'a>(
        &'a self,
        input: &'a [u8],
        weights: &'a [u8],
        sums: &'a mut [i32],
        totals: &'a mut [i32],
    ) -> ConvTile<'a> {
        ConvTile {
            input,
            input_offset: self.input_offset,
            pixel_step: self.pixel_step,
            runs: &self.runs,
            depth: self.shape.depth,
            activation_bits: level_bits(&self.operands) as u8,
            weight_bits: self.operands.weight_bits,
            weights,
            pixels: self.shape.pixels,
            sums,
            sums_stride: self.nr,
            totals,
        }
    }

    /// Runs the micro-kernel; says what differs.
    pub fn failure(&self, conv: &Conv) -> Option<String> {
        let mut sums = vec![i32::MIN; self.expected_sums.len()];
        let mut totals = vec![i32::MIN; self.expected_totals.len()];
        conv.run(&mut self.tile(&self.input, &self.weights, &mut sums, &mut totals));
        let name = conv.kernel().name;
        let told = |what: &str, found: &[i32], expected: &[i32]| {
            let at = (0..expected.len()).find(|&at| found[at] != expected[at])?;
            let (operands, shape) = (self.operands, self.shape);
            Some(format!(
                "{name}: {what}[{at}] = {}, expected {}: {operands:?} {shape:?}",
                found[at], expected[at]
            ))
        };
        told("sums", &sums, &self.expected_sums).or_else(|| told("totals", &totals, &self.expected_totals))
    }
}

/// Planes of a level.
fn level_bits(operands: &Operands) -> usize {
    (8 - operands.max_level.leading_zeros()) as usize
}

fn bytes(levels: &[i32]) -> Vec<u8> {
    levels.iter().map(|&level| level as u8).collect()
}

/// Planes as `layout` defines them, a bit at a time.
pub fn planes(levels: &[i32], bits: usize) -> Vec<u8> {
    let mut planes = vec![0; levels.len().div_ceil(8) * bits];
    for (channel, level) in levels.iter().enumerate() {
        for plane in 0..bits {
            planes[channel / 8 * bits + plane] |= ((level >> plane & 1) as u8) << (channel % 8);
        }
    }
    planes
}

/// Fails with the number of failures and the first of them.
pub fn report(cases: usize, failures: &[String]) {
    assert!(cases > 0, "nothing was tested");
    let samples = failures.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {cases} cases failed, such as\n{samples}", failures.len());
}
