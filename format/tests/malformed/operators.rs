//! Slices, maxima over channels, paddings, sums of tables, gates along one axis.

use ylb_format::model::*;
use ylb_format::{NodeProblem, ReadError, SectionKind, Violation, limits};

use super::models::{node, unsigned, value};
use super::{assert_error, encoder, models};

/// A picture of 3×8×8, and an operator that makes a value of it.
fn made(shape: [u32; 3], operator: Operator) -> Model {
    with_input(unsigned(255), shape, operator)
}

fn with_input(encoding: Encoding, shape: [u32; 3], operator: Operator) -> Model {
    let mut model = models::detector();
    model.values = vec![value("image", [3, 8, 8], encoding), value("made", shape, encoding)];
    model.nodes = vec![node("own", 1, operator)];
    model.outputs.clear();
    model.detect = Detect::default();
    model.metadata.class_names.clear();
    model
}

fn problem(model: &Model) -> Option<NodeProblem> {
    match ylb_format::validate(model) {
        Ok(()) => None,
        Err(Violation::Node { problem, .. }) => Some(problem),
        Err(other) => panic!("{other}"),
    }
}

const IMAGE: ValueId = ValueId(0);

#[test]
fn slices_stay_within_their_input() {
    let slice = |first, shape| problem(&made(shape, Operator::Slice { input: IMAGE, first }));
    assert_eq!(slice(0, [3, 8, 8]), None);
    assert_eq!(slice(2, [1, 8, 8]), None);
    for (first, count) in [(2, 2), (3, 1), (u32::MAX, 1)] {
        let beyond = NodeProblem::SliceRange { first, count, channels: 3 };
        assert_eq!(slice(first, [count, 8, 8]), Some(beyond));
    }
    let expected = NodeProblem::OutputShape { expected: [2, 8, 8], actual: [2, 8, 7] };
    assert_eq!(slice(1, [2, 8, 7]), Some(expected));
}

#[test]
fn maxima_over_channels_have_one_channel() {
    let max = |shape| problem(&made(shape, Operator::ChannelMax { input: IMAGE }));
    assert_eq!(max([1, 8, 8]), None);
    for actual in [[3, 8, 8], [1, 8, 1]] {
        let expected = [1, 8, 8];
        let actual_wide = actual.map(u64::from);
        assert_eq!(max(actual), Some(NodeProblem::OutputShape { expected, actual: actual_wide }));
    }
}

#[test]
fn paddings_need_a_zero() {
    let pad = |encoding, shape, padding| {
        problem(&with_input(encoding, shape, Operator::Pad { input: IMAGE, padding }))
    };
    assert_eq!(pad(unsigned(255), [3, 10, 13], [1, 2, 1, 3]), None);
    let expected = NodeProblem::OutputShape { expected: [3, 9, 8], actual: [3, 8, 8] };
    assert_eq!(pad(unsigned(255), [3, 8, 8], [0, 0, 1, 0]), Some(expected));
    let from_1_on = Encoding { low: 1, ..unsigned(255) };
    assert_eq!(pad(from_1_on, [3, 8, 8], [0; 4]), Some(NodeProblem::NoZero));
}

#[test]
fn what_hands_levels_on_keeps_the_encoding() {
    let operators = [
        ([3, 8, 8], Operator::Slice { input: IMAGE, first: 0 }),
        ([1, 8, 8], Operator::ChannelMax { input: IMAGE }),
        ([3, 8, 8], Operator::Pad { input: IMAGE, padding: [0; 4] }),
    ];
    for (shape, operator) in operators {
        let mut model = made(shape, operator);
        model.values[1] = value("made", shape, unsigned(127));
        assert_eq!(problem(&model), Some(NodeProblem::Encoding { input: 0 }));
    }
}

fn sum(tables: Vec<Vec<i32>>) -> Model {
    let requantize = Requantize::Scale { multipliers: vec![1], bias: vec![0], shift: 8 };
    made([3, 8, 8], Operator::AddTables { inputs: vec![IMAGE; 2], tables, requantize })
}

#[test]
fn tables_have_an_entry_a_level_and_fit_32_bits() {
    assert_eq!(problem(&sum(vec![vec![1 << 29; 256], vec![-1 << 29; 256]])), None);
    let len = |len| NodeProblem::TableLen { len, levels: 256 };
    assert_eq!(problem(&sum(vec![vec![0; 256], vec![0; 255]])), Some(len(255)));
    let count = NodeProblem::InputCount { count: 3, min: 2, max: 2 };
    assert_eq!(problem(&sum(vec![vec![0; 256]; 3])), Some(count));
    let magnitude = 1 << 31;
    let range = NodeProblem::AccumulatorRange { term: 0, channel: 0, magnitude };
    assert_eq!(problem(&sum(vec![vec![1 << 30; 256], vec![-1 << 30; 256]])), Some(range));
    let mut model = sum(vec![vec![0; 256]; 2]);
    let Operator::AddTables { inputs, tables, .. } = &mut model.nodes[0].operator else { panic!() };
    inputs.pop();
    tables.pop();
    let count = NodeProblem::InputCount { count: 1, min: 2, max: limits::MAX_ADDENDS };
    assert_eq!(problem(&model), Some(count));
}

#[test]
fn long_tables_of_addends_are_not_read() {
    let file = encoder::sections(&sum(vec![vec![0; 256], vec![0; 257]])).file();
    let section = SectionKind::QUANT;
    let what = "addends of a table";
    assert_error(&file, ReadError::Count { section, what, count: 257, limit: 256 });
}

/// Each extent of a gate is that of what it is multiplied with, or 1.
#[test]
fn gates_along_any_axes() {
    let gated = |shape: [u32; 3], gate: Operator| {
        let mut model = made(shape, gate);
        model.values.push(value("product", [3, 8, 8], unsigned(255)));
        let requantize = Requantize::Scale { multipliers: vec![1], bias: vec![0], shift: 8 };
        model.nodes.push(node("mul", 2, Operator::Mul { inputs: [IMAGE, ValueId(1)], requantize }));
        problem(&model)
    };
    let pool = |kernel| {
        let window = Window { kernel, stride: [1; 2], padding: [0; 4] };
        Operator::MaxPool { input: IMAGE, window }
    };
    assert_eq!(gated([1, 8, 8], Operator::ChannelMax { input: IMAGE }), None);
    assert_eq!(gated([3, 1, 8], pool([8, 1])), None);
    assert_eq!(gated([3, 8, 1], pool([1, 8])), None);
    assert_eq!(gated([3, 1, 1], pool([8, 8])), None);
    let wrong = |actual| Some(NodeProblem::InputShape { input: 1, expected: [3, 8, 8], actual });
    assert_eq!(gated([3, 5, 8], pool([4, 1])), wrong([3, 5, 8]));
    assert_eq!(gated([2, 8, 8], Operator::Slice { input: IMAGE, first: 1 }), wrong([2, 8, 8]));
}

/// The product of the image and itself, or of it and of 64 channels of it.
fn product(groups: u32, along: Along, channels: u32) -> Option<NodeProblem> {
    product_by_area([groups, 1], along, channels)
}

fn product_by_area([groups, areas]: [u32; 2], along: Along, channels: u32) -> Option<NodeProblem> {
    let requantize = Requantize::Scale { multipliers: vec![1], bias: vec![0], shift: 24 };
    let operator = Operator::MatMul { inputs: [IMAGE; 2], groups, areas, along, requantize };
    problem(&made([channels, 8, 8], operator))
}

#[test]
fn products_of_matrices_fit_together() {
    assert_eq!(product(1, Along::Channels, 64), None);
    assert_eq!(product(3, Along::Channels, 192), None);
    let expected = [64, 8, 8];
    let wrong = NodeProblem::OutputShape { expected, actual: [3, 8, 8] };
    assert_eq!(product(1, Along::Channels, 3), Some(wrong));
    assert_eq!(product(1, Along::Positions, 3), Some(NodeProblem::Summed { summed: 3, weights: 64 }));
    for groups in [0, 2] {
        assert_eq!(product(groups, Along::Channels, 64), Some(NodeProblem::Groups { groups, channels: 3 }));
    }
    assert_eq!(product_by_area([1, 4], Along::Channels, 16), None);
    assert_eq!(product_by_area([3, 32], Along::Channels, 6), None);
    for areas in [0, 3] {
        let wrong = NodeProblem::Areas { areas, positions: [64; 2] };
        assert_eq!(product_by_area([1, areas], Along::Channels, 16), Some(wrong));
    }
}

#[test]
fn shares_have_exponentials_and_levels() {
    let softmax = |groups, exponentials: Vec<u64>, thresholds: &[u64], levels: &[u8]| {
        let (thresholds, levels) = (thresholds.to_vec(), levels.to_vec());
        problem(&made(
            [3, 8, 8],
            Operator::Softmax { input: IMAGE, groups, exponentials, thresholds, levels },
        ))
    };
    let table = || vec![1 << 46; 256];
    assert_eq!(softmax(3, table(), &[1, 1 << 47], &[0, 7, 255]), None);
    assert_eq!(softmax(2, table(), &[], &[0]), Some(NodeProblem::Groups { groups: 2, channels: 3 }));
    assert_eq!(softmax(1, vec![1; 255], &[], &[0]), Some(NodeProblem::TableLen { len: 255, levels: 256 }));
    for (index, exponential) in [(0, 0), (0, 1 << 47), (9, u64::MAX)] {
        let mut exponentials = table();
        exponentials[index] = exponential;
        let wrong = NodeProblem::Exponential { index, exponential };
        assert_eq!(softmax(1, exponentials, &[], &[0]), Some(wrong));
    }
    let order = NodeProblem::ThresholdOrder { channel: 0, index: 1 };
    assert_eq!(softmax(1, table(), &[5, 5], &[0, 1, 2]), Some(order));
    let count = NodeProblem::StaircaseLevels { thresholds: 1, levels: 1 };
    assert_eq!(softmax(1, table(), &[5], &[0]), Some(count));
}

#[test]
fn unknown_axes_and_long_softmaxes_are_not_read() {
    let operator = Operator::Softmax {
        input: IMAGE,
        groups: 1,
        exponentials: vec![1; 257],
        thresholds: Vec::new(),
        levels: vec![0],
    };
    let file = encoder::sections(&made([3, 8, 8], operator)).file();
    let (section, what) = (SectionKind::QUANT, "exponentials of a softmax");
    assert_error(&file, ReadError::Count { section, what, count: 257, limit: 256 });
}

#[test]
fn tables_of_pairs_have_an_entry_a_pair() {
    let pairs = |len: usize, level: u8| {
        let mut table = vec![0; len];
        table[0] = level;
        let mut model = made([3, 8, 8], Operator::PairMap { inputs: [IMAGE; 2], table });
        model.values[1] = value("made", [3, 8, 8], unsigned(7));
        problem(&model)
    };
    assert_eq!(pairs(1 << 16, 7), None);
    assert_eq!(pairs(255, 0), Some(NodeProblem::TableLen { len: 255, levels: 1 << 16 }));
    assert_eq!(pairs(1 << 16, 8), Some(NodeProblem::LevelTooLarge { level: 8, max_level: 7 }));
    let table = vec![0; (1 << 16) + 1];
    let file = encoder::sections(&made([3, 8, 8], Operator::PairMap { inputs: [IMAGE; 2], table })).file();
    let (section, what) = (SectionKind::QUANT, "levels of a look-up table of pairs");
    assert_error(&file, ReadError::Count { section, what, count: (1 << 16) + 1, limit: 1 << 16 });
}
