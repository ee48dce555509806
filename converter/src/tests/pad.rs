//! Zeros around feature maps, through the whole converter, compared with the source's own arithmetic.

use super::*;
use crate::compare::Verdict;

fn pads(net: &mut Net, input: TensorId, pads: [i64; 4], value: Option<f32>) -> TensorId {
    let [top, left, bottom, right] = pads;
    let all = net.builder.constant(Tensor::indices(&[0, 0, top, left, 0, 0, bottom, right]));
    let inputs: Vec<TensorId> =
        [input, all].into_iter().chain(value.map(|value| net.builder.float(value))).collect();
    net.builder.node("Pad", &inputs, &[])
}

/// A convolution without padding of its own, ReLU and a quantizer.
fn bare(net: &mut Net, input: TensorId, shape: [usize; 4]) -> TensorId {
    let weights = net.weights(shape);
    let conv = net.builder.node("Conv", &[input, weights], &[("strides", ints(&[1, 1]))]);
    let relu = net.builder.node("Relu", &[conv], &[]);
    net.builder.quant(relu, 0.25, 0.0, 4.0, false)
}

fn check(mut net: Net, last: TensorId) {
    let converted = net.convert(last, 4).unwrap();
    assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal);
}

fn refused(mut net: Net, last: TensorId) {
    let error = net.convert(last, 4).unwrap_err();
    assert_eq!(error.op_type(), Some("Pad"), "{error}");
}

#[test]
fn zeros_before_convolutions_are_their_padding() {
    let wider: [(&str, [i64; 4], [usize; 4]); 3] = [
        ("all sides", [1; 4], [4, 4, 3, 3]),
        ("below", [0, 0, 2, 2], [4, 4, 3, 3]),
        ("5x5", [2; 4], [4, 4, 5, 5]),
    ];
    for (_, extents, shape) in wider {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let layer = net.layer(input, [4, 3, 3, 3], 0.25);
        let padded = pads(&mut net, layer, extents, Some(0.0));
        let last = bare(&mut net, padded, shape);
        check(net, last);
    }
}

/// A quantizer of the padded tensor, two readers, and a picture that is padded.
#[test]
fn quantizers_between_and_several_readers() {
    let (mut net, image) = Net::new();
    let padded = pads(&mut net, image, [1; 4], None);
    let input = net.input(padded);
    let layer = bare(&mut net, input, [4, 3, 3, 3]);
    let padded = pads(&mut net, layer, [1; 4], None);
    let again = net.builder.quant(padded, 0.5, 0.0, 3.0, false);
    let [first, second] = [0, 1].map(|_| bare(&mut net, again, [2, 4, 3, 3]));
    let last = net.builder.node("Concat", &[first, second], &[("axis", Attribute::Int(1))]);
    check(net, last);
}

#[test]
fn zeros_before_poolings_of_numbers_from_0_on() {
    let pooled = |value: f32, signed: bool| {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let layer = net.builder.quant(conv, 0.25, 0.0, 4.0, signed);
        let padded = pads(&mut net, layer, [0, 0, 1, 1], Some(value));
        let window = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[1, 1]))];
        let pooled = net.builder.node("MaxPool", &[padded], &window);
        (net, pooled)
    };
    let (net, last) = pooled(0.0, false);
    check(net, last);
    let (net, last) = pooled(f32::NEG_INFINITY, true);
    check(net, last);
    // A zero above negative numbers takes part in the maximum; a pooling that leaves it out is another one.
    let (net, last) = pooled(0.0, true);
    check(net, last);
    let (net, last) = pooled(1.0, false);
    refused(net, last);
}

#[test]
fn other_paddings_are_refused() {
    let with = |extents: [i64; 4], value: f32, between: fn(&mut Net, TensorId) -> TensorId| {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let layer = net.layer(input, [4, 3, 3, 3], 0.25);
        let padded = pads(&mut net, layer, extents, Some(value));
        let padded = between(&mut net, padded);
        let weights = net.weights([4, 4, 3, 3]);
        let conv = net.builder.node("Conv", &[padded, weights], &[("pads", ints(&[1; 4]))]);
        let relu = net.builder.node("Relu", &[conv], &[]);
        let last = net.builder.quant(relu, 0.25, 0.0, 4.0, false);
        refused(net, last);
    };
    with([1; 4], 1.0, |_, id| id);
    with([-1, -1, 0, 0], 0.0, |_, id| id);
}

/// Zeros that are no part of a window's padding: a code has to stand for them.
#[test]
fn zeros_that_take_part_are_an_operator() {
    let padded = |zero_point: f32, between: fn(&mut Net, TensorId) -> TensorId| {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let codes = net.builder.quant(conv, 0.25, zero_point, 4.0, false);
        let padded = pads(&mut net, codes, [1, 0, 2, 3], Some(0.0));
        let function = between(&mut net, padded);
        let window = [("kernel_shape", ints(&[4, 4])), ("strides", ints(&[1, 1]))];
        let pooled = net.builder.node("MaxPool", &[function], &window);
        (net, pooled)
    };
    let quantized = |net: &mut Net, id: TensorId| net.builder.quant(id, 0.31, -3.0, 5.0, false);
    let (net, last) = padded(7.0, |_, id| id);
    check(net, last);
    let (net, last) = padded(7.0, quantized);
    check(net, last);
    let (net, last) = padded(-3.0, quantized);
    refused(net, last);
}

/// Zeros that take part in an average, as those of a `Pad` in front of it do.
#[test]
fn zeros_before_averages_are_counted() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let codes = net.layer(input, [4, 3, 3, 3], 0.21);
    let pads = net.builder.constant(Tensor::indices(&[0, 0, 1, 1, 0, 0, 1, 1]));
    let padded = net.builder.node("Pad", &[codes, pads], &[]);
    let averaged = net.builder.node("AveragePool", &[padded], &[("kernel_shape", ints(&[3, 3]))]);
    let quantized = net.builder.quant(averaged, 0.123, 0.0, 4.0, false);
    net.check_interpreted(quantized, 4);
}
