//! Products of values as matrices, and softmax.

use super::graph::{Levels, input, output_shape};
use super::{NodeProblem, requantize};
use crate::limits::{MAX_DEPTH, MAX_EXPONENTIAL};
use crate::model::{Along, Model, Requantize, ValueId};

pub(super) fn mat_mul(
    model: &Model,
    [first, second]: [ValueId; 2],
    (groups, areas, along): (u32, u32, Along),
    to_levels: &Requantize,
    output: Levels<'_>,
) -> Result<(), NodeProblem> {
    let (a, b) = (input(model, first)?, input(model, second)?);
    let ([inputs, height, width], [channels, rows, columns]) = (a.value.shape(), b.value.shape());
    for channels in [inputs, channels] {
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(NodeProblem::Groups { groups, channels });
        }
    }
    let positions = u64::from(rows) * u64::from(columns);
    let own = u64::from(height) * u64::from(width);
    if areas == 0 || (areas > 1 && (own != positions || !positions.is_multiple_of(areas.into()))) {
        return Err(NodeProblem::Areas { areas, positions: [own, positions] });
    }
    let positions = positions / u64::from(areas);
    let (summed, weights, outputs) = match along {
        Along::Channels => (u64::from(inputs), u64::from(channels), u64::from(groups) * positions),
        Along::Positions => (u64::from(inputs), u64::from(groups) * positions, u64::from(channels)),
    };
    if summed != weights {
        return Err(NodeProblem::Summed { summed, weights });
    }
    let depth = summed / u64::from(groups);
    if depth > MAX_DEPTH {
        return Err(NodeProblem::Depth { term: 0, depth, limit: MAX_DEPTH });
    }
    output_shape([outputs, u64::from(height), u64::from(width)], output.value)?;
    // At most 33 025 · 510 · 510.
    let products = i64::try_from(depth).unwrap_or(i64::MAX);
    let bound = products.saturating_mul(a.encoding.max_magnitude() * b.encoding.max_magnitude());
    if bound > i64::from(i32::MAX) {
        return Err(NodeProblem::AccumulatorRange { term: 0, channel: 0, magnitude: bound });
    }
    requantize::validate(to_levels, &[vec![bound]], 1, output.encoding)
}

pub(super) fn softmax(
    input: Levels<'_>,
    groups: u32,
    exponentials: &[u64],
    (thresholds, levels): (&[u64], &[u8]),
    output: Levels<'_>,
) -> Result<(), NodeProblem> {
    let channels = input.value.channels;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(NodeProblem::Groups { groups, channels });
    }
    output_shape(input.value.shape().map(u64::from), output.value)?;
    let (len, entries) = (exponentials.len(), usize::from(input.encoding.max_level) + 1);
    if len != entries {
        return Err(NodeProblem::TableLen { len, levels: entries });
    }
    let wrong = |(index, &own): (usize, &u64)| own > MAX_EXPONENTIAL || (index == 0 && own == 0);
    if let Some((index, &exponential)) = exponentials.iter().enumerate().find(|&own| wrong(own)) {
        return Err(NodeProblem::Exponential { index, exponential });
    }
    requantize::staircase(0, thresholds, levels, output.encoding)
}
