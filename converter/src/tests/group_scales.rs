//! Weights with scales by group of input channels.

use super::*;
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
