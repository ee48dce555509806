//! Winograd convolution F(2×2, 3×3), portable: [`crate::families::winograd`] in plain loops.
//!
//! ```text
//! transform:                              for each tile, 16 channels, column of the patch:  Bᵀ d, then · B
//! run:    for each column j of M:
//!             for each tile:
//!                 m[4 rows][16 outputs] = Σ over channels of U[·][j] · V[·][j]
//!                 partial[tile][j] = Aᵀ m                                  # 2 rows, 16 outputs
//!         for each tile:  sums = partial A >> 2
//! ```
//!
//! A column of `M` at a time: its 4 · 16 sums stay in registers until they are half as many, and its weights, a
//! quarter of a block's, stay in the L1 cache for all tiles of the strip.

use crate::families::winograd::{LANES, LevelsStrip, OUTPUTS, OutputsStrip, PARTIAL, POINTS, WinogradKernel};
use crate::ukernel::Engine;

/// The portable micro-kernel.
pub(crate) static WINCONV_I32_U5_S5_4X16_GENERIC: WinogradKernel = WinogradKernel {
    name: "winconv_i32_u5_s5_4x16_generic",
    engine: Engine::Generic,
    rate: |_| 2.0,
    position: |output, channel| channel * OUTPUTS + output,
    transform,
    run,
};

/// `Bᵀ` of a column.
fn differences([a, b, c, d]: [i8; 4]) -> [i8; 4] {
    // What lies beyond the channels may wrap around: its weights are 0.
    [a.wrapping_sub(c), b.wrapping_add(c), c.wrapping_sub(b), b.wrapping_sub(d)]
}

fn transform(strip: &mut LevelsStrip<'_>) {
    let vectors = strip.channels.div_ceil(LANES);
    for tile in 0..strip.columns.div_ceil(2) {
        for channel in 0..vectors * LANES {
            let column = |column: usize| {
                differences(std::array::from_fn(|row| {
                    strip.input[strip.pixel(row, 2 * tile + column) + channel] as i8
                }))
            };
            let columns: [[i8; 4]; 4] = std::array::from_fn(column);
            let vector = (tile * vectors + channel / LANES) * POINTS;
            let row = |i: usize| differences(columns.map(|column| column[i]));
            let rows: [[i8; 4]; 4] = std::array::from_fn(row);
            for (i, row) in rows.into_iter().enumerate() {
                for (j, value) in row.into_iter().enumerate() {
                    strip.transformed[(vector + 4 * j + i) * LANES + channel % LANES] = value;
                }
            }
        }
    }
}

fn run(strip: &mut OutputsStrip<'_>) {
    let vectors = strip.channels.div_ceil(LANES);
    let column_len = vectors * LANES * 4 * OUTPUTS;
    for (j, weights) in strip.weights.chunks_exact(column_len).enumerate().take(4) {
        for tile in 0..strip.tiles() {
            let mut sums = [[0i32; OUTPUTS]; 4];
            for (index, weights) in weights.chunks_exact(OUTPUTS).enumerate() {
                let (quad, i, channel) = (index / 16, index / 4 % 4, index % 4);
                let vector = (tile * vectors + quad / 4) * POINTS + 4 * j + i;
                let value = strip.transformed[vector * LANES + quad % 4 * 4 + channel];
                for (sum, &weight) in sums[i].iter_mut().zip(weights) {
                    *sum = sum.wrapping_add(i32::from(value) * i32::from(weight as i8));
                }
            }
            let partial = &mut strip.partial[tile * PARTIAL + j * 2 * OUTPUTS..][..2 * OUTPUTS];
            for output in 0..OUTPUTS {
                let [top, bottom] = gather(sums.map(|sums| sums[output]));
                (partial[output], partial[OUTPUTS + output]) = (top, bottom);
            }
        }
    }
    let row_len = 2 * strip.tiles() * OUTPUTS;
    for (tile, partial) in strip.partial.chunks_exact(PARTIAL).enumerate().take(strip.tiles()) {
        for (row, sums) in strip.sums.chunks_exact_mut(row_len).enumerate().take(2) {
            for output in 0..OUTPUTS {
                let pair = gather(std::array::from_fn(|j| partial[(2 * j + row) * OUTPUTS + output]));
                for (column, sum) in pair.into_iter().enumerate() {
                    sums[(2 * tile + column) * OUTPUTS + output] = sum >> 2;
                }
            }
        }
    }
}

/// `Aᵀ` of a column.
fn gather([a, b, c, d]: [i32; 4]) -> [i32; 2] {
    [a.wrapping_add(b).wrapping_add(c), b.wrapping_sub(c).wrapping_sub(d)]
}
