//! Look-up table: a quantizer on a value that is quantized already.

use ylb_format::model::{Model, ValueId};

use super::{Context, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::Plan;
use crate::scratch::ScratchLen;
use crate::storage::Store;

/// A look-up, ready to run.
pub struct MapOp {
    input: Store,
    table: [u8; 256],
    width: usize,
    channels: usize,
}

impl MapOp {
    /// Prepares a look-up.
    pub fn new(model: &Model, input: ValueId, table: &[u8], plan: &Plan) -> Self {
        let value = model.value(input);
        let mut whole = [0; 256];
        whole[..table.len()].copy_from_slice(table);
        Self {
            input: super::input_store(plan, input),
            table: whole,
            width: value.width as usize,
            channels: value.channels as usize,
        }
    }

    /// Working memory of a thread: a row read and a row written.
    pub fn scratch(&self) -> ScratchLen {
        ScratchLen { levels: 2 * self.width * level_stride(self.channels as u32), ..Default::default() }
    }

    /// Computes the band's rows.
    pub fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let (buffer, out) = scratch.levels.split_at_mut(self.width * stride);
        let out = &mut out[..self.width * stride];
        for y in band.rows.clone() {
            let levels = read_row(rows, &self.input, bytes, y, stride, buffer);
            rows.lookup(levels, &self.table, out);
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
