//! Operators, prepared for a plan: one file each.
//!
//! An operator is prepared once, when the network is loaded, and then run once a frame on a
//! [`Band`](crate::bands::Band) of its output's rows. Running allocates nothing.

pub mod add;
pub mod concat;
pub mod conv;
pub mod finish;
pub mod lookup;
pub mod map;
pub mod max_pool;
pub mod prepack;
pub mod upsample;
pub mod winograd;

use ylb_format::model::ValueId;
use ylb_kernels::rows::Rows;

use crate::plan::Plan;
use crate::scratch::Scratch;
use crate::storage::{Borrowed, Store};

/// What a running operator has at hand beside its band.
pub struct Context<'a, 'b> {
    /// The buffers that it reads.
    pub memory: &'a Borrowed<'b>,
    /// The chosen row operations.
    pub rows: &'a Rows,
    /// The calling thread's working memory.
    pub scratch: &'a mut Scratch,
}

/// Bytes from a pixel to the next in a row of levels: groups of 8 channels are packed together.
pub fn level_stride(channels: u32) -> usize {
    (channels as usize).next_multiple_of(8)
}

/// The copy of a value that an operator on levels reads.
fn input_store(plan: &Plan, value: ValueId) -> Store {
    plan.storage[value.index()].any_store().expect("operators read values that hold levels").clone()
}
