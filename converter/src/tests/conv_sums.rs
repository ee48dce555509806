//! Sums of convolutions that are not quantized, and offsets by channel: through the whole converter, beside the interpreter.

use super::*;
use crate::compare::Verdict;

impl Net {
    /// A factor and an addend for each channel, factors of both signs.
    fn normal(&mut self, input: TensorId, channels: usize) -> TensorId {
        let [factors, addends] = [(); 2].map(|()| self.numbers(channels));
        let [factors, addends] =
            [factors, addends].map(|numbers| self.builder.floats(&[1, channels, 1, 1], &numbers));
        let product = self.builder.node("Mul", &[input, factors], &[]);
        self.builder.node("Add", &[product, addends], &[])
    }

    fn summed(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.builder.node("Add", &[a, b], &[])
    }
}

fn check(mut net: Net, last: TensorId, channels: usize) -> Converted {
    let converted = net.check_interpreted(last, channels);
    assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal);
    converted
}

fn terms(converted: &Converted) -> Vec<usize> {
    let of = |node: &ylb_format::model::Node| match &node.operator {
        Operator::Conv(conv) => Some(conv.terms.len()),
        _ => None,
    };
    converted.model.nodes.iter().filter_map(of).collect()
}

/// RepVGG before its branches are fused: 3×3, 1×1 and the codes themselves, each with a batch normalization.
#[test]
fn branches_of_repvgg_are_terms() {
    for depthwise in [false, true] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let codes = net.layer(input, [6, 3, 3, 3], 0.21);
        let group = if depthwise { 1 } else { 6 };
        let branch = |net: &mut Net, kernel: usize| {
            let weights = net.weights([6, group, kernel, kernel]);
            let pads = ints(&[(kernel / 2) as i64; 4]);
            let groups = Attribute::Int(if depthwise { 6 } else { 1 });
            let conv = net.builder.node("Conv", &[codes, weights], &[("pads", pads), ("group", groups)]);
            net.normal(conv, 6)
        };
        let [large, small] = [branch(&mut net, 3), branch(&mut net, 1)];
        let own = net.normal(codes, 6);
        let sum = net.summed(large, small);
        let sum = net.summed(sum, own);
        let relu = net.builder.node("Relu", &[sum], &[]);
        let quantized = net.builder.quant(relu, 0.17, 0.0, 4.0, false);
        let last = net.layer(quantized, [4, 6, 1, 1], 0.3);
        let converted = check(net, last, 4);
        assert!(terms(&converted).contains(&3), "{:?}", terms(&converted));
    }
}

/// Convolutions of different inputs, strides and windows that see the same outputs.
#[test]
fn convolutions_of_different_windows() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let [a, b] = [0.21, 0.33].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
    let mut convs = Vec::new();
    for (source, kernel, pads) in [(a, 3, [1, 1, 1, 1]), (b, 1, [0, 0, 0, 0]), (a, 2, [0, 0, 0, 0])] {
        let weights = net.weights([5, 4, kernel, kernel]);
        let window = [("pads", ints(&pads)), ("strides", ints(&[2, 2]))];
        convs.push(net.builder.node("Conv", &[source, weights], &window));
    }
    let sum = net.summed(convs[0], convs[1]);
    let difference = net.builder.node("Sub", &[sum, convs[2]], &[]);
    let quantized = net.builder.quant(difference, 0.17, 0.0, 5.0, true);
    let converted = check(net, quantized, 5);
    assert!(terms(&converted).contains(&3), "{:?}", terms(&converted));
}

/// A function of one branch that differs between channels is no sum of convolutions, and has no curve.
#[test]
fn functions_of_branches_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let codes = net.layer(input, [4, 3, 3, 3], 0.21);
    let [a, b] = [(); 2].map(|()| {
        let weights = net.weights([4, 4, 3, 3]);
        net.conv(codes, weights)
    });
    let a = net.builder.node("Relu", &[a], &[]);
    let factors = net.builder.floats(&[1, 4, 1, 1], &[0.7, 0.9, 1.1, 1.3]);
    let a = net.builder.node("Mul", &[a, factors], &[]);
    let sum = net.summed(a, b);
    let last = net.builder.quant(sum, 0.17, 0.0, 4.0, false);
    let error = net.convert(last, 4).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("Add")), "{error}");
}

/// Implicit knowledge: numbers by channel that are added to codes before a convolution without padding.
#[test]
fn offsets_by_channel_are_a_part_of_the_bias() {
    for kernel in [1, 2] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let [a, b] = [0.21, 0.33].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
        let joined = net.builder.node("Concat", &[a, b], &[("axis", Attribute::Int(1))]);
        let offsets = net.numbers(8);
        let offsets = net.builder.floats(&[1, 8, 1, 1], &offsets);
        let shifted = net.summed(offsets, joined);
        let weights = net.weights([5, 8, kernel, kernel]);
        let strides = ints(&[kernel as i64; 2]);
        let conv = net.builder.node("Conv", &[shifted, weights], &[("strides", strides)]);
        let last = net.builder.quant(conv, 0.27, 0.0, 4.0, true);
        check(net, last, 5);
    }
}

#[test]
fn offsets_by_channel_before_padding_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let codes = net.layer(input, [4, 3, 3, 3], 0.21);
    let offsets = net.numbers(4);
    let offsets = net.builder.floats(&[1, 4, 1, 1], &offsets);
    let shifted = net.summed(codes, offsets);
    let last = net.layer(shifted, [4, 4, 3, 3], 0.27);
    let error = net.convert(last, 4).unwrap_err();
    assert!(error.message().contains("offsets by channel"), "{error}");
}
