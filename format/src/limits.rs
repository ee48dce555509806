//! The largest counts and extents of a valid model.
//!
//! They are far above what any detector needs. Their purpose is that a consumer can size buffers and
//! choose integer widths by them, and that a hostile file of a few bytes cannot ask for much.

/// Sections of a file.
pub const MAX_SECTIONS: u32 = 64;
/// Bytes of a name or any other text.
pub const MAX_TEXT: usize = 4096;
/// Values of a model, and with them nodes: each node writes one.
pub const MAX_VALUES: usize = 65_536;
/// Channels, rows or columns of a value; classes of a detector; pixels of a stride.
pub const MAX_EXTENT: u32 = 65_536;
/// Elements of a value.
pub const MAX_ELEMENTS: u64 = 1 << 28;
/// Rows, columns and steps of a window: those of a whole map, for a gate.
pub const MAX_WINDOW: u32 = 256;
/// Terms of a convolution: as many scales as its input may join.
pub const MAX_TERMS: usize = 64;
/// Addends of a sum; the fewest are 2.
pub const MAX_ADDENDS: usize = 4;
/// Inputs of a concatenation.
pub const MAX_CONCAT_INPUTS: usize = 16;
/// Factor of an upsampling; the smallest is 2.
pub const MAX_UPSAMPLE: u32 = 8;
/// Weights of one output channel of a convolution term: as many as two 8-bit codes can be multiplied
/// and summed in an i32, `255 · 255 · 33 025 < 2^31`. A sum of products of levels and weight codes
/// therefore never overflows, in whatever order it is computed.
pub const MAX_DEPTH: u64 = 33_025;
/// Exponential of a softmax: 65 536 of them are less than 2^63.
pub const MAX_EXPONENTIAL: u64 = 1 << 46;
/// Operands of a join of curves.
pub const MAX_CURVE_OPERANDS: usize = 16;
/// Pieces of a curve.
pub const MAX_PIECES: usize = 4096;
/// A piece of a curve is at most 2 to the power of this wide.
pub const MAX_PIECE_WIDTH: u8 = 40;
/// Thresholds of one staircase.
pub const MAX_THRESHOLDS: usize = 4096;
/// Right shift of a requantization.
pub const MAX_SHIFT: u8 = 62;
/// Codes and zero points lie in `-MAX_CODE..=MAX_CODE`.
pub const MAX_CODE: i16 = 255;
/// Feature maps of the detection head.
pub const MAX_MAPS: usize = 16;
/// Parts of a feature map: convolutions that it comes from.
pub const MAX_PARTS: usize = 8;
/// Numbers of a distribution of distances; the fewest are 2.
pub const MAX_BINS: u8 = 64;
/// Factor of a box's centre inside its cell; the smallest is 1.
pub const MAX_SCALE_XY: f32 = 4.0;
/// Anchors of a cell.
pub const MAX_ANCHORS: u32 = 16;
/// Graph outputs of the source model.
pub const MAX_OUTPUTS: usize = 64;
