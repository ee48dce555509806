//! The `.ylb` container: a quantized detection network as integers, in one file.
//!
//! [`model::Model`] is what a file means; [`write()`] and [`read()`] turn it into bytes and back. The
//! byte layout is specified in `docs/ylb-format.md`, which is normative. Reading *is* validating: a
//! [`model::Model`] that came out of [`read()`] keeps every promise its field documentation makes, so
//! a consumer does not check again. A model that was built in memory is checked by [`validate()`].
//!
//! This crate knows bytes, not kernels: weights are kept as canonical bit planes, the same for every
//! CPU, and are packed for a micro-kernel when a runtime loads them.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bytes = std::fs::read("yolov5n.ylb")?;
//! let model = ylb_format::read(&bytes)?;
//! println!("{} nodes, {} classes", model.nodes.len(), model.detect.classes);
//! assert_eq!(ylb_format::write(&model)?, bytes);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![deny(clippy::as_conversions)]

mod container;
pub mod file;
pub mod limits;
#[allow(clippy::as_conversions, reason = "const functions cannot call From::from")]
pub mod model;
mod read;
mod threshold;
mod validate;
mod weights;
mod write;

pub use container::{Section, SectionKind, VERSION, Version};
pub use read::{ReadError, read, sections};
pub use validate::{HeadProblem, NodeProblem, ValueProblem, Violation, validate};
pub use weights::ChannelSum;
pub use write::{WriteError, write, write_file};
