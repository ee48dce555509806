//! How good detections are: the COCO metric, precision and recall, confusions.
//!
//! | module | holds |
//! |---|---|
//! | `overlap` | intersection over union |
//! | `matching` | which detection is right about which object |
//! | `average_precision` | areas under precision-recall curves |
//! | `operating_point` | the confidence at which a detector does best |
//! | `confusion` | what was taken for what |
//!
//! Average precision is that of pycocotools 2.0 with its default parameters: a test compares both. All
//! areas of boxes count, and at most [`MAX_DETECTIONS`] detections of a picture and class.

mod average_precision;
mod confusion;
mod matching;
mod operating_point;
mod overlap;

pub use average_precision::{RECALL_POINTS, recall_point};
pub use confusion::Confusion;
pub use operating_point::OperatingPoint;

use average_precision::average_precision;
use matching::{Ranked, match_picture};

/// Number of thresholds of the intersection over union: 0.50, 0.55, … 0.95.
pub const THRESHOLDS: usize = 10;

/// Detections that count for a picture and class: the best ones.
pub const MAX_DETECTIONS: usize = 100;

/// Left, top, right and bottom edge in pixels of the picture.
pub type Edges = [f64; 4];

/// An object that is in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Index of its class.
    pub class: usize,
    /// Where it is.
    pub edges: Edges,
}

/// An object that a detector reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// Index of its class.
    pub class: usize,
    /// How sure the detector is, 0 to 1.
    pub confidence: f64,
    /// Where it is.
    pub edges: Edges,
}

/// A picture: what is in it, and what was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// What is in it.
    pub objects: Vec<Object>,
    /// What was found, in any order.
    pub guesses: Vec<Guess>,
}

/// The accuracy of a detector over pictures.
#[derive(Clone, Debug)]
pub struct Accuracy {
    /// By class index.
    pub classes: Vec<ClassAccuracy>,
    /// The confidence at which it does best; `None` if there are no objects.
    pub best: Option<OperatingPoint>,
}

/// The accuracy for one class.
#[derive(Clone, Debug)]
pub struct ClassAccuracy {
    /// Objects of the class.
    pub objects: usize,
    /// Average precision at each threshold; `None` if there are no objects.
    pub average_precision: Option<[f64; THRESHOLDS]>,
    /// Precision at each of the recalls [`recall_point`] and an overlap of 0.5, as it enters the average:
    /// the best that is reached at that recall or a higher one.
    pub curve: [f64; RECALL_POINTS],
}

/// Measures detections of `classes` classes. Objects and guesses of other classes are left out.
///
/// Guesses of equal confidence keep the order of the pictures, as with pycocotools.
pub fn measure(scenes: &[Scene], classes: usize) -> Accuracy {
    let ranked: Vec<Ranked> = (0..classes).map(|class| rank(scenes, class)).collect();
    let best = operating_point::best(&ranked);
    let accuracy = |ranked: &Ranked| {
        let (curve, average_precision) = match ranked.objects {
            0 => ([0.0; RECALL_POINTS], None),
            _ => {
                let (curves, areas) = average_precision(ranked);
                (curves, Some(areas))
            }
        };
        ClassAccuracy { objects: ranked.objects, average_precision, curve }
    };
    Accuracy { classes: ranked.iter().map(accuracy).collect(), best }
}

/// All guesses of a class, the most confident first, each with what it is right about.
fn rank(scenes: &[Scene], class: usize) -> Ranked {
    let mut ranked = Ranked::default();
    for scene in scenes {
        let objects: Vec<Edges> =
            scene.objects.iter().filter(|object| object.class == class).map(|object| object.edges).collect();
        let mut guesses: Vec<Guess> =
            scene.guesses.iter().filter(|guess| guess.class == class).copied().collect();
        guesses.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        guesses.truncate(MAX_DETECTIONS);
        ranked.objects += objects.len();
        ranked.guesses.extend(match_picture(&guesses, &objects));
    }
    ranked.guesses.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    ranked
}

impl ClassAccuracy {
    /// Average precision at an overlap of 0.5.
    pub fn map50(&self) -> Option<f64> {
        self.average_precision.map(|areas| areas[0])
    }

    /// Average precision over all thresholds.
    pub fn map50_95(&self) -> Option<f64> {
        self.average_precision.map(|areas| areas.iter().sum::<f64>() / areas.len() as f64)
    }
}

impl Accuracy {
    /// Mean over the classes that have objects; `None` if none has.
    pub fn map50(&self) -> Option<f64> {
        mean(self.classes.iter().filter_map(ClassAccuracy::map50))
    }

    /// Mean over the classes that have objects, and all thresholds; `None` if no class has objects.
    pub fn map50_95(&self) -> Option<f64> {
        mean(self.classes.iter().filter_map(ClassAccuracy::map50_95))
    }
}

/// `None` of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests;
