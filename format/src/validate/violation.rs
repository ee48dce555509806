//! What can be wrong with a model as a whole, and with a value.

use thiserror::Error;

use super::{HeadProblem, NodeProblem};

/// The first promise of [`model`](crate::model) that a model breaks.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// More of something than [`limits`](crate::limits) allow.
    #[error("the model has {count} {what}; the limit is {limit}")]
    TooMany {
        /// Of what, in the plural.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A text is longer than [`limits::MAX_TEXT`](crate::limits::MAX_TEXT) bytes.
    #[error("the {what} is {len} bytes long; the limit is {limit}")]
    TextTooLong {
        /// Which text.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// How long it may be.
        limit: usize,
    },
    /// There are class names, but not one for each class.
    #[error("the model has {names} class names for {classes} classes")]
    ClassNames {
        /// Names.
        names: usize,
        /// Classes of the detection head.
        classes: u32,
    },
    /// Something is wrong with a value by itself.
    #[error("value {value} {name:?}: {problem}")]
    Value {
        /// Index of the value.
        value: u32,
        /// Its name.
        name: String,
        /// What is wrong.
        problem: ValueProblem,
    },
    /// Two values have one name.
    #[error("values {first} and {second} are both called {name:?}")]
    DuplicateName {
        /// Index of the earlier value.
        first: u32,
        /// Index of the later one.
        second: u32,
        /// The name.
        name: String,
    },
    /// The input is no value of the model.
    #[error("the input is value {value}, but there are {values} values")]
    UnknownInput {
        /// Index that the input gives.
        value: u32,
        /// Values of the model.
        values: usize,
    },
    /// The input holds accumulators.
    #[error("the input is value {value}, which holds accumulators instead of levels")]
    InputIsAccumulators {
        /// Index of the value.
        value: u32,
    },
    /// The input is no RGB picture.
    #[error("the input has {channels} channels; a picture has 3")]
    InputChannels {
        /// Its channels.
        channels: u32,
    },
    /// A pixel's level is beyond the input's encoding.
    #[error("pixel byte {byte} has level {level}, but the input's largest is {max_level}")]
    PixelLevel {
        /// Byte of a pixel.
        byte: usize,
        /// Its level.
        level: u8,
        /// The input's largest level.
        max_level: u8,
    },
    /// Three tables of levels, where one says it.
    #[error("the input has a table of levels for each channel, but all are equal")]
    EqualPixelLevels,
    /// Mean or deviation are no numbers to subtract and to divide by.
    #[error(
        "the input has mean {mean:?} and deviation {deviation:?}; expected finite numbers, deviations above 0"
    )]
    Normalization {
        /// Means by channel.
        mean: [f32; 3],
        /// Deviations by channel.
        deviation: [f32; 3],
    },
    /// Something is wrong with a node or what it reads and writes.
    #[error("node {node} {name:?}: {problem}")]
    Node {
        /// Index of the node.
        node: usize,
        /// Its name.
        name: String,
        /// What is wrong.
        problem: NodeProblem,
    },
    /// A value is neither the input nor the output of a node.
    #[error("value {value} {name:?} is written by no node")]
    NeverWritten {
        /// Index of the value.
        value: u32,
        /// Its name.
        name: String,
    },
    /// A detector computes a value for nothing.
    #[error("value {value} {name:?} is read by no node and is no part of the detection head")]
    NeverRead {
        /// Index of the value.
        value: u32,
        /// Its name.
        name: String,
    },
    /// Something is wrong with a feature map of the detection head.
    #[error("feature map {map} of the detection head: {problem}")]
    Head {
        /// Index of the map.
        map: usize,
        /// What is wrong.
        problem: HeadProblem,
    },
    /// A distribution of distances has too few numbers, or too many.
    #[error("the detection head has distributions of {bins} numbers; expected 2 to {limit}")]
    Bins {
        /// Numbers of a distribution.
        bins: u8,
        /// How many there may be.
        limit: u8,
    },
    /// The number of classes; without a detection head it may be 0.
    #[error("the model has {classes} classes; expected 1 to {limit}")]
    Classes {
        /// Classes.
        classes: u32,
        /// How many there may be.
        limit: u32,
    },
    /// Two outputs have one name.
    #[error("two outputs are called {name:?}")]
    DuplicateOutput {
        /// The name.
        name: String,
    },
    /// An output refers to a part of the detection head that does not exist.
    #[error(
        "output {name:?} is part {part} of feature map {map} of the detection head, which does not exist"
    )]
    UnknownPart {
        /// The output's name.
        name: String,
        /// The feature map that it refers to.
        map: u32,
        /// And the part of it.
        part: u32,
    },
    /// An output arranges columns that there are not, or one map as all, or all maps as one.
    #[error("output {name:?} is no arrangement of the detection head's numbers")]
    Arrangement {
        /// The output's name.
        name: String,
    },
    /// Boxes cannot be decoded without a detection head, and without the anchors of all its maps where it has some.
    #[error("output {name:?} is decoded boxes, but the detection head lacks anchors")]
    NoAnchors {
        /// The output's name.
        name: String,
    },
}

/// What can be wrong with a value by itself.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ValueProblem {
    /// Channels, height or width are 0 or beyond the limit.
    #[error("{channels}×{height}×{width} has an extent that is not 1 to {limit}")]
    Extent {
        /// Channels.
        channels: u32,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// Largest extent.
        limit: u32,
    },
    /// Too many elements.
    #[error("{elements} elements; the limit is {limit}")]
    Elements {
        /// Elements of the value.
        elements: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The largest level is 0.
    #[error("the largest level is 0, so that there is only one")]
    MaxLevel,
    /// The step between codes is neither 1 nor 2.
    #[error("codes have a step of {step} instead of 1 or 2")]
    Step {
        /// The step.
        step: u8,
    },
    /// The code of level 0 is out of range.
    #[error("level 0 has code {low}, which is not in -255 to 255")]
    Low {
        /// The code.
        low: i16,
    },
    /// The zero point is out of range.
    #[error("the zero point {zero_point} is not in -255 to 255")]
    ZeroPoint {
        /// The zero point.
        zero_point: i16,
    },
    /// The scale is no positive number and not (positive) 0.
    #[error("the scale {scale} is neither positive nor 0 for unknown")]
    Scale {
        /// The scale.
        scale: f64,
    },
}
