//! One layer of an architecture.

pub use ylb_format::model::Along;

/// The name of the picture, as layers read it.
pub const PICTURE: &str = "image";

/// One layer. Layers stand in the order of computation: each reads the picture or layers before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name, which no other layer has.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Names of what it reads.
    pub from: Vec<String>,
}

/// A square window that slides over rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Padding: top, left, bottom, right.
    pub padding: [usize; 4],
}

/// What follows a convolution and its batch normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The activation function that the network has nearly everywhere.
    Activation,
    /// Nothing.
    Identity,
    /// ReLU, whatever the network has elsewhere.
    Relu,
    /// The logistic function, or one like it: what it gives is multiplied with something.
    Gate,
}

/// What a layer computes.
///
/// Blocks of several layers are written out: a C3 or C2f block, a pyramid of poolings, a decoupled head are convolutions,
/// sums and concats. Halves of a convolution's channels that go different ways are two convolutions, and a depthwise
/// convolution is one of as many groups as channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// A convolution, with the batch normalization and the activation function that follow it.
    Conv {
        /// Output channels.
        channels: usize,
        /// Its window.
        window: Window,
        /// Groups of channels; 1 in most.
        groups: usize,
        /// What follows.
        function: Function,
    },
    /// The sum of two or more.
    Add,
    /// The mean of each channel over all rows and columns.
    Mean,
    /// The product of the first and of the second, which has one number for each channel.
    Gated,
    /// The products of two layers as matrices, for each head on its own: those of an attention.
    MatMul {
        /// Into so many groups the channels are cut.
        heads: usize,
        /// What is summed.
        along: Along,
    },
    /// The softmax of each head's channels.
    Softmax {
        /// Into so many groups the channels are cut.
        heads: usize,
    },
    /// Channels one after another.
    Concat,
    /// The largest of each window.
    MaxPool(Window),
    /// Rows and columns repeated so many times.
    Upsample(usize),
    /// The detection head, the last layer: what it reads are its feature maps, finest first, each so many times as it has
    /// convolutions of its own ([`crate::Head::cuts`]). These have as many channels as the classes and anchors ask for.
    Detect,
}

impl Window {
    /// A window padded by half of it, so that with a step of 1 the output is as large as the input.
    pub const fn centred(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: [kernel / 2; 4] }
    }

    /// A window without padding.
    pub const fn plain(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: [0; 4] }
    }
}
