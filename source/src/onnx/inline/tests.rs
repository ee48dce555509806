use prost::Message as _;

use super::super::decode;
use super::super::schema::*;
use super::MAX_DEPTH;
use crate::error::{ErrorKind, SourceError};
use crate::interpret::Interpreter;
use crate::ir::Graph;

fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: Some(op_type.into()),
        input: own(inputs),
        output: own(outputs),
        ..Default::default()
    }
}

fn number(name: &str, value: f32) -> TensorProto {
    TensorProto { name: Some(name.into()), data_type: Some(1), float_data: vec![value], ..Default::default() }
}

fn call(function: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: Some("own".into()), ..node(function, inputs, outputs) }
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let import = OperatorSetIdProto { domain: None, version: Some(17) };
    FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: own(inputs),
        output: own(outputs),
        node: nodes,
        opset_import: vec![import],
        ..Default::default()
    }
}

/// A model of nodes between `x`, a picture of a pixel, and `y`, with numbers `two` and `three`.
fn model(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
    let info = |name: &str, extents: &[i64]| {
        let dimension = |&value: &i64| DimensionProto { dim_value: Some(value), dim_param: None };
        let shape = TensorShapeProto { dim: extents.iter().map(dimension).collect() };
        let tensor_type = TensorTypeProto { elem_type: Some(1), shape: Some(shape) };
        ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
    };
    ModelProto {
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(GraphProto {
            node: nodes,
            initializer: vec![number("two", 2.0), number("three", 3.0)],
            input: vec![info("x", &[1, 3, 1, 1])],
            output: vec![info("y", &[])],
            ..Default::default()
        }),
        functions,
        ..Default::default()
    }
}

fn read(model: &ModelProto) -> Result<Graph, SourceError> {
    Ok(decode(&model.encode_to_vec(), None)?.0)
}

/// `y` where `x` is 1.
fn value(model: &ModelProto) -> f64 {
    let interpreter = Interpreter::of_graph(read(model).unwrap(), [1, 1]).unwrap();
    interpreter.run(&[255; 3], &Default::default(), &mut |_, _| {}).unwrap().outputs[0].data[0]
}

/// `a · b + b`, an inner tensor with a name of the graph's own.
fn product() -> FunctionProto {
    let nodes = vec![node("Mul", &["a", "b"], &["x"]), node("Add", &["x", "b"], &["sum"])];
    function("Product", &["a", "b"], &["sum"], nodes)
}

#[test]
fn functions_are_inlined_as_often_as_they_are_called() {
    let nodes = vec![call("Product", &["x", "two"], &["z"]), call("Product", &["z", "three"], &["y"])];
    let model = model(nodes, vec![product()]);
    assert_eq!(value(&model), 15.0);
    let graph = read(&model).unwrap();
    assert_eq!(graph.nodes.len(), 4);
    assert!(
        graph.tensors.iter().any(|info| info.name == "z/x")
            && graph.tensors.iter().any(|info| info.name == "y/x")
    );
}

#[test]
fn functions_call_functions_and_hand_inputs_on() {
    let outer = vec![call("Product", &["a", "a"], &["b"])];
    let outer = function("Outer", &["a"], &["b", "a"], outer);
    let nodes = vec![
        call("Outer", &["three"], &["z", "same"]),
        node("Add", &["z", "same"], &["w"]),
        node("Mul", &["w", "x"], &["y"]),
    ];
    assert_eq!(value(&model(nodes, vec![outer, product()])), 15.0);
}

#[test]
fn attributes_of_calls_and_defaults_reach_the_nodes() {
    let attribute = |name: &str, value: f32| AttributeProto {
        name: Some(name.into()),
        f: Some(value),
        r#type: Some(1),
        ..Default::default()
    };
    let reference = AttributeProto {
        name: Some("alpha".into()),
        ref_attr_name: Some("slope".into()),
        r#type: Some(1),
        ..Default::default()
    };
    let leaky = NodeProto { attribute: vec![reference], ..node("LeakyRelu", &["n"], &["b"]) };
    let leaky = vec![node("Neg", &["a"], &["n"]), leaky];
    let leaky = FunctionProto {
        attribute_proto: vec![attribute("slope", 0.5)],
        ..function("Leaky", &["a"], &["b"], leaky)
    };
    let default = call("Leaky", &["x"], &["y"]);
    let given = NodeProto { attribute: vec![attribute("slope", 0.25)], ..default.clone() };
    assert_eq!(value(&model(vec![default], vec![leaky.clone()])), -0.5);
    assert_eq!(value(&model(vec![given], vec![leaky])), -0.25);
}

#[test]
fn functions_that_cannot_be_inlined_are_refused() {
    let endless = function("Endless", &["a"], &["b"], vec![call("Endless", &["a"], &["b"])]);
    let calls = |name: &str| vec![call(name, &["x"], &["y"])];
    let error = read(&model(calls("Endless"), vec![endless])).unwrap_err();
    assert!(error.to_string().contains("inside one another without end"), "{error}");
    let mut old = product();
    old.opset_import[0].version = Some(12);
    let error = read(&model(calls("Product"), vec![old])).unwrap_err();
    assert!(error.to_string().contains("operator set 12 in a model of operator set 17"), "{error}");
    let error = read(&model(vec![call("Product", &["x"; 3], &["y"])], vec![product()])).unwrap_err();
    assert!(error.to_string().contains("more inputs"), "{error}");
    // Each calls the next one sixteen times.
    let name = |depth: usize| format!("F{depth}");
    let level = |depth: usize| {
        let mut nodes: Vec<NodeProto> =
            (0..16).map(|k| call(&name(depth + 1), &["a"], &[format!("t{k}").as_str()])).collect();
        nodes.push(node("Neg", &["a"], &["b"]));
        function(&name(depth), &["a"], &["b"], nodes)
    };
    let mut levels: Vec<FunctionProto> = (0..MAX_DEPTH - 2).map(level).collect();
    levels.push(function(&name(MAX_DEPTH - 2), &["a"], &["b"], vec![node("Neg", &["a"], &["b"])]));
    let error = read(&model(calls("F0"), levels)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

fn branches(condition: &str) -> NodeProto {
    let branch = |name: &str, operand: &str| {
        let output = ValueInfoProto { name: Some("z".into()), r#type: None };
        let own = TensorProto { name: Some("own".into()), ..number("", 10.0) };
        let nodes =
            vec![node("Mul", &["x", operand], &["product"]), node("Add", &["product", "own"], &["z"])];
        let graph =
            GraphProto { node: nodes, output: vec![output], initializer: vec![own], ..Default::default() };
        AttributeProto {
            name: Some(name.into()),
            g: Some(Box::new(graph)),
            r#type: Some(5),
            ..Default::default()
        }
    };
    let attribute = vec![branch("then_branch", "two"), branch("else_branch", "three")];
    NodeProto { attribute, ..node("If", &[condition], &["y"]) }
}

#[test]
fn the_branch_of_a_constant_condition_is_taken() {
    let truth = |value: i32| TensorProto {
        data_type: Some(9),
        float_data: vec![],
        int32_data: vec![value],
        ..number("c", 0.0)
    };
    for (condition, expected) in [(1, 12.0), (0, 13.0)] {
        let mut own = model(vec![branches("c")], Vec::new());
        own.graph.as_mut().unwrap().initializer.push(truth(condition));
        assert_eq!(value(&own), expected);
    }
    // Computed of the picture's shape, and of other constants.
    for (compared, expected) in [("Equal", 13.0), ("Less", 12.0)] {
        let nodes = vec![
            node("Shape", &["x"], &["shape"]),
            node("ReduceMax", &["shape"], &["most"]),
            node("Mul", &["most", "most"], &["square"]),
            node(compared, &["most", "square"], &["c"]),
            branches("c"),
        ];

        assert_eq!(value(&model(nodes, Vec::new())), expected, "{compared}");
    }
    // Two branches with the same inner names.
    let twice = vec![
        node("Greater", &["three", "two"], &["c"]),
        NodeProto { output: vec!["first".into()], ..branches("c") },
        branches("c"),
    ];
    assert_eq!(value(&model(twice, Vec::new())), 12.0);
}

#[test]
fn branches_that_the_picture_decides_are_refused() {
    let nodes =
        vec![node("ReduceMax", &["x"], &["most"]), node("Greater", &["most", "two"], &["c"]), branches("c")];
    let error = read(&model(nodes, Vec::new())).unwrap_err();
    assert!(error.to_string().contains("(If): its condition is no constant"), "{error}");
    let mut missing = branches("two");
    missing.attribute.remove(0);
    let error = read(&model(vec![missing], Vec::new())).unwrap_err();
    assert!(error.to_string().contains("expected a then_branch"), "{error}");
}
