//! The reference executor: a model's meaning as plain loops, one after the other.
//!
//! It follows the documentation of [`ylb_format::model`] word by word, without bit planes, packing or
//! threads, and serves as the oracle for what a converter wrote and for what a runtime computes.

use ylb_format::model::{
    Along, Conv, MapPart, Model, Node, Operator, Requantize, Value, ValueId, ValueKind, Window,
    interleave_factor,
};

mod curves;
mod outputs;

/// Elements of a value, channel by channel, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements {
    /// Levels.
    Levels(Vec<u8>),
    /// Accumulators.
    Accumulators(Vec<i32>),
}

/// Everything a model computes for one picture: elements by [`ValueId`].
#[derive(Clone, Debug)]
pub struct Execution<'m> {
    model: &'m Model,
    values: Vec<Elements>,
}

/// A tensor of floats.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatTensor {
    /// Name of the graph output.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<f32>,
}

/// Runs a model on a picture: `pixels` are bytes, `[3, height, width]`, letterboxed already.
///
/// # Panics
/// If there are not as many pixels as the input has elements. A model that is not valid may panic too.
pub fn execute<'m>(model: &'m Model, pixels: &[u8]) -> Execution<'m> {
    let input = model.picture();
    assert_eq!(pixels.len(), element_count(input), "one byte for each element of the input");
    let plane = pixels.len() / 3;
    let level = |(index, &byte): (usize, &u8)| model.input.pixel_levels.of(index / plane)[usize::from(byte)];
    let levels = pixels.iter().enumerate().map(level).collect();
    execute_levels(model, levels)
}

/// Runs a model on the input's levels.
///
/// # Panics
/// As [`execute`].
pub fn execute_levels(model: &Model, levels: Vec<u8>) -> Execution<'_> {
    let mut execution = Execution { model, values: vec![Elements::Levels(Vec::new()); model.values.len()] };
    execution.values[model.input.value.index()] = Elements::Levels(levels);
    for node in &model.nodes {
        let elements = execution.node(node);
        execution.values[node.output.index()] = elements;
    }
    execution
}

fn element_count(value: &Value) -> usize {
    let [channels, height, width] = extents(value);
    channels * height * width
}

fn extents(value: &Value) -> [usize; 3] {
    [value.channels as usize, value.height as usize, value.width as usize]
}

impl Execution<'_> {
    /// Elements of a value.
    ///
    /// # Panics
    /// If the model has no such value.
    pub fn elements(&self, id: ValueId) -> &Elements {
        &self.values[id.index()]
    }

    /// Codes of a value that holds levels, in the order of its elements.
    ///
    /// # Panics
    /// If the model has no such value.
    pub fn codes(&self, id: ValueId) -> Option<Vec<i16>> {
        let encoding = self.model.value(id).encoding()?;
        let code = |&level: &u8| encoding.code(level) as i16;
        Some(self.levels(id).iter().map(code).collect())
    }

    fn levels(&self, id: ValueId) -> &[u8] {
        match &self.values[id.index()] {
            Elements::Levels(levels) => levels,
            Elements::Accumulators(_) => &[],
        }
    }

    fn accumulators(&self, id: ValueId) -> &[i32] {
        match &self.values[id.index()] {
            Elements::Accumulators(accumulators) => accumulators,
            Elements::Levels(_) => &[],
        }
    }

    /// Integers of a value: its codes without the zero point, or its accumulators.
    fn integers(&self, id: ValueId) -> Vec<i32> {
        match (self.model.value(id).kind, &self.values[id.index()]) {
            (ValueKind::Levels(encoding), Elements::Levels(levels)) => {
                levels.iter().map(|&level| encoding.integer(level)).collect()
            }
            (_, Elements::Accumulators(accumulators)) => accumulators.clone(),
            _ => Vec::new(),
        }
    }

    fn node(&self, node: &Node) -> Elements {
        let output = self.model.value(node.output);
        let [_, height, width] = extents(output);
        match &node.operator {
            Operator::Conv(conv) => self.conv(conv, output),
            Operator::Add { inputs, requantize } => {
                let terms: Vec<Vec<i32>> = inputs.iter().map(|&input| self.integers(input)).collect();
                Elements::Levels(requantized(requantize, &terms, 1, max_level(output)))
            }
            Operator::Map { input, table } => {
                let look_up = |&level: &u8| table[usize::from(level)];
                Elements::Levels(self.levels(*input).iter().map(look_up).collect())
            }
            Operator::MaxPool { input, window } => {
                let source = self.model.value(*input);
                Elements::Levels(max_pool(self.levels(*input), extents(source), window, [height, width]))
            }
            Operator::Upsample { input, factor } => {
                let [channels, rows, columns] = extents(self.model.value(*input));
                let (levels, factor) = (self.levels(*input), *factor as usize);
                let mut result = Vec::with_capacity(channels * height * width);
                for channel in 0..channels {
                    for y in 0..height {
                        let row = (channel * rows + y / factor) * columns;
                        result.extend((0..width).map(|x| levels[row + x / factor]));
                    }
                }
                Elements::Levels(result)
            }
            Operator::Interleave { inputs } => {
                let factor = interleave_factor(inputs.len()).unwrap_or(1) as usize;
                let [channels, rows, columns] = extents(self.model.value(inputs[0]));
                let mut result = Vec::with_capacity(channels * height * width);
                for channel in 0..channels {
                    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                        let levels = self.levels(inputs[y % factor * factor + x % factor]);
                        result.push(levels[(channel * rows + y / factor) * columns + x / factor]);
                    }
                }
                Elements::Levels(result)
            }
            Operator::Mul { inputs: [first, second], requantize } => {
                let (whole, other) = (self.integers(*first), self.integers(*second));
                let place = self.partner(*second, [height, width]);
                let product = |(index, integer): (usize, &i32)| integer * other[place(index)];
                let products = whole.iter().enumerate().map(product).collect();
                Elements::Levels(requantized(requantize, &[products], 1, max_level(output)))
            }
            Operator::Slice { input, first } => {
                let plane = height * width;
                let first = *first as usize * plane;
                Elements::Levels(self.levels(*input)[first..][..element_count(output)].to_vec())
            }
            Operator::ChannelMax { input } => {
                let levels = self.levels(*input);
                let largest = |pixel: usize| levels.iter().skip(pixel).step_by(height * width).max();
                let pixels = 0..height * width;
                Elements::Levels(pixels.map(|pixel| largest(pixel).copied().unwrap_or(0)).collect())
            }
            Operator::Pad { input, padding } => {
                Elements::Levels(self.padded(*input, padding.map(|extent| extent as usize), output))
            }
            Operator::AddTables { inputs, tables, requantize } => {
                let mut sums = vec![0; element_count(output)];
                for (&input, table) in inputs.iter().zip(tables) {
                    let entries = self.levels(input).iter().map(|&level| table[usize::from(level)]);
                    sums.iter_mut().zip(entries).for_each(|(sum, entry)| *sum += entry);
                }
                Elements::Levels(requantized(requantize, &[sums], 1, max_level(output)))
            }
            Operator::MatMul { inputs, groups, areas, along, requantize } => {
                let parts = [*groups, *areas].map(|count| count as usize);
                let sums = self.matrix_product(*inputs, parts, *along, output);
                Elements::Levels(requantized(requantize, &[sums], 1, max_level(output)))
            }
            Operator::Softmax { input, groups, exponentials, thresholds, levels } => {
                let staircase = (&thresholds[..], &levels[..]);
                Elements::Levels(softmax(self.levels(*input), *groups, exponentials, staircase, output))
            }
            Operator::PairMap { inputs: [first, second], table } => {
                let (whole, other) = (self.levels(*first), self.levels(*second));
                let place = self.partner(*second, [height, width]);
                let levels = usize::from(max_level(self.model.value(*second))) + 1;
                let look_up = |(index, &level): (usize, &u8)| {
                    table[usize::from(level) * levels + usize::from(other[place(index)])]
                };
                Elements::Levels(whole.iter().enumerate().map(look_up).collect())
            }
            Operator::Curves(join) => Elements::Levels(self.joined(join, output)),
            Operator::Concat { inputs } => {
                Elements::Levels(inputs.iter().flat_map(|&input| self.levels(input).to_vec()).collect())
            }
        }
    }

    /// Where in a factor the element is that belongs to one of the whole: along an axis of extent 1 there is but one.
    fn partner(&self, factor: ValueId, [height, width]: [usize; 2]) -> impl Fn(usize) -> usize + use<> {
        let gate = extents(self.model.value(factor));
        move |index| {
            let [c, y, x] = [index / (height * width), index / width % height, index % width];
            let [c, y, x] = [c % gate[0], y % gate[1], x % gate[2]];
            (c * gate[1] + y) * gate[2] + x
        }
    }

    /// Sums of products of two values as matrices.
    fn matrix_product(
        &self,
        inputs: [ValueId; 2],
        [groups, areas]: [usize; 2],
        along: Along,
        output: &Value,
    ) -> Vec<i32> {
        let [a, b] = inputs.map(|input| self.integers(input));
        let [own, second] = inputs.map(|input| extents(self.model.value(input)));
        let (pixels, positions) = (own[1] * own[2], second[1] * second[2]);
        let [channels, ..] = extents(output);
        let (depth, outputs, each) = (own[0] / groups, channels / groups, second[0] / groups);
        let mut sums = Vec::with_capacity(channels * pixels);
        for (channel, pixel) in (0..channels).flat_map(|c| (0..pixels).map(move |pixel| (c, pixel))) {
            let (group, output) = (channel / outputs, channel % outputs);
            let area = positions / areas;
            let first = if areas == 1 { 0 } else { pixel / area * area };
            let product = |k: usize| {
                let [from, position] = match along {
                    Along::Channels => [k, output],
                    Along::Positions => [output, k],
                };
                a[(group * depth + k) * pixels + pixel]
                    * b[(group * each + from) * positions + first + position]
            };
            sums.push((0..depth).map(product).sum());
        }
        sums
    }

    /// A value with zeros around it.
    fn padded(&self, input: ValueId, [top, left, ..]: [usize; 4], output: &Value) -> Vec<u8> {
        let value = self.model.value(input);
        let [channels, rows, columns] = extents(value);
        let [_, height, width] = extents(output);
        let zero = value.encoding().and_then(|encoding| encoding.zero_level()).unwrap_or(0);
        let levels = self.levels(input);
        let mut result = Vec::with_capacity(channels * height * width);
        for channel in 0..channels {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let inside = (top..top + rows).contains(&y) && (left..left + columns).contains(&x);
                let at = || levels[(channel * rows + y - top) * columns + x - left];
                result.push(if inside { at() } else { zero });
            }
        }
        result
    }

    fn conv(&self, conv: &Conv, output: &Value) -> Elements {
        let [channels, height, width] = extents(output);
        let mut terms = Vec::with_capacity(conv.terms.len());
        for term in &conv.terms {
            let integers = self.integers(term.input);
            let input = extents(self.model.value(term.input));
            let shape = term.weights.shape.map(|extent| extent as usize);
            let weights = term.weights.decode();
            let mut sums = vec![0i32; channels * height * width];
            for (channel, sums) in sums.chunks_exact_mut(height * width).enumerate() {
                let group = channel / (channels / conv.groups as usize);
                let kernel_len = shape[1] * shape[2] * shape[3];
                let kernel = &weights[channel * kernel_len..][..kernel_len];
                let window = Taps { shape, first_input: group * shape[1], window: &conv.window };
                accumulate(&integers, input, kernel, &window, sums, [height, width]);
            }
            terms.push(sums);
        }
        match &conv.requantize {
            Some(Requantize::Scale { multipliers, bias, shift }) if output.encoding().is_none() => {
                let sum = |index: usize| {
                    let channel = index / (height * width);
                    let own = terms.iter().zip(multipliers.iter().skip(channel).step_by(channels));
                    let products =
                        own.map(|(term, &multiplier)| i64::from(term[index]) * i64::from(multiplier));
                    ((products.sum::<i64>() + bias[channel]) >> shift) as i32
                };
                Elements::Accumulators((0..channels * height * width).map(sum).collect())
            }
            Some(requantize) => {
                Elements::Levels(requantized(requantize, &terms, channels, max_level(output)))
            }
            None => Elements::Accumulators(terms.swap_remove(0)),
        }
    }

    /// Logits of one part of the detection head: `[channels, height, width]`.
    ///
    /// # Panics
    /// If the model has no such part.
    pub fn logits(&self, of: MapPart) -> Vec<f64> {
        let part = &self.model.detect.maps[of.map as usize].parts[of.part as usize];
        let integers = self.integers(part.value);
        let plane = integers.len() / part.multipliers.len();
        let unit = f64::from(part.shift).exp2();
        let logit = |(index, &x): (usize, &i32)| {
            let channel = index / plane;
            let product = i64::from(x) * i64::from(part.multipliers[channel]);
            (product + part.bias[channel]) as f64 / unit
        };
        integers.iter().enumerate().map(logit).collect()
    }
}

fn max_level(value: &Value) -> u8 {
    value.encoding().map_or(0, |encoding| encoding.max_level)
}

/// A kernel's place over its input.
struct Taps<'w> {
    /// Output channels, input channels of a group, rows, columns.
    shape: [usize; 4],
    /// First input channel of the group.
    first_input: usize,
    window: &'w Window,
}

/// Output positions whose window position `tap` lies inside the input, as a range.
fn inside(tap: usize, padding: usize, stride: usize, input: usize, output: usize) -> std::ops::Range<usize> {
    // y · stride + tap − padding in 0 .. input
    let first = padding.saturating_sub(tap).div_ceil(stride);
    let end = (input + padding).saturating_sub(tap).div_ceil(stride).min(output);
    first.min(end)..end
}

/// Adds `Σ weight · integer` of one output channel to `sums`. Padded positions add nothing.
fn accumulate(
    integers: &[i32],
    [_, rows, columns]: [usize; 3],
    kernel: &[i16],
    taps: &Taps<'_>,
    sums: &mut [i32],
    [height, width]: [usize; 2],
) {
    let [_, inputs, kernel_rows, kernel_columns] = taps.shape;
    let [stride_y, stride_x] = taps.window.stride.map(|extent| extent as usize);
    let [top, left, ..] = taps.window.padding.map(|extent| extent as usize);
    for input in 0..inputs {
        let plane = &integers[(taps.first_input + input) * rows * columns..][..rows * columns];
        for (ky, kx) in (0..kernel_rows).flat_map(|ky| (0..kernel_columns).map(move |kx| (ky, kx))) {
            let weight = i32::from(kernel[(input * kernel_rows + ky) * kernel_columns + kx]);
            if weight == 0 {
                continue;
            }
            let xs = inside(kx, left, stride_x, columns, width);
            for y in inside(ky, top, stride_y, rows, height) {
                let row = &plane[(y * stride_y + ky - top) * columns..][..columns];
                let sums = &mut sums[y * width..][..width][xs.clone()];
                if xs.is_empty() {
                    continue;
                }
                let row = &row[xs.start * stride_x + kx - left..];
                if stride_x == 1 {
                    sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += weight * x);
                } else {
                    let row = row.iter().step_by(stride_x);
                    sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += weight * x);
                }
            }
        }
    }
}

/// The level of each channel's share of its group.
fn softmax(
    input: &[u8],
    groups: u32,
    exponentials: &[u64],
    (thresholds, levels): (&[u64], &[u8]),
    output: &Value,
) -> Vec<u8> {
    let [channels, height, width] = extents(output);
    let (pixels, each) = (height * width, channels / groups as usize);
    let level = |index: usize| {
        let (channel, pixel) = (index / pixels, index % pixels);
        let first = channel / each * each;
        let group = || (first..first + each).map(|own| input[own * pixels + pixel]);
        let largest = group().max().unwrap_or(0);
        let exponential = |level: u8| u128::from(exponentials[usize::from(largest - level)]);
        let sum: u128 = group().map(exponential).sum();
        let share = exponential(input[index]) << 48;
        levels[thresholds.iter().filter(|&&threshold| u128::from(threshold) * sum <= share).count()]
    };
    (0..input.len()).map(level).collect()
}

fn max_pool(
    levels: &[u8],
    [channels, rows, columns]: [usize; 3],
    window: &Window,
    [height, width]: [usize; 2],
) -> Vec<u8> {
    let [kernel_rows, kernel_columns] = window.kernel.map(|extent| extent as usize);
    let [stride_y, stride_x] = window.stride.map(|extent| extent as usize);
    let [top, left, ..] = window.padding.map(|extent| extent as usize);
    let mut result = Vec::with_capacity(channels * height * width);
    for plane in levels.chunks_exact(rows * columns).take(channels) {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let ys = (y * stride_y).saturating_sub(top)..(y * stride_y + kernel_rows - top).min(rows);
            let xs = (x * stride_x).saturating_sub(left)..(x * stride_x + kernel_columns - left).min(columns);
            let covered = ys.flat_map(|y| plane[y * columns..][xs.clone()].iter());
            result.push(covered.copied().max().unwrap_or(0));
        }
    }
    result
}

/// Levels for the accumulators of each term; `channels` channels one after another.
fn requantized(requantize: &Requantize, terms: &[Vec<i32>], channels: usize, max_level: u8) -> Vec<u8> {
    let len = terms[0].len();
    let plane = len / channels;
    let scaled = |index: usize, multipliers: &[i32], bias: &[i64]| {
        let channel = index / plane;
        let term = |(t, accumulators): (usize, &Vec<i32>)| {
            i64::from(accumulators[index]) * i64::from(multipliers[t * channels + channel])
        };
        terms.iter().enumerate().map(term).sum::<i64>() + bias[channel]
    };
    let level = |index: usize| match requantize {
        Requantize::Scale { multipliers, bias, shift } => {
            (scaled(index, multipliers, bias) >> shift).clamp(0, i64::from(max_level)) as u8
        }
        Requantize::Staircase { thresholds, levels } => {
            let accumulator = terms[0][index];
            let channel = index / plane;
            let passed = thresholds[channel].iter().filter(|&&t| t <= accumulator).count();
            levels[channel][passed]
        }
        Requantize::ScaledStaircase { multipliers, bias, thresholds, levels } => {
            let sum = scaled(index, multipliers, bias);
            levels[thresholds.iter().filter(|&&t| t <= sum).count()]
        }
    };
    (0..len).map(level).collect()
}

#[cfg(test)]
mod tests;
