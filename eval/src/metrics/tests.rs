//! Whole measurements: by hand, and against pycocotools.

use serde::Deserialize;

use super::*;

const BOX: Edges = [0.0, 0.0, 10.0, 10.0];
const ELSEWHERE: Edges = [50.0, 50.0, 60.0, 60.0];

fn object(class: usize, edges: Edges) -> Object {
    Object { class, edges }
}

fn guess(class: usize, confidence: f64, edges: Edges) -> Guess {
    Guess { class, confidence, edges }
}

fn close(a: Option<f64>, b: f64) -> bool {
    a.is_some_and(|a| (a - b).abs() < 1e-12)
}

#[test]
fn perfect_detections_have_average_precision_one() {
    let scene = Scene {
        objects: vec![object(0, BOX), object(0, ELSEWHERE)],
        guesses: vec![guess(0, 0.5, ELSEWHERE), guess(0, 0.4, BOX)],
    };
    let accuracy = measure(&[scene], 1);
    assert!(close(accuracy.map50_95(), 1.0) && close(accuracy.map50(), 1.0));
    assert_eq!(accuracy.classes[0].curve, [1.0; RECALL_POINTS]);
}

#[test]
fn one_of_two_found_after_a_wrong_one() {
    // Recalls up to 0.5 are reached with a precision of 1/2: 51 of 101 points.
    let objects = vec![object(0, BOX), object(0, ELSEWHERE)];
    let guesses = vec![guess(0, 0.9, [20.0, 20.0, 30.0, 30.0]), guess(0, 0.8, BOX)];
    let accuracy = measure(&[Scene { objects, guesses }], 1);
    assert!(close(accuracy.map50(), 51.0 * 0.5 / 101.0), "{:?}", accuracy.map50());
}

#[test]
fn the_overlap_decides_how_many_thresholds_are_passed() {
    // 8 of 10 rows are covered: right at 0.50, 0.55, … 0.80, seven of ten.
    let scene = Scene { objects: vec![object(0, BOX)], guesses: vec![guess(0, 0.9, [0.0, 0.0, 10.0, 8.0])] };
    let accuracy = measure(&[scene], 1);
    assert!(close(accuracy.map50(), 1.0) && close(accuracy.map50_95(), 0.7));
}

#[test]
fn a_second_box_on_the_same_object_is_wrong_but_harmless_if_less_confident() {
    let twice = |first: f64, second: f64| {
        let guesses = vec![guess(0, first, BOX), guess(0, second, [0.0, 0.0, 10.0, 9.0])];
        let objects = vec![object(0, BOX)];
        measure(&[Scene { objects, guesses }], 1).map50_95()
    };
    assert!(close(twice(0.9, 0.3), 1.0));
    // The narrower box comes first, and fails the thresholds 0.95 (overlap 0.9): there 1/2 is reached.
    assert!(twice(0.3, 0.9).is_some_and(|map| (0.94..0.96).contains(&map)));
}

#[test]
fn classes_without_objects_are_left_out_of_the_mean() {
    let scene = Scene {
        objects: vec![object(0, BOX), object(2, ELSEWHERE)],
        guesses: vec![guess(0, 0.9, BOX), guess(1, 0.9, BOX)],
    };
    let accuracy = measure(&[scene], 3);
    let by_class: Vec<_> = accuracy.classes.iter().map(ClassAccuracy::map50).collect();
    assert_eq!((by_class[1], by_class[2]), (None, Some(0.0)));
    assert!(close(by_class[0], 1.0) && close(accuracy.map50(), 0.5));
}

#[test]
fn nothing_to_find_has_no_accuracy() {
    let accuracy = measure(&[Scene { objects: vec![], guesses: vec![guess(0, 0.9, BOX)] }], 1);
    assert_eq!((accuracy.map50_95(), accuracy.map50(), accuracy.best), (None, None, None));
}

#[test]
fn a_hundred_detections_of_a_picture_and_class_count() {
    let wrong = (0..MAX_DETECTIONS).map(|_| guess(0, 0.9, ELSEWHERE));
    let mut scene = Scene { objects: vec![object(0, BOX)], guesses: wrong.collect() };
    scene.guesses.push(guess(0, 0.8, BOX));
    assert_eq!(measure(std::slice::from_ref(&scene), 1).map50(), Some(0.0));
    scene.guesses.remove(0);
    assert!(close(measure(&[scene], 1).map50(), 0.01));
}

/// `eval/tests/data/coco.json`, written by `scripts/coco-fixture.py`.
#[derive(Deserialize)]
struct Fixture {
    pictures: Vec<Picture>,
    pycocotools: Expected,
}

#[derive(Deserialize)]
struct Picture {
    objects: Vec<(usize, f64, f64, f64, f64)>,
    guesses: Vec<(usize, f64, f64, f64, f64, f64)>,
}

#[derive(Deserialize)]
struct Expected {
    map50_95: f64,
    map50: f64,
    per_class: Vec<ExpectedClass>,
}

#[derive(Deserialize)]
struct ExpectedClass {
    map50_95: Option<f64>,
    map50: Option<f64>,
}

impl From<&Picture> for Scene {
    fn from(picture: &Picture) -> Self {
        let objects = picture.objects.iter();
        let guesses = picture.guesses.iter();
        Self {
            objects: objects.map(|&(class, a, b, c, d)| object(class, [a, b, c, d])).collect(),
            guesses: guesses.map(|&(class, p, a, b, c, d)| guess(class, p, [a, b, c, d])).collect(),
        }
    }
}

#[test]
fn figures_are_those_of_pycocotools() {
    let fixture: Fixture = serde_json::from_str(include_str!("../../tests/data/coco.json")).unwrap();
    let scenes: Vec<Scene> = fixture.pictures.iter().map(Scene::from).collect();
    let Expected { map50_95, map50, per_class } = fixture.pycocotools;
    let accuracy = measure(&scenes, per_class.len());
    let same = |ours: Option<f64>, theirs: Option<f64>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() < 1e-9,
        (ours, theirs) => ours == theirs,
    };
    assert!(same(accuracy.map50_95(), Some(map50_95)), "{:?}, {map50_95}", accuracy.map50_95());
    assert!(same(accuracy.map50(), Some(map50)), "{:?}, {map50}", accuracy.map50());
    for (class, (ours, theirs)) in accuracy.classes.iter().zip(&per_class).enumerate() {
        assert!(
            same(ours.map50_95(), theirs.map50_95),
            "class {class}: {:?}, {:?}",
            ours.map50_95(),
            theirs.map50_95
        );
        assert!(same(ours.map50(), theirs.map50), "class {class}: {:?}, {:?}", ours.map50(), theirs.map50);
    }
}
