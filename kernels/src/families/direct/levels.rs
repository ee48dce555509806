//! Micro-kernels that turn their sums into levels themselves.

use super::{Conv, ConvTile};
use crate::requantize::Requantizer;

/// Where the sums of a block of outputs become levels: in registers, so that only levels are stored. The sums must be
/// the accumulators.
#[derive(Debug)]
pub struct LevelsEnd<'a> {
    /// From accumulators to levels: one that the micro-kernel takes.
    pub requantizer: &'a Requantizer,
    /// The block's first output channel.
    pub first_channel: usize,
    /// Output channels of the block that exist.
    pub outputs: usize,
    /// Result: the level of output `o` of pixel `p` at `p · level_stride + o`.
    pub levels: &'a mut [u8],
    /// Bytes from a pixel to the next in `levels`.
    pub level_stride: usize,
}

/// One call of a micro-kernel that ends in levels.
#[derive(Debug)]
pub struct LevelsTile<'a> {
    /// The convolution of the first row. Its `sums` and `totals` are not used.
    pub conv: ConvTile<'a>,
    /// Its end; [`Conv::makes_levels`] says which requantizers are taken.
    pub end: LevelsEnd<'a>,
    /// The rows.
    pub rows: TileRows,
}

/// Rows of output pixels that are computed in one call: short rows leave parts of large tiles empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileRows {
    /// Number of rows.
    pub count: usize,
    /// Bytes from the windows of a row to those of the next in the input.
    pub input_step: usize,
    /// Bytes from a row to the next in the levels.
    pub level_step: usize,
}

impl TileRows {
    /// A single row.
    pub const ONE: Self = Self { count: 1, input_step: 0, level_step: 0 };

    /// How far the last row is from the first, in input and levels.
    ///
    /// # Panics
    /// If that is no `usize`, or there is no row.
    fn last(&self) -> [usize; 2] {
        let steps = self.count.checked_sub(1).expect("a tile has rows");
        [self.input_step, self.level_step]
            .map(|step| steps.checked_mul(step).expect("tile geometry overflows"))
    }
}

/// How a convolution micro-kernel ends in levels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvLevels {
    /// Whether it has the arithmetic of a requantizer, which is one for a single term.
    pub(crate) takes: fn(&Requantizer) -> bool,
    /// Computes a tile, which has one row unless the micro-kernel computes [`many_rows`](super::Capabilities::many_rows).
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The tile has been checked, by `ConvTile::check_input` and `LevelsEnd::check`, and `takes` accepts its requantizer.
    pub(crate) run: unsafe fn(&mut LevelsTile<'_>),
}

impl Conv {
    /// Whether the micro-kernel can compute [`LevelsTile`]s with this requantizer.
    pub fn makes_levels(&self, requantizer: &Requantizer) -> bool {
        self.kernel().levels.is_some_and(|levels| requantizer.terms() == 1 && (levels.takes)(requantizer))
    }

    /// Computes a tile to levels.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for, or the requantizer is not one that
    /// [`makes_levels`](Self::makes_levels) accepts.
    pub fn run_levels(&self, tile: &mut LevelsTile<'_>) {
        let takes = self.makes_levels(tile.end.requantizer);
        let kernel = self.kernel();
        let levels = kernel.levels.filter(|_| takes).expect("the micro-kernel takes the requantizer");
        let [last_windows, last_levels] = tile.rows.last();
        tile.conv.check_rows(kernel, last_windows);
        tile.end.check_rows(tile.conv.pixels, kernel.nr, last_levels);
        if kernel.capabilities.many_rows || tile.rows.count == 1 {
            // SAFETY: the CPU has the instructions, or `self` could not have been made; the tile was
            // checked in the lines before.
            return unsafe { (levels.run)(tile) };
        }
        let TileRows { count, input_step, level_step } = tile.rows;
        let LevelsTile { conv, end, .. } = tile;
        for row in 0..count {
            let mut tile = LevelsTile {
                conv: ConvTile {
                    input_offset: conv.input_offset + row * input_step,
                    sums: &mut [],
                    totals: &mut [],
                    ..*conv
                },
                end: LevelsEnd { levels: &mut end.levels[row * level_step..], ..*end },
                rows: TileRows::ONE,
            };
            // SAFETY: as above; this row lies between the first and the last.
            unsafe { (levels.run)(&mut tile) }
        }
    }
}

impl LevelsEnd<'_> {
    /// Panics unless every access of a micro-kernel with blocks of `nr` outputs to levels and constants is inside its
    /// operand.
    pub(crate) fn check(&self, pixels: usize, nr: usize) {
        self.check_rows(pixels, nr, 0);
    }

    /// The same of rows of which the last is `last` bytes behind the first.
    fn check_rows(&self, pixels: usize, nr: usize, last: usize) {
        assert!(self.outputs <= nr, "{} outputs in a block of {nr}", self.outputs);
        let channels = self.requantizer.channels();
        let end = self.first_channel.checked_add(self.outputs).expect("tile geometry overflows");
        assert!(channels == 1 || end <= channels, "channels up to {end} of {channels}");
        let before = pixels.saturating_sub(1).checked_mul(self.level_stride);
        let end = before.and_then(|before| before.checked_add(self.outputs)?.checked_add(last));
        let end = end.expect("tile geometry overflows");
        assert!(pixels == 0 || end <= self.levels.len(), "levels are too short");
    }

    /// The channel whose constants output `output` has: there is one for all, or one for each.
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    pub(crate) fn constants_channel(&self, output: usize) -> usize {
        if self.requantizer.channels() == 1 { 0 } else { self.first_channel + output }
    }
}
