//! What comes with the repository works, and every reference export is converted and proven.

use std::path::Path;

use crate::support::Folder;
#[cfg(target_arch = "x86_64")]
use crate::support::{assert_says, exports};

fn models() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").to_str().unwrap().to_owned()
}

/// The README's first command. The drawing shows 17 red cells, 2 white cells and 5 platelets.
#[test]
fn bundled_models_find_the_cells_of_the_sample() {
    let folder = Folder::new("bundled");
    let sample = format!("{}/sample.jpg", models());
    for (model, fewest) in
        [("cells-w4a4", [16, 2, 4]), ("cells-w2a2", [17, 2, 5]), ("cells-w1a2", [17, 2, 5])]
    {
        let model = format!("{}/{model}.ylb", models());
        let document = folder.run(&["run", &model, &sample, "--no-save", "--json"]).json();
        let detections = document["images"][0]["detections"].as_array().unwrap();
        for (name, fewest) in ["RBC", "WBC", "Platelets"].into_iter().zip(fewest) {
            let found = detections.iter().filter(|detection| detection["name"] == name).count();
            assert!(found >= fewest, "{model}: {found} {name}: {detections:?}");
        }
    }
}

/// On the host only: drawing and encoding are the same everywhere.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_picture_of_the_readme_is_what_is_drawn() {
    let folder = Folder::new("readme_picture");
    let (model, sample) = (format!("{}/cells-w4a4.ylb", models()), format!("{}/sample.jpg", models()));
    folder.run(&["run", &model, &sample]).done();
    let drawn = folder.path("runs/sample.jpg");
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images/detections.jpg");
    let same = std::fs::read(&drawn).unwrap() == std::fs::read(&shown).unwrap();
    assert!(same, "the model or the drawing changed: cp {} {}", drawn.display(), shown.display());
}

/// Host only: the proof runs the source graph in float64, which takes minutes under an emulator. There
/// the same exports are compared with their stored codes by the tests across crates.
#[cfg(target_arch = "x86_64")]
#[test]
fn every_reference_export_is_proven() {
    let Some(cases) = exports() else { return };
    let folder = Folder::new("proven");
    let mut proven = 0;
    for case in std::fs::read_dir(cases).unwrap() {
        let onnx = case.unwrap().path().join("model.onnx");
        if !onnx.is_file() {
            continue;
        }
        let name = onnx.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let onnx = onnx.to_str().unwrap();
        let mut args = vec!["-q", "convert", onnx, "-o", "model.ylb", "--verify"];
        let verdict = match &name[..] {
            "float_not_quantized" => {
                assert_says(&folder.run(&args).failed(1), &["/model.0/conv/Conv", "plain floats"]);
                continue;
            }
            // Quantizers inside its decode have no place in the format.
            "ort_static_u8u8_pt_relu" => {
                let kept = [&args[..], &["--keep-decode-quantizers"]].concat();
                assert_says(&folder.run(&kept).failed(1), &["--keep-decode-quantizers"]);
                "(equal)"
            }
            // Its height and width are open.
            "qcdq_relu_w2a3_naive_dyn" => {
                args.extend(["--imgsz", "320"]);
                "(equal)"
            }
            _ => "(equal)",
        };
        let text = folder.run(&args).done();
        assert_says(&text, &[&format!("verified on a synthetic picture {verdict}")]);
        proven += 1;
    }
    assert!(proven >= 17, "only {proven} exports");
}
