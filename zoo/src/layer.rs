//! One layer of an architecture.

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
    /// Padding at each side.
    pub padding: usize,
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
    },
    /// The sum of two or more.
    Add,
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
        Self { kernel, stride, padding: kernel / 2 }
    }
}
