//! Concatenation: nothing to do for inputs that lie in the output already, a copy for the others.

use ylb_format::model::{Model, ValueId};

use super::{Context, Draft, Op, Pass, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::Planned;
use crate::scratch::{Cutter, bytes_for};
use crate::storage::{Store, ValueStorage};

/// A concatenation that is to be prepared.
pub struct ConcatDraft<'a> {
    /// The values whose channels follow one another.
    pub inputs: &'a [ValueId],
}

/// The copy of a value, such as one input into its slice of the output, ready to run.
pub struct CopyOp {
    input: Store,
    width: usize,
    channels: usize,
}

/// The plan knows concatenations: it places their inputs.
impl Planned for ConcatDraft<'_> {}

impl Draft for ConcatDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, plan, output, .. } = setting;
        let wholes = &plan.storage[output.index()].stores;
        let needs_copy = |(_, input): &(usize, &ValueId)| {
            let own = &plan.storage[input.index()].stores;
            !wholes.iter().all(|whole| own.iter().any(|store| store.buffer == whole.buffer))
        };
        let copy = |(position, input): (usize, &ValueId)| {
            let stores = wholes.iter().map(|whole| whole.slice(position)).collect();
            let slice = ValueStorage { stores, accumulators: None };
            CopyOp::pass(model, *input, &super::input_store(plan, *input), slice)
        };
        let passes: Vec<Pass> = self.inputs.iter().enumerate().filter(needs_copy).map(copy).collect();
        Prepared { name: if passes.is_empty() { "concat in place" } else { "concat" }, passes }
    }
}

impl CopyOp {
    /// The copy of a value, read from one of its stores, into other stores.
    pub fn pass(model: &Model, value: ValueId, input: &Store, writes: ValueStorage) -> Pass {
        let value = model.value(value);
        let (width, channels) = (value.width as usize, value.channels as usize);
        Pass { op: Box::new(Self { input: input.clone(), width, channels }), writes }
    }
}

impl Op for CopyOp {
    fn name(&self) -> &'static str {
        "copy"
    }

    /// A row read and a row written.
    fn scratch(&self) -> usize {
        2 * bytes_for::<u8>(self.width * level_stride(self.channels as u32))
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let row_len = self.width * stride;
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) = (scratch.cut(row_len), scratch.cut::<u8>(row_len));
        for y in band.rows.clone() {
            out.copy_from_slice(read_row(rows, &self.input, bytes, y, stride, buffer));
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
