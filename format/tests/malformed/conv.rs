//! Convolutions: groups, weights, accumulators, requantization.

use ylb_format::model::*;
use ylb_format::{NodeProblem, Violation, read, write};

use super::models::{self, cyclic, node, nodes, term, unsigned, value};
use super::refuse::{at, conv, refused, refused_in_memory, requantize, weights};

#[test]
fn groups_and_weight_shapes() {
    for (groups, channels) in [(0, 6), (4, 6), (3, 4), (u32::MAX, 6)] {
        refused(
            |model| conv(model, nodes::GROUPED).groups = groups,
            at(nodes::GROUPED, NodeProblem::Groups { groups, channels }),
        );
    }
    for actual in [[5, 8, 3, 3], [6, 7, 3, 3], [6, 8, 2, 3], [6, 8, 3, 1]] {
        refused(
            |model| {
                *weights(model, nodes::TWO_TERMS) = cyclic(actual, WeightEncoding::Unsigned, 2);
                // As many multipliers as such a file has.
                if actual[0] == 5 {
                    let Requantize::Scale { multipliers, bias, .. } = requantize(model, nodes::TWO_TERMS)
                    else {
                        panic!()
                    };
                    multipliers.truncate(10);
                    bias.truncate(5);
                }
            },
            at(nodes::TWO_TERMS, NodeProblem::WeightShape { term: 0, expected: [6, 8, 3, 3], actual }),
        );
    }
}

#[test]
fn planes_and_zero_points() {
    for bits in [0, 9] {
        refused(
            |model| {
                let weights = weights(model, nodes::STEM);
                weights.bits = bits;
                weights.planes.resize(usize::from(bits) * 14, 0);
            },
            at(nodes::STEM, NodeProblem::WeightBits { term: 0, bits }),
        );
    }
    refused_in_memory(
        |model| weights(model, nodes::STEM).planes.truncate(111),
        at(nodes::STEM, NodeProblem::PlanesLen { term: 0, len: 111, expected: 112 }),
    );
    // 108 weights: four bits of a plane's last byte stay 0.
    for plane in 0..8 {
        refused(
            |model| weights(model, nodes::STEM).planes[14 * usize::from(plane) + 13] |= 0x10,
            at(nodes::STEM, NodeProblem::PlaneTail { term: 0, plane }),
        );
    }
    refused_in_memory(
        |model| weights(model, nodes::TWO_TERMS).zero_points.truncate(5),
        at(nodes::TWO_TERMS, NodeProblem::ZeroPointsLen { term: 0, len: 5, channels: 6 }),
    );
    for zero_point in [256, -256, i16::MIN] {
        refused(
            |model| weights(model, nodes::TWO_TERMS).zero_points[5] = zero_point,
            at(nodes::TWO_TERMS, NodeProblem::WeightZeroPoint { term: 0, zero_point }),
        );
    }
}

/// A convolution of a single window: as many weights as an output channel can have.
fn deep(channels: u32, [height, width]: [u32; 2], zero_point: i16) -> Model {
    let mut model = models::tiny();
    model.values = vec![
        value("x", [3, height, width], unsigned(255)),
        value("wide", [3 * channels, height, width], unsigned(255)),
        value("y", [1, 1, 1], unsigned(255)),
    ];
    let shape = [1, 3 * channels, height, width];
    let codes = vec![255; (3 * channels * height * width) as usize];
    let weights = Weights::from_codes(shape, WeightEncoding::Unsigned, 8, &codes, vec![zero_point]);
    let window = Window { kernel: [height, width], stride: [1; 2], padding: [0; 4] };
    let requantize = Requantize::Scale { multipliers: vec![1], bias: vec![0], shift: 0 };
    let conv = Conv { terms: vec![term(1, weights)], window, groups: 1, requantize: Some(requantize) };
    model.nodes = vec![
        node("wide", 1, Operator::Concat { inputs: vec![ValueId(0); channels as usize] }),
        node("deep", 2, Operator::Conv(conv)),
    ];
    model
}

#[test]
fn depth_and_accumulators() {
    let deep_violation = |problem| Violation::Node { node: 1, name: "deep".to_owned(), problem };
    // 48 channels of 16 · 43: 33 024 weights of 255, times 255.
    let accepted = deep(16, [16, 43], 0);
    assert_eq!(read(&write(&accepted).unwrap()).unwrap(), accepted);
    let problem = NodeProblem::Depth { term: 0, depth: 36_864, limit: 33_025 };
    assert_eq!(ylb_format::validate(&deep(3, [64, 64], 0)), Err(deep_violation(problem)));

    // 24 576 weights of 255 + 255, times 255.
    let magnitude = 24_576 * 510 * 255;
    let problem = NodeProblem::AccumulatorRange { term: 0, channel: 0, magnitude };
    assert_eq!(ylb_format::validate(&deep(2, [64, 64], -255)), Err(deep_violation(problem)));
}

#[test]
fn scales() {
    refused_in_memory(
        |model| {
            let Requantize::Scale { multipliers, .. } = requantize(model, nodes::TWO_TERMS) else { panic!() };
            multipliers.pop();
        },
        at(nodes::TWO_TERMS, NodeProblem::MultipliersLen { len: 11, terms: 2, channels: 6 }),
    );
    refused_in_memory(
        |model| {
            let Requantize::Scale { bias, .. } = requantize(model, nodes::STEM) else { panic!() };
            bias.push(0);
        },
        at(nodes::STEM, NodeProblem::BiasLen { len: 5, channels: 4 }),
    );
    refused(
        |model| {
            let Requantize::Scale { shift, .. } = requantize(model, nodes::STEM) else { panic!() };
            *shift = 63;
        },
        at(nodes::STEM, NodeProblem::Shift { shift: 63, limit: 62 }),
    );
}

/// The largest bias that the accumulators of a channel leave room for, and one more.
#[test]
fn scaled_ranges() {
    for index in [nodes::STEM, nodes::TWO_TERMS, nodes::ADD] {
        let mut model = models::detector();
        let bounds: Vec<i64> = match &model.nodes[index].operator {
            Operator::Conv(conv) => conv
                .terms
                .iter()
                .map(|term| {
                    let input = model.values[term.input.0 as usize].encoding().unwrap();
                    let integer = (0..=input.max_level).map(|level| input.integer(level).abs()).max();
                    let per_channel = term.weights.len() / term.weights.shape[0] as usize;
                    let sum: i32 = (0..per_channel).map(|index| term.weights.value(index).abs()).sum();
                    i64::from(sum * integer.unwrap())
                })
                .collect(),
            // Levels 0..=15 of code −8 and zero point −3; bipolar ones.
            _ => vec![10, 1],
        };
        let (multipliers, bias) = match requantize(&mut model, index) {
            Requantize::Scale { multipliers, bias, .. }
            | Requantize::ScaledStaircase { multipliers, bias, .. } => (multipliers, bias),
            other => panic!("{other:?}"),
        };
        let channels = bias.len();
        let terms = bounds.iter().enumerate();
        let reach: i64 =
            terms.map(|(term, bound)| bound * i64::from(multipliers[term * channels].unsigned_abs())).sum();
        assert!(reach > 0);
        bias[0] = i64::MAX - reach;
        assert_eq!(read(&write(&model).unwrap()).unwrap(), model);

        let problem = NodeProblem::ScaledRange { channel: 0 };
        for beyond in [i64::MAX - reach + 1, i64::MIN, i64::MIN + reach] {
            refused(
                |model| match requantize(model, index) {
                    Requantize::Scale { bias, .. } | Requantize::ScaledStaircase { bias, .. } => {
                        bias[0] = beyond;
                    }
                    other => panic!("{other:?}"),
                },
                at(index, problem.clone()),
            );
        }
    }
}

#[test]
fn staircases() {
    let flat = || Requantize::Staircase { thresholds: vec![vec![]; 6], levels: vec![vec![0]; 6] };
    refused(
        |model| *requantize(model, nodes::TWO_TERMS) = flat(),
        at(nodes::TWO_TERMS, NodeProblem::StaircaseTerms { terms: 2 }),
    );
    refused(
        |model| {
            let (thresholds, levels) = (vec![vec![]], vec![vec![0]]);
            *requantize(model, nodes::ADD) = Requantize::Staircase { thresholds, levels };
        },
        at(nodes::ADD, NodeProblem::StaircaseTerms { terms: 2 }),
    );
    let grouped = |change: fn(&mut Vec<Vec<i32>>, &mut Vec<Vec<u8>>)| {
        move |model: &mut Model| match requantize(model, nodes::GROUPED) {
            Requantize::Staircase { thresholds, levels } => change(thresholds, levels),
            other => panic!("{other:?}"),
        }
    };
    refused_in_memory(
        grouped(|thresholds, _| drop(thresholds.pop())),
        at(nodes::GROUPED, NodeProblem::StaircaseLists { thresholds: 5, levels: 6, channels: 6 }),
    );
    refused_in_memory(
        grouped(|_, levels| levels.push(vec![0])),
        at(nodes::GROUPED, NodeProblem::StaircaseLists { thresholds: 6, levels: 7, channels: 6 }),
    );
    refused_in_memory(
        grouped(|thresholds, levels| {
            thresholds[1] = (0..4097).collect();
            levels[1] = vec![0; 4098];
        }),
        at(nodes::GROUPED, NodeProblem::ThresholdCount { count: 4097, limit: 4096 }),
    );
    refused_in_memory(
        grouped(|_, levels| levels[1].push(0)),
        at(nodes::GROUPED, NodeProblem::StaircaseLevels { thresholds: 1, levels: 3 }),
    );
    for second in [-2, -3] {
        refused(
            |model| match requantize(model, nodes::GROUPED) {
                Requantize::Staircase { thresholds, .. } => thresholds[4] = vec![-2, second],
                other => panic!("{other:?}"),
            },
            at(nodes::GROUPED, NodeProblem::ThresholdOrder { channel: 4, index: 1 }),
        );
    }
    refused(
        grouped(|_, levels| levels[0] = vec![2]),
        at(nodes::GROUPED, NodeProblem::LevelTooLarge { level: 2, max_level: 1 }),
    );
    let sum = |change: fn(&mut Vec<i64>, &mut Vec<u8>)| {
        move |model: &mut Model| match requantize(model, nodes::ADD) {
            Requantize::ScaledStaircase { thresholds, levels, .. } => change(thresholds, levels),
            other => panic!("{other:?}"),
        }
    };
    refused(
        sum(|thresholds, _| thresholds[1] = 0),
        at(nodes::ADD, NodeProblem::ThresholdOrder { channel: 0, index: 2 }),
    );
    refused(
        sum(|_, levels| levels[4] = 8),
        at(nodes::ADD, NodeProblem::LevelTooLarge { level: 8, max_level: 7 }),
    );
}
