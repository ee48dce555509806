//! Multiplying convolution with the tile registers of AMX: 16 pixels by 64 levels, times 64 levels by 16
//! outputs, in one instruction. Exact for all operands.
//!
//! ```text
//! for each 32 output pixels, for each 32 outputs:
//!     sums[2][2] tiles of 16 pixels × 16 outputs = 0
//!     for each run, for each 64 levels of it:
//!         a[2] = these levels of the windows of 16 pixels each        # rows of 64 bytes, a pixel apart
//!         b[2] = their weights for 16 outputs each                    # rows of 4 levels × 16 outputs
//!         sums[i][j] = TDPBUSD(sums[i][j], a[i], b[j])
//! ```
//!
//! 1. Levels need no copy: the rows of a tile may lie at any distance, so a tile of levels is read from the tensor
//!    itself, whatever the stride.
//! 2. A run whose levels are no multiple of 64 reads beyond its end, inside of the slack that every input
//!    has; those levels meet weights of 0.
//! 3. The last pixels are computed in tiles that overlap those before, instead of with other tile shapes:
//!    loading a configuration takes as long as four steps of the loop. Only a row of fewer pixels has tiles of
//!    fewer rows.
//! 4. The configuration is loaded and given back in each call: nothing outside can depend on it or spoil it.
//!
//! On an Intel Xeon (Sapphire Rapids) a TDPBUSD takes 16 cycles, 1024 multiply-accumulates a cycle, eight times what
//! VPDPBUSD does there.

mod available;

use std::arch::asm;

pub(crate) use self::available::is_available;

use crate::arch::generic::mulconv::add_up_totals;
use crate::requantize::RequantizeTile;
use crate::ukernel::{ConvKernel, ConvLevels, ConvTile, Engine, LevelsTile, Operands, WeightBlock};

/// For layers of up to 32 outputs.
pub(crate) static MULCONV_32X32_AMX: ConvKernel =
    kernel::<1>("mulconv_i32_u8_s8_32x32_amx", run::<1>, run_levels::<1>);
/// For layers of up to 64 outputs.
pub(crate) static MULCONV_32X64_AMX: ConvKernel =
    kernel::<2>("mulconv_i32_u8_s8_32x64_amx", run::<2>, run_levels::<2>);
/// For layers of more outputs.
pub(crate) static MULCONV_32X128_AMX: ConvKernel =
    kernel::<4>("mulconv_i32_u8_s8_32x128_amx", run::<4>, run_levels::<4>);

/// Rows of a tile: pixels, or groups of levels.
const ROWS: usize = 16;
/// Bytes of a tile's row: levels of a step.
const STEP: usize = 64;
/// Levels of a lane.
const GROUP: usize = 4;
/// Outputs of a tile.
const LANES: usize = 16;
/// Outputs that are computed together.
const OUTPUTS: usize = 2 * LANES;
/// Bytes of the weights of a step, two tiles.
const STEP_WEIGHTS: usize = STEP * OUTPUTS;

const fn kernel<const S: usize>(
    name: &'static str,
    run: unsafe fn(&mut ConvTile<'_>),
    run_levels: unsafe fn(&mut LevelsTile<'_>),
) -> ConvKernel {
    ConvKernel {
        name,
        engine: Engine::Amx,
        bit_serial: false,
        nr: S * OUTPUTS,
        mr: 2 * ROWS,
        supports: |_| true,
        rate: |operands| rate(operands, S),
        packed_len: |runs, depth, _| S * runs * depth.div_ceil(STEP) * STEP_WEIGHTS,
        pack: pack::<S>,
        run,
        run_planes: None,
        levels: Some(ConvLevels { takes: |_| true, run: run_levels }),
    }
}

/// MACs per cycle. A machine whose other threads use AMX, too, or whose clock is held down for it, leaves a quarter of
/// the 1024 and a bit more: that is what is counted with, so that the choice is never bad. Wider blocks load
/// fewer configurations.
fn rate(operands: &Operands, parts: usize) -> f32 {
    let share = |used: usize, unit: usize| used as f32 / used.next_multiple_of(unit).max(1) as f32;
    let most = match parts {
        1 => 280.0,
        2 => 290.0,
        _ => 300.0,
    };
    most * share(operands.depth, STEP) * share(operands.outputs, parts * OUTPUTS)
}

/// Packs a block as `[32 outputs][run][64 levels][16 outputs][group of 4 levels][output][level]`, missing levels
/// with weight 0.
fn pack<const S: usize>(block: &WeightBlock<'_>, out: &mut [u8]) {
    let WeightBlock { codes, runs, depth, .. } = *block;
    let steps = depth.div_ceil(STEP);
    let part_len = runs * steps * STEP_WEIGHTS;
    out[..S * part_len].fill(0);
    for output in 0..S * OUTPUTS {
        let (part, tile, lane) = (output / OUTPUTS, output / LANES % 2, output % LANES);
        for run in 0..runs {
            let weights = &codes[(output * runs + run) * depth..][..depth];
            let start = part * part_len + run * steps * STEP_WEIGHTS + tile * STEP * LANES + lane * GROUP;
            for (group, weights) in weights.chunks(GROUP).enumerate() {
                let (step, group) = (group / ROWS, group % ROWS);
                let at = start + step * STEP_WEIGHTS + group * STEP;
                out[at..at + weights.len()].copy_from_slice(weights);
            }
        }
    }
}

/// The operand of LDTILECFG.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Sums in the first four tiles and levels in the next two have a row for each of `pixels` pixels; the last two
    /// are weights.
    fn new(pixels: usize) -> Self {
        let (pixels, weights) = (pixels as u8, ROWS as u8);
        let mut rows = [0; 16];
        rows[..8].copy_from_slice(&[pixels, pixels, pixels, pixels, pixels, pixels, weights, weights]);
        let mut bytes_of_row = [0; 16];
        bytes_of_row[..8].fill(STEP as u16);
        Self { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row, rows }
    }
}

/// What the loop over a window works on.
#[repr(C)]
struct Window {
    /// Steps of 64 levels of a run, at least 1.
    steps: usize,
    /// Bytes from a pixel to the next.
    pixel_step: usize,
    /// Where the sums of the first and of the second tile of pixels go.
    sums: [*mut i32; 2],
    /// Bytes from a pixel's sums to the next's.
    sums_step: usize,
}

/// Computes one or two tiles of pixels by 32 outputs.
///
/// # Safety
/// - The CPU has AMX, and a [`Configuration`] of `R` pixels is loaded.
/// - `runs` is not empty. For `R` pixels from `levels` on, and with `TWO` also from `second` bytes further on, 64
///   bytes are readable at each step of each run; [`STEP_WEIGHTS`] bytes for each step at `weights`; and the sums
///   are writable, 32 for each pixel.
#[inline(always)]
unsafe fn tiles<const TWO: bool>(
    window: &Window,
    runs: &[usize],
    [levels, weights]: [*const u8; 2],
    second: usize,
) {
    // SAFETY: the caller's promises. Tiles are named as clobbered; what they hold is used inside only.
    unsafe {
        macro_rules! multiply {
            ($zero:literal, $load:literal, $multiply:literal, $store:literal) => {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    $zero,
                    "2:",
                    "mov {at}, [{runs}]",
                    "add {at}, {levels}",
                    "mov {steps}, [{window}]",
                    "3:",
                    "tileloadd tmm4, [{at} + {pixel_step}*1]",
                    "tileloadd tmm6, [{weights} + {row}*1]",
                    "tileloadd tmm7, [{weights} + {row}*1 + 1024]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tdpbusd tmm1, tmm4, tmm7",
                    $load,
                    $multiply,
                    "add {at}, 64",
                    "add {weights}, 2048",
                    "dec {steps}",
                    "jnz 3b",
                    "add {runs}, 8",
                    "cmp {runs}, {end}",
                    "jne 2b",
                    "mov {steps}, [{window} + 32]",
                    "mov {at}, [{window} + 16]",
                    "tilestored [{at} + {steps}*1], tmm0",
                    "tilestored [{at} + {steps}*1 + 64], tmm1",
                    $store,
                    window = in(reg) window,
                    runs = inout(reg) runs.as_ptr() => _,
                    end = in(reg) runs.as_ptr_range().end,
                    levels = in(reg) levels,
                    weights = inout(reg) weights => _,
                    pixel_step = in(reg) window.pixel_step,
                    row = in(reg) STEP,
                    second = inout(reg) second => _,
                    at = out(reg) _,
                    steps = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                )
            };
        }
        if TWO {
            multiply!(
                "tilezero tmm2\ntilezero tmm3",
                "add {at}, {second}\ntileloadd tmm5, [{at} + {pixel_step}*1]\nsub {at}, {second}",
                "tdpbusd tmm2, tmm5, tmm6\ntdpbusd tmm3, tmm5, tmm7",
                "mov {at}, [{window} + 24]\ntilestored [{at} + {steps}*1], tmm2\n\
                 tilestored [{at} + {steps}*1 + 64], tmm3"
            );
        } else {
            multiply!("", "", "", "mov {second}, 0");
        }
    }
}

/// Computes all tiles of a convolution: `S` times 32 outputs of every pixel. For each one or two tiles of pixels, `sums`
/// says for the first pixels of both and a part of 32 outputs where the sums go, and `done` is told when they are there.
///
/// # Safety
/// - The CPU has AMX, and the process the permission.
/// - The tile's input has been checked for a micro-kernel of `S · 32` outputs; it has pixels, runs and levels.
/// - Where `sums` says, 32 sums are writable for each of the `rows` pixels from each first on, that many numbers apart as
///   it says. There are as many pixels.
#[inline(always)]
unsafe fn for_tiles<const S: usize>(
    conv: &ConvTile<'_>,
    rows: usize,
    mut sums: impl FnMut([usize; 2], usize) -> ([*mut i32; 2], usize),
    mut done: impl FnMut([usize; 2], usize),
) {
    let ConvTile { pixels, pixel_step, runs, .. } = *conv;
    let steps = conv.depth.div_ceil(STEP);
    let part_len = runs.len() * steps * STEP_WEIGHTS;
    let configuration = Configuration::new(rows);
    // SAFETY: the CPU, the permission and the sums are the caller's promise. `check` found every run of every pixel's
    // window in the input, and READ_SLACK behind, of which a last step takes 63, and `packed_len` bytes of
    // weights. Every tile's pixels are pixels of the convolution.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly));
        let levels = conv.input.as_ptr().add(conv.input_offset);
        for first in (0..pixels).step_by(2 * rows) {
            let first = first.min(pixels - rows);
            let second = (first + rows).min(pixels - rows);
            for part in 0..S {
                let (sums, stride) = sums([first, second], part);
                let window = Window { steps, pixel_step, sums, sums_step: stride * size_of::<i32>() };
                let operands = [levels.add(first * pixel_step), conv.weights.as_ptr().add(part * part_len)];
                if second > first {
                    tiles::<true>(&window, runs, operands, (second - first) * pixel_step);
                } else {
                    tiles::<false>(&window, runs, operands, 0);
                }
                done([first, second], part);
            }
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Pixels of a tile.
fn rows_of(pixels: usize) -> usize {
    match pixels {
        // Two tiles side by side, without overlap.
        17..=32 => pixels.div_ceil(2),
        _ => pixels.min(ROWS),
    }
}

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn run<const S: usize>(tile: &mut ConvTile<'_>) {
    if tile.pixels > 0 && tile.depth > 0 && !tile.runs.is_empty() {
        let (start, stride) = (tile.sums.as_mut_ptr(), tile.sums_stride);
        let sums = |pixels: [usize; 2], part: usize| {
            // In bounds for every pixel, as `check` found.
            let at = |pixel: usize| start.wrapping_add(pixel * stride + part * OUTPUTS);
            (pixels.map(at), stride)
        };
        // SAFETY: the CPU is the caller's promise, and `is_available` has got the permission; `check` found S · 32 sums
        // at each pixel.
        unsafe { for_tiles::<S>(tile, rows_of(tile.pixels), sums, |_, _| ()) }
    } else {
        for sums in tile.sums.chunks_mut(tile.sums_stride).take(tile.pixels) {
            sums[..S * OUTPUTS].fill(0);
        }
    }
    add_up_totals(tile);
}

/// Sums of two tiles of pixels by 32 outputs, on their way to levels.
#[repr(align(64))]
struct Sums([i32; 2 * ROWS * OUTPUTS]);

/// Requantizes the sums of each two tiles of pixels while they are in the L1 cache.
///
/// # Safety
/// - As `run` of [`ConvLevels`].
unsafe fn run_levels<const S: usize>(tile: &mut LevelsTile<'_>) {
    let LevelsTile { conv, end } = tile;
    let mut sums = Sums([0; 2 * ROWS * OUTPUTS]);
    let start = sums.0.as_mut_ptr();
    let rows = rows_of(conv.pixels);
    let mut levels_of = |pixel: usize, pixels: usize, part: usize, sums: &[i32]| {
        let first = part * OUTPUTS;
        let channels = end.outputs.saturating_sub(first).min(OUTPUTS);
        if channels == 0 {
            return;
        }
        end.requantizer.apply(&mut RequantizeTile {
            accumulators: &[sums],
            stride: OUTPUTS,
            pixels,
            first_channel: end.first_channel + first,
            channels,
            levels: &mut end.levels[pixel * end.level_stride + first..],
            level_stride: end.level_stride,
        });
    };
    if conv.depth == 0 || conv.runs.is_empty() {
        for (pixel, part) in (0..conv.pixels).flat_map(|pixel| (0..S).map(move |part| (pixel, part))) {
            levels_of(pixel, 1, part, &sums.0);
        }
    } else if conv.pixels > 0 {
        let halves = [start, start.wrapping_add(rows * OUTPUTS)];
        // SAFETY: the CPU is the caller's promise, and `is_available` has got the permission. There are 32 sums for
        // each of twice 16 pixels, and nothing else refers to them while tiles are computed.
        unsafe {
            for_tiles::<S>(
                conv,
                rows,
                |_, _| (halves, OUTPUTS),
                |[first, second], part| {
                    let sums = std::slice::from_raw_parts(start, 2 * rows * OUTPUTS);
                    if second == first + rows {
                        levels_of(first, 2 * rows, part, sums);
                    } else {
                        levels_of(first, rows, part, sums);
                        if second > first {
                            levels_of(second, rows, part, &sums[rows * OUTPUTS..]);
                        }
                    }
                },
            );
        }
    }
}
