//! From a block's sums to levels, for convolutions of a single term: what follows micro-kernels that have
//! an operator of their own.

use ylb_kernels::requantize::{RequantizeTile, Requantizer};

use super::blocks::{Block, Place};
use super::candidate::Chosen;
use super::to_accumulators::ToAccumulators;
use crate::ops::Setting;
use crate::requantize::{self, Requantization};

/// Turns sums into accumulators, and accumulators into levels.
pub struct Finish {
    to_accumulators: ToAccumulators,
    requantizer: Requantizer,
}

impl Finish {
    /// For a convolution of one term that ends in levels.
    pub fn new(chosen: &Chosen<'_>, setting: &Setting<'_>) -> Self {
        let &Setting { model, output, engine, .. } = setting;
        let (term, codes) = (&chosen.conv.terms[0], &chosen.codes[0]);
        let map = chosen.conv.requantize.as_ref().expect("levels are requantized");
        let ranges = requantize::conv_ranges(model, term, codes);
        let mut to_accumulators = ToAccumulators::new(model, chosen.conv, term, codes);
        let spec = requantize::spec(map, model.encoding(output).max_level);
        let requantizer = to_accumulators.requantizer(&spec, &ranges, engine);
        Self { to_accumulators, requantizer }
    }

    /// The requantizer, if sums are accumulators and nothing else is to be done.
    pub fn requantizer_of_sums(&self) -> Option<&Requantizer> {
        self.to_accumulators.is_nothing().then_some(&self.requantizer)
    }

    /// The requantizer's arithmetic.
    pub fn requantization(&self) -> Requantization {
        Requantization::of(&self.requantizer)
    }

    /// Levels of a block from its sums, `[pixel][nr]`, at a place. `levels` begins with
    /// the first of its pixels, all its channels, and has `level_stride` bytes for each.
    pub fn apply(
        &self,
        place: Place,
        block: &Block,
        (sums, nr): (&mut [i32], usize),
        (levels, level_stride): (&mut [u8], usize),
    ) {
        self.to_accumulators.apply(place, block, (sums, nr), &[]);
        self.requantizer.apply(&mut RequantizeTile {
            accumulators: &[sums],
            stride: nr,
            pixels: place.pixels,
            first_channel: block.first,
            channels: block.outputs,
            levels: &mut levels[block.first..],
            level_stride,
        });
    }
}
