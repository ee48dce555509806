//! From a micro-kernel's sums to accumulators.

use std::ops::Range;

use ylb_format::model::{Conv as ModelConv, ConvTerm, Model, Window};
use ylb_kernels::requantize::{AccumulatorRange, AccumulatorTransform, RequantizeSpec, Requantizer};
use ylb_kernels::ukernel::Engine;

use super::blocks::{Block, Place};
use crate::plan::border_level;
use crate::weight_codes::WeightCodes;

/// What turns the sums of a term into its accumulators.
pub struct ToAccumulators {
    /// What weights and levels make of every sum.
    pub transform: AccumulatorTransform,
    /// Whether the transform changes nothing: finding out takes as long as some transforms.
    identity: bool,
    /// What padded positions contributed that they must not.
    correction: Option<BorderCorrection>,
}

/// For inputs without a level for zero: padded positions held level 0, which stands for
/// `low − zero_point`, and what that added is taken back, by output channel and by which part of the
/// window was outside.
struct BorderCorrection {
    /// Class of each output row: which kernel rows are outside.
    row_classes: Vec<usize>,
    /// Class of each output column.
    column_classes: Vec<usize>,
    columns: usize,
    /// `[row class][column class][output]`.
    addends: Vec<i32>,
    outputs: usize,
}

impl ToAccumulators {
    /// For weights that were written as `codes`.
    pub fn new(model: &Model, conv: &ModelConv, term: &ConvTerm, codes: &WeightCodes) -> Self {
        let input = model.encoding(term.input);
        let step = i32::from(input.step);
        let offset = i32::from(input.low) - i32::from(input.zero_point);
        let transform = AccumulatorTransform {
            sum_scale: codes.scale * step,
            total_scales: codes.offsets.iter().map(|scale| scale * step).collect(),
            constants: codes.sums.iter().map(|weights| weights.sum as i32 * offset).collect(),
        };
        let padded = conv.window.padding != [0; 4];
        let correction = (padded && input.integer(border_level(input)) != 0)
            .then(|| BorderCorrection::new(model, conv, term, offset));
        Self { identity: transform.is_identity(), transform, correction }
    }

    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.identity && self.correction.is_none()
    }

    /// Whether places at the border differ from others.
    pub fn corrects_border(&self) -> bool {
        self.correction.is_some()
    }

    /// Whether it takes the totals of windows.
    pub fn takes_totals(&self) -> bool {
        !self.transform.total_scales.is_empty()
    }

    /// The requantizer of what [`apply`](Self::apply) leaves. What is the same everywhere is left to it, by other constants,
    /// where it is no slower for that: then no sum is changed before.
    pub fn requantizer(
        &mut self,
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        engine: Engine,
    ) -> Requantizer {
        let of = |spec: &RequantizeSpec, ranges: &[AccumulatorRange]| {
            Requantizer::new(spec, ranges).with_engine(engine)
        };
        // A correction is added in the units of accumulators.
        let in_units = self.correction.is_none() || self.transform.sum_scale == 1;
        let folded = (!self.identity && in_units).then(|| spec.of_sums(ranges, &self.transform)).flatten();
        let Some((sums, sum_ranges)) = folded else {
            return of(spec, ranges);
        };
        let folded = of(&sums, &sum_ranges);
        if folded.is_general() {
            // Sums far from 0 leave less room.
            let plain = of(spec, ranges);
            if !plain.is_general() {
                return plain;
            }
        }
        let constants = vec![0; self.transform.constants.len()];
        self.transform = AccumulatorTransform { sum_scale: 1, total_scales: Vec::new(), constants };
        self.identity = true;
        folded
    }

    /// Turns the sums of a block, `stride` from pixel to pixel, into accumulators, in place.
    pub fn apply(&self, place: Place, block: &Block, (sums, stride): (&mut [i32], usize), totals: &[i32]) {
        if !self.identity {
            self.transform.apply(sums, totals, place.pixels, stride, block.first, block.outputs);
        }
        if let Some(correction) = &self.correction {
            correction.apply(place, (sums, stride), block.first..block.first + block.outputs);
        }
    }
}

impl BorderCorrection {
    fn new(model: &Model, conv: &ModelConv, term: &ConvTerm, offset: i32) -> Self {
        let value = model.value(term.input);
        let [outputs, channels, kernel_rows, kernel_columns] =
            term.weights.shape.map(|extent| extent as usize);
        let (row_ranges, row_classes) = classes(&conv.window, 0, value.height as usize);
        let (column_ranges, column_classes) = classes(&conv.window, 1, value.width as usize);
        let weights = term.weights.decode();
        let mut addends = Vec::with_capacity(row_ranges.len() * column_ranges.len() * outputs);
        for rows in &row_ranges {
            for columns in &column_ranges {
                for weights in weights.chunks(channels * kernel_rows * kernel_columns) {
                    let outside = weights.iter().enumerate().filter(|(index, _)| {
                        let (y, x) = (index / kernel_columns % kernel_rows, index % kernel_columns);
                        !(rows.contains(&y) && columns.contains(&x))
                    });
                    let sum: i32 = outside.map(|(_, &weight)| i32::from(weight)).sum();
                    addends.push(-offset * sum);
                }
            }
        }
        Self { row_classes, column_classes, columns: column_ranges.len(), addends, outputs }
    }

    /// Corrects the accumulators of the outputs at a place, `stride` apart, each of `channels`.
    fn apply(&self, place: Place, (sums, stride): (&mut [i32], usize), channels: Range<usize>) {
        let row = self.row_classes[place.y];
        let columns = &self.column_classes[place.x..][..place.pixels];
        for (sums, &column) in sums.chunks_mut(stride).zip(columns) {
            let addends = &self.addends[(row * self.columns + column) * self.outputs..][channels.clone()];
            for (sum, addend) in sums[..channels.len()].iter_mut().zip(addends) {
                *sum = sum.wrapping_add(*addend);
            }
        }
    }
}

/// The different ranges of kernel taps that lie inside the input, along one axis, and for each output
/// position which of them applies.
fn classes(window: &Window, axis: usize, extent: usize) -> (Vec<Range<usize>>, Vec<usize>) {
    let kernel = window.kernel[axis] as usize;
    let stride = window.stride[axis] as usize;
    let before = window.padding[axis] as usize;
    let after = window.padding[axis + 2] as usize;
    let positions = (extent + before + after - kernel) / stride + 1;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let of_position = |position: usize| {
        let start = position * stride;
        let first = before.saturating_sub(start).min(kernel);
        let end = (extent + before).saturating_sub(start).min(kernel);
        let range = first..end.max(first);
        ranges.iter().position(|other| *other == range).unwrap_or_else(|| {
            ranges.push(range);
            ranges.len() - 1
        })
    };
    let classes = (0..positions).map(of_position).collect();
    (ranges, classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ylb_kernels::ukernel::Engine;

    /// A staircase of 40 steps over two channels, and the ranges of their accumulators.
    fn staircase() -> (RequantizeSpec, [AccumulatorRange; 2]) {
        let spec = RequantizeSpec::ScaledStaircase {
            multipliers: vec![1 << 20; 2],
            bias: vec![0, 77],
            thresholds: (0..40).map(|step| step << 28).collect(),
            levels: (0..=40).collect(),
        };
        (spec, [AccumulatorRange { min: -20_000, max: 20_000 }; 2])
    }

    fn with_constants(constant: i32) -> ToAccumulators {
        let transform =
            AccumulatorTransform { sum_scale: 1, total_scales: Vec::new(), constants: vec![constant; 2] };
        ToAccumulators { transform, identity: false, correction: None }
    }

    #[test]
    fn constants_are_left_to_the_requantization() {
        let (spec, ranges) = staircase();
        let mut to_accumulators = with_constants(-5000);
        let requantizer = to_accumulators.requantizer(&spec, &ranges, Engine::Generic);
        assert_eq!(requantizer.form(), "cells");
        assert!(to_accumulators.is_nothing());
    }

    /// Sums so far from 0 that no axis of 32 bits holds them have only the search.
    #[test]
    fn constants_that_would_cost_the_fast_form_stay() {
        let (spec, ranges) = staircase();
        let mut to_accumulators = with_constants(-(1 << 30));
        let requantizer = to_accumulators.requantizer(&spec, &ranges, Engine::Generic);
        assert_eq!(requantizer.form(), "cells");
        assert!(!to_accumulators.is_nothing());
    }
}
