//! Depthwise convolution with SMULL, SMLAL and SADDW: 16 channels side by side, two pixels at a time.
//!
//! ```text
//! for each 16 channels:
//!     for each 2 output pixels:
//!         sums[2][16 channels] = corrections
//!         for each pair of taps:
//!             x[2][2] = load 16 levels of each tap and pixel, xor 0x80
//!             products[p] = w[0] · x[p][0] + w[1] · x[p][1]               # SMULL, SMLAL: 16 bits
//!             sums[p] += products[p]                                      # SADDW: 32 bits
//! ```
//!
//! 1. Only pipe F0 of a Cortex-A72 multiplies, 8 products a cycle: 18 cycles for 9 taps of 16 channels. With 16 bits for two
//!    products there are 20 SADDW, which either pipe does, and the levels to XOR: 22 cycles in the body for 3×3 kernels.
//! 2. Levels are unsigned and the instructions multiply equal signs only. XOR with 0x80 subtracts 128;
//!    `128 · Σ weights`, stored at the beginning of a packed block, makes up for it.
//! 3. Levels of 4 bits need no XOR, and 16 products of them fit 16 bits ([`Nibbles`]): then multiplications are all that
//!    counts.
//! 4. Kernels of 3×3 have a body of their own ([`three`]): their weights stay in registers, and neighbouring pixels share
//!    the columns that they have in common.
//! 5. Two products fit an i16 unless both are −128 · −128. Blocks with weights of −128 or beyond 8 bits go to
//!    another micro-kernel ([`wide`]).

mod three;
pub(crate) mod wide;

use std::arch::aarch64::*;
use std::arch::asm;

use self::three::convolve_three;
use crate::families::depthwise::{CHANNELS, DepthwiseKernel, DepthwiseTile};
use crate::ukernel::Engine;

/// Weights −127 to 127.
pub(crate) static DWCONV_I32_U8_S8_2X16_NEON_MLAL: DepthwiseKernel = DepthwiseKernel {
    name: "dwconv_i32_u8_s8_2x16_neon_mlal",
    engine: Engine::Neon,
    mr: 2,
    supports: |operands| operands.min_weight >= -127 && operands.max_weight <= 127,
    rate: |operands| if operands.kernel == [3, 3] { 6.0 } else { 4.3 },
    packed_len: |taps| CORRECTIONS + taps * CHANNELS,
    pack: pack::<Bytes>,
    run: dwconv_i32_u8_s8_2x16_neon_mlal,
};

/// Levels of up to 4 bits.
pub(crate) static DWCONV_I32_U4_S8_2X16_NEON_MLAL: DepthwiseKernel = DepthwiseKernel {
    name: "dwconv_i32_u4_s8_2x16_neon_mlal",
    supports: |operands| {
        operands.max_level <= 15 && operands.min_weight >= -128 && operands.max_weight <= 127
    },
    rate: |operands| if operands.kernel == [3, 3] { 7.3 } else { 4.3 },
    pack: pack::<Nibbles>,
    run: dwconv_i32_u4_s8_2x16_neon_mlal,
    ..DWCONV_I32_U8_S8_2X16_NEON_MLAL
};

/// Bytes of the corrections that a packed block begins with.
const CORRECTIONS: usize = CHANNELS * size_of::<i32>();

/// Sums of 16 channels.
type Sums = [int32x4_t; 4];

/// How levels are multiplied.
trait Levels {
    /// What is subtracted from them before.
    const OFFSET: u8;
    /// Products whose sum fits an i16.
    const CHAIN: usize;
}

/// Any levels; two products fit.
struct Bytes;

impl Levels for Bytes {
    const OFFSET: u8 = 128;
    const CHAIN: usize = 2;
}

/// Levels of up to 15, of which 16 products fit: `16 · 15 · 128 = 30720`.
struct Nibbles;

impl Levels for Nibbles {
    const OFFSET: u8 = 0;
    const CHAIN: usize = 16;
}

/// Packs a block as `[16 corrections]`, i32, and `[tap][channel]`.
fn pack<L: Levels>(weights: &[[i16; CHANNELS]], out: &mut [u8]) {
    let (corrections, out) = out.split_at_mut(CORRECTIONS);
    for (lane, out) in corrections.chunks_exact_mut(size_of::<i32>()).enumerate() {
        let sum: i32 = weights.iter().map(|weights| i32::from(weights[lane])).sum();
        out.copy_from_slice(&(i32::from(L::OFFSET) * sum).to_ne_bytes());
    }
    for (out, &weight) in out.iter_mut().zip(weights.as_flattened()) {
        *out = weight as u8;
    }
}

#[target_feature(enable = "neon")]
fn dwconv_i32_u8_s8_2x16_neon_mlal(tile: &mut DepthwiseTile<'_>) {
    // SAFETY: this function's own contract: the CPU has NEON and the tile was checked.
    unsafe { convolve::<Bytes>(tile) }
}

#[target_feature(enable = "neon")]
fn dwconv_i32_u4_s8_2x16_neon_mlal(tile: &mut DepthwiseTile<'_>) {
    // SAFETY: this function's own contract: the CPU has NEON and the tile was checked.
    unsafe { convolve::<Nibbles>(tile) }
}

/// Computes a tile; see the [module documentation](self).
///
/// # Safety
/// - The CPU has NEON.
/// - The tile has been checked by `DepthwiseTile::check`, and its weights were packed by [`pack`] for `L`.
#[inline(always)]
unsafe fn convolve<L: Levels>(tile: &mut DepthwiseTile<'_>) {
    // SAFETY: the caller's promises; the steps are those of the body.
    unsafe {
        match (tile.kernel, tile.pixel_step) {
            ([3, 3], step) if step == tile.column_step => convolve_three::<L, 1>(tile),
            ([3, 3], step) if step == 2 * tile.column_step => convolve_three::<L, 2>(tile),
            _ => convolve_any::<L>(tile),
        }
    }
}

/// [`any`] in a function of its own: in one function for all bodies, compilers run out of registers.
///
/// # Safety
/// - As [`convolve`].
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn convolve_any<L: Levels>(tile: &mut DepthwiseTile<'_>) {
    // SAFETY: the caller's promises.
    unsafe { any::<L>(tile) }
}

/// Kernels of any size.
///
/// # Safety
/// - As [`convolve`].
#[inline(always)]
unsafe fn any<L: Levels>(tile: &mut DepthwiseTile<'_>) {
    let block_len = CORRECTIONS + tile.taps() * CHANNELS;
    for first in (0..tile.channels).step_by(CHANNELS) {
        // `check` found all blocks.
        let weights = tile.weights[first / CHANNELS * block_len..].as_ptr();
        let mut pixel = 0;
        while pixel + 2 <= tile.pixels {
            // SAFETY: both pixels and the block exist; the rest is the caller's promise.
            unsafe { store(tile, &any_pixels::<L, 2>(tile, weights, [pixel, first]), [pixel, first]) };
            pixel += 2;
        }
        if pixel < tile.pixels {
            // SAFETY: as above, for one pixel.
            unsafe { store(tile, &any_pixels::<L, 1>(tile, weights, [pixel, first]), [pixel, first]) };
        }
    }
}

/// The sums of `P` pixels and 16 channels.
///
/// # Safety
/// - As [`convolve`]; the pixels and the block from channel `first` on exist, and `weights` are the block's.
#[inline(always)]
unsafe fn any_pixels<L: Levels, const P: usize>(
    tile: &DepthwiseTile<'_>,
    weights: *const u8,
    [pixel, first]: [usize; 2],
) -> [Sums; P] {
    // SAFETY: a block begins with its corrections, 64 bytes; its weights follow, 16 for each tap. `check` found the
    // levels of all taps of these pixels, with 16 bytes to be read from each of these channels on.
    unsafe {
        let mut sums = [load_corrections(weights); P];
        let mut weights = weights.add(CORRECTIONS);
        let mut chain = Chain::<P>::new();
        let mut row = tile.input.as_ptr().add(tile.input_offset + pixel * tile.pixel_step + first);
        let [rows, columns] = tile.kernel;
        for _ in 0..rows {
            let mut levels = row;
            for _ in 0..columns / 2 {
                let next = levels.add(tile.column_step);
                let (v, w) = (vld1q_s8(weights.cast()), vld1q_s8(weights.add(CHANNELS).cast()));
                let [a, b] = [levels, next].map(|levels| load_levels::<L, P>(levels, tile.pixel_step));
                chain.pair::<L>(&mut sums, (&a, v), (&b, w));
                levels = next.wrapping_add(tile.column_step);
                weights = weights.add(2 * CHANNELS);
            }
            if columns % 2 == 1 {
                let a = load_levels::<L, P>(levels, tile.pixel_step);
                chain.single::<L>(&mut sums, (&a, vld1q_s8(weights.cast())));
                weights = weights.add(CHANNELS);
            }
            row = row.wrapping_add(tile.row_step);
        }
        chain.end::<L>(&mut sums);
        sums
    }
}

/// Products of `P` pixels that wait in 16 bits.
struct Chain<const P: usize> {
    products: [[int16x8_t; 2]; P],
    /// Their number.
    count: usize,
}

impl<const P: usize> Chain<P> {
    /// # Safety
    /// - The CPU has NEON.
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's promise.
        Self { products: [[unsafe { vdupq_n_s16(0) }; 2]; P], count: 0 }
    }

    /// Adds the products of two taps, each its levels and weights.
    ///
    /// # Safety
    /// - The CPU has NEON.
    #[inline(always)]
    unsafe fn pair<L: Levels>(
        &mut self,
        sums: &mut [Sums; P],
        (a, v): (&[int8x16_t; P], int8x16_t),
        (b, w): (&[int8x16_t; P], int8x16_t),
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for pixel in 0..P {
                if L::CHAIN == 2 {
                    widen(&mut sums[pixel], add_products(products(a[pixel], v), b[pixel], w));
                } else {
                    let products = add_products(self.products[pixel], a[pixel], v);
                    self.products[pixel] = add_products(products, b[pixel], w);
                }
            }
            self.added::<L>(sums, 2);
        }
    }

    /// Adds the products of one tap.
    ///
    /// # Safety
    /// - The CPU has NEON.
    #[inline(always)]
    unsafe fn single<L: Levels>(&mut self, sums: &mut [Sums; P], (a, v): (&[int8x16_t; P], int8x16_t)) {
        // SAFETY: the caller's promise.
        unsafe {
            for pixel in 0..P {
                if L::CHAIN == 2 {
                    widen(&mut sums[pixel], products(a[pixel], v));
                } else {
                    self.products[pixel] = add_products(self.products[pixel], a[pixel], v);
                }
            }
            self.added::<L>(sums, 1);
        }
    }

    /// Makes room for two more products after some.
    ///
    /// # Safety
    /// - The CPU has NEON.
    #[inline(always)]
    unsafe fn added<L: Levels>(&mut self, sums: &mut [Sums; P], count: usize) {
        self.count += count;
        if L::CHAIN > 2 && self.count + 2 > L::CHAIN {
            // SAFETY: the caller's promise.
            unsafe { self.end::<L>(sums) };
        }
    }

    /// Adds what waits to the sums.
    ///
    /// # Safety
    /// - The CPU has NEON.
    #[inline(always)]
    unsafe fn end<L: Levels>(&mut self, sums: &mut [Sums; P]) {
        if L::CHAIN == 2 {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            for (sums, products) in sums.iter_mut().zip(self.products) {
                widen(sums, products);
            }
            *self = Self::new();
        }
    }
}

/// 16 levels of a tap, less the offset, of each pixel.
///
/// # Safety
/// - The CPU has NEON, and 16 bytes are readable at `levels`, and `step` bytes further on for each further pixel.
#[inline(always)]
unsafe fn load_levels<L: Levels, const P: usize>(levels: *const u8, step: usize) -> [int8x16_t; P] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|pixel| unsafe {
        let levels = vld1q_u8(levels.add(pixel * step));
        vreinterpretq_s8_u8(if L::OFFSET == 0 { levels } else { veorq_u8(levels, vdupq_n_u8(L::OFFSET)) })
    })
}

/// The same weights, of which the compiler does not know that: it would take the high halves of what it knows out of the
/// loop over pixels, and then there are no SMULL2 and SMLAL2, and too few registers.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn opaque(mut weights: int8x16_t) -> int8x16_t {
    // SAFETY: the caller's promise; there is no instruction.
    unsafe { asm!("/* {0:v} */", inout(vreg) weights, options(nomem, nostack, preserves_flags)) };
    weights
}

/// # Safety
/// - The CPU has NEON, and a packed block begins at `block`.
#[inline(always)]
unsafe fn load_corrections(block: *const u8) -> Sums {
    // SAFETY: the caller's promise.
    std::array::from_fn(|part| unsafe { vreinterpretq_s32_u8(vld1q_u8(block.add(16 * part))) })
}

/// Products of 16 bits.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn products(levels: int8x16_t, weights: int8x16_t) -> [int16x8_t; 2] {
    // SAFETY: the caller's promise.
    unsafe { [vmull_s8(vget_low_s8(levels), vget_low_s8(weights)), vmull_high_s8(levels, weights)] }
}

/// Adds products to products.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn add_products([low, high]: [int16x8_t; 2], levels: int8x16_t, weights: int8x16_t) -> [int16x8_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        [vmlal_s8(low, vget_low_s8(levels), vget_low_s8(weights)), vmlal_high_s8(high, levels, weights)]
    }
}

/// Adds products to sums of 32 bits.
///
/// # Safety
/// - The CPU has NEON.
#[inline(always)]
unsafe fn widen(sums: &mut Sums, [low, high]: [int16x8_t; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
        sums[1] = vaddw_high_s16(sums[1], low);
        sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
        sums[3] = vaddw_high_s16(sums[3], high);
    }
}

/// Stores the sums of pixels and 16 channels from (pixel, channel) on.
///
/// # Safety
/// - The CPU has NEON, the tile has been checked, and the pixels and the block exist.
#[inline(always)]
unsafe fn store<const P: usize>(tile: &mut DepthwiseTile<'_>, sums: &[Sums; P], [pixel, first]: [usize; 2]) {
    // SAFETY: `check` found a block of sums for each pixel.
    unsafe {
        let mut out = tile.sums.as_mut_ptr().add(pixel * tile.sums_stride + first);
        for sums in sums {
            for (part, &sums) in sums.iter().enumerate() {
                vst1q_s32(out.add(4 * part), sums);
            }
            out = out.wrapping_add(tile.sums_stride);
        }
    }
}
