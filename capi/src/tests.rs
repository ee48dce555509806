//! That no panic crosses the border. No file and no argument brings the library to one, so that these are
//! made here, of a model that no file can hold.

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use ylb_format::limits::{MAX_MAPS, MAX_PARTS};
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{LoadErrorKind, Network, SessionError};
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

use crate::failure::{Failure, guard, guard_value};
use crate::*;

fn last_error() -> String {
    // SAFETY: never NULL, and valid until the next failure.
    unsafe { CStr::from_ptr(ylb_last_error()) }.to_str().expect("UTF-8").to_owned()
}

/// A model with more parts than heads have room for: the network runs, and decoding panics.
fn model_that_panics() -> ylb_model {
    let mut model = synthetic::network(&Specification {
        net: Net::Yolov5(Size::N),
        input: [64, 96],
        weight_bits: 2,
        activation_bits: 2,
        edge_weight_bits: 8,
        classes: 4,
        activation: Activation::Relu,
        grid: Grid::Signed,
        seed: 1,
    });
    let map = model.detect.maps[0].clone();
    model.detect.maps.resize(MAX_MAPS * MAX_PARTS + 1, map);
    let dispatch = Dispatch::restricted_to("").expect("all micro-kernels");
    ylb_model::new(Network::new(model, &dispatch).expect("a network"))
}

#[test]
fn a_panic_becomes_a_status_and_a_text() {
    assert_eq!(guard(|| panic!("expected by this test")), ylb_status::YLB_ERROR_INTERNAL);
    assert!(last_error().starts_with("a fault inside yolo-lowbit"), "{}", last_error());
    assert_eq!(guard_value(7, || panic!("expected by this test")), 7);
    assert_eq!(guard(|| Ok(())), ylb_status::YLB_OK);
}

#[test]
fn a_text_is_one_line_without_a_zero() {
    let status = guard(|| Err(Failure::argument("a\nb\0c")));
    assert_eq!((status, last_error().as_str()), (ylb_status::YLB_ERROR_ARGUMENT, "a b c"));
}

#[test]
fn a_frame_that_panics_is_an_internal_error_and_leaves_nothing_to_read() {
    let model = model_that_panics();
    let options = ylb_session_options { threads: 2, profile: 1 };
    let mut session = null_mut();
    let pixels = [100u8; 50 * 40 * 3];
    let format = ylb_pixel_format::YLB_PIXELS_RGB as u32;
    let picture = ylb_picture { pixels: pixels.as_ptr(), width: 50, height: 40, stride: 0, format };
    let (mut found, mut count) = (null(), 77);
    let mut output = ylb_output { data: null(), length: 5, shape: null(), rank: 6 };
    let mut times = ylb_times { preprocess: 1.0, inference: 1.0, postprocess: 1.0 };
    let (mut layers, mut x, mut y) = (null(), 1.0f32, 2.0f32);
    // SAFETY: every pointer is to a local that lives until the session is freed.
    unsafe {
        assert_eq!(
            ylb_session_new(&raw const model, &raw const options, &raw mut session),
            ylb_status::YLB_OK
        );
        assert_eq!(ylb_session_run(session, &raw const picture), ylb_status::YLB_OK);
        assert_eq!(ylb_session_to_picture(session, &raw mut x, &raw mut y), ylb_status::YLB_OK);
        let status = ylb_session_detect(session, &raw const picture, null(), &raw mut found, &raw mut count);
        assert_eq!(status, ylb_status::YLB_ERROR_INTERNAL);
        assert!(found.is_null() && count == 77);
        assert!(last_error().contains("free this handle"), "{}", last_error());
        assert_eq!(ylb_session_output(session, 0, &raw mut output), ylb_status::YLB_ERROR_NO_FRAME);
        let status = ylb_session_to_picture(session, &raw mut x, &raw mut y);
        assert_eq!(status, ylb_status::YLB_ERROR_NO_FRAME);
        assert_eq!(ylb_session_times(session, &raw mut times), ylb_status::YLB_OK);
        assert_eq!(times, ylb_times { preprocess: 0.0, inference: 0.0, postprocess: 0.0 });
        assert_eq!(ylb_session_layers(session, &raw mut layers, &raw mut count), ylb_status::YLB_OK);
        assert_eq!(count, 0);
        ylb_session_free(session);
    }
}

#[test]
fn errors_of_the_runtime_have_the_status_that_the_header_names() {
    let io = || std::io::Error::other("none left");
    let status = |failure: Failure| guard(|| Err(failure));
    let cases = [
        (SessionError::Threads(io()), ylb_status::YLB_ERROR_RESOURCES),
        (SessionError::NoFrame, ylb_status::YLB_ERROR_NO_FRAME),
        (SessionError::Forked, ylb_status::YLB_ERROR_FORKED),
        (SessionError::Broken, ylb_status::YLB_ERROR_INTERNAL),
        (SessionError::Program(LoadErrorKind::NoKernel("a".to_owned())), ylb_status::YLB_ERROR_UNSUPPORTED),
    ];
    for (error, expected) in cases {
        let text = error.to_string();
        assert_eq!(status(error.into()), expected, "{text}");
        assert_eq!(last_error(), text);
    }
    let cases = [
        (LoadErrorKind::NoKernel("a".to_owned()), ylb_status::YLB_ERROR_UNSUPPORTED),
        (LoadErrorKind::Io(io()), ylb_status::YLB_ERROR_IO),
    ];
    for (kind, expected) in cases {
        let error = ylb_runtime::LoadError::from(kind);
        assert_eq!(status(error.into()), expected);
    }
}
