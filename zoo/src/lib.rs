//! Architectures of detectors, each once, as lists of layers.
//!
//! | module | holds |
//! |---|---|
//! | [`Net`] | all that have a name |
//! | [`yolov5`] | YOLOv5 of any depth and width |
//! | [`yolo11`] | YOLO11 and YOLO26 |
//! | [`mobilenet_v3`] | YOLOv5n on MobileNetV3 |
//! | [`yolov3_tiny`], [`yolov7_tiny`], [`yolov8`], [`yolox_nano`] | others |
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
pub mod mobilenet_v3;
mod net;
pub mod synthetic;
pub mod yolo11;
pub mod yolov3_tiny;
pub mod yolov5;
pub mod yolov7_tiny;
pub mod yolov8;
pub mod yolox_nano;

pub use layer::{Along, Function, Layer, Op, PICTURE, Window};
pub use net::{Architecture, Head, Net};
