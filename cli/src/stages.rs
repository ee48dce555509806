//! How long the stages of a detection take.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use serde::Serialize;

use crate::output::{self, milliseconds};

/// The time of each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stages {
    /// Reading the file.
    #[serde(serialize_with = "ms")]
    pub decode: Duration,
    /// Letterbox.
    #[serde(serialize_with = "ms")]
    pub preprocess: Duration,
    /// The network.
    #[serde(serialize_with = "ms")]
    pub inference: Duration,
    /// Decoding boxes and NMS.
    #[serde(serialize_with = "ms")]
    pub postprocess: Duration,
    /// Drawing and saving, if that was done.
    #[serde(serialize_with = "optional_ms", skip_serializing_if = "Option::is_none")]
    pub save: Option<Duration>,
}

fn ms<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(output::as_ms(*duration))
}

fn optional_ms<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(output::as_ms).serialize(serializer)
}

impl AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        self.decode += other.decode;
        self.preprocess += other.preprocess;
        self.inference += other.inference;
        self.postprocess += other.postprocess;
        self.save = other.save.map(|save| self.save.unwrap_or_default() + save);
    }
}

impl Stages {
    /// The mean of which this is the sum over `count`, at least 1.
    pub fn mean(&self, count: usize) -> Self {
        let mean = |sum: Duration| sum.div_f64(count as f64);
        Self {
            decode: mean(self.decode),
            preprocess: mean(self.preprocess),
            inference: mean(self.inference),
            postprocess: mean(self.postprocess),
            save: self.save.map(mean),
        }
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [decode, preprocess, inference, postprocess] =
            [self.decode, self.preprocess, self.inference, self.postprocess].map(milliseconds);
        write!(
            f,
            "decode {decode}, preprocess {preprocess}, inference {inference}, postprocess {postprocess}"
        )?;
        self.save.map_or(Ok(()), |save| write!(f, ", draw and save {}", milliseconds(save)))
    }
}
