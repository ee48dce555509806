//! Max-pooling: vertically over whole rows, then horizontally over pixels.

use ylb_format::model::{Model, ValueId, Window};

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::Plan;
use crate::plan::demand::{Demands, Planned};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// Pooling that is to be prepared.
pub struct MaxPoolDraft {
    /// The value pooled.
    pub input: ValueId,
    /// Window, stride and padding.
    pub window: Window,
}

/// Pooling, ready to run.
pub struct MaxPoolOp {
    input: Store,
    window: Window,
    in_width: usize,
    in_height: usize,
    out_width: usize,
    channels: usize,
}

impl Planned for MaxPoolDraft {
    fn demand(&self, demands: &mut Demands) {
        demands.by_level(self.input);
    }
}

impl Draft for MaxPoolDraft {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, plan, output, .. } = setting;
        Prepared::one(MaxPoolOp::new(model, self.input, self.window, output, plan), setting)
    }
}

impl MaxPoolOp {
    fn new(model: &Model, input: ValueId, window: Window, output: ValueId, plan: &Plan) -> Self {
        let value = model.value(input);
        Self {
            input: super::input_store(plan, input),
            window,
            in_width: value.width as usize,
            in_height: value.height as usize,
            out_width: model.value(output).width as usize,
            channels: value.channels as usize,
        }
    }

    /// Input positions that output position `position` covers along an axis.
    fn covered(&self, axis: usize, position: usize, extent: usize) -> std::ops::Range<usize> {
        let start = position * self.window.stride[axis] as usize;
        let before = self.window.padding[axis] as usize;
        let end = (start + self.window.kernel[axis] as usize).saturating_sub(before);
        start.saturating_sub(before)..end.min(extent)
    }
}

impl Op for MaxPoolOp {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    /// A row read, their maximum, and the result.
    fn scratch(&self) -> usize {
        let stride = level_stride(self.channels as u32);
        2 * bytes_for::<u8>(self.in_width * stride) + bytes_for::<u8>(self.out_width * stride)
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let row_len = self.in_width * stride;
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, tallest) = (scratch.cut(row_len), scratch.cut(row_len));
        let out = scratch.cut(self.out_width * stride);
        for y in band.rows.clone() {
            let covered = self.covered(0, y, self.in_height);
            // Levels are unsigned: 0 is the identity of the maximum.
            tallest.fill(0);
            for row in covered {
                rows.max_assign(tallest, read_row(rows, &self.input, bytes, row, stride, buffer));
            }
            out.fill(0);
            for (x, pixel) in out.chunks_exact_mut(stride).enumerate() {
                for column in self.covered(1, x, self.in_width) {
                    rows.max_assign(pixel, &tallest[column * stride..][..stride]);
                }
            }
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
