//! Products of quantized values: of equal shapes, and gates.

use super::*;

impl Net {
    /// One number a channel from the whole map: its largest values, a convolution, a sigmoid.
    fn gate(&mut self, input: TensorId, channels: usize) -> TensorId {
        let pooled = self.builder.node("MaxPool", &[input], &[("kernel_shape", ints(&[SIZE as i64; 2]))]);
        let conv = self.conv(pooled, [channels, channels, 1]);
        let sigmoid = self.builder.node("Sigmoid", &[conv], &[]);
        self.builder.quant(sigmoid, 0.017, 0.0, 6.0, false)
    }

    fn mul(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.builder.node("Mul", &[a, b], &[])
    }
}

/// The requantizations of all products, and whether each is of a gate.
fn products(model: &Model) -> Vec<(&model::Requantize, bool)> {
    let of_node = |node| match node {
        &Operator::Mul { inputs: [whole, other], ref requantize } => {
            Some((requantize, model.value(whole).shape() != model.value(other).shape()))
        }
        _ => None,
    };
    model.nodes.iter().filter_map(|node| of_node(&node.operator)).collect()
}

#[test]
fn of_equal_shapes() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.2);
    let b = net.layer(a, [4, 4, 3], 0.31);
    let product = net.mul(a, b);
    let product = net.builder.quant(product, 0.57, 0.0, 4.0, false);
    let last = net.layer(product, [4, 4, 3], 0.3);
    let model = net.check(last, 4);
    assert!(matches!(products(&model)[..], [(_, false)]));
}

/// Gates may come first or second, and are multiplied with every pixel of their channel.
#[test]
fn gates() {
    for gate_first in [false, true] {
        let (mut net, input) = Net::new();
        let a = net.layer(input, [5, 3, 3], 0.2);
        let gate = net.gate(a, 5);
        let product = if gate_first { net.mul(gate, a) } else { net.mul(a, gate) };
        let product = net.builder.quant(product, 0.11, 0.0, 5.0, false);
        let last = net.layer(product, [4, 5, 1], 0.3);
        let model = net.check(last, 4);
        assert_eq!(products(&model).iter().map(|(_, gate)| *gate).collect::<Vec<_>>(), [true]);
    }
}

/// A product of a gate may be enlarged before it is quantized: the gate stays one pixel.
#[test]
fn enlarged_products_of_gates() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.2);
    let gate = net.gate(a, 4);
    let product = net.mul(a, gate);
    let small = net.builder.quant(product, 0.11, 0.0, 5.0, false);
    let empty = net.builder.floats(&[0], &[]);
    let scales = net.builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let asymmetric = [
        ("coordinate_transformation_mode", Attribute::Text("asymmetric".into())),
        ("nearest_mode", Attribute::Text("floor".into())),
    ];
    let large = net.builder.node("Resize", &[product, empty, scales], &asymmetric);
    let large = net.builder.quant(large, 0.11, 0.0, 5.0, false);
    let pool = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let pooled = net.builder.node("MaxPool", &[large], &pool);
    let both = net.concat(&[small, pooled]);
    let head = net.conv(both, [18, 8, 1]);
    net.builder.graph.outputs = vec![head];
    let (model, _) = converted(net.builder.graph).unwrap();
    let pixels: Vec<u8> = (0..3 * SIZE * SIZE).map(|index| (index * 37 % 256) as u8).collect();
    let execution = reference::execute(&model, &pixels);
    let mul = |node: &&model::Node| matches!(node.operator, Operator::Mul { .. });
    let codes: Vec<Vec<i16>> =
        model.nodes.iter().filter(mul).map(|node| execution.codes(node.output).unwrap()).collect();
    let [small, large] = &codes[..] else { panic!("{} products", codes.len()) };
    assert!(small.iter().any(|code| *code != small[0]));
    for (index, code) in large.iter().enumerate() {
        let (row, x) = (index / (2 * SIZE), index % (2 * SIZE));
        assert_eq!(*code, small[row / 2 * SIZE + x / 2], "{index}");
    }
}

/// Zero points, negative factors, and an activation between the product and its quantizer.
#[test]
fn signed_factors_and_activations() {
    let (mut net, input) = Net::new();
    let conv = net.conv(input, [6, 3, 3]);
    let a = net.builder.quant(conv, 0.3, 0.0, 4.0, true);
    let conv = net.conv(input, [6, 3, 3]);
    let b = net.builder.quant(conv, 0.21, 5.0, 4.0, false);
    let product = net.mul(a, b);
    let scaled = net.builder.float(0.7);
    let product = net.mul(product, scaled);
    let sigmoid = net.builder.node("Sigmoid", &[product], &[]);
    let active = net.mul(product, sigmoid);
    let quantized = net.builder.quant(active, 0.13, 2.0, 5.0, false);
    let model = net.check(quantized, 6);
    assert!(matches!(products(&model)[..], [(model::Requantize::Staircase { .. }, false)]));
}

/// Scales, zero points and widths as they come.
#[test]
fn of_any_encodings() {
    for seed in 1..25 {
        let (mut net, input) = Net::new();
        net.random = Random(seed);
        let quantized = |net: &mut Net, conv: TensorId| {
            let [scale, zero_point, bits] = [(); 3].map(|()| (net.random.next() + 1.0) / 2.0);
            let bits = 1.0 + (bits * 7.0).floor();
            let zero_point = (zero_point * 7.0).floor();
            net.builder.quant(conv, 0.05 + 0.3 * scale, zero_point, bits, zero_point < 3.0 && bits > 1.0)
        };
        let conv = net.conv(input, [4, 3, 3]);
        let a = quantized(&mut net, conv);
        let conv = net.conv(input, [4, 3, 3]);
        let b = quantized(&mut net, conv);
        let product = net.mul(a, b);
        let product = quantized(&mut net, product);
        let model = net.check(product, 4);
        assert_eq!(products(&model).len(), 1, "{seed}");
    }
}

/// Ties alternate between even codes.
#[test]
fn ties_become_staircases() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let b = net.layer(a, [4, 4, 3], 0.5);
    let product = net.mul(a, b);
    let product = net.builder.quant(product, 0.25, 0.0, 4.0, false);
    let model = net.check(product, 4);
    assert!(matches!(products(&model)[..], [(model::Requantize::Staircase { .. }, false)]));
}

/// Both factors follow from one value.
#[test]
fn of_a_value_and_its_sigmoid_is_a_table() {
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.2);
    let sigmoid = net.builder.node("Sigmoid", &[a], &[]);
    let gate = net.builder.quant(sigmoid, 1.0 / 15.0, 0.0, 4.0, false);
    let product = net.mul(a, gate);
    let product = net.builder.quant(product, 0.2, 0.0, 4.0, false);
    let both = net.concat(&[product, gate]);
    let last = net.layer(both, [4, 8, 1], 0.3);
    let model = net.check(last, 4);
    assert!(products(&model).is_empty());
}

#[test]
fn what_is_no_product_of_two_quantized_values_is_refused() {
    type Make = fn(&mut Net, [TensorId; 3]) -> TensorId;
    let cases: [(Make, ErrorKind, &str); 3] = [
        (
            |net, [a, b, c]| {
                let sum = net.builder.node("Add", &[a, b], &[]);
                net.mul(sum, c)
            },
            ErrorKind::Unsupported,
            "a product of sums",
        ),
        (
            |net, [a, b, _]| {
                let conv = net.conv(b, [4, 4, 3]);
                let relu = net.builder.node("Relu", &[conv], &[]);
                let factors = net.builder.floats(&[1, 4, 1, 1], &[0.7, 0.9, 1.1, 1.3]);
                let own = net.mul(relu, factors);
                net.mul(a, own)
            },
            ErrorKind::NotQuantized,
            "the product of two activations of which one is not quantized",
        ),
        (
            |net, [a, b, c]| {
                let product = net.mul(a, b);
                net.builder.node("Add", &[product, c], &[])
            },
            ErrorKind::NotQuantized,
            "Mul of feature maps",
        ),
    ];
    for (make, kind, message) in cases {
        let (mut net, input) = Net::new();
        let a = net.layer(input, [4, 3, 3], 0.25);
        let b = net.layer(a, [4, 4, 3], 0.31);
        let c = net.layer(b, [4, 4, 3], 0.19);
        let made = make(&mut net, [a, b, c]);
        let last = net.builder.quant(made, 0.3, 0.0, 4.0, false);
        let error = net.refused(last, 4);
        assert!(error.message().contains(message), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
    // A gate is multiplied, not added.
    let (mut net, input) = Net::new();
    let a = net.layer(input, [4, 3, 3], 0.25);
    let gate = net.gate(a, 4);
    let sum = net.builder.node("Add", &[a, gate], &[]);
    let last = net.builder.quant(sum, 0.3, 0.0, 4.0, false);
    let error = net.refused(last, 4);
    assert!(error.message().contains("expected equal shapes"), "{error}");
}
