//! Stages of random models: slices, paddings, gates along one axis, sums of functions.

use ylb_format::model::{Along, Operator, Requantize, ValueId, ValueKind, Window};

use super::Builder;

impl Builder {
    /// Slices of a value, or of a slice: read by convolutions and sums, joined again, with the whole or without.
    pub(super) fn slices(&mut self, input: ValueId) -> ValueId {
        let outputs = self.rng.pick(&[8, 16, 24, 40, 48, 70]);
        let whole = self.same_conv(input, outputs);
        let encoding = self.encoding_of(whole);
        let half = self.slice(whole, outputs / 2, outputs - outputs / 2);
        let first = if self.rng.one_in(2) { self.slice(whole, 0, outputs / 2) } else { whole };
        let part = match self.rng.below(3) {
            0 => half,
            1 => self.slice(half, 1, outputs / 4),
            _ => self.slice(whole, outputs / 4, 8.min(outputs / 2)),
        };
        let read = self.same_conv(part, outputs - outputs / 2);
        let read = if self.rng.one_in(2) { self.residual_of(&[half, read]) } else { read };
        let read = self.map_to(read, encoding);
        let mut inputs = vec![first, half, read];
        if self.rng.one_in(3) {
            inputs.swap(0, 2);
        }
        let [_, height, width] = self.shape(input);
        let channels = inputs.iter().map(|&value| self.shape(value)[0]).sum();
        let output = self.value([channels, height, width], ValueKind::Levels(encoding));
        self.node(output, Operator::Concat { inputs })
    }

    fn slice(&mut self, input: ValueId, first: u32, channels: u32) -> ValueId {
        let [_, height, width] = self.shape(input);
        let encoding = self.encoding_of(input);
        let output = self.value([channels, height, width], ValueKind::Levels(encoding));
        self.node(output, Operator::Slice { input, first })
    }

    pub(super) fn residual_of(&mut self, inputs: &[ValueId]) -> ValueId {
        let encoding = self.encoding();
        let reach: Vec<i64> = inputs.iter().map(|&value| self.integer_reach(value)).collect();
        let requantize = loop {
            let requantize = self.requantize(&reach, 1, encoding.max_level);
            if !matches!(requantize, Requantize::Staircase { .. }) {
                break requantize;
            }
        };
        let output = self.value(self.shape(inputs[0]), ValueKind::Levels(encoding));
        self.node(output, Operator::Add { inputs: inputs.to_vec(), requantize })
    }

    /// Any function of two values, the second one as wide as the first or a gate.
    fn pairs(&mut self, inputs: [ValueId; 2]) -> ValueId {
        let pairs: usize =
            inputs.iter().map(|&input| usize::from(self.encoding_of(input).max_level) + 1).product();
        let to = self.encoding();
        let table = (0..pairs).map(|_| self.level(to.max_level)).collect();
        let output = self.value(self.shape(inputs[0]), ValueKind::Levels(to));
        self.node(output, Operator::PairMap { inputs, table })
    }

    /// Zeros around a value, if it has a zero, and a gate for it: one of each pixel, or of each row or column.
    pub(super) fn rearranged(&mut self, input: ValueId) -> ValueId {
        let encoding = self.encoding_of(input);
        let [channels, height, width] = self.shape(input);
        let mut own = input;
        if encoding.zero_level().is_some() && height.max(width) < 40 {
            let padding = [(); 4].map(|()| self.rng.below(3) as u32);
            let [top, left, bottom, right] = padding;
            let shape = [channels, height + top + bottom, width + left + right];
            let output = self.value(shape, ValueKind::Levels(encoding));
            own = self.node(output, Operator::Pad { input, padding });
        }
        let [channels, height, width] = self.shape(own);
        let (shape, operator) = match self.rng.below(3) {
            0 => ([1, height, width], Operator::ChannelMax { input: own }),
            axis => {
                let kernel = if axis == 1 { [height, 1] } else { [1, width] };
                let window = Window { kernel, stride: [1, 1], padding: [0; 4] };
                let shape = [channels, height + 1 - kernel[0], width + 1 - kernel[1]];
                (shape, Operator::MaxPool { input: own, window })
            }
        };
        let gate = self.value(shape, ValueKind::Levels(encoding));
        let gate = self.node(gate, operator);
        if self.rng.one_in(3) {
            return self.pairs([own, gate]);
        }
        let reach = self.integer_reach(own) * self.integer_reach(gate);
        let to = self.encoding();
        let requantize = self.requantize(&[reach], 1, to.max_level);
        let output = self.value([channels, height, width], ValueKind::Levels(to));
        self.node(output, Operator::Mul { inputs: [own, gate], requantize })
    }

    /// An attention of one or two heads over a small map: products of queries and keys, their shares, products of these and
    /// values.
    pub(super) fn attention(&mut self, input: ValueId) -> ValueId {
        let [_, height, width] = self.shape(input);
        if height * width > 144 {
            return self.same_conv(input, 8);
        }
        let heads = 1 + self.rng.below(2) as u32;
        let [depth, own] = [3, 5].map(|channels| heads * channels);
        let [query, key] = [(); 2].map(|()| self.same_conv(input, depth));
        let value = self.same_conv(input, own);
        let logits = self.encoding();
        let reach = 3 * self.integer_reach(query) * self.integer_reach(key);
        let requantize = self.requantize(&[reach], 1, logits.max_level);
        let fitting: Vec<u32> =
            [1, 2, 3, 4].into_iter().filter(|&own| (height * width).is_multiple_of(own)).collect();
        let areas = fitting[self.rng.below(fitting.len())];
        let positions = height * width / areas;
        let output = self.value([heads * positions, height, width], ValueKind::Levels(logits));
        let along = Along::Channels;
        let operator = Operator::MatMul { inputs: [query, key], groups: heads, areas, along, requantize };
        let logits = self.node(output, operator);
        let shares = self.softmax(logits, heads);
        let encoding = self.encoding();
        let reach = self.integer_reach(shares) * self.integer_reach(value) * 4;
        let requantize = self.requantize(&[reach], 1, encoding.max_level);
        let output = self.value([own, height, width], ValueKind::Levels(encoding));
        let along = Along::Positions;
        let operator = Operator::MatMul { inputs: [shares, value], groups: heads, areas, along, requantize };
        self.node(output, operator)
    }

    fn softmax(&mut self, input: ValueId, groups: u32) -> ValueId {
        let count = f64::from(self.encoding_of(input).max_level) + 1.0;
        let unit = (46f64).exp2();
        let distances = (0..count as u32).map(f64::from);
        let exponentials =
            distances.map(|distance| (unit * (-distance * 4.0 / count).exp()) as u64).collect();
        let encoding = self.encoding();
        let mut thresholds: Vec<u64> = (0..self.rng.below(9)).map(|_| self.rng.next_u64() >> 20).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        let levels = (0..=thresholds.len()).map(|_| self.level(encoding.max_level)).collect();
        let output = self.value(self.shape(input), ValueKind::Levels(encoding));
        self.node(output, Operator::Softmax { input, groups, exponentials, thresholds, levels })
    }

    /// The sum of functions of two to four values.
    pub(super) fn functions(&mut self, input: ValueId) -> ValueId {
        let shape = self.shape(input);
        let mut inputs = vec![input];
        for _ in 0..self.rng.range(1, 3) {
            let another = self.same_conv(input, shape[0]);
            inputs.push(another);
        }
        let table = |builder: &mut Self, value: ValueId| -> Vec<i32> {
            let levels = usize::from(builder.encoding_of(value).max_level) + 1;
            (0..levels).map(|_| builder.rng.range(-1 << 20, 1 << 20) as i32).collect()
        };
        let tables = inputs.clone().into_iter().map(|value| table(self, value)).collect();
        let to = self.encoding();
        let requantize = self.requantize(&[1 << 21], 1, to.max_level);
        let output = self.value(shape, ValueKind::Levels(to));
        self.node(output, Operator::AddTables { inputs, tables, requantize })
    }
}
