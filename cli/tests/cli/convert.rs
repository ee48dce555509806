//! `convert`.

use std::fs;

use crate::support::{Folder, assert_says, exports, squares};

#[test]
fn what_is_no_onnx_is_refused() {
    let folder = Folder::new("no_onnx");
    folder.write("text.onnx", "this is text, not a protocol buffer");
    folder.write("empty.onnx", "");
    for name in ["text.onnx", "empty.onnx"] {
        let error = folder.run(&["convert", name]).failed(1);
        assert_says(&error, &["cannot convert", name]);
    }
    assert!(!folder.path("text.ylb").exists());
}

#[test]
fn an_export_becomes_a_detector() {
    let Some(cases) = exports() else { return };
    let folder = Folder::new("an_export");
    let onnx = cases.join("trained_w4a4_qonnx/model.onnx");
    folder.write("names.txt", "circle\nsquare\ntriangle\ncross\n");
    let args = ["convert", onnx.to_str().unwrap(), "-o", "trained.ylb", "--names", "names.txt"];
    let text = folder.run(&args).done();
    assert_says(
        &text,
        &["layer", "weight bits", "activation bits", "kernel", "Conv 3x3", "MaxPool 5x5", "trained.ylb"],
    );

    let json = folder.run(&["info", "trained.ylb", "--json"]).json();
    assert_eq!(json["class_names"], serde_json::json!(["circle", "square", "triangle", "cross"]));
    assert_eq!(json["source"]["name"], "model.onnx");
    folder.save("a.png", &squares(300, 200, &[(16, 24, [255, 0, 0])]));
    folder.run(&["run", "trained.ylb", "a.png"]).done();
    assert!(folder.path("runs/a.png").exists());

    // Equal inputs give equal files.
    let first = fs::read(folder.path("trained.ylb")).unwrap();
    folder.run(&args).done();
    assert!(fs::read(folder.path("trained.ylb")).unwrap() == first);
}

#[test]
fn class_names_must_fit() {
    let Some(cases) = exports() else { return };
    let folder = Folder::new("names_must_fit");
    let onnx = cases.join("trained_w4a4_qonnx/model.onnx");
    folder.write("names.txt", "circle\nsquare\n");
    folder.write("empty.txt", "\n");
    let convert =
        |names: &str| folder.run(&["-q", "convert", onnx.to_str().unwrap(), "-o", "a.ylb", "--names", names]);
    assert_says(&convert("names.txt").failed(1), &["2", "4"]);
    assert_says(&convert("empty.txt").failed(1), &["empty.txt: it holds no class names"]);
    assert_says(&convert("no.txt").failed(1), &["no.txt", "No such file"]);
}

#[test]
fn a_float_model_is_refused() {
    let Some(cases) = exports() else { return };
    let folder = Folder::new("float_model");
    let onnx = cases.join("float_not_quantized/model.onnx");
    let error = folder.run(&["-q", "convert", onnx.to_str().unwrap(), "-o", "float.ylb"]).failed(1);
    assert_says(&error, &["quantiz"]);
    assert!(!folder.path("float.ylb").exists());
}

#[test]
fn a_truncated_export_is_refused() {
    let Some(cases) = exports() else { return };
    let folder = Folder::new("truncated_export");
    let onnx = fs::read(cases.join("qcdq_relu_w4a4_416/model.onnx")).unwrap();
    folder.write("cut.onnx", &onnx[..onnx.len() / 2]);
    assert_says(&folder.run(&["-q", "convert", "cut.onnx"]).failed(1), &["cannot convert cut.onnx"]);
}
