//! Frames: a network with memory and threads of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ylb_format::model::{Model, ValueKind};
use ylb_kernels::rows::Rows;

use crate::bands::read_row;
use crate::error::SessionError;
use crate::executor::Executor;
use crate::network::Network;
use crate::ops::level_stride;
use crate::plan::index;
use crate::storage::Store;
use crate::threads::{Team, thread_count};
use crate::yolo::{
    Candidate, DetectOptions, Detection, Elements, Head, HeadDecoder, Letterbox, Nms, Picture, Placement,
    RawOutputs, RowCache, letterbox,
};

/// Most levels of a detection head: the format's limit.
const MAX_HEADS: usize = 16;

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
pub struct Session {
    network: Arc<Network>,
    team: Team<Executor>,
    letterbox: Letterbox,
    row_cache: RowCache,
    decoder: Option<HeadDecoder>,
    candidates: Vec<Candidate>,
    nms: Nms,
    times: StageTimes,
    keep_values: bool,
}

/// Where the time of a frame went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// Resizing the picture into the input.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Decoding the heads and dropping overlapping boxes.
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

/// The integer codes of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct CodesTensor {
    /// Name of the source model's tensor that holds them.
    pub name: String,
    /// 1, channels, height, width.
    pub shape: [usize; 4],
    /// Row-major codes as the exporting tool writes them.
    pub data: Vec<i16>,
}

impl Session {
    /// Allocates memory and starts threads.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(network: Arc<Network>, options: SessionOptions) -> Result<Self, SessionError> {
        let threads = thread_count(options.threads);
        let program = network.program(options.keep_values).map_err(SessionError::Program)?;
        let executor = Executor::new(program, threads, options.profile);
        let team = Team::new(threads, executor).map_err(SessionError::Threads)?;
        let model = network.model();
        let decoder = HeadDecoder::new(&model.detect, &model.values).ok();
        let input = &model.values[index(model.input.value)];
        let letterbox = Letterbox::new(
            input.width as usize,
            input.height as usize,
            &model.input.pixel_levels,
            model.input.letterbox_fill,
        );
        Ok(Self {
            nms: Nms::new(model.detect.classes as usize),
            team,
            row_cache: letterbox.row_cache(),
            letterbox,
            decoder,
            candidates: Vec::new(),
            times: StageTimes::default(),
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
        if self.decoder.is_none() {
            let model = self.network.model();
            HeadDecoder::new(&model.detect, &model.values)?;
        }
        self.run_picture(picture)?;
        let start = Instant::now();
        let executor = self.team.state().ok_or(SessionError::Broken)?;
        let decoder = self.decoder.as_ref().ok_or(SessionError::Broken)?;
        let heads = Heads::new(self.network.model(), executor);
        decoder.candidates(heads.as_slice(), options, &mut self.candidates);
        let detections = self.nms.detections(&mut self.candidates, options, self.letterbox.placement());
        self.times.postprocess = start.elapsed();
        Ok(detections)
    }

    /// Runs the network alone on a picture of any size, for [`Session::outputs`].
    ///
    /// # Errors
    /// If the picture's sizes contradict each other.
    pub fn run_picture(&mut self, picture: &Picture<'_>) -> Result<(), SessionError> {
        self.letterbox.prepare(picture)?;
        let start = Instant::now();
        let executor = self.team.state_mut().ok_or(SessionError::Broken)?;
        let (store, bytes) = executor.input();
        let band = letterbox::Band {
            rows: 0..store.layout.height,
            row_stride: store.layout.row_stride(),
            levels: &mut bytes[store.offset(0, 0)..],
        };
        self.letterbox.fill(picture, band, &mut self.row_cache);
        self.times = StageTimes { preprocess: start.elapsed(), ..StageTimes::default() };
        self.infer()
    }

    /// Where the last picture lies in the network's input.
    pub fn placement(&self) -> &Placement {
        self.letterbox.placement()
    }

    /// Runs the network alone on a picture of exactly the input's size, RGB bytes, row by row.
    ///
    /// # Errors
    /// If the length is wrong.
    pub fn run_pixels(&mut self, pixels: &[u8]) -> Result<(), SessionError> {
        let levels = self.network.model().input.pixel_levels;
        let identity = levels.iter().zip(0..=u8::MAX).all(|(&level, pixel)| level == pixel);
        self.fill_input(pixels.len(), |store, bytes, _| {
            let row_len = store.layout.width * 3;
            for (y, row) in pixels.chunks_exact(row_len).enumerate() {
                let out = &mut bytes[store.offset(y as isize, 0)..][..row_len];
                if identity {
                    out.copy_from_slice(row);
                    continue;
                }
                out.iter_mut().zip(row).for_each(|(level, &pixel)| *level = levels[usize::from(pixel)]);
            }
            Ok(())
        })?;
        self.infer()
    }

    /// Runs the network alone on a tensor `[1, 3, height, width]` as the source model takes it: every
    /// element is k/255 with an integer k from 0 to 255.
    ///
    /// # Errors
    /// If the length is wrong or an element is no such number.
    pub fn run_tensor(&mut self, tensor: &[f32]) -> Result<(), SessionError> {
        let levels = self.network.model().input.pixel_levels;
        self.fill_input(tensor.len(), |store, bytes, _| {
            let (width, height) = (store.layout.width, store.layout.height);
            for (index, &value) in tensor.iter().enumerate() {
                let pixel = byte(value).ok_or(SessionError::TensorValue { index, value })?;
                let (channel, y, x) = (index / (width * height), index / width % height, index % width);
                bytes[store.offset(y as isize, x as isize) + channel] = levels[usize::from(pixel)];
            }
            Ok(())
        })?;
        self.infer()
    }

    /// The source model's outputs for the last frame, restored in floating point.
    ///
    /// # Errors
    /// If the model has no detection head, or outputs need anchors that are unknown.
    pub fn outputs(&self) -> Result<Vec<OutputTensor>, SessionError> {
        let model = self.network.model();
        let executor = self.team.state().ok_or(SessionError::Broken)?;
        let raw = RawOutputs::new(&model.detect, &model.values)?;
        let heads = Heads::new(model, executor);
        let restore = |output: &ylb_format::model::Output| {
            let shape = raw.shape(output.kind);
            let mut data = vec![0.0; shape.iter().product()];
            raw.fill(output.kind, heads.as_slice(), &mut data)?;
            Ok(OutputTensor { name: output.name.clone(), shape, data })
        };
        model.outputs.iter().map(restore).collect()
    }

    /// The codes of all named values of the last frame. Empty unless the session keeps values.
    pub fn codes(&self) -> Vec<CodesTensor> {
        let Some(executor) = self.team.state().filter(|_| self.keep_values) else {
            return Vec::new();
        };
        let program = executor.program();
        let values = self.network.model().values.iter().zip(&program.plan.storage);
        values
            .filter(|(value, _)| !value.name.is_empty())
            .filter_map(|(value, storage)| {
                let ValueKind::Levels(encoding) = &value.kind else {
                    return None;
                };
                let store = storage.any_store()?;
                let bytes = executor.store_bytes(store);
                let levels = nchw_levels(&program.rows, store, bytes, value.channels);
                let code = |level: u8| encoding.code(level) as i16;
                Some(CodesTensor {
                    name: value.name.clone(),
                    shape: [1, value.channels as usize, value.height as usize, value.width as usize],
                    data: levels.into_iter().map(code).collect(),
                })
            })
            .collect()
    }

    /// Time of each stage of the last frame.
    pub fn times(&self) -> StageTimes {
        self.times
    }

    /// Time of each node of the last frame, in order. Empty unless the session measures it.
    pub fn profile(&self) -> &[Duration] {
        self.team.state().map_or(&[], Executor::profile)
    }

    fn fill_input(
        &mut self,
        given: usize,
        fill: impl FnOnce(&Store, &mut [u8], usize) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let executor = self.team.state_mut().ok_or(SessionError::Broken)?;
        let (store, bytes) = executor.input();
        let (height, width) = (store.layout.height, store.layout.width);
        let expected = 3 * height * width;
        if given != expected {
            let shape = format!("3 channels, {height} rows, {width} columns");
            return Err(SessionError::TensorLength { given, expected, shape });
        }
        fill(store, bytes, expected)
    }

    fn infer(&mut self) -> Result<(), SessionError> {
        let start = Instant::now();
        let done = self.team.run(Executor::run);
        self.times.inference = start.elapsed();
        if done { Ok(()) } else { Err(SessionError::Broken) }
    }
}

/// The heads of a frame, without allocation.
struct Heads<'a> {
    heads: [Head<'a>; MAX_HEADS],
    len: usize,
}

impl<'a> Heads<'a> {
    fn new(model: &Model, executor: &'a Executor) -> Self {
        let mut heads = [Head::dense(Elements::Levels(&[]), 0, 0); MAX_HEADS];
        let levels = &model.detect.levels;
        for (head, level) in heads.iter_mut().zip(levels) {
            let value = &model.values[index(level.value)];
            let storage = &executor.program().plan.storage[index(level.value)];
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
        Self { heads, len: levels.len().min(MAX_HEADS) }
    }

    fn as_slice(&self) -> &[Head<'a>] {
        &self.heads[..self.len]
    }
}

/// Levels of a store as `[channel][row][column]`.
fn nchw_levels(rows: &Rows, store: &Store, bytes: &[u8], channels: u32) -> Vec<u8> {
    let (height, width) = (store.layout.height, store.layout.width);
    let stride = level_stride(channels);
    let channels = channels as usize;
    let mut levels = vec![0; channels * height * width];
    let mut buffer = vec![0; width * stride];
    for y in 0..height {
        let row = read_row(rows, store, bytes, y, stride, &mut buffer);
        for (x, pixel) in row.chunks_exact(stride).enumerate() {
            for (channel, &level) in pixel[..channels].iter().enumerate() {
                levels[(channel * height + y) * width + x] = level;
            }
        }
    }
    levels
}

/// The byte k that stands for the real k/255.
fn byte(value: f32) -> Option<u8> {
    let scaled = value * 255.0;
    let rounded = scaled.round();
    ((0.0..=255.0).contains(&rounded) && (scaled - rounded).abs() < 1e-3).then_some(rounded as u8)
}
