//! Detection convolutions whose weights are floats, taken as they are on request.

use super::*;

impl Net {
    /// Adds a head of one class with weights of floats and a bias.
    fn float_head(&mut self, last: TensorId, channels: usize) -> TensorId {
        let weights = self.numbers(18 * channels);
        let weights = self.builder.floats(&[18, channels, 1, 1], &weights);
        let bias = self.numbers(18);
        let bias = self.builder.floats(&[18], &bias);
        self.builder.node("Conv", &[last, weights, bias], &[])
    }

    fn with_float_head(&mut self, head: TensorId, float_heads: bool) -> Result<Converted, ConvertError> {
        self.builder.graph.outputs = vec![head];
        let options = Options { class_names: vec!["thing".into()], float_heads, ..Options::default() };
        convert_graph(self.builder.graph.clone(), Metadata::default(), &options, &mut |_| {})
    }
}

/// A convolution and what is done behind it: codes, an activation that nothing quantizes, a sum of two, a concat.
fn last_of(net: &mut Net, image: TensorId, case: usize) -> (TensorId, usize) {
    let input = net.input(image);
    let codes = net.layer(input, [6, 3, 3, 3], 0.21);
    let silu = |net: &mut Net| {
        let weights = net.weights([5, 6, 3, 3]);
        let conv = net.conv(codes, weights);
        let sigmoid = net.builder.node("Sigmoid", &[conv], &[]);
        net.builder.node("Mul", &[conv, sigmoid], &[])
    };
    match case {
        0 => (codes, 6),
        1 => (silu(net), 5),
        2 => {
            let sides = [silu(net), silu(net)];
            (net.builder.node("Add", &sides, &[]), 5)
        }
        _ => {
            let sides = [silu(net), codes];
            (net.builder.node("Concat", &sides, &[("axis", Attribute::Int(1))]), 11)
        }
    }
}

#[test]
fn weights_of_floats_are_three_bytes() {
    for case in 0..4 {
        let (mut net, image) = Net::new();
        let (last, channels) = last_of(&mut net, image, case);
        let head = net.float_head(last, channels);
        let converted = net.with_float_head(head, true).unwrap();
        let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * index * 37 % 251) as u8).collect();
        let found = reference::execute(&converted.model, &pixels).logits(MapPart::default()).to_vec();
        let interpreter = interpret::Interpreter::of_graph(net.builder.graph.clone(), [SIZE; 2]).unwrap();
        let interpreted = interpreter.run(&pixels, &Default::default(), &mut |_, _| {}).unwrap();
        let expected = &interpreted.outputs[0].data;
        assert_eq!(found.len(), expected.len());
        let farthest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
        assert!(farthest < 1e-4 && largest > 1.0, "{case}: {farthest} of {largest}");
        let told = converted.report.warnings.iter().any(|own| own.kind == crate::WarningKind::FloatHead);
        assert!(told, "{case}");
    }
}

/// Without the option the convolution is refused, and told how to be taken; others are with it, too.
#[test]
fn weights_of_floats_are_refused_unless_asked_for() {
    let (mut net, image) = Net::new();
    let (last, channels) = last_of(&mut net, image, 0);
    let head = net.float_head(last, channels);
    let error = net.with_float_head(head, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotQuantized, "{error}");
    assert!(error.message().contains("--float-heads"), "{error}");
    let (mut net, image) = Net::new();
    let (last, channels) = last_of(&mut net, image, 0);
    let weights = net.numbers(4 * channels * 9);
    let weights = net.builder.floats(&[4, channels, 3, 3], &weights);
    let inner = net.builder.node("Conv", &[last, weights], &[("pads", ints(&[1; 4]))]);
    let inner = net.builder.quant(inner, 0.3, 0.0, 4.0, true);
    let head = net.float_head(inner, 4);
    let error = net.with_float_head(head, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotQuantized, "{error}");
}
