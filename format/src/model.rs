//! What a `.ylb` file means: an integer graph.
//!
//! Every tensor between two nodes is a [`Value`]: `channels × height × width` small unsigned
//! integers called *levels*. How a level translates to the numbers people know is the value's
//! [`Encoding`]:
//!
//! ```text
//! code    = low + step · level          what the exporting tool calls the quantized integer
//! integer = code − zero_point           what a convolution multiplies with its weights
//! real    = integer · scale             what the training framework computed with
//! ```
//!
//! Convolutions are defined on *integers*: a padded position contributes integer 0, whether or not
//! some level stands for 0. Results are exact 64-bit sums; [`Requantize`] maps them to levels with
//! integer arithmetic only. Scales are carried for people and for `--codes`; no result depends on them.

mod arranged;
mod curves;
mod head;
mod input;
mod operator;

pub use arranged::{Arranged, Extents, Layout, Numbers, Scope};
pub use curves::{Combine, Curve, CurveOperand, Curves, OperandFunction};
pub use head::{BoxRule, Detect, HeadMap, HeadPart, ScoreRule};
pub use input::{
    ChannelOrder, Input, PicturePlacement, PixelLevels, PixelRange, Preprocessing, TensorLayout,
};
pub use operator::{Along, Operator, interleave_factor};

/// A whole network with everything needed to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Where the model came from, and what its classes are called.
    pub metadata: Metadata,
    /// The network's input.
    pub input: Input,
    /// All tensors. A [`ValueId`] indexes this list.
    pub values: Vec<Value>,
    /// Operators in an order in which each reads only the input and the outputs of earlier ones.
    /// Every value except the input's is written by exactly one node.
    pub nodes: Vec<Node>,
    /// The source model's graph outputs in their order. Empty for a network that is not a detector.
    pub outputs: Vec<Output>,
    /// The detection head.
    pub detect: Detect,
}

/// Origin and naming. Nothing here changes a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Name and version of the program that wrote the file, such as `yolo-lowbit 0.1.0`.
    pub converter: String,
    /// File name (without folders) of the source model.
    pub source_name: String,
    /// The kind of export it was, such as `QONNX`.
    pub source_format: String,
    /// SHA-256 of the source model's bytes and, behind them, those of the other files that it is made of,
    /// in the order of their names; all zero if there was none.
    pub source_sha256: [u8; 32],
    /// Class names by class index: empty, or one for each of [`Detect::classes`].
    pub class_names: Vec<String>,
}

/// What [`Metadata::source_format`] ends with where quantizers inside the decode of the boxes were dropped.
pub const WITHOUT_DECODE_QUANTIZERS: &str = ", quantizers of the decode dropped";

impl Metadata {
    /// Whether the source quantizes inside the decode of the boxes, which the model does not.
    pub fn drops_decode_quantizers(&self) -> bool {
        self.source_format.ends_with(WITHOUT_DECODE_QUANTIZERS)
    }
}

/// Index of a [`Value`] in [`Model::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// A tensor of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Name of the source model's tensor whose codes this value holds. Empty if there is none, as
    /// for tensors that the converter introduced. Non-empty names are unique.
    pub name: String,
    /// Channels, at least 1.
    pub channels: u32,
    /// Rows, at least 1.
    pub height: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// What an element is.
    pub kind: ValueKind,
}

/// What the elements of a value are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueKind {
    /// Levels `0..=max_level`, to be read through an encoding.
    Levels(Encoding),
    /// The i32 accumulators of a convolution without requantization. A [`HeadPart`] reads them, or [`Curves`].
    Accumulators,
}

/// How levels translate to codes, integers and reals: see the [module documentation](self).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoding {
    /// Largest level, 1 to 255.
    pub max_level: u8,
    /// Difference of the codes of neighbouring levels: 1, or 2 for bipolar codes (−1, +1).
    pub step: u8,
    /// Code of level 0, −255 to 255.
    pub low: i16,
    /// Code that stands for the real number 0, −255 to 255. It need not be the code of any level:
    /// bipolar codes have no zero.
    pub zero_point: i16,
    /// The real number that one integer stands for: positive and finite, or 0 if it is unknown.
    pub scale: f64,
}

/// One operator with the value it writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name of the source model's node, for people: tables, profiles and messages.
    pub name: String,
    /// The value written.
    pub output: ValueId,
    /// What is computed.
    pub operator: Operator,
}

/// Geometry of a sliding window; `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns covered, 1 to 64.
    pub kernel: [u32; 2],
    /// Step between windows, 1 to 64.
    pub stride: [u32; 2],
    /// Rows and columns added at top, left, bottom and right, each less than the kernel's extent.
    pub padding: [u32; 4],
}

/// A convolution: one or more *terms*, each with an accumulator per output element of its own.
///
/// A plain convolution has one term. A convolution over tensors of different scales (a concat or a
/// sum without a quantizer behind it) has one for each scale, because only sums of equal scale can
/// share an accumulator.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// One to 64 terms; all have the same number of output channels.
    pub terms: Vec<ConvTerm>,
    /// Window, stride and padding, the same for all terms.
    pub window: Window,
    /// Groups: input and output channels are divided into this many independent convolutions.
    pub groups: u32,
    /// Accumulators to levels. `None`: the output is the accumulators themselves
    /// ([`ValueKind::Accumulators`]), and there is exactly one term.
    pub requantize: Option<Requantize>,
}

/// `accumulator[o] = Σ weight[o, i, ky, kx] · integer[i, y·stride + ky − pad, x·stride + kx − pad]`,
/// which fits an i32 whatever the input.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTerm {
    /// The value read.
    pub input: ValueId,
    /// What it is multiplied with.
    pub weights: Weights,
}

/// Weights of a convolution as canonical bit planes.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Output channels, input channels of one group, kernel rows, kernel columns.
    pub shape: [u32; 4],
    /// How the bits of a weight translate to its value.
    pub encoding: WeightEncoding,
    /// Bits of a weight, 1 to 8.
    pub bits: u8,
    /// `bits` planes, least significant first. Each plane holds one bit for each weight in the order
    /// of `shape`, the first in the lowest bit of the first byte, padded with zero bits to a byte.
    pub planes: Vec<u8>,
    /// Subtracted from every weight of an output channel: empty (all zero) or one for each output
    /// channel, −255 to 255. Only asymmetric quantizers have it.
    pub zero_points: Vec<i16>,
}

/// How `b` bits, read as the unsigned number `u`, translate to a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightEncoding {
    /// `u`: 0 to 2^b − 1.
    Unsigned,
    /// Two's complement: −2^(b−1) to 2^(b−1) − 1.
    TwosComplement,
    /// `2u − (2^b − 1)`: odd numbers; one bit is −1 or +1.
    Bipolar,
}

/// From accumulators to levels, exactly and in integers. `C` is the number of channels: the output's
/// for a convolution, 1 for a sum; `T` the number of terms.
#[derive(Clone, Debug, PartialEq)]
pub enum Requantize {
    /// `level = clamp((Σ_t accumulator[t]·multipliers[t·C + c] + bias[c]) >> shift, 0, max_level)`.
    /// The shift rounds towards −∞ (rounding is part of the bias) and no intermediate leaves an i64.
    Scale {
        /// `T × C` factors.
        multipliers: Vec<i32>,
        /// `C` addends.
        bias: Vec<i64>,
        /// 0 to 62.
        shift: u8,
    },
    /// `level = levels[c][number of thresholds[c] that are ≤ accumulator]`; one term.
    Staircase {
        /// `C` lists of strictly ascending thresholds, up to 4096 each.
        thresholds: Vec<Vec<i32>>,
        /// `C` lists, each one longer than that channel's thresholds.
        levels: Vec<Vec<u8>>,
    },
    /// `level = levels[number of thresholds that are ≤ Σ_t accumulator[t]·multipliers[t·C + c] + bias[c]]`.
    ScaledStaircase {
        /// `T × C` factors.
        multipliers: Vec<i32>,
        /// `C` addends.
        bias: Vec<i64>,
        /// Strictly ascending, up to 4096.
        thresholds: Vec<i64>,
        /// One longer than `thresholds`.
        levels: Vec<u8>,
    },
}

/// A graph output of the source model.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its name there.
    pub name: String,
    /// What it holds.
    pub kind: OutputKind,
}

/// What a graph output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A part of the head before the decode, as the convolution leaves it: `[1, na·fields, ny, nx]`.
    Head(MapPart),
    /// The same as `[1, na, ny, nx, fields]`.
    HeadByAnchor(MapPart),
    /// Decoded boxes in input pixels with scores, all maps: `[1, Σ na·ny·nx, columns]`, see [`Detect::columns`].
    Decoded,
    /// The same numbers, or some of them, otherwise.
    Arranged(Arranged),
}

/// A part of a feature map of the detection head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapPart {
    /// Index in [`Detect::maps`].
    pub map: u32,
    /// Index in [`HeadMap::parts`].
    pub part: u32,
}

impl MapPart {
    /// The only part of a map.
    pub const fn whole(map: u32) -> Self {
        Self { map, part: 0 }
    }
}

impl Model {
    /// A value by its number.
    ///
    /// # Panics
    /// If the model has no such value. Nothing in a valid model refers to one.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// How the levels of a value are read.
    ///
    /// # Panics
    /// If the model has no such value or it holds accumulators. In a valid model, the input and what nodes
    /// read hold levels.
    pub fn encoding(&self, id: ValueId) -> &Encoding {
        self.value(id).encoding().expect("a value that is read by a node holds levels")
    }

    /// The value that holds the picture.
    ///
    /// # Panics
    /// As [`value`](Self::value).
    pub fn picture(&self) -> &Value {
        self.value(self.input.value)
    }
}

impl ValueId {
    /// As an index of lists that have one entry for each value.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Encoding {
    /// Bits that a level needs, 1 to 8.
    pub const fn bits(&self) -> u8 {
        (8 - self.max_level.leading_zeros()) as u8
    }

    /// The integer (zero-point subtracted) of a level.
    pub const fn integer(&self, level: u8) -> i32 {
        self.code(level) - self.zero_point as i32
    }

    /// The exporter's code of a level.
    pub const fn code(&self, level: u8) -> i32 {
        self.low as i32 + self.step as i32 * level as i32
    }

    /// The level that stands for real zero, if there is one.
    pub fn zero_level(&self) -> Option<u8> {
        (0..=self.max_level).find(|&level| self.integer(level) == 0)
    }
}

impl Value {
    /// Channels, height, width.
    pub const fn shape(&self) -> [u32; 3] {
        [self.channels, self.height, self.width]
    }

    /// The encoding, if the value holds levels.
    pub const fn encoding(&self) -> Option<&Encoding> {
        match &self.kind {
            ValueKind::Levels(encoding) => Some(encoding),
            ValueKind::Accumulators => None,
        }
    }
}

impl Weights {
    /// Number of weights.
    pub fn len(&self) -> usize {
        self.shape.iter().map(|&extent| extent as usize).product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value of the weight at a flat index, zero point subtracted.
    pub fn value(&self, index: usize) -> i32 {
        let plane_len = self.len().div_ceil(8);
        let code = (0..usize::from(self.bits)).fold(0i32, |code, plane| {
            let byte = self.planes[plane * plane_len + index / 8];
            code | i32::from(byte >> (index % 8) & 1) << plane
        });
        let value = match self.encoding {
            WeightEncoding::Unsigned => code,
            WeightEncoding::TwosComplement if code >> (self.bits - 1) == 1 => code - (1 << self.bits),
            WeightEncoding::TwosComplement => code,
            WeightEncoding::Bipolar => 2 * code - ((1 << self.bits) - 1),
        };
        let per_channel = self.len() / self.shape[0] as usize;
        value - self.zero_points.get(index / per_channel).map_or(0, |&zero| i32::from(zero))
    }
}
