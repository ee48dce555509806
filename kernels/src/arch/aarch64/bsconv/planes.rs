//! From 16-bit sums to bit planes without leaving the registers.
//!
//! ```text
//! for each pixel:
//!     sums[64 outputs] = h · total;  convolve the window                  # as in generic/bsconv.rs
//!     or, for weights −1 and +1:  sums[64 outputs] = largest level · ones in the output's weights
//!                                 subtract the bits that differ: EOR for AND, USUBW for UADDW
//!     for each 8 outputs:                                                 # 16-bit lanes
//!         p[k] = sums > t[k], all ones or all zeros                       # k < 1 or 3
//!         A = 1:  v = p0 & (1, 2, 4, … 128)
//!         A = 2:  v = ((p0 ^ p2) & (1, 2, … 128)) ^ (p1 & (257 · 1, 257 · 2, … 257 · 128))
//!         v ^= bits to invert, where levels fall
//!     three rounds of pairwise sums (ADDP) over the vectors v: 16 bits for each 8 outputs, which are
//!     the bytes of their planes, side by side as the layout wants them
//! ```
//!
//! 1. Per 64 outputs of two bits these are 63 instructions on two pipes, 0.49 cycles a level. Storing
//!    sums as i32, correcting and requantizing them and packing bytes takes about 3.
//! 2. For weights −1 and +1 the sum is `2 Σ w · level − Σ level = Σ_i 2^i · (ones in w − ones in (w ^ plane i))`, with
//!    `w` as bits: no window's total is needed.
//! 3. Thresholds are loaded for every pixel: the load pipe has nothing else to do here.

use std::arch::aarch64::*;

use super::totals::add_up_totals;
use crate::arch::aarch64::simd::Neon;
use crate::arch::generic::bsconv::{Counters, convolve_window, mode, strips_at_once};
use crate::families::direct::PlanesTile;
use crate::requantize::PlaneStepsRows;
use crate::simd::Simd;

/// Of a block's outputs.
type Instance = unsafe fn(&mut PlanesTile<'_>, usize);

/// By `[W − 1][A − 1]`: levels of two bits at most have this way.
static INSTANCES: [[Instance; 2]; 4] = [
    [planes::<1, 1>, planes::<1, 2>],
    [planes::<2, 1>, planes::<2, 2>],
    [planes::<3, 1>, planes::<3, 2>],
    [planes::<4, 1>, planes::<4, 2>],
];

/// Outputs of a strip, and of a half: lanes of bytes and of sums.
const STRIP: usize = 16;
const HALF: usize = 8;

/// The bit of a plane's byte that each of 8 channels has.
pub(in crate::arch::aarch64) static LOW_BITS: [u16; HALF] = [1, 2, 4, 8, 16, 32, 64, 128];
/// The same in both bytes: planes of two bits.
pub(in crate::arch::aarch64) static BOTH_BITS: [u16; HALF] =
    [0x101, 0x202, 0x404, 0x808, 0x1010, 0x2020, 0x4040, 0x8080];

/// # Safety
/// - The CPU has Advanced SIMD.
/// - The tile has been checked by `PlanesTile::check` for a micro-kernel of `nr` outputs, and has these widths.
#[target_feature(enable = "neon")]
unsafe fn planes<const W: usize, const A: usize>(tile: &mut PlanesTile<'_>, nr: usize) {
    // SAFETY: the CPU has NEON.
    let neon = unsafe { Neon::new_unchecked() };
    if W > 1 && tile.compute_totals && tile.steps.total_scale != 0 {
        // SAFETY: the tile was checked, the caller's promise.
        unsafe { add_up_totals::<A>(neon, &mut tile.conv) };
    }
    let strips = tile.outputs.div_ceil(STRIP);
    let widest = const { strips_at_once(Neon::REGISTERS, W, A) };
    let mut strip = 0;
    while strip < strips {
        let rest = strips - strip;
        // SAFETY: the strips are among those of the block; the rest is the caller's promise.
        strip += unsafe {
            if widest >= 4 && rest >= 4 {
                strips_to_planes::<W, A, 4>(neon, tile, (strip, nr))
            } else if widest >= 2 && rest >= 2 {
                strips_to_planes::<W, A, 2>(neon, tile, (strip, nr))
            } else {
                strips_to_planes::<W, A, 1>(neon, tile, (strip, nr))
            }
        };
    }
}

/// Strips `strip..strip + M` of all pixels; returns `M`.
///
/// # Safety
/// - As [`planes`], and the strips are among those of the block.
#[inline(always)]
unsafe fn strips_to_planes<const W: usize, const A: usize, const M: usize>(
    neon: Neon,
    tile: &mut PlanesTile<'_>,
    (strip, nr): (usize, usize),
) -> usize {
    let ends = Ends::<A, M>::new(tile, strip);
    let conv = &tile.conv;
    let steps = conv.depth / 8;
    let strip_len = STRIP * conv.runs.len() * steps * W;
    let ones = nr / STRIP * strip_len + strip * STRIP * size_of::<u16>();
    // SAFETY: `check` found `packed_len` bytes of weights, with 16 bits behind those of one bit for each output.
    let starts = unsafe { starts::<W, A, M>(conv.weights.as_ptr().wrapping_add(ones)) };
    for pixel in 0..conv.pixels {
        // What leaves 16 bits is part of a sum that does not.
        let total = if tile.steps.total_scale == 0 { 0 } else { conv.totals[pixel] };
        let addend = total.wrapping_mul(tile.steps.total_scale.into()) as i16;
        // SAFETY: `check` found the windows of all pixels in the input, `strip_len` bytes of weights for
        // each strip, and the strips' planes at each pixel.
        unsafe {
            let window = conv.input.as_ptr().add(conv.input_offset + pixel * conv.pixel_step);
            let weights = conv.weights.as_ptr().add(strip * strip_len);
            let weights: [*const u8; M] = std::array::from_fn(|m| weights.add(m * strip_len));
            let mut sums = starts;
            if W == 1 {
                let result = std::ptr::null_mut();
                let mut counters =
                    Counters::<Neon, W, A, M, { mode::DIFFERENCES }>::new(neon, &mut sums, result);
                convolve_window(neon, window, conv.runs, steps, weights, &mut counters);
                counters.empty_counts();
            } else {
                sums = [[vreinterpretq_u16_s16(vdupq_n_s16(addend)); 2]; M];
                let result = std::ptr::null_mut();
                let mut counters = Counters::<Neon, W, A, M, { mode::NARROW }>::new(neon, &mut sums, result);
                convolve_window(neon, window, conv.runs, steps, weights, &mut counters);
                counters.empty_counts();
            }
            ends.store(&sums, tile.planes.as_mut_ptr().add(pixel * tile.planes_stride));
        }
    }
    M
}

/// How `M` strips of a tile become planes.
pub(super) struct Ends<'a, const A: usize, const M: usize> {
    /// Thresholds and bits to invert.
    rows: &'a [i16],
    falling: bool,
    /// Bytes of a pixel before those of these strips, and of these.
    first: usize,
    len: usize,
}

impl<'a, const A: usize, const M: usize> Ends<'a, A, M> {
    /// For strips from `strip` on.
    #[inline(always)]
    pub(super) fn new(tile: &PlanesTile<'a>, strip: usize) -> Self {
        let PlaneStepsRows::Narrow(rows) = &tile.steps.rows else {
            unreachable!("steps are those of a bit-serial micro-kernel");
        };
        let group = (tile.first_channel + strip * STRIP) / HALF;
        let first = strip * 2 * A;
        Self {
            rows: &rows[group * tile.steps.group_len()..][..2 * M * tile.steps.group_len()],
            falling: tile.steps.falling,
            first,
            len: (2 * M * A).min(tile.outputs.div_ceil(8) * A - first),
        }
    }

    /// Turns a pixel's sums into its planes.
    ///
    /// # Safety
    /// - The CPU has Advanced SIMD.
    /// - The tile has been checked by `PlanesTile::check`, its steps are for `A` planes, and `pixel` is the first
    ///   byte of one of its pixels.
    #[inline(always)]
    pub(super) unsafe fn store(&self, sums: &[[uint16x8_t; 2]; M], pixel: *mut u8) {
        // SAFETY: `new` found rows of `2 · M` groups; `check` found the bytes of the tile's outputs at each
        // pixel, of which these are `len` from `first` on.
        unsafe {
            let bytes = if self.falling {
                levels_to_planes::<A, M, true>(sums, self.rows)
            } else {
                levels_to_planes::<A, M, false>(sums, self.rows)
            };
            store_bytes(bytes, pixel.add(self.first), 2 * M * A, self.len);
        }
    }
}

/// What sums start from, of weights of one bit: the ones of each output, times the largest level. Otherwise 0.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - With weights of one bit, `M` times 16 half words are readable at `ones`.
#[inline(always)]
pub(super) unsafe fn starts<const W: usize, const A: usize, const M: usize>(
    ones: *const u8,
) -> [[uint16x8_t; 2]; M] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut starts = [[vdupq_n_u16(0); 2]; M];
        if W == 1 {
            for (index, start) in starts.as_flattened_mut().iter_mut().enumerate() {
                let ones = vreinterpretq_u16_u8(vld1q_u8(ones.add(index * size_of::<uint16x8_t>())));
                *start = vmulq_n_u16(ones, (1 << A) - 1);
            }
        }
        starts
    }
}

/// The planes of `16 · M` sums, in the first `2 · M · A` bytes.
///
/// # Safety
/// - The CPU has Advanced SIMD.
/// - `rows` has those of `2 · M` groups.
#[inline(always)]
unsafe fn levels_to_planes<const A: usize, const M: usize, const FALLING: bool>(
    sums: &[[uint16x8_t; 2]; M],
    rows: &[i16],
) -> uint8x16_t {
    let rows_of_group = 1 << A;
    // SAFETY: the caller's promises; the static arrays have the length of a vector.
    unsafe {
        let (low_bits, both_bits) = (vld1q_u16(LOW_BITS.as_ptr()), vld1q_u16(BOTH_BITS.as_ptr()));
        let mut bits = [vdupq_n_u16(0); 8];
        for (half, bits) in bits.iter_mut().enumerate().take(2 * M) {
            let sum = vreinterpretq_s16_u16(sums[half / 2][half % 2]);
            let row = |row: usize| vld1q_s16(rows.as_ptr().add((half * rows_of_group + row) * HALF));
            let passed = |step: usize| vcgtq_s16(sum, row(step));
            *bits = if A == 1 {
                vandq_u16(passed(0), low_bits)
            } else {
                let odd = vandq_u16(veorq_u16(passed(0), passed(2)), low_bits);
                veorq_u16(odd, vandq_u16(passed(1), both_bits))
            };
            if FALLING {
                *bits = veorq_u16(*bits, vreinterpretq_u16_s16(row(rows_of_group - 1)));
            }
        }
        let halves = add_eights(&bits, 2 * M);
        if A == 1 {
            let bytes = vmovn_u16(halves);
            vcombine_u8(bytes, bytes)
        } else {
            vreinterpretq_u8_u16(halves)
        }
    }
}

/// Each half word `i` of the result is the sum of `vectors[i]`, for `i < count`, which is 2, 4 or 8.
///
/// # Safety
/// - The CPU has Advanced SIMD.
#[inline(always)]
pub(in crate::arch::aarch64) unsafe fn add_eights(vectors: &[uint16x8_t; 8], count: usize) -> uint16x8_t {
    let [a, b, c, d, e, f, g, h] = *vectors;
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            2 => {
                let fours = vpaddq_u16(a, b);
                let twos = vpaddq_u16(fours, fours);
                vpaddq_u16(twos, twos)
            }
            4 => {
                let twos = vpaddq_u16(vpaddq_u16(a, b), vpaddq_u16(c, d));
                vpaddq_u16(twos, twos)
            }
            _ => {
                let low = vpaddq_u16(vpaddq_u16(a, b), vpaddq_u16(c, d));
                vpaddq_u16(low, vpaddq_u16(vpaddq_u16(e, f), vpaddq_u16(g, h)))
            }
        }
    }
}

/// Writes the first `len` bytes. If they are `whole`, one of 2, 4, 8 and 16, that is one store.
///
/// # Safety
/// - The CPU has Advanced SIMD, and `len` bytes from `out` on are writable.
#[inline(always)]
pub(in crate::arch::aarch64) unsafe fn store_bytes(
    bytes: uint8x16_t,
    out: *mut u8,
    whole: usize,
    len: usize,
) {
    // SAFETY: the caller's promises; a vector has 16 bytes, and no store is longer than `len`.
    unsafe {
        match (len == whole, whole) {
            (true, 16) => vst1q_u8(out, bytes),
            (true, 8) => vst1_u8(out, vget_low_u8(bytes)),
            (true, 4) => out.cast::<u32>().write_unaligned(vgetq_lane_u32::<0>(vreinterpretq_u32_u8(bytes))),
            (true, 2) => out.cast::<u16>().write_unaligned(vgetq_lane_u16::<0>(vreinterpretq_u16_u8(bytes))),
            _ => {
                let mut copy = [0; 16];
                vst1q_u8(copy.as_mut_ptr(), bytes);
                std::ptr::copy_nonoverlapping(copy.as_ptr(), out, len);
            }
        }
    }
}

/// Runs the instance for the tile's widths.
///
/// # Safety
/// - As [`crate::families::direct::ConvPlanes`].
pub(super) unsafe fn run_planes<const NR: usize>(tile: &mut PlanesTile<'_>) {
    debug_assert_eq!(tile.steps.bits, tile.conv.activation_bits);
    let (w, a) = (usize::from(tile.conv.weight_bits), usize::from(tile.conv.activation_bits));
    // SAFETY: the caller vouches for the CPU and the tile; the instance is that of its widths.
    unsafe { INSTANCES[w - 1][a - 1](tile, NR) }
}
