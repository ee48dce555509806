//! What can be wrong with a model as a whole, with a value and with the detection head.

use thiserror::Error;

use super::NodeProblem;

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
    #[error("value {value} {name:?} is read by no node and is no level of the detection head")]
    NeverRead {
        /// Index of the value.
        value: u32,
        /// Its name.
        name: String,
    },
    /// Something is wrong with a level of the detection head.
    #[error("level {level} of the detection head: {problem}")]
    Detect {
        /// Index of the level.
        level: usize,
        /// What is wrong.
        problem: DetectProblem,
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
    /// An output refers to a level of the detection head that does not exist.
    #[error("output {name:?} is level {level} of the detection head, which has {levels}")]
    UnknownLevel {
        /// The output's name.
        name: String,
        /// The level that it refers to.
        level: u32,
        /// Levels of the detection head.
        levels: usize,
    },
    /// Boxes cannot be decoded without a detection head, and without the anchors of all its levels.
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

/// What can be wrong with a level of the detection head.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum DetectProblem {
    /// It is no value of the model.
    #[error("it reads value {value}, but there are {values} values")]
    UnknownValue {
        /// Index that the level gives.
        value: u32,
        /// Values of the model.
        values: usize,
    },
    /// An earlier level reads the same value.
    #[error("it reads value {value}, as level {level} does")]
    SharedValue {
        /// Index of the value.
        value: u32,
        /// The earlier level.
        level: usize,
    },
    /// The stride is 0 or too large.
    #[error("the stride {stride} is not 1 to {limit}")]
    Stride {
        /// Input pixels per cell.
        stride: u32,
        /// Largest stride.
        limit: u32,
    },
    /// The stride is not larger than the previous level's.
    #[error("the stride {stride} does not exceed the previous level's {previous}")]
    StrideOrder {
        /// Input pixels per cell.
        stride: u32,
        /// The same of the previous level.
        previous: u32,
    },
    /// The number of anchors of a cell is out of range.
    #[error("{anchors} anchors a cell are not 1 to {limit}")]
    AnchorsPerCell {
        /// Anchors of a cell.
        anchors: u32,
        /// How many there may be.
        limit: u32,
    },
    /// There are anchors, but not one for each of a cell's.
    #[error("sizes of {len} anchors are given for {anchors} anchors a cell")]
    AnchorsLen {
        /// Anchors given.
        len: usize,
        /// Anchors of a cell.
        anchors: u32,
    },
    /// An anchor's width or height is not positive and finite.
    #[error("anchor {anchor} has the size {width}×{height}")]
    Anchor {
        /// Index of the anchor.
        anchor: usize,
        /// Its width.
        width: f32,
        /// Its height.
        height: f32,
    },
    /// The value's channels are not anchors × (5 + classes).
    #[error("value {value} has {channels} channels instead of {anchors}·(5 + {classes})")]
    Channels {
        /// Index of the value.
        value: u32,
        /// Its channels.
        channels: u32,
        /// Anchors of a cell.
        anchors: u32,
        /// Classes.
        classes: u32,
    },
    /// There is not one multiplier for each channel.
    #[error("{len} multipliers for {channels} channels")]
    MultipliersLen {
        /// Multipliers.
        len: usize,
        /// Channels of the value.
        channels: u32,
    },
    /// There is not one bias for each channel.
    #[error("{len} biases for {channels} channels")]
    BiasLen {
        /// Biases.
        len: usize,
        /// Channels of the value.
        channels: u32,
    },
    /// The shift is too large.
    #[error("the shift {shift} is not 0 to {limit}")]
    Shift {
        /// Right shift.
        shift: u8,
        /// Largest shift.
        limit: u8,
    },
    /// A logit can leave an i64 before it is shifted.
    #[error("channel {channel} can leave a 64-bit integer")]
    Overflow {
        /// The channel.
        channel: usize,
    },
}
