//! Sums of functions of codes, as where an activation function is not quantized before a sum: through the whole converter,
//! beside the interpreter.

use super::*;
use crate::compare::Verdict;

impl Net {
    /// SiLU of a convolution's codes.
    fn silu_of_codes(&mut self, input: TensorId, shape: [usize; 4], scale: f32, bits: f32) -> TensorId {
        let weights = self.weights(shape);
        let conv = self.conv(input, weights);
        let codes = self.builder.quant(conv, scale, 3.0, bits, false);
        let sigmoid = self.builder.node("Sigmoid", &[codes], &[]);
        self.builder.node("Mul", &[codes, sigmoid], &[])
    }
}

fn check(mut net: Net, last: TensorId, channels: usize) -> Converted {
    let converted = net.check_interpreted(last, channels);
    assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal);
    converted
}

fn sums(converted: &Converted) -> usize {
    converted.model.nodes.iter().filter(|node| matches!(node.operator, Operator::AddTables { .. })).count()
}

/// A shortcut in 4 and in 8 bits, with a function on one side and on both.
#[test]
fn shortcuts_of_activations() {
    for (bits, scale) in [(4.0, 0.31), (8.0, 0.029)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let first = net.silu_of_codes(input, [4, 3, 3, 3], scale, bits);
        let codes = net.builder.quant(first, scale, 1.0, bits, false);
        let second = net.silu_of_codes(codes, [4, 4, 3, 3], scale * 1.17, bits);
        let both = net.builder.node("Add", &[first, second], &[]);
        let both = net.builder.quant(both, scale * 1.3, 2.0, bits, false);
        let one = net.builder.node("Sub", &[second, codes], &[]);
        let one = net.builder.quant(one, scale * 1.1, 5.0, bits, false);
        let joined = net.builder.node("Concat", &[both, one], &[("axis", Attribute::Int(1))]);
        let last = net.layer(joined, [4, 8, 1, 1], 0.3);
        let converted = check(net, last, 4);
        assert_eq!(sums(&converted), 2);
    }
}

/// Two bottlenecks one behind the other add three functions. In 8 bits they have too many combinations to look at.
#[test]
fn chains_of_shortcuts() {
    for (bits, scale) in [(4.0, 0.31), (8.0, 0.029)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let mut sum = net.silu_of_codes(input, [4, 3, 3, 3], scale, bits);
        for factor in [1.17, 0.83] {
            let codes = net.builder.quant(sum, scale * 1.4, 2.0, bits, false);
            let more = net.silu_of_codes(codes, [4, 4, 3, 3], scale * factor, bits);
            sum = net.builder.node("Add", &[sum, more], &[]);
        }
        let codes = net.builder.quant(sum, scale * 1.7, 4.0, bits, false);
        let last = net.layer(codes, [4, 4, 1, 1], 0.3);
        let converted = check(net, last, 4);
        assert_eq!(sums(&converted), 2);
        let bounds: Vec<f64> = converted.report.rows.iter().map(|row| row.tie_bound).collect();
        assert!(bounds.iter().all(|&bound| bound < 2e-6), "{bounds:?}");
        assert_eq!(bounds.iter().any(|&bound| bound > 0.0), bits == 8.0);
    }
}

/// Products of functions, and of codes with an offset: a table of all pairs.
#[test]
fn products_of_functions_are_tables_of_pairs() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let first = net.silu_of_codes(input, [4, 3, 3, 3], 0.31, 4.0);
    let second = net.silu_of_codes(input, [4, 3, 3, 3], 0.21, 8.0);
    let offset = net.builder.float(0.217);
    let shifted = net.builder.node("Add", &[second, offset], &[]);
    let product = net.builder.node("Mul", &[first, shifted], &[]);
    let product = net.builder.quant(product, 0.17, 5.0, 4.0, false);
    let most = net.builder.node("Max", &[product, first], &[]);
    let last = net.builder.quant(most, 0.19, 4.0, 4.0, false);
    let converted = check(net, last, 4);
    let names: Vec<&str> = converted.model.nodes.iter().map(|node| node.operator.name()).collect();
    assert_eq!(names.iter().filter(|name| **name == "PairMap").count(), 2, "{names:?}");
}

/// Five functions are more than a table of sums has, and seventeen more than anything.
#[test]
fn sums_of_many_functions() {
    for count in [5, 17] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let mut sum = net.silu_of_codes(input, [4, 3, 3, 3], 0.3, 4.0);
        for part in 1..count {
            let more = net.silu_of_codes(input, [4, 3, 3, 3], 0.18 + 0.03 * part as f32, 4.0);
            sum = net.builder.node("Add", &[sum, more], &[]);
        }
        let last = net.builder.quant(sum, 0.4, 4.0, 4.0, false);
        if count == 17 {
            assert!(net.convert(last, 4).is_err());
            continue;
        }
        let converted = check(net, last, 4);
        assert_eq!(sums(&converted), 0);
        assert_eq!(
            converted.model.nodes.iter().filter(|n| matches!(n.operator, Operator::Curves(_))).count(),
            1
        );
    }
}
