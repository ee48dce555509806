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
//! 4. Weights −1 and +1 need no totals on the way to planes: with `w` as bits, the sum is
//!    `2 Σ w · level − Σ level = Σ_i 2^i · (ones in w − ones in (w ^ plane i))`. Totals would take the scalar pipes
//!    half as long as a block takes the vector pipes, where runs are short. What lies behind a run then
//!    counts, and is masked (in the same instruction, VPTERNLOGD). The ones in the weights lie behind them.
//!
//! For up to four pairs of planes; beyond, VPDPBUSD on bytes is faster on every CPU that has these instructions.

mod planes;

use std::arch::x86_64::*;

use self::planes::run_planes;
use super::mulconv::{LANES, store_sums};
use super::{counting_cycles, for_pixels};
use crate::arch::generic::bsconv::{self as generic, MAX_BITS};
use crate::arch::generic::pack::plane_byte;
use crate::families::direct::{
    Capabilities, ConvKernel, ConvPlanes, ConvTile, Operands, PlanesTile, SumWidth, WeightBlock,
};
use crate::ukernel::Engine;

/// For layers of more than 16 outputs.
pub(crate) static BSCONV_I32_UX_UX_8X32_AVX512_CNT: ConvKernel =
    kernel::<2>("bsconv_i32_ux_ux_8x32_avx512_cnt", run::<2>, run_planes::<2>);
/// For layers of up to 16 outputs, and of an odd number of 16.
pub(crate) static BSCONV_I32_UX_UX_8X16_AVX512_CNT: ConvKernel =
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
        capabilities: Capabilities { dense_sums: true, ..Capabilities::NONE },
        nr: V * LANES,
        mr: 8,
        supports: |operands| {
            generic::supports(operands) && u32::from(operands.weight_bits) * level_bits(operands) <= MAX_PAIRS
        },
        rate: |operands| rate(operands, V),
        packed_len: |runs, depth, weight_bits| {
            let vectors =
                runs * depth.div_ceil(8 * WORD) * usize::from(weight_bits) + ones_vectors(weight_bits);
            vectors * V * size_of::<__m512i>()
        },
        pack: pack::<V>,
        run,
        planes: Some(ConvPlanes { differences: Some(SumWidth::Wide), ..ConvPlanes::narrow(run_planes) }),
        levels: None,
    }
}

/// Vectors behind the weights of 16 outputs: see 4. in the [module documentation](self).
const fn ones_vectors(weight_bits: u8) -> usize {
    if weight_bits == 1 { 1 } else { 0 }
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
    // Where there is AMX, most layers multiply levels of more than a bit as bytes. The few that would count them faster,
    // those of 16 outputs, lose more where they make planes of bytes and bytes of planes.
    let cycles = if level_bits(operands) > 1 && Engine::Amx.is_available() { 2.0 * cycles } else { cycles };
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
    let ones = &mut out[runs * words * lanes * WORD..];
    let ones = ones.chunks_exact_mut(WORD).take(ones_vectors(weight_bits) * V * LANES);
    for (output, ones) in ones.enumerate() {
        let weights = &codes[output * runs * depth..][..runs * depth];
        let count: i32 = weights.iter().map(|&weight| i32::from(weight & 1)).sum();
        ones.copy_from_slice(&count.to_le_bytes());
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

/// What a bit counts for, times `sign`: in word `word` of `A`-bit levels, with plane `i` of the weights.
const fn factors(a: usize, word: usize, i: usize, sign: i8) -> i32 {
    let mut factors = [0; WORD];
    let mut byte = 0;
    while byte < WORD {
        factors[byte] = (sign << (i + (word * WORD + byte) % a)) as u8;
        byte += 1;
    }
    i32::from_le_bytes(factors)
}

/// What is counted.
mod mode {
    /// Ones in both, added up.
    pub(super) const COMMON: u8 = 0;
    /// Where they differ, subtracted.
    pub(super) const DIFFERENT: u8 = 1;
    /// The same in a word of which only some bytes belong to the run.
    pub(super) const DIFFERENT_MASKED: u8 = 2;
}
use mode::{COMMON, DIFFERENT, DIFFERENT_MASKED};

/// Adds up word `number` of 32 channels.
///
/// # Safety
/// - The CPU has AVX-512 as of [`super`].
/// - 4 bytes at `levels` plus each of the first `P` multiples of `pixel_step` are readable.
/// - `V · W` vectors at `weights` are readable.
#[inline(always)]
unsafe fn add_word<const W: usize, const A: usize, const V: usize, const P: usize, const MODE: u8>(
    sums: &mut [[__m512i; V]; P],
    (levels, pixel_step): (*const u8, usize),
    weights: *const __m512i,
    number: usize,
    mask: i32,
) {
    /// `a ^ (b & c)`.
    const XOR_AND: i32 = 0x78;
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
                let factor = factors(A, number, i, if MODE == COMMON { 1 } else { -1 });
                let factors = _mm512_set1_epi32(factor);
                for (sums, &word) in sums.iter_mut().zip(&words) {
                    let counted = match MODE {
                        COMMON => _mm512_and_si512(weights, word),
                        DIFFERENT => _mm512_xor_si512(weights, word),
                        _ => _mm512_ternarylogic_epi32::<XOR_AND>(weights, word, _mm512_set1_epi32(mask)),
                    };
                    sums[v] = match (W * A, MODE) {
                        (1, COMMON) => _mm512_add_epi32(sums[v], _mm512_popcnt_epi32(counted)),
                        (1, _) => _mm512_sub_epi32(sums[v], _mm512_popcnt_epi32(counted)),
                        _ => _mm512_dpbusd_epi32(sums[v], _mm512_popcnt_epi8(counted), factors),
                    };
                }
            }
        }
    }
}

/// Computes `P` pixels from `pixel` on: sums of products from 0, or, with `DIFFERENCES` and `W = 1`, sums for
/// weights −1 and +1.
///
/// # Safety
/// - The CPU has AVX-512 as of [`super`].
/// - The tile has been checked for a micro-kernel of `16 · V` outputs, has these widths, and the pixels are
///   among its pixels.
#[inline(always)]
unsafe fn convolve<
    const W: usize,
    const A: usize,
    const V: usize,
    const P: usize,
    const DIFFERENCES: bool,
>(
    tile: &ConvTile<'_>,
    pixel: usize,
) -> [[__m512i; V]; P] {
    const { assert!(!DIFFERENCES || W == 1) }
    let bytes = tile.depth / 8 * A;
    let (whole, rest) = (bytes / (A * WORD), bytes % (A * WORD));
    let step = tile.pixel_step;
    // SAFETY: `check` found every run of every pixel's window in the input, and READ_SLACK behind, of which the
    // last word takes 3; it found `packed_len` bytes of weights: V · W vectors for each 32 channels begun, and
    // for weights of one bit V vectors behind.
    unsafe {
        let window = tile.input.as_ptr().add(tile.input_offset + pixel * step);
        let mut weights = tile.weights.as_ptr().cast::<__m512i>();
        let mut sums = [[_mm512_setzero_si512(); V]; P];
        if DIFFERENCES {
            let ones = weights.add(tile.runs.len() * tile.depth.div_ceil(8 * WORD) * V);
            for v in 0..V {
                let ones = _mm512_loadu_si512(ones.add(v));
                let start = _mm512_mullo_epi32(ones, _mm512_set1_epi32((1 << A) - 1));
                sums.iter_mut().for_each(|sums| sums[v] = start);
            }
        }
        // Written out, as compilers do not unroll so large a loop.
        macro_rules! add_words {
            ($levels:expr, $rest:expr) => {
                add_words!($levels, $rest, 0);
                add_words!($levels, $rest, 1);
                add_words!($levels, $rest, 2);
                add_words!($levels, $rest, 3);
            };
            ($levels:expr, $rest:expr, $number:literal) => {
                if $number < A && $rest > $number * WORD {
                    let levels = ($levels.add($number * WORD), step);
                    if !DIFFERENCES {
                        add_word::<W, A, V, P, COMMON>(&mut sums, levels, weights, $number, -1);
                    } else if $rest == A * WORD {
                        add_word::<W, A, V, P, DIFFERENT>(&mut sums, levels, weights, $number, -1);
                    } else {
                        let mask = mask($rest - $number * WORD);
                        add_word::<W, A, V, P, DIFFERENT_MASKED>(&mut sums, levels, weights, $number, mask);
                    }
                }
            };
        }
        for &run in tile.runs {
            let mut levels = window.add(run);
            for _ in 0..whole {
                add_words!(levels, A * WORD);
                levels = levels.add(A * WORD);
                weights = weights.add(V * W);
            }
            if rest > 0 {
                add_words!(levels, rest);
                weights = weights.add(V * W);
            }
        }
        sums
    }
}

/// The first `bytes` bytes of a word.
fn mask(bytes: usize) -> i32 {
    if bytes < WORD { (1 << (8 * bytes)) - 1 } else { -1 }
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
            let sums = convolve::<W, A, V, P, false>(tile, pixel);
            store_sums(tile, pixel, &sums);
        }
    });
    // SAFETY: the caller's promise.
    unsafe { add_up_totals::<A>(tile) }
}
