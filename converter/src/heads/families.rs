//! Families of detectors: what is computed of the last convolutions' outputs.
//!
//! A family is one file: the rules that the `.ylb` file names, and the formula in float64. The same formula recognises
//! an export's decode, and decodes in the reference executor. The runtime has one of its own.

use std::fmt::Debug;

use ylb_format::model::{BoxRule, Detect, ScoreRule};

mod v3;
mod v5;

/// All families, in the order in which an export's decode is compared with them.
pub const ALL: [&dyn Family; 2] = [&v5::YoloV5, &v3::YoloV3];

/// What raw heads are taken for if nobody says it.
pub const DEFAULT: &dyn Family = &v5::YoloV5;

/// The cell and the anchor of a box.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Input pixels a cell.
    pub stride: f64,
    /// Factor of the centre.
    pub scale_xy: f64,
    /// Width and height of the anchor in pixels.
    pub anchor: [f64; 2],
    /// Row and column of the cell.
    pub cell: [usize; 2],
}

/// A family of detectors.
pub trait Family: Debug + Sync {
    /// Its name, as people give it.
    fn name(&self) -> &'static str;

    /// What it computes, in a few words, for messages.
    fn formula(&self) -> &'static str;

    /// Its rule for boxes.
    fn boxes(&self) -> BoxRule;

    /// Its rule for scores.
    fn scores(&self) -> ScoreRule;

    /// The factor of the centre, if one that was measured may be the family's.
    fn scale_xy(&self, measured: f64) -> Option<f32>;

    /// Centre (x, y), width and height in pixels from the logits of a box's fields.
    fn sides(&self, place: &Place, logits: &[f64]) -> [f64; 4];
}

impl PartialEq for dyn Family {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// The family that a person or a file names: `yolov5`.
pub fn by_name(name: &str) -> Option<&'static dyn Family> {
    ALL.into_iter().find(|family| family.name().eq_ignore_ascii_case(name))
}

/// The names of all families.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|family| family.name()).collect()
}

/// The family of a model.
pub fn of(boxes: BoxRule, scores: ScoreRule) -> Option<&'static dyn Family> {
    ALL.into_iter().find(|family| family.boxes() == boxes && family.scores() == scores)
}

/// The family's head without maps.
pub fn detect(family: &dyn Family, classes: usize) -> Detect {
    let (boxes, scores) = (family.boxes(), family.scores());
    Detect { classes: u32::try_from(classes).unwrap_or(u32::MAX), boxes, scores, maps: Vec::new() }
}

/// A row of the decoded boxes: sides, then the logistic function of the objectness and of each class.
pub fn decode(family: &dyn Family, place: &Place, logits: &[f64]) -> Vec<f64> {
    let scores = logits.iter().skip(family.boxes().fields() as usize);
    family.sides(place, logits).into_iter().chain(scores.copied().map(sigmoid)).collect()
}

/// The logistic function.
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}
