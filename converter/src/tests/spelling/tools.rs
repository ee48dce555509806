//! Quantizers of MQBench, NNCF and OpenVINO.

use super::*;

/// A node with numbers as further inputs.
fn quantized(net: &mut Net, op_type: &str, x: TensorId, numbers: &[TensorId], levels: i64) -> TensorId {
    let inputs: Vec<TensorId> = std::iter::once(x).chain(numbers.iter().copied()).collect();
    net.builder.node(op_type, &inputs, &[("levels", Attribute::Int(levels))])
}

fn openvino(net: &mut Net, x: TensorId, bounds: [f32; 4], levels: i64) -> TensorId {
    let bounds = bounds.map(|bound| net.builder.float(bound));
    quantized(net, "org.openvinotoolkit::FakeQuantize", x, &bounds, levels)
}

/// Weights by channel, symmetric with 255 levels or 15, or with a level more below; activations with and without a level
/// for 0, with bounds of the output of their own.
#[test]
fn quantizers_of_openvino_are_exact() {
    let reach = |levels: i64, high: f32| {
        if levels % 2 == 1 { -high } else { -high * (levels / 2) as f32 / (levels / 2 - 1) as f32 }
    };
    for (weight_levels, levels, from, to) in [
        (255, 256, [0.0, 2.219_054], [0.0, 2.219_054]),
        (256, 256, [-1.347_2, 2.219_054], [-1.347_2, 2.219_054]),
        (15, 16, [0.0, 2.219_054], [0.0, 2.219_054]),
        (16, 16, [-1.0, 1.0], [-0.9, 1.1]),
        (2, 4, [-0.137, 1.9], [-0.137, 1.9]),
        (256, 256, [-128.0 * 0.0137, 127.0 * 0.0137], [-128.0 * 0.0137, 127.0 * 0.0137]),
        (256, 16, [-3.0 * 0.137, 12.0 * 0.137], [-3.0 * 0.137, 12.0 * 0.137]),
    ] {
        let (mut net, image) = Net::new();
        let input = openvino(&mut net, image, [0.0, 1.0, 0.0, 1.0], 256);
        let numbers = net.numbers(4 * 27);
        let floats = net.builder.floats(&[4, 3, 3, 3], &numbers);
        let highs = [0.83, 0.91, 0.77, 0.97];
        let lows = if weight_levels == 2 {
            highs.map(|high| -high)
        } else {
            highs.map(|high| reach(weight_levels, high))
        };
        let bounds = [lows, highs].map(|bound| net.builder.floats(&[4, 1, 1, 1], &bound));
        let bounds = [bounds[0], bounds[1], bounds[0], bounds[1]];
        let weights =
            quantized(&mut net, "org.openvinotoolkit::FakeQuantize", floats, &bounds, weight_levels);
        let conv = net.conv(input, weights);
        let shifted = net.with("Add", conv, 0.0137);
        let last = openvino(&mut net, shifted, [from[0], from[1], to[0], to[1]], levels);
        // Padded, so that what stands for 0 counts.
        let layer = net.layer(last, [4, 4, 3, 3], 0.31);
        net.check_interpreted(layer, 4);
    }
}

#[test]
fn bounds_that_no_quantizer_has_are_refused() {
    for (bounds, levels, what) in [
        ([1.0, 1.0, 0.0, 1.0], 256, "bounds that do not ascend"),
        ([0.0, f32::INFINITY, 0.0, 1.0], 256, "bounds that do not ascend"),
        ([0.0, 1.0, 1.0, 0.0], 256, "bounds that do not ascend"),
        ([0.0, 1.0, 0.0, 1.0], 1, "1 levels"),
        ([0.0, 1.0, 0.0, 1.0], 512, "expected at most 8 bits"),
    ] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let last = openvino(&mut net, conv, bounds, levels);
        let error = net.convert(last, 4).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

/// Bounds of codes as inputs, or as attributes.
#[test]
fn quantizers_of_mqbench_are_exact() {
    for (tensor, channel) in [
        ("LearnablePerTensorAffine", "FakeQuantizeLearnablePerchannelAffine"),
        ("other::FixedPerTensorAffine", "other::FixedPerChannelAffine"),
    ] {
        for by_attribute in [false, true] {
            let (mut net, image) = Net::new();
            let fake = |net: &mut Net, op_type: &str, x, [scale, zero]: [&[f32]; 2], range: [i64; 2]| {
                let shape: &[usize] = if scale.len() == 1 { &[] } else { &[scale.len()] };
                let mut inputs = vec![x, net.builder.floats(shape, scale), net.builder.floats(shape, zero)];
                if by_attribute {
                    let attributes =
                        [("quant_min", Attribute::Int(range[0])), ("quant_max", Attribute::Int(range[1]))];
                    return net.builder.node(op_type, &inputs, &attributes);
                }
                inputs.extend(range.map(|bound| net.builder.constant(Tensor::indices(&[bound]))));
                net.builder.node(op_type, &inputs, &[])
            };
            let input = fake(&mut net, tensor, image, [&[1.0 / 255.0], &[0.0]], [0, 255]);
            let numbers = net.numbers(4 * 27);
            let floats = net.builder.floats(&[4, 3, 3, 3], &numbers);
            let scales = [&[0.13, 0.11, 0.17, 0.09][..], &[0.0; 4]];
            let weights = fake(&mut net, channel, floats, scales, [-8, 7]);
            let conv = net.conv(input, weights);
            let last = fake(&mut net, tensor, conv, [&[0.37], &[3.0]], [0, 15]);
            let converted = net.check_interpreted(last, 4);
            assert_eq!(converted.report.rows[0].output_bits, Some(4));
        }
    }
}

/// Codes without bounds, and a zero point between two codes.
#[test]
fn parameters_that_no_quantizer_of_mqbench_has_are_refused() {
    for (numbers, what) in [
        (&[0.37, 3.0][..], "expected an integer as quant_min"),
        (&[0.37, 3.5, 0.0, 15.0], "a zero point of 3.5"),
        (&[-0.37, 3.0, 0.0, 15.0], "a scale of -0.37"),
    ] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let numbers: Vec<TensorId> = numbers.iter().map(|&number| net.builder.float(number)).collect();
        let last = quantized(&mut net, "LearnablePerTensorAffine", conv, &numbers, 0);
        let error = net.convert(last, 4).unwrap_err();
        assert_eq!(error.op_type(), Some("LearnablePerTensorAffine"), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}
