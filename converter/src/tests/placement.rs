//! Quantizers in front of convolutions, floats in the poolings, enlargements and concats before them: through the whole
//! converter, beside the interpreter.

use super::*;
use crate::compare::Verdict;

impl Net {
    /// A convolution and a ReLU that nothing quantizes.
    fn bare(&mut self, input: TensorId, shape: [usize; 4]) -> TensorId {
        let weights = self.weights(shape);
        let conv = self.conv(input, weights);
        self.builder.node("Relu", &[conv], &[])
    }

    fn pool(&mut self, input: TensorId, extent: i64, stride: i64) -> TensorId {
        let pads = ints(&[if stride == 1 { extent / 2 } else { 0 }; 4]);
        let window = [("kernel_shape", ints(&[extent; 2])), ("strides", ints(&[stride; 2])), ("pads", pads)];
        self.builder.node("MaxPool", &[input], &window)
    }

    fn enlarged(&mut self, input: TensorId) -> TensorId {
        let scales = self.builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let text = |text: &str| Attribute::Text(text.into());
        let rules = [
            ("mode", text("nearest")),
            ("coordinate_transformation_mode", text("asymmetric")),
            ("nearest_mode", text("floor")),
        ];
        let absent = self.builder.floats(&[0], &[]);
        self.builder.node("Resize", &[input, absent, scales], &rules)
    }

    fn joined(&mut self, parts: &[TensorId]) -> TensorId {
        self.builder.node("Concat", parts, &[("axis", Attribute::Int(1))])
    }
}

fn operators(converted: &Converted, name: &str) -> usize {
    converted.model.nodes.iter().filter(|node| node.operator.name() == name).count()
}

fn placed(converted: &Converted) -> Option<&str> {
    converted.report.passes.iter().map(String::as_str).find(|pass| pass.starts_with("placement"))
}

/// A spatial pyramid of floats and its quantizer: one requantization, whatever the number of poolings.
#[test]
fn quantizers_move_before_a_pyramid_of_poolings() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let mut last = net.bare(input, [4, 3, 3, 3]);
    let mut parts = vec![last];
    for _ in 0..3 {
        last = net.pool(last, 3, 1);
        parts.push(last);
    }
    let joined = net.joined(&parts);
    let quantized = net.builder.quant(joined, 0.23, 0.0, 4.0, false);
    let converted = net.check_interpreted(quantized, 16);
    assert_eq!([operators(&converted, "Conv"), operators(&converted, "MaxPool")], [2, 3]);
    assert_eq!(placed(&converted), Some("placement: 1 quantizers moved, 0 equal to another of their tensor"));
}

/// What a convolution reads is enlarged, joined with a bare convolution, and quantized by two readers with scales of their
/// own.
#[test]
fn readers_with_scales_of_their_own_get_codes_of_their_own() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let wide = net.bare(input, [4, 3, 3, 3]);
    let pooled = net.pool(wide, 2, 2);
    let codes = net.builder.quant(pooled, 0.31, 0.0, 4.0, false);
    let deep = net.bare(codes, [5, 4, 1, 1]);
    let enlarged = net.enlarged(deep);
    let joined = net.joined(&[enlarged, wide]);
    let fine = net.builder.quant(joined, 0.19, 0.0, 4.0, false);
    let coarse = net.builder.quant(joined, 0.41, -3.0, 3.0, true);
    let parts = [fine, coarse].map(|read| net.layer(read, [3, 9, 3, 3], 0.21));
    let both = net.joined(&parts);
    let converted = net.check_interpreted(both, 6);
    assert_eq!(operators(&converted, "Upsample"), 2);
}

/// Two readers whose quantizers are the same read the same codes.
#[test]
fn equal_quantizers_of_a_tensor_are_one() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let bare = net.bare(input, [4, 3, 3, 3]);
    let pooled = net.pool(bare, 2, 2);
    let parts = [(); 2].map(|()| {
        let codes = net.builder.quant(pooled, 0.31, 0.0, 4.0, false);
        net.layer(codes, [3, 4, 1, 1], 0.21)
    });
    let both = net.joined(&parts);
    let converted = net.check_interpreted(both, 6);
    assert_eq!([operators(&converted, "Conv"), operators(&converted, "MaxPool")], [4, 1]);
    assert_eq!(placed(&converted), Some("placement: 1 quantizers moved, 1 equal to another of their tensor"));
}

/// The largest of sums of quantized values is that of their codes' codes.
#[test]
fn quantizers_move_before_poolings_of_sums() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let a = net.layer(input, [4, 3, 3, 3], 0.21);
    let b = net.layer(a, [4, 4, 3, 3], 0.33);
    let sum = net.builder.node("Add", &[a, b], &[]);
    let pooled = net.pool(sum, 2, 2);
    let quantized = net.builder.quant(pooled, 0.37, 0.0, 4.0, false);
    net.check_interpreted(quantized, 4);
}

/// YOLOv3-tiny's last pooling over values of either sign: zeros behind a function of codes, or of a convolution.
#[test]
fn quantizers_move_before_zeros_around_a_map() {
    let padded = |of_codes: bool, zero_point: f32| {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let source = if of_codes { net.builder.quant(conv, 0.21, 5.0, 4.0, false) } else { conv };
        let sigmoid = net.builder.node("Sigmoid", &[source], &[]);
        let silu = net.builder.node("Mul", &[source, sigmoid], &[]);
        let pads = net.builder.constant(Tensor::indices(&[0, 0, 0, 0, 0, 0, 1, 1]));
        let around = net.builder.node("Pad", &[silu, pads], &[]);
        let window = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[1, 1]))];
        let pooled = net.builder.node("MaxPool", &[around], &window);
        let quantized = net.builder.quant(pooled, 0.06, zero_point, 4.0, false);
        (net, quantized)
    };
    for of_codes in [true, false] {
        let (mut net, quantized) = padded(of_codes, 3.0);
        let converted = net.check_interpreted(quantized, 4);
        assert_eq!([operators(&converted, "Pad"), operators(&converted, "MaxPool")], [1, 1]);
        assert!(placed(&converted).is_some());
        // None of its codes stands for 0, which becomes another number.
        let (mut net, quantized) = padded(of_codes, -3.0);
        let error = net.convert(quantized, 4).unwrap_err();
        assert_eq!(error.op_type(), Some("Pad"), "{error}");
        assert!(error.to_string().contains("none stands for 0"), "{error}");
    }
}

/// Where codes are there already, they are picked first and requantized afterwards, as always.
#[test]
fn quantizers_behind_codes_stay() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let codes = net.layer(input, [4, 3, 3, 3], 0.21);
    let pooled = net.pool(codes, 2, 2);
    let quantized = net.builder.quant(pooled, 0.37, 0.0, 3.0, false);
    let converted = net.check_interpreted(quantized, 4);
    assert_eq!(placed(&converted), None);
}

/// A quantizer with a scale for each channel would have to be cut for a concat; nothing is guessed.
#[test]
fn quantizers_by_channel_stay_behind_concats() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let bare = net.bare(input, [2, 3, 3, 3]);
    let pooled = net.pool(bare, 3, 1);
    let joined = net.joined(&[bare, pooled]);
    let scales = net.builder.floats(&[1, 4, 1, 1], &[0.1, 0.2, 0.3, 0.4]);
    let [zero, bits] = [0.0, 4.0].map(|number| net.builder.floats(&[], &[number]));
    let quantizer =
        net.builder.node("qonnx::Quant", &[joined, scales, zero, bits], &[("signed", Attribute::Int(0))]);
    let error = net.convert(quantizer, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotQuantized, "{error}");
}

#[test]
fn sums_of_floats_name_the_sum() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let codes = net.layer(input, [4, 3, 3, 3], 0.21);
    // Functions that differ between channels, of which there are no curves.
    let factors = net.builder.floats(&[1, 4, 1, 1], &[0.7, 0.9, 1.1, 1.3]);
    let [a, b, c] = [(); 3].map(|()| {
        let bare = net.bare(codes, [4, 4, 1, 1]);
        net.builder.node("Mul", &[bare, factors], &[])
    });
    let first = net.builder.node("Add", &[a, b], &[]);
    let second = net.builder.node("Add", &[first, c], &[]);
    let quantized = net.builder.quant(second, 0.37, 0.0, 4.0, false);
    let name = net.builder.producer(first).name.clone();
    let error = net.convert(quantized, 4).unwrap_err();
    assert_eq!((error.node_name(), error.op_type()), (Some(name.as_str()), Some("Add")), "{error}");
    let expected =
        "the sum of two activations that are not quantized; train with a quantizer on both operands";
    assert!(error.message().starts_with(expected), "{error}");
}

/// What stands between a pooling and its quantizer moves along: a clamp before a quantizer that is written out, an activation
/// behind the pooling.
#[test]
fn rising_functions_move_along() {
    for function in 0..3 {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([4, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let pooled = net.pool(conv, 3, 1);
        let joined = net.joined(&[conv, pooled]);
        let last = match function {
            0 => net.builder.node("Relu", &[joined], &[]),
            1 => {
                let [low, high] = [-0.7, 2.4].map(|bound| net.builder.float(bound));
                net.builder.node("Clip", &[joined, low, high], &[])
            }
            _ => {
                let sigmoid = net.builder.node("Sigmoid", &[joined], &[]);
                let [factor, offset] = [3.1, 0.3].map(|number| net.builder.float(number));
                let scaled = net.builder.node("Mul", &[factor, sigmoid], &[]);
                net.builder.node("Sub", &[scaled, offset], &[])
            }
        };
        let quantized = net.builder.quant(last, 0.23, 2.0, 4.0, false);
        let converted = net.check_interpreted(quantized, 8);
        assert_eq!([operators(&converted, "Conv"), operators(&converted, "MaxPool")], [2, 1], "{function}");
        assert_eq!(pictures::verdict(&net, &converted.model), Verdict::Equal, "{function}");
    }
    // A function that falls picks other elements behind a maximum than before it.
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let pooled = net.pool(conv, 3, 1);
    let factor = net.builder.float(-1.0);
    let negated = net.builder.node("Mul", &[pooled, factor], &[]);
    let quantized = net.builder.quant(negated, 0.23, 0.0, 4.0, true);
    let error = net.convert(quantized, 4).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("MaxPool")), "{error}");
}
