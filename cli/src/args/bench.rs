//! Arguments of `bench`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use ylb_zoo::Net;
use ylb_zoo::synthetic::{Activation, Grid};

use super::{Bits, ImageSize, Threads, at_least_one};

const EXAMPLES: &str = "\
Examples:
  yolo-lowbit bench model.ylb --threads 1
  yolo-lowbit bench model.ylb --profile
  yolo-lowbit bench model.ylb --iterations 200 --json > bench.json
  yolo-lowbit bench --net yolov5n --bits w2a2 --imgsz 640
  yolo-lowbit bench --net yolov5n --bits w8a8 --activation silu
  yolo-lowbit bench --kernels
  yolo-lowbit bench model.ylb --kernels

The network alone is timed, on the same random input each time: no picture is read, resized or drawn.";

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The model
    #[arg(value_name = "MODEL.ylb", value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present_any = ["net", "kernels"], conflicts_with = "net")]
    pub model: Option<PathBuf>,

    /// Instead of a model: a network of this shape with random weights: yolov5n, -s, -m, -l or -x, likewise yolov8, yolo11 and
    /// yolo26, yolov3-tiny, yolov5n-mobilenetv3, yolov7-tiny or yolox-nano
    #[arg(long, value_name = "NAME")]
    pub net: Option<Net>,

    /// Bits of weights and activations of --net
    #[arg(long, value_name = "wXaY", default_value = "w2a2", requires = "net")]
    pub bits: Bits,

    /// What follows the convolutions of --net: relu, silu, leaky, hardswish, mish, sigmoid or prelu
    #[arg(long, value_name = "NAME", default_value = "relu", requires = "net", conflicts_with = "model")]
    pub activation: Activation,

    /// Codes behind other functions than relu: signed, or from 0 on with a zero-point
    #[arg(long, value_name = "signed|zero-point", default_value = "signed")]
    #[arg(requires = "net", conflicts_with = "model")]
    pub activation_grid: Grid,

    /// Input height and width of --net, multiples of 32
    #[arg(long, value_name = "H[,W]", default_value = "640", requires = "net")]
    pub imgsz: ImageSize,

    /// Give the first convolution and the heads of --net the same bits; otherwise they have 8-bit weights
    #[arg(long, requires = "net")]
    pub all_bits: bool,

    /// Write the network of --net to a file and time nothing
    #[arg(long, value_name = "FILE.ylb", requires = "net", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["model", "json", "profile", "row", "warmup", "iterations", "threads"])]
    pub write: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub threads: Threads,

    /// Inferences before the timed ones
    #[arg(long, value_name = "N", default_value = "5")]
    pub warmup: usize,

    /// Inferences timed
    #[arg(long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    pub iterations: usize,

    /// Also time every layer; this takes a little time itself
    #[arg(long)]
    pub profile: bool,

    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,

    /// Print one row of a Markdown table: board | CPU | clock | threads | network | median ms
    #[arg(long, conflicts_with_all = ["json", "profile"])]
    pub row: bool,

    /// Instead of a network: time every micro-kernel that this CPU can run, and mark which would be chosen; then each form
    /// of requantization, with how much of a model or of --net takes it, where one is given
    #[arg(long, conflicts_with_all = ["profile", "row", "warmup", "iterations", "threads", "write"])]
    pub kernels: bool,
}
