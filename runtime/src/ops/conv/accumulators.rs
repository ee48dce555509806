//! Convolutions whose output is accumulators: heads.

use ylb_format::model::Requantize;

use super::blocks::Place;
use super::buffers::Buffers;
use super::{ConvOp, STRIP};
use crate::accumulators::{Accumulator, Accumulators};
use crate::bands::Band;
use crate::storage::Borrowed;

/// Accumulators of several terms as one: `(Σ multiplier · accumulator + bias) >> shift`.
pub(super) struct ScaledSum {
    /// By term, then by channel.
    multipliers: Vec<i32>,
    /// By channel.
    bias: Vec<i64>,
    shift: u8,
}

impl ScaledSum {
    /// Of a valid model, in which only scales give accumulators.
    pub(super) fn new(requantize: &Requantize) -> Self {
        let Requantize::Scale { multipliers, bias, shift } = requantize.clone() else {
            unreachable!("only scales give accumulators");
        };
        Self { multipliers, bias, shift }
    }

    /// The sum of a channel, whose accumulators lie `distance` apart.
    fn of(&self, channel: usize, accumulators: &[i32], distance: usize) -> i32 {
        let multipliers = self.multipliers[channel..].iter().step_by(self.bias.len());
        let terms = accumulators.iter().step_by(distance).zip(multipliers);
        let products =
            terms.map(|(&accumulator, &multiplier)| i64::from(accumulator) * i64::from(multiplier));
        ((products.sum::<i64>() + self.bias[channel]) >> self.shift) as i32
    }
}

impl ConvOp {
    /// Row `y`; `by_pixels` as [`End::Accumulators`](super::End::Accumulators) says.
    pub(super) fn accumulators(
        &self,
        band: &mut Band<'_>,
        memory: &Borrowed<'_>,
        buffers: &mut Buffers<'_>,
        how: (bool, Option<&ScaledSum>),
        y: usize,
    ) {
        let row = y - band.rows.start;
        match &mut band.accumulators {
            Accumulators::Wide(all) => self.accumulators_row(all, memory, buffers, how, [row, y]),
            Accumulators::Narrow(all) => self.accumulators_row(all, memory, buffers, how, [row, y]),
        }
    }

    fn accumulators_row<T: Accumulator>(
        &self,
        all: &mut [T],
        memory: &Borrowed<'_>,
        buffers: &mut Buffers<'_>,
        (by_pixels, sum): (bool, Option<&ScaledSum>),
        [row, y]: [usize; 2],
    ) {
        let row_len = self.width * self.channels;
        let out = &mut all[row * row_len..][..row_len];
        if by_pixels {
            self.accumulators_by_pixels(out, memory, buffers, y);
        } else {
            self.accumulators_by_blocks(out, memory, buffers, sum, y);
        }
    }

    /// All sums of a strip of pixels, and then a copy to where they belong, where that is made for: blocks of a pixel
    /// share cache lines, and a row of heads exceeds the L1 cache. On an Intel Xeon, computing sums in place takes 1.2
    /// times as long; a Cortex-A72 would only have more to do, but where numbers become narrow there is a copy anyway.
    fn accumulators_by_pixels<T: Accumulator>(
        &self,
        row: &mut [T],
        memory: &Borrowed<'_>,
        buffers: &mut Buffers<'_>,
        y: usize,
    ) {
        let stride = self.blocks.len() * self.nr;
        let strips = row.chunks_mut(STRIP * self.channels);
        for (x, out) in (0..self.width).step_by(STRIP).zip(strips) {
            let pixels = out.len() / self.channels;
            let sums = &mut buffers.sums[..STRIP * stride];
            for number in 0..self.blocks.len() {
                let sums = (&mut sums[number * self.nr..], stride);
                self.accumulate((memory, &[]), sums, buffers.totals, Place { block: number, y, x, pixels });
            }
            for (out, sums) in out.chunks_exact_mut(self.channels).zip(sums.chunks_exact(stride)) {
                copy(&sums[..self.channels], out);
            }
        }
    }

    /// Block by block, each where it belongs.
    fn accumulators_by_blocks<T: Accumulator>(
        &self,
        row: &mut [T],
        memory: &Borrowed<'_>,
        buffers: &mut Buffers<'_>,
        sum: Option<&ScaledSum>,
        y: usize,
    ) {
        for (number, block) in self.blocks.iter().enumerate() {
            // A whole block of a single term needs no copy: its sums can be computed where they belong.
            let in_place = block.outputs == self.nr && self.terms.count() == 1;
            for x in (0..self.width).step_by(STRIP) {
                let pixels = STRIP.min(self.width - x);
                let there = T::as_sums(&mut row[x * self.channels + block.first..]);
                let (sums, copied) = match there.filter(|_| in_place) {
                    Some(there) => ((there, self.channels), false),
                    None => ((&mut buffers.sums[..], self.nr), true),
                };
                self.accumulate((memory, &[]), sums, buffers.totals, Place { block: number, y, x, pixels });
                if !copied {
                    continue;
                }
                let out = row[x * self.channels..].chunks_exact_mut(self.channels);
                if let Some(sum) = sum {
                    for (pixel, out) in out.enumerate().take(pixels) {
                        for output in 0..block.outputs {
                            let accumulators = &buffers.sums[pixel * self.nr + output..];
                            let channel = block.first + output;
                            out[channel] = T::new(sum.of(channel, accumulators, STRIP * self.nr));
                        }
                    }
                    continue;
                }
                for (sums, out) in buffers.sums.chunks_exact(self.nr).zip(out).take(pixels) {
                    // In pieces of constant length this takes 1.4 times as long, on a Cortex-A72.
                    copy(&sums[..block.outputs], &mut out[block.first..][..block.outputs]);
                }
            }
        }
    }
}

fn copy<T: Accumulator>(sums: &[i32], out: &mut [T]) {
    out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = T::new(sum));
}
