//! The contract between a convolution micro-kernel and its caller.
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

pub(crate) use levels::ConvLevels;
pub use levels::{LevelsEnd, LevelsTile, TileRows};

use crate::layout::Form;
use crate::requantize::{AccumulatorRange, AccumulatorTransform, PlaneSteps, PlaneStepsRows, RequantizeSpec};

/// An instruction set that micro-kernels are written for; also the `<engine>` in their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Portable Rust, available everywhere.
    Generic,
    /// AArch64 Advanced SIMD.
    Neon,
    /// AArch64 Advanced SIMD with the dot product instructions.
    Dotprod,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 and the extensions of Ice Lake and Zen 4.
    Avx512,
    /// x86-64 with AMX for bytes.
    Amx,
}

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

/// One call of a micro-kernel that turns its sums into levels in bit planes itself, while they are in
/// registers: neither sums nor accumulators nor levels as bytes are ever stored.
#[derive(Debug)]
pub struct PlanesTile<'a> {
    /// The convolution. Its `sums` are not used. Its `totals`, `[pixels]`, are used unless the steps
    /// do without.
    pub conv: ConvTile<'a>,
    /// Whether `totals` are to be computed; otherwise they are there already, from another block.
    pub compute_totals: bool,
    /// From sums to levels: [`Conv::plane_steps`].
    pub steps: &'a PlaneSteps,
    /// The block's first output channel: a multiple of 16.
    pub first_channel: usize,
    /// Output channels of the block that exist.
    pub outputs: usize,
    /// Result: `outputs` channels in [`Form::Planes`] for each pixel, at `p · planes_stride`. Channels
    /// missing to a multiple of 8 get level 0.
    pub planes: &'a mut [u8],
    /// Bytes from a pixel to the next in `planes`.
    pub planes_stride: usize,
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
    pub(crate) run_planes: Option<RunPlanes>,
    /// Computes a tile to levels, if the micro-kernel can.
    pub(crate) levels: Option<ConvLevels>,
}

/// Computes a tile to bit planes.
///
/// # Safety
/// - The CPU has the engine's instructions.
/// - The tile has been checked by `PlanesTile::check`.
pub(crate) type RunPlanes = unsafe fn(&mut PlanesTile<'_>);

/// A micro-kernel that this CPU can run: the proof is that the value exists.
#[derive(Clone, Copy, Debug)]
pub struct Conv(&'static ConvKernel);

impl Conv {
    /// `None` if this CPU lacks the engine's instructions.
    pub fn new(kernel: &'static ConvKernel) -> Option<Self> {
        kernel.engine.is_available().then_some(Self(kernel))
    }

    /// The micro-kernel's description.
    pub fn kernel(&self) -> &'static ConvKernel {
        self.0
    }

    /// The form in which the input must lie, for levels of up to `max_level`.
    pub fn input_form(&self, max_level: u8) -> Form {
        if self.0.bit_serial {
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
        tile.check(self.0);
        // SAFETY: the CPU has the instructions, or `self` could not have been made; the tile was
        // checked in the line before.
        unsafe { (self.0.run)(tile) }
    }
}

impl Conv {
    /// The steps for [`run_planes`](Self::run_planes), from the map and the accumulators that the
    /// convolution can have, by channel. `None` if the micro-kernel cannot make planes of `bits` bits, or
    /// not of this convolution: [`run`](Self::run) then has to.
    ///
    /// `widths` are bits of a weight and of a level as in [`ConvTile`].
    pub fn plane_steps(
        &self,
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        transform: &AccumulatorTransform,
        bits: u8,
        widths: [u8; 2],
    ) -> Option<PlaneSteps> {
        let steps = if self.counts_differences(widths[0]) {
            let wide = self.0.engine == Engine::Avx512;
            PlaneSteps::of_differences(spec, ranges, transform, bits, wide)
        } else if self.0.bit_serial {
            PlaneSteps::narrow(spec, ranges, transform, bits)
        } else {
            PlaneSteps::wide(spec, ranges, transform, bits)
        };
        steps.filter(|steps| self.takes(widths, steps))
    }

    /// Whether its way to planes takes bits of weights for −1 and +1, so that it needs no totals.
    fn counts_differences(&self, weight_bits: u8) -> bool {
        self.0.bit_serial && weight_bits == 1
    }

    fn takes(&self, [weight_bits, activation_bits]: [u8; 2], steps: &PlaneSteps) -> bool {
        let differences = self.counts_differences(weight_bits);
        let wide = !self.0.bit_serial || differences && self.0.engine == Engine::Avx512;
        let fits =
            wide == matches!(steps.rows, PlaneStepsRows::Wide(_)) && !(differences && steps.total_scale != 0);
        fits && self.0.run_planes.is_some() && (!self.0.bit_serial || steps.bits == activation_bits)
    }

    /// Computes a tile to bit planes.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for, or the steps are not those of
    /// [`plane_steps`](Self::plane_steps).
    pub fn run_planes(&self, tile: &mut PlanesTile<'_>) {
        let takes = self.takes([tile.conv.weight_bits, tile.conv.activation_bits], tile.steps);
        let run = self.0.run_planes.filter(|_| takes).expect("the steps are this micro-kernel's");
        tile.check(self.0);
        // SAFETY: the CPU has the instructions, or `self` could not have been made; the tile was
        // checked in the line before.
        unsafe { run(tile) }
    }
}

impl PlanesTile<'_> {
    /// Panics unless every access of a micro-kernel that keeps its contract is inside its operand.
    fn check(&self, kernel: &ConvKernel) {
        self.conv.check_input(kernel);
        assert!(
            self.conv.pixels <= self.conv.totals.len() || self.steps.total_scale == 0,
            "totals are too short"
        );
        assert!(self.outputs <= kernel.nr, "{} outputs in a block of {}", self.outputs, kernel.nr);
        assert!(self.first_channel.is_multiple_of(16), "channel {} starts no vector", self.first_channel);
        assert!(self.first_channel + kernel.nr <= self.steps.channels(), "steps for too few channels");
        let len = self.outputs.div_ceil(8) * usize::from(self.steps.bits);
        let before = self.conv.pixels.saturating_sub(1).checked_mul(self.planes_stride);
        let end = before.and_then(|before| before.checked_add(len)).expect("tile geometry overflows");
        assert!(self.conv.pixels == 0 || end <= self.planes.len(), "planes are too short");
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
