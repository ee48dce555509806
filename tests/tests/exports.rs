//! Small exports of every kind that users bring, made by `fixtures/exports/generate.py` with the real tools:
//! each converts, and gives the codes and outputs that the export's graph gives in 64-bit arithmetic, or
//! is refused for the reason stored with it. A new fixture is one line of [`exports!`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use ylb_converter::{ConvertError, Converted, Options, convert};
use ylb_format::model::OutputKind;
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{Network, Session, SessionOptions};
use ylb_tests::fixtures;
use ylb_tests::npz::{self, Array};

/// One export with what it must give.
struct Export {
    name: &'static str,
    onnx: Vec<u8>,
    facts: Value,
}

impl Export {
    fn open(name: &'static str) -> Self {
        let read = |extension: &str| {
            let path = fixtures::exports().join(format!("{name}.{extension}"));
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let facts = serde_json::from_slice(&read("json")).expect("facts in JSON");
        Self { name, onnx: read("onnx"), facts }
    }

    fn size(&self) -> [usize; 2] {
        [0, 1].map(|d| self.facts["size"][d].as_u64().expect("a size") as usize)
    }

    fn convert(&self) -> Result<Converted, ConvertError> {
        let given = &self.facts["options"];
        let options = Options {
            image_size: (given["imgsz"] == true).then(|| self.size()),
            keep_decode_quantizers: given["keep_decode_quantizers"] == true,
            class_names: (0..given["classes"].as_u64().unwrap_or(0)).map(|k| format!("c{k}")).collect(),
            model_folder: Some(fixtures::exports()),
            ..Options::default()
        };
        convert(&self.onnx, "model.onnx", &options, &mut |_| {})
    }

    fn outputs(&self) -> BTreeMap<String, Array> {
        npz::read(&fixtures::exports().join(format!("{}.npz", self.name)))
    }
}

fn check(name: &'static str) {
    let export = Export::open(name);
    if let Some(reason) = export.facts["refused"].as_str() {
        let error = export.convert().map(|_| ()).expect_err("an export that must be refused").to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{name}: {error}");
        return;
    }
    let model = export.convert().unwrap_or_else(|error| panic!("{name}: {error}")).model;
    // Through bytes, so that the format is part of what is tested.
    let model = ylb_format::read(&ylb_format::write(&model).expect("a valid model")).expect("a valid file");
    let kinds: Vec<OutputKind> = model.outputs.iter().map(|output| output.kind).collect();
    let network =
        Arc::new(Network::new(model, &Dispatch::restricted_to("").expect("all")).expect("a network"));
    let options = SessionOptions { threads: 1, keep_values: true, ..SessionOptions::default() };
    let mut session = Session::new(network, options).expect("a session");
    let [height, width] = export.size();
    let pixels = fixtures::picture(export.facts["picture"].as_u64().expect("a seed"), height, width);
    let pixels: Vec<f32> = pixels.into_iter().map(|byte| f32::from(byte) / 255.0).collect();
    session.run_tensor(&pixels).expect("a frame");
    check_codes(&export, &session);
    check_outputs(&export, &session, &kinds);
}

/// Every quantizer's codes, by their CRC-32 as 16-bit integers.
fn check_codes(export: &Export, session: &Session) {
    let expected = export.facts["codes"].as_object().expect("codes");
    let found: BTreeMap<String, u32> = session
        .codes()
        .into_iter()
        .map(|codes| {
            let bytes: Vec<u8> = codes.data.iter().flat_map(|code| code.to_le_bytes()).collect();
            (codes.name, crc32fast::hash(&bytes))
        })
        .collect();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for (name, crc) in expected {
        match found.get(name) {
            Some(found) if Some(u64::from(*found)) == crc.as_u64() => {}
            Some(_) => wrong.push(name),
            None => missing.push(name),
        }
    }
    // Quantizers inside a table or a stem leave no codes behind; how many is stored.
    let absent = export.facts["codes_without_values"].as_u64();
    let name = export.name;
    assert!(
        wrong.is_empty() && Some(missing.len() as u64) == absent,
        "{name}: other codes {wrong:?}, missing {missing:?}"
    );
}

/// Outputs within 1e-3, box columns 1e-5 of the value more.
fn check_outputs(export: &Export, session: &Session, kinds: &[OutputKind]) {
    let expected = export.outputs();
    let outputs = session.outputs().expect("outputs");
    assert_eq!(outputs.len(), expected.len());
    for (index, (output, kind)) in outputs.iter().zip(kinds).enumerate() {
        let expected = &expected[&format!("output_{index}")];
        assert_eq!(output.shape, expected.shape, "{}", export.name);
        let columns = *output.shape.last().expect("a shape");
        for (position, (ours, theirs)) in output.data.iter().zip(expected.f32()).enumerate() {
            let is_box = *kind == OutputKind::Decoded && position % columns < 4;
            let bar = 1e-3 + if is_box { 1e-5 * theirs.abs() } else { 0.0 };
            let what = || format!("{}: element {position} of output {index}", export.name);
            assert!((ours - theirs).abs() <= bar, "{} is {ours}, not {theirs}", what());
        }
    }
}

/// A test for each export, and one that no file of the folder is left out.
macro_rules! exports {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_file_has_a_test() {
            let tested: BTreeSet<&str> = [$(stringify!($name)),*].into();
            let files = std::fs::read_dir(fixtures::exports()).expect("the folder of exports");
            let names = files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"));
            let models: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".onnx")?.to_owned())).collect();
            let stored: BTreeSet<&str> = models.iter().map(String::as_str).collect();
            assert_eq!(tested, stored);
        }
    };
}

exports! {
    dorefa_w2a2,
    external_data_w4a4,
    float_model,
    fx_converted_relu_u8s8,
    fx_converted_silu_u8s8,
    fx_relu_u8s8,
    lsq_dynamo_silu_w8a8,
    lsq_dynamo_w4a4,
    lsq_onnxsim_w1a2,
    lsq_onnxsim_w4a3,
    lsq_plus_w4a4,
    lsq_w4a4,
    ort_dynamic,
    ort_qdq_decode,
    ort_qdq_microsoft_w4,
    ort_qdq_s8s8_focus,
    ort_qdq_silu_u8u8,
    ort_qdq_u16,
    ort_qdq_u8s8,
    ort_qoperator_leaky_u8u8,
    ort_qoperator_silu_u8s8,
    ort_qoperator_u8s8,
    pact_w4a4,
    picture_bgr_w4a4,
    picture_float255_focus_w3a5,
    picture_float255_qcdq_w4a4,
    picture_float255_scale1_w4a4,
    picture_float255_w4a4,
    picture_meanstd_w4a4,
    picture_nhwc_w4a4,
    picture_uint8_mul_w4a4,
    picture_uint8_scale1_w4a4,
    picture_uint8_w4a4,
    pt2e_hardtanh_s8s8,
    pt2e_relu_s8s8,
    pt2e_silu_s8s8,
    qcdq_opset23_w6a5,
    qcdq_scatter_w3a3,
    qcdq_silu_asymmetric_w4a4,
    qcdq_w4a4,
    qdq_int2_w2a2,
    qdq_int4_w4a4,
    qonnx_depthwise_w5a4,
    qonnx_float_picture_w4a4,
    qonnx_focus_spp_w3a5,
    qonnx_grouped_w4a4,
    qonnx_hardswish_w4a4,
    qonnx_hardtanh_w4a4,
    qonnx_leaky_w8a8_dynamic,
    qonnx_mish_w4a5,
    qonnx_p6_w4a4,
    qonnx_sigmoid_w4a7,
    qonnx_sign_w1a1,
    qonnx_silu_w4a6,
    qonnx_w1a2_raw,
    qonnx_w2a3_naive,
    qonnx_w4a4_odd,
    qonnx_w4a4_shared,
}
