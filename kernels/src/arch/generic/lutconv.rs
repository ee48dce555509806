//! Convolution by table look-up, portable: [`crate::families::lookup`] in plain loops.
//!
//! ```text
//! for each pixel:
//!     sums = 0                                                    # of 16 bits
//!     for each plane, the top one first:
//!         sums = 2 · sums;  the sums of the top plane are negative
//!         for each run, each quad of it:  sums[o] += table[index[o]]
//! ```

use crate::families::lookup::{LookupCost, LookupKernel, LookupTile, OUTPUTS, QUAD, TABLE};
use crate::ukernel::Engine;

/// The portable micro-kernel.
pub(crate) static LUTCONV_I32_U6_SX_1X32_GENERIC: LookupKernel = LookupKernel {
    name: "lutconv_i32_u6_sx_1x32_generic",
    engine: Engine::Generic,
    mr: 1,
    cost: LookupCost { rate: 3.0, table: 4.0 },
    make_tables,
    run: lutconv_i32_u6_sx_1x32_generic,
    levels: None,
};

fn make_tables(levels: &[u8], tables: &mut [u8]) {
    for (levels, table) in levels.chunks_exact(QUAD).zip(tables.chunks_exact_mut(TABLE)) {
        for (subset, sum) in table.iter_mut().enumerate() {
            let chosen = levels.iter().enumerate().filter(|(k, _)| subset >> k & 1 == 1);
            *sum = chosen.fold(0u8, |sum, (_, &level)| sum.wrapping_add(level));
        }
    }
}

fn lutconv_i32_u6_sx_1x32_generic(tile: &mut LookupTile<'_>) {
    for pixel in 0..tile.pixels {
        let window = tile.offset + pixel * tile.pixel_step;
        let mut sums = [0u16; OUTPUTS];
        let mut weights = tile.weights.chunks_exact(OUTPUTS);
        for plane in 0..tile.planes {
            sums = sums.map(|sum| sum.wrapping_mul(if plane == 1 { 2u16.wrapping_neg() } else { 2 }));
            for &run in tile.runs {
                let tables = tile.tables[window + run..].chunks_exact(TABLE).take(tile.quads);
                for (table, indices) in tables.zip(&mut weights) {
                    for (sum, &index) in sums.iter_mut().zip(indices) {
                        *sum = sum.wrapping_add(table[usize::from(index)].into());
                    }
                }
            }
        }
        for (out, sum) in tile.sums[pixel * OUTPUTS..][..OUTPUTS].iter_mut().zip(sums) {
            *out = (sum as i16).into();
        }
    }
}
