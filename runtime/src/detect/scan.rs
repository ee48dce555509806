//! From the heads' integers to candidate boxes, in integers.
//!
//! Almost every cell of a picture shows nothing. Whether an objectness exceeds the threshold, or a class where there is
//! no objectness, is decided on the integers as they lie in memory: σ and the affine map to its logit are monotone, so
//! the threshold is carried back through both once a frame, and a box costs one comparison, or one for each class.
//!
//! The loop over cells is compiled for each kind of head. All else happens for candidates alone.
//!
//! Fixed-point formats: σ and scores 30 fraction bits, logits 24, coordinates 16 (input pixels).

use super::logit::{Passing, logit_above, raw_logit};
use super::map::{DecodeError, Head, Map, need_anchors};
use super::part::{BoxNumbers, Part, Visit};
use super::rules::{Rule, Site};
use super::sigmoid::{SIGMOID_BITS, SIGMOID_ONE, sigmoid};
use super::softmax::{SHARE_BITS, Shares};
use super::{DetectOptions, threshold};
use std::cell::LazyCell;
use std::cmp::Reverse;
use std::ops::Range;
use ylb_format::model::{Detect, ScoreRule, Value};

/// At most this many candidates, the best, leave [`HeadDecoder::candidates`]; YOLOv5's `max_nms`.
pub const MAX_CANDIDATES: usize = 30_000;

/// A box that may be an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Probability of the class, times the objectness where there is one, with [`SIGMOID_BITS`] fraction bits.
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
    maps: Vec<Map>,
    scores: Scores,
    /// Thresholds of one part while it is looked through, kept for their memory.
    limits: Limits,
}

/// The smallest and the largest integers that pass, by anchor and decisive field of a part. Apart, so that several are
/// compared at a time.
#[derive(Clone, Debug, Default)]
struct Limits {
    low: Vec<i32>,
    high: Vec<i32>,
}

/// Where the numbers of scores are.
#[derive(Clone, Debug)]
struct Scores {
    /// Field of the objectness, where there is one.
    objectness: Option<usize>,
    /// Fields of the classes.
    classes: Range<usize>,
    /// Whether classes have shares of one.
    shared: bool,
}

/// One feature map and what is looked for in it.
struct MapScan<'a> {
    map: &'a Map,
    heads: &'a [Head<'a>],
    scores: &'a Scores,
    options: &'a DetectOptions,
    /// Scores must exceed this.
    confidence: u64,
    /// Smallest logit that does, of an objectness or of a class without one.
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
        let first_class = detect.first_class() as usize;
        let scores = Scores {
            objectness: detect.objectness().map(|field| field as usize),
            classes: first_class..first_class + detect.classes as usize,
            shared: detect.scores == ScoreRule::ObjectnessTimesSoftmax,
        };
        let anchors = maps.iter().map(|map| map.anchors_per_cell).max().unwrap_or(0);
        let most = anchors * scores.decisive().len();
        let limits = Limits { low: Vec::with_capacity(most), high: Vec::with_capacity(most) };
        Ok(Self { maps, scores, limits })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.scores.classes.len()
    }

    /// Length that a list of candidates may reach while it is filled.
    pub fn capacity(&self, multi_label: bool) -> usize {
        let rows: usize = self.maps.iter().map(Map::rows).sum();
        let labels = if multi_label { self.classes() } else { 1 };
        rows.saturating_mul(labels).min(2 * MAX_CANDIDATES)
    }

    /// Replaces `candidates` by the boxes that may be objects, in no particular order: those with an area whose
    /// score exceeds the confidence threshold, with their most probable
    /// class or, with `multi_label`, once for each class that passes. Afterwards, as in YOLOv5,
    /// unwanted classes are dropped and at most [`MAX_CANDIDATES`] of the best kept.
    ///
    /// `candidates` is brought to [`HeadDecoder::capacity`] at the first call and never grows again.
    ///
    /// # Panics
    /// If `heads`, one for each part of each feature map, are not of the shapes and kinds of the model's.
    pub fn candidates(
        &mut self,
        heads: &[Head<'_>],
        options: &DetectOptions,
        candidates: &mut Vec<Candidate>,
    ) {
        let parts: usize = self.maps.iter().map(|map| map.parts.len()).sum();
        assert_eq!(heads.len(), parts, "one head for each part of a feature map");
        candidates.clear();
        candidates.reserve_exact(self.capacity(options.multi_label));
        let confidence = threshold(options.confidence, SIGMOID_BITS);
        // The score exceeds neither the objectness nor, without one, the best class.
        let Some(logit) = logit_above(confidence) else {
            return;
        };
        let Self { maps, scores, limits } = self;
        for map in maps.iter() {
            let scan = MapScan { map, heads: map.heads(heads), scores, options, confidence, logit };
            scan.run(limits, candidates);
        }
        keep_best(candidates, MAX_CANDIDATES);
    }
}

impl Scores {
    /// The fields of which one must pass for a box to be looked at.
    fn decisive(&self) -> Range<usize> {
        self.objectness.map_or(self.classes.clone(), |field| field..field + 1)
    }
}

impl MapScan<'_> {
    /// Looks through the parts that have decisive fields: one, but where classes come from several convolutions.
    fn run(&self, limits: &mut Limits, candidates: &mut Vec<Candidate>) {
        let decisive = self.scores.decisive();
        for (part, head) in self.map.parts.iter().zip(self.heads) {
            let own = part.overlap(&decisive);
            if own.is_empty() {
                continue;
            }
            limits.clear();
            for anchor in 0..self.map.anchors_per_cell {
                let channels = own.clone().map(|field| part.channel(anchor, field));
                channels.for_each(|channel| limits.push(part.logits.passing(channel, self.logit)));
            }
            let whole = own == decisive;
            let sweep = Sweep {
                map: self.map,
                head,
                fields: part.fields.len(),
                first: own.start - part.fields.start,
                limits,
                found: |site| {
                    let numbers = BoxNumbers { map: self.map, heads: self.heads, site };
                    // A box that passes in several parts is that of the first.
                    let passes = |field: &usize| numbers.fixed(*field) >= self.logit;
                    if whole || decisive.clone().find(passes).is_some_and(|field| own.contains(&field)) {
                        self.examine(numbers, candidates);
                    }
                },
            };
            part.visit(head, sweep);
        }
    }

    /// Adds what is seen at a box.
    #[inline]
    fn examine(&self, numbers: BoxNumbers<'_>, candidates: &mut Vec<Candidate>) {
        let (Scores { objectness, classes, shared }, boxes) = (self.scores, &self.map.boxes);
        let objectness = objectness.map_or(SIGMOID_ONE, |field| sigmoid(numbers.fixed(field)));
        let edges = LazyCell::new(|| {
            let rule = boxes.as_ref().expect("anchors are known");
            rule.edges(numbers.site, |field| numbers.wide(field))
        });
        const { assert!(SHARE_BITS == SIGMOID_BITS) };
        let shares = shared.then(|| Shares::of(classes.clone().map(|field| numbers.wide(field))));
        let mut consider = |class: usize| {
            let field = classes.start + class;
            let probability = match &shares {
                Some(shares) => shares.share(numbers.wide(field)),
                None => sigmoid(numbers.fixed(field)),
            };
            let product = u64::from(objectness) * u64::from(probability);
            let score = ((product + (1 << (SIGMOID_BITS - 1))) >> SIGMOID_BITS) as u32;
            let class = class as u32;
            if u64::from(score) > self.confidence && self.options.wants(class) {
                let [left, top, right, bottom] = *edges;
                // Distances may be negative, and their sum too.
                if right <= left || bottom <= top {
                    return;
                }
                let row = self.map.row(numbers.site) as u32;
                push(candidates, Candidate { score, class, row, left, top, right, bottom });
            }
        };
        if self.options.multi_label {
            (0..classes.len()).for_each(consider);
        } else {
            consider(best_class(&numbers, classes));
        }
    }
}

/// The class of the largest logit. Logits decide, not their sigmoids, which may be equal; the first wins among equals.
fn best_class(numbers: &BoxNumbers<'_>, classes: &Range<usize>) -> usize {
    let mut best: Option<(i128, usize)> = None;
    for (part, head) in numbers.parts() {
        let own = part.overlap(classes);
        if own.is_empty() {
            continue;
        }
        let channel = part.channel(numbers.site.anchor, own.start);
        let largest =
            Largest { part, start: head.start(numbers.site), channels: channel..channel + own.len() };
        let (position, raw) = part.visit(head, largest);
        let logit = part.logits.aligned(raw);
        if best.is_none_or(|(most, _)| logit > most) {
            best = Some((logit, own.start + position - classes.start));
        }
    }
    best.map_or(0, |(_, class)| class)
}

/// Finds the largest raw logit among some channels of a cell: its position, and itself.
struct Largest<'a> {
    part: &'a Part,
    /// Index of the cell's first element.
    start: usize,
    channels: Range<usize>,
}

impl Visit for Largest<'_> {
    type Output = (usize, i64);

    fn visit<T: Copy>(self, elements: &[T], integer: impl Fn(T) -> i32) -> (usize, i64) {
        let Range { start, end } = self.channels;
        let maps = self.part.logits.channels(start, end - start);
        let numbers = &elements[self.start + start..self.start + end];
        let mut best = (0, i64::MIN);
        for (position, (&number, &map)) in numbers.iter().zip(maps).enumerate() {
            let raw = raw_logit(integer(number), map);
            if position == 0 || raw > best.1 {
                best = (position, raw);
            }
        }
        best
    }
}

/// Goes over the cells of a part and finds the boxes that have a passing number.
struct Sweep<'a, F> {
    map: &'a Map,
    head: &'a Head<'a>,
    /// Fields of the part.
    fields: usize,
    /// Position of the first decisive field among them.
    first: usize,
    limits: &'a Limits,
    /// Told every such box.
    found: F,
}

impl<F: FnMut(Site)> Visit for Sweep<'_, F> {
    type Output = ();

    fn visit<T: Copy>(mut self, elements: &[T], integer: impl Fn(T) -> i32) {
        let Map { height, width, anchors_per_cell, .. } = *self.map;
        let count = self.limits.low.len() / anchors_per_cell;
        for y in 0..height {
            let row = &elements[y * self.head.row_stride..];
            for x in 0..width {
                let cell = &row[x * self.head.pixel_stride..][..anchors_per_cell * self.fields];
                let limits = self.limits.low.chunks_exact(count).zip(self.limits.high.chunks_exact(count));
                for (anchor, (low, high)) in limits.enumerate() {
                    let numbers = &cell[anchor * self.fields + self.first..][..count];
                    let passes = match (numbers, low, high) {
                        (&[number], &[low], &[high]) => (low..=high).contains(&integer(number)),
                        _ => any_within(numbers, low, high, &integer),
                    };
                    if passes {
                        (self.found)(Site { anchor, y, x });
                    }
                }
            }
        }
    }
}

/// Whether an integer lies within its limits. All are compared, so that several are at a time.
#[inline]
fn any_within<T: Copy>(numbers: &[T], low: &[i32], high: &[i32], integer: impl Fn(T) -> i32) -> bool {
    let limited = numbers.iter().zip(low.iter().zip(high));
    let within = limited.map(|(&number, (&low, &high))| {
        let integer = integer(number);
        i32::from((low <= integer) & (integer <= high))
    });
    within.fold(0, |any, within| any | within) != 0
}

impl Limits {
    fn clear(&mut self) {
        self.low.clear();
        self.high.clear();
    }

    fn push(&mut self, passing: Passing) {
        self.low.push(passing.low);
        self.high.push(passing.high);
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
