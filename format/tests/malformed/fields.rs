//! Fields of sections: lengths, counts, codes, texts.

use ylb_format::model::{Model, Operator, Output, OutputKind, Requantize, ValueId};
use ylb_format::{ReadError, SectionKind};

use super::assert_error;
use super::encoder::{self, Sections};
use super::models::{self, nodes};

const KINDS: [SectionKind; 4] =
    [SectionKind::METADATA, SectionKind::GRAPH, SectionKind::QUANT, SectionKind::WEIGHTS];

fn sections() -> Sections {
    encoder::sections(&models::detector())
}

/// The file of sections of which one has been changed.
fn changed(section: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut list = sections().list();
    change(&mut list[section].1);
    encoder::assemble((2, 0), &list)
}

/// The file of a model that was changed.
fn model(change: impl FnOnce(&mut Model)) -> Vec<u8> {
    let mut model = models::detector();
    change(&mut model);
    encoder::encode(&model)
}

#[test]
fn field_beyond_section() {
    for (index, section) in KINDS.into_iter().enumerate() {
        let bytes = changed(index, |bytes| bytes.truncate(bytes.len() - 1));
        match ylb_format::read(&bytes) {
            Err(ReadError::FieldBeyondSection { section: found, needed, available, .. }) => {
                assert_eq!(found, section);
                assert!(needed > available as u64);
            }
            other => panic!("{section}: {other:?}"),
        }
    }
    // The first text of the metadata reaches beyond the section.
    let available = sections().metadata.len() - 2;
    let bytes = changed(0, |bytes| bytes[..2].fill(0xff));
    assert_error(
        &bytes,
        ReadError::FieldBeyondSection {
            section: SectionKind::METADATA,
            offset: 2,
            needed: 65_535,
            available,
        },
    );
}

/// Counts and products that would allocate gigabytes if they were believed.
#[test]
fn enormous_counts() {
    let section = SectionKind::GRAPH;
    let beyond = |bytes: &[u8]| match ylb_format::read(bytes) {
        Err(ReadError::FieldBeyondSection { needed, .. }) => needed,
        other => panic!("{other:?}"),
    };
    // Values: after the input's name, index, preprocessing, flag and levels.
    let values = 2 + 6 + 4 + 31 + 1 + 256;
    let bytes = changed(1, |bytes| bytes[values..values + 4].copy_from_slice(&65_536u32.to_le_bytes()));
    assert_eq!(beyond(&bytes), 65_536 * 15);
    let bytes = changed(1, |bytes| bytes[values..values + 4].fill(0xff));
    let count = u64::from(u32::MAX);
    assert_error(&bytes, ReadError::Count { section, what: "values", count, limit: 65_536 });
    // Weights whose product is beyond 64 bits, and whose channels alone would be 32 GiB of biases.
    for (shape, needed) in [([u32::MAX; 4], u64::MAX), ([u32::MAX, 0, 1, 1], 4 * u64::from(u32::MAX))] {
        let bytes = model(|model| {
            let Operator::Conv(conv) = &mut model.nodes[nodes::STEM].operator else { panic!() };
            conv.terms[0].weights.shape = shape;
        });
        assert_eq!(beyond(&bytes), needed);
    }
    let bytes = model(|model| {
        let Operator::Conv(conv) = &mut model.nodes[nodes::GROUPED].operator else { panic!() };
        conv.terms[0].weights.shape = [u32::MAX, 0, 1, 1];
    });
    assert_eq!(beyond(&bytes), 3 * u64::from(u32::MAX));
    let bytes = model(|model| model.detect.maps[0].parts[0].fields = 0..u32::MAX);
    assert_eq!(beyond(&bytes), 4 * 2 * u64::from(u32::MAX));
}

#[test]
fn unread_bytes() {
    for (index, section) in KINDS.into_iter().enumerate() {
        let bytes = changed(index, |bytes| bytes.extend([0; 3]));
        assert_error(&bytes, ReadError::UnreadBytes { section, unread: 3 });
    }
}

#[test]
fn counts() {
    let graph = |what, count, limit| ReadError::Count { section: SectionKind::GRAPH, what, count, limit };
    let quant = |what, count, limit| ReadError::Count { section: SectionKind::QUANT, what, count, limit };

    let names = sections().metadata.len() - 2 - 6 - 2 - 4;
    let bytes = changed(0, |bytes| bytes[names..names + 4].copy_from_slice(&65_537u32.to_le_bytes()));
    assert_error(
        &bytes,
        ReadError::Count {
            section: SectionKind::METADATA,
            what: "class names",
            count: 65_537,
            limit: 65_536,
        },
    );
    let bytes = model(|model| {
        let Operator::Concat { inputs } = &mut model.nodes[nodes::CONCAT].operator else { panic!() };
        *inputs = vec![inputs[0]; 17];
    });
    assert_error(&bytes, graph("inputs of a node", 17, 16));
    let bytes = model(|model| {
        let Operator::Conv(conv) = &mut model.nodes[nodes::STEM].operator else { panic!() };
        conv.terms = vec![conv.terms[0].clone(); 65];
    });
    assert_error(&bytes, graph("terms of a convolution", 65, 64));
    let bytes = model(|model| {
        model.detect.maps = vec![model.detect.maps[0].clone(); 17];
    });
    assert_error(&bytes, graph("feature maps of the detection head", 17, 16));
    let bytes = model(|model| model.detect.maps[0].anchors_per_cell = 17);
    assert_error(&bytes, graph("anchors of a cell", 17, 16));
    let bytes = model(|model| model.detect.maps[0].parts = vec![model.detect.maps[0].parts[0].clone(); 9]);
    assert_error(&bytes, graph("parts of a feature map", 9, 8));
    let bytes = model(|model| {
        model.outputs = vec![Output { name: String::new(), kind: OutputKind::Decoded }; 65];
    });
    assert_error(&bytes, graph("outputs", 65, 64));
    let bytes = model(|model| {
        let Operator::Map { table, .. } = &mut model.nodes[nodes::MAP].operator else { panic!() };
        *table = vec![0; 257];
    });
    assert_error(&bytes, quant("levels of a look-up table", 257, 256));
    let bytes = model(|model| {
        let Operator::Conv(conv) = &mut model.nodes[nodes::GROUPED].operator else { panic!() };
        let Some(Requantize::Staircase { thresholds, levels }) = &mut conv.requantize else { panic!() };
        thresholds[2] = (0..4097).collect();
        levels[2] = vec![0; 4098];
    });
    assert_error(&bytes, quant("thresholds of a staircase", 4097, 4096));
}

#[test]
fn not_utf8() {
    let bytes = changed(0, |bytes| bytes[5] = 0xff);
    assert_error(&bytes, ReadError::NotUtf8 { section: SectionKind::METADATA, offset: 0 });
    let bytes = changed(1, |bytes| bytes[2] = 0xc0);
    assert_error(&bytes, ReadError::NotUtf8 { section: SectionKind::GRAPH, offset: 0 });
}

/// Every byte of GRAPH that stands for something, found by trying a number that nothing has.
#[test]
fn unknown_codes() {
    let mut found = std::collections::BTreeMap::new();
    for index in 0..sections().graph.len() {
        let bytes = changed(1, |bytes| bytes[index] = 0xee);
        if let Err(ReadError::UnknownCode { section, offset, what, code }) = ylb_format::read(&bytes) {
            // Otherwise the changed byte made another be taken for a code.
            if (section, offset) == (SectionKind::GRAPH, index) {
                assert_eq!(code, 0xee);
                *found.entry(what).or_insert(0) += 1;
            }
        }
    }
    let expected = [
        ("encoding of weights", 6),
        ("flag for anchors", 2),
        ("flag for levels by channel", 1),
        ("flag for zero points", 6),
        ("kind of output", 3),
        ("kind of value", 11),
        ("layout of a tensor", 1),
        ("operator", 10),
        ("order of channels", 1),
        ("placement of a picture", 1),
        ("range of a picture", 1),
        ("requantization", 6),
        ("rule for boxes", 1),
        ("rule for scores", 1),
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_sum_or_product_without_requantization() {
    let requantize = Requantize::Scale { multipliers: vec![1], bias: vec![0], shift: 0 };
    let mul = Operator::Mul { inputs: [ValueId(4), ValueId(5)], requantize };
    let mut product = models::detector();
    product.nodes[nodes::ADD].operator = mul;
    // After name, output and operator: a count and two inputs of a sum, two inputs of a product.
    let cases = [
        (sections(), 1 + 8, "requantization of a sum"),
        (encoder::sections(&product), 8, "requantization of a product"),
    ];
    for (mut sections, inputs, what) in cases {
        let graph = &mut sections.graph;
        let named = |index: &usize| graph[*index..].starts_with(b"\x03\0sum");
        let texts: Vec<usize> = (0..graph.len()).filter(named).collect();
        // The value, then the node.
        let code = texts[1] + 5 + 4 + 1 + inputs;
        graph[code] = 0;
        let section = SectionKind::GRAPH;
        assert_error(&sections.file(), ReadError::UnknownCode { section, offset: code, what, code: 0 });
    }
}

/// The file of the detector with other bytes in the place of its staircase of two thresholds.
fn with_staircase(bytes: &[u8]) -> Vec<u8> {
    let mut model = models::detector();
    let Operator::Conv(conv) = &mut model.nodes[nodes::GROUPED].operator else { panic!() };
    let Some(Requantize::Staircase { thresholds, levels }) = &mut conv.requantize else { panic!() };
    // Three thresholds in a row that occur nowhere else.
    let (marked, of_marked) = (vec![1_000_000_007, 1_000_000_009, 1_000_000_021], vec![1, 0, 1, 0]);
    let mut mark = Vec::new();
    encoder::staircase(
        &mut mark,
        &marked.iter().map(|&threshold| i64::from(threshold)).collect::<Vec<_>>(),
        &of_marked,
    );
    (thresholds[2], levels[2]) = (marked, of_marked);
    let mut sections = encoder::sections(&model);
    let at = sections.quant.windows(mark.len()).position(|bytes| bytes == mark).unwrap();
    sections.quant.splice(at..at + mark.len(), bytes.iter().copied());
    sections.file()
}

#[test]
fn numbers_and_runs_have_one_form() {
    // Thresholds 3, 5, 6: 3, 2 - 3 and 1 - 2 as bends; levels 0, 1, 0, 1.
    let good = [3, 0, 0, 6, 1, 1, 1, 1, 255, 1, 1, 1];
    ylb_format::read(&with_staircase(&good)).unwrap();
    let refused = |bytes: &[u8], at: usize, problem: &'static str| {
        let mark_at = |file: &[u8]| match ylb_format::read(file) {
            Err(ReadError::Number { section, offset, problem }) => {
                assert_eq!(section, SectionKind::QUANT);
                (offset, problem)
            }
            other => panic!("{bytes:?}: {other:?}"),
        };
        // Where the staircase begins, from the same mistake in its first number.
        let (start, _) = mark_at(&with_staircase(&[1, 0, 0, 0x86, 0, 1, 1]));
        let section = SectionKind::QUANT;
        let offset = start - 3 + at;
        assert_error(&with_staircase(bytes), ReadError::Number { section, offset, problem });
    };
    let long = "is longer than it need be";
    refused(&[3, 0, 0, 6, 1, 0x81, 0, 1, 1, 255, 1, 1, 1], 5, long);
    refused(&[3, 0, 0, 6, 1, 0x81, 0x80, 0, 1, 1, 255, 1, 1, 1], 5, long);
    let ones = [0xff; 9];
    let wide = |last: &[u8]| [&[1, 0, 0], &ones[..], last, &[1, 1]].concat();
    refused(&wide(&[2]), 3, "exceeds 64 bits");
    refused(&wide(&[0x81, 0]), 3, "exceeds 64 bits");
    refused(&wide(&[1]), 3, "leads to a threshold beyond 32 bits");
    let run = "begins a run of levels that is empty or goes on with the one before";
    refused(&[3, 0, 0, 6, 1, 1, 1, 1, 1, 2], 8, run);
    refused(&[3, 0, 0, 6, 1, 1, 1, 0, 255, 3], 6, run);
    refused(&[3, 0, 0, 6, 1, 1, 1, 1, 255, 3], 8, "begins a run of more levels than there are thresholds");
}
