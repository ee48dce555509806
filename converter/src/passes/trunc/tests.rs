use ylb_source::ir::Builder;

use super::*;
use crate::passes::constants;

/// Scale, zero point and the others; attributes; what the error says.
type Refused<'a> = (&'a [f32], &'a [(&'a str, Attribute)], &'a str);

/// The operators, and the constants that they have besides the picture's tensor, behind the pass.
fn written(graph: &Graph) -> Vec<(String, Vec<f64>)> {
    let numbers = |node: &Node| {
        let constants = (1..node.inputs.len()).filter_map(|k| graph.constant_input(node, k));
        constants.flat_map(|tensor| tensor.to_f64()).collect()
    };
    graph.nodes.iter().map(|node| (node.op_type.clone(), numbers(node))).collect()
}

fn rewritten(numbers: &[f32], attributes: &[(&str, Attribute)]) -> Result<Graph, ConvertError> {
    let (mut builder, image) = Builder::picture(4, 4);
    let mut inputs = vec![image];
    inputs.extend(numbers.iter().map(|&number| builder.float(number)));
    let output = builder.node("qonnx::Trunc", &inputs, attributes);
    builder.graph.outputs = vec![output];
    let mut graph = builder.graph;
    constants::run(&mut graph, None)?;
    assert_eq!(run(&mut graph)?, 1);
    assert_eq!(graph.nodes.last().unwrap().outputs, graph.outputs);
    assert!(graph.nodes.iter().all(|node| graph.tensor(node.outputs[0]).shape == Some(vec![1, 3, 4, 4])));
    Ok(graph)
}

fn list(expected: &[(&str, &[f64])]) -> Vec<(String, Vec<f64>)> {
    expected.iter().map(|&(name, numbers)| (name.to_owned(), numbers.to_vec())).collect()
}

#[test]
fn both_versions_are_written_as_arithmetic() {
    let graph = rewritten(&[0.25, 0.0, 8.0, 6.0], &[]).unwrap();
    let expected = list(&[("Div", &[0.25]), (ROUND, &[]), ("Mul", &[0.25]), (TRUNC, &[]), ("Mul", &[0.25])]);
    assert_eq!(written(&graph), expected);
    let codes = graph.nodes.iter().find(|node| node.op_type == TRUNC).unwrap();
    assert_eq!(codes.text("rounding_mode", ""), "FLOOR");
    assert_eq!(graph.tensor(codes.outputs[0]).name, graph.tensor(graph.outputs[0]).name);

    // The first version subtracts the whole zero point, the second its share.
    let graph = rewritten(&[0.25, 4.0, 8.0, 5.0], &[("rounding_mode", Attribute::Text("ceil".into()))]);
    assert_eq!(written(&graph.unwrap())[5..], list(&[("Sub", &[4.0]), ("Mul", &[0.25])]));
    let attributes = [("signed", Attribute::Int(0)), ("narrow", Attribute::Int(1))];
    let graph = rewritten(&[0.25, 4.0, 8.0, 2.0, 4.0], &attributes).unwrap();
    let expected = list(&[
        ("Div", &[0.25]),
        ("Add", &[4.0]),
        (ROUND, &[]),
        ("Mul", &[0.125]),
        ("Clip", &[0.0, 14.0]),
        (TRUNC, &[]),
        ("Sub", &[0.5]),
        ("Mul", &[2.0]),
    ]);
    assert_eq!(written(&graph), expected);
}

#[test]
fn what_no_truncation_can_have_is_refused_by_name() {
    let stochastic = [("rounding_mode", Attribute::Text("STOCHASTIC".into()))];
    let cases: [Refused<'_>; 7] = [
        (&[0.25, 0.0, 8.0], &[], "4 inputs"),
        (&[-0.25, 0.0, 8.0, 6.0], &[], "positive"),
        (&[0.25, 0.5, 8.0, 6.0], &[], "no integer"),
        (&[0.25, 0.0, 8.5, 6.0], &[], "bit widths"),
        (&[0.25, 0.0, 8.0, 1e30, 4.0], &[], "power of two"),
        (&[0.25, 0.0, 8.0, 1.0, 0.0], &[], "bit widths"),
        (&[0.25, 0.0, 8.0, 6.0], &stochastic, "rounding mode STOCHASTIC"),
    ];
    for (numbers, attributes, what) in cases {
        let error = rewritten(numbers, attributes).unwrap_err();
        assert!(error.op_type().is_some_and(|op_type| op_type.ends_with("Trunc")), "{error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}

#[test]
fn parameters_of_the_picture_and_constants_are_refused() {
    let (mut builder, image) = Builder::picture(4, 4);
    let numbers = [0.0, 8.0, 6.0].map(|number| builder.float(number));
    builder.node("qonnx::Trunc", &[image, image, numbers[0], numbers[1], numbers[2]], &[]);
    let error = run(&mut builder.graph).unwrap_err();
    assert!(error.to_string().contains("must be constants"), "{error}");

    let (mut builder, _) = Builder::picture(4, 4);
    let weights = builder.floats(&[2], &[1.0, 2.0]);
    let numbers = [0.25, 0.0, 8.0, 6.0].map(|number| builder.float(number));
    builder.node("qonnx::Trunc", &[weights, numbers[0], numbers[1], numbers[2], numbers[3]], &[]);
    let error = run(&mut builder.graph).unwrap_err();
    assert!(error.to_string().contains("truncates a constant"), "{error}");
}
