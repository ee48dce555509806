//! Real exports with reference outputs, from the ONNX file to codes, outputs and detections.
//!
//! `codes_0/…` are the codes of every quantized tensor for picture 0, `output_K_J` the outputs as ONNX
//! Runtime computes them in float32, `exact64_output_K_J` those of a float64 interpreter, stored where
//! they differ. An exact integer executor reproduces the codes bit for bit.

use std::collections::BTreeMap;
use std::sync::Arc;

use ylb_converter::{Options, convert};
use ylb_format::model::{Model, OutputKind};
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{DetectOptions, Network, OutputTensor, Picture, PixelFormat, Session, SessionOptions};
use ylb_tests::npz::{self, Array};
use ylb_tests::shared;

struct Case {
    name: &'static str,
    model: Model,
    io: BTreeMap<String, Array>,
}

/// A case of a folder of cases.
fn case(cases: &str, name: &'static str) -> Option<Case> {
    let folder = shared::path(cases)?.join(name);
    let onnx = std::fs::read(folder.join("model.onnx")).expect("the case's model");
    let io = npz::read(&folder.join("io.npz"));
    // For exports that leave it open.
    let [_, _, height, width] = io["input_u8_0"].shape[..] else { panic!("{name}: no pictures") };
    let options = Options { image_size: Some([height, width]), ..Options::default() };
    let converted = convert(&onnx, "model.onnx", &options, &mut |_| {});
    let model = converted.unwrap_or_else(|error| panic!("{name}: {error}")).model;
    // Through bytes, so that the format is part of what is tested.
    let bytes = ylb_format::write(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
    let model = ylb_format::read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    Some(Case { name, model, io })
}

/// The choices of micro-kernels that the test runs: everything in one go under QEMU, where the
/// emulated CPU makes the choice.
fn dispatches() -> Vec<(&'static str, Dispatch)> {
    let restrictions: &[&str] = if cfg!(target_arch = "x86_64") { &["", "generic"] } else { &[""] };
    let dispatch = |restriction: &&'static str| {
        (*restriction, Dispatch::restricted_to(restriction).expect("names of this architecture"))
    };
    restrictions.iter().map(dispatch).collect()
}

fn session(case: &Case, dispatch: &Dispatch, options: SessionOptions) -> Session {
    let network =
        Network::new(case.model.clone(), dispatch).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    Session::new(Arc::new(network), options).expect("a session")
}

fn input(case: &Case, picture: usize) -> Vec<f32> {
    let bytes = case.io[&format!("input_u8_{picture}")].i32();
    bytes.into_iter().map(|byte| byte as f32 / 255.0).collect()
}

/// Every stored code of picture 0 equals, but for so many tensors that have no name here.
fn check_codes(case: &Case, session: &mut Session, unnamed: usize, what: &str) {
    session.run_tensor(&input(case, 0)).expect("a frame");
    // Archives cannot hold slashes in a name.
    let plain = |name: &str| name.replace('/', "_");
    let codes: BTreeMap<String, _> =
        session.codes().into_iter().map(|codes| (plain(&codes.name), codes)).collect();
    let stored = case.io.iter().filter_map(|(key, array)| Some((key.strip_prefix("codes_0/")?, array)));
    let (mut compared, mut missing) = (0, Vec::new());
    for (key, array) in stored {
        // `actNNN:` numbers the tensors of QONNX exports.
        let name = match key.split_once(':') {
            Some((number, name)) if number.starts_with("act") => name,
            _ => key,
        };
        // The sub-byte QDQ cases keep the names of the QCDQ graphs that they were made from.
        let without_clip = name.replace("Clip_output", "QuantizeLinear_output");
        let ours = codes.get(&plain(name)).or_else(|| codes.get(&plain(&without_clip)));
        let Some(ours) = ours else {
            missing.push(name);
            continue;
        };
        assert_eq!(ours.shape[..], array.shape[..], "{what}: {name}");
        let theirs = array.i32();
        let different = ours.data.iter().zip(&theirs).filter(|(a, b)| i32::from(**a) != **b).count();
        assert_eq!(different, 0, "{what}: {different} of {} codes of {name} differ", theirs.len());
        compared += theirs.len();
    }
    assert!(compared > 0, "{what}: nothing was compared");
    assert_eq!(missing.len(), unnamed, "{what}: no codes for {missing:?}");
}

/// Outputs within 1e-3, boxes 1e-5 of the value more.
fn check_outputs(case: &Case, session: &mut Session, picture: usize, what: &str) {
    session.run_tensor(&input(case, picture)).expect("a frame");
    let outputs = session.outputs().expect("outputs");
    for (index, output) in outputs.iter().enumerate() {
        let exact = case.io.get(&format!("exact64_output_{picture}_{index}"));
        let reference = exact.unwrap_or_else(|| &case.io[&format!("output_{picture}_{index}")]);
        assert_eq!(output.shape, reference.shape, "{what}: output {index}");
        let boxes = match case.model.outputs[index].kind {
            OutputKind::Decoded => true,
            OutputKind::Arranged(arranged) => arranged.numbers.are_boxes(),
            _ => false,
        };
        let what = format!("{what}, picture {picture}, output {index}");
        check_output(output, &reference.f32(), boxes, &what);
    }
    assert!(!outputs.is_empty());
}

fn check_output(output: &OutputTensor, reference: &[f32], boxes: bool, what: &str) {
    for (index, (&ours, &theirs)) in output.data.iter().zip(reference).enumerate() {
        let relative = if boxes { 1e-5 * theirs.abs() } else { 0.0 };
        let difference = (ours - theirs).abs();
        assert!(difference <= 1e-3 + relative, "{what}: element {index} is {ours}, not {theirs}");
    }
}

fn check_case(name: &'static str) {
    check_case_of("cases", name, 0);
}

/// A case of detectors of other families and of other parts. Attention and vectors have other shapes here, and their codes no
/// names of the export.
fn check_detector(name: &'static str, unnamed: usize) {
    check_case_of("cases-detectors", name, unnamed);
}

fn check_case_of(cases: &str, name: &'static str, unnamed: usize) {
    let Some(case) = case(cases, name) else { return };
    for (restriction, dispatch) in dispatches() {
        for threads in [1, 3] {
            let what = format!("{name}, kernels \"{restriction}\", {threads} threads");
            let options = SessionOptions { threads, keep_values: true, ..SessionOptions::default() };
            let mut keeping = session(&case, &dispatch, options);
            check_codes(&case, &mut keeping, unnamed, &what);
            // The same with memory reused.
            let options = SessionOptions { threads, ..SessionOptions::default() };
            let mut session = session(&case, &dispatch, options);
            let pictures = (0..).take_while(|picture| case.io.contains_key(&format!("input_u8_{picture}")));
            pictures.for_each(|picture| check_outputs(&case, &mut session, picture, &what));
        }
    }
}

#[test]
fn qonnx_relu_w4a4_320() {
    check_case("qonnx_relu_w4a4_320");
}

#[test]
fn qonnx_relu_w1a2_perm() {
    check_case("qonnx_relu_w1a2_perm");
}

#[test]
fn qcdq_relu_w4a4_416() {
    check_case("qcdq_relu_w4a4_416");
}

#[test]
fn qonnx_silu_s_w4a4() {
    check_case("qonnx_silu_s_w4a4");
}

#[test]
fn qcdq_silu_asym_w4a4() {
    check_case("qcdq_silu_asym_w4a4");
}

#[test]
fn qdq_int4_w4a4() {
    check_case("qdq_int4_w4a4");
}

#[test]
fn qdq_int2_w2a2() {
    check_case("qdq_int2_w2a2");
}

#[test]
fn fx_qat_u8s8() {
    check_case("fx_qat_u8s8");
}

#[test]
fn qonnx_relu_shared_w4a4() {
    check_case("qonnx_relu_shared_w4a4");
}

#[test]
fn qonnx_relu_w2a2_naive_raw() {
    check_case("qonnx_relu_w2a2_naive_raw");
}

#[test]
fn qonnx_sign_w1a1() {
    check_case("qonnx_sign_w1a1");
}

#[test]
fn qcdq_relu_w2a3_naive_dyn() {
    check_case("qcdq_relu_w2a3_naive_dyn");
}

#[test]
fn dorefa_w2a2() {
    check_case("dorefa_w2a2");
}

#[test]
fn lsq_relu_w4a4() {
    check_case("lsq_relu_w4a4");
}

#[test]
fn lsq_binary_w1a2_onnxsim() {
    check_case("lsq_binary_w1a2_onnxsim");
}

#[test]
fn trained_w4a4_qonnx() {
    check_case("trained_w4a4_qonnx");
}

#[test]
fn detector_v8n_silu() {
    check_detector("v8n_silu_w4a4_qonnx", 0);
}

#[test]
fn detector_v11n_silu() {
    check_detector("v11n_silu_w4a4_qonnx", 2);
}

#[test]
fn detector_v6n_relu() {
    check_detector("v6n_relu_w4a4_qonnx", 0);
}

#[test]
fn detector_v3tiny_leaky() {
    check_detector("v3tiny_leaky_w4a4_qonnx", 0);
}

#[test]
fn detector_yololite_leaky() {
    check_detector("yololite_leaky_w4a4_qonnx", 0);
}

#[test]
fn detector_yoloxnano_silu() {
    check_detector("yoloxnano_silu_w4a4_qonnx", 0);
}

#[test]
fn detector_yolonano_relu6() {
    check_detector("yolonano_relu6_w4a4_qonnx", 2);
}

#[test]
fn a_float_model_is_refused() {
    let Some(folder) = shared::path("cases/float_not_quantized") else {
        return;
    };
    let onnx = std::fs::read(folder.join("model.onnx")).expect("the case's model");
    let error = convert(&onnx, "model.onnx", &Options::default(), &mut |_| {}).map(|_| ()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("Conv"), "the message names no node: {message}");
    assert!(!message.contains('\n'), "more than a line: {message}");
}

/// The stored detections: x1, y1, x2, y2, score, class, of float32 outputs at 0.25 and IoU 0.45. Pictures
/// whose float32 codes are exact must give the same boxes.
#[test]
fn trained_model_finds_the_stored_objects() {
    let Some(case) = case("cases", "trained_w4a4_qonnx") else {
        return;
    };
    let dispatch = Dispatch::restricted_to("").expect("all micro-kernels");
    let mut session = session(&case, &dispatch, SessionOptions { threads: 2, ..Default::default() });
    for picture in 0..6 {
        if case.io.contains_key(&format!("exact64_output_{picture}_0")) {
            continue; // float32 itself is not exact there
        }
        let planes = case.io[&format!("input_u8_{picture}")].i32();
        let size = 256;
        let pixels: Vec<u8> = (0..size * size)
            .flat_map(|pixel| (0..3).map(move |channel| channel * size * size + pixel))
            .map(|index| planes[index] as u8)
            .collect();
        let image = Picture::new(&pixels, size, size, PixelFormat::Rgb).expect("a picture");
        let found = session.detect(&image, &DetectOptions::default()).expect("detections").to_vec();
        let stored = case.io[&format!("dets_{picture}")].f32();
        assert_eq!(found.len(), stored.len() / 6, "picture {picture}: {found:?}");
        for stored in stored.chunks_exact(6) {
            // Detections are clipped to the picture, the stored ones are not.
            let clipped: Vec<f32> = stored[..4].iter().map(|edge| edge.clamp(0.0, size as f32)).collect();
            let matches = found.iter().any(|ours| {
                let edges = [ours.left, ours.top, ours.right, ours.bottom];
                ours.class == stored[5] as u32
                    && (ours.confidence - stored[4]).abs() <= 0.01
                    && edges.iter().zip(&clipped).all(|(ours, theirs)| (ours - theirs).abs() <= 1.0)
            });
            assert!(matches, "picture {picture}: nothing like {stored:?} among {found:?}");
        }
    }
}
