//! Working memory of a convolution.

use crate::scratch::{Cutter, bytes_for};

/// Terms of which most convolutions have no more: a list for all that there may be takes a kilobyte of the stack.
pub(super) const FEW_TERMS: usize = 8;

/// Working memory of a thread, in elements.
pub(super) struct BuffersLen {
    pub(super) sums: usize,
    pub(super) totals: usize,
    pub(super) levels: usize,
    pub(super) columns: usize,
}

/// Working memory of a thread.
pub(super) struct Buffers<'a> {
    /// Sums of a tile, all terms.
    pub(super) sums: &'a mut [i32],
    /// Totals of a row, all terms.
    pub(super) totals: &'a mut [i32],
    /// A row of levels.
    pub(super) levels: &'a mut [u8],
    /// Interleaved rows of the input.
    pub(super) columns: &'a mut [u8],
}

impl BuffersLen {
    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        let bytes = bytes_for::<u8>(self.levels) + bytes_for::<u8>(self.columns);
        bytes_for::<i32>(self.sums) + bytes_for::<i32>(self.totals) + bytes
    }
}

impl<'a> Buffers<'a> {
    /// Cuts them out of working memory.
    pub(super) fn new(len: &BuffersLen, scratch: &'a mut [u8]) -> Self {
        let mut scratch = Cutter::new(scratch);
        Self {
            sums: scratch.cut(len.sums),
            totals: scratch.cut(len.totals),
            levels: scratch.cut(len.levels),
            columns: scratch.cut(len.columns),
        }
    }
}

/// The accumulators of each term, and then none.
pub(super) fn listed<'a, const N: usize>(mut terms: impl Iterator<Item = &'a [i32]>) -> [&'a [i32]; N] {
    std::array::from_fn(|_| terms.next().unwrap_or_default())
}
