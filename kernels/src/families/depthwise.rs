//! Depthwise convolution: every channel with a kernel of its own.
//!
//! There is nothing to share between output channels, so levels and weights are multiplied where they
//! lie, channels side by side in the lanes of vectors:
//!
//! ```text
//! sums[p][c] = Σ_{y < rows} Σ_{x < columns} weight[y][x][c] · level[p][y][x][c]
//!
//! level[p][y][x] starts at byte  input_offset + p · pixel_step + y · row_step + x · column_step
//! ```
//!
//! Weights are numbers of 16 bits: an 8-bit weight with its zero point subtracted fits. Whatever else a convolution's
//! definition asks for is added afterwards, as with [direct](super::direct) convolutions, but no totals are: they would
//! differ by channel.

use crate::layout::READ_SLACK;
use crate::registry::{Candidate, Dispatch};
use crate::ukernel::{Available, Engine, Family, Listed, MicroKernel};

/// Channels of a block of packed weights.
pub const CHANNELS: usize = 16;

/// Which levels and weights a depthwise convolution has: what decides whether a micro-kernel can compute it, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DepthwiseOperands {
    /// Largest level of the input, 1 to 255.
    pub max_level: u8,
    /// Smallest weight.
    pub min_weight: i16,
    /// Largest weight.
    pub max_weight: i16,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
}

/// A depthwise micro-kernel.
#[derive(Debug)]
pub struct DepthwiseKernel {
    /// `dwconv_<dst>_<act>_<wgt>_<tile>_<engine>[_<tech>]`, see `docs/kernels.md`.
    pub name: &'static str,
    /// What the CPU must have.
    pub engine: Engine,
    /// Output pixels that share one pass over the weights.
    pub mr: usize,
    /// Whether the results are exact for these operands.
    pub supports: fn(&DepthwiseOperands) -> bool,
    /// Estimated multiply-accumulates per cycle, as of [`ConvKernel`](super::direct::ConvKernel): only ratios matter.
    pub rate: fn(&DepthwiseOperands) -> f32,
    /// Bytes of a packed block, by taps.
    pub(crate) packed_len: fn(taps: usize) -> usize,
    /// Packs a block, `[tap][CHANNELS]`, into `packed_len` bytes.
    pub(crate) pack: fn(weights: &[[i16; CHANNELS]], out: &mut [u8]),
    /// Computes a tile.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The tile has been checked by `DepthwiseTile::check`.
    pub(crate) run: unsafe fn(&mut DepthwiseTile<'_>),
}

/// One call of a micro-kernel: neighbouring output pixels of one output row. See the
/// [module documentation](self) for what is computed.
#[derive(Debug)]
pub struct DepthwiseTile<'a> {
    /// The input tensor, one byte a level. Must reach [`READ_SLACK`] bytes beyond the last level that is used.
    pub input: &'a [u8],
    /// Offset of the first channel of the window of the first output pixel.
    pub input_offset: usize,
    /// Bytes from a window to the window of the next output pixel.
    pub pixel_step: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Bytes from a row of a window to the next.
    pub row_step: usize,
    /// Bytes from a column of a window to the next.
    pub column_step: usize,
    /// Channels to compute.
    pub channels: usize,
    /// Their weights in blocks of [`CHANNELS`], as [`Depthwise::pack`] wrote them.
    pub weights: &'a [u8],
    /// Output pixels to compute.
    pub pixels: usize,
    /// Result: a sum for each channel of whole blocks, at `p · sums_stride`. Sums wrap around at 32 bits; those of channels
    /// that do not exist are meaningless.
    pub sums: &'a mut [i32],
    /// Numbers from a pixel to the next in `sums`: at least the channels of whole blocks.
    pub sums_stride: usize,
}

impl MicroKernel for DepthwiseKernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn engine(&self) -> Engine {
        self.engine
    }

    fn op(&self) -> &'static str {
        "dwconv"
    }

    fn tile(&self) -> Option<[usize; 2]> {
        Some([self.mr, CHANNELS])
    }
}

impl Family for DepthwiseKernel {
    fn listed(list: &Listed) -> &'static [&'static Self] {
        list.depthwise
    }
}

/// A depthwise micro-kernel that this CPU can run.
pub type Depthwise = Available<DepthwiseKernel>;

/// The best micro-kernel for all terms of a depthwise convolution. `None` does not happen: the portable one takes
/// everything.
pub fn candidate(dispatch: &Dispatch, terms: &[DepthwiseOperands]) -> Option<Candidate<DepthwiseKernel>> {
    dispatch.best(|depthwise: &Depthwise| {
        let kernel = depthwise.kernel();
        let slowest = terms.iter().map(|term| (kernel.rate)(term)).reduce(f32::min)?;
        terms.iter().all(|term| (kernel.supports)(term)).then_some(slowest)
    })
}

impl Depthwise {
    /// Bytes of the packed weights of so many channels with so many taps each.
    pub fn packed_len(&self, channels: usize, taps: usize) -> usize {
        channels.div_ceil(CHANNELS) * (self.kernel().packed_len)(taps)
    }

    /// Packs weights: `weight(tap, channel)` for each tap and channel.
    ///
    /// # Panics
    /// If `out` has another length than [`packed_len`](Self::packed_len) says.
    pub fn pack(&self, weight: impl Fn(usize, usize) -> i16, [channels, taps]: [usize; 2], out: &mut [u8]) {
        assert_eq!(out.len(), self.packed_len(channels, taps), "packed weights");
        let mut plain = vec![[0; CHANNELS]; taps];
        let blocks = out.chunks_exact_mut((self.kernel().packed_len)(taps).max(1));
        for (first, out) in (0..channels).step_by(CHANNELS).zip(blocks) {
            for (tap, weights) in plain.iter_mut().enumerate() {
                *weights =
                    std::array::from_fn(
                        |lane| {
                            if first + lane < channels { weight(tap, first + lane) } else { 0 }
                        },
                    );
            }
            (self.kernel().pack)(&plain, out);
        }
    }

    /// Computes a tile.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for.
    pub fn run(&self, tile: &mut DepthwiseTile<'_>) {
        tile.check(self.packed_len(tile.channels, tile.taps()));
        // SAFETY: the CPU has the instructions, or `self` could not have been made; the tile was
        // checked in the line before.
        unsafe { (self.kernel().run)(tile) }
    }
}

impl DepthwiseTile<'_> {
    /// Taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Offset of each tap from its window, row by row.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = usize> {
        let [rows, columns] = self.kernel;
        let (row_step, column_step) = (self.row_step, self.column_step);
        (0..rows).flat_map(move |row| (0..columns).map(move |column| row * row_step + column * column_step))
    }

    /// Panics unless every access of a micro-kernel that keeps its contract is inside its operand.
    fn check(&self, packed_len: usize) {
        assert!(packed_len <= self.weights.len(), "weights are too short");
        let blocks = self.channels.next_multiple_of(CHANNELS);
        assert!(blocks <= self.sums_stride, "{blocks} sums in a stride of {}", self.sums_stride);
        if self.pixels == 0 || self.channels == 0 {
            return;
        }
        let last = |steps: usize, step: usize| steps.saturating_sub(1).checked_mul(step);
        let end = last(self.kernel[0], self.row_step)
            .zip(last(self.kernel[1], self.column_step))
            .zip(last(self.pixels, self.pixel_step))
            .and_then(|((row, column), pixel)| {
                self.input_offset.checked_add(row)?.checked_add(column)?.checked_add(pixel)
            })
            .and_then(|start| start.checked_add(self.channels)?.checked_add(READ_SLACK))
            .expect("tile geometry overflows");
        assert!(end <= self.input.len(), "input of {} bytes, {end} needed", self.input.len());
        let end = last(self.pixels, self.sums_stride).and_then(|before| before.checked_add(blocks));
        let end = end.expect("tile geometry overflows");
        assert!(end <= self.sums.len(), "sums are too short");
    }
}
