//! Files that ask for too much, contradict themselves, or hold what is no number.

use super::*;
use crate::passes::shapes;

/// Shapes come from hostile files: no rank of an input makes an operator panic, here or in the interpreter.
#[test]
fn inputs_of_any_rank_are_no_panic() {
    let operators = [
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Conv",
        "DequantizeLinear",
        "Div",
        "Dropout",
        "Equal",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "LeakyRelu",
        "Max",
        "MaxPool",
        "Mish",
        "Mul",
        "PRelu",
        "Pow",
        "QuantizeLinear",
        "Range",
        "ReduceMax",
        "Relu",
        "Reshape",
        "Resize",
        "ScatterND",
        "Shape",
        "Sigmoid",
        "Slice",
        "Split",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Upsample",
        "Where",
        "qonnx::Quant",
        "qonnx::BipolarQuant",
        "qonnx::Trunc",
    ];
    let window = [("kernel_shape", ints(&[3, 3])), ("perm", ints(&[3, 0])), ("axis", Attribute::Int(-3))];
    for op_type in operators {
        for (first, second, count) in
            (0..6).flat_map(|a| (0..6).flat_map(move |b| (1..4).map(move |count| (a, b, count))))
        {
            for attributes in [&window[..0], &window[..1], &window[1..]] {
                let (mut builder, _) = Builder::picture(8, 8);
                let shape = vec![2; first];
                let own = builder.graph.add_tensor(ylb_source::ir::TensorInfo {
                    shape: Some(shape.clone()),
                    ..Default::default()
                });
                let other = builder.floats(&vec![2; second], &vec![1.0; 1 << second]);
                let output = builder.node(op_type, &[own, other, other, other][..count], attributes);
                let node = builder.producer(output).clone();
                // Of data that is not known, and of data that is.
                shapes::infer(&builder.graph, &node);
                builder.graph.tensors[own.0].constant =
                    Some(Tensor::f32(&shape, vec![1.0; 1 << first]).unwrap().into());
                let inputs: Vec<Option<&Tensor>> =
                    node.inputs.iter().map(|id| builder.graph.constant((*id)?).map(AsRef::as_ref)).collect();
                let _ = ylb_source::eval::evaluate(&node, &inputs, 13);
                let _ = ylb_source::interpret::Interpreter::of_graph(builder.graph, [8, 8]);
            }
        }
    }
}

/// Extents beyond any network are not known, so that nothing is computed with them.
#[test]
fn shapes_beyond_any_network_are_not_known() {
    let (mut builder, image) = Builder::picture(8, 8);
    let shape = |builder: &mut Builder, scale: f32| {
        let empty = builder.floats(&[0], &[]);
        let scales = builder.floats(&[4], &[1.0, 1.0, scale, scale]);
        let output = builder.node("Resize", &[image, empty, scales], &[]);
        shapes::infer(&builder.graph, builder.producer(output)).remove(0)
    };
    assert_eq!(shape(&mut builder, 2.0), Some(vec![1, 3, 16, 16]));
    for scale in [1e6, 1e30, f32::INFINITY] {
        assert_eq!(shape(&mut builder, scale), None, "{scale}");
    }
}

/// A file of some hundred bytes that asks for gigabytes is refused before they are there.
#[test]
fn constants_out_of_nothing_are_refused() {
    let (mut builder, _) = Builder::picture(8, 8);
    let shape = builder.constant(Tensor::indices(&[1 << 22]));
    for _ in 0..5 {
        builder.node("ConstantOfShape", &[shape], &[]);
    }
    let error = constants::run(&mut builder.graph.clone(), None).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::TooLarge, Some("ConstantOfShape")));
    assert!(error.to_string().contains("too much for what the file holds"), "{error}");
    // The interpreter, which reads the same files, has the same limit.
    let error = ylb_source::interpret::Interpreter::of_graph(builder.graph, [8, 8]).unwrap_err();
    assert_eq!(error.kind(), ylb_source::ErrorKind::TooLarge);
    // A product of a column and a row.
    let (mut builder, _) = Builder::picture(8, 8);
    let column = builder.floats(&[1 << 13, 1], &[1.0; 1 << 13]);
    let row = builder.floats(&[1, 1 << 13], &[1.0; 1 << 13]);
    builder.node("Mul", &[column, row], &[]);
    assert_eq!(constants::run(&mut builder.graph, None).unwrap_err().kind(), ErrorKind::TooLarge);
}

/// Weights of a layer of zeros, as DoReFa's export divides them by the largest: 0 by 0.
#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let refused = |weights: &[f32], after: &str| {
        let (mut builder, _) = Builder::picture(8, 8);
        let weights = builder.floats(&[1, 1, 2, 2], weights);
        let magnitudes = builder.node("Abs", &[weights], &[]);
        let largest = builder.node("ReduceMax", &[magnitudes], &[("keepdims", Attribute::Int(0))]);
        let scaled = builder.node("Div", &[weights, largest], &[]);
        let [low, high] = [-1.0, 1.0].map(|bound| builder.float(bound));
        let clipped = builder.node("Clip", &[scaled, low, high], &[]);
        let attributes = [("to", Attribute::Int(3))];
        let inputs = match after {
            "QuantizeLinear" | "qonnx::BipolarQuant" => vec![clipped, high],
            "qonnx::Quant" => vec![clipped, high, high, high],
            _ => vec![clipped],
        };
        builder.node(after, &inputs, if after == "Cast" { &attributes } else { &[] });
        let name = builder.graph.tensor(weights).name.clone();
        (name, constants::run(&mut builder.graph, None).unwrap_err())
    };
    for after in
        ["Round", "Floor", "Ceil", "Sign", "Cast", "QuantizeLinear", "qonnx::Quant", "qonnx::BipolarQuant"]
    {
        for weights in [[0.0; 4], [1.0, f32::NAN, 0.5, -0.25]] {
            let (name, error) = refused(&weights, after);
            let message = error.to_string();
            assert!(
                message.contains(&format!("the weights \"{name}\" are NaN where they become codes")),
                "{message}"
            );
            assert_eq!(
                error.op_type().map(|op_type| op_type.rsplit("::").next()),
                Some(after.rsplit("::").next())
            );
        }
    }
    let (mut builder, _) = Builder::picture(8, 8);
    let weights = builder.floats(&[2], &[1.0, f32::INFINITY]);
    builder.quant(weights, 0.5, 0.0, 4.0, true);
    let error = constants::run(&mut builder.graph, None).unwrap_err().to_string();
    assert!(error.contains("are inf where they become codes (element 1)"), "{error}");
}
