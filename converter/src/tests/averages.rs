//! Averages: through the whole converter, beside the interpreter.

use super::*;
use crate::compare::Verdict;

impl Net {
    fn averaged(&mut self, input: TensorId, extent: i64, stride: i64, pad: i64, counted: bool) -> TensorId {
        let window = [
            ("kernel_shape", ints(&[extent; 2])),
            ("strides", ints(&[stride; 2])),
            ("pads", ints(&[pad; 4])),
            ("count_include_pad", Attribute::Int(counted.into())),
        ];
        self.builder.node("AveragePool", &[input], &window)
    }
}

#[test]
fn averages_of_windows_are_sums() {
    for (extent, stride, pad) in [(2, 2, 0), (3, 1, 1), (3, 2, 1), (5, 3, 0)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([6, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let codes = net.builder.quant(conv, 0.21, 3.0, 4.0, false);
        let averaged = net.averaged(codes, extent, stride, pad, true);
        let quantized = net.builder.quant(averaged, 0.123, 0.0, 5.0, true);
        net.check_interpreted(quantized, 6);
    }
}

/// Parts of different scales stay one convolution, that of a group for each channel.
#[test]
fn averages_of_concats() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let [a, b] = [0.21, 0.33].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
    let joined = net.builder.node("Concat", &[a, b], &[("axis", Attribute::Int(1))]);
    let averaged = net.averaged(joined, 2, 2, 0, false);
    let quantized = net.builder.quant(averaged, 0.123, 0.0, 4.0, false);
    net.check_interpreted(quantized, 8);
}

/// Squeeze and excitation with the mean of the map, as two exporters write it.
#[test]
fn gates_of_means() {
    for global in [true, false] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let map = net.layer(input, [6, 3, 3, 3], 0.21);
        let mean = if global {
            net.builder.node("GlobalAveragePool", &[map], &[])
        } else {
            net.builder.node(
                "ReduceMean",
                &[map],
                &[("axes", ints(&[-1, 2])), ("keepdims", Attribute::Int(1))],
            )
        };
        let mean = net.builder.quant(mean, 0.011, 0.0, 8.0, false);
        let squeezed = net.layer(mean, [3, 6, 1, 1], 0.27);
        let weights = net.weights([6, 3, 1, 1]);
        let excited = net.conv(squeezed, weights);
        let sigmoid = net.builder.node("Sigmoid", &[excited], &[]);
        let gate = net.builder.quant(sigmoid, 1.0 / 31.0, 0.0, 5.0, false);
        let product = net.builder.node("Mul", &[map, gate], &[]);
        let gated = net.builder.quant(product, 0.19, 0.0, 4.0, false);
        net.check_interpreted(gated, 6);
    }
}

/// Windows at the border have fewer elements, in as many ways as rows and columns can be cut off.
#[test]
fn averages_that_leave_padding_out() {
    for (extent, stride, pad, bits) in
        [(3, 1, 1, 4.0), (3, 2, 1, 8.0), (5, 1, 2, 4.0), (5, 2, 2, 8.0), (4, 2, 1, 2.0)]
    {
        for scale in [0.21, 0.123] {
            let (mut net, image) = Net::new();
            let input = net.input(image);
            let weights = net.weights([6, 3, 3, 3]);
            let conv = net.conv(input, weights);
            let codes = net.builder.quant(conv, 0.21, 3.0, bits, false);
            let averaged = net.averaged(codes, extent, stride, pad, false);
            // Quotients by powers of two tie where both scales are equal.
            let quantized = net.builder.quant(averaged, scale, 0.0, if bits > 4.0 { 8.0 } else { 5.0 }, true);
            let converted = net.check_interpreted(quantized, 6);
            assert!(converted.report.rows.iter().all(|row| row.tie_bound == 0.0), "{extent} {stride}");
            let verdict = pictures::verdict(&net, &converted.model);
            assert_eq!(verdict, Verdict::Equal, "{extent} {stride} {pad} {bits} {scale}");
        }
    }
}

/// Rounded up, padded on two sides alone, behind a concat of different scales and before an activation.
#[test]
fn averages_that_leave_padding_out_of_any_shape() {
    let attributes = |pads: [i64; 4], ceil: i64| {
        let window = [("kernel_shape", ints(&[3, 2])), ("strides", ints(&[2, 2])), ("pads", ints(&pads))];
        window.into_iter().chain([("ceil_mode", Attribute::Int(ceil))]).collect::<Vec<_>>()
    };
    for (pads, ceil) in [([1, 0, 0, 0], 0), ([0, 1, 1, 0], 0), ([0; 4], 1)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let [a, b] = [0.21, 0.33].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
        let joined = net.builder.node("Concat", &[a, b], &[("axis", Attribute::Int(1))]);
        let averaged = net.builder.node("AveragePool", &[joined], &attributes(pads, ceil));
        let sigmoid = net.builder.node("Sigmoid", &[averaged], &[]);
        let silu = net.builder.node("Mul", &[averaged, sigmoid], &[]);
        let quantized = net.builder.quant(silu, 0.123, 0.0, 4.0, false);
        let converted = net.check_interpreted(quantized, 8);
        assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal, "{pads:?} {ceil}");
    }
}

#[test]
fn averages_that_leave_padding_out_of_what_no_staircase_is_are_refused() {
    let refused = |build: &dyn Fn(&mut Net, TensorId) -> TensorId, words: &str| {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let last = build(&mut net, input);
        let quantized = net.builder.quant(last, 0.123, 0.0, 4.0, false);
        let error = net.convert(quantized, 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains(words), "{error}");
    };
    let by_channel = |net: &mut Net, input: TensorId| {
        let codes = net.layer(input, [4, 3, 3, 3], 0.21);
        let averaged = net.averaged(codes, 3, 1, 1, false);
        let factors = net.numbers(4);
        let factors = net.builder.floats(&[4, 1, 1], &factors);
        net.builder.node("Mul", &[averaged, factors], &[])
    };
    refused(&by_channel, "directly behind the average");
    let several_scales = |net: &mut Net, input: TensorId| {
        let [a, b] = [0.21, 0.33].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
        let sum = net.builder.node("Add", &[a, b], &[]);
        net.averaged(sum, 3, 1, 1, false)
    };
    refused(&several_scales, "averages activations of several scales");
}

#[test]
fn averages_of_floats_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let averaged = net.averaged(conv, 2, 2, 0, false);
    let quantized = net.builder.quant(averaged, 0.123, 0.0, 4.0, false);
    let error = net.convert(quantized, 4).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("AveragePool")), "{error}");
}

/// A gate of the mean, or of the maximum, of a map of this size.
fn gated(op_type: &str, size: usize) -> (Net, TensorId) {
    let (builder, image) = Builder::picture(size, size);
    let mut net = Net { builder, state: 5 };
    let input = net.input(image);
    let map = net.layer(input, [4, 3, 3, 3], 0.21);
    let pooled = net.builder.node(op_type, &[map], &[]);
    let codes = net.builder.quant(pooled, 0.011, 0.0, 8.0, false);
    let product = net.builder.node("Mul", &[map, codes], &[]);
    (net, product)
}

#[test]
fn means_of_large_maps() {
    for (op_type, size) in [("GlobalAveragePool", 80), ("GlobalMaxPool", 80), ("GlobalMaxPool", 272)] {
        let (mut net, product) = gated(op_type, size);
        let last = net.builder.quant(product, 0.19, 0.0, 4.0, false);
        let converted = net.convert(last, 4).unwrap();
        let pixels: Vec<u8> = (0..3 * size * size).map(|index| (index * index * 37 % 251) as u8).collect();
        let found = reference::execute(&converted.model, &pixels).logits(MapPart::default()).to_vec();
        let graph = net.builder.graph.clone();
        let interpreter = interpret::Interpreter::of_graph(graph, [size; 2]).unwrap();
        let interpreted = interpreter.run(&pixels, &Default::default(), &mut |_, _| {}).unwrap();
        let expected = &interpreted.outputs[0].data;
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5),
            "{op_type}"
        );
    }
}

#[test]
fn means_of_too_large_maps_are_refused() {
    for size in [182, 300] {
        let (mut net, product) = gated("GlobalAveragePool", size);
        let last = net.builder.quant(product, 0.19, 0.0, 4.0, false);
        let error = net.convert(last, 4).unwrap_err();
        assert_eq!(
            (error.kind(), error.op_type()),
            (ErrorKind::TooLarge, Some("GlobalAveragePool")),
            "{error}"
        );
    }
}
