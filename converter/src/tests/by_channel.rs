//! Functions that differ between channels, of quantized values and of convolutions: through the whole converter, beside the
//! interpreter.

use super::*;

impl Net {
    fn batch_normalization(&mut self, input: TensorId, channels: usize) -> TensorId {
        let mut parameters = vec![input];
        for (low, high) in [(-1.3, 1.3), (-0.4, 0.4), (-0.3, 0.3), (0.5, 2.0)] {
            let numbers = self.numbers(channels).into_iter();
            let numbers: Vec<f32> = numbers.map(|x| low + (x + 1.0) / 2.0 * (high - low)).collect();
            parameters.push(self.builder.floats(&[channels], &numbers));
        }
        self.builder.node("BatchNormalization", &parameters, &[])
    }

    /// With slopes of both signs.
    fn parametric_relu(&mut self, input: TensorId, channels: usize) -> TensorId {
        let slopes = self.numbers(channels);
        let slopes = self.builder.floats(&[channels, 1, 1], &slopes);
        self.builder.node("PRelu", &[input, slopes], &[])
    }
}

fn names(converted: &Converted) -> Vec<&'static str> {
    converted.model.nodes.iter().map(|node| node.operator.name()).collect()
}

#[test]
fn batch_normalizations_of_quantized_values_are_depthwise_convolutions() {
    for zero_point in [0.0, 5.0] {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let weights = net.weights([6, 3, 3, 3]);
        let conv = net.conv(input, weights);
        let codes = net.builder.quant(conv, 0.21, zero_point, 4.0, false);
        let normalized = net.batch_normalization(codes, 6);
        let relu = net.builder.node("Relu", &[normalized], &[]);
        let quantized = net.builder.quant(relu, 0.17, 0.0, 4.0, false);
        let converted = net.check_interpreted(quantized, 6);
        assert_eq!(names(&converted), ["Conv"; 3]);
    }
}

/// As in BottleneckCSP, where each part of the concat has a quantizer of its own.
#[test]
fn batch_normalizations_of_concats() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let [a, b] = [0.21, 0.33].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
    let joined = net.builder.node("Concat", &[a, b], &[("axis", Attribute::Int(1))]);
    let normalized = net.batch_normalization(joined, 8);
    let leaky = net.builder.node("LeakyRelu", &[normalized], &[]);
    let quantized = net.builder.quant(leaky, 0.17, 0.0, 4.0, true);
    net.check_interpreted(quantized, 8);
}

#[test]
fn batch_normalizations_of_sums() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let [a, b] = [0.25, 0.5].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
    let sum = net.builder.node("Add", &[a, b], &[]);
    let normalized = net.batch_normalization(sum, 4);
    let quantized = net.builder.quant(normalized, 0.17, 0.0, 4.0, true);
    let converted = net.check_interpreted(quantized, 4);
    assert_eq!(names(&converted), ["Conv"; 4]);
}

#[test]
fn parametric_relus() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([6, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let behind_a_convolution = net.parametric_relu(conv, 6);
    let codes = net.builder.quant(behind_a_convolution, 0.19, 0.0, 5.0, true);
    let behind_codes = net.parametric_relu(codes, 6);
    let quantized = net.builder.quant(behind_codes, 0.23, 0.0, 4.0, true);
    let one = net.builder.floats(&[1], &[0.3]);
    let single = net.builder.node("PRelu", &[quantized, one], &[]);
    let last = net.builder.quant(single, 0.29, 0.0, 4.0, true);
    let converted = net.check_interpreted(last, 6);
    assert_eq!(names(&converted), ["Conv", "Conv", "Map", "Conv"]);
}

#[test]
fn slopes_of_another_shape_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let codes = net.layer(input, [6, 3, 3, 3], 0.21);
    let slopes = net.builder.floats(&[6, SIZE, 1], &[0.5; 6 * SIZE]);
    let sloped = net.builder.node("PRelu", &[codes, slopes], &[]);
    let quantized = net.builder.quant(sloped, 0.29, 0.0, 4.0, true);
    let error = net.convert(quantized, 6).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::Unsupported, Some("PRelu")), "{error}");
}

/// A product has no place for a function by channel.
#[test]
fn functions_by_channel_of_products_are_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let [a, b] = [0.25, 0.5].map(|scale| net.layer(input, [4, 3, 3, 3], scale));
    let product = net.builder.node("Mul", &[a, b], &[]);
    let normalized = net.batch_normalization(product, 4);
    let quantized = net.builder.quant(normalized, 0.17, 0.0, 4.0, true);
    let error = net.convert(quantized, 4).unwrap_err();
    assert!(error.message().contains("differs between channels"), "{error}");
}
