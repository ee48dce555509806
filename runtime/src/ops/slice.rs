//! Some channels of a value: nothing to do where they are read in place, a copy for forms in which they are not.

use ylb_format::model::ValueId;

use super::{Context, Draft, Op, Pass, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::Planned;
use crate::scratch::{Cutter, bytes_for};
use crate::storage::{Store, ValueStorage};

/// A slice that is to be prepared.
pub struct SliceDraft {
    /// The value whose channels are taken.
    pub input: ValueId,
    /// The first of them.
    pub first: u32,
}

/// The copy of some channels, ready to run.
struct SliceOp {
    input: Store,
    first: usize,
    width: usize,
    /// Channels of the input, and of the output.
    channels: [usize; 2],
}

/// The plan knows slices: it makes views of them.
impl Planned for SliceDraft {}

impl Draft for SliceDraft {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, plan, output, .. } = setting;
        let source = &plan.storage[self.input.index()].stores;
        let is_view = |store: &&Store| source.iter().any(|whole| whole.buffer == store.buffer);
        let stores = plan.storage[output.index()].stores.iter();
        let own: Vec<Store> = stores.filter(|store| !is_view(store)).cloned().collect();
        if own.is_empty() {
            return Prepared { name: "slice in place", passes: Vec::new() };
        }
        let (value, read) = (model.value(output), model.value(self.input));
        let op = SliceOp {
            input: super::input_store(plan, self.input),
            first: self.first as usize,
            width: value.width as usize,
            channels: [read.channels as usize, value.channels as usize],
        };
        let writes = ValueStorage { stores: own, accumulators: None };
        Prepared { name: op.name(), passes: vec![Pass { op: Box::new(op), writes }] }
    }
}

impl SliceOp {
    fn strides(&self) -> [usize; 2] {
        self.channels.map(|channels| level_stride(channels as u32))
    }
}

impl Op for SliceOp {
    fn name(&self) -> &'static str {
        "slice"
    }

    /// A row read and a row written.
    fn scratch(&self) -> usize {
        self.strides().into_iter().map(|stride| bytes_for::<u8>(self.width * stride)).sum()
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let [from, to] = self.strides();
        let channels = self.channels[1];
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) = (scratch.cut(self.width * from), scratch.cut::<u8>(self.width * to));
        // Levels between pixels are levels, too.
        out.fill(0);
        for y in band.rows.clone() {
            let row = read_row(rows, &self.input, bytes, y, from, buffer);
            for (out, pixel) in out.chunks_exact_mut(to).zip(row.chunks_exact(from)) {
                out[..channels].copy_from_slice(&pixel[self.first..][..channels]);
            }
            band.write_row(rows, y, out, to, channels);
        }
    }
}
