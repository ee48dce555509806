//! Bit-serial convolution with AVX-512, on the layout of levels that all instruction sets share.
//!
//! A 32-bit lane belongs to one output and holds 4 bytes of a run, a *word*: 32 channels of one plane, or 16 of
//! two planes that alternate by byte. Each byte of levels meets the weights of its 8 channels, whatever its
//! plane; what a bit counts for, its plane's value times that of the weights' plane, is a factor by byte:
//!
//! ```text
//! for each P output pixels:
//!     sums[P][V vectors of 16 outputs] = 0
//!     for each run, for each 32 channels of it, for each word of these (A words):
//!         for v in 0..V, i in 0..W:
//!             w = weights of plane i, of the channels of each byte of the word         # VPERMB
//!             for p in 0..P:
//!                 ones = VPOPCNTB(w & word of pixel p, broadcast)
//!                 sums[p][v] = VPDPBUSD(sums[p][v], ones, factors)   # Σ ones · 2^(i + plane of the byte)
//! ```
//!
//! 1. The factors make one sum of all pairs of planes: no classes, no counters to be emptied, no u32 words of a
//!    single plane, which would be a second layout of levels.
//! 2. One bit by one bit takes VPOPCNTD and VPADDD, whose latency is 1 instead of 5, and no VPERMB.
//! 3. Weights lie as `[run][32 channels][vector][plane][output][4 bytes]`, whatever `A` is. The words of a run's
//!    last channels that hold none are left out.
//!
//! For up to four pairs of planes; beyond, VPDPBUSD on bytes is faster on every CPU that has these instructions.

use std::arch::x86_64::*;

use super::mulconv::{LANES, store_sums};
use super::planes::{narrow_steps, store_planes};
use super::{counting_cycles, for_pixels};
use crate::arch::generic::bsconv::{self as generic, MAX_BITS};
use crate::arch::generic::pack::plane_byte;
use crate::ukernel::{ConvKernel, ConvTile, Engine, Operands, PlanesTile, WeightBlock};

/// For layers of more than 16 outputs.
pub(crate) static BSCONV_8X32_AVX512: ConvKernel =
    kernel::<2>("bsconv_i32_ux_ux_8x32_avx512_cnt", run::<2>, run_planes::<2>);
/// For layers of up to 16 outputs, and of an odd number of 16.
pub(crate) static BSCONV_8X16_AVX512: ConvKernel =
    kernel::<1>("bsconv_i32_ux_ux_8x16_avx512_cnt", run::<1>, run_planes::<1>);

/// Bytes of a lane: groups of 8 channels that are packed together, and bytes of a run that are computed together.
const WORD: usize = 4;
/// Most pairs of planes.
const MAX_PAIRS: u32 = 4;

const fn kernel<const V: usize>(
    name: &'static str,
    run: unsafe fn(&mut ConvTile<'_>),
    run_planes: unsafe fn(&mut PlanesTile<'_>),
) -> ConvKernel {
    ConvKernel {
        name,
        engine: Engine::Avx512,
        bit_serial: true,
        nr: V * LANES,
        mr: 8,
        supports: |operands| {
            generic::supports(operands) && u32::from(operands.weight_bits) * level_bits(operands) <= MAX_PAIRS
        },
        rate: |operands| rate(operands, V),
        packed_len: |runs, depth, weight_bits| {
            runs * depth.div_ceil(8 * WORD) * V * usize::from(weight_bits) * size_of::<__m512i>()
        },
        pack: pack::<V>,
        run,
        run_planes: Some(run_planes),
        levels: None,
    }
}

fn level_bits(operands: &Operands) -> u32 {
    8 - operands.max_level.leading_zeros()
}

/// MACs per cycle: see [`super`].
fn rate(operands: &Operands, vectors: usize) -> f32 {
    let words = (operands.depth / 8 * level_bits(operands) as usize).div_ceil(WORD);
    let outputs = operands.outputs.next_multiple_of(vectors * LANES).max(1);
    let steps = (words * outputs / LANES * usize::from(operands.weight_bits)).max(1);
    // With one vector, pixels share fewer loads.
    let cycles = counting_cycles() * if vectors == 1 { 1.05 } else { 1.0 };
    (operands.depth * operands.outputs) as f32 / (steps as f32 * cycles)
}

/// Packs a block; see the [module documentation](self).
fn pack<const V: usize>(block: &WeightBlock<'_>, out: &mut [u8]) {
    let WeightBlock { codes, runs, depth, weight_bits } = *block;
    let (planes, words) = (usize::from(weight_bits), depth.div_ceil(8 * WORD));
    let lanes = V * planes * LANES;
    for (index, out) in out.chunks_exact_mut(WORD).take(runs * words * lanes).enumerate() {
        let (step, lane) = (index / lanes, index % lanes);
        let (run, word) = (step / words, step % words);
        let (vector, plane, output) = (lane / LANES / planes, lane / LANES % planes, lane % LANES);
        let weights = &codes[((vector * LANES + output) * runs + run) * depth..][..depth];
        for (group, byte) in out.iter_mut().enumerate() {
            let channels = weights.chunks_exact(8).nth(word * WORD + group);
            *byte = channels.map_or(0, |channels| plane_byte(channels, plane));
        }
    }
}

/// By `[A − 1][word]`: which byte of a vector of weights each byte of a word of levels meets. Of the `4 · A`
/// bytes of 32 channels, byte `b` belongs to group `b / A`.
static ORDER: [[[u8; 64]; WORD]; MAX_BITS] = {
    let mut order = [[[0; 64]; WORD]; MAX_BITS];
    let mut at = 0;
    while at < MAX_BITS * WORD * 64 {
        let (planes, word, byte) = (at / 64 / WORD + 1, at / 64 % WORD, at % 64);
        order[planes - 1][word][byte] =
            (byte / WORD * WORD + (word * WORD + byte % WORD) / planes % WORD) as u8;
        at += 1;
    }
    order
};

/// What a bit counts for: in word `word` of `A`-bit levels, with plane `i` of the weights.
const fn factors(a: usize, word: usize, i: usize) -> i32 {
    let mut factors = [0; WORD];
    let mut byte = 0;
    while byte < WORD {
        factors[byte] = 1 << (i + (word * WORD + byte) % a);
        byte += 1;
    }
    i32::from_le_bytes(factors)
}

/// Adds up word `number` of 32 channels.
///
/// # Safety
/// - The CPU has AVX-512 as of [`super`].
/// - 4 bytes at `levels` plus each of the first `P` multiples of `pixel_step` are readable.
/// - `V · W` vectors at `weights` are readable.
#[inline(always)]
unsafe fn add_word<const W: usize, const A: usize, const V: usize, const P: usize>(
    sums: &mut [[__m512i; V]; P],
    levels: *const u8,
    pixel_step: usize,
    weights: *const __m512i,
    number: usize,
) {
    // SAFETY: the caller's promises; the table's rows have 64 bytes.
    unsafe {
        let mut words = [_mm512_setzero_si512(); P];
        for (p, word) in words.iter_mut().enumerate() {
            *word = _mm512_set1_epi32(levels.add(p * pixel_step).cast::<i32>().read_unaligned());
        }
        for v in 0..V {
            for i in 0..W {
                let mut weights = _mm512_loadu_si512(weights.add(v * W + i));
                if A > 1 {
                    let order = _mm512_loadu_si512(ORDER[A - 1][number].as_ptr().cast());
                    weights = _mm512_permutexvar_epi8(order, weights);
                }
                let factors = _mm512_set1_epi32(factors(A, number, i));
                for (sums, &word) in sums.iter_mut().zip(&words) {
                    let common = _mm512_and_si512(weights, word);
                    sums[v] = if W * A == 1 {
                        _mm512_add_epi32(sums[v], _mm512_popcnt_epi32(common))
                    } else {
                        _mm512_dpbusd_epi32(sums[v], _mm512_popcnt_epi8(common), factors)
                    };
                }
            }
        }
    }
}

/// Computes `P` pixels from `pixel` on.
///
/// # Safety
/// - The CPU has AVX-512 as of [`super`].
/// - The tile has been checked for a micro-kernel of `16 · V` outputs, has these widths, and the pixels are
///   among its pixels.
#[inline(always)]
unsafe fn convolve<const W: usize, const A: usize, const V: usize, const P: usize>(
    tile: &ConvTile<'_>,
    pixel: usize,
) -> [[__m512i; V]; P] {
    let words = (tile.depth / 8 * A).div_ceil(WORD);
    let (whole, rest) = (words / A, words % A);
    let step = tile.pixel_step;
    // SAFETY: `check` found every run of every pixel's window in the input, and READ_SLACK behind, of which the
    // last word takes 3; it found `packed_len` bytes of weights: V · W vectors for each 32 channels begun.
    unsafe {
        let window = tile.input.as_ptr().add(tile.input_offset + pixel * step);
        let mut weights = tile.weights.as_ptr().cast::<__m512i>();
        let mut sums = [[_mm512_setzero_si512(); V]; P];
        for &run in tile.runs {
            let mut levels = window.add(run);
            for _ in 0..whole {
                add_word::<W, A, V, P>(&mut sums, levels, step, weights, 0);
                if A > 1 {
                    add_word::<W, A, V, P>(&mut sums, levels.add(WORD), step, weights, 1);
                }
                if A > 2 {
                    add_word::<W, A, V, P>(&mut sums, levels.add(2 * WORD), step, weights, 2);
                }
                if A > 3 {
                    add_word::<W, A, V, P>(&mut sums, levels.add(3 * WORD), step, weights, 3);
                }
                levels = levels.add(A * WORD);
                weights = weights.add(V * W);
            }
            if A > 1 && rest > 0 {
                add_word::<W, A, V, P>(&mut sums, levels, step, weights, 0);
                if A > 2 && rest > 1 {
                    add_word::<W, A, V, P>(&mut sums, levels.add(WORD), step, weights, 1);
                }
                if A > 3 && rest > 2 {
                    add_word::<W, A, V, P>(&mut sums, levels.add(2 * WORD), step, weights, 2);
                }
                weights = weights.add(V * W);
            }
        }
        sums
    }
}

/// Computes the totals that a tile wants. Counts on the scalar pipe, which has nothing else to do.
///
/// # Safety
/// - The tile has been checked, and has `A`-bit levels.
#[inline(always)]
unsafe fn add_up_totals<const A: usize>(tile: &mut ConvTile<'_>) {
    let len = tile.depth / 8 * A;
    for (pixel, total) in tile.totals.iter_mut().take(tile.pixels).enumerate() {
        let window = &tile.input[tile.input_offset + pixel * tile.pixel_step..];
        *total = if 8 % A == 0 {
            // SAFETY: `check` found every run of every pixel's window in the input, and READ_SLACK behind.
            tile.runs.iter().map(|&run| unsafe { run_total::<A>(window[run..].as_ptr(), len) }).sum()
        } else {
            tile.runs.iter().map(|&run| generic::portable::levels_total(&window[run..][..len], A)).sum()
        };
    }
}

/// The sum of the levels of `len` bytes. `A` divides 8.
///
/// # Safety
/// - 7 bytes more than `len` are readable.
#[inline(always)]
unsafe fn run_total<const A: usize>(levels: *const u8, len: usize) -> i32 {
    /// By plane count: the bytes of the first plane.
    const FIRST: [u64; 4] = [u64::MAX, 0x00ff_00ff_00ff_00ff, 0, 0x0000_00ff_0000_00ff];
    let mut total = 0;
    for at in (0..len).step_by(8) {
        // SAFETY: the caller's promise.
        let bytes = u64::from_le(unsafe { levels.add(at).cast::<u64>().read_unaligned() });
        // What lies behind the run is shifted out, by a whole number of groups.
        let bytes = bytes << (8 * (8 - (len - at).min(8)));
        for plane in 0..A {
            total += (bytes & FIRST[A - 1] << (8 * plane)).count_ones() << plane;
        }
    }
    total as i32
}

/// Calls the instance of `$function::<W, A, V>` for the widths of a tile.
macro_rules! call_instance {
    ($function:ident::<$v:ident>($tile:expr), $conv:expr) => {
        match ($conv.weight_bits, $conv.activation_bits) {
            (1, 1) => $function::<1, 1, $v>($tile),
            (1, 2) => $function::<1, 2, $v>($tile),
            (1, 3) => $function::<1, 3, $v>($tile),
            (1, 4) => $function::<1, 4, $v>($tile),
            (2, 1) => $function::<2, 1, $v>($tile),
            (2, 2) => $function::<2, 2, $v>($tile),
            (3, 1) => $function::<3, 1, $v>($tile),
            (4, 1) => $function::<4, 1, $v>($tile),
            (w, a) => unreachable!("{w} by {a} bits are not supported"),
        }
    };
}

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn run<const V: usize>(tile: &mut ConvTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise; the instance is that of its widths.
    unsafe { call_instance!(conv::<V>(tile), tile) }
}

/// # Safety
/// - As [`ConvKernel::run`], and the tile has these widths.
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bitalg,avx512vpopcntdq,popcnt"
)]
unsafe fn conv<const W: usize, const A: usize, const V: usize>(tile: &mut ConvTile<'_>) {
    for_pixels!(tile.pixels, [8, 4, 2, 1], |pixel, P| {
        // SAFETY: the CPU and the tile are the caller's promise; the pixels exist.
        unsafe {
            let sums = convolve::<W, A, V, P>(tile, pixel);
            store_sums(tile, pixel, &sums);
        }
    });
    // SAFETY: the caller's promise.
    unsafe { add_up_totals::<A>(tile) }
}

/// # Safety
/// - As [`crate::ukernel::RunPlanes`].
unsafe fn run_planes<const V: usize>(tile: &mut PlanesTile<'_>) {
    // SAFETY: the CPU and the tile are the caller's promise; the instance is that of its widths. Steps are for
    // one or two bits, those of the levels.
    unsafe {
        match (tile.conv.weight_bits, tile.conv.activation_bits) {
            (1, 1) => planes::<1, 1, V>(tile),
            (1, 2) => planes::<1, 2, V>(tile),
            (2, 1) => planes::<2, 1, V>(tile),
            (2, 2) => planes::<2, 2, V>(tile),
            (3, 1) => planes::<3, 1, V>(tile),
            (4, 1) => planes::<4, 1, V>(tile),
            (w, a) => unreachable!("{w} by {a} bits are not supported"),
        }
    }
}

/// # Safety
/// - As [`crate::ukernel::RunPlanes`], and the tile has these widths.
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512bitalg,avx512vpopcntdq,popcnt"
)]
unsafe fn planes<const W: usize, const A: usize, const V: usize>(tile: &mut PlanesTile<'_>) {
    let total_scale = i32::from(tile.steps.total_scale);
    // SAFETY: the CPU and the tile are the caller's promise.
    let steps = unsafe {
        if tile.compute_totals && total_scale != 0 {
            add_up_totals::<A>(&mut tile.conv);
        }
        narrow_steps::<V, A>(tile)
    };
    for_pixels!(tile.conv.pixels, [8, 4, 2, 1], |pixel, P| {
        // SAFETY: the CPU and the tile are the caller's promise; the pixels exist.
        unsafe {
            let sums = convolve::<W, A, V, P>(&tile.conv, pixel);
            for (index, mut sums) in sums.into_iter().enumerate() {
                let total = if total_scale == 0 { 0 } else { tile.conv.totals[pixel + index] };
                let addend = total.wrapping_mul(total_scale);
                // Half of `−addend`, rounded down, is subtracted for weights of one bit.
                let start = if W == 1 { -(-addend >> 1) } else { addend };
                for sum in &mut sums {
                    *sum = _mm512_add_epi32(*sum, _mm512_set1_epi32(start));
                }
                store_planes::<V, A>(tile, pixel + index, &sums, &steps[(addend & 1) as usize]);
            }
        }
    });
}
