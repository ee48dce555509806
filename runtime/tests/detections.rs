//! From heads to boxes in the picture, against an independent implementation in floating point.

#[path = "support/heads.rs"]
mod heads;
#[path = "support/noise.rs"]
mod noise;

use heads::NoiseHeads;
use noise::noise;
use std::path::Path;
use std::str::FromStr;
use ylb_runtime::detect::{Candidate, HeadDecoder, Nms};
use ylb_runtime::picture::Placement;
use ylb_runtime::{DetectOptions, Detection};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/detections");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

fn parse<T: FromStr>(word: &str) -> T {
    let parsed = word.parse().ok();
    parsed.unwrap_or_else(|| panic!("{word:?} in a fixture"))
}

fn detection(line: &str) -> Detection {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |index: usize| parse::<f32>(words[index]);
    Detection {
        class: parse(words[0]),
        confidence: number(1),
        left: number(2),
        top: number(3),
        right: number(4),
        bottom: number(5),
    }
}

/// Whether two boxes agree; `pixel` is the size of an input pixel in the picture.
fn agree(found: &Detection, expected: &Detection, pixel: f32) -> bool {
    let close = |a: f32, b: f32| (a - b).abs() < 0.01 * pixel;
    found.class == expected.class
        && (found.confidence - expected.confidence).abs() < 1e-5
        && close(found.left, expected.left)
        && close(found.top, expected.top)
        && close(found.right, expected.right)
        && close(found.bottom, expected.bottom)
}

#[test]
fn boxes_are_those_of_yolov5() {
    let text = fixture("heads.txt");
    let mut lines = text.lines();
    let mut cases = 0;
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split(' ').collect();
        let options = DetectOptions {
            confidence: parse(words[3]),
            iou: parse(words[4]),
            multi_label: words[5] == "1",
            max_detections: parse(words[6]),
            classes: (words[7] != "-").then(|| words[7].split(',').map(parse).collect()),
        };
        let picture = [parse(words[8]), parse(words[9])];
        let expected: Vec<_> = lines.by_ref().take(parse(words[10])).map(detection).collect();

        let heads = NoiseHeads::new(parse(words[1]), parse(words[2]));
        let mut decoder = HeadDecoder::new(&heads.detect, &heads.values).expect("a valid head");
        let mut candidates = Vec::new();
        decoder.candidates(&heads.heads(), &options, &mut candidates);
        let placement = Placement::new(picture, [80, 64]);
        let mut nms = Nms::new(decoder.classes());
        let found = nms.detections(&mut candidates, &options, &placement);

        assert_eq!(found.len(), expected.len(), "number of boxes of {line}");
        let pixel = (picture[0] as f32 / 80.0).max(picture[1] as f32 / 64.0);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(agree(found, expected, pixel), "{found:?}, not {expected:?}, of {line}");
        }
        cases += 1;
    }
    assert_eq!(cases, 8);
}

/// The boxes of the fixture's script: whole pixels, many ties and touching sides.
fn noise_candidates(seed: u32, count: usize) -> Vec<Candidate> {
    let unit = if seed.is_multiple_of(2) { 1 } else { 12 };
    let candidate = |row: usize| {
        let number = |field: usize| noise(seed, 6 * row + field);
        let side = |field: usize, range: u32| (number(field) % (range / unit) * unit) as i32;
        let (left, top) = (side(0, 48), side(1, 48));
        Candidate {
            score: number(4) % 200 + 1,
            class: number(5) % 3,
            row: row as u32,
            left,
            top,
            right: left + side(2, 36),
            bottom: top + side(3, 36),
        }
    };
    (0..count).map(candidate).collect()
}

#[test]
fn suppression_is_that_of_torchvision() {
    let text = fixture("nms.txt");
    assert_eq!(text.lines().count(), 60);
    let mut nms = Nms::new(3);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut candidates = noise_candidates(parse(words[0]), parse(words[1]));
        let options =
            DetectOptions { iou: parse(words[2]), max_detections: parse(words[3]), ..Default::default() };
        let expected: Vec<u32> = words[4..].iter().map(|word| parse(word)).collect();
        let kept = nms.survivors(&mut candidates, &options);
        let kept: Vec<u32> = kept.map(|candidate| candidate.row).collect();
        assert_eq!(kept, expected, "{line}");
    }
}
