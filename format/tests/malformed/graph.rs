//! Nodes: order, shapes, operators, windows.

use ylb_format::model::*;
use ylb_format::{NodeProblem, Violation, read, write};

use super::models::{self, cyclic, node, nodes, square, term, unsigned};
use super::refuse::{at, conv, encoding, inputs, pool, refused, refused_in_memory, requantize};

#[test]
fn order() {
    let pool_reads = |value| move |model: &mut Model| *pool(model).0 = ValueId(value);
    let pool_writes = |value| move |model: &mut Model| model.nodes[nodes::POOL].output = ValueId(value);
    refused(pool_reads(11), at(nodes::POOL, NodeProblem::UnknownValue { value: 11, values: 11 }));
    refused(
        pool_writes(u32::MAX),
        at(nodes::POOL, NodeProblem::UnknownValue { value: u32::MAX, values: 11 }),
    );
    // A later node's output, and its own.
    for value in [5, 2] {
        refused(pool_reads(value), at(nodes::POOL, NodeProblem::ReadTooEarly { value }));
    }
    for value in [0, 1] {
        refused(pool_writes(value), at(nodes::POOL, NodeProblem::WrittenTwice { value }));
    }
}

#[test]
fn input_counts() {
    let count = |count, min, max| NodeProblem::InputCount { count, min, max };
    refused(|model| inputs(model, nodes::CONCAT).clear(), at(nodes::CONCAT, count(0, 1, 16)));
    refused_in_memory(
        |model| inputs(model, nodes::CONCAT).resize(17, ValueId(1)),
        at(nodes::CONCAT, count(17, 1, 16)),
    );
    refused(
        |model| {
            inputs(model, nodes::ADD).pop();
            let Requantize::ScaledStaircase { multipliers, .. } = requantize(model, nodes::ADD) else {
                panic!()
            };
            multipliers.pop();
        },
        at(nodes::ADD, count(1, 2, 4)),
    );
    refused_in_memory(
        |model| inputs(model, nodes::ADD).resize(5, ValueId(4)),
        at(nodes::ADD, count(5, 2, 4)),
    );
    refused(|model| conv(model, nodes::HEAD).terms.clear(), at(nodes::HEAD, count(0, 1, 64)));
    refused_in_memory(
        |model| {
            let conv = conv(model, nodes::HEAD);
            conv.terms = vec![conv.terms[0].clone(); 65];
        },
        at(nodes::HEAD, count(65, 1, 64)),
    );
}

#[test]
fn levels_and_accumulators() {
    refused(
        |model| conv(model, 9).terms[0].input = ValueId(9),
        at(9, NodeProblem::InputIsAccumulators { value: 9 }),
    );
    // Sums of several terms may be accumulators, which nothing but the head reads.
    refused(
        |model| model.values[4].kind = ValueKind::Accumulators,
        at(nodes::ADD, NodeProblem::InputIsAccumulators { value: 4 }),
    );
    for index in (nodes::STEM..nodes::HEAD).filter(|&index| index != nodes::TWO_TERMS) {
        refused(
            |model| model.values[index + 1].kind = ValueKind::Accumulators,
            at(index, NodeProblem::OutputIsAccumulators),
        );
    }
    refused(
        |model| model.values[9].kind = ValueKind::Levels(unsigned(3)),
        at(nodes::HEAD, NodeProblem::OutputIsLevels),
    );
    refused(
        |model| {
            let conv = conv(model, nodes::HEAD);
            conv.terms.push(conv.terms[0].clone());
        },
        at(nodes::HEAD, NodeProblem::SeveralAccumulators { terms: 2 }),
    );
}

#[test]
fn shapes() {
    let input = |input, expected, actual| NodeProblem::InputShape { input, expected, actual };
    refused(
        |model| inputs(model, nodes::CONCAT)[1] = ValueId(0),
        at(nodes::CONCAT, input(1, [3, 4, 4], [3, 8, 8])),
    );
    refused(
        |model| inputs(model, nodes::ADD)[1] = ValueId(1),
        at(nodes::ADD, input(1, [6, 4, 4], [4, 4, 4])),
    );
    refused(
        |model| {
            let weights = cyclic([6, 3, 3, 3], WeightEncoding::TwosComplement, 2);
            conv(model, nodes::TWO_TERMS).terms[1] = term(0, weights);
        },
        at(nodes::TWO_TERMS, input(1, [3, 4, 4], [3, 8, 8])),
    );
    let outputs = [
        (nodes::STEM, [4, 4, 4]),
        (nodes::POOL, [4, 4, 4]),
        (nodes::CONCAT, [8, 4, 4]),
        (nodes::MAP, [6, 4, 4]),
        (nodes::UPSAMPLE, [6, 8, 8]),
        (nodes::HEAD, [14, 8, 8]),
    ];
    for (index, expected) in outputs {
        let [channels, height, width] = expected;
        let actual = [channels, height, width + 1];
        // A concatenation takes its parts' height and width from the output.
        let problem = match index {
            nodes::CONCAT => input(0, [4, 4, 5], [4, 4, 4]),
            _ => NodeProblem::OutputShape { expected, actual },
        };
        refused(|model| model.values[index + 1].width += 1, at(index, problem));
    }
    refused(
        |model| model.values[3].channels = 9,
        at(nodes::CONCAT, NodeProblem::OutputShape { expected: [8, 4, 4], actual: [9, 4, 4] }),
    );
}

/// The sum becomes a product of the same values.
fn product(model: &mut Model) -> (&mut [ValueId; 2], &mut Requantize) {
    let requantize = Requantize::Scale { multipliers: vec![1 << 20], bias: vec![-5], shift: 24 };
    let operator = &mut model.nodes[nodes::ADD].operator;
    *operator = Operator::Mul { inputs: [ValueId(4), ValueId(5)], requantize };
    let Operator::Mul { inputs, requantize } = operator else { unreachable!() };
    (inputs, requantize)
}

#[test]
fn products() {
    let mut model = models::detector();
    product(&mut model);
    assert_eq!(ylb_format::validate(&model), Ok(()));
    let input = |input, actual| NodeProblem::InputShape { input, expected: [6, 4, 4], actual };
    for factor in [0, 1] {
        refused(|model| product(model).0[factor] = ValueId(1), at(nodes::ADD, input(factor, [4, 4, 4])));
    }
    refused_in_memory(
        |model| {
            let Requantize::Scale { multipliers, .. } = product(model).1 else { panic!() };
            multipliers.push(1);
        },
        at(nodes::ADD, NodeProblem::MultipliersLen { len: 2, terms: 1, channels: 1 }),
    );
    refused(
        |model| {
            let Requantize::Scale { bias, .. } = product(model).1 else { panic!() };
            bias[0] = i64::MAX;
        },
        at(nodes::ADD, NodeProblem::ScaledRange { channel: 0 }),
    );
}

/// A gate has one pixel, and comes second.
#[test]
fn gates() {
    let gated = |pooled: u32, inputs: [u32; 2]| {
        let mut model = models::detector();
        model.values.truncate(1);
        model.outputs.clear();
        model.detect = Detect::default();
        model.metadata.class_names.clear();
        let input = model.values[0].clone();
        let [channels, height, width] = input.shape();
        let gate = Value {
            name: "gate".to_owned(),
            height: height / pooled,
            width: width / pooled,
            ..input.clone()
        };
        model.values.extend([gate, Value { name: "product".to_owned(), ..input }]);
        let requantize = Requantize::Scale { multipliers: vec![1], bias: vec![0], shift: 8 };
        let inputs = inputs.map(ValueId);
        model.nodes = vec![
            node("pool", 1, Operator::MaxPool { input: ValueId(0), window: square(pooled, pooled, 0) }),
            node("mul", 2, Operator::Mul { inputs, requantize }),
        ];
        assert_eq!([channels, height, width], [3, 8, 8]);
        ylb_format::validate(&model)
    };
    assert_eq!(gated(8, [0, 1]), Ok(()));
    let wrong = |input, actual| {
        let problem = NodeProblem::InputShape { input, expected: [3, 8, 8], actual };
        Err(Violation::Node { node: 1, name: "mul".to_owned(), problem })
    };
    assert_eq!(gated(8, [1, 0]), wrong(0, [3, 1, 1]));
    assert_eq!(gated(4, [0, 1]), wrong(1, [3, 2, 2]));
}

#[test]
fn encodings() {
    for (index, value) in [(nodes::POOL, 2), (nodes::CONCAT, 3), (nodes::UPSAMPLE, 8)] {
        let changes: [fn(&mut Encoding); 4] = [
            |encoding| encoding.max_level = 31,
            |encoding| encoding.step = 2,
            |encoding| encoding.low = 1,
            |encoding| encoding.zero_point = 1,
        ];
        for change in changes {
            let problem = NodeProblem::Encoding { input: 0 };
            refused(|model| change(encoding(model, value)), at(index, problem));
        }
    }
}

/// Several terms of a head are scaled, summed and shifted, which must fit 32 bits.
#[test]
fn sums_that_are_accumulators() {
    let several = |model: &mut Model, requantize: Requantize| {
        let Operator::Conv(conv) = &mut model.nodes[nodes::HEAD].operator else { panic!() };
        conv.terms.push(conv.terms[0].clone());
        conv.requantize = Some(requantize);
    };
    let scale = |multiplier: i32, shift: u8| Requantize::Scale {
        multipliers: vec![multiplier; 28],
        bias: vec![1; 14],
        shift,
    };
    let mut model = models::detector();
    several(&mut model, scale(-(1 << 30), 20));
    assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
    refused(|model| several(model, scale(1 << 30, 1)), at(nodes::HEAD, NodeProblem::SumRange { channel: 0 }));
    let problem = NodeProblem::MultipliersLen { len: 14, terms: 2, channels: 14 };
    let short = Requantize::Scale { multipliers: vec![1; 14], bias: vec![1; 14], shift: 8 };
    refused_in_memory(|model| several(model, short), at(nodes::HEAD, problem));
    let staircase = Requantize::ScaledStaircase {
        multipliers: vec![1; 28],
        bias: vec![1; 14],
        thresholds: vec![0],
        levels: vec![0, 1],
    };
    refused(|model| several(model, staircase), at(nodes::HEAD, NodeProblem::OutputIsAccumulators));
}

/// Four values of 4 by 4 are one of 8 by 8.
#[test]
fn interleaved_values() {
    let interleave = |model: &mut Model, inputs: Vec<ValueId>| {
        model.nodes[nodes::UPSAMPLE].operator = Operator::Interleave { inputs };
    };
    let mut model = models::detector();
    interleave(&mut model, vec![ValueId(7); 4]);
    assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
    for count in [0, 1, 3, 5, 15] {
        let problem = NodeProblem::InterleaveCount { count };
        refused_in_memory(|model| interleave(model, vec![ValueId(7); count]), at(nodes::UPSAMPLE, problem));
    }
    let problem = NodeProblem::OutputShape { expected: [6, 12, 12], actual: [6, 8, 8] };
    refused(|model| interleave(model, vec![ValueId(7); 9]), at(nodes::UPSAMPLE, problem));
    let problem = NodeProblem::InputShape { input: 1, expected: [6, 4, 4], actual: [3, 8, 8] };
    refused(
        |model| interleave(model, vec![ValueId(7), ValueId(0), ValueId(7), ValueId(7)]),
        at(nodes::UPSAMPLE, problem),
    );
    let problem = NodeProblem::Encoding { input: 2 };
    refused(
        |model| interleave(model, vec![ValueId(7), ValueId(7), ValueId(6), ValueId(7)]),
        at(nodes::UPSAMPLE, problem),
    );
}

#[test]
fn tables_and_factors() {
    for len in [0, 7, 9] {
        refused(
            |model| {
                let Operator::Map { table, .. } = &mut model.nodes[nodes::MAP].operator else { panic!() };
                table.resize(len, 0);
            },
            at(nodes::MAP, NodeProblem::TableLen { len, levels: 8 }),
        );
    }
    refused(
        |model| {
            let Operator::Map { table, .. } = &mut model.nodes[nodes::MAP].operator else { panic!() };
            table[7] = 16;
        },
        at(nodes::MAP, NodeProblem::LevelTooLarge { level: 16, max_level: 15 }),
    );
    for wrong in [0, 1, 9, u32::MAX] {
        refused(
            |model| {
                let operator = &mut model.nodes[nodes::UPSAMPLE].operator;
                let Operator::Upsample { factor, .. } = operator else { panic!() };
                *factor = wrong;
            },
            at(nodes::UPSAMPLE, NodeProblem::UpsampleFactor { factor: wrong, limit: 8 }),
        );
    }
}

#[test]
fn windows() {
    let windows = [([0, 3], [1, 1]), ([3, 257], [1, 1]), ([3, 3], [0, 1]), ([3, 3], [1, u32::MAX])];
    for (kernel, stride) in windows {
        refused(
            |model| *pool(model).1 = Window { kernel, stride, ..square(3, 1, 1) },
            at(nodes::POOL, NodeProblem::Window { kernel, stride, limit: 256 }),
        );
    }
    let kernel = [3, 2];
    for padding in [[3, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2], [u32::MAX; 4]] {
        refused(
            |model| *pool(model).1 = Window { kernel, stride: [1, 1], padding },
            at(nodes::POOL, NodeProblem::Padding { padding, kernel }),
        );
    }
    for kernel in [[7, 3], [3, 7]] {
        refused(
            |model| *pool(model).1 = Window { kernel, ..square(3, 1, 1) },
            at(nodes::POOL, NodeProblem::WindowExceedsInput { kernel, padded: [6, 6] }),
        );
    }
}
