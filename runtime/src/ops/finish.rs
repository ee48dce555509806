//! From a block's sums to levels, for convolutions of a single term: what follows micro-kernels that have
//! an operator of their own.

use ylb_format::model::{Conv as ModelConv, Model, ValueId};
use ylb_kernels::requantize::{AccumulatorTransform, RequantizeTile, Requantizer};

use super::prepack::{Block, BorderCorrection, transform};
use crate::choice::ConvChoice;
use crate::requantize;

/// Turns sums into accumulators, and accumulators into levels.
pub struct Finish {
    /// `None`: sums are accumulators. Finding out takes as long as some transforms.
    transform: Option<AccumulatorTransform>,
    correction: Option<BorderCorrection>,
    requantizer: Requantizer,
}

impl Finish {
    /// For a convolution whose choice is for levels, of one term.
    pub fn new(model: &Model, conv: &ModelConv, choice: &ConvChoice, output: ValueId) -> Self {
        let value = model.value(output);
        let encoding = value.encoding().expect("the choice is for levels only");
        let map = conv.requantize.as_ref().expect("levels are requantized");
        let term = &conv.terms[0];
        let (transform, correction) = transform(model, conv, term, &choice.codes[0]);
        let ranges = requantize::conv_ranges(model, term, &choice.codes[0]);
        Self {
            transform: Some(transform).filter(|transform| !transform.is_identity()),
            correction,
            requantizer: requantize::prepare(map, encoding.max_level, &ranges, choice.engine),
        }
    }

    /// The requantizer, if sums are accumulators and nothing else is to be done.
    pub fn requantizer_of_sums(&self) -> Option<&Requantizer> {
        (self.transform.is_none() && self.correction.is_none()).then_some(&self.requantizer)
    }

    /// Levels of a block from its sums, `[pixel][nr]`, of the output pixels from (y, x) on. `levels` begins with
    /// the first of these pixels, all its channels, and has `level_stride` bytes for each.
    pub fn apply(
        &self,
        block: &Block,
        [y, x]: [usize; 2],
        (sums, nr): (&mut [i32], usize),
        (levels, level_stride): (&mut [u8], usize),
    ) {
        let pixels = sums.len() / nr;
        if let Some(transform) = &self.transform {
            transform.apply(sums, &[], pixels, nr, block.first, block.outputs);
        }
        if let Some(correction) = &self.correction {
            correction.apply([y, x], sums, pixels, nr, block.first..block.first + block.outputs);
        }
        self.requantizer.apply(&mut RequantizeTile {
            accumulators: &[sums],
            stride: nr,
            pixels,
            first_channel: block.first,
            channels: block.outputs,
            levels: &mut levels[block.first..],
            level_stride,
        });
    }
}
