//! `info`: what is in a `.ylb` file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use ylb_format::model::{
    ChannelOrder, HeadMap, MapPart, Model, Numbers, OutputKind, PicturePlacement, PixelRange, Scope,
    TensorLayout,
};

use super::Outcome;
use crate::args::InfoArgs;
use crate::model::{self, Layer};
use crate::output::{self, Align, Table, bytes, hex, millions};
use crate::requantization::Requantization;
use crate::text::line;

#[derive(Debug, Serialize)]
struct Document {
    file: FileFacts,
    source: Source,
    input: Input,
    classes: u32,
    class_names: Vec<String>,
    head: Head,
    detect: Vec<Map>,
    outputs: Vec<Output>,
    layers: Vec<Layer>,
    totals: Totals,
    requantization: Requantization,
}

#[derive(Debug, Serialize)]
struct FileFacts {
    path: String,
    bytes: u64,
    sha256: String,
    sections: Vec<Section>,
}

#[derive(Debug, Serialize)]
struct Section {
    name: String,
    bytes: u64,
    crc32: String,
}

#[derive(Debug, Serialize)]
struct Source {
    name: String,
    format: String,
    sha256: Option<String>,
    converter: String,
}

#[derive(Debug, Serialize)]
struct Input {
    name: String,
    height: u32,
    width: u32,
    range: &'static str,
    mean: [f32; 3],
    deviation: [f32; 3],
    channels: &'static str,
    layout: &'static str,
    placement: &'static str,
    fill: [u8; 3],
}

/// What boxes and scores are computed by.
#[derive(Debug, Serialize)]
struct Head {
    boxes: &'static str,
    scores: &'static str,
    #[serde(skip)]
    has_anchors: bool,
}

/// A feature map of the head.
#[derive(Debug, Serialize)]
struct Map {
    stride: u32,
    anchors_per_cell: u32,
    anchors: Vec<[f32; 2]>,
    scale_xy: f32,
}

#[derive(Debug, Serialize)]
struct Output {
    name: String,
    contents: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Totals {
    layers: usize,
    macs: u64,
    weight_bytes: u64,
    packed_bytes: u64,
    arena_bytes: usize,
    by_bits: Vec<BitsTotal>,
}

/// Sums over the layers with the same weight and activation bits.
#[derive(Debug, Serialize)]
struct BitsTotal {
    bits: String,
    layers: usize,
    macs: u64,
    weight_bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded.
pub fn run(args: &InfoArgs) -> Result<Outcome> {
    let network = model::open(&args.model)?;
    let layers = model::layers(&network);
    let model = network.model();
    let document = Document {
        file: file_facts(&args.model)?,
        source: source(model),
        input: input(model),
        classes: model.detect.classes,
        class_names: model.metadata.class_names.clone(),
        head: Head {
            boxes: model.detect.boxes.name(),
            scores: model.detect.scores.name(),
            has_anchors: model.detect.boxes.has_anchors(),
        },
        detect: model.detect.maps.iter().map(map).collect(),
        outputs: model.outputs.iter().map(output).collect(),
        totals: totals(&layers, network.arena_len()),
        requantization: Requantization::of(&network),
        layers,
    };
    if args.json {
        output::print_json(&document)?;
    } else {
        output::print(text(&document)?)?;
    }
    Ok(Outcome::Done)
}

fn file_facts(path: &Path) -> Result<FileFacts> {
    let cannot_read = || format!("cannot read {}", path.display());
    let file = fs::read(path).with_context(cannot_read)?;
    let sections = ylb_format::sections(&file).with_context(cannot_read)?;
    let section = |section: &ylb_format::Section| Section {
        name: section.kind.to_string(),
        bytes: section.len,
        crc32: format!("{:08x}", section.crc32),
    };
    Ok(FileFacts {
        path: path.display().to_string(),
        bytes: file.len() as u64,
        sha256: hex(&Sha256::digest(&file)),
        sections: sections.iter().map(section).collect(),
    })
}

fn source(model: &Model) -> Source {
    let metadata = &model.metadata;
    let known = metadata.source_sha256 != [0; 32];
    Source {
        name: metadata.source_name.clone(),
        format: metadata.source_format.clone(),
        sha256: known.then(|| hex(&metadata.source_sha256)),
        converter: metadata.converter.clone(),
    }
}

fn input(model: &Model) -> Input {
    let (picture, preprocessing) = (model.picture(), &model.input.preprocessing);
    Input {
        name: model.input.name.clone(),
        height: picture.height,
        width: picture.width,
        range: match preprocessing.range {
            PixelRange::Unit => "0..1",
            PixelRange::Bytes => "0..255",
        },
        mean: preprocessing.mean,
        deviation: preprocessing.deviation,
        channels: match preprocessing.order {
            ChannelOrder::Rgb => "RGB",
            ChannelOrder::Bgr => "BGR",
        },
        layout: match preprocessing.layout {
            TensorLayout::Nchw => "NCHW",
            TensorLayout::Nhwc => "NHWC",
        },
        placement: match preprocessing.placement {
            PicturePlacement::Centre => "centre",
            PicturePlacement::Corner => "corner",
            PicturePlacement::Stretch => "stretch",
        },
        fill: preprocessing.fill,
    }
}

fn map(map: &HeadMap) -> Map {
    let &HeadMap { stride, anchors_per_cell, scale_xy, .. } = map;
    Map { stride, anchors_per_cell, anchors: map.anchors.clone(), scale_xy }
}

fn output(output: &ylb_format::model::Output) -> Output {
    let (contents, map) = match output.kind {
        OutputKind::Head(of) => ("head", Some(of.map)),
        OutputKind::HeadByAnchor(of) => ("head by anchor", Some(of.map)),
        OutputKind::Decoded => ("decoded boxes", None),
        OutputKind::Arranged(arranged) => {
            let contents = match arranged.numbers {
                Numbers::Logits => "numbers of the head",
                Numbers::Logistic => "sigmoids of the head",
                Numbers::Boxes => "decoded boxes, arranged",
                Numbers::UnitBoxes => "decoded boxes, parts of the picture",
                Numbers::Corners => "decoded boxes by their edges",
                Numbers::UnitCorners => "decoded boxes by their edges, parts of the picture",
                Numbers::CellBoxes => "decoded boxes, in cells of their feature map",
                Numbers::RawBoxes => "boxes before their decode, with scores",
                Numbers::ScoredBoxes => "decoded boxes, classes times objectness",
                Numbers::ScoredUnitBoxes => "decoded boxes, parts of the picture, classes times objectness",
                Numbers::ScoredCorners => "decoded boxes by their edges, classes times objectness",
                Numbers::ScoredUnitCorners => {
                    "decoded boxes by their edges, parts of the picture, classes times objectness"
                }
            };
            let map = match arranged.of {
                Scope::Maps => None,
                Scope::Map(map) | Scope::Part(MapPart { map, .. }) => Some(map),
            };
            (contents, map)
        }
    };
    Output { name: output.name.clone(), contents, map }
}

fn totals(layers: &[Layer], arena_bytes: usize) -> Totals {
    let mut by_bits: BTreeMap<String, BitsTotal> = BTreeMap::new();
    for layer in layers.iter().filter(|layer| layer.weight_bits.is_some()) {
        let empty = || BitsTotal { bits: layer.bits(), layers: 0, macs: 0, weight_bytes: 0 };
        let total = by_bits.entry(layer.bits()).or_insert_with(empty);
        total.layers += 1;
        total.macs += layer.macs;
        total.weight_bytes += layer.weight_bytes;
    }
    Totals {
        layers: layers.len(),
        macs: layers.iter().map(|layer| layer.macs).sum(),
        weight_bytes: layers.iter().map(|layer| layer.weight_bytes).sum(),
        packed_bytes: layers.iter().map(|layer| layer.packed_bytes).sum(),
        arena_bytes,
        by_bits: by_bits.into_values().collect(),
    }
}

fn text(document: &Document) -> Result<String> {
    let Document { file, source, input, totals, .. } = document;
    let mut text = String::new();
    writeln!(text, "{}: {}", line(&file.path), bytes(file.bytes))?;
    let [name, format, converter] = [&source.name, &source.format, &source.converter].map(|text| line(text));
    writeln!(text, "  source      {name} ({format}), converted by {converter}")?;
    if let Some(sha256) = &source.sha256 {
        writeln!(text, "  its SHA-256 {sha256}")?;
    }
    writeln!(text, "  input       {} {}x{} (height x width)", line(&input.name), input.height, input.width)?;
    let Input { channels, range, placement, fill, .. } = input;
    let [red, green, blue] = fill;
    writeln!(text, "  picture     {channels} {range}, {placement}, around it {red} {green} {blue}")?;
    let names = document.class_names.join(", ");
    let names = line(&names);
    let names = if names.is_empty() { "without names" } else { &names };
    writeln!(text, "  classes     {}: {names}", document.classes)?;
    if !document.detect.is_empty() {
        writeln!(text, "  head        {}; {}", document.head.boxes, document.head.scores)?;
    }
    for map in &document.detect {
        let anchors: Vec<String> =
            map.anchors.iter().map(|[width, height]| format!("{width}x{height}")).collect();
        let anchors = match (document.head.has_anchors, anchors.is_empty()) {
            (false, _) => String::new(),
            (true, true) => ", anchors not known".to_owned(),
            (true, false) => format!(", anchors {}", anchors.join(", ")),
        };
        writeln!(text, "  detect      stride {}{anchors}", map.stride)?;
    }
    for output in &document.outputs {
        let map = output.map.map(|map| format!(" of feature map {map}")).unwrap_or_default();
        writeln!(text, "  output      {}: {}{map}", line(&output.name), output.contents)?;
    }

    writeln!(text, "\nLayers\n{}", layer_table(&document.layers))?;
    writeln!(text, "Totals\n{}", totals_table(totals))?;
    writeln!(
        text,
        "  memory: {} for packed weights, {} for activations",
        bytes(totals.packed_bytes),
        bytes(totals.arena_bytes as u64)
    )?;
    writeln!(text, "  {}", document.requantization.line())?;

    let mut sections =
        Table::new(&[("section", Align::Left), ("size", Align::Right), ("CRC-32", Align::Left)]);
    for section in &file.sections {
        sections.row(vec![section.name.clone(), bytes(section.bytes), section.crc32.clone()]);
    }
    writeln!(text, "\nFile\n{sections}  SHA-256 {}", file.sha256)?;
    Ok(text)
}

fn layer_table(layers: &[Layer]) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("operator", Align::Left),
        ("output", Align::Left),
        ("weight bits", Align::Right),
        ("activation bits", Align::Right),
        ("MACs", Align::Right),
        ("weights", Align::Right),
    ]);
    for layer in layers {
        let number = |bits: Option<u8>| bits.map(|bits| bits.to_string()).unwrap_or_default();
        let or_nothing = |count: u64, text: String| if count == 0 { String::new() } else { text };
        table.row(vec![
            layer.name.clone(),
            layer.title(),
            layer.shape(),
            number(layer.weight_bits),
            number(layer.activation_bits),
            or_nothing(layer.macs, millions(layer.macs)),
            or_nothing(layer.weight_bytes, bytes(layer.weight_bytes)),
        ]);
    }
    table
}

fn totals_table(totals: &Totals) -> Table {
    let mut table = Table::new(&[
        ("bits", Align::Left),
        ("layers", Align::Right),
        ("MACs", Align::Right),
        ("share", Align::Right),
        ("weights", Align::Right),
    ]);
    let mut row = |name: &str, layers: usize, macs: u64, weight_bytes: u64| {
        let share = 100.0 * macs as f64 / totals.macs.max(1) as f64;
        table.row(vec![
            name.to_owned(),
            layers.to_string(),
            millions(macs),
            format!("{share:.1} %"),
            bytes(weight_bytes),
        ]);
    };
    for total in &totals.by_bits {
        row(&total.bits, total.layers, total.macs, total.weight_bytes);
    }
    row("all", totals.layers, totals.macs, totals.weight_bytes);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(weight_bits: Option<u8>, macs: u64, weight_bytes: u64) -> Layer {
        Layer {
            name: "/conv".to_owned(),
            operator: "Conv",
            details: "3x3/2".to_owned(),
            output_shape: [16, 8, 8],
            weight_bits,
            activation_bits: Some(4),
            macs,
            weight_bytes,
            packed_bytes: 2 * weight_bytes,
            kernel: String::new(),
            requantization: None,
        }
    }

    #[test]
    fn totals_are_sums_by_bits() {
        let layers =
            [layer(Some(2), 100, 10), layer(Some(8), 300, 40), layer(Some(2), 500, 20), layer(None, 0, 0)];
        let totals = totals(&layers, 77);
        assert_eq!((totals.layers, totals.macs, totals.weight_bytes, totals.packed_bytes), (4, 900, 70, 140));
        let by_bits: Vec<_> =
            totals.by_bits.iter().map(|total| (total.bits.as_str(), total.layers, total.macs)).collect();
        assert_eq!(by_bits, [("W2A4", 2, 600), ("W8A4", 1, 300)]);
        let table = totals_table(&totals).to_string();
        assert!(table.contains("66.7 %") && table.contains("100.0 %"), "{table}");
    }

    #[test]
    fn layers_without_weights_have_empty_cells() {
        let table = layer_table(&[layer(None, 0, 0)]).to_string();
        assert_eq!(
            table.lines().nth(1).unwrap().trim_end(),
            "  /conv  Conv 3x3/2  16x8x8                             4"
        );
    }
}
