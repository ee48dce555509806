//! Arguments of `compare`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use ylb_converter::compare::Bar;

use super::{MaxPixels, Threads};

const EXAMPLES: &str = "\
Examples:
  yolo-lowbit compare best.onnx best.ylb
  yolo-lowbit compare best.onnx best.ylb street.jpg photos/
  yolo-lowbit compare best.onnx best.ylb --json | jq .verdict

The ONNX graph is run in 64-bit floats by an interpreter of its own, the .ylb file by the integer
runtime. Both start from the picture's bytes, in the type and range that the graph's input has. A model
is \"equal\" if every code is, and the outputs are within 1e-3 (boxes: and 1e-5 of their value). With
--close a model with activations of more than 4 bits may be \"close\": at most 5 % of the codes are off,
each by one, and the outputs by 0.03 standard deviations in the mean.

Exit status: 0 if the model is equal, or close with --close, 1 if it differs or cannot be compared, 2 wrong usage.";

/// Arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// The ONNX file, or the folder of weights, that the model was converted from
    #[arg(value_name = "MODEL.onnx|DIR", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,

    /// The model
    #[arg(value_name = "MODEL.ylb", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,

    /// JPEG and PNG files, or folders of them [default: a synthetic picture]
    #[arg(value_name = "IMAGE|FOLDER", value_hint = ValueHint::AnyPath)]
    pub inputs: Vec<PathBuf>,

    /// Accept activations of more than 4 bits of which at most 5 % of the codes are off by one
    #[arg(long)]
    pub close: bool,

    /// What is done without --close
    #[arg(long, hide = true, conflicts_with = "close")]
    pub strict: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub threads: Threads,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub max_pixels: MaxPixels,

    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

impl CompareArgs {
    /// What is asked of the model.
    pub fn bar(&self) -> Bar {
        if self.close { Bar::Close } else { Bar::Strict }
    }
}
