//! A model in floats, on its way to one with quantizers: pictures, calibration, and how well both agree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use ylb_calibrate::{Afforded, Calibrated, FloatNetwork, Layer, Trial, Wanted};
use ylb_converter::compare;
use ylb_eval::dataset::{self, Description, Sample};
use ylb_runtime::Network;
use ylb_source::{Source, ir::Graph, picture::is_channels_last};

use super::{UsageError, agreement, preprocessing};
use crate::args::ConvertArgs;
use crate::images;
use crate::output::Messages;
use crate::progress::Progress;
use crate::{files, proof};

mod findings;

pub use findings::{Accuracies, Agreement, Document};

/// Fewer pictures are warned of: grids of 8 bits, and weights of fewer.
const FEW: [usize; 2] = [8, 32];
/// Pictures that agreement is measured on, at most.
const HELD_OUT: usize = 16;
/// Less agreement is warned of.
const LEAST_AGREEMENT: f64 = 0.8;

/// What calibration found out.
pub struct Calibration {
    /// The model with quantizers, as it was written or would be.
    pub source: Source,
    float: Graph,
    size: [usize; 2],
    wanted: Wanted,
    pictures: usize,
    layers: Vec<Layer>,
    trials: Vec<Trial>,
    afforded: Option<Afforded>,
    /// Pictures to measure agreement on: RGB pixels row by row, of the network's size.
    measured: Vec<Vec<u8>>,
    /// Whether it was calibrated on others.
    are_held_out: bool,
    /// What `--data` has.
    labelled: Option<Vec<Sample>>,
}

impl Calibration {
    /// Calibrates a model, and writes it to `--keep`.
    ///
    /// # Errors
    /// If there are no pictures, one cannot be read, or the model holds something that is not known.
    pub fn run(args: &ConvertArgs, folder: &Path, float: Source, messages: Messages) -> Result<Self> {
        let float = Source { graph: ylb_calibrate::without_dynamic_grids(&float.graph), ..float };
        let size = picture_size(args, &float.graph)?;
        let (chosen, measured) = choose(images::collect(&[folder.to_owned()])?, args.calibration_pictures);
        let asked = args.wanted();
        let needed = FEW[usize::from(asked.is_low())];
        if chosen.len() < needed {
            messages.warning(format_args!(
                "{} to calibrate on; {needed} or more would be better",
                crate::output::count(chosen.len(), "picture")
            ));
        }
        // Before the long work, so that a wrong data set is known at once.
        let labelled = args.data.as_ref().map(|data| labelled(data, &args.split, messages)).transpose()?;
        let progress = Progress::new(0, !messages.quiet);
        let wanted = preprocessing(args);
        let read = |paths: &[PathBuf], arrange: fn(&[u8]) -> Vec<u8>| -> Result<Vec<Vec<u8>>> {
            progress.set_steps(paths.len());
            let read = |(index, path): (usize, &PathBuf)| {
                progress.set(index, "pictures read");
                let name = path.display();
                let picture = images::read(path, args.max_pixels.max_pixels);
                let picture = picture.with_context(|| format!("image {name}"))?;
                if let Some(warning) = picture.warning {
                    progress.suspend(|| messages.warning(format_args!("image {name}: {warning}")));
                }
                Ok(arrange(&proof::letterboxed(size, &wanted, &picture.pixels)?))
            };
            paths.iter().enumerate().map(read).collect()
        };
        // One picture after another: all of them would take memory twice.
        let planar = read(&chosen, compare::planar)?;
        let are_held_out = !measured.is_empty();
        let measured = if are_held_out { &measured[..] } else { &chosen[..chosen.len().min(HELD_OUT)] };
        let measured = read(measured, <[u8]>::to_vec)?;
        let calibrated = calibrate(&float.graph, size, &planar, asked, &progress)
            .with_context(|| format!("cannot calibrate {}", args.source().display()))?;
        drop(progress);
        let Calibrated { graph, layers, trials, afforded } = calibrated;
        let bytes = ylb_source::encode_onnx(&graph).context("cannot write the calibrated model")?;
        if let Some(path) = &args.keep {
            files::write(path, |writer| Ok(writer.write_all(&bytes)?))?;
        }
        let source = Source::onnx(&bytes, &name(args), None).context("cannot read the calibrated model")?;
        let source = Source { bytes: float.bytes, ..source };
        let pictures = planar.len();
        let float = float.graph;
        Ok(Self {
            source,
            float,
            size,
            wanted: asked,
            pictures,
            layers,
            trials,
            afforded,
            measured,
            are_held_out,
            labelled,
        })
    }

    /// Measures how well the converted model finds what the model in floats finds. `None` where nothing can be found
    /// because the model has no anchors, or where the float model finds nothing.
    ///
    /// # Errors
    /// If one of both cannot be run.
    pub fn agreement(&self, network: &Arc<Network>, messages: Messages) -> Result<Option<Agreement>> {
        let model = network.model();
        if model.detect.maps.iter().any(|map| map.anchors.is_empty() && model.detect.boxes.has_anchors()) {
            messages.note("agreement with the model in floats is not measured: the outputs are raw heads without anchors");
            return Ok(None);
        }
        let nodes = agreement::heads(model);
        let float = FloatNetwork::new(&self.float, self.size, &nodes)?;
        let progress = Progress::new(self.measured.len(), !messages.quiet);
        let step = &mut |done| progress.set(done, "pictures compared with the model in floats");
        let found = agreement::measure(network, &float, &self.measured, step)?;
        drop(progress);
        let map50_95 = match found {
            agreement::Found::Map(map50_95) => map50_95,
            agreement::Found::Nothing(surest) => {
                messages.warning(format_args!(
                    "the model in floats finds nothing in these pictures with a confidence above {} (the greatest is \
                     {surest:.3}): agreement is not measured",
                    agreement::SURE
                ));
                return Ok(None);
            }
        };
        let agreement = Agreement { map50_95, pictures: self.measured.len(), held_out: self.are_held_out };
        if self.wanted == Wanted::default() && map50_95 < LEAST_AGREEMENT {
            messages.warning(format_args!(
                "agreement with the model in floats is only {map50_95:.3}: are these pictures like those that it was \
                 trained on?"
            ));
        } else if map50_95 < LEAST_AGREEMENT || self.wanted.loses_much() {
            messages.warning(format_args!(
                "{} loses much without training: agreement is {map50_95:.3}; use more bits, or train with quantizers \
                 (docs/float-models.md)",
                self.wanted
            ));
        }
        Ok(Some(agreement))
    }

    /// Measures both on the pictures of `--data`.
    ///
    /// # Errors
    /// If the data set is wrong, or one of both models cannot be run.
    pub fn accuracies(
        &self,
        args: &ConvertArgs,
        network: &Arc<Network>,
        messages: Messages,
    ) -> Result<Option<Accuracies>> {
        let (Some(data), Some(samples)) = (&args.data, &self.labelled) else { return Ok(None) };
        let classes = network.model().detect.classes as usize;
        let mut labels = samples.iter().flat_map(|sample| sample.labels.iter().flatten());
        if let Some(label) = labels.find(|label| label.class >= classes) {
            let (shown, class) = (data.display(), label.class);
            bail!("{shown} has an object of class {class}, but the model knows {classes} classes");
        }
        let float = FloatNetwork::new(&self.float, self.size, &agreement::heads(network.model()))?;
        let progress = Progress::new(samples.len(), !messages.quiet);
        let step = &mut |done| progress.set(done, "labelled pictures");
        let pictures = (samples.as_slice(), args.max_pixels.max_pixels);
        let [float, converted] = agreement::accuracies(network, &float, pictures, step)?
            .map(|accuracy| [accuracy.map50(), accuracy.map50_95()]);
        Ok(Some(Accuracies { float, converted, pictures: samples.len() }))
    }
}

/// The labelled pictures of a data set.
fn labelled(data: &Path, split: &str, messages: Messages) -> Result<Vec<Sample>> {
    let description = Description::open(data)?;
    description.split(split).map_err(|error| UsageError(error.to_string()))?;
    let (samples, findings) = dataset::load(&description, split)?;
    findings.warnings().iter().for_each(|warning| messages.warning(warning));
    Ok(samples)
}

/// Runs the calibration beside its progress.
fn calibrate(
    float: &Graph,
    size: [usize; 2],
    pictures: &[Vec<u8>],
    wanted: Wanted,
    progress: &Progress,
) -> Result<Calibrated> {
    let done = [const { AtomicUsize::new(0) }; 3];
    let watcher = |step: ylb_calibrate::Progress| {
        let (kind, total, doing) = match step {
            ylb_calibrate::Progress::Picture { total } => (0, total, "pictures through the model in floats"),
            ylb_calibrate::Progress::Layer { total } => (1, total, "convolutions with fewer bits"),
            ylb_calibrate::Progress::Trial { total } => (2, total, "trials with fewer bits"),
            _ => return,
        };
        progress.set_steps(total);
        progress.set(done[kind].fetch_add(1, Ordering::Relaxed) + 1, doing);
    };
    Ok(ylb_calibrate::calibrate(float, size, pictures, wanted, &watcher)?)
}

/// Pictures to calibrate on, spread over all, and others to measure on.
fn choose(all: Vec<PathBuf>, wanted: usize) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let chosen = spread(all.len(), wanted);
    let (mut to_calibrate, mut others) = (Vec::new(), Vec::new());
    for (index, path) in all.into_iter().enumerate() {
        if chosen.contains(&index) { to_calibrate.push(path) } else { others.push(path) }
    }
    let measured = spread(others.len(), HELD_OUT);
    (to_calibrate, measured.into_iter().map(|index| others[index].clone()).collect())
}

/// So many of `count` indices, evenly.
fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let wanted = wanted.min(count);
    (0..wanted).map(|index| index * count / wanted).collect()
}

/// Height and width of the pictures that a model takes.
fn picture_size(args: &ConvertArgs, graph: &Graph) -> Result<[usize; 2]> {
    let input = graph.inputs.first().map(|&id| graph.tensor(id));
    let shape = input.and_then(|info| info.shape.clone()).unwrap_or_default();
    let own = match shape[..] {
        [_, height, width, _] if is_channels_last(&shape) => [height, width],
        [_, _, height, width] => [height, width],
        _ => [0; 2],
    };
    let asked = args.imgsz.map(|size| [size.height, size.width]);
    if !own.contains(&0) {
        return Ok(own);
    }
    asked.with_context(|| {
        format!("{} leaves the size of its pictures open: give it with --imgsz", args.source().display())
    })
}

/// What the calibrated model is called: as the file that it is kept in, or as its source with its bits.
fn name(args: &ConvertArgs) -> String {
    let file_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match &args.keep {
        Some(path) => file_name(path),
        None => {
            let stem = args.source().file_stem().unwrap_or_default().to_string_lossy();
            format!("{stem}-{}.onnx", args.wanted())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_spread_and_measured_apart() {
        let all: Vec<PathBuf> = (0..10).map(|index| PathBuf::from(format!("{index}.png"))).collect();
        let (chosen, measured) = choose(all.clone(), 4);
        let names = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&chosen), "0.png 2.png 5.png 7.png");
        assert_eq!(names(&measured), "1.png 3.png 4.png 6.png 8.png 9.png");
        let (chosen, measured) = choose(all, 50);
        assert_eq!((chosen.len(), measured.len()), (10, 0));
        let many = (0..100).map(|index| PathBuf::from(index.to_string())).collect();
        let (chosen, measured) = choose(many, 32);
        assert_eq!((chosen.len(), measured.len()), (32, HELD_OUT));
        assert!(measured.iter().all(|path| !chosen.contains(path)));
    }
}
