//! Rows and columns of zeros around a value.

use ylb_format::model::ValueId;

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::border_level;
use crate::plan::demand::{Demands, Planned};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// A padding that is to be prepared.
pub struct PadDraft {
    /// The value in the middle.
    pub input: ValueId,
    /// Top, left, bottom, right.
    pub padding: [u32; 4],
}

/// A padding, ready to run.
struct PadOp {
    input: Store,
    /// Rows above and columns before.
    before: [usize; 2],
    /// Rows and columns of the input.
    size: [usize; 2],
    out_width: usize,
    channels: usize,
    zero: u8,
}

impl Planned for PadDraft {
    fn demand(&self, demands: &mut Demands) {
        demands.by_level(self.input);
    }
}

impl Draft for PadDraft {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, plan, output, .. } = setting;
        let value = model.value(self.input);
        let [top, left, ..] = self.padding;
        let op = PadOp {
            input: super::input_store(plan, self.input),
            before: [top as usize, left as usize],
            size: [value.height as usize, value.width as usize],
            out_width: model.value(output).width as usize,
            channels: value.channels as usize,
            zero: border_level(model.encoding(self.input)),
        };
        Prepared::one(op, setting)
    }
}

impl PadOp {
    fn stride(&self) -> usize {
        level_stride(self.channels as u32)
    }
}

impl Op for PadOp {
    fn name(&self) -> &'static str {
        "pad"
    }

    /// A row read and a row written.
    fn scratch(&self) -> usize {
        bytes_for::<u8>(self.size[1] * self.stride()) + bytes_for::<u8>(self.out_width * self.stride())
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = self.stride();
        let [top, left] = self.before;
        let [height, width] = self.size;
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) = (scratch.cut(width * stride), scratch.cut::<u8>(self.out_width * stride));
        for y in band.rows.clone() {
            out.fill(self.zero);
            if (top..top + height).contains(&y) {
                let row = read_row(rows, &self.input, bytes, y - top, stride, buffer);
                out[left * stride..][..width * stride].copy_from_slice(row);
            }
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
