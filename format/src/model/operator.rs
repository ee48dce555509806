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
    /// Product of two values, requantized. The accumulator is the product of the inputs' integers, the only term; it has
    /// one channel for all.
    Mul {
        /// The factors. The second has the shape of the first, or is a gate: as many channels, of one pixel, which is
        /// multiplied with all of the first's.
        inputs: [ValueId; 2],
        /// Products to levels.
        requantize: Requantize,
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
            Self::Mul { .. } => "Mul",
        }
    }

    /// The values read, in order.
    pub fn inputs(&self) -> Vec<ValueId> {
        match self {
            Self::Conv(conv) => conv.terms.iter().map(|term| term.input).collect(),
            Self::Add { inputs, .. } | Self::Concat { inputs } => inputs.clone(),
            Self::Mul { inputs, .. } => inputs.to_vec(),
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
            Self::Mul { inputs, .. } => inputs.iter_mut().collect(),
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
