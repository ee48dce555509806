use ylb_source::ir::{Attribute, Builder, Graph, TensorId};

use super::*;
use crate::passes::constants;

/// A picture, its quantized form, and an estimator of the one by the other.
fn estimated(
    estimator: impl Fn(&mut Builder, TensorId, TensorId) -> TensorId,
) -> (Graph, Found, TensorId, TensorId) {
    let (mut builder, x) = Builder::picture(4, 4);
    let q = builder.node("Round", &[x], &[]);
    let output = estimator(&mut builder, q, x);
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    let found = run(&mut graph);
    (graph, found, q, output)
}

fn written(graph: &Graph, id: TensorId) -> &Node {
    graph.nodes.iter().find(|node| node.outputs.contains(&id)).unwrap()
}

#[test]
fn every_order_of_the_operands_is_the_rounding() {
    type Estimator = fn(&mut Builder, TensorId, TensorId) -> TensorId;
    let estimators: [(&str, Estimator); 8] = [
        ("(q - x) + x", |net, q, x| {
            let sub = net.node("Sub", &[q, x], &[]);
            net.node("Add", &[sub, x], &[])
        }),
        ("x + (q - x)", |net, q, x| {
            let sub = net.node("Sub", &[q, x], &[]);
            net.node("Add", &[x, sub], &[])
        }),
        ("x - (x - q)", |net, q, x| {
            let sub = net.node("Sub", &[x, q], &[]);
            net.node("Sub", &[x, sub], &[])
        }),
        ("x + -(x - q)", |net, q, x| {
            let sub = net.node("Sub", &[x, q], &[]);
            let negated = net.node("Neg", &[sub], &[]);
            net.node("Add", &[x, negated], &[])
        }),
        ("(q + -x) + x", |net, q, x| {
            let negated = net.node("Neg", &[x], &[]);
            let sub = net.node("Add", &[q, negated], &[]);
            net.node("Add", &[sub, x], &[])
        }),
        ("q + (x - x)", |net, q, x| {
            let sub = net.node("Sub", &[x, x], &[]);
            net.node("Add", &[q, sub], &[])
        }),
        ("detach", |net, q, x| {
            let sub = net.node("Sub", &[q, x], &[]);
            let detached = net.node("Identity", &[sub], &[]);
            let copy = net.node("Cast", &[x], &[("to", Attribute::Int(1))]);
            net.node("Add", &[detached, copy], &[])
        }),
        ("twice", |net, q, x| {
            let sub = net.node("Sub", &[q, x], &[]);
            let once = net.node("Add", &[x, sub], &[]);
            let sub = net.node("Sub", &[once, x], &[]);
            net.node("Add", &[sub, x], &[])
        }),
    ];
    for (what, estimator) in estimators {
        let (graph, found, q, output) = estimated(estimator);
        let node = written(&graph, output);
        assert_eq!((node.op_type.as_str(), node.input(0)), ("Identity", Some(q)), "{what}");
        assert!(found.rounded.is_empty() && found.exact > 0, "{what}: {found:?}");
    }
}

/// Of a function of the rounding 32-bit floats round the difference.
#[test]
fn whole_quantizers_are_taken_with_a_note() {
    let (graph, found, _, output) = estimated(|net, q, x| {
        let scale = net.float(0.3);
        let q = net.node("Mul", &[q, scale], &[]);
        let sub = net.node("Sub", &[q, x], &[]);
        net.node("Add", &[x, sub], &[])
    });
    assert_eq!(written(&graph, output).op_type, "Identity");
    assert_eq!((found.exact, found.rounded.len()), (0, 1));
    let warning = found.warning().unwrap();
    assert_eq!(warning.kind, WarningKind::StraightThrough);
    assert!(warning.message.contains("\"Add3\""), "{}", warning.message);
}

/// What is no estimator stays what it is: sums in which nothing cancels, or in which no quantized tensor is left.
#[test]
fn other_sums_stay() {
    let others: [fn(&mut Builder, TensorId, TensorId) -> TensorId; 5] = [
        |net, q, x| net.node("Add", &[q, x], &[]),
        |net, q, x| {
            let sum = net.node("Add", &[q, x], &[]);
            net.node("Add", &[sum, x], &[])
        },
        // The negated rounding.
        |net, q, x| {
            let sub = net.node("Sub", &[x, q], &[]);
            net.node("Sub", &[sub, x], &[])
        },
        // Twice the rounding.
        |net, q, x| {
            let sub = net.node("Sub", &[q, x], &[]);
            let sum = net.node("Add", &[q, sub], &[]);
            net.node("Add", &[sum, x], &[])
        },
        // The real number.
        |net, q, x| {
            let sub = net.node("Sub", &[x, q], &[]);
            net.node("Add", &[sub, q], &[])
        },
    ];
    for (index, other) in others.into_iter().enumerate() {
        let (graph, found, _, output) = estimated(other);
        assert_ne!(written(&graph, output).op_type, "Identity", "{index}");
        assert_eq!(found, Found::default(), "{index}");
    }
}
