//! Names from models, data sets and file systems cannot command the terminal, or break lines.

use std::fs;

use crate::eval::{DATA, RED, folder, label};
use crate::support::{Finished, Folder, assert_says, squares};
use crate::tiny;

/// Class names and a node's name as a joker would choose them, and how they are shown.
const CLASSES: [&str; 3] = ["a\u{1b}[31mX", "b\nB\u{9b}2J", "c\u{202e}\t\u{7f}"];
const SHOWN: [&str; 3] = ["a\\u{1b}[31mX", "b\\nB\\u{9b}2J", "c\\u{202e}\\t\\u{7f}"];
const NODE: &str = "/head\n\u{1b}[31mfake line";
const SHOWN_NODE: &str = "/head\\n\\u{1b}[31mfake line";

/// Asserts that both outputs hold nothing that a terminal would obey.
#[track_caller]
fn harmless(finished: Finished) -> Finished {
    for text in [&finished.stdout, &finished.stderr] {
        let obeyed = |letter: char| {
            (letter.is_control() && letter != '\n') || ('\u{202a}'..='\u{202e}').contains(&letter)
        };
        assert!(!text.contains(obeyed), "{text:?}");
    }
    finished
}

fn hostile(test: &str) -> Folder {
    let folder = folder(test);
    folder.write("tiny.ylb", tiny::file_with_names(CLASSES, NODE));
    folder
}

#[test]
fn names_in_a_model() {
    let folder = hostile("terminal_model");
    let run = |args: &[&str]| harmless(folder.run(args));
    let text = run(&["info", "tiny.ylb"]).done();
    assert_says(&text, &[&SHOWN.join(", "), SHOWN_NODE]);
    let text = run(&["run", "tiny.ylb", "set/images/val/a.png"]).done();
    assert_says(&text, &[&format!("1 {}, 1 {}", SHOWN[0], SHOWN[2]), &format!("\n  {}  ", SHOWN[0])]);
    let text = run(&["bench", "tiny.ylb", "--profile", "--iterations", "1", "--warmup", "0"]).done();
    assert_says(&text, &[SHOWN_NODE]);
    let finished = run(&["run", "tiny.ylb", "set/images/val/a.png", "--classes", "no\u{1b}pe"]);
    assert_says(&finished.failed(2), &["no class \"no\\u{1b}pe\"", &SHOWN.join(", ")]);
    let finished = run(&["eval", "tiny.ylb", "set/data.yaml"]);
    assert_says(&finished.stderr, &[&format!("warning: class 0 is \"{}\" in the model", SHOWN[0])]);
    // Documents have the names as they are.
    let names = run(&["info", "tiny.ylb", "--json"]).json()["class_names"].clone();
    assert_eq!(names, serde_json::json!(CLASSES));
    let json = run(&["run", "tiny.ylb", "set/images/val/a.png", "--json"]).json();
    assert_eq!(
        json["images"][0]["detections"][0]["name"].as_str().map(|name| CLASSES.contains(&name)),
        Some(true)
    );
}

#[test]
fn names_in_a_data_set_and_plots() {
    let folder = hostile("terminal_data");
    let names = serde_json::to_string(&CLASSES).unwrap();
    folder.write("set/data.yaml", DATA.replace("[red, green, blue]", &names));
    let finished = harmless(folder.run(&["eval", "tiny.ylb", "set/data.yaml", "--plots", "plots"]));
    assert_eq!(finished.stderr, "");
    assert_says(&finished.done(), &[&format!("\n  {}  ", SHOWN[1])]);
    for plot in ["precision-recall", "confusion-matrix"] {
        let svg = fs::read_to_string(folder.path(&format!("plots/{plot}.svg"))).unwrap();
        assert_says(&svg, &[SHOWN[0], SHOWN[2]]);
        assert!(!svg.contains(|letter: char| letter.is_control() && letter != '\n'), "{svg}");
    }
    // What is wrong with them is shown in the same way.
    folder.write("set/labels/val/a.txt", "\u{1b}[31m 0.5 0.5 0.1 0.1\n");
    let error = harmless(folder.run(&["eval", "tiny.ylb", "set/data.yaml"])).failed(1);
    assert_says(&error, &["a.txt line 1: \"\\u{1b}[31m\" is not a class number"]);
    folder.write("set/data.yaml", DATA.replace("val: ", "val: \"\\e[31m\" #"));
    let error = harmless(folder.run(&["eval", "tiny.ylb", "set/data.yaml"])).failed(1);
    assert_says(&error, &["names \\u{1b}[31m, but set/\\u{1b}[31m cannot be opened"]);
    folder.write("set/data.yaml", DATA.replace("val: ", "\"\\e]0;title\\a\": "));
    let error = harmless(folder.run(&["eval", "tiny.ylb", "set/data.yaml"])).failed(2);
    assert_says(&error, &["no split \"val\"", "\\u{1b}]0;title\\u{7}"]);
}

#[test]
#[cfg(unix)]
fn names_of_files() {
    let folder = folder("terminal_files");
    let (name, shown) = ("p\u{1b}[31m\nq  r.png", "p\\u{1b}[31m\\nq  r.png");
    let run = |args: &[&str]| harmless(folder.run(args));
    folder.save(&format!("set/images/val/{name}"), &squares(64, 64, &[(8, 8, RED)]));
    folder.write(&format!("set/labels/val/{}", name.replace(".png", ".txt")), label(0, 8, 8));
    let picture = format!("set/images/val/{name}");
    let text = run(&["run", "tiny.ylb", &picture]).done();
    assert_says(
        &text,
        &[&format!("image 1/1 set/images/val/{shown}: 64x64 1 red"), &format!("saved to runs/{shown}\n")],
    );
    assert!(folder.path(&format!("runs/{name}")).exists());
    assert_eq!(run(&["run", "tiny.ylb", &picture, "--json"]).json()["images"][0]["path"], picture);
    assert_eq!(run(&["eval", "tiny.ylb", "set/data.yaml", "--json"]).json()["images"], 3);
    folder.write(&picture, "not a picture");
    for args in [&["run", "tiny.ylb", &picture] as &[&str], &["eval", "tiny.ylb", "set/data.yaml"]] {
        assert_says(&run(args).stderr, &[&format!("error: image set/images/val/{shown}: ")]);
    }
    for args in [
        &["info", name] as &[&str],
        &["bench", name],
        &["convert", name],
        &["compare", name, name],
        &["eval", "tiny.ylb", name],
        &["run", name, "set/images/val/a.png"],
        &["-q", "run", "tiny.ylb", name],
    ] {
        assert_says(&run(args).failed(1), &[shown]);
    }
    fs::copy(folder.path("tiny.ylb"), folder.path(name)).unwrap();
    assert_says(&run(&["info", name]).done(), &[&format!("{shown}: ")]);
    assert_says(
        &run(&["bench", name, "--iterations", "1", "--warmup", "0"]).done(),
        &[&format!("{shown}: 64x64")],
    );
    assert_says(
        &run(&["bench", name, "--iterations", "1", "--row"]).done(),
        &[&format!("| {shown}, 64x64 |")],
    );
    // Not even where it is taken for an option.
    let finished = run(&["run", "--\u{202e}\u{9b}31m"]);
    assert_says(&finished.stderr, &["unexpected argument '--\\u{202e}\\u{9b}31m'"]);
    assert_eq!(finished.status, 2);
}

#[test]
#[cfg(target_os = "linux")]
fn names_of_files_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder("terminal_not_text");
    let name = OsStr::from_bytes(b"\xff\x1b.png");
    fs::rename(folder.path("set/images/val/a.png"), folder.path("set/images/val").join(name)).unwrap();
    let labels = folder.path("set/labels/val");
    fs::rename(labels.join("a.txt"), labels.join(OsStr::from_bytes(b"\xff\x1b.txt"))).unwrap();
    let path = folder.path("set/images/val").join(name);
    let run = |args: &[&OsStr]| harmless(Finished::from(folder.command(args).output().unwrap()));
    let text = run(&["run".as_ref(), "tiny.ylb".as_ref(), path.as_ref()]).done();
    assert_says(&text, &["\u{fffd}\\u{1b}.png: 64x64 1 red, 1 blue"]);
    let json = run(&["eval", "tiny.ylb", "set/data.yaml", "--json"].map(OsStr::new)).json();
    assert_eq!(
        (&json["objects"], &json["map50_95"], &json["warnings"]),
        (&3.into(), &1.0.into(), &serde_json::json!([]))
    );
}

/// An export in which the names of the nodes from the tenth on begin with an escape or a line break: `n12` in a
/// protocol buffer's field 3.
fn export(name: &str) -> Vec<u8> {
    let mut bytes =
        fs::read(format!("{}/../tests/fixtures/exports/{name}.onnx", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut changed = 0;
    for at in 0..bytes.len() - 4 {
        if let [0x1a, 3, b'n', tens @ b'0'..=b'9', b'0'..=b'9'] = bytes[at..at + 5] {
            bytes[at + 2] = if tens % 2 == 0 { b'\n' } else { 0x1b };
            changed += 1;
        }
    }
    assert!(changed > 10, "{name} has other names");
    bytes
}

#[test]
fn names_in_an_export() {
    let folder = Folder::new("terminal_export");
    folder.write("good.onnx", export("qonnx_w4a4_odd"));
    let run = |args: &[&str]| harmless(folder.run(args));
    let text = run(&["convert", "good.onnx", "--verify"]).done();
    assert!(text.contains("\n  \\n2") && text.contains("\n  \\u{1b}1"), "{text}");
    let text = run(&["compare", "good.onnx", "good.ylb"]).done();
    assert_says(&text, &["\n  \\u{1b}1", "good.ylb equals good.onnx"]);
    assert_says(&run(&["info", "good.ylb"]).done(), &["\n  \\u{1b}1"]);
    let folded = run(&["info", "good.ylb", "--json"]).json();
    let named = |layer: &serde_json::Value| {
        layer["name"].as_str().is_some_and(|name| name.starts_with(['\u{1b}', '\n']))
    };
    assert!(folded["layers"].as_array().unwrap().iter().any(named), "{folded}");
}

#[test]
fn quiet_conversions_say_what_came_of_it() {
    let folder = Folder::new("terminal_quiet");
    let onnx = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/exports/qonnx_w4a4_odd.onnx");
    let loud = folder.run(&["convert", onnx, "-o", "a.ylb"]).done();
    let quiet = folder.run(&["-q", "convert", onnx, "-o", "a.ylb"]).done();
    assert!(loud.lines().count() > 20 && loud.contains("weight bits"), "{loud}");
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    assert_says(&quiet, &["qonnx_w4a4_odd.onnx (", "converted to a.ylb"]);
}
