//! From a model's requantization to the kernels' prepared form.

use ylb_format::ChannelSum;
use ylb_format::model::{ConvTerm, Encoding, Model, Requantize};
use ylb_kernels::requantize::{AccumulatorRange, RequantizeSpec, Requantizer};
use ylb_kernels::ukernel::Engine;

use crate::weight_codes::WeightCodes;

/// The arithmetic by which sums become levels. It was chosen when the model was loaded, as the cheapest that is equal to
/// the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requantization {
    /// [`Requantizer::form`], or `planes`: comparisons in the micro-kernel, which writes bit planes.
    pub form: &'static str,
    /// [`Requantizer::is_general`]: whether it takes several times as long as the others.
    pub general: bool,
}

impl Requantization {
    /// Levels as bit planes, by the micro-kernel itself.
    pub const PLANES: Self = Self { form: "planes", general: false };

    /// By a requantizer.
    pub fn of(requantizer: &Requantizer) -> Self {
        Self { form: requantizer.form(), general: requantizer.is_general() }
    }
}

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
pub fn conv_ranges(model: &Model, term: &ConvTerm, codes: &WeightCodes) -> Vec<AccumulatorRange> {
    let encoding = model.encoding(term.input);
    let range = |sum: &ChannelSum| {
        let range = sum.accumulators(encoding, true);
        let end = |end: i64| i32::try_from(end).expect("the reader lets accumulators of 32 bits pass");
        AccumulatorRange { min: end(*range.start()), max: end(*range.end()) }
    };
    codes.sums.iter().map(range).collect()
}

/// Least and largest integer of an encoding.
pub fn integer_range(encoding: &Encoding) -> (i32, i32) {
    (encoding.integer(0), encoding.integer(encoding.max_level))
}
