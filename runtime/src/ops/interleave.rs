//! Interleaving: pixels of several values in turn, as levels, or as bytes of planes where inputs and output are in planes
//! alike.

use ylb_format::model::{Model, ValueId, interleave_factor};
use ylb_kernels::layout::Form;

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::Plan;
use crate::plan::demand::Planned;
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// Interleaving that is to be prepared.
pub struct InterleaveDraft<'a> {
    /// The values whose pixels follow one another: row by row of a square of them.
    pub inputs: &'a [ValueId],
}

/// Interleaving, ready to run.
pub struct InterleaveOp {
    inputs: Vec<Store>,
    factor: usize,
    /// Whether whole pixels in planes are copied.
    in_planes: bool,
    in_width: usize,
    channels: usize,
}

/// It reads whatever there is.
impl Planned for InterleaveDraft<'_> {}

impl Draft for InterleaveDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, plan, output, .. } = setting;
        Prepared::one(InterleaveOp::new(model, self.inputs, output, plan), setting)
    }
}

impl InterleaveOp {
    fn new(model: &Model, inputs: &[ValueId], output: ValueId, plan: &Plan) -> Self {
        let value = model.value(inputs[0]);
        let planes = plan.storage[output.index()].stores.first().and_then(|store| {
            let in_planes = matches!(store.layout.form, Form::Planes { .. }) && store.segments.len() == 1;
            let of_input = |input: &ValueId| {
                let own = plan.storage[input.index()].store(store.layout.form)?;
                (own.segments.len() == 1).then(|| own.clone())
            };
            inputs.iter().map(of_input).collect::<Option<Vec<_>>>().filter(|_| in_planes)
        });
        Self {
            in_planes: planes.is_some(),
            inputs: planes
                .unwrap_or_else(|| inputs.iter().map(|&input| super::input_store(plan, input)).collect()),
            factor: interleave_factor(inputs.len()).expect("a valid model") as usize,
            in_width: value.width as usize,
            channels: value.channels as usize,
        }
    }

    /// The inputs that a row of the output takes its pixels from in turn.
    fn inputs_of(&self, y: usize) -> &[Store] {
        &self.inputs[y % self.factor * self.factor..][..self.factor]
    }

    fn run_on_planes(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        for y in band.rows.clone() {
            let output = band.planes_row(y);
            for (column, store) in self.inputs_of(y).iter().enumerate() {
                let layout = &store.layout;
                let input = &context.memory.read(&store.range)[store.offset((y / self.factor) as isize, 0)..];
                let pixels = input.chunks(layout.pixel_stride).take(self.in_width);
                let copies = output.bytes.chunks_mut(output.pixel_stride).skip(column).step_by(self.factor);
                for (pixel, copy) in pixels.zip(copies) {
                    copy[..layout.pixel_len()].copy_from_slice(&pixel[..layout.pixel_len()]);
                }
            }
            band.finish_planes_row(context.rows, y, self.channels);
        }
    }
}

impl Op for InterleaveOp {
    fn name(&self) -> &'static str {
        "interleave"
    }

    /// A row read and a row written.
    fn scratch(&self) -> usize {
        let row = self.in_width * level_stride(self.channels as u32);
        bytes_for::<u8>(row) + bytes_for::<u8>(row * self.factor)
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        if self.in_planes {
            return self.run_on_planes(band, context);
        }
        let stride = level_stride(self.channels as u32);
        let Context { memory, rows, scratch } = context;
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) =
            (scratch.cut(self.in_width * stride), scratch.cut(self.in_width * self.factor * stride));
        for y in band.rows.clone() {
            for (column, store) in self.inputs_of(y).iter().enumerate() {
                let bytes = memory.read(&store.range);
                let levels = read_row(rows, store, bytes, y / self.factor, stride, buffer);
                let copies = out.chunks_exact_mut(stride).skip(column).step_by(self.factor);
                for (copy, pixel) in copies.zip(levels.chunks_exact(stride)) {
                    copy.copy_from_slice(pixel);
                }
            }
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}
