//! The table of [`Cells`](super::Cells) with the four bytes of its entries apart, for vectors that look up bytes.
//!
//! Only cells that limited accumulators reach are in it, counted from the first of them: the axis is moved by as much.

use super::Axis;
use crate::requantize::forms::pad;

/// Entries that are looked up together.
pub(crate) const PART: usize = 128;
/// Most parts; with more, gathering is about as fast.
const MOST_PARTS: usize = 8;

/// `[byte][entry]`, the lowest byte first. Aligned, so that no vector lies in two cache lines.
#[derive(Clone, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Part(pub(crate) [[u8; PART]; 4]);

/// Bytes of entries, and what belongs to their axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bytes {
    /// `b` less the beginning of the first cell.
    pub(crate) bias: Vec<i32>,
    /// At least one.
    pub(crate) parts: Vec<Part>,
}

impl Bytes {
    /// `None` if too many cells are reached. `ends` are the accumulators' limits by channel.
    pub(super) fn new(axis: &Axis, ends: [&[i32]; 2], cell_shift: u32, table: &[i32]) -> Option<Self> {
        let cells = || {
            let cells = |ends: &'_ [i32]| -> Vec<i64> {
                let cell =
                    |(channel, &end): (usize, &i32)| axis.saturating(channel, end.into()) >> cell_shift;
                ends.iter().enumerate().map(cell).collect()
            };
            ends.into_iter().flat_map(cells)
        };
        let (first, last) = (cells().min()?, cells().max()?);
        let reached = usize::try_from(last - first + 1).ok()?;
        let parts = reached.div_ceil(PART);
        if parts > MOST_PARTS {
            return None;
        }
        let start = (first << cell_shift) as i32;
        let mut parts = vec![Part([[0; PART]; 4]); parts];
        for index in 0..reached {
            // Cells of negative numbers come last.
            let cell = (first + index as i64).rem_euclid(table.len() as i64) as usize;
            let entry = table[cell].wrapping_add(start).to_le_bytes();
            for (bytes, byte) in parts[index / PART].0.iter_mut().zip(entry) {
                bytes[index % PART] = byte;
            }
        }
        let bias = axis.bias.iter().map(|bias| bias.wrapping_sub(start)).collect();
        Some(Self { bias: pad(bias), parts })
    }
}
