//! The multiplications of a step, by which micro-kernels of this family differ.

use std::arch::aarch64::*;

/// The multiplication of one step, and the order of the weights that it wants.
pub(in crate::arch::aarch64) trait Multiply {
    /// Place of a weight among the 64 of its step.
    fn position(output: usize, k: usize) -> usize;

    /// `sums[output] += Σ_k weights[output, k] · levels[4 · (LOW / 2) + k]`, for `HIGH = LOW + 1`
    /// (the two halves of a step, which constant generics cannot compute).
    ///
    /// # Safety
    /// - The CPU has the instructions.
    unsafe fn step<const LOW: i32, const HIGH: i32>(
        sums: &mut [int32x4_t; 4],
        weights: &[int8x16_t; 4],
        levels: int8x16_t,
    );

    /// The same where only the first two of the four levels count: the other weights are 0.
    ///
    /// # Safety
    /// - The CPU has the instructions.
    #[inline(always)]
    unsafe fn half_step<const LOW: i32, const HIGH: i32>(
        sums: &mut [int32x4_t; 4],
        weights: &[int8x16_t; 4],
        levels: int8x16_t,
    ) {
        // SAFETY: the caller's promise.
        unsafe { Self::step::<LOW, HIGH>(sums, weights, levels) }
    }
}

/// Adds pairs of products in 16 bits.
pub(in crate::arch::aarch64) struct Mlal;

/// Adds no products in 16 bits.
pub(super) struct Mull;

impl Multiply for Mlal {
    fn position(output: usize, k: usize) -> usize {
        // [levels 0-1, levels 2-3][16 outputs][2 levels]
        k / 2 * 32 + output * 2 + k % 2
    }

    #[inline(always)]
    unsafe fn step<const LOW: i32, const HIGH: i32>(
        sums: &mut [int32x4_t; 4],
        weights: &[int8x16_t; 4],
        levels: int8x16_t,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = broadcast::<LOW, HIGH>(levels);
            for half in 0..2 {
                let (first, second) = (weights[half], weights[half + 2]);
                let products = vmull_s8(vget_low_s8(first), vget_low_s8(low));
                let products = vmlal_s8(products, vget_low_s8(second), vget_low_s8(high));
                sums[2 * half] = vpadalq_s16(sums[2 * half], products);
                let products = vmull_high_s8(first, low);
                let products = vmlal_high_s8(products, second, high);
                sums[2 * half + 1] = vpadalq_s16(sums[2 * half + 1], products);
            }
        }
    }

    #[inline(always)]
    unsafe fn half_step<const LOW: i32, const HIGH: i32>(
        sums: &mut [int32x4_t; 4],
        weights: &[int8x16_t; 4],
        levels: int8x16_t,
    ) {
        // SAFETY: the caller's promise.
        unsafe { add_pair::<LOW>(sums, weights, levels) }
    }
}

/// Half a step of [`Mlal`] and [`Mull`].
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn add_pair<const LOW: i32>(sums: &mut [int32x4_t; 4], weights: &[int8x16_t; 4], levels: int8x16_t) {
    // SAFETY: the caller's promise.
    unsafe {
        let [low, _] = broadcast::<LOW, LOW>(levels);
        for half in 0..2 {
            let products = vmull_s8(vget_low_s8(weights[half]), vget_low_s8(low));
            sums[2 * half] = vpadalq_s16(sums[2 * half], products);
            let products = vmull_high_s8(weights[half], low);
            sums[2 * half + 1] = vpadalq_s16(sums[2 * half + 1], products);
        }
    }
}

impl Multiply for Mull {
    fn position(output: usize, k: usize) -> usize {
        Mlal::position(output, k)
    }

    #[inline(always)]
    unsafe fn step<const LOW: i32, const HIGH: i32>(
        sums: &mut [int32x4_t; 4],
        weights: &[int8x16_t; 4],
        levels: int8x16_t,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = broadcast::<LOW, HIGH>(levels);
            for half in 0..2 {
                for (weights, levels) in [(weights[half], low), (weights[half + 2], high)] {
                    let products = vmull_s8(vget_low_s8(weights), vget_low_s8(levels));
                    sums[2 * half] = vpadalq_s16(sums[2 * half], products);
                    let products = vmull_high_s8(weights, levels);
                    sums[2 * half + 1] = vpadalq_s16(sums[2 * half + 1], products);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn half_step<const LOW: i32, const HIGH: i32>(
        sums: &mut [int32x4_t; 4],
        weights: &[int8x16_t; 4],
        levels: int8x16_t,
    ) {
        // SAFETY: the caller's promise.
        unsafe { add_pair::<LOW>(sums, weights, levels) }
    }
}

/// The pairs `LOW` and `HIGH` of levels, each in all lanes.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn broadcast<const LOW: i32, const HIGH: i32>(levels: int8x16_t) -> [int8x16_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let pairs = vreinterpretq_s16_s8(levels);
        let low = vreinterpretq_s8_s16(vdupq_laneq_s16::<LOW>(pairs));
        let high = vreinterpretq_s8_s16(vdupq_laneq_s16::<HIGH>(pairs));
        [low, high]
    }
}
