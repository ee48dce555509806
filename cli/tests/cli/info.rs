//! `info`.

use crate::support::{Folder, assert_says};
use crate::tiny;

#[test]
fn says_what_is_in_the_file() {
    let folder = Folder::new("info_text");
    folder.write("tiny.ylb", tiny::file());
    let finished = folder.run(&["info", "tiny.ylb"]);
    assert_eq!(finished.stderr, "");
    let text = finished.done();
    assert_says(
        &text,
        &[
            "tiny.onnx (none), converted by by hand",
            &"ab".repeat(32),
            "images 64x64 (height x width)",
            "3: red, green, blue",
            "anchors times squares of sigmoids (YOLOv5); objectness times class",
            "stride 8, anchors 16x16",
            "output0: decoded boxes",
            "/head  Conv 8x8/8  8x8x8",
            "W2A8",
            "0.10 M",
            "WEIGHTS",
        ],
    );
}

#[test]
fn json_has_the_same_facts() {
    let folder = Folder::new("info_json");
    let file = tiny::file();
    folder.write("tiny.ylb", &file);
    let json = folder.run(&["info", "tiny.ylb", "--json"]).json();
    assert_eq!(json["file"]["bytes"], file.len());
    assert_eq!(json["file"]["sha256"].as_str().unwrap().len(), 64);
    let sections: Vec<&str> = json["file"]["sections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|section| section["name"].as_str().unwrap())
        .collect();
    assert_eq!(sections, ["METADATA", "GRAPH", "QUANT", "WEIGHTS"]);
    assert_eq!(json["source"]["sha256"], "ab".repeat(32));
    assert_eq!(
        json["input"],
        serde_json::json!({
            "name": "images", "height": 64, "width": 64, "range": "0..1", "mean": [0.0, 0.0, 0.0],
            "deviation": [1.0, 1.0, 1.0], "channels": "RGB", "layout": "NCHW", "placement": "centre",
            "fill": [114, 114, 114],
        })
    );
    assert_eq!(json["class_names"], serde_json::json!(tiny::CLASSES));
    assert_eq!(json["detect"][0]["anchors"], serde_json::json!([[16.0, 16.0]]));
    assert_eq!(json["detect"][0]["scale_xy"], 2.0);
    let rules = ["anchors times squares of sigmoids (YOLOv5)", "objectness times class"];
    assert_eq!(json["head"], serde_json::json!({"boxes": rules[0], "scores": rules[1]}));
    let layer = &json["layers"][0];
    // 8 channels, 8x8 cells, 3 colours, 8x8 pixels.
    assert_eq!((&layer["macs"], &json["totals"]["macs"]), (&98304.into(), &98304.into()));
    assert_eq!((&layer["weight_bits"], &layer["activation_bits"]), (&2.into(), &8.into()));
    assert_eq!(
        (&layer["weight_bytes"], &layer["output_shape"]),
        (&384.into(), &serde_json::json!([8, 8, 8]))
    );
    assert!(!layer["kernel"].as_str().unwrap().is_empty());
}
