//! Random small models that exercise every operator, encoding and way of requantizing.

use std::ops::Range;

use ylb_format::model::{
    BoxRule, Conv, ConvTerm, Detect, Encoding, HeadMap, HeadPart, Input, MapPart, Metadata, Model, Node,
    Operator, Output, OutputKind, PixelLevels, Requantize, ScoreRule, Value, ValueId, ValueKind,
    WeightEncoding, Weights, Window,
};

use crate::rng::Rng;

mod curves;
mod rearranging;

/// A valid model made from a seed.
pub fn random_model(seed: u64) -> Model {
    let mut builder = Builder::new(seed);
    let mut current = builder.input();
    for _ in 0..builder.rng.range(2, 6) {
        current = builder.stage(current);
    }
    builder.finish(current)
}

/// A model whose depthwise convolution and pooling have windows as large as the picture: those of gates.
pub fn whole_map_model(seed: u64, [height, width]: [u32; 2]) -> Model {
    let mut builder = Builder::new(seed);
    let encoding = Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 1.0 / 255.0 };
    let input = builder.value([3, height, width], ValueKind::Levels(encoding));
    let window = Window { kernel: [height, width], stride: [1, 1], padding: [0; 4] };
    let terms = vec![builder.term(input, window, 3, 3)];
    let mean = builder.conv_of(terms, window, 3, 3);
    let output = builder.value([3, 1, 1], ValueKind::Levels(encoding));
    let most = builder.node(output, Operator::MaxPool { input, window });
    let inputs = [mean, most];
    let reach = builder.integer_reach(mean) * builder.integer_reach(most);
    let to = builder.encoding();
    let requantize = builder.requantize(&[reach], 1, to.max_level);
    let output = builder.value([3, 1, 1], ValueKind::Levels(to));
    let last = builder.node(output, Operator::Mul { inputs, requantize });
    builder.finish(last)
}

struct Builder {
    rng: Rng,
    model: Model,
}

impl Builder {
    fn new(seed: u64) -> Self {
        let model = Model {
            metadata: Metadata { converter: "random".to_owned(), ..Metadata::default() },
            input: Input::new("images", ValueId(0), std::array::from_fn(|byte| byte as u8)),
            values: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            detect: Detect::default(),
        };
        Self { rng: Rng::new(seed), model }
    }

    fn value(&mut self, [channels, height, width]: [u32; 3], kind: ValueKind) -> ValueId {
        let id = ValueId(self.model.values.len() as u32);
        let name = format!("value {}", id.0);
        self.model.values.push(Value { name, channels, height, width, kind });
        id
    }

    fn node(&mut self, output: ValueId, operator: Operator) -> ValueId {
        let name = format!("node {}", self.model.nodes.len());
        self.model.nodes.push(Node { name, output, operator });
        output
    }

    fn shape(&self, value: ValueId) -> [u32; 3] {
        let value = self.model.value(value);
        [value.channels, value.height, value.width]
    }

    fn encoding_of(&self, value: ValueId) -> Encoding {
        *self.model.encoding(value)
    }

    fn input(&mut self) -> ValueId {
        let shape = [3, self.rng.range(6, 20) as u32, self.rng.range(6, 20) as u32];
        let mut encoding = Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 1.0 / 255.0 };
        if self.rng.one_in(3) {
            encoding.max_level = self.rng.pick(&[1, 3, 15, 100]);
            let max = usize::from(encoding.max_level);
            self.model.input.pixel_levels =
                PixelLevels::Same(std::array::from_fn(|byte| (byte % (max + 1)) as u8));
        }
        self.value(shape, ValueKind::Levels(encoding))
    }

    fn encoding(&mut self) -> Encoding {
        let bits = self.rng.pick(&[1u32, 1, 2, 2, 2, 3, 4, 4, 5, 8]);
        let mut max_level = (1u32 << bits) - 1;
        if self.rng.one_in(6) {
            max_level = (max_level - 1).max(1);
        }
        let max_level = max_level as u8;
        let scale = 0.01 * (1 + self.rng.below(100)) as f64;
        let mut encoding = Encoding { max_level, step: 1, low: 0, zero_point: 0, scale };
        match self.rng.below(5) {
            // Signed.
            0 => encoding.low = -(i16::from(max_level) / 2 + 1),
            // A zero point that is a level.
            1 => encoding.zero_point = self.rng.range(0, i64::from(max_level)) as i16,
            // Bipolar: no level is zero.
            2 if max_level == 1 => (encoding.step, encoding.low) = (2, -1),
            _ => {}
        }
        encoding
    }

    /// One of the things that networks do.
    fn stage(&mut self, input: ValueId) -> ValueId {
        match self.rng.below(13) {
            8 => self.slices(input),
            9 => self.rearranged(input),
            10 => self.functions(input),
            11 => self.attention(input),
            12 => self.join(input),
            0 => self.residual(input),
            1 => self.branches(input),
            2 => self.pyramid(input),
            3 => self.map(input),
            4 => self.several_terms(input),
            5 => self.product(input),
            _ => self.conv(input),
        }
    }

    fn weights(&mut self, shape: [u32; 4]) -> Weights {
        let bits = self.rng.pick(&[1u8, 1, 2, 2, 3, 4, 4, 8]);
        let encoding = match self.rng.below(3) {
            0 => WeightEncoding::Unsigned,
            1 => WeightEncoding::Bipolar,
            _ => WeightEncoding::TwosComplement,
        };
        let len: usize = shape.iter().map(|&extent| extent as usize).product();
        let mut planes = Vec::new();
        for _ in 0..bits {
            let mut plane = self.rng.bytes(len.div_ceil(8));
            if !len.is_multiple_of(8) {
                *plane.last_mut().expect("weights exist") &= (1 << (len % 8)) - 1;
            }
            planes.extend(plane);
        }
        let zero_points = if self.rng.one_in(4) && encoding == WeightEncoding::Unsigned {
            (0..shape[0]).map(|_| self.rng.range(0, (1 << bits) - 1) as i16).collect()
        } else {
            Vec::new()
        };
        Weights { shape, encoding, bits, planes, zero_points }
    }

    fn window(&mut self, [_, height, width]: [u32; 3]) -> Window {
        let kernel = self.rng.pick(&[1u32, 1, 3, 3, 2, 5, 6]).min(height).min(width);
        let kernel = [kernel, if self.rng.one_in(5) { 1 } else { kernel }];
        let stride = if height.min(width) >= 8 && self.rng.one_in(3) { [2, 2] } else { [1, 1] };
        let same = kernel.map(|extent| extent / 2);
        let padding = if self.rng.one_in(4) {
            [0; 4]
        } else if self.rng.one_in(4) {
            [same[0], 0, 0, same[1]]
        } else {
            [same[0], same[1], same[0], same[1]]
        };
        Window { kernel, stride, padding }
    }

    fn channels(&mut self) -> u32 {
        self.rng.pick(&[1, 3, 8, 8, 16, 17, 32, 40, 64, 70])
    }

    fn conv(&mut self, input: ValueId) -> ValueId {
        let shape = self.shape(input);
        let window = self.window(shape);
        let (groups, outputs) = match self.rng.below(6) {
            0 => (shape[0], shape[0]),
            1 if shape[0].is_multiple_of(2) => (2, 2 * (1 + self.rng.below(20) as u32)),
            _ => (1, self.channels()),
        };
        let terms = vec![self.term(input, window, groups, outputs)];
        self.conv_of(terms, window, groups, outputs)
    }

    fn term(&mut self, input: ValueId, window: Window, groups: u32, outputs: u32) -> ConvTerm {
        let [rows, columns] = window.kernel;
        let channels = self.shape(input)[0] / groups;
        ConvTerm { input, weights: self.weights([outputs, channels, rows, columns]) }
    }

    fn conv_of(&mut self, terms: Vec<ConvTerm>, window: Window, groups: u32, outputs: u32) -> ValueId {
        let [_, height, width] = self.shape(terms[0].input);
        let encoding = self.encoding();
        let reach: Vec<i64> = terms.iter().map(|term| self.reach(term)).collect();
        let requantize = self.requantize(&reach, outputs as usize, encoding.max_level);
        let [height, width] = window_output(&window, height, width);
        let output = self.value([outputs, height, width], ValueKind::Levels(encoding));
        let conv = Conv { terms, window, groups, requantize: Some(requantize) };
        self.node(output, Operator::Conv(conv))
    }

    /// About how large an accumulator gets.
    fn reach(&self, term: &ConvTerm) -> i64 {
        let encoding = self.encoding_of(term.input);
        let integer = encoding.integer(0).abs().max(encoding.integer(encoding.max_level).abs());
        let weights = &term.weights;
        let per_output = weights.len() / weights.shape[0] as usize;
        let largest = (0..weights.len()).map(|index| weights.value(index).abs()).max().unwrap_or(1);
        i64::from(integer) * i64::from(largest) * (per_output as f64).sqrt().ceil() as i64 + 1
    }

    fn requantize(&mut self, reach: &[i64], channels: usize, max_level: u8) -> Requantize {
        let shift = 24;
        let scale = |rng: &mut Rng, reach: i64| {
            let factor = (f64::from(max_level) + 1.0) / 2.0 / reach as f64;
            let sign = if rng.one_in(5) { -1.0 } else { 1.0 };
            let jitter = 0.5 + rng.below(1000) as f64 / 500.0;
            (sign * factor * jitter * f64::from(1 << shift)) as i32
        };
        let multipliers: Vec<i32> = reach
            .iter()
            .flat_map(|&reach| vec![reach; channels])
            .map(|reach| scale(&mut self.rng, reach))
            .collect();
        let middle = i64::from(max_level) << (shift - 1);
        let bias: Vec<i64> =
            (0..channels).map(|_| middle + self.rng.range(-middle / 2, middle / 2)).collect();
        match self.rng.below(4) {
            0 if reach.len() == 1 => self.staircase(reach[0], channels, max_level),
            1 => {
                let steps = 1 + self.rng.below(9);
                let mut thresholds: Vec<i64> =
                    (0..steps).map(|_| self.rng.range(-middle, 3 * middle)).collect();
                thresholds.sort_unstable();
                thresholds.dedup();
                let levels = (0..=thresholds.len()).map(|_| self.level(max_level)).collect();
                Requantize::ScaledStaircase { multipliers, bias, thresholds, levels }
            }
            _ => Requantize::Scale { multipliers, bias, shift },
        }
    }

    fn staircase(&mut self, reach: i64, channels: usize, max_level: u8) -> Requantize {
        let (mut all_thresholds, mut all_levels) = (Vec::new(), Vec::new());
        for _ in 0..channels {
            let steps = self.rng.below(usize::from(max_level).min(20) + 1);
            let mut thresholds: Vec<i32> = (0..steps).map(|_| self.rng.range(-reach, reach) as i32).collect();
            thresholds.sort_unstable();
            thresholds.dedup();
            let mut levels: Vec<u8> = (0..=thresholds.len()).map(|_| self.level(max_level)).collect();
            match self.rng.below(3) {
                0 => levels.sort_unstable(),
                1 => levels.sort_unstable_by(|a, b| b.cmp(a)),
                _ => {}
            }
            all_thresholds.push(thresholds);
            all_levels.push(levels);
        }
        Requantize::Staircase { thresholds: all_thresholds, levels: all_levels }
    }

    fn level(&mut self, max_level: u8) -> u8 {
        self.rng.below(usize::from(max_level) + 1) as u8
    }

    fn same_conv(&mut self, input: ValueId, outputs: u32) -> ValueId {
        let window = Window { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1] };
        let terms = vec![self.term(input, window, 1, outputs)];
        self.conv_of(terms, window, 1, outputs)
    }

    fn residual(&mut self, input: ValueId) -> ValueId {
        let shape = self.shape(input);
        let mut inputs = vec![input, self.same_conv(input, shape[0])];
        if self.rng.one_in(3) {
            let another = self.same_conv(input, shape[0]);
            inputs.push(another);
        }
        self.residual_of(&inputs)
    }

    /// A product of the input and a convolution of it, or a gate: the largest levels of its channels.
    fn product(&mut self, input: ValueId) -> ValueId {
        let [channels, height, width] = self.shape(input);
        let other = self.same_conv(input, channels);
        let other = if self.rng.one_in(2) && height.max(width) <= 64 {
            let window = Window { kernel: [height, width], stride: [1, 1], padding: [0; 4] };
            let kind = ValueKind::Levels(self.encoding_of(other));
            let output = self.value([channels, 1, 1], kind);
            self.node(output, Operator::MaxPool { input: other, window })
        } else {
            other
        };
        let encoding = self.encoding();
        let reach = self.integer_reach(input) * self.integer_reach(other);
        let requantize = self.requantize(&[reach], 1, encoding.max_level);
        let output = self.value([channels, height, width], ValueKind::Levels(encoding));
        self.node(output, Operator::Mul { inputs: [input, other], requantize })
    }

    fn integer_reach(&self, value: ValueId) -> i64 {
        let encoding = self.encoding_of(value);
        i64::from(encoding.integer(0).abs().max(encoding.integer(encoding.max_level).abs())).max(1)
    }

    /// Two convolutions of one input, mapped to a common encoding, concatenated with a third value.
    fn branches(&mut self, input: ValueId) -> ValueId {
        let encoding = self.encoding();
        let mut inputs = Vec::new();
        for _ in 0..self.rng.range(2, 3) {
            let outputs = self.channels();
            let branch = self.same_conv(input, outputs);
            inputs.push(self.map_to(branch, encoding));
        }
        if self.rng.one_in(3) {
            inputs.push(inputs[0]);
        }
        let [_, height, width] = self.shape(input);
        let channels = inputs.iter().map(|&value| self.shape(value)[0]).sum();
        let output = self.value([channels, height, width], ValueKind::Levels(encoding));
        self.node(output, Operator::Concat { inputs })
    }

    fn map(&mut self, input: ValueId) -> ValueId {
        let encoding = self.encoding();
        self.map_to(input, encoding)
    }

    fn map_to(&mut self, input: ValueId, encoding: Encoding) -> ValueId {
        let levels = usize::from(self.encoding_of(input).max_level) + 1;
        let table = (0..levels).map(|_| self.level(encoding.max_level)).collect();
        let output = self.value(self.shape(input), ValueKind::Levels(encoding));
        self.node(output, Operator::Map { input, table })
    }

    /// Poolings in a row, concatenated as in SPPF, then enlarged.
    fn pyramid(&mut self, input: ValueId) -> ValueId {
        let encoding = self.encoding_of(input);
        let mut inputs = vec![input];
        let window = Window { kernel: [5, 5], stride: [1, 1], padding: [2, 2, 2, 2] };
        for _ in 0..self.rng.range(1, 3) {
            let last = inputs[inputs.len() - 1];
            let output = self.value(self.shape(last), ValueKind::Levels(encoding));
            inputs.push(self.node(output, Operator::MaxPool { input: last, window }));
        }
        let [channels, height, width] = self.shape(input);
        let shape = [channels * inputs.len() as u32, height, width];
        let output = self.value(shape, ValueKind::Levels(encoding));
        let concat = self.node(output, Operator::Concat { inputs });
        if height * width > 200 {
            return concat;
        }
        if self.rng.one_in(3) {
            return self.interleaved(concat);
        }
        let output = self.value([shape[0], 2 * height, 2 * width], ValueKind::Levels(encoding));
        self.node(output, Operator::Upsample { input: concat, factor: 2 })
    }

    /// A value and maps of it in turn, of twice or three times as many rows and columns.
    fn interleaved(&mut self, input: ValueId) -> ValueId {
        let encoding = self.encoding_of(input);
        let [channels, height, width] = self.shape(input);
        let factor = self.rng.range(2, 3) as u32;
        let mut inputs = vec![input];
        while inputs.len() < (factor * factor) as usize {
            let again = self.rng.one_in(3);
            inputs.push(if again { inputs[inputs.len() - 1] } else { self.map_to(input, encoding) });
        }
        let shape = [channels, factor * height, factor * width];
        let output = self.value(shape, ValueKind::Levels(encoding));
        self.node(output, Operator::Interleave { inputs })
    }

    /// A convolution of two to twelve terms, some of which may read the same value.
    fn several_terms(&mut self, input: ValueId) -> ValueId {
        let mut inputs = vec![input];
        for _ in 0..self.rng.pick(&[1, 1, 2, 3, 4, 11]) {
            let channels = self.channels();
            let last = inputs[inputs.len() - 1];
            let another = if self.rng.one_in(4) { last } else { self.same_conv(input, channels) };
            inputs.push(another);
        }
        let shape = self.shape(input);
        let window = self.window(shape);
        let outputs = self.channels();
        let terms = inputs.into_iter().map(|input| self.term(input, window, 1, outputs)).collect();
        self.conv_of(terms, window, 1, outputs)
    }

    fn finish(mut self, input: ValueId) -> Model {
        let classes = self.rng.range(1, 3) as u32;
        if self.rng.range(0, 1) == 0 {
            return self.finish_in_parts(input, classes);
        }
        let detect = Detect { classes, ..Detect::default() };
        let mut map = HeadMap::whole(ValueId(0), 8, &detect, 2);
        map.anchors = vec![[10.0, 13.5], [30.0, 61.0]];
        map.parts = vec![self.head_part(input, 0..detect.fields() as u32, 2)];
        self.model.detect = Detect { maps: vec![map], ..detect };
        self.model.outputs = vec![Output { name: "output".to_owned(), kind: OutputKind::Decoded }];
        self.model
    }

    /// A head of several convolutions, whose logits are the outputs.
    fn finish_in_parts(mut self, input: ValueId, classes: u32) -> Model {
        let bins = self.rng.range(2, 17) as u8;
        let rules = [
            (BoxRule::Distances, ScoreRule::ConstantObjectness),
            (BoxRule::Distributions { bins }, ScoreRule::Class),
            (BoxRule::GridExp, ScoreRule::ObjectnessTimesClass),
        ];
        let (boxes, scores) = rules[self.rng.range(0, 2) as usize];
        let detect = Detect { classes, boxes, scores, maps: Vec::new() };
        let mut ends = vec![boxes.fields(), detect.first_class(), detect.fields() as u32];
        ends.dedup();
        let mut map = HeadMap::whole(ValueId(0), 8, &detect, 1);
        map.parts.clear();
        for (part, &end) in ends.iter().enumerate() {
            let start = map.parts.last().map_or(0, |part: &HeadPart| part.fields.end);
            map.parts.push(self.head_part(input, start..end, 1));
            let kind = OutputKind::Head(MapPart { map: 0, part: part as u32 });
            self.model.outputs.push(Output { name: format!("part {part}"), kind });
        }
        self.model.detect = Detect { maps: vec![map], ..detect };
        self.model
    }

    fn head_part(&mut self, input: ValueId, fields: Range<u32>, anchors: u32) -> HeadPart {
        let channels = anchors * (fields.end - fields.start);
        let [_, height, width] = self.shape(input);
        let window = Window { kernel: [1, 1], stride: [1, 1], padding: [0; 4] };
        let mut terms = vec![self.term(input, window, 1, channels)];
        let mut requantize = None;
        if self.rng.one_in(3) {
            // Of several scales the sum is kept.
            for _ in 0..self.rng.range(1, 2) {
                let own = self.channels();
                let another = self.same_conv(input, own);
                terms.push(self.term(another, window, 1, channels));
            }
            let mut factor = || self.rng.range(-1 << 18, 1 << 18) as i32;
            let multipliers = (0..terms.len() * channels as usize).map(|_| factor()).collect();
            let bias = (0..channels).map(|_| self.rng.range(-1 << 40, 1 << 40)).collect();
            requantize = Some(Requantize::Scale { multipliers, bias, shift: 20 });
        }
        let value = self.value([channels, height, width], ValueKind::Accumulators);
        self.node(value, Operator::Conv(Conv { terms, window, groups: 1, requantize }));
        let multipliers = (0..channels).map(|_| self.rng.range(1, 1 << 20) as i32).collect();
        let bias = (0..channels).map(|_| self.rng.range(-1 << 26, 1 << 26)).collect();
        HeadPart { value, fields, multipliers, bias, shift: 24 }
    }
}

/// Rows and columns of a sliding window's output.
pub fn window_output(window: &Window, height: u32, width: u32) -> [u32; 2] {
    let along = |axis: usize, extent: u32| {
        let padding = window.padding[axis] + window.padding[axis + 2];
        (extent + padding - window.kernel[axis]) / window.stride[axis] + 1
    };
    [along(0, height), along(1, width)]
}
