//! Converts the reference cases and compares every code and output with the reference.

mod support;

use support::{Case, compare_codes, output_excess, run};

/// Every code of the first picture and every output of all pictures.
fn check(name: &str) {
    let Some(case) = Case::open(name) else { return };
    let converted = case.convert().unwrap_or_else(|error| panic!("{name}: {error}"));
    for picture in 0.. {
        let Some(execution) = run(&case, &converted.model, picture) else { break };
        if picture == 0 {
            let difference = compare_codes(&case, &converted.model, &execution);
            assert_eq!((difference.wrong, &difference.first), (0, &None), "{name}");
            assert!(difference.missing.is_empty(), "{name}: {:?}", difference.missing);
            assert!(difference.codes > 0, "{name}");
        }
        let excess = output_excess(&case, &execution, picture);
        assert!(excess <= 0.0, "{name}, picture {picture}: {excess} beyond the bar");
    }
}

#[test]
fn qonnx_relu_w4a4_320() {
    check("qonnx_relu_w4a4_320");
}

#[test]
fn qonnx_relu_w1a2_perm() {
    check("qonnx_relu_w1a2_perm");
}

#[test]
fn qcdq_relu_w4a4_416() {
    check("qcdq_relu_w4a4_416");
}

#[test]
fn trained_w4a4_qonnx() {
    check("trained_w4a4_qonnx");
}

#[test]
fn qonnx_silu_s_w4a4() {
    check("qonnx_silu_s_w4a4");
}

#[test]
fn qcdq_silu_asym_w4a4() {
    check("qcdq_silu_asym_w4a4");
}

#[test]
fn qdq_int4_w4a4() {
    check("qdq_int4_w4a4");
}

#[test]
fn qdq_int2_w2a2() {
    check("qdq_int2_w2a2");
}

#[test]
fn fx_qat_u8s8() {
    check("fx_qat_u8s8");
}

/// A W2A2 YOLOv5n of full width fits in three quarters of a megabyte.
#[test]
fn low_bit_models_are_small() {
    let Some(case) = Case::open("qdq_int2_w2a2") else { return };
    let model = case.convert().unwrap().model;
    let bytes = ylb_format::write(&model).unwrap();
    assert!(bytes.len() < 750_000, "{} bytes", bytes.len());
    assert_eq!(ylb_format::read(&bytes).unwrap(), model);
}

#[test]
fn float_models_are_refused_by_their_first_convolution() {
    let Some(case) = Case::open("float_not_quantized") else { return };
    let error = case.convert().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ylb_converter::ErrorKind::NotQuantized);
    assert_eq!(error.op_type(), Some("Conv"));
    assert_eq!(error.node_name(), Some("/model.0/conv/Conv"));
}

/// Not a test: tells what becomes of every case. `cargo test -- --ignored --nocapture survey`
#[test]
#[ignore = "a survey for people"]
fn survey() {
    let names = [
        "dorefa_w2a2",
        "float_not_quantized",
        "fx_qat_u8s8",
        "lsq_binary_w1a2_onnxsim",
        "lsq_relu_w4a4",
        "ort_static_u8u8_pt_relu",
        "qcdq_relu_w2a3_naive_dyn",
        "qcdq_relu_w4a4_416",
        "qcdq_silu_asym_w4a4",
        "qdq_int2_w2a2",
        "qdq_int4_w4a4",
        "qonnx_relu_shared_w4a4",
        "qonnx_relu_w1a2_perm",
        "qonnx_relu_w2a2_naive_raw",
        "qonnx_relu_w4a4_320",
        "qonnx_sign_w1a1",
        "qonnx_silu_s_w4a4",
        "trained_w4a4_qonnx",
    ];
    for name in names {
        let Some(case) = Case::open(name) else { return };
        let start = std::time::Instant::now();
        match case.convert() {
            Err(error) => println!("{name}: REFUSED: {error}"),
            Ok(converted) => {
                let seconds = start.elapsed().as_secs_f64();
                let Some(execution) = run(&case, &converted.model, 0) else { continue };
                let difference = compare_codes(&case, &converted.model, &execution);
                let excess = output_excess(&case, &execution, 0);
                let bytes = ylb_format::write(&converted.model).map(|bytes| bytes.len());
                println!(
                    "{name}: {} in {seconds:.2} s, {bytes:?} bytes, {} of {} codes differ (first {:?}), \
                     missing {}, outputs {excess:.1e} beyond the bar, {} warnings",
                    converted.report.format,
                    difference.wrong,
                    difference.codes,
                    difference.first,
                    difference.missing.len(),
                    converted.report.warnings.len()
                );
                let mut kinds = std::collections::BTreeMap::new();
                for row in &converted.report.rows {
                    *kinds.entry((row.operator, row.requantize)).or_insert(0) += 1;
                }
                println!("    {kinds:?}");
            }
        }
    }
}
