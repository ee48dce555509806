//! From accumulators to levels: lengths, order and 64-bit ranges.

use super::NodeProblem;
use crate::limits::{MAX_SHIFT, MAX_THRESHOLDS};
use crate::model::{Encoding, Requantize};

/// Checks a requantization of `channels` channels. `bounds[term][channel]` bounds the magnitude of an
/// accumulator.
pub(super) fn validate(
    requantize: &Requantize,
    bounds: &[Vec<i64>],
    channels: usize,
    output: &Encoding,
) -> Result<(), NodeProblem> {
    match requantize {
        Requantize::Scale { multipliers, bias, shift } => {
            if *shift > MAX_SHIFT {
                return Err(NodeProblem::Shift { shift: *shift, limit: MAX_SHIFT });
            }
            scaled(multipliers, bias, bounds, channels).map(|_| ())
        }
        Requantize::Staircase { thresholds, levels } => {
            staircases(thresholds, levels, bounds.len(), channels, output)
        }
        Requantize::ScaledStaircase { multipliers, bias, thresholds, levels } => {
            scaled(multipliers, bias, bounds, channels)?;
            staircase(0, thresholds, levels, output)
        }
    }
}

/// Checks a requantization of several terms whose sums, shifted and not clamped, are accumulators themselves.
pub(super) fn accumulators(
    requantize: &Requantize,
    bounds: &[Vec<i64>],
    channels: usize,
) -> Result<(), NodeProblem> {
    let Requantize::Scale { multipliers, bias, shift } = requantize else {
        return Err(NodeProblem::OutputIsAccumulators);
    };
    if *shift > MAX_SHIFT {
        return Err(NodeProblem::Shift { shift: *shift, limit: MAX_SHIFT });
    }
    // Rounded down, the magnitude of a negative sum may grow by 1.
    let too_large = |magnitude: &u64| magnitude >> shift >= u64::from(i32::MAX.unsigned_abs());
    match scaled(multipliers, bias, bounds, channels)?.iter().position(too_large) {
        Some(channel) => Err(NodeProblem::SumRange { channel }),
        None => Ok(()),
    }
}

/// Checks that levels are the output's.
pub(super) fn levels(levels: &[u8], output: &Encoding) -> Result<(), NodeProblem> {
    let max_level = output.max_level;
    match levels.iter().find(|level| **level > max_level) {
        None => Ok(()),
        Some(&level) => Err(NodeProblem::LevelTooLarge { level, max_level }),
    }
}

/// `Σ_t |acc[t]| · |multipliers[t·C + c]| + |bias[c]|` of every channel, which fits an i64.
fn scaled(
    multipliers: &[i32],
    bias: &[i64],
    bounds: &[Vec<i64>],
    channels: usize,
) -> Result<Vec<u64>, NodeProblem> {
    let terms = bounds.len();
    let mut magnitudes = Vec::with_capacity(channels);
    if multipliers.len() != terms * channels {
        return Err(NodeProblem::MultipliersLen { len: multipliers.len(), terms, channels });
    }
    if bias.len() != channels {
        return Err(NodeProblem::BiasLen { len: bias.len(), channels });
    }
    for (channel, &bias) in bias.iter().enumerate() {
        let mut magnitude = Some(bias.unsigned_abs());
        for (term, multipliers) in bounds.iter().zip(multipliers.chunks_exact(channels)) {
            let bound = term.get(channel).map_or(0, |bound| bound.unsigned_abs());
            let multiplier = multipliers.get(channel).map_or(0, |factor| factor.unsigned_abs());
            // At most 2^31 · 2^31.
            let product = bound * u64::from(multiplier);
            magnitude = magnitude.and_then(|magnitude| magnitude.checked_add(product));
        }
        let fits = magnitude.filter(|&magnitude| i64::try_from(magnitude).is_ok());
        magnitudes.push(fits.ok_or(NodeProblem::ScaledRange { channel })?);
    }
    Ok(magnitudes)
}

fn staircases(
    thresholds: &[Vec<i32>],
    levels: &[Vec<u8>],
    terms: usize,
    channels: usize,
    output: &Encoding,
) -> Result<(), NodeProblem> {
    if terms != 1 {
        return Err(NodeProblem::StaircaseTerms { terms });
    }
    if thresholds.len() != channels || levels.len() != channels {
        let (thresholds, levels) = (thresholds.len(), levels.len());
        return Err(NodeProblem::StaircaseLists { thresholds, levels, channels });
    }
    for (channel, (thresholds, levels)) in thresholds.iter().zip(levels).enumerate() {
        staircase(channel, thresholds, levels, output)?;
    }
    Ok(())
}

pub(super) fn staircase<T: Ord>(
    channel: usize,
    thresholds: &[T],
    levels: &[u8],
    output: &Encoding,
) -> Result<(), NodeProblem> {
    if thresholds.len() > MAX_THRESHOLDS {
        let (count, limit) = (thresholds.len(), MAX_THRESHOLDS);
        return Err(NodeProblem::ThresholdCount { count, limit });
    }
    if levels.len() != thresholds.len() + 1 {
        let (thresholds, levels) = (thresholds.len(), levels.len());
        return Err(NodeProblem::StaircaseLevels { thresholds, levels });
    }
    let pairs = thresholds.iter().zip(thresholds.iter().skip(1));
    if let Some(index) = pairs.into_iter().position(|(first, second)| first >= second) {
        return Err(NodeProblem::ThresholdOrder { channel, index: index + 1 });
    }
    self::levels(levels, output)
}
