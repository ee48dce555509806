//! Gates, sums of concats whose parts end at different channels, and many scales: through the whole converter, beside the
//! interpreter, which knows nothing of it.

use super::*;

impl Net {
    fn concat(&mut self, parts: &[TensorId]) -> TensorId {
        self.builder.node("Concat", parts, &[("axis", Attribute::Int(1))])
    }

    fn named(&mut self, op_type: &str, inputs: &[TensorId]) -> TensorId {
        self.builder.node(op_type, inputs, &[])
    }
}

fn count(model: &Model, name: &str) -> usize {
    model.nodes.iter().filter(|node| node.operator.name() == name).count()
}

fn most_terms(model: &Model) -> usize {
    let terms = |operator: &Operator| if let Operator::Conv(conv) = operator { conv.terms.len() } else { 0 };
    model.nodes.iter().map(|node| terms(&node.operator)).max().unwrap_or(0)
}

/// A squeeze-and-excitation block, with the largest values in the place of means.
#[test]
fn gates_are_interpreted_alike() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let map = net.layer(input, [6, 3, 3, 3], 0.21);
    let pooled = net.builder.node("MaxPool", &[map], &[("kernel_shape", ints(&[SIZE as i64; 2]))]);
    let squeezed = net.layer(pooled, [3, 6, 1, 1], 0.27);
    let weights = net.weights([6, 3, 1, 1]);
    let excited = net.conv(squeezed, weights);
    let sigmoid = net.named("Sigmoid", &[excited]);
    let gate = net.builder.quant(sigmoid, 1.0 / 31.0, 0.0, 5.0, false);
    let product = net.named("Mul", &[map, gate]);
    let gated = net.builder.quant(product, 0.19, 0.0, 4.0, false);
    let last = net.layer(gated, [4, 6, 3, 3], 0.3);
    let converted = net.check_interpreted(last, 4);
    assert_eq!(count(&converted.model, "Mul"), 1);
}

/// Two Ghost modules whose sum is read by a convolution, and then quantized.
#[test]
fn crooked_sums_are_interpreted_alike() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let a = net.layer(input, [4, 3, 3, 3], 0.21);
    let b = net.layer(a, [4, 4, 3, 3], 0.27);
    let c = net.layer(b, [2, 4, 1, 1], 0.17);
    let d = net.layer(a, [6, 4, 1, 1], 0.23);
    let (ab, cd) = (net.concat(&[a, b]), net.concat(&[c, d]));
    let sum = net.named("Add", &[ab, cd]);
    let read = net.layer(sum, [4, 8, 3, 3], 0.3);
    let quantized = net.builder.quant(sum, 0.29, 0.0, 4.0, false);
    let both = net.concat(&[read, quantized]);
    let last = net.layer(both, [4, 12, 1, 1], 0.3);
    let converted = net.check_interpreted(last, 4);
    assert_eq!(most_terms(&converted.model), 4);
    assert_eq!(count(&converted.model, "Add"), 3);
}

/// Twenty scales in one concat.
#[test]
fn many_scales_are_interpreted_alike() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let mut last = net.layer(input, [2, 3, 3, 3], 0.21);
    let mut parts = vec![last];
    for part in 0..19 {
        last = net.layer(last, [2, 2, 1, 1], 0.1 + 0.013 * part as f32);
        parts.push(last);
    }
    let joined = net.concat(&parts);
    let last = net.layer(joined, [4, 40, 3, 3], 0.4);
    let converted = net.check_interpreted(last, 4);
    assert_eq!(most_terms(&converted.model), 20);
}
