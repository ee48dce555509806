//! From what the network leaves for each cell to boxes in the picture.
//!
//! ```text
//! network ──► heads ── HeadDecoder (scan, rules) ──► candidates ── Nms ──► Detections
//!               │
//!               └─► RawOutputs (rules)
//! ```
//!
//! A family of detectors is a rule for boxes, one file in `rules`; all the rest serves every family. Logits, sigmoids,
//! exponentials, boxes and overlaps are fixed point, so every machine finds the same boxes. Floating point appears in
//! the caller's thresholds before a frame, and in the coordinates handed back. [`RawOutputs`] is apart: it restores
//! the tensors that the source model would have produced, for comparisons.
//!
//! All of it owns its memory: after the first frame nothing allocates.

pub mod exp;
mod logit;
pub mod map;
pub mod nms;
pub mod outputs;
mod part;
mod rules;
pub mod scan;
pub mod sigmoid;
pub mod softmax;

pub use map::{DecodeError, Elements, Head};
pub use nms::Nms;
pub use outputs::RawOutputs;
pub use rules::COORDINATE_BITS;
pub use scan::{Candidate, HeadDecoder};

use ylb_format::model::{BoxRule, Detect, ScoreRule};

/// A found object. Coordinates are pixels of the picture, from its top left corner, clipped to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Index of the class.
    pub class: u32,
    /// Probability of the class, times the objectness where there is one: 0 to 1.
    pub confidence: f32,
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Bottom edge.
    pub bottom: f32,
}

/// What counts as a detection. The default is YOLOv5's; [`DetectOptions::of`] has that of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectOptions {
    /// Objects of this confidence or less are dropped; 0 to 1.
    pub confidence: f32,
    /// Of two boxes of one class whose intersection over union exceeds this, the better stays; 0 to 1.
    pub iou: f32,
    /// Only this many of the best objects are kept.
    pub max_detections: usize,
    /// Only these classes are reported; `None`: all.
    pub classes: Option<Vec<u32>>,
    /// Whether one box may be reported for several classes, as accuracy measurements want it. Without
    /// it a box has its most probable class.
    pub multi_label: bool,
}

/// A [`DetectOptions`] whose numbers make no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the {option} threshold is {value}, but it must be between 0 and 1")]
pub struct OptionsError {
    option: &'static str,
    value: f32,
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self { confidence: 0.25, iou: 0.45, max_detections: 300, classes: None, multi_label: false }
    }
}

impl DetectOptions {
    /// The defaults that the family of a detection head is used with: anchor-free detectors without an objectness, those
    /// of YOLOv8 and its successors, keep boxes that overlap by up to 0.7.
    pub fn of(detect: &Detect) -> Self {
        let distances = matches!(detect.boxes, BoxRule::Distributions { .. } | BoxRule::Distances);
        let iou = if distances && detect.scores == ScoreRule::Class { 0.7 } else { 0.45 };
        Self { iou, ..Self::default() }
    }

    /// Whether both thresholds lie between 0 and 1. What is outside is treated as the nearer end
    /// by everything that takes options, and NaN as 0.
    ///
    /// # Errors
    /// The first threshold that does not.
    pub fn check(&self) -> Result<(), OptionsError> {
        for (option, value) in [("confidence", self.confidence), ("IoU", self.iou)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(OptionsError { option, value });
            }
        }
        Ok(())
    }

    /// Whether `class` is one to report.
    fn wants(&self, class: u32) -> bool {
        match &self.classes {
            Some(classes) => classes.contains(&class),
            None => true,
        }
    }
}

/// Largest integer not above `fraction · 2^bits`: for any integer `n`, `n / 2^bits > fraction` exactly
/// if `n` is greater than it. NaN counts as 0.
fn threshold(fraction: f32, bits: u32) -> u64 {
    // Exact: a product with a power of two; and the cast maps NaN to 0.
    (f64::from(fraction.clamp(0.0, 1.0)) * (1u64 << bits) as f64).floor() as u64
}
