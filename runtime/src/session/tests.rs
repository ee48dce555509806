//! What a session's results are of: before a frame, after each kind of frame, and after one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ylb_kernels::registry::Dispatch;
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

use super::*;
use crate::PixelFormat;

const INPUT: [u32; 2] = [64, 96];
const SIZE: [usize; 2] = [200, 150];

fn network(change: impl FnOnce(&mut Model)) -> Arc<Network> {
    let mut model = synthetic::network(&Specification {
        net: Net::Yolov5(Size::N),
        input: INPUT,
        weight_bits: 2,
        activation_bits: 2,
        edge_weight_bits: 8,
        classes: 4,
        activation: Activation::Relu,
        grid: Grid::Signed,
        seed: 1,
    });
    change(&mut model);
    let dispatch = Dispatch::restricted_to("").expect("all micro-kernels");
    Arc::new(Network::new(model, &dispatch).expect("a network"))
}

fn session(network: &Arc<Network>, threads: usize) -> Session {
    let options = SessionOptions { threads, profile: true, keep_values: true };
    Session::new(Arc::clone(network), options).expect("a session")
}

fn pixels() -> Vec<u8> {
    (0..SIZE[0] * SIZE[1] * 3).map(|byte| (byte * 7 % 251) as u8).collect()
}

fn picture(pixels: &[u8]) -> Picture<'_> {
    Picture::new(pixels, SIZE[0], SIZE[1], PixelFormat::Rgb).expect("a picture")
}

fn low() -> DetectOptions {
    DetectOptions { confidence: 0.001, ..DetectOptions::default() }
}

fn tensor() -> Vec<f32> {
    let len = 3 * INPUT[0] as usize * INPUT[1] as usize;
    (0..len).map(|index| (index * 31 % 256) as f32 / 255.0).collect()
}

fn assert_nothing_to_read(session: &Session) {
    assert!(session.outputs().is_err());
    assert!(session.codes().is_empty() && session.profile().is_empty());
    assert_eq!(session.times(), StageTimes::default());
    assert!(session.placement().is_none());
}

/// Everything that can be read after a frame.
fn results(session: &Session) -> (Vec<OutputTensor>, Vec<CodesTensor>, Vec<Duration>, StageTimes, Placement) {
    let outputs = session.outputs().expect("outputs");
    let placement = *session.placement().expect("a frame");
    (outputs, session.codes(), session.profile().to_vec(), session.times(), placement)
}

#[test]
fn before_a_frame_there_is_nothing_to_read() {
    let session = session(&network(|_| ()), 1);
    assert_nothing_to_read(&session);
    assert!(matches!(session.outputs(), Err(SessionError::NoFrame)));
}

#[test]
fn a_tensor_takes_nothing_from_an_older_picture() {
    let network = network(|_| ());
    let mut session = session(&network, 1);
    let pixels = pixels();
    assert!(!session.detect(&picture(&pixels), &low()).expect("a frame").is_empty());
    let times = session.times();
    assert!(times.preprocess > Duration::ZERO && times.postprocess > Duration::ZERO);
    let point = session.placement().expect("a frame").to_picture(48.0, 32.0);
    assert_ne!(point, (48.0, 32.0));

    let bytes: Vec<u8> = pixels[..tensor().len()].to_vec();
    for with_tensor in [true, false] {
        if with_tensor {
            session.run_tensor(&tensor()).expect("a frame");
        } else {
            session.run_pixels(&bytes).expect("a frame");
        }
        let times = session.times();
        assert_eq!(times.postprocess, Duration::ZERO);
        assert!(times.inference > Duration::ZERO);
        let placement = session.placement().expect("a frame");
        assert_eq!(placement.to_picture(48.0, 32.0), (48.0, 32.0));
        assert_eq!(placement.to_picture(-3.0, 70.0), (0.0, 64.0));
        // And the next picture is placed anew, though it is of the same size.
        session.run_picture(&picture(&pixels)).expect("a frame");
        assert_eq!(session.placement().expect("a frame").to_picture(48.0, 32.0), point);
        assert_eq!(session.times().postprocess, Duration::ZERO);
    }
}

#[test]
fn what_is_refused_leaves_the_last_frame_as_it_was() {
    let network = network(|_| ());
    for threads in [1, 2] {
        let mut session = session(&network, threads);
        let pixels = pixels();
        session.detect(&picture(&pixels), &low()).expect("a frame");
        let before = results(&session);

        let wrong = DetectOptions { confidence: 1.5, ..low() };
        assert!(session.detect(&picture(&pixels), &wrong).is_err());
        let short = Picture { height: SIZE[1] + 1, ..picture(&pixels) };
        assert!(session.detect(&short, &low()).is_err());
        assert!(session.run_picture(&short).is_err());
        assert!(session.run_pixels(&pixels[..5]).is_err());
        assert!(session.run_tensor(&[0.0]).is_err());
        // Wrong in the last element: none before it may have been written.
        let mut tensor = tensor();
        *tensor.last_mut().expect("elements") = 0.4999;
        let error = session.run_tensor(&tensor).expect_err("no k/255");
        assert!(matches!(error, SessionError::TensorValue { index, .. } if index == tensor.len() - 1));
        assert_eq!(results(&session), before, "{threads} threads");
    }
}

#[test]
fn a_frame_that_panics_in_the_network_leaves_nothing() {
    let network = network(|_| ());
    for threads in [1, 2] {
        let mut session = session(&network, threads);
        let pixels = pixels();
        session.detect(&picture(&pixels), &low()).expect("a frame");
        session.begin().expect("a session that works");
        assert!(!session.team.run(|_| panic!("expected by this test")));
        assert_nothing_to_read(&session);
        assert!(matches!(session.detect(&picture(&pixels), &low()), Err(SessionError::Broken)));
        assert!(matches!(session.run_tensor(&tensor()), Err(SessionError::Broken)));
        assert_nothing_to_read(&session);
    }
}

#[test]
fn a_frame_that_panics_after_the_network_leaves_nothing() {
    // More parts than a head can have: the reader would refuse them, and decoding panics.
    let network = network(|model| {
        let map = model.detect.maps[0].clone();
        model.detect.maps.resize(MAX_MAPS * MAX_PARTS + 1, map);
    });
    let mut session = session(&network, 1);
    let pixels = pixels();
    session.run_picture(&picture(&pixels)).expect("a frame");
    assert!(session.placement().is_some());
    let panics = catch_unwind(AssertUnwindSafe(|| session.detect(&picture(&pixels), &low()).is_ok()));
    assert!(panics.is_err());
    assert_nothing_to_read(&session);
    // The network itself still works.
    session.run_picture(&picture(&pixels)).expect("a frame");
    assert!(session.placement().is_some());
}

#[test]
fn no_options_give_more_objects_than_there_is_room_for() {
    let network = network(|_| ());
    let mut session = session(&network, 1);
    let most = session.max_detections();
    // 3 anchors in each cell of 8x12, 4x6 and 2x3; 4 classes.
    assert_eq!(most, 3 * (96 + 24 + 6) * 4);
    let all = DetectOptions { confidence: 0.0, iou: 1.0, max_detections: usize::MAX, ..low() };
    let all = DetectOptions { multi_label: true, ..all };
    let found = session.detect(&picture(&pixels()), &all).expect("a frame").len();
    assert!(found <= most && found > 300, "{found} of {most}");
}
