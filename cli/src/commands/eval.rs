//! `eval`: measures how accurate a model is on labelled pictures.

mod plots;
mod report;
mod svg;

use anyhow::{Context, Result, bail};
use ylb_eval::dataset::{self, Description, Sample, Tally};
use ylb_eval::metrics::{self, Confusion, Guess, Object, Scene};
use ylb_format::model::Model;
use ylb_runtime::{DetectOptions, Detection};

use super::{Outcome, UsageError};
use crate::args::EvalArgs;
use crate::files::Reserved;
use crate::model::{self, class_name};
use crate::output::{self, Messages};
use crate::pipeline::{Detected, Photo, Pipeline};
use crate::progress::Progress;
use crate::stages::Stages;
use crate::text;

use report::{Odd, Report};

/// The overlap that YOLOv5's val.py lets boxes have.
const YOLOV5_IOU: f32 = 0.6;

/// Runs the command.
///
/// # Errors
/// If the data set is wrong or does not fit the model, a picture cannot be read, or results cannot be
/// written. Figures over some of the pictures would be no figures of the data set, so one broken
/// picture ends the command.
pub fn run(args: &EvalArgs, messages: Messages) -> Result<Outcome> {
    let description = Description::open(&args.data)?;
    description.split(&args.split).map_err(|error| UsageError(error.to_string()))?;
    let (samples, findings) = dataset::load(&description, &args.split)?;
    let network = model::open(&args.model)?;
    check_labels(&samples, network.model())?;
    let mut warnings = findings.warnings();
    warnings.extend(description.warnings());
    let names = class_names(&description, network.model(), &mut warnings);
    warnings.iter().for_each(|warning| messages.warning(warning));
    // Before the long work, so that a wrong folder is known at once.
    if let Some(folder) = &args.plots {
        plots::make_folder(folder, &inputs(args, &samples))?;
    }
    // Measurements of accuracy keep more than pictures do: that of YOLOv5 up to 0.6.
    let iou = args.iou.unwrap_or_else(|| DetectOptions::of(&network.model().detect).iou.max(YOLOV5_IOU));
    let options = DetectOptions {
        confidence: args.conf,
        iou,
        max_detections: args.max_det,
        classes: None,
        multi_label: !args.best_class,
    };
    let mut examiner = Examiner {
        pipeline: Pipeline::start(&network, args.threads.count(), options)?,
        max_pixels: args.max_pixels.max_pixels,
        stages: Stages::default(),
        warned: Vec::new(),
    };
    let progress = Progress::new(samples.len(), !messages.quiet);
    let mut scenes = Vec::with_capacity(samples.len());
    for (index, sample) in samples.iter().enumerate() {
        progress.set(index, &sample.picture.display().to_string());
        let scene = examiner.examine(sample);
        scenes.push(scene.with_context(|| format!("image {}", sample.picture.display()))?);
    }
    drop(progress);
    if let [first, ..] = &examiner.warned[..] {
        let count = output::count(examiner.warned.len(), "image");
        let warning = format!("{count} with a fault; the first is {first}");
        messages.warning(&warning);
        warnings.push(warning);
    }

    let accuracy = metrics::measure(&scenes, names.len());
    let odd = Odd { findings, warnings };
    let report =
        Report::new(args, iou, &names, &scenes, &accuracy, odd, examiner.stages.mean(samples.len()))?;
    // Files before text: who reads the text may stop to, and wants the files nevertheless.
    let mut written = Vec::new();
    if let Some(folder) = &args.plots {
        let confusion = Confusion::new(&scenes, names.len(), report.confidence());
        written.extend(plots::write(folder, &names, &accuracy, &confusion, report.confidence())?);
    }
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report)?;
        if !written.is_empty() {
            let written: Vec<String> = written.iter().map(|path| text::path(path)).collect();
            output::print(format_args!("plots: {}\n", written.join(", ")))?;
        }
    }
    Ok(Outcome::Done)
}

/// The files that are read.
fn inputs(args: &EvalArgs, samples: &[Sample]) -> Reserved {
    let mut inputs = Reserved::new([&args.model, &args.data]);
    for sample in samples {
        inputs.add(&sample.picture);
        inputs.add(&dataset::label_path(&sample.picture));
    }
    inputs
}

/// The pipeline and what stays the same from picture to picture.
struct Examiner {
    pipeline: Pipeline,
    max_pixels: u64,
    /// Sums over the pictures.
    stages: Stages,
    /// Pictures with what is the matter with them.
    warned: Vec<String>,
}

impl Examiner {
    fn examine(&mut self, sample: &Sample) -> Result<Scene> {
        let photo = Photo::read(&sample.picture, self.max_pixels)?;
        let warning = photo.warning;
        self.warned.extend(warning.map(|warning| format!("{}: {warning}", sample.picture.display())));
        let Detected { detections, stages } = self.pipeline.detect(&photo.picture()?)?;
        self.stages += Stages { decode: photo.decode, ..stages };
        let (width, height) = photo.pixels.dimensions();
        let labels = sample.labels.iter().flatten();
        let objects = labels.map(|label| Object { class: label.class, edges: label.edges(width, height) });
        Ok(Scene { objects: objects.collect(), guesses: detections.iter().map(guess).collect() })
    }
}

fn guess(found: &Detection) -> Guess {
    Guess {
        class: found.class as usize,
        confidence: f64::from(found.confidence),
        edges: [found.left, found.top, found.right, found.bottom].map(f64::from),
    }
}

/// A name for each class of the model: the data set's or, where that has none, the model's. Warns if
/// both do not agree.
fn class_names(description: &Description, model: &Model, warnings: &mut Vec<String>) -> Vec<String> {
    let (data, ours) = (description.names(), &model.metadata.class_names);
    let classes = model.detect.classes as usize;
    let file = description.file().display();
    if data.len() != classes {
        warnings.push(format!("the model has {classes} classes, {file} names {}", data.len()));
    }
    let different = ours.iter().zip(data).position(|(ours, theirs)| ours != theirs);
    if let Some(class) = different {
        warnings.push(format!(
            "class {class} is \"{}\" in the model and \"{}\" in {file}: classes are compared by number",
            ours[class], data[class]
        ));
    }
    let name = |class: usize| data.get(class).cloned().unwrap_or_else(|| class_name(model, class as u32));
    (0..classes).map(name).collect()
}

/// Labels must be of classes that the model knows, and there must be some.
fn check_labels(samples: &[Sample], model: &Model) -> Result<()> {
    let classes = model.detect.classes as usize;
    let (mut objects, mut unknown) = (0, Tally::default());
    for sample in samples {
        let labels = sample.labels.as_deref().unwrap_or_default();
        objects += labels.len();
        for label in labels.iter().filter(|label| label.class >= classes) {
            let path = dataset::label_path(&sample.picture);
            unknown.add(|| format!("{} has an object of class {}", path.display(), label.class));
        }
    }
    if unknown.count > 0 {
        let known = classes.saturating_sub(1);
        bail!(
            "{}, but the model knows classes 0 to {known}: is the data set that of the model?",
            unknown.named()
        );
    }
    if objects == 0 {
        bail!("the label files are all empty: without objects there is no accuracy to measure");
    }
    Ok(())
}
