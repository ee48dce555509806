//! Families of detectors: what is computed of the last convolutions' outputs.
//!
//! A family is one file: the rules that the `.ylb` file names, and the formula in float64. The same formula recognises
//! an export's decode, and decodes in the reference executor. The runtime has one of its own.

use std::fmt::Debug;
use std::mem::discriminant;

use ylb_format::model::{BoxRule, Detect, ScoreRule};

mod objectness;
mod v2;
mod v26;
mod v3;
mod v5;
mod v6;
mod v6m;
mod v8;
mod yolox;

/// All families, in the order in which an export's decode is compared with them.
pub const ALL: [&dyn Family; 10] = [
    &v5::YoloV5,
    &v3::YoloV3,
    &v2::YoloV2,
    &yolox::YoloX,
    &v8::YoloV8,
    &v6m::YoloV6M,
    &v26::Yolo26,
    &v6::YoloV6,
    &objectness::YOLOV5,
    &objectness::YOLOV3,
];

/// Numbers of a distribution, unless the heads have others.
const USUAL_BINS: u8 = 16;

/// What raw heads of one convolution a map are taken for if nobody says it.
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

    /// Its name, as its authors write it.
    fn title(&self) -> &'static str;

    /// What it computes, in a few words, for messages.
    fn formula(&self) -> &'static str;

    /// Its rule for boxes. Heads may have another number of bins.
    fn boxes(&self) -> BoxRule;

    /// Its rule for scores.
    fn scores(&self) -> ScoreRule;

    /// The factor of the centre, if one that was measured may be the family's.
    fn scale_xy(&self, measured: f64) -> Option<f32>;

    /// Centre (x, y), width and height in pixels from the logits that make a box.
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

/// A family with this rule for boxes, by which all that have it compute them.
///
/// # Panics
/// Never: every rule has a family.
pub fn of(boxes: BoxRule) -> &'static dyn Family {
    ALL.into_iter().find(|family| same_rule(family.boxes(), boxes)).expect("a family for every rule")
}

/// The family of the same boxes by anchors with an objectness, or without one and with as many classes as one.
pub fn with_objectness(family: &'static dyn Family, objectness: bool) -> &'static dyn Family {
    let fits = |other: &&dyn Family| {
        other.boxes() == family.boxes() && (other.scores() != ScoreRule::Class) == objectness
    };
    let fitting = family.boxes().has_anchors() && !fits(&family);
    ALL.into_iter().find(|other| fitting && fits(other)).unwrap_or(family)
}

/// Whether two rules for boxes are one, but for the bins of distributions.
pub fn same_rule(a: BoxRule, b: BoxRule) -> bool {
    discriminant(&a) == discriminant(&b)
}

/// The family's head without maps.
pub fn detect(family: &dyn Family, classes: usize) -> Detect {
    let (boxes, scores) = (family.boxes(), family.scores());
    Detect { classes: u32::try_from(classes).unwrap_or(u32::MAX), boxes, scores, maps: Vec::new() }
}

/// A row of the decoded boxes: sides, the objectness where rows have one, and each class.
pub fn decode(family: &dyn Family, detect: &Detect, place: &Place, logits: &[f64]) -> Vec<f64> {
    let mut row = family.sides(place, &logits[..detect.boxes.fields() as usize]).to_vec();
    if detect.scores == ScoreRule::ConstantObjectness {
        row.push(1.0);
    }
    scores(detect, logits, &mut row);
    row
}

/// A decoded row without its objectness, which each class is multiplied by.
pub fn scored(detect: &Detect, mut row: Vec<f64>) -> Vec<f64> {
    if row.len() > 4 + detect.classes as usize {
        let objectness = row.remove(4);
        row[4..].iter_mut().for_each(|score| *score *= objectness);
    }
    row
}

/// Appends the logistic function of the objectness, where there is one, and of each class, or the classes' shares.
pub fn scores(detect: &Detect, logits: &[f64], row: &mut Vec<f64>) {
    let classes = &logits[detect.first_class() as usize..];
    row.extend(detect.objectness().map(|field| sigmoid(logits[field as usize])));
    match detect.scores {
        ScoreRule::ObjectnessTimesSoftmax => row.extend(shares(classes)),
        _ => row.extend(classes.iter().copied().map(sigmoid)),
    }
}

/// Centre and size from the distances of the four sides from the cell's centre, in cells: left, top, right, bottom.
fn beside(place: &Place, [left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
    let [y, x] = place.cell.map(|cell| cell as f64 + 0.5);
    let edges = [x - left, y - top, x + right, y + bottom].map(|edge| edge * place.stride);
    [(edges[0] + edges[2]) / 2.0, (edges[1] + edges[3]) / 2.0, edges[2] - edges[0], edges[3] - edges[1]]
}

/// The same where each distance is the mean of a distribution that logits give.
fn distances_of(place: &Place, logits: &[f64]) -> [f64; 4] {
    let bins = logits.len() / 4;
    let mean = |side: usize| {
        let shares = shares(&logits[side * bins..(side + 1) * bins]);
        shares.iter().zip(0..).map(|(share, bin)| share * f64::from(bin)).sum()
    };
    beside(place, [0, 1, 2, 3].map(mean))
}

/// Softmax's shares.
fn shares(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// The logistic function.
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}
