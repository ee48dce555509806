//! Weights as micro-kernels read them.
//!
//! A model states weights as numbers; micro-kernels read unsigned codes (bit-serial) or signed bytes
//! (multiplying). What is lost on the way, an offset and a factor, goes into the accumulators behind
//! the micro-kernel:
//!
//! ```text
//! weight = code_scale · code + code_offset[o]
//! Σ weight · level = code_scale · Σ code · level + code_offset[o] · Σ level
//! ```

use ylb_format::ChannelSum;
use ylb_format::model::{WeightEncoding, Weights};

/// Weights as a micro-kernel reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightCodes {
    /// In the order of the model: outputs, input channels of a group, kernel rows, kernel columns.
    /// Unsigned codes for bit-serial micro-kernels, otherwise bytes in two's complement. None for the
    /// depthwise micro-kernel, which takes the weights as they are.
    pub codes: Vec<u8>,
    /// Bits of an unsigned code.
    pub bits: u8,
    /// See the [module documentation](self).
    pub scale: i32,
    /// By output channel; empty if all are 0.
    pub offsets: Vec<i32>,
    /// Sums over the weights (not their codes) of each output channel.
    pub sums: Vec<ChannelSum>,
}

impl WeightCodes {
    /// For the weights as they are.
    pub fn none(weights: &Weights) -> Self {
        Self { codes: Vec::new(), bits: 8, scale: 1, offsets: Vec::new(), sums: weights.channel_sums() }
    }

    /// Smallest and largest of codes of bytes; 0 if there are none.
    pub fn extremes(&self) -> (i8, i8) {
        let mut codes = self.codes.iter().map(|code| code.cast_signed());
        let Some(first) = codes.next() else {
            return (0, 0);
        };
        codes.fold((first, first), |(min, max), code| (min.min(code), max.max(code)))
    }
}

/// Codes for a bit-serial micro-kernel.
pub fn unsigned_codes(weights: &Weights, sums: Vec<ChannelSum>) -> WeightCodes {
    let bits = weights.bits;
    let mut codes = weights.codes();
    let (scale, offset) = match weights.encoding {
        WeightEncoding::Unsigned => (1, 0),
        WeightEncoding::TwosComplement => {
            // From the lowest number on: the sign counts the other way.
            codes.iter_mut().for_each(|code| *code ^= 1 << (bits - 1));
            (1, -(1 << (bits - 1)))
        }
        WeightEncoding::Bipolar => (2, 1 - (1 << bits)),
    };
    WeightCodes { codes, bits, scale, offsets: offsets(weights, offset), sums }
}

/// Signed bytes for a multiplying micro-kernel. Weights that a zero point takes out of an i8 keep
/// what fits, and the rest becomes an offset.
pub fn byte_codes(weights: &Weights) -> WeightCodes {
    // Odd numbers from −255 to 255 span more than a byte, and halves of them do not: `2 · (u − 128) + 1`.
    if weights.encoding == WeightEncoding::Bipolar && weights.bits == 8 {
        let mut codes = weights.codes();
        codes.iter_mut().for_each(|code| *code ^= 1 << 7);
        let sums = weights.channel_sums();
        return WeightCodes { codes, bits: 8, scale: 2, offsets: offsets(weights, 1), sums };
    }
    let mut values = weights.decode();
    let fits = |&value: &i16| value == i16::from(value as i8);
    let mut shifts = Vec::new();
    // All are looked at, as that is done many at a time.
    if !values.iter().fold(true, |all, value| all & fits(value)) {
        shifts = vec![0; weights.shape[0] as usize];
        for (shift, values) in shifts.iter_mut().zip(values.chunks_mut(per_output(weights))) {
            let (min, max) =
                values.iter().fold((0, 0), |(min, max), &value| (value.min(min), value.max(max)));
            // The span of a channel's weights is at most 255, whatever its zero point: only bipolar ones of 8 bits
            // span more, and they do not get here.
            let low = if min < i16::from(i8::MIN) { min + 128 } else { (max - 127).max(0) };
            *shift = i32::from(low);
            for value in values {
                *value -= low;
            }
        }
    }
    // Truncation keeps the bits of an i8.
    let codes = values.iter().map(|&value| value as u8).collect();
    WeightCodes { codes, bits: 8, scale: 1, offsets: shifts, sums: weights.channel_sums() }
}

fn offsets(weights: &Weights, offset: i32) -> Vec<i32> {
    if weights.zero_points.is_empty() {
        return if offset == 0 { Vec::new() } else { vec![offset; weights.shape[0] as usize] };
    }
    weights.zero_points.iter().map(|&zero| offset - i32::from(zero)).collect()
}

fn per_output(weights: &Weights) -> usize {
    weights.len() / weights.shape[0] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(bits: u8, encoding: WeightEncoding, zero_points: Vec<i16>) -> Weights {
        // Two output channels with every code once.
        let count = 1usize << bits;
        let len = 2 * count;
        let mut planes = vec![0u8; usize::from(bits) * len.div_ceil(8)];
        for index in 0..len {
            for plane in 0..usize::from(bits) {
                planes[plane * len.div_ceil(8) + index / 8] |= ((index >> plane & 1) << (index % 8)) as u8;
            }
        }
        Weights { shape: [2, count as u32, 1, 1], encoding, bits, planes, zero_points }
    }

    #[test]
    fn codes_stand_for_the_weights() {
        use WeightEncoding::{Bipolar, TwosComplement, Unsigned};
        for encoding in [Unsigned, TwosComplement, Bipolar] {
            for bits in 1..=8 {
                for zero_points in [vec![], vec![0, 3], vec![-100, 255]] {
                    let weights = weights(bits, encoding, zero_points);
                    let count = per_output(&weights);
                    let unsigned = unsigned_codes(&weights, weights.channel_sums());
                    let bytes = byte_codes(&weights);
                    let numbers: Vec<i32> = unsigned.codes.iter().copied().map(i32::from).collect();
                    assert!(numbers.iter().all(|&code| code < 1 << bits), "{encoding:?}, {bits} bits");
                    let signed = bytes.codes.iter().map(|code| i32::from(code.cast_signed())).collect();
                    for (codes, numbers) in [(&unsigned, numbers), (&bytes, signed)] {
                        for (index, &code) in numbers.iter().enumerate() {
                            let offset = codes.offsets.get(index / count).copied().unwrap_or(0);
                            let weight = codes.scale * code + offset;
                            assert_eq!(weight, weights.value(index), "{encoding:?}, {bits} bits");
                        }
                    }
                }
            }
        }
    }
}
