//! Section QUANT: arrays whose lengths follow from the graph, or stand before them.

use super::cursor::Cursor;
use super::staircase::{MIN_STAIRCASE_LEN, staircase};
use super::{Result, Sections};
use crate::container::codes;
use crate::model::Requantize;

/// The table of a look-up, its length first.
pub(super) fn table(fields: &mut Cursor<'_>) -> Result<Vec<u8>> {
    let len = usize::from(fields.u16()?);
    fields.check_count("levels of a look-up table", len, 256)?;
    Ok(fields.take(len)?.to_vec())
}

/// A table of addends, its length first.
pub(super) fn addends(fields: &mut Cursor<'_>) -> Result<Vec<i32>> {
    let len = usize::from(fields.u16()?);
    fields.check_count("addends of a table", len, 256)?;
    fields.numbers(len, i32::from_le_bytes)
}

/// The table of a look-up of two values, its length first.
pub(super) fn pairs(fields: &mut Cursor<'_>) -> Result<Vec<u8>> {
    let len = crate::weights::to_usize(fields.u32()?);
    fields.check_count("levels of a look-up table of pairs", len, 1 << 16)?;
    Ok(fields.take(len)?.to_vec())
}

/// The exponentials of a softmax, their number first.
pub(super) fn exponentials(fields: &mut Cursor<'_>) -> Result<Vec<u64>> {
    let len = usize::from(fields.u16()?);
    fields.check_count("exponentials of a softmax", len, 256)?;
    fields.numbers(len, u64::from_le_bytes)
}

/// A requantization of `terms` accumulators of `channels` channels; `code` is its kind in the graph,
/// which the cursor of the graph has just passed.
pub(super) fn requantize(
    sections: &mut Sections<'_>,
    code: u8,
    terms: usize,
    channels: usize,
) -> Result<Option<Requantize>> {
    let Sections { graph, quant, .. } = sections;
    let factors = terms.saturating_mul(channels);
    Ok(Some(match code {
        codes::REQUANTIZE_NONE => return Ok(None),
        codes::REQUANTIZE_SCALE => Requantize::Scale {
            shift: graph.u8()?,
            multipliers: quant.numbers(factors, i32::from_le_bytes)?,
            bias: quant.numbers(channels, i64::from_le_bytes)?,
        },
        codes::REQUANTIZE_STAIRCASE => {
            quant.check_remaining(channels, MIN_STAIRCASE_LEN)?;
            let mut thresholds = Vec::with_capacity(channels);
            let mut levels = Vec::with_capacity(channels);
            for _ in 0..channels {
                let (of_channel, levels_of_channel) = staircase(quant)?;
                thresholds.push(of_channel);
                levels.push(levels_of_channel);
            }
            Requantize::Staircase { thresholds, levels }
        }
        codes::REQUANTIZE_SCALED_STAIRCASE => {
            let multipliers = quant.numbers(factors, i32::from_le_bytes)?;
            let bias = quant.numbers(channels, i64::from_le_bytes)?;
            let (thresholds, levels) = staircase(quant)?;
            Requantize::ScaledStaircase { multipliers, bias, thresholds, levels }
        }
        code => {
            let offset = graph.offset().saturating_sub(1);
            return Err(graph.unknown_code(offset, "requantization", code));
        }
    }))
}
