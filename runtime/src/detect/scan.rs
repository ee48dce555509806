//! From the heads' integers to candidate boxes, in integers.
//!
//! Almost every cell of a picture shows nothing. Whether an objectness exceeds the threshold is
//! decided on the integer as it lies in memory: σ and the affine map to its logit are monotone, so
//! the threshold is carried back through both once a frame, and a cell costs one comparison for each
//! anchor.
//!
//! The loop over cells is compiled for each rule for boxes and kind of head: a rule is one static call in it.
//!
//! Fixed-point formats: σ and scores 30 fraction bits, logits 24, coordinates 16 (input pixels).

use super::logit::{Passing, logit_above, raw_logit};
use super::map::{DecodeError, DecodeErrorKind, Elements, Head, Map, need_anchors};
use super::rules::{Boxes, Rule, Site};
use super::sigmoid::{SIGMOID_BITS, sigmoid};
use super::{DetectOptions, threshold};
use std::cell::LazyCell;
use std::cmp::Reverse;
use ylb_format::limits::MAX_ANCHORS;
use ylb_format::model::{Detect, Value};

/// At most this many candidates, the best, leave [`HeadDecoder::candidates`]; YOLOv5's `max_nms`.
pub const MAX_CANDIDATES: usize = 30_000;

/// A box that may be an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Objectness times class probability, with [`SIGMOID_BITS`] fraction bits.
    pub score: u32,
    /// Index of the class.
    pub class: u32,
    /// Row of the box in the source model's decoded output: by feature map, anchor, y, x.
    pub row: u32,
    /// Left edge in pixels of the network's input, with [`COORDINATE_BITS`](super::COORDINATE_BITS) fraction bits. It may lie
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
    maps: Vec<Map>,
    /// Fields of the objectness and of the first class.
    objectness: usize,
    first_class: usize,
}

/// One feature map and what is looked for in it.
struct MapScan<'a, R> {
    map: &'a Map,
    rule: &'a R,
    objectness: usize,
    first_class: usize,
    options: &'a DetectOptions,
    /// Scores must exceed this.
    confidence: u64,
    /// Smallest logit of an objectness that does.
    logit: i32,
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
        let maps = Map::all(detect, values)?;
        need_anchors(&maps)?;
        // Every supported rule for scores has an objectness.
        let objectness = detect.objectness().ok_or(DecodeErrorKind::NoHead)? as usize;
        let first_class = detect.first_class() as usize;
        Ok(Self { classes: detect.classes as usize, maps, objectness, first_class })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Length that a list of candidates may reach while it is filled.
    pub fn capacity(&self, multi_label: bool) -> usize {
        let rows: usize = self.maps.iter().map(Map::rows).sum();
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
    /// If `heads`, one for each feature map, are not of the shapes and kinds of the model's.
    pub fn candidates(&self, heads: &[Head<'_>], options: &DetectOptions, candidates: &mut Vec<Candidate>) {
        assert_eq!(heads.len(), self.maps.len(), "one head for each feature map");
        candidates.clear();
        candidates.reserve_exact(self.capacity(options.multi_label));
        let confidence = threshold(options.confidence, SIGMOID_BITS);
        // The score never exceeds the objectness.
        let Some(logit) = logit_above(confidence) else {
            return;
        };
        for (map, head) in self.maps.iter().zip(heads) {
            match &map.boxes {
                Some(Boxes::AnchorsSigmoid(rule)) => {
                    self.scan(map, rule, options, (confidence, logit)).head(head, candidates);
                }
                Some(Boxes::AnchorsExp(rule)) => {
                    self.scan(map, rule, options, (confidence, logit)).head(head, candidates);
                }
                None => unreachable!("anchors are known"),
            }
        }
        keep_best(candidates, MAX_CANDIDATES);
    }

    fn scan<'a, R: Rule>(
        &self,
        map: &'a Map,
        rule: &'a R,
        options: &'a DetectOptions,
        (confidence, logit): (u64, i32),
    ) -> MapScan<'a, R> {
        let &Self { objectness, first_class, .. } = self;
        MapScan { map, rule, objectness, first_class, options, confidence, logit }
    }
}

impl<R: Rule> MapScan<'_, R> {
    /// Goes over a head of any kind.
    fn head(&self, head: &Head<'_>, candidates: &mut Vec<Candidate>) {
        match (head.elements, self.map.encoding) {
            (Elements::Accumulators(numbers), None) => {
                self.cells(head, numbers, |number| number, candidates);
            }
            (Elements::NarrowAccumulators(numbers), None) => {
                self.cells(head, numbers, i32::from, candidates);
            }
            (Elements::Levels(levels), Some(encoding)) => {
                self.cells(head, levels, |level| encoding.integer(level), candidates);
            }
            _ => panic!("a head is not of the kind that the model says"),
        }
    }

    /// Goes over the cells. `integer` reads one of the `elements`.
    fn cells<T: Copy>(
        &self,
        head: &Head<'_>,
        elements: &[T],
        integer: impl Fn(T) -> i32,
        candidates: &mut Vec<Candidate>,
    ) {
        let Map { height, width, anchors_per_cell, fields, .. } = *self.map;
        let mut passing = [Passing::NOTHING; MAX_ANCHORS as usize];
        let passing = &mut passing[..anchors_per_cell];
        for (anchor, passing) in passing.iter_mut().enumerate() {
            *passing = self.map.logits.passing(anchor * fields + self.objectness, self.logit);
        }
        for y in 0..height {
            let row = &elements[y * head.row_stride..];
            for x in 0..width {
                let cell = &row[x * head.pixel_stride..][..anchors_per_cell * fields];
                for (anchor, passing) in passing.iter().enumerate() {
                    let numbers = &cell[anchor * fields..][..fields];
                    if passing.contains(integer(numbers[self.objectness])) {
                        let site = Site { anchor, y, x };
                        self.examine(site, |field| integer(numbers[field]), candidates);
                    }
                }
            }
        }
    }

    /// Adds what is seen at `site`, whose numbers `number` returns.
    #[inline]
    fn examine(&self, site: Site, number: impl Fn(usize) -> i32, candidates: &mut Vec<Candidate>) {
        let Map { logits, fields, .. } = self.map;
        let maps = logits.channels(site.anchor * fields, *fields);
        let raw = |field: usize| raw_logit(number(field), maps[field]);
        let logit = |field: usize| logits.fixed(raw(field));

        let objectness = u64::from(sigmoid(logit(self.objectness)));
        let edges = LazyCell::new(|| self.rule.edges(site, logit));
        let mut consider = |class: usize| {
            let product = objectness * u64::from(sigmoid(logit(self.first_class + class)));
            let score = ((product + (1 << (SIGMOID_BITS - 1))) >> SIGMOID_BITS) as u32;
            let class = class as u32;
            if u64::from(score) > self.confidence && self.options.wants(class) {
                let [left, top, right, bottom] = *edges;
                let row = self.map.row(site.anchor, site.y, site.x) as u32;
                push(candidates, Candidate { score, class, row, left, top, right, bottom });
            }
        };

        let classes = fields - self.first_class;
        if self.options.multi_label {
            (0..classes).for_each(consider);
        } else {
            // Logits decide, not their sigmoids, which may be equal; the first wins among equals.
            let mut best = (0, raw(self.first_class));
            for class in 1..classes {
                let logit = raw(self.first_class + class);
                if logit > best.1 {
                    best = (class, logit);
                }
            }
            consider(best.0);
        }
    }
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
