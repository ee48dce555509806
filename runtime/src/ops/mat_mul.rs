//! Product of two values as matrices, in groups of channels: the heads of an attention.
//!
//! The second value becomes a matrix of integers for each area and group, `[summed][outputs]`, once a band; then each pixel of the
//! first is a row that is multiplied with those of its area. Attention is a small part of a network: there is no micro-kernel for it.

use ylb_format::model::{Along, Requantize, ValueId};
use ylb_kernels::requantize::{AccumulatorRange, RequantizeTile, Requantizer};

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::{Demands, Planned};
use crate::requantize::{self, Requantization};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// A product that is to be prepared.
pub struct MatMulDraft<'a> {
    /// The value whose pixels are multiplied, and the one that stands for weights.
    pub inputs: [ValueId; 2],
    /// Groups of channels, and areas of positions.
    pub parts: [u32; 2],
    /// What is summed.
    pub along: Along,
    /// Sums to levels.
    pub requantize: &'a Requantize,
}

/// A product, ready to run.
struct MatMulOp {
    inputs: [Store; 2],
    groups: usize,
    /// Positions of an area.
    area: usize,
    along: Along,
    /// Products of a sum.
    depth: usize,
    /// Channels of the output, of each group.
    outputs: usize,
    /// Channels, rows and columns of the second.
    matrix: [usize; 3],
    /// Columns of the first.
    width: usize,
    /// Integers of each value: `step · level + integer of level 0`.
    integers: [[i32; 2]; 2],
    requantizer: Requantizer,
}

impl Planned for MatMulDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        self.inputs.into_iter().for_each(|input| demands.by_level(input));
    }
}

impl Draft for MatMulDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let &Setting { model, plan, output, engine } = setting;
        let [first, second] = self.inputs;
        let encodings = [first, second].map(|value| model.encoding(value));
        let matrix = model.value(second).shape().map(|extent| extent as usize);
        let [groups, areas] = self.parts.map(|count| count as usize);
        let depth = model.value(first).channels as usize / groups;
        // The reader lets sums of 32 bits pass.
        let [a, b] = encodings.map(|encoding| encoding.max_magnitude());
        let bound = i32::try_from(depth as i64 * a * b).unwrap_or(i32::MAX);
        let range = AccumulatorRange { min: -bound, max: bound };
        let max_level = model.encoding(output).max_level;
        let op = MatMulOp {
            inputs: self.inputs.map(|input| super::input_store(plan, input)),
            groups,
            area: matrix[1] * matrix[2] / areas,
            along: self.along,
            depth,
            outputs: model.value(output).channels as usize / groups,
            matrix,
            width: model.value(output).width as usize,
            integers: encodings.map(|encoding| [encoding.step.into(), encoding.integer(0)]),
            requantizer: requantize::prepare(self.requantize, max_level, &[range], engine),
        };
        Prepared::one(op, setting)
    }
}

impl MatMulOp {
    fn stride(&self) -> usize {
        level_stride((self.groups * self.outputs) as u32)
    }

    fn input_stride(&self) -> usize {
        level_stride((self.groups * self.depth) as u32)
    }

    fn matrix_stride(&self) -> usize {
        level_stride(self.matrix[0] as u32)
    }

    /// Integers of the second value.
    fn matrix_len(&self) -> usize {
        self.matrix[1] * self.matrix[2] / self.area * self.groups * self.depth * self.outputs
    }

    /// Writes the second value down as `[area][group][summed][output]`.
    fn gather(&self, context: &Context<'_, '_>, buffer: &mut [u8], out: &mut [i32]) {
        let [channels, height, width] = self.matrix;
        let stride = self.matrix_stride();
        let [step, zero] = self.integers[1];
        let bytes = context.memory.read(&self.inputs[1].range);
        let each = channels / self.groups;
        for y in 0..height {
            let row = read_row(context.rows, &self.inputs[1], bytes, y, stride, buffer);
            for (x, pixel) in row.chunks_exact(stride).enumerate() {
                let position = y * width + x;
                let (area, position) = (position / self.area, position % self.area);
                for (channel, &level) in pixel[..channels].iter().enumerate() {
                    let (group, own) = (channel / each, channel % each);
                    let [summed, output] = match self.along {
                        Along::Channels => [own, position],
                        Along::Positions => [position, own],
                    };
                    let at = ((area * self.groups + group) * self.depth + summed) * self.outputs + output;
                    out[at] = step * i32::from(level) + zero;
                }
            }
        }
    }
}

impl Op for MatMulOp {
    fn name(&self) -> &'static str {
        "mat_mul"
    }

    fn requantization(&self) -> Option<Requantization> {
        Some(Requantization::of(&self.requantizer))
    }

    /// A row of each value, of sums and of the result, and the matrix.
    fn scratch(&self) -> usize {
        let levels = [
            self.width * self.input_stride(),
            self.matrix[2] * self.matrix_stride(),
            self.width * self.stride(),
        ];
        let matrix = self.matrix_len();
        levels.into_iter().map(bytes_for::<u8>).sum::<usize>()
            + bytes_for::<i32>(self.width * self.stride())
            + bytes_for::<i32>(matrix)
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let [from, to] = [self.input_stride(), self.stride()];
        let mut scratch = Cutter::new(std::mem::take(&mut context.scratch));
        let buffer = scratch.cut::<u8>(self.width * from);
        let matrix_buffer = scratch.cut::<u8>(self.matrix[2] * self.matrix_stride());
        let out = scratch.cut::<u8>(self.width * to);
        let sums = scratch.cut::<i32>(self.width * to);
        let matrix = scratch.cut::<i32>(self.matrix_len());
        self.gather(context, matrix_buffer, matrix);
        let Context { memory, rows, .. } = context;
        let bytes = memory.read(&self.inputs[0].range);
        let [step, zero] = self.integers[0];
        let each = self.groups * self.depth * self.outputs;
        for y in band.rows.clone() {
            let row = read_row(rows, &self.inputs[0], bytes, y, from, buffer);
            sums.fill(0);
            let pixels = row.chunks_exact(from).zip(sums.chunks_exact_mut(to));
            for (x, (pixel, sums)) in pixels.enumerate() {
                // One area is that of any position, of maps of other extents too.
                let area = if matrix.len() == each { 0 } else { (y * self.width + x) / self.area };
                let rows = matrix[area * each..][..each].chunks_exact(self.outputs).enumerate();
                for (at, weights) in rows {
                    let integer = step * i32::from(pixel[at]) + zero;
                    let sums = &mut sums[at / self.depth * self.outputs..][..self.outputs];
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += integer * weight);
                }
            }
            self.requantizer.apply(&mut RequantizeTile {
                accumulators: &[sums],
                stride: 1,
                pixels: out.len(),
                first_channel: 0,
                channels: 1,
                levels: out,
                level_stride: 1,
            });
            band.write_row(rows, y, out, to, self.groups * self.outputs);
        }
    }
}
