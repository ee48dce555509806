//! A session allocates when it is made, and frames nothing: whatever the number of threads, the sizes and
//! formats of pictures, the options and the number of objects. `capi/tests/c/allocation.c` shows it through C.
//!
//! One test alone: another beside it would be counted, too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ylb_format::model::{BoxRule, Model, ScoreRule};
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{DetectOptions, Network, Picture, PixelFormat, Session, SessionOptions};
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator; counting has no part in it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `pointer` is of the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `frames`.
fn allocations(frames: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    frames();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

fn model() -> Model {
    synthetic::network(&Specification {
        net: Net::Yolov5(Size::N),
        input: [64, 96],
        weight_bits: 2,
        activation_bits: 2,
        edge_weight_bits: 8,
        classes: 4,
        activation: Activation::Relu,
        grid: Grid::Signed,
        seed: 1,
    })
}

/// The same network with a head of distances and distributions, and classes without an objectness or with shares.
fn other_heads() -> Vec<Model> {
    let rules = [
        (BoxRule::Distances, ScoreRule::Class),
        (BoxRule::Distributions { bins: 4 }, ScoreRule::Class),
        (BoxRule::GridExp, ScoreRule::ObjectnessTimesSoftmax),
    ];
    let changed = |(boxes, scores)| {
        let mut model = model();
        let detect = &mut model.detect;
        (detect.boxes, detect.scores) = (boxes, scores);
        for map in &mut detect.maps {
            let channels = map.parts[0].multipliers.len() as u32;
            detect.classes = channels - boxes.fields() - u32::from(scores.has_objectness());
            (map.anchors_per_cell, map.anchors, map.scale_xy) = (1, Vec::new(), 1.0);
            map.parts[0].fields = 0..channels;
            if boxes == BoxRule::Distances {
                // Of random signs most boxes have no area: a cell more on each side.
                let cell = 1i64 << (24 + map.parts[0].shift);
                map.parts[0].bias[..4].iter_mut().for_each(|bias| *bias += cell);
            }
        }
        model
    };
    rules.map(changed).into()
}

fn network(model: Model) -> Arc<Network> {
    let dispatch = Dispatch::restricted_to("").expect("all micro-kernels");
    Arc::new(Network::new(model, &dispatch).expect("a network"))
}

/// What is done with a session from its first frame on.
type Case = (&'static str, fn(&mut Session, &[u8]));

const CASES: [Case; 7] = [
    ("the same frame again and again", |session, pixels| {
        // A low threshold, so that there is something to decode and to suppress. More frames than rayon's queue holds
        // in a block (63): its blocks are allocations, too.
        let options = DetectOptions { confidence: 0.001, ..DetectOptions::default() };
        for _ in 0..130 {
            assert!(found(session, pixels, &options) > 0, "the random network should find something");
        }
    }),
    ("more and more objects", |session, pixels| {
        let mut last = 0;
        for confidence in [0.999, 0.3, 0.1, 0.01, 0.001, 0.0] {
            let options = DetectOptions { confidence, ..DetectOptions::default() };
            last = found(session, pixels, &options);
        }
        assert!(last > 0);
    }),
    ("larger and larger limits", |session, pixels| {
        let counts = [1, 10, 100, 300, 1000, usize::MAX].map(|max_detections| {
            let options =
                DetectOptions { confidence: 0.0, iou: 1.0, max_detections, ..DetectOptions::default() };
            found(session, pixels, &options)
        });
        assert!(counts.is_sorted() && counts[5] > 300, "{counts:?}");
    }),
    ("several labels a box, at last", |session, pixels| {
        let options =
            DetectOptions { confidence: 0.0, iou: 1.0, max_detections: usize::MAX, ..Default::default() };
        let one = found(session, pixels, &options);
        let many = found(session, pixels, &DetectOptions { multi_label: true, ..options });
        assert!(many > one, "{many} of {one}");
    }),
    ("pictures of all sizes and formats", |session, pixels| {
        use PixelFormat::{Bgr, Bgra, Gray, Nv12, Rgb, Rgba, Yuyv};
        let options = DetectOptions { confidence: 0.001, ..DetectOptions::default() };
        for (number, format) in
            [Gray, Rgb, Bgr, Rgba, Bgra, Yuyv, Nv12].into_iter().cycle().take(70).enumerate()
        {
            let (width, height) = (2 * (1 + number * 37 % 90), 2 * (1 + number * 53 % 60));
            let picture = Picture { pixels, width, height, stride: width * format.bytes(), format };
            session.detect(&picture, &options).expect("a frame");
        }
    }),
    ("the network alone", |session, pixels| {
        session.run_picture(&rgb(pixels)).expect("a frame");
        session.run_pixels(&pixels[..3 * 64 * 96]).expect("a frame");
        session.run_tensor(&[0.0; 3 * 64 * 96]).expect("a frame");
        session.run_picture(&rgb(pixels)).expect("a frame");
    }),
    ("its times and the picture's place", |session, pixels| {
        session.run_picture(&rgb(pixels)).expect("a frame");
        assert!(session.times().inference > std::time::Duration::ZERO && session.profile().len() > 60);
        assert!(session.placement().is_some());
    }),
];

fn rgb(pixels: &[u8]) -> Picture<'_> {
    Picture::new(&pixels[..200 * 150 * 3], 200, 150, PixelFormat::Rgb).expect("a picture")
}

fn found(session: &mut Session, pixels: &[u8], options: &DetectOptions) -> usize {
    session.detect(&rgb(pixels), options).expect("a frame").len()
}

#[test]
fn frames_allocate_nothing() {
    let network = network(model());
    let pixels: Vec<u8> = (0..200 * 150 * 4).map(|byte| (byte * 7 % 251) as u8).collect();
    // Lists of classes are the caller's, and are made before.
    let lists: Vec<DetectOptions> = [vec![], vec![2], vec![0, 1, 2, 3, 3, 9], vec![1; 1000]]
        .map(|classes| DetectOptions { confidence: 0.001, classes: Some(classes), ..Default::default() })
        .into();
    for threads in [1, 2, 4] {
        let session = || {
            let options = SessionOptions { threads, profile: true, ..SessionOptions::default() };
            Session::new(Arc::clone(&network), options).expect("a session")
        };
        for (name, frames) in CASES {
            let mut session = session();
            let allocated = allocations(|| frames(&mut session, &pixels));
            assert_eq!(allocated, 0, "{name}, on {threads} threads");
        }
        let mut session = session();
        let allocated = allocations(|| {
            for options in &lists {
                found(&mut session, &pixels, options);
            }
        });
        assert_eq!(allocated, 0, "lists of classes, on {threads} threads");
        // The count counts: what is handed out as tensors is allocated, as the documentation says.
        assert!(allocations(|| drop(session.outputs())) > 0);
    }
    for model in other_heads() {
        let mut session = Session::new(self::network(model), SessionOptions::default()).expect("a session");
        for (name, frames) in [&CASES[0], &CASES[1], &CASES[3]] {
            assert_eq!(allocations(|| frames(&mut session, &pixels)), 0, "{name}, of another head");
        }
    }
}
