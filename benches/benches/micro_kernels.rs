//! Every registered convolution micro-kernel that this CPU can run, on one strip of a 3×3 layer.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ylb_kernels::layout::{Border, Form, Layout, READ_SLACK};
use ylb_kernels::registry::Dispatch;
use ylb_kernels::ukernel::{Conv, ConvTile, Operands, WeightBlock};

const CHANNELS: usize = 64;
const PIXELS: usize = 32;

/// Weight and activation bits.
const BITS: [[u8; 2]; 7] = [[1, 1], [1, 2], [2, 2], [2, 4], [3, 3], [4, 4], [8, 8]];

fn micro_kernels(criterion: &mut Criterion) {
    let dispatch = Dispatch::from_environment().expect("YLB_KERNELS names micro-kernels of this CPU");
    for [weight_bits, activation_bits] in BITS {
        let mut group = criterion.benchmark_group(format!("conv3x3 W{weight_bits}A{activation_bits}"));
        let span = if weight_bits == 1 { 1 } else { (1i16 << (weight_bits - 1)) - 1 };
        let operands = Operands {
            max_level: u8::MAX >> (8 - activation_bits),
            weight_bits,
            min_weight: -span as i8,
            max_weight: span as i8,
            depth: 3 * CHANNELS,
            outputs: 64,
        };
        for conv in dispatch.available() {
            if (conv.kernel().supports)(&operands) {
                let mut strip = Strip::new(*conv, &operands);
                group.throughput(Throughput::Elements(strip.macs()));
                group.bench_function(BenchmarkId::from_parameter(conv.kernel().name), |bencher| {
                    bencher.iter(|| strip.run());
                });
            }
        }
        group.finish();
    }
}

/// A strip of output pixels by one block, with operands that look random.
struct Strip {
    conv: Conv,
    input: Vec<u8>,
    layout: Layout,
    runs: Vec<usize>,
    weights: Vec<u8>,
    weight_bits: u8,
    activation_bits: u8,
    sums: Vec<i32>,
}

impl Strip {
    fn new(conv: Conv, operands: &Operands) -> Self {
        let kernel = conv.kernel();
        let form = conv.input_form(operands.max_level);
        let layout = Layout::dense(form, CHANNELS, 3, PIXELS + 2, Border::default());
        let activation_bits = match form {
            Form::Planes { bits } => bits,
            Form::Bytes => 8,
        };
        let mask = match form {
            Form::Planes { .. } => u8::MAX,
            Form::Bytes => operands.max_level,
        };
        let noise = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        let input = (0..layout.len() + READ_SLACK).map(|index| noise(index) & mask).collect();
        let runs: Vec<usize> = (0..3).map(|row| row * layout.row_stride()).collect();
        let code = |index: usize| match kernel.bit_serial {
            true => noise(index) & (u8::MAX >> (8 - operands.weight_bits)),
            false => (noise(index) as i8 % operands.max_weight.max(1)) as u8,
        };
        let codes: Vec<u8> = (0..kernel.nr * runs.len() * operands.depth).map(code).collect();
        let weight_bits = if kernel.bit_serial { operands.weight_bits } else { 8 };
        let block = WeightBlock { codes: &codes, runs: runs.len(), depth: operands.depth, weight_bits };
        let mut weights = vec![0; (kernel.packed_len)(runs.len(), operands.depth, weight_bits)];
        (kernel.pack)(&block, &mut weights);
        let sums = vec![0; PIXELS * kernel.nr];
        Self { conv, input, layout, runs, weights, weight_bits, activation_bits, sums }
    }

    fn macs(&self) -> u64 {
        (PIXELS * self.conv.kernel().nr * 9 * CHANNELS) as u64
    }

    fn run(&mut self) {
        self.conv.run(&mut ConvTile {
            input: &self.input,
            input_offset: 0,
            pixel_step: self.layout.pixel_stride,
            runs: &self.runs,
            depth: 3 * CHANNELS,
            activation_bits: self.activation_bits,
            weight_bits: self.weight_bits,
            weights: &self.weights,
            pixels: PIXELS,
            sums: &mut self.sums,
            sums_stride: self.conv.kernel().nr,
            totals: &mut [],
        });
    }
}

criterion_group!(benches, micro_kernels);
criterion_main!(benches);
