//! Whole networks of YOLOv5n's shape, one thread, without a picture's resizing and the boxes' decoding;
//! with the feature `fp32` also rten, a float runtime in Rust, on the float network.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ylb_benches::{BITS, SIDE, network, pixels, session};

fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("yolov5n {SIDE}x{SIDE}"));
    group.sample_size(20);
    let pixels = pixels();
    for bits in BITS {
        let mut session = session(&network(bits), false);
        let id = BenchmarkId::from_parameter(format!("W{}A{}", bits[0], bits[1]));
        group.bench_function(id, |bencher| bencher.iter(|| session.run_pixels(&pixels).expect("a frame")));
    }
    #[cfg(feature = "fp32")]
    fp32::rten(&mut group);
    #[cfg(not(feature = "fp32"))]
    eprintln!("SKIPPED: rten in FP32 needs the feature fp32 (make bench has it)");
    group.finish();
}

#[cfg(feature = "fp32")]
mod fp32 {
    use std::path::Path;
    use std::sync::Arc;

    use criterion::measurement::WallTime;
    use criterion::{BenchmarkGroup, BenchmarkId};
    use rten::{Model, RunOptions, ThreadPool, ValueView};
    use rten_tensor::{AsView, NdTensor};
    use ylb_benches::{SIDE, float_model};

    /// rten on one thread.
    pub fn rten(group: &mut BenchmarkGroup<'_, WallTime>) {
        // Cargo gives benchmarks a folder in its own.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder in another");
        let Some(path) = float_model(target) else {
            eprintln!(
                "SKIPPED: rten in FP32 needs the float model that `MODELS_ONLY=1 make bench-peers` makes"
            );
            return;
        };
        let model = Model::load_file(path).expect("rten loads the model");
        let side = SIDE as usize;
        let picture = NdTensor::<f32, 4>::full([1, 3, side, side], 0.5);
        let pool = Arc::new(ThreadPool::with_num_threads(1));
        let mut run = || {
            let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
            let input = (model.input_ids()[0], ValueView::from(picture.view()).into());
            model.run(vec![input], model.output_ids(), Some(options)).expect("rten runs the model")
        };
        group.bench_function(BenchmarkId::from_parameter("rten FP32"), |bencher| bencher.iter(&mut run));
    }
}

criterion_group!(benches, networks);
criterion_main!(benches);
