//! A loaded model.

use std::path::Path;
use std::sync::Arc;

use ylb_format::model::{Model, Node};
use ylb_kernels::registry::Dispatch;

use crate::error::{LoadError, LoadErrorKind};
use crate::executor;
use crate::file;
use crate::program::Program;
use crate::requantize::Requantization;

/// A model, ready to run on this CPU. It never changes: any number of sessions on any number of
/// threads may share one.
pub struct Network {
    model: Model,
    dispatch: Dispatch,
    program: Arc<Program>,
}

/// What is done for one node of the model.
#[derive(Clone, Copy, Debug)]
pub struct StepInfo<'a> {
    /// The node.
    pub node: &'a Node,
    /// Name of the micro-kernel of a convolution, otherwise what is done.
    pub kernel: &'static str,
    /// Multiply-accumulates of a frame.
    pub macs: u64,
    /// Bytes of the weights as packed for this CPU.
    pub packed_bytes: usize,
    /// How sums become levels; `None` where there are no sums, they stay accumulators, or a table gives the levels of
    /// all pairs.
    pub requantization: Option<Requantization>,
}

impl Network {
    /// Opens a `.ylb` file. The environment variable
    /// [`YLB_KERNELS`](ylb_kernels::cpu::KERNELS_VARIABLE) restricts the choice of micro-kernels.
    ///
    /// # Errors
    /// If the file cannot be read, is no valid model, or this CPU cannot run it. A file that changes while it is read
    /// is damaged, at worst.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let load = || Self::from_bytes(&file::read(path)?);
        load().map_err(|error: LoadError| error.at(path))
    }

    /// Loads the bytes of a `.ylb` file; they are not needed afterwards.
    ///
    /// # Errors
    /// If they are no valid model, or this CPU cannot run it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let model = ylb_format::read(bytes)?;
        let dispatch = Dispatch::from_environment()?;
        Self::new(model, &dispatch)
    }

    /// Prepares a model with a choice of micro-kernels.
    ///
    /// # Errors
    /// If this CPU cannot run it.
    ///
    /// # Panics
    /// Possibly, if the model breaks a promise of [`ylb_format::model`]: models should come from
    /// [`ylb_format::read`] or have passed [`ylb_format::validate`].
    pub fn new(model: Model, dispatch: &Dispatch) -> Result<Self, LoadError> {
        let program = Arc::new(Program::new(&model, dispatch, false)?);
        Ok(Self { model, dispatch: dispatch.clone(), program })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What is done for each node, in order.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo<'_>> {
        self.model.nodes.iter().zip(&self.program.steps).map(|(node, step)| StepInfo {
            node,
            kernel: step.name,
            macs: step.macs,
            packed_bytes: step.packed_len(),
            requantization: step.requantization(),
        })
    }

    /// For each node, in order, how well the split of its rows keeps so many threads busy: the rows over
    /// what all threads could compute until the last is ready, 0 to 1.
    pub fn balance(&self, threads: usize) -> impl Iterator<Item = f64> {
        self.program.steps.iter().map(move |step| executor::balance(step, threads.max(1)))
    }

    /// Bytes of memory for activations that a session allocates.
    pub fn arena_len(&self) -> usize {
        self.program.plan.arena_len
    }

    /// The prepared program; a new one in which no value's memory is reused with `keep_values`.
    pub(crate) fn program(&self, keep_values: bool) -> Result<Arc<Program>, LoadErrorKind> {
        if keep_values {
            Program::new(&self.model, &self.dispatch, true).map(Arc::new)
        } else {
            Ok(Arc::clone(&self.program))
        }
    }
}
