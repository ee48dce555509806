//! Operators of two values whose result depends on nothing but both levels: a table of all pairs, made at load from the
//! exact map.

use ylb_format::model::{Encoding, Requantize};
use ylb_kernels::reference;
use ylb_kernels::rows::Rows;

use crate::requantize;

/// `table[a · b_levels + b]`.
pub struct PairTable {
    table: Vec<u8>,
    b_levels: usize,
}

impl PairTable {
    /// The table of a map from the levels of two encodings.
    pub fn new(a: &Encoding, b: &Encoding, level: impl Fn(u8, u8) -> u8) -> Self {
        let levels = (0..=a.max_level).flat_map(|x| (0..=b.max_level).map(move |y| (x, y)));
        let table = levels.map(|(x, y)| level(x, y)).collect();
        Self { table, b_levels: usize::from(b.max_level) + 1 }
    }

    /// Looks up rows of equal length.
    pub fn apply(&self, rows: &Rows, a: &[u8], b: &[u8], out: &mut [u8]) {
        rows.lookup2(a, b, self.b_levels, &self.table, out);
    }
}

/// The exact map from two levels to one, where `accumulators` makes one accumulator a term of both integers. Levels
/// beyond the encodings count as the largest.
pub fn level_of<const T: usize>(
    a: &Encoding,
    b: &Encoding,
    requantize: &Requantize,
    max_level: u8,
    accumulators: impl Fn(i64, i64) -> [i64; T],
) -> impl Fn(u8, u8) -> u8 {
    let spec = requantize::spec(requantize, max_level);
    let (a, b) = (*a, *b);
    let integer = |encoding: &Encoding, level: u8| i64::from(encoding.integer(level.min(encoding.max_level)));
    move |x, y| reference::requantize(&spec, 0, &accumulators(integer(&a, x), integer(&b, y)))
}
