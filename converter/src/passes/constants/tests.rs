use ylb_source::ir::{Attribute, Builder, ElementType, TensorId};

use super::*;

/// Folds a graph of constants and returns a tensor of it.
fn folded(builder: Builder, id: TensorId) -> (Graph, Tensor) {
    let mut graph = builder.graph;
    run(&mut graph, None).unwrap();
    let tensor = graph.constant(id).expect("a constant").as_ref().clone();
    (graph, tensor)
}

fn one(op_type: &str, inputs: &[Tensor], attributes: &[(&str, Attribute)]) -> Tensor {
    let (mut builder, _) = Builder::picture(8, 8);
    let ids: Vec<TensorId> = inputs.iter().map(|tensor| builder.constant(tensor.clone())).collect();
    let output = builder.node(op_type, &ids, attributes);
    folded(builder, output).1
}

fn floats(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::f32(shape, data.to_vec()).unwrap()
}

fn counting(shape: &[usize]) -> Tensor {
    let len = shape.iter().product::<usize>();
    Tensor::integers(shape, ElementType::Signed(64), (0..len).map(|x| x as i64)).unwrap()
}

#[test]
fn operands_broadcast() {
    let sum = one("Add", &[floats(&[2, 1], &[1.0, 2.0]), floats(&[3], &[10.0, 20.0, 30.0])], &[]);
    assert_eq!(sum.shape(), [2, 3]);
    assert_eq!(sum.to_f64(), [11.0, 21.0, 31.0, 12.0, 22.0, 32.0]);
}

/// A product of 32-bit floats is rounded to 32 bits, as the exporting framework rounds it.
#[test]
fn floats_keep_their_precision() {
    let product = one("Mul", &[floats(&[], &[0.1]), floats(&[], &[0.3])], &[]);
    assert_eq!(product.scalar(), Some(f64::from(0.1f32 * 0.3f32)));
    assert_ne!(product.scalar(), Some(f64::from(0.1f32) * f64::from(0.3f32)));
}

#[test]
fn slices_count_from_both_ends() {
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        let parts = [starts, ends, axes, steps].map(Tensor::indices);
        let [starts, ends, axes, steps] = parts;
        one("Slice", &[counting(&[3, 4]), starts, ends, axes, steps], &[]).to_integers()
    };
    assert_eq!(slice(&[1], &[i64::MAX], &[0], &[1]), [4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(slice(&[-2], &[-1], &[-1], &[1]), [2, 6, 10]);
    assert_eq!(slice(&[0, 1], &[3, 4], &[0, 1], &[2, 2]), [1, 3, 9, 11]);
    assert_eq!(slice(&[-1], &[i64::MIN], &[0], &[-1]), [8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]);
    assert_eq!(slice(&[2], &[1], &[0], &[1]), Vec::<i64>::new());
}

#[test]
fn shapes_are_made_and_moved() {
    let ints = |values: &[i64]| Attribute::Ints(values.to_vec());
    let reshaped = one("Reshape", &[counting(&[2, 6]), Tensor::indices(&[0, -1, 3])], &[]);
    assert_eq!(reshaped.shape(), [2, 2, 3]);
    let transposed = one("Transpose", &[counting(&[2, 3])], &[("perm", ints(&[1, 0]))]);
    assert_eq!(transposed.to_integers(), [0, 3, 1, 4, 2, 5]);
    let gathered =
        one("Gather", &[counting(&[2, 3]), Tensor::indices(&[-1, 0])], &[("axis", Attribute::Int(1))]);
    assert_eq!(gathered.to_integers(), [2, 0, 5, 3]);
    let joined = one("Concat", &[counting(&[2, 1]), counting(&[2, 2])], &[("axis", Attribute::Int(-1))]);
    assert_eq!(joined.to_integers(), [0, 0, 1, 1, 2, 3]);
    assert_eq!(one("Unsqueeze", &[counting(&[2]), Tensor::indices(&[0, -1])], &[]).shape(), [1, 2, 1]);
    assert_eq!(one("Squeeze", &[counting(&[1, 2, 1])], &[("axes", ints(&[0]))]).shape(), [2, 1]);
    assert_eq!(one("Expand", &[counting(&[2, 1]), Tensor::indices(&[1, 3])], &[]).shape(), [2, 3]);
    let range = [0.0, 3.0, 1.0].map(|x| floats(&[], &[x]));
    assert_eq!(one("Range", &range, &[]).to_f64(), [0.0, 1.0, 2.0]);
    let scattered = one("ScatterND", &[counting(&[4]), counting(&[2, 1]), Tensor::indices(&[7, 8])], &[]);
    assert_eq!(scattered.to_integers(), [7, 8, 2, 3]);
    let maximum =
        one("ReduceMax", &[counting(&[2, 3])], &[("axes", ints(&[1])), ("keepdims", Attribute::Int(0))]);
    assert_eq!(maximum.to_integers(), [2, 5]);
}

#[test]
fn hostile_sizes_are_refused() {
    for (op_type, inputs) in [
        ("ConstantOfShape", vec![Tensor::indices(&[1 << 30, 1 << 30])]),
        ("Expand", vec![counting(&[1]), Tensor::indices(&[1 << 40])]),
        ("Range", vec![floats(&[], &[0.0]), floats(&[], &[1e30]), floats(&[], &[1.0])]),
        ("Div", vec![counting(&[1]), counting(&[1])]),
        ("Reshape", vec![counting(&[4]), Tensor::indices(&[3, -1])]),
        ("Slice", vec![counting(&[4]), Tensor::indices(&[0]), Tensor::indices(&[1, 2])]),
    ] {
        let (mut builder, _) = Builder::picture(8, 8);
        let ids: Vec<TensorId> = inputs.into_iter().map(|tensor| builder.constant(tensor)).collect();
        builder.node(op_type, &ids, &[]);
        let error = run(&mut builder.graph, None).unwrap_err();
        assert_eq!(error.op_type(), Some(op_type));
    }
}

/// Codes of a weight behind each format's quantizer: `(code − zero point) · scale` by channel.
fn quantized(build: impl FnOnce(&mut Builder) -> TensorId) -> QuantizedConstant {
    let (mut builder, _) = Builder::picture(8, 8);
    let output = build(&mut builder);
    let (graph, tensor) = folded(builder, output);
    let quantized = graph.tensor(output).quantized.as_ref().expect("codes").as_ref().clone();
    let per_channel = tensor.len() / tensor.shape()[0];
    for (index, &code) in quantized.codes.iter().enumerate() {
        let channel = index / per_channel;
        let integer = f64::from(code) - quantized.zero_point_at(channel);
        assert!((integer * quantized.scale_at(channel) - tensor.get(index)).abs() < 1e-6);
    }
    quantized
}

const WEIGHTS: [f32; 4] = [0.9, -0.26, 0.3, -4.0];

#[test]
fn qonnx_weights() {
    let quantized = quantized(|b| {
        let weights = b.floats(&[2, 2, 1, 1], &WEIGHTS);
        let scale = b.floats(&[2, 1, 1, 1], &[0.25, 0.5]);
        let (zero, bits) = (b.float(0.0), b.float(4.0));
        b.node("qonnx::Quant", &[weights, scale, zero, bits], &[("narrow", Attribute::Int(1))])
    });
    assert_eq!((quantized.low, quantized.high), (-7, 7));
    assert_eq!(quantized.codes, [4, -1, 1, -7]);
    assert_eq!(quantized.scale, [0.25, 0.5]);
}

#[test]
fn bipolar_weights() {
    let quantized = quantized(|b| {
        let weights = b.floats(&[2, 2, 1, 1], &[0.9, -0.26, 0.0, -4.0]);
        let scale = b.floats(&[1], &[0.3]);
        b.node("qonnx::BipolarQuant", &[weights, scale], &[])
    });
    assert_eq!((quantized.codes, quantized.step), (vec![1, -1, 1, -1], 2));
}

#[test]
fn clipped_integer_weights() {
    let quantized = quantized(|b| {
        let int8 = |values: &[i64], shape: &[usize]| {
            Tensor::integers(shape, ElementType::Signed(8), values.iter().copied()).unwrap()
        };
        let codes = b.constant(int8(&[7, -7, 9, 0], &[2, 2, 1, 1]));
        let (low, high) = (b.constant(int8(&[-7], &[])), b.constant(int8(&[7], &[])));
        let clipped = b.node("Clip", &[codes, low, high], &[]);
        let scale = b.floats(&[2], &[0.1, 0.2]);
        let zero = b.constant(int8(&[0, 1], &[2]));
        b.node("DequantizeLinear", &[clipped, scale, zero], &[("axis", Attribute::Int(0))])
    });
    assert_eq!((quantized.low, quantized.high), (-7, 7));
    assert_eq!(quantized.codes, [7, -7, 7, 0]);
    assert_eq!(quantized.zero_point, [0.0, 1.0]);
}

/// LSQ: Div, Clip, Round, Mul.
#[test]
fn written_out_weights() {
    let quantized = quantized(|b| {
        let weights = b.floats(&[2, 2, 1, 1], &WEIGHTS);
        let alpha = b.floats(&[2, 1, 1, 1], &[0.25, 0.5]);
        let alpha = b.node("Identity", &[alpha], &[]);
        let divided = b.node("Div", &[weights, alpha], &[]);
        let (low, high) = (b.float(-8.0), b.float(7.0));
        let clipped = b.node("Clip", &[divided, low, high], &[]);
        let rounded = b.node("Round", &[clipped], &[]);
        b.node("Mul", &[rounded, alpha], &[])
    });
    assert_eq!((quantized.low, quantized.high), (-8, 7));
    assert_eq!(quantized.codes, [4, -1, 1, -8]);
}

/// DoReFa: 2 · round(...) / 3 − 1 has no zero; its zero point lies between two codes.
#[test]
fn grids_without_a_zero() {
    let quantized = quantized(|b| {
        let weights = b.floats(&[4, 1, 1, 1], &[0.0, 1.0, 2.0, 3.0]);
        let rounded = b.node("Round", &[weights], &[]);
        let (two, three, one) = (b.float(2.0), b.float(3.0), b.float(1.0));
        let doubled = b.node("Mul", &[rounded, two], &[]);
        let divided = b.node("Div", &[doubled, three], &[]);
        b.node("Sub", &[divided, one], &[])
    });
    assert!((quantized.zero_point[0] - 1.5).abs() < 1e-9);
    assert_eq!((quantized.low, quantized.high), (0, 3));
}

/// What is no number stays none, so that it is found where codes are made.
#[test]
fn what_is_no_number_stays_none() {
    let nan = floats(&[3], &[f32::NAN, 1.0, -1.0]);
    let [zero, one_] = [0.0, 1.0].map(|number| floats(&[], &[number]));
    let first_is_nan = |tensor: &Tensor| tensor.get(0).is_nan() && tensor.get(1).is_finite();
    for op_type in ["Relu", "Abs", "Round", "Sign", "LeakyRelu"] {
        assert!(first_is_nan(&unchecked(op_type, &[&nan])), "{op_type}");
    }
    for op_type in ["Min", "Max"] {
        assert!(first_is_nan(&unchecked(op_type, &[&nan, &one_])), "{op_type}");
        assert!(first_is_nan(&unchecked(op_type, &[&one_, &nan])), "{op_type}");
    }
    assert!(first_is_nan(&unchecked("Clip", &[&nan, &zero, &one_])));
    for op_type in ["ReduceMax", "ReduceMin"] {
        assert!(unchecked(op_type, &[&nan]).get(0).is_nan(), "{op_type}");
        assert!(unchecked(op_type, &[&floats(&[2], &[1.0, f32::NAN])]).get(0).is_nan(), "{op_type}");
    }
    assert_eq!(one("Relu", &[floats(&[2], &[-0.5, 2.0])], &[]).to_f64(), [0.0, 2.0]);
}

/// An operator evaluated outside of a graph.
fn unchecked(op_type: &str, inputs: &[&Tensor]) -> Tensor {
    let (mut builder, _) = Builder::picture(8, 8);
    let output = builder.node(op_type, &[], &[]);
    let inputs: Vec<Option<&Tensor>> = inputs.iter().copied().map(Some).collect();
    eval::evaluate(builder.producer(output), &inputs, 17).unwrap().unwrap().remove(0)
}
