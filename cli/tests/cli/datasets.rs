//! `eval` on data sets that are not as they should be: figures are right, or it is said why they are not.

use std::fs;

use serde_json::Value;

use crate::eval::{BLUE, DATA, RED, folder, label};
use crate::support::{Finished, Folder, assert_says, squares};
use crate::tiny;

fn eval(folder: &Folder, more: &[&str]) -> Finished {
    folder.run(&[&["eval", "tiny.ylb", "set/data.yaml"], more].concat())
}

/// The warnings on standard error, which are also in the document.
#[track_caller]
fn warnings(folder: &Folder) -> (Vec<String>, Value) {
    let finished = eval(folder, &["--json"]);
    let lines: Vec<String> =
        finished.stderr.lines().map(|line| line.strip_prefix("warning: ").expect(line).to_owned()).collect();
    let json = finished.json();
    assert_eq!(json["warnings"], serde_json::json!(lines));
    let quiet = folder.run(&["-q", "eval", "tiny.ylb", "set/data.yaml", "--json"]);
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.json()["warnings"], json["warnings"]);
    (lines, json)
}

#[track_caller]
fn counts(json: &Value) -> [u64; 2] {
    ["images", "objects"].map(|key| json[key].as_u64().unwrap())
}

#[test]
fn nothing_odd_is_said_of_what_is_as_it_should_be() {
    let (lines, json) = warnings(&folder("datasets_fine"));
    assert!(lines.is_empty(), "{lines:?}");
    let findings = json["findings"].as_object().unwrap();
    assert!(findings.len() == 8 && findings.values().all(|count| count == 0), "{findings:?}");
}

#[test]
fn folders_in_folders_are_read() {
    let folder = folder("datasets_nested");
    folder.save("set/images/val/deep/er/c.png", &squares(64, 64, &[(8, 8, RED), (40, 8, BLUE)]));
    folder.write("set/labels/val/deep/er/c.txt", label(0, 8, 8) + &label(2, 40, 8));
    let (lines, json) = warnings(&folder);
    assert!(lines.is_empty(), "{lines:?}");
    assert_eq!((counts(&json), &json["map50_95"]), ([3, 5], &1.0.into()));
}

#[test]
#[cfg(unix)]
fn links_that_lead_round_are_told_and_end() {
    use std::os::unix::fs::symlink;
    let folder = folder("datasets_links");
    symlink("..", folder.path("set/images/val/loop")).unwrap();
    symlink("../../labels", folder.path("set/labels/val/loop")).unwrap();
    let (lines, json) = warnings(&folder);
    // ".." is another folder than "val", and leads back to it.
    assert_eq!(lines, ["1 folder skipped, as it was read before: set/images/val/loop/val"]);
    assert_eq!(counts(&json), [2, 3]);
}

#[test]
fn pictures_of_other_formats_and_labels_alone_are_told() {
    let folder = folder("datasets_formats");
    for name in ["b2.bmp", "deep/c.webp", "d.TIFF", "e.tif"] {
        folder.write(&format!("set/images/val/{name}"), "whatever it is");
    }
    folder.write("set/images/val/notes.md", "not a picture");
    folder.write("set/labels/val/b2.txt", label(0, 8, 8));
    folder.write("set/labels/val/deep/lost.txt", label(0, 8, 8));
    folder.write("set/labels/val/classes.txt", "red\ngreen\nblue\n");
    let (lines, json) = warnings(&folder);
    assert_eq!(
        lines,
        [
            "4 pictures skipped with their labels: set/images/val/b2.bmp (BMP), set/images/val/d.TIFF (TIFF), \
             set/images/val/deep/c.webp (WebP) and 1 more; JPEG and PNG are read",
            "1 label file without a picture: set/labels/val/deep/lost.txt",
        ]
    );
    assert_eq!(counts(&json), [2, 3]);
    let findings = &json["findings"];
    assert_eq!((&findings["images_skipped"], &findings["labels_without_image"]), (&4.into(), &1.into()));
    for name in ["a.png", "b.png"] {
        fs::remove_file(folder.path(&format!("set/images/val/{name}"))).unwrap();
    }
    let error = eval(&folder, &[]).failed(1);
    assert_says(&error, &["\"val\" of set/data.yaml has no pictures that can be read", "b2.bmp (BMP)"]);
}

#[test]
fn labels_that_come_twice_count_once() {
    let folder = folder("datasets_duplicates");
    let labels = label(0, 16, 24) + &label(2, 40, 48);
    folder.write("set/labels/val/a.txt", labels.clone() + &labels);
    let (lines, json) = warnings(&folder);
    let said = "2 duplicate labels removed: set/labels/val/a.txt line 3, set/labels/val/a.txt line 4";
    assert_eq!((lines, counts(&json)), (vec![said.to_owned()], [2, 3]));
    assert_eq!((&json["map50_95"], &json["findings"]["labels_repeated"]), (&1.0.into(), &2.into()));
}

#[test]
fn polygons_count_as_boxes_and_rounding_is_forgiven() {
    let folder = folder("datasets_polygons");
    // The middle of the square at (16, 24) is (20, 28), its box 16 pixels wide.
    let [left, top, right, bottom] = [12.0, 20.0, 28.0, 36.0].map(|edge| edge / 64.0);
    let middle = 20.0 / 64.0;
    let polygon = format!("0 {middle} {top} {right} {bottom} {left} {bottom} {left} {top}\n");
    folder.write("set/labels/val/a.txt", polygon + &label(2, 40, 48));
    folder.write("set/labels/val/b.txt", label(0, 8, 8) + "1 1.0001 0.5 0.1 0.1\n");
    let (lines, json) = warnings(&folder);
    assert_eq!(
        lines,
        [
            "1 polygon label counts as the box round it: set/labels/val/a.txt line 1",
            "1 label reaches out of its picture by 1 % or less and is cut: set/labels/val/b.txt line 2",
        ]
    );
    assert_eq!((counts(&json), &json["per_class"]["red"]["map50_95"]), ([2, 4], &1.0.into()));
}

#[test]
fn all_wrong_labels_are_counted_at_once() {
    let folder = folder("datasets_wrong");
    folder.write("set/labels/val/a.txt", "0 320 0.5 0.1 0.1\n9 0.5 0.5 0.1 0.1\n".repeat(2));
    folder.write("set/labels/val/b.txt", b"0 0.5 0.5 0.1 0.1 \xe9\n");
    let error = eval(&folder, &[]).failed(1);
    assert_says(
        &error,
        &[
            "5 labels are wrong: set/labels/val/a.txt line 1: 320 is not a fraction of the picture, 0 to 1; ",
            "a.txt line 2: class 9, but the data set names 3 classes (0 to 2); ",
            " and 2 more",
        ],
    );
    folder.write("set/labels/val/a.txt", "");
    let error = eval(&folder, &[]).failed(1);
    assert_says(&error, &["a label is wrong: set/labels/val/b.txt: line 1 is not UTF-8 (byte e9)"]);
}

#[test]
fn byte_order_marks_do_not_matter() {
    let folder = folder("datasets_marks");
    let mark = "\u{feff}";
    folder.write("set/labels/val/a.txt", mark.to_owned() + &label(0, 16, 24) + &label(2, 40, 48));
    folder.write("set/list.txt", mark.to_owned() + "images/val/a.png\r\nimages/val/b.png\r\n");
    folder.write("set/data.yaml", mark.to_owned() + "val: list.txt\r\nnames: [red, green, blue]\r\n");
    let (lines, json) = warnings(&folder);
    assert!(lines.is_empty(), "{lines:?}");
    assert_eq!((counts(&json), &json["map50_95"]), ([2, 3], &1.0.into()));

    let onnx = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/exports/qonnx_w4a4_odd.onnx");
    for names in ["cat\r\ndog\r\n", "names: [cat, dog]\r\n"] {
        folder.write("names.txt", mark.to_owned() + names);
        folder.run(&["-q", "convert", onnx, "-o", "named.ylb", "--names", "names.txt"]).done();
        let info = folder.run(&["info", "named.ylb", "--json"]).json();
        assert_eq!(info["class_names"], serde_json::json!(["cat", "dog"]));
    }
}

#[test]
fn a_picture_counts_once_however_the_list_spells_it() {
    let folder = folder("datasets_spellings");
    folder.write(
        "set/list.txt",
        "images/val/a.png\n./images/val/a.png\nimages/./val/../val/b.png\nimages/val/b.png\n",
    );
    folder.write("set/data.yaml", DATA.replace("images/val", "list.txt"));
    let (lines, json) = warnings(&folder);
    assert_says(&lines[0], &["2 repeated pictures left out: set/images/"]);
    assert_eq!((lines.len(), counts(&json)), (1, [2, 3]));
}

#[test]
fn a_count_of_classes_that_contradicts_the_names_is_told() {
    let folder = folder("datasets_count");
    folder.write("set/data.yaml", DATA.to_owned() + "nc: 7\n");
    let (lines, _) = warnings(&folder);
    assert_eq!(lines, ["set/data.yaml says \"nc: 7\", but has 3 names; the names count"]);
}

#[test]
fn descriptions_that_are_made_to_break() {
    let folder = folder("datasets_broken");
    let failed = |data: String| {
        folder.write("set/data.yaml", data);
        eval(&folder, &[]).failed(1)
    };
    assert_says(
        &failed("- ".repeat(20_000)),
        &["set/data.yaml is wrong: line 1 has more than 64 lists and maps"],
    );
    assert_says(
        &failed(DATA.to_owned() + "x: " + &"[".repeat(20_000)),
        &["set/data.yaml is wrong: ", "limit exceeded at byte"],
    );
    assert_says(
        &failed(DATA.to_owned() + &"#".repeat(5 << 20)),
        &["cannot open set/data.yaml", "more than 4194304"],
    );
    let long = "x".repeat(3 << 20);
    assert_says(
        &failed(DATA.replace("green", &long)),
        &[
            "set/data.yaml is wrong: \"names\" is wrong: the name of class 1 has 3145728 bytes; expected at most 255",
        ],
    );
    folder.write("names.txt", long);
    let onnx = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/exports/qonnx_w4a4_odd.onnx");
    let error = folder.run(&["convert", onnx, "-o", "a.ylb", "--names", "names.txt"]).failed(1);
    assert_says(&error, &["names.txt: the name of class 0 has 3145728 bytes"]);
}

#[test]
fn other_things_in_place_of_a_description() {
    let folder = folder("datasets_other");
    let failed = |args: &[&str]| folder.run(args).failed(1);
    assert_says(
        &failed(&["eval", "set/data.yaml", "tiny.ylb"]),
        &["tiny.ylb is a .ylb file: the model comes first, then the data set (eval MODEL.ylb DATA.yaml)"],
    );
    assert_says(
        &failed(&["eval", "tiny.ylb", "set"]),
        &["set is a folder: name the YAML file in it, set/data.yaml"],
    );
    assert_says(
        &failed(&["eval", "tiny.ylb", "set/images"]),
        &["set/images is a folder, but a data set is named"],
    );
    assert_says(&failed(&["eval", "tiny.ylb", "set/images/val/a.png"]), &["a.png", "not a text file"]);
    folder.write("set/data.yaml", DATA.replace("images/val", "images/val/a.png"));
    assert_says(
        &failed(&["eval", "tiny.ylb", "set/data.yaml"]),
        &["set/data.yaml names images/val/a.png, but set/images/val/a.png is a picture: name a folder"],
    );
    folder.write("set/data.yaml", b"val: images/val\nnames: [gr\xfcn]\n");
    assert_says(
        &failed(&["eval", "tiny.ylb", "set/data.yaml"]),
        &["cannot open set/data.yaml: line 2 is not UTF-8 (byte fc): save the text as UTF-8"],
    );
}

#[test]
fn very_many_labels_of_a_picture_take_no_longer_than_they_must() {
    let folder = folder("datasets_many");
    let mut labels = label(0, 8, 8);
    for index in 0..200_000 {
        labels.push_str(&format!("1 0.{index:06} 0.5 0.001 0.001\n"));
    }
    folder.write("set/labels/val/b.txt", labels);
    let (lines, json) = warnings(&folder);
    assert!(lines.is_empty(), "{lines:?}");
    assert_eq!((counts(&json), &json["per_class"]["red"]["map50"]), ([2, 200_003], &1.0.into()));
}

#[test]
fn names_of_the_model_do_not_need_to_be_short() {
    // A format's width ends at 65 535.
    let name = "é".repeat(2048);
    let folder = folder("datasets_long_names");
    folder.write("tiny.ylb", tiny::file_with_names([&name, "green", "blue"], "/head"));
    let finished = eval(&folder, &[]);
    assert_says(&finished.stderr, &["warning: class 0 is \"éé"]);
    assert_says(&finished.done(), &["  red    "]);
    assert_says(&folder.run(&["run", "tiny.ylb", "set/images/val/a.png"]).done(), &[&name]);
}
