//! Joins of activations that nothing quantizes, as exports have them that quantize the inputs of convolutions only: through the
//! whole converter, beside the interpreter.

use super::*;
use crate::compare::Verdict;

impl Net {
    /// A convolution with a bias behind a quantizer of its input; nothing behind it.
    fn wide_conv(&mut self, input: TensorId, shape: [usize; 4], scale: f32) -> TensorId {
        let codes = self.builder.quant(input, scale, 0.0, 8.0, true);
        let weights = self.weights(shape);
        let conv = self.conv(codes, weights);
        let bias = self.numbers(shape[0]);
        let bias = self.builder.floats(&[1, shape[0], 1, 1], &bias);
        self.builder.node("Add", &[conv, bias], &[])
    }

    fn activated(&mut self, function: &str, x: TensorId) -> TensorId {
        match function {
            "SiLU" => {
                let sigmoid = self.builder.node("Sigmoid", &[x], &[]);
                self.builder.node("Mul", &[x, sigmoid], &[])
            }
            "" => x,
            _ => self.builder.node(function, &[x], &[]),
        }
    }
}

fn check(net: Net, last: TensorId, channels: usize) -> Converted {
    check_within(net, last, channels, 1e-6)
}

/// Equal codes, and tie bounds below a part of a step.
fn check_within(mut net: Net, last: TensorId, channels: usize, most: f64) -> Converted {
    let converted = net.check_interpreted(last, channels);
    assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal);
    let bounds: Vec<f64> = converted.report.rows.iter().map(|row| row.tie_bound).collect();
    assert!(bounds.iter().any(|&bound| bound > 0.0), "{bounds:?}");
    assert!(bounds.iter().all(|&bound| bound < most), "{bounds:?}");
    converted
}

fn joins(converted: &Converted) -> Vec<usize> {
    let of = |node: &ylb_format::model::Node| match &node.operator {
        Operator::Curves(join) => Some(join.operands.len()),
        _ => None,
    };
    converted.model.nodes.iter().filter_map(of).collect()
}

/// Bottlenecks one behind the other, as ModelOpt and TensorRT's tools quantize YOLOv5: each sum has one addend more.
#[test]
fn chains_of_shortcuts_of_convolutions() {
    for function in ["SiLU", "Relu", "HardSwish", "Mish", ""] {
        let (mut net, image) = Net::new();
        let conv = net.wide_conv(image, [4, 3, 3, 3], 1.0 / 127.0);
        let mut sum = net.activated(function, conv);
        for scale in [0.031, 0.043] {
            let conv = net.wide_conv(sum, [4, 4, 3, 3], scale);
            let more = net.activated(function, conv);
            sum = net.builder.node("Add", &[sum, more], &[]);
        }
        let weights = net.weights([4, 4, 1, 1]);
        let codes = net.builder.quant(sum, 0.057, 0.0, 8.0, true);
        let conv = net.conv(codes, weights);
        let last = net.builder.quant(conv, 0.071, 0.0, 8.0, true);
        if function.is_empty() {
            // Sums of convolutions alone are terms of one.
            net.check_interpreted(last, 4);
            continue;
        }
        let converted = check(net, last, 4);
        assert_eq!(joins(&converted), [2, 3], "{function}");
        // Curves of a function are one.
        for node in &converted.model.nodes {
            if let Operator::Curves(join) = &node.operator {
                assert_eq!(join.curves.len(), 1, "{function}");
            }
        }
    }
}

/// Beside a concat, multiplied, subtracted, with codes among the addends, and read by two quantizers.
#[test]
fn sums_of_many_kinds() {
    let (mut net, image) = Net::new();
    let conv = net.wide_conv(image, [4, 3, 3, 3], 1.0 / 127.0);
    let first = net.activated("SiLU", conv);
    let codes = net.builder.quant(first, 0.031, 0.0, 8.0, true);
    let own = [(); 2].map(|()| {
        let weights = net.weights([4, 4, 3, 3]);
        net.conv(codes, weights)
    });
    let [a, b] =
        ["HardSwish", "SiLU"].into_iter().zip(own).map(|(f, x)| net.activated(f, x)).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    let factor = net.builder.float(0.37);
    let sum = net.builder.node("Sub", &[a, b], &[]);
    let sum = net.builder.node("Mul", &[sum, factor], &[]);
    let sum = net.builder.node("Add", &[sum, codes], &[]);
    let joined = net.builder.node("Concat", &[sum, first], &[("axis", Attribute::Int(1))]);
    let one = net.wide_conv(joined, [4, 8, 3, 3], 0.067);
    let other = net.wide_conv(sum, [4, 4, 1, 1], 0.041);
    let sum = net.builder.node("Add", &[one, other], &[]);
    let last = net.builder.quant(sum, 0.09, 0.0, 8.0, true);
    let converted = check(net, last, 4);
    assert_eq!(joins(&converted), [3, 3]);
}

/// Gates of channels, of pixels and of whole maps that nothing quantizes.
#[test]
fn gates_of_convolutions() {
    for gate in 0..3 {
        let (mut net, image) = Net::new();
        let conv = net.wide_conv(image, [4, 3, 3, 3], 1.0 / 127.0);
        let whole = net.activated("HardSwish", conv);
        let codes = net.builder.quant(whole, 0.031, 0.0, 8.0, true);
        let (source, channels) = match gate {
            0 => (net.builder.node("GlobalAveragePool", &[codes], &[]), 4),
            1 => (codes, 1),
            _ => (codes, 4),
        };
        let conv = net.wide_conv(source, [channels, 4, 1, 1], 0.017);
        let gate = net.activated(["HardSigmoid", "Sigmoid", "Sigmoid"][gate], conv);
        let product = net.builder.node("Mul", &[gate, whole], &[]);
        let last = net.builder.quant(product, 0.033, 0.0, 8.0, true);
        // Corners of a hard sigmoid are off the pieces by the rounding of its slope to 32 bits.
        let converted = check_within(net, last, 4, 1e-5);
        assert_eq!(joins(&converted), [2]);
    }
}

/// A corner off the grid of pieces has no curve that is near enough, and functions that differ between channels have none.
#[test]
fn corners_and_functions_by_channel_are_refused() {
    let refused = |function: &dyn Fn(&mut Net, TensorId) -> TensorId| {
        let (mut net, image) = Net::new();
        let conv = net.wide_conv(image, [4, 3, 3, 3], 1.0 / 127.0);
        let first = function(&mut net, conv);
        let conv = net.wide_conv(first, [4, 4, 3, 3], 0.031);
        let more = function(&mut net, conv);
        let sum = net.builder.node("Add", &[first, more], &[]);
        let last = net.builder.quant(sum, 0.057, 0.0, 8.0, true);
        net.convert(last, 4).unwrap_err()
    };
    let corner = refused(&|net, x| {
        let [low, high] = [-0.51, 0.77].map(|bound| net.builder.float(bound));
        net.builder.node("Clip", &[x, low, high], &[])
    });
    assert_eq!(corner.kind(), ErrorKind::Inexact, "{corner}");
    assert!(corner.message().contains("corners"), "{corner}");
    let by_channel = refused(&|net, x| {
        let slopes = net.builder.floats(&[4, 1, 1], &[0.1, 0.2, 0.3, 0.4]);
        net.builder.node("PRelu", &[x, slopes], &[])
    });
    let found = (by_channel.kind(), by_channel.op_type());
    assert_eq!(found, (ErrorKind::NotQuantized, Some("Add")), "{by_channel}");
}
