//! What can go wrong, in one line each.

use std::path::{Path, PathBuf};

use ylb_kernels::registry::UnknownKernel;

use crate::detect::{DecodeError, OptionsError};
use crate::picture::PictureError;

/// A model that could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}{kind}", .path.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default())]
pub struct LoadError {
    path: Option<PathBuf>,
    kind: LoadErrorKind,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The file could not be opened or mapped.
    #[error("cannot read the model: {0}")]
    Io(std::io::Error),
    /// The bytes are no valid model.
    #[error("{0}")]
    Format(#[from] ylb_format::ReadError),
    /// The environment asks for micro-kernels that this CPU does not have.
    #[error("{0}")]
    UnknownKernel(#[from] UnknownKernel),
    /// No micro-kernel computes a convolution.
    #[error("no micro-kernel computes node \"{0}\"; please report this model")]
    NoKernel(String),
    /// Planned memory is beyond the limit, which is [`MAX_MEMORY`](crate::MAX_MEMORY) or what the machine can address.
    #[error("it needs {} MB of memory; the limit is {} MB", megabytes(*.bytes), megabytes(*.limit))]
    TooLarge {
        /// Bytes, or as many as can be told.
        bytes: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The system has no memory for the file.
    #[error("{0}")]
    Memory(#[from] OutOfMemory),
}

/// Memory that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory: {} MB are needed", megabytes(*.bytes))]
pub struct OutOfMemory {
    /// How many were asked for.
    pub bytes: u64,
}

/// A session that could not be started, or a frame that could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The system starts no more threads.
    #[error("cannot start the threads: {0}; try fewer with --threads")]
    Threads(std::io::Error),
    /// The system has no memory for the network's tensors, or the limit is below.
    #[error("{0}")]
    Memory(#[from] OutOfMemory),
    /// A tensor of the wrong length.
    #[error("the input tensor has {given} elements, but the network takes {expected} ({shape})")]
    TensorLength {
        /// Elements given.
        given: usize,
        /// Elements wanted.
        expected: usize,
        /// The wanted shape in words.
        shape: String,
    },
    /// A tensor element that stands for no byte of a pixel.
    #[error(
        "element {index} of the input tensor is {value}, but this network reads pictures: every element must be k/255 with k = 0 to 255"
    )]
    TensorValue {
        /// Position in the tensor.
        index: usize,
        /// The element.
        value: f32,
    },
    /// The network has no detection head, or one without anchors.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// The picture's sizes contradict each other.
    #[error("{0}")]
    Picture(#[from] PictureError),
    /// A threshold out of range.
    #[error("{0}")]
    Options(#[from] OptionsError),
    /// The network could not be prepared anew for keeping its values.
    #[error("{0}")]
    Program(LoadErrorKind),
    /// There is no frame whose results could be read.
    #[error("the session has run no frame whose results could be read: run one first")]
    NoFrame,
    /// The process is a fork of the one that made the session.
    #[error(
        "the session belongs to the parent process, and its threads stayed there: make sessions after fork() or daemon()"
    )]
    Forked,
    /// An earlier frame panicked: the session's memory is gone.
    #[error("an earlier frame failed inside; start a new session")]
    Broken,
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

impl LoadError {
    /// Why.
    pub fn kind(&self) -> &LoadErrorKind {
        &self.kind
    }

    /// The same error with the file it came from.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }
}

impl<E: Into<LoadErrorKind>> From<E> for LoadError {
    fn from(kind: E) -> Self {
        Self { path: None, kind: kind.into() }
    }
}
