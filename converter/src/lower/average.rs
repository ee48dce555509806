//! Averages whose windows have fewer elements at the border, where padding is not counted.
//!
//! ```text
//! key = Σ integers + unit · elements      unit > 2 · |Σ integers|, so that either follows from the key
//! ```
//!
//! Two terms of one convolution: over the integers, and over ones, which only padding tells apart. What follows, the quotient
//! and the quantizer, is a function of that one integer, so its staircase is exact.

use std::ops::Range;
use std::rc::Rc;

use ylb_source::ir::Node;
use ylb_source::window::{self, Geometry};

use super::conv::PendingKind;
use super::join::Member;
use super::linear::Linear;
use super::{Feature, Lowering, PendingConv, Segment, format_window, too_large};
use crate::error::ConvertError;
use crate::expr::{Binary, ConvIndex, Expr};

/// Largest unit: multipliers have 31 bits.
const MAX_UNIT: i64 = 1 << 24;
/// Most different numbers of elements: 255 steps of each are fewer than a staircase can have.
const MAX_COUNTS: usize = 15;

impl Lowering<'_> {
    /// The average of the elements that a window covers of the feature map itself.
    pub(super) fn border_average(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let id = node.required_input(0)?;
        self.bring_on_grids(node, id)?;
        let feature = self.join_requantized(node, id)?;
        let size = [feature.height, feature.width];
        let geometry = window::of_node(node, &[1, feature.channels(), size[0], size[1]], None)?;
        let counts = counts(&geometry, size)?;
        if counts.len() > MAX_COUNTS {
            return Err(ConvertError::unsupported(format!(
                "averages windows of {} different numbers of elements, since padding is not counted; expected at most \
                 {MAX_COUNTS}, or count_include_pad 1",
                counts.len()
            )));
        }
        let [height, width] = geometry.output_size(size)?;
        let (mut segments, mut first) = (Vec::with_capacity(feature.segments.len()), 0);
        for Segment { channels, expr } in &feature.segments {
            let linear = self.linear(expr)?;
            let range = first..first + channels;
            first = range.end;
            let expr = self.average_of(node, linear, range, (&geometry, &counts), [height, width])?;
            segments.push(Segment { channels: *channels, expr });
        }
        Ok(Feature { segments, height, width, order: feature.order.clone() })
    }

    fn average_of(
        &mut self,
        node: &Node,
        linear: Linear,
        range: Range<usize>,
        (geometry, counts): (&Geometry, &[usize]),
        [height, width]: [usize; 2],
    ) -> Result<Rc<Expr>, ConvertError> {
        let Linear { addends, offset, offsets } = linear;
        let summed = self.summed(addends, &range)?;
        let (&[Member { value, scale, factors: None, .. }], None) = (&summed[..], offsets) else {
            return Err(ConvertError::unsupported(
                "averages activations of several scales, over windows that have fewer elements at the border; expected a \
                 quantizer of one scale before it, or count_include_pad 1",
            ));
        };
        let window = format_window(*geometry);
        let sum = self.sum_of_window(value, 1.0, window)?;
        let reach = sum.ranges.iter().map(|&(low, high)| low.abs().max(high.abs())).max().unwrap_or(0);
        let unit = (reach as u64 * 2 + 1).next_power_of_two() as i64;
        if unit > MAX_UNIT {
            return Err(too_large("averages so many elements that their sum does not fit 23 bits"));
        }
        let ones = self.ones(value, false);
        let count = self.sum_of_window(ones, unit as f64, window)?;
        self.convs.push(PendingConv {
            name: node.name.clone(),
            kind: PendingKind::Average,
            terms: vec![sum, count],
            weight_scales: vec![1.0; range.len()],
            bias: None,
            window,
            groups: range.len(),
            shape: [range.len(), height, width],
            emitted: false,
        });
        let key = Rc::new(Expr::Conv(ConvIndex(self.convs.len() - 1)));
        // The largest number of elements whose keys begin below this one: between two that occur, keys that do not occur are
        // far beyond what a quantizer clamps, and add no steps.
        let unit = unit as f64;
        let mut elements = Expr::number(counts.first().copied().unwrap_or(1) as f64);
        for pair in counts.windows(2) {
            let reached = Expr::number((pair[1] as f64 - 0.5) * unit);
            let more = Expr::number((pair[1] - pair[0]) as f64);
            let step = key.binary(Binary::GreaterOrEqual, &reached).binary(Binary::Mul, &more);
            elements = elements.binary(Binary::Add, &step);
        }
        let average = key
            .binary(Binary::Sub, &elements.binary(Binary::Mul, &Expr::number(unit)))
            .binary(Binary::Mul, &Expr::number(scale))
            .binary(Binary::Div, &elements);
        Ok(if offset == 0.0 { average } else { average.binary(Binary::Add, &Expr::number(offset)) })
    }
}

/// The different numbers of elements of a feature map that windows cover, in ascending order.
fn counts(geometry: &Geometry, size: [usize; 2]) -> Result<Vec<usize>, ConvertError> {
    let outputs = geometry.output_size(size)?;
    let along = |d: usize| {
        let covered = move |at: usize| {
            let start = at * geometry.stride[d];
            let end = (start + geometry.kernel[d]).min(geometry.padding[d] + size[d]);
            end - start.max(geometry.padding[d]).min(end)
        };
        let mut counts: Vec<usize> = (0..outputs[d]).map(covered).collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    };
    let (rows, columns) = (along(0), along(1));
    let mut products: Vec<usize> =
        rows.iter().flat_map(|rows| columns.iter().map(move |columns| rows * columns)).collect();
    products.sort_unstable();
    products.dedup();
    Ok(products)
}
