//! Bit-serial convolution with outputs in the byte lanes.
//!
//! A dot product of unsigned codes is a sum over pairs of bit planes,
//! `Σ_{i,j} 2^{i+j} · popcount(weights_i AND levels_j)`. A byte lane belongs to one output; a byte holds
//! 8 channels of one plane. So one step, 8 channels of one output pixel, is:
//!
//! ```text
//! for j in 0..A:  d[j] = byte j of the step's levels, in every lane
//! for m in 0..M:                             # strips of LANES outputs that share the broadcasts
//!     for i in 0..W:
//!         w = vector i of the step's weights of strip m
//!         for j in 0..A:
//!             counts[m][i + j] += popcount(w & d[j])          # by byte
//! ```
//!
//! Pairs of equal weight `i + j`, a *class*, share one counter of 8 bits. Counters are emptied into
//! sums of 16 bits before they can overflow, and these into the i32 result:
//!
//! ```text
//! for each output pixel:
//!     counts = 0, sums = 0, result not yet written
//!     for each run of the window:
//!         until the run's chunks of 4 steps are done:
//!             if counts could overflow in a chunk: empty counts into sums
//!             as many chunks as counts have room for
//!         if steps remain:
//!             if counts could overflow in them: empty counts into sums
//!             the remaining steps
//!     empty counts into sums, sums into the result
//!
//! empty counts into sums:
//!     if sums could overflow in it: empty sums into the result
//!     sums += Σ_c counts[c] << c;  counts = 0
//! ```
//!
//! Why it is like this:
//!
//! 1. Broadcasting levels, not weights: a pixel's 16 bytes are loaded once and serve all outputs.
//! 2. One pixel at a time. With several, the 16-bit sums would leave the registers also where few
//!    classes leave room for them, while loading each weight vector once for two pixels saves
//!    nothing: the load pipe is idle two thirds of the time.
//! 3. A chunk is 4 steps, less than what 16 bytes hold of 1 to 3 planes: counters are emptied less often
//!    (every 12 steps instead of 8 at 2 bits), the code is shorter, and 4 steps are all that a 1×1
//!    kernel over 32 channels has.
//! 4. No test for overflow in the loop over chunks, or the sums are moved to memory and back around
//!    it: 5 % at 2 bits (A72 pipe bound, NEON).
//! 5. `Simd::after` puts the steps in order. Left alone, the compiler loads ahead so far that counters
//!    are spilled inside a chunk. Ordering the strips of a step, too, makes it worse.
//! 6. The steps that remain, 1 to 3, are 2 and 1: unrolling them for every count costs more code, and a
//!    loop over single steps costs a tenth of the shallow layers.
//!
//! Weights lie as `[strip][run][step][plane]` vectors of `LANES` bytes, lane = output. The layout does
//! not depend on the number of strips that share broadcasts, which is a matter of registers.
//!
//! The decomposition into pairs of planes is that of Umuroglu and Jahre, "Streamlined Deployment for
//! Quantized Neural Networks", 2017.

mod counters;
pub(crate) mod portable;
mod total;

use self::counters::count_steps;
pub(crate) use self::counters::{Counters, mode};
pub(crate) use self::portable::BSCONV_I32_UX_UX_1X16_GENERIC;
pub(crate) use self::total::window_total;
use crate::arch::generic::pack::plane_byte;
use crate::families::direct::{ConvTile, Operands, WeightBlock};
use crate::simd::Simd;

/// Widest weights and levels.
pub(crate) const MAX_BITS: usize = 4;

/// A convolution of weights and levels of certain widths, for a tile and the block's outputs.
pub(crate) type Instance = unsafe fn(&mut ConvTile<'_>, usize);

/// The instances of `$function::<W, A>` by `[W − 1][A − 1]`.
macro_rules! instances {
    ($function:ident) => {
        [
            [$function::<1, 1>, $function::<1, 2>, $function::<1, 3>, $function::<1, 4>],
            [$function::<2, 1>, $function::<2, 2>, $function::<2, 3>, $function::<2, 4>],
            [$function::<3, 1>, $function::<3, 2>, $function::<3, 3>, $function::<3, 4>],
            [$function::<4, 1>, $function::<4, 2>, $function::<4, 3>, $function::<4, 4>],
        ]
    };
}
pub(crate) use instances;

/// The instances of an engine.
pub(crate) type Instances = [[Instance; MAX_BITS]; MAX_BITS];

/// Runs the instance for the tile's widths.
///
/// # Safety
/// - The CPU has the instructions of the instances.
/// - The tile has been checked by `ConvTile::check` for a kernel of `outputs` outputs a block.
pub(crate) unsafe fn run_instance(instances: &Instances, tile: &mut ConvTile<'_>, outputs: usize) {
    let instance = instances[usize::from(tile.weight_bits) - 1][usize::from(tile.activation_bits) - 1];
    // SAFETY: the caller vouches for the CPU and the tile, and the instance was chosen by its widths.
    unsafe { instance(tile, outputs) }
}

/// Whether the operands fit into planes.
pub(crate) fn supports(operands: &Operands) -> bool {
    operands.max_level < 1 << MAX_BITS
        && (1..=MAX_BITS).contains(&usize::from(operands.weight_bits))
        && operands.depth.is_multiple_of(8)
}

/// MACs per cycle where a step of `lanes` outputs takes `cycles` for each pair of planes, and the
/// last block of `nr` outputs may be filled in part.
pub(crate) fn rate(operands: &Operands, nr: usize, lanes: usize, cycles: f32) -> f32 {
    let level_bits = 8 - operands.max_level.leading_zeros();
    let pairs = f32::from(operands.weight_bits) * level_bits as f32;
    let filled = operands.outputs as f32 / operands.outputs.next_multiple_of(nr).max(1) as f32;
    8.0 * lanes as f32 / (pairs * cycles) * filled
}

/// Bytes of a packed block of `outputs` outputs.
pub(crate) const fn packed_len(outputs: usize, runs: usize, depth: usize, weight_bits: u8) -> usize {
    outputs * runs * (depth / 8) * weight_bits as usize
}

/// Packs a block as `[strip][run][step][plane][lane]` for the lanes of an instruction set.
///
/// # Panics
/// If `out` is shorter than [`packed_len`].
pub(crate) fn pack<S: Simd>(block: &WeightBlock<'_>, outputs: usize, out: &mut [u8]) {
    pack_strips(block, outputs, S::LANES, out);
}

/// [`pack`] for any number of lanes.
fn pack_strips(block: &WeightBlock<'_>, outputs: usize, lanes: usize, out: &mut [u8]) {
    let WeightBlock { codes, runs, depth, weight_bits } = *block;
    let steps = runs * (depth / 8);
    if steps == 0 {
        return;
    }
    let planes = usize::from(weight_bits);
    for (strip, out) in out.chunks_exact_mut(lanes * steps * planes).take(outputs / lanes).enumerate() {
        for (index, out) in out.iter_mut().enumerate() {
            let (step, plane, lane) = (index / lanes / planes, index / lanes % planes, index % lanes);
            let first = ((strip * lanes + lane) * steps + step) * 8;
            *out = plane_byte(&codes[first..][..8], plane);
        }
    }
}

/// Steps of a chunk. The 16 bytes of a source hold it, and no counter overflows in it.
const CHUNK: usize = 4;

/// Strips of outputs that share broadcasts, so that counters, sums (two registers a strip), levels,
/// broadcasts and two temporaries fit into the registers.
pub(crate) const fn strips_at_once(registers: usize, w: usize, a: usize) -> usize {
    let classes = w + a - 1;
    let others = a + 3;
    if 4 * (classes + 2) + others <= registers {
        4
    } else if 2 * (classes + 2) + others <= registers {
        2
    } else {
        1
    }
}

/// Computes a tile of `outputs` outputs, a multiple of `S::LANES`. `W` and `A` are 1 to 4.
///
/// # Safety
/// - The tile has been checked by `ConvTile::check` for a kernel of `outputs` outputs a block.
/// - `W` and `A` are the tile's weight and activation bits.
#[inline(always)]
pub(crate) unsafe fn conv<S: Simd, const W: usize, const A: usize>(
    simd: S,
    tile: &mut ConvTile<'_>,
    outputs: usize,
) {
    const { assert!(CHUNK * A <= 16 && CHUNK <= count_steps(W, A)) }
    debug_assert!(outputs.is_multiple_of(S::LANES));
    let strips = outputs / S::LANES;
    let widest = strips_at_once(S::REGISTERS, W, A);
    let mut strip = 0;
    // Pixels inside, strips outside: the strips' weights stay in the first cache.
    while strip < strips {
        let rest = strips - strip;
        // SAFETY: strips `strip..strip + M` are among the `strips` of the block, and the rest is the
        // caller's promise.
        strip += unsafe {
            if widest >= 4 && rest >= 4 {
                strips_of_tile::<S, W, A, 4>(simd, tile, strip)
            } else if widest >= 2 && rest >= 2 {
                strips_of_tile::<S, W, A, 2>(simd, tile, strip)
            } else {
                strips_of_tile::<S, W, A, 1>(simd, tile, strip)
            }
        };
    }
    let windows = tile.pixels.min(tile.totals.len());
    for pixel in 0..windows {
        // SAFETY: `check` found every run of every pixel's window, and the slack behind, in the input.
        tile.totals[pixel] = unsafe {
            let window = tile.input.as_ptr().add(tile.input_offset + pixel * tile.pixel_step);
            window_total::<S, A>(simd, window, tile.runs, tile.depth / 8)
        };
    }
}

/// Computes strips `strip..strip + M` of all pixels of a tile; returns `M`.
///
/// # Safety
/// - As [`conv`], and strips `strip..strip + M` are among the block's.
#[inline(always)]
unsafe fn strips_of_tile<S: Simd, const W: usize, const A: usize, const M: usize>(
    simd: S,
    tile: &mut ConvTile<'_>,
    strip: usize,
) -> usize {
    let steps = tile.depth / 8;
    let strip_len = S::LANES * tile.runs.len() * steps * W;
    for pixel in 0..tile.pixels {
        // SAFETY: `check` found the windows of all pixels in the input, `packed_len` bytes of weights,
        // `strip_len` for each of the block's strips, and a sum for each output of each pixel.
        unsafe {
            let window = tile.input.as_ptr().add(tile.input_offset + pixel * tile.pixel_step);
            let weights = tile.weights.as_ptr().add(strip * strip_len);
            let weights: [*const u8; M] = std::array::from_fn(|m| weights.add(m * strip_len));
            let result = tile.sums.as_mut_ptr().add(pixel * tile.sums_stride + strip * S::LANES);
            let mut sums = [simd.zero_sums(); M];
            let mut counters = Counters::<S, W, A, M, { mode::WIDE }>::new(simd, &mut sums, result);
            convolve_window(simd, window, tile.runs, steps, weights, &mut counters);
            counters.finish();
        }
    }
    M
}

/// Counts `M` strips of one pixel.
///
/// # Safety
/// - `steps · A` bytes from `window` plus each run's offset are readable, and 16 more.
/// - `runs · steps · W` vectors from each of `weights` on are readable.
#[inline(always)]
pub(crate) unsafe fn convolve_window<
    S: Simd,
    const W: usize,
    const A: usize,
    const M: usize,
    const MODE: u8,
>(
    simd: S,
    window: *const u8,
    runs: &[usize],
    steps: usize,
    mut weights: [*const u8; M],
    counters: &mut Counters<'_, S, W, A, M, MODE>,
) {
    for &run in runs {
        let (mut chunks, rest) = (steps / CHUNK, steps % CHUNK);
        // SAFETY: levels are read from the start of a run on for as many steps as it has, as sources
        // of 16 bytes, which may reach 16 beyond; weights advance by the same steps.
        unsafe {
            let mut levels = window.add(run);
            while chunks > 0 {
                let now = chunks.min(counters.room());
                for _ in 0..now {
                    let source = simd.source(levels);
                    let source = counters.step::<0>(source, &weights);
                    let source = counters.step::<1>(source, &weights);
                    let source = counters.step::<2>(source, &weights);
                    counters.step::<3>(source, &weights);
                    weights = weights.map(|weights| weights.add(CHUNK * W * S::LANES));
                    levels = levels.add(CHUNK * A);
                }
                counters.counted(now);
                chunks -= now;
            }
            if rest > 0 {
                counters.room();
                let mut source = simd.source(levels);
                if rest >= 2 {
                    source = counters.step::<0>(source, &weights);
                    source = counters.step::<1>(source, &weights);
                    source = simd.skip::<A>(simd.skip::<A>(source));
                    weights = weights.map(|weights| weights.add(2 * W * S::LANES));
                }
                if rest % 2 == 1 {
                    counters.step::<0>(source, &weights);
                    weights = weights.map(|weights| weights.add(W * S::LANES));
                }
                counters.counted(1);
            }
        }
    }
}
