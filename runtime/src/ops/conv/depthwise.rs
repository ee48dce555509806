//! Depthwise convolution: each channel by itself, in blocks of channels. What follows the sums is that of
//! [`ConvOp`].

use ylb_format::model::{Conv as ModelConv, ConvTerm, Model};
use ylb_kernels::families::depthwise::{self, Depthwise, DepthwiseOperands, DepthwiseTile};
use ylb_kernels::layout::Form;

use super::ConvOp;
use super::blocks::{Block, Place};
use super::candidate::{Candidate, Chosen, Coding, Family, Problem};
use super::terms::Terms;
use super::to_accumulators::ToAccumulators;
use crate::ops::{Prepared, Setting};
use crate::storage::{AlignedBytes, Borrowed, Store};
use crate::weight_codes::WeightCodes;

/// Most channels of a block: their sums stay in the L1 cache, as those of direct convolutions.
const MOST_CHANNELS: usize = 64;

/// The best micro-kernel, for a convolution whose groups have one input channel and one output channel each.
pub fn candidate(problem: &Problem<'_>) -> Option<Candidate> {
    let Problem { model, conv, dispatch, .. } = problem;
    let by_itself = |term: &ConvTerm| term.weights.shape[1] == 1 && term.weights.shape[0] == conv.groups;
    if conv.groups == 1 || !conv.terms.iter().all(by_itself) {
        return None;
    }
    let operands: Vec<DepthwiseOperands> = conv.terms.iter().map(|term| operands(model, term)).collect();
    let best = depthwise::candidate(dispatch, &operands)?;
    Some(Candidate {
        preference: best.preference,
        forms: vec![Form::Bytes; conv.terms.len()],
        coding: Coding::Numbers,
        family: Box::new(best.kernel),
    })
}

fn operands(model: &Model, term: &ConvTerm) -> DepthwiseOperands {
    let weights = term.weights.decode();
    let [_, _, rows, columns] = term.weights.shape.map(|extent| extent as usize);
    DepthwiseOperands {
        max_level: model.encoding(term.input).max_level,
        min_weight: weights.iter().copied().min().unwrap_or(0),
        max_weight: weights.iter().copied().max().unwrap_or(0),
        kernel: [rows, columns],
    }
}

impl Family for Depthwise {
    fn prepare(&self, chosen: &Chosen<'_>, setting: &Setting<'_>) -> Prepared {
        let terms = chosen.terms(setting).map(|(term, codes, store)| {
            DepthwiseTerm::new(setting.model, chosen.conv, (term, codes), store, *self)
        });
        let terms = Terms::Depthwise(*self, terms.collect());
        let channels = setting.model.value(setting.output).channels as usize;
        let nr = channels.next_multiple_of(depthwise::CHANNELS).min(MOST_CHANNELS);
        let blocks = (0..channels).step_by(nr).map(|first| Block {
            first,
            outputs: nr.min(channels - first),
            group: 0,
        });
        Prepared::one(ConvOp::new(chosen, setting, (terms, blocks.collect(), nr), None), setting)
    }
}

/// One term of a depthwise convolution.
pub struct DepthwiseTerm {
    store: Store,
    kernel: [usize; 2],
    /// Packed, of all channels.
    pub weights: AlignedBytes,
    /// Bytes of the weights of [`depthwise::CHANNELS`] channels.
    block_len: usize,
    /// From sums to accumulators.
    pub to_accumulators: ToAccumulators,
}

impl DepthwiseTerm {
    /// Packs the weights.
    fn new(
        model: &Model,
        conv: &ModelConv,
        (term, codes): (&ConvTerm, &WeightCodes),
        store: &Store,
        kernel: Depthwise,
    ) -> Self {
        let [channels, _, rows, columns] = term.weights.shape.map(|extent| extent as usize);
        let taps = rows * columns;
        let values = term.weights.decode();
        let len = kernel.packed_len(channels, taps);
        let mut weights = AlignedBytes::zeroed(len);
        let weight = |tap: usize, channel: usize| values[channel * taps + tap];
        kernel.pack(weight, [channels, taps], &mut weights.bytes_mut()[..len]);
        Self {
            store: store.clone(),
            kernel: [rows, columns],
            weights,
            block_len: kernel.packed_len(1, taps),
            to_accumulators: ToAccumulators::new(model, conv, term, codes),
        }
    }

    /// What a micro-kernel computes at a place, whose first window begins at (row, column) of the input. Without results.
    pub fn tile<'a>(
        &'a self,
        memory: &Borrowed<'a>,
        (place, block): (Place, &Block),
        [row, column]: [isize; 2],
        stride: usize,
    ) -> DepthwiseTile<'a> {
        let layout = &self.store.layout;
        DepthwiseTile {
            input: memory.read(&self.store.range),
            input_offset: self.store.offset(row, column) + block.first,
            pixel_step: stride * layout.pixel_stride,
            kernel: self.kernel,
            row_step: layout.row_stride(),
            column_step: layout.pixel_stride,
            channels: block.outputs,
            weights: &self.weights.bytes()[block.first / depthwise::CHANNELS * self.block_len..],
            pixels: place.pixels,
            sums: &mut [],
            sums_stride: 0,
        }
    }
}
