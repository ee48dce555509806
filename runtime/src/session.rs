//! Frames: a network with memory and threads of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ylb_format::limits::{MAX_MAPS, MAX_PARTS};
use ylb_format::model::Model;

use crate::detect::{
    Candidate, DecodeError, DetectOptions, Detection, Elements, Head, HeadDecoder, Nms, RawOutputs,
};
use crate::error::{OutOfMemory, SessionError};
use crate::executor::Executor;
use crate::network::Network;
use crate::picture::{Letterbox, Picture, Placement, RowCache, letterbox};
use crate::program::MAX_MEMORY;
use crate::storage::{Store, zeros};
use crate::threads::{Team, thread_count};

mod codes;
mod tensor;
#[cfg(test)]
mod tests;

pub use codes::CodesTensor;

/// How a session runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// Threads; 0: as many as the system offers.
    pub threads: usize,
    /// Keep every value of a frame, for [`Session::codes`]. Takes more memory.
    pub keep_values: bool,
    /// Measure the time of every step, for [`Session::profile`].
    pub profile: bool,
}

/// A network with memory and threads of its own. Results do not depend on the number of threads.
///
/// All memory is allocated when a session is made: frames allocate nothing, whatever the size and
/// format of the picture, the options and the number of objects. [`outputs`](Self::outputs) and
/// [`codes`](Self::codes) allocate what they return, and so do errors.
///
/// [`detect`](Self::detect), [`run_picture`](Self::run_picture), [`run_pixels`](Self::run_pixels) and
/// [`run_tensor`](Self::run_tensor) run a frame each. What they cannot run they refuse beforehand: then
/// the last frame's results stay. Only after [`SessionError::Broken`] or a panic they are gone.
///
/// A session of two or more threads does not work in a forked child, which has none of its parent's
/// threads: frames fail there with [`SessionError::Forked`].
pub struct Session {
    network: Arc<Network>,
    team: Team<Executor>,
    letterbox: Letterbox,
    row_cache: RowCache,
    /// Why there is no decoder, if there is none: such a network gives raw outputs only.
    decoder: Result<HeadDecoder, DecodeError>,
    candidates: Vec<Candidate>,
    nms: Nms,
    times: StageTimes,
    /// Where the last frame's picture lies in the input. `None` before a frame and after one that
    /// failed: what there is to read is of no frame then.
    frame: Option<Placement>,
    keep_values: bool,
}

/// Where the time of a frame went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Bringing the picture, resized, or the tensor into the input.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Decoding the heads and dropping overlapping boxes, if objects were asked for.
    pub postprocess: Duration,
}

/// An output of the source model.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputTensor {
    /// Its name there.
    pub name: String,
    /// Its shape, batch of 1 first.
    pub shape: Vec<usize>,
    /// Row-major elements.
    pub data: Vec<f32>,
}

impl Session {
    /// Allocates memory and starts threads.
    ///
    /// # Errors
    /// If the system starts no more threads, or has no memory.
    pub fn new(network: Arc<Network>, options: SessionOptions) -> Result<Self, SessionError> {
        let threads = thread_count(options.threads);
        let program = network.program(options.keep_values).map_err(SessionError::Program)?;
        let executor = Executor::new(program, threads, options.profile)?;
        let team = Team::new(threads, executor).map_err(SessionError::Threads)?;
        let model = network.model();
        let decoder = HeadDecoder::new(&model.detect, &model.values);
        // Room for every candidate that any options let through. The system gives memory when it is
        // touched, so that nobody pays for more candidates than there are.
        let most = decoder.as_ref().map_or(0, |decoder| decoder.capacity(true));
        let mut nms = Nms::new(model.detect.classes as usize);
        nms.reserve(most);
        let input = model.picture();
        let letterbox = Letterbox::by_channel(
            [input.width as usize, input.height as usize],
            [0, 1, 2].map(|channel| model.input.pixel_levels.of(channel)),
            model.input.preprocessing.fill,
        )
        .wanted_as(&model.input.preprocessing);
        Ok(Self {
            nms,
            team,
            row_cache: letterbox.row_cache(),
            letterbox,
            decoder,
            candidates: Vec::with_capacity(most),
            times: StageTimes::default(),
            frame: None,
            keep_values: options.keep_values,
            network,
        })
    }

    /// The network.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Bytes allocated for activations and working memory.
    pub fn memory_len(&self) -> usize {
        self.team.state().map_or(0, Executor::memory_len)
    }

    /// Most objects that a frame can have, whatever the options.
    pub fn max_detections(&self) -> usize {
        self.nms.capacity()
    }

    /// Finds objects in a picture; boxes are in its pixels, the most confident first.
    ///
    /// # Errors
    /// If the picture's sizes contradict each other, a threshold is not between 0 and 1, or the
    /// network has no detection head or no anchors.
    pub fn detect(
        &mut self,
        picture: &Picture<'_>,
        options: &DetectOptions,
    ) -> Result<&[Detection], SessionError> {
        options.check()?;
        if let Err(error) = &self.decoder {
            return Err(error.clone().into());
        }
        self.resize_and_infer(picture)?;
        let start = Instant::now();
        let executor = self.team.state().ok_or(SessionError::Broken)?;
        let decoder = self.decoder.as_mut().map_err(|error| error.clone())?;
        let heads = Heads::new(self.network.model(), executor);
        decoder.candidates(heads.as_slice(), options, &mut self.candidates);
        let placement = *self.letterbox.placement();
        let detections = self.nms.detections(&mut self.candidates, options, &placement);
        self.times.postprocess = start.elapsed();
        self.frame = Some(placement);
        Ok(detections)
    }

    /// Runs the network alone on a picture of any size, for [`Session::outputs`].
    ///
    /// # Errors
    /// If the picture's sizes contradict each other.
    pub fn run_picture(&mut self, picture: &Picture<'_>) -> Result<(), SessionError> {
        self.resize_and_infer(picture)?;
        self.frame = Some(*self.letterbox.placement());
        Ok(())
    }

    /// Where the last frame's picture lies in the network's input; `None` before the first frame, and
    /// after one that failed. A tensor is its own picture: it lies where it is.
    pub fn placement(&self) -> Option<&Placement> {
        self.frame.as_ref()
    }

    /// Runs the network alone on a picture of exactly the input's size: bytes in the order of channels that the network takes,
    /// RGB for most, row by row.
    ///
    /// # Errors
    /// If the length is wrong.
    pub fn run_pixels(&mut self, pixels: &[u8]) -> Result<(), SessionError> {
        self.check_length(pixels.len())?;
        let network = Arc::clone(&self.network);
        let levels = &network.model().input.pixel_levels;
        let identity = levels
            .tables()
            .iter()
            .all(|table| table.iter().zip(0..=u8::MAX).all(|(&level, byte)| level == byte));
        self.fill_and_infer(|store, bytes| {
            let row_len = store.layout.width * 3;
            for (y, row) in pixels.chunks_exact(row_len).enumerate() {
                let out = &mut bytes[store.offset(y as isize, 0)..][..row_len];
                if identity {
                    out.copy_from_slice(row);
                    continue;
                }
                let tables = [0, 1, 2].map(|channel| levels.of(channel));
                for (levels, pixel) in out.chunks_exact_mut(3).zip(row.chunks_exact(3)) {
                    let level = |(&byte, table): (&u8, &[u8; 256])| table[usize::from(byte)];
                    levels
                        .iter_mut()
                        .zip(pixel.iter().zip(tables).map(level))
                        .for_each(|(out, level)| *out = level);
                }
            }
        })
    }

    /// The source model's outputs for the last frame, restored in floating point.
    ///
    /// # Errors
    /// If there is no frame, the model has no detection head, outputs need anchors that are
    /// unknown, or there is no memory for them.
    pub fn outputs(&self) -> Result<Vec<OutputTensor>, SessionError> {
        let model = self.network.model();
        self.frame.ok_or(SessionError::NoFrame)?;
        let executor = self.team.state().ok_or(SessionError::Broken)?;
        let raw = RawOutputs::new(&model.detect, &model.values)?;
        let heads = Heads::new(model, executor);
        let mut bytes = 0u64;
        let restore = |output: &ylb_format::model::Output| {
            let shape = raw.shape(output.kind);
            let len: usize = shape.iter().product();
            // Outputs may repeat one another.
            bytes = bytes.saturating_add(len as u64 * size_of::<f32>() as u64);
            if bytes > MAX_MEMORY {
                return Err(OutOfMemory { bytes }.into());
            }
            let mut data = zeros(len)?;
            raw.fill(output.kind, heads.as_slice(), &mut data)?;
            Ok(OutputTensor { name: output.name.clone(), shape, data })
        };
        model.outputs.iter().map(restore).collect()
    }

    /// Time of each stage of the last frame; all 0 if there is none.
    pub fn times(&self) -> StageTimes {
        self.frame.map_or_else(StageTimes::default, |_| self.times)
    }

    /// Time of each node of the last frame, in order. Empty unless the session measures it, and if there
    /// is no frame.
    pub fn profile(&self) -> &[Duration] {
        self.team.state().filter(|_| self.frame.is_some()).map_or(&[], Executor::profile)
    }

    /// Whether a picture of the input's size has so many elements.
    fn check_length(&self, given: usize) -> Result<(), SessionError> {
        let model = self.network.model();
        let input = model.picture();
        let (height, width) = (input.height as usize, input.width as usize);
        let expected = 3 * height * width;
        if given != expected {
            let shape = format!("3 channels, {height} rows, {width} columns");
            return Err(SessionError::TensorLength { given, expected, shape });
        }
        Ok(())
    }

    /// A frame with a picture of any size, up to the heads.
    fn resize_and_infer(&mut self, picture: &Picture<'_>) -> Result<(), SessionError> {
        picture.check()?;
        let start = self.begin()?;
        self.letterbox.prepare(picture)?;
        let executor = self.team.state_mut().ok_or(SessionError::Broken)?;
        let (store, bytes) = executor.input();
        let band = letterbox::Band {
            rows: 0..store.layout.height,
            row_stride: store.layout.row_stride(),
            levels: &mut bytes[store.offset(0, 0)..],
        };
        self.letterbox.fill(picture, band, &mut self.row_cache);
        self.infer(start)
    }

    /// A frame with an input that `fill` writes, which is its own picture.
    fn fill_and_infer(&mut self, fill: impl FnOnce(&Store, &mut [u8])) -> Result<(), SessionError> {
        let start = self.begin()?;
        let executor = self.team.state_mut().ok_or(SessionError::Broken)?;
        let (store, bytes) = executor.input();
        let size = [store.layout.width, store.layout.height];
        fill(store, bytes);
        self.infer(start)?;
        self.frame = Some(Placement::new(size, size));
        Ok(())
    }

    /// Starts a frame that nothing is in the way of: the last one is over.
    fn begin(&mut self) -> Result<Instant, SessionError> {
        if self.team.is_forked() {
            return Err(SessionError::Forked);
        }
        if self.team.state().is_none() {
            return Err(SessionError::Broken);
        }
        self.frame = None;
        Ok(Instant::now())
    }

    /// Runs the network on an input that was brought there since `start`.
    fn infer(&mut self, start: Instant) -> Result<(), SessionError> {
        let preprocess = start.elapsed();
        let start = Instant::now();
        if !self.team.run(Executor::run) {
            return Err(SessionError::Broken);
        }
        self.times = StageTimes { preprocess, inference: start.elapsed(), postprocess: Duration::ZERO };
        Ok(())
    }
}

/// Parts of all feature maps, at most.
const MAX_HEADS: usize = MAX_MAPS * MAX_PARTS;

/// The heads of a frame, without allocation.
struct Heads<'a> {
    heads: [Head<'a>; MAX_HEADS],
    len: usize,
}

impl<'a> Heads<'a> {
    fn new(model: &Model, executor: &'a Executor) -> Self {
        let mut heads = [Head::dense(Elements::Levels(&[]), 0, 0); MAX_HEADS];
        let mut len = 0;
        for (head, part) in heads.iter_mut().zip(model.detect.parts()) {
            len += 1;
            let value = model.value(part.value);
            let storage = &executor.program().plan.storage[part.value.index()];
            let (channels, width) = (value.channels as usize, value.width as usize);
            *head = match (executor.accumulators(storage), storage.any_store()) {
                (Some(accumulators), _) => Head::dense(accumulators, channels, width),
                (None, Some(store)) => Head {
                    elements: Elements::Levels(&executor.store_bytes(store)[store.offset(0, 0)..]),
                    pixel_stride: store.layout.pixel_stride,
                    row_stride: store.layout.row_stride(),
                },
                (None, None) => continue,
            };
        }
        Self { heads, len }
    }

    fn as_slice(&self) -> &[Head<'a>] {
        &self.heads[..self.len]
    }
}
