//! Architectures of detectors, each once, as lists of layers.
//!
//! | module | holds |
//! |---|---|
//! | [`Net`] | all that have a name |
//! | [`yolov5`] | YOLOv5 of any depth and width |
//! | [`yolov7_tiny`], [`yolov8`], [`yolox_nano`] | others |
//! | [`synthetic`] | models of these layers with random weights |
//!
//! Whoever reads weights without a graph takes the layers from here, and so does whoever needs a network to time or to
//! test. A [`Layer`] says what it computes and what it reads, and nothing of weights, of codes or of how it is run.
//!
//! ```
//! use ylb_zoo::yolov5::{self, Size};
//!
//! let layers = yolov5::p5(Size::N.multiples()).unwrap();
//! assert_eq!(layers[0].name, "model.0");
//! ```
#![forbid(unsafe_code)]

mod layer;
mod layers;
mod net;
pub mod synthetic;
pub mod yolov5;
pub mod yolov7_tiny;
pub mod yolov8;
pub mod yolox_nano;

pub use layer::{Layer, Op, PICTURE, Window};
pub use net::{Architecture, Head, Net};
