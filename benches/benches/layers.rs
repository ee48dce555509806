//! Every convolution of YOLOv5n that differs in size, one thread: ours at each width, within a run of
//! the whole network, and the same in FP32 by im2col and the crate `gemm`.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ylb_benches::{BITS, Layer, layers, network, pixels, session};

fn convolutions(criterion: &mut Criterion) {
    let pixels = pixels();
    let mut sessions: Vec<_> = BITS.map(|bits| (bits, session(&network(bits), true))).into();
    for (number, layer) in layers(&network(BITS[0])) {
        let mut group = criterion.benchmark_group(layer.to_string());
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(600)).throughput(Throughput::Elements(layer.macs()));
        let mut float = FloatConv::new(layer);
        group.bench_function(BenchmarkId::from_parameter("FP32 gemm"), |bencher| {
            bencher.iter(|| float.run());
        });
        for ([weight_bits, activation_bits], session) in &mut sessions {
            let id = BenchmarkId::from_parameter(format!("W{weight_bits}A{activation_bits}"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut time = Duration::ZERO;
                    for _ in 0..iterations {
                        session.run_pixels(&pixels).expect("a frame");
                        time += session.profile()[number];
                    }
                    time
                });
            });
        }
        group.finish();
    }
}

/// A convolution in float: im2col, a matrix product, then bias and ReLU. Tensors are
/// `[channel][row][column]`.
struct FloatConv {
    layer: Layer,
    /// `[output][input][kernel row][kernel column]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// With the padding around.
    input: Vec<f32>,
    /// `[input][kernel row][kernel column][pixel]`; unused by 1x1 convolutions.
    columns: Vec<f32>,
    output: Vec<f32>,
}

impl FloatConv {
    fn new(layer: Layer) -> Self {
        let Layer { kernel, channels: [inputs, outputs], side, .. } = layer;
        let noise = |len: usize| (0..len).map(|index| (index * 37 % 101) as f32 / 101.0 - 0.5).collect();
        let depth = inputs * kernel * kernel;
        let extent = Self::extent(&layer);
        Self {
            layer,
            weights: noise(outputs * depth),
            bias: noise(outputs),
            input: noise(inputs * extent * extent),
            columns: if kernel == 1 { Vec::new() } else { vec![0.0; depth * side * side] },
            output: vec![0.0; outputs * side * side],
        }
    }

    /// Rows and columns that the windows reach over.
    fn extent(layer: &Layer) -> usize {
        (layer.side - 1) * layer.stride + layer.kernel
    }

    fn run(&mut self) {
        let pixels = self.layer.side * self.layer.side;
        if self.layer.kernel > 1 {
            self.im2col();
        }
        let right = if self.layer.kernel > 1 { &self.columns } else { &self.input };
        let outputs = self.layer.channels[1];
        let depth = self.weights.len() / outputs;
        assert!(right.len() == depth * pixels && self.output.len() == outputs * pixels);
        let strides = [1, pixels as isize];
        // SAFETY: the matrices are [outputs][depth], [depth][pixels] and [outputs][pixels], row by row, as
        // the assertion and the length of `weights` say; the output is borrowed mutably.
        unsafe {
            gemm::gemm(
                outputs,
                pixels,
                depth,
                self.output.as_mut_ptr(),
                strides[0],
                strides[1],
                false,
                self.weights.as_ptr(),
                1,
                depth as isize,
                right.as_ptr(),
                strides[0],
                strides[1],
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        for (row, bias) in self.output.chunks_exact_mut(pixels).zip(&self.bias) {
            row.iter_mut().for_each(|sum| *sum = (*sum + bias).max(0.0));
        }
    }

    fn im2col(&mut self) {
        let Layer { kernel, stride, side, .. } = self.layer;
        let extent = Self::extent(&self.layer);
        for (number, out) in self.columns.chunks_exact_mut(side * side).enumerate() {
            let (channel, tap) = (number / (kernel * kernel), number % (kernel * kernel));
            let start = (channel * extent + tap / kernel) * extent + tap % kernel;
            for (y, out) in out.chunks_exact_mut(side).enumerate() {
                let row = &self.input[start + y * stride * extent..];
                if stride == 1 {
                    out.copy_from_slice(&row[..side]);
                } else {
                    out.iter_mut().zip(row.iter().step_by(stride)).for_each(|(out, input)| *out = *input);
                }
            }
        }
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
