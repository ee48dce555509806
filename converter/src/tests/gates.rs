//! Gates as detectors write them: linear layers, means and maxima over channels, rows and columns; through the whole converter,
//! beside the interpreter.

use super::*;
use crate::compare::Verdict;

impl Net {
    fn reduced(&mut self, op_type: &str, input: TensorId, axes: &[i64], keep: bool) -> TensorId {
        let attributes = [("axes", ints(axes)), ("keepdims", Attribute::Int(keep.into()))];
        self.builder.node(op_type, &[input], &attributes)
    }

    fn gated(&mut self, map: TensorId, gate: TensorId) -> TensorId {
        let product = self.builder.node("Mul", &[map, gate], &[]);
        self.builder.quant(product, 0.19, 0.0, 4.0, false)
    }

    fn sigmoid_codes(&mut self, input: TensorId) -> TensorId {
        let sigmoid = self.builder.node("Sigmoid", &[input], &[]);
        self.builder.quant(sigmoid, 1.0 / 31.0, 0.0, 5.0, false)
    }
}

fn check(mut net: Net, last: TensorId, channels: usize) -> Converted {
    let converted = net.check_interpreted(last, channels);
    assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal);
    converted
}

/// Coordinate attention multiplies a map by two gates at once, one of rows and one of columns, with a quantizer behind both.
#[test]
fn products_of_three() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [6, 3, 3, 3], 0.21);
    let gates = [3, 2].map(|axis| {
        let mean = net.reduced("ReduceMean", map, &[axis], true);
        let mean = net.builder.quant(mean, 0.011, 0.0, 8.0, false);
        let weights = net.weights([6, 6, 1, 1]);
        let conv = net.conv(mean, weights);
        net.sigmoid_codes(conv)
    });
    let product = net.builder.node("Mul", &[map, gates[0]], &[]);
    let product = net.builder.node("Mul", &[product, gates[1]], &[]);
    let last = net.builder.quant(product, 0.11, 0.0, 6.0, false);
    let converted = check(net, last, 6);
    let of_three = |node: &&ylb_format::model::Node| node.operator.name() == "Curves";
    assert_eq!(
        converted.model.nodes.iter().filter(of_three).map(|n| n.operator.inputs().len()).max(),
        Some(3)
    );
}

/// Where coordinate attention has its quantizer of the means.
#[derive(Clone, Copy, PartialEq)]
enum Coded {
    Apart,
    Turned,
    Joined,
}

/// Coordinate attention: means of rows and of columns side by side in one column, a layer over both, and a gate of each.
fn coordinate_attention(coded: Coded, axis: i64, joined_is_read: bool) -> (Net, TensorId) {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [6, 3, 3, 3], 0.21);
    let turned = |net: &mut Net, id| net.builder.node("Transpose", &[id], &[("perm", ints(&[0, 1, 3, 2]))]);
    let quantized = |net: &mut Net, id| net.builder.quant(id, 0.011, 0.0, 8.0, false);
    // The means that stay and those that are turned.
    let (stays, turns) = if axis == 2 { (3, 2) } else { (2, 3) };
    let mut parts = [stays, turns].map(|axis| net.reduced("ReduceMean", map, &[axis], true));
    if coded == Coded::Apart {
        parts = parts.map(|part| quantized(&mut net, part));
    }
    parts[1] = turned(&mut net, parts[1]);
    if coded == Coded::Turned {
        parts = parts.map(|part| quantized(&mut net, part));
    }
    let mut joined = net.builder.node("Concat", &parts, &[("axis", Attribute::Int(axis))]);
    if coded == Coded::Joined {
        joined = quantized(&mut net, joined);
    }
    let squeezed = net.weights([4, 6, 1, 1]);
    let squeezed = net.builder.node("Conv", &[joined, squeezed], &[]);
    let sigmoid = net.builder.node("Sigmoid", &[squeezed], &[]);
    let silu = net.builder.node("Mul", &[squeezed, sigmoid], &[]);
    let codes = net.builder.quant(silu, 0.03, 3.0, 8.0, false);
    let slice = |net: &mut Net, from: i64, to: i64| {
        let bounds = [from, to, axis].map(|number| net.builder.constant(Tensor::indices(&[number])));
        net.builder.node("Slice", &[codes, bounds[0], bounds[1], bounds[2]], &[])
    };
    let parts = [slice(&mut net, 0, 16), slice(&mut net, 16, i64::MAX)];
    let turned = turned(&mut net, parts[1]);
    let gates = [parts[0], turned].map(|part| {
        let weights = net.weights([6, 4, 1, 1]);
        let conv = net.builder.node("Conv", &[part, weights], &[]);
        net.sigmoid_codes(conv)
    });
    let product = net.builder.node("Mul", &[map, gates[1]], &[]);
    let product = net.builder.node("Mul", &[product, gates[0]], &[]);
    let mut last = net.builder.quant(product, 0.11, 0.0, 6.0, false);
    if joined_is_read {
        let mean = net.reduced("ReduceMean", codes, &[axis], true);
        let weights = net.weights([6, 4, 1, 1]);
        let mean = net.builder.quant(mean, 0.03, 3.0, 8.0, false);
        let conv = net.builder.node("Conv", &[mean, weights], &[]);
        let gate = net.sigmoid_codes(conv);
        last = net.gated(last, gate);
    }
    (net, last)
}

/// In all orders of its parts, the joined map a column or a row.
#[test]
fn coordinate_attention_is_computed_part_by_part() {
    for coded in [Coded::Apart, Coded::Turned, Coded::Joined] {
        for axis in [2, 3] {
            let (net, last) = coordinate_attention(coded, axis, false);
            let converted = check(net, last, 6);
            assert!(converted.report.passes.iter().any(|pass| pass.starts_with("unjoined: 1")));
        }
    }
}

/// What reads the joined map as a whole would miss it.
#[test]
fn maps_joined_by_rows_that_something_else_reads_are_refused() {
    let (mut net, last) = coordinate_attention(Coded::Apart, 2, true);
    let error = net.convert(last, 6).unwrap_err();
    assert_eq!(error.op_type(), Some("Transpose"), "{error}");
}

/// Squeeze and excitation of linear layers: `Gemm` with transposed weights, `MatMul` and a sum, `expand_as`.
#[test]
fn linear_layers_are_convolutions_of_one_pixel() {
    for gemm in [true, false] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let map = net.layer(input, [6, 3, 3, 3], 0.21);
        let vector = if gemm {
            let mean = net.builder.node("GlobalAveragePool", &[map], &[]);
            let mean = net.builder.quant(mean, 0.011, 0.0, 8.0, false);
            net.builder.node("Flatten", &[mean], &[])
        } else {
            let mean = net.reduced("ReduceMean", map, &[2, 3], false);
            net.builder.quant(mean, 0.011, 0.0, 8.0, false)
        };
        let linear = |net: &mut Net, input: TensorId, [outputs, inputs]: [usize; 2]| {
            let bias = net.numbers(outputs);
            let bias = net.builder.floats(&[outputs], &bias);
            let shape = if gemm { [outputs, inputs] } else { [inputs, outputs] };
            let floats = net.numbers(outputs * inputs);
            let floats = net.builder.floats(&shape, &floats);
            let weights = net.builder.quant(floats, 0.143_7, 0.0, 4.0, true);
            if gemm {
                let transposed = [("transB", Attribute::Int(1))];
                return net.builder.node("Gemm", &[input, weights, bias], &transposed);
            }
            let product = net.builder.node("MatMul", &[input, weights], &[]);
            net.builder.node("Add", &[bias, product], &[])
        };
        let squeezed = linear(&mut net, vector, [3, 6]);
        let relu = net.builder.node("Relu", &[squeezed], &[]);
        let codes = net.builder.quant(relu, 0.07, 0.0, 5.0, false);
        let excited = linear(&mut net, codes, [6, 3]);
        let gate = net.sigmoid_codes(excited);
        let pixel = net.builder.constant(Tensor::indices(&[1, 6, 1, 1]));
        let gate = net.builder.node("Reshape", &[gate, pixel], &[]);
        let size = net.builder.constant(Tensor::indices(&[1, 6, SIZE as i64, SIZE as i64]));
        let gate = net.builder.node("Expand", &[gate, size], &[]);
        // ONNX Runtime quantizes what moves elements as well.
        let gate = if gemm { gate } else { net.builder.quant(gate, 1.0 / 31.0, 0.0, 5.0, false) };
        let last = net.gated(map, gate);
        let converted = check(net, last, 6);
        assert!(converted.report.passes.iter().any(|pass| pass.starts_with("vectors: 2")));
    }
}

#[test]
fn linear_layers_with_factors_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [6, 3, 3, 3], 0.21);
    let mean = net.builder.node("GlobalAveragePool", &[map], &[]);
    let mean = net.builder.quant(mean, 0.011, 0.0, 8.0, false);
    let vector = net.builder.node("Flatten", &[mean], &[]);
    let floats = net.numbers(36);
    let floats = net.builder.floats(&[6, 6], &floats);
    let weights = net.builder.quant(floats, 0.143_7, 0.0, 4.0, true);
    let linear = net.builder.node("Gemm", &[vector, weights], &[("alpha", Attribute::Float(0.5))]);
    let gate = net.sigmoid_codes(linear);
    let pixel = net.builder.constant(Tensor::indices(&[1, 6, 1, 1]));
    let gate = net.builder.node("Reshape", &[gate, pixel], &[]);
    let last = net.gated(map, gate);
    let error = net.convert(last, 6).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::Unsupported, Some("Gemm")), "{error}");
}

/// CBAM: layers that the mean and the maximum share, their sum, and a gate of one number a pixel.
#[test]
fn gates_of_channels_and_of_pixels() {
    for global in [true, false] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let map = net.layer(input, [6, 3, 3, 3], 0.21);
        let [mean, most] = if global {
            ["GlobalAveragePool", "GlobalMaxPool"].map(|op_type| net.builder.node(op_type, &[map], &[]))
        } else {
            ["ReduceMean", "ReduceMax"].map(|op_type| net.reduced(op_type, map, &[-2, -1], true))
        };
        let [first, second] = [net.weights([3, 6, 1, 1]), net.weights([6, 3, 1, 1])];
        let branches = [(mean, 0.017), (most, 0.23)].map(|(pooled, scale)| {
            let codes = net.builder.quant(pooled, scale, 0.0, 8.0, false);
            let squeezed = net.conv(codes, first);
            let relu = net.builder.node("Relu", &[squeezed], &[]);
            let codes = net.builder.quant(relu, scale / 2.0, 0.0, 5.0, false);
            net.conv(codes, second)
        });
        let sum = net.builder.node("Add", &branches, &[]);
        let gate = net.sigmoid_codes(sum);
        let gated = net.gated(map, gate);
        let [mean, most] = ["ReduceMean", "ReduceMax"].map(|op_type| net.reduced(op_type, gated, &[1], true));
        let both = net.builder.node("Concat", &[mean, most], &[("axis", Attribute::Int(1))]);
        let both = net.builder.quant(both, 0.09, 0.0, 8.0, false);
        let weights = net.weights([1, 2, 7, 7]);
        let conv = net.conv(both, weights);
        let gate = net.sigmoid_codes(conv);
        let last = net.gated(gated, gate);
        let converted = check(net, last, 6);
        let names: Vec<&str> = converted.model.nodes.iter().map(|node| node.operator.name()).collect();
        assert_eq!(names.iter().filter(|name| **name == "ChannelMax").count(), 1);
        assert_eq!(names.iter().filter(|name| **name == "Mul").count(), 2);
    }
}

/// Means of rows and of columns.
#[test]
fn gates_of_rows_and_of_columns() {
    for axis in [2, 3] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let map = net.layer(input, [6, 3, 3, 3], 0.21);
        let mean = net.reduced("ReduceMean", map, &[axis], true);
        let mean = net.builder.quant(mean, 0.05, 0.0, 8.0, false);
        let squeezed = net.layer(mean, [3, 6, 1, 1], 0.17);
        let weights = net.weights([6, 3, 1, 1]);
        let conv = net.conv(squeezed, weights);
        let gate = net.sigmoid_codes(conv);
        let last = net.gated(map, gate);
        check(net, last, 6);
    }
}

/// Maxima over channels of different scales are none of codes.
#[test]
fn maxima_of_different_scales_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let [a, b] = [0.21, 0.33].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
    let joined = net.builder.node("Concat", &[a, b], &[("axis", Attribute::Int(1))]);
    let most = net.reduced("ReduceMax", joined, &[1], true);
    let last = net.layer(most, [4, 1, 3, 3], 0.2);
    let error = net.convert(last, 4).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("ReduceMax")), "{error}");
}
