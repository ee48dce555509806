//! Stages of random models: slices, paddings, gates along one axis, sums of functions.

use ylb_format::model::{Operator, Requantize, ValueId, ValueKind, Window};

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
        let reach = self.integer_reach(own) * self.integer_reach(gate);
        let to = self.encoding();
        let requantize = self.requantize(&[reach], 1, to.max_level);
        let output = self.value([channels, height, width], ValueKind::Levels(to));
        self.node(output, Operator::Mul { inputs: [own, gate], requantize })
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
