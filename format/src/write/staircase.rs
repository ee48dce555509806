//! Staircases: see [`threshold`](crate::threshold).

use super::section::{Section, narrow};
use crate::threshold::{Threshold, zigzag};

impl Section {
    /// The number of thresholds, the first level, the thresholds, then the levels behind each.
    pub(super) fn staircase(&mut self, thresholds: &[impl Threshold], levels: &[u8]) {
        self.u16(narrow(thresholds.len()));
        self.bytes.extend(levels.first());
        let (mut last, mut step) = (0_i64, 0_i64);
        for threshold in thresholds.iter().map(|threshold| threshold.to_i64()) {
            let this_step = threshold.wrapping_sub(last);
            self.varint(zigzag(this_step.wrapping_sub(step)));
            (last, step) = (threshold, this_step);
        }
        self.runs(levels);
    }

    /// By how much the levels change, and for how many thresholds.
    fn runs(&mut self, levels: &[u8]) {
        let changes: Vec<u8> = levels.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        for run in changes.chunk_by(|a, b| a == b) {
            self.u8(run[0]);
            self.varint(narrow(run.len()));
        }
    }
}
