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
            "RGB 0..1, centre, around it 114 114 114",
            "3: red, green, blue",
            "anchors times squares of sigmoids (YOLOv5); objectness times class",
            "stride 8, anchors 16x16",
            "output0: decoded boxes",
            "/head  Conv 8x8/8  8x8x8",
            "W2A8",
            "0.10 M",
            "WEIGHTS",
            "nothing is requantized",
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
    // Its only convolution is a head, whose accumulators stay.
    assert_eq!(layer["requantization"], serde_json::Value::Null);
    let nothing = serde_json::json!({"levels": 0, "general_levels": 0, "by_form": []});
    assert_eq!(json["requantization"], nothing);
}

#[test]
fn says_by_which_arithmetic_levels_are_made() {
    let folder = Folder::new("info_requantization");
    let made = ["bench", "--net", "yolov5n", "--imgsz", "32", "--bits", "w8a8", "--activation", "silu"];
    folder.run(&[&made[..], &["--write", "silu.ylb"]].concat()).done();
    let json = folder.run(&["info", "silu.ylb", "--json"]).json();
    let found = &json["requantization"];
    assert_eq!(found["general_levels"], 0, "{found}");
    let form = &found["by_form"][0];
    assert_eq!(
        (&form["form"], &form["general"], &form["layers"]),
        (&"cells".into(), &false.into(), &57.into())
    );
    assert_eq!(json["layers"][0]["requantization"], "cells");
    let text = folder.run(&["info", "silu.ylb"]).done();
    assert_says(&text, &["by cells (57 layers)", "none by general arithmetic"]);

    // The levels of a staircase by channel are searched, and that is said.
    let made = ["bench", "--net", "yolov5n", "--imgsz", "32", "--bits", "w8a8", "--activation", "prelu"];
    folder.run(&[&made[..], &["--write", "prelu.ylb"]].concat()).done();
    let json = folder.run(&["info", "prelu.ylb", "--json"]).json();
    let found = &json["requantization"];
    assert_eq!(found["general_levels"], found["levels"], "{found}");
    let text = folder.run(&["info", "prelu.ylb"]).done();
    assert_says(
        &text,
        &["by search (57 layers)", "by general arithmetic, which takes several times as long"],
    );
}
