//! Multiplying convolution with VPDPBUSD: four products of unsigned levels and signed weights, added up in
//! 32 bits without saturation. Exact for all operands.
//!
//! ```text
//! for each P output pixels:
//!     sums[P][V vectors of 16 outputs] = 0
//!     for each run, for each 4 levels of it:
//!         w[V] = weights
//!         for p in 0..P:
//!             l = levels of pixel p, broadcast as 32 bits
//!             for v in 0..V:  sums[p][v] = VPDPBUSD(sums[p][v], l, w[v])
//! ```
//!
//! 1. 16 sums hide the instruction's latency (5 cycles, two a cycle) and leave registers for the rest.
//! 2. Two vectors by 8 pixels take 10 loads for 16 multiplications; 4 by 4 would take 8, but twice the weights
//!    a multiplication, which in deep layers come from the L2 cache.

mod levels;

use std::arch::x86_64::*;

use super::for_pixels;
use super::planes::{Steps, store_planes};
use crate::arch::generic::mulconv::add_up_totals;
use crate::families::direct::{
    Capabilities, ConvKernel, ConvLevels, ConvPlanes, ConvTile, Operands, PlanesTile, WeightBlock,
};
use crate::requantize::PlaneStepsRows;
use crate::ukernel::Engine;

/// For layers of more than 16 outputs.
pub(crate) static MULCONV_I32_U8_S8_8X32_AVX512_VNNI: ConvKernel = ConvKernel {
    mr: 8,
    ..kernel::<2>(
        "mulconv_i32_u8_s8_8x32_avx512_vnni",
        mulconv_i32_u8_s8_8x32_avx512_vnni,
        mulconv_planes_u8_s8_8x32_avx512_vnni,
    )
};
/// For layers of up to 16 outputs, and of an odd number of 16.
pub(crate) static MULCONV_I32_U8_S8_16X16_AVX512_VNNI: ConvKernel = ConvKernel {
    mr: 16,
    ..kernel::<1>(
        "mulconv_i32_u8_s8_16x16_avx512_vnni",
        mulconv_i32_u8_s8_16x16_avx512_vnni,
        mulconv_planes_u8_s8_16x16_avx512_vnni,
    )
};

/// Levels of a lane.
const GROUP: usize = 4;
/// Outputs of a vector.
pub(super) const LANES: usize = 16;

const fn kernel<const V: usize>(
    name: &'static str,
    run: unsafe fn(&mut ConvTile<'_>),
    run_planes: unsafe fn(&mut PlanesTile<'_>),
) -> ConvKernel {
    ConvKernel {
        name,
        engine: Engine::Avx512,
        bit_serial: false,
        capabilities: Capabilities { dense_sums: true, ..Capabilities::NONE },
        nr: V * LANES,
        mr: 1,
        supports: |_| true,
        // With one vector there is a load for each multiplication, and they no longer hide behind it.
        rate: |operands| if V == 1 { 95.0 } else { 113.0 } * utilisation(operands, V * LANES),
        packed_len: |runs, depth, _| runs * depth.next_multiple_of(GROUP) * V * LANES,
        pack: pack::<V>,
        run,
        planes: Some(ConvPlanes::wide(run_planes)),
        levels: Some(ConvLevels { takes: levels::takes, run: levels::run_levels::<V> }),
    }
}

/// Share of the products that are not padding.
fn utilisation(operands: &Operands, nr: usize) -> f32 {
    let share = |used: usize, unit: usize| used as f32 / used.next_multiple_of(unit).max(1) as f32;
    share(operands.depth, GROUP) * share(operands.outputs, nr)
}

/// Packs a block as `[run][group of 4 levels][output][level]`, missing levels with weight 0.
fn pack<const V: usize>(block: &WeightBlock<'_>, out: &mut [u8]) {
    let WeightBlock { codes, runs, depth, .. } = *block;
    let run_len = depth.next_multiple_of(GROUP) * V * LANES;
    for (run, out) in out.chunks_exact_mut(run_len.max(1)).take(runs).enumerate() {
        for output in 0..V * LANES {
            let weights = &codes[(output * runs + run) * depth..][..depth];
            let out = out.chunks_exact_mut(GROUP).skip(output).step_by(V * LANES);
            for (weights, out) in weights.chunks(GROUP).zip(out) {
                out.fill(0);
                out[..weights.len()].copy_from_slice(weights);
            }
        }
    }
}

/// Computes `P` pixels from `pixel` on.
///
/// # Safety
/// - The CPU has AVX-512 and VNNI.
/// - The tile has been checked for a micro-kernel of `16 · V` outputs, its weights were packed by [`pack`], and
///   the pixels are among its pixels.
#[inline(always)]
unsafe fn convolve<const V: usize, const P: usize>(tile: &ConvTile<'_>, pixel: usize) -> [[__m512i; V]; P] {
    let groups = tile.depth.div_ceil(GROUP);
    // SAFETY: `check` found every run of every pixel's window in the input, and READ_SLACK behind, of which
    // whole groups take 3; it found `packed_len` bytes of weights, which advance by V vectors a group.
    unsafe {
        let window = tile.input.as_ptr().add(tile.input_offset + pixel * tile.pixel_step);
        let mut weights = tile.weights.as_ptr().cast::<__m512i>();
        let mut sums = [[_mm512_setzero_si512(); V]; P];
        for &run in tile.runs {
            let mut levels = window.add(run);
            for _ in 0..groups {
                let mut of_group = [_mm512_setzero_si512(); V];
                for (v, of_group) in of_group.iter_mut().enumerate() {
                    *of_group = _mm512_loadu_si512(weights.add(v));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let level = levels.add(p * tile.pixel_step).cast::<i32>().read_unaligned();
                    let level = _mm512_set1_epi32(level);
                    for (sum, weights) in sums.iter_mut().zip(of_group) {
                        *sum = _mm512_dpbusd_epi32(*sum, level, weights);
                    }
                }
                weights = weights.add(V);
                levels = levels.add(GROUP);
            }
        }
        sums
    }
}

/// Writes the sums of the pixels from `pixel` on.
///
/// # Safety
/// - The CPU has AVX-512.
#[inline(always)]
pub(super) unsafe fn store_sums<const V: usize, const P: usize>(
    tile: &mut ConvTile<'_>,
    pixel: usize,
    sums: &[[__m512i; V]; P],
) {
    for (index, sums) in sums.iter().enumerate() {
        let out = &mut tile.sums[(pixel + index) * tile.sums_stride..][..V * LANES];
        for (out, &sum) in out.chunks_exact_mut(LANES).zip(sums) {
            // SAFETY: `out` has room for the 16 numbers of a vector.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
        }
    }
}

/// Computes `P` pixels from `pixel` on to planes of `A` bits.
///
/// # Safety
/// - As [`convolve`], and the tile has been checked by `PlanesTile::check`.
#[inline(always)]
unsafe fn convolve_planes<const V: usize, const A: usize, const P: usize>(
    tile: &mut PlanesTile<'_>,
    pixel: usize,
    steps: &Steps<V>,
) {
    // SAFETY: the caller's promises; a pixel's planes were checked.
    unsafe {
        let sums = convolve::<V, P>(&tile.conv, pixel);
        for (index, sums) in sums.iter().enumerate() {
            let planes = tile.planes.as_mut_ptr().add((pixel + index) * tile.planes_stride);
            store_planes::<V, A>(planes, tile.outputs, sums, steps);
        }
    }
}

/// The steps of a tile.
///
/// # Safety
/// - The CPU has AVX-512, and the tile has been checked by `PlanesTile::check`.
#[inline(always)]
unsafe fn steps<const V: usize, const A: usize>(tile: &PlanesTile<'_>) -> Steps<V> {
    let PlaneStepsRows::Wide(rows) = &tile.steps.rows else {
        unreachable!("steps are those of a multiplying micro-kernel");
    };
    // SAFETY: the caller's promises.
    unsafe { Steps::wide::<A>(rows, tile.first_channel) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn mulconv_i32_u8_s8_8x32_avx512_vnni(tile: &mut ConvTile<'_>) {
    for_pixels!(tile.pixels, [8, 4, 2, 1], |pixel, P| {
        // SAFETY: this function's own contract: the CPU has the instructions, the tile was checked; the pixels
        // exist.
        unsafe {
            let sums = convolve::<2, P>(tile, pixel);
            store_sums(tile, pixel, &sums);
        }
    });
    add_up_totals(tile);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn mulconv_i32_u8_s8_16x16_avx512_vnni(tile: &mut ConvTile<'_>) {
    for_pixels!(tile.pixels, [16, 8, 4, 2, 1], |pixel, P| {
        // SAFETY: this function's own contract: the CPU has the instructions, the tile was checked; the pixels
        // exist.
        unsafe {
            let sums = convolve::<1, P>(tile, pixel);
            store_sums(tile, pixel, &sums);
        }
    });
    add_up_totals(tile);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn mulconv_planes_u8_s8_8x32_avx512_vnni(tile: &mut PlanesTile<'_>) {
    // SAFETY: this function's own contract: the CPU has the instructions, the tile was checked; the pixels exist.
    unsafe {
        if tile.steps.bits == 1 {
            let steps = steps::<2, 1>(tile);
            for_pixels!(tile.conv.pixels, [8, 4, 2, 1], |pixel, P| convolve_planes::<2, 1, P>(
                tile, pixel, &steps
            ));
        } else {
            let steps = steps::<2, 2>(tile);
            for_pixels!(tile.conv.pixels, [8, 4, 2, 1], |pixel, P| convolve_planes::<2, 2, P>(
                tile, pixel, &steps
            ));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn mulconv_planes_u8_s8_16x16_avx512_vnni(tile: &mut PlanesTile<'_>) {
    // SAFETY: this function's own contract: the CPU has the instructions, the tile was checked; the pixels exist.
    unsafe {
        if tile.steps.bits == 1 {
            let steps = steps::<1, 1>(tile);
            for_pixels!(tile.conv.pixels, [16, 8, 4, 2, 1], |pixel, P| convolve_planes::<1, 1, P>(
                tile, pixel, &steps
            ));
        } else {
            let steps = steps::<1, 2>(tile);
            for_pixels!(tile.conv.pixels, [16, 8, 4, 2, 1], |pixel, P| convolve_planes::<1, 2, P>(
                tile, pixel, &steps
            ));
        }
    }
}
