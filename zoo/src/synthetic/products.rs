//! Means, gates and attentions: what is made of activations alone, without weights.

use ylb_format::model::{
    Along, Conv, ConvTerm, Encoding, Operator, Requantize, Value, ValueId, ValueKind, WeightEncoding,
    Weights, Window,
};

use super::Builder;

/// Fraction bits of a multiplier.
const SHIFT: u8 = 30;
/// Fraction bits of the exponentials of a softmax, and of its shares.
const EXPONENTIAL_BITS: i32 = 46;
const SHARE_BITS: i32 = 48;
/// Levels of logits by which a share grows to e times as much.
const LOGIT_STEP: f64 = 16.0;
/// What shares are called in levels: 0 is the lowest, 1 the highest of 8 bits.
const SHARES: Encoding = Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 1.0 / 255.0 };

impl Builder {
    /// The mean of each channel: a convolution with weights of 1 and a window as large as the map.
    pub(super) fn mean(&mut self, name: &str, input: ValueId) -> ValueId {
        let [channels, height, width] = self.shape(input);
        let elements = (height * width) as usize;
        let ones = vec![1; channels as usize * elements];
        let shape = [channels, 1, height, width];
        let weights = Weights::from_codes(shape, WeightEncoding::TwosComplement, 2, &ones, Vec::new());
        let to = *self.model.encoding(input);
        let requantize = scaled(1.0 / elements as f64, channels as usize, &to);
        let output = self.levels_like(name, [channels, 1, 1], to);
        let window = Window { kernel: [height, width], stride: [1, 1], padding: [0; 4] };
        let terms = vec![ConvTerm { input, weights }];
        let conv = Conv { terms, window, groups: channels, requantize: Some(requantize) };
        self.node(name, output, Operator::Conv(conv))
    }

    /// The product with a number for each channel, from 0 to 1.
    pub(super) fn gated(&mut self, name: &str, inputs: [ValueId; 2]) -> ValueId {
        let to = *self.model.encoding(inputs[0]);
        let requantize = scaled(1.0 / self.largest_integer(inputs[1]), 1, &to);
        let output = self.levels_like(name, self.shape(inputs[0]), to);
        self.node(name, output, Operator::Mul { inputs, requantize })
    }

    /// Logits of an attention, or the means that its shares make of values.
    pub(super) fn mat_mul(&mut self, name: &str, inputs: [ValueId; 2], groups: u32, along: Along) -> ValueId {
        let [[channels, height, width], [others, rows, columns]] = inputs.map(|input| self.shape(input));
        let (channels, factor) = match along {
            Along::Channels => {
                // Factors are about a third as large as they can be; so is a sum of their products, of random signs, to be.
                let [first, second] = inputs.map(|input| self.largest_integer(input) / 3.0);
                let spread = f64::from(channels / groups).sqrt() * first * second;
                (groups * rows * columns, f64::from(i8::MAX) / 3.0 / spread)
            }
            Along::Positions => (others, 1.0 / self.largest_integer(inputs[0])),
        };
        let to = *self.model.encoding(inputs[1]);
        let requantize = scaled(factor, 1, &to);
        let output = self.levels_like(name, [channels, height, width], to);
        self.node(name, output, Operator::MatMul { inputs, groups, areas: 1, along, requantize })
    }

    /// Shares of logits.
    pub(super) fn softmax(&mut self, name: &str, input: ValueId, groups: u32) -> ValueId {
        let distances = (0..=self.model.encoding(input).max_level).map(f64::from);
        let exponential = |distance: f64| (-distance / LOGIT_STEP).exp() * f64::from(EXPONENTIAL_BITS).exp2();
        let exponentials = distances.map(|distance| exponential(distance) as u64).collect();
        let levels: Vec<u8> = (0..=SHARES.max_level).collect();
        let step = f64::from(SHARE_BITS).exp2() / f64::from(SHARES.max_level);
        // A level begins half a step below it.
        let thresholds = levels[1..].iter().map(|&level| ((f64::from(level) - 0.5) * step) as u64).collect();
        let output = self.levels_like(name, self.shape(input), SHARES);
        self.node(name, output, Operator::Softmax { input, groups, exponentials, thresholds, levels })
    }

    pub(super) fn levels_like(
        &mut self,
        name: &str,
        [channels, height, width]: [u32; 3],
        encoding: Encoding,
    ) -> ValueId {
        let kind = ValueKind::Levels(encoding);
        self.value(Value { name: name.to_owned(), channels, height, width, kind })
    }
}

/// Integers times a factor of at most 1, rounded.
fn scaled(factor: f64, channels: usize, to: &Encoding) -> Requantize {
    let unit = f64::from(SHIFT).exp2();
    let zero = f64::from(to.zero_point - to.low);
    Requantize::Scale {
        multipliers: vec![(factor * unit).round() as i32; channels],
        bias: vec![((zero + 0.5) * unit) as i64; channels],
        shift: SHIFT,
    }
}
