//! The closed list of operators, and what can be said of all of them.

#[cfg(doc)]
use super::Encoding;
use super::{Conv, Requantize, ValueId, Window};

/// What a node computes. All of them work on levels.
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
        }
    }

    /// The values read, in order.
    pub fn inputs(&self) -> Vec<ValueId> {
        match self {
            Self::Conv(conv) => conv.terms.iter().map(|term| term.input).collect(),
            Self::Add { inputs, .. } | Self::Concat { inputs } => inputs.clone(),
            Self::Map { input, .. } | Self::MaxPool { input, .. } | Self::Upsample { input, .. } => {
                vec![*input]
            }
        }
    }

    /// The values read, in order, to be changed.
    pub fn inputs_mut(&mut self) -> Vec<&mut ValueId> {
        match self {
            Self::Conv(conv) => conv.terms.iter_mut().map(|term| &mut term.input).collect(),
            Self::Add { inputs, .. } | Self::Concat { inputs } => inputs.iter_mut().collect(),
            Self::Map { input, .. } | Self::MaxPool { input, .. } | Self::Upsample { input, .. } => {
                vec![input]
            }
        }
    }

    /// Whether it computes nothing new: its inputs and its output share one [`Encoding`], their scales aside.
    pub const fn hands_levels_on(&self) -> bool {
        matches!(self, Self::MaxPool { .. } | Self::Upsample { .. } | Self::Concat { .. })
    }
}
