//! Convolution of 3×3 kernels with stride 1 by Winograd's algorithm: two rows of outputs at a time.
//!
//! ```text
//! for each two output rows of the band:
//!     for each strip of columns:
//!         transform the strip's levels                       # once for all outputs
//!         for each block of output channels:
//!             sums = micro-kernel(strip, block);  accumulators = transform(sums)
//!             levels[rows, strip, block] = requantize(accumulators)
//!     write both rows of levels
//! ```

use ylb_kernels::families::winograd::{
    self, LevelsStrip, OUTPUTS, OutputsStrip, STRIP, Winograd, partial_len, sums_len, transformed_len,
};
use ylb_kernels::layout::Form;

use super::blocks::{Block, Place, blocks, gather};
use super::candidate::{Candidate, Chosen, Coding, Family, Problem};
use super::finish::Finish;
use crate::bands::{Band, LevelsRows};
use crate::ops::{Context, Op, Prepared, Setting, level_stride};
use crate::requantize::Requantization;
use crate::scratch::{Cutter, bytes_for};
use crate::storage::{AlignedBytes, Borrowed, Store};

/// The best micro-kernel, where the algorithm is exact.
pub fn candidate(problem: &Problem<'_>) -> Option<Candidate> {
    let (_, operands, _) = problem.plain()?;
    let window = &problem.conv.window;
    if window.kernel != [3, 3] || window.stride != [1, 1] || window.padding != [1; 4] {
        return None;
    }
    let best = winograd::candidate(problem.dispatch, operands)?;
    let (preference, forms) = (best.preference, vec![Form::Bytes]);
    Some(Candidate { preference, forms, coding: Coding::Bytes, family: Box::new(best.kernel) })
}

impl Family for Winograd {
    fn prepare(&self, chosen: &Chosen<'_>, setting: &Setting<'_>) -> Prepared {
        Prepared::one(WinogradOp::new(*self, chosen, setting), setting)
    }
}

/// A convolution by Winograd's algorithm, ready to run.
pub struct WinogradOp {
    kernel: Winograd,
    input: Store,
    in_channels: usize,
    blocks: Vec<Block>,
    /// Packed blocks, one after another.
    weights: AlignedBytes,
    block_len: usize,
    padding: [isize; 2],
    width: usize,
    channels: usize,
    finish: Finish,
}

impl WinogradOp {
    /// Packs the weights for the plan.
    fn new(kernel: Winograd, chosen: &Chosen<'_>, setting: &Setting<'_>) -> Self {
        let conv = chosen.conv;
        let (term, codes, store) = chosen.terms(setting).next().expect("a plain convolution has a term");
        let channels = setting.model.value(setting.output).channels as usize;
        let in_channels = store.layout.channels;
        let blocks = blocks(channels, 1, OUTPUTS);
        let block_len = kernel.packed_len(in_channels);
        let mut weights = AlignedBytes::zeroed(block_len * blocks.len());
        let mut plain = vec![0u8; OUTPUTS * 9 * in_channels];
        for (block, out) in blocks.iter().zip(weights.bytes_mut().chunks_exact_mut(block_len)) {
            gather(term, codes, store, block, in_channels, &mut plain);
            kernel.pack(&plain, in_channels, out);
        }
        Self {
            kernel,
            input: store.clone(),
            in_channels,
            blocks,
            weights,
            block_len,
            padding: [conv.window.padding[0] as isize, conv.window.padding[1] as isize],
            width: setting.model.value(setting.output).width as usize,
            channels,
            finish: Finish::new(chosen, setting),
        }
    }

    /// Levels of the outputs from (y, x) on; `out` begins in row y.
    fn strip(
        &self,
        memory: &Borrowed<'_>,
        (transformed, sums): (&mut [i8], &mut [i32]),
        [y, x]: [usize; 2],
        [rows, columns]: [usize; 2],
        out: &mut LevelsRows<'_>,
    ) {
        let layout = &self.input.layout;
        self.kernel.transform(&mut LevelsStrip {
            input: memory.read(&self.input.range),
            input_offset: self.input.offset(y as isize - self.padding[0], x as isize - self.padding[1]),
            row_stride: layout.row_stride(),
            pixel_stride: layout.pixel_stride,
            channels: self.in_channels,
            rows,
            columns,
            transformed,
        });
        let (sums, partial) = sums.split_at_mut(sums_len(columns));
        let packed = self.weights.bytes().chunks_exact(self.block_len);
        for (number, (block, weights)) in self.blocks.iter().zip(packed).enumerate() {
            self.kernel.run(&mut OutputsStrip {
                transformed,
                channels: self.in_channels,
                columns,
                weights,
                partial,
                sums,
            });
            for (row, sums) in sums.chunks_exact_mut(sums_len(columns) / 2).enumerate().take(rows) {
                let levels = &mut out.bytes[row * out.row_stride + x * out.pixel_stride..];
                let sums = (&mut sums[..columns * OUTPUTS], OUTPUTS);
                let place = Place { block: number, y: y + row, x, pixels: columns };
                self.finish.apply(place, block, sums, (levels, out.pixel_stride));
            }
        }
    }
}

impl Op for WinogradOp {
    fn name(&self) -> &'static str {
        self.kernel.kernel().name
    }

    fn requantization(&self) -> Option<Requantization> {
        Some(self.finish.requantization())
    }

    /// Sums and partial sums of a strip, two rows of levels, transformed levels of a strip.
    fn scratch(&self) -> usize {
        bytes_for::<i32>(sums_len(STRIP) + partial_len(STRIP))
            + bytes_for::<u8>(2 * self.width * level_stride(self.channels as u32))
            + bytes_for::<i8>(transformed_len(self.in_channels, STRIP))
    }

    fn packed_len(&self) -> usize {
        self.weights.bytes().len()
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let pixels = [self.width, level_stride(self.channels as u32)];
        let Context { memory, rows, scratch } = context;
        let mut scratch = Cutter::new(scratch);
        let sums = scratch.cut(sums_len(STRIP) + partial_len(STRIP));
        let levels = scratch.cut(2 * pixels[0] * pixels[1]);
        let transformed = scratch.cut(transformed_len(self.in_channels, STRIP));
        for first in band.rows.clone().step_by(2) {
            let count = 2.min(band.rows.end - first);
            let mut out = band.levels_rows(first, levels, pixels);
            for x in (0..self.width).step_by(STRIP) {
                let columns = STRIP.min(self.width - x);
                self.strip(memory, (transformed, sums), [first, x], [count, columns], &mut out);
            }
            band.finish_levels_rows(rows, first..first + count, levels, (pixels, self.channels));
        }
    }
}
