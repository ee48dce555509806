//! `convert`: from an ONNX export to a `.ylb` file.

mod agreement;
mod calibration;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, bail};
use ylb_calibrate::{Bits, Budget};
use ylb_converter::compare::{Bar, Comparison, Verdict};
use ylb_converter::{ConvertError, Converted, ErrorKind, Options, Report, Row, Warning};
use ylb_format::model::{ChannelOrder, PicturePlacement, Preprocessing};
use ylb_kernels::registry::Dispatch;
use ylb_runtime::Network;
use ylb_source::{Source, names};

use self::calibration::Calibration;
use super::{Outcome, UsageError};
use crate::args::{ConvertArgs, GridKind, Place};
use crate::files::Reserved;
use crate::images;
use crate::model::{self, Layer};
use crate::output::{self, Align, Messages, Table, bytes, millions, milliseconds};
use crate::progress::Progress;
use crate::proof::{CLOSE_ALLOWS, Proof, place, summary, verdict_name};
use crate::requantization::Requantization;
use crate::text;

/// Runs the command.
///
/// # Errors
/// If a file cannot be read or written, or the model cannot be converted exactly.
pub fn run(args: &ConvertArgs, messages: Messages) -> Result<Outcome> {
    let start = Instant::now();
    let result = args.output.clone().unwrap_or_else(|| args.source().with_extension("ylb"));
    let mut inputs = inputs(args);
    check_results(args, &result, &inputs)?;
    if (args.bits, args.grid) == (Bits::Fast, GridKind::Log2) {
        let message = "--bits fast wants equal steps, not those of --grid log2".to_owned();
        return Err(UsageError(message).into());
    }
    let path = args.source();
    let cannot = || format!("cannot convert {}", path.display());
    let options = options(args)?;
    let opened = {
        let progress = Progress::new(0, !messages.quiet);
        show(&progress, ylb_converter::Progress::Reading);
        open(args, cannot)?
    };
    // Only the model itself says which other files it consists of.
    opened.files.iter().for_each(|file| inputs.add(file));
    check_results(args, &result, &inputs)?;
    let calibrate = |folder: &PathBuf| Calibration::run(args, folder, opened.clone(), messages);
    let calibration = args.calibrate.as_ref().map(calibrate).transpose()?;
    let source = calibration.as_ref().map_or(&opened, |calibration| &calibration.source);
    let Converted { model, report } = {
        let progress = Progress::new(0, !messages.quiet);
        let step = &mut |step| show(&progress, step);
        let converted = ylb_converter::convert_source(source, &options, step);
        converted.map_err(|error| advised(error, args)).with_context(cannot)?
    };
    for Warning { node, message, .. } in &report.warnings {
        let node = if node.is_empty() { String::new() } else { format!("node \"{node}\": ") };
        messages.warning(format_args!("{node}{message}"));
    }
    let network = Network::new(model, &Dispatch::from_environment()?)
        .context("the converted model cannot be loaded")?;
    let network = Arc::new(network);
    let comparison =
        if args.verify { Some(verify(source, &network, (path, args.bar()), messages)?) } else { None };
    let measure = |calibration: &Calibration| calibration.agreement(&network, messages);
    // It takes a while, and is worth nothing where nobody sees it.
    let is_shown = !messages.quiet || args.report.is_some();
    let agreement = calibration.as_ref().filter(|_| is_shown).map(measure).transpose()?.flatten();
    let measure = |calibration: &Calibration| calibration.accuracies(args, &network, messages);
    let accuracies = calibration.as_ref().map(measure).transpose()?.flatten();
    ylb_format::write_file(network.model(), &result)?;
    if let Some(path) = &args.report {
        report::write(
            path,
            &network,
            &report,
            comparison.as_ref().map(|comparison| (comparison, args.bar())),
            calibration.as_ref().map(|calibration| calibration.document(agreement, accuracies)),
        )?;
    }
    let written = fs::metadata(&result).with_context(|| format!("cannot read {}", result.display()))?.len();

    if let Some(Budget::Bytes(most)) = args.budget.filter(|_| args.calibrate.is_some())
        && written as f64 > most
    {
        let (written, most) = (bytes(written), bytes(most as u64));
        messages
            .warning(format_args!("the file has {written}, more than the budget of {most}: ask for less"));
    }

    if !messages.quiet {
        if let Some(calibration) = &calibration {
            output::print(format_args!("{}\n", calibration.table()))?;
            if let Some(table) = calibration.sensitivity() {
                output::print(format_args!("{table}\n"))?;
            }
        }
        output::print(format_args!("{}\n", layer_table(&model::layers(&network), &report)))?;
        report.passes.iter().try_for_each(|pass| output::print(format_args!("{}\n", text::line(pass))))?;
        output::print(format_args!("{}\n", Requantization::of(&network).line()))?;
    }
    if let Some(comparison) = &comparison {
        let (verdict, summary) = (comparison.verdict(args.bar()), summary(comparison));
        let name = verdict_name(verdict);
        output::print(format_args!("verified on a synthetic picture ({name}): {summary}\n"))?;
        if verdict == Verdict::Close {
            output::print(format_args!("{CLOSE_ALLOWS}\n"))?;
        }
    }
    if let Some(calibration) = calibration.as_ref().filter(|_| !messages.quiet) {
        output::print(format_args!("{}\n", calibration.summary(agreement)))?;
        if let Some(line) = calibration.afforded() {
            output::print(format_args!("{line}\n"))?;
        }
    }
    if let Some(accuracies) = accuracies {
        output::print(format_args!("{}\n", accuracies.summary()))?;
    }
    output::print(format_args!(
        "{} ({}) converted to {} ({}) in {}\n",
        text::path(path),
        bytes(source.bytes),
        text::path(&result),
        bytes(written),
        milliseconds(start.elapsed())
    ))?;
    Ok(Outcome::Done)
}

/// What to do about a model in floats.
fn advised(error: ConvertError, args: &ConvertArgs) -> Error {
    if error.kind() != ErrorKind::NotQuantized || args.calibrate.is_some() || args.weights.is_some() {
        return error.into();
    }
    anyhow!(
        "{error}. To quantize it now, by some 32 pictures like those that it will see: yolo-lowbit convert {} \
         --calibrate FOLDER",
        args.source().display()
    )
}

/// Opens the source, of the kind that the arguments say.
fn open(args: &ConvertArgs, cannot: impl Fn() -> String) -> Result<Source> {
    let path = args.source();
    match (args.weights.is_some(), path.is_dir()) {
        (true, false) if path.exists() => {
            bail!("{} is no folder: give --weights a folder with network.json", path.display())
        }
        (true, false) => bail!("cannot open {}: no such folder", path.display()),
        (false, true) => bail!("{0} is a folder: convert it with --weights {0}", path.display()),
        _ => {
            let mut source = model::open_source(path, cannot)?;
            if args.bytes {
                ylb_source::picture::take_bytes(&mut source.graph);
            }
            Ok(source)
        }
    }
}

/// Compares the network with its source on a synthetic picture.
fn verify(
    source: &Source,
    network: &Arc<Network>,
    (path, bar): (&Path, Bar),
    messages: Messages,
) -> Result<Comparison> {
    let progress = Progress::new(0, !messages.quiet);
    let comparison = Proof::new(source, network, 0)?.compare(None, &mut |done, total| {
        progress.set_steps(total);
        progress.set(done, "nodes interpreted, to verify");
    })?;
    if let (Verdict::Different, Some(divergence)) = (comparison.verdict(bar), comparison.first_divergence()) {
        let near = comparison.verdict(Bar::Close) == Verdict::Close;
        let advice = if near { "; it is close, which --close accepts" } else { "" };
        bail!(
            "the converted model differs from {}, first at {} ({}); nothing was written{advice}",
            path.display(),
            place(divergence),
            summary(&comparison)
        );
    }
    Ok(comparison)
}

fn show(progress: &Progress, step: ylb_converter::Progress) {
    match step {
        ylb_converter::Progress::Reading => progress.set(0, "reading"),
        ylb_converter::Progress::Pass(pass) => progress.set(0, pass),
        ylb_converter::Progress::Lowering { done, total } => {
            progress.set_steps(total);
            progress.set(done, "nodes to integers");
        }
        _ => {}
    }
}

/// The files that are read, as far as the arguments tell.
fn inputs(args: &ConvertArgs) -> Reserved {
    let mut inputs = Reserved::new([args.source()].into_iter().chain(args.names.as_deref()));
    // What else is in the folder may be results of earlier.
    for entry in args.weights.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        if ylb_source::weights::is_weights_file(&entry.file_name()) {
            inputs.add(&entry.path());
        }
    }
    for picture in args.calibrate.iter().flat_map(|folder| images::list(std::slice::from_ref(folder))) {
        inputs.add(&picture.path);
    }
    inputs
}

/// Checks that no result would replace an input, or the other result.
fn check_results(args: &ConvertArgs, output: &Path, inputs: &Reserved) -> Result<()> {
    inputs.check(output, "-o")?;
    let others = [(&args.report, "--report"), (&args.keep, "--keep")];
    let mut written = Reserved::new([output]);
    for (path, option) in others.into_iter().filter_map(|(path, option)| Some((path.as_ref()?, option))) {
        inputs.check(path, option)?;
        if written.holds(path) {
            let whose = if Reserved::new([output]).holds(path) { "the model" } else { "the report" };
            let message = format!("{} is {whose}'s name: give {option} one of its own", path.display());
            return Err(UsageError(message).into());
        }
        written.add(path);
    }
    Ok(())
}

fn options(args: &ConvertArgs) -> Result<Options> {
    Ok(Options {
        class_names: args.names.as_deref().map(read_names).transpose()?.unwrap_or_default(),
        image_size: args.imgsz.map(|size| [size.height, size.width]),
        anchors: args.anchors.clone().map(|anchors| anchors.0),
        outputs: args.outputs.clone(),
        head: args.head,
        channels: preprocessing(args).order,
        placement: preprocessing(args).placement,
        fill: Some(args.fill),
        model_folder: None,
        keep_decode_quantizers: args.keep_decode_quantizers,
        requantize_joins: args.requantize_joins,
        float_heads: args.float_heads,
    })
}

/// How the export wants its picture, as far as the options say it.
fn preprocessing(args: &ConvertArgs) -> Preprocessing {
    Preprocessing {
        order: if args.bgr { ChannelOrder::Bgr } else { ChannelOrder::Rgb },
        placement: match args.letterbox {
            Place::Centre => PicturePlacement::Centre,
            Place::Corner => PicturePlacement::Corner,
            Place::Stretch => PicturePlacement::Stretch,
        },
        fill: [args.fill; 3],
        ..Preprocessing::default()
    }
}

fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = ylb_source::text::read(path, ylb_source::text::SHORT)
        .with_context(|| format!("cannot open {}", path.display()))?;
    names::parse(&text).map_err(|reason| {
        anyhow!("{}: {reason}; give a file with one name a line, or a data.yaml", path.display())
    })
}

fn layer_table(layers: &[Layer], report: &Report) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("weight bits", Align::Right),
        ("activation bits", Align::Right),
        ("MACs", Align::Right),
        ("size", Align::Right),
        ("to levels by", Align::Left),
        ("kernel", Align::Left),
    ]);
    for (layer, Row { bytes: size, requantize, .. }) in layers.iter().zip(&report.rows) {
        let number = |bits: Option<u8>| bits.map(|bits| bits.to_string()).unwrap_or_default();
        let or_nothing = |count: u64, text: String| if count == 0 { String::new() } else { text };
        table.row(vec![
            layer.name.clone(),
            layer.title(),
            layer.shape(),
            number(layer.weight_bits),
            number(layer.activation_bits),
            or_nothing(layer.macs, millions(layer.macs)),
            or_nothing(*size as u64, bytes(*size as u64)),
            (*requantize).to_owned(),
            layer.kernel.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source of a verified model is fed by what the file says: a network with another idea of the picture fails.
    #[test]
    fn networks_that_see_black_are_not_verified() {
        for name in [
            "picture_uint8_w4a4",
            "picture_uint8_mul_w4a4",
            "picture_uint8_scale1_w4a4",
            "picture_float255_w4a4",
            "picture_float255_qcdq_w4a4",
            "picture_float255_scale1_w4a4",
            "picture_float255_focus_w3a5",
            "picture_nhwc_w4a4",
        ] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports");
            let path = folder.join(format!("{name}.onnx"));
            let source = model::open_source(&path, || "no source".to_owned()).unwrap();
            let converted = ylb_converter::convert_source(&source, &Options::default(), &mut |_| {}).unwrap();
            let verified = |model| {
                let network = Network::new(model, &Dispatch::from_environment().unwrap()).unwrap();
                verify(&source, &Arc::new(network), (&path, Bar::Strict), Messages { quiet: true })
            };
            assert_eq!(verified(converted.model.clone()).unwrap().verdict(Bar::Strict), Verdict::Equal);
            let mut black = converted.model;
            let [levels] = black.input.pixel_levels.tables_mut() else { panic!("levels by channel") };
            *levels = std::array::from_fn(|byte| levels[usize::from(byte >= 128)]);
            let error = verified(black).unwrap_err().to_string();
            assert!(error.contains("the converted model differs from"), "{error}");
        }
    }
}
