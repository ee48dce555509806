//! Nearest-neighbour upsampling: repeats levels, or bytes of planes where input and output are in planes
//! alike.

use ylb_format::model::{Model, ValueId};
use ylb_kernels::layout::Form;

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::Plan;
use crate::plan::demand::Planned;
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// Upsampling that is to be prepared.
pub struct UpsampleDraft {
    /// The value enlarged.
    pub input: ValueId,
    /// How often rows and columns are repeated.
    pub factor: u32,
}

/// Upsampling, ready to run.
pub struct UpsampleOp {
    input: Store,
    factor: usize,
    /// Whether whole pixels in planes are copied.
    in_planes: bool,
    in_width: usize,
    channels: usize,
}

/// It reads whatever there is.
impl Planned for UpsampleDraft {}

impl Draft for UpsampleDraft {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, plan, output, .. } = setting;
        Prepared::one(UpsampleOp::new(model, self.input, self.factor, output, plan), setting)
    }
}

impl UpsampleOp {
    fn new(model: &Model, input: ValueId, factor: u32, output: ValueId, plan: &Plan) -> Self {
        let value = model.value(input);
        let planes = plan.storage[output.index()].stores.first().and_then(|store| {
            let planes = plan.storage[input.index()].store(store.layout.form)?;
            let whole = planes.segments.len() == 1 && store.segments.len() == 1;
            (matches!(store.layout.form, Form::Planes { .. }) && whole).then(|| planes.clone())
        });
        Self {
            in_planes: planes.is_some(),
            input: planes.unwrap_or_else(|| super::input_store(plan, input)),
            factor: factor as usize,
            in_width: value.width as usize,
            channels: value.channels as usize,
        }
    }

    fn run_on_planes(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let layout = &self.input.layout;
        for y in band.rows.clone() {
            let input = &context.memory.read(&self.input.range);
            let input = &input[self.input.offset((y / self.factor) as isize, 0)..];
            let output = band.planes_row(y);
            let pixels = input.chunks(layout.pixel_stride).take(self.in_width);
            for (pixel, copies) in pixels.zip(output.bytes.chunks_mut(self.factor * output.pixel_stride)) {
                for copy in copies.chunks_mut(output.pixel_stride) {
                    copy[..layout.pixel_len()].copy_from_slice(&pixel[..layout.pixel_len()]);
                }
            }
            band.finish_planes_row(context.rows, y, self.channels);
        }
    }
}

impl Op for UpsampleOp {
    fn name(&self) -> &'static str {
        "upsample"
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
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) =
            (scratch.cut(self.in_width * stride), scratch.cut(self.in_width * self.factor * stride));
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
