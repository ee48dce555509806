//! From the heads' integers to candidate boxes, in integers.
//!
//! Almost every cell of a picture shows nothing. Whether an objectness exceeds the threshold is
//! decided on the integer as it lies in memory: σ and the affine map to its logit are monotone, so
//! the threshold is carried back through both once a frame, and a cell costs one comparison for each
//! anchor.
//!
//! Fixed-point formats: σ and scores 30 fraction bits, logits 24, coordinates 16 (input pixels).

use super::head::{DecodeError, Elements, Head, Level, MAX_ANCHORS_PER_CELL, need_anchors};
use super::logit::{Passing, logit_above, raw_logit};
use super::sigmoid::{SIGMOID_BITS, sigmoid};
use super::{DetectOptions, threshold};
use std::cell::LazyCell;
use std::cmp::Reverse;
use ylb_format::model::{Detect, Value};

/// Fraction bits of a candidate's coordinates.
pub const COORDINATE_BITS: u32 = 16;

/// At most this many candidates, the best, leave [`HeadDecoder::candidates`]; YOLOv5's `max_nms`.
pub const MAX_CANDIDATES: usize = 30_000;

/// A box that may be an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Objectness times class probability, with [`SIGMOID_BITS`] fraction bits.
    pub score: u32,
    /// Index of the class.
    pub class: u32,
    /// Row of the box in the source model's decoded output: by level, anchor, y, x.
    pub row: u32,
    /// Left edge in pixels of the network's input, with [`COORDINATE_BITS`] fraction bits. It may lie
    /// outside the input, as may the others.
    pub left: i32,
    /// Top edge.
    pub top: i32,
    /// Right edge.
    pub right: i32,
    /// Bottom edge.
    pub bottom: i32,
}

/// Decodes the heads of one network.
#[derive(Clone, Debug)]
pub struct HeadDecoder {
    classes: usize,
    levels: Vec<Level>,
    /// Width and height of each level's anchors with [`COORDINATE_BITS`] fraction bits.
    anchors: Vec<Vec<[u64; 2]>>,
}

/// One level and what is looked for in it.
struct LevelScan<'a> {
    level: &'a Level,
    /// Width and height of the level's anchors with [`COORDINATE_BITS`] fraction bits.
    anchors: &'a [[u64; 2]],
    /// Numbers of a box: x, y, width, height, objectness, classes.
    fields: usize,
    options: &'a DetectOptions,
    /// Scores must exceed this.
    confidence: u64,
    /// Smallest logit of an objectness that does.
    logit: i32,
}

/// One anchor of one cell.
#[derive(Clone, Copy)]
struct Site {
    anchor: usize,
    y: usize,
    x: usize,
}

impl Candidate {
    /// Sort key, best first, the same order whatever the order before: by score, and among equals
    /// as the rows of the source model's output come.
    pub fn rank(&self) -> (Reverse<u32>, u32, u32) {
        (Reverse(self.score), self.row, self.class)
    }
}

impl HeadDecoder {
    /// Prepares a model's detection head; `values` are the model's.
    ///
    /// # Errors
    /// If there is no head, its anchors are unknown, or its description contradicts itself.
    pub fn new(detect: &Detect, values: &[Value]) -> Result<Self, DecodeError> {
        let levels = Level::all(detect, values)?;
        need_anchors(&levels)?;
        let scale = (1 << COORDINATE_BITS) as f32;
        // A product with a power of two, at most 2^28: exact but for the rounding to an integer.
        let fixed = |side: f32| (side * scale).round() as u64;
        let anchors = |level: &Level| level.anchors.iter().map(|size| size.map(fixed)).collect();
        Ok(Self { classes: detect.classes as usize, anchors: levels.iter().map(anchors).collect(), levels })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Length that a list of candidates may reach while it is filled.
    pub fn capacity(&self, multi_label: bool) -> usize {
        let rows: usize = self.levels.iter().map(Level::rows).sum();
        let labels = if multi_label { self.classes } else { 1 };
        rows.saturating_mul(labels).min(2 * MAX_CANDIDATES)
    }

    /// Replaces `candidates` by the boxes that may be objects, in no particular order: those whose
    /// objectness times class probability exceeds the confidence threshold, with their most probable
    /// class or, with `multi_label`, once for each class that passes. Afterwards, as in YOLOv5,
    /// unwanted classes are dropped and at most [`MAX_CANDIDATES`] of the best kept.
    ///
    /// `candidates` is brought to [`HeadDecoder::capacity`] at the first call and never grows again.
    ///
    /// # Panics
    /// If `heads`, one for each level, are not of the shapes and kinds of the model's.
    pub fn candidates(&self, heads: &[Head<'_>], options: &DetectOptions, candidates: &mut Vec<Candidate>) {
        assert_eq!(heads.len(), self.levels.len(), "one head for each level");
        candidates.clear();
        candidates.reserve_exact(self.capacity(options.multi_label));
        let confidence = threshold(options.confidence, SIGMOID_BITS);
        // The score never exceeds the objectness.
        let Some(logit) = logit_above(confidence) else {
            return;
        };
        for (index, (level, head)) in self.levels.iter().zip(heads).enumerate() {
            let scan = LevelScan {
                level,
                anchors: &self.anchors[index],
                fields: 5 + self.classes,
                options,
                confidence,
                logit,
            };
            match (head.elements, level.encoding) {
                (Elements::Accumulators(numbers), None) => {
                    scan.cells(head, numbers, |number| number, candidates);
                }
                (Elements::NarrowAccumulators(numbers), None) => {
                    scan.cells(head, numbers, i32::from, candidates);
                }
                (Elements::Levels(levels), Some(encoding)) => {
                    scan.cells(head, levels, |level| encoding.integer(level), candidates);
                }
                _ => panic!("head {index} is not of the kind that the model says"),
            }
        }
        keep_best(candidates, MAX_CANDIDATES);
    }
}

impl LevelScan<'_> {
    /// Goes over the cells. `integer` reads one of the `elements`.
    fn cells<T: Copy>(
        &self,
        head: &Head<'_>,
        elements: &[T],
        integer: impl Fn(T) -> i32,
        candidates: &mut Vec<Candidate>,
    ) {
        let Level { height, width, anchors_per_cell, .. } = *self.level;
        let mut passing = [Passing::NOTHING; MAX_ANCHORS_PER_CELL];
        let passing = &mut passing[..anchors_per_cell];
        for (anchor, passing) in passing.iter_mut().enumerate() {
            let objectness = anchor * self.fields + 4;
            *passing = self.level.logits.passing(objectness, self.logit);
        }
        for y in 0..height {
            let row = &elements[y * head.row_stride..];
            for x in 0..width {
                let cell = &row[x * head.pixel_stride..][..anchors_per_cell * self.fields];
                for (anchor, passing) in passing.iter().enumerate() {
                    let numbers = &cell[anchor * self.fields..][..self.fields];
                    if passing.contains(integer(numbers[4])) {
                        let site = Site { anchor, y, x };
                        self.examine(site, |field| integer(numbers[field]), candidates);
                    }
                }
            }
        }
    }

    /// Adds what is seen at `site`, whose numbers `number` returns.
    fn examine(&self, site: Site, number: impl Fn(usize) -> i32, candidates: &mut Vec<Candidate>) {
        let logits = &self.level.logits;
        let maps = logits.channels(site.anchor * self.fields, self.fields);
        let raw = |field: usize| raw_logit(number(field), maps[field]);
        let sigma = |field: usize| sigmoid(logits.fixed(raw(field)));

        let objectness = u64::from(sigma(4));
        let sides = LazyCell::new(|| [sigma(0), sigma(1), sigma(2), sigma(3)]);
        let mut consider = |class: usize| {
            let product = objectness * u64::from(sigma(5 + class));
            let score = ((product + (1 << (SIGMOID_BITS - 1))) >> SIGMOID_BITS) as u32;
            let class = class as u32;
            if u64::from(score) > self.confidence && self.options.wants(class) {
                push(candidates, self.candidate(site, *sides, score, class));
            }
        };

        let classes = self.fields - 5;
        if self.options.multi_label {
            (0..classes).for_each(consider);
        } else {
            // Logits decide, not their sigmoids, which may be equal; the first wins among equals.
            let mut best = (0, raw(5));
            for class in 1..classes {
                let logit = raw(5 + class);
                if logit > best.1 {
                    best = (class, logit);
                }
            }
            consider(best.0);
        }
    }

    /// The box at `site` from the sigmoids of its x, y, width and height.
    fn candidate(&self, site: Site, sides: [u32; 4], score: u32, class: u32) -> Candidate {
        let [anchor_width, anchor_height] = self.anchors[site.anchor];
        let stride = self.level.stride;
        let [left, right] = edges([sides[0], sides[2]], site.x, stride, anchor_width);
        let [top, bottom] = edges([sides[1], sides[3]], site.y, stride, anchor_height);
        let row = self.level.row(site.anchor, site.y, site.x) as u32;
        Candidate { score, class, row, left, top, right, bottom }
    }
}

/// `(2σ(centre) − 0.5 + cell) · stride ± (2σ(extent))² · anchor / 2`, the `anchor` and the result with
/// [`COORDINATE_BITS`] fraction bits.
fn edges([centre, extent]: [u32; 2], cell: usize, stride: u32, anchor: u64) -> [i32; 2] {
    // Below 2^15 cells, strides and anchor pixels no product reaches 2^62.
    const DROPPED: u32 = SIGMOID_BITS - COORDINATE_BITS;
    let cells = 2 * i64::from(centre) - (1 << (SIGMOID_BITS - 1)) + ((cell as i64) << SIGMOID_BITS);
    let middle = (cells * i64::from(stride) + (1 << (DROPPED - 1))) >> DROPPED;

    let square = (u64::from(extent).pow(2) + (1 << (SIGMOID_BITS - 1))) >> SIGMOID_BITS;
    // Half of 2² is the shift's missing bit.
    let half = (square * anchor + (1 << (SIGMOID_BITS - 2))) >> (SIGMOID_BITS - 1);
    let half = half as i64;

    let clamp = |edge: i64| edge.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    [clamp(middle - half), clamp(middle + half)]
}

/// Adds a candidate. Of twice [`MAX_CANDIDATES`] the worse half goes, so memory stays bounded however
/// many boxes and classes pass.
fn push(candidates: &mut Vec<Candidate>, candidate: Candidate) {
    if candidates.len() == 2 * MAX_CANDIDATES {
        keep_best(candidates, MAX_CANDIDATES);
    }
    candidates.push(candidate);
}

/// Keeps the `count` best.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if candidates.len() > count {
        candidates.select_nth_unstable_by_key(count, Candidate::rank);
        candidates.truncate(count);
    }
}
