//! Whole networks of YOLOv5n's shape, one thread, without a picture's resizing and the boxes' decoding.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ylb_kernels::registry::Dispatch;
use ylb_runtime::synthetic::{Size, Specification, yolov5};
use ylb_runtime::{Network, Session, SessionOptions};

fn networks(criterion: &mut Criterion) {
    let dispatch = Dispatch::from_environment().expect("YLB_KERNELS names micro-kernels of this CPU");
    let mut group = criterion.benchmark_group("yolov5n 320x320");
    group.sample_size(20);
    for [weight_bits, activation_bits] in [[1, 1], [1, 2], [2, 2], [4, 4], [8, 8]] {
        let model = yolov5(&Specification {
            size: Size::N,
            input: [320, 320],
            weight_bits,
            activation_bits,
            edge_weight_bits: 8,
            classes: 80,
            seed: 1,
        });
        let network = Arc::new(Network::new(model, &dispatch).expect("a valid network"));
        let options = SessionOptions { threads: 1, ..SessionOptions::default() };
        let mut session = Session::new(network, options).expect("a session");
        let pixels: Vec<u8> = (0..320 * 320 * 3).map(|index| (index * 31 % 256) as u8).collect();
        let id = BenchmarkId::from_parameter(format!("W{weight_bits}A{activation_bits}"));
        group.bench_function(id, |bencher| bencher.iter(|| session.run_pixels(&pixels).expect("a frame")));
    }
    group.finish();
}

criterion_group!(benches, networks);
criterion_main!(benches);
