//! Operators, one file each: what they want of the plan, how they are prepared for it, and how they run.
//!
//! A node of the model becomes a [`Draft`], which states its demands on the plan
//! ([`Planned`]); when there is a plan, the draft is prepared: weights are packed, tables made. What is then run once
//! a frame, on a [`Band`] of its output's rows, is an [`Op`]. Running allocates nothing.
//!
//! [`draft`] is the only place that knows all operators.

pub mod add;
pub mod add_tables;
pub mod channel_max;
pub mod concat;
pub mod conv;
pub mod curves;
pub mod interleave;
pub mod map;
pub mod mat_mul;
pub mod max_pool;
pub mod mul;
pub mod pad;
mod pairs;
pub mod slice;
pub mod softmax;
pub mod upsample;

use ylb_format::model::{Model, Node, Operator, ValueId};
use ylb_kernels::registry::Dispatch;
use ylb_kernels::rows::Rows;
use ylb_kernels::ukernel::Engine;

use crate::bands::Band;
use crate::error::LoadErrorKind;
use crate::plan::Plan;
use crate::plan::demand::Planned;
use crate::requantize::Requantization;
use crate::storage::{Borrowed, Store, ValueStorage};

/// An operator, ready to run.
pub trait Op: Send + Sync {
    /// Name of the micro-kernel of a convolution, otherwise what is done.
    fn name(&self) -> &'static str;

    /// Bytes of working memory of a thread: the sum of [`bytes_for`](crate::scratch::bytes_for) of its buffers.
    fn scratch(&self) -> usize;

    /// Bytes of packed weights.
    fn packed_len(&self) -> usize {
        0
    }

    /// How its sums become levels; `None` where there are none, or a table gives the levels of all pairs.
    fn requantization(&self) -> Option<Requantization> {
        None
    }

    /// Computes the band's rows.
    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>);
}

/// A node of the model before there is a plan.
pub trait Draft: Planned {
    /// Makes it ready for the plan.
    fn prepare(&self, setting: &Setting<'_>) -> Prepared;
}

/// What a draft is prepared for.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The model.
    pub model: &'a Model,
    /// Where its values live.
    pub plan: &'a Plan,
    /// The value that the node writes.
    pub output: ValueId,
    /// The instructions of row operations and requantization.
    pub engine: Engine,
}

/// What a node runs.
pub struct Prepared {
    /// See [`Op::name`]; of a node that runs nothing, why.
    pub name: &'static str,
    /// One after another.
    pub passes: Vec<Pass>,
}

/// An operator with the memory that it writes.
pub struct Pass {
    /// What runs.
    pub op: Box<dyn Op>,
    /// Where its rows go: the output's stores, or slices of them.
    pub writes: ValueStorage,
}

/// What a running operator has at hand beside its band.
pub struct Context<'a, 'b> {
    /// The buffers that it reads.
    pub memory: &'a Borrowed<'b>,
    /// The chosen row operations.
    pub rows: &'a Rows,
    /// The calling thread's working memory, to be [cut](crate::scratch::Cutter).
    pub scratch: &'a mut [u8],
}

/// Most operators of two values in a network that get tables, or are tried in arithmetic of 16 bits. A YOLOv5x has 28
/// sums.
const MANY_PAIRS: usize = 256;

/// Drafts of all nodes, in order.
///
/// # Errors
/// [`LoadErrorKind::NoKernel`].
pub fn drafts<'a>(model: &'a Model, dispatch: &Dispatch) -> Result<Vec<Box<dyn Draft + 'a>>, LoadErrorKind> {
    let few_pairs = model.nodes.iter().filter(|node| of_pairs(node)).count() <= MANY_PAIRS;
    model.nodes.iter().map(|node| draft(model, node, dispatch, few_pairs)).collect()
}

/// Whether a node is a map from two levels to one.
fn of_pairs(node: &Node) -> bool {
    matches!(node.operator, Operator::Add { .. } | Operator::Mul { .. } | Operator::AddTables { .. })
}

/// The draft of a node. `pairs`: whether an operator of two values may go through all pairs of levels, which takes up
/// to a millisecond and 64 KiB.
fn draft<'a>(
    model: &'a Model,
    node: &'a Node,
    dispatch: &Dispatch,
    pairs: bool,
) -> Result<Box<dyn Draft + 'a>, LoadErrorKind> {
    let output = node.output;
    Ok(match &node.operator {
        Operator::Conv(conv) => {
            let draft = conv::ConvDraft::new(model, conv, dispatch);
            Box::new(draft.ok_or_else(|| LoadErrorKind::NoKernel(node.name.clone()))?)
        }
        Operator::Add { inputs, requantize } => {
            Box::new(add::AddDraft::new(model, inputs, requantize, output, pairs))
        }
        Operator::Map { input, table } => Box::new(map::MapDraft { input: *input, table }),
        Operator::MaxPool { input, window } => {
            Box::new(max_pool::MaxPoolDraft { input: *input, window: *window })
        }
        Operator::Upsample { input, factor } => {
            Box::new(upsample::UpsampleDraft { input: *input, factor: *factor })
        }
        Operator::Mul { inputs, requantize } => {
            Box::new(mul::MulDraft { inputs: *inputs, requantize, pairs })
        }
        Operator::Concat { inputs } => Box::new(concat::ConcatDraft { inputs }),
        Operator::Slice { input, first } => Box::new(slice::SliceDraft { input: *input, first: *first }),
        Operator::ChannelMax { input } => Box::new(channel_max::ChannelMaxDraft { input: *input }),
        Operator::Pad { input, padding } => Box::new(pad::PadDraft { input: *input, padding: *padding }),
        Operator::PairMap { inputs, table } => Box::new(mul::PairMapDraft { inputs: *inputs, table }),
        Operator::MatMul { inputs, groups, areas, along, requantize } => Box::new(mat_mul::MatMulDraft {
            inputs: *inputs,
            parts: [*groups, *areas],
            along: *along,
            requantize,
        }),
        Operator::Softmax { input, groups, exponentials, thresholds, levels } => {
            Box::new(softmax::SoftmaxDraft {
                input: *input,
                groups: *groups,
                exponentials,
                thresholds,
                levels,
            })
        }
        Operator::AddTables { inputs, tables, requantize } => {
            Box::new(add_tables::AddTablesDraft { inputs, tables, requantize, pairs })
        }
        Operator::Curves(join) => Box::new(curves::CurvesDraft { join }),
        Operator::Interleave { inputs } => Box::new(interleave::InterleaveDraft { inputs }),
    })
}

impl Prepared {
    /// A node that one operator computes, into all stores of the output.
    pub fn one(op: impl Op + 'static, setting: &Setting<'_>) -> Self {
        let writes = setting.plan.storage[setting.output.index()].clone();
        Self { name: op.name(), passes: vec![Pass { op: Box::new(op), writes }] }
    }
}

/// Bytes from a pixel to the next in a row of levels: groups of 8 channels are packed together.
pub fn level_stride(channels: u32) -> usize {
    (channels as usize).next_multiple_of(8)
}

/// The copy of a value that an operator on levels reads.
fn input_store(plan: &Plan, value: ValueId) -> Store {
    plan.storage[value.index()].any_store().expect("operators read values that hold levels").clone()
}
