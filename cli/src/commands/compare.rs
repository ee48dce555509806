//! `compare`: proves that a model computes what its ONNX file does.

use anyhow::{Context, Result};
use serde::Serialize;
use ylb_converter::compare::{Comparison, OutputComparison, ValueComparison, Verdict};

use super::Outcome;
use crate::args::CompareArgs;
use crate::images;
use crate::model;
use crate::output::{self, Align, Messages, Table};
use crate::progress::Progress;
use crate::proof::{CLOSE_ALLOWS, Proof, place, summary, verdict_name};
use crate::text;

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Document {
    source: String,
    model: String,
    strict: bool,
    /// The worst of all pictures.
    verdict: &'static str,
    images: Vec<Image>,
}

#[derive(Debug, Serialize)]
struct Image {
    /// `null` for the synthetic picture.
    path: Option<String>,
    verdict: &'static str,
    codes: usize,
    off_by_one: usize,
    worse: usize,
    /// `null` where nothing differs.
    first_divergence: Option<Place>,
    layers: Vec<Layer>,
    outputs: Vec<Output>,
}

#[derive(Debug, Serialize)]
struct Place {
    layer: String,
    tensor: String,
}

#[derive(Debug, Serialize)]
struct Layer {
    layer: String,
    tensor: String,
    bits: u8,
    codes: usize,
    equal: usize,
    off_by_one: usize,
    worse: usize,
    largest_difference: u32,
}

#[derive(Debug, Serialize)]
struct Output {
    name: String,
    elements: usize,
    largest_difference: f64,
    within_tolerance: bool,
    mean_difference_in_standard_deviations: f64,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read, the model was made from another source, or that holds something
/// that the interpreter does not know.
pub fn run(args: &CompareArgs, messages: Messages) -> Result<Outcome> {
    let pictures = images::collect(&args.inputs)?;
    let network = model::open(&args.model)?;
    let cannot = || format!("cannot compare {} with {}", args.model.display(), args.source.display());
    let source = model::open_source(&args.source, cannot)?;
    let mut proof = Proof::new(&source, &network, args.threads.count()).with_context(cannot)?;
    let mut compared = Vec::new();
    {
        let progress = Progress::new(0, !messages.quiet);
        if pictures.is_empty() {
            let comparison =
                proof.compare(None, &mut |done, total| show(&progress, "synthetic picture", done, total))?;
            compared.push((None, comparison));
        }
        for path in &pictures {
            let name = path.display().to_string();
            let picture = images::read(path, args.max_pixels.max_pixels);
            let picture = picture.with_context(|| format!("image {name}"))?;
            if let Some(warning) = picture.warning {
                progress.suspend(|| messages.warning(format_args!("image {name}: {warning}")));
            }
            let comparison = proof
                .compare(Some(&picture.pixels), &mut |done, total| show(&progress, &name, done, total))?;
            compared.push((Some(name), comparison));
        }
    }
    let verdicts = compared.iter().map(|(_, comparison)| comparison.verdict(args.bar()));
    let verdict = verdicts.max().unwrap_or(Verdict::Equal);
    if args.json {
        output::print_json(&document(args, verdict, compared))?;
    } else {
        print_text(args, verdict, &compared)?;
    }
    Ok(if verdict == Verdict::Different { Outcome::Different } else { Outcome::Done })
}

fn show(progress: &Progress, name: &str, done: usize, total: usize) {
    progress.set_steps(total);
    progress.set(done, &format!("nodes interpreted, {name}"));
}

fn print_text(args: &CompareArgs, verdict: Verdict, compared: &[(Option<String>, Comparison)]) -> Result<()> {
    output::print(format_args!("{}\n", layer_table(compared)))?;
    for (path, comparison) in compared {
        let name = text::line(path.as_deref().unwrap_or("synthetic picture"));
        output::print(format_args!("{name}: {}\n", summary(comparison)))?;
        if let Some(divergence) = comparison.first_divergence() {
            output::print(format_args!("{name}: differs first at {}\n", place(divergence)))?;
        }
    }
    let (model, source) = (text::path(&args.model), text::path(&args.source));
    output::print(match verdict {
        Verdict::Equal => format!("{model} equals {source}\n"),
        Verdict::Close => format!("{model} is close to {source}: {CLOSE_ALLOWS}\n"),
        Verdict::Different => format!("{model} differs from {source}\n"),
    })
}

/// A row for each tensor, all pictures together.
fn layer_table(compared: &[(Option<String>, Comparison)]) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("tensor", Align::Left),
        ("bits", Align::Right),
        ("codes", Align::Right),
        ("equal", Align::Right),
        ("off by one", Align::Right),
        ("worse", Align::Right),
        ("largest", Align::Right),
    ]);
    let Some((_, first)) = compared.first() else { return table };
    for (index, ValueComparison { node, name, bits, .. }) in first.values.iter().enumerate() {
        let values = || compared.iter().map(|(_, comparison)| &comparison.values[index]);
        let sum = |count: fn(&ValueComparison) -> usize| values().map(count).sum::<usize>().to_string();
        table.row(vec![
            if node.is_empty() { "(input)".to_owned() } else { node.clone() },
            name.clone(),
            bits.to_string(),
            sum(|value| value.elements),
            sum(ValueComparison::equal),
            sum(|value| value.off_by_one),
            sum(|value| value.worse),
            values().map(|value| value.largest).max().unwrap_or(0).to_string(),
        ]);
    }
    for (index, OutputComparison { name, .. }) in first.outputs.iter().enumerate() {
        let outputs = || compared.iter().map(|(_, comparison)| &comparison.outputs[index]);
        let largest = outputs().map(|output| output.largest).fold(0.0, f64::max);
        let elements: usize = outputs().map(|output| output.elements).sum();
        let mut row = vec!["(output)".to_owned(), name.clone(), "float".to_owned(), elements.to_string()];
        row.extend(["", "", ""].map(str::to_owned));
        row.push(format!("{largest:.1e}"));
        table.row(row);
    }
    table
}

fn document(args: &CompareArgs, verdict: Verdict, compared: Vec<(Option<String>, Comparison)>) -> Document {
    let image = |(path, comparison): (Option<String>, Comparison)| {
        let [codes, off_by_one, worse] = comparison.totals();
        let divergence = comparison.first_divergence();
        Image {
            path,
            verdict: verdict_name(comparison.verdict(args.bar())),
            codes,
            off_by_one,
            worse,
            first_divergence: divergence
                .map(|place| Place { layer: place.node.to_owned(), tensor: place.tensor.to_owned() }),
            layers: comparison.values.iter().map(layer).collect(),
            outputs: comparison.outputs.iter().map(output_of).collect(),
        }
    };
    Document {
        source: args.source.display().to_string(),
        model: args.model.display().to_string(),
        strict: !args.close,
        verdict: verdict_name(verdict),
        images: compared.into_iter().map(image).collect(),
    }
}

fn layer(value: &ValueComparison) -> Layer {
    Layer {
        layer: value.node.clone(),
        tensor: value.name.clone(),
        bits: value.bits,
        codes: value.elements,
        equal: value.equal(),
        off_by_one: value.off_by_one,
        worse: value.worse,
        largest_difference: value.largest,
    }
}

fn output_of(output: &OutputComparison) -> Output {
    Output {
        name: output.name.clone(),
        elements: output.elements,
        largest_difference: output.largest,
        within_tolerance: output.excess <= 0.0,
        mean_difference_in_standard_deviations: output.mean_deviations,
    }
}
