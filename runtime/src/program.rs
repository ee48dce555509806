//! A model made ready for this CPU: micro-kernels chosen, memory planned, weights packed.

use std::ops::Range;

use ylb_format::model::{Model, Node, Operator, ValueId};
use ylb_kernels::registry::Dispatch;
use ylb_kernels::rows::Rows;
use ylb_kernels::ukernel::Engine;

use crate::choice::{self, Compute, ConvChoice};
use crate::error::LoadErrorKind;
use crate::ops::add::AddOp;
use crate::ops::concat::{self, CopyOp};
use crate::ops::conv::ConvOp;
use crate::ops::lookup::LookupOp;
use crate::ops::map::MapOp;
use crate::ops::max_pool::MaxPoolOp;
use crate::ops::upsample::UpsampleOp;
use crate::ops::winograd::WinogradOp;
use crate::plan::{Plan, plan};
use crate::scratch::ScratchLen;
use crate::storage::{MAX_WRITTEN, Store, ValueStorage};

/// Most bytes of memory for the tensors of a network: some fifty times what YOLOv5x takes for a picture of 640 pixels.
/// A file of a few kilobytes can ask for any number.
pub const MAX_MEMORY: u64 = 1 << 32;

/// Most sums of a network that get tables, or are tried in arithmetic of 16 bits. A YOLOv5x has 28.
const MANY_SUMS: usize = 256;

/// Everything that a frame needs and no frame changes.
pub struct Program {
    /// One for each node, in order.
    pub steps: Vec<Step>,
    /// Where values live.
    pub plan: Plan,
    /// Row operations of this CPU.
    pub rows: Rows,
    /// Working memory that any step needs, per thread.
    pub scratch: ScratchLen,
    /// The picture's levels, as bytes.
    pub input: Store,
    /// If the input is also read as bit planes: from bytes to planes.
    pub input_copy: Option<CopyOp>,
}

/// One node, ready to run.
pub struct Step {
    /// The operator.
    pub op: Op,
    /// The value written.
    pub output: ValueId,
    /// Rows of the output.
    pub height: usize,
    /// Multiply-accumulates of a frame.
    pub macs: u64,
}

/// An operator, ready to run.
pub enum Op {
    /// Convolution.
    Conv(ConvOp),
    /// Convolution by Winograd's algorithm.
    Winograd(WinogradOp),
    /// Convolution by table look-up.
    Lookup(LookupOp),
    /// Sum.
    Add(AddOp),
    /// Look-up table.
    Map(MapOp),
    /// Max-pooling.
    MaxPool(MaxPoolOp),
    /// Nearest-neighbour upsampling.
    Upsample(UpsampleOp),
    /// Concatenation: the copies that it needs.
    Concat(Vec<CopyOp>),
}

impl Program {
    /// Prepares a model. With `keep_values`, every value can still be read after a frame.
    ///
    /// # Errors
    /// [`LoadErrorKind::NoKernel`], [`LoadErrorKind::TooLarge`].
    pub fn new(model: &Model, dispatch: &Dispatch, keep_values: bool) -> Result<Self, LoadErrorKind> {
        check_sizes(model)?;
        let choices = model
            .nodes
            .iter()
            .map(|node| match &node.operator {
                Operator::Conv(conv) => choice::choose(model, conv, dispatch)
                    .map(Some)
                    .ok_or_else(|| LoadErrorKind::NoKernel(node.name.clone())),
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let plan = plan(model, &choices, keep_values);
        let sums = model.nodes.iter().filter(|node| matches!(node.operator, Operator::Add { .. }));
        let few_sums = sums.count() <= MANY_SUMS;
        let engine = dispatch.rows().engine();
        let steps: Vec<Step> = model
            .nodes
            .iter()
            .zip(&choices)
            .map(|(node, choice)| Step::new(model, node, choice.as_ref(), &plan, engine, few_sums))
            .collect();
        let (input, input_copy) = input(model, &plan);
        let scratch = steps.iter().map(|step| step.op.scratch());
        let scratch = scratch.chain(input_copy.iter().map(CopyOp::scratch));
        let scratch = scratch.fold(ScratchLen::default(), ScratchLen::max);
        let program = Self { steps, rows: dispatch.rows(), scratch, input, input_copy, plan };
        match program.memory_len(1) {
            bytes if bytes > MAX_MEMORY => Err(LoadErrorKind::TooLarge { bytes, limit: MAX_MEMORY }),
            _ => Ok(program),
        }
    }

    /// Bytes that so many threads need for tensors and working memory.
    pub fn memory_len(&self, threads: usize) -> u64 {
        (self.plan.arena_len as u64).saturating_add(self.scratch.bytes().saturating_mul(threads as u64))
    }
}

impl Step {
    fn new(
        model: &Model,
        node: &Node,
        choice: Option<&ConvChoice>,
        plan: &Plan,
        engine: Engine,
        few_sums: bool,
    ) -> Self {
        let output = node.output;
        let op = match (&node.operator, choice) {
            (Operator::Conv(conv), Some(choice)) => match choice.compute {
                Compute::Winograd(kernel) => {
                    Op::Winograd(WinogradOp::new(model, conv, choice, kernel, output, plan))
                }
                Compute::Lookup(kernel, planes) => {
                    Op::Lookup(LookupOp::new(model, conv, choice, (kernel, planes), output, plan))
                }
                Compute::Dense(_) | Compute::Depthwise(_) => {
                    Op::Conv(ConvOp::new(model, conv, choice, output, plan))
                }
            },
            (Operator::Conv(_), None) => unreachable!("every convolution has a choice"),
            (Operator::Add { inputs, requantize }, _) => {
                Op::Add(AddOp::new(model, inputs, requantize, output, plan, engine, few_sums))
            }
            (Operator::Map { input, table }, _) => Op::Map(MapOp::new(model, *input, table, plan)),
            (Operator::MaxPool { input, window }, _) => {
                Op::MaxPool(MaxPoolOp::new(model, *input, *window, output, plan))
            }
            (Operator::Upsample { input, factor }, _) => {
                Op::Upsample(UpsampleOp::new(model, *input, *factor, output, plan))
            }
            (Operator::Concat { inputs }, _) => Op::Concat(concat::copies(model, inputs, output, plan)),
        };
        let height = model.value(output).height as usize;
        Self { op, output, height, macs: macs(model, node) }
    }
}

impl Op {
    /// Working memory of a thread.
    pub fn scratch(&self) -> ScratchLen {
        match self {
            Self::Conv(op) => op.scratch(),
            Self::Winograd(op) => op.scratch(),
            Self::Lookup(op) => op.scratch(),
            Self::Add(op) => op.scratch(),
            Self::Map(op) => op.scratch(),
            Self::MaxPool(op) => op.scratch(),
            Self::Upsample(op) => op.scratch(),
            Self::Concat(copies) => {
                copies.iter().map(CopyOp::scratch).fold(ScratchLen::default(), ScratchLen::max)
            }
        }
    }

    /// Name of the micro-kernel of a convolution, otherwise what is done.
    pub fn kernel_name(&self) -> &'static str {
        match self {
            Self::Conv(op) => op.kernel_name(),
            Self::Winograd(op) => op.kernel_name(),
            Self::Lookup(op) => op.kernel_name(),
            Self::Add(_) => "add",
            Self::Map(_) => "map",
            Self::MaxPool(_) => "max_pool",
            Self::Upsample(_) => "upsample",
            Self::Concat(copies) if copies.is_empty() => "concat in place",
            Self::Concat(_) => "concat",
        }
    }

    /// Bytes of packed weights.
    pub fn packed_len(&self) -> usize {
        match self {
            Self::Conv(op) => op.packed_len(),
            Self::Winograd(op) => op.packed_len(),
            Self::Lookup(op) => op.packed_len(),
            _ => 0,
        }
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

fn input(model: &Model, plan: &Plan) -> (Store, Option<CopyOp>) {
    let storage = &plan.storage[model.input.value.index()];
    let bytes = storage.any_store().expect("the plan stores the input as bytes").clone();
    let others = storage.stores.iter().filter(|store| store.buffer != bytes.buffer);
    let planes = ValueStorage { stores: others.cloned().collect(), accumulators: None };
    let copy = (!planes.stores.is_empty()).then(|| CopyOp::new(model, model.input.value, &bytes, planes));
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
