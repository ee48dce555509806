//! How accurate a detector is: pictures with labels, and how good detections are.
//!
//! [`dataset`] reads data sets in the layout of YOLOv5. [`metrics`] compares what is in pictures with what was found:
//! it knows no files, and no networks either, so that any detector's boxes can be measured. Whoever has a detector runs
//! it between the two:
//!
//! ```no_run
//! use ylb_eval::dataset::{self, Description};
//! use ylb_eval::metrics::{self, Guess, Object, Scene};
//! # fn detect(_: &std::path::Path) -> Vec<Guess> { Vec::new() }
//!
//! # fn main() -> Result<(), ylb_eval::DatasetError> {
//! let description = Description::open("data.yaml".as_ref())?;
//! let (samples, findings) = dataset::load(&description, "val")?;
//! let (width, height) = (640, 480);
//! let scenes: Vec<Scene> = samples
//!     .iter()
//!     .map(|sample| {
//!         let labels = sample.labels.iter().flatten();
//!         let object = |label: &dataset::Label| Object { class: label.class, edges: label.edges(width, height) };
//!         Scene { objects: labels.map(object).collect(), guesses: detect(&sample.picture) }
//!     })
//!     .collect();
//! let accuracy = metrics::measure(&scenes, description.names().len());
//! println!("mAP50-95: {:?}; {:?}", accuracy.map50_95(), findings.warnings());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod dataset;
mod error;
pub mod metrics;

pub use error::DatasetError;
