use std::collections::BTreeSet;

use super::*;
use crate::samples::{SIZE, network, pictures};

/// The exponential function in 64 bits is the oracle.
#[test]
fn exp_is_within_three_units() {
    for step in -8_600..=8_600 {
        let x = step as f32 / 100.0;
        let exact = f64::from(x).exp();
        let relative = (f64::from(elementwise::exp(x)) - exact).abs() / exact;
        assert!(relative < 3.0 * f64::from(f32::EPSILON), "{x}: {relative}");
    }
    assert_eq!([f32::NEG_INFINITY, -1000.0].map(elementwise::exp), [elementwise::exp(-87.0); 2]);
    assert_eq!(elementwise::sigmoid(200.0), 1.0);
    assert!(elementwise::sigmoid(-200.0) < 1e-30);
}

/// Every operator at once, dilations, strides and groups among them, beside the interpreter in 64 bits.
#[test]
fn it_computes_what_the_interpreter_does() {
    let graph = network();
    let forward = Forward::new(graph.clone(), SIZE).unwrap();
    let interpreter = Interpreter::of_graph(graph.clone(), SIZE).unwrap();
    for pixels in pictures(2) {
        let mut values = forward.start(&pixels).unwrap();
        (0..forward.len()).for_each(|position| forward.step(position, &mut values, &[]).unwrap());
        let own = values.get(graph.outputs[0]).unwrap();
        let expected = interpreter.run(&pixels, &BTreeSet::new(), &mut |_, _| {}).unwrap();
        assert_eq!(own.shape(), expected.outputs[0].shape);
        for (index, expected) in expected.outputs[0].data.iter().enumerate() {
            assert!((own.get(index) - expected).abs() < 1e-5, "{index}: {} for {expected}", own.get(index));
        }
    }
}

/// What nobody reads any more is forgotten, but for what is to be kept.
#[test]
fn tensors_live_as_long_as_they_are_read() {
    let graph = network();
    let forward = Forward::new(graph.clone(), SIZE).unwrap();
    let known = |keep: &[TensorId]| {
        let mut values = forward.start(&pictures(1)[0]).unwrap();
        (0..forward.len()).for_each(|position| forward.step(position, &mut values, keep).unwrap());
        (0..graph.tensors.len()).filter(|&index| values.get(TensorId(index)).is_some()).count()
    };
    assert_eq!(known(&[]), 1);
    assert_eq!(known(&[forward.node(0).outputs[0]]), 2);
}

#[test]
fn pictures_of_another_size_are_refused() {
    let forward = Forward::new(network(), SIZE).unwrap();
    assert!(forward.start(&[0; 30]).is_err());
    assert!(Forward::new(network(), [32, 32]).is_err());
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let graph = network();
    let conv = graph.nodes.iter().filter(|node| node.is("Conv")).nth(1).unwrap();
    let [weights, other] = [vec![8, 7, 1, 1], vec![8, 8]].map(|shape: Vec<usize>| {
        let len = shape.iter().product();
        Tensor::f32(&shape, vec![0.5; len]).unwrap()
    });
    for (tensor, message) in [(weights, "over 8 channels"), (other, "rank 4")] {
        let mut graph = graph.clone();
        crate::samples::with_constant(&mut graph, conv.inputs[1].unwrap(), tensor);
        let run = || {
            let forward = Forward::new(graph, SIZE)?;
            let mut values = forward.start(&pictures(1)[0])?;
            (0..forward.len()).try_for_each(|position| forward.step(position, &mut values, &[]))
        };
        let error = run().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
