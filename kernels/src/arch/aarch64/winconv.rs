//! Winograd convolution F(2×2, 3×3) with SMULL, SMLAL and SADALP: the loops of
//! [the portable form](crate::arch::generic::winconv), with the steps of [`mulconv`](super::mulconv).
//!
//! Cycles on a Cortex-A72 for a tile, 16 channels and 16 outputs: 512 multiplications on pipe F0, which are
//! 9216 multiply-accumulates of the convolution, 18 a cycle. Beside them:
//!
//! 1. Transformed levels are signed, so that no correction is needed, and every tile is computed alone: a
//!    step's 4 loads of weights are hidden behind its 8 multiplications.
//! 2. `Aᵀ m` is computed before `m` is stored, which halves the stores, 2 slots each: 8 instead of 16 for each
//!    column of `M`.
//! 3. Transforming levels is bound by its 16 stores for a tile and 16 channels, 0.5 cycles a level. Columns of a
//!    patch that the next tile shares are kept in registers, which saves a third of the additions.

use std::arch::aarch64::*;

use super::mulconv::{Mlal, Multiply};
use crate::families::direct::Operands;
use crate::families::winograd::{LANES, LevelsStrip, OUTPUTS, OutputsStrip, PARTIAL, POINTS, WinogradKernel};
use crate::ukernel::Engine;

/// Any operands that the algorithm takes.
pub(crate) static WINCONV_I32_U5_S5_4X16_NEON_MLAL: WinogradKernel = WinogradKernel {
    name: "winconv_i32_u5_s5_4x16_neon_mlal",
    engine: Engine::Neon,
    rate,
    position: |output, channel| Mlal::position(output, channel),
    transform: winconv_i32_u5_s5_4x16_neon_transform,
    run: winconv_i32_u5_s5_4x16_neon_mlal,
};

/// Bytes of the weights of 4 channels.
const STEP: usize = 4 * OUTPUTS;

/// Multiplications, 110 cycles of stores and sums for a block, 34 of transforming for 16 channels.
fn rate(operands: &Operands) -> f32 {
    let channels = operands.depth as f32 / 3.0;
    let [vectors, blocks] = [channels, operands.outputs as f32].map(|count| (count / 16.0).ceil().max(1.0));
    let cycles = 512.0 * vectors * blocks + 110.0 * blocks + 34.0 * vectors;
    36.0 * channels * operands.outputs as f32 / cycles
}

/// `Bᵀ` of a column, or of a row.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn differences([a, b, c, d]: [int8x16_t; 4]) -> [int8x16_t; 4] {
    // SAFETY: the caller's promise.
    unsafe { [vsubq_s8(a, c), vaddq_s8(b, c), vsubq_s8(c, b), vsubq_s8(b, d)] }
}

/// # Safety
/// - As `transform` of [`WinogradKernel`].
#[target_feature(enable = "neon")]
unsafe fn winconv_i32_u5_s5_4x16_neon_transform(strip: &mut LevelsStrip<'_>) {
    let vectors = strip.channels.div_ceil(LANES);
    let rows: [usize; 4] = std::array::from_fn(|row| strip.pixel(row, 0));
    let transformed = strip.transformed.as_mut_ptr();
    let strip = &*strip;
    for vector in 0..vectors {
        let column = |column: usize| {
            let offset = strip.pixel(0, column) - rows[0] + vector * LANES;
            // SAFETY: `check` found the last row and column, beyond which `pixel` does not go, and the
            // slack, which the 16 bytes of the last channels may need.
            unsafe { differences(rows.map(|row| vld1q_s8(strip.input.as_ptr().add(row + offset).cast()))) }
        };
        let mut left = [column(0), column(1)];
        for tile in 0..strip.columns.div_ceil(2) {
            let right = [column(2 * tile + 2), column(2 * tile + 3)];
            let place = (tile * vectors + vector) * POINTS * LANES;
            for i in 0..4 {
                // SAFETY: `check` found room for 16 vectors of each tile and 16 channels.
                unsafe {
                    let row = differences([left[0][i], left[1][i], right[0][i], right[1][i]]);
                    let out = transformed.add(place + i * LANES);
                    for (j, values) in row.into_iter().enumerate() {
                        vst1q_s8(out.add(4 * j * LANES), values);
                    }
                }
            }
            left = right;
        }
    }
}

/// # Safety
/// - As `run` of [`WinogradKernel`].
#[target_feature(enable = "neon")]
unsafe fn winconv_i32_u5_s5_4x16_neon_mlal(strip: &mut OutputsStrip<'_>) {
    let vectors = strip.channels.div_ceil(LANES);
    for j in 0..4 {
        for tile in 0..strip.tiles() {
            // SAFETY: `check` found the weights of 4 columns, the transformed levels of each tile and 128
            // partial sums of it.
            unsafe {
                let weights = strip.weights.as_ptr().add(j * vectors * LANES * STEP);
                let levels = strip.transformed.as_ptr().add((tile * vectors * POINTS + 4 * j) * LANES);
                let sums = multiply(weights, levels, vectors);
                let partial = strip.partial.as_mut_ptr().add(tile * PARTIAL + j * 2 * OUTPUTS);
                for part in 0..4 {
                    let [top, bottom] = gather(sums.map(|sums| sums[part]));
                    vst1q_s32(partial.add(4 * part), top);
                    vst1q_s32(partial.add(OUTPUTS + 4 * part), bottom);
                }
            }
        }
    }
    let row_len = 2 * strip.tiles() * OUTPUTS;
    for tile in 0..strip.tiles() {
        for row in 0..2 {
            for part in 0..4 {
                // SAFETY: as above; `check` found the sums of 2 columns for each tile in both rows.
                unsafe {
                    let partial = strip.partial.as_ptr().add(tile * PARTIAL + row * OUTPUTS + 4 * part);
                    let pair = gather(std::array::from_fn(|j| vld1q_s32(partial.add(j * 2 * OUTPUTS))));
                    let sums = strip.sums.as_mut_ptr().add(row * row_len + 2 * tile * OUTPUTS + 4 * part);
                    vst1q_s32(sums, vshrq_n_s32::<2>(pair[0]));
                    vst1q_s32(sums.add(OUTPUTS), vshrq_n_s32::<2>(pair[1]));
                }
            }
        }
    }
}

/// `Aᵀ` of a column, or of a row.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn gather([a, b, c, d]: [int32x4_t; 4]) -> [int32x4_t; 2] {
    // SAFETY: the caller's promise.
    unsafe { [vaddq_s32(vaddq_s32(a, b), c), vsubq_s32(vsubq_s32(b, c), d)] }
}

/// A column of `M`: 4 rows of 16 outputs.
///
/// # Safety
/// - The CPU has NEON.
/// - A column's weights are readable at `weights`, for each of `vectors` vectors of channels; 4 vectors of
///   levels are at `levels`, and at each [`POINTS`] vectors from there.
#[inline(always)]
unsafe fn multiply(mut weights: *const u8, mut levels: *const i8, vectors: usize) -> [[int32x4_t; 4]; 4] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; 4];
        for _ in 0..vectors {
            let values: [int8x16_t; 4] = std::array::from_fn(|i| vld1q_s8(levels.add(i * LANES)));
            steps::<0, 1>(&mut sums, weights, &values);
            steps::<2, 3>(&mut sums, weights.add(4 * STEP), &values);
            steps::<4, 5>(&mut sums, weights.add(8 * STEP), &values);
            steps::<6, 7>(&mut sums, weights.add(12 * STEP), &values);
            weights = weights.add(16 * STEP);
            levels = levels.add(POINTS * LANES);
        }
        sums
    }
}

/// Four channels, those of the pairs `LOW` and `HIGH`, of four rows.
///
/// # Safety
/// - The CPU has NEON, and the weights of 4 steps are readable at `weights`.
#[inline(always)]
unsafe fn steps<const LOW: i32, const HIGH: i32>(
    sums: &mut [[int32x4_t; 4]; 4],
    weights: *const u8,
    values: &[int8x16_t; 4],
) {
    for (i, (sums, &values)) in sums.iter_mut().zip(values).enumerate() {
        // SAFETY: the caller's promises.
        unsafe {
            let step = std::array::from_fn(|part| vld1q_s8(weights.add(i * STEP + 16 * part).cast()));
            Mlal::step::<LOW, HIGH>(sums, &step, values);
        }
    }
}
