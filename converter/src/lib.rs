//! Converts QAT-trained YOLOv5 exports from ONNX to [`ylb_format::model::Model`], exactly or not at all.
//!
//! ```text
//! ylb_source::Source ─ passes ─► quantizers, heads, constants ─ lower ─► integers ─ emit ─► Model
//! ```
//!
//! Every code that the exporting framework's float graph computes (in 64-bit arithmetic) is the code
//! that the model gives. What has no exact integer form, or is not understood, is refused with the
//! node's name, its operator and what was expected. [`reference`](mod@reference) runs a model in
//! plain loops, and [`compare`] sets what a model gives beside what its source gives.
//!
//! ```no_run
//! use ylb_converter::{Options, convert};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let onnx = std::fs::read("yolov5n_w4a4.onnx")?;
//! let converted = convert(&onnx, "yolov5n_w4a4.onnx", &Options::default(), &mut |_| {})?;
//! ylb_format::write_file(&converted.model, "yolov5n_w4a4.ylb".as_ref())?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use std::path::PathBuf;

use ylb_format::model::{ChannelOrder, Model, PicturePlacement};

mod advice;
pub mod compare;
mod emit;
mod error;
mod expr;
mod fit;
mod heads;
mod lower;
mod passes;
mod pipeline;
pub mod reference;
mod report;
mod staircase;

pub use error::{ConvertError, ErrorKind};
pub use heads::families;
pub use pipeline::{convert, convert_source};
pub use report::{Report, Row, Warning, WarningKind};

/// What the caller wants, or knows better than the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Height and width of the picture, for models that leave them open.
    pub image_size: Option<[usize; 2]>,
    /// Names by class index; empty: those of the model's metadata, if it has some.
    pub class_names: Vec<String>,
    /// Anchors in pixels for models whose outputs are raw heads: a list for each level, smallest
    /// stride first. Ignored where the graph has anchors.
    pub anchors: Option<Vec<Vec<[f32; 2]>>>,
    /// What is computed of raw heads to get boxes: YOLOv5's if it is not said. Where the graph decodes them, it must be
    /// what the graph does.
    pub head: Option<&'static dyn families::Family>,
    /// Which colours the channels of the export's picture are; the file does not say it.
    pub channels: ChannelOrder,
    /// Where the export wants its picture; the file does not say it.
    pub placement: PicturePlacement,
    /// The byte around the picture; `None`: 114, as YOLOv5 has it. The file does not say it.
    pub fill: Option<u8>,
    /// Refuse a model with quantizers inside the decode of the boxes, which are otherwise dropped with a warning: a `.ylb`
    /// model decodes in floats. Quantizers of the heads themselves stay.
    pub keep_decode_quantizers: bool,
    /// `Some(8)` or `Some(16)`: sums and concats of values of different scales, without a quantizer behind
    /// them, are requantized to so many bits, with a warning each, where otherwise a convolution over them
    /// keeps an accumulator for each scale. 16 bits are two values of 8, so a convolution over them has
    /// two accumulators. Other widths are an error.
    pub requantize_joins: Option<u8>,
    /// Take weights of the last convolutions as they are where they are floats, and what these read: in 24 bits, with a
    /// warning each. No code hangs on them, but logits are not equal to the export's. Otherwise they are refused.
    pub float_heads: bool,
    /// Names of tensors to take for the outputs in place of the graph's own, whatever a tool put behind them; empty: its
    /// own.
    pub outputs: Vec<String>,
    /// The model file's folder, for models with weights in files beside it. Nothing else is read.
    pub model_folder: Option<PathBuf>,
}

/// How far a conversion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The file is being decoded.
    Reading,
    /// A pass over the graph starts.
    Pass(&'static str),
    /// So many of the graph's nodes are integer operators.
    Lowering {
        /// Nodes done.
        done: usize,
        /// Nodes altogether.
        total: usize,
    },
}

/// A converted model.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The model; it is valid.
    pub model: Model,
    /// What was done.
    pub report: Report,
}

#[cfg(test)]
mod tests;
