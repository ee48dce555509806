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

use ylb_format::model::{Conv as ModelConv, ConvTerm, Encoding, Model, WeightEncoding, Weights, Window};
use ylb_kernels::depthwise::Depthwise;
use ylb_kernels::layout::Form;
use ylb_kernels::lookup::{self, Lookup};
use ylb_kernels::registry::Dispatch;
use ylb_kernels::ukernel::{Conv, Engine, Operands};
use ylb_kernels::winograd::Winograd;

use crate::plan::index;

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
}

/// Weights as a micro-kernel reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightCodes {
    /// In the order of the model: outputs, input channels of a group, kernel rows, kernel columns.
    /// Unsigned codes for bit-serial micro-kernels; otherwise to be packed as signed bytes.
    pub codes: Vec<i16>,
    /// Bits of an unsigned code.
    pub bits: u8,
    /// See the [module documentation](self).
    pub scale: i32,
    /// By output channel; empty if all are 0.
    pub offsets: Vec<i32>,
}

/// Chooses for one convolution. `None` if no micro-kernel takes it, which does not happen for models
/// that the format's reader let pass.
pub fn choose(model: &Model, conv: &ModelConv, dispatch: &Dispatch) -> Option<ConvChoice> {
    let engine = dispatch.rows().engine();
    if is_depthwise(conv) {
        let kernel = if dispatch.is_portable() { Depthwise::portable() } else { Depthwise::new() };
        let forms = vec![Form::Bytes; conv.terms.len()];
        let codes = conv.terms.iter().map(|term| plain_codes(&term.weights)).collect();
        return Some(ConvChoice { compute: Compute::Depthwise(kernel), forms, engine, codes });
    }
    let byte_codes: Vec<WeightCodes> = conv.terms.iter().map(|term| byte_codes(&term.weights)).collect();
    let operands: Vec<Operands> =
        conv.terms.iter().zip(&byte_codes).map(|(term, codes)| operands(model, conv, term, codes)).collect();
    let compute = dispatch.conv(&operands)?;
    if let Some(compute) = special(model, conv, dispatch, (&operands[0], &byte_codes[0]), compute) {
        let forms = vec![Form::Bytes];
        return Some(ConvChoice { compute, forms, engine, codes: byte_codes });
    }
    let forms = operands.iter().map(|term| compute.input_form(term.max_level)).collect();
    let codes = if compute.kernel().bit_serial {
        conv.terms.iter().map(|term| unsigned_codes(&term.weights)).collect()
    } else {
        byte_codes
    };
    Some(ConvChoice { compute: Compute::Dense(compute), forms, engine, codes })
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
    let lookup = lookup_planes(&conv.terms[0], codes, encoding(model, &conv.terms[0]).max_level);
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
    let (min, max) = codes.codes.iter().fold((0, 0), |(min, max), &code| (code.min(min), code.max(max)));
    let planes = lookup::planes(i8::try_from(min).ok()?, i8::try_from(max).ok()?)?;
    let fits = |codes: &[i16]| {
        let sum = |sign: i64| -> i64 { codes.iter().map(|&code| (sign * i64::from(code)).max(0)).sum() };
        sum(1).max(sum(-1)) * i64::from(max_level) <= i64::from(i16::MAX)
    };
    let fits = codes.codes.chunks(per_output(&term.weights)).all(fits);
    (fits && (term.weights.shape[1] as usize).is_multiple_of(lookup::QUAD)).then_some(planes)
}

fn is_depthwise(conv: &ModelConv) -> bool {
    conv.groups > 1
        && conv.terms.iter().all(|term| term.weights.shape[1] == 1 && term.weights.shape[0] == conv.groups)
}

fn operands(model: &Model, conv: &ModelConv, term: &ConvTerm, codes: &WeightCodes) -> Operands {
    let [outputs, channels, _, columns] = term.weights.shape.map(|extent| extent as usize);
    let extreme = |weight: Option<&i16>| weight.map_or(0, |&weight| weight as i8);
    let max_level = encoding(model, term).max_level;
    // Bit planes hold whole groups of 8 channels: convolutions in groups, whose channels need not
    // start at a byte, are left to the multiplying micro-kernels.
    let weight_bits = if conv.groups == 1 { term.weights.bits } else { 8 };
    let bit_serial = weight_bits <= MAX_PLANES && max_level < 1 << MAX_PLANES;
    let channels = if bit_serial { channels.next_multiple_of(8) } else { channels };
    Operands {
        max_level,
        weight_bits,
        min_weight: extreme(codes.codes.iter().min()),
        max_weight: extreme(codes.codes.iter().max()),
        depth: columns * channels,
        outputs: outputs / conv.groups as usize,
    }
}

/// The encoding of a term's input.
pub fn encoding<'a>(model: &'a Model, term: &ConvTerm) -> &'a Encoding {
    model.values[index(term.input)].encoding().expect("the reader lets convolutions read levels only")
}

/// The weights themselves, for the depthwise micro-kernel.
fn plain_codes(weights: &Weights) -> WeightCodes {
    WeightCodes { codes: weights.decode(), bits: 8, scale: 1, offsets: Vec::new() }
}

/// Codes for a bit-serial micro-kernel.
fn unsigned_codes(weights: &Weights) -> WeightCodes {
    let bits = weights.bits;
    let (scale, offset) = match weights.encoding {
        WeightEncoding::Unsigned => (1, 0),
        WeightEncoding::TwosComplement => (1, -(1 << (bits - 1))),
        WeightEncoding::Bipolar => (2, 1 - (1 << bits)),
    };
    let mut codes = weights.decode();
    let offsets = offsets(weights, offset);
    for (channel, codes) in codes.chunks_mut(per_output(weights)).enumerate() {
        let offset = offsets.get(channel).copied().unwrap_or(0) as i16;
        for code in codes {
            *code = (*code - offset) / scale as i16;
        }
    }
    WeightCodes { codes, bits, scale, offsets }
}

/// Signed bytes for a multiplying micro-kernel. Weights that a zero point takes out of an i8 keep
/// what fits, and the rest becomes an offset.
fn byte_codes(weights: &Weights) -> WeightCodes {
    let mut codes = weights.decode();
    let fits = |weight: &i16| i8::try_from(*weight).is_ok();
    let mut shifts = Vec::new();
    if !codes.iter().all(fits) {
        shifts = vec![0; weights.shape[0] as usize];
        for (shift, codes) in shifts.iter_mut().zip(codes.chunks_mut(per_output(weights))) {
            let (min, max) = codes.iter().fold((0, 0), |(min, max), &code| (code.min(min), code.max(max)));
            // The span of a channel's weights is at most 255, whatever its zero point.
            let low = if min < i16::from(i8::MIN) { min + 128 } else { (max - 127).max(0) };
            *shift = i32::from(low);
            for code in codes {
                *code -= low;
            }
        }
    }
    WeightCodes { codes, bits: 8, scale: 1, offsets: shifts }
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
                    if encoding == Bipolar && bits == 8 {
                        continue; // spans more than a byte: no exporter writes it, the reader refuses it
                    }
                    let count = per_output(&weights);
                    for (codes, range) in
                        [(unsigned_codes(&weights), 0..=(1 << bits) - 1), (byte_codes(&weights), -128..=127)]
                    {
                        for (index, &code) in codes.codes.iter().enumerate() {
                            assert!(range.contains(&code), "{encoding:?} {bits} bits: code {code}");
                            let offset = codes.offsets.get(index / count).copied().unwrap_or(0);
                            let weight = codes.scale * i32::from(code) + offset;
                            assert_eq!(weight, weights.value(index), "{encoding:?}, {bits} bits");
                        }
                    }
                }
            }
        }
    }
}
