//! Weights as numbers: bulk decoding of bit planes, and what an accumulator can reach.

use std::ops::RangeInclusive;

use crate::model::{Encoding, WeightEncoding, Weights};

/// Weights that are decoded at a time; their planes and results fit a level-1 data cache.
const BLOCK: usize = 4096;

/// `SPREAD[byte]` has bit `i` of the byte as the lowest bit of its byte `i`.
static SPREAD: [u64; 256] = spread_table();

/// Sums over the weights of one output channel, zero points subtracted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelSum {
    /// Sum of the weights.
    pub sum: i64,
    /// Sum of the weights' magnitudes.
    pub magnitude: i64,
}

impl ChannelSum {
    /// Sum of the weights above 0.
    pub const fn positive(&self) -> i64 {
        (self.magnitude + self.sum) / 2
    }

    /// Sum of the weights below 0: 0 or less.
    pub const fn negative(&self) -> i64 {
        (self.sum - self.magnitude) / 2
    }

    /// The accumulators that inputs of `encoding` can give. `padded`: whether a window may lie partly
    /// outside the input, where integers are 0.
    pub fn accumulators(&self, encoding: &Encoding, padded: bool) -> RangeInclusive<i64> {
        let mut low = i64::from(*encoding.integers().start());
        let mut high = i64::from(*encoding.integers().end());
        if padded {
            low = low.min(0);
            high = high.max(0);
        }
        let lowest = self.positive() * low + self.negative() * high;
        let highest = self.positive() * high + self.negative() * low;
        lowest..=highest
    }
}

impl Encoding {
    /// The integers of the levels `0..=max_level`: smallest and largest.
    pub const fn integers(&self) -> RangeInclusive<i32> {
        self.integer(0)..=self.integer(self.max_level)
    }

    /// The largest magnitude of an integer.
    pub fn max_magnitude(&self) -> i64 {
        let integers = self.integers();
        i64::from(integers.start().unsigned_abs().max(integers.end().unsigned_abs()))
    }

    /// Whether levels of `self` and `other` mean the same codes and integers: everything is equal
    /// but the scale.
    pub fn same_levels(&self, other: &Self) -> bool {
        let integers = |encoding: &Self| Self { scale: 0.0, ..*encoding };
        integers(self) == integers(other)
    }
}

impl Weights {
    /// Packs codes of `bits` bits, one a byte in the order of `shape`, into planes.
    ///
    /// # Panics
    /// If there are not as many codes as `shape` says, or `bits` is more than 8.
    pub fn from_codes(
        shape: [u32; 4],
        encoding: WeightEncoding,
        bits: u8,
        codes: &[u8],
        zero_points: Vec<i16>,
    ) -> Self {
        let mut weights = Self { shape, encoding, bits, planes: Vec::new(), zero_points };
        assert_eq!(codes.len(), weights.len(), "as many codes as weights");
        assert!(bits <= 8, "{bits} bits of a weight");
        for plane in 0..bits {
            let byte =
                |codes: &[u8]| codes.iter().rev().fold(0u8, |byte, code| byte << 1 | (code >> plane & 1));
            weights.planes.extend(codes.chunks(8).map(byte));
        }
        weights
    }

    /// Bytes of one bit plane.
    pub fn plane_len(&self) -> usize {
        self.len().div_ceil(8)
    }

    /// All weights in the order of `shape`, zero points subtracted: [`Weights::value`] of each index,
    /// and much faster.
    ///
    /// # Panics
    /// If `planes` is shorter than `shape` and `bits` ask for, which does not happen in a valid model.
    pub fn decode(&self) -> Vec<i16> {
        let mut weights = vec![0; self.len()];
        for (block, out) in weights.chunks_mut(BLOCK).enumerate() {
            self.decode_block(block, out);
        }
        let channel_len = self.channel_len();
        for (channel, &zero_point) in weights.chunks_mut(channel_len).zip(&self.zero_points) {
            channel.iter_mut().for_each(|weight| *weight -= zero_point);
        }
        weights
    }

    /// Sums over each output channel's weights: what bounds an accumulator.
    ///
    /// # Panics
    /// If `planes` is shorter than `shape` and `bits` ask for, which does not happen in a valid model.
    pub fn channel_sums(&self) -> Vec<ChannelSum> {
        let channel_len = self.channel_len();
        let mut sums = vec![ChannelSum::default(); self.len() / channel_len];
        let mut values = [0; BLOCK];
        let mut index = 0;
        while index < self.len() {
            let block = (self.len() - index).min(BLOCK);
            let values = &mut values[..block];
            self.decode_block(index / BLOCK, values);
            // A block holds parts of one channel or of many.
            let mut rest = &values[..];
            while !rest.is_empty() {
                let channel = index / channel_len;
                let len = ((channel + 1) * channel_len - index).min(rest.len());
                let (part, behind) = rest.split_at(len);
                let zero_point = self.zero_points.get(channel).copied().unwrap_or(0);
                sums[channel].add(part, zero_point);
                rest = behind;
                index += len;
            }
        }
        sums
    }

    /// Weights of one output channel; 1 if there are none, so that it may divide.
    fn channel_len(&self) -> usize {
        let len = self.shape[1..].iter().copied().map(to_usize).product::<usize>();
        len.max(1)
    }

    /// The codes of all weights in the order of `shape`: [`from_codes`](Self::from_codes) takes them back.
    ///
    /// # Panics
    /// If `planes` is shorter than `shape` and `bits` ask for, which does not happen in a valid model.
    pub fn codes(&self) -> Vec<u8> {
        let mut codes = vec![0; self.len()];
        for (block, out) in codes.chunks_mut(BLOCK).enumerate() {
            out.copy_from_slice(&self.codes_of_block(block, out.len()).as_flattened()[..out.len()]);
        }
        codes
    }

    /// Decodes weights `block · BLOCK ..` into `out`, without subtracting zero points.
    fn decode_block(&self, block: usize, out: &mut [i16]) {
        let codes = self.codes_of_block(block, out.len());
        let codes = codes.as_flattened();
        let unused = 8 - self.bits;
        let full = (1i16 << self.bits) - 1;
        match self.encoding {
            WeightEncoding::Unsigned => translate(codes, out, i16::from),
            WeightEncoding::TwosComplement => {
                translate(codes, out, |code| i16::from((code << unused).cast_signed() >> unused))
            }
            WeightEncoding::Bipolar => translate(codes, out, |code| 2 * i16::from(code) - full),
        }
    }

    /// Codes `block · BLOCK ..`, `len` of them.
    fn codes_of_block(&self, block: usize, len: usize) -> [[u8; 8]; BLOCK / 8] {
        let plane_len = self.plane_len();
        let first = block * (BLOCK / 8);
        let bytes = len.div_ceil(8);
        let mut codes = [[0u8; 8]; BLOCK / 8];
        for plane in 0..self.bits {
            let start = usize::from(plane) * plane_len + first;
            let plane_bytes = &self.planes[start..start + bytes];
            for (codes, &byte) in codes.iter_mut().zip(plane_bytes) {
                let spread = SPREAD[usize::from(byte)] << plane;
                *codes = (u64::from_le_bytes(*codes) | spread).to_le_bytes();
            }
        }
        codes
    }
}

impl ChannelSum {
    /// Adds weights, of at most a block, minus their zero point.
    fn add(&mut self, weights: &[i16], zero_point: i16) {
        let (mut sum, mut magnitude) = (0i32, 0i32);
        for &weight in weights {
            let weight = i32::from(weight - zero_point);
            sum += weight;
            magnitude += weight.abs();
        }
        self.sum += i64::from(sum);
        self.magnitude += i64::from(magnitude);
    }
}

/// Writes one number for each code.
fn translate(codes: &[u8], out: &mut [i16], value: impl Fn(u8) -> i16) {
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = value(code);
    }
}

#[allow(clippy::as_conversions, reason = "const functions cannot call From::from")]
const fn spread_table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            table[byte] |= (byte as u64 >> bit & 1) << (8 * bit);
            bit += 1;
        }
        byte += 1;
    }
    table
}

/// An extent as `usize`, which Rust does not promise to hold 32 bits. Where it does not, the largest
/// `usize` fails whatever bound is checked next.
pub(crate) fn to_usize(extent: u32) -> usize {
    usize::try_from(extent).unwrap_or(usize::MAX)
}
