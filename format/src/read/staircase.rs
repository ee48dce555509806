//! Staircases: see [`threshold`](crate::threshold).

use super::Result;
use super::cursor::Cursor;
use crate::limits::MAX_THRESHOLDS;
use crate::threshold::{Threshold, unzigzag};

/// Bytes of the shortest staircase: no threshold, one level.
pub(super) const MIN_STAIRCASE_LEN: usize = 2 + 1;

/// Thresholds, their number first, and one level more.
pub(super) fn staircase<T: Threshold>(fields: &mut Cursor<'_>) -> Result<(Vec<T>, Vec<u8>)> {
    let count = usize::from(fields.u16()?);
    fields.check_count("thresholds of a staircase", count, MAX_THRESHOLDS)?;
    let first = fields.u8()?;
    fields.check_remaining(count, 1)?;
    let mut thresholds = Vec::with_capacity(count);
    let (mut last, mut step) = (0_i64, 0_i64);
    for _ in 0..count {
        let offset = fields.offset();
        step = step.wrapping_add(unzigzag(fields.varint()?));
        last = last.wrapping_add(step);
        let threshold = T::from_i64(last);
        thresholds
            .push(threshold.ok_or_else(|| fields.not_so(offset, "leads to a threshold beyond 32 bits"))?);
    }
    Ok((thresholds, levels(fields, first, count)?))
}

/// `changes` more levels than the first, by runs of equal changes.
fn levels(fields: &mut Cursor<'_>, first: u8, changes: usize) -> Result<Vec<u8>> {
    let mut levels = Vec::with_capacity(changes + 1);
    levels.push(first);
    let (mut level, mut before) = (first, None);
    while levels.len() <= changes {
        let offset = fields.offset();
        let change = fields.u8()?;
        let len = fields.varint()?;
        let missing = changes + 1 - levels.len();
        if len == 0 || before == Some(change) {
            return Err(
                fields.not_so(offset, "begins a run of levels that is empty or goes on with the one before")
            );
        }
        if usize::try_from(len).map_or(true, |len| len > missing) {
            return Err(fields.not_so(offset, "begins a run of more levels than there are thresholds"));
        }
        for _ in 0..len {
            level = level.wrapping_add(change);
            levels.push(level);
        }
        before = Some(change);
    }
    Ok(levels)
}
