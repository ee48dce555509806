//! Arguments of `run`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueHint};

use super::{MaxPixels, Threads, at_least_one, fraction};

const EXAMPLES: &str = "\
Examples:
  yolo-lowbit run model.ylb photo.jpg
  yolo-lowbit run model.ylb photos/ --conf 0.4 --classes person,2 --out found
  yolo-lowbit run model.ylb photos/ --no-save --json > found.json
  yolo-lowbit run model.ylb photos/ --no-save --jsonl | jq -c '[.path, (.detections | length)]'
  yolo-lowbit run model.ylb --tensor input.npy --raw outputs.npz --codes codes.npz

With --json, standard output is one JSON document:
  {\"model\": \"model.ylb\", \"images\": [{\"path\": \"photo.jpg\", \"width\": 640, \"height\": 480,
    \"detections\": [{\"class\": 0, \"name\": \"person\", \"confidence\": 0.91,
                    \"box\": {\"x1\": 12.5, \"y1\": 3.0, \"x2\": 200.0, \"y2\": 471.5}}],
    \"times_ms\": {\"decode\": 4.1, \"preprocess\": 1.0, \"inference\": 35.2, \"postprocess\": 0.2, \"save\": 9.8},
    \"saved\": \"runs/photo.jpg\"}]}
A picture that could not be processed has \"path\" and \"error\" instead.
With --jsonl it is one line for each picture, an element of \"images\", as soon as the picture is done.

A picture or folder that cannot be read does not stop the others: exit status 1 at the end.";

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("tensor_results").multiple(true))]
pub struct RunArgs {
    /// The model
    #[arg(value_name = "MODEL.ylb", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,

    /// JPEG and PNG files, or folders of them
    #[arg(value_name = "IMAGE|FOLDER", value_hint = ValueHint::AnyPath)]
    #[arg(required_unless_present = "tensor", conflicts_with = "tensor")]
    pub inputs: Vec<PathBuf>,

    /// Report objects of more than this confidence, 0 to 1
    #[arg(long, value_name = "NUMBER", default_value = "0.25", value_parser = fraction, allow_negative_numbers = true)]
    pub conf: f32,

    /// Of two boxes that overlap more than this (intersection over union, 0 to 1), drop the worse [default: that of the
    /// detector's family: 0.7 for YOLOv8 and its successors, else 0.45]
    #[arg(long, value_name = "NUMBER", value_parser = fraction, allow_negative_numbers = true)]
    pub iou: Option<f32>,

    /// Report at most this many objects a picture
    #[arg(long, value_name = "N", default_value = "300", value_parser = at_least_one)]
    pub max_det: usize,

    /// Report only these classes: indices or names, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub classes: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub threads: Threads,

    /// Folder for the pictures with boxes drawn
    #[arg(long, value_name = "DIR", default_value = "runs", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,

    /// Do not save pictures, whatever --out says
    #[arg(long)]
    pub no_save: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub max_pixels: MaxPixels,

    /// Print one JSON document instead of text, at the end
    #[arg(long)]
    pub json: bool,

    /// Print one line of JSON for each picture instead of text, at once
    #[arg(long, conflicts_with_all = ["json", "tensor"])]
    pub jsonl: bool,

    /// Instead of pictures: a tensor [1, 3, height, width], RGB, of uint8 bytes or of float32 from 0 to 1
    #[arg(long, value_name = "IN.npy", requires = "tensor_results", value_hint = ValueHint::FilePath)]
    pub tensor: Option<PathBuf>,

    /// Write the network's outputs for the tensor, under their ONNX names
    #[arg(long, value_name = "OUT.npz", value_hint = ValueHint::FilePath)]
    #[arg(group = "tensor_results", requires = "tensor", conflicts_with = "inputs")]
    pub raw: Option<PathBuf>,

    /// Write the integer codes of every intermediate tensor, under their ONNX names
    #[arg(long, value_name = "OUT.npz", value_hint = ValueHint::FilePath)]
    #[arg(group = "tensor_results", requires = "tensor", conflicts_with = "inputs")]
    pub codes: Option<PathBuf>,
}
