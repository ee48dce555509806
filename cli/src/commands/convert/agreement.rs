//! How well a converted model finds what the model in floats finds: mAP with the latter's detections for labels, so that nobody
//! has to label anything.
//!
//! The heads of the model in floats are decoded by the formula of the family, in 64 bits, and go through the same suppression.

use std::sync::Arc;

use anyhow::{Context, Result};
use ylb_calibrate::FloatNetwork;
use ylb_converter::{compare, families};
use ylb_eval::dataset::Sample;
use ylb_eval::metrics::{self, Accuracy, Guess, Object, Scene};
use ylb_format::model::{ChannelOrder, HeadMap, HeadPart, Model};
use ylb_runtime::detect::sigmoid::SIGMOID_BITS;
use ylb_runtime::detect::{COORDINATE_BITS, Candidate, Nms};
use ylb_runtime::picture::Placement;
use ylb_runtime::{DetectOptions, Detection, Network, Picture, PixelFormat, SessionOptions};
use ylb_source::ir::Tensor;

use crate::pipeline::Photo;
use crate::{model, proof};

/// What the model in floats is so sure of counts as an object.
pub const SURE: f32 = 0.25;
/// Options of `eval`, for both.
const OPTIONS: DetectOptions =
    DetectOptions { confidence: 0.001, iou: 0.6, max_detections: 300, classes: None, multi_label: true };

/// Numbers of a decoded box before its objectness.
const SIDES: usize = 4;

/// Names of the convolutions whose results are the heads, in the order of the maps and their parts.
pub fn heads(model: &Model) -> Vec<&str> {
    let node = |value| model.nodes.iter().find(|node| node.output == value);
    model.detect.parts().filter_map(|part| node(part.value)).map(|node| node.name.as_str()).collect()
}

/// What came of measuring.
pub enum Found {
    /// mAP50-95 with the detections of the model in floats for labels.
    Map(f64),
    /// The model in floats has none that it is sure of: the greatest confidence, 0 to 1.
    Nothing(f64),
}

/// Measures with the detections of the model in floats for labels. Pictures are RGB pixels row by row, of the network's size.
///
/// # Errors
/// If one of both cannot be run.
pub fn measure(
    network: &Arc<Network>,
    float: &FloatNetwork,
    pictures: &[Vec<u8>],
    progress: &mut dyn FnMut(usize),
) -> Result<Found> {
    let model = network.model();
    let (width, height) = (model.picture().width as usize, model.picture().height as usize);
    let mut session = model::start(network, SessionOptions::default())?;
    let mut scenes = Vec::with_capacity(pictures.len());
    let mut surest = 0.0f64;
    for (index, pixels) in pictures.iter().enumerate() {
        progress(index);
        let heads = float.run(&compare::planar(pixels)).context("cannot run the model in floats")?;
        let input = [width, height];
        let (found, most) = decoded(model, &heads, SURE, &Placement::new(input, input))?;
        surest = surest.max(most);
        let objects = found.iter().map(object).collect();
        // Pixels are in the network's order already.
        let format = match model.input.preprocessing.order {
            ChannelOrder::Rgb => PixelFormat::Rgb,
            ChannelOrder::Bgr => PixelFormat::Bgr,
        };
        let picture = Picture::new(pixels, width, height, format)?;
        let guesses = session.detect(&picture, &OPTIONS)?.iter().map(guess).collect();
        scenes.push(Scene { objects, guesses });
    }
    let map = metrics::measure(&scenes, model.detect.classes as usize).map50_95();
    Ok(map.map_or(Found::Nothing(surest), Found::Map))
}

/// Accuracy on labelled pictures, of the model in floats and of the converted one.
///
/// # Errors
/// If one of both cannot be run, or a picture cannot be read.
pub fn accuracies(
    network: &Arc<Network>,
    float: &FloatNetwork,
    (samples, max_pixels): (&[Sample], u64),
    progress: &mut dyn FnMut(usize),
) -> Result<[Accuracy; 2]> {
    let model = network.model();
    let (width, height) = (model.picture().width as usize, model.picture().height as usize);
    let wanted = &model.input.preprocessing;
    let mut session = model::start(network, SessionOptions::default())?;
    let mut scenes = [Vec::new(), Vec::new()];
    for (index, sample) in samples.iter().enumerate() {
        progress(index);
        let photo = Photo::read(&sample.picture, max_pixels)
            .with_context(|| format!("image {}", sample.picture.display()))?;
        let (columns, rows) = photo.pixels.dimensions();
        let labels = sample.labels.iter().flatten();
        let objects: Vec<Object> =
            labels.map(|label| Object { class: label.class, edges: label.edges(columns, rows) }).collect();
        let pixels = proof::letterboxed([height, width], wanted, &photo.pixels)?;
        let heads = float.run(&compare::planar(&pixels)).context("cannot run the model in floats")?;
        let placement = Placement::of([columns as usize, rows as usize], [width, height], wanted.placement);
        let (found, _) = decoded(model, &heads, OPTIONS.confidence, &placement)?;
        let own = session.detect(&photo.picture()?, &OPTIONS)?;
        for (scenes, found) in scenes.iter_mut().zip([&found[..], own]) {
            scenes.push(Scene { objects: objects.clone(), guesses: found.iter().map(guess).collect() });
        }
    }
    Ok(scenes.map(|scenes| metrics::measure(&scenes, model.detect.classes as usize)))
}

/// The detections of heads in floats above a confidence, in pixels of the picture that the placement tells of, and the greatest
/// confidence of all boxes.
fn decoded(
    model: &Model,
    heads: &[Tensor],
    confidence: f32,
    placement: &Placement,
) -> Result<(Vec<Detection>, f64)> {
    let detect = &model.detect;
    let family = families::of(detect.boxes);
    let classes = detect.classes as usize;
    let (mut candidates, mut surest, mut first_row, mut heads) = (Vec::new(), 0.0f64, 0, heads.iter());
    for map in &detect.maps {
        let parts: Vec<&Tensor> = heads.by_ref().take(map.parts.len()).collect();
        let Some(&[1, _, height, width]) = parts.first().map(|head| head.shape()) else {
            anyhow::bail!("a head is missing, or not of rank 4")
        };
        let cells = height * width;
        let rows = map.anchors_per_cell as usize * cells;
        for row in 0..rows {
            let (anchor, cell) = (row / cells, row % cells);
            let place = families::Place {
                stride: f64::from(map.stride),
                scale_xy: f64::from(map.scale_xy),
                anchor: map.anchors.get(anchor).copied().unwrap_or_default().map(f64::from),
                cell: [cell / width, cell % width],
            };
            let numbers = families::decode(family, detect, &place, &logits(map, &parts, row, cells));
            let objectness = detect.objectness().map_or(1.0, |_| numbers[SIDES]);
            let (sides, probabilities) = numbers.split_at(numbers.len() - classes);
            for (class, probability) in probabilities.iter().enumerate() {
                let score = objectness * probability;
                surest = surest.max(score);
                if score > f64::from(confidence) {
                    candidates.push(candidate(sides, score, class, first_row + row));
                }
            }
        }
        first_row += rows;
    }
    let options = DetectOptions { confidence, ..OPTIONS };
    let mut nms = Nms::new(detect.classes as usize);
    Ok((nms.detections(&mut candidates, &options, placement).to_vec(), surest))
}

/// The logits of a box, from all parts of its map.
fn logits(map: &HeadMap, parts: &[&Tensor], row: usize, cells: usize) -> Vec<f64> {
    let (anchor, cell) = (row / cells, row % cells);
    let of_part = |(part, head): (&HeadPart, &&Tensor)| {
        let first = anchor * part.fields.len();
        (0..part.fields.len()).map(|field| head.get((first + field) * cells + cell)).collect::<Vec<f64>>()
    };
    map.parts.iter().zip(parts).flat_map(of_part).collect()
}

/// A box in the fixed point of the suppression.
fn candidate(numbers: &[f64], score: f64, class: usize, row: usize) -> Candidate {
    let edge =
        |centre: f64, side: f64| ((centre + side / 2.0) * f64::from(1u32 << COORDINATE_BITS)).round() as i32;
    Candidate {
        score: (score * f64::from(1u32 << SIGMOID_BITS)) as u32,
        class: class as u32,
        row: row as u32,
        left: edge(numbers[0], -numbers[2]),
        top: edge(numbers[1], -numbers[3]),
        right: edge(numbers[0], numbers[2]),
        bottom: edge(numbers[1], numbers[3]),
    }
}

fn object(found: &Detection) -> Object {
    Object { class: found.class as usize, edges: edges(found) }
}

fn guess(found: &Detection) -> Guess {
    Guess { class: found.class as usize, confidence: f64::from(found.confidence), edges: edges(found) }
}

fn edges(found: &Detection) -> [f64; 4] {
    [found.left, found.top, found.right, found.bottom].map(f64::from)
}
