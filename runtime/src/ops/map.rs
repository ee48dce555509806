//! Look-up table: a quantizer on a value that is quantized already.

use ylb_format::model::{Model, ValueId};

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::Plan;
use crate::plan::demand::{Demands, Planned};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// A look-up that is to be prepared.
pub struct MapDraft<'a> {
    /// The value looked up.
    pub input: ValueId,
    /// One level for each of its levels.
    pub table: &'a [u8],
}

/// A look-up, ready to run.
pub struct MapOp {
    input: Store,
    table: [u8; 256],
    width: usize,
    channels: usize,
}

impl Planned for MapDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        demands.by_level(self.input);
    }
}

impl Draft for MapDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        Prepared::one(MapOp::new(setting.model, self.input, self.table, setting.plan), setting)
    }
}

impl MapOp {
    fn new(model: &Model, input: ValueId, table: &[u8], plan: &Plan) -> Self {
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

    fn row_len(&self) -> usize {
        self.width * level_stride(self.channels as u32)
    }
}

impl Op for MapOp {
    fn name(&self) -> &'static str {
        "map"
    }

    /// A row read and a row written.
    fn scratch(&self) -> usize {
        2 * bytes_for::<u8>(self.row_len())
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) = (scratch.cut(self.row_len()), scratch.cut(self.row_len()));
        for y in band.rows.clone() {
            let levels = read_row(rows, &self.input, bytes, y, stride, buffer);
            rows.lookup(levels, &self.table, out);
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
