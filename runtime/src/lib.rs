//! Runs `.ylb` networks: integer arithmetic from the picture's bytes to the candidate boxes.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//! use ylb_runtime::{DetectOptions, Network, Picture, PixelFormat, Session, SessionOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Arc::new(Network::open(Path::new("model.ylb"))?);
//! let mut session = Session::new(network, SessionOptions::default())?;
//! let pixels = vec![0u8; 640 * 480 * 3];
//! let picture = Picture::new(&pixels, 640, 480, PixelFormat::Rgb)?;
//! for detection in session.detect(&picture, &DetectOptions::default())? {
//!     println!("{detection:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The path of a frame
//!
//! | stage | where |
//! |---|---|
//! | resize and pad the picture into the input's levels | [`picture::letterbox`] |
//! | run the steps, rows shared out among threads | `executor`, `bands`, `ops` |
//! | heads to candidate boxes, in fixed point | [`detect::scan`] |
//! | drop overlapping boxes | [`detect::nms`] |
//!
//! What happens before the first frame: `ops` picks a micro-kernel for every convolution, `plan`
//! gives every value its forms and its place in one arena, `ops` packs the weights for both;
//! together they make a `Program`. A [`Session`] allocates the rest when it is made: frames allocate nothing.

mod accumulators;
mod bands;
pub mod detect;
mod error;
mod executor;
mod file;
mod network;
mod ops;
pub mod picture;
mod plan;
mod program;
mod requantize;
mod scratch;
mod session;
mod storage;
mod threads;
mod weight_codes;

pub use detect::{DetectOptions, Detection};
pub use error::{LoadError, LoadErrorKind, OutOfMemory, SessionError};
pub use network::{Network, StepInfo};
pub use picture::{Picture, PixelFormat};
pub use program::MAX_MEMORY;
pub use requantize::Requantization;
pub use session::{CodesTensor, OutputTensor, Session, SessionOptions, StageTimes};
