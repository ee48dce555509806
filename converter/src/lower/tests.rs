//! Small networks lowered and run, against their float graph computed with plain loops.

use ylb_format::model::{Metadata, Model, Operator};

use super::*;
use crate::error::ErrorKind;
use crate::ir::testing::Builder;
use crate::ir::{Attribute, Graph, Tensor};
use crate::passes;
use crate::passes::heads::Hints;
use crate::quantizer::Quantizer;
use crate::verify;

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

const SIZE: usize = 8;

/// The usual parts of a network, in a graph under construction.
struct Net {
    builder: Builder,
    random: Random,
}

impl Net {
    fn new() -> (Self, TensorId) {
        let (builder, image) = Builder::picture(SIZE, SIZE);
        let mut net = Self { builder, random: Random(3) };
        let input = net.builder.quant(image, 1.0 / 255.0, 0.0, 8.0, false);
        (net, input)
    }

    /// A convolution of 4-bit weights with one scale a channel.
    fn conv(&mut self, input: TensorId, [outputs, inputs, kernel]: [usize; 3]) -> TensorId {
        let shape = [outputs, inputs, kernel, kernel];
        let weights = self.random.numbers(shape.iter().product());
        let weights = self.builder.floats(&shape, &weights);
        let scales: Vec<f32> = self.random.numbers(outputs).into_iter().map(|x| 0.15 + 0.05 * x).collect();
        let scale = self.builder.floats(&[outputs, 1, 1, 1], &scales);
        let (zero, bits) = (self.builder.float(0.0), self.builder.float(4.0));
        let weights = self.builder.node("qonnx::Quant", &[weights, scale, zero, bits], &[]);
        self.conv_of(input, weights, kernel)
    }

    fn conv_of(&mut self, input: TensorId, weights: TensorId, kernel: usize) -> TensorId {
        let pads = ints(&[(kernel / 2) as i64; 4]);
        self.builder.node("Conv", &[input, weights], &[("pads", pads)])
    }

    /// Batch normalization, some gammas negative and the last one zero.
    fn normalized(&mut self, input: TensorId, channels: usize) -> TensorId {
        let mut gamma = self.random.numbers(channels);
        gamma[channels - 1] = 0.0;
        let beta = self.random.numbers(channels);
        let mean = self.random.numbers(channels);
        let variance: Vec<f32> = self.random.numbers(channels).into_iter().map(|x| 1.2 + x).collect();
        let parameters =
            [gamma, beta, mean, variance].map(|numbers| self.builder.floats(&[channels], &numbers));
        let inputs = [&[input][..], &parameters].concat();
        self.builder.node("BatchNormalization", &inputs, &[("epsilon", Attribute::Float(1e-3))])
    }

    fn layer(&mut self, input: TensorId, shape: [usize; 3], scale: f32) -> TensorId {
        let conv = self.conv(input, shape);
        let normalized = self.normalized(conv, shape[0]);
        let relu = self.builder.node("Relu", &[normalized], &[]);
        self.builder.quant(relu, scale, 0.0, 4.0, false)
    }

    /// Lowers the network with a raw head behind `last` and compares every code with the float graph.
    fn check(mut self, last: TensorId, channels: usize) -> Model {
        let head = self.conv(last, [18, channels, 1]);
        self.builder.graph.outputs = vec![head];
        let (model, graph) = converted(self.builder.graph).unwrap();
        let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * 37 % 256) as u8).collect();
        let execution = verify::execute(&model, &pixels);
        let expected = float_codes(&graph, &pixels);
        let mut compared = 0;
        for (index, value) in model.values.iter().enumerate().filter(|(_, v)| !v.name.is_empty()) {
            let codes = execution.codes(ValueId(index as u32)).unwrap();
            let (name, expected) = (&value.name, &expected.codes[&value.name]);
            let codes: Vec<f64> = codes.into_iter().map(f64::from).collect();
            assert_eq!(&codes, expected, "{name}");
            compared += 1;
        }
        assert_eq!(compared, expected.codes.len(), "all quantizers");
        for (found, expected) in execution.logits(0).iter().zip(&expected.output) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        model
    }

    fn refused(mut self, last: TensorId, channels: usize) -> ConvertError {
        let head = self.conv(last, [18, channels, 1]);
        self.builder.graph.outputs = vec![head];
        converted(self.builder.graph).unwrap_err()
    }
}

fn converted(mut graph: Graph) -> Result<(Model, Graph), ConvertError> {
    passes::constants::run(&mut graph, None)?;
    passes::quantizers::run(&mut graph)?;
    let heads = passes::heads::run(&mut graph, Hints { classes: Some(1) })?;
    passes::prune::run(&mut graph);
    let lowered = run(&graph, &heads, false, &mut |_, _| {})?;
    let (model, rows) = crate::emit::model(lowered, heads, "images".into(), Metadata::default())?;
    assert_eq!(rows.len(), model.nodes.len());
    Ok((model, graph))
}

struct FloatRun {
    codes: std::collections::BTreeMap<String, Vec<f64>>,
    output: Vec<f64>,
}

/// The graph in 64-bit floats, with the codes of every activation quantizer.
fn float_codes(graph: &Graph, pixels: &[u8]) -> FloatRun {
    let picture = pixels.iter().map(|&byte| f64::from(f32::from(byte) / 255.0)).collect();
    let picture = Tensor::f64(&[1, 3, SIZE, SIZE], picture).unwrap();
    let mut values: HashMap<TensorId, Tensor> = HashMap::from([(graph.inputs[0], picture)]);
    let mut codes = std::collections::BTreeMap::new();
    for node in &graph.nodes {
        let get = |position: usize| {
            let id = node.input(position).unwrap();
            values.get(&id).or_else(|| graph.constant(id).map(AsRef::as_ref)).unwrap().clone()
        };
        let result = match (node.op_type.as_str(), &node.quantizer) {
            (_, Some(quantizer)) => {
                let (own, real) = quantize(quantizer, &get(0));
                codes.insert(quantizer.codes_name.clone(), own);
                real
            }
            ("Conv", _) => float_conv(node, &get(0), &get(1)),
            ("BatchNormalization", _) => {
                let x = get(0);
                let parameters = [1, 2, 3, 4].map(|position| get(position).to_f64());
                let [gamma, beta, mean, variance] = parameters;
                let plane = x.shape()[2] * x.shape()[3];
                let value = |index: usize| {
                    let c = index / plane;
                    let deviation = (variance[c] + f64::from(1e-3f32)).sqrt();
                    (x.get(index) - mean[c]) / deviation * gamma[c] + beta[c]
                };
                Tensor::f64(x.shape(), (0..x.len()).map(value).collect()).unwrap()
            }
            ("MaxPool", _) => float_pool(&get(0)),
            _ => {
                let inputs: Vec<Tensor> = (0..node.inputs.len()).map(get).collect();
                let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Some).collect();
                crate::eval::evaluate(node, &inputs, 17).unwrap().unwrap().remove(0)
            }
        };
        if node.op_type == "Round" {
            codes.insert(graph.tensor(node.outputs[0]).name.clone(), result.to_f64());
        }
        values.insert(node.outputs[0], result);
    }
    FloatRun { codes, output: values[&graph.outputs[0]].to_f64() }
}

fn quantize(quantizer: &Quantizer, x: &Tensor) -> (Vec<f64>, Tensor) {
    let scale = f64::from(quantizer.scale.values[0]);
    let zero_point = f64::from(quantizer.zero_point.values[0]);
    let codes: Vec<f64> = x.to_f64().into_iter().map(|x| quantizer.code_f64(x, scale, zero_point)).collect();
    let real = codes.iter().map(|code| (code - zero_point) * scale).collect();
    (codes, Tensor::f64(x.shape(), real).unwrap())
}

fn float_conv(node: &Node, x: &Tensor, weights: &Tensor) -> Tensor {
    let [_, channels, height, width] = x.shape()[..] else { panic!() };
    let [outputs, inputs, kernel, _] = weights.shape()[..] else { panic!() };
    let group_outputs = outputs * inputs / channels;
    let pad = node.ints("pads").map_or(0, |pads| pads[0] as usize);
    let mut result = Vec::new();
    for o in 0..outputs {
        for (y, x0) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let mut sum = 0.0;
            for i in 0..inputs {
                for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                    let (sy, sx) = ((y + ky).wrapping_sub(pad), (x0 + kx).wrapping_sub(pad));
                    if sy < height && sx < width {
                        let channel = o / group_outputs * inputs + i;
                        sum += x.get((channel * height + sy) * width + sx)
                            * weights.get(((o * inputs + i) * kernel + ky) * kernel + kx);
                    }
                }
            }
            result.push(sum);
        }
    }
    Tensor::f64(&[1, outputs, height, width], result).unwrap()
}

/// 3x3, stride 1, padding 1.
fn float_pool(x: &Tensor) -> Tensor {
    let [_, channels, height, width] = x.shape()[..] else { panic!() };
    let mut result = Vec::new();
    for c in 0..channels {
        for (y, x0) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let mut most = f64::NEG_INFINITY;
            for sy in y.saturating_sub(1)..(y + 2).min(height) {
                for sx in x0.saturating_sub(1)..(x0 + 2).min(width) {
                    most = most.max(x.get((c * height + sy) * width + sx));
                }
            }
            result.push(most);
        }
    }
    Tensor::f64(x.shape(), result).unwrap()
}

#[test]
fn convolution_normalization_relu() {
    let (mut net, input) = Net::new();
    let first = net.layer(input, [5, 3, 3], 0.2);
    let second = net.layer(first, [4, 5, 1], 0.3);
    let model = net.check(second, 4);
    assert_eq!(model.nodes.len(), 3);
    assert_eq!(model.input.pixel_levels[200], 200);
}

#[test]
fn zero_points_pad_with_real_zero() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [5, 3, 3]);
    let normalized = net.normalized(conv, 5);
    let quantized = net.builder.quant(normalized, 0.2, 5.0, 4.0, false);
    let second = net.layer(quantized, [4, 5, 3], 0.3);
    net.check(second, 4);
}

#[test]
fn bipolar_codes_pad_with_no_code() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [5, 3, 3]);
    let normalized = net.normalized(conv, 5);
    let scale = net.builder.floats(&[1], &[0.7]);
    let bipolar = net.builder.node("qonnx::BipolarQuant", &[normalized, scale], &[]);
    let weights = net.random.numbers(4 * 5 * 9);
    let weights = net.builder.floats(&[4, 5, 3, 3], &weights);
    let weights = net.builder.node("qonnx::BipolarQuant", &[weights, scale], &[]);
    let conv = net.conv_of(bipolar, weights, 3);
    let quantized = net.builder.quant(conv, 0.9, 0.0, 3.0, true);
    net.check(quantized, 4);
}

#[test]
fn silu_and_its_relatives() {
    for activation in ["SiLU", "HardSwish", "a Mish of sorts", "LeakyRelu"] {
        let (mut net, input) = Net::new();
        let conv = net.conv(input, [6, 3, 3]);
        let x = net.normalized(conv, 6);
        let active = match activation {
            "SiLU" => {
                let sigmoid = net.builder.node("Sigmoid", &[x], &[]);
                net.builder.node("Mul", &[x, sigmoid], &[])
            }
            // eval has neither; written out, which lowers to the same expression.
            "HardSwish" => {
                let [a, b, low, high] = [1.0 / 6.0, 0.5, 0.0, 1.0].map(|x| net.builder.float(x));
                let scaled = net.builder.node("Mul", &[x, a], &[]);
                let shifted = net.builder.node("Add", &[scaled, b], &[]);
                let clipped = net.builder.node("Clip", &[shifted, low, high], &[]);
                net.builder.node("Mul", &[x, clipped], &[])
            }
            "a Mish of sorts" => {
                let exp = net.builder.node("Exp", &[x], &[]);
                let one = net.builder.float(1.0);
                let sum = net.builder.node("Add", &[exp, one], &[]);
                let tanh = net.builder.node("Tanh", &[sum], &[]);
                net.builder.node("Mul", &[x, tanh], &[])
            }
            other => net.builder.node(other, &[x], &[("alpha", Attribute::Float(0.1))]),
        };
        let quantized = net.builder.quant(active, 0.07, 0.0, 6.0, true);
        net.check(quantized, 6);
    }
}

#[test]
fn requantized_sums_concats_and_pools() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.2);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let sum = net.builder.quant(sum, 0.27, 0.0, 4.0, false);
    let joined = net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))]);
    let joined = net.builder.quant(joined, 0.29, 0.0, 4.0, false);
    let pool = [("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))];
    let pooled = net.builder.node("MaxPool", &[joined], &pool);
    let both = net.builder.node("Concat", &[joined, pooled], &[("axis", Attribute::Int(1))]);
    let small = net.layer(both, [4, 16, 1], 0.4);
    net.check(small, 4);
}

/// Upsampled codes are repeated codes; a pooling with stride 2 brings them back to the head's size.
#[test]
fn upsampled_codes_are_repeated() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let empty = net.builder.floats(&[0], &[]);
    let scales = net.builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let asymmetric = [
        ("coordinate_transformation_mode", Attribute::Text("asymmetric".into())),
        ("nearest_mode", Attribute::Text("floor".into())),
    ];
    let large = net.builder.node("Resize", &[a, empty, scales], &asymmetric);
    let pool = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let small = net.builder.node("MaxPool", &[large], &pool);
    let head = net.conv(small, [18, 4, 1]);
    let mut graph = net.builder.graph;
    graph.outputs = vec![head];
    let (model, _) = converted(graph).unwrap();
    let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * 37 % 256) as u8).collect();
    let execution = verify::execute(&model, &pixels);
    let written = |kind: fn(&Operator) -> bool| {
        let node = model.nodes.iter().find(|node| kind(&node.operator)).unwrap();
        execution.codes(node.output).unwrap()
    };
    let before = written(|operator| matches!(operator, Operator::Conv(_)));
    let large = written(|operator| matches!(operator, Operator::Upsample { .. }));
    assert_eq!(large.len(), 4 * before.len());
    assert_eq!(large[..4], [before[0], before[0], before[1], before[1]]);
    assert_eq!(written(|operator| matches!(operator, Operator::MaxPool { .. })), before);
}

/// Ties of a sum of equal scales alternate between even codes: only thresholds can do that.
#[test]
fn sums_with_ties_become_staircases() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.25);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let sum = net.builder.quant(sum, 0.5, 0.0, 4.0, false);
    let model = net.check(sum, 4);
    let staircase = |node: &model::Node| {
        matches!(&node.operator, Operator::Add { requantize: model::Requantize::ScaledStaircase { .. }, .. })
    };
    assert!(model.nodes.iter().any(staircase));
}

#[test]
fn sums_of_one_scale_need_no_quantizer() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.25);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let last = net.layer(sum, [4, 4, 3], 0.3);
    let model = net.check(last, 4);
    let wide = model.values.iter().filter_map(|value| value.encoding()).any(|e| e.max_level == 30);
    assert!(wide);
}

/// Operands of different scales without a quantizer behind their sum: a convolution of several terms,
/// whose every code is proven.
#[test]
fn sums_and_concats_of_different_scales() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let c = net.layer(sum, [4, 4, 3], 0.187);
    let sum = net.builder.node("Add", &[sum, c], &[]);
    let joined = net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))]);
    let last = net.layer(joined, [5, 8, 1], 0.3);
    let model = net.check(last, 5);
    assert_eq!(terms(&model), [1, 1, 2, 3, 1]);
}

/// The number of terms of each convolution.
fn terms(model: &Model) -> Vec<usize> {
    let of_node = |node: &model::Node| match &node.operator {
        Operator::Conv(conv) => Some(conv.terms.len()),
        _ => None,
    };
    model.nodes.iter().filter_map(of_node).collect()
}

/// Requantized joins: eight bits in the place of each sum and concat of different scales.
#[test]
fn joins_are_requantized_on_request() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let c = net.layer(sum, [4, 4, 3], 0.187);
    let joined = net.builder.node("Concat", &[sum, c], &[("axis", Attribute::Int(1))]);
    let last = net.layer(joined, [5, 8, 1], 0.3);
    let head = net.conv(last, [18, 5, 1]);
    let mut graph = net.builder.graph;
    graph.outputs = vec![head];
    passes::constants::run(&mut graph, None).unwrap();
    passes::quantizers::run(&mut graph).unwrap();
    let heads = passes::heads::run(&mut graph, Hints { classes: Some(1) }).unwrap();
    passes::prune::run(&mut graph);
    let lowered = run(&graph, &heads, true, &mut |_, _| {}).unwrap();
    let warnings: Vec<&str> = lowered.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|message| message.contains("requantized to 8 bits")));
    let (model, _) = crate::emit::model(lowered, heads, "images".into(), Metadata::default()).unwrap();
    assert_eq!(terms(&model), [1; 5]);
    // Eight bits lie close to what they stand for.
    let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * 37 % 256) as u8).collect();
    let execution = verify::execute(&model, &pixels);
    let real = |value: &model::Value, index: usize, element: usize| {
        let code = execution.codes(ValueId(index as u32)).unwrap()[element];
        let encoding = value.encoding().unwrap();
        f64::from(code - encoding.zero_point) * encoding.scale
    };
    let node = |node: &&model::Node| matches!(&node.operator, Operator::Add { .. });
    let add = model.nodes.iter().find(node).unwrap();
    let (output, inputs) = (add.output.0 as usize, add.operator.inputs());
    for element in 0..4 * SIZE * SIZE {
        let addend = |id: &ValueId| real(&model.values[id.0 as usize], id.0 as usize, element);
        let sum: f64 = inputs.iter().map(addend).sum();
        let found = real(&model.values[output], output, element);
        assert!((sum - found).abs() <= 0.51 * model.values[output].encoding().unwrap().scale);
    }
}

/// Activations that are no clamped line need one staircase for all channels.
#[test]
fn silu_behind_different_scales() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let conv = net.conv(sum, [6, 4, 3]);
    let x = net.normalized(conv, 6);
    let sigmoid = net.builder.node("Sigmoid", &[x], &[]);
    let active = net.builder.node("Mul", &[x, sigmoid], &[]);
    let quantized = net.builder.quant(active, 0.05, 0.0, 6.0, true);
    let model = net.check(quantized, 6);
    let shared = |node: &model::Node| match &node.operator {
        Operator::Conv(conv) => {
            conv.terms.len() == 2
                && matches!(conv.requantize, Some(model::Requantize::ScaledStaircase { .. }))
        }
        _ => false,
    };
    assert!(model.nodes.iter().any(shared));
}

/// Scales in small ratios are multiples of one unit: thresholds are as exact as those of one scale.
#[test]
fn scales_of_small_ratios() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.125);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let last = net.layer(sum, [4, 4, 1], 0.5);
    let model = net.check(last, 4);
    assert_eq!(terms(&model), [1, 1, 2, 1]);
}

/// Bipolar codes and their sums: −1, 1 and −2, 0, 2 of one scale, padded with 0.
#[test]
fn bipolar_codes_beside_their_sums() {
    let (mut net, input) = Net::new();
    let scale = net.builder.float(1.0);
    let sign = |net: &mut Net, input: TensorId, shape: [usize; 3]| {
        let conv = net.conv(input, shape);
        let normalized = net.normalized(conv, shape[0]);
        net.builder.node("qonnx::BipolarQuant", &[normalized, scale], &[])
    };
    let a = sign(&mut net, input, [4, 3, 3]);
    let b = sign(&mut net, a, [4, 4, 3]);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let joined = net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))]);
    let last = sign(&mut net, joined, [5, 8, 3]);
    let model = net.check(last, 5);
    assert_eq!(terms(&model), [1, 1, 2, 1]);
}

#[test]
fn quantizers_in_a_row_are_two_steps() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let again = net.builder.quant(a, 0.6, 1.0, 3.0, false);
    let model = net.check(again, 4);
    assert!(model.nodes.iter().any(|node| matches!(node.operator, Operator::Map { .. })));
}

/// LSQ writes its quantizer out: Div, Clip, Round, Mul.
#[test]
fn written_out_quantizers_are_cut_at_round() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let [alpha, low, high] = [0.3, -2.0, 5.0].map(|x| net.builder.float(x));
    let divided = net.builder.node("Div", &[conv, alpha], &[]);
    let clipped = net.builder.node("Clip", &[divided, low, high], &[]);
    let rounded = net.builder.node("Round", &[clipped], &[]);
    let real = net.builder.node("Mul", &[rounded, alpha], &[]);
    let last = net.layer(real, [4, 4, 3], 0.3);
    net.check(last, 4);
}

#[test]
fn depthwise_convolutions() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let weights = net.random.numbers(4 * 9);
    let weights = net.builder.floats(&[4, 1, 3, 3], &weights);
    let weights = net.builder.quant(weights, 0.13, 0.0, 4.0, true);
    let attributes = [("pads", ints(&[1; 4])), ("group", Attribute::Int(4))];
    let conv = net.builder.node("Conv", &[a, weights], &attributes);
    let quantized = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
    net.check(quantized, 4);
}

#[test]
fn pictures_without_a_quantizer_are_bytes() {
    let (builder, image) = Builder::picture(SIZE, SIZE);
    let mut net = Net { builder, random: Random(9) };
    let last = net.layer(image, [4, 3, 3], 0.2);
    let model = net.check(last, 4);
    assert_eq!(model.values[model.input.value.0 as usize].encoding().unwrap().max_level, 255);
}

#[test]
fn floats_between_convolutions_are_refused() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let error = net.refused(conv, 4);
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("Conv")));
    assert!(error.message().contains("expected a quantizer"), "{error}");
}

#[test]
fn unknown_operators_and_wide_codes_are_refused() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let odd = net.builder.node("Erf", &[a], &[]);
    let error = net.refused(odd, 4);
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::Unsupported, Some("Erf")));

    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let wide = net.builder.quant(conv, 0.001, 0.0, 9.0, false);
    let error = net.refused(wide, 4);
    assert!(error.message().contains("at most 8 bits"), "{error}");
}

#[test]
fn relu_before_bipolar_is_warned_of() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let relu = net.builder.node("Relu", &[conv], &[]);
    let scale = net.builder.float(0.7);
    let bipolar = net.builder.node("qonnx::BipolarQuant", &[relu, scale], &[]);
    let head = net.conv(bipolar, [18, 4, 1]);
    let mut graph = net.builder.graph;
    graph.outputs = vec![head];
    passes::constants::run(&mut graph, None).unwrap();
    passes::quantizers::run(&mut graph).unwrap();
    let heads = passes::heads::run(&mut graph, Hints { classes: Some(1) }).unwrap();
    passes::prune::run(&mut graph);
    let lowered = run(&graph, &heads, false, &mut |_, _| {}).unwrap();
    assert_eq!(lowered.warnings.len(), 1);
}
