//! Bit-serial convolution of weights of one bit and levels of two by table look-up: AND, CNT and ADD take six slots for
//! 16 outputs, 8 channels and both planes; TBL and ADD take two for 4 channels.
//!
//! ```text
//! table[levels][weights] = popcount(weights & plane 0) + 2 · popcount(weights & plane 1)   # of 4 channels: 8 and 4 bits
//!
//! for each P pixels:
//!     counts[p] = 0;  sums[p] = 0
//!     for each run, each 32 channels of it:
//!         x[p] = their 8 bytes, with nibbles moved so that a byte has both planes of 4 channels
//!         for each byte k of these:
//!             t[p] = table[byte k of x[p]]                                                 # UBFX, LDR
//!             for m in 0..M:                                                               # strips of 16 outputs
//!                 i = weights of 4 channels, by byte
//!                 for each pixel:  counts[p][m] += TBL(t[p], i)                            # TBL, ADD
//!     before counts overflow:  sums[p] += counts[p];  counts[p] = 0                        # of 16 bits
//! ```
//!
//! 1. All tables that there can be are 4 KiB and exist before the program runs: unlike
//!    [`lutconv`](super::super::lutconv), no input is turned into tables, and it stays in planes.
//! 2. The bound is 64 multiply-accumulates a cycle with two vector pipes, where AND, CNT and ADD have 42.7, if TBL of
//!    128 bits takes one slot: as on the Cortex-A76 (Arm's optimization guide, table look-up of one register). On the
//!    Cortex-A72 it takes three by LLVM's model, and then there are 32.
//! 3. On the way to planes ([`super::planes`]) the tables hold differences of bits, with EOR for AND in the formula,
//!    and are subtracted.
//! 4. Indices of M strips serve P pixels, so that loads do not fill the four instructions that a Cortex-A76 starts in a
//!    cycle. With 16 outputs finding tables does: 54 multiply-accumulates a cycle are left.

mod window;

use std::arch::aarch64::*;

use self::window::look_up_windows;
use super::planes::{Ends, starts};
use super::{ones_len, pack_ones, totals};
use crate::arch::aarch64::simd::Neon;
use crate::arch::generic::bsconv::rate;
use crate::families::direct::{Capabilities, ConvKernel, ConvPlanes, ConvTile, PlanesTile, WeightBlock};
use crate::simd::Simd;
use crate::ukernel::Engine;

/// For layers of many outputs.
pub(crate) static BSCONV_I32_U2_U1_2X64_NEON_TBL: ConvKernel =
    kernel::<4, 2>("bsconv_i32_u2_u1_2x64_neon_tbl", bsconv_i32_u2_u1_2x64_neon_tbl);
/// For layers of up to 32 outputs.
pub(crate) static BSCONV_I32_U2_U1_4X32_NEON_TBL: ConvKernel =
    kernel::<2, 4>("bsconv_i32_u2_u1_4x32_neon_tbl", bsconv_i32_u2_u1_4x32_neon_tbl);
/// For layers of up to 16 outputs.
pub(crate) static BSCONV_I32_U2_U1_4X16_NEON_TBL: ConvKernel =
    kernel::<1, 4>("bsconv_i32_u2_u1_4x16_neon_tbl", bsconv_i32_u2_u1_4x16_neon_tbl);

/// Outputs of a strip: lanes of bytes.
const STRIP: usize = 16;
/// Channels of a look-up.
const QUAD: usize = 4;
/// Planes of levels.
const PLANES: usize = 2;
/// Groups of 8 channels whose sum fits 16 bits.
const GROUPS: usize = 65535 / (3 * 8);

/// For `16 · M` outputs and, at a time, `P` pixels.
const fn kernel<const M: usize, const P: usize>(
    name: &'static str,
    run: unsafe fn(&mut ConvTile<'_>),
) -> ConvKernel {
    ConvKernel {
        name,
        engine: Engine::Neon,
        bit_serial: true,
        capabilities: Capabilities::NONE,
        nr: M * STRIP,
        mr: P,
        supports: |operands| {
            matches!(operands.max_level, 2..=3)
                && operands.weight_bits == 1
                && operands.depth.is_multiple_of(8)
        },
        rate: |operands| {
            // Dot products are what tells a Cortex-A76 and its successors, where TBL of 128 bits takes one slot.
            let table = if Engine::Dotprod.is_available() { 1.0 } else { 3.0 };
            // Slots of TBL, ADD and the share of finding tables on two pipes, and emptying counts, for each plane.
            let cycles = (table + 1.0 + 0.5 / M as f32) / 2.0 * 1.07;
            rate(operands, M * STRIP, STRIP, cycles)
        },
        packed_len: |runs, depth, weight_bits| {
            weights_len::<M>(runs, depth) + ones_len(M * STRIP, weight_bits)
        },
        pack: pack::<M>,
        run,
        planes: Some(ConvPlanes::narrow(run_planes::<M, P>)),
        levels: None,
    }
}

/// Bytes of packed weights without their ones.
const fn weights_len<const M: usize>(runs: usize, depth: usize) -> usize {
    M * STRIP * runs * (depth / QUAD)
}

/// Packs a block as `[run][4 channels][strip][lane]`, with the ones of each output behind.
fn pack<const M: usize>(block: &WeightBlock<'_>, out: &mut [u8]) {
    let quads = block.runs * (block.depth / QUAD);
    let (weights, ones) = out.split_at_mut(weights_len::<M>(block.runs, block.depth));
    for (index, out) in weights.iter_mut().enumerate() {
        let (quad, output) = (index / (M * STRIP), index % (M * STRIP));
        let codes = &block.codes[(output * quads + quad) * QUAD..][..QUAD];
        *out = codes.iter().enumerate().map(|(k, &code)| (code & 1) << k).sum();
    }
    pack_ones(block, ones);
}

/// # Safety
/// - As [`ConvKernel::run`].
#[target_feature(enable = "neon")]
unsafe fn bsconv_i32_u2_u1_2x64_neon_tbl(tile: &mut ConvTile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { convolve::<4, 2>(tile) }
}

/// # Safety
/// - As [`ConvKernel::run`].
#[target_feature(enable = "neon")]
unsafe fn bsconv_i32_u2_u1_4x32_neon_tbl(tile: &mut ConvTile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { convolve::<2, 4>(tile) }
}

/// # Safety
/// - As [`ConvKernel::run`].
#[target_feature(enable = "neon")]
unsafe fn bsconv_i32_u2_u1_4x16_neon_tbl(tile: &mut ConvTile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { convolve::<1, 4>(tile) }
}

/// Computes a tile.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - The tile has been checked by `ConvTile::check` for a micro-kernel of `16 · M` outputs.
#[inline(always)]
unsafe fn convolve<const M: usize, const P: usize>(tile: &mut ConvTile<'_>) {
    check_widths(tile);
    // SAFETY: the caller's promises.
    unsafe { totals::add_up_totals::<PLANES>(Neon::new_unchecked(), tile) };
    let mut pixel = 0;
    while pixel + P <= tile.pixels {
        // SAFETY: these pixels exist; the rest is the caller's promise.
        unsafe { pixels_to_sums::<M, P>(tile, pixel) };
        pixel += P;
    }
    while pixel < tile.pixels {
        // SAFETY: this pixel exists; the rest is the caller's promise.
        unsafe { pixels_to_sums::<M, 1>(tile, pixel) };
        pixel += 1;
    }
}

/// Sums of the pixels `pixel..pixel + P`.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - The tile has been checked by `ConvTile::check` for a micro-kernel of `16 · M` outputs and by [`check_widths`],
///   and `pixel + P <= tile.pixels`.
#[inline(always)]
unsafe fn pixels_to_sums<const M: usize, const P: usize>(tile: &mut ConvTile<'_>, pixel: usize) {
    // SAFETY: the caller's promises: `check` found the windows, `packed_len` bytes of weights, and a sum for each
    // output of each pixel. They are read only where an earlier run wrote them.
    unsafe {
        let neon = Neon::new_unchecked();
        let window = tile.input.as_ptr().add(tile.input_offset + pixel * tile.pixel_step);
        let windows: [*const u8; P] = std::array::from_fn(|p| window.add(p * tile.pixel_step));
        let result = tile.sums.as_mut_ptr().add(pixel * tile.sums_stride);
        let store = |sums: &[[[uint16x8_t; 2]; M]; P], accumulate: bool| {
            for (index, &sums) in sums.as_flattened().iter().enumerate() {
                let result = result.add(index / M * tile.sums_stride + index % M * STRIP);
                neon.store_sums(sums, result, accumulate);
            }
        };
        let groups = tile.depth / 8;
        let mut indices = tile.weights.as_ptr();
        let mut written = false;
        for &run in tile.runs {
            for first in (0..groups).step_by(GROUPS) {
                let groups = GROUPS.min(groups - first);
                let mut sums = [[neon.zero_sums(); M]; P];
                look_up_windows::<M, P, false>(windows, &[run + first * PLANES], groups, indices, &mut sums);
                store(&sums, written);
                written = true;
                indices = indices.add(weights_len::<M>(1, groups * 8));
            }
        }
        if !written {
            store(&[[neon.zero_sums(); M]; P], false);
        }
    }
}

/// # Safety
/// - As [`crate::families::direct::ConvPlanes`].
#[target_feature(enable = "neon")]
unsafe fn run_planes<const M: usize, const P: usize>(tile: &mut PlanesTile<'_>) {
    check_widths(&tile.conv);
    let ends = Ends::new(tile, 0);
    let weights_len = weights_len::<M>(tile.conv.runs.len(), tile.conv.depth);
    // SAFETY: `check` found `packed_len` bytes of weights, with 16 bits behind for each output.
    let starts = unsafe { starts::<1, PLANES, M>(tile.conv.weights.as_ptr().add(weights_len)) };
    let mut pixel = 0;
    while pixel + P <= tile.conv.pixels {
        // SAFETY: these pixels exist; the rest is the caller's promise.
        unsafe { pixels_to_planes::<M, P>(tile, pixel, &starts, &ends) };
        pixel += P;
    }
    while pixel < tile.conv.pixels {
        // SAFETY: this pixel exists; the rest is the caller's promise.
        unsafe { pixels_to_planes::<M, 1>(tile, pixel, &starts, &ends) };
        pixel += 1;
    }
}

/// Pixels `pixel..pixel + P`, whose sums begin at `starts`.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - The tile has been checked by `PlanesTile::check` for a micro-kernel of `16 · M` outputs and by [`check_widths`];
///   `ends` are its own, and `pixel + P <= tile.conv.pixels`.
#[inline(always)]
unsafe fn pixels_to_planes<const M: usize, const P: usize>(
    tile: &mut PlanesTile<'_>,
    pixel: usize,
    starts: &[[uint16x8_t; 2]; M],
    ends: &Ends<'_, PLANES, M>,
) {
    let conv = &tile.conv;
    // SAFETY: `check` found the windows of all pixels in the input, `packed_len` bytes of weights, and the planes of
    // each pixel.
    unsafe {
        let window = conv.input.as_ptr().add(conv.input_offset + pixel * conv.pixel_step);
        let windows: [*const u8; P] = std::array::from_fn(|p| window.add(p * conv.pixel_step));
        let mut sums = [*starts; P];
        look_up_windows::<M, P, true>(windows, conv.runs, conv.depth / 8, conv.weights.as_ptr(), &mut sums);
        for (p, sums) in sums.iter().enumerate() {
            ends.store(sums, tile.planes.as_mut_ptr().add((pixel + p) * tile.planes_stride));
        }
    }
}

/// Panics unless levels and weights have the bits that these micro-kernels are for.
fn check_widths(tile: &ConvTile<'_>) {
    assert!(
        usize::from(tile.activation_bits) == PLANES && tile.weight_bits == 1,
        "levels of {} and weights of {} bits",
        tile.activation_bits,
        tile.weight_bits
    );
}
