//! From a model's requantization to the kernels' prepared form.

use ylb_format::model::{ConvTerm, Encoding, Model, Requantize};
use ylb_kernels::requantize::{AccumulatorRange, RequantizeSpec, Requantizer};
use ylb_kernels::ukernel::Engine;

use crate::choice::encoding;

/// The same map in the kernels' words.
pub fn spec(requantize: &Requantize, max_level: u8) -> RequantizeSpec {
    match requantize.clone() {
        Requantize::Scale { multipliers, bias, shift } => {
            RequantizeSpec::Scale { multipliers, bias, shift, max_level }
        }
        Requantize::Staircase { thresholds, levels } => RequantizeSpec::Staircase { thresholds, levels },
        Requantize::ScaledStaircase { multipliers, bias, thresholds, levels } => {
            RequantizeSpec::ScaledStaircase { multipliers, bias, thresholds, levels }
        }
    }
}

/// The cheapest arithmetic that equals the model's over the whole reachable range.
pub fn prepare(
    requantize: &Requantize,
    max_level: u8,
    ranges: &[AccumulatorRange],
    engine: Engine,
) -> Requantizer {
    Requantizer::new(&spec(requantize, max_level), ranges).with_engine(engine)
}

/// The accumulators that a term can reach, by output channel: each weight with its least and largest
/// input; padded positions contribute 0.
pub fn conv_ranges(model: &Model, term: &ConvTerm) -> Vec<AccumulatorRange> {
    let (low, high) = integer_range(encoding(model, term));
    let weights = term.weights.decode();
    let per_output = weights.len() / term.weights.shape[0] as usize;
    let range = |weights: &[i16]| {
        let mut range = AccumulatorRange { min: 0, max: 0 };
        for &weight in weights {
            let ends = [i32::from(weight) * low, i32::from(weight) * high];
            range.min += ends[0].min(ends[1]).min(0);
            range.max += ends[0].max(ends[1]).max(0);
        }
        range
    };
    weights.chunks(per_output).map(range).collect()
}

/// Least and largest integer of an encoding.
pub fn integer_range(encoding: &Encoding) -> (i32, i32) {
    (encoding.integer(0), encoding.integer(encoding.max_level))
}
