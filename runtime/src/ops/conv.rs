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

use ylb_format::limits::MAX_TERMS;
use ylb_format::model::{Conv as ModelConv, Model, ValueId, ValueKind};
use ylb_kernels::depthwise::{Depthwise, DepthwiseTile};
use ylb_kernels::layout::Form;
use ylb_kernels::requantize::{AccumulatorRange, PlaneSteps, RequantizeSpec, RequantizeTile, Requantizer};
use ylb_kernels::ukernel::{Conv, ConvTile, Engine, LevelsEnd, LevelsTile, PlanesTile};

use super::prepack::{Block, BorderCorrection, Term, blocks};
use super::{Context, level_stride};
use crate::bands::Band;
use crate::choice::{Compute, ConvChoice, WeightCodes};
use crate::plan::{Plan, index};
use crate::requantize;
use crate::scratch::{Scratch, ScratchLen};
use crate::storage::Store;

/// Output pixels whose sums are kept before they become levels: with 64 channels 8 KiB, a quarter of
/// a Cortex-A72's L1 data cache.
const STRIP: usize = 32;

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
    /// `None`: the output is accumulators.
    requantizer: Option<Requantizer>,
    /// From sums to the output's planes, where the micro-kernel does it.
    planes: Option<PlaneSteps>,
    /// Whether accumulators are computed for all channels of some pixels at a time.
    by_pixels: bool,
    /// Whether the micro-kernel requantizes itself.
    ends_in_levels: bool,
}

enum Prepared {
    Dense(Conv, Vec<Term>),
    Depthwise(Depthwise, Vec<DepthwiseTerm>),
}

/// One term of a depthwise convolution.
struct DepthwiseTerm {
    store: Store,
    taps: Vec<usize>,
    /// `[tap][channel]`.
    weights: Vec<i16>,
    transform: ylb_kernels::requantize::AccumulatorTransform,
    correction: Option<BorderCorrection>,
}

impl ConvOp {
    /// Packs the weights for the plan.
    pub fn new(model: &Model, conv: &ModelConv, choice: &ConvChoice, output: ValueId, plan: &Plan) -> Self {
        let value = &model.values[index(output)];
        let channels = value.channels as usize;
        let stores = conv.terms.iter().zip(&choice.forms).map(|(term, &form)| {
            plan.storage[index(term.input)].store(form).expect("the plan stores what choices read")
        });
        let terms = conv.terms.iter().zip(&choice.codes).zip(stores);
        let (compute, nr) = match choice.compute {
            Compute::Dense(kernel) => {
                let pack = |((term, codes), store)| Term::new(model, conv, term, codes, store, kernel);
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
        let ranges: Vec<AccumulatorRange> =
            conv.terms.iter().flat_map(|term| requantize::conv_ranges(model, term)).collect();
        let (requantizer, planes) = match (&conv.requantize, &value.kind) {
            (Some(requantize), ValueKind::Levels(encoding)) => {
                let spec = requantize::spec(requantize, encoding.max_level);
                let planes = compute.plane_steps(&spec, &ranges, plan, output).filter(|_| conv.groups == 1);
                (Some(requantize::prepare(requantize, encoding.max_level, &ranges, choice.engine)), planes)
            }
            _ => (None, None),
        };
        let ends_in_levels =
            requantizer.as_ref().is_some_and(|requantizer| compute.makes_levels(requantizer));
        let by_pixels = requantizer.is_none() && conv.groups == 1 && compute.gains_by_pixels();
        Self {
            by_pixels,
            ends_in_levels: ends_in_levels && conv.groups == 1,
            compute,
            blocks,
            nr,
            stride: conv.window.stride.map(|step| step as usize),
            padding: [conv.window.padding[0] as isize, conv.window.padding[1] as isize],
            width: value.width as usize,
            channels,
            requantizer,
            planes,
        }
    }

    /// Working memory of a thread.
    pub fn scratch(&self) -> ScratchLen {
        ScratchLen {
            sums: STRIP * self.nr * if self.by_pixels { self.blocks.len() } else { self.terms() },
            totals: self.terms() * self.width,
            levels: self.width * level_stride(self.channels as u32),
            ..Default::default()
        }
    }

    /// Bytes of packed weights.
    pub fn packed_len(&self) -> usize {
        match &self.compute {
            Prepared::Dense(_, terms) => terms.iter().map(|term| term.weights.bytes().len()).sum(),
            Prepared::Depthwise(_, terms) => terms.iter().map(|term| 2 * term.weights.len()).sum(),
        }
    }

    /// Name of the micro-kernel.
    pub fn kernel_name(&self) -> &'static str {
        match &self.compute {
            Prepared::Dense(kernel, _) => kernel.kernel().name,
            Prepared::Depthwise(..) => "dwconv",
        }
    }

    fn terms(&self) -> usize {
        match &self.compute {
            Prepared::Dense(_, terms) => terms.len(),
            Prepared::Depthwise(_, terms) => terms.len(),
        }
    }

    /// Computes the band's rows.
    pub fn run(&self, band: &mut Band<'_>, context: &mut Context<'_, '_>) {
        for y in band.rows.clone() {
            if let (Some(steps), Prepared::Dense(kernel, terms)) = (&self.planes, &self.compute) {
                self.planes_row(band, context, (steps, *kernel, &terms[0]), y);
            } else if let Some(requantizer) = &self.requantizer {
                self.levels_row(band, context, requantizer, y);
            } else if self.by_pixels {
                self.accumulators_by_pixels(band, context, y);
            } else {
                self.accumulators_row(band, context, y);
            }
        }
    }

    /// A row without detours: sums become planes in the micro-kernel.
    fn planes_row(
        &self,
        band: &mut Band<'_>,
        context: &mut Context<'_, '_>,
        (steps, kernel, term): (&PlaneSteps, Conv, &Term),
        y: usize,
    ) {
        let Context { memory, rows, scratch } = context;
        let row = (y * self.stride[0]) as isize - self.padding[0];
        let out = band.planes_row(y);
        for (number, block) in self.blocks.iter().enumerate() {
            kernel.run_planes(&mut PlanesTile {
                conv: ConvTile {
                    sums: &mut [],
                    totals: &mut scratch.totals[..self.width],
                    ..term.tile(memory, number, [row, -self.padding[1]], self.stride[1], self.width)
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

    fn levels_row(
        &self,
        band: &mut Band<'_>,
        context: &mut Context<'_, '_>,
        requantizer: &Requantizer,
        y: usize,
    ) {
        let row = [self.width, level_stride(self.channels as u32)];
        let Context { memory, rows, scratch } = context;
        let Scratch { sums, totals, levels, .. } = &mut **scratch;
        let out = band.levels_rows(y, levels, row);
        for (number, block) in self.blocks.iter().enumerate() {
            if let (true, Prepared::Dense(kernel, terms)) = (self.ends_in_levels, &self.compute) {
                let position = [(y * self.stride[0]) as isize - self.padding[0], -self.padding[1]];
                kernel.run_levels(&mut LevelsTile {
                    conv: terms[0].tile(memory, number, position, self.stride[1], self.width),
                    end: LevelsEnd {
                        requantizer,
                        first_channel: block.first,
                        outputs: block.outputs,
                        levels: &mut out.bytes[block.first..],
                        level_stride: out.pixel_stride,
                    },
                });
                continue;
            }
            for x in (0..self.width).step_by(STRIP) {
                let pixels = STRIP.min(self.width - x);
                self.accumulate(memory, (&mut *sums, self.nr), totals, (number, block), [y, x], pixels);
                let mut accumulators: [&[i32]; MAX_TERMS] = [&[]; MAX_TERMS];
                for (slot, sums) in accumulators.iter_mut().zip(sums.chunks(STRIP * self.nr)) {
                    *slot = sums;
                }
                requantizer.apply(&mut RequantizeTile {
                    accumulators: &accumulators[..self.terms()],
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

    /// Accumulators of one strip and block, every term: `[term][STRIP][nr]`, or of a single term with
    /// another stride than `nr` between pixels. `totals` (`[term][width]`) carry those of a row from a
    /// group's first block to its others.
    fn accumulate(
        &self,
        memory: &crate::storage::Borrowed<'_>,
        (sums, stride): (&mut [i32], usize),
        totals: &mut [i32],
        (number, block): (usize, &Block),
        [y, x]: [usize; 2],
        pixels: usize,
    ) {
        let row = (y * self.stride[0]) as isize - self.padding[0];
        let column = (x * self.stride[1]) as isize - self.padding[1];
        let term_len = if self.terms() == 1 { sums.len() } else { STRIP * self.nr };
        match &self.compute {
            Prepared::Dense(kernel, terms) => {
                let totals = totals.chunks_exact_mut(self.width).map(|totals| &mut totals[x..x + pixels]);
                let sums = sums.chunks_exact_mut(term_len);
                for ((term, sums), totals) in terms.iter().zip(sums).zip(totals) {
                    // A window's total is the same for all blocks of a group: the first computes it.
                    let first = number == 0 || self.blocks[number - 1].group != block.group;
                    let wants_totals = first && !term.transform.total_scales.is_empty();
                    let tile = term.tile(memory, number, [row, column], self.stride[1], pixels);
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
                        input: memory.read(&term.store.range),
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

impl Prepared {
    /// Whether its tiles are so fast that scattered sums take longer than a copy: see
    /// [`ConvOp::accumulators_by_pixels`].
    fn gains_by_pixels(&self) -> bool {
        match self {
            Self::Dense(kernel, terms) => {
                terms.len() == 1 && matches!(kernel.kernel().engine, Engine::Avx512 | Engine::Amx)
            }
            Self::Depthwise(..) => false,
        }
    }

    /// Whether the micro-kernel can requantize itself: it can sums of a single term that are accumulators.
    fn makes_levels(&self, requantizer: &Requantizer) -> bool {
        match self {
            Self::Dense(kernel, terms) => match &terms[..] {
                [term] => {
                    term.sums_are_accumulators
                        && term.correction.is_none()
                        && kernel.makes_levels(requantizer)
                }
                _ => false,
            },
            Self::Depthwise(..) => false,
        }
    }

    /// The way from sums to planes, if there is one: for a single term without corrections at the border
    /// whose output is kept in planes, and then perhaps as bytes.
    fn plane_steps(
        &self,
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        plan: &Plan,
        output: ValueId,
    ) -> Option<PlaneSteps> {
        let Self::Dense(kernel, terms) = self else {
            return None;
        };
        let ([term], [store, others @ ..]) = (&terms[..], &plan.storage[index(output)].stores[..]) else {
            return None;
        };
        let Form::Planes { bits } = store.layout.form else {
            return None;
        };
        if term.correction.is_some() || others.iter().any(|other| other.layout.form != Form::Bytes) {
            return None;
        }
        let widths = [term.weight_bits, term.activation_bits];
        let depth = term.runs.len() * term.depth;
        kernel.plane_steps(spec, ranges, &term.transform, bits, (widths, depth))
    }
}

impl DepthwiseTerm {
    fn new(
        model: &Model,
        conv: &ModelConv,
        term: &ylb_format::model::ConvTerm,
        codes: &WeightCodes,
        store: &Store,
    ) -> Self {
        let [outputs, _, kernel_rows, kernel_columns] = term.weights.shape.map(|extent| extent as usize);
        let layout = &store.layout;
        let taps_of_row =
            |y: usize| (0..kernel_columns).map(move |x| y * layout.row_stride() + x * layout.pixel_stride);
        let taps: Vec<usize> = (0..kernel_rows).flat_map(taps_of_row).collect();
        let weights = (0..taps.len())
            .flat_map(|tap| (0..outputs).map(move |output| (tap, output)))
            .map(|(tap, output)| codes.codes[output * taps.len() + tap])
            .collect();
        let (transform, correction) = super::prepack::transform(model, conv, term, codes);
        Self { store: store.clone(), taps, weights, transform, correction }
    }
}
