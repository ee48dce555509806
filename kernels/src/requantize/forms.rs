//! Which arithmetic a requantizer uses, and its constants.
//!
//! From the cheapest to the most general:
//!
//! | form | level | where |
//! |---|---|---|
//! | [`Thresholds`] i16 | `first ± number of thresholds < acc saturated to 16 bits` | few steps |
//! | [`Thresholds`] i32 | `first ± number of thresholds < acc` | few steps |
//! | [`Narrow`] | `clamp(((acc << k) · m >> 32) + b >> 16)` in 32 bits | where a bias makes it equal |
//! | [`Scale64`], fixed | `clamp((Σ acc · m + b >> 32) >> shift)` in 64 bits | a shift of 32 or more |
//! | [`Scale64`] | `clamp(Σ acc · m + b >> shift)` in 64 bits | always |
//! | [`Cells`] | an entry of a table by the highest bits of an axis, plus the axis | staircases of steps by one level |
//! | [`Search`] | look-up among thresholds | all other staircases |
//! | [`Many`] | the specification's own arithmetic | more than eight terms |
//!
//! A form is a file of its own: its constants, and when they are exact. `FORMS` lists them in this order, and micro-kernels
//! ([`RequantizeKernel`](super::RequantizeKernel)) are found by its name.
//!
//! Constants lie side by side by channel, with [`LANES`] more at the end that vectors may read.

mod narrow;
mod scale;
mod thresholds;

pub(crate) use narrow::Narrow;
#[cfg(target_arch = "aarch64")]
pub(crate) use narrow::PRE_SHIFTS;
pub(crate) use scale::Scale64;
pub(crate) use thresholds::Thresholds;

use super::cells::Cells;
use super::many::Many;
use super::search::{self, Search};
use super::steps::Steps;
use super::{AccumulatorRange, RequantizeSpec};

/// Channels that are converted side by side.
pub(crate) const LANES: usize = 16;

/// Arithmetic with its constants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    Thresholds16(Thresholds<i16>),
    Thresholds32(Thresholds<i32>),
    Narrow(Narrow),
    /// The shift counts from bit 32 of the sum.
    Fixed(Scale64),
    Wide(Scale64),
    Cells(Cells),
    Search(Search),
    Many(Many),
}

/// What arithmetic must equal.
pub(crate) struct Problem<'a> {
    spec: &'a RequantizeSpec,
    ranges: &'a [AccumulatorRange],
    /// The steps of all channels, if there is one term and they are monotone and not too many for any form that counts them.
    steps: Option<Vec<Steps>>,
}

/// THE list of forms, the cheapest first: the first that has constants for a problem is taken.
static FORMS: [fn(&Problem<'_>) -> Option<Form>; 9] = [
    |problem| Many::new(problem.spec).map(Form::Many),
    rather_cells,
    |problem| thresholds::of(problem, i16::MAX).map(Form::Thresholds16),
    |problem| thresholds::of(problem, i32::MAX).map(Form::Thresholds32),
    |problem| narrow::of(problem).map(Form::Narrow),
    |problem| scale::fixed(problem).map(Form::Fixed),
    |problem| scale::wide(problem).map(Form::Wide),
    |problem| Cells::new(problem.spec, problem.ranges).map(Form::Cells),
    |problem| search::of(problem.spec).map(Form::Search),
];

/// Cells where they are faster than comparing: YOLOv5n W4A4 with leaky ReLUs takes 295 million cycles of a Cortex-A72 by
/// cells, and 321 by 15 thresholds; with SiLU it is the same. AVX2 and AVX-512 compare twice to four times as many at once.
fn rather_cells(problem: &Problem<'_>) -> Option<Form> {
    const STEPS: usize = 7;
    let more = problem.steps.as_ref()?.iter().any(|steps| steps.positions.len() > STEPS);
    let cells = cfg!(target_arch = "aarch64") && more;
    cells.then(|| Cells::new(problem.spec, problem.ranges)).flatten().map(Form::Cells)
}

impl Form {
    /// The cheapest arithmetic that equals the specification on all of the ranges.
    pub(crate) fn new(spec: &RequantizeSpec, ranges: &[AccumulatorRange]) -> Self {
        let most = match spec {
            RequantizeSpec::Scale { .. } => narrow::MOST_STEPS,
            _ => thresholds::MANY_STEPS,
        };
        let problem = Problem { spec, ranges, steps: all_steps(spec, ranges, most) };
        FORMS.iter().find_map(|of| of(&problem)).expect("scales have a form, and so have staircases")
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Thresholds16(_) => "thresholds16",
            Self::Thresholds32(_) => "thresholds32",
            Self::Narrow(_) => "narrow",
            Self::Fixed(_) => "fixed",
            Self::Wide(_) => "wide",
            Self::Cells(_) => "cells",
            Self::Search(_) => "search",
            Self::Many(_) => "many",
        }
    }
}

/// The steps of all channels, if they are monotone with at most `most` steps each.
pub(super) fn all_steps(
    spec: &RequantizeSpec,
    ranges: &[AccumulatorRange],
    most: usize,
) -> Option<Vec<Steps>> {
    if spec.terms() != 1 {
        return None;
    }
    let range = |channel: usize| ranges.get(channel).copied().unwrap_or(AccumulatorRange::FULL);
    (0..spec.channels()).map(|channel| Steps::of(spec, channel, range(channel), most)).collect()
}

/// Adds [`LANES`] copies of the last element.
pub(super) fn pad<T: Copy>(mut values: Vec<T>) -> Vec<T> {
    if let Some(&last) = values.last() {
        values.resize(values.len() + LANES, last);
    }
    values
}
