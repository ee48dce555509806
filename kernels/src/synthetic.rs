//! Calls of micro-kernels on made-up operands, to time them.

mod requantize;
mod special;

pub use requantize::RequantizeStrip;
pub use special::{Special, SpecialStrip, chosen};

use crate::families::direct::{Conv, ConvTile, Operands, WeightBlock};
use crate::layout::{Border, Form, Layout, READ_SLACK};

/// Size of a timed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows and columns of the convolution's kernel.
    pub kernel: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// Output channels of the convolution; a call computes one block of them.
    pub outputs: usize,
    /// Output pixels of a call.
    pub pixels: usize,
}

impl Shape {
    /// What a convolution of this size, with levels and symmetric weights of so many bits, asks of a
    /// micro-kernel. One-bit weights are −1 and +1.
    ///
    /// # Panics
    /// If a width is not 1 to 8.
    pub fn operands(&self, weight_bits: u8, activation_bits: u8) -> Operands {
        assert!((1..=8).contains(&weight_bits) && (1..=8).contains(&activation_bits));
        let max_weight = if weight_bits == 1 { 1 } else { i8::MAX >> (8 - weight_bits) };
        Operands {
            max_level: u8::MAX >> (8 - activation_bits),
            weight_bits,
            min_weight: -max_weight,
            max_weight,
            depth: self.kernel[1] * self.channels,
            outputs: self.outputs,
        }
    }
}

/// A strip of output pixels by one block of output channels, with operands that look random.
#[derive(Debug)]
pub struct Strip {
    conv: Conv,
    shape: Shape,
    input: Vec<u8>,
    layout: Layout,
    runs: Vec<usize>,
    weights: Vec<u8>,
    weight_bits: u8,
    activation_bits: u8,
    sums: Vec<i32>,
}

impl Strip {
    /// Makes up and packs the operands of one call.
    ///
    /// # Panics
    /// If the micro-kernel does not support the operands, or reads planes and the channels are no multiple
    /// of 8.
    pub fn new(conv: Conv, shape: Shape, operands: &Operands) -> Self {
        let kernel = conv.kernel();
        assert!((kernel.supports)(operands), "{} does not support {operands:?}", kernel.name);
        let form = conv.input_form(operands.max_level);
        let [rows, columns] = shape.kernel;
        let width = shape.pixels + columns - 1;
        let layout = Layout::dense(form, shape.channels, rows, width, Border::default());
        let (activation_bits, mask) = match form {
            Form::Planes { bits } => (bits, u8::MAX),
            Form::Bytes => (8, operands.max_level),
        };
        let noise = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        let input = (0..layout.len() + READ_SLACK).map(|index| noise(index) & mask).collect();
        let runs: Vec<usize> = (0..rows).map(|row| row * layout.row_stride()).collect();
        let (low, high) = (i16::from(operands.min_weight), i16::from(operands.max_weight));
        let code = |index: usize| {
            if kernel.bit_serial {
                noise(index) & (u8::MAX >> (8 - operands.weight_bits))
            } else {
                (low + i16::from(noise(index)) % (high - low + 1)) as u8
            }
        };
        let codes: Vec<u8> = (0..kernel.nr * rows * operands.depth).map(code).collect();
        let weight_bits = if kernel.bit_serial { operands.weight_bits } else { 8 };
        let block = WeightBlock { codes: &codes, runs: rows, depth: operands.depth, weight_bits };
        let mut weights = vec![0; (kernel.packed_len)(rows, operands.depth, weight_bits)];
        (kernel.pack)(&block, &mut weights);
        let sums = vec![0; shape.pixels * kernel.nr];
        Self { conv, shape, input, layout, runs, weights, weight_bits, activation_bits, sums }
    }

    /// Multiply-accumulates of a call, counting only outputs that exist.
    pub fn macs(&self) -> u64 {
        let Shape { kernel: [rows, columns], channels, outputs, pixels } = self.shape;
        (pixels * outputs.min(self.conv.kernel().nr) * rows * columns * channels) as u64
    }

    /// Computes the sums.
    pub fn run(&mut self) {
        self.conv.run(&mut ConvTile {
            input: &self.input,
            input_offset: 0,
            pixel_step: self.layout.pixel_stride,
            runs: &self.runs,
            depth: self.shape.kernel[1] * self.shape.channels,
            activation_bits: self.activation_bits,
            weight_bits: self.weight_bits,
            weights: &self.weights,
            pixels: self.shape.pixels,
            sums: &mut self.sums,
            sums_stride: self.conv.kernel().nr,
            totals: &mut [],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn every_micro_kernel_runs_on_what_it_supports() {
        let shape = Shape { kernel: [3, 3], channels: 16, outputs: 64, pixels: 5 };
        let mut runs = 0;
        for conv in registry::available::<crate::families::direct::ConvKernel>() {
            for bits in [[1, 1], [2, 2], [4, 4], [8, 8]] {
                let operands = shape.operands(bits[0], bits[1]);
                if (conv.kernel().supports)(&operands) {
                    let mut strip = Strip::new(conv, shape, &operands);
                    strip.run();
                    assert!(strip.sums.iter().any(|&sum| sum != 0), "{}", conv.kernel().name);
                    assert_eq!(strip.macs(), 5 * 64.min(conv.kernel().nr) as u64 * 144);
                    runs += 1;
                }
            }
        }
        assert!(runs >= 4, "the portable micro-kernels take all of these");
    }
}
