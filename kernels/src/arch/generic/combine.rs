//! Functions of levels on bit planes, portable, byte by byte.

use crate::combine::{CombineRow, PlaneFunction};

/// Computes a row, which has been checked.
pub(crate) fn combine_row(row: &mut CombineRow<'_>) {
    let function = row.function;
    row.for_each(|a, b, output| combine(function, a, b, output));
}

/// Computes a stretch.
pub(crate) fn combine(function: &PlaneFunction, a: &[u8], b: &[u8], output: &mut [u8]) {
    let bits = usize::from(function.bits);
    let groups = a.chunks_exact(bits).zip(b.chunks_exact(bits)).zip(output.chunks_exact_mut(bits));
    for ((a, b), output) in groups {
        // By product: the empty one is 1, and each of the others has one factor more than an earlier one.
        let mut products = [u8::MAX; 16];
        for (variable, &factor) in a.iter().chain(b).enumerate() {
            for smaller in 0..1 << variable {
                products[smaller | 1 << variable] = products[smaller] & factor;
            }
        }
        for (plane, byte) in output.iter_mut().enumerate() {
            let terms = products.iter().zip(&function.coefficients);
            *byte = terms.fold(0, |sum, (product, coefficients)| sum ^ (product & coefficients[plane]));
        }
    }
}
