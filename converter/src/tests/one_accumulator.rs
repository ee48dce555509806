//! Quantizers inside the function of one accumulator: through the whole converter, beside the interpreter.

use super::*;
use crate::WarningKind;

impl Net {
    fn op(&mut self, op_type: &str, inputs: &[TensorId]) -> TensorId {
        self.builder.node(op_type, inputs, &[])
    }

    /// `x · q(sigmoid(x))` of a convolution, in as many bits.
    fn quantized_gate(&mut self, conv: TensorId, bits: f32) -> TensorId {
        let sigmoid = self.op("Sigmoid", &[conv]);
        let gate = self.builder.quant(sigmoid, 1.0 / (bits.exp2() - 1.0), 0.0, bits, false);
        self.op("Mul", &[conv, gate])
    }
}

fn computed_twice(converted: &Converted) -> bool {
    converted.report.warnings.iter().any(|warning| warning.kind == WarningKind::ComputedTwice)
}

#[test]
fn a_silu_of_a_quantized_sigmoid_is_one_staircase() {
    for (sigmoid, bits) in [(8.0, 8.0), (4.0, 4.0), (2.0, 3.0), (8.0, 2.0)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let first = net.layer(input, [5, 3, 3, 3], 0.21);
        let weights = net.weights([6, 5, 3, 3]);
        let conv = net.conv(first, weights);
        let silu = net.quantized_gate(conv, sigmoid);
        let quantized = net.builder.quant(silu, 4.0 / f32::exp2(bits), 1.0, bits, true);
        let converted = net.check_interpreted(quantized, 6);
        let name = |node: &ylb_format::model::Node| node.operator.name();
        assert_eq!(converted.model.nodes.iter().map(name).collect::<Vec<_>>(), ["Conv"; 3]);
        assert!(!computed_twice(&converted));
    }
}

/// The gate's codes are requantized before the product, and a sum takes its place.
#[test]
fn codes_of_codes_and_sums_are_functions_of_the_accumulator_too() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([6, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let sigmoid = net.op("Sigmoid", &[conv]);
    let fine = net.builder.quant(sigmoid, 1.0 / 255.0, 0.0, 8.0, false);
    let coarse = net.builder.quant(fine, 1.0 / 7.0, 0.0, 3.0, false);
    let sum = net.op("Add", &[conv, coarse]);
    let quantized = net.builder.quant(sum, 0.31, 0.0, 5.0, true);
    let converted = net.check_interpreted(quantized, 6);
    assert_eq!(converted.model.nodes.len(), 2);
}

/// A gate that something else reads as well stays a value, and is said to cost a second convolution.
#[test]
fn gates_that_are_read_elsewhere_stay() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([6, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let sigmoid = net.op("Sigmoid", &[conv]);
    let gate = net.builder.quant(sigmoid, 1.0 / 15.0, 0.0, 4.0, false);
    let product = net.op("Mul", &[conv, gate]);
    let quantized = net.builder.quant(product, 0.31, 0.0, 5.0, true);
    let both = net.builder.node("Concat", &[quantized, gate], &[("axis", Attribute::Int(1))]);
    let last = net.layer(both, [4, 12, 1, 1], 0.3);
    let converted = net.check_interpreted(last, 4);
    assert!(computed_twice(&converted));
}

/// The gate of one convolution on another is no function of one accumulator, but a join of accumulators and codes.
#[test]
fn gates_of_another_convolution_are_joined() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = [net.weights([6, 3, 3, 3]), net.weights([6, 3, 3, 3])];
    let [a, b] = weights.map(|weights| net.conv(input, weights));
    let sigmoid = net.op("Sigmoid", &[b]);
    let gate = net.builder.quant(sigmoid, 1.0 / 15.0, 0.0, 4.0, false);
    let product = net.op("Mul", &[a, gate]);
    let quantized = net.builder.quant(product, 0.31, 0.0, 5.0, true);
    let converted = net.check_interpreted(quantized, 6);
    assert!(converted.model.nodes.iter().any(|node| matches!(node.operator, Operator::Curves(_))));
}
