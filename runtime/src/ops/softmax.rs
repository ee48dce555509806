//! Softmax over groups of channels of a pixel, with its quantizer.
//!
//! A level's share depends on nothing but its distance from the largest and the sum of the exponentials: for each pixel and group
//! the levels are counted, and a table of output levels is made for those that occur.

use ylb_format::model::ValueId;

use super::{Context, Draft, Op, Prepared, Setting, level_stride};
use crate::bands::{Band, read_row};
use crate::plan::demand::{Demands, Planned};
use crate::scratch::{Cutter, bytes_for};
use crate::storage::Store;

/// Fraction bits of a threshold.
const FRACTION: u32 = 48;

/// A softmax that is to be prepared.
pub struct SoftmaxDraft<'a> {
    /// The value whose channels are compared.
    pub input: ValueId,
    /// Groups of channels.
    pub groups: u32,
    /// For each distance from the largest level.
    pub exponentials: &'a [u64],
    /// Shares at which the level changes.
    pub thresholds: &'a [u64],
    /// Levels between them.
    pub levels: &'a [u8],
}

/// A softmax, ready to run.
struct SoftmaxOp {
    input: Store,
    width: usize,
    channels: usize,
    groups: usize,
    exponentials: Vec<u64>,
    thresholds: Vec<u64>,
    levels: Vec<u8>,
}

impl Planned for SoftmaxDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        demands.by_level(self.input);
    }
}

impl Draft for SoftmaxDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let value = setting.model.value(self.input);
        let op = SoftmaxOp {
            input: super::input_store(setting.plan, self.input),
            width: value.width as usize,
            channels: value.channels as usize,
            groups: self.groups as usize,
            exponentials: self.exponentials.to_vec(),
            thresholds: self.thresholds.to_vec(),
            levels: self.levels.to_vec(),
        };
        Prepared::one(op, setting)
    }
}

impl SoftmaxOp {
    fn row_len(&self) -> usize {
        self.width * level_stride(self.channels as u32)
    }

    /// Levels of the shares of one group.
    fn shares(&self, group: &[u8], out: &mut [u8]) {
        let largest = group.iter().copied().max().unwrap_or(0);
        let mut counts = [0u64; 256];
        group.iter().for_each(|&level| counts[usize::from(largest - level)] += 1);
        let occurring = || counts.iter().zip(&self.exponentials).enumerate().filter(|(_, (n, _))| **n > 0);
        let sum: u128 = occurring().map(|(_, (&n, &own))| u128::from(n) * u128::from(own)).sum();
        let mut table = [0; 256];
        for (distance, (_, &own)) in occurring() {
            let share = u128::from(own) << FRACTION;
            let passed = self.thresholds.partition_point(|&threshold| u128::from(threshold) * sum <= share);
            table[distance] = self.levels[passed];
        }
        for (out, &level) in out.iter_mut().zip(group) {
            *out = table[usize::from(largest - level)];
        }
    }
}

impl Op for SoftmaxOp {
    fn name(&self) -> &'static str {
        "softmax"
    }

    /// A row read and a row written.
    fn scratch(&self) -> usize {
        2 * bytes_for::<u8>(self.row_len())
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let stride = level_stride(self.channels as u32);
        let each = self.channels / self.groups;
        let Context { memory, rows, scratch } = context;
        let bytes = memory.read(&self.input.range);
        let mut scratch = Cutter::new(scratch);
        let (buffer, out) = (scratch.cut(self.row_len()), scratch.cut::<u8>(self.row_len()));
        out.fill(0);
        for y in band.rows.clone() {
            let row = read_row(rows, &self.input, bytes, y, stride, buffer);
            for (pixel, out) in row.chunks_exact(stride).zip(out.chunks_exact_mut(stride)) {
                let groups = pixel[..self.channels].chunks_exact(each);
                for (group, out) in groups.zip(out.chunks_exact_mut(each)) {
                    self.shares(group, out);
                }
            }
            band.write_row(rows, y, out, stride, self.channels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::BufferId;
    use ylb_kernels::layout::{Border, Form, Layout};

    /// A share that is a threshold has passed it, as the format says.
    #[test]
    fn thresholds_are_reached_by_their_own_shares() {
        let input = Store {
            buffer: BufferId(0),
            layout: Layout::dense(Form::Bytes, 2, 1, 1, Border::default()),
            pixel_offset: 0,
            segments: Vec::new(),
            border_pixel: Vec::new(),
            range: 0..0,
        };
        let half = 1 << (FRACTION - 1);
        let op = |threshold| SoftmaxOp {
            input: input.clone(),
            width: 1,
            channels: 2,
            groups: 1,
            exponentials: vec![1 << 46, 1],
            thresholds: vec![threshold],
            levels: vec![3, 9],
        };
        for (threshold, expected) in [(half, 9), (half + 1, 3)] {
            let mut out = [0; 2];
            op(threshold).shares(&[5, 5], &mut out);
            assert_eq!(out, [expected; 2]);
        }
    }
}
