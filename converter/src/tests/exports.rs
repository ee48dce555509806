//! What training tools write: quantizers as arithmetic, folded weights, integer operators.

use ylb_source::ir::ElementType;

use super::*;

/// `round(clamp(x / step, low, high)) · step`.
fn lsq(net: &mut Net, x: TensorId, step: f32, low: f32, high: f32) -> TensorId {
    let [step, low, high] = [step, low, high].map(|number| net.builder.float(number));
    let scaled = net.builder.node("Div", &[x, step], &[]);
    let clipped = net.builder.node("Clip", &[scaled, low, high], &[]);
    let rounded = net.builder.node("Round", &[clipped], &[]);
    net.builder.node("Mul", &[rounded, step], &[])
}

/// LSQ+: the same of `x − offset`, and the offset added again.
fn lsq_plus(net: &mut Net, x: TensorId, step: f32, offset: f32) -> TensorId {
    let offset = net.builder.float(offset);
    let shifted = net.builder.node("Sub", &[x, offset], &[]);
    let quantized = lsq(net, shifted, step, 0.0, 15.0);
    net.builder.node("Add", &[quantized, offset], &[])
}

/// A convolution with a bias whose weights are plain floats on a grid.
fn folded(net: &mut Net, x: TensorId, shape: [usize; 4], low: i32, high: i32) -> TensorId {
    let per_channel = shape[1..].iter().product::<usize>();
    let mut weights = net.integers(shape[0] * per_channel, low, high);
    for (channel, weights) in weights.chunks_mut(per_channel).enumerate() {
        let gamma = if channel % 2 == 0 { -1.3 } else { 0.6 } + channel as f32 / 9.0;
        weights.iter_mut().for_each(|weight| *weight = *weight * 0.07 * gamma);
    }
    let weights = net.builder.floats(&shape, &weights);
    let bias = net.numbers(shape[0]);
    let bias = net.builder.floats(&[shape[0]], &bias);
    let pads = ints(&[(shape[2] / 2) as i64; 4]);
    net.builder.node("Conv", &[x, weights, bias], &[("pads", pads)])
}

/// Weights folded onto their grid between layers with explicit quantizers.
#[test]
fn folded_weights_mix_with_explicit_quantizers() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let stem = folded(&mut net, input, [6, 3, 3, 3], -127, 127);
    let stem = net.builder.node("Relu", &[stem], &[]);
    let first = lsq(&mut net, stem, 0.9, 0.0, 3.0);
    let second = folded(&mut net, first, [6, 6, 3, 3], -8, 7);
    let second = lsq(&mut net, second, 0.8, -8.0, 7.0);
    let third = net.layer(second, [4, 6, 1, 1], 0.3);
    let report = net.check(third, 4).report;
    assert!(report.passes.contains(&"grids: recovered for folded weights, 1 of 4 bits, 1 of 8 bits".into()));
}

/// Gamma over sigma multiplied onto weights behind their quantizer, some of it negative.
#[test]
fn negative_gammas_on_quantized_weights() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let gamma = net.builder.floats(&[4, 1, 1, 1], &[-1.2, 0.7, -0.3, 1.1]);
    let weights = net.builder.node("Mul", &[weights, gamma], &[]);
    let conv = net.conv(input, weights);
    let relu = net.builder.node("Relu", &[conv], &[]);
    let first = net.builder.quant(relu, 0.2, 0.0, 4.0, false);
    net.check(first, 4);
}

/// `round(clamp(x, 0, a) · n / a) · a / n`.
#[test]
fn pact_clips_real_values() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let [zero, alpha, count] = [0.0, 2.3, 15.0].map(|number| net.builder.float(number));
    let clipped = net.builder.node("Clip", &[conv, zero, alpha], &[]);
    let scaled = net.builder.node("Mul", &[clipped, count], &[]);
    let scaled = net.builder.node("Div", &[scaled, alpha], &[]);
    let rounded = net.builder.node("Round", &[scaled], &[]);
    let real = net.builder.node("Mul", &[rounded, alpha], &[]);
    let real = net.builder.node("Div", &[real, count], &[]);
    net.check(real, 4);
}

/// An LSQ+ offset that is a whole number of steps is a zero point.
#[test]
fn lsq_plus_offsets_on_the_grid() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let quantized = lsq_plus(&mut net, conv, 0.25, -1.25);
    let second = net.layer(quantized, [4, 4, 3, 3], 0.4);
    net.check(second, 4);
}

/// Any other offset is a bias, which padding takes away at the border.
#[test]
fn lsq_plus_offsets_off_the_grid() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let quantized = lsq_plus(&mut net, conv, 0.25, -1.3);
    let second = net.layer(quantized, [4, 4, 3, 3], 0.4);
    net.check(second, 4);
}

/// Behind a concat one offset is that of every part, which learns it only there.
#[test]
fn lsq_plus_offsets_behind_a_concat() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let parts = [[4, 3, 3, 3], [3, 3, 1, 1]].map(|shape| {
        let weights = net.weights(shape);
        net.conv(input, weights)
    });
    let joined = net.builder.node("Concat", &parts, &[("axis", Attribute::Int(1))]);
    let quantized = lsq_plus(&mut net, joined, 0.25, -1.25);
    let last = net.layer(quantized, [4, 7, 3, 3], 0.4);
    net.check(last, 4);
}

/// torch's quantized modules cast codes to the type that they have already.
#[test]
fn casts_of_codes_change_nothing_or_are_refused() {
    let codes_cast_to = |to: i64| {
        let (mut net, image) = Net::new();
        let Codes([codes, scale, zero]) = quantized_picture(&mut net, image);
        let cast = net.builder.node("Cast", &[codes], &[("to", Attribute::Int(to))]);
        let real = net.builder.node("DequantizeLinear", &[cast, scale, zero], &[]);
        let last = net.layer(real, [4, 3, 3, 3], 0.4);
        (net, last)
    };
    let (mut net, last) = codes_cast_to(2); // UINT8
    net.check(last, 4);
    let (mut net, last) = codes_cast_to(3); // INT8
    let error = net.convert(last, 4).unwrap_err();
    assert_eq!(error.op_type(), Some("DequantizeLinear"));
    assert!(error.to_string().contains("codes from 0 to 255 are cast to a type of -128 to 127"), "{error}");
    let (mut net, last) = codes_cast_to(1); // FLOAT
    assert!(net.convert(last, 4).unwrap_err().to_string().contains("codes cast to floats"));
}

fn byte(net: &mut Net, value: i64) -> TensorId {
    net.builder.constant(Tensor::integers(&[], ElementType::Unsigned(8), [value].into_iter()).unwrap())
}

fn integers_of(net: &mut Net, shape: &[usize], element: ElementType, low: i32, high: i32) -> TensorId {
    let values = net.integers(shape.iter().product(), low, high);
    let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
    net.builder.constant(Tensor::integers(shape, element, values.into_iter()).unwrap())
}

/// Codes and how to read them.
#[derive(Clone, Copy)]
struct Codes([TensorId; 3]);

fn qlinear_conv(net: &mut Net, x: Codes, shape: [usize; 4], scale: f32, stride: i64) -> Codes {
    let weights = integers_of(net, &shape, ElementType::Signed(8), -127, 127);
    let scales: Vec<f32> = (0..shape[0]).map(|channel| 0.002 + 0.001 * channel as f32).collect();
    let scales = net.builder.floats(&[shape[0]], &scales);
    let zeros = integers_of(net, &[shape[0]], ElementType::Signed(8), 0, 0);
    let bias = integers_of(net, &[shape[0]], ElementType::Signed(32), -900, 900);
    let (scale, zero) = (net.builder.float(scale), byte(net, 100));
    let Codes([codes, x_scale, x_zero]) = x;
    let inputs = [codes, x_scale, x_zero, weights, scales, zeros, scale, zero, bias];
    let attributes = [("pads", ints(&[(shape[2] / 2) as i64; 4])), ("strides", ints(&[stride; 2]))];
    Codes([net.builder.node("QLinearConv", &inputs, &attributes), scale, zero])
}

fn quantized_picture(net: &mut Net, image: TensorId) -> Codes {
    let (scale, zero) = (net.builder.float(1.0 / 255.0), byte(net, 0));
    Codes([net.builder.node("QuantizeLinear", &[image, scale, zero], &[]), scale, zero])
}

/// Convolutions, a pooling on codes, a sum and a concat in ONNX Runtime's integer operators.
#[test]
fn integer_operators_are_floats_between_quantizers() {
    let (mut net, image) = Net::new();
    let picture = quantized_picture(&mut net, image);
    let first = qlinear_conv(&mut net, picture, [4, 3, 3, 3], 0.05, 2);
    let second = qlinear_conv(&mut net, first, [4, 4, 3, 3], 0.04, 1);
    let window = [("kernel_shape", ints(&[5, 5])), ("pads", ints(&[2; 4]))];
    let pooled = Codes([net.builder.node("MaxPool", &[second.0[0]], &window), second.0[1], second.0[2]]);
    let (scale, zero) = (net.builder.float(0.07), byte(&mut net, 90));
    let operands = [&first.0[..], &pooled.0, &[scale, zero]].concat();
    let sum = Codes([net.builder.node("microsoft::QLinearAdd", &operands, &[]), scale, zero]);
    let (scale, zero) = (net.builder.float(0.06), byte(&mut net, 110));
    let operands = [&[scale, zero][..], &sum.0, &second.0].concat();
    let axis = [("axis", Attribute::Int(1))];
    let joined = Codes([net.builder.node("microsoft::QLinearConcat", &operands, &axis), scale, zero]);
    let last = qlinear_conv(&mut net, joined, [4, 8, 1, 1], 0.09, 1);
    let real = net.builder.node("DequantizeLinear", &last.0, &[]);
    let converted = net.check(real, 4);
    assert_eq!(converted.report.format, "QOperator");
    // Codes keep the names of the tensors that hold them in the source.
    let name = &net.builder.graph.tensor(second.0[0]).name;
    assert!(converted.model.values.iter().any(|value| value.name == *name));
}

#[test]
fn codes_of_integer_operators_must_be_read_as_written() {
    let (mut net, image) = Net::new();
    let mut picture = quantized_picture(&mut net, image);
    picture.0[1] = net.builder.float(0.5);
    let first = qlinear_conv(&mut net, picture, [4, 3, 3, 3], 0.05, 2);
    let real = net.builder.node("DequantizeLinear", &first.0, &[]);
    let error = net.convert(real, 4).unwrap_err();
    assert_eq!(error.op_type(), Some("QLinearConv"));
    assert!(error.to_string().contains("scale or zero point differ"), "{error}");
}

#[test]
fn other_integer_operators_are_refused_by_name() {
    for (op_type, what) in [
        ("DynamicQuantizeLinear", "dynamic quantization"),
        ("ConvInteger", "come from no QuantizeLinear"),
        ("microsoft::QLinearGlobalAveragePool", "that no YOLOv5 has"),
        ("qonnx::MultiThreshold", "that no YOLOv5 has"),
    ] {
        let (mut net, image) = Net::new();
        let output = net.builder.node(op_type, &[image], &[]);
        let error = net.convert(output, 3).unwrap_err();
        let name = op_type.rsplit("::").next().unwrap();
        assert!(error.op_type().unwrap().ends_with(name), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

/// `Quant` under its other name, and codes of 2 bits in 8-bit pairs of `com.microsoft`.
#[test]
fn other_names_of_quantizers() {
    let (mut net, image) = Net::new();
    let [scale, zero, bits] = [1.0 / 255.0, 0.0, 8.0].map(|number| net.builder.float(number));
    let unsigned = [("signed", Attribute::Int(0))];
    let input = net.builder.node("qonnx::IntQuant", &[image, scale, zero, bits], &unsigned);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let (scale, zero) = (net.builder.float(0.4), byte(&mut net, 3));
    let codes = net.builder.node("microsoft::QuantizeLinear", &[conv, scale, zero], &[]);
    let real = net.builder.node("microsoft::DequantizeLinear", &[codes, scale, zero], &[]);
    net.check(real, 4);
}

/// SiLU with the convolution's output and the sigmoid quantized each: one table from the first codes
/// to the last.
#[test]
fn quantized_sigmoids_become_part_of_a_table() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let first = net.builder.quant(conv, 0.061, 0.0, 8.0, true);
    let sigmoid = net.builder.node("Sigmoid", &[first], &[]);
    let sigmoid = net.builder.quant(sigmoid, 1.0 / 255.0, 0.0, 8.0, false);
    let silu = net.builder.node("Mul", &[first, sigmoid], &[]);
    let silu = net.builder.quant(silu, 0.043, 7.0, 8.0, false);
    let rows = net.check(silu, 4).report.rows;
    assert_eq!(rows.iter().filter(|row| row.operator == "Map").count(), 1, "{rows:?}");
}

fn warnings_of(report: &Report) -> String {
    report.warnings.iter().map(|warning| format!("{}: {}\n", warning.node, warning.message)).collect()
}

#[test]
fn relu_before_a_binary_quantizer_is_told() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let relu = net.builder.node("Relu", &[conv], &[]);
    let scale = net.builder.float(0.7);
    let bipolar = net.builder.node("qonnx::BipolarQuant", &[relu, scale], &[]);
    let warnings = warnings_of(&net.check(bipolar, 4).report);
    assert!(warnings.contains("BipolarQuant behind Relu makes every code +1"), "{warnings}");
}

/// 4-bit weights over 8-bit activations, and over a sum of 4-bit codes, which needs 5.
#[test]
fn widths_that_speed_nothing_up_are_told() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let first = net.layer(input, [4, 3, 3, 3], 0.25);
    let second = net.layer(first, [4, 4, 3, 3], 0.25);
    let sum = net.builder.node("Add", &[first, second], &[]);
    let third = net.layer(sum, [4, 4, 1, 1], 0.3);
    let report = net.check(third, 4).report;
    let warnings = warnings_of(&report);
    assert_eq!(warnings.matches("no faster than 8 bits").count(), 2, "{warnings}");
    assert!(warnings.contains("over activations of more than 4 bits"), "{warnings}");
    assert!(warnings.contains("over a sum that needs more than 4 bits"), "{warnings}");
}

#[test]
fn raw_heads_beside_boxes_are_told() {
    use ylb_format::model::{Output, OutputKind};
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let first = net.layer(input, [4, 3, 3, 3], 0.25);
    let Converted { mut model, report } = net.convert(first, 4).unwrap();
    let told = |model: &Model| {
        let warnings = advice::warnings(model, &report.rows);
        warnings.into_iter().any(|warning| warning.message.starts_with("no box needs the outputs"))
    };
    assert!(!told(&model));
    model.outputs.push(Output { name: "boxes".into(), kind: OutputKind::Decoded });
    assert!(told(&model));
}

/// UINT16 activations, as ONNX Runtime's quantizer can write them, are more than the kernels take.
#[test]
fn activations_of_16_bits_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let zero = Tensor::integers(&[], ElementType::Unsigned(16), [9].into_iter()).unwrap();
    let (scale, zero) = (net.builder.float(0.01), net.builder.constant(zero));
    let codes = net.builder.node("microsoft::QuantizeLinear", &[conv, scale, zero], &[]);
    let real = net.builder.node("microsoft::DequantizeLinear", &[codes, scale, zero], &[]);
    let error = net.convert(real, 4).unwrap_err();
    assert!(error.to_string().contains("codes from 0 to 65535; expected at most 8 bits"), "{error}");
}
