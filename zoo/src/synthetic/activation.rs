//! Activation functions other than ReLU: what a quantizer behind them makes of accumulators, as the converter writes it.
//!
//! A channel's accumulator `a` stands for the real number `x = a · factor + offset`. Channels have factors and offsets of
//! their own and share what follows, so one staircase over scaled sums serves all of them
//! ([`Requantize::ScaledStaircase`]); where they have slopes of their own, as those of PReLU, each has a staircase.
//! Thresholds are found on an axis of [`RESOLUTION`] bits below 1 and then scaled, rounded up, as the converter does.

use std::str::FromStr;

use ylb_format::model::Requantize;

/// What follows each convolution but the heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`, by one multiplier for each channel.
    #[default]
    Relu,
    /// `x / (1 + e^−x)`
    Silu,
    /// `x`, below 0 a tenth of it.
    LeakyRelu,
    /// `x · clamp(x / 6 + 1/2, 0, 1)`
    Hardswish,
    /// `x · tanh(ln(1 + e^x))`
    Mish,
    /// `1 / (1 + e^−x)`
    Sigmoid,
    /// `x`, below 0 a channel's own share of it, up to half.
    Prelu,
}

/// Which codes the outputs of functions other than ReLU have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grid {
    /// Two's complement, 0 stands for 0: half of the codes, or nearly, are never reached by SiLU.
    #[default]
    Signed,
    /// From 0 on, with a zero point that leaves as many codes below as the function's least value takes.
    ZeroPoint,
}

/// Names as the command line has them.
const NAMES: [(&str, Activation); 7] = [
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("leaky", Activation::LeakyRelu),
    ("hardswish", Activation::Hardswish),
    ("mish", Activation::Mish),
    ("sigmoid", Activation::Sigmoid),
    ("prelu", Activation::Prelu),
];

impl Activation {
    /// Its name: `relu`, `silu`, `leaky`, `hardswish`, `mish`, `sigmoid` or `prelu`.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, activation)| *activation == self).map_or("", |(name, _)| name)
    }

    /// Its value; `slope` is that of [`Self::Prelu`] below 0.
    fn value(self, x: f64, slope: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::LeakyRelu => x.max(0.1 * x),
            Self::Hardswish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Mish => x * x.exp().ln_1p().min(x.max(40.0)).tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Prelu => x.max(slope * x),
        }
    }

    /// Where it turns from falling to rising.
    fn turn(self) -> Option<f64> {
        match self {
            Self::Silu => Some(-1.278_464_542_761_074),
            Self::Hardswish => Some(-1.5),
            Self::Mish => Some(-1.192_431_2),
            _ => None,
        }
    }

    /// Its least value where the largest is `largest`.
    fn least(self, largest: f64) -> f64 {
        match self {
            Self::Relu | Self::Sigmoid => 0.0,
            Self::LeakyRelu => -0.1 * largest,
            Self::Prelu => -0.25 * largest,
            Self::Silu | Self::Hardswish | Self::Mish => {
                self.turn().map_or(0.0, |turn| self.value(turn, 0.0))
            }
        }
    }
}

impl FromStr for Activation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text).map(|&(_, activation)| activation);
        let names = NAMES.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("expected one of {names}"))
    }
}

impl Grid {
    /// Its name: `signed` or `zero-point`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::ZeroPoint => "zero-point",
        }
    }
}

impl FromStr for Grid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Signed, Self::ZeroPoint]
            .into_iter()
            .find(|grid| grid.name() == text)
            .ok_or_else(|| "expected signed or zero-point".to_owned())
    }
}

/// Steps of the codes behind the 57 convolutions of this project's own YOLOv5n with SiLU at 4 bits, in hundredths. They
/// decide where SiLU's dip, −0.28, is a level of its own.
const STEPS: [u8; 57] = [
    33, 30, 29, 34, 33, 37, 31, 32, 27, 29, 30, 27, 30, 42, 80, 29, 30, 31, 36, 35, 68, 39, 45, 88, 38, 78,
    81, 84, 71, 114, 79, 90, 68, 38, 43, 50, 72, 72, 95, 80, 32, 32, 83, 83, 83, 80, 65, 35, 98, 98, 77, 38,
    29, 39, 33, 33, 32,
];
/// What stands for them where one number is needed.
const USUAL_STEP: f64 = 0.4;
/// Positive codes of 4 bits.
const FOUR_BITS: f64 = 7.0;
/// More bits are spent on finer steps and on larger numbers: a calibrated range grows by this power of the codes.
const RANGE_GROWTH: f64 = 0.22;
/// Fraction bits of the axis on which thresholds are found.
const RESOLUTION: i32 = 24;
/// Multipliers are below 2^31, sums far from the ends of an i64.
const MOST_SHIFT: i32 = 50;
const MAX_SUM: f64 = (1u64 << 61) as f64;
/// Standard deviation of what activation functions get.
const SPREAD: f64 = 1.3;
/// Root mean square of what they give, about.
const USUAL_OUTPUT: f64 = 0.8;

/// The codes of a network's activations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes {
    activation: Activation,
    bits: u8,
    /// Largest level.
    pub(super) max_level: u8,
    /// Code of level 0.
    pub(super) low: i16,
    /// Code that stands for 0.
    pub(super) zero_point: i16,
}

/// The accumulators of a convolution, of random weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accumulators {
    /// Products that are added.
    pub(super) products: f64,
    /// Largest weight, and root mean square.
    pub(super) weight: [f64; 2],
    /// Largest input, and root mean square; the latter `None` for outputs of activation functions.
    pub(super) input: (f64, Option<f64>),
}

impl Codes {
    /// # Panics
    /// If there is no positive code.
    pub(super) fn new(activation: Activation, grid: Grid, bits: u8) -> Self {
        let max_level = u8::MAX >> (8 - bits);
        let mut codes = Self { activation, bits, max_level, low: 0, zero_point: 0 };
        match grid {
            _ if activation == Activation::Relu => {}
            Grid::Signed => {
                assert!(bits > 1, "signed codes of one bit are −1 and 0: functions give nothing but 0");
                codes.low = -(1 << (bits - 1));
            }
            Grid::ZeroPoint => {
                let largest = codes.largest(USUAL_STEP);
                let least = activation.least(largest);
                codes.zero_point = (-least / (largest - least) * f64::from(max_level)).round() as i16;
            }
        }
        codes
    }

    /// Two's complement, behind no function: of 8 bits, say, whatever activations have.
    pub(super) fn signed(bits: u8) -> Self {
        let (max_level, low) = (u8::MAX >> (8 - bits), -(1 << (bits - 1)));
        Self { activation: Activation::Relu, bits, max_level, low, zero_point: 0 }
    }

    /// Whether the function before them is one that [`Self::requantize`] is for.
    pub(super) fn is_curved(&self) -> bool {
        self.activation != Activation::Relu
    }

    /// The largest number of a layer whose step would be this at 4 bits.
    fn largest(&self, step: f64) -> f64 {
        let positive = f64::from(((1i32 << (self.bits - 1)) - 1).max(1));
        match self.activation {
            Activation::Sigmoid => 1.0,
            _ => step * FOUR_BITS * (positive / FOUR_BITS).powf(RANGE_GROWTH),
        }
    }

    /// The level that stands for 0.
    pub(super) fn zero(&self) -> u8 {
        (self.zero_point - self.low) as u8
    }

    /// What one code stands for in such a layer.
    fn step(&self, step: f64) -> f64 {
        self.largest(step) / f64::from(self.max_level - self.zero())
    }

    /// The level of a real number.
    fn level(&self, x: f64, step: f64, slope: f64) -> u8 {
        let code = (self.activation.value(x, slope) / step).round_ties_even() + f64::from(self.zero());
        code.clamp(0.0, f64::from(self.max_level)) as u8
    }

    /// The requantization of a convolution, the network's `index`th.
    pub(super) fn requantize(
        &self,
        index: usize,
        channels: usize,
        sums: Accumulators,
        mut random: impl FnMut() -> f64,
    ) -> Requantize {
        let step = self.step(f64::from(STEPS[index % STEPS.len()]) / 100.0);
        let input = sums.input.1.unwrap_or_else(|| (USUAL_OUTPUT / self.step(USUAL_STEP)).max(0.5));
        let factor = SPREAD / (sums.products.sqrt() * sums.weight[1] * input);
        // Batch normalizations leave channels within a factor of three.
        let factors: Vec<f64> =
            (0..channels).map(|_| factor * (1.6 * (random() + random() - 1.0)).exp2()).collect();
        let offsets: Vec<f64> = (0..channels).map(|_| 2.0 * random() - 0.8).collect();
        let reach = (sums.products * sums.weight[0] * sums.input.0).ceil();
        if self.activation == Activation::Prelu {
            let channels = factors.iter().zip(&offsets).map(|(&factor, &offset)| {
                let slope = 0.5 * random();
                let level = |a: i64| self.level(a as f64 * factor + offset, step, slope);
                staircase(level, [-(reach as i64), reach as i64], None)
            });
            let narrow = |starts: Vec<i64>| starts.into_iter().map(|start| start as i32).collect();
            let (thresholds, levels) = channels.map(|(starts, levels)| (narrow(starts), levels)).unzip();
            return Requantize::Staircase { thresholds, levels };
        }
        let largest = factors.iter().fold(0.0, |largest: f64, &factor| largest.max(factor));
        let farthest = largest * reach + 2.0;
        let unit = |shift: i32| f64::from(shift).exp2();
        let fits =
            |&shift: &i32| largest * unit(shift) < f64::from(i32::MAX) && farthest * unit(shift) < MAX_SUM;
        let shift = (0..=MOST_SHIFT).rev().find(fits).unwrap_or(0);
        let position = |x: f64| (x * unit(RESOLUTION)) as i64;
        let (starts, levels) = staircase(
            |at| self.level(at as f64 / unit(RESOLUTION), step, 0.0),
            [position(-farthest) - 1, position(farthest) + 1],
            self.activation.turn().map(position),
        );
        let scaled = |start: i64| ((start as f64 - 0.5) * unit(shift - RESOLUTION)).ceil() as i64;
        Requantize::ScaledStaircase {
            multipliers: factors.iter().map(|factor| (factor * unit(shift)).round() as i32).collect(),
            bias: offsets.iter().map(|offset| (offset * unit(shift)).round() as i64).collect(),
            thresholds: starts.into_iter().map(scaled).collect(),
            levels,
        }
    }
}

/// The steps of a function from `first` to `last` that turns at most once: where they start, and all levels.
fn staircase(level: impl Fn(i64) -> u8, [first, last]: [i64; 2], turn: Option<i64>) -> (Vec<i64>, Vec<u8>) {
    let turn = turn.map_or(first, |turn| turn.clamp(first, last));
    let mut steps = Vec::new();
    for [low, high] in [[first, turn], [turn, last]] {
        monotone(&level, [low, high], [level(low), level(high)], &mut steps);
    }
    let (starts, levels): (_, Vec<u8>) = steps.into_iter().unzip();
    (starts, std::iter::once(level(first)).chain(levels).collect())
}

/// The steps above `low`, up to `high`, of a function that is monotone between them.
fn monotone(level: &impl Fn(i64) -> u8, [low, high]: [i64; 2], ends: [u8; 2], steps: &mut Vec<(i64, u8)>) {
    if ends[0] == ends[1] {
        return;
    }
    if high - low == 1 {
        steps.push((high, ends[1]));
        return;
    }
    let middle = low + (high - low) / 2;
    let between = level(middle);
    monotone(level, [low, middle], [ends[0], between], steps);
    monotone(level, [middle, high], [between, ends[1]], steps);
}

#[cfg(test)]
mod tests;
