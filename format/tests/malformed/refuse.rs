//! Changing [`models::detector`], and checking that the change is refused.

use ylb_format::model::*;
use ylb_format::{NodeProblem, ReadError, Violation, WriteError, read, write};

use super::encoder;
use super::models::{self, nodes};

/// A model changed by `change` is refused by writer and reader.
pub fn refused(change: impl FnOnce(&mut Model), expected: Violation) {
    let model = changed_in_memory(change, &expected);
    let error = read(&encoder::encode(&model)).expect_err(&expected.to_string());
    assert_eq!(error, ReadError::Invalid(expected));
    assert_eq!(error.to_string().lines().count(), 1);
}

/// The same for models that no file can hold: lengths that a file does not store, counts that it
/// refuses before there is a model.
pub fn refused_in_memory(change: impl FnOnce(&mut Model), expected: Violation) {
    changed_in_memory(change, &expected);
}

fn changed_in_memory(change: impl FnOnce(&mut Model), expected: &Violation) -> Model {
    let mut model = models::detector();
    change(&mut model);
    assert_eq!(ylb_format::validate(&model).as_ref(), Err(expected));
    match write(&model) {
        Err(WriteError::Invalid(violation)) => assert_eq!(violation, *expected),
        other => panic!("{other:?}"),
    }
    model
}

pub fn encoding(model: &mut Model, value: usize) -> &mut Encoding {
    match &mut model.values[value].kind {
        ValueKind::Levels(encoding) => encoding,
        ValueKind::Accumulators => panic!("value {value} holds accumulators"),
    }
}

/// A violation of a node of [`models::detector`].
pub fn at(index: usize, problem: NodeProblem) -> Violation {
    let name = models::detector().nodes[index].name.clone();
    Violation::Node { node: index, name, problem }
}

pub fn conv(model: &mut Model, node: usize) -> &mut Conv {
    match &mut model.nodes[node].operator {
        Operator::Conv(conv) => conv,
        other => panic!("{other:?}"),
    }
}

pub fn weights(model: &mut Model, node: usize) -> &mut Weights {
    &mut conv(model, node).terms[0].weights
}

pub fn requantize(model: &mut Model, node: usize) -> &mut Requantize {
    match &mut model.nodes[node].operator {
        Operator::Conv(Conv { requantize: Some(requantize), .. }) => requantize,
        Operator::Add { requantize, .. } | Operator::Mul { requantize, .. } => requantize,
        other => panic!("{other:?}"),
    }
}

pub fn inputs(model: &mut Model, node: usize) -> &mut Vec<ValueId> {
    match &mut model.nodes[node].operator {
        Operator::Add { inputs, .. } | Operator::Concat { inputs } => inputs,
        other => panic!("{other:?}"),
    }
}

pub fn pool(model: &mut Model) -> (&mut ValueId, &mut Window) {
    match &mut model.nodes[nodes::POOL].operator {
        Operator::MaxPool { input, window } => (input, window),
        other => panic!("{other:?}"),
    }
}
