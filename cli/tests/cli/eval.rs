//! `eval`: figures, plots, and what can be wrong with a data set.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, assert_says, squares};
use crate::tiny;

pub const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
pub const BLUE: [u8; 3] = [0, 0, 255];

pub const DATA: &str = "train: images/train\nval: images/val\nnames: [red, green, blue]\n";

/// A label of the class with the box that the network gives a lit cell: 16 pixels round the middle of a
/// square whose corner is at (left, top), in a picture of 64 pixels.
pub fn label(class: usize, left: u32, top: u32) -> String {
    let centre = |corner: u32| f64::from(corner + 4) / 64.0;
    format!("{class} {} {} 0.25 0.25\n", centre(left), centre(top))
}

/// A data set of two pictures: two squares that are labelled, and one more.
pub fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.write("tiny.ylb", tiny::file());
    folder.write("set/data.yaml", DATA);
    folder.save("set/images/val/a.png", &squares(64, 64, &[(16, 24, RED), (40, 48, BLUE)]));
    folder.write("set/labels/val/a.txt", label(0, 16, 24) + &label(2, 40, 48));
    folder.save("set/images/val/b.png", &squares(64, 64, &[(8, 8, RED)]));
    folder.write("set/labels/val/b.txt", label(0, 8, 8));
    folder
}

fn figures(value: &Value) -> [f64; 4] {
    ["map50_95", "map50", "precision", "recall"].map(|key| value[key].as_f64().expect(key))
}

/// AP of a class of which half of the objects are found, without a mistake: 51 of 101 recalls.
const HALF: f64 = 51.0 / 101.0;

#[test]
fn what_is_all_found_has_accuracy_one() {
    let folder = folder("eval_all_found");
    let finished = folder.run(&["eval", "tiny.ylb", "set/data.yaml", "--json"]);
    assert_eq!(finished.stderr, "");
    let json = finished.json();
    assert_eq!(figures(&json), [1.0; 4]);
    assert_eq!((&json["images"], &json["objects"], &json["split"]), (&2.into(), &3.into(), &"val".into()));
    assert_eq!(figures(&json["per_class"]["red"]), [1.0; 4]);
    let green = &json["per_class"]["green"];
    assert_eq!((&green["objects"], &green["map50"]), (&0.into(), &Value::Null));
    assert_eq!(json["settings"]["conf"].as_f64().map(|conf| (conf * 1e6).round()), Some(1000.0));
    for stage in ["decode", "preprocess", "inference", "postprocess"] {
        assert!(json["times_ms"][stage].as_f64().is_some_and(|ms| ms >= 0.0), "{stage}");
    }
    assert!(json["times_ms"].get("save").is_none());
}

#[test]
fn misses_mistakes_and_loose_boxes_cost_accuracy() {
    let folder = folder("eval_misses");
    // A red object where nothing is, and the blue one labelled as green.
    folder.write("set/labels/val/b.txt", label(0, 8, 8) + &label(0, 40, 40));
    folder.write("set/labels/val/a.txt", label(1, 40, 48));
    let json = folder.run(&["eval", "tiny.ylb", "set/data.yaml", "--json"]).json();
    let [_, red, ..] = figures(&json["per_class"]["red"]);
    // Of equal confidence, in the order of the pictures: first the wrong one of a.png, then the right one.
    assert!((red - HALF / 2.0).abs() < 1e-9, "{red}");
    assert_eq!(json["per_class"]["green"]["map50"], 0.0);
    assert!((json["map50"].as_f64().unwrap() - red / 2.0).abs() < 1e-9, "{json}");

    // Labels of a box of 16x13 pixels: an overlap of 13/16, right at seven thresholds of ten.
    folder.write("set/labels/val/a.txt", "0 0.3125 0.4375 0.25 0.203125\n");
    folder.write("set/labels/val/b.txt", "");
    let json = folder.run(&["eval", "tiny.ylb", "set/data.yaml", "--json"]).json();
    assert!((json["map50_95"].as_f64().unwrap() - 0.7).abs() < 1e-9, "{json}");
}

#[test]
fn text_and_plots() {
    let folder = folder("eval_plots");
    let text = folder.run(&["eval", "tiny.ylb", "set/data.yaml", "--plots", "plots/new"]).done();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "tiny.ylb on the split \"val\" of set/data.yaml: 2 images, 3 objects");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[1]), ["class", "objects", "precision", "recall", "mAP50", "mAP50-95"]);
    assert_eq!(words(lines[2]), ["all", "3", "1.000", "1.000", "1.000", "1.000"]);
    assert_eq!(words(lines[4]), ["green", "0", "-", "-", "-", "-"]);
    assert_says(
        &text,
        &["mean times: decode ", "plots: plots/new/precision-recall.svg, plots/new/confusion-matrix.svg"],
    );
    for (plot, says) in [("precision-recall", "blue 1.000"), ("confusion-matrix", "background")] {
        let svg = fs::read_to_string(folder.path(&format!("plots/new/{plot}.svg"))).unwrap();
        assert_says(&svg, &["<svg ", says, "</svg>"]);
    }
}

#[test]
fn splits_may_be_lists_and_names_maps() {
    let folder = folder("eval_lists");
    folder.write("set/list.txt", "./images/val/b.png\n\nimages/val/a.png\n");
    let data = "path: .\nnew: list.txt\nroboflow: ../images/val\nnames:\n  0: red\n  1: green\n  2: blue\n";
    folder.write("set/other.yaml", data);
    for split in ["new", "roboflow"] {
        let args = ["eval", "tiny.ylb", "set/other.yaml", "--split", split, "--json", "--threads", "1"];
        let json = folder.run(&args).json();
        assert_eq!((&json["images"], &json["map50"]), (&2.into(), &1.0.into()), "{split}");
    }
}

#[test]
fn doubts_are_said_but_do_not_stop() {
    let folder = folder("eval_doubts");
    folder.save("set/images/val/c.png", &squares(64, 64, &[(0, 0, GREEN)]));
    folder.write("set/data.yaml", DATA.replace("green, blue", "blue, green, pink"));
    let finished = folder.run(&["eval", "tiny.ylb", "set/data.yaml"]);
    let warnings: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(
        warnings,
        [
            "warning: 1 image without a label file, taken for empty: set/images/val/c.png",
            "warning: the model has 3 classes, set/data.yaml names 4",
            "warning: class 1 is \"green\" in the model and \"blue\" in set/data.yaml: classes are compared by \
             number",
        ]
    );
    assert_says(&finished.done(), &["3 images, 3 objects"]);
}

#[test]
fn what_is_wrong_with_a_data_set() {
    let folder = folder("eval_errors");
    let failed = |data: &str, split: &str| {
        folder.run(&["eval", "tiny.ylb", data, "--split", split, "--json"]).failed(1)
    };
    assert_says(&failed("none.yaml", "val"), &["cannot open none.yaml"]);
    let args = ["eval", "tiny.ylb", "set/data.yaml", "--split", "test"];
    assert_says(&folder.run(&args).failed(2), &["no split \"test\"", "--split (train, val)"]);
    let args = ["eval", "tiny.ylb", "set/data.yaml", "--plots", "tiny.ylb"];
    assert_says(&folder.run(&args).failed(1), &["cannot make the folder tiny.ylb", "--plots"]);
    assert_says(&failed("set/data.yaml", "train"), &["images/train", "cannot be opened"]);
    folder.write("set/images/train/notes.txt", "no picture");
    assert_says(&failed("set/data.yaml", "train"), &["\"train\" of set/data.yaml has no pictures"]);
    folder.save("set/images/train/a.png", &squares(64, 64, &[]));
    assert_says(&failed("set/data.yaml", "train"), &["no picture", "has labels", "set/labels/train/a.txt"]);
    folder.write("set/labels/train/a.txt", "\n");
    assert_says(&failed("set/data.yaml", "train"), &["all empty"]);
    folder.write("set/labels/train/a.txt", "7 0.5 0.5 0.1 0.1\n");
    assert_says(&failed("set/data.yaml", "train"), &["set/labels/train/a.txt", "line 1", "class 7"]);
    folder.write("set/more.yaml", DATA.replace("blue]", "blue, a, b, c, d, e]"));
    assert_says(&failed("set/more.yaml", "train"), &["a.txt has an object of class 7", "classes 0 to 2"]);
    folder.write("set/labels/train/a.txt", "0 0.5 0.5 0.1 0.1\n");
    folder.write("set/images/train/b.jpg", "this is text");
    folder.write("set/labels/train/b.txt", "");
    assert_says(&failed("set/data.yaml", "train"), &["image set/images/train/b.jpg", "not a JPEG or PNG"]);
    folder.write("set/broken.yaml", "names: [a\n");
    assert_says(&failed("set/broken.yaml", "val"), &["set/broken.yaml is wrong", "it is not YAML"]);
}
