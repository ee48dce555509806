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
//!    loading a configuration takes as long as five steps of the loop. Only where there are fewer pixels, tiles have
//!    fewer rows, which take as long: a step is bound by loading tiles (75 cycles with 16 pixels, 69 with 10). So
//!    short rows of pixels are [joined](tiles::Grid) to one.
//! 4. The configuration is loaded and given back in each call: nothing outside can depend on it or spoil it.
//!
//! On an Intel Xeon (Sapphire Rapids) a TDPBUSD takes 16 cycles, 1024 multiply-accumulates a cycle, eight times what
//! VPDPBUSD does there.

mod available;
mod levels;
mod planes;
mod tiles;

pub(crate) use self::available::is_available;

use self::levels::run_levels;
use self::planes::run_planes;
use self::tiles::{Grid, for_tiles};
use crate::arch::generic::mulconv::add_up_totals;
use crate::families::direct::{
    Capabilities, ConvKernel, ConvLevels, ConvPlanes, ConvTile, LevelsTile, Operands, PlanesTile, TileRows,
    WeightBlock,
};
use crate::ukernel::Engine;

/// For layers of up to 32 outputs.
pub(crate) static MULCONV_I32_U8_S8_32X32_AMX: ConvKernel =
    kernel::<1>("mulconv_i32_u8_s8_32x32_amx", run::<1>, run_planes::<1>, run_levels::<1>);
/// For layers of up to 64 outputs.
pub(crate) static MULCONV_I32_U8_S8_32X64_AMX: ConvKernel =
    kernel::<2>("mulconv_i32_u8_s8_32x64_amx", run::<2>, run_planes::<2>, run_levels::<2>);
/// For layers of more outputs.
pub(crate) static MULCONV_I32_U8_S8_32X128_AMX: ConvKernel =
    kernel::<PARTS>("mulconv_i32_u8_s8_32x128_amx", run::<PARTS>, run_planes::<PARTS>, run_levels::<PARTS>);

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
/// Most such parts of a block.
const PARTS: usize = 4;
/// Bytes of the weights of a step, two tiles.
const STEP_WEIGHTS: usize = STEP * OUTPUTS;

const fn kernel<const S: usize>(
    name: &'static str,
    run: unsafe fn(&mut ConvTile<'_>),
    run_planes: unsafe fn(&mut PlanesTile<'_>),
    run_levels: unsafe fn(&mut LevelsTile<'_>),
) -> ConvKernel {
    ConvKernel {
        name,
        engine: Engine::Amx,
        bit_serial: false,
        capabilities: Capabilities { many_rows: true, dense_sums: true, short_run: STEP },
        nr: S * OUTPUTS,
        mr: 2 * ROWS,
        supports: |_| true,
        rate: |operands| rate(operands, S),
        packed_len: |runs, depth, _| S * runs * depth.div_ceil(STEP) * STEP_WEIGHTS,
        pack: pack::<S>,
        run,
        planes: Some(ConvPlanes::wide(run_planes)),
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

/// # Safety
/// - As [`ConvKernel::run`].
unsafe fn run<const S: usize>(tile: &mut ConvTile<'_>) {
    if tile.pixels > 0 && tile.depth > 0 && !tile.runs.is_empty() {
        let (start, stride) = (tile.sums.as_mut_ptr(), tile.sums_stride);
        let grid = Grid::new(tile, TileRows::ONE);
        let sums = |number: usize| {
            // In bounds for every pixel, as `check` found.
            let at = |tile: usize| start.wrapping_add(grid.first(tile)[1] * stride + number % S * OUTPUTS);
            (grid.pair(S, number).map(at), stride)
        };
        // SAFETY: the CPU is the caller's promise, and `is_available` has got the permission; `check` found S · 32 sums
        // at each pixel.
        unsafe { for_tiles(tile, &grid, S, sums, |_| ()) }
    } else {
        for sums in tile.sums.chunks_mut(tile.sums_stride).take(tile.pixels) {
            sums[..S * OUTPUTS].fill(0);
        }
    }
    add_up_totals(tile);
}
