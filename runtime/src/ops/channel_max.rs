//! The largest level of all channels of a pixel.

use ylb_format::model::ValueId;

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::{Demands, Planned};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// A maximum over channels that is to be prepared.
pub struct ChannelMaxDraft {
    /// The value whose channels are compared.
    pub input: ValueId,
}

/// A maximum over channels, ready to run.
struct ChannelMaxOp {
    input: Store,
    width: usize,
    channels: usize,
}

impl Planned for ChannelMaxDraft {
    fn demand(&self, demands: &mut Demands) {
        demands.by_level(self.input);
    }
}

impl Draft for ChannelMaxDraft {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let value = setting.model.value(self.input);
        let input = super::input_store(setting.plan, self.input);
        let op = ChannelMaxOp { input, width: value.width as usize, channels: value.channels as usize };
        Prepared::one(op, setting)
    }
}

impl ChannelMaxOp {
    fn stride(&self) -> usize {
        level_stride(self.channels as u32)
    }
}

impl Op for ChannelMaxOp {
    fn name(&self) -> &'static str {
        "channel_max"
    }

    /// A row read and a row written.
    fn scratch(&self) -> usize {
        bytes_for::<u8>(self.width * self.stride()) + bytes_for::<u8>(self.width * level_stride(1))
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let (from, to) = (self.stride(), level_stride(1));
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) = (scratch.cut(self.width * from), scratch.cut::<u8>(self.width * to));
        out.fill(0);
        for y in band.rows.clone() {
            let row = read_row(rows, &self.input, bytes, y, from, buffer);
            for (out, pixel) in out.chunks_exact_mut(to).zip(row.chunks_exact(from)) {
                out[0] = pixel[..self.channels].iter().copied().max().unwrap_or(0);
            }
            band.write_row(rows, y, out, to, 1);
        }
    }
}
