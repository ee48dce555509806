//! Networks of YOLOv5's shape with random weights, for measuring speed without a trained model.
//!
//! The graph is that of YOLOv5 version 6 and 7 with ReLU (P5 head, anchors of COCO), as a quantized
//! export with shared quantizers leaves it: every convolution requantizes, residual sums
//! requantize, operands of a concat share one scale. Weights, multipliers and biases come from a seed and keep
//! activations spread over their levels; what such a network "detects" means nothing.

use ylb_format::model::{
    Conv, ConvTerm, Detect, Encoding, HeadMap, Input, Metadata, Model, Node, Operator, Output, OutputKind,
    Requantize, Value, ValueId, ValueKind, WeightEncoding, Weights, Window,
};

/// Sizes of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Nano: depth 1/3, width 1/4.
    N,
    /// Small: depth 1/3, width 1/2.
    S,
    /// Medium: depth 2/3, width 3/4.
    M,
    /// Large: depth 1, width 1.
    L,
    /// Extra large: depth 4/3, width 5/4.
    X,
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Specification {
    /// Size of the family.
    pub size: Size,
    /// Rows and columns of the input: multiples of 32.
    pub input: [u32; 2],
    /// Bits of weights, 1 to 8. One bit is −1 and +1, more are two's complement without its least number.
    pub weight_bits: u8,
    /// Bits of activations, 1 to 8.
    pub activation_bits: u8,
    /// Bits of the weights of the first convolution and of the heads.
    pub edge_weight_bits: u8,
    /// Classes of the head.
    pub classes: u32,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Builds a network.
///
/// # Panics
/// If bits or sizes are out of the ranges given in [`Specification`].
pub fn yolov5(specification: &Specification) -> Model {
    let [height, width] = specification.input;
    assert!(height % 32 == 0 && width % 32 == 0 && height * width > 0, "input {height} x {width}");
    let bits = [specification.weight_bits, specification.activation_bits, specification.edge_weight_bits];
    assert!(bits.iter().all(|bits| (1..=8).contains(bits)), "bits {bits:?}");
    Builder::new(*specification).build()
}

struct Builder {
    specification: Specification,
    random: u64,
    model: Model,
}

const ANCHORS: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

impl Size {
    /// Depth and width multiples in twelfths.
    fn multiples(self) -> [u32; 2] {
        match self {
            Self::N => [4, 3],
            Self::S => [4, 6],
            Self::M => [8, 9],
            Self::L => [12, 12],
            Self::X => [16, 15],
        }
    }
}

impl Builder {
    fn new(specification: Specification) -> Self {
        let [height, width] = specification.input;
        let encoding = Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 1.0 / 255.0 };
        let kind = ValueKind::Levels(encoding);
        let images = Value { name: "images".to_owned(), channels: 3, height, width, kind };
        let model = Model {
            metadata: Metadata { converter: "synthetic".to_owned(), ..Metadata::default() },
            input: Input::new("images", ValueId(0), std::array::from_fn(|byte| byte as u8)),
            values: vec![images],
            nodes: Vec::new(),
            outputs: vec![Output { name: "output0".to_owned(), kind: OutputKind::Decoded }],
            detect: Detect { classes: specification.classes, ..Detect::default() },
        };
        Self { specification, random: specification.seed, model }
    }

    fn build(mut self) -> Model {
        let [depth, width] = self.specification.size.multiples();
        // Channels are rounded up to a multiple of 8, repetitions to the nearest number, at least 1.
        let channels = |channels: u32| (channels * width).div_ceil(12).next_multiple_of(8);
        let repeats = |count: u32| ((count * depth + 6) / 12).max(1);
        let stem = Window { kernel: [6, 6], stride: [2, 2], padding: [2, 2, 2, 2] };
        let edge_bits = self.specification.edge_weight_bits;
        let x = self.conv_bits("0", ValueId(0), channels(64), stem, edge_bits);
        let x = self.conv("1", x, channels(128), 3, 2);
        let x = self.c3("2", x, channels(128), repeats(3), true);
        let x = self.conv("3", x, channels(256), 3, 2);
        let p3 = self.c3("4", x, channels(256), repeats(6), true);
        let x = self.conv("5", p3, channels(512), 3, 2);
        let p4 = self.c3("6", x, channels(512), repeats(9), true);
        let x = self.conv("7", p4, channels(1024), 3, 2);
        let x = self.c3("8", x, channels(1024), repeats(3), true);
        let x = self.sppf("9", x, channels(1024));
        let top = self.conv("10", x, channels(512), 1, 1);
        let x = self.upsample("11", top);
        let x = self.concat("12", vec![x, p4]);
        let x = self.c3("13", x, channels(512), repeats(3), false);
        let middle = self.conv("14", x, channels(256), 1, 1);
        let x = self.upsample("15", middle);
        let x = self.concat("16", vec![x, p3]);
        let small = self.c3("17", x, channels(256), repeats(3), false);
        let x = self.conv("18", small, channels(256), 3, 2);
        let x = self.concat("19", vec![x, middle]);
        let medium = self.c3("20", x, channels(512), repeats(3), false);
        let x = self.conv("21", medium, channels(512), 3, 2);
        let x = self.concat("22", vec![x, top]);
        let large = self.c3("23", x, channels(1024), repeats(3), false);
        for (map, value) in [small, medium, large].into_iter().enumerate() {
            self.head(map, value);
        }
        self.model
    }

    fn conv(&mut self, name: &str, input: ValueId, outputs: u32, kernel: u32, stride: u32) -> ValueId {
        let pad = kernel / 2;
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding: [pad; 4] };
        self.conv_bits(name, input, outputs, window, self.specification.weight_bits)
    }

    fn conv_bits(&mut self, name: &str, input: ValueId, outputs: u32, window: Window, bits: u8) -> ValueId {
        let weights = self.weights(input, outputs, window.kernel, bits);
        let requantize = self.requantize(input, &weights);
        let [_, height, width] = self.shape(input);
        let along = |axis: usize, extent: u32| {
            let padding = window.padding[axis] + window.padding[axis + 2];
            (extent + padding - window.kernel[axis]) / window.stride[axis] + 1
        };
        let output = self.levels(name, [outputs, along(0, height), along(1, width)]);
        let terms = vec![ConvTerm { input, weights }];
        let conv = Conv { terms, window, groups: 1, requantize: Some(requantize) };
        self.node(name, output, Operator::Conv(conv))
    }

    /// Cross-stage partial block with three convolutions.
    fn c3(&mut self, name: &str, input: ValueId, outputs: u32, repeats: u32, shortcut: bool) -> ValueId {
        let hidden = outputs / 2;
        let mut x = self.conv(&format!("{name}.cv1"), input, hidden, 1, 1);
        for repeat in 0..repeats {
            let y = self.conv(&format!("{name}.m.{repeat}.cv1"), x, hidden, 1, 1);
            let y = self.conv(&format!("{name}.m.{repeat}.cv2"), y, hidden, 3, 1);
            x = if shortcut { self.add(&format!("{name}.m.{repeat}.add"), x, y) } else { y };
        }
        let bypass = self.conv(&format!("{name}.cv2"), input, hidden, 1, 1);
        let x = self.concat(&format!("{name}.cat"), vec![x, bypass]);
        self.conv(&format!("{name}.cv3"), x, outputs, 1, 1)
    }

    /// Spatial pyramid pooling by three poolings in a row.
    fn sppf(&mut self, name: &str, input: ValueId, outputs: u32) -> ValueId {
        let hidden = self.shape(input)[0] / 2;
        let mut parts = vec![self.conv(&format!("{name}.cv1"), input, hidden, 1, 1)];
        let window = Window { kernel: [5, 5], stride: [1, 1], padding: [2; 4] };
        for pool in 0..3 {
            let name = format!("{name}.m{pool}");
            let last = parts[parts.len() - 1];
            let output = self.levels(&name, self.shape(last));
            parts.push(self.node(&name, output, Operator::MaxPool { input: last, window }));
        }
        let x = self.concat(&format!("{name}.cat"), parts);
        self.conv(&format!("{name}.cv2"), x, outputs, 1, 1)
    }

    fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        let shift = 16;
        let half = 1 << (shift - 1);
        let requantize = Requantize::Scale { multipliers: vec![half as i32; 2], bias: vec![half], shift };
        let output = self.levels(name, self.shape(a));
        self.node(name, output, Operator::Add { inputs: vec![a, b], requantize })
    }

    fn concat(&mut self, name: &str, inputs: Vec<ValueId>) -> ValueId {
        let channels = inputs.iter().map(|&input| self.shape(input)[0]).sum();
        let [_, height, width] = self.shape(inputs[0]);
        let output = self.levels(name, [channels, height, width]);
        self.node(name, output, Operator::Concat { inputs })
    }

    fn upsample(&mut self, name: &str, input: ValueId) -> ValueId {
        let [channels, height, width] = self.shape(input);
        let output = self.levels(name, [channels, 2 * height, 2 * width]);
        self.node(name, output, Operator::Upsample { input, factor: 2 })
    }

    fn head(&mut self, map: usize, input: ValueId) {
        let name = format!("24.m.{map}");
        let anchors = ANCHORS[map];
        let outputs = anchors.len() as u32 * self.model.detect.fields() as u32;
        let weights = self.weights(input, outputs, [1, 1], self.specification.edge_weight_bits);
        let [_, height, width] = self.shape(input);
        let kind = ValueKind::Accumulators;
        let value = Value { name: name.clone(), channels: outputs, height, width, kind };
        let output = self.value(value);
        let window = Window { kernel: [1, 1], stride: [1, 1], padding: [0; 4] };
        let terms = vec![ConvTerm { input, weights }];
        self.node(&name, output, Operator::Conv(Conv { terms, window, groups: 1, requantize: None }));
        let mut map = HeadMap::whole(output, 8 << map, &self.model.detect, anchors.len() as u32);
        map.anchors = anchors.to_vec();
        // Logits of a few units around −4.6: about one cell in a hundred passes a threshold.
        let part = &mut map.parts[0];
        part.multipliers.fill(1 << 14);
        part.bias.fill(-(46 << 24) / 10);
        part.shift = 24;
        self.model.detect.maps.push(map);
    }

    /// Uniform random weights.
    fn weights(&mut self, input: ValueId, outputs: u32, kernel: [u32; 2], bits: u8) -> Weights {
        let channels = self.shape(input)[0];
        let shape = [outputs, channels, kernel[0], kernel[1]];
        let len: usize = shape.iter().map(|&extent| extent as usize).product();
        let mut planes = vec![0u8; usize::from(bits) * len.div_ceil(8)];
        for index in 0..len {
            let mut code = self.next() >> 56 & ((1 << bits) - 1);
            if bits > 1 && code == 1 << (bits - 1) {
                code = 0; // exporters leave out the least two's complement number
            }
            for plane in 0..usize::from(bits) {
                planes[plane * len.div_ceil(8) + index / 8] |= ((code >> plane & 1) << (index % 8)) as u8;
            }
        }
        let encoding = if bits == 1 { WeightEncoding::Bipolar } else { WeightEncoding::TwosComplement };
        Weights { shape, encoding, bits, planes, zero_points: Vec::new() }
    }

    /// A multiplier that spreads sums of random signs over the levels, and a bias of half the range.
    fn requantize(&mut self, input: ValueId, weights: &Weights) -> Requantize {
        let terms = weights.len() as f64 / f64::from(weights.shape[0]);
        let input_max = f64::from(self.model.encoding(input).max_level);
        let weight_max = if weights.bits == 1 { 1.0 } else { f64::from((1i32 << (weights.bits - 1)) - 1) };
        let spread = terms.sqrt() * input_max * weight_max * 0.4;
        let max_level = f64::from(self.max_level());
        let shift = 30;
        let unit = f64::from(1 << shift);
        let channels = weights.shape[0] as usize;
        let multiplier = |random: u64| {
            let jitter = 0.75 + (random >> 40) as f64 / f64::from(1 << 25);
            (max_level / spread / 2.0 * jitter * unit).min(f64::from(i32::MAX)) as i32
        };
        let multipliers = (0..channels).map(|_| multiplier(self.next())).collect();
        let bias = vec![((max_level * 0.3 + 0.5) * unit) as i64; channels];
        Requantize::Scale { multipliers, bias, shift }
    }

    fn max_level(&self) -> u8 {
        u8::MAX >> (8 - self.specification.activation_bits)
    }

    fn levels(&mut self, name: &str, [channels, height, width]: [u32; 3]) -> ValueId {
        let max_level = self.max_level();
        let encoding = Encoding { max_level, step: 1, low: 0, zero_point: 0, scale: 1.0 };
        let kind = ValueKind::Levels(encoding);
        self.value(Value { name: name.to_owned(), channels, height, width, kind })
    }

    fn value(&mut self, value: Value) -> ValueId {
        self.model.values.push(value);
        ValueId(self.model.values.len() as u32 - 1)
    }

    fn node(&mut self, name: &str, output: ValueId, operator: Operator) -> ValueId {
        self.model.nodes.push(Node { name: name.to_owned(), output, operator });
        output
    }

    fn shape(&self, value: ValueId) -> [u32; 3] {
        let value = self.model.value(value);
        [value.channels, value.height, value.width]
    }

    /// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nano_network_has_the_familys_size() {
        let specification = Specification {
            size: Size::N,
            input: [640, 640],
            weight_bits: 2,
            activation_bits: 2,
            edge_weight_bits: 8,
            classes: 80,
            seed: 1,
        };
        let model = yolov5(&specification);
        let convs = model.nodes.iter().filter_map(|node| match &node.operator {
            Operator::Conv(conv) => Some((node, conv)),
            _ => None,
        });
        let (mut count, mut weights, mut macs) = (0, 0, 0);
        for (node, conv) in convs {
            let value = model.value(node.output);
            count += 1;
            weights += conv.terms[0].weights.len();
            macs += conv.terms[0].weights.len() * (value.height * value.width) as usize;
        }
        // YOLOv5n: 60 convolutions, 1.86 million weights, 2.234 billion multiply-accumulates at 640.
        assert_eq!(count, 60);
        assert_eq!(weights / 10_000, 186);
        assert_eq!(macs / 1_000_000, 2234);
    }
}
