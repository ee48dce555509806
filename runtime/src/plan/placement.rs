//! Which inputs of a concat are written straight into its output.
//!
//! An input that lies in a slice of the concat's output needs no copy. It may lie there unless
//!
//! * it is the network's input, a concat's output itself, or lies in another concat already;
//! * it occurs more than once among the inputs;
//! * a step would then read and write the same buffer: one that writes this input reads a value that
//!   lies in the same concat, or the other way round. (Steps get their memory as disjoint slices.) A slice lies where
//!   its channels do, unless it lies in a concat itself.

use ylb_format::model::{Model, Operator, ValueId};

use super::Uses;

/// A value that is a slice of a concat's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The concat's output.
    pub concat: ValueId,
    /// Which input of the concat it is.
    pub input: usize,
}

/// The placement of each value that has one.
pub fn place(model: &Model, uses: &Uses) -> Vec<Option<Placement>> {
    let mut placements: Vec<Option<Placement>> = vec![None; model.values.len()];
    for node in &model.nodes {
        let Operator::Concat { inputs } = &node.operator else {
            continue;
        };
        for (position, &input) in inputs.iter().enumerate() {
            let once = inputs.iter().filter(|&&other| other == input).count() == 1;
            let free = once && placements[input.index()].is_none();
            if free && may_lie_in(model, uses, &placements, input, node.output, inputs) {
                placements[input.index()] = Some(Placement { concat: node.output, input: position });
            }
        }
    }
    placements
}

fn may_lie_in(
    model: &Model,
    uses: &Uses,
    placements: &[Option<Placement>],
    input: ValueId,
    concat: ValueId,
    parts: &[ValueId],
) -> bool {
    let Some(producer) = uses.producer(model, input) else {
        return false;
    };
    if matches!(producer.operator, Operator::Concat { .. }) {
        return false;
    }
    // A slice without a place of its own lies where the whole does.
    let lies_there = |value: ValueId| {
        let mut wholes = uses.wholes(model, value);
        wholes.any(|value| placements[value.index()].is_some_and(|place| place.concat == concat))
    };
    let is_part_of_it = |value: ValueId| uses.wholes(model, value).any(|whole| whole == input);
    let reads_from_there = producer.operator.inputs().into_iter().any(lies_there);
    // Of the nodes that read it, those that write a part: there are few parts, but may be many readers.
    let reads_it = |part: ValueId| {
        let writer = uses.producer(model, part);
        writer.is_some_and(|node| node.operator.inputs().into_iter().any(is_part_of_it))
    };
    // What is copied into the concat is not read from there.
    let copied_from_there = parts.iter().any(|&part| part != input && is_part_of_it(part));
    let writes_to_there = parts.iter().any(|&part| lies_there(part) && reads_it(part));
    !reads_from_there && !writes_to_there && !copied_from_there
}
