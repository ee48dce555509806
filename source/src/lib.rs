//! What a network is before it becomes integers, and what it computes in floats.
//!
//! ```text
//! ONNX file ─ onnx ─┐
//!                   ├─► ir::Graph ─ eval ─► constants      (in the types that the file says)
//! folder ─ weights ─┘            └─ interpret ─► outputs   (for a picture, in 64-bit floats)
//! ```
//!
//! [`Source`] is a model as it was read, [`ir`] its graph, [`eval`] the arithmetic of what needs no picture, and
//! [`interpret`] runs the whole of it; [`encode_onnx`] writes a graph as a file again. [`quantizer`], [`window`] and [`picture`] say what the graph's numbers mean,
//! whoever asks. Nothing here knows integer models, how they are made or how they are run.
//!
//! ```no_run
//! use ylb_source::Source;
//! use ylb_source::interpret::Interpreter;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = Source::onnx(&std::fs::read("yolov5n_w4a4.onnx")?, "yolov5n_w4a4.onnx", None)?;
//! let interpreter = Interpreter::of_graph(source.graph, [320, 320])?;
//! let pixels = vec![114; 3 * 320 * 320];
//! let computed = interpreter.run(&pixels, &Default::default(), &mut |_, _| {})?;
//! println!("{} outputs", computed.outputs.len());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod error;
pub mod eval;
pub mod interpret;
pub mod ir;
pub mod names;
pub mod npy;
mod onnx;
pub mod picture;
pub mod quantizer;
mod source;
pub mod text;
pub mod weights;
pub mod window;

pub use error::{Blame, ErrorKind, SourceError};
pub use onnx::encode as encode_onnx;
pub use source::{Described, Source};
pub use text::TextError;
