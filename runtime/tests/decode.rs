//! The integer decode against the formula in f64, the restored outputs, and what is refused.

#[path = "support/heads.rs"]
mod heads;
#[path = "support/noise.rs"]
mod noise;

use heads::{MAPS, NoiseHeads};
use noise::noise;
use ylb_format::model::{BoxRule, Encoding, MapPart, OutputKind, ValueKind};
use ylb_runtime::DetectOptions;
use ylb_runtime::detect::map::DecodeErrorKind;
use ylb_runtime::detect::scan::MAX_CANDIDATES;
use ylb_runtime::detect::sigmoid::SIGMOID_ONE;
use ylb_runtime::detect::{COORDINATE_BITS, Candidate, Elements, Head, HeadDecoder, RawOutputs};

/// One row of the decoded output, straight from the definition.
struct Row {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    objectness: f64,
    classes: Vec<f64>,
}

/// Logit of a field of an anchor of a cell.
fn logit(heads: &NoiseHeads, level: usize, [anchor, y, x]: [usize; 3], field: usize) -> f64 {
    let (value, detect) = (&heads.values[level], &heads.detect.maps[level].parts[0]);
    let channel = anchor * (5 + heads.detect.classes as usize) + field;
    let index = (y * value.width as usize + x) * value.channels as usize + channel;
    let accumulator = i64::from(heads.accumulators[level][index]);
    let raw = accumulator * i64::from(detect.multipliers[channel]) + detect.bias[channel];
    raw as f64 / f64::from(detect.shift).exp2()
}

/// Level, anchor, y and x of each row of the decoded output, in its order.
fn sites() -> Vec<(usize, [usize; 3])> {
    let mut sites = Vec::new();
    for (level, (height, width, ..)) in MAPS.into_iter().enumerate() {
        for anchor in 0..3 {
            for y in 0..height as usize {
                for x in 0..width as usize {
                    sites.push((level, [anchor, y, x]));
                }
            }
        }
    }
    sites
}

fn rows(heads: &NoiseHeads) -> Vec<Row> {
    let row = |(level, site): (usize, [usize; 3])| {
        let sigma = |field: usize| 1.0 / (1.0 + (-logit(heads, level, site, field)).exp());
        let [anchor, y, x] = site;
        let (.., stride, anchors) = MAPS[level];
        let k = f64::from(heads.detect.maps[level].scale_xy);
        let offset = (k - 1.0) / 2.0;
        let centre = |field, cell: usize| (k * sigma(field) - offset + cell as f64) * f64::from(stride);
        let factor = |field| match heads.detect.boxes {
            BoxRule::AnchorsExp => logit(heads, level, site, field).exp(),
            _ => (2.0 * sigma(field)).powi(2),
        };
        let size = |field, side| factor(field) * f64::from(anchors[anchor][side]);
        let (x, y, width, height) = (centre(0, x), centre(1, y), size(2, 0), size(3, 1));
        Row {
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
            objectness: sigma(4),
            classes: (0..heads.detect.classes as usize).map(|class| sigma(5 + class)).collect(),
        }
    };
    sites().into_iter().map(row).collect()
}

fn candidates(heads: &NoiseHeads, options: &DetectOptions) -> Vec<Candidate> {
    let mut decoder = HeadDecoder::new(&heads.detect, &heads.values).expect("a valid head");
    let mut candidates = Vec::new();
    decoder.candidates(&heads.heads(), options, &mut candidates);
    candidates.sort_unstable_by_key(|candidate| (candidate.row, candidate.class));
    candidates
}

fn score(candidate: &Candidate) -> f64 {
    f64::from(candidate.score) / f64::from(SIGMOID_ONE)
}

/// Largest distance of any side, in pixels.
fn distance(candidate: &Candidate, row: &Row) -> f64 {
    let pixels = |side: i32| f64::from(side) / f64::from(1 << COORDINATE_BITS);
    let sides = [
        (candidate.left, row.left),
        (candidate.top, row.top),
        (candidate.right, row.right),
        (candidate.bottom, row.bottom),
    ];
    sides.iter().map(|&(found, exact)| (pixels(found) - exact).abs()).fold(0.0, f64::max)
}

#[test]
fn every_box_and_score_is_that_of_the_formula() {
    let options = DetectOptions { confidence: 0.0, multi_label: true, ..Default::default() };
    for (seed, classes) in [(1, 1), (2, 2), (3, 4), (4, 30)] {
        let heads = NoiseHeads::new(seed, classes);
        let rows = rows(&heads);
        let found = candidates(&heads, &options);
        // Scores that round to 0 are dropped.
        assert!(found.len() * 100 > rows.len() * classes as usize * 99, "{}", found.len());
        for candidate in &found {
            let row = &rows[candidate.row as usize];
            let exact = row.objectness * row.classes[candidate.class as usize];
            // The bar is 1e-5 and 0.01 pixels; this is what the fixed-point formats promise.
            assert!((score(candidate) - exact).abs() < 3e-7, "{candidate:?}: {exact}");
            assert!(distance(candidate, row) < 3e-4, "{candidate:?}");
        }
    }
}

/// The rules with anchors and every factor of the centre, in fixed point and as restored outputs.
#[test]
fn boxes_by_exponentials_are_those_of_the_formula() {
    let options = DetectOptions { confidence: 0.0, multi_label: true, ..Default::default() };
    for boxes in [BoxRule::AnchorsExp, BoxRule::AnchorsSigmoid] {
        for scale_xy in [1.0, 1.05, 1.2, 2.0, 4.0] {
            let mut heads = NoiseHeads::new(15, 2);
            heads.detect.boxes = boxes;
            heads.detect.maps.iter_mut().for_each(|map| map.scale_xy = scale_xy);
            let rows = rows(&heads);
            let found = candidates(&heads, &options);
            assert!(found.len() * 100 > rows.len() * 2 * 99, "{}", found.len());
            for candidate in &found {
                let row = &rows[candidate.row as usize];
                let size = (row.right - row.left).max(row.bottom - row.top);
                // 3e-9 of an exponential, and as with squares.
                assert!(distance(candidate, row) < 3e-4 + 1e-7 * size, "{candidate:?}, {scale_xy}");
            }
            let raw = RawOutputs::new(&heads.detect, &heads.values).expect("a valid head");
            let mut tensor = vec![f32::NAN; 300 * 7];
            raw.decoded(&heads.heads(), &mut tensor).expect("there are anchors");
            for (row, found) in rows.iter().zip(tensor.chunks(7)) {
                let exact = [row.left + row.right, row.top + row.bottom].map(|sum| sum / 2.0);
                let exact = [exact[0], exact[1], row.right - row.left, row.bottom - row.top];
                for (found, exact) in found.iter().zip(exact) {
                    assert!(
                        (f64::from(*found) - exact).abs() < 1e-6 * exact.abs().max(1.0),
                        "{found} {exact}"
                    );
                }
            }
        }
    }
}

/// Boxes far larger than any picture end at the edges of what coordinates can say.
#[test]
fn enormous_exponentials_are_clamped() {
    let mut heads = NoiseHeads::new(16, 1);
    heads.detect.boxes = BoxRule::AnchorsExp;
    for map in &mut heads.detect.maps {
        map.scale_xy = 1.0;
        map.parts[0].multipliers.fill(1);
        map.parts[0].bias.fill(i64::MAX >> 2);
    }
    for candidate in candidates(&heads, &DetectOptions::default()) {
        assert_eq!((candidate.left, candidate.top), (i32::MIN, i32::MIN));
        assert_eq!((candidate.right, candidate.bottom), (i32::MAX, i32::MAX));
    }
    assert_eq!(candidates(&heads, &DetectOptions::default()).len(), 300);
}

#[test]
fn exactly_what_exceeds_the_threshold_is_a_candidate() {
    let unsure = |score: f64, threshold: f32| (score - f64::from(threshold)).abs() < 1e-6;
    for (seed, classes) in [(5, 1), (6, 3), (7, 12)] {
        let heads = NoiseHeads::new(seed, classes);
        for confidence in [0.0, 0.001, 0.25, 0.5, 0.9, 1.0] {
            for multi_label in [false, true] {
                let options = DetectOptions { confidence, multi_label, ..Default::default() };
                let found = candidates(&heads, &options);
                let mut found = found.iter().map(|c| (c.row as usize, c.class as usize)).peekable();
                for (index, row) in rows(&heads).iter().enumerate() {
                    let scores = row.classes.iter().map(|class| row.objectness * class);
                    let scores: Vec<f64> = scores.collect();
                    let best = (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                    for (class, &score) in scores.iter().enumerate() {
                        let asked = multi_label || Some(class) == best;
                        let present = found.next_if_eq(&(index, class)).is_some();
                        if !unsure(score, confidence) {
                            let expected = asked && score > f64::from(confidence);
                            assert_eq!(present, expected, "row {index}, class {class}: {score}");
                        }
                    }
                }
                assert_eq!(found.next(), None);
            }
        }
    }
}

#[test]
fn of_equally_probable_classes_the_first_is_chosen() {
    let mut heads = NoiseHeads::new(14, 4);
    for map in &mut heads.detect.maps {
        map.parts[0].multipliers.fill(1000);
        map.parts[0].bias.fill(0);
    }
    for (numbers, value) in heads.accumulators.iter_mut().zip(&heads.values) {
        for cell in numbers.chunks_mut(value.channels as usize) {
            for numbers in cell.chunks_mut(9) {
                // Classes 1 and 3 share the largest logit.
                numbers[4..].copy_from_slice(&[9000, 500, 8000, 7999, 8000]);
            }
        }
    }
    let found = candidates(&heads, &DetectOptions::default());
    assert_eq!(found.len(), 300);
    assert!(found.iter().all(|candidate| candidate.class == 1));
}

#[test]
fn unwanted_classes_are_dropped_after_the_best_was_chosen() {
    let heads = NoiseHeads::new(8, 4);
    for multi_label in [false, true] {
        let mut options = DetectOptions { multi_label, ..Default::default() };
        let mut expected = candidates(&heads, &options);
        expected.retain(|candidate| [0, 2].contains(&candidate.class));
        options.classes = Some(vec![2, 0, 77]);
        assert!(!expected.is_empty());
        assert_eq!(candidates(&heads, &options), expected);
        options.classes = Some(vec![]);
        assert_eq!(candidates(&heads, &options), []);
    }
}

#[test]
fn narrow_accumulators_decode_as_wide_ones() {
    let heads = NoiseHeads::new(5, 4);
    let narrow = |number: &i32| i16::try_from(*number).expect("noise of 15 bits");
    let narrow: Vec<Vec<i16>> =
        heads.accumulators.iter().map(|numbers| numbers.iter().map(narrow).collect()).collect();
    let narrow_heads: Vec<Head<'_>> = heads
        .heads()
        .into_iter()
        .zip(&narrow)
        .map(|(head, numbers)| Head { elements: Elements::NarrowAccumulators(numbers), ..head })
        .collect();
    let mut decoder = HeadDecoder::new(&heads.detect, &heads.values).expect("heads are consistent");
    let options = DetectOptions { confidence: 0.25, ..DetectOptions::default() };
    let mut found = Vec::new();
    decoder.candidates(&narrow_heads, &options, &mut found);
    found.sort_unstable_by_key(|candidate| (candidate.row, candidate.class));
    assert!(!found.is_empty());
    assert_eq!(found, candidates(&heads, &options));
    let raw = RawOutputs::new(&heads.detect, &heads.values).expect("heads are consistent");
    let decoded = |heads: &[Head<'_>]| {
        let kind = OutputKind::Decoded;
        let mut data = vec![0.0; raw.shape(kind).iter().product()];
        raw.fill(kind, heads, &mut data).expect("anchors are known");
        data
    };
    assert_eq!(decoded(&narrow_heads), decoded(&heads.heads()));
}

#[test]
fn quantized_heads_in_a_wider_tensor_decode_as_their_integers() {
    let mut heads = NoiseHeads::new(9, 2);
    let encoding = Encoding { max_level: 200, step: 2, low: -150, zero_point: 30, scale: 0.1 };
    for (index, numbers) in heads.accumulators.iter_mut().enumerate() {
        for (position, number) in numbers.iter_mut().enumerate() {
            *number = encoding.integer((noise(index as u32, position) % 201) as u8);
        }
        for multiplier in &mut heads.detect.maps[index].parts[0].multipliers {
            *multiplier *= 40;
        }
    }
    let options = DetectOptions::default();
    let expected = candidates(&heads, &options);
    assert!(expected.len() > 20, "{}", expected.len());
    let raw = RawOutputs::new(&heads.detect, &heads.values).expect("a valid head");
    let mut tensor = vec![0.0; sites().len() * 7];
    raw.decoded(&heads.heads(), &mut tensor).expect("there are anchors");

    // 3 levels between cells and 5 between rows that belong to nobody.
    let levels: Vec<Vec<u8>> = (0..2).map(|index| spread(&heads, index, &encoding)).collect();
    for value in &mut heads.values {
        value.kind = ValueKind::Levels(encoding);
    }
    let quantized: Vec<Head<'_>> = (levels.iter().zip(&heads.values))
        .map(|(levels, value)| Head {
            elements: Elements::Levels(levels),
            pixel_stride: value.channels as usize + 3,
            row_stride: value.width as usize * (value.channels as usize + 3) + 5,
        })
        .collect();
    let mut decoder = HeadDecoder::new(&heads.detect, &heads.values).expect("a valid head");
    let mut found = Vec::new();
    decoder.candidates(&quantized, &options, &mut found);
    found.sort_unstable_by_key(|candidate| (candidate.row, candidate.class));
    assert_eq!(found, expected);

    let raw = RawOutputs::new(&heads.detect, &heads.values).expect("a valid head");
    let mut from_levels = vec![0.0; tensor.len()];
    raw.decoded(&quantized, &mut from_levels).expect("there are anchors");
    assert_eq!(from_levels, tensor);
}

/// The levels of one head with gaps between cells and rows.
fn spread(heads: &NoiseHeads, index: usize, encoding: &Encoding) -> Vec<u8> {
    let (channels, width) = (heads.values[index].channels, heads.values[index].width);
    let level = |&integer: &i32| ((integer + 180) / i32::from(encoding.step)) as u8;
    let mut levels = Vec::new();
    for row in heads.accumulators[index].chunks((channels * width) as usize) {
        for cell in row.chunks(channels as usize) {
            levels.extend(cell.iter().map(level));
            levels.extend([255; 3]);
        }
        levels.extend([255; 5]);
    }
    levels
}

#[test]
fn more_boxes_than_the_cap_leave_the_best_and_no_more_memory() {
    // 300 rows of 400 classes: twice the memory, four times the cap.
    let heads = NoiseHeads::new(10, 400);
    let mut decoder = HeadDecoder::new(&heads.detect, &heads.values).expect("a valid head");
    let options = DetectOptions { confidence: 0.0, multi_label: true, ..Default::default() };
    let mut found = Vec::new();
    decoder.candidates(&heads.heads(), &options, &mut found);
    assert_eq!(found.len(), MAX_CANDIDATES);
    assert_eq!(found.capacity(), decoder.capacity(true));
    found.sort_unstable_by_key(Candidate::rank);

    // All boxes, class by class: the 30 000 best of them must be those found.
    let mut all = Vec::new();
    for class in 0..400 {
        let options = DetectOptions { classes: Some(vec![class]), ..options.clone() };
        all.extend(candidates(&heads, &options));
    }
    assert!(all.len() > 2 * MAX_CANDIDATES);
    all.sort_unstable_by_key(Candidate::rank);
    assert!(found == all[..MAX_CANDIDATES]);
}

#[test]
fn outputs_have_the_source_models_shapes_and_order() {
    let heads = NoiseHeads::new(11, 4);
    let raw = RawOutputs::new(&heads.detect, &heads.values).expect("a valid head");
    assert_eq!(raw.shape(OutputKind::Head(MapPart::whole(0))), [1, 27, 8, 10]);
    assert_eq!(raw.shape(OutputKind::HeadByAnchor(MapPart::whole(1))), [1, 3, 4, 5, 9]);
    assert_eq!(raw.shape(OutputKind::Decoded), [1, 300, 9]);
    let output = |kind| {
        let mut tensor = vec![f32::NAN; raw.shape(kind).iter().product()];
        raw.fill(kind, &heads.heads(), &mut tensor).expect("there are anchors");
        tensor
    };

    for (level, (height, width, ..)) in MAPS.into_iter().enumerate() {
        let (height, width) = (height as usize, width as usize);
        let nchw = output(OutputKind::Head(MapPart::whole(level as u32)));
        let by_anchor = output(OutputKind::HeadByAnchor(MapPart::whole(level as u32)));
        for (_, site) in sites().into_iter().filter(|(of, _)| *of == level) {
            let [anchor, y, x] = site;
            for field in 0..9 {
                let exact = logit(&heads, level, site, field) as f32;
                assert_eq!(nchw[((anchor * 9 + field) * height + y) * width + x], exact);
                assert_eq!(by_anchor[((anchor * height + y) * width + x) * 9 + field], exact);
            }
        }
    }

    let decoded = output(OutputKind::Decoded);
    for (row, found) in rows(&heads).iter().zip(decoded.chunks(9)) {
        let mut exact = vec![
            (row.left + row.right) / 2.0,
            (row.top + row.bottom) / 2.0,
            row.right - row.left,
            row.bottom - row.top,
            row.objectness,
        ];
        exact.extend(&row.classes);
        for (found, exact) in found.iter().zip(exact) {
            let error = (f64::from(*found) - exact).abs();
            assert!(error < 1e-6 * exact.abs().max(1.0), "{found} {exact}");
        }
    }
}

#[test]
fn without_anchors_there_are_logits_but_no_boxes() {
    let mut heads = NoiseHeads::new(12, 4);
    heads.detect.maps[1].anchors.clear();
    let error = HeadDecoder::new(&heads.detect, &heads.values).unwrap_err();
    assert_eq!(*error.kind(), DecodeErrorKind::MissingAnchors);
    assert_eq!(error.to_string(), "the export carried no anchors: convert again with --anchors");
    let raw = RawOutputs::new(&heads.detect, &heads.values).expect("logits need no anchors");
    let mut tensor = vec![f32::NAN; 27 * 8 * 10];
    raw.fill(OutputKind::Head(MapPart::whole(0)), &heads.heads(), &mut tensor).expect("logits");
    assert!(tensor.iter().all(|number| number.is_finite()));
    let mut tensor = vec![0.0; 300 * 9];
    let error = raw.fill(OutputKind::Decoded, &heads.heads(), &mut tensor).unwrap_err();
    assert_eq!(*error.kind(), DecodeErrorKind::MissingAnchors);
}

#[test]
fn contradictory_heads_are_refused() {
    type Change = fn(&mut NoiseHeads);
    let refused = |change: Change| {
        let mut heads = NoiseHeads::new(13, 4);
        change(&mut heads);
        HeadDecoder::new(&heads.detect, &heads.values).unwrap_err().to_string()
    };
    let table: [(Change, &str); 13] = [
        (|h| h.detect.maps.clear(), "no detection head"),
        (|h| h.detect.classes = 0, "no detection head"),
        (|h| h.detect.classes = 5, "anchors times the numbers of a box"),
        (|h| h.detect.maps[0].parts[0].value.0 = 9, "value does not exist"),
        (|h| h.detect.maps[0].parts.clear(), "feature map 0 of the detection head: it has no parts"),
        (|h| h.detect.maps[0].anchors_per_cell = 17, "1 to 16 anchors"),
        (|h| h.detect.maps[0].parts[0].multipliers.truncate(26), "one bias for each channel"),
        (|h| h.detect.maps[0].parts[0].bias.truncate(26), "one bias for each channel"),
        (|h| h.detect.maps[0].parts[0].shift = 63, "shift exceeds 62"),
        (|h| h.detect.maps[0].stride = 5000, "1 to 16384 pixels"),
        (|h| h.detect.maps[0].anchors.truncate(2), "one anchor size for each"),
        (|h| h.detect.maps[1].anchors[2][0] = f32::NAN, "feature map 1: an anchor of NaN x 119"),
        (|h| h.detect.maps[1].anchors[2][0] = 4097.0, "feature map 1: an anchor of 4097 x 119"),
    ];
    for (change, expected) in table {
        let message = refused(change);
        assert!(message.contains(expected), "{message:?} has no {expected:?}");
    }
}
