//! Direct convolution, group by group. What follows the sums is that of [`ConvOp`].

use ylb_format::model::{Conv as ModelConv, ConvTerm, Model};
use ylb_kernels::families::direct::{self, Conv, ConvTile, Operands, WeightBlock};
use ylb_kernels::layout::Form;
use ylb_kernels::registry::Preference;

use super::ConvOp;
use super::blocks::{Place, blocks, gather};
use super::candidate::{Candidate, Chosen, Coding, Family, Problem};
use super::columns::Columns;
use super::terms::Terms;
use super::to_accumulators::ToAccumulators;
use crate::ops::{Prepared, Setting};
use crate::storage::{ALIGNMENT, AlignedBytes, Borrowed, Store};
use crate::weight_codes::WeightCodes;

/// A micro-kernel, and how the rows of the input are interleaved before, if they are.
#[derive(Clone, Copy)]
struct Direct {
    kernel: Conv,
    columns: Option<Columns>,
}

/// The best micro-kernel for all terms.
pub fn candidate(problem: &Problem<'_>) -> Option<Candidate> {
    let best = direct::candidate(problem.dispatch, &problem.operands)?;
    if let Some((family, preference)) = interleaved(problem, best.preference) {
        let forms = vec![Form::Bytes];
        return Some(Candidate { preference, forms, coding: Coding::Bytes, family: Box::new(family) });
    }
    let kernel = best.kernel;
    Some(Candidate {
        preference: best.preference,
        forms: problem.operands.iter().map(|term| kernel.input_form(term.max_level)).collect(),
        coding: if kernel.kernel().bit_serial { Coding::Unsigned } else { Coding::Bytes },
        family: Box::new(Direct { kernel, columns: None }),
    })
}

/// A micro-kernel that is so much faster than the best without it where rows are interleaved before that it pays: one of
/// large tiles, in the first layer of a YOLOv5.
fn interleaved(problem: &Problem<'_>, best: Preference) -> Option<(Direct, Preference)> {
    let columns = Columns::new(problem.model, problem.conv)?;
    let operands = Operands { depth: columns.depth(), ..problem.operands[0] };
    let then = direct::candidate(problem.dispatch, &[operands])?;
    let short = columns.run_len() < then.kernel.kernel().capabilities.short_run;
    // Interleaving takes about as long as what it saves a YOLOv5n, whose first layer has half a block of outputs.
    let pays = short && then.preference.rate > 2.0 * best.rate;
    pays.then_some((Direct { kernel: then.kernel, columns: Some(columns) }, then.preference))
}

impl Family for Direct {
    fn prepare(&self, chosen: &Chosen<'_>, setting: &Setting<'_>) -> Prepared {
        let terms = chosen
            .terms(setting)
            .map(|(term, codes, store)| Term::new(setting.model, chosen.conv, (term, codes), store, *self));
        let terms = Terms::Direct(self.kernel, terms.collect());
        let channels = setting.model.value(setting.output).channels as usize;
        let nr = self.kernel.kernel().nr;
        let blocks = blocks(channels, chosen.conv.groups as usize, nr);
        Prepared::one(ConvOp::new(chosen, setting, (terms, blocks, nr), self.columns), setting)
    }
}

/// One term of a convolution, ready to run.
pub struct Term {
    /// Where its input lies.
    pub store: Store,
    /// Offset of each run of a window from the window's first pixel.
    pub runs: Vec<usize>,
    /// Levels of a run.
    pub depth: usize,
    /// Bits of a stored level.
    pub activation_bits: u8,
    /// Bits of a packed weight.
    pub weight_bits: u8,
    /// Bytes from the channels of a group to those of the next in a pixel.
    pub group_len: usize,
    /// Packed blocks, one after another.
    pub weights: AlignedBytes,
    /// Bytes of a packed block.
    pub block_len: usize,
    /// From sums to accumulators.
    pub to_accumulators: ToAccumulators,
}

impl Term {
    /// Packs a term for a micro-kernel.
    fn new(
        model: &Model,
        conv: &ModelConv,
        (term, codes): (&ConvTerm, &WeightCodes),
        store: &Store,
        Direct { kernel, columns }: Direct,
    ) -> Self {
        let [outputs, _, kernel_rows, kernel_columns] = term.weights.shape.map(|extent| extent as usize);
        let groups = conv.groups as usize;
        let layout = &store.layout;
        // Channels of a group as stored; in planes (one group only) this includes holes.
        let channels = layout.channels / groups;
        // The taps of a kernel row are one run where pixels touch each other.
        let joined = groups == 1 && layout.pixel_stride == layout.pixel_len();
        let taps_per_run = if joined { kernel_columns } else { 1 };
        let runs: Vec<usize> = (0..kernel_rows)
            .flat_map(|y| (0..kernel_columns).step_by(taps_per_run).map(move |x| (y, x)))
            .map(|(y, x)| y * layout.row_stride() + x * layout.pixel_stride)
            .collect();
        let (runs, depth) = match columns {
            Some(columns) => (vec![0], columns.depth()),
            None => (runs, taps_per_run * channels),
        };
        let block_list = blocks(outputs, groups, kernel.kernel().nr);
        let weight_bits = codes.bits;
        let packed_len = (kernel.kernel().packed_len)(runs.len(), depth, weight_bits);
        let block_len = packed_len.next_multiple_of(ALIGNMENT);
        let mut weights = AlignedBytes::zeroed(block_len * block_list.len());
        let mut plain = vec![0u8; kernel.kernel().nr * runs.len() * depth];
        for (block, out) in block_list.iter().zip(weights.bytes_mut().chunks_exact_mut(block_len)) {
            gather(term, codes, store, block, channels, &mut plain);
            if let Some(columns) = columns {
                columns.reorder(&mut plain);
            }
            let block = WeightBlock { codes: &plain, runs: runs.len(), depth, weight_bits };
            (kernel.kernel().pack)(&block, &mut out[..packed_len]);
        }
        let activation_bits = match layout.form {
            Form::Planes { bits } => bits,
            Form::Bytes => 8,
        };
        Self {
            store: store.clone(),
            runs,
            depth,
            activation_bits,
            weight_bits,
            group_len: layout.form.pixel_len(channels),
            weights,
            block_len,
            to_accumulators: ToAccumulators::new(model, conv, term, codes),
        }
    }

    /// What a micro-kernel computes at a place, whose first window begins at (row, column) of the input. Without results.
    pub fn tile<'a>(
        &'a self,
        memory: &Borrowed<'a>,
        place: Place,
        [row, column]: [isize; 2],
        stride: usize,
    ) -> ConvTile<'a> {
        ConvTile {
            input: memory.read(&self.store.range),
            input_offset: self.store.offset(row, column),
            pixel_step: stride * self.store.layout.pixel_stride,
            runs: &self.runs,
            depth: self.depth,
            activation_bits: self.activation_bits,
            weight_bits: self.weight_bits,
            weights: &self.weights.bytes()[place.block * self.block_len..][..self.block_len],
            pixels: place.pixels,
            sums: &mut [],
            sums_stride: 0,
            totals: &mut [],
        }
    }
}
