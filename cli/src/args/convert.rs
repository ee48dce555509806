//! Arguments of `convert`.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use clap::{Args, ValueEnum, ValueHint};
use ylb_calibrate::{Bits, Budget, Parts, Spacing, Wanted};
use ylb_converter::compare::Bar;
use ylb_converter::families::{self, Family};

use super::{Anchors, ImageSize, MaxPixels, at_least_one};

const EXAMPLES: &str = "\
Examples:
  yolo-lowbit convert best.onnx --names data.yaml
  yolo-lowbit convert open.onnx -o detector.ylb --imgsz 320
  yolo-lowbit convert best.onnx --verify --report best.json
  yolo-lowbit convert --weights arrays/ -o arrays.ylb
  yolo-lowbit convert float.onnx --calibrate pictures/ -o float.ylb

The model must have quantized weights and activations; docs/converting.md lists the kinds of exports. A
plain float export says nothing about how to round: with --calibrate that is found out on pictures, and
docs/float-models.md tells what it costs.";

/// Arguments of `convert`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConvertArgs {
    /// The ONNX file
    #[arg(value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present = "weights", conflicts_with = "weights")]
    pub model: Option<PathBuf>,

    /// Instead of an ONNX file: a folder with network.json and .npy arrays of integer weights and
    /// scales, as docs/weights-folder.md describes it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(conflicts_with_all = ["names", "imgsz", "anchors", "outputs", "head", "keep_decode_quantizers"])]
    pub weights: Option<PathBuf>,

    /// Where to write the result [default: the input's name with the extension .ylb]
    #[arg(long, short, value_name = "MODEL.ylb", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Class names: a file with one name a line, or the data.yaml of the training
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub names: Option<PathBuf>,

    /// Input height and width, for exports that leave them open: 640, or 384,640
    #[arg(long, value_name = "H[,W]")]
    pub imgsz: Option<ImageSize>,

    /// Anchors, for exports without box decoding: w,h,w,h,... and a slash between feature maps, finest first
    #[arg(long, value_name = "LIST")]
    pub anchors: Option<Anchors>,

    /// Tensors to take for the outputs in place of the export's own, whatever a tool put behind them:
    /// NAME,NAME,... such as the heads, or the boxes before non-maximum suppression
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub outputs: Vec<String>,

    /// What boxes are computed by, for exports without box decoding: yolov5, yolov3, yolov2, yolov8, yolox, yolov6, ...
    /// [default: what the number of heads a feature map tells; for one, yolov5]
    #[arg(long, value_name = "FAMILY", value_parser = head)]
    pub head: Option<&'static dyn Family>,

    /// The export takes pictures of blue, green, red, as YOLOX does
    #[arg(long)]
    pub bgr: bool,

    /// The export's floats are the picture's bytes, 0 to 255, as YOLOX's; otherwise what the graph shows of that, and numbers
    /// from 0 to 1 where it shows nothing
    #[arg(long, conflicts_with = "weights")]
    pub bytes: bool,

    /// Where the export wants its picture: in the centre of the input, in its top left corner, as YOLOX, or stretched
    #[arg(long, value_name = "WHERE", default_value = "centre")]
    pub letterbox: Place,

    /// The byte around the picture: 114, or what the training had
    #[arg(long, value_name = "BYTE", default_value = "114")]
    pub fill: u8,

    /// Refuse a model with quantizers inside the box decoding, which is done in floats; otherwise they are
    /// dropped with a warning
    #[arg(long, conflicts_with = "ignore_decode_quantizers")]
    pub keep_decode_quantizers: bool,

    /// What is done without --keep-decode-quantizers
    #[arg(long, hide = true)]
    pub ignore_decode_quantizers: bool,

    /// Requantize sums and concats of different scales to BITS bits, 8 or 16 (two values of 8), instead of
    /// keeping an accumulator for each scale: less exact, and reported
    #[arg(long, value_name = "BITS", value_parser = join_bits)]
    pub requantize_joins: Option<u8>,

    /// Take weights of the detection convolutions as they are where they are floats, and what these read, in 24 bits: no
    /// code hangs on them, but logits are not equal to the export's, and that is reported
    #[arg(long)]
    pub float_heads: bool,

    /// Compare the result with the ONNX file on a synthetic picture, as "compare" does, before it is
    /// written: a model that differs is not
    #[arg(long)]
    pub verify: bool,

    /// With --verify: accept a model that is "close", as "compare --close" does
    #[arg(long, requires = "verify")]
    pub close: bool,

    /// For a model in floats: quantize it, by what it computes for pictures of this folder. They should be like
    /// those that it will see; they need no labels
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, conflicts_with = "weights")]
    pub calibrate: Option<PathBuf>,

    /// With --calibrate: bits of weights and activations. w8a8; small: 4-bit weights in large layers; fast: less bits
    /// where that saves time on ARM; wNaM, such as w4a8
    #[arg(long, value_name = "BITS", requires = "calibrate", default_value = "w8a8", value_parser = Bits::from_str)]
    pub bits: Bits,

    /// With --calibrate, instead of --bits: what the network may cost, as 300Mcycles (of a Cortex-A72, by a model) or 1.3MB. Bits
    /// are chosen layer by layer, by what fewer of them are found to cost the heads
    #[arg(long, value_name = "COST", requires = "calibrate", conflicts_with = "bits", value_parser = Budget::from_str)]
    pub budget: Option<Budget>,

    /// With --calibrate: how the numbers of activations are spaced. log2: as powers of two, at most 16 numbers
    #[arg(
        long,
        value_name = "KIND",
        requires = "calibrate",
        default_value = "equal",
        conflicts_with = "budget"
    )]
    pub grid: GridKind,

    /// With --calibrate: measure what fewer bits cost the heads, layer by layer
    #[arg(long, requires = "calibrate")]
    pub sensitivity: bool,

    /// With --calibrate, for measurements: what is done for weights of few bits, of shift, descent and bias
    #[arg(
        long,
        value_name = "PARTS",
        requires = "calibrate",
        hide = true,
        default_value = "shift,descent,bias"
    )]
    #[arg(value_parser = parts)]
    pub rounding: Parts,

    /// With --calibrate: so many pictures, spread over the folder
    #[arg(long, value_name = "N", requires = "calibrate", default_value = "32", value_parser = at_least_one)]
    pub calibration_pictures: usize,

    /// With --calibrate: also write the quantized model as ONNX, for other tools and for "compare"
    #[arg(long, value_name = "FILE.onnx", requires = "calibrate", value_hint = ValueHint::FilePath)]
    pub keep: Option<PathBuf>,

    /// With --calibrate: also measure mAP on labelled pictures, of the model in floats and of the result
    #[arg(long, value_name = "DATA.yaml", requires = "calibrate", value_hint = ValueHint::FilePath)]
    pub data: Option<PathBuf>,

    /// With --data: which pictures of the data set
    #[arg(long, value_name = "NAME", requires = "data", default_value = "val")]
    pub split: String,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub max_pixels: MaxPixels,

    /// Write a JSON report: bits, scales and kernel of each layer, warnings
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
}

impl ConvertArgs {
    /// What --verify asks of the model.
    pub fn bar(&self) -> Bar {
        if self.close { Bar::Close } else { Bar::Strict }
    }

    /// What is asked of a calibration.
    pub fn wanted(&self) -> Wanted {
        let spacing = match self.grid {
            GridKind::Equal => Spacing::Equal,
            GridKind::Log2 => Spacing::Powers,
        };
        let (bits, budget, sensitivity, parts) = (self.bits, self.budget, self.sensitivity, self.rounding);
        Wanted { bits, spacing, budget, sensitivity, parts }
    }

    /// What is converted: clap sees to it that there is one.
    pub fn source(&self) -> &Path {
        self.weights.as_deref().or(self.model.as_deref()).unwrap_or(Path::new(""))
    }
}

/// Where a picture lies in the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// In the centre, its proportions kept.
    Centre,
    /// In the top left corner, its proportions kept.
    Corner,
    /// Over all of it.
    Stretch,
}

/// How the numbers of activations are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GridKind {
    /// By equal steps.
    Equal,
    /// As powers of two.
    Log2,
}

fn parts(text: &str) -> Result<Parts, String> {
    let mut parts = Parts { shift: false, sweeps: 0, bias: false };
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "shift" => parts.shift = true,
            "descent" => parts.sweeps = Parts::default().sweeps,
            "bias" => parts.bias = true,
            _ => return Err("expected some of shift, descent and bias".to_owned()),
        }
    }
    Ok(parts)
}

fn head(name: &str) -> Result<&'static dyn Family, String> {
    families::by_name(name).ok_or_else(|| format!("expected one of: {}", families::names().join(", ")))
}

fn join_bits(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|bits| [8, 16].contains(bits)).ok_or_else(|| "expected 8 or 16".to_owned())
}
