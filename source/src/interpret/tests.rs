use super::*;
use crate::ir::Attribute;
use crate::ir::Builder;

const PIXELS: [u8; 27] = [
    0, 51, 102, 153, 204, 255, 10, 20, 30, 255, 0, 255, 0, 255, 0, 255, 0, 255, 5, 5, 5, 100, 100, 100, 200,
    200, 200,
];

/// Codes (where `wanted` has some) and elements of a tensor for [`PIXELS`], a 3x3 picture.
fn run(mut builder: Builder, output: TensorId) -> (Option<Vec<i32>>, Tensor) {
    builder.graph.outputs = vec![output];
    let name = builder.graph.tensor(output).name.clone();
    let interpreter = Interpreter::of_graph(builder.graph, [3, 3]).unwrap();
    let wanted = BTreeSet::from([name.as_str()]);
    let result = interpreter.run(&PIXELS, &wanted, &mut |_, _| {});
    let interpretation = result.or_else(|_| interpreter.run(&PIXELS, &BTreeSet::new(), &mut |_, _| {}));
    let Interpretation { codes, outputs } = interpretation.unwrap();
    (codes.get(&name).cloned(), Tensor::f64(&outputs[0].shape, outputs[0].data.clone()).unwrap())
}

fn reals(builder: Builder, output: TensorId) -> Vec<f64> {
    run(builder, output).1.to_f64()
}

fn error(mut builder: Builder, output: TensorId) -> SourceError {
    builder.graph.outputs = vec![output];
    let run = |interpreter: Interpreter| interpreter.run(&PIXELS, &BTreeSet::new(), &mut |_, _| {});
    Interpreter::of_graph(builder.graph, [3, 3]).and_then(run).unwrap_err()
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

#[test]
fn the_picture_is_a_number_of_32_bits() {
    let (mut builder, image) = Builder::picture(3, 3);
    let output = builder.node("Identity", &[image], &[]);
    let expected: Vec<f64> = PIXELS.iter().map(|&byte| f64::from(f32::from(byte) / 255.0)).collect();
    assert_eq!(reals(builder, output), expected);
}

#[test]
fn quantizers_clamp_round_and_keep_their_codes() {
    let (mut builder, image) = Builder::picture(3, 3);
    let output = builder.quant(image, 0.25, 1.0, 2.0, false);
    let (codes, tensor) = run(builder, output);
    // 0.2 / 0.25 + 1 = 1.8; 0.4: 2.6; beyond 3 the clamp acts.
    assert_eq!(codes.unwrap()[..6], [1, 2, 3, 3, 3, 3]);
    assert_eq!(tensor.to_f64()[..4], [0.0, 0.25, 0.5, 0.5]);

    let (mut builder, image) = Builder::picture(3, 3);
    let (half, scale) = (builder.float(0.5), builder.float(0.125));
    let shifted = builder.node("Sub", &[image, half], &[]);
    let output = builder.node("qonnx::BipolarQuant", &[shifted, scale], &[]);
    assert_eq!(run(builder, output).0.unwrap()[..6], [-1, -1, -1, 1, 1, 1]);
}

/// A linear quantizer's codes are a tensor of their own, and halves go to the even code before the
/// zero point is added.
#[test]
fn linear_quantizers_round_before_they_add() {
    let (mut builder, image) = Builder::picture(3, 3);
    let nothing = builder.float(0.0);
    let black = builder.node("Mul", &[image, nothing], &[]);
    let numbers = builder.floats(&[1, 3, 1, 1], &[5.0, 3.0, 1.0]);
    let numbers = builder.node("Add", &[black, numbers], &[]);
    let scale = builder.float(2.0);
    let zero = Tensor::integers(&[], ElementType::Unsigned(8), [1].into_iter()).unwrap();
    let zero = builder.constant(zero);
    let codes = builder.node("QuantizeLinear", &[numbers, scale, zero], &[]);
    let (low, high) = (zero, builder.constant(Tensor::indices(&[2]).reshaped(&[]).unwrap()));
    let clipped = builder.node("Clip", &[codes, low, high], &[]);
    let output = builder.node("DequantizeLinear", &[clipped, scale, zero], &[]);
    let mut graph = builder.graph;
    graph.outputs = vec![output];
    let names = [codes, clipped].map(|id| graph.tensor(id).name.clone());
    let interpreter = Interpreter::of_graph(graph, [3, 3]).unwrap();
    let wanted = names.iter().map(String::as_str).collect();
    let interpretation = interpreter.run(&PIXELS, &wanted, &mut |_, _| {}).unwrap();
    let by_channel = |codes: &[i32]| [codes[0], codes[9], codes[18]];
    // 2.5, 1.5 and 0.5 steps.
    assert_eq!(by_channel(&interpretation.codes[&names[0]]), [3, 3, 1]);
    assert_eq!(by_channel(&interpretation.codes[&names[1]]), [2, 2, 1]);
    assert_eq!(interpretation.outputs[0].data[8..10], [2.0, 2.0]);
}

/// Codes of weights come from 32-bit arithmetic; their values are not rounded to it.
#[test]
fn weights_are_exact_multiples_of_their_scale() {
    let (mut builder, image) = Builder::picture(3, 3);
    let weights = builder.floats(&[1, 3, 1, 1], &[0.7, -0.21, 0.0]);
    let weights = builder.quant(weights, 0.1, 0.0, 4.0, true);
    let output = builder.node("Conv", &[image, weights], &[]);
    let scale = f64::from(0.1f32);
    let x = |channel: usize| f64::from(f32::from(PIXELS[channel * 9 + 5]) / 255.0);
    let expected = 7.0 * scale * x(0) - 2.0 * scale * x(1);
    assert!((reals(builder, output)[5] - expected).abs() < 1e-15);

    // Written out as arithmetic: 32 bits up to Round, 64 after it.
    let (mut builder, image) = Builder::picture(3, 3);
    let weights = builder.floats(&[1, 3, 1, 1], &[0.7, 0.0, 0.0]);
    let alpha = builder.float(0.1);
    let divided = builder.node("Div", &[weights, alpha], &[]);
    let rounded = builder.node("Round", &[divided], &[]);
    let scaled = builder.node("Mul", &[rounded, alpha], &[]);
    let output = builder.node("Conv", &[image, scaled], &[]);
    assert_eq!(reals(builder, output)[5], 7.0 * scale * x(0));
}

/// Against the definition, with one loop for every index.
#[test]
fn convolutions() {
    for (groups, stride, pads) in [(1, 1, [1, 1, 1, 1]), (1, 2, [0, 1, 2, 0]), (3, 1, [2, 0, 0, 2])] {
        let (mut builder, image) = Builder::picture(3, 3);
        let group = 3 / groups;
        let data: Vec<f32> = (0..6 * group * 9).map(|k| (k % 7) as f32 - 3.0).collect();
        let weights = builder.floats(&[6, group, 3, 3], &data);
        let bias = builder.floats(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let attributes = [
            ("group", Attribute::Int(groups as i64)),
            ("strides", ints(&[stride; 2])),
            ("pads", ints(&pads)),
        ];
        let output = builder.node("Conv", &[image, weights, bias], &attributes);
        let result = run(builder, output).1;
        let [_, _, height, width] = result.shape()[..] else { panic!("{:?}", result.shape()) };
        assert_eq!(height as i64, (3 + pads[0] + pads[2] - 3) / stride + 1);
        for index in 0..result.len() {
            let (o, y, x) = (index / (height * width), index / width % height, index % width);
            let mut expected = o as f64 + 1.0;
            for (i, ky, kx) in (0..group * 9).map(|k| (k / 9, k / 3 % 3, k % 3)) {
                let row = (y as i64) * stride + ky as i64 - pads[0];
                let column = (x as i64) * stride + kx as i64 - pads[1];
                if (0..3).contains(&row) && (0..3).contains(&column) {
                    let channel = o / (6 / groups) * group + i;
                    let pixel = PIXELS[channel * 9 + row as usize * 3 + column as usize];
                    let weight = f64::from(data[((o * group + i) * 3 + ky) * 3 + kx]);
                    expected += weight * f64::from(f32::from(pixel) / 255.0);
                }
            }
            assert!((result.get(index) - expected).abs() < 1e-12, "{groups} {stride} {pads:?} {index}");
        }
    }
}

#[test]
fn pooling_ignores_padding_and_resizing_repeats() {
    let (mut builder, image) = Builder::picture(3, 3);
    let negative = builder.node("Neg", &[image], &[]);
    let attributes = [("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4])), ("strides", ints(&[2, 2]))];
    let pooled = builder.node("MaxPool", &[negative], &attributes);
    let scales = builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let empty = builder.floats(&[0], &[]);
    let attributes = [
        ("coordinate_transformation_mode", Attribute::Text("asymmetric".into())),
        ("nearest_mode", Attribute::Text("floor".into())),
    ];
    let output = builder.node("Resize", &[pooled, empty, scales], &attributes);
    let result = run(builder, output).1;
    assert_eq!(result.shape(), [1, 3, 4, 4]);
    let bytes: Vec<i32> = result.to_f64()[..16].iter().map(|x| (-x * 255.0).round() as i32).collect();
    assert_eq!(bytes, [0, 0, 51, 51, 0, 0, 51, 51, 10, 10, 20, 20, 10, 10, 20, 20]);
}

#[test]
fn nearest_positions_by_mode() {
    let sources = |input: usize, output: usize, coordinates: &str, rounding: &str| {
        let (mut builder, _) = Builder::picture(3, 3);
        let data: Vec<f32> = (0..input).map(|k| k as f32).collect();
        let x = builder.floats(&[1, 1, 1, input], &data);
        let empty = builder.floats(&[0], &[]);
        let sizes = builder.constant(Tensor::indices(&[1, 1, 1, output as i64]));
        let attributes = [
            ("coordinate_transformation_mode", Attribute::Text(coordinates.into())),
            ("nearest_mode", Attribute::Text(rounding.into())),
        ];
        let resized = builder.node("Resize", &[x, empty, empty, sizes], &attributes);
        reals(builder, resized).iter().map(|&x| x as usize).collect::<Vec<_>>()
    };
    assert_eq!(sources(2, 4, "half_pixel", "round_prefer_floor"), [0, 0, 1, 1]);
    assert_eq!(sources(2, 4, "asymmetric", "floor"), [0, 0, 1, 1]);
    assert_eq!(sources(2, 4, "asymmetric", "round_prefer_ceil"), [0, 1, 1, 1]);
    assert_eq!(sources(3, 5, "align_corners", "ceil"), [0, 1, 1, 2, 2]);
}

#[test]
fn batch_normalization_and_activations() {
    let (mut builder, image) = Builder::picture(3, 3);
    let parameters = [[2.0, 1.0, 1.0], [0.5, 0.0, 0.0], [0.25, 0.0, 0.0], [0.75, 1.0, 1.0]]
        .map(|numbers| builder.floats(&[3], &numbers));
    let [gamma, beta, mean, variance] = parameters;
    let epsilon = [("epsilon", Attribute::Float(0.25))];
    let normal = builder.node("BatchNormalization", &[image, gamma, beta, mean, variance], &epsilon);
    let output = builder.node("HardSwish", &[normal], &[]);
    let result = reals(builder, output);
    for (index, &byte) in PIXELS[..9].iter().enumerate() {
        let x = (f64::from(f32::from(byte) / 255.0) - 0.25) * 2.0 + 0.5;
        assert!((result[index] - x * (x / 6.0 + 0.5).clamp(0.0, 1.0)).abs() < 1e-15);
    }
}

/// QLinearConv is Conv between a DequantizeLinear and a QuantizeLinear.
#[test]
fn convolutions_on_codes() {
    let (mut builder, image) = Builder::picture(3, 3);
    let byte = |b: &mut Builder, shape: &[usize], values: &[i64]| {
        let tensor = Tensor::integers(shape, ElementType::Unsigned(8), values.iter().copied());
        b.constant(tensor.unwrap())
    };
    let (scale, zero) = (builder.float(1.0 / 255.0), byte(&mut builder, &[], &[0]));
    let codes = builder.node("QuantizeLinear", &[image, scale, zero], &[]);
    let weights = byte(&mut builder, &[2, 3, 1, 1], &[3, 2, 2, 2, 1, 2]);
    let (weight_scale, weight_zero) = (builder.floats(&[2], &[0.5, 0.25]), byte(&mut builder, &[2], &[2, 2]));
    let (out_scale, out_zero) = (builder.float(0.01), byte(&mut builder, &[], &[100]));
    let bias = Tensor::integers(&[2], ElementType::Signed(32), [0, 255].into_iter()).unwrap();
    let bias = builder.constant(bias);
    let inputs = [codes, scale, zero, weights, weight_scale, weight_zero, out_scale, out_zero, bias];
    let output = builder.node("QLinearConv", &inputs, &[]);
    let (codes, _) = run(builder, output);
    let codes = codes.unwrap();
    for pixel in 0..9 {
        let x = |channel: usize| f64::from(PIXELS[channel * 9 + pixel]) / 255.0;
        assert_eq!(codes[pixel], (x(0) * 50.0).round_ties_even() as i32 + 100);
        assert_eq!(codes[9 + pixel], (25.0 - x(1) * 25.0).round_ties_even() as i32 + 100);
    }
}

/// Shapes of what depends on the picture are constants, of the types that the graph computes with.
#[test]
fn shape_arithmetic_keeps_its_types() {
    let (mut builder, image) = Builder::picture(3, 3);
    let shape = builder.node("Shape", &[image], &[("start", Attribute::Int(-1))]);
    let size = builder.node("Cast", &[shape], &[("to", Attribute::Int(1))]);
    let ten = builder.float(10.0);
    let tenth = builder.node("Div", &[size, ten], &[]);
    let (zero, hundred) = (builder.float(0.0), builder.float(100.0));
    let nothing = builder.node("Mul", &[image, zero], &[]);
    let scaled = builder.node("Mul", &[tenth, hundred], &[]);
    let output = builder.node("Add", &[nothing, scaled], &[]);
    assert_eq!(reals(builder, output)[0], f64::from(3.0f32 / 10.0 * 100.0));
}

#[test]
fn what_is_not_known_is_an_error() {
    let (mut builder, image) = Builder::picture(3, 3);
    let output = builder.node("Einsum", &[image], &[]);
    let error_of_operator = error(builder, output);
    assert_eq!(error_of_operator.op_type(), Some("Einsum"));

    let (mut builder, image) = Builder::picture(3, 3);
    let output = builder.node("Relu", &[image], &[]);
    builder.graph.outputs = vec![output];
    let name = builder.graph.tensor(output).name.clone();
    let interpreter = Interpreter::of_graph(builder.graph, [3, 3]).unwrap();
    let wanted = BTreeSet::from([name.as_str()]);
    let no_codes = interpreter.run(&PIXELS, &wanted, &mut |_, _| {}).unwrap_err();
    assert!(no_codes.message().contains("no codes"), "{no_codes}");
    assert!(interpreter.run(&PIXELS[1..], &BTreeSet::new(), &mut |_, _| {}).is_err());

    let (mut builder, image) = Builder::picture(4, 3);
    let output = builder.node("Relu", &[image], &[]);
    assert!(error(builder, output).message().contains("does not fit"));

    let (mut builder, image) = Builder::picture(3, 3);
    builder.graph.tensors[image.0].shape = Some(vec![4, 3, 3, 3]);
    let output = builder.node("Relu", &[image], &[]);
    assert!(error(builder, output).message().contains("does not fit: export it with a batch of 1"));
}

/// Products of matrices, as linear layers write them.
#[test]
fn linear_layers() {
    let (mut builder, image) = Builder::picture(3, 3);
    let mean = builder.node("GlobalAveragePool", &[image], &[]);
    let vector = builder.node("Flatten", &[mean], &[]);
    let weights = builder.floats(&[2, 3], &[1.0, 2.0, -1.0, 0.5, 0.0, 4.0]);
    let bias = builder.floats(&[2], &[0.25, -1.0]);
    let factors = [("transB", Attribute::Int(1)), ("alpha", Attribute::Float(2.0))];
    let output = builder.node("Gemm", &[vector, weights, bias], &factors);
    let [a, b, c]: [f64; 3] = std::array::from_fn(|channel| {
        let plane = &PIXELS[channel * 9..][..9];
        plane.iter().map(|&byte| f64::from(f32::from(byte) / 255.0)).sum::<f64>() / 9.0
    });
    let expected = [2.0 * (a + 2.0 * b - c) + 0.25, 2.0 * (0.5 * a + 4.0 * c) - 1.0];
    let found = reals(builder, output);
    assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-12), "{found:?} {expected:?}");

    let (mut builder, image) = Builder::picture(3, 3);
    let identity = builder.floats(&[3, 3], &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let output = builder.node("MatMul", &[image, identity], &[]);
    let expected = [1, 0, 2].map(|at| f64::from(f32::from(PIXELS[at]) / 255.0));
    assert_eq!(reals(builder, output)[..3], expected);

    // A vector leaves no extent: the last of each row.
    let (mut builder, image) = Builder::picture(3, 3);
    let vector = builder.floats(&[3], &[0.0, 0.0, 1.0]);
    let output = builder.node("MatMul", &[image, vector], &[]);
    let expected: Vec<f64> = (0..9).map(|row| f64::from(f32::from(PIXELS[3 * row + 2]) / 255.0)).collect();
    assert_eq!(reals(builder, output), expected);

    let (mut builder, image) = Builder::picture(3, 3);
    let wrong = builder.floats(&[2, 2], &[0.0; 4]);
    let output = builder.node("MatMul", &[image, wrong], &[]);
    assert!(error(builder, output).message().contains("a product of shapes"));
}

#[test]
fn maxima_of_maps() {
    let (mut builder, image) = Builder::picture(3, 3);
    let output = builder.node("GlobalMaxPool", &[image], &[]);
    assert_eq!(reals(builder, output), [1.0, 1.0, f64::from(200.0f32 / 255.0)]);
}
