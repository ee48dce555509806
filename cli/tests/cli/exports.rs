//! The exports in `tests/fixtures/exports` through the binary: converted and proven, or refused in a sentence.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Folder, assert_says};

/// Converts the exports whose names begin so.
fn check(prefix: &str) {
    let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports");
    let folder = Folder::new(&format!("exports_{prefix}"));
    let mut names: Vec<String> = fs::read_dir(&exports)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(".onnx")?.to_owned()))
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let facts: Value =
            serde_json::from_slice(&fs::read(exports.join(format!("{name}.json"))).unwrap()).unwrap();
        let onnx = exports.join(format!("{name}.onnx"));
        let mut args = vec!["-q", "convert", onnx.to_str().unwrap(), "-o", "model.ylb", "--verify"];
        let size = format!("{},{}", facts["size"][0], facts["size"][1]);
        if facts["options"]["imgsz"] == true {
            args.extend(["--imgsz", &size]);
        }
        if facts["options"]["keep_decode_quantizers"] == true {
            args.push("--keep-decode-quantizers");
        }
        let finished = folder.run(&args);
        match facts["refused"].as_str() {
            Some(reason) => {
                assert_says(&finished.failed(1), &[reason, &format!("cannot convert {}", onnx.display())])
            }
            None => assert_says(
                &finished.done(),
                &["verified on a synthetic picture (equal): all", "codes equal"],
            ),
        }
    }
}

#[test]
fn brevitas_exports_are_proven() {
    check("q");
}

#[test]
fn onnx_runtime_exports_are_proven_or_refused() {
    check("ort_");
}

#[test]
fn torch_exports_are_proven() {
    check("fx_");
    check("pt2e_");
}

#[test]
fn written_out_quantizers_are_proven() {
    for prefix in ["lsq_", "pact_", "dorefa_"] {
        check(prefix);
    }
}

#[test]
fn other_exports_are_proven_or_refused() {
    check("external_");
    check("float_");
    check("picture_");
}
