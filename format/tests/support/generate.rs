//! Small valid models from a list of choices: each number decides one thing, and 0 stands for all that
//! are missing, so that a shorter list is a simpler model and proptest can shrink it.

use proptest::prelude::*;
use ylb_format::model::*;

use super::models::{accumulators, node, term, value};

/// Models of up to eight nodes before their heads.
pub fn model() -> impl Strategy<Value = Model> {
    proptest::collection::vec(any::<u32>(), 0..300).prop_map(|choices| {
        let image = Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 0.0 };
        let mut generator = Generator {
            choices: choices.into_iter(),
            values: vec![value("image", [3, 6, 5], image)],
            nodes: vec![],
        };
        for _ in 0..generator.choose(9) {
            generator.node();
        }
        generator.finish()
    })
}

struct Generator {
    choices: std::vec::IntoIter<u32>,
    values: Vec<Value>,
    nodes: Vec<Node>,
}

impl Generator {
    /// 0 to `count` − 1.
    fn choose(&mut self, count: u32) -> u32 {
        self.choices.next().unwrap_or(0) % count
    }

    /// Any number that an i32 holds, often an extreme one.
    fn number(&mut self) -> i32 {
        match self.choose(4) {
            0 => [0, 1, -1, i32::MAX, i32::MIN][self.choose(5) as usize],
            _ => self.choices.next().unwrap_or(0) as i32,
        }
    }

    fn some_value(&mut self) -> ValueId {
        let id = self.choose(self.values.len() as u32);
        // Behind accumulators there is what they became.
        ValueId(id + u32::from(self.values[id as usize].encoding().is_none()))
    }

    fn at(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    fn encoding(&mut self) -> Encoding {
        Encoding {
            max_level: [1, 2, 3, 7, 15, 31, 255][self.choose(7) as usize],
            step: 1 + self.choose(2) as u8,
            low: self.choose(511) as i16 - 255,
            zero_point: self.choose(511) as i16 - 255,
            scale: f64::from(self.choose(9)) / 7.0,
        }
    }

    /// Adds a node; every second value has a name.
    fn push(&mut self, shape: [u32; 3], encoding: Encoding, operator: Operator) -> ValueId {
        let id = self.values.len() as u32;
        let name = if self.choose(2) == 0 { String::new() } else { format!("wert {id} \u{1f986}") };
        self.values.push(value(&name, shape, encoding));
        self.nodes.push(node(&name, id, operator));
        ValueId(id)
    }

    fn node(&mut self) {
        let input = self.some_value();
        let shape = self.at(input).shape();
        let [channels, height, width] = shape;
        let encoding = *self.at(input).encoding().unwrap();
        let twin = Encoding { scale: 0.75, ..encoding };
        match self.choose(16) {
            0 => self.conv(input),
            1 => self.add(input),
            5 => self.mul(input),
            6 => {
                let first = self.choose(channels);
                let shape = [1 + self.choose(channels - first), height, width];
                self.push(shape, twin, Operator::Slice { input, first });
            }
            7 => {
                self.push([1, height, width], twin, Operator::ChannelMax { input });
            }
            8 if encoding.zero_level().is_some() && height * width < 200 => {
                let padding = [(); 4].map(|()| self.choose(3));
                let [top, left, bottom, right] = padding;
                let shape = [channels, height + top + bottom, width + left + right];
                self.push(shape, twin, Operator::Pad { input, padding });
            }
            9 => self.add_tables(input),
            10 => self.mat_mul(input),
            11 => self.softmax(input),
            14 => self.curves(input),
            13 if encoding.max_level < 32 => {
                let output = self.encoding();
                let pairs = (usize::from(encoding.max_level) + 1).pow(2);
                let table = self.levels(pairs, &output);
                self.push(shape, output, Operator::PairMap { inputs: [input; 2], table });
            }
            2 => {
                let output = self.encoding();
                let table = self.levels(usize::from(encoding.max_level) + 1, &output);
                self.push(shape, output, Operator::Map { input, table });
            }
            3 => {
                let window = self.window(height, width);
                let [height, width] = positions(&window, height, width);
                self.push([channels, height, width], twin, Operator::MaxPool { input, window });
            }
            4 if height * width < 200 => {
                let factor = 2 + self.choose(7);
                let shape = [channels, height * factor, width * factor];
                self.push(shape, twin, Operator::Upsample { input, factor });
            }
            12 if height * width < 200 => {
                let factor = 2 + self.choose(3);
                let shape = [channels, height * factor, width * factor];
                let inputs = vec![input; (factor * factor) as usize];
                self.push(shape, twin, Operator::Interleave { inputs });
            }
            _ => {
                let count = 1 + self.choose(3);
                let operator = Operator::Concat { inputs: vec![input; count as usize] };
                self.push([channels * count, height, width], twin, operator);
            }
        }
    }

    /// A sum or product of a value and of the accumulators of a convolution of it.
    fn curves(&mut self, input: ValueId) {
        let [channels, height, width] = self.at(input).shape();
        let window = Window { kernel: [1, 1], stride: [1, 1], padding: [0; 4] };
        let term = term(input.0, self.weights([channels, channels, 1, 1]));
        let conv = Conv { terms: vec![term], window, groups: 1, requantize: None };
        let kept = ValueId(self.values.len() as u32);
        self.values.push(accumulators("", [channels, height, width]));
        self.nodes.push(node("", kept.0, Operator::Conv(conv)));
        let output = self.encoding();
        let levels = usize::from(self.at(input).encoding().unwrap().max_level) + 1;
        let table = (0..levels).map(|_| i64::from(self.number())).collect();
        let multipliers = (0..channels).map(|_| i64::from(self.number()) >> 8).collect();
        let bias = (0..channels).map(|_| i64::from(self.number())).collect();
        let function = OperandFunction::Curve { curve: 0, multipliers, bias, shift: self.choose(63) as u8 };
        let operands = vec![
            CurveOperand { input, function: OperandFunction::Table(table) },
            CurveOperand { input: kept, function },
        ];
        let piece = |own: &mut Self, end: bool| {
            let [k0, k1, k2, k3] = [(); 4].map(|()| i64::from(own.number()) >> 9);
            if end { [k0, k1, 0, 0] } else { [k0, k1, k2, k3] }
        };
        let count = 1 + self.choose(4);
        let pieces = (0..count).map(|index| piece(self, index == 0 || index + 1 == count)).collect();
        let curves = vec![Curve { width: 20 + self.choose(16) as u8, pieces }];
        let combine = match self.choose(2) {
            0 => Combine::Sum,
            _ => Combine::Product { shift: 32 + self.choose(31) as u8 },
        };
        let levels = self.levels(3, &output);
        let join = Curves { operands, combine, curves, thresholds: vec![-7, 1 << 40], levels };
        self.push([channels, height, width], output, Operator::Curves(join));
    }

    fn window(&mut self, height: u32, width: u32) -> Window {
        let kernel = [1 + self.choose(height.min(4)), 1 + self.choose(width.min(4))];
        let stride = [1 + self.choose(3), 1 + self.choose(3)];
        let extents = [kernel[0], kernel[1], kernel[0], kernel[1]];
        Window { kernel, stride, padding: extents.map(|extent| self.choose(extent)) }
    }

    fn levels(&mut self, count: usize, output: &Encoding) -> Vec<u8> {
        let levels = u32::from(output.max_level) + 1;
        (0..count).map(|_| self.choose(levels) as u8).collect()
    }

    fn weights(&mut self, shape: [u32; 4]) -> Weights {
        let bits = 1 + self.choose(8) as u8;
        let encoding = match self.choose(3) {
            0 => WeightEncoding::Unsigned,
            1 => WeightEncoding::TwosComplement,
            _ => WeightEncoding::Bipolar,
        };
        let len = shape.iter().product::<u32>();
        let mask = u8::MAX >> (8 - bits);
        let factor = self.choose(1 << 16) | 1;
        let codes: Vec<u8> = (0..len).map(|index| (index.wrapping_mul(factor) >> 5) as u8 & mask).collect();
        let zero_points = match self.choose(3) {
            0 => (0..shape[0]).map(|_| self.choose(511) as i16 - 255).collect(),
            _ => vec![],
        };
        Weights::from_codes(shape, encoding, bits, &codes, zero_points)
    }

    fn conv(&mut self, input: ValueId) {
        let [channels, height, width] = self.at(input).shape();
        let window = self.window(height, width);
        let groups = if self.choose(3) == 0 { channels } else { 1 };
        let outputs = groups * (1 + self.choose(3));
        let [rows, columns] = window.kernel;
        let terms: Vec<ConvTerm> = (0..1 + self.choose(8))
            .map(|_| term(input.0, self.weights([outputs, channels / groups, rows, columns])))
            .collect();
        let output = self.encoding();
        let requantize = self.requantize(terms.len(), outputs as usize, &output);
        let [height, width] = positions(&window, height, width);
        let conv = Conv { terms, window, groups, requantize: Some(requantize) };
        self.push([outputs, height, width], output, Operator::Conv(conv));
    }

    fn add(&mut self, input: ValueId) {
        let inputs = vec![input; 2 + self.choose(3) as usize];
        let output = self.encoding();
        let requantize = match self.requantize(inputs.len(), 1, &output) {
            Requantize::Staircase { .. } => unreachable!("a staircase has one term"),
            requantize => requantize,
        };
        self.push(self.at(input).shape(), output, Operator::Add { inputs, requantize });
    }

    /// The product of a value and itself, where it is no more than 32 bits hold.
    fn mat_mul(&mut self, input: ValueId) {
        let [channels, height, width] = self.at(input).shape();
        let largest = self.at(input).encoding().unwrap().max_magnitude();
        if i64::from(channels) * largest * largest > i64::from(i32::MAX) || height * width > 64 {
            return;
        }
        let groups = if self.choose(2) == 0 { 1 } else { channels };
        let output = self.encoding();
        let requantize = self.requantize(1, 1, &output);
        let areas = if (height * width).is_multiple_of(2) && self.choose(2) == 0 { 2 } else { 1 };
        let along = Along::Channels;
        let operator = Operator::MatMul { inputs: [input; 2], groups, areas, along, requantize };
        self.push([groups * height * width / areas, height, width], output, operator);
    }

    fn softmax(&mut self, input: ValueId) {
        let [channels, height, width] = self.at(input).shape();
        let groups = if self.choose(2) == 0 { 1 } else { channels };
        let count = u64::from(self.at(input).encoding().unwrap().max_level) + 1;
        let exponentials = (0..count).map(|distance| (1 << 46) >> distance.min(60)).collect();
        let output = self.encoding();
        let thresholds: Vec<u64> =
            self.ascending().into_iter().map(|at| (i64::from(at) + (1 << 32)) as u64).collect();
        let levels = self.levels(thresholds.len() + 1, &output);
        let operator = Operator::Softmax { input, groups, exponentials, thresholds, levels };
        self.push([channels, height, width], output, operator);
    }

    fn add_tables(&mut self, input: ValueId) {
        let inputs = vec![input; 2 + self.choose(3) as usize];
        let levels = usize::from(self.at(input).encoding().unwrap().max_level) + 1;
        let tables = inputs.iter().map(|_| self.numbers(levels).into_iter().map(|n| n >> 3).collect());
        let tables = tables.collect();
        let output = self.encoding();
        let requantize = self.requantize(1, 1, &output);
        self.push(self.at(input).shape(), output, Operator::AddTables { inputs, tables, requantize });
    }

    /// The product of a value and itself, or the largest levels of its channels.
    fn mul(&mut self, input: ValueId) {
        let [channels, height, width] = self.at(input).shape();
        let mut gate = input;
        if height.max(width) <= 64 && self.choose(2) == 0 {
            let window = Window { kernel: [height, width], stride: [1; 2], padding: [0; 4] };
            let encoding = *self.at(input).encoding().unwrap();
            gate = self.push([channels, 1, 1], encoding, Operator::MaxPool { input, window });
        }
        let output = self.encoding();
        let requantize = self.requantize(1, 1, &output);
        self.push([channels, height, width], output, Operator::Mul { inputs: [input, gate], requantize });
    }

    fn requantize(&mut self, terms: usize, channels: usize, output: &Encoding) -> Requantize {
        match self.choose(if terms == 1 { 3 } else { 2 }) {
            0 => Requantize::Scale {
                multipliers: self.numbers(terms * channels),
                bias: self.biases(channels),
                shift: self.choose(63) as u8,
            },
            1 => {
                let (multipliers, bias) = (self.numbers(terms * channels), self.biases(channels));
                let thresholds = self.ascending().into_iter().map(|at| i64::from(at) << 20);
                let thresholds: Vec<i64> = thresholds.collect();
                let levels = self.levels(thresholds.len() + 1, output);
                Requantize::ScaledStaircase { multipliers, bias, thresholds, levels }
            }
            _ => {
                let thresholds: Vec<_> = (0..channels).map(|_| self.ascending()).collect();
                let levels = thresholds.iter().map(|list| self.levels(list.len() + 1, output));
                let levels = levels.collect();
                Requantize::Staircase { thresholds, levels }
            }
        }
    }

    fn numbers(&mut self, count: usize) -> Vec<i32> {
        (0..count).map(|_| self.number()).collect()
    }

    /// Small enough that not even eight extreme terms leave an i64.
    fn biases(&mut self, count: usize) -> Vec<i64> {
        (0..count).map(|_| i64::from(self.number()) << 25).collect()
    }

    fn ascending(&mut self) -> Vec<i32> {
        let mut thresholds: Vec<i32> = (0..self.choose(5)).map(|_| self.number()).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        thresholds
    }

    /// Makes the unread values heads of a detector, or leaves them.
    fn finish(mut self) -> Model {
        let mut detect = Detect::default();
        if self.choose(2) == 1 {
            detect.classes = 1 + self.choose(3);
            (detect.boxes, detect.scores) = self.rules();
            for id in 0..self.values.len() as u32 {
                let read = |node: &Node| node.operator.inputs().contains(&ValueId(id));
                if !self.nodes.iter().any(read) {
                    let map = self.map(ValueId(id), &detect);
                    detect.maps.push(map);
                }
            }
        }
        let outputs = self.outputs(&detect);
        let class_names =
            if self.choose(2) == 0 { vec![] } else { vec!["c".to_owned(); detect.classes as usize] };
        let input = self.picture();
        Model {
            metadata: Metadata {
                converter: "proptest".to_owned(),
                source_sha256: [self.choose(256) as u8; 32],
                class_names,
                ..Metadata::default()
            },
            input,
            values: self.values,
            nodes: self.nodes,
            outputs,
            detect,
        }
    }

    fn picture(&mut self) -> Input {
        let mut pixel_levels = [0; 256];
        pixel_levels.fill_with(|| self.choose(256) as u8);
        let mut input = Input::new("images", ValueId(0), pixel_levels);
        if self.choose(2) == 1 {
            let mut tables = [pixel_levels; 3];
            tables[1][7] ^= 1;
            input.pixel_levels = PixelLevels::ByChannel(Box::new(tables));
        }
        let preprocessing = &mut input.preprocessing;
        preprocessing.range = [PixelRange::Unit, PixelRange::Bytes][self.choose(2) as usize];
        preprocessing.mean = [self.choose(9) as f32 - 4.0, 0.0, 0.406];
        preprocessing.deviation = [1.0, 1.0 + self.choose(3) as f32, 0.225];
        preprocessing.order = [ChannelOrder::Rgb, ChannelOrder::Bgr][self.choose(2) as usize];
        preprocessing.layout = [TensorLayout::Nchw, TensorLayout::Nhwc][self.choose(2) as usize];
        let placements = [PicturePlacement::Centre, PicturePlacement::Corner, PicturePlacement::Stretch];
        preprocessing.placement = placements[self.choose(3) as usize];
        preprocessing.fill = [self.choose(256) as u8, 114, self.choose(256) as u8];
        input
    }

    fn rules(&mut self) -> (BoxRule, ScoreRule) {
        let bins = 2 + self.choose(4) as u8;
        let boxes = [
            BoxRule::AnchorsSigmoid,
            BoxRule::AnchorsExp,
            BoxRule::GridExp,
            BoxRule::Distributions { bins },
            BoxRule::Distances,
        ];
        let scores = [
            ScoreRule::ObjectnessTimesClass,
            ScoreRule::Class,
            ScoreRule::ObjectnessTimesSoftmax,
            ScoreRule::ConstantObjectness,
        ];
        (boxes[self.choose(5) as usize], scores[self.choose(4) as usize])
    }

    /// A map of one part, or of two: those of the box, and the rest.
    fn map(&mut self, feature: ValueId, detect: &Detect) -> HeadMap {
        let with_anchors = detect.boxes.has_anchors();
        let anchors_per_cell = if with_anchors { 1 + self.choose(2) } else { 1 };
        let all = detect.fields() as u32;
        let ends = if self.choose(2) == 0 { vec![all] } else { vec![detect.boxes.fields(), all] };
        let mut start = 0;
        let mut part = |end| {
            let fields = start..end;
            start = end;
            self.part(feature, fields, anchors_per_cell)
        };
        let parts = ends.into_iter().map(&mut part).collect();
        let anchors = if with_anchors && self.choose(2) == 1 { anchors_per_cell } else { 0 };
        HeadMap {
            stride: 8 * (20 - detect.maps.len() as u32),
            anchors_per_cell,
            anchors: (0..anchors).map(|anchor| [anchor as f32 + 0.5, 7.0]).collect(),
            scale_xy: if with_anchors { [1.0, 1.05, 2.0][self.choose(3) as usize] } else { 1.0 },
            parts,
        }
    }

    fn part(&mut self, feature: ValueId, fields: std::ops::Range<u32>, anchors_per_cell: u32) -> HeadPart {
        let [inputs, height, width] = self.at(feature).shape();
        let channels = anchors_per_cell * (fields.end - fields.start);
        let weights = self.weights([channels, inputs, 1, 1]);
        let window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };
        let count = channels as usize;
        let quantized = self.choose(2) == 0;
        let mut conv = Conv { terms: vec![term(feature.0, weights)], window, groups: 1, requantize: None };
        let id = self.values.len() as u32;
        let shape = [channels, height, width];
        if quantized {
            let output = self.encoding();
            conv.requantize = Some(self.requantize(1, count, &output));
            self.values.push(value("", shape, output));
        } else {
            self.values.push(accumulators("", shape));
        }
        self.nodes.push(node("head", id, Operator::Conv(conv)));
        let (multipliers, bias) = (self.numbers(count), self.biases(count));
        HeadPart { value: ValueId(id), fields, multipliers, bias, shift: self.choose(63) as u8 }
    }

    fn outputs(&mut self, detect: &Detect) -> Vec<Output> {
        let mut outputs = vec![];
        for (map, index) in detect.maps.iter().zip(0..) {
            let part = MapPart { map: index, part: self.choose(map.parts.len() as u32) };
            let kind = [OutputKind::Head(part), OutputKind::HeadByAnchor(part)];
            let kind = kind[self.choose(2) as usize];
            outputs.push(Output { name: format!("out {index}"), kind });
        }
        let decodable = |map: &HeadMap| !detect.boxes.has_anchors() || !map.anchors.is_empty();
        if detect.maps.iter().all(decodable) && !detect.maps.is_empty() {
            outputs.push(Output { name: "boxes".to_owned(), kind: OutputKind::Decoded });
        }
        if detect.maps.iter().all(decodable) && !detect.maps.is_empty() {
            let boxes: Vec<Numbers> =
                Numbers::ALL.into_iter().filter(|numbers| numbers.are_boxes()).collect();
            let numbers = boxes[self.choose(boxes.len() as u32) as usize];
            let layout = [Layout::Rows, Layout::Columns][self.choose(2) as usize];
            let arranged = Arranged { numbers, layout, of: Scope::Maps, first: 0, count: 4 };
            outputs.push(Output { name: "sides".to_owned(), kind: OutputKind::Arranged(arranged) });
        }
        for (map, index) in detect.maps.iter().zip(0..) {
            let part = MapPart { map: index, part: self.choose(map.parts.len() as u32) };
            let numbers = [Numbers::Logits, Numbers::Logistic, Numbers::RawBoxes][self.choose(3) as usize];
            let layout = Layout::ALL[self.choose(Layout::ALL.len() as u32) as usize];
            let count = map.parts[part.part as usize].fields.len() as u32;
            let arranged = Arranged { numbers, layout, of: Scope::Part(part), first: 0, count };
            outputs.push(Output { name: format!("arranged {index}"), kind: OutputKind::Arranged(arranged) });
            let count = detect.fields() as u32;
            let whole = Arranged { of: Scope::Map(index), count, ..arranged };
            outputs.push(Output { name: format!("whole {index}"), kind: OutputKind::Arranged(whole) });
        }
        outputs
    }
}

fn positions(window: &Window, height: u32, width: u32) -> [u32; 2] {
    let [top, left, bottom, right] = window.padding;
    [
        (height + top + bottom - window.kernel[0]) / window.stride[0] + 1,
        (width + left + right - window.kernel[1]) / window.stride[1] + 1,
    ]
}
