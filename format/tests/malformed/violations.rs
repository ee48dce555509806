//! The model as a whole, values, the input.

use ylb_format::model::*;
use ylb_format::{ValueProblem, Violation, read, write};

use super::encoder;
use super::models::{self, node, square, unsigned, value};
use super::refuse::{encoding, refused, refused_in_memory};

/// Where a model keeps a text.
type Text = fn(&mut Model) -> &mut String;
/// What goes wrong with an encoding.
type ChangeEncoding = fn(&mut Encoding);

#[test]
fn counts_and_texts() {
    let too_many = |what, count, limit| Violation::TooMany { what, count, limit };
    refused_in_memory(
        |model| model.values.resize(65_537, value("", [1; 3], unsigned(1))),
        too_many("values", 65_537, 65_536),
    );
    refused_in_memory(
        |model| model.nodes = vec![model.nodes[1].clone(); 65_537],
        too_many("nodes", 65_537, 65_536),
    );
    refused_in_memory(
        |model| model.detect.maps = vec![model.detect.maps[0].clone(); 17],
        too_many("feature maps of the detection head", 17, 16),
    );
    refused_in_memory(
        |model| model.outputs = vec![model.outputs[0].clone(); 65],
        too_many("outputs", 65, 64),
    );
    refused_in_memory(
        |model| model.metadata.class_names = vec![String::new(); 65_537],
        too_many("class names", 65_537, 65_536),
    );
    refused(
        |model| model.metadata.class_names.push("third".to_owned()),
        Violation::ClassNames { names: 3, classes: 2 },
    );
    let long = || "n".repeat(4097);
    let texts: [(&str, Text); 8] = [
        ("name of the converter", |model| &mut model.metadata.converter),
        ("name of the source model", |model| &mut model.metadata.source_name),
        ("format of the source model", |model| &mut model.metadata.source_format),
        ("name of the input", |model| &mut model.input.name),
        ("name of a class", |model| &mut model.metadata.class_names[1]),
        ("name of a value", |model| &mut model.values[3].name),
        ("name of a node", |model| &mut model.nodes[3].name),
        ("name of an output", |model| &mut model.outputs[2].name),
    ];
    for (what, text) in texts {
        let expected = Violation::TextTooLong { what, len: 4097, limit: 4096 };
        refused(|model| *text(model) = long(), expected);
    }
}

#[test]
fn values() {
    let stem = |problem| Violation::Value { value: 1, name: "stem".to_owned(), problem };
    for (channels, height, width) in [(0, 4, 4), (4, 0, 4), (4, 4, 0), (4, 4, 65_537), (u32::MAX, 4, 4)] {
        refused(
            |model| {
                let stem = &mut model.values[1];
                (stem.channels, stem.height, stem.width) = (channels, height, width);
            },
            stem(ValueProblem::Extent { channels, height, width, limit: 65_536 }),
        );
    }
    refused(
        |model| (model.values[1].height, model.values[1].width) = (65_536, 1025),
        stem(ValueProblem::Elements { elements: 4 * 65_536 * 1025, limit: 1 << 28 }),
    );
    let encodings: [(ChangeEncoding, ValueProblem); 9] = [
        (|encoding| encoding.max_level = 0, ValueProblem::MaxLevel),
        (|encoding| encoding.step = 0, ValueProblem::Step { step: 0 }),
        (|encoding| encoding.step = 3, ValueProblem::Step { step: 3 }),
        (|encoding| encoding.low = 256, ValueProblem::Low { low: 256 }),
        (|encoding| encoding.low = i16::MIN, ValueProblem::Low { low: i16::MIN }),
        (|encoding| encoding.zero_point = -256, ValueProblem::ZeroPoint { zero_point: -256 }),
        (|encoding| encoding.scale = -1.0, ValueProblem::Scale { scale: -1.0 }),
        (|encoding| encoding.scale = -0.0, ValueProblem::Scale { scale: -0.0 }),
        (|encoding| encoding.scale = f64::INFINITY, ValueProblem::Scale { scale: f64::INFINITY }),
    ];
    for (change, problem) in encodings {
        refused(|model| change(encoding(model, 1)), stem(problem));
    }
    // A NaN is equal to nothing, not even in the expected error.
    let mut model = models::detector();
    encoding(&mut model, 1).scale = f64::NAN;
    let error = read(&encoder::encode(&model)).unwrap_err();
    assert!(error.to_string().ends_with("the scale NaN is neither positive nor 0 for unknown"));

    refused(
        |model| model.values[2].name = "stem".to_owned(),
        Violation::DuplicateName { first: 1, second: 2, name: "stem".to_owned() },
    );
    // A name that would paint a terminal is shown escaped.
    let mut model = models::detector();
    model.values[1].name = "\x1b[2J\n".to_owned();
    model.values[1].width = 0;
    let message = write(&model).unwrap_err().to_string();
    assert!(message.contains(r#"value 1 "\u{1b}[2J\n""#), "{message}");
}

#[test]
fn input() {
    let input = |id| move |model: &mut Model| model.input.value = ValueId(id);
    refused(input(11), Violation::UnknownInput { value: 11, values: 11 });
    refused(input(9), Violation::InputIsAccumulators { value: 9 });
    refused(input(1), Violation::InputChannels { channels: 4 });
    refused(
        |model| encoding(model, 0).max_level = 254,
        Violation::PixelLevel { byte: 255, level: 255, max_level: 254 },
    );
    let by_channel = |model: &mut Model, change: fn(&mut [[u8; 256]; 3])| {
        let mut tables = Box::new([*model.input.pixel_levels.of(0); 3]);
        change(&mut tables);
        model.input.pixel_levels = PixelLevels::ByChannel(tables);
    };
    refused(move |model| by_channel(model, |_| ()), Violation::EqualPixelLevels);
    refused(
        move |model| {
            encoding(model, 0).max_level = 254;
            by_channel(model, |tables| {
                tables.iter_mut().for_each(|table| table[255] = 254);
                tables[2][9] = 255;
            });
        },
        Violation::PixelLevel { byte: 9, level: 255, max_level: 254 },
    );
    let one = [1.0; 3];
    let numbers = [
        ([0.0, f32::INFINITY, 0.0], one),
        ([0.0, 0.0, -0.0], one),
        ([0.0; 3], [1.0, 0.0, 1.0]),
        ([0.0; 3], [1.0, 1.0, -1.0]),
        ([0.0; 3], [f32::INFINITY, 1.0, 1.0]),
    ];
    for (mean, deviation) in numbers {
        refused(
            move |model| {
                (model.input.preprocessing.mean, model.input.preprocessing.deviation) = (mean, deviation);
            },
            Violation::Normalization { mean, deviation },
        );
    }
}

#[test]
fn unused_values() {
    refused(
        |model| drop(model.nodes.pop()),
        Violation::NeverWritten { value: 10, name: "head 1".to_owned() },
    );
    let dead_end = |model: &mut Model| {
        model.values.push(value("dead end", [4, 4, 4], unsigned(3)));
        let operator = Operator::MaxPool { input: ValueId(1), window: square(3, 1, 1) };
        model.nodes.push(node("pool 2", 11, operator));
    };
    refused(dead_end, Violation::NeverRead { value: 11, name: "dead end".to_owned() });
    // Without a detection head the same value is a result.
    let mut model = models::detector();
    dead_end(&mut model);
    model.detect = Detect::default();
    model.outputs.clear();
    model.metadata.class_names.clear();
    assert_eq!(read(&write(&model).unwrap()).unwrap(), model);
}
