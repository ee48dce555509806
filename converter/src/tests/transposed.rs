//! Transposed convolutions beside the interpreter, which scatters every element.

use super::*;
use ylb_source::ir::ElementType;

/// A layer, and a transposed convolution of it with weights of 4 bits behind a quantizer.
struct Upsampling {
    kernel: usize,
    stride: i64,
    pad: i64,
    more: i64,
    groups: usize,
}

impl Upsampling {
    const PLAIN: Self = Self { kernel: 2, stride: 2, pad: 0, more: 0, groups: 1 };

    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![
            ("strides", ints(&[self.stride; 2])),
            ("pads", ints(&[self.pad; 4])),
            ("output_padding", ints(&[self.more; 2])),
            ("group", Attribute::Int(self.groups as i64)),
        ]
    }

    /// `[1, 4, 8, 8]`.
    fn input(net: &mut Net, image: TensorId) -> TensorId {
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let attributes = [("pads", ints(&[1; 4])), ("strides", ints(&[2, 2]))];
        let conv = net.builder.node("Conv", &[input, weights], &attributes);
        net.builder.quant(conv, 0.23, 5.0, 4.0, false)
    }

    /// The transposed convolution to 6 channels, with a bias.
    fn build(&self, net: &mut Net, input: TensorId) -> TensorId {
        let weights = net.weights([4, 6 / self.groups, self.kernel, self.kernel]);
        let bias = net.numbers(6);
        let bias = net.builder.floats(&[6], &bias);
        net.builder.node("ConvTranspose", &[input, weights, bias], &self.attributes())
    }
}

/// A convolution of stride 2 behind `upsampled`, so that the head has cells of one stride.
fn reduced(net: &mut Net, upsampled: TensorId, channels: usize, stride: i64) -> TensorId {
    let weights = net.weights([4, channels, 3, 3]);
    let attributes = [("pads", ints(&[1; 4])), ("strides", ints(&[stride, stride]))];
    let conv = net.builder.node("Conv", &[upsampled, weights], &attributes);
    net.builder.quant(conv, 0.4, 0.0, 4.0, true)
}

/// A rounding that is no quantizer's has a level for each code that is reached, and the phases reach different ones.
#[test]
fn phases_of_different_reach() {
    let (mut net, image) = Net::new();
    let input = Upsampling::input(&mut net, image);
    let up = Upsampling::PLAIN.build(&mut net, input);
    let [inverse, scale] = [3.3, 0.31].map(|number| net.builder.float(number));
    let scaled = net.builder.node("Mul", &[up, inverse], &[]);
    let rounded = net.builder.node("Round", &[scaled], &[]);
    let codes = net.builder.node("Mul", &[rounded, scale], &[]);
    let last = reduced(&mut net, codes, 6, 2);
    let converted = net.check_interpreted(last, 4);
    assert_eq!(interleaved(&converted.model).len(), 1);
    assert!(converted.model.nodes.iter().any(|node| matches!(node.operator, Operator::Map { .. })));
}

fn interleaved(model: &Model) -> Vec<&str> {
    let is_interleave = |operator: &Operator| matches!(operator, Operator::Interleave { .. });
    let nodes = model.nodes.iter().filter(|node| is_interleave(&node.operator));
    nodes.map(|node| model.value(node.output).name.as_str()).collect()
}

#[test]
fn transposed_convolutions_are_convolutions_in_turn() {
    let cases = [
        Upsampling::PLAIN,
        Upsampling { kernel: 4, pad: 1, ..Upsampling::PLAIN },
        Upsampling { kernel: 3, pad: 1, more: 1, ..Upsampling::PLAIN },
        Upsampling { kernel: 6, pad: 2, ..Upsampling::PLAIN },
        Upsampling { kernel: 4, pad: 1, groups: 2, ..Upsampling::PLAIN },
        Upsampling { kernel: 4, stride: 4, ..Upsampling::PLAIN },
        // Rows and columns without weights.
        Upsampling { kernel: 1, more: 1, ..Upsampling::PLAIN },
        Upsampling { kernel: 3, stride: 1, pad: 1, ..Upsampling::PLAIN },
    ];
    for case in cases {
        let (mut net, image) = Net::new();
        let input = Upsampling::input(&mut net, image);
        let upsampled = case.build(&mut net, input);
        let quantized = net.builder.quant(upsampled, 0.37, 0.0, 4.0, true);
        let stride = case.stride;
        let last = reduced(&mut net, quantized, 6, stride);
        let converted = net.check_interpreted(last, 4);
        let name = net.builder.graph.tensor(quantized).name.clone();
        let expected: &[&str] = if stride == 1 { &[] } else { &[&name] };
        assert_eq!(interleaved(&converted.model), expected, "{} {stride}", case.kernel);
        assert_eq!(pictures::verdict(&net, &converted.model), crate::compare::Verdict::Equal);
    }
}

/// What works pixel by pixel between it and its quantizer is done on each part.
#[test]
fn functions_before_the_quantizer() {
    let functions: [fn(&mut Net, TensorId) -> TensorId; 3] = [
        |net, x| {
            let normalize = |net: &mut Net, from: f32| {
                let numbers: Vec<f32> = net.numbers(6).iter().map(|x| from + x / 4.0).collect();
                net.builder.floats(&[6], &numbers)
            };
            let parameters = [1.0, 0.2, 0.1, 1.0].map(|from| normalize(net, from));
            let [gamma, beta, mean, variance] = parameters;
            let x = net.builder.node("BatchNormalization", &[x, gamma, beta, mean, variance], &[]);
            net.builder.node("Relu", &[x], &[])
        },
        |net, x| {
            let sigmoid = net.builder.node("Sigmoid", &[x], &[]);
            net.builder.node("Mul", &[x, sigmoid], &[])
        },
        |net, x| {
            let slopes = net.builder.floats(&[6, 1, 1], &[0.1, -0.2, 0.3, 0.0, 0.25, 0.5]);
            net.builder.node("PRelu", &[x, slopes], &[])
        },
    ];
    for function in functions {
        let (mut net, image) = Net::new();
        let input = Upsampling::input(&mut net, image);
        let upsampled = Upsampling { kernel: 4, pad: 1, ..Upsampling::PLAIN }.build(&mut net, input);
        let active = function(&mut net, upsampled);
        let quantized = net.builder.quant(active, 0.31, 0.0, 4.0, true);
        let last = reduced(&mut net, quantized, 6, 2);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(interleaved(&converted.model).len(), 1);
    }
}

/// A quantizer behind the concat that it goes into, as tools place them that quantize the inputs of convolutions.
#[test]
fn quantizers_behind_a_concat() {
    let (mut net, image) = Net::new();
    let input = Upsampling::input(&mut net, image);
    let upsampled = Upsampling::PLAIN.build(&mut net, input);
    let whole = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let other = net.conv(whole, weights);
    let joined = net.builder.node("Concat", &[upsampled, other], &[("axis", Attribute::Int(1))]);
    let quantized = net.builder.quant(joined, 0.37, 0.0, 4.0, true);
    let last = reduced(&mut net, quantized, 10, 2);
    let converted = net.check_interpreted(last, 4);
    let name = net.builder.graph.tensor(quantized).name.clone();
    assert!(
        converted.model.values.iter().any(|value| value.name == name),
        "codes of the concat keep their name"
    );
    assert_eq!(pictures::verdict(&net, &converted.model), crate::compare::Verdict::Equal);
}

/// A scale for each output channel lies along the second axis, in `DequantizeLinear` and in `Quant`.
#[test]
fn weights_with_a_scale_for_each_output() {
    for linear in [true, false] {
        let (mut net, image) = Net::new();
        let input = Upsampling::input(&mut net, image);
        let scales = [0.11, 0.12, 0.13, 0.14, 0.15, 0.16];
        let weights = if linear {
            let codes: Vec<i64> =
                net.integers(4 * 6 * 16, -8, 7).into_iter().map(|code| code as i64).collect();
            let codes = Tensor::integers(&[4, 6, 4, 4], ElementType::Signed(8), codes.into_iter()).unwrap();
            let codes = net.builder.constant(codes);
            let scales = net.builder.floats(&[6], &scales);
            net.builder.node("DequantizeLinear", &[codes, scales], &[("axis", Attribute::Int(1))])
        } else {
            let floats = net.numbers(4 * 6 * 16);
            let floats = net.builder.floats(&[4, 6, 4, 4], &floats);
            let scales = net.builder.floats(&[1, 6, 1, 1], &scales);
            let [zero, bits] = [0.0, 4.0].map(|number| net.builder.float(number));
            net.builder.node("qonnx::Quant", &[floats, scales, zero, bits], &[])
        };
        let attributes = [("strides", ints(&[2, 2])), ("pads", ints(&[1; 4]))];
        let upsampled = net.builder.node("ConvTranspose", &[input, weights], &attributes);
        let quantized = net.builder.quant(upsampled, 0.31, 0.0, 4.0, true);
        let last = reduced(&mut net, quantized, 6, 2);
        net.check_interpreted(last, 4);
    }
}

#[test]
fn other_transposed_convolutions_are_refused() {
    let refused = |case: Upsampling, quantized: bool, [pad, stride]: [i64; 2]| {
        let (mut net, image) = Net::new();
        let input = Upsampling::input(&mut net, image);
        let mut last = case.build(&mut net, input);
        if quantized {
            last = net.builder.quant(last, 0.37, 0.0, 4.0, true);
        }
        let weights = net.weights([4, 6, 3, 3]);
        let attributes = [("pads", ints(&[pad; 4])), ("strides", ints(&[stride; 2]))];
        let last = net.builder.node("Conv", &[last, weights], &attributes);
        let last = net.builder.quant(last, 0.4, 0.0, 4.0, true);
        net.convert(last, 4).unwrap_err().to_string()
    };
    let error = refused(Upsampling { kernel: 3, ..Upsampling::PLAIN }, true, [0, 2]);
    assert!(
        error.contains("(ConvTranspose): a transposed convolution of strides [2, 2] to [17, 17]"),
        "{error}"
    );
    let error = refused(Upsampling { pad: 1, ..Upsampling::PLAIN }, true, [2, 1]);
    assert!(error.contains("(ConvTranspose): a transposed convolution of 2 rows"), "{error}");
    let error = refused(Upsampling::PLAIN, false, [1, 2]);
    assert!(error.contains("expected a quantizer between convolution \"ConvTranspose"), "{error}");
}

/// A pixel shuffle in both modes of `DepthToSpace`, or as PyTorch's is without it.
fn shuffled(net: &mut Net, x: TensorId, [channels, height, width]: [i64; 3], spelling: &str) -> TensorId {
    if !spelling.is_empty() {
        let attributes = [("blocksize", Attribute::Int(2)), ("mode", Attribute::Text(spelling.into()))];
        return net.builder.node("DepthToSpace", &[x], &attributes);
    }
    let [cut, whole] =
        [vec![1, channels / 4, 2, 2, height, width], vec![1, channels / 4, 2 * height, 2 * width]]
            .map(|shape| net.builder.constant(Tensor::indices(&shape)));
    let cut = net.builder.node("Reshape", &[x, cut], &[]);
    let turned = net.builder.node("Transpose", &[cut], &[("perm", ints(&[0, 1, 4, 2, 5, 3]))]);
    net.builder.node("Reshape", &[turned, whole], &[])
}

/// Of codes, and of a convolution with an activation function and a quantizer behind the shuffle.
#[test]
fn pixel_shuffles_are_parts_in_turn() {
    for spelling in ["CRD", "DCR", ""] {
        for quantized_before in [true, false] {
            let (mut net, image) = Net::new();
            let input = Upsampling::input(&mut net, image);
            let weights = net.weights([24, 4, 3, 3]);
            let conv = net.conv(input, weights);
            let before = if quantized_before { net.builder.quant(conv, 0.31, 6.0, 4.0, false) } else { conv };
            let large = shuffled(&mut net, before, [24, 8, 8], spelling);
            let sigmoid = net.builder.node("Sigmoid", &[large], &[]);
            let silu = net.builder.node("Mul", &[large, sigmoid], &[]);
            let codes = net.builder.quant(silu, 0.21, 2.0, 4.0, false);
            let last = reduced(&mut net, codes, 6, 2);
            let converted = net.check_interpreted(last, 4);
            assert_eq!(pictures::verdict(&net, &converted.model), crate::compare::Verdict::Equal);
            let name = |id: TensorId| net.builder.graph.tensor(id).name.clone();
            assert_eq!(interleaved(&converted.model), [name(codes)], "{spelling} {quantized_before}");
        }
    }
}

/// Read by a convolution as it is, and beside another part of the network.
#[test]
fn pixel_shuffles_of_codes() {
    let (mut net, image) = Net::new();
    let input = Upsampling::input(&mut net, image);
    let wide = net.layer(input, [8, 4, 3, 3], 0.27);
    let large = shuffled(&mut net, wide, [8, 8, 8], "CRD");
    let codes = net.input(image);
    let picture = net.layer(codes, [2, 3, 1, 1], 0.27);
    let joined = net.builder.node("Concat", &[large, picture], &[("axis", Attribute::Int(1))]);
    let last = reduced(&mut net, joined, 4, 2);
    net.check_interpreted(last, 4);
}
