//! Sums and products of concats whose parts end at different channels.

use super::*;

impl Net {
    fn add(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.builder.node("Add", &[a, b], &[])
    }

    /// The sum of a concat of 4 + 4 channels and one of 2 + 6, all of different scales.
    fn crooked_sum(&mut self, input: TensorId) -> TensorId {
        let a = self.layer(input, [4, 3, 3], 0.25);
        let b = self.layer(a, [4, 4, 3], 0.31);
        let c = self.layer(a, [2, 4, 3], 0.187);
        let d = self.layer(b, [6, 4, 3], 0.22);
        let (ab, cd) = (self.concat(&[a, b]), self.concat(&[c, d]));
        self.add(ab, cd)
    }
}

/// How many channels each slice takes out of a value.
fn selected(model: &Model) -> Vec<u32> {
    let of_node = |node: &model::Node| match &node.operator {
        Operator::Slice { .. } => Some(model.value(node.output).channels),
        _ => None,
    };
    model.nodes.iter().filter_map(of_node).collect()
}

/// A convolution reads whole values: slices are needed for none of them.
#[test]
fn convolutions_read_whole_values() {
    for kernel in [1, 3] {
        let (mut net, input) = Net::new();
        let sum = net.crooked_sum(input);
        let last = net.layer(sum, [5, 8, kernel], 0.3);
        let model = net.check(last, 5);
        assert_eq!(terms(&model), [1, 1, 1, 1, 4, 1]);
        assert!(selected(&model).is_empty());
    }
    let (mut net, input) = Net::new();
    let sum = net.crooked_sum(input);
    let last = net.layer(sum, [5, 8, 1], 0.3);
    assert_eq!(net.warnings(last, 5), Vec::<String>::new());
}

/// Three concats, cut at 2, 3, 4 and 5, and a convolution that reads some of their channels in another place.
#[test]
fn sums_of_sums() {
    let (mut net, input) = Net::new();
    let sum = net.crooked_sum(input);
    let e = net.layer(input, [3, 3, 3], 0.2);
    let f = net.layer(e, [2, 3, 1], 0.17);
    let ef = net.concat(&[e, f, e]);
    let total = net.add(sum, ef);
    let both = net.concat(&[ef, total]);
    let last = net.layer(both, [5, 16, 3], 0.3);
    let model = net.check(last, 5);
    assert!(selected(&model).is_empty());
    // `e` and `f` lie in several places, which share a term.
    assert!(terms(&model).contains(&6), "{:?}", terms(&model));
}

/// Depthwise convolutions read values of all channels, side by side.
#[test]
fn depthwise_halves() {
    let (mut net, input) = Net::new();
    // Two Ghost modules: a convolution, and a depthwise one of it.
    let ghost = |net: &mut Net, input: TensorId, [inputs, half]: [usize; 2], scales: [f32; 2]| {
        let primary = net.layer(input, [half, inputs, 1], scales[0]);
        let cheap = net.grouped(primary, [half, half, 3], half);
        let cheap = net.builder.node("Relu", &[cheap], &[]);
        let cheap = net.builder.quant(cheap, scales[1], 0.0, 4.0, false);
        net.concat(&[primary, cheap])
    };
    let first = ghost(&mut net, input, [3, 4], [0.25, 0.31]);
    let second = ghost(&mut net, first, [8, 2], [0.2, 0.17]);
    let third = ghost(&mut net, second, [4, 2], [0.23, 0.13]);
    let both = net.concat(&[second, third]);
    let sum = net.add(first, both);
    let depthwise = net.grouped(sum, [8, 8, 3], 8);
    let last = net.builder.quant(depthwise, 0.3, 0.0, 4.0, true);
    let model = net.check(last, 8);
    assert!(selected(&model).is_empty());
}

/// A quantizer behind the sum takes slices.
#[test]
fn quantized_sums_take_slices() {
    let (mut net, input) = Net::new();
    let sum = net.crooked_sum(input);
    let quantized = net.builder.quant(sum, 0.37, 0.0, 4.0, false);
    let last = net.layer(quantized, [5, 8, 1], 0.3);
    let model = net.check(last, 5);
    assert_eq!(selected(&model), [2, 2, 2, 4]);
    let sums = model.nodes.iter().filter(|node| matches!(node.operator, Operator::Add { .. }));
    assert_eq!(sums.count(), 3);
}

/// Products are cut like sums; −1 and 1, and codes with a zero point, keep their encodings.
#[test]
fn products_and_other_encodings() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [4, 3, 3]);
    let scale = net.builder.float(0.7);
    let signs = net.builder.node("qonnx::BipolarQuant", &[conv, scale], &[]);
    let b = net.layer(signs, [4, 4, 3], 0.31);
    let conv = net.conv(b, [3, 4, 3]);
    let c = net.builder.quant(conv, 0.21, 5.0, 4.0, false);
    let conv = net.conv(b, [5, 4, 3]);
    let d = net.lsq_plus(conv, 0.25, -1.0);
    let (ab, cd) = (net.concat(&[signs, b]), net.concat(&[c, d]));
    let product = net.builder.node("Mul", &[ab, cd], &[]);
    let product = net.builder.quant(product, 0.3, 0.0, 4.0, true);
    let sum = net.add(ab, cd);
    let sum = net.builder.quant(sum, 0.33, 0.0, 5.0, true);
    let both = net.concat(&[product, sum]);
    let last = net.layer(both, [5, 16, 1], 0.3);
    let model = net.check(last, 5);
    // Each slice once, whoever reads it.
    assert_eq!(selected(&model).len(), 4);
}

/// The parts of a quantized concat are there already.
#[test]
fn parts_of_concats_are_taken() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let joined = net.concat(&[a, b]);
    let joined = net.builder.quant(joined, 0.29, 0.0, 4.0, false);
    let c = net.layer(joined, [4, 8, 3], 0.2);
    let other = net.concat(&[c, a]);
    let sum = net.add(joined, other);
    let quantized = net.builder.quant(sum, 0.41, 0.0, 4.0, false);
    let model = net.check(quantized, 8);
    assert!(selected(&model).is_empty());
}

/// Parts of a convolution that is not quantized are convolutions of some outputs, to which codes are added as terms.
#[test]
fn parts_of_convolutions_and_codes() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let conv = net.conv(b, [8, 4, 3]);
    let joined = net.concat(&[a, b]);
    let sum = net.add(conv, joined);
    let last = net.builder.quant(sum, 0.3, 0.0, 4.0, false);
    let model = net.check(last, 8);
    assert!(selected(&model).is_empty());
    assert_eq!(terms(&model), [1, 1, 2, 2, 1]);
}
