//! `convert --weights`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Folder, assert_says, squares};

/// The script of the documentation.
fn script() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/weights-folder.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, behind) = page.split_once("<!-- script -->\n```python\n").unwrap();
    behind.split_once("```").unwrap().0.to_owned()
}

/// Runs the documented script in a folder; `false`, with a message, without NumPy.
fn written(folder: &Folder) -> bool {
    folder.write("write.py", script());
    let has_numpy = Command::new("python3").args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: python3 with numpy is missing");
        return false;
    }
    let output = Command::new("python3").arg("write.py").current_dir(folder.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn the_documented_script_writes_a_folder() {
    let folder = Folder::new("weights_script");
    if !written(&folder) {
        return;
    }
    let text = folder.run(&["convert", "--weights", "tiny", "--verify", "--report", "tiny.json"]).done();
    assert_says(&text, &["stem", "all", "codes equal", "tiny.ylb"]);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("tiny.json")).unwrap()).unwrap();
    assert_eq!(report["source"]["format"], "weights folder");
    assert_eq!(report["verification"]["verdict"], "equal");
    let info = folder.run(&["info", "tiny.ylb", "--json"]).json();
    assert_eq!(info["class_names"], serde_json::json!(["cat", "dog"]));
    assert_eq!(info["source"]["name"], "tiny");
    folder.save("a.png", &squares(64, 64, &[(16, 24, [255, 0, 0])]));
    folder.run(&["run", "tiny.ylb", "a.png"]).done();
    assert_says(&folder.run(&["compare", "tiny", "tiny.ylb", "a.png", "--strict"]).done(), &["equal"]);
    // Any change is another source.
    fs::copy(folder.path("tiny/stem.bias.npy"), folder.path("tiny/body.bias.npy")).unwrap();
    assert_says(&folder.run(&["compare", "tiny", "tiny.ylb"]).failed(1), &["made from another", "SHA-256"]);
    fs::remove_file(folder.path("tiny/neck.weight.npy")).unwrap();
    let error = folder.run(&["-q", "convert", "--weights", "tiny", "-o", "b.ylb"]).failed(1);
    assert_says(&error, &["cannot convert tiny", "neck.weight.npy", "no such file"]);
    assert!(!folder.path("b.ylb").exists());
}

#[test]
fn folders_and_files_are_told_apart() {
    let folder = Folder::new("weights_or_file");
    folder.write("weights/network.json", "{}");
    folder.write("model.onnx", "");
    let error = folder.run(&["-q", "convert", "weights"]).failed(1);
    assert_says(&error, &["weights is a folder", "--weights weights"]);
    let error = folder.run(&["-q", "convert", "--weights", "model.onnx"]).failed(1);
    assert_says(&error, &["model.onnx is no folder", "network.json"]);
    assert_says(&folder.run(&["-q", "convert", "--weights", "no"]).failed(1), &["no such folder"]);
    let error = folder.run(&["-q", "convert", "--weights", "weights"]).failed(1);
    assert_says(&error, &["cannot convert weights", "network.json: missing field `format`"]);
    for args in [
        &["convert"] as &[&str],
        &["convert", "a.onnx", "--weights", "weights"],
        &["convert", "--weights", "weights", "--names", "names.txt"],
    ] {
        assert_eq!(folder.run(args).status, 2, "{args:?}");
    }
}
