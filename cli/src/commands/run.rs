//! `run`: finds objects in pictures, or runs the network on a tensor.

mod printing;
mod report;
mod saving;
mod tensor;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use image::RgbImage;
use ylb_format::model::Model;
use ylb_runtime::{DetectOptions, Detection, SessionError};

use super::{Outcome, UsageError};
use crate::args::RunArgs;
use crate::draw::{self, Mark};
use crate::images::{self, Listed};
use crate::model::{self, class_name};
use crate::output::{self, Messages};
use crate::pipeline::{Detected, Photo, Pipeline};
use crate::progress::Progress;
use printing::Printer;
use report::{Failure, Found, Report, Totals};
use saving::ResultNames;

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded or the folder for results cannot be made. A picture that cannot be processed, or
/// is not there, is reported and makes the outcome incomplete.
pub fn run(args: &RunArgs, messages: Messages) -> Result<Outcome> {
    match &args.tensor {
        Some(tensor) => tensor::run(args, tensor),
        None => find_objects(args, messages),
    }
}

fn find_objects(args: &RunArgs, messages: Messages) -> Result<Outcome> {
    let listed = images::list(&args.inputs);
    let network = model::open(&args.model)?;
    let options = detect_options(args, network.model())?;
    let pipeline = Pipeline::start(&network, args.threads.count(), options)?;
    let input = network.model().picture();
    messages.note(format_args!(
        "{}: {}x{} input, classes: {}, {}",
        args.model.display(),
        input.width,
        input.height,
        network.model().detect.classes,
        output::count(pipeline.threads(), "thread")
    ));
    let names = result_names(args, &listed)?;
    let mut detector =
        Detector { model: network.model(), pipeline, names, max_pixels: args.max_pixels.max_pixels };
    let mut printer = Printer::new(args, listed.len());
    let progress = Progress::new(listed.len(), listed.len() > 1 && !messages.quiet);
    let mut totals = Totals::default();
    for (index, Listed { path, problem }) in listed.into_iter().enumerate() {
        if printer.reader_left() && detector.names.is_none() {
            break;
        }
        progress.set(index, &path.display().to_string());
        let report = match problem.map_or_else(|| detector.process(&path), Err) {
            Ok(found) => {
                if let Some(warning) = found.warning {
                    let warning = format!("image {}: {warning}", path.display());
                    progress.suspend(|| messages.warning(warning));
                }
                Report::Found(found)
            }
            Err(error) if concerns_all_pictures(&error) => return Err(error),
            Err(error) => {
                progress.suspend(|| output::report_error(&error));
                Report::Failure(Failure { path: path.display().to_string(), error: output::one_line(&error) })
            }
        };
        totals.add(&report);
        progress.suspend(|| printer.print(index, report))?;
    }
    drop(progress);
    printer.finish(&totals)?;
    Ok(match (totals.failed, printer.reader_left()) {
        (1.., _) => Outcome::Incomplete,
        (0, true) => Outcome::ReaderLeft,
        (0, false) => Outcome::Done,
    })
}

/// Names for the results, if there will be any.
fn result_names(args: &RunArgs, listed: &[Listed]) -> Result<Option<ResultNames>> {
    let pictures = listed.iter().filter(|listed| listed.problem.is_none());
    let pictures: Vec<PathBuf> = pictures.map(|listed| listed.path.clone()).collect();
    if args.no_save || pictures.is_empty() {
        return Ok(None);
    }
    ResultNames::new(&args.out, pictures.iter().chain([&args.model])).map(Some)
}

/// Whether the session itself cannot detect, so that the next picture would fail in the same way.
fn concerns_all_pictures(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error| !matches!(error, SessionError::Picture(_)))
}

/// Everything that stays the same from picture to picture.
struct Detector<'a> {
    model: &'a Model,
    pipeline: Pipeline,
    names: Option<ResultNames>,
    max_pixels: u64,
}

impl Detector<'_> {
    fn process(&mut self, path: &Path) -> Result<Found> {
        self.search(path).with_context(|| format!("image {}", path.display()))
    }

    fn search(&mut self, path: &Path) -> Result<Found> {
        let mut photo = Photo::read(path, self.max_pixels)?;
        let Detected { detections, mut stages } = self.pipeline.detect(&photo.picture()?)?;
        stages.decode = photo.decode;

        let start = Instant::now();
        let saved = match &mut self.names {
            Some(names) => Some(save(&mut photo.pixels, &marks(self.model, &detections), names.next(path))?),
            None => None,
        };
        stages.save = saved.is_some().then(|| start.elapsed());
        let (width, height) = photo.pixels.dimensions();
        let mut found = Found::new(path, [width, height], self.model, &detections, stages, saved.as_deref());
        found.warning = photo.warning;
        Ok(found)
    }
}

fn save(picture: &mut RgbImage, marks: &[Mark], path: PathBuf) -> Result<PathBuf> {
    draw::draw(picture, marks);
    saving::save(picture, &path)?;
    Ok(path)
}

fn marks(model: &Model, detections: &[Detection]) -> Vec<Mark> {
    let mark = |found: &Detection| Mark {
        edges: [found.left, found.top, found.right, found.bottom],
        class: found.class,
        label: format!("{} {:.2}", class_name(model, found.class), found.confidence),
    };
    detections.iter().map(mark).collect()
}

fn detect_options(args: &RunArgs, model: &Model) -> Result<DetectOptions> {
    let classes = args.classes.iter().map(|class| parse_class(class, model)).collect::<Result<Vec<_>>>()?;
    let defaults = DetectOptions::of(&model.detect);
    Ok(DetectOptions {
        confidence: args.conf,
        iou: args.iou.unwrap_or(defaults.iou),
        max_detections: args.max_det,
        classes: (!classes.is_empty()).then_some(classes),
        ..defaults
    })
}

/// A class by its index or its name.
fn parse_class(text: &str, model: &Model) -> Result<u32> {
    let (text, names) = (text.trim(), &model.metadata.class_names);
    let by_index = text.parse().ok().filter(|&class: &u32| class < model.detect.classes);
    let by_name = || names.iter().position(|name| name == text).and_then(|class| u32::try_from(class).ok());
    by_index.or_else(by_name).ok_or_else(|| {
        let known = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        let last = model.detect.classes.saturating_sub(1);
        UsageError(format!(
            "the model has no class \"{text}\": --classes takes indices 0 to {last} or names{known}"
        ))
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ylb_format::model::{Detect, Input, Metadata, ValueId};

    fn model(names: &[&str]) -> Model {
        let class_names = names.iter().map(|name| (*name).to_owned()).collect();
        Model {
            metadata: Metadata { class_names, ..Default::default() },
            input: Input::new("", ValueId(0), [0; 256]),
            values: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            detect: Detect { classes: 3, ..Detect::default() },
        }
    }

    #[test]
    fn classes_by_index_or_name() {
        let cells = model(&["RBC", "WBC", "Platelets"]);
        assert_eq!(parse_class("2", &cells).unwrap(), 2);
        assert_eq!(parse_class(" WBC ", &cells).unwrap(), 1);
        let digits = model(&["7", "8", "9"]);
        assert_eq!(parse_class("8", &digits).unwrap(), 1);
        for wrong in ["3", "-1", "wbc", ""] {
            let error = parse_class(wrong, &cells).unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains("RBC, WBC, Platelets"), "{error}");
        }
        assert!(parse_class("RBC", &model(&[])).unwrap_err().to_string().ends_with("0 to 2 or names"));
    }
}
