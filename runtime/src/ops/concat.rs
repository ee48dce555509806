//! Concatenation: nothing to do for inputs that lie in the output already, a copy for the others.

use ylb_format::model::{Model, ValueId};

use super::{Context, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::Plan;
use crate::scratch::ScratchLen;
use crate::storage::{Store, ValueStorage};

/// The copy of a value, such as one input into its slice of the output, ready to run.
pub struct CopyOp {
    input: Store,
    /// What the copy fills.
    pub slice: ValueStorage,
    width: usize,
    channels: usize,
}

/// The copies that a concatenation needs.
pub fn copies(model: &Model, inputs: &[ValueId], output: ValueId, plan: &Plan) -> Vec<CopyOp> {
    let wholes = &plan.storage[output.index()].stores;
    let needs_copy = |(_, input): &(usize, &ValueId)| {
        let own = &plan.storage[input.index()].stores;
        !wholes.iter().all(|whole| own.iter().any(|store| store.buffer == whole.buffer))
    };
    let copy = |(position, input): (usize, &ValueId)| {
        let stores = wholes.iter().map(|whole| whole.slice(position)).collect();
        let slice = ValueStorage { stores, accumulators: None };
        CopyOp::new(model, *input, &super::input_store(plan, *input), slice)
    };
    inputs.iter().enumerate().filter(needs_copy).map(copy).collect()
}

impl CopyOp {
    /// Prepares the copy of a value, read from one of its stores, into other stores.
    pub fn new(model: &Model, value: ValueId, input: &Store, slice: ValueStorage) -> Self {
        let value = model.value(value);
        let (width, channels) = (value.width as usize, value.channels as usize);
        Self { input: input.clone(), slice, width, channels }
    }

    /// Working memory of a thread: a row.
    pub fn scratch(&self) -> ScratchLen {
        ScratchLen { levels: 2 * self.width * level_stride(self.channels as u32), ..Default::default() }
    }

    /// Copies the band's rows.
    pub fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let row_len = self.width * stride;
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let (buffer, out) = scratch.levels.split_at_mut(row_len);
        let out = &mut out[..row_len];
        for y in band.rows.clone() {
            out.copy_from_slice(read_row(rows, &self.input, bytes, y, stride, buffer));
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
