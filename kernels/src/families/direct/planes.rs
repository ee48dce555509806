//! Micro-kernels that turn their sums into levels in bit planes themselves.

use super::{Conv, ConvKernel, ConvTile};
use crate::requantize::{AccumulatorRange, AccumulatorTransform, PlaneSteps, PlaneStepsRows, RequantizeSpec};

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
    /// Result: `outputs` channels in [`Form::Planes`](crate::layout::Form::Planes) for each pixel, at `p · planes_stride`. Channels
    /// missing to a multiple of 8 get level 0.
    pub planes: &'a mut [u8],
    /// Bytes from a pixel to the next in `planes`.
    pub planes_stride: usize,
}

/// How a micro-kernel ends in bit planes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvPlanes {
    /// In what sums are compared with thresholds.
    pub(crate) sums: SumWidth,
    /// If weights of one bit count as −1 and +1 there, so that no totals are needed: in what those sums are compared.
    pub(crate) differences: Option<SumWidth>,
    /// Computes a tile.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The tile has been checked by `PlanesTile::check`.
    pub(crate) run: unsafe fn(&mut PlanesTile<'_>),
}

/// Numbers that sums are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SumWidth {
    /// Of 16 bits.
    Narrow,
    /// Of 32 bits.
    Wide,
}

impl ConvPlanes {
    /// For sums of bytes.
    pub(crate) const fn wide(run: unsafe fn(&mut PlanesTile<'_>)) -> Self {
        Self { sums: SumWidth::Wide, differences: None, run }
    }

    /// For counts of bits.
    pub(crate) const fn narrow(run: unsafe fn(&mut PlanesTile<'_>)) -> Self {
        Self { sums: SumWidth::Narrow, differences: Some(SumWidth::Narrow), run }
    }

    /// In what the sums of weights of so many bits are compared.
    fn width(&self, weight_bits: u8) -> SumWidth {
        self.differences(weight_bits).unwrap_or(self.sums)
    }

    fn differences(&self, weight_bits: u8) -> Option<SumWidth> {
        self.differences.filter(|_| weight_bits == 1)
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
        let planes = self.kernel().planes?;
        let steps = match (planes.differences(widths[0]), planes.sums) {
            (Some(width), _) => {
                PlaneSteps::of_differences(spec, ranges, transform, bits, width == SumWidth::Wide)
            }
            (None, SumWidth::Narrow) => PlaneSteps::narrow(spec, ranges, transform, bits),
            (None, SumWidth::Wide) => PlaneSteps::wide(spec, ranges, transform, bits),
        };
        steps.filter(|steps| self.takes(widths, steps))
    }

    fn takes(&self, [weight_bits, activation_bits]: [u8; 2], steps: &PlaneSteps) -> bool {
        let Some(planes) = self.kernel().planes else {
            return false;
        };
        let wide = matches!(steps.rows, PlaneStepsRows::Wide(_));
        (planes.width(weight_bits) == SumWidth::Wide) == wide
            && (planes.differences(weight_bits).is_none() || steps.total_scale == 0)
            && (!self.kernel().bit_serial || steps.bits == activation_bits)
    }

    /// Computes a tile to bit planes.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for, or the steps are not those of
    /// [`plane_steps`](Self::plane_steps).
    pub fn run_planes(&self, tile: &mut PlanesTile<'_>) {
        let takes = self.takes([tile.conv.weight_bits, tile.conv.activation_bits], tile.steps);
        let planes = self.kernel().planes.filter(|_| takes).expect("the steps are this micro-kernel's");
        tile.check(self.kernel());
        // SAFETY: the CPU has the instructions, or `self` could not have been made; the tile was
        // checked in the line before.
        unsafe { (planes.run)(tile) }
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
