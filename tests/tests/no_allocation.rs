//! After the first frame nothing is allocated, whatever the number of threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ylb_kernels::registry::Dispatch;
use ylb_runtime::synthetic::{Size, Specification, yolov5};
use ylb_runtime::{DetectOptions, Network, Picture, PixelFormat, Session, SessionOptions};

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

#[test]
fn frames_after_the_first_allocate_nothing() {
    let model = yolov5(&Specification {
        size: Size::N,
        input: [64, 96],
        weight_bits: 2,
        activation_bits: 2,
        edge_weight_bits: 8,
        classes: 4,
        seed: 1,
    });
    let dispatch = Dispatch::restricted_to("").expect("all micro-kernels");
    let network = Arc::new(Network::new(model, &dispatch).expect("a network"));
    for threads in [1, 2, 4] {
        let options = SessionOptions { threads, ..SessionOptions::default() };
        let mut session = Session::new(Arc::clone(&network), options).expect("a session");
        let pixels: Vec<u8> = (0..200 * 150 * 3).map(|byte| (byte * 7 % 251) as u8).collect();
        let picture = Picture::new(&pixels, 200, 150, PixelFormat::Rgb).expect("a picture");
        // A low threshold, so that there is something to decode and to suppress.
        let options = DetectOptions { confidence: 0.001, ..DetectOptions::default() };
        let found = session.detect(&picture, &options).expect("a frame").len();
        assert!(found > 0, "the random network should find something");
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        // More frames than rayon's queue holds in a block (63): its blocks are allocations, too.
        for _ in 0..130 {
            session.detect(&picture, &options).expect("a frame");
        }
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocated, 0, "{allocated} allocations in 130 frames on {threads} threads");
    }
}
