//! Direct convolution: the sums of products as they are defined, by bit planes (`bsconv`) or bytes (`mulconv`).
//!
//! A micro-kernel computes one *tile*: [`ConvTile::pixels`] neighbouring output pixels of one output
//! row by [`ConvKernel::nr`] output channels (one *block*). It walks the *runs* of each pixel's
//! window, contiguous stretches of levels, and returns plain sums of products:
//!
//! ```text
//! sums[p][o] = Σ_{r < runs} Σ_{k < depth} weight[o][r][k] · level[p][r][k]
//! totals[p]  = Σ_{r < runs} Σ_{k < depth} level[p][r][k]
//!
//! level[p][r] starts at byte  input_offset + p · pixel_step + runs[r]
//! ```
//!
//! A bit-serial micro-kernel reads weights as unsigned codes of `weight_bits`; a multiplying one as
//! i8. Whatever else a convolution's definition asks for (two's complement, bipolar weights, zero
//! points) is an affine function of `sums` and `totals` and is applied behind the micro-kernel, by
//! [`crate::requantize::AccumulatorTransform`].

mod levels;
mod planes;

pub(crate) use levels::ConvLevels;
pub use levels::{LevelsEnd, LevelsTile, TileRows};
pub(crate) use planes::ConvPlanes;
pub use planes::PlanesTile;
#[cfg(target_arch = "x86_64")]
pub(crate) use planes::SumWidth;

use crate::layout::Form;
use crate::registry::{Candidate, Dispatch};
use crate::ukernel::{Available, Engine, Family, Listed, MicroKernel};

/// Which levels and weights a convolution has: what decides whether a micro-kernel can compute it,
/// and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operands {
    /// Largest level of the input, 1 to 255.
    pub max_level: u8,
    /// Bits of a weight's code, 1 to 8; more than 8 where a zero point takes weights out of an i8.
    pub weight_bits: u8,
    /// Smallest weight, as the multiplying micro-kernels read it (an i8).
    pub min_weight: i8,
    /// Largest weight, likewise.
    pub max_weight: i8,
    /// Levels of a run, as the micro-kernel will read them.
    pub depth: usize,
    /// Output channels.
    pub outputs: usize,
}

/// Weights of one block, in plain form, for [`ConvKernel::pack`].
#[derive(Clone, Copy, Debug)]
pub struct WeightBlock<'a> {
    /// `[output < nr][run][k < depth]`. Unsigned codes for a bit-serial micro-kernel; the bytes of an
    /// i8 for a multiplying one. Outputs and channels that do not exist are 0.
    pub codes: &'a [u8],
    /// Runs of a window.
    pub runs: usize,
    /// Levels of a run: a multiple of 8 for bit-serial micro-kernels.
    pub depth: usize,
    /// Bits of a weight: planes to pack for a bit-serial micro-kernel.
    pub weight_bits: u8,
}

/// One call of a micro-kernel. See the [module documentation](self) for what it computes.
#[derive(Debug)]
pub struct ConvTile<'a> {
    /// The input tensor in the form that the micro-kernel reads. Must reach
    /// [`READ_SLACK`](crate::layout::READ_SLACK) bytes beyond the last run of the last pixel.
    pub input: &'a [u8],
    /// Offset of the window of the first output pixel.
    pub input_offset: usize,
    /// Bytes from a window to the window of the next output pixel.
    pub pixel_step: usize,
    /// Offset of each run from its window's offset.
    pub runs: &'a [usize],
    /// Levels of a run. A multiple of 8 for bit-serial micro-kernels.
    pub depth: usize,
    /// Bits of a level as stored: planes for bit-serial micro-kernels, otherwise unused.
    pub activation_bits: u8,
    /// Bits of a weight, as packed.
    pub weight_bits: u8,
    /// The block's weights, as [`ConvKernel::pack`] wrote them.
    pub weights: &'a [u8],
    /// Output pixels to compute: any number, best a multiple of [`ConvKernel::mr`].
    pub pixels: usize,
    /// Result: [`ConvKernel::nr`] sums for each pixel, at `p · sums_stride`.
    pub sums: &'a mut [i32],
    /// Numbers from a pixel to the next in `sums`: at least [`ConvKernel::nr`].
    pub sums_stride: usize,
    /// Result, `[pixels]`, or empty if it is not wanted.
    pub totals: &'a mut [i32],
}

/// A convolution micro-kernel: what it is called, what it can do, and how to run it.
///
/// The value is plain data and exists on every CPU of the architecture. Only
/// [`registry::Dispatch`](crate::registry::Dispatch) hands out the callable form, and only where the
/// CPU has the instructions.
#[derive(Debug)]
pub struct ConvKernel {
    /// `<op>_<dst>_<act>_<wgt>_<tile>_<engine>[_<tech>]`, see `docs/kernels.md`.
    pub name: &'static str,
    /// What the CPU must have.
    pub engine: Engine,
    /// Whether it reads bit planes ([`Form::Planes`]) or bytes.
    pub bit_serial: bool,
    /// What callers do otherwise for it.
    pub capabilities: Capabilities,
    /// Output channels of a block.
    pub nr: usize,
    /// Output pixels that share one pass over the weights.
    pub mr: usize,
    /// Whether the results are exact for these operands.
    pub supports: fn(&Operands) -> bool,
    /// Estimated multiply-accumulates per cycle, for the choice among micro-kernels: only ratios matter.
    pub rate: fn(&Operands) -> f32,
    /// Bytes of a packed block, by runs, depth and weight bits.
    pub packed_len: fn(runs: usize, depth: usize, weight_bits: u8) -> usize,
    /// Packs a block; `out` has `packed_len` bytes.
    pub pack: fn(block: &WeightBlock<'_>, out: &mut [u8]),
    /// Computes a tile.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The tile has been checked by `ConvTile::check`.
    pub(crate) run: unsafe fn(&mut ConvTile<'_>),
    /// Computes a tile to bit planes, if the micro-kernel can.
    pub(crate) planes: Option<ConvPlanes>,
    /// Computes a tile to levels, if the micro-kernel can.
    pub(crate) levels: Option<ConvLevels>,
}

/// What callers do otherwise for some micro-kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether a call of [`Conv::run_levels`] computes several rows together: tiles are so large that short rows leave parts
    /// of them empty.
    pub many_rows: bool,
    /// Whether tiles are so fast that it pays to compute the sums of all channels side by side and to copy them to where
    /// they belong, as blocks of a pixel share cache lines.
    pub dense_sums: bool,
    /// Runs of fewer levels leave so much of a step empty that rows may be interleaved before, which makes one run of a
    /// window. 0 if that is nothing to be gained.
    pub short_run: usize,
}

impl Capabilities {
    /// Nothing out of the ordinary.
    pub const NONE: Self = Self { many_rows: false, dense_sums: false, short_run: 0 };
}

impl MicroKernel for ConvKernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn engine(&self) -> Engine {
        self.engine
    }

    fn op(&self) -> &'static str {
        if self.bit_serial { "bsconv" } else { "mulconv" }
    }

    fn tile(&self) -> Option<[usize; 2]> {
        Some([self.mr, self.nr])
    }
}

impl Family for ConvKernel {
    fn listed(list: &Listed) -> &'static [&'static Self] {
        list.direct
    }
}

/// A direct convolution micro-kernel that this CPU can run.
pub type Conv = Available<ConvKernel>;

/// The best micro-kernel for all terms of a convolution, which must have one. `None` does not happen for a valid model: the
/// portable multiplying micro-kernel takes everything.
pub fn candidate(dispatch: &Dispatch, terms: &[Operands]) -> Option<Candidate<ConvKernel>> {
    dispatch.best(|conv: &Conv| {
        let kernel = conv.kernel();
        let rate = match terms {
            [term] => (kernel.rate)(term),
            _ => {
                let depth: usize = terms.iter().map(|term| term.depth).sum();
                depth as f32 / terms.iter().map(|term| term.depth as f32 / (kernel.rate)(term)).sum::<f32>()
            }
        };
        terms.iter().all(|term| (kernel.supports)(term)).then_some(rate)
    })
}

impl Conv {
    /// The form in which the input must lie, for levels of up to `max_level`.
    pub fn input_form(&self, max_level: u8) -> Form {
        if self.kernel().bit_serial {
            Form::Planes { bits: (8 - max_level.leading_zeros()) as u8 }
        } else {
            Form::Bytes
        }
    }

    /// Computes a tile.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for.
    pub fn run(&self, tile: &mut ConvTile<'_>) {
        tile.check(self.kernel());
        // SAFETY: the CPU has the instructions, or `self` could not have been made; the tile was
        // checked in the line before.
        unsafe { (self.kernel().run)(tile) }
    }
}

impl ConvTile<'_> {
    /// Bytes of a run.
    pub fn run_len(&self, bit_serial: bool) -> usize {
        if bit_serial { self.depth / 8 * usize::from(self.activation_bits) } else { self.depth }
    }

    /// Panics unless every access of a micro-kernel that keeps its contract is inside its operand.
    fn check(&self, kernel: &ConvKernel) {
        self.check_input(kernel);
        assert!(kernel.nr <= self.sums_stride, "{} sums in a stride of {}", kernel.nr, self.sums_stride);
        let before = self.pixels.saturating_sub(1).checked_mul(self.sums_stride);
        let end = before.and_then(|before| before.checked_add(kernel.nr)).expect("tile geometry overflows");
        assert!(self.pixels == 0 || end <= self.sums.len(), "sums are too short");
        assert!(self.totals.is_empty() || self.pixels <= self.totals.len(), "totals are too short");
    }

    /// The same without the results.
    fn check_input(&self, kernel: &ConvKernel) {
        self.check_rows(kernel, 0);
    }

    /// The same of rows of which the last is `last` bytes behind the first.
    fn check_rows(&self, kernel: &ConvKernel, last: usize) {
        if kernel.bit_serial {
            assert!(self.depth.is_multiple_of(8), "bit-serial depth {} is no multiple of 8", self.depth);
            assert!((1..=4).contains(&self.activation_bits) && (1..=4).contains(&self.weight_bits));
        }
        let last_run = self.runs.iter().copied().max().unwrap_or(0);
        let windows = self.pixels.saturating_sub(1).checked_mul(self.pixel_step);
        let end = windows
            .and_then(|windows| windows.checked_add(self.input_offset)?.checked_add(last_run))
            .and_then(|end| end.checked_add(self.run_len(kernel.bit_serial)))
            .and_then(|end| end.checked_add(last)?.checked_add(crate::layout::READ_SLACK))
            .expect("tile geometry overflows");
        assert!(end <= self.input.len(), "input of {} bytes, {end} needed", self.input.len());
        let packed = (kernel.packed_len)(self.runs.len(), self.depth, self.weight_bits);
        assert!(packed <= self.weights.len(), "{} bytes of weights, {packed} needed", self.weights.len());
    }
}
