//! `run` on pictures.

use std::fs;

use image::Rgb;

use crate::support::{Folder, assert_says, squares};
use crate::tiny;

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];

/// A folder with the network and a picture with a red and a blue square.
fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.write("tiny.ylb", tiny::file());
    folder.save("in/two.png", &squares(64, 64, &[(16, 24, RED), (40, 48, BLUE)]));
    folder
}

#[track_caller]
fn assert_box(detection: &serde_json::Value, expected: [f64; 4]) {
    for (edge, expected) in ["x1", "y1", "x2", "y2"].iter().zip(expected) {
        let edge = detection["box"][edge].as_f64().unwrap();
        assert!((edge - expected).abs() < 0.1, "{detection} is not {expected:?}");
    }
}

#[test]
fn prints_and_draws_what_it_finds() {
    let folder = folder("prints_and_draws");
    let text = folder.run(&["run", "tiny.ylb", "in/two.png", "--threads", "1"]).done();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("image 1/1 in/two.png: 64x64 1 red, 1 blue  "), "{text}");
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>(),
        ["class", "confidence", "x1", "y1", "x2", "y2"]
    );
    let mut found: Vec<Vec<&str>> =
        lines[2..4].iter().map(|line| line.split_whitespace().collect()).collect();
    found.sort();
    assert_eq!(found[0], ["blue", "0.995", "36.0", "44.0", "52.0", "60.0"]);
    assert_eq!(found[1], ["red", "0.995", "12.0", "20.0", "28.0", "36.0"]);
    assert_says(lines[4], &["decode ", "preprocess ", "inference ", "postprocess ", "draw and save "]);
    assert_eq!(&lines[5..], ["  saved to runs/two.png"]);

    let drawn = image::open(folder.path("runs/two.png")).unwrap().into_rgb8();
    assert_eq!(drawn.dimensions(), (64, 64));
    assert_eq!(*drawn.get_pixel(12, 30), Rgb([0xe6, 0x9f, 0x00]), "the first class's box");
    assert_eq!(*drawn.get_pixel(20, 26), Rgb(RED), "inside the box the picture is untouched");
}

#[test]
fn json_is_one_document_and_nothing_else() {
    let folder = folder("json_document");
    let finished = folder.run(&["run", "tiny.ylb", "in", "--json", "--out", "out", "--quiet"]);
    assert_eq!(finished.stderr, "");
    let json = finished.json();
    assert_eq!(json["model"], "tiny.ylb");
    let image = &json["images"][0];
    assert_eq!((&image["path"], &image["saved"]), (&"in/two.png".into(), &"out/two.png".into()));
    assert_eq!((&image["width"], &image["height"]), (&64.into(), &64.into()));
    for stage in ["decode", "preprocess", "inference", "postprocess", "save"] {
        assert!(image["times_ms"][stage].as_f64().is_some_and(|ms| ms >= 0.0), "{stage}");
    }
    let mut detections = image["detections"].as_array().unwrap().clone();
    detections.sort_by_key(|detection| detection["class"].as_u64());
    assert_eq!(detections.len(), 2);
    for (detection, (class, edges)) in
        detections.iter().zip([(0, [12.0, 20.0, 28.0, 36.0]), (2, [36.0, 44.0, 52.0, 60.0])])
    {
        assert_eq!((&detection["class"], &detection["name"]), (&class.into(), &tiny::CLASSES[class].into()));
        assert!((detection["confidence"].as_f64().unwrap() - tiny::CONFIDENCE).abs() < 1e-3, "{detection}");
        assert_box(detection, edges);
    }
}

#[test]
fn options_choose_among_the_detections() {
    let folder = folder("options_choose");
    let count = |options: &[&str]| {
        let args = [&["run", "tiny.ylb", "in/two.png", "--no-save", "--json"], options].concat();
        folder.run(&args).json()["images"][0]["detections"].as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--max-det", "1"]), 1);
    assert_eq!(count(&["--conf", "0.999"]), 0);
    assert_eq!(count(&["--classes", "red"]), 1);
    assert_eq!(count(&["--classes", "0,blue"]), 2);
    assert_eq!(count(&["--classes", "green"]), 0);
    assert!(!folder.path("runs").exists(), "--no-save saved something");
}

#[test]
fn boxes_are_in_pixels_of_the_picture() {
    let folder = Folder::new("boxes_in_pixels");
    folder.write("tiny.ylb", tiny::file());
    // Twice as large as the network's input, so that a cell is 16 pixels.
    let large = squares(64, 64, &[(16, 24, GREEN)]);
    let large = image::imageops::resize(&large, 128, 128, image::imageops::FilterType::Nearest);
    folder.save("large.png", &large);
    let json = folder.run(&["run", "tiny.ylb", "large.png", "--no-save", "--json"]).json();
    let detections = json["images"][0]["detections"].as_array().unwrap();
    assert_eq!((detections.len(), &detections[0]["name"]), (1, &"green".into()));
    assert_box(&detections[0], [24.0, 40.0, 56.0, 72.0]);
}

#[test]
fn folders_are_searched_in_order_and_summed_up() {
    let folder = folder("folders_in_order");
    folder.save("in/a.JPG", &squares(64, 64, &[]));
    folder.save("in/c.jpeg", &squares(64, 64, &[(0, 0, GREEN)]));
    folder.write("in/notes.txt", "no picture");
    folder.write("in/.hidden.jpg", "no picture");
    folder.write("in/deeper/d.jpg", "not searched");
    let finished = folder.run(&["run", "tiny.ylb", "in"]);
    assert!(finished.stderr.starts_with("tiny.ylb: 64x64 input, classes: 3, "), "{}", finished.stderr);
    let text = finished.done();
    let images: Vec<&str> = text.lines().filter(|line| line.starts_with("image ")).collect();
    assert_eq!(images.len(), 3);
    assert!(images[0].starts_with("image 1/3 in/a.JPG: 64x64 (nothing found)  "), "{}", images[0]);
    assert!(images[1].starts_with("image 2/3 in/c.jpeg: 64x64 1 green  "), "{}", images[1]);
    assert!(images[2].starts_with("image 3/3 in/two.png: 64x64 1 red, 1 blue  "), "{}", images[2]);
    assert_says(&text, &["3 images, 3 objects\nmean times: decode "]);
    assert_eq!(fs::read_dir(folder.path("runs")).unwrap().count(), 3);
}

#[test]
fn inputs_are_never_overwritten() {
    let folder = folder("never_overwritten");
    let before = fs::read(folder.path("in/two.png")).unwrap();
    let text = folder.run(&["run", "tiny.ylb", "in/two.png", "--out", "in"]).done();
    assert_says(&text, &["saved to in/two-2.png"]);
    assert_eq!(fs::read(folder.path("in/two.png")).unwrap(), before);
}
