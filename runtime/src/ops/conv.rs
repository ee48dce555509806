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
mod buffers;
pub mod columns;
mod draft;
mod prepared;

use std::ops::Range;

use ylb_format::limits::MAX_TERMS;
use ylb_format::model::{Conv as ModelConv, Model, ValueId, ValueKind};
use ylb_kernels::depthwise::DepthwiseTile;
use ylb_kernels::requantize::{AccumulatorRange, PlaneSteps, RequantizeTile, Requantizer};
use ylb_kernels::rows::Rows;
use ylb_kernels::ukernel::{ConvTile, Engine, LevelsEnd, LevelsTile, PlanesTile, TileRows};

use self::buffers::{Buffers, BuffersLen, FEW_TERMS, listed};
use self::columns::Columns;
pub use self::draft::ConvDraft;
use self::prepared::{DepthwiseTerm, Prepared};
use super::prepack::{Block, Term, blocks};
use super::{Context, Op, level_stride};
use crate::bands::Band;
use crate::choice::{Compute, ConvChoice};
use crate::plan::Plan;
use crate::requantize;
use crate::storage::Borrowed;

/// Output pixels whose sums are kept before they become levels: with 64 channels 8 KiB, a quarter of
/// a Cortex-A72's L1 data cache.
const STRIP: usize = 32;

/// Output pixels that a micro-kernel of large tiles computes at a time: with 256 channels 100 KiB, so that rows are still
/// in the L2 cache for the next block of channels.
const PIXELS_AT_ONCE: usize = 400;

/// A convolution, ready to run.
pub struct ConvOp {
    compute: Prepared,
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
    /// Accumulators; of all channels of some pixels at a time if `by_pixels`.
    Accumulators { by_pixels: bool },
}

impl Op for ConvOp {
    fn name(&self) -> &'static str {
        self.compute.kernel_name()
    }

    fn scratch(&self) -> usize {
        self.buffers().bytes()
    }

    fn packed_len(&self) -> usize {
        self.compute.packed_len()
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let Context { memory, rows, scratch } = context;
        let mut buffers = Buffers::new(&self.buffers(), scratch);
        let frame = Frame { memory, rows };
        let many = self.rows_at_once(band);
        for y in band.rows.clone().step_by(many) {
            if let Some(columns) = &self.columns {
                let store = &self.compute.single_term().1.store;
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
                End::Accumulators { by_pixels } => {
                    self.accumulators(band, memory, &mut buffers, *by_pixels, y);
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
    /// Packs the weights for the plan.
    pub fn new(model: &Model, conv: &ModelConv, choice: &ConvChoice, output: ValueId, plan: &Plan) -> Self {
        let value = model.value(output);
        let channels = value.channels as usize;
        let stores = conv.terms.iter().zip(&choice.forms).map(|(term, &form)| {
            plan.storage[term.input.index()].store(form).expect("the plan stores what choices read")
        });
        let terms = conv.terms.iter().zip(&choice.codes).zip(stores);
        let (compute, nr) = match choice.compute {
            Compute::Dense(kernel) => {
                let pack = |((term, codes), store)| {
                    Term::new(model, conv, term, (codes, choice.columns), store, kernel)
                };
                (Prepared::Dense(kernel, terms.map(pack).collect()), kernel.kernel().nr)
            }
            Compute::Depthwise(kernel) => {
                let pack = |((term, codes), store)| DepthwiseTerm::new(model, conv, term, codes, store);
                (Prepared::Depthwise(kernel, terms.map(pack).collect()), channels)
            }
            Compute::Winograd(_) | Compute::Lookup(..) => unreachable!("another operator"),
        };
        let blocks = match compute {
            Prepared::Dense(..) => blocks(channels, conv.groups as usize, nr),
            Prepared::Depthwise(..) => vec![Block { first: 0, outputs: channels, group: 0 }],
        };
        let ranges = conv.terms.iter().zip(&choice.codes);
        let ranges: Vec<AccumulatorRange> =
            ranges.flat_map(|(term, codes)| requantize::conv_ranges(model, term, codes)).collect();
        let one_group = conv.groups == 1;
        let end = match (&conv.requantize, &value.kind) {
            (Some(requantize), ValueKind::Levels(encoding)) => {
                let max_level = encoding.max_level;
                let spec = requantize::spec(requantize, max_level);
                let steps = compute.plane_steps(&spec, &ranges, plan, output).filter(|_| one_group);
                if let Some(steps) = steps {
                    End::Planes(steps)
                } else {
                    let requantizer = requantize::prepare(requantize, max_level, &ranges, choice.engine);
                    let in_kernel = one_group && compute.makes_levels(&requantizer);
                    End::Levels { requantizer, in_kernel }
                }
            }
            _ => {
                let narrow =
                    plan.storage[output.index()].accumulators.as_ref().is_some_and(|store| store.narrow);
                End::Accumulators { by_pixels: one_group && compute.gains_by_pixels(narrow) }
            }
        };
        Self {
            compute,
            blocks,
            nr,
            stride: conv.window.stride.map(|step| step as usize),
            padding: [conv.window.padding[0] as isize, conv.window.padding[1] as isize],
            width: value.width as usize,
            channels,
            end,
            columns: choice.columns,
        }
    }

    /// Elements of the buffers that it needs.
    fn buffers(&self) -> BuffersLen {
        let by_pixels = matches!(self.end, End::Accumulators { by_pixels: true });
        BuffersLen {
            sums: STRIP * self.nr * if by_pixels { self.blocks.len() } else { self.compute.terms() },
            totals: self.compute.terms() * self.width,
            levels: self.width * level_stride(self.channels as u32),
            columns: self.columns.map_or(0, |columns| columns.len()),
        }
    }

    /// Rows that one call of the micro-kernel is to compute: many pixels where it has large tiles and writes to the store
    /// itself.
    fn rows_at_once(&self, band: &Band<'_>) -> usize {
        let in_kernel = matches!(self.end, End::Levels { in_kernel: true, .. });
        let large_tiles = in_kernel && self.compute.single_term().0.kernel().engine == Engine::Amx;
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
        let (kernel, term) = self.compute.single_term();
        let out = band.planes_row(y);
        for (number, block) in self.blocks.iter().enumerate() {
            kernel.run_planes(&mut PlanesTile {
                conv: ConvTile {
                    sums: &mut [],
                    totals: &mut totals[..self.width],
                    ..self.tile(term, (memory, columns), number, [y, 0], self.width)
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
        let (kernel, term) = self.compute.single_term();
        let row = [self.width, level_stride(self.channels as u32)];
        let out = band.levels_rows(y, levels, row);
        for (number, block) in self.blocks.iter().enumerate() {
            kernel.run_levels(&mut LevelsTile {
                conv: self.tile(term, (memory, columns), number, [y, 0], self.width),
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
                self.accumulate(memory, (&mut *sums, self.nr), totals, (number, block), [y, x], pixels);
                let sums = sums.chunks(STRIP * self.nr);
                let (few, many);
                let accumulators: &[&[i32]] = if self.compute.terms() <= FEW_TERMS {
                    few = listed::<FEW_TERMS>(sums);
                    &few
                } else {
                    many = listed::<MAX_TERMS>(sums);
                    &many
                };
                requantizer.apply(&mut RequantizeTile {
                    accumulators: &accumulators[..self.compute.terms()],
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

    /// What the micro-kernel computes for a block and `pixels` outputs from (y, x) on: from the input itself, or from its
    /// interleaved rows. Without results.
    #[inline]
    fn tile<'a>(
        &'a self,
        term: &'a Term,
        (memory, interleaved): (&Borrowed<'a>, &'a [u8]),
        number: usize,
        [y, x]: [usize; 2],
        pixels: usize,
    ) -> ConvTile<'a> {
        let [row, column] =
            [(y, 0), (x, 1)].map(|(at, axis)| (at * self.stride[axis]) as isize - self.padding[axis]);
        let mut tile = term.tile(memory, number, [row, column], self.stride[1], pixels);
        if let Some(columns) = &self.columns {
            tile.input = interleaved;
            tile.input_offset = x * columns.group_len();
            tile.pixel_step = columns.group_len();
        }
        tile
    }

    /// Accumulators of one strip and block, every term: `[term][STRIP][nr]`, or of a single term with
    /// another stride than `nr` between pixels. `totals` (`[term][width]`) carry those of a row from a
    /// group's first block to its others.
    fn accumulate(
        &self,
        memory: (&Borrowed<'_>, &[u8]),
        (sums, stride): (&mut [i32], usize),
        totals: &mut [i32],
        (number, block): (usize, &Block),
        [y, x]: [usize; 2],
        pixels: usize,
    ) {
        let row = (y * self.stride[0]) as isize - self.padding[0];
        let column = (x * self.stride[1]) as isize - self.padding[1];
        let term_len = if self.compute.terms() == 1 { sums.len() } else { STRIP * self.nr };
        match &self.compute {
            Prepared::Dense(kernel, terms) => {
                let totals = totals.chunks_exact_mut(self.width).map(|totals| &mut totals[x..x + pixels]);
                let sums = sums.chunks_exact_mut(term_len);
                for ((term, sums), totals) in terms.iter().zip(sums).zip(totals) {
                    // A window's total is the same for all blocks of a group: the first computes it.
                    let first = number == 0 || self.blocks[number - 1].group != block.group;
                    let wants_totals = first && !term.transform.total_scales.is_empty();
                    let tile = self.tile(term, memory, number, [y, x], pixels);
                    kernel.run(&mut ConvTile {
                        input_offset: tile.input_offset + block.group * term.group_len,
                        sums,
                        sums_stride: stride,
                        totals: if wants_totals { &mut *totals } else { &mut [] },
                        ..tile
                    });
                    if !term.sums_are_accumulators {
                        term.transform.apply(sums, totals, pixels, stride, block.first, block.outputs);
                    }
                    if let Some(correction) = &term.correction {
                        correction.apply(
                            [y, x],
                            sums,
                            pixels,
                            stride,
                            block.first..block.first + block.outputs,
                        );
                    }
                }
            }
            Prepared::Depthwise(kernel, terms) => {
                for (term, sums) in terms.iter().zip(sums.chunks_exact_mut(term_len)) {
                    let sums = &mut sums[..pixels * self.nr];
                    kernel.run(&mut DepthwiseTile {
                        input: memory.0.read(&term.store.range),
                        input_offset: term.store.offset(row, column),
                        pixel_step: self.stride[1] * term.store.layout.pixel_stride,
                        taps: &term.taps,
                        channels: self.channels,
                        weights: &term.weights,
                        pixels,
                        sums,
                    });
                    term.transform.apply(sums, &[], pixels, self.nr, 0, self.channels);
                    if let Some(correction) = &term.correction {
                        correction.apply([y, x], sums, pixels, self.nr, 0..self.channels);
                    }
                }
            }
        }
    }
}
