//! Convolution by table look-up: the tables of the rows under a row of outputs, then the outputs.
//!
//! ```text
//! for each output row y of the band:
//!     make the tables of those rows of its windows that row y − 1 had not       # a ring of rows
//!     for each block of output channels, each strip of STRIP pixels:
//!         sums = micro-kernel(strip, block);  accumulators = transform(sums)
//!         levels[strip, block] = requantize(accumulators)
//!     write the row of levels
//! ```

use ylb_format::ChannelSum;
use ylb_format::model::ConvTerm;
use ylb_kernels::families::direct::LevelsEnd;
use ylb_kernels::families::lookup::{self, Lookup, LookupTile, OUTPUTS, QUAD, TABLE};
use ylb_kernels::layout::Form;

use super::blocks::{Block, Place, blocks, gather};
use super::candidate::{Candidate, Chosen, Coding, Family, Problem};
use super::finish::Finish;
use crate::bands::{Band, LevelsRows};
use crate::ops::{Context, Op, Prepared, Setting, level_stride};
use crate::requantize::Requantization;
use crate::scratch::{Cutter, bytes_for};
use crate::storage::{AlignedBytes, Borrowed, Store};
use crate::weight_codes::WeightCodes;

/// Output pixels whose sums are kept before they become levels: 4 KiB.
const STRIP: usize = 32;

/// A micro-kernel, and the planes of the weights that it is for.
struct Looked {
    kernel: Lookup,
    planes: usize,
}

/// The best micro-kernel, where weights have few planes and sums fit 16 bits.
pub fn candidate(problem: &Problem<'_>) -> Option<Candidate> {
    let (term, operands, codes) = problem.plain()?;
    let planes = planes(term, codes, operands.max_level)?;
    let [_, channels, rows, columns] = term.weights.shape.map(|extent| extent as usize);
    let [row_step, column_step] = problem.conv.window.stride.map(|step| step as usize);
    let fresh = channels * row_step.min(rows) * column_step;
    let best = lookup::candidate(problem.dispatch, operands, [channels * rows * columns, fresh], planes)?;
    let (preference, forms) = (best.preference, vec![Form::Bytes]);
    let family = Box::new(Looked { kernel: best.kernel, planes });
    Some(Candidate { preference, forms, coding: Coding::Bytes, family })
}

/// Planes of weights that can be looked up: tables are of four channels, and sums of 16 bits.
fn planes(term: &ConvTerm, codes: &WeightCodes, max_level: u8) -> Option<usize> {
    let (min, max) = codes.extremes();
    let planes = lookup::planes(min, max)?;
    let fits =
        |sum: &ChannelSum| sum.positive().max(-sum.negative()) * i64::from(max_level) <= i64::from(i16::MAX);
    (codes.sums.iter().all(fits) && (term.weights.shape[1] as usize).is_multiple_of(QUAD)).then_some(planes)
}

impl Family for Looked {
    fn prepare(&self, chosen: &Chosen<'_>, setting: &Setting<'_>) -> Prepared {
        Prepared::one(LookupOp::new(self, chosen, setting), setting)
    }
}

/// A convolution by table look-up, ready to run.
pub struct LookupOp {
    kernel: Lookup,
    input: Store,
    /// Planes of weights.
    planes: usize,
    /// Kernel rows.
    rows: usize,
    /// Tables of a kernel row.
    quads: usize,
    /// For each row of the ring that the first kernel row may be in: the runs of a window.
    runs: Vec<Vec<usize>>,
    blocks: Vec<Block>,
    /// Packed blocks, one after another.
    weights: AlignedBytes,
    block_len: usize,
    stride: [usize; 2],
    padding: [isize; 2],
    width: usize,
    channels: usize,
    finish: Finish,
}

impl LookupOp {
    /// Packs the weights for the plan.
    fn new(&Looked { kernel, planes }: &Looked, chosen: &Chosen<'_>, setting: &Setting<'_>) -> Self {
        let conv = chosen.conv;
        let (term, codes, input) = chosen.terms(setting).next().expect("a plain convolution has a term");
        let value = setting.model.value(setting.output);
        let channels = value.channels as usize;
        let in_channels = input.layout.channels;
        let [rows, columns] = conv.window.kernel.map(|extent| extent as usize);
        let quads = columns * in_channels / QUAD;
        let blocks = blocks(channels, 1, OUTPUTS);
        let block_len = kernel.packed_len(rows, quads, planes);
        let mut weights = AlignedBytes::zeroed(block_len * blocks.len());
        let mut plain = vec![0u8; OUTPUTS * rows * columns * in_channels];
        for (block, out) in blocks.iter().zip(weights.bytes_mut().chunks_exact_mut(block_len)) {
            gather(term, codes, input, block, in_channels, &mut plain);
            kernel.pack(&plain, [rows, quads, planes], out);
        }
        let row_len = table_row_len(input);
        let runs = |first: usize| (0..rows).map(|row| (first + row) % rows * row_len).collect();
        Self {
            kernel,
            input: input.clone(),
            planes,
            rows,
            quads,
            runs: (0..rows).map(runs).collect(),
            blocks,
            weights,
            block_len,
            stride: conv.window.stride.map(|step| step as usize),
            padding: [conv.window.padding[0] as isize, conv.window.padding[1] as isize],
            width: value.width as usize,
            channels,
            finish: Finish::new(chosen, setting),
        }
    }

    /// Makes the tables of a row of the input, counted from the border's first.
    fn make_tables(&self, memory: &Borrowed<'_>, tables: &mut [u8], row: usize) {
        let layout = &self.input.layout;
        let (y, left) = (row as isize - layout.border.top as isize, layout.border.left as isize);
        let levels = &memory.read(&self.input.range)[self.input.offset(y, -left)..];
        let row_len = table_row_len(&self.input);
        let tables = &mut tables[row % self.rows * row_len..][..row_len];
        let pixels = row_pixels(&self.input);
        if layout.pixel_stride == layout.channels {
            self.kernel.make_tables(&levels[..pixels * layout.channels], tables);
            return;
        }
        let tables = tables.chunks_exact_mut(pixel_len(&self.input));
        for (levels, tables) in levels.chunks(layout.pixel_stride).zip(tables) {
            self.kernel.make_tables(&levels[..layout.channels], tables);
        }
    }

    /// Levels of row `y`, whose windows begin in row `first` of the ring.
    fn row(&self, (tables, sums): (&[u8], &mut [i32]), [y, first]: [usize; 2], out: &mut LevelsRows<'_>) {
        let left = self.input.layout.border.left as isize - self.padding[1];
        let requantizer =
            self.finish.requantizer_of_sums().filter(|requantizer| self.kernel.makes_levels(requantizer));
        // What ends in levels has no sums to keep.
        let strip = if requantizer.is_some() { self.width } else { STRIP };
        let packed = self.weights.bytes().chunks_exact(self.block_len);
        for (number, (block, weights)) in self.blocks.iter().zip(packed).enumerate() {
            for x in (0..self.width).step_by(strip) {
                let pixels = strip.min(self.width - x);
                let column = ((x * self.stride[1]) as isize + left) as usize;
                let levels = &mut out.bytes[x * out.pixel_stride..];
                let mut tile = LookupTile {
                    tables,
                    offset: column * pixel_len(&self.input),
                    pixel_step: self.stride[1] * pixel_len(&self.input),
                    runs: &self.runs[first],
                    quads: self.quads,
                    planes: self.planes,
                    weights,
                    pixels,
                    sums: &mut *sums,
                };
                let Some(requantizer) = requantizer else {
                    self.kernel.run(&mut tile);
                    let sums = (&mut sums[..pixels * OUTPUTS], OUTPUTS);
                    let place = Place { block: number, y, x, pixels };
                    self.finish.apply(place, block, sums, (levels, out.pixel_stride));
                    continue;
                };
                let mut end = LevelsEnd {
                    requantizer,
                    first_channel: block.first,
                    outputs: block.outputs,
                    levels: &mut levels[block.first..],
                    level_stride: out.pixel_stride,
                };
                self.kernel.run_levels(&mut tile, &mut end);
            }
        }
    }
}

impl Op for LookupOp {
    fn name(&self) -> &'static str {
        self.kernel.kernel().name
    }

    fn requantization(&self) -> Option<Requantization> {
        Some(self.finish.requantization())
    }

    /// Sums of a strip, a row of levels, the tables of a window's rows.
    fn scratch(&self) -> usize {
        let levels = self.width * level_stride(self.channels as u32);
        bytes_for::<i32>(STRIP * OUTPUTS)
            + bytes_for::<u8>(levels)
            + bytes_for::<u8>(self.rows * table_row_len(&self.input))
    }

    fn packed_len(&self) -> usize {
        self.weights.bytes().len()
    }

    fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        let pixels = [self.width, level_stride(self.channels as u32)];
        let Context { memory, rows, scratch } = context;
        let mut scratch = Cutter::new(scratch);
        let (sums, levels) = (scratch.cut(STRIP * OUTPUTS), scratch.cut(pixels[0] * pixels[1]));
        let tables = scratch.cut(self.rows * table_row_len(&self.input));
        // The first row of the input, counted from the border's first, that has no tables yet.
        let mut next = 0;
        let above = self.input.layout.border.top as isize - self.padding[0];
        for y in band.rows.clone() {
            let first = ((y * self.stride[0]) as isize + above) as usize;
            for row in next.max(first)..first + self.rows {
                self.make_tables(memory, tables, row);
            }
            next = first + self.rows;
            self.row((tables, sums), [y, first % self.rows], &mut band.levels_rows(y, levels, pixels));
            band.finish_levels_rows(rows, y..y + 1, levels, (pixels, self.channels));
        }
    }
}

/// Pixels of a row with its border.
fn row_pixels(store: &Store) -> usize {
    store.layout.border.left + store.layout.width + store.layout.border.right
}

/// Bytes of a pixel's tables.
fn pixel_len(store: &Store) -> usize {
    store.layout.channels / QUAD * TABLE
}

/// Bytes of a row's tables.
fn table_row_len(store: &Store) -> usize {
    row_pixels(store) * pixel_len(store)
}
