//! One picture after another through the network: what every command that finds objects does with each. Pictures come
//! from wherever the command has them: a file, a camera, somebody's request.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use image::RgbImage;
use ylb_runtime::{
    DetectOptions, Detection, Network, Picture, PixelFormat, Session, SessionError, SessionOptions,
};

use crate::images;
use crate::model;
use crate::stages::Stages;

/// A session, and what stays the same from picture to picture.
pub struct Pipeline {
    session: Session,
    options: DetectOptions,
}

/// What was found in a picture.
#[derive(Clone, Debug)]
pub struct Detected {
    /// The objects, the most certain first.
    pub detections: Vec<Detection>,
    /// How long it took. Neither decoding nor saving is in it: those are the caller's.
    pub stages: Stages,
}

/// A picture file as it was read.
pub struct Photo {
    /// The picture.
    pub pixels: RgbImage,
    /// What was the matter with the file, though it could be read.
    pub warning: Option<&'static str>,
    /// How long reading took.
    pub decode: Duration,
}

impl Pipeline {
    /// Starts a session; `threads` as in [`SessionOptions`].
    ///
    /// # Errors
    /// If there is not enough memory for it, or no threads.
    pub fn start(network: &Arc<Network>, threads: usize, options: DetectOptions) -> Result<Self> {
        let session = model::start(network, SessionOptions { threads, ..Default::default() })?;
        Ok(Self { session, options })
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.session.threads()
    }

    /// Finds objects in a picture.
    ///
    /// # Errors
    /// If the picture is not one, or the network cannot detect.
    pub fn detect(&mut self, picture: &Picture<'_>) -> Result<Detected, SessionError> {
        let detections = self.session.detect(picture, &self.options)?.to_vec();
        let times = self.session.times();
        let stages = Stages {
            decode: Duration::ZERO,
            preprocess: times.preprocess,
            inference: times.inference,
            postprocess: times.postprocess,
            save: None,
        };
        Ok(Detected { detections, stages })
    }
}

impl Photo {
    /// Reads a JPEG or PNG file of at most so many pixels.
    ///
    /// # Errors
    /// If it cannot be read, is not such a file, or is larger.
    pub fn read(path: &Path, max_pixels: u64) -> Result<Self> {
        let start = Instant::now();
        let images::Picture { pixels, warning } = images::read(path, max_pixels)?;
        Ok(Self { pixels, warning, decode: start.elapsed() })
    }

    /// The picture as the network takes it.
    ///
    /// # Errors
    /// If it has no pixels.
    pub fn picture(&self) -> Result<Picture<'_>, SessionError> {
        let (width, height) = self.pixels.dimensions();
        Ok(Picture::new(self.pixels.as_raw(), width as usize, height as usize, PixelFormat::Rgb)?)
    }
}
