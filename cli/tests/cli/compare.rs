//! `compare`, and `convert --verify`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use ylb_format::model::{Model, Operator, PixelLevels, Weights};

use crate::support::{Folder, assert_says, exports, squares};

/// Converts a case in a folder, verified, and returns the paths of the source and of the model.
fn converted(folder: &Folder, case: &str) -> Option<(String, PathBuf)> {
    let onnx = exports()?.join(case).join("model.onnx").to_str().unwrap().to_owned();
    let args = ["-q", "convert", &onnx, "-o", "model.ylb", "--verify", "--report", "report.json"];
    assert_says(&folder.run(&args).done(), &["verified on a synthetic picture (equal): all", "codes equal"]);
    Some((onnx, folder.path("model.ylb")))
}

/// Changes a model file.
fn change(path: &Path, change: impl FnOnce(&mut Model)) {
    let mut model = ylb_format::read(&fs::read(path).unwrap()).unwrap();
    change(&mut model);
    fs::write(path, ylb_format::write(&model).unwrap()).unwrap();
}

#[test]
fn a_conversion_is_proven_and_a_changed_weight_found() {
    let folder = Folder::new("compare_proven");
    let Some((onnx, path)) = converted(&folder, "qonnx_relu_w4a4_320") else { return };
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("report.json")).unwrap()).unwrap();
    assert_eq!(
        (&report["verification"]["verdict"], &report["source"]["format"]),
        (&json!("equal"), &json!("QONNX"))
    );
    let layers = report["layers"].as_array().unwrap();
    let convs = layers.iter().filter(|layer| layer["operator"] == "Conv");
    assert!(convs.clone().count() >= 60);
    for conv in convs {
        assert!(conv["weight_bits"].is_u64() && !conv["kernel"].as_str().unwrap().is_empty(), "{conv}");
    }

    folder.save("squares.png", &squares(300, 200, &[(16, 24, [255, 0, 0]), (100, 90, [9, 200, 90])]));
    let text = folder.run(&["-q", "compare", &onnx, "model.ylb", "--strict"]).done();
    assert_says(&text, &["off by one", "synthetic picture: all 2432000 codes equal", "model.ylb equals "]);
    let document =
        folder.run(&["compare", &onnx, "model.ylb", "squares.png", "squares.png", "--json"]).json();
    assert_eq!(document["verdict"], "equal");
    assert_eq!(document["images"].as_array().unwrap().len(), 2);
    assert_eq!(document["images"][0]["path"], "squares.png");
    assert_eq!(document["images"][0]["first_divergence"], json!(null));

    // One weight of a convolution in the middle.
    let mut layer = String::new();
    change(&path, |model| {
        let is_conv = |operator: &Operator| matches!(operator, Operator::Conv(_));
        let node = model.nodes.iter_mut().filter(|node| is_conv(&node.operator)).nth(20).unwrap();
        layer.clone_from(&node.name);
        let Operator::Conv(conv) = &mut node.operator else { unreachable!() };
        let weights = &mut conv.terms[0].weights;
        let sign_plane = weights.planes.len() - weights.planes.len() / usize::from(weights.bits);
        weights.planes[sign_plane] ^= 1;
    });
    let finished = folder.run(&["-q", "compare", &onnx, "model.ylb"]);
    assert_eq!((finished.status, finished.stderr.as_str()), (1, ""));
    assert_says(
        &finished.stdout,
        &[&format!("differs first at layer \"{layer}\""), "model.ylb differs from "],
    );
    let finished = folder.run(&["compare", &onnx, "model.ylb", "squares.png", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((finished.status, &document["verdict"]), (1, &json!("different")));
    assert_eq!(document["images"][0]["first_divergence"]["layer"], layer);
}

#[test]
fn a_model_of_another_source_is_refused() {
    let folder = Folder::new("compare_other");
    let Some((onnx, path)) = converted(&folder, "qonnx_relu_w1a2_perm") else { return };
    let other = onnx.replace("qonnx_relu_w1a2_perm", "qonnx_sign_w1a1");
    let error = folder.run(&["compare", &other, "model.ylb"]).failed(1);
    assert_says(&error, &["cannot compare model.ylb", "made from another file", "SHA-256"]);
    assert_says(&folder.run(&["compare", "no.onnx", "model.ylb"]).failed(1), &["cannot open no.onnx"]);
    assert_says(&folder.run(&["compare", &onnx, &onnx]).failed(1), &["is an ONNX file"]);
    change(&path, |model| model.metadata.source_sha256 = [0; 32]);
    assert_says(&folder.run(&["compare", &onnx, "model.ylb"]).failed(1), &["SHA-256"]);
}

/// Graphs that divide by 255 themselves: a model that did it once more would see black, and so it is told.
#[test]
fn a_model_that_sees_black_is_found() {
    let folder = Folder::new("compare_black");
    for (name, warned) in [
        ("picture_uint8_w4a4", false),
        ("picture_uint8_mul_w4a4", false),
        ("picture_uint8_scale1_w4a4", false),
        ("picture_float255_w4a4", true),
        ("picture_float255_qcdq_w4a4", true),
        ("picture_float255_scale1_w4a4", true),
        ("picture_float255_focus_w3a5", true),
        ("picture_nhwc_w4a4", false),
    ] {
        let onnx =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/exports/{name}.onnx"));
        let onnx = onnx.to_str().unwrap();
        let finished = folder.run(&["convert", onnx, "-o", "model.ylb", "--verify"]);
        assert_eq!(finished.stderr.contains("taken to be bytes, 0 to 255"), warned, "{}", finished.stderr);
        assert_says(&finished.done(), &["picture: the graph takes bytes, 0 to 255", "(equal): all"]);
        folder.save("squares.png", &squares(80, 50, &[(16, 24, [255, 0, 0]), (60, 9, [9, 200, 90])]));
        folder.run(&["-q", "compare", onnx, "model.ylb", "squares.png", "--strict"]).done();
        change(&folder.path("model.ylb"), |model| {
            let [levels] = model.input.pixel_levels.tables_mut() else { panic!("levels by channel") };
            *levels = std::array::from_fn(|byte| levels[usize::from(byte >= 128)]);
        });
        for picture in [&["squares.png"][..], &[]] {
            let finished = folder.run(&[&["-q", "compare", onnx, "model.ylb"][..], picture].concat());
            assert_eq!((finished.status, finished.stderr.as_str()), (1, ""), "{name}");
            assert_says(&finished.stdout, &["differs first at", "model.ylb differs from "]);
        }
    }
}

/// The same levels for all colours, where the graph has some for each.
fn alike(model: &mut Model) {
    let PixelLevels::ByChannel(tables) = &model.input.pixel_levels else { panic!("levels by channel") };
    model.input.pixel_levels = PixelLevels::Same(tables[0]);
}

/// Red for blue in the first convolution, as if the graph did not reverse them.
fn other_way_round(model: &mut Model) {
    let Operator::Conv(conv) = &mut model.nodes[0].operator else { panic!("a convolution") };
    let weights = &mut conv.terms[0].weights;
    let (shape, codes) = (weights.shape, weights.codes());
    let taps = (shape[2] * shape[3]) as usize;
    let reversed: Vec<u8> = codes
        .chunks_exact(shape[1] as usize * taps)
        .flat_map(|output| output.chunks_exact(taps).rev().flatten().copied().collect::<Vec<u8>>())
        .collect();
    assert_eq!(shape[1], 3);
    let zero_points = weights.zero_points.clone();
    *weights = Weights::from_codes(shape, weights.encoding, weights.bits, &reversed, zero_points);
}

/// Graphs that treat each colour on its own, or reverse them: converted and proven, and a model that overlooked it is told.
#[test]
fn a_model_of_other_colours_is_found() {
    let folder = Folder::new("compare_colours");
    folder.save("squares.png", &squares(80, 50, &[(16, 24, [255, 0, 0]), (60, 9, [9, 200, 90])]));
    for (name, wrong) in
        [("picture_meanstd_w4a4", alike as fn(&mut Model)), ("picture_bgr_w4a4", other_way_round)]
    {
        let onnx =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/exports/{name}.onnx"));
        let onnx = onnx.to_str().unwrap();
        let finished = folder.run(&["convert", onnx, "-o", "model.ylb", "--verify"]);
        assert_says(&finished.done(), &["(equal): all"]);
        folder.run(&["-q", "compare", onnx, "model.ylb", "squares.png"]).done();
        change(&folder.path("model.ylb"), wrong);
        for picture in [&["squares.png"][..], &[]] {
            let finished = folder.run(&[&["-q", "compare", onnx, "model.ylb"][..], picture].concat());
            assert_eq!((finished.status, finished.stderr.as_str()), (1, ""), "{name}");
            assert_says(&finished.stdout, &["differs first at", "model.ylb differs from "]);
        }
    }
}

/// Quantizers of the decode are dropped of the source, too, if the file says so, and only then.
#[test]
fn dropped_quantizers_of_the_decode_are_dropped_of_the_source() {
    let folder = Folder::new("compare_decode");
    let onnx = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports/ort_qdq_decode.onnx");
    let onnx = onnx.to_str().unwrap();
    let finished =
        folder.run(&["convert", onnx, "-o", "model.ylb", "--verify", "--ignore-decode-quantizers"]);
    assert_says(&finished.stderr, &["quantizers dropped inside the decode of the boxes (53): n0, n1"]);
    assert_says(&finished.done(), &["(equal): all"]);
    folder.run(&["-q", "compare", onnx, "model.ylb"]).done();
    change(&folder.path("model.ylb"), |model| {
        assert!(model.metadata.drops_decode_quantizers());
        model.metadata.source_format = "QDQ".to_owned();
    });
    let finished = folder.run(&["-q", "compare", onnx, "model.ylb"]);
    assert_eq!((finished.status, finished.stderr.as_str()), (1, ""));
    assert_says(&finished.stdout, &["differs first at", "model.ylb differs from "]);
    let args = ["convert", onnx, "-o", "other.ylb", "--keep-decode-quantizers"];
    assert_says(&folder.run(&args).failed(1), &["quantizes inside the decode of the boxes", "n0"]);
}

#[test]
fn a_report_needs_a_name_of_its_own() {
    let folder = Folder::new("compare_report_name");
    folder.write("model.onnx", "whatever it is");
    for report in ["model.onnx", "model.ylb"] {
        let args = ["convert", "model.onnx", "-o", "model.ylb", "--report", report];
        assert_says(&folder.run(&args).failed(2), &[report, "--report"]);
    }
    assert_eq!(fs::read(folder.path("model.onnx")).unwrap(), b"whatever it is");
}
