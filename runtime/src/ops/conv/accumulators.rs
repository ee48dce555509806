//! Convolutions whose output is accumulators: heads.

use super::{ConvOp, STRIP};
use crate::bands::Band;
use crate::ops::Context;

impl ConvOp {
    /// All sums of a strip of pixels, and then a copy to where they belong, where that is made for: blocks of a pixel
    /// share cache lines, and a row of heads exceeds the L1 cache. On an Intel Xeon, computing sums in place takes 1.2
    /// times as long; a Cortex-A72 would only have more to do.
    pub(super) fn accumulators_by_pixels(
        &self,
        band: &mut Band<'_>,
        context: &mut Context<'_, '_>,
        y: usize,
    ) {
        let Context { memory, scratch, .. } = context;
        let stride = self.blocks.len() * self.nr;
        let row_len = self.width * self.channels;
        let row = &mut band.accumulators[(y - band.rows.start) * row_len..][..row_len];
        let strips = row.chunks_mut(STRIP * self.channels);
        for (x, out) in (0..self.width).step_by(STRIP).zip(strips) {
            let pixels = out.len() / self.channels;
            let sums = &mut scratch.sums[..STRIP * stride];
            for (number, block) in self.blocks.iter().enumerate() {
                let sums = (&mut sums[number * self.nr..], stride);
                self.accumulate((memory, &[]), sums, &mut scratch.totals, (number, block), [y, x], pixels);
            }
            for (out, sums) in out.chunks_exact_mut(self.channels).zip(sums.chunks_exact(stride)) {
                out.copy_from_slice(&sums[..self.channels]);
            }
        }
    }

    /// Block by block, each where it belongs.
    pub(super) fn accumulators_row(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>, y: usize) {
        let Context { memory, scratch, .. } = context;
        let row_len = self.width * self.channels;
        let row = &mut band.accumulators[(y - band.rows.start) * row_len..][..row_len];
        for (number, block) in self.blocks.iter().enumerate() {
            // A whole block of a single term needs no copy: its sums can be computed where they belong.
            let in_place = block.outputs == self.nr && self.compute.terms() == 1;
            for x in (0..self.width).step_by(STRIP) {
                let pixels = STRIP.min(self.width - x);
                let sums = if in_place {
                    (&mut row[x * self.channels + block.first..], self.channels)
                } else {
                    (&mut scratch.sums[..], self.nr)
                };
                self.accumulate((memory, &[]), sums, &mut scratch.totals, (number, block), [y, x], pixels);
                if in_place {
                    continue;
                }
                let out = row[x * self.channels..].chunks_exact_mut(self.channels);
                for (sums, out) in scratch.sums.chunks_exact(self.nr).zip(out).take(pixels) {
                    // In pieces of constant length this takes 1.4 times as long, on a Cortex-A72.
                    out[block.first..][..block.outputs].copy_from_slice(&sums[..block.outputs]);
                }
            }
        }
    }
}
