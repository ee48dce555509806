//! Tests of the command line through the real binary.
//!
//! The networks are tiny ones that [`tiny`] builds, so most tests need no file from elsewhere.

mod batches;
mod bench;
mod bundled;
mod calibrate;
mod compare;
mod convert;
mod datasets;
mod documents;
mod errors;
mod eval;
mod exports;
mod hostile;
mod info;
mod large;
mod limited;
mod overwriting;
mod pictures;
mod progress;
mod support;
mod tensor;
mod terminal;
mod tiny;
mod weights;
