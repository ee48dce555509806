//! A network with the layers of YOLOv5n for 80 classes: 1.87 million weights of two bits, those of
//! the first convolution and the heads of eight, random.

use ylb_format::model::*;

use super::models::{accumulators, node, square, term, unsigned, value};

/// Channels by depth of the network: width multiple 0.25 of 64 to 1024.
const CHANNELS: [u32; 5] = [16, 32, 64, 128, 256];

pub fn yolov5n(classes: u32) -> Model {
    let mut network = Network::new(640);
    let [c1, c2, c3, c4, c5] = CHANNELS;
    let stem = network.conv(ValueId(0), c1, Window { padding: [2; 4], ..square(6, 2, 2) }, 8);
    let p2 = network.conv(stem, c2, square(3, 2, 1), 2);
    let p2 = network.c3(p2, c2, 1, true);
    let p3 = network.conv(p2, c3, square(3, 2, 1), 2);
    let p3 = network.c3(p3, c3, 2, true);
    let p4 = network.conv(p3, c4, square(3, 2, 1), 2);
    let p4 = network.c3(p4, c4, 3, true);
    let p5 = network.conv(p4, c5, square(3, 2, 1), 2);
    let p5 = network.c3(p5, c5, 1, true);
    let p5 = network.sppf(p5, c5);

    let top = network.conv(p5, c4, square(1, 1, 0), 2);
    let up = network.upsample(top);
    let joined = network.concat(&[up, p4]);
    let n4 = network.c3(joined, c4, 1, false);
    let middle = network.conv(n4, c3, square(1, 1, 0), 2);
    let up = network.upsample(middle);
    let joined = network.concat(&[up, p3]);
    let out3 = network.c3(joined, c3, 1, false);
    let down = network.conv(out3, c3, square(3, 2, 1), 2);
    let joined = network.concat(&[down, middle]);
    let out4 = network.c3(joined, c4, 1, false);
    let down = network.conv(out4, c4, square(3, 2, 1), 2);
    let joined = network.concat(&[down, top]);
    let out5 = network.c3(joined, c5, 1, false);
    network.finish(classes, [out3, out4, out5])
}

struct Network {
    values: Vec<Value>,
    nodes: Vec<Node>,
    random: u64,
}

impl Network {
    fn new(size: u32) -> Self {
        let image = value("images", [3, size, size], unsigned(255));
        Self { values: vec![image], nodes: vec![], random: 1 }
    }

    fn shape(&self, id: ValueId) -> [u32; 3] {
        self.values[id.0 as usize].shape()
    }

    /// Names are as long as those of an export.
    fn push(&mut self, kind: &str, shape: [u32; 3], operator: Operator) -> ValueId {
        let id = self.values.len() as u32;
        let name = format!("/model/model.{id}/{kind}/{kind}_output_0_quantized");
        self.values.push(value(&name, shape, unsigned(3)));
        self.nodes.push(node(&format!("/model/model.{id}/{kind}"), id, operator));
        ValueId(id)
    }

    fn weights(&mut self, shape: [u32; 4], bits: u8) -> Weights {
        let len = shape.iter().product::<u32>() as usize;
        let codes: Vec<u8> = std::iter::repeat_with(|| {
            // Knuth's MMIX generator; its upper bits are the random ones.
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.random >> (64 - bits)) as u8
        })
        .take(len)
        .collect();
        Weights::from_codes(shape, WeightEncoding::TwosComplement, bits, &codes, vec![])
    }

    fn conv(&mut self, input: ValueId, channels: u32, window: Window, bits: u8) -> ValueId {
        let [inputs, height, width] = self.shape(input);
        let extent = |extent: u32, pad: u32| (extent + 2 * pad - window.kernel[0]) / window.stride[0] + 1;
        let pad = window.padding[0];
        let weights = self.weights([channels, inputs, window.kernel[0], window.kernel[1]], bits);
        let count = channels as usize;
        let conv = Conv {
            terms: vec![term(input.0, weights)],
            window,
            groups: 1,
            requantize: Some(Requantize::Scale {
                multipliers: (0..count as i32).map(|factor| factor * 1_234_567 + 1).collect(),
                bias: (0..count as i64).map(|bias| (bias - 100) << 30).collect(),
                shift: 30,
            }),
        };
        let shape = [channels, extent(height, pad), extent(width, pad)];
        self.push("conv", shape, Operator::Conv(conv))
    }

    fn c3(&mut self, input: ValueId, channels: u32, repeats: u32, shortcut: bool) -> ValueId {
        let hidden = channels / 2;
        let mut first = self.conv(input, hidden, square(1, 1, 0), 2);
        let second = self.conv(input, hidden, square(1, 1, 0), 2);
        for _ in 0..repeats {
            let narrow = self.conv(first, hidden, square(1, 1, 0), 2);
            let wide = self.conv(narrow, hidden, square(3, 1, 1), 2);
            first = if shortcut { self.add(first, wide) } else { wide };
        }
        let joined = self.concat(&[first, second]);
        self.conv(joined, channels, square(1, 1, 0), 2)
    }

    fn sppf(&mut self, input: ValueId, channels: u32) -> ValueId {
        let mut parts = vec![self.conv(input, channels / 2, square(1, 1, 0), 2)];
        for _ in 0..3 {
            let last = parts[parts.len() - 1];
            let operator = Operator::MaxPool { input: last, window: square(5, 1, 2) };
            parts.push(self.push("pool", self.shape(last), operator));
        }
        let joined = self.concat(&parts);
        self.conv(joined, channels, square(1, 1, 0), 2)
    }

    fn add(&mut self, first: ValueId, second: ValueId) -> ValueId {
        let requantize = Requantize::Scale { multipliers: vec![1 << 24; 2], bias: vec![1 << 24], shift: 25 };
        let operator = Operator::Add { inputs: vec![first, second], requantize };
        self.push("add", self.shape(first), operator)
    }

    fn concat(&mut self, inputs: &[ValueId]) -> ValueId {
        let [_, height, width] = self.shape(inputs[0]);
        let channels = inputs.iter().map(|&input| self.shape(input)[0]).sum();
        let operator = Operator::Concat { inputs: inputs.to_vec() };
        self.push("concat", [channels, height, width], operator)
    }

    fn upsample(&mut self, input: ValueId) -> ValueId {
        let [channels, height, width] = self.shape(input);
        let operator = Operator::Upsample { input, factor: 2 };
        self.push("resize", [channels, 2 * height, 2 * width], operator)
    }

    fn finish(mut self, classes: u32, features: [ValueId; 3]) -> Model {
        let channels = 3 * (5 + classes);
        let mut maps = vec![];
        for (feature, stride) in features.into_iter().zip([8, 16, 32]) {
            let [inputs, height, width] = self.shape(feature);
            let weights = self.weights([channels, inputs, 1, 1], 8);
            let conv = Conv {
                terms: vec![term(feature.0, weights)],
                window: square(1, 1, 0),
                groups: 1,
                requantize: None,
            };
            let id = self.values.len() as u32;
            self.values.push(accumulators(&format!("head of stride {stride}"), [channels, height, width]));
            self.nodes.push(node("head", id, Operator::Conv(conv)));
            maps.push(HeadMap {
                stride,
                anchors_per_cell: 3,
                anchors: vec![[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
                scale_xy: 2.0,
                parts: vec![HeadPart {
                    value: ValueId(id),
                    fields: 0..5 + classes,
                    multipliers: vec![1 << 30; channels as usize],
                    bias: vec![-(1 << 45); channels as usize],
                    shift: 40,
                }],
            });
        }
        let mut pixel_levels = [0; 256];
        pixel_levels.iter_mut().zip(0..=255).for_each(|(level, byte)| *level = byte);
        let class_names = (0..classes).map(|class| format!("class number {class}")).collect();
        Model {
            metadata: Metadata { class_names, ..Metadata::default() },
            input: Input::new("images", ValueId(0), pixel_levels),
            values: self.values,
            nodes: self.nodes,
            outputs: vec![Output { name: "output0".to_owned(), kind: OutputKind::Decoded }],
            detect: Detect { classes, maps, ..Detect::default() },
        }
    }
}
