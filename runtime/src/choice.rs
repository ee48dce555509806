//! Which micro-kernel computes each convolution, and how its weights are written for it.
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
use ylb_format::model::{Conv as ModelConv, ConvTerm, Model, WeightEncoding, Weights, Window};
use ylb_kernels::depthwise::Depthwise;
use ylb_kernels::layout::Form;
use ylb_kernels::lookup::{self, Lookup};
use ylb_kernels::registry::Dispatch;
use ylb_kernels::ukernel::{Conv, Engine, Operands};
use ylb_kernels::winograd::Winograd;

use crate::ops::conv::columns::Columns;

/// Most bits of weights and levels that are kept as bit planes.
const MAX_PLANES: u8 = 4;

/// What computes a convolution.
#[derive(Clone, Copy, Debug)]
pub enum Compute {
    /// A micro-kernel, group by group.
    Dense(Conv),
    /// Winograd's algorithm.
    Winograd(Winograd),
    /// Tables, for weights of that many planes.
    Lookup(Lookup, usize),
    /// Each channel by itself.
    Depthwise(Depthwise),
}

/// The choice for one convolution.
#[derive(Clone, Debug)]
pub struct ConvChoice {
    /// What computes it.
    pub compute: Compute,
    /// The form in which each term's input is read.
    pub forms: Vec<Form>,
    /// The instructions that requantization is to use.
    pub engine: Engine,
    /// Each term's weights as codes.
    pub codes: Vec<WeightCodes>,
    /// How the rows of its input are interleaved before, if they are.
    pub columns: Option<Columns>,
}

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

/// Chooses for one convolution. `None` if no micro-kernel takes it, which does not happen for models
/// that the format's reader let pass.
pub fn choose(model: &Model, conv: &ModelConv, dispatch: &Dispatch) -> Option<ConvChoice> {
    let engine = dispatch.rows().engine();
    if is_depthwise(conv) {
        let kernel = if dispatch.is_portable() { Depthwise::portable() } else { Depthwise::new() };
        let forms = vec![Form::Bytes; conv.terms.len()];
        let codes = conv.terms.iter().map(|term| no_codes(&term.weights)).collect();
        return Some(ConvChoice { compute: Compute::Depthwise(kernel), forms, engine, codes, columns: None });
    }
    let byte_codes: Vec<WeightCodes> = conv.terms.iter().map(|term| byte_codes(&term.weights)).collect();
    let operands: Vec<Operands> =
        conv.terms.iter().zip(&byte_codes).map(|(term, codes)| operands(model, conv, term, codes)).collect();
    let compute = dispatch.conv(&operands)?;
    if let Some(compute) = special(model, conv, dispatch, (&operands[0], &byte_codes[0]), compute) {
        let forms = vec![Form::Bytes];
        return Some(ConvChoice { compute, forms, engine, codes: byte_codes, columns: None });
    }
    if let Some((kernel, columns)) = interleaved(model, conv, dispatch, &operands[0], compute) {
        let (compute, forms, columns) = (Compute::Dense(kernel), vec![Form::Bytes], Some(columns));
        return Some(ConvChoice { compute, forms, engine, codes: byte_codes, columns });
    }
    let forms = operands.iter().map(|term| compute.input_form(term.max_level)).collect();
    let codes = if compute.kernel().bit_serial {
        let terms = conv.terms.iter().zip(byte_codes);
        terms.map(|(term, bytes)| unsigned_codes(&term.weights, bytes.sums)).collect()
    } else {
        byte_codes
    };
    Some(ConvChoice { compute: Compute::Dense(compute), forms, engine, codes, columns: None })
}

/// A micro-kernel that is so much faster than `dense` where rows are interleaved before that it pays: AMX, in the first layer
/// of a YOLOv5.
fn interleaved(
    model: &Model,
    conv: &ModelConv,
    dispatch: &Dispatch,
    operands: &Operands,
    dense: Conv,
) -> Option<(Conv, Columns)> {
    let columns = Columns::new(model, conv)?;
    let then = Operands { depth: columns.depth(), ..*operands };
    let kernel = dispatch.conv(&[then])?;
    let [rate, rate_then] =
        [(dense, operands), (kernel, &then)].map(|(kernel, operands)| (kernel.kernel().rate)(operands));
    // Interleaving takes about as long as what it saves a YOLOv5n, whose first layer has half a block of outputs.
    (kernel.kernel().engine == Engine::Amx && rate_then > 2.0 * rate).then_some((kernel, columns))
}

/// A micro-kernel that is made for some convolutions only, where it is exact and faster than `dense`.
fn special(
    model: &Model,
    conv: &ModelConv,
    dispatch: &Dispatch,
    (operands, codes): (&Operands, &WeightCodes),
    dense: Conv,
) -> Option<Compute> {
    if conv.groups != 1 || conv.terms.len() != 1 || conv.requantize.is_none() || !codes.offsets.is_empty() {
        return None;
    }
    let winograd = dispatch.winograd(operands, dense).filter(|_| fits_winograd(&conv.window));
    let lookup = lookup_planes(&conv.terms[0], codes, model.encoding(conv.terms[0].input).max_level);
    let lookup = lookup.and_then(|planes| {
        let [_, channels, rows, columns] = conv.terms[0].weights.shape.map(|extent| extent as usize);
        let [row_step, column_step] = conv.window.stride.map(|step| step as usize);
        let fresh = channels * row_step.min(rows) * column_step;
        let (lookup, rate) = dispatch.lookup(operands, [channels * rows * columns, fresh], planes, dense)?;
        Some((Compute::Lookup(lookup, planes), rate))
    });
    let winograd = winograd.map(|(winograd, rate)| (Compute::Winograd(winograd), rate));
    match (winograd, lookup) {
        (Some(winograd), Some(lookup)) if winograd.1 < lookup.1 => Some(lookup.0),
        (Some(choice), _) | (None, Some(choice)) => Some(choice.0),
        (None, None) => None,
    }
}

/// Whether Winograd micro-kernels are made for a window.
fn fits_winograd(window: &Window) -> bool {
    window.kernel == [3, 3] && window.stride == [1, 1] && window.padding == [1; 4]
}

/// Planes of weights that can be looked up: tables are of four channels, and sums of 16 bits.
fn lookup_planes(term: &ConvTerm, codes: &WeightCodes, max_level: u8) -> Option<usize> {
    let (min, max) = extremes(&codes.codes);
    let planes = lookup::planes(min, max)?;
    let fits =
        |sum: &ChannelSum| sum.positive().max(-sum.negative()) * i64::from(max_level) <= i64::from(i16::MAX);
    (codes.sums.iter().all(fits) && (term.weights.shape[1] as usize).is_multiple_of(lookup::QUAD))
        .then_some(planes)
}

/// Smallest and largest of codes of bytes; 0 if there are none.
fn extremes(codes: &[u8]) -> (i8, i8) {
    let mut codes = codes.iter().map(|code| code.cast_signed());
    let Some(first) = codes.next() else {
        return (0, 0);
    };
    codes.fold((first, first), |(min, max), code| (min.min(code), max.max(code)))
}

fn is_depthwise(conv: &ModelConv) -> bool {
    conv.groups > 1
        && conv.terms.iter().all(|term| term.weights.shape[1] == 1 && term.weights.shape[0] == conv.groups)
}

fn operands(model: &Model, conv: &ModelConv, term: &ConvTerm, codes: &WeightCodes) -> Operands {
    let [outputs, channels, _, columns] = term.weights.shape.map(|extent| extent as usize);
    let (min_weight, max_weight) = extremes(&codes.codes);
    let max_level = model.encoding(term.input).max_level;
    // Bit planes hold whole groups of 8 channels: convolutions in groups, whose channels need not
    // start at a byte, are left to the multiplying micro-kernels.
    let weight_bits = if conv.groups == 1 { term.weights.bits } else { 8 };
    let bit_serial = weight_bits <= MAX_PLANES && max_level < 1 << MAX_PLANES;
    let channels = if bit_serial { channels.next_multiple_of(8) } else { channels };
    Operands {
        max_level,
        weight_bits,
        min_weight,
        max_weight,
        depth: columns * channels,
        outputs: outputs / conv.groups as usize,
    }
}

/// For the weights as they are.
fn no_codes(weights: &Weights) -> WeightCodes {
    WeightCodes { codes: Vec::new(), bits: 8, scale: 1, offsets: Vec::new(), sums: weights.channel_sums() }
}

/// Codes for a bit-serial micro-kernel.
fn unsigned_codes(weights: &Weights, sums: Vec<ChannelSum>) -> WeightCodes {
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
fn byte_codes(weights: &Weights) -> WeightCodes {
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
