//! Converts the reference cases and compares every code and output with the reference.

mod support;

use support::{Case, compare_codes, mean_difference, output_excess, run};
use ylb_converter::{ErrorKind, Options, convert, reference};

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

/// Weight quantizers and batch normalizations are folded into plain floats.
#[test]
fn lsq_binary_w1a2_onnxsim() {
    check("lsq_binary_w1a2_onnxsim");
    let Some(case) = Case::open("lsq_binary_w1a2_onnxsim") else { return };
    let rows = case.convert().unwrap().report.rows;
    let bits: Vec<u8> = rows.iter().filter_map(|row| row.weight_bits).collect();
    assert_eq!(bits.iter().filter(|&&bits| bits == 1).count(), 56, "{bits:?}");
}

/// The decode is quantized too, with steps of one pixel for boxes and scores alike: its
/// quantizers are dropped, or it is refused on request. Then boxes and scores differ by what they rounded
/// away, and no codes are missing but theirs.
#[test]
fn ort_static_u8u8_pt_relu() {
    let Some(case) = Case::open("ort_static_u8u8_pt_relu") else { return };
    let options = Options { keep_decode_quantizers: true, ..Options::default() };
    let error = case.convert_with(options).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("--keep-decode-quantizers"), "{error}");
    let converted = case.convert().unwrap();
    assert!(converted.model.metadata.drops_decode_quantizers());
    assert!(converted.report.warnings.iter().any(|w| w.message.contains("/model.24/Add_output_0")));
    for picture in 0..2 {
        let execution = run(&case, &converted.model, picture).unwrap();
        let difference = mean_difference(&case, &execution, picture);
        assert!(difference <= 0.03, "picture {picture}: {difference}");
        // Near ties of 8 bits flip in 32-bit arithmetic, so codes are counted, not compared.
        let missing = compare_codes(&case, &converted.model, &execution).missing;
        assert!(missing.iter().all(|name| name.starts_with("/model.24/")), "{missing:?}");
    }
}

/// Operands of a concat pass through one quantizer, sums of different scales through none.
#[test]
fn qonnx_relu_shared_w4a4() {
    check("qonnx_relu_shared_w4a4");
}

#[test]
fn qonnx_relu_w2a2_naive_raw() {
    check("qonnx_relu_w2a2_naive_raw");
}

#[test]
fn qonnx_sign_w1a1() {
    check("qonnx_sign_w1a1");
}

/// Weights on a grid without zero.
#[test]
fn dorefa_w2a2() {
    check("dorefa_w2a2");
}

#[test]
fn lsq_relu_w4a4() {
    check("lsq_relu_w4a4");
}

#[test]
fn qcdq_relu_w2a3_naive_dyn() {
    check("qcdq_relu_w2a3_naive_dyn");
}

/// Pictures of another size than the one that the export was traced with, in a batch.
#[test]
fn open_extents_are_fixed_by_option() {
    let Some(case) = Case::open("qcdq_relu_w2a3_naive_dyn") else { return };
    let error = convert(&case.onnx, "model.onnx", &Options::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("image size"), "{error}");
    let pixels = &case.arrays["dyn_input_u8"];
    let [batch, 3, height, width] = pixels.shape[..] else { panic!("no pictures") };
    let options = Options { image_size: Some([height, width]), ..Options::default() };
    let model = convert(&case.onnx, "model.onnx", &options, &mut |_| {}).unwrap().model;
    let expected = &case.arrays["dyn_output_0"];
    for picture in 0..batch {
        let len = 3 * height * width;
        let pixels: Vec<u8> = pixels.data[picture * len..][..len].iter().map(|&byte| byte as u8).collect();
        let output = &reference::execute(&model, &pixels).outputs()[0];
        assert_eq!(output.shape[1..], expected.shape[1..]);
        let expected = &expected.data[picture * output.data.len()..][..output.data.len()];
        for (position, (&ours, &theirs)) in output.data.iter().zip(expected).enumerate() {
            let bar = 1e-3 + if position % output.shape[2] < 4 { 1e-5 * theirs.abs() } else { 0.0 };
            assert!((f64::from(ours) - theirs).abs() <= bar, "picture {picture}: {ours} {theirs}");
        }
    }
}

/// Convolutions over different scales are proven where their combinations are few, and close where
/// they are many.
#[test]
fn ties_between_scales_are_decided_or_bounded() {
    for name in ["qonnx_relu_shared_w4a4", "qonnx_relu_w2a2_naive_raw", "qonnx_sign_w1a1", "lsq_relu_w4a4"] {
        let Some(case) = Case::open(name) else { return };
        let rows = case.convert().unwrap().report.rows;
        let open: Vec<f64> = rows.iter().map(|row| row.tie_bound).filter(|&bound| bound > 0.0).collect();
        assert!(open.len() <= 4, "{name}: {open:?}");
        assert!(open.iter().all(|&bound| bound < 2e-7), "{name}: {open:?}");
    }
}

/// One staircase for all channels: with SiLU a model is as large as with ReLU.
#[test]
fn silu_models_are_small() {
    let Some(case) = Case::open("qcdq_silu_asym_w4a4") else { return };
    let bytes = ylb_format::write(&case.convert().unwrap().model).unwrap();
    assert!(bytes.len() < 1_000_000, "{} bytes", bytes.len());
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
    assert_eq!(error.kind(), ErrorKind::NotQuantized);
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
                let bounds: Vec<f64> =
                    converted.report.rows.iter().map(|row| row.tie_bound).filter(|&b| b > 0.0).collect();
                let largest = bounds.iter().copied().fold(0.0, f64::max);
                println!("    {} convolutions not proven, within {largest:.1e} of a step", bounds.len());
                for warning in &converted.report.warnings {
                    println!("    {}: {}", warning.node, warning.message);
                }
            }
        }
    }
}
