//! Single layers: padding, activations, quantizers in every place.

use super::*;

#[test]
fn convolution_normalization_relu() {
    let (mut net, input) = Net::new();
    let first = net.layer(input, [5, 3, 3], 0.2);
    let second = net.layer(first, [4, 5, 1], 0.3);
    let model = net.check(second, 4);
    assert_eq!(model.nodes.len(), 3);
    assert_eq!(model.input.pixel_levels.of(0)[200], 200);
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
    let execution = reference::execute(&model, &pixels);
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
    assert_eq!(model.picture().encoding().unwrap().max_level, 255);
}
