//! The resizing itself: a row is blended horizontally once, and kept for the output rows that need it.
//!
//! ```text
//! horizontal  h = (w0 · left + w1 · right) >> 4                          19 bits, kept as 15
//! vertical    byte = (((v0 · h0) >> 16) + ((v1 · h1) >> 16) + 2) >> 2    v0, v1 of the output row
//! ```
//!
//! OpenCV keeps the 19 bits and shifts by 4 in the vertical pass; shifting first is the same and lets
//! a row take 16-bit elements.
//!
//! 1. The left and right pixels of all columns are first gathered into two rows of RGB bytes, which
//!    also settles the picture's format. What remains are element-wise loops over bytes and 16-bit
//!    numbers that the compiler vectorizes. Gathering takes twice as long as blending, so it reads
//!    both neighbours at once and writes four pixels as three words. For four pixels a Cortex-A72
//!    needs (modelled) 15 cycles to gather, 7.5 to blend horizontally and 9 vertically; copying
//!    pixel by pixel took 40 instead of 15.
//! 2. Where a weight is 0 for all columns or for a row, its operand is not read: pictures that are
//!    1, 3, 5... times the input's size are copied.

use super::taps::{Columns, RowTap};
use super::yuv;
use crate::picture::{Picture, PixelFormat};

/// Working memory of one thread: two rows after the horizontal pass, and which rows they are.
#[derive(Clone, Debug)]
pub struct RowCache {
    /// Gathered left and right pixels, RGB.
    gathered: [Vec<u8>; 2],
    rows: [Vec<u16>; 2],
    held: [Option<u32>; 2],
}

/// One picture on its way into the network's input.
pub(super) struct Resampler<'a> {
    pub picture: &'a Picture<'a>,
    pub columns: &'a Columns,
    pub rows: &'a [RowTap],
}

impl RowCache {
    /// For outputs of up to `width` columns.
    pub(super) fn new(width: usize) -> Self {
        let row = || vec![0; 3 * width];
        Self { gathered: [vec![0; 3 * width], vec![0; 3 * width]], rows: [row(), row()], held: [None; 2] }
    }

    /// Forgets the rows: another picture follows.
    pub(super) fn forget(&mut self) {
        self.held = [None; 2];
    }
}

impl Resampler<'_> {
    /// Writes row `y` of the resized picture, as RGB bytes, to `output`.
    pub fn row(&self, y: usize, cache: &mut RowCache, output: &mut [u8]) {
        let RowTap { source, weights } = self.rows[y];
        let alone = weights[1] == 0;
        if alone && self.columns.alone {
            // h = 128 · byte and v0 = 2048 give the byte back.
            self.gather(source[0], [output]);
            return;
        }
        let first = self.blended(source[0], cache, None);
        if alone {
            let row = &cache.rows[first][..output.len()];
            for (byte, &h) in output.iter_mut().zip(row) {
                *byte = ((share(h, weights[0]) + 2) >> 2) as u8;
            }
            return;
        }
        let second = self.blended(source[1], cache, Some(first));
        let row0 = &cache.rows[first][..output.len()];
        let row1 = &cache.rows[second][..output.len()];
        for ((byte, &h0), &h1) in output.iter_mut().zip(row0).zip(row1) {
            // At most (1020 + 2) >> 2 = 255: the weights' sum is 2048 and h ≤ 32640.
            *byte = ((share(h0, weights[0]) + share(h1, weights[1]) + 2) >> 2) as u8;
        }
    }

    /// Index of the cached row `y`, which is made if it is not there, in place of another than `keep`.
    fn blended(&self, y: u32, cache: &mut RowCache, keep: Option<usize>) -> usize {
        if let Some(slot) = cache.held.iter().position(|&held| held == Some(y)) {
            return slot;
        }
        // Without a row to keep, the upper one goes: rows come in ascending order.
        let slot = match keep {
            Some(keep) => 1 - keep,
            None => usize::from(cache.held[0] > cache.held[1]),
        };
        cache.held[slot] = Some(y);
        let [w0, w1] = &self.columns.weights;
        let len = w0.len();
        let [left, right] = &mut cache.gathered;
        let (left, right) = (&mut left[..len], &mut right[..len]);
        let row = &mut cache.rows[slot][..len];
        if self.columns.alone {
            self.gather(y, [left]);
            for (h, &byte) in row.iter_mut().zip(&*left) {
                *h = u16::from(byte) << 7;
            }
            return slot;
        }
        self.gather(y, [left, right]);
        let pixels = left.iter().zip(&*right).zip(w0.iter().zip(w1));
        for (h, ((&left, &right), (&w0, &w1))) in row.iter_mut().zip(pixels) {
            let sum = u32::from(left) * u32::from(w0) + u32::from(right) * u32::from(w1);
            *h = (sum >> 4) as u16;
        }
        slot
    }

    /// Copies the left source pixels of row `y` to `sides[0]` and the right ones to `sides[1]`, if
    /// there is one, as RGB bytes.
    fn gather<const SIDES: usize>(&self, y: u32, sides: [&mut [u8]; SIDES]) {
        let row = self.picture.row(y as usize);
        let offsets = &self.columns.offsets;
        let width = self.picture.width;
        // A pixel's three bytes end up in the low bytes of a word. In a pair's u64 the byte at the
        // lowest address is the lowest.
        match self.picture.format {
            PixelFormat::Rgb if self.columns.same && SIDES == 1 => sides[0].copy_from_slice(row),
            PixelFormat::Rgb => {
                gather(row, offsets, sides, |pair| [pair as u32, (pair >> 24) as u32]);
            }
            PixelFormat::Bgr => gather(row, offsets, sides, |pair| {
                let pair = pair.swap_bytes();
                [(pair >> 40) as u32, (pair >> 16) as u32]
            }),
            PixelFormat::Rgba => {
                gather(row, offsets, sides, |pair| [pair as u32, (pair >> 32) as u32]);
            }
            PixelFormat::Bgra => gather(row, offsets, sides, |pair| {
                [pair as u32, (pair >> 32) as u32].map(|word| word.swap_bytes() >> 8)
            }),
            PixelFormat::Yuyv => {
                yuv::gather(offsets.iter().map(|&offset| offset as usize / 2), sides, width, |x| {
                    let pair = &row[4 * (x / 2)..][..4];
                    [pair[2 * (x % 2)], pair[1], pair[3]]
                })
            }
            PixelFormat::Nv12 => {
                let chroma = self.picture.chroma_row(y as usize);
                yuv::gather(offsets.iter().map(|&offset| offset as usize), sides, width, |x| {
                    [row[x], chroma[x & !1], chroma[x | 1]]
                });
            }
            PixelFormat::Gray => gather(row, offsets, sides, |pair| {
                [pair, pair >> 8].map(|byte| (byte as u32 & 0xFF) * 0x01_01_01)
            }),
        }
    }
}

/// Reads the 8 bytes from each offset, which are two pixels and more, and writes the three low bytes of
/// each pixel that `split` makes of them. Bytes behind the row read as 0.
fn gather<const SIDES: usize>(
    row: &[u8],
    offsets: &[u32],
    mut sides: [&mut [u8]; SIDES],
    split: impl Fn(u64) -> [u32; 2],
) {
    let pixels = |offset: u32| split(load(row, offset as usize));
    let (groups, rest) = offsets.as_chunks::<4>();
    for (index, &[a, b, c, d]) in groups.iter().enumerate() {
        let (a, b, c, d) = (pixels(a), pixels(b), pixels(c), pixels(d));
        for (side, output) in sides.iter_mut().enumerate() {
            let [a, b, c, d] = [a[side], b[side], c[side], d[side]].map(|word| word & 0xFF_FF_FF);
            let output = &mut output[12 * index..][..12];
            output[..4].copy_from_slice(&(a | b << 24).to_le_bytes());
            output[4..8].copy_from_slice(&(b >> 8 | c << 16).to_le_bytes());
            output[8..].copy_from_slice(&(c >> 16 | d << 8).to_le_bytes());
        }
    }
    for (index, &offset) in rest.iter().enumerate() {
        let pixels = pixels(offset);
        for (side, output) in sides.iter_mut().enumerate() {
            let output = &mut output[3 * (4 * groups.len() + index)..][..3];
            output.copy_from_slice(&pixels[side].to_le_bytes()[..3]);
        }
    }
}

/// The 8 bytes from `offset`, 0 for those behind the row's end.
#[inline(always)]
fn load(row: &[u8], offset: usize) -> u64 {
    match row[offset..].first_chunk() {
        Some(&bytes) => u64::from_le_bytes(bytes),
        None => load_end(&row[offset..]),
    }
}

/// [`load`] at the end of a row: a few of the last columns.
#[cold]
fn load_end(end: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..end.len()].copy_from_slice(end);
    u64::from_le_bytes(bytes)
}

/// `(weight · h) >> 16` for a weight of up to 2048 and an `h` of up to 32640.
fn share(h: u16, weight: u16) -> u16 {
    ((u32::from(h) * u32::from(weight)) >> 16) as u16
}
