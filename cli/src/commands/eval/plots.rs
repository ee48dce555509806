//! The precision-recall curves and the confusion matrix.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use ylb_eval::metrics::{Accuracy, Confusion, RECALL_POINTS, recall_point};

use super::svg::{Anchor, Svg};
use crate::draw::{class_colour, text_colour};
use crate::files::{self, Reserved};

const BLACK: &str = "#000000";
const GREY: &str = "#d0d0d0";

/// With more classes, curves are grey and only the mean is in the legend.
const MAX_COLOURED_CLASSES: usize = 20;

/// With more classes, cells of the matrix hold no numbers.
const MAX_NUMBERED_CLASSES: usize = 30;

/// Names of the plots.
const NAMES: [&str; 2] = ["precision-recall.svg", "confusion-matrix.svg"];

/// Makes the folder for [`write`], if it is not there.
///
/// # Errors
/// If it cannot be made, or a plot in it would replace an input.
pub fn make_folder(folder: &Path, inputs: &Reserved) -> Result<()> {
    NAMES.iter().try_for_each(|name| inputs.check(&folder.join(name), "--plots"))?;
    fs::create_dir_all(folder).with_context(|| {
        format!("cannot make the folder {}: choose another one with --plots", folder.display())
    })
}

/// Writes both plots into a folder that is there; returns their paths.
///
/// # Errors
/// If they cannot be written.
pub fn write(
    folder: &Path,
    names: &[String],
    accuracy: &Accuracy,
    confusion: &Confusion,
    confidence: f64,
) -> Result<[PathBuf; 2]> {
    let save = |name: &str, svg: String| {
        let path = folder.join(name);
        files::write(&path, |writer| Ok(writer.write_all(svg.as_bytes())?))?;
        Ok(path)
    };
    let curves = save(NAMES[0], precision_recall(names, accuracy));
    let matrix = save(NAMES[1], confusion_matrix(names, confusion, confidence));
    curves.and_then(|curves| Ok([curves, matrix?]))
}

fn hex(colour: Rgb888) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.r(), colour.g(), colour.b())
}

/// Width and height of the curves' area, and where it begins.
const SIDE: f64 = 480.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;

/// Where a precision at a recall lies.
fn point(recall: f64, precision: f64) -> (f64, f64) {
    (LEFT + SIDE * recall, TOP + SIDE * (1.0 - precision))
}

/// Title, grid and axes.
fn draw_axes(svg: &mut Svg) {
    svg.text((LEFT + SIDE / 2.0, 24.0), Anchor::Middle, BLACK, "Precision and recall at an overlap of 0.5");
    for tick in 0..=5 {
        let at = f64::from(tick) / 5.0;
        svg.line([point(at, 0.0), point(at, 1.0)], GREY, 1.0);
        svg.line([point(0.0, at), point(1.0, at)], GREY, 1.0);
        let (x, y) = point(at, 0.0);
        svg.text((x, y + 18.0), Anchor::Middle, BLACK, &format!("{at:.1}"));
        let (x, y) = point(0.0, at);
        svg.text((x - 8.0, y + 4.0), Anchor::End, BLACK, &format!("{at:.1}"));
    }
    svg.text((LEFT + SIDE / 2.0, TOP + SIDE + 40.0), Anchor::Middle, BLACK, "recall");
    svg.text_upwards((18.0, TOP + SIDE / 2.0), Anchor::Middle, BLACK, "precision");
}

/// A curve for each class with objects and their mean, at an overlap of 0.5.
fn precision_recall(names: &[String], accuracy: &Accuracy) -> String {
    const LEGEND: f64 = 260.0;
    let present: Vec<usize> =
        (0..names.len()).filter(|&class| accuracy.classes[class].average_precision.is_some()).collect();
    let coloured = present.len() <= MAX_COLOURED_CLASSES;
    let rows = if coloured { present.len() + 1 } else { 1 };
    let height = (TOP + SIDE + 60.0).max(TOP + 20.0 * rows as f64 + 20.0);
    let mut svg = Svg::new(LEFT + SIDE + LEGEND, height);
    draw_axes(&mut svg);
    let mut legend = 0.0;
    let mut draw = |curve: &[f64; RECALL_POINTS], colour: &str, thickness: f64, text: Option<String>| {
        let points =
            curve.iter().enumerate().map(|(index, &precision)| point(recall_point(index), precision));
        svg.line(points, colour, thickness);
        if let Some(text) = text {
            let (x, y) = (LEFT + SIDE + 16.0, TOP + 10.0 + 20.0 * legend);
            svg.line([(x, y), (x + 24.0, y)], colour, thickness);
            svg.text((x + 32.0, y + 4.0), Anchor::Start, BLACK, &text);
            legend += 1.0;
        }
    };
    for &class in &present {
        let class_accuracy = &accuracy.classes[class];
        let colour = if coloured { hex(class_colour(class as u32)) } else { GREY.to_owned() };
        let area = class_accuracy.map50().unwrap_or_default();
        let text = coloured.then(|| format!("{} {area:.3}", names[class]));
        draw(&class_accuracy.curve, &colour, if coloured { 2.0 } else { 1.0 }, text);
    }
    let mean = std::array::from_fn(|index| {
        let sum: f64 = present.iter().map(|&class| accuracy.classes[class].curve[index]).sum();
        sum / present.len().max(1) as f64
    });
    let area = accuracy.map50().unwrap_or_default();
    draw(&mean, BLACK, 3.0, Some(format!("all classes: mAP50 {area:.3}")));
    svg.finish()
}

/// Columns: what is there; rows: what was found. A cell is the darker, the larger its share of the column.
fn confusion_matrix(names: &[String], confusion: &Confusion, confidence: f64) -> String {
    let classes = confusion.classes();
    let numbered = classes <= MAX_NUMBERED_CLASSES;
    let cell = if numbered { 56.0 } else { 16.0 };
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("background".len());
    let margin = 50.0 + 8.0 * longest as f64;
    let (left, top) = (margin, 50.0);
    let side = cell * (classes + 1) as f64;
    let mut svg = Svg::new((left + side + 30.0).max(480.0), top + side + margin);
    let title = format!("Objects by class, from confidence {confidence:.3}, at an overlap of 0.5");
    svg.text((16.0, 24.0), Anchor::Start, BLACK, &title);
    let name = |class: usize| names.get(class).map_or("background", String::as_str);
    for there in 0..=classes {
        let column: usize = (0..=classes).map(|found| confusion.get(there, found)).sum();
        let x = left + cell * there as f64;
        for found in 0..=classes {
            let count = confusion.get(there, found);
            let y = top + cell * found as f64;
            let colour = shade(count as f64 / column.max(1) as f64);
            svg.rectangle([x, y, cell - 1.0, cell - 1.0], &hex(colour));
            if numbered && count > 0 {
                let at = (x + cell / 2.0, y + cell / 2.0 + 4.0);
                svg.text(at, Anchor::Middle, &hex(text_colour(colour)), &count.to_string());
            }
        }
        let middle = cell / 2.0 + 4.0;
        svg.text_upwards((x + middle, top + side + 8.0), Anchor::End, BLACK, name(there));
        svg.text((left - 8.0, top + cell * there as f64 + middle), Anchor::End, BLACK, name(there));
    }
    svg.text((left + side / 2.0, top + side + margin - 14.0), Anchor::Middle, BLACK, "what is there");
    svg.text_upwards((20.0, top + side / 2.0), Anchor::Middle, BLACK, "what was found");
    svg.finish()
}

/// From nearly white (0) to blue (1).
fn shade(share: f64) -> Rgb888 {
    let mix = |from: f64, to: f64| (from + (to - from) * share).round() as u8;
    Rgb888::new(mix(244.0, 0.0), mix(246.0, 114.0), mix(248.0, 178.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ylb_eval::metrics::{Guess, Object, Scene, measure};

    fn scene(classes: usize) -> Scene {
        let edges = |class: usize| [class as f64 * 20.0, 0.0, class as f64 * 20.0 + 10.0, 10.0];
        Scene {
            objects: (0..classes).map(|class| Object { class, edges: edges(class) }).collect(),
            guesses: (0..classes)
                .map(|class| Guess { class, confidence: 0.9, edges: edges(class) })
                .collect(),
        }
    }

    #[test]
    fn a_curve_for_each_class_and_the_mean() {
        let names = ["cat & dog", "nobody", "bird"].map(str::to_owned);
        let mut scene = scene(3);
        scene.objects.remove(1);
        let svg = precision_recall(&names, &measure(&[scene], 3));
        assert!(svg.contains("cat &amp; dog 1.000") && svg.contains("bird 1.000"), "{svg}");
        assert!(svg.contains("all classes: mAP50 1.000") && !svg.contains("nobody"), "{svg}");
        let longest = svg.lines().filter(|line| line.matches(',').count() == RECALL_POINTS).count();
        assert_eq!(longest, 3);
    }

    #[test]
    fn many_classes_stay_readable() {
        let names: Vec<String> = (0..40).map(|class| format!("class{class}")).collect();
        let scene = scene(40);
        let svg = precision_recall(&names, &measure(std::slice::from_ref(&scene), 40));
        assert!(svg.contains("all classes") && !svg.contains("class7"));
        let svg = confusion_matrix(&names, &Confusion::new(&[scene], 40, 0.5), 0.5);
        assert_eq!(svg.matches("<rect").count(), 1 + 41 * 41);
        assert!(svg.contains("class39") && svg.contains("background") && !svg.contains(">1</text>"));
    }

    #[test]
    fn cells_hold_counts_and_are_darker_the_larger_their_share() {
        let names = ["a", "b"].map(str::to_owned);
        let svg = confusion_matrix(&names, &Confusion::new(&[scene(2)], 2, 0.5), 0.25);
        assert_eq!(svg.matches(">1</text>").count(), 2);
        assert!(svg.contains(&hex(shade(1.0))) && svg.contains(&hex(shade(0.0))) && svg.contains("0.250"));
    }
}
