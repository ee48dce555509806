//! Scaled sums of more terms than there is code of its own for: one channel after the other.

use super::{RequantizeSpec, RequantizeTile};

/// Most terms that [`Instructions::convert_terms`](crate::arch::generic::requantize::Instructions::convert_terms) has
/// code for.
const FEW_TERMS: usize = 8;

/// The specification's own arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Many {
    /// `[channel][term]`
    multipliers: Vec<i64>,
    terms: usize,
    bias: Vec<i64>,
    end: End,
}

/// From a sum to a level.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Scale { shift: u8, max_level: u8 },
    Staircase { thresholds: Vec<i64>, levels: Vec<u8> },
}

impl Many {
    /// For specifications of many terms.
    pub(crate) fn new(spec: &RequantizeSpec) -> Option<Self> {
        let (multipliers, bias, end) = match spec {
            RequantizeSpec::Scale { multipliers, bias, shift, max_level } => {
                (multipliers, bias, End::Scale { shift: *shift, max_level: *max_level })
            }
            RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels } => {
                let (thresholds, levels) = (thresholds.clone(), levels.clone());
                (multipliers, bias, End::Staircase { thresholds, levels })
            }
            RequantizeSpec::Staircase { .. } => return None,
        };
        let (terms, channels) = (spec.terms(), bias.len());
        let of_channel = |channel: usize| multipliers.iter().skip(channel).step_by(channels);
        let multipliers = (0..channels).flat_map(of_channel).copied().map(i64::from).collect();
        (terms > FEW_TERMS).then(|| Self { multipliers, terms, bias: bias.clone(), end })
    }

    /// Converts a tile, which has been checked.
    pub(crate) fn convert(&self, one_for_all: bool, tile: &mut RequantizeTile<'_>) {
        for channel in 0..tile.channels {
            let own = if one_for_all { 0 } else { tile.first_channel + channel };
            let multipliers = &self.multipliers[own * self.terms..][..self.terms];
            for pixel in 0..tile.pixels {
                let at = pixel * tile.stride + channel;
                let sum = tile
                    .accumulators
                    .iter()
                    .zip(multipliers)
                    .fold(self.bias[own], |sum, (term, multiplier)| {
                        sum.wrapping_add(i64::from(term[at]) * multiplier)
                    });
                tile.levels[pixel * tile.level_stride + channel] = self.end.level(sum);
            }
        }
    }
}

impl End {
    fn level(&self, sum: i64) -> u8 {
        match self {
            Self::Scale { shift, max_level } => (sum >> shift).clamp(0, i64::from(*max_level)) as u8,
            Self::Staircase { thresholds, levels } => {
                levels[thresholds.partition_point(|&threshold| threshold <= sum)]
            }
        }
    }
}
