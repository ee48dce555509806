//! What is written is read back, and the writer writes what the specification says.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use ylb_format::model::{Operator, Weights};
use ylb_format::{SectionKind, read, sections, validate, write};

#[path = "support/encoder.rs"]
#[allow(dead_code)]
mod encoder;
#[path = "support/generate.rs"]
mod generate;
#[path = "support/models.rs"]
#[allow(dead_code)]
mod models;

proptest! {
    #[test]
    fn generated_models(model in generate::model()) {
        prop_assert_eq!(validate(&model), Ok(()));
        let bytes = write(&model).unwrap();
        prop_assert_eq!(&read(&bytes).unwrap(), &model);
        prop_assert!(bytes == encoder::encode(&model), "the second writer disagrees");
    }

    #[test]
    fn bulk_decoding(model in generate::model()) {
        for weights in weights(&model) {
            check_bulk(weights);
        }
    }
}

/// The generator makes what the tests above are for.
#[test]
fn every_operator_is_generated() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let model = generate::model().new_tree(&mut runner).unwrap().current();
        for node in &model.nodes {
            let debug = format!("{:?}", node.operator);
            seen.insert(debug.split(['(', ' ']).next().unwrap().to_owned());
            let requantize = ["(Scale {", "(Staircase {", "(ScaledStaircase {", " None"];
            let found = requantize.into_iter().filter(|name| debug.contains(name));
            seen.extend(found.map(str::to_owned));
        }
    }
    assert_eq!(seen.len(), 20, "{seen:?}");
}

fn weights(model: &ylb_format::model::Model) -> impl Iterator<Item = &Weights> {
    let convs = model.nodes.iter().filter_map(|node| match &node.operator {
        Operator::Conv(conv) => Some(conv),
        _ => None,
    });
    convs.flat_map(|conv| conv.terms.iter().map(|term| &term.weights))
}

/// `decode` and `channel_sums` against `value`.
fn check_bulk(weights: &Weights) {
    let values: Vec<i32> = (0..weights.len()).map(|index| weights.value(index)).collect();
    let decoded: Vec<i32> = weights.decode().into_iter().map(i32::from).collect();
    assert_eq!(decoded, values);

    let per_channel = values.len() / weights.shape[0] as usize;
    let sums = weights.channel_sums();
    assert_eq!(sums.len(), weights.shape[0] as usize);
    for (sum, values) in sums.iter().zip(values.chunks(per_channel)) {
        let positive: i64 = values.iter().map(|&value| i64::from(value.max(0))).sum();
        let negative: i64 = values.iter().map(|&value| i64::from(value.min(0))).sum();
        assert_eq!((sum.positive(), sum.negative()), (positive, negative));
        assert_eq!((sum.sum, sum.magnitude), (positive + negative, positive - negative));
    }
}

#[test]
fn models_with_everything() {
    for model in [models::tiny(), models::detector()] {
        let bytes = write(&model).unwrap();
        assert_eq!(read(&bytes).unwrap(), model);
        assert_eq!(bytes, encoder::encode(&model));
    }
}

/// Blocks of 4096 weights, and channels that begin and end inside them.
#[test]
fn bulk_decoding_of_many_blocks() {
    use ylb_format::model::WeightEncoding::{Bipolar, TwosComplement, Unsigned};
    for shape in [[1, 4096, 1, 1], [3, 455, 3, 3], [5000, 1, 1, 1], [2, 4097, 1, 1], [17, 241, 1, 1]] {
        for (encoding, bits) in [(Unsigned, 8), (TwosComplement, 3), (Bipolar, 1), (Bipolar, 8)] {
            let mut weights = models::cyclic(shape, encoding, bits);
            check_bulk(&weights);
            weights.zero_points = (0..shape[0]).map(|channel| (channel % 511) as i16 - 255).collect();
            check_bulk(&weights);
        }
    }
}

/// The range of an accumulator against all inputs of a convolution of two weights.
#[test]
fn accumulator_ranges() {
    let encoding = models::unsigned(3);
    for (low, zero_point) in [(0, 0), (-1, 0), (5, 1), (-9, 1)] {
        let encoding = ylb_format::model::Encoding { low, zero_point, ..encoding };
        let integers: Vec<i64> = (0..=3).map(|level| i64::from(encoding.integer(level))).chain([0]).collect();
        for padded in [false, true] {
            // The last integer is the padding's 0.
            let integers = if padded { &integers[..] } else { &integers[..4] };
            let weights = models::cyclic([4, 2, 1, 1], ylb_format::model::WeightEncoding::TwosComplement, 3);
            let values: Vec<i64> = weights.decode().into_iter().map(i64::from).collect();
            for (sum, pair) in weights.channel_sums().iter().zip(values.chunks(2)) {
                let all = integers
                    .iter()
                    .flat_map(|first| integers.iter().map(move |second| (first, second)))
                    .map(|(first, second)| pair[0] * first + pair[1] * second);
                let expected = all.clone().min().unwrap()..=all.max().unwrap();
                assert_eq!(sum.accumulators(&encoding, padded), expected);
            }
        }
    }
}

#[test]
fn sections_are_listed() {
    let bytes = write(&models::detector()).unwrap();
    let sections = sections(&bytes).unwrap();
    let kinds: Vec<SectionKind> = sections.iter().map(|section| section.kind).collect();
    assert_eq!(kinds, [SectionKind::METADATA, SectionKind::GRAPH, SectionKind::QUANT, SectionKind::WEIGHTS]);
    for section in &sections {
        assert_eq!(section.offset % 64, 0);
        let bytes = &bytes[section.offset as usize..][..section.len as usize];
        assert_eq!(section.crc32, encoder::crc32(bytes));
    }
    assert_eq!(encoder::crc32(b"123456789"), 0xcbf4_3926, "the published check value");
}
