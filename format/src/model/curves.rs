//! Functions of accumulators that nothing quantizes, added up or multiplied, in fixed point.
//!
//! Where an activation is not quantized before it is joined with another, no table of levels holds what it is. Its accumulators
//! are kept instead, and a *curve*, cubic in pieces, is the function between them and the join.

use super::ValueId;

/// A sum or a product of functions, and the levels that it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// What is joined: 1 to 16 for a sum, 2 or 3 for a product.
    pub operands: Vec<CurveOperand>,
    /// How.
    pub combine: Combine,
    /// The functions that operands refer to.
    pub curves: Vec<Curve>,
    /// Strictly ascending, up to 4096.
    pub thresholds: Vec<i64>,
    /// One longer than `thresholds`: the level is `levels[number of thresholds that are ≤ the join]`.
    pub levels: Vec<u8>,
}

/// How the functions of operands are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Their sum. All have the shape of the output.
    Sum,
    /// The product of the first two, shifted right by so many bits; of a third, the product of that and the third, shifted
    /// again. All but the first may be gates: each of their extents is that of the first, or 1.
    Product {
        /// 0 to 62.
        shift: u8,
    },
}

/// A value that is joined.
#[derive(Clone, Debug, PartialEq)]
pub struct CurveOperand {
    /// The value read.
    pub input: ValueId,
    /// What becomes of its elements.
    pub function: OperandFunction,
}

/// A function of the elements of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum OperandFunction {
    /// Of levels: one number for each, `max_level + 1` entries.
    Table(Vec<i64>),
    /// Of accumulators: the curve at `⌊accumulator · multipliers[c] / 2^shift⌋ + bias[c]`, for channel `c` of the value.
    Curve {
        /// Index in [`Curves::curves`].
        curve: u8,
        /// One for each channel.
        multipliers: Vec<i64>,
        /// One for each channel.
        bias: Vec<i64>,
        /// 0 to 62.
        shift: u8,
    },
}

/// A function that is cubic in pieces of equal width, from 0 on; its ends are lines.
///
/// Of `x` that is `i = ⌊x / 2^width⌋`, the first or the last piece where there is no such one, `d = x − i·2^width`, and with
/// `[k0, k1, k2, k3]` the piece's numbers
///
/// ```text
/// k0 + ⌊d·(k1 + ⌊d·(k2 + ⌊d·k3 / 2^width⌋) / 2^width⌋) / 2^width⌋
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// A piece is 2 to the power of this wide: 0 to 40.
    pub width: u8,
    /// 1 to 4096.
    pub pieces: Vec<[i64; 4]>,
}
