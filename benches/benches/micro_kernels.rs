//! Every registered convolution micro-kernel that this CPU can run, on one strip of pixels. Elements are the
//! multiply-accumulates of a direct convolution, whatever the micro-kernel does instead.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ylb_kernels::families::direct::Conv;
use ylb_kernels::registry;
use ylb_kernels::synthetic::{Shape, Special, SpecialStrip, Strip};

/// Weight and activation bits.
const BITS: [[u8; 2]; 7] = [[1, 1], [1, 2], [2, 2], [2, 4], [3, 3], [4, 4], [8, 8]];

/// A 3×3 layer and a 1×1 layer.
const SHAPES: [Shape; 2] = [
    Shape { kernel: [3, 3], channels: 64, outputs: 64, pixels: 32 },
    Shape { kernel: [1, 1], channels: 128, outputs: 64, pixels: 32 },
];

fn micro_kernels(criterion: &mut Criterion) {
    for shape in SHAPES {
        for [weight_bits, activation_bits] in BITS {
            let [rows, columns] = shape.kernel;
            let name =
                format!("{rows}x{columns}, {} channels, W{weight_bits}A{activation_bits}", shape.channels);
            let mut group = criterion.benchmark_group(name);
            group.sample_size(20).warm_up_time(Duration::from_millis(100));
            group.measurement_time(Duration::from_millis(400));
            let operands = shape.operands(weight_bits, activation_bits);
            let supports = |conv: &Conv| (conv.kernel().supports)(&operands);
            for conv in registry::available().filter(supports) {
                let mut strip = Strip::new(conv, shape, &operands);
                group.throughput(Throughput::Elements(strip.macs()));
                group.bench_function(BenchmarkId::from_parameter(conv.kernel().name), |bencher| {
                    bencher.iter(|| strip.run());
                });
            }
            for special in Special::of(shape, &operands) {
                let mut strip = SpecialStrip::new(special, shape, &operands);
                group.throughput(Throughput::Elements(strip.macs()));
                group.bench_function(BenchmarkId::from_parameter(special.name()), |bencher| {
                    bencher.iter(|| strip.run());
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, micro_kernels);
criterion_main!(benches);
