//! Label files: an object a line, as class, centre and size in fractions of the picture, or as class and polygon.

use std::collections::HashSet;

use super::Findings;
use super::findings::Tally;
use crate::error::{Context, Result, bail, ensure};

/// Coordinates may lie out of the picture by so much: tools round, and objects are cut by its edge. It is what val.py's
/// successor lets pass.
const TOLERANCE: f64 = 0.01;

/// An object in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// Index of its class.
    pub class: usize,
    /// Centre x, centre y, width and height as fractions of the picture, 0 to 1.
    pub place: [f64; 4],
}

impl Label {
    /// Left, top, right and bottom edge in a picture of that size in pixels.
    pub fn edges(&self, width: u32, height: u32) -> [f64; 4] {
        let [x, y, w, h] = self.place;
        let (width, height) = (f64::from(width), f64::from(height));
        [(x - w / 2.0) * width, (y - h / 2.0) * height, (x + w / 2.0) * width, (y + h / 2.0) * height]
    }

    /// What makes labels the same: all numbers, as val.py compares them, in 32 bits.
    fn identity(&self) -> (usize, [u32; 4]) {
        // -0 is 0.
        (self.class, self.place.map(|number| (number as f32 + 0.0).to_bits()))
    }
}

/// Reads the text of a label file of one of that many classes. Empty lines are skipped, and lines that say the same as
/// one before. `file` names it where something is found, and what is wrong goes to `wrong`, a sentence a line.
pub fn parse(
    text: &str,
    classes: usize,
    file: &str,
    findings: &mut Findings,
    wrong: &mut Tally,
) -> Vec<Label> {
    let mut labels = Vec::new();
    let mut known = HashSet::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in lines {
        let place = || format!("{file} line {}", index + 1);
        match label(line, classes) {
            Err(error) => wrong.add(|| format!("{}: {error:#}", place())),
            Ok(Line { label, polygon, cut }) => {
                if !known.insert(label.identity()) {
                    findings.labels_repeated.add(place);
                    continue;
                }
                if polygon {
                    findings.polygons.add(place);
                }
                if cut {
                    findings.labels_cut.add(place);
                }
                labels.push(label);
            }
        }
    }
    labels
}

struct Line {
    label: Label,
    polygon: bool,
    /// Whether a number was a little out of range.
    cut: bool,
}

fn label(line: &str, classes: usize) -> Result<Line> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [class, place @ ..] = fields.as_slice() else { bail!("the line is empty") };
    // Three points or more; class and box are five numbers.
    let polygon = place.len() >= 6 && place.len() % 2 == 0;
    if place.len() == 5 {
        bail!("expected 5 numbers, but there are 6: labels have no confidence");
    }
    ensure!(
        polygon || place.len() == 4,
        "expected 5 numbers (class, centre x, centre y, width, height), but there are {}",
        fields.len()
    );
    let class = class_number(class, classes)?;
    let mut cut = false;
    let numbers = place.iter().map(|text| {
        let (number, inside) = fraction(text)?;
        cut |= !inside;
        Ok(number)
    });
    let numbers: Vec<f64> = numbers.collect::<Result<_>>()?;
    let place = match numbers[..] {
        [x, y, w, h] => [x, y, w, h],
        _ => box_round(&numbers),
    };
    Ok(Line { label: Label { class, place }, polygon, cut })
}

fn class_number(text: &str, classes: usize) -> Result<usize> {
    // Some tools write classes as floats.
    let number = text.parse().ok().filter(|number: &f64| number.fract() == 0.0 && *number >= 0.0);
    let number = number.with_context(|| format!("\"{text}\" is not a class number"))?;
    let known = match classes {
        1 => "1 class (0)".to_owned(),
        classes => format!("{classes} classes (0 to {})", classes.saturating_sub(1)),
    };
    ensure!(number < classes as f64, "class {number}, but the data set names {known}");
    Ok(number as usize)
}

/// A number from 0 to 1, and whether it was that without being cut.
fn fraction(text: &str) -> Result<(f64, bool)> {
    let number: f64 = text.parse().ok().with_context(|| format!("\"{text}\" is not a number"))?;
    ensure!(
        (-TOLERANCE..=1.0 + TOLERANCE).contains(&number),
        "{text} is not a fraction of the picture, 0 to 1"
    );
    let cut = number.clamp(0.0, 1.0);
    Ok((cut, cut == number))
}

/// Centre and size of the box round points, whose x and y take turns.
fn box_round(points: &[f64]) -> [f64; 4] {
    let ends = |first: usize| {
        let along = points.iter().skip(first).step_by(2);
        along.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &at| (low.min(at), high.max(at)))
    };
    let ((left, right), (top, bottom)) = (ends(0), ends(1));
    [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, classes: usize) -> (Vec<Label>, Findings, Tally) {
        let (mut findings, mut wrong) = Default::default();
        (parse(text, classes, "a.txt", &mut findings, &mut wrong), findings, wrong)
    }

    #[test]
    fn labels_are_boxes() {
        let (labels, findings, wrong) = read("1 0.5 0.25 0.5 0.5\n\n  0.0\t0.1 0.2 0 1  \r\n", 2);
        assert_eq!(labels[0], Label { class: 1, place: [0.5, 0.25, 0.5, 0.5] });
        assert_eq!(labels[0].edges(640, 480), [160.0, 0.0, 480.0, 240.0]);
        assert_eq!((labels.len(), labels[1].class, wrong.count), (2, 0, 0));
        assert!(findings.warnings().is_empty() && read("\n", 1).0.is_empty());
    }

    #[test]
    fn what_is_said_twice_counts_once() {
        let text = "0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n0 0.50 .5 0.1 0.1000000000001\n0 0.5 0.5 0.1 0.2\n";
        let (labels, findings, _) = read(text, 2);
        assert_eq!((labels.len(), findings.labels_repeated.count), (3, 1));
        assert_eq!(findings.labels_repeated.named(), "a.txt line 3");
    }

    #[test]
    fn the_box_round_a_polygon_counts() {
        // A box between polygons stays a box; the same box twice counts once, however it is said.
        let text =
            "0 0.25 0.5 0.5 0.75 0.75 0.25\n1 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n";
        let (labels, findings, wrong) = read(text, 2);
        assert_eq!((findings.polygons.count, findings.labels_repeated.count, wrong.count), (1, 1, 0));
        assert_eq!(labels.iter().map(|label| label.place).collect::<Vec<_>>(), [[0.5; 4]; 2]);
    }

    #[test]
    fn what_is_a_little_outside_is_cut() {
        let (labels, findings, wrong) = read("0 1.0001 -0.0001 0.5 1.01\n0 0 1 0.5 0.5\n", 1);
        assert_eq!((labels[0].place, findings.labels_cut.count), ([1.0, 0.0, 0.5, 1.0], 1));
        assert_eq!(wrong.count, 0);
        assert_eq!(read("0 1.011 0.5 0.5 0.5", 1).2.count, 1);
        assert_eq!(read("0 0.5 0.5 -0.011 0.5", 1).2.count, 1);
    }

    #[test]
    fn all_mistakes_are_counted_and_some_named() {
        for (text, reason) in [
            ("0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1", "a.txt line 2: expected 5 numbers (class, centre x"),
            ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.3", "but there are 8"),
            ("0 0.1 0.1 0.2 0.1 0.9", "there are 6: labels have no confidence"),
            ("3 0.5 0.5 0.1 0.1", "line 1: class 3, but the data set names 3 classes (0 to 2)"),
            ("-1 0.5 0.5 0.1 0.1", "\"-1\" is not a class number"),
            ("1.5 0.5 0.5 0.1 0.1", "\"1.5\" is not a class number"),
            ("nan 0.5 0.5 0.1 0.1", "\"nan\" is not a class number"),
            ("0 0.5 x 0.1 0.1", "\"x\" is not a number"),
            ("0 320 0.5 0.1 0.1", "320 is not a fraction of the picture"),
            ("0 nan 0.5 0.1 0.1", "nan is not a fraction of the picture"),
            ("0 0.1 0.1 0.2 0.1 0.2 9", "9 is not a fraction of the picture"),
        ] {
            let wrong = read(text, 3).2;
            assert!(wrong.count == 1 && wrong.told().contains(reason), "{wrong:?} does not say {reason:?}");
        }
        assert!(read("1 0 0 0 0", 1).2.told().contains("names 1 class (0)"));
        let wrong = read(&"9 0.5 0.5 0.1 0.1\n".repeat(300), 3).2;
        assert_eq!(wrong.count, 300);
        assert!(wrong.told().ends_with(" and 297 more") && wrong.told().matches("class 9").count() == 3);
    }
}
