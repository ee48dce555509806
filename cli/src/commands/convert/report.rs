//! The report of a conversion as a JSON file.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use ylb_converter::compare::{Bar, Comparison};
use ylb_converter::{Report, Row, Warning};
use ylb_format::model::{Model, Node};
use ylb_runtime::Network;

use super::calibration;
use crate::files;
use crate::model::{self, Layer};
use crate::output::hex;
use crate::proof::verdict_name;
use crate::requantization::Requantization;

#[derive(Debug, Serialize)]
struct Document<'a> {
    converter: &'a str,
    source: Source<'a>,
    image_size: [usize; 2],
    passes: &'a [String],
    warnings: Vec<NodeWarning<'a>>,
    layers: Vec<LayerReport>,
    requantization: Requantization,
    /// `null` without `--verify`.
    verification: Option<Verification>,
    /// `null` without `--calibrate`.
    calibration: Option<calibration::Document>,
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    name: &'a str,
    format: &'a str,
    sha256: String,
}

#[derive(Debug, Serialize)]
struct NodeWarning<'a> {
    /// Empty where it concerns the model.
    node: &'a str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct LayerReport {
    #[serde(flatten)]
    layer: Layer,
    /// Name of the source's tensor whose codes the layer writes; empty if there is none.
    tensor: String,
    /// `null` where accumulators are written.
    output_bits: Option<u32>,
    /// What one code of the output stands for; `null` where that is not known.
    output_scale: Option<f64>,
    output_zero_point: Option<i16>,
    /// How accumulators become levels.
    requantize: &'static str,
    tie_bound: f64,
    /// Bytes in the file: weights and requantization.
    bytes: usize,
}

#[derive(Debug, Serialize)]
struct Verification {
    verdict: &'static str,
    codes: usize,
    off_by_one: usize,
    worse: usize,
    largest_output_difference: f64,
}

/// Writes the report.
///
/// # Errors
/// If the file cannot be written.
pub fn write(
    path: &Path,
    network: &Network,
    report: &Report,
    comparison: Option<(&Comparison, Bar)>,
    calibration: Option<calibration::Document>,
) -> Result<()> {
    let metadata = &network.model().metadata;
    let document = Document {
        converter: &metadata.converter,
        source: Source {
            name: &metadata.source_name,
            format: &metadata.source_format,
            sha256: hex(&metadata.source_sha256),
        },
        image_size: report.image_size,
        passes: &report.passes,
        warnings: report.warnings.iter().map(node_warning).collect(),
        layers: layers(network, &report.rows),
        requantization: Requantization::of(network),
        verification: comparison.map(verification),
        calibration,
    };
    files::write(path, |writer| Ok(serde_json::to_writer_pretty(writer, &document)?))
}

fn node_warning(Warning { node, message, .. }: &Warning) -> NodeWarning<'_> {
    NodeWarning { node, message }
}

fn layers(network: &Network, rows: &[Row]) -> Vec<LayerReport> {
    let model = network.model();
    let layers = model::layers(network).into_iter().zip(&model.nodes).zip(rows);
    layers.map(|((layer, node), row)| layer_report(layer, model, node, row)).collect()
}

fn layer_report(layer: Layer, model: &Model, node: &Node, row: &Row) -> LayerReport {
    let output = model.value(node.output);
    let encoding = output.encoding();
    LayerReport {
        layer,
        tensor: output.name.clone(),
        output_bits: row.output_bits,
        output_scale: encoding.map(|encoding| encoding.scale).filter(|&scale| scale > 0.0),
        output_zero_point: encoding.map(|encoding| encoding.zero_point),
        requantize: row.requantize,
        tie_bound: row.tie_bound,
        bytes: row.bytes,
    }
}

fn verification((comparison, bar): (&Comparison, Bar)) -> Verification {
    let [codes, off_by_one, worse] = comparison.totals();
    Verification {
        verdict: verdict_name(comparison.verdict(bar)),
        codes,
        off_by_one,
        worse,
        largest_output_difference: comparison.outputs.iter().map(|output| output.largest).fold(0.0, f64::max),
    }
}
