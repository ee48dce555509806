//! Arguments of `eval`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{MaxPixels, Threads, at_least_one, fraction};

const EXAMPLES: &str = "\
Examples:
  yolo-lowbit eval model.ylb data.yaml
  yolo-lowbit eval model.ylb data.yaml --split test --plots plots
  yolo-lowbit eval model.ylb data.yaml --json | jq .map50_95

The data set has YOLOv5's layout: data.yaml names the classes and, for each split, a folder or a list of
pictures; the labels of images/test/a.jpg are in labels/test/a.txt, a line an object: class, centre x,
centre y, width and height as fractions of the picture. Folders inside folders are read, too.

mAP is the COCO metric as pycocotools computes it: the mean over classes of the precision averaged over
101 recalls, at an overlap of 0.5 (mAP50) and over ten overlaps from 0.5 to 0.95 (mAP50-95). Precision and
recall are those at the confidence where the mean F1 is best. The defaults of --conf, --iou and --max-det
are those of YOLOv5's val.py.";

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// The model
    #[arg(value_name = "MODEL.ylb", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,

    /// The data set's YAML file
    #[arg(value_name = "DATA.yaml", value_hint = ValueHint::FilePath)]
    pub data: PathBuf,

    /// Which pictures of the data set
    #[arg(long, value_name = "NAME", default_value = "val")]
    pub split: String,

    /// Count objects of more than this confidence, 0 to 1; a higher one than the default lowers mAP
    #[arg(long, value_name = "NUMBER", default_value = "0.001", value_parser = fraction, allow_negative_numbers = true)]
    pub conf: f32,

    /// Of two boxes that overlap more than this (intersection over union, 0 to 1), drop the worse [default: that of the
    /// detector's family: 0.7 for YOLOv8 and its successors, else 0.6]
    #[arg(long, value_name = "NUMBER", value_parser = fraction, allow_negative_numbers = true)]
    pub iou: Option<f32>,

    /// Count at most this many objects a picture (and 100 of a class)
    #[arg(long, value_name = "N", default_value = "300", value_parser = at_least_one)]
    pub max_det: usize,

    /// Count a box as its most probable class only, as "run" does; otherwise as each class that passes
    #[arg(long)]
    pub best_class: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub threads: Threads,

    /// Draw the precision-recall curves and the confusion matrix, as SVG files in this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub plots: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub max_pixels: MaxPixels,

    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}
