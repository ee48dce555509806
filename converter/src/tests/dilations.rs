//! Dilated convolutions: through the whole converter, beside the interpreter.

use super::*;

impl Net {
    fn dilated(&mut self, input: TensorId, weights: TensorId, dilations: [i64; 2], group: i64) -> TensorId {
        let [down, right] = dilations;
        let attributes = [
            ("dilations", ints(&dilations)),
            ("kernel_shape", ints(&[3, 3])),
            ("pads", ints(&[down, right, down, right])),
            ("group", Attribute::Int(group)),
        ];
        self.builder.node("Conv", &[input, weights], &attributes)
    }
}

#[test]
fn zeros_stand_between_weights() {
    for (dilations, group) in [([2, 2], 1), ([3, 1], 1), ([2, 5], 2), ([2, 2], 4)] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let first = net.layer(input, [4, 3, 3, 3], 0.21);
        let weights = net.weights([8, 4 / group as usize, 3, 3]);
        let conv = net.dilated(first, weights, dilations, group);
        let quantized = net.builder.quant(conv, 0.31, 0.0, 4.0, true);
        let converted = net.check_interpreted(quantized, 8);
        assert!(windows(&converted.model).contains(&[2 * dilations[0] as u32 + 1, 1]));
    }
}

#[test]
fn binary_weights_have_no_zero() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let floats = net.numbers(4 * 3 * 9);
    let floats = net.builder.floats(&[4, 3, 3, 3], &floats);
    let scale = net.builder.float(0.3);
    let weights = net.builder.node("qonnx::BipolarQuant", &[floats, scale], &[]);
    let conv = net.dilated(input, weights, [2, 2], 1);
    let quantized = net.builder.quant(conv, 0.31, 0.0, 4.0, true);
    let error = net.convert(quantized, 4).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::Unsupported, Some("Conv")), "{error}");
    assert!(error.message().contains("no code for 0"), "{error}");
}

#[test]
fn windows_beyond_the_format_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.dilated(input, weights, [128, 128], 1);
    let quantized = net.builder.quant(conv, 0.31, 0.0, 4.0, true);
    assert!(net.convert(quantized, 4).is_err());
}
