//! The loop over tiles: where they lie, and what is multiplied.

use std::arch::asm;

use super::{OUTPUTS, ROWS, STEP, STEP_WEIGHTS};
use crate::families::direct::{ConvTile, TileRows};

/// How the pixels of a call are divided into tiles of equally many, rows of them each by itself or, where less is wasted,
/// all as one row. Then, what lies between one row's last window and the next row's first is computed like an output,
/// and not used.
pub(super) struct Grid {
    rows: usize,
    /// Pixels of a row.
    pixels: usize,
    /// Bytes from the windows of a row to those of the next.
    row_step: usize,
    /// Pixels of a tile.
    pub(super) tile: usize,
    tiles_of_row: usize,
    /// Of a joined row: pixels from a row of outputs to the next, and how many of them are outputs.
    joined: Option<[usize; 2]>,
}

impl Grid {
    /// Divides the pixels of a tile, of which there is at least one.
    pub(super) fn new(conv: &ConvTile<'_>, rows: TileRows) -> Self {
        let apart = Self::of_rows(rows.count, conv.pixels, rows.input_step);
        let Some(0) = rows.input_step.checked_rem(conv.pixel_step) else {
            return apart;
        };
        let period = rows.input_step / conv.pixel_step;
        let joined = Self::of_rows(1, (rows.count - 1) * period + conv.pixels, 0);
        if period >= conv.pixels && joined.tiles() < apart.tiles() {
            Self { joined: Some([period, conv.pixels]), ..joined }
        } else {
            apart
        }
    }

    fn of_rows(rows: usize, pixels: usize, row_step: usize) -> Self {
        let tile = match pixels {
            // Two tiles side by side, without overlap.
            17..=32 => pixels.div_ceil(2),
            _ => pixels.min(ROWS),
        };
        Self { rows, pixels, row_step, tile, tiles_of_row: pixels.div_ceil(tile), joined: None }
    }

    /// Number of tiles.
    pub(super) fn tiles(&self) -> usize {
        self.rows * self.tiles_of_row
    }

    /// The tiles that are computed together as `number` of [`for_tiles`]: neighbours, or twice the last.
    pub(super) fn pair(&self, parts: usize, number: usize) -> [usize; 2] {
        let tile = number / parts * 2;
        [tile, (tile + 1).min(self.tiles() - 1)]
    }

    /// Row and pixel at which a tile begins.
    pub(super) fn first(&self, tile: usize) -> [usize; 2] {
        let pixel = (tile % self.tiles_of_row * self.tile).min(self.pixels - self.tile);
        [tile / self.tiles_of_row, pixel]
    }

    /// Calls `span(pixel, [row, column], count)` for stretches of a tile's pixels that are outputs: `count` from `pixel` on
    /// are those from (row, column) on.
    #[inline(always)]
    pub(super) fn for_spans(&self, tile: usize, mut span: impl FnMut(usize, [usize; 2], usize)) {
        let [row, first] = self.first(tile);
        let Some([period, pixels]) = self.joined else {
            return span(0, [row, first], self.tile);
        };
        let mut pixel = 0;
        while pixel < self.tile {
            let (row, column) = ((first + pixel) / period, (first + pixel) % period);
            let count = (period - column).min(self.tile - pixel);
            if column < pixels {
                span(pixel, [row, column], count.min(pixels - column));
            }
            pixel += count;
        }
    }

    /// Bytes from the first window of a call to the first of a tile.
    fn offset(&self, tile: usize, pixel_step: usize) -> usize {
        let [row, pixel] = self.first(tile);
        row * self.row_step + pixel * pixel_step
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
unsafe fn tiles_of<const TWO: bool>(
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

/// Sums of 32 outputs of two tiles of pixels, `[pixel][output]`, on their way to levels: those that are being computed, and
/// those before.
#[repr(align(64))]
pub(super) struct Sums([[i32; 2 * ROWS * OUTPUTS]; 2]);

impl Sums {
    /// Room for sums, 0.
    pub(super) fn new() -> Self {
        Self([[0; 2 * ROWS * OUTPUTS]; 2])
    }
}

/// Computes all tiles of a convolution: `parts` times 32 outputs of every pixel. One or two tiles of pixels and a part of 32
/// outputs are a *number*, of which `sums` says where the sums of both go, and how many numbers they are apart.
/// `done` is called for each when the next is being computed, which takes other units of the CPU.
///
/// # Safety
/// - The CPU has AMX, and the process the permission.
/// - The tile's input has been checked for a micro-kernel of `parts · 32` outputs and the rows of the grid, which was made for
///   it; it has pixels, runs and levels.
/// - Where `sums` says, 32 sums are writable for each of the pixels of a tile, that many numbers apart.
#[inline(always)]
pub(super) unsafe fn for_tiles(
    conv: &ConvTile<'_>,
    grid: &Grid,
    parts: usize,
    sums: impl Fn(usize) -> ([*mut i32; 2], usize),
    mut done: impl FnMut(usize),
) {
    let ConvTile { pixel_step, runs, .. } = *conv;
    let steps = conv.depth.div_ceil(STEP);
    let part_len = runs.len() * steps * STEP_WEIGHTS;
    let configuration = Configuration::new(grid.tile);
    let count = grid.tiles().div_ceil(2) * parts;
    // SAFETY: the CPU, the permission and the sums are the caller's promise. `check_rows` found every run of every
    // pixel's window in the input, and READ_SLACK behind, of which a last step takes 63, and `packed_len` bytes of
    // weights. Every tile's pixels are pixels of the convolution, or, in joined rows, lie between two of them.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly));
        let levels = conv.input.as_ptr().add(conv.input_offset);
        // One step more than there are numbers, so that `done` is called in one place and becomes part of the loop.
        for number in 0..=count {
            if number < count {
                let tiles = grid.pair(parts, number);
                let [first, second] = tiles.map(|tile| grid.offset(tile, pixel_step));
                let (sums, stride) = sums(number);
                let window = Window { steps, pixel_step, sums, sums_step: stride * size_of::<i32>() };
                let operands = [levels.add(first), conv.weights.as_ptr().add(number % parts * part_len)];
                if tiles[1] > tiles[0] {
                    tiles_of::<true>(&window, runs, operands, second - first);
                } else {
                    tiles_of::<false>(&window, runs, operands, 0);
                }
            }
            if number > 0 {
                done(number - 1);
            }
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// The same with sums that are done with as soon as `done(tile, part, sums)` was called, for each tile and part.
///
/// # Safety
/// - As [`for_tiles`].
#[inline(always)]
pub(super) unsafe fn for_sums(
    conv: &ConvTile<'_>,
    grid: &Grid,
    parts: usize,
    mut done: impl FnMut(usize, usize, &[[i32; OUTPUTS]]),
) {
    let mut sums = Sums::new();
    let start = sums.0.as_mut_ptr().cast::<i32>();
    let at = |number: usize| start.wrapping_add(number % 2 * (2 * ROWS * OUTPUTS));
    // SAFETY: the caller's promises; there are 32 sums for each of twice 16 pixels. When a number is done, the sums of the
    // next are computed in the other half, and nothing else refers to these.
    unsafe {
        for_tiles(
            conv,
            grid,
            parts,
            |number| ([at(number), at(number).wrapping_add(grid.tile * OUTPUTS)], OUTPUTS),
            |number| {
                let (sums, _) = std::slice::from_raw_parts(at(number), 2 * ROWS * OUTPUTS).as_chunks();
                let [first, second] = grid.pair(parts, number);
                for (tile, sums) in (first..=second).zip(sums.chunks(grid.tile)) {
                    done(tile, number % parts, sums);
                }
            },
        );
    }
}
