//! What can be wrong with a feature map of the detection head.

use thiserror::Error;

/// What can be wrong with a feature map of the detection head, and with its parts.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum HeadProblem {
    /// The stride is 0 or too large.
    #[error("the stride {stride} is not 1 to {limit}")]
    Stride {
        /// Input pixels per cell.
        stride: u32,
        /// Largest stride.
        limit: u32,
    },
    /// An earlier map has the same stride.
    #[error("the stride {stride} is that of map {map}, too")]
    SharedStride {
        /// Input pixels per cell.
        stride: u32,
        /// The earlier map.
        map: usize,
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
    /// The factor of a box's centre is out of range.
    #[error("the centre's factor {scale} is not 1 to {limit}")]
    ScaleXy {
        /// The factor.
        scale: f32,
        /// Largest factor.
        limit: f32,
    },
    /// The rule for boxes has no anchors, and this map has some, or a factor of the centre.
    #[error("its boxes have no anchors, but it has anchors or a factor of their centres")]
    AnchorsWithoutRule,
    /// There is no part, or there are too many.
    #[error("{parts} parts are not 1 to {limit}")]
    Parts {
        /// Parts of the map.
        parts: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The parts do not have all fields one after another.
    #[error("part {part} has fields {start} to {end} of {all}, but the next is field {expected}")]
    Fields {
        /// Index of the part.
        part: usize,
        /// Its first field.
        start: u32,
        /// The field after its last.
        end: u32,
        /// Fields of a box.
        all: u64,
        /// The field that the part must begin with; that after the last, if fields are missing at the end.
        expected: u32,
    },
    /// It is no value of the model.
    #[error("part {part} reads value {value}, but there are {values} values")]
    UnknownValue {
        /// Index of the part.
        part: usize,
        /// Index that the part gives.
        value: u32,
        /// Values of the model.
        values: usize,
    },
    /// An earlier part reads the same value.
    #[error("part {part} reads value {value}, as an earlier part of the head does")]
    SharedValue {
        /// Index of the part.
        part: usize,
        /// Index of the value.
        value: u32,
    },
    /// Parts of one map have different heights or widths.
    #[error("part {part} has {height}×{width} cells, but the first {rows}×{columns}")]
    Cells {
        /// Index of the part.
        part: usize,
        /// Rows of its value.
        height: u32,
        /// Columns of its value.
        width: u32,
        /// Rows of the first part's.
        rows: u32,
        /// Columns of the first part's.
        columns: u32,
    },
    /// The value's channels are not anchors × fields.
    #[error("value {value} has {channels} channels instead of {anchors} anchors times {fields} numbers")]
    Channels {
        /// Index of the value.
        value: u32,
        /// Its channels.
        channels: u32,
        /// Anchors of a cell.
        anchors: u32,
        /// Fields of the part.
        fields: u32,
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
    #[error("channel {channel} of part {part} can leave a 64-bit integer")]
    Overflow {
        /// Index of the part.
        part: usize,
        /// The channel.
        channel: usize,
    },
}
