//! Multiplying convolution with SMULL, SMLAL and SADALP.
//!
//! ```text
//! for each 4 output pixels:
//!     acc[4][16 outputs] = correction
//!     for each run, for each 16 levels of it:
//!         x[4] = load 16 levels of each pixel, xor 0x80
//!         for each 4 of the 16 levels:
//!             w = load 16 outputs × 4 levels
//!             acc[p] += w · x[p][those 4 levels]                      # a step
//! ```
//!
//! 1. The products of a step stay pairs of i8 × i8 in i16 lanes: SMULL for the first two levels,
//!    SMLAL adds the products of the other two, SADALP adds neighbouring lanes to the i32 of their
//!    output. Per 64 products these are 8 multiplications, which only pipe F0 of a Cortex-A72 does,
//!    and 4 SADALP and 2 DUP for F1: 8 products a cycle, the most that its multiplier can do.
//! 2. Levels are broadcast in pairs and outputs lie side by side. The other way round, with levels in
//!    the lanes (as most int8 libraries do it), has the same bound but pads runs to 16 levels, and
//!    the stem of a network has runs of 18.
//! 3. Levels are unsigned, and the instructions multiply equal signs only. XOR with 0x80 subtracts
//!    128; `128 · Σ weights`, stored at the beginning of a packed block, makes up for it.
//! 4. Two products fit an i16 unless both are −128 · −128. Blocks with weights of −128 go to a second
//!    micro-kernel that adds every product to 32 bits at once: 4 more SADALP, 6.5 products a cycle.

use std::arch::aarch64::*;

mod levels;
pub(crate) mod masks;
mod multiply;
pub(super) mod planes;
pub(crate) mod two_bits;

use self::multiply::Mull;
pub(super) use self::multiply::{Mlal, Multiply};
use crate::arch::aarch64::levels::takes;
use crate::arch::generic::mulconv::{OUTPUTS, add_up_totals, pack, packed_len, utilisation};
use crate::families::direct::{
    Capabilities, ConvKernel, ConvLevels, ConvPlanes, ConvTile, PlanesTile, WeightBlock,
};
use crate::ukernel::Engine;

/// Weights −127 to 127.
pub(crate) static MULCONV_I32_U8_S8_4X16_NEON_MLAL: ConvKernel = ConvKernel {
    name: "mulconv_i32_u8_s8_4x16_neon_mlal",
    engine: Engine::Neon,
    bit_serial: false,
    capabilities: Capabilities::NONE,
    nr: OUTPUTS,
    mr: 4,
    supports: |operands| operands.min_weight > i8::MIN,
    rate: |operands| 8.0 * utilisation(operands, GROUP),
    packed_len: |runs, depth, _| CORRECTIONS + packed_len::<GROUP>(runs, depth),
    pack: pack_block::<Mlal>,
    run: mulconv_i32_u8_s8_4x16_neon_mlal,
    planes: Some(ConvPlanes::wide(mulconv_planes_u8_s8_4x16_neon_mlal)),
    levels: Some(ConvLevels { takes, run: levels::convolve_levels }),
};

/// Any weights.
pub(crate) static MULCONV_I32_U8_S8_4X16_NEON_MULL: ConvKernel = ConvKernel {
    name: "mulconv_i32_u8_s8_4x16_neon_mull",
    supports: |_| true,
    rate: |operands| 6.5 * utilisation(operands, GROUP),
    pack: pack_block::<Mull>,
    run: mulconv_i32_u8_s8_4x16_neon_mull,
    planes: Some(ConvPlanes::wide(mulconv_planes_u8_s8_4x16_neon_mull)),
    levels: None,
    ..MULCONV_I32_U8_S8_4X16_NEON_MLAL
};

/// Levels of a step.
pub(super) const GROUP: usize = 4;
/// Bytes of a step's weights.
const STEP: usize = OUTPUTS * GROUP;
/// Bytes of the corrections that a packed block begins with.
pub(super) const CORRECTIONS: usize = OUTPUTS * size_of::<i32>();

/// Packs the corrections, `128 · Σ weights` by output as little endian i32, and the weights.
pub(super) fn pack_block<M: Multiply>(block: &WeightBlock<'_>, out: &mut [u8]) {
    let (corrections, weights) = out.split_at_mut(CORRECTIONS);
    let mut sums = [0i32; OUTPUTS];
    pack::<GROUP>(block, |index, weight| {
        let (step, output, k) = (index / STEP, index / GROUP % OUTPUTS, index % GROUP);
        sums[output] += i32::from(weight);
        weights[step * STEP + M::position(output, k)] = weight as u8;
    });
    for (bytes, sum) in corrections.chunks_exact_mut(size_of::<i32>()).zip(sums) {
        bytes.copy_from_slice(&sum.wrapping_mul(128).to_ne_bytes());
    }
}

#[target_feature(enable = "neon")]
fn mulconv_i32_u8_s8_4x16_neon_mlal(tile: &mut ConvTile<'_>) {
    // SAFETY: this function's own contract: the CPU has NEON and the tile was checked.
    unsafe { convolve::<Mlal>(tile) }
}

#[target_feature(enable = "neon")]
fn mulconv_i32_u8_s8_4x16_neon_mull(tile: &mut ConvTile<'_>) {
    // SAFETY: this function's own contract: the CPU has NEON and the tile was checked.
    unsafe { convolve::<Mull>(tile) }
}

#[target_feature(enable = "neon")]
fn mulconv_planes_u8_s8_4x16_neon_mlal(tile: &mut PlanesTile<'_>) {
    // SAFETY: this function's own contract: the CPU has NEON and the tile was checked.
    unsafe { planes::convolve_planes::<Mlal>(tile) }
}

#[target_feature(enable = "neon")]
fn mulconv_planes_u8_s8_4x16_neon_mull(tile: &mut PlanesTile<'_>) {
    // SAFETY: this function's own contract: the CPU has NEON and the tile was checked.
    unsafe { planes::convolve_planes::<Mull>(tile) }
}

/// Computes a tile; see the [module documentation](self).
///
/// # Safety
/// - The CPU has the instructions of `M`.
/// - The tile has been checked by `ConvTile::check` against a micro-kernel of [`OUTPUTS`] outputs,
///   and its weights were packed by [`pack_block`].
#[inline(always)]
pub(super) unsafe fn convolve<M: Multiply>(tile: &mut ConvTile<'_>) {
    let mut pixel = 0;
    while pixel + 4 <= tile.pixels {
        // SAFETY: these 4 pixels exist; the rest is the caller's promise.
        unsafe {
            let sums = convolve_pixels::<M, 4>(tile, pixel);
            store(&sums, &mut tile.sums[pixel * tile.sums_stride..], tile.sums_stride);
        }
        pixel += 4;
    }
    // One pixel at a time is as fast on a Cortex-A72: a step takes 4 loads and 8 multiplications.
    while pixel < tile.pixels {
        // SAFETY: this pixel exists; the rest is the caller's promise.
        unsafe {
            let sums = convolve_pixels::<M, 1>(tile, pixel);
            store(&sums, &mut tile.sums[pixel * tile.sums_stride..], tile.sums_stride);
        }
        pixel += 1;
    }
    add_up_totals(tile);
}

/// The sums of the pixels `pixel..pixel + P` of a tile.
///
/// # Safety
/// - As [`convolve`], and `pixel + P <= tile.pixels`.
#[inline(always)]
unsafe fn convolve_pixels<M: Multiply, const P: usize>(
    tile: &ConvTile<'_>,
    pixel: usize,
) -> [[int32x4_t; 4]; P] {
    let window = tile.input_offset + pixel * tile.pixel_step;
    let mut weights = tile.weights.as_ptr();
    // SAFETY: a packed block begins with 16 corrections of 4 bytes, 64 bytes in all.
    let corrections = unsafe { load_step(weights).map(|bytes| vreinterpretq_s32_s8(bytes)) };
    let mut sums = [corrections; P];
    // SAFETY: as above; the weights follow the corrections.
    weights = unsafe { weights.add(CORRECTIONS) };
    let rest = tile.depth % 16;
    let whole = tile.depth - rest;
    let [whole_len, rest_len] = [whole / GROUP * STEP, rest.div_ceil(GROUP) * STEP];
    for &run in tile.runs {
        for k in (0..whole).step_by(16) {
            // SAFETY: levels k..k + 16 of this run exist for each pixel, and the run was packed as
            // depth / 4 steps, rounded up, of which the next 4 are read here.
            unsafe {
                let levels = load_levels::<P>(tile, window + run + k);
                step::<M, P, 0, 1>(&mut sums, &mut weights, &levels);
                step::<M, P, 2, 3>(&mut sums, &mut weights, &levels);
                step::<M, P, 4, 5>(&mut sums, &mut weights, &levels);
                step::<M, P, 6, 7>(&mut sums, &mut weights, &levels);
            }
        }
        weights = weights.wrapping_add(rest_len);
    }
    if rest == 0 {
        return sums;
    }
    // A loop of its own: with both in one, LLVM moves the sums about, and 2 levels take 37 cycles instead of 20.
    // The weights of a run's rest follow those of its whole steps.
    weights = tile.weights.as_ptr().wrapping_add(CORRECTIONS + whole_len);
    for &run in tile.runs {
        // SAFETY: up to 15 bytes are read behind the run, within READ_SLACK; `rest` levels were
        // packed as rest / 4 steps, rounded up.
        unsafe {
            let levels = load_levels::<P>(tile, window + run + whole);
            rest_step::<M, P, 0, 1>(&mut sums, &mut weights, &levels, rest);
            if rest > 4 {
                rest_step::<M, P, 2, 3>(&mut sums, &mut weights, &levels, rest - 4);
            }
            if rest > 8 {
                rest_step::<M, P, 4, 5>(&mut sums, &mut weights, &levels, rest - 8);
            }
            if rest > 12 {
                rest_step::<M, P, 6, 7>(&mut sums, &mut weights, &levels, rest - 12);
            }
        }
        weights = weights.wrapping_add(whole_len);
    }
    sums
}

/// Writes the sums of pixels, `stride` apart.
///
/// # Panics
/// If they are too many.
#[inline(always)]
fn store<const P: usize>(sums: &[[int32x4_t; 4]; P], out: &mut [i32], stride: usize) {
    for (pixel, sums) in sums.iter().enumerate() {
        let out = &mut out[pixel * stride..][..OUTPUTS];
        for (out, sum) in out.chunks_exact_mut(4).zip(sums) {
            // SAFETY: `out` has room for the 4 numbers of a vector, and vectors exist with NEON only.
            unsafe { vst1q_s32(out.as_mut_ptr(), *sum) };
        }
    }
}

/// 16 levels of each pixel, less 128.
///
/// # Safety
/// - The CPU has NEON.
/// - 16 bytes at `offset + p · pixel_step` of the input are readable for each `p < P`.
#[inline(always)]
unsafe fn load_levels<const P: usize>(tile: &ConvTile<'_>, offset: usize) -> [int8x16_t; P] {
    std::array::from_fn(|pixel| {
        // SAFETY: the caller's promise.
        unsafe {
            let levels = vld1q_u8(tile.input.as_ptr().add(offset + pixel * tile.pixel_step));
            vreinterpretq_s8_u8(veorq_u8(levels, vdupq_n_u8(0x80)))
        }
    })
}

/// One step for each pixel. Moves `weights` to the next step's.
///
/// # Safety
/// - The CPU has the instructions of `M`.
/// - The 64 bytes of a step are readable at `weights`.
#[inline(always)]
unsafe fn step<M: Multiply, const P: usize, const LOW: i32, const HIGH: i32>(
    sums: &mut [[int32x4_t; 4]; P],
    weights: &mut *const u8,
    levels: &[int8x16_t; P],
) {
    // SAFETY: the caller's promises.
    unsafe {
        let step = load_step(*weights);
        *weights = weights.add(STEP);
        for (sums, &levels) in sums.iter_mut().zip(levels) {
            M::step::<LOW, HIGH>(sums, &step, levels);
        }
    }
}

/// The step of the last `rest` levels of a run: half of one is enough for two.
///
/// # Safety
/// - As [`step`].
#[inline(always)]
unsafe fn rest_step<M: Multiply, const P: usize, const LOW: i32, const HIGH: i32>(
    sums: &mut [[int32x4_t; 4]; P],
    weights: &mut *const u8,
    levels: &[int8x16_t; P],
    rest: usize,
) {
    // SAFETY: the caller's promises.
    unsafe {
        if rest > 2 {
            step::<M, P, LOW, HIGH>(sums, weights, levels);
        } else {
            let step = load_step(*weights);
            *weights = weights.add(STEP);
            for (sums, &levels) in sums.iter_mut().zip(levels) {
                M::half_step::<LOW, HIGH>(sums, &step, levels);
            }
        }
    }
}

/// Loads 64 bytes.
///
/// # Safety
/// - The CPU has NEON, and the bytes are readable.
#[inline(always)]
unsafe fn load_step(bytes: *const u8) -> [int8x16_t; 4] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|vector| unsafe { vld1q_s8(bytes.add(16 * vector).cast()) })
}
