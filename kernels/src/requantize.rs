//! From a micro-kernel's sums to accumulators, and from accumulators to levels.
//!
//! A model defines the second step exactly, as a [`RequantizeSpec`]. A [`Requantizer`] computes the
//! same levels with the cheapest arithmetic that was found equal for every accumulator that can occur
//! ([`AccumulatorRange`]).

pub(crate) mod cells;
mod fold;
pub(crate) mod forms;
mod kernel;
mod many;
mod plane_steps;
pub(crate) mod search;
mod steps;

use std::sync::OnceLock;

use crate::ukernel::Engine;
use forms::Form;

pub use kernel::RequantizeKernel;
pub(crate) use kernel::Transform;
pub use plane_steps::PlaneSteps;
pub(crate) use plane_steps::Rows as PlaneStepsRows;

/// From a micro-kernel's sums and totals to the accumulators that the model defines:
///
/// ```text
/// accumulator[p][c] = sum_scale · sums[p][c] + total_scales[c] · totals[p] + constants[c]
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccumulatorTransform {
    /// Factor of every sum.
    pub sum_scale: i32,
    /// Factors of the totals by output channel; empty if all are 0, and then no totals are needed.
    pub total_scales: Vec<i32>,
    /// Addends by output channel.
    pub constants: Vec<i32>,
}

/// The exact map from accumulators to levels, as a model states it. `C` channels, `T` terms.
#[derive(Clone, Debug, PartialEq)]
pub enum RequantizeSpec {
    /// `clamp((Σ_t acc[t]·multipliers[t·C + c] + bias[c]) >> shift, 0, max_level)`.
    Scale {
        /// `T × C` factors.
        multipliers: Vec<i32>,
        /// `C` addends.
        bias: Vec<i64>,
        /// Right shift, 0 to 62, rounding towards −∞.
        shift: u8,
        /// Largest level.
        max_level: u8,
    },
    /// `levels[c][number of thresholds[c] ≤ acc]`.
    Staircase {
        /// Ascending, by channel.
        thresholds: Vec<Vec<i32>>,
        /// One more than thresholds, by channel.
        levels: Vec<Vec<u8>>,
    },
    /// `levels[number of thresholds ≤ Σ_t acc[t]·multipliers[t·C + c] + bias[c]]`.
    ScaledStaircase {
        /// `T × C` factors.
        multipliers: Vec<i32>,
        /// `C` addends.
        bias: Vec<i64>,
        /// Ascending.
        thresholds: Vec<i64>,
        /// One more than thresholds.
        levels: Vec<u8>,
    },
}

/// One call of [`Requantizer::apply`]: a tile of accumulators to levels.
#[derive(Debug)]
pub struct RequantizeTile<'a> {
    /// A term's accumulators each, `[pixels][stride]`.
    pub accumulators: &'a [&'a [i32]],
    /// Elements from a pixel to the next in `accumulators`.
    pub stride: usize,
    /// Number of pixels.
    pub pixels: usize,
    /// The channel of the first accumulator of a pixel.
    pub first_channel: usize,
    /// Channels to convert for each pixel, at most `stride`.
    pub channels: usize,
    /// Result: the level of channel `first_channel + c` of pixel `p` at `p · level_stride + c`.
    pub levels: &'a mut [u8],
    /// Bytes from a pixel to the next in `levels`.
    pub level_stride: usize,
}

/// The smallest and the largest value that an accumulator can have, whatever the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccumulatorRange {
    /// The smallest.
    pub min: i32,
    /// The largest, not below `min`.
    pub max: i32,
}

impl AccumulatorRange {
    /// Every i32.
    pub const FULL: Self = Self { min: i32::MIN, max: i32::MAX };
}

impl AccumulatorTransform {
    /// Whether sums are accumulators already.
    pub fn is_identity(&self) -> bool {
        self.sum_scale == 1
            && self.total_scales.is_empty()
            && self.constants.iter().all(|&constant| constant == 0)
    }

    /// Turns sums into accumulators, in place.
    ///
    /// The sum of channel `first_channel + c` of pixel `p` is at `p · stride + c`, for `c < channels`;
    /// what lies between pixels is left alone. `totals` are by pixel, and only read where there are
    /// [`total_scales`](Self::total_scales).
    ///
    /// Products and sums wrap around, so that every accumulator that fits an i32 is exact, whatever
    /// the intermediate results.
    ///
    /// # Panics
    /// If a slice is too short for this geometry, or `stride < channels`.
    pub fn apply(
        &self,
        sums: &mut [i32],
        totals: &[i32],
        pixels: usize,
        stride: usize,
        first_channel: usize,
        channels: usize,
    ) {
        assert!(channels <= stride, "{channels} channels in a stride of {stride}");
        if self.is_identity() || channels == 0 {
            return;
        }
        let constants = &self.constants[first_channel..][..channels];
        let total_scales = match &self.total_scales[..] {
            [] => &[],
            scales => &scales[first_channel..][..channels],
        };
        let tile = TransformTile { scale: self.sum_scale, constants, total_scales, pixels, stride };
        static BEST: OnceLock<Transform> = OnceLock::new();
        let transform = BEST.get_or_init(Transform::best);
        // SAFETY: `best` is one whose instructions the CPU has.
        unsafe { (transform.run)(&tile, sums, totals) }
    }
}

/// One call of [`AccumulatorTransform::apply`], cut to its channels.
#[derive(Debug)]
pub(crate) struct TransformTile<'a> {
    pub(crate) scale: i32,
    pub(crate) constants: &'a [i32],
    /// By channel, or empty.
    pub(crate) total_scales: &'a [i32],
    pub(crate) pixels: usize,
    pub(crate) stride: usize,
}

impl RequantizeSpec {
    /// Number of channels. A specification of one channel holds for all channels of a tensor.
    pub fn channels(&self) -> usize {
        match self {
            Self::Scale { bias, .. } | Self::ScaledStaircase { bias, .. } => bias.len(),
            Self::Staircase { thresholds, .. } => thresholds.len(),
        }
    }

    /// Number of terms.
    pub fn terms(&self) -> usize {
        match self {
            Self::Scale { multipliers, bias, .. } | Self::ScaledStaircase { multipliers, bias, .. } => {
                multipliers.len() / bias.len().max(1)
            }
            Self::Staircase { .. } => 1,
        }
    }
}

/// Turns accumulators into levels, exactly as a [`RequantizeSpec`] says.
#[derive(Clone, Debug)]
pub struct Requantizer {
    form: Form,
    channels: usize,
    terms: usize,
    /// One for the form, whose instructions this CPU has.
    kernel: &'static RequantizeKernel,
}

impl Requantizer {
    /// Finds the cheapest arithmetic that equals the specification on `ranges`, which has one range for
    /// each term and channel (`[t · C + c]`; [`AccumulatorRange::FULL`] where it is too short). The
    /// levels of accumulators outside their range are unspecified.
    ///
    /// The specification is one of a valid model: there are one to 64 terms and at least one
    /// channel, lengths are right, thresholds ascend and no sum leaves an i64. Of one that is not, the
    /// results are unspecified, and this function or [`apply`](Self::apply) may panic.
    pub fn new(spec: &RequantizeSpec, ranges: &[AccumulatorRange]) -> Self {
        let form = Form::new(spec, ranges);
        let kernel = RequantizeKernel::best(form.name(), Engine::best());
        Self { form, channels: spec.channels(), terms: spec.terms(), kernel }
    }

    /// The instruction sets of this CPU that there is code for, largest first.
    pub fn engines() -> impl Iterator<Item = Engine> {
        Engine::best()
            .and_bases()
            .filter(|&engine| RequantizeKernel::all().any(|kernel| kernel.engine == engine))
    }

    /// The same with the instructions of an engine. Falls back to smaller ones, at last to portable code, where the CPU or
    /// this crate lacks the engine's.
    #[must_use]
    pub fn with_engine(self, engine: Engine) -> Self {
        Self { kernel: RequantizeKernel::best(self.form.name(), engine), ..self }
    }

    /// The micro-kernel.
    pub fn kernel(&self) -> &'static RequantizeKernel {
        self.kernel
    }

    /// Number of channels; 1 if all have the same constants.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of terms.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// The arithmetic that was chosen.
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    pub(crate) fn arithmetic(&self) -> &Form {
        &self.form
    }

    /// Whether only general arithmetic was found, which takes several times as long as the others: 64 bits throughout, or a
    /// search among thresholds.
    pub fn is_general(&self) -> bool {
        matches!(self.form, Form::Wide(_) | Form::Search(_) | Form::Many(_))
    }

    /// Which arithmetic was chosen, for people: `thresholds16`, `thresholds32`, `narrow`, `fixed`,
    /// `wide`, `cells`, `search` or `many`.
    pub fn form(&self) -> &'static str {
        self.form.name()
    }

    /// Converts a tile.
    ///
    /// # Panics
    /// If an operand of the tile is too short for its geometry, or has other terms or channels than
    /// the specification.
    pub fn apply(&self, tile: &mut RequantizeTile<'_>) {
        let one_for_all = self.channels == 1;
        tile.check(self.terms, if one_for_all { usize::MAX } else { self.channels });
        let tile = &mut RequantizeTile { levels: &mut *tile.levels, ..*tile };
        if one_for_all && tile.stride == tile.channels && tile.level_stride == tile.channels {
            // Nothing tells pixels from channels: vectors reach across pixels.
            (tile.channels, tile.pixels) = (tile.channels * tile.pixels, 1);
        }
        // SAFETY: the micro-kernel is one of the form's, and was taken because the CPU has its instructions; the tile was
        // checked above.
        unsafe { (self.kernel.run)(&self.form, one_for_all, tile) }
    }
}

impl RequantizeTile<'_> {
    /// Panics unless every accumulator and level is inside its operand.
    fn check(&self, terms: usize, channels: usize) {
        assert_eq!(self.accumulators.len(), terms, "terms");
        assert!(
            self.first_channel.checked_add(self.channels).is_some_and(|end| end <= channels),
            "channels {} + {} of {channels}",
            self.first_channel,
            self.channels,
        );
        assert!(self.channels <= self.stride, "{} channels in a stride of {}", self.channels, self.stride);
        let len = |stride: usize| {
            let before = self.pixels.saturating_sub(1).checked_mul(stride);
            before.and_then(|before| before.checked_add(self.channels)).expect("tile geometry overflows")
        };
        if self.pixels > 0 {
            let shortest = self.accumulators.iter().map(|term| term.len()).min();
            assert!(
                shortest.is_none_or(|shortest| len(self.stride) <= shortest),
                "accumulators are too short"
            );
            assert!(len(self.level_stride) <= self.levels.len(), "levels are too short");
        }
    }
}
