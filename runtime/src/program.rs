//! A model made ready for this CPU: micro-kernels chosen, memory planned, weights packed.

use std::ops::Range;

use ylb_format::model::{Model, Node, Operator};
use ylb_kernels::registry::Dispatch;
use ylb_kernels::rows::Rows;

use crate::error::LoadErrorKind;
use crate::ops::concat::CopyOp;
use crate::ops::{Draft, Pass, Setting, drafts};
use crate::plan::demand::Planned;
use crate::plan::{Plan, plan};
use crate::requantize::Requantization;
use crate::storage::{MAX_WRITTEN, Store, ValueStorage};

/// Most bytes of memory for the tensors of a network: some fifty times what YOLOv5x takes for a picture of 640 pixels.
/// A file of a few kilobytes can ask for any number.
pub const MAX_MEMORY: u64 = 1 << 32;

/// Everything that a frame needs and no frame changes.
pub struct Program {
    /// One for each node, in order.
    pub steps: Vec<Step>,
    /// Where values live.
    pub plan: Plan,
    /// Row operations of this CPU.
    pub rows: Rows,
    /// Bytes of working memory that any step needs, per thread.
    pub scratch: usize,
    /// The picture's levels, as bytes.
    pub input: Store,
    /// If the input is also read as bit planes: from bytes to planes.
    pub input_copy: Option<Pass>,
}

/// One node, ready to run.
pub struct Step {
    /// Name of the micro-kernel of a convolution, otherwise what is done.
    pub name: &'static str,
    /// What runs, one after another; nothing, for a concat whose inputs lie in its output.
    pub passes: Vec<Pass>,
    /// Rows of the output.
    pub height: usize,
    /// Multiply-accumulates of a frame.
    pub macs: u64,
}

impl Program {
    /// Prepares a model. With `keep_values`, every value can still be read after a frame.
    ///
    /// # Errors
    /// [`LoadErrorKind::NoKernel`], [`LoadErrorKind::TooLarge`].
    pub fn new(model: &Model, dispatch: &Dispatch, keep_values: bool) -> Result<Self, LoadErrorKind> {
        check_sizes(model)?;
        let drafts = drafts(model, dispatch)?;
        let operators: Vec<&dyn Planned> = drafts.iter().map(|draft| &**draft as &dyn Planned).collect();
        let plan = plan(model, &operators, keep_values);
        let engine = dispatch.rows().engine();
        let prepare = |node: &Node, draft: &dyn Draft| {
            let output = node.output;
            let prepared = draft.prepare(&Setting { model, plan: &plan, output, engine });
            let height = model.value(output).height as usize;
            Step { name: prepared.name, passes: prepared.passes, height, macs: macs(model, node) }
        };
        let steps: Vec<Step> =
            model.nodes.iter().zip(&drafts).map(|(node, draft)| prepare(node, &**draft)).collect();
        let (input, input_copy) = input(model, &plan);
        let passes = steps.iter().flat_map(|step| &step.passes).chain(&input_copy);
        let scratch = passes.map(|pass| pass.op.scratch()).max().unwrap_or(0);
        let program = Self { steps, rows: dispatch.rows(), scratch, input, input_copy, plan };
        match program.memory_len(1) {
            bytes if bytes > MAX_MEMORY => Err(LoadErrorKind::TooLarge { bytes, limit: MAX_MEMORY }),
            _ => Ok(program),
        }
    }

    /// Bytes that so many threads need for tensors and working memory.
    pub fn memory_len(&self, threads: usize) -> u64 {
        (self.plan.arena_len as u64).saturating_add((self.scratch as u64).saturating_mul(threads as u64))
    }
}

impl Step {
    /// Bytes of packed weights.
    pub fn packed_len(&self) -> usize {
        self.passes.iter().map(|pass| pass.op.packed_len()).sum()
    }

    /// See [`Op::requantization`](crate::ops::Op::requantization).
    pub fn requantization(&self) -> Option<Requantization> {
        self.passes.iter().find_map(|pass| pass.op.requantization())
    }
}

/// The arena ranges of a value's stores.
pub fn written_ranges(storage: &ValueStorage) -> [Range<usize>; MAX_WRITTEN] {
    let mut ranges = [0..0, 0..0];
    let stores = storage.stores.iter().map(|store| &store.range);
    let accumulators = storage.accumulators.iter().map(|store| &store.range);
    for (slot, range) in ranges.iter_mut().zip(stores.chain(accumulators)) {
        *slot = range.clone();
    }
    ranges
}

/// Multiply-accumulates of a node.
fn macs(model: &Model, node: &Node) -> u64 {
    let Operator::Conv(conv) = &node.operator else {
        return 0;
    };
    let value = model.value(node.output);
    let pixels = u64::from(value.height) * u64::from(value.width);
    conv.terms.iter().map(|term| pixels * term.weights.len() as u64).sum()
}

fn input(model: &Model, plan: &Plan) -> (Store, Option<Pass>) {
    let storage = &plan.storage[model.input.value.index()];
    let bytes = storage.any_store().expect("the plan stores the input as bytes").clone();
    let others = storage.stores.iter().filter(|store| store.buffer != bytes.buffer);
    let planes = ValueStorage { stores: others.cloned().collect(), accumulators: None };
    let copy = (!planes.stores.is_empty()).then(|| CopyOp::pass(model, model.input.value, &bytes, planes));
    (bytes, copy)
}

/// Whether the sizes of all tensors, with generous borders and in two forms, stay addressable.
fn check_sizes(model: &Model) -> Result<(), LoadErrorKind> {
    let bytes = |value: &ylb_format::model::Value| {
        let rows = u64::from(value.height) + 128;
        let columns = u64::from(value.width) + 128;
        let pixel = u64::from(value.channels).checked_add(128)?.checked_mul(4)?;
        rows.checked_mul(columns)?.checked_mul(pixel)
    };
    let total = model.values.iter().try_fold(0u64, |sum, value| sum.checked_add(bytes(value)?));
    let limit = usize::MAX as u64 / 4;
    match total.unwrap_or(u64::MAX) {
        bytes if bytes > limit => Err(LoadErrorKind::TooLarge { bytes, limit }),
        _ => Ok(()),
    }
}
