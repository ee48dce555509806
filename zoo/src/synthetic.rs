//! Networks of known architectures with random weights, for measuring speed without a trained model, and for tests.
//!
//! The graph is that of the architecture (with anchors of COCO where it has some), as a quantized
//! export with shared quantizers leaves it: every convolution requantizes, residual sums
//! requantize, operands of a concat share one scale. Behind a convolution is ReLU, or another [`Activation`]: then
//! requantization is what the converter makes of that. Weights, multipliers and biases come from a seed and keep
//! activations spread over their levels; what such a network "detects" means nothing.

mod activation;
mod products;

use std::collections::{HashMap, HashSet};

use ylb_format::model::{
    Conv, ConvTerm, Detect, Encoding, HeadMap, HeadPart, Input, Metadata, Model, Node, Operator, Output,
    OutputKind, Requantize, Value, ValueId, ValueKind, WeightEncoding, Weights, Window,
};

use crate::layer::{self, Function, Layer, Op, PICTURE};
use crate::net::{Architecture, Head, Net};
use activation::{Accumulators, Codes};

pub use activation::{Activation, Grid};

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Specification {
    /// Its architecture.
    pub net: Net,
    /// Rows and columns of the input: multiples of 32.
    pub input: [u32; 2],
    /// Bits of weights, 1 to 8. One bit is −1 and +1, more are two's complement without its least number.
    pub weight_bits: u8,
    /// Bits of activations, 1 to 8. What an attention multiplies has 8.
    pub activation_bits: u8,
    /// Bits of the weights of the first convolution and of the heads.
    pub edge_weight_bits: u8,
    /// Classes of the head.
    pub classes: u32,
    /// What follows convolutions.
    pub activation: Activation,
    /// Codes of activations; those behind ReLU begin at 0 in any case.
    pub grid: Grid,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Builds a network.
///
/// # Panics
/// If bits or sizes are out of the ranges given in [`Specification`].
pub fn network(specification: &Specification) -> Model {
    let [height, width] = specification.input;
    assert!(height % 32 == 0 && width % 32 == 0 && height * width > 0, "input {height} x {width}");
    let bits = [specification.weight_bits, specification.activation_bits, specification.edge_weight_bits];
    assert!(bits.iter().all(|bits| (1..=8).contains(bits)), "bits {bits:?}");
    assert!(specification.has_codes(), "signed codes of one bit");
    let architecture = specification.net.architecture(specification.classes as usize);
    Builder::new(*specification).build(&architecture)
}

impl Specification {
    /// Whether activations have codes for positive numbers: signed codes of one bit have none.
    pub fn has_codes(&self) -> bool {
        self.activation == Activation::Relu || self.grid == Grid::ZeroPoint || self.activation_bits > 1
    }
}

struct Builder {
    specification: Specification,
    codes: Codes,
    /// Layers that are multiplied as matrices.
    factors: HashSet<String>,
    /// Convolutions so far that requantize.
    requantized: usize,
    random: u64,
    model: Model,
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
        let Specification { activation, grid, activation_bits, .. } = specification;
        let codes = Codes::new(activation, grid, activation_bits);
        let factors = HashSet::new();
        Self { specification, codes, factors, requantized: 0, random: specification.seed, model }
    }

    fn build(mut self, Architecture { layers, head }: &Architecture) -> Model {
        self.model.detect.boxes = head.boxes;
        self.model.detect.scores = head.scores;
        let products = layers.iter().filter(|layer| matches!(layer.op, Op::MatMul { .. }));
        self.factors = products.flat_map(|layer| layer.from.clone()).collect();
        let mut written: HashMap<&str, ValueId> = HashMap::from([(PICTURE, ValueId(0))]);
        for layer in layers {
            let name = layer.name.as_str();
            let inputs: Vec<ValueId> = layer.from.iter().map(|from| written[from.as_str()]).collect();
            let output = match layer.op {
                Op::Conv { .. } => self.conv(layer, inputs[0]),
                Op::Add => self.add(name, inputs),
                Op::Mean => self.mean(name, inputs[0]),
                Op::Gated => self.gated(name, [inputs[0], inputs[1]]),
                Op::MatMul { heads, along } => {
                    self.mat_mul(name, [inputs[0], inputs[1]], heads as u32, along)
                }
                Op::Softmax { heads } => self.softmax(name, inputs[0], heads as u32),
                Op::Concat => self.concat(name, inputs),
                Op::MaxPool(window) => self.max_pool(name, inputs[0], to_format(window)),
                Op::Upsample(factor) => self.upsample(name, inputs[0], factor as u32),
                Op::Detect => {
                    let of_map = inputs.chunks(head.cuts.len() + 1);
                    of_map.enumerate().for_each(|(map, inputs)| self.head(name, head, map, inputs));
                    continue;
                }
            };
            written.insert(name, output);
        }
        self.model
    }

    fn conv(&mut self, layer: &Layer, input: ValueId) -> ValueId {
        let Op::Conv { channels, window, groups, function } = layer.op else { unreachable!("a convolution") };
        let (outputs, groups, window) = (channels as u32, groups as u32, to_format(window));
        let Specification { weight_bits, edge_weight_bits, .. } = self.specification;
        let bits = if layer.from[0] == PICTURE { edge_weight_bits } else { weight_bits };
        let weights = self.weights([outputs, self.shape(input)[0] / groups], window.kernel, bits);
        let codes = self.codes_behind(layer, function);
        let requantize = match function {
            Function::Activation | Function::Gate if codes.is_curved() => self.curved(input, &weights, codes),
            _ => self.straight(input, &weights, codes),
        };
        let [_, height, width] = self.shape(input);
        let shape = along(window, [outputs, height, width]);
        let output = self.levels_of(&layer.name, shape, codes);
        let terms = vec![ConvTerm { input, weights }];
        let conv = Conv { terms, window, groups, requantize: Some(requantize) };
        self.node(&layer.name, output, Operator::Conv(conv))
    }

    /// The codes of a convolution's output.
    fn codes_behind(&self, layer: &Layer, function: Function) -> Codes {
        let bits = self.specification.activation_bits;
        match function {
            _ if self.factors.contains(&layer.name) => Codes::signed(8),
            Function::Activation | Function::Identity => self.codes,
            Function::Relu => Codes::new(Activation::Relu, Grid::Signed, bits),
            Function::Gate => Codes::new(Activation::Sigmoid, Grid::ZeroPoint, bits),
        }
    }

    fn add(&mut self, name: &str, inputs: Vec<ValueId>) -> ValueId {
        let shift = 16;
        let half = 1 << (shift - 1);
        // Half of the sum, rounded.
        let zero = i64::from(self.codes.zero()) << shift;
        // Codes of other bits stand for numbers of the same range.
        let most = |value: ValueId| i32::from(self.model.encoding(value).max_level);
        let own = i32::from(self.codes.max_level);
        let multipliers = inputs.iter().map(|&input| half as i32 * own / most(input)).collect();
        let requantize = Requantize::Scale { multipliers, bias: vec![zero + half], shift };
        let output = self.levels(name, self.shape(inputs[0]));
        self.node(name, output, Operator::Add { inputs, requantize })
    }

    fn max_pool(&mut self, name: &str, input: ValueId, window: Window) -> ValueId {
        let shape = along(window, self.shape(input));
        let output = self.levels(name, shape);
        self.node(name, output, Operator::MaxPool { input, window })
    }

    fn concat(&mut self, name: &str, inputs: Vec<ValueId>) -> ValueId {
        let channels = inputs.iter().map(|&input| self.shape(input)[0]).sum();
        let [_, height, width] = self.shape(inputs[0]);
        let output = self.levels(name, [channels, height, width]);
        self.node(name, output, Operator::Concat { inputs })
    }

    fn upsample(&mut self, name: &str, input: ValueId, factor: u32) -> ValueId {
        let [channels, height, width] = self.shape(input);
        let output = self.levels(name, [channels, factor * height, factor * width]);
        self.node(name, output, Operator::Upsample { input, factor })
    }

    /// The head's own convolutions on one feature map.
    fn head(&mut self, name: &str, head: &Head, map: usize, inputs: &[ValueId]) {
        let anchors = head.anchors.get(map).cloned().unwrap_or_default();
        let anchors_per_cell = anchors.len().max(1) as u32;
        let fields = self.model.detect.fields() as u32;
        let mut parts = Vec::new();
        for (part, &input) in inputs.iter().enumerate() {
            let first = part.checked_sub(1).map_or(0, |before| head.cuts[before]);
            let fields = first..head.cuts.get(part).copied().unwrap_or(fields);
            let name = match inputs.len() {
                1 => format!("{name}.{map}"),
                _ => format!("{name}.{map}.{part}"),
            };
            let outputs = anchors_per_cell * fields.len() as u32;
            let value = self.logits(&name, input, outputs);
            // Logits of a few units around −4.6: about one cell in a hundred passes a threshold.
            let (multipliers, bias) =
                (vec![1 << 14; outputs as usize], vec![-(46 << 24) / 10; outputs as usize]);
            parts.push(HeadPart { value, fields, multipliers, bias, shift: 24 });
        }
        let (stride, scale_xy) = (head.strides[map], head.boxes.usual_scale_xy());
        self.model.detect.maps.push(HeadMap { stride, anchors_per_cell, anchors, scale_xy, parts });
    }

    /// A convolution of 1x1 that leaves accumulators.
    fn logits(&mut self, name: &str, input: ValueId, outputs: u32) -> ValueId {
        let weights =
            self.weights([outputs, self.shape(input)[0]], [1, 1], self.specification.edge_weight_bits);
        let [_, height, width] = self.shape(input);
        let kind = ValueKind::Accumulators;
        let value = Value { name: name.to_owned(), channels: outputs, height, width, kind };
        let output = self.value(value);
        let window = Window { kernel: [1, 1], stride: [1, 1], padding: [0; 4] };
        let terms = vec![ConvTerm { input, weights }];
        self.node(name, output, Operator::Conv(Conv { terms, window, groups: 1, requantize: None }))
    }

    /// Uniform random weights.
    fn weights(&mut self, [outputs, inputs]: [u32; 2], kernel: [u32; 2], bits: u8) -> Weights {
        let shape = [outputs, inputs, kernel[0], kernel[1]];
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

    /// What makes levels of a convolution's accumulators, behind a function that is no straight line.
    fn curved(&mut self, input: ValueId, weights: &Weights, codes: Codes) -> Requantize {
        let weight_max = largest(weights);
        let picture = input == self.model.input.value;
        let sums = Accumulators {
            products: weights.len() as f64 / f64::from(weights.shape[0]),
            // Uniform numbers from −1 to 1 have a mean square of a third.
            weight: [weight_max, if weights.bits == 1 { 1.0 } else { weight_max / 3f64.sqrt() }],
            input: (self.largest_integer(input), picture.then(|| 255.0 / 3f64.sqrt())),
        };
        let (index, channels) = (self.requantized, weights.shape[0] as usize);
        self.requantized += 1;
        codes.requantize(index, channels, sums, || (self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// The same behind none, and behind ReLU, which codes from 0 on make of it: a multiplier that spreads sums of random signs
    /// over the levels, and a bias of 0, or where codes begin with it of a third of the range.
    fn straight(&mut self, input: ValueId, weights: &Weights, codes: Codes) -> Requantize {
        let terms = weights.len() as f64 / f64::from(weights.shape[0]);
        let spread = terms.sqrt() * self.largest_integer(input) * largest(weights) * 0.4;
        let max_level = f64::from(codes.max_level);
        let shift = 30;
        let unit = f64::from(1 << shift);
        let channels = weights.shape[0] as usize;
        let multiplier = |random: u64| {
            let jitter = 0.75 + (random >> 40) as f64 / f64::from(1 << 25);
            (max_level / spread / 2.0 * jitter * unit).min(f64::from(i32::MAX)) as i32
        };
        let multipliers = (0..channels).map(|_| multiplier(self.next())).collect();
        let zero = if codes.zero() == 0 { max_level * 0.3 } else { f64::from(codes.zero()) };
        let bias = vec![((zero + 0.5) * unit) as i64; channels];
        Requantize::Scale { multipliers, bias, shift }
    }

    /// The largest magnitude of a value's integers.
    fn largest_integer(&self, value: ValueId) -> f64 {
        self.model.encoding(value).max_magnitude() as f64
    }

    fn levels(&mut self, name: &str, shape: [u32; 3]) -> ValueId {
        self.levels_of(name, shape, self.codes)
    }

    fn levels_of(&mut self, name: &str, shape: [u32; 3], codes: Codes) -> ValueId {
        let Codes { max_level, low, zero_point, .. } = codes;
        self.levels_like(name, shape, Encoding { max_level, step: 1, low, zero_point, scale: 1.0 })
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

/// The largest of random weights.
fn largest(weights: &Weights) -> f64 {
    if weights.bits == 1 { 1.0 } else { f64::from((1i32 << (weights.bits - 1)) - 1) }
}

/// A window in the format's terms.
fn to_format(window: layer::Window) -> Window {
    let layer::Window { kernel, stride, padding } = window;
    Window {
        kernel: [kernel as u32; 2],
        stride: [stride as u32; 2],
        padding: padding.map(|side| side as u32),
    }
}

/// Channels, rows and columns after a window slid over them.
fn along(window: Window, [channels, height, width]: [u32; 3]) -> [u32; 3] {
    let extent = |axis: usize, extent: u32| {
        let padding = window.padding[axis] + window.padding[axis + 2];
        (extent + padding - window.kernel[axis]) / window.stride[axis] + 1
    };
    [channels, extent(0, height), extent(1, width)]
}

#[cfg(test)]
mod tests;
