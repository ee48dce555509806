//! Convolutions of integers behind static quantizers.

use ylb_source::ir::ElementType;

use super::*;

fn codes(net: &mut Net, shape: &[usize], element: ElementType, values: &[f32]) -> TensorId {
    net.builder.constant(Tensor::integers(shape, element, values.iter().map(|&x| x as i64)).unwrap())
}

/// `QuantizeLinear`, `ConvInteger`, `Cast`, `Mul`, `Add`, `Relu`: what sparseml makes of a quantized convolution.
/// `zeros`: of input and weights.
fn converted(zeros: [f32; 2], read: f32, residual: bool) -> Result<Converted, ConvertError> {
    const U8: ElementType = ElementType::Unsigned(8);
    let (mut net, image) = Net::new();
    let weights = net.integers(4 * 27, -7, 7);
    let element = if zeros[1] == 0.0 { ElementType::Signed(8) } else { U8 };
    let weights: Vec<f32> = weights.into_iter().map(|weight| weight + zeros[1]).collect();
    let weights = codes(&mut net, &[4, 3, 3, 3], element, &weights);
    let scale = net.builder.float(1.0 / 255.0);
    let [zero, read] = [zeros[0], read].map(|zero| codes(&mut net, &[], U8, &[zero]));
    let quantized = net.builder.node("QuantizeLinear", &[image, scale, zero], &[]);
    let mut inputs = vec![quantized, weights, read];
    if zeros[1] != 0.0 {
        inputs.push(codes(&mut net, &[4], U8, &[zeros[1]; 4]));
    }
    let sums = net.builder.node("ConvInteger", &inputs, &[("pads", ints(&[1; 4]))]);
    let sums = net.builder.node("Cast", &[sums], &[("to", Attribute::Int(1))]);
    let rescale = net.builder.floats(&[1, 4, 1, 1], &[0.0013, 0.0021, 0.0017, 0.0009]);
    let real = net.builder.node("Mul", &[sums, rescale], &[]);
    let bias = net.builder.floats(&[1, 4, 1, 1], &[0.3, -0.1, 0.05, 0.2]);
    let real = net.builder.node("Add", &[real, bias], &[]);
    let relu = net.one("Relu", real);
    let last = net.builder.quant(relu, 0.21, 0.0, 4.0, false);
    if residual {
        // The picture's codes are read as real numbers, too.
        let real = net.builder.node("DequantizeLinear", &[quantized, scale, zero], &[]);
        let layer = net.layer(real, [4, 3, 3, 3], 0.21);
        let joined = net.builder.node("Concat", &[last, layer], &[("axis", Attribute::Int(1))]);
        net.convert(joined, 8)?;
        return Ok(net.check_interpreted(joined, 8));
    }
    net.convert(last, 4)?;
    Ok(net.check_interpreted(last, 4))
}

#[test]
fn convolutions_of_integers_are_exact() {
    for zeros in [[0.0, 0.0], [3.0, 0.0], [0.0, 128.0], [3.0, 128.0]] {
        for residual in [false, true] {
            let converted = converted(zeros, zeros[0], residual).unwrap();
            assert_eq!(converted.report.format, "QOperator");
        }
    }
}

/// Codes are read with the zero point they were written with, and some quantizer wrote them.
#[test]
fn convolutions_of_other_integers_are_refused() {
    let error = converted([3.0, 0.0], 4.0, false).unwrap_err();
    assert!(error.to_string().contains("zero point differ"), "{error}");
    let (mut net, image) = Net::new();
    let cast = net.builder.node("Cast", &[image], &[("to", Attribute::Int(2))]);
    let weights = codes(&mut net, &[4, 3, 1, 1], ElementType::Signed(8), &[1.0; 12]);
    let sums = net.builder.node("ConvInteger", &[cast, weights], &[]);
    let error = net.convert(sums, 4).unwrap_err();
    assert_eq!(error.op_type(), Some("ConvInteger"));
    assert!(error.to_string().contains("come from no QuantizeLinear"), "{error}");
}
