//! Non-maximum suppression: of overlapping boxes of one class the best stays.
//!
//! The same result as YOLOv5's: greedy in descending order of score, a box is dropped if its
//! intersection over union with a kept box of its class *exceeds* the threshold. YOLOv5 moves each
//! class to coordinates of its own so that one call serves all classes; here every class has a chain
//! of its kept boxes, and a box is compared with those alone. Areas and the comparison are exact.

use super::rules::COORDINATE_BITS;
use super::scan::{Candidate, MAX_CANDIDATES};
use super::sigmoid::SIGMOID_ONE;
use super::{DetectOptions, Detection, threshold};
use crate::picture::Placement;

/// Fraction bits of the threshold: every f32 from 2^−8 on is exact.
const THRESHOLD_BITS: u32 = 32;

/// End of a chain.
const NONE: u32 = u32::MAX;

/// The suppressor with its memory.
#[derive(Clone, Debug)]
pub struct Nms {
    kept: Vec<Kept>,
    /// For each class the index in `kept` of its last kept box, or [`NONE`].
    last_of_class: Vec<u32>,
    detections: Vec<Detection>,
}

/// A kept box and the index of the one of its class kept before it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    candidate: Candidate,
    previous: u32,
}

impl Nms {
    /// For a network of that many classes.
    pub fn new(classes: usize) -> Self {
        Self { kept: Vec::new(), last_of_class: vec![NONE; classes], detections: Vec::new() }
    }

    /// Makes room for the objects among so many candidates: with no more nothing allocates.
    pub fn reserve(&mut self, candidates: usize) {
        let most = candidates.min(MAX_CANDIDATES);
        self.kept.reserve_exact(most.saturating_sub(self.kept.len()));
        self.detections.reserve_exact(most.saturating_sub(self.detections.len()));
    }

    /// Number of objects that there is room for.
    pub fn capacity(&self) -> usize {
        self.kept.capacity()
    }

    /// The objects among `candidates`, best first, in pixels of the picture that `placement` tells of.
    /// Sorts `candidates`; their order before does not matter, unless two agree in score, row and class.
    ///
    /// Allocates only what [`reserve`](Self::reserve) and the calls before have not.
    ///
    /// # Panics
    /// If a candidate's class is none of the network's.
    pub fn detections(
        &mut self,
        candidates: &mut [Candidate],
        options: &DetectOptions,
        placement: &Placement,
    ) -> &[Detection] {
        self.suppress(candidates, options);
        self.detections.clear();
        let kept = self.kept.iter().map(|kept| detection(&kept.candidate, placement));
        self.detections.extend(kept);
        &self.detections
    }

    /// The boxes that stay, best first, still in pixels of the network's input.
    ///
    /// # Panics
    /// If a candidate's class is none of the network's.
    pub fn survivors(
        &mut self,
        candidates: &mut [Candidate],
        options: &DetectOptions,
    ) -> impl Iterator<Item = &Candidate> {
        self.suppress(candidates, options);
        self.kept.iter().map(|kept| &kept.candidate)
    }

    fn suppress(&mut self, candidates: &mut [Candidate], options: &DetectOptions) {
        candidates.sort_unstable_by_key(Candidate::rank);
        let limit = options.max_detections.min(MAX_CANDIDATES).min(candidates.len());
        let iou = threshold(options.iou, THRESHOLD_BITS);
        self.last_of_class.fill(NONE);
        self.kept.clear();
        self.kept.reserve(limit);
        for candidate in candidates {
            if self.kept.len() == limit {
                break;
            }
            let last = &mut self.last_of_class[candidate.class as usize];
            let mut index = *last;
            while let Some(kept) = self.kept.get(index as usize) {
                if overlaps(&kept.candidate, candidate, iou) {
                    break;
                }
                index = kept.previous;
            }
            if index == NONE {
                let previous = std::mem::replace(last, self.kept.len() as u32);
                let candidate = *candidate;
                self.kept.push(Kept { candidate, previous });
            }
        }
    }
}

/// Whether the intersection over union exceeds `threshold / 2^`[`THRESHOLD_BITS`].
fn overlaps(a: &Candidate, b: &Candidate, threshold: u64) -> bool {
    let width = extent(a.left.max(b.left), a.right.min(b.right));
    let height = extent(a.top.max(b.top), a.bottom.min(b.bottom));
    // Sides are below 2^32, so each product fits a u64.
    let intersection = u128::from(width * height);
    if intersection == 0 {
        return false;
    }
    let union = area(a) + area(b) - intersection;
    intersection << THRESHOLD_BITS > u128::from(threshold) * union
}

fn area(candidate: &Candidate) -> u128 {
    let width = extent(candidate.left, candidate.right);
    let height = extent(candidate.top, candidate.bottom);
    u128::from(width * height)
}

/// Distance from `start` to `end`, 0 if they are the wrong way round.
fn extent(start: i32, end: i32) -> u64 {
    (i64::from(end) - i64::from(start)).max(0) as u64
}

/// The candidate as the caller gets it.
fn detection(candidate: &Candidate, placement: &Placement) -> Detection {
    let pixels = |edge: i32| f64::from(edge) / f64::from(1u32 << COORDINATE_BITS);
    let (left, top) = placement.to_picture(pixels(candidate.left), pixels(candidate.top));
    let (right, bottom) = placement.to_picture(pixels(candidate.right), pixels(candidate.bottom));
    Detection {
        class: candidate.class,
        confidence: (f64::from(candidate.score) / f64::from(SIGMOID_ONE)) as f32,
        left: left as f32,
        top: top as f32,
        right: right as f32,
        bottom: bottom as f32,
    }
}
