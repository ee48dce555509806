//! Nodes: order, single writers, and that the shape of every output follows from the inputs.

use super::{NodeProblem, Violation, attention, conv, curves, requantize};
use crate::limits::{MAX_ADDENDS, MAX_CONCAT_INPUTS, MAX_UPSAMPLE, MAX_WINDOW};
use crate::model::{Encoding, Model, Node, Operator, Requantize, Value, ValueId, Window, interleave_factor};
use crate::weights::to_usize;

/// Which values are written and read; indexed by value.
pub(super) struct Usage {
    written: Vec<bool>,
    read: Vec<bool>,
}

/// Checks all nodes.
pub(super) fn validate(model: &Model) -> Result<Usage, Violation> {
    let mut usage = Usage { written: vec![false; model.values.len()], read: vec![false; model.values.len()] };
    if let Some(written) = usage.written.get_mut(to_usize(model.input.value.0)) {
        *written = true;
    }
    for (index, node) in model.nodes.iter().enumerate() {
        usage.visit(model, node).and_then(|()| operator(model, node)).map_err(|problem| Violation::Node {
            node: index,
            name: node.name.clone(),
            problem,
        })?;
    }
    Ok(usage)
}

impl Usage {
    /// Notes what a node reads and writes.
    fn visit(&mut self, model: &Model, node: &Node) -> Result<(), NodeProblem> {
        let values = model.values.len();
        for input in node.operator.inputs() {
            let index = to_usize(input.0);
            match self.written.get(index) {
                None => {
                    return Err(NodeProblem::UnknownValue { value: input.0, values });
                }
                Some(false) => return Err(NodeProblem::ReadTooEarly { value: input.0 }),
                Some(true) => {}
            }
            if let Some(read) = self.read.get_mut(index) {
                *read = true;
            }
        }
        let value = node.output.0;
        match self.written.get_mut(to_usize(value)) {
            None => Err(NodeProblem::UnknownValue { value, values }),
            Some(true) => Err(NodeProblem::WrittenTwice { value }),
            Some(written) => {
                *written = true;
                Ok(())
            }
        }
    }

    /// Checks that every value is written and, in a detector, used. A network without a detection
    /// head has no other mark for its results than that nobody reads them.
    pub(super) fn validate(mut self, model: &Model) -> Result<(), Violation> {
        let is_detector = !model.detect.maps.is_empty();
        for part in model.detect.parts() {
            if let Some(read) = self.read.get_mut(to_usize(part.value.0)) {
                *read = true;
            }
        }
        let used = self.written.iter().zip(&self.read);
        for ((value, (&written, &read)), index) in model.values.iter().zip(used).zip(0u32..) {
            let name = || value.name.clone();
            if !written {
                return Err(Violation::NeverWritten { value: index, name: name() });
            }
            if is_detector && !read {
                return Err(Violation::NeverRead { value: index, name: name() });
            }
        }
        Ok(())
    }
}

/// A value of levels with its encoding.
#[derive(Clone, Copy)]
pub(super) struct Levels<'a> {
    pub(super) value: &'a Value,
    pub(super) encoding: &'a Encoding,
}

/// The value read by a node, which must hold levels.
pub(super) fn input(model: &Model, id: ValueId) -> Result<Levels<'_>, NodeProblem> {
    let value = find(model, id)?;
    match value.encoding() {
        Some(encoding) => Ok(Levels { value, encoding }),
        None => Err(NodeProblem::InputIsAccumulators { value: id.0 }),
    }
}

/// A node's output, which must hold levels.
pub(super) fn output(value: &Value) -> Result<Levels<'_>, NodeProblem> {
    let encoding = value.encoding().ok_or(NodeProblem::OutputIsAccumulators)?;
    Ok(Levels { value, encoding })
}

pub(super) fn find(model: &Model, id: ValueId) -> Result<&Value, NodeProblem> {
    let values = model.values.len();
    model.values.get(to_usize(id.0)).ok_or(NodeProblem::UnknownValue { value: id.0, values })
}

fn operator(model: &Model, node: &Node) -> Result<(), NodeProblem> {
    let written = find(model, node.output)?;
    by_itself(model, node, written)?;
    if !node.operator.hands_levels_on() {
        return Ok(());
    }
    let output = output(written)?;
    for (index, id) in node.operator.inputs().into_iter().enumerate() {
        same_levels(index, input(model, id)?, output)?;
    }
    Ok(())
}

fn by_itself(model: &Model, node: &Node, written: &Value) -> Result<(), NodeProblem> {
    match &node.operator {
        Operator::Conv(conv) => conv::validate(model, conv, written),
        Operator::Add { inputs, requantize } => add(model, inputs, requantize, output(written)?),
        Operator::Map { input: id, table } => map(input(model, *id)?, table, output(written)?),
        Operator::MaxPool { input: id, window } => max_pool(input(model, *id)?, window, output(written)?),
        Operator::Upsample { input: id, factor } => upsample(input(model, *id)?, *factor, output(written)?),
        Operator::Concat { inputs } => concat(model, inputs, output(written)?),
        Operator::Mul { inputs, requantize } => mul(model, *inputs, requantize, output(written)?),
        Operator::Slice { input: id, first } => slice(input(model, *id)?, *first, output(written)?),
        Operator::ChannelMax { input: id } => {
            let [_, height, width] = input(model, *id)?.value.shape().map(u64::from);
            output_shape([1, height, width], output(written)?.value)
        }
        Operator::Pad { input: id, padding } => pad(input(model, *id)?, padding, output(written)?),
        Operator::PairMap { inputs, table } => pair_map(model, *inputs, table, output(written)?),
        Operator::MatMul { inputs, groups, areas, along, requantize } => {
            attention::mat_mul(model, *inputs, (*groups, *areas, *along), requantize, output(written)?)
        }
        Operator::Softmax { input: id, groups, exponentials, thresholds, levels } => {
            let staircase = (&thresholds[..], &levels[..]);
            attention::softmax(input(model, *id)?, *groups, exponentials, staircase, output(written)?)
        }
        Operator::AddTables { inputs, tables, requantize } => {
            add_tables(model, inputs, tables, requantize, output(written)?)
        }
        Operator::Curves(join) => curves::validate(model, join, written),
        Operator::Interleave { inputs } => interleave(model, inputs, output(written)?),
    }
}

fn add(
    model: &Model,
    inputs: &[ValueId],
    requantize: &Requantize,
    output: Levels<'_>,
) -> Result<(), NodeProblem> {
    input_count(inputs.len(), 2, MAX_ADDENDS)?;
    let mut bounds = Vec::with_capacity(inputs.len());
    for (index, &id) in inputs.iter().enumerate() {
        let addend = input(model, id)?;
        input_shape(index, output.value.shape(), addend.value)?;
        bounds.push(vec![addend.encoding.max_magnitude()]);
    }
    if let Requantize::Staircase { .. } = requantize {
        return Err(NodeProblem::StaircaseTerms { terms: inputs.len() });
    }
    requantize::validate(requantize, &bounds, 1, output.encoding)
}

fn pair_map(
    model: &Model,
    inputs: [ValueId; 2],
    table: &[u8],
    output: Levels<'_>,
) -> Result<(), NodeProblem> {
    let factors = factors(model, inputs, output)?;
    let levels = factors.iter().map(|factor| usize::from(factor.encoding.max_level) + 1).product();
    if table.len() != levels {
        return Err(NodeProblem::TableLen { len: table.len(), levels });
    }
    requantize::levels(table, output.encoding)
}

fn mul(
    model: &Model,
    inputs: [ValueId; 2],
    requantize: &Requantize,
    output: Levels<'_>,
) -> Result<(), NodeProblem> {
    let [whole, other] = factors(model, inputs, output)?;
    let bound = whole.encoding.max_magnitude() * other.encoding.max_magnitude();
    requantize::validate(requantize, &[vec![bound]], 1, output.encoding)
}

/// Two values, the second of which may have an extent of 1 along some axes.
fn factors<'m>(
    model: &'m Model,
    [first, second]: [ValueId; 2],
    output: Levels<'_>,
) -> Result<[Levels<'m>; 2], NodeProblem> {
    let (whole, other) = (input(model, first)?, input(model, second)?);
    let shape = output.value.shape();
    input_shape(0, shape, whole.value)?;
    if other.value.shape().iter().zip(shape).any(|(&extent, whole)| extent != whole && extent != 1) {
        input_shape(1, shape, other.value)?;
    }
    Ok([whole, other])
}

fn slice(input: Levels<'_>, first: u32, output: Levels<'_>) -> Result<(), NodeProblem> {
    let [channels, height, width] = input.value.shape();
    let count = output.value.channels;
    if first.checked_add(count).is_none_or(|end| end > channels) {
        return Err(NodeProblem::SliceRange { first, count, channels });
    }
    output_shape([count, height, width].map(u64::from), output.value)
}

fn pad(input: Levels<'_>, padding: &[u32; 4], output: Levels<'_>) -> Result<(), NodeProblem> {
    if input.encoding.zero_level().is_none() {
        return Err(NodeProblem::NoZero);
    }
    let [channels, height, width] = input.value.shape().map(u64::from);
    let [top, left, bottom, right] = padding.map(u64::from);
    output_shape([channels, height + top + bottom, width + left + right], output.value)
}

fn add_tables(
    model: &Model,
    inputs: &[ValueId],
    tables: &[Vec<i32>],
    requantize: &Requantize,
    output: Levels<'_>,
) -> Result<(), NodeProblem> {
    input_count(inputs.len(), 2, MAX_ADDENDS)?;
    input_count(tables.len(), inputs.len(), inputs.len())?;
    let mut bound = 0;
    for (index, (&id, table)) in inputs.iter().zip(tables).enumerate() {
        let addend = input(model, id)?;
        input_shape(index, output.value.shape(), addend.value)?;
        table_len(table.len(), addend)?;
        bound += table.iter().map(|entry| i64::from(entry.unsigned_abs())).max().unwrap_or(0);
    }
    if bound > i64::from(i32::MAX) {
        return Err(NodeProblem::AccumulatorRange { term: 0, channel: 0, magnitude: bound });
    }
    requantize::validate(requantize, &[vec![bound]], 1, output.encoding)
}

fn table_len(len: usize, input: Levels<'_>) -> Result<(), NodeProblem> {
    let levels = usize::from(input.encoding.max_level) + 1;
    if len == levels { Ok(()) } else { Err(NodeProblem::TableLen { len, levels }) }
}

fn map(input: Levels<'_>, table: &[u8], output: Levels<'_>) -> Result<(), NodeProblem> {
    output_shape(input.value.shape().map(u64::from), output.value)?;
    table_len(table.len(), input)?;
    requantize::levels(table, output.encoding)
}

fn max_pool(input: Levels<'_>, window: &Window, output: Levels<'_>) -> Result<(), NodeProblem> {
    let [height, width] = window_positions(window, input.value)?;
    output_shape([u64::from(input.value.channels), height, width], output.value)
}

fn upsample(input: Levels<'_>, factor: u32, output: Levels<'_>) -> Result<(), NodeProblem> {
    if !(2..=MAX_UPSAMPLE).contains(&factor) {
        return Err(NodeProblem::UpsampleFactor { factor, limit: MAX_UPSAMPLE });
    }
    let [channels, height, width] = input.value.shape().map(u64::from);
    let factor = u64::from(factor);
    output_shape([channels, height * factor, width * factor], output.value)
}

fn interleave(model: &Model, inputs: &[ValueId], output: Levels<'_>) -> Result<(), NodeProblem> {
    let count = inputs.len();
    let factor = interleave_factor(count).ok_or(NodeProblem::InterleaveCount { count })?;
    let mut shape = None;
    for (index, &id) in inputs.iter().enumerate() {
        let part = input(model, id)?;
        input_shape(index, *shape.get_or_insert(part.value.shape()), part.value)?;
    }
    let [channels, height, width] = shape.unwrap_or_default().map(u64::from);
    let factor = u64::from(factor);
    output_shape([channels, height * factor, width * factor], output.value)
}

fn concat(model: &Model, inputs: &[ValueId], output: Levels<'_>) -> Result<(), NodeProblem> {
    input_count(inputs.len(), 1, MAX_CONCAT_INPUTS)?;
    let [_, height, width] = output.value.shape();
    let mut channels = 0;
    for (index, &id) in inputs.iter().enumerate() {
        let part = input(model, id)?;
        input_shape(index, [part.value.channels, height, width], part.value)?;
        channels += u64::from(part.value.channels);
    }
    output_shape([channels, u64::from(height), u64::from(width)], output.value)
}

pub(super) fn input_count(count: usize, min: usize, max: usize) -> Result<(), NodeProblem> {
    if (min..=max).contains(&count) {
        return Ok(());
    }
    Err(NodeProblem::InputCount { count, min, max })
}

pub(super) fn input_shape(input: usize, expected: [u32; 3], value: &Value) -> Result<(), NodeProblem> {
    let actual = value.shape();
    if actual == expected {
        return Ok(());
    }
    Err(NodeProblem::InputShape { input, expected, actual })
}

pub(super) fn output_shape(expected: [u64; 3], value: &Value) -> Result<(), NodeProblem> {
    let actual = value.shape().map(u64::from);
    if actual == expected {
        return Ok(());
    }
    Err(NodeProblem::OutputShape { expected, actual })
}

fn same_levels(index: usize, input: Levels<'_>, output: Levels<'_>) -> Result<(), NodeProblem> {
    if input.encoding.same_levels(output.encoding) {
        return Ok(());
    }
    Err(NodeProblem::Encoding { input: index })
}

/// Rows and columns of the output of a sliding window:
/// `(extent + padding before + padding behind − kernel) / stride + 1`, rounded down.
///
/// Padding is less than the kernel, therefore every window covers a position of the input.
pub(super) fn window_positions(window: &Window, input: &Value) -> Result<[u64; 2], NodeProblem> {
    let &Window { kernel, stride, padding } = window;
    let extents = kernel.iter().chain(&stride);
    if extents.into_iter().any(|extent| !(1..=MAX_WINDOW).contains(extent)) {
        return Err(NodeProblem::Window { kernel, stride, limit: MAX_WINDOW });
    }
    let [top, left, bottom, right] = padding;
    if top.max(bottom) >= kernel[0] || left.max(right) >= kernel[1] {
        return Err(NodeProblem::Padding { padding, kernel });
    }
    let padded = [input.height + top + bottom, input.width + left + right];
    match [padded[0].checked_sub(kernel[0]), padded[1].checked_sub(kernel[1])] {
        [Some(rows), Some(columns)] => {
            Ok([u64::from(rows / stride[0]) + 1, u64::from(columns / stride[1]) + 1])
        }
        _ => Err(NodeProblem::WindowExceedsInput { kernel, padded }),
    }
}
