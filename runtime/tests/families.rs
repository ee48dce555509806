//! Every rule for boxes with every rule for scores, in one part or several: the integer decode and the restored outputs
//! against the formulas in f64.

#[path = "support/noise.rs"]
mod noise;

use noise::noise;
use ylb_format::model::{
    Arranged, BoxRule, Detect, HeadMap, HeadPart, Layout, MapPart, Numbers, OutputKind, Scope, ScoreRule,
    Value, ValueId, ValueKind,
};
use ylb_runtime::DetectOptions;
use ylb_runtime::detect::sigmoid::SIGMOID_ONE;
use ylb_runtime::detect::{COORDINATE_BITS, Candidate, Elements, Head, HeadDecoder, RawOutputs};

/// Rows, columns and stride of each feature map.
const MAPS: [(u32, u32, u32); 2] = [(8, 10, 8), (4, 5, 16)];
const ANCHORS: [[f32; 2]; 3] = [[10.0, 13.0], [16.0, 30.0], [59.0, 119.0]];
const SHIFT: u8 = 22;

const BOXES: [BoxRule; 6] = [
    BoxRule::AnchorsSigmoid,
    BoxRule::AnchorsExp,
    BoxRule::GridExp,
    BoxRule::Distributions { bins: 16 },
    BoxRule::Distributions { bins: 5 },
    BoxRule::Distances,
];
const SCORES: [ScoreRule; 4] = [
    ScoreRule::ObjectnessTimesClass,
    ScoreRule::Class,
    ScoreRule::ObjectnessTimesSoftmax,
    ScoreRule::ConstantObjectness,
];

/// A head of noise.
struct Heads {
    detect: Detect,
    values: Vec<Value>,
    accumulators: Vec<Vec<i32>>,
}

/// A row of the decoded output, straight from the definition.
struct Row {
    logits: Vec<f64>,
    /// Left, top, right, bottom.
    edges: [f64; 4],
    objectness: Option<f64>,
    classes: Vec<f64>,
}

impl Row {
    fn has_area(&self) -> bool {
        let [left, top, right, bottom] = self.edges;
        left < right && top < bottom
    }
}

/// How the fields of a box are cut into parts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Whole,
    /// Boxes, objectness, classes.
    Kinds,
    /// The same with the classes in two.
    Classes,
}

impl Heads {
    /// Logits are up to 5 times `reach`.
    fn new(seed: u32, boxes: BoxRule, scores: ScoreRule, classes: u32, cut: Cut, reach: u32) -> Self {
        let mut detect = Detect { classes, boxes, scores, maps: Vec::new() };
        let (mut values, mut accumulators) = (Vec::new(), Vec::new());
        let (first_class, fields) = (detect.first_class(), detect.fields() as u32);
        let mut ends = match cut {
            Cut::Whole => vec![fields],
            Cut::Kinds => vec![boxes.fields(), first_class, fields],
            Cut::Classes => vec![boxes.fields(), first_class, first_class + classes / 2, fields],
        };
        ends.dedup();
        for (height, width, stride) in MAPS {
            let anchors = if boxes.has_anchors() { ANCHORS.to_vec() } else { Vec::new() };
            let per_cell = anchors.len().max(1) as u32;
            let mut map = HeadMap::whole(ValueId(0), stride, &detect, per_cell);
            (map.anchors, map.parts) = (anchors, Vec::new());
            let mut start = 0;
            for &end in &ends {
                let seed = seed + 1000 * values.len() as u32;
                let channels = per_cell * (end - start);
                let multiplier = |channel: usize| {
                    let factor = ((500 + noise(seed + 1, channel) % 1500) * reach) as i32;
                    if channel.is_multiple_of(5) { -factor } else { factor }
                };
                // Of another shift in every part.
                let shift = SHIFT + values.len() as u8 % 3;
                let bias = |channel| i64::from(noise(seed + 2, channel) % (1 << shift)) - (1 << shift);
                map.parts.push(HeadPart {
                    value: ValueId(values.len() as u32),
                    fields: start..end,
                    multipliers: (0..channels as usize).map(multiplier).collect(),
                    bias: (0..channels as usize).map(bias).collect(),
                    shift,
                });
                let kind = ValueKind::Accumulators;
                values.push(Value { name: String::new(), channels, height, width, kind });
                let numbers = 0..(height * width * channels) as usize;
                let number = |index| (noise(seed, index) % 20_001) as i32 - 10_000;
                accumulators.push(numbers.map(number).collect());
                start = end;
            }
            detect.maps.push(map);
        }
        Self { detect, values, accumulators }
    }

    fn heads(&self) -> Vec<Head<'_>> {
        let numbers = self.accumulators.iter().map(|numbers| Elements::Accumulators(numbers));
        let sizes = self.values.iter().map(|value| (value.channels as usize, value.width as usize));
        let dense = |(elements, (channels, width))| Head::dense(elements, channels, width);
        numbers.zip(sizes).map(dense).collect()
    }

    fn logit(&self, map: &HeadMap, [anchor, y, x]: [usize; 3], field: u32) -> f64 {
        let part = map.parts.iter().find(|part| part.fields.contains(&field)).expect("a field");
        let value = &self.values[part.value.0 as usize];
        let channel = anchor * part.fields.len() + (field - part.fields.start) as usize;
        let index = (y * value.width as usize + x) * value.channels as usize + channel;
        let accumulator = i64::from(self.accumulators[part.value.0 as usize][index]);
        let raw = accumulator * i64::from(part.multipliers[channel]) + part.bias[channel];
        raw as f64 / f64::from(part.shift).exp2()
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for map in &self.detect.maps {
            let value = &self.values[map.parts[0].value.0 as usize];
            let (height, width) = (value.height as usize, value.width as usize);
            for row in 0..map.anchors_per_cell as usize * height * width {
                let site = [row / (height * width), row / width % height, row % width];
                rows.push(self.row(map, site));
            }
        }
        rows
    }

    fn row(&self, map: &HeadMap, site: [usize; 3]) -> Row {
        let detect = &self.detect;
        let logits: Vec<f64> =
            (0..detect.fields() as u32).map(|field| self.logit(map, site, field)).collect();
        let t = |field: usize| logits[field];
        let [anchor, y, x] = site;
        let cell = [x as f64, y as f64];
        let (stride, k) = (f64::from(map.stride), f64::from(map.scale_xy));
        let around = |centre: [f64; 2], size: [f64; 2]| {
            let edge = |axis: usize, side: f64| centre[axis] + side * size[axis] / 2.0;
            [edge(0, -1.0), edge(1, -1.0), edge(0, 1.0), edge(1, 1.0)]
        };
        let beside = |distances: [f64; 4]| {
            let sign = |side: usize| if side < 2 { -1.0 } else { 1.0 };
            [0, 1, 2, 3].map(|side| (cell[side % 2] + 0.5 + sign(side) * distances[side]) * stride)
        };
        let side = |axis: usize| f64::from(map.anchors[anchor][axis]);
        let in_cell = |axis: usize| (k * sigmoid(t(axis)) - (k - 1.0) / 2.0 + cell[axis]) * stride;
        let edges = match detect.boxes {
            BoxRule::AnchorsSigmoid => {
                let size = |axis| (2.0 * sigmoid(t(2 + axis))).powi(2) * side(axis);
                around([in_cell(0), in_cell(1)], [size(0), size(1)])
            }
            BoxRule::AnchorsExp => {
                let size = |axis| t(2 + axis).exp() * side(axis);
                around([in_cell(0), in_cell(1)], [size(0), size(1)])
            }
            BoxRule::GridExp => {
                let centre = |axis: usize| (t(axis) + cell[axis]) * stride;
                around([centre(0), centre(1)], [t(2).exp() * stride, t(3).exp() * stride])
            }
            BoxRule::Distributions { bins } => {
                let bins = usize::from(bins);
                beside([0, 1, 2, 3].map(|side| {
                    let shares = softmax(&logits[side * bins..][..bins]);
                    shares.iter().enumerate().map(|(bin, share)| bin as f64 * share).sum()
                }))
            }
            BoxRule::Distances => beside([0, 1, 2, 3].map(t)),
        };
        let classes = &logits[detect.first_class() as usize..];
        let shared = detect.scores == ScoreRule::ObjectnessTimesSoftmax;
        let objectness = detect.objectness().map(|field| sigmoid(logits[field as usize]));
        let sigmas = || classes.iter().copied().map(sigmoid).collect();
        let classes = if shared { softmax(classes) } else { sigmas() };
        Row { edges, objectness, classes, logits }
    }

    fn candidates(&self, options: &DetectOptions) -> Vec<Candidate> {
        let mut decoder = HeadDecoder::new(&self.detect, &self.values).expect("a valid head");
        let mut candidates = Vec::new();
        decoder.candidates(&self.heads(), options, &mut candidates);
        candidates.sort_unstable_by_key(|candidate| (candidate.row, candidate.class));
        candidates
    }

    fn output(&self, kind: OutputKind) -> (Vec<usize>, Vec<f32>) {
        let raw = RawOutputs::new(&self.detect, &self.values).expect("a valid head");
        let shape = raw.shape(kind);
        let mut tensor = vec![f32::NAN; shape.iter().product()];
        raw.fill(kind, &self.heads(), &mut tensor).expect("there are anchors");
        (shape, tensor)
    }
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| (logit - largest).exp() / sum).collect()
}

/// All combinations of rules and parts, of three classes.
fn all(reach: u32) -> Vec<(Cut, Heads)> {
    let mut all = Vec::new();
    for (index, boxes) in BOXES.into_iter().enumerate() {
        for scores in SCORES {
            for cut in [Cut::Whole, Cut::Kinds, Cut::Classes] {
                all.push((cut, Heads::new(7 + index as u32, boxes, scores, 3, cut, reach)));
            }
        }
    }
    all
}

/// Boxes to a hundredth of a pixel and 3e-9 of their size, scores to 1e-6; and nothing missing, nothing twice.
#[test]
fn candidates_are_those_of_the_formulas() {
    for (cut, heads) in all(1) {
        let detect = &heads.detect;
        let rows = heads.rows();
        for (confidence, multi_label) in [(0.0, true), (0.1, true), (0.1, false)] {
            let options = DetectOptions { confidence, multi_label, ..Default::default() };
            let found = heads.candidates(&options);
            let mut expected = Vec::new();
            // Distances may be negative, and what has no area is no object.
            assert_eq!(rows.iter().all(Row::has_area), detect.boxes != BoxRule::Distances);
            for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.has_area()) {
                let best = (0..3).rev().max_by(|&a, &b| row.classes[a].total_cmp(&row.classes[b]));
                for (class, &probability) in row.classes.iter().enumerate() {
                    let score = row.objectness.unwrap_or(1.0) * probability;
                    if (multi_label || best == Some(class)) && score > f64::from(confidence) {
                        expected.push((index as u32, class as u32, score, row.edges));
                    }
                }
            }
            let least = if detect.boxes == BoxRule::Distances { 4 } else { 10 };
            assert!(expected.len() > least, "{} candidates", expected.len());
            assert_eq!(found.len(), expected.len(), "{:?} {:?} {cut:?}", detect.boxes, detect.scores);
            for (found, (row, class, score, edges)) in found.iter().zip(expected) {
                assert_eq!((found.row, found.class), (row, class));
                let own = f64::from(found.score) / f64::from(SIGMOID_ONE);
                assert!((own - score).abs() < 1e-6, "{own}, not {score}");
                let unit = f64::from(1 << COORDINATE_BITS);
                let own = [found.left, found.top, found.right, found.bottom];
                for (own, edge) in own.into_iter().zip(edges) {
                    let own = f64::from(own) / unit;
                    assert!((own - edge).abs() < 0.01 + 3e-9 * edge.abs(), "{own}, not {edge}: {detect:?}");
                }
            }
        }
    }
}

/// Distances and distributions reach beyond the range of σ.
#[test]
fn large_logits_are_not_cut_off() {
    for boxes in [BoxRule::Distances, BoxRule::Distributions { bins: 16 }] {
        for scores in SCORES {
            let heads = Heads::new(3, boxes, scores, 4, Cut::Kinds, 9);
            let rows = heads.rows();
            assert!(rows.iter().any(|row| row.logits.iter().any(|logit| *logit > 24.0)));
            let options = DetectOptions { confidence: 0.2, ..Default::default() };
            let found = heads.candidates(&options);
            let least = if boxes == BoxRule::Distances { 7 } else { 20 };
            assert!(found.len() > least, "{}", found.len());
            for found in found {
                let row = &rows[found.row as usize];
                let own = [found.left, found.top, found.right, found.bottom];
                for (own, edge) in own.into_iter().zip(row.edges) {
                    let own = f64::from(own) / f64::from(1 << COORDINATE_BITS);
                    assert!((own - edge).abs() < 0.01, "{own}, not {edge}");
                }
                let score = row.objectness.unwrap_or(1.0) * row.classes[found.class as usize];
                let own = f64::from(found.score) / f64::from(SIGMOID_ONE);
                assert!((own - score).abs() < 1e-6, "{own}, not {score}");
            }
        }
    }
}

/// Negative distances may put edges the wrong way round, on one axis or on both: no object, but a row of the outputs.
#[test]
fn boxes_without_area_are_no_candidates() {
    for scores in SCORES {
        let heads = Heads::new(12, BoxRule::Distances, scores, 3, Cut::Kinds, 1);
        let rows = heads.rows();
        let wrong = |row: &Row| {
            let [left, top, right, bottom] = row.edges;
            [left > right, top > bottom]
        };
        for sides in [[true, false], [false, true], [true, true]] {
            assert!(rows.iter().any(|row| wrong(row) == sides), "{sides:?}");
        }
        let options = DetectOptions { confidence: 0.0, ..Default::default() };
        let found: Vec<u32> = heads.candidates(&options).iter().map(|candidate| candidate.row).collect();
        let expected = (0..rows.len() as u32).filter(|row| rows[*row as usize].has_area());
        assert_eq!(found, expected.collect::<Vec<_>>(), "{scores:?}");
        let (_, tensor) = heads.output(OutputKind::Decoded);
        let columns = heads.detect.columns() as usize;
        for (row, found) in rows.iter().zip(tensor.chunks(columns)) {
            let [left, _, right, _] = row.edges;
            assert!((f64::from(found[2]) - (right - left)).abs() < 1e-4);
        }
    }
}

/// Each kind of numbers, of each scope that it may have, in a layout by rows.
#[test]
fn restored_outputs_are_those_of_the_formulas() {
    for (cut, heads) in all(1) {
        let detect = &heads.detect;
        let (fields, columns) = (detect.fields() as u32, detect.columns() as u32);
        let rows = heads.rows();
        let box_fields = detect.boxes.fields() as usize;
        let input = [80.0, 64.0];
        let strides = detect.maps.iter().enumerate().flat_map(|(index, map)| {
            let count = MAPS[index].0 * MAPS[index].1 * map.anchors_per_cell;
            std::iter::repeat_n(f64::from(map.stride), count as usize)
        });
        let strides: Vec<f64> = strides.collect();
        let mut scopes = vec![(Scope::Maps, 0..rows.len(), 0..fields)];
        let mut start = 0;
        for (index, map) in detect.maps.iter().enumerate() {
            let cells = MAPS[index].0 * MAPS[index].1 * map.anchors_per_cell;
            let own = start..start + cells as usize;
            start = own.end;
            scopes.push((Scope::Map(index as u32), own.clone(), 0..fields));
            for (part, of) in map.parts.iter().enumerate() {
                let of_part = Scope::Part(MapPart { map: index as u32, part: part as u32 });
                scopes.push((of_part, own.clone(), of.fields.clone()));
            }
        }
        for numbers in Numbers::ALL {
            for (of, own, part) in &scopes {
                if numbers.are_boxes() && *of != Scope::Maps {
                    continue;
                }
                let scored = numbers.are_scored();
                let columns = if scored { 4 + detect.classes } else { columns };
                let count = if numbers.are_boxes() { columns } else { part.len() as u32 };
                let arranged = Arranged { numbers, layout: Layout::Rows, of: *of, first: 0, count };
                let (shape, tensor) = heads.output(OutputKind::Arranged(arranged));
                assert_eq!(shape, [1, own.len(), count as usize]);
                let strides = &strides[own.clone()];
                for ((row, found), stride) in
                    rows[own.clone()].iter().zip(tensor.chunks(count as usize)).zip(strides)
                {
                    let scores = || row.objectness.into_iter().chain(row.classes.iter().copied());
                    let [left, top, right, bottom] = row.edges;
                    let sides = [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top];
                    let parts = |sides: [f64; 4]| [0, 1, 2, 3].map(|side| sides[side] / input[side % 2]);
                    let logits = row.logits.iter().copied();
                    let constant = (detect.scores == ScoreRule::ConstantObjectness).then_some(1.0);
                    let of_box =
                        |sides: [f64; 4]| sides.into_iter().chain(constant).chain(scores()).collect();
                    let products = || row.classes.iter().map(|class| class * row.objectness.unwrap_or(1.0));
                    let of_scored = |sides: [f64; 4]| sides.into_iter().chain(products()).collect();
                    let expected: Vec<f64> = match numbers {
                        Numbers::Logits => logits.collect(),
                        Numbers::Logistic => logits.map(sigmoid).collect(),
                        Numbers::RawBoxes => logits.take(box_fields).chain(scores()).collect(),
                        Numbers::Boxes => of_box(sides),
                        Numbers::UnitBoxes => of_box(parts(sides)),
                        Numbers::CellBoxes => of_box(sides.map(|side| side / stride)),
                        Numbers::Corners => of_box(row.edges),
                        Numbers::UnitCorners => of_box(parts(row.edges)),
                        Numbers::ScoredBoxes => of_scored(sides),
                        Numbers::ScoredUnitBoxes => of_scored(parts(sides)),
                        Numbers::ScoredCorners => of_scored(row.edges),
                        Numbers::ScoredUnitCorners => of_scored(parts(row.edges)),
                    };
                    let range = if numbers.are_boxes() { 0..columns } else { part.clone() };
                    let expected = &expected[range.start as usize..range.end as usize];
                    for (found, exact) in found.iter().zip(expected) {
                        let error = (f64::from(*found) - exact).abs();
                        assert!(
                            error < 1e-6 * exact.abs().max(1.0),
                            "{found}, not {exact}: {numbers:?} {of:?} {:?} {:?} {cut:?}",
                            detect.boxes,
                            detect.scores
                        );
                    }
                }
            }
        }
        assert_eq!(heads.output(OutputKind::Decoded).0, [1, rows.len(), columns as usize]);
    }
}

/// Suppression is that which a family is used with.
#[test]
fn options_of_a_family() {
    let iou = |boxes, scores| DetectOptions::of(&Detect { classes: 1, boxes, scores, maps: Vec::new() }).iou;
    assert_eq!(iou(BoxRule::Distributions { bins: 16 }, ScoreRule::Class).to_bits(), 0.7f32.to_bits());
    assert_eq!(iou(BoxRule::Distances, ScoreRule::Class).to_bits(), 0.7f32.to_bits());
    assert_eq!(iou(BoxRule::Distances, ScoreRule::ConstantObjectness).to_bits(), 0.45f32.to_bits());
    assert_eq!(iou(BoxRule::AnchorsExp, ScoreRule::ObjectnessTimesClass).to_bits(), 0.45f32.to_bits());
}

/// Parts that contradict their map are refused.
#[test]
fn contradictory_parts_are_refused() {
    type Change = fn(&mut Heads);
    let table: [(Change, &str); 4] = [
        (|h| h.detect.maps[1].parts[1].fields = 5..9, "one after another"),
        (|h| h.detect.maps[1].parts.truncate(1), "anchors times the numbers of a box"),
        (|h| h.values[3].height = 5, "different heights or widths"),
        (|h| h.values[3].channels = 9, "anchors times the numbers of a box"),
    ];
    for (change, expected) in table {
        let mut heads = Heads::new(1, BoxRule::Distances, ScoreRule::Class, 4, Cut::Kinds, 1);
        change(&mut heads);
        let message = HeadDecoder::new(&heads.detect, &heads.values).unwrap_err().to_string();
        assert!(message.contains("feature map 1") && message.contains(expected), "{message}");
    }
}
