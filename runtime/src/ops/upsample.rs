//! Nearest-neighbour upsampling: repeats levels.

use ylb_format::model::{Model, ValueId};

use super::{Context, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::{Plan, index};
use crate::scratch::ScratchLen;
use crate::storage::Store;

/// Upsampling, ready to run.
pub struct UpsampleOp {
    input: Store,
    factor: usize,
    in_width: usize,
    channels: usize,
}

impl UpsampleOp {
    /// Prepares upsampling.
    pub fn new(model: &Model, input: ValueId, factor: u32, plan: &Plan) -> Self {
        let value = &model.values[index(input)];
        Self {
            input: super::input_store(plan, input),
            factor: factor as usize,
            in_width: value.width as usize,
            channels: value.channels as usize,
        }
    }

    /// Working memory of a thread: a row read and a row written.
    pub fn scratch(&self) -> ScratchLen {
        let pixels = self.in_width * (1 + self.factor);
        ScratchLen { levels: pixels * level_stride(self.channels as u32), ..Default::default() }
    }

    /// Computes the band's rows.
    pub fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let (buffer, out) = scratch.levels.split_at_mut(self.in_width * stride);
        let out = &mut out[..self.in_width * self.factor * stride];
        for y in band.rows.clone() {
            let levels = read_row(rows, &self.input, bytes, y / self.factor, stride, buffer);
            for (copies, pixel) in out.chunks_exact_mut(self.factor * stride).zip(levels.chunks_exact(stride))
            {
                copies.chunks_exact_mut(stride).for_each(|copy| copy.copy_from_slice(pixel));
            }
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
