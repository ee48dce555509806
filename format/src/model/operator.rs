//! The closed list of operators, and what can be said of all of them.

#[cfg(doc)]
use super::Encoding;
use super::{Conv, Curves, Requantize, ValueId, Window};

/// What a product of two values is summed along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The channels of both: the result has a channel for each position of the second.
    Channels,
    /// The channels of the first, one for each position of the second: the result has the second's channels.
    Positions,
}

/// What a node computes. All of them work on levels; [`Operator::Curves`] on accumulators, too.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// Convolution, bias, batch normalization, activation and quantization in one.
    Conv(Conv),
    /// Sum of two to four values of equal shape, requantized. The accumulators handed to
    /// [`Requantize`] are the inputs' integers, one term an input; it has one channel for all.
    Add {
        /// The addends.
        inputs: Vec<ValueId>,
        /// Sums to levels. [`Requantize::Staircase`] does not occur: there is no single accumulator.
        requantize: Requantize,
    },
    /// Look-up table: `output level = table[input level]`.
    Map {
        /// The value looked up.
        input: ValueId,
        /// One level for each of the input's levels: `max_level + 1` entries.
        table: Vec<u8>,
    },
    /// Largest level of a window. Positions outside the input never win.
    /// Input and output share one [`Encoding`], their scales aside.
    MaxPool {
        /// The value pooled.
        input: ValueId,
        /// Window, stride and padding; every window covers at least one position of the input.
        window: Window,
    },
    /// Nearest-neighbour upsampling: output (y, x) = input (y / factor, x / factor).
    /// Input and output share one [`Encoding`], their scales aside.
    Upsample {
        /// The value enlarged.
        input: ValueId,
        /// How often each row and column is repeated, 2 to 8.
        factor: u32,
    },
    /// Channels of the inputs one after another. All inputs and the output share one [`Encoding`],
    /// their scales aside.
    Concat {
        /// One to sixteen values of equal height and width.
        inputs: Vec<ValueId>,
    },
    /// Product of two values, requantized. The accumulator is the product of the inputs' integers, the only term; it has
    /// one channel for all.
    Mul {
        /// The factors. The second has the shape of the first, or is a gate: each of its extents is that of the first,
        /// or 1, and what has an extent of 1 is multiplied with all of the first along it.
        inputs: [ValueId; 2],
        /// Products to levels.
        requantize: Requantize,
    },
    /// Some channels of a value that follow one another: as many as the output has.
    /// Input and output share one [`Encoding`], their scales aside.
    Slice {
        /// The value whose channels are taken.
        input: ValueId,
        /// The channel of the input that is the output's first.
        first: u32,
    },
    /// Largest level of all channels of a pixel: the output has one channel.
    /// Input and output share one [`Encoding`], their scales aside.
    ChannelMax {
        /// The value whose channels are compared.
        input: ValueId,
    },
    /// Rows and columns of integer 0 around a value, for what takes them for numbers like others: a pooling, say.
    /// Input and output share one [`Encoding`], their scales aside, in which a level stands for 0.
    Pad {
        /// The value in the middle.
        input: ValueId,
        /// Top, left, bottom, right.
        padding: [u32; 4],
    },
    /// Sum of functions of two to four values of equal shape, requantized. The accumulator is the sum of the entries that the
    /// tables have for the inputs' levels, the only term; it has one channel for all.
    AddTables {
        /// The values looked up.
        inputs: Vec<ValueId>,
        /// For each input one number for each of its levels: `max_level + 1` entries.
        tables: Vec<Vec<i32>>,
        /// Sums to levels.
        requantize: Requantize,
    },
    /// Product of two values as matrices, in groups of channels, requantized: a convolution of 1×1 whose weights are the
    /// second value. The accumulator is the sum of the products of integers, the only term; it has one channel for all.
    MatMul {
        /// The value whose pixels are multiplied, and the one that stands for weights.
        inputs: [ValueId; 2],
        /// Independent groups of channels, of both and of the output: the heads of an attention.
        groups: u32,
        /// Areas of equally many positions, one behind the other in the order of rows, of both values; a pixel is multiplied
        /// with the second value's positions in its own area. 1 for all positions.
        areas: u32,
        /// What is summed.
        along: Along,
        /// Sums to levels.
        requantize: Requantize,
    },
    /// Look-up table of two values: `output level = table[first level · levels of the second + second level]`.
    PairMap {
        /// The values looked up: shapes as those of [`Operator::Mul`].
        inputs: [ValueId; 2],
        /// One level for each pair of the inputs' levels: `(max_level + 1)·(max_level + 1)` entries.
        table: Vec<u8>,
    },
    /// Softmax over each group of channels of a pixel, requantized. `m` the largest level of the group, the share of a channel is
    /// `exponentials[m − level] / Σ exponentials[m − level]`; its level is that behind the thresholds, in units of 2⁻⁴⁸, that
    /// are not above it.
    Softmax {
        /// The value whose channels are compared.
        input: ValueId,
        /// Groups of channels.
        groups: u32,
        /// For each distance from the largest level a number of up to 2⁴⁶: `max_level + 1` entries.
        exponentials: Vec<u64>,
        /// Ascending shares at which the level changes.
        thresholds: Vec<u64>,
        /// One level more than there are thresholds.
        levels: Vec<u8>,
    },
    /// Pixels of the inputs in turn, `factor` times as many rows and columns: output (y, x) is pixel (y / factor,
    /// x / factor) of input `(y mod factor) · factor + x mod factor`. All inputs and the output share one [`Encoding`],
    /// their scales aside.
    Interleave {
        /// `factor²` values of equal shape, where the factor is 2 to 4.
        inputs: Vec<ValueId>,
    },
    /// Sum or product of functions of accumulators and of levels, quantized.
    Curves(Curves),
}

/// How many times as many rows and columns so many interleaved values make; `None` if they make none.
pub const fn interleave_factor(inputs: usize) -> Option<u32> {
    match inputs {
        4 => Some(2),
        9 => Some(3),
        16 => Some(4),
        _ => None,
    }
}

impl Operator {
    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv(_) => "Conv",
            Self::Add { .. } => "Add",
            Self::Map { .. } => "Map",
            Self::MaxPool { .. } => "MaxPool",
            Self::Upsample { .. } => "Upsample",
            Self::Concat { .. } => "Concat",
            Self::Mul { .. } => "Mul",
            Self::Slice { .. } => "Slice",
            Self::ChannelMax { .. } => "ChannelMax",
            Self::Pad { .. } => "Pad",
            Self::AddTables { .. } => "AddTables",
            Self::MatMul { .. } => "MatMul",
            Self::Softmax { .. } => "Softmax",
            Self::Interleave { .. } => "Interleave",
            Self::PairMap { .. } => "PairMap",
            Self::Curves(_) => "Curves",
        }
    }

    /// The values read, in order.
    pub fn inputs(&self) -> Vec<ValueId> {
        match self {
            Self::Conv(conv) => conv.terms.iter().map(|term| term.input).collect(),
            Self::Curves(curves) => curves.operands.iter().map(|operand| operand.input).collect(),
            Self::Add { inputs, .. }
            | Self::AddTables { inputs, .. }
            | Self::Concat { inputs }
            | Self::Interleave { inputs } => inputs.clone(),
            Self::Mul { inputs, .. } | Self::MatMul { inputs, .. } | Self::PairMap { inputs, .. } => {
                inputs.to_vec()
            }
            Self::Map { input, .. }
            | Self::MaxPool { input, .. }
            | Self::Upsample { input, .. }
            | Self::Slice { input, .. }
            | Self::ChannelMax { input }
            | Self::Pad { input, .. }
            | Self::Softmax { input, .. } => {
                vec![*input]
            }
        }
    }

    /// The values read, in order, to be changed.
    pub fn inputs_mut(&mut self) -> Vec<&mut ValueId> {
        match self {
            Self::Conv(conv) => conv.terms.iter_mut().map(|term| &mut term.input).collect(),
            Self::Curves(curves) => curves.operands.iter_mut().map(|operand| &mut operand.input).collect(),
            Self::Add { inputs, .. }
            | Self::AddTables { inputs, .. }
            | Self::Concat { inputs }
            | Self::Interleave { inputs } => inputs.iter_mut().collect(),
            Self::Mul { inputs, .. } | Self::MatMul { inputs, .. } | Self::PairMap { inputs, .. } => {
                inputs.iter_mut().collect()
            }
            Self::Map { input, .. }
            | Self::MaxPool { input, .. }
            | Self::Upsample { input, .. }
            | Self::Slice { input, .. }
            | Self::ChannelMax { input }
            | Self::Pad { input, .. }
            | Self::Softmax { input, .. } => {
                vec![input]
            }
        }
    }

    /// Whether it computes nothing new: its inputs and its output share one [`Encoding`], their scales aside.
    pub const fn hands_levels_on(&self) -> bool {
        matches!(
            self,
            Self::MaxPool { .. }
                | Self::Upsample { .. }
                | Self::Concat { .. }
                | Self::Slice { .. }
                | Self::ChannelMax { .. }
                | Self::Pad { .. }
                | Self::Interleave { .. }
        )
    }
}
