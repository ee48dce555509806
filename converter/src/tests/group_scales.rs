//! Weights with scales by group of input channels.

use super::*;
use ylb_source::ir::ElementType;

use crate::compare::Verdict;

impl Net {
    fn normalized(&mut self, x: TensorId, channels: usize) -> TensorId {
        let numbers = |net: &mut Self, from: f32| {
            let numbers: Vec<f32> = net.numbers(channels).iter().map(|x| from + x / 4.0).collect();
            net.builder.floats(&[channels], &numbers)
        };
        let [gamma, beta, mean, variance] = [1.0, 0.2, 0.1, 1.0].map(|from| numbers(self, from));
        self.builder.node("BatchNormalization", &[x, gamma, beta, mean, variance], &[])
    }

    /// 4-bit weights of `[outputs, inputs, 1, 1]` with a scale for each output and each `group` inputs, written out or folded.
    fn grouped_weights(&mut self, outputs: usize, inputs: usize, group: usize, folded: bool) -> TensorId {
        let count = inputs / group;
        let codes = self.integers(outputs * inputs, -7, 7);
        let scales: Vec<f32> = self.numbers(outputs * count).iter().map(|x| 0.1 + x.abs() / 10.0).collect();
        if folded {
            let real = |(index, code): (usize, &f32)| code * scales[index / group];
            let reals: Vec<f32> = codes.iter().enumerate().map(real).collect();
            return self.builder.floats(&[outputs, inputs, 1, 1], &reals);
        }
        let codes = self.builder.floats(&[outputs, count, group, 1, 1], &codes);
        let scales = self.builder.floats(&[outputs, count, 1, 1, 1], &scales);
        let product = self.builder.node("Mul", &[codes, scales], &[]);
        let shape = self.builder.constant(Tensor::indices(&[outputs as i64, inputs as i64, 1, 1]));
        self.builder.node("Reshape", &[product, shape], &[])
    }
}

fn terms(model: &Model) -> Vec<usize> {
    let of = |operator: &Operator| match operator {
        Operator::Conv(conv) => Some(conv.terms.len()),
        _ => None,
    };
    model.nodes.iter().filter_map(|node| of(&node.operator)).collect()
}

#[test]
fn scales_by_group_of_input_channels_are_terms() {
    for (group, folded) in [(4, false), (4, true), (8, true)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let layer = net.layer(input, [16, 3, 3, 3], 0.25);
        let weights = net.grouped_weights(6, 16, group, folded);
        let bias = net.numbers(6);
        let bias = net.builder.floats(&[6], &bias);
        let conv = net.builder.node("Conv", &[layer, weights, bias], &[]);
        let normalized = net.normalized(conv, 6);
        let active = net.builder.node("Relu", &[normalized], &[]);
        let quantized = net.builder.quant(active, 0.31, 0.0, 4.0, false);
        let converted = net.check_interpreted(quantized, 6);
        assert_eq!(terms(&converted.model), [1, 16 / group, 1], "{group} {folded}");
        assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal, "{group} {folded}");
    }
}

/// Weights of a float model lie on no grid by group either.
#[test]
fn floats_are_refused_as_before() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let layer = net.layer(input, [16, 3, 3, 3], 0.25);
    let floats = net.numbers(6 * 16);
    let weights = net.builder.floats(&[6, 16, 1, 1], &floats);
    let conv = net.builder.node("Conv", &[layer, weights], &[]);
    let quantized = net.builder.quant(conv, 0.31, 0.0, 4.0, true);
    let error = net.convert(quantized, 6).unwrap_err().to_string();
    assert!(error.contains("are plain floats; those of output channel 0 lie on no grid"), "{error}");
}

/// Detection convolutions keep the sum of their terms: over joins of different scales, and with weights of several.
#[test]
fn heads_of_several_scales() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let layer = net.layer(input, [16, 3, 3, 3], 0.25);
    let weights = net.grouped_weights(18, 16, 4, true);
    let bias = net.numbers(18);
    let bias = net.builder.floats(&[18], &bias);
    let head = net.builder.node("Conv", &[layer, weights, bias], &[]);
    net.builder.graph.outputs = vec![head];
    let options = Options { class_names: vec!["thing".into()], ..Options::default() };
    let model =
        convert_graph(net.builder.graph.clone(), Metadata::default(), &options, &mut |_| {}).unwrap().model;
    assert_eq!(terms(&model), [1, 4]);
    assert_eq!(pictures::verdict(&net, &model), Verdict::Equal);

    let (mut net, image) = Net::new();
    let input = net.input(image);
    let a = net.layer(input, [4, 3, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3, 3], 0.31);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let model = net.check_interpreted(sum, 4).model;
    assert_eq!(terms(&model), [1, 1, 2]);
    assert_eq!(pictures::verdict(&net, &model), Verdict::Equal);
}

/// Opset 21's blocks, of 8 and 4 bits, signed and not.
#[test]
fn block_wise_scales_are_those_of_groups() {
    let element = |bits, signed| if signed { ElementType::Signed(bits) } else { ElementType::Unsigned(bits) };
    for (bits, signed, kernel) in [(8, true, 3), (4, true, 1), (4, false, 3)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let layer = net.layer(input, [8, 3, 3, 3], 0.25);
        let zero = if signed { 0 } else { 7 };
        let codes: Vec<i64> =
            net.integers(6 * 8 * kernel * kernel, -7, 8).iter().map(|&code| code as i64 + zero).collect();
        let codes: Vec<i64> = codes.into_iter().map(|code| code.min(if signed { 7 } else { 15 })).collect();
        let codes = Tensor::integers(&[6, 8, kernel, kernel], element(bits, signed), codes.into_iter());
        let codes = net.builder.constant(codes.unwrap());
        let scales = net.numbers(6 * 2);
        let at = |index: usize| 0.05 + scales[index / (kernel * kernel)].abs() / 10.0;
        let scales: Vec<f32> = (0..6 * 2 * kernel * kernel).map(at).collect();
        let shape = [6, 2, kernel, kernel];
        let scales = net.builder.floats(&shape, &scales);
        let zeros = vec![zero; 6 * 2 * kernel * kernel];
        let zeros = Tensor::integers(&shape, element(bits, signed), zeros.into_iter()).unwrap();
        let zeros = net.builder.constant(zeros);
        let blocks = [("axis", Attribute::Int(1)), ("block_size", Attribute::Int(4))];
        let weights = net.builder.node("DequantizeLinear", &[codes, scales, zeros], &blocks);
        let window = [("pads", ints(&[(kernel / 2) as i64; 4]))];
        let conv = net.builder.node("Conv", &[layer, weights], &window);
        let active = net.builder.node("Relu", &[conv], &[]);
        let quantized = net.builder.quant(active, 0.31, 0.0, 4.0, false);
        let converted = net.check_interpreted(quantized, 6);
        assert_eq!(terms(&converted.model), [1, 2, 1], "{bits} {signed} {kernel}");
        assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal, "{bits} {signed} {kernel}");
    }
}

#[test]
fn blocks_of_rows_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let layer = net.layer(input, [8, 3, 3, 3], 0.25);
    let codes: Vec<i64> = net.integers(4 * 8 * 9, -7, 7).iter().map(|&code| code as i64).collect();
    let codes = Tensor::integers(&[4, 8, 3, 3], ElementType::Signed(8), codes.into_iter()).unwrap();
    let codes = net.builder.constant(codes);
    let scales: Vec<f32> = net.numbers(4 * 2 * 9).iter().map(|x| 0.05 + x.abs() / 10.0).collect();
    let scales = net.builder.floats(&[4, 2, 3, 3], &scales);
    let blocks = [("axis", Attribute::Int(1)), ("block_size", Attribute::Int(4))];
    let weights = net.builder.node("DequantizeLinear", &[codes, scales], &blocks);
    let conv = net.builder.node("Conv", &[layer, weights], &[("pads", ints(&[1; 4]))]);
    let quantized = net.builder.quant(conv, 0.31, 0.0, 4.0, true);
    let error = net.convert(quantized, 4).unwrap_err();
    assert_eq!(
        (error.kind(), error.op_type()),
        (ErrorKind::Unsupported, Some("DequantizeLinear")),
        "{error}"
    );
    assert!(error.message().contains("expected blocks of input channels"), "{error}");
}
