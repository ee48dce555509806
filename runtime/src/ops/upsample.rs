//! Nearest-neighbour upsampling: repeats levels, or bytes of planes where input and output are in planes
//! alike.

use ylb_format::model::{Model, ValueId};
use ylb_kernels::layout::Form;

use super::{Context, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::Plan;
use crate::scratch::ScratchLen;
use crate::storage::Store;

/// Upsampling, ready to run.
pub struct UpsampleOp {
    input: Store,
    factor: usize,
    /// Whether whole pixels in planes are copied.
    in_planes: bool,
    in_width: usize,
    channels: usize,
}

impl UpsampleOp {
    /// Prepares upsampling.
    pub fn new(model: &Model, input: ValueId, factor: u32, output: ValueId, plan: &Plan) -> Self {
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

    /// Working memory of a thread: a row read and a row written.
    pub fn scratch(&self) -> ScratchLen {
        let pixels = self.in_width * (1 + self.factor);
        ScratchLen { levels: pixels * level_stride(self.channels as u32), ..Default::default() }
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

    /// Computes the band's rows.
    pub fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        if self.in_planes {
            return self.run_on_planes(band, context);
        }
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
