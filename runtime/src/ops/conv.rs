//! Convolution: micro-kernel tiles, turned into levels while they are in the cache.
//!
//! ```text
//! for each output row y of the band:
//!     for each block of output channels:             # its weights stay in the L1 cache
//!         for each strip of STRIP pixels:
//!             for each term:  sums = micro-kernel(strip, block);  accumulators = transform(sums)
//!             levels[strip, block] = requantize(accumulators)
//!     write levels of the row into every form that is wanted, and the border beside it
//! ```
//!
//! Where the micro-kernel can ([`PlaneSteps`]), it does all of this in registers, and its rows of planes
//! are the first thing that is stored.

mod accumulators;
mod blocks;
mod buffers;
mod candidate;
mod columns;
mod depthwise;
mod direct;
mod draft;
mod finish;
mod lookup;
mod terms;
mod to_accumulators;
mod winograd;

use std::ops::Range;

use ylb_format::limits::MAX_TERMS;
use ylb_format::model::ValueKind;
use ylb_kernels::families::depthwise::DepthwiseTile;
use ylb_kernels::families::direct::{ConvTile, LevelsEnd, LevelsTile, PlanesTile, TileRows};
use ylb_kernels::requantize::{AccumulatorRange, PlaneSteps, RequantizeTile, Requantizer};
use ylb_kernels::rows::Rows;

use self::accumulators::ScaledSum;
use self::blocks::{Block, Place};
use self::buffers::{Buffers, BuffersLen, FEW_TERMS, listed};
use self::candidate::Chosen;
use self::columns::Columns;
use self::direct::Term;
pub use self::draft::ConvDraft;
use self::terms::Terms;
use super::{Context, Op, Setting, level_stride};
use crate::bands::Band;
use crate::requantize::{self, Requantization};
use crate::storage::Borrowed;

/// Output pixels whose sums are kept before they become levels: with 64 channels 8 KiB, a quarter of
/// a Cortex-A72's L1 data cache.
const STRIP: usize = 32;

/// Output pixels that a micro-kernel of large tiles computes at a time: with 256 channels 100 KiB, so that rows are still
/// in the L2 cache for the next block of channels.
const PIXELS_AT_ONCE: usize = 400;

/// A direct or depthwise convolution, ready to run.
pub struct ConvOp {
    terms: Terms,
    blocks: Vec<Block>,
    /// Sums of a pixel that a tile holds.
    nr: usize,
    stride: [usize; 2],
    padding: [isize; 2],
    width: usize,
    channels: usize,
    end: End,
    /// How the rows of the input are interleaved before.
    columns: Option<Columns>,
}

/// What becomes of sums.
enum End {
    /// The output's planes, in the micro-kernel.
    Planes(PlaneSteps),
    /// Levels; in the micro-kernel if `in_kernel`.
    Levels { requantizer: Requantizer, in_kernel: bool },
    /// Accumulators; of all channels of some pixels at a time if `by_pixels`. Of several terms a `sum`.
    Accumulators { by_pixels: bool, sum: Option<ScaledSum> },
}

impl End {
    fn new(chosen: &Chosen<'_>, setting: &Setting<'_>, terms: &mut Terms) -> Self {
        let &Setting { model, plan, output, engine } = setting;
        let conv = chosen.conv;
        let ranges = conv.terms.iter().zip(chosen.codes);
        let ranges: Vec<AccumulatorRange> =
            ranges.flat_map(|(term, codes)| requantize::conv_ranges(model, term, codes)).collect();
        let one_group = conv.groups == 1;
        let (Some(map), ValueKind::Levels(encoding)) = (&conv.requantize, &model.value(output).kind) else {
            let narrow = plan.storage[output.index()].accumulators.as_ref().is_some_and(|store| store.narrow);
            let sum = conv.requantize.as_ref().map(ScaledSum::new);
            return Self::Accumulators { by_pixels: one_group && terms.gains_by_pixels(narrow), sum };
        };
        let spec = requantize::spec(map, encoding.max_level);
        if let Some(steps) = terms.plane_steps(&spec, &ranges, setting).filter(|_| one_group) {
            return Self::Planes(steps);
        }
        let requantizer = terms.requantizer(&spec, &ranges, engine);
        let in_kernel = one_group && terms.makes_levels(&requantizer);
        Self::Levels { requantizer, in_kernel }
    }
}

impl Op for ConvOp {
    fn name(&self) -> &'static str {
        self.terms.kernel_name()
    }

    fn scratch(&self) -> usize {
        self.buffers().bytes()
    }

    fn packed_len(&self) -> usize {
        self.terms.packed_len()
    }

    fn requantization(&self) -> Option<Requantization> {
        match &self.end {
            End::Planes(_) => Some(Requantization::PLANES),
            End::Levels { requantizer, .. } => Some(Requantization::of(requantizer)),
            End::Accumulators { .. } => None,
        }
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let Context { memory, rows, scratch } = context;
        let mut buffers = Buffers::new(&self.buffers(), scratch);
        let frame = Frame { memory, rows };
        let many = self.rows_at_once(band);
        for y in band.rows.clone().step_by(many) {
            if let Some(columns) = &self.columns {
                let store = &self.terms.single().1.store;
                let first = [(y * self.stride[0]) as isize - self.padding[0], -self.padding[1]];
                columns.interleave(memory, store, first, buffers.columns);
            }
            match &self.end {
                End::Planes(steps) => self.planes_row(band, frame, &mut buffers, steps, y),
                End::Levels { requantizer, in_kernel: true } => {
                    let written = y..band.rows.end.min(y + many);
                    self.levels_rows_in_kernel(band, frame, &mut buffers, requantizer, written);
                }
                End::Levels { requantizer, in_kernel: false } => {
                    self.levels_row(band, frame, &mut buffers, requantizer, y);
                }
                End::Accumulators { by_pixels, sum } => {
                    self.accumulators(band, memory, &mut buffers, (*by_pixels, sum.as_ref()), y);
                }
            }
        }
    }
}

/// What is read in a frame.
#[derive(Clone, Copy)]
struct Frame<'a, 'b> {
    memory: &'a Borrowed<'b>,
    rows: &'a Rows,
}

impl ConvOp {
    /// Of packed terms and blocks of `nr` outputs.
    fn new(
        chosen: &Chosen<'_>,
        setting: &Setting<'_>,
        (mut terms, blocks, nr): (Terms, Vec<Block>, usize),
        columns: Option<Columns>,
    ) -> Self {
        let &Setting { model, output, .. } = setting;
        let conv = chosen.conv;
        let value = model.value(output);
        let end = End::new(chosen, setting, &mut terms);
        Self {
            terms,
            blocks,
            nr,
            stride: conv.window.stride.map(|step| step as usize),
            padding: [conv.window.padding[0] as isize, conv.window.padding[1] as isize],
            width: value.width as usize,
            channels: value.channels as usize,
            end,
            columns,
        }
    }

    /// Elements of the buffers that it needs.
    fn buffers(&self) -> BuffersLen {
        let by_pixels = matches!(self.end, End::Accumulators { by_pixels: true, .. });
        BuffersLen {
            sums: STRIP * self.nr * if by_pixels { self.blocks.len() } else { self.terms.count() },
            totals: self.terms.count() * self.width,
            levels: self.width * level_stride(self.channels as u32),
            columns: self.columns.map_or(0, |columns| columns.len()),
        }
    }

    /// Rows that one call of the micro-kernel is to compute: many pixels where it has large tiles and writes to the store
    /// itself.
    fn rows_at_once(&self, band: &Band<'_>) -> usize {
        let in_kernel = matches!(self.end, End::Levels { in_kernel: true, .. });
        let large_tiles = in_kernel && self.terms.single().0.kernel().capabilities.many_rows;
        if large_tiles && self.columns.is_none() && band.is_bytes() {
            (PIXELS_AT_ONCE / self.width).max(1)
        } else {
            1
        }
    }

    /// A row without detours: sums become planes in the micro-kernel.
    fn planes_row(
        &self,
        band: &mut Band<'_>,
        Frame { memory, rows }: Frame<'_, '_>,
        Buffers { totals, columns, .. }: &mut Buffers<'_>,
        steps: &PlaneSteps,
        y: usize,
    ) {
        let (kernel, term) = self.terms.single();
        let out = band.planes_row(y);
        for (number, block) in self.blocks.iter().enumerate() {
            kernel.run_planes(&mut PlanesTile {
                conv: ConvTile {
                    sums: &mut [],
                    totals: &mut totals[..self.width],
                    ..self.tile(term, (memory, columns), self.row(number, y))
                },
                compute_totals: number == 0,
                steps,
                first_channel: block.first,
                outputs: block.outputs,
                planes: &mut out.bytes[block.first / 8 * usize::from(steps.bits())..],
                planes_stride: out.pixel_stride,
            });
        }
        band.finish_planes_row(rows, y, self.channels);
    }

    /// Likewise, sums become levels.
    fn levels_rows_in_kernel(
        &self,
        band: &mut Band<'_>,
        Frame { memory, rows }: Frame<'_, '_>,
        Buffers { levels, columns, .. }: &mut Buffers<'_>,
        requantizer: &Requantizer,
        written: Range<usize>,
    ) {
        let y = written.start;
        let (kernel, term) = self.terms.single();
        let row = [self.width, level_stride(self.channels as u32)];
        let out = band.levels_rows(y, levels, row);
        for (number, block) in self.blocks.iter().enumerate() {
            kernel.run_levels(&mut LevelsTile {
                conv: self.tile(term, (memory, columns), self.row(number, y)),
                end: LevelsEnd {
                    requantizer,
                    first_channel: block.first,
                    outputs: block.outputs,
                    levels: &mut out.bytes[block.first..],
                    level_stride: out.pixel_stride,
                },
                rows: TileRows {
                    count: written.len(),
                    input_step: self.stride[0] * term.store.layout.row_stride(),
                    level_step: out.row_stride,
                },
            });
        }
        band.finish_levels_rows(rows, written, levels, (row, self.channels));
    }

    /// Sums become accumulators, term by term, and these levels.
    fn levels_row(
        &self,
        band: &mut Band<'_>,
        Frame { memory, rows }: Frame<'_, '_>,
        Buffers { sums, totals, levels, columns }: &mut Buffers<'_>,
        requantizer: &Requantizer,
        y: usize,
    ) {
        let row = [self.width, level_stride(self.channels as u32)];
        let out = band.levels_rows(y, levels, row);
        for (number, block) in self.blocks.iter().enumerate() {
            for x in (0..self.width).step_by(STRIP) {
                let pixels = STRIP.min(self.width - x);
                let memory = (memory, &columns[..]);
                let place = Place { block: number, y, x, pixels };
                self.accumulate(memory, (&mut *sums, self.nr), totals, place);
                let sums = sums.chunks(STRIP * self.nr);
                let (few, many);
                let accumulators: &[&[i32]] = if self.terms.count() <= FEW_TERMS {
                    few = listed::<FEW_TERMS>(sums);
                    &few
                } else {
                    many = listed::<MAX_TERMS>(sums);
                    &many
                };
                requantizer.apply(&mut RequantizeTile {
                    accumulators: &accumulators[..self.terms.count()],
                    stride: self.nr,
                    pixels,
                    first_channel: block.first,
                    channels: block.outputs,
                    levels: &mut out.bytes[x * out.pixel_stride + block.first..],
                    level_stride: out.pixel_stride,
                });
            }
        }
        band.finish_levels_rows(rows, y..y + 1, levels, (row, self.channels));
    }

    /// A block of a whole row.
    fn row(&self, block: usize, y: usize) -> Place {
        Place { block, y, x: 0, pixels: self.width }
    }

    /// Row and column of the input where the first window of a place begins.
    #[inline]
    fn window(&self, place: Place) -> [isize; 2] {
        [(place.y, 0), (place.x, 1)].map(|(at, axis)| (at * self.stride[axis]) as isize - self.padding[axis])
    }

    /// What the micro-kernel computes at a place: from the input itself, or from its interleaved rows. Without results.
    #[inline]
    fn tile<'a>(
        &'a self,
        term: &'a Term,
        (memory, interleaved): (&Borrowed<'a>, &'a [u8]),
        place: Place,
    ) -> ConvTile<'a> {
        let mut tile = term.tile(memory, place, self.window(place), self.stride[1]);
        if let Some(columns) = &self.columns {
            tile.input = interleaved;
            tile.input_offset = place.x * columns.group_len();
            tile.pixel_step = columns.group_len();
        }
        tile
    }

    /// Accumulators at a place, every term: `[term][STRIP][nr]`, or of a single term with
    /// another stride than `nr` between pixels. `totals` (`[term][width]`) carry those of a row from a
    /// group's first block to its others.
    fn accumulate(
        &self,
        memory: (&Borrowed<'_>, &[u8]),
        (sums, stride): (&mut [i32], usize),
        totals: &mut [i32],
        place: Place,
    ) {
        let block = &self.blocks[place.block];
        let term_len = if self.terms.count() == 1 { sums.len() } else { STRIP * self.nr };
        let sums = sums.chunks_exact_mut(term_len);
        match &self.terms {
            Terms::Direct(kernel, terms) => {
                let columns = place.x..place.x + place.pixels;
                let totals = totals.chunks_exact_mut(self.width).map(|totals| &mut totals[columns.clone()]);
                for ((term, sums), totals) in terms.iter().zip(sums).zip(totals) {
                    // A window's total is the same for all blocks of a group: the first computes it.
                    let first = place.block == 0 || self.blocks[place.block - 1].group != block.group;
                    let wants_totals = first && term.to_accumulators.takes_totals();
                    let tile = self.tile(term, memory, place);
                    kernel.run(&mut ConvTile {
                        input_offset: tile.input_offset + block.group * term.group_len,
                        sums,
                        sums_stride: stride,
                        totals: if wants_totals { &mut *totals } else { &mut [] },
                        ..tile
                    });
                    term.to_accumulators.apply(place, block, (sums, stride), totals);
                }
            }
            Terms::Depthwise(kernel, terms) => {
                for (term, sums) in terms.iter().zip(sums) {
                    let tile = term.tile(memory.0, (place, block), self.window(place), self.stride[1]);
                    kernel.run(&mut DepthwiseTile { sums, sums_stride: stride, ..tile });
                    term.to_accumulators.apply(place, block, (sums, stride), &[]);
                }
            }
        }
    }
}
