//! Graphs that prepare the picture themselves, and whether a wrong idea of it is found.

use ylb_format::model::ValueId;
use ylb_source::ir::ElementType;

use super::*;
use crate::compare::{Bar, Codes, Comparison, Executed, Reference, Verdict, planar, synthetic_picture};

const FLOAT: i64 = 1;

/// A network over what `prepare` makes of the picture. `scale` is that of the first layer's codes.
pub(super) fn network(
    element: Option<ElementType>,
    scale: f32,
    prepare: impl FnOnce(&mut Net, TensorId) -> TensorId,
) -> (Net, TensorId) {
    let (mut net, image) = Net::new();
    if let Some(element) = element {
        net.builder.graph.input_types.insert(image, element);
    }
    let prepared = prepare(&mut net, image);
    let first = net.layer(prepared, [5, 3, 3, 3], scale);
    let last = net.layer(first, [4, 5, 1, 1], 0.3);
    (net, last)
}

pub(super) fn with_number(net: &mut Net, op_type: &str, x: TensorId, number: f32) -> TensorId {
    let number = net.builder.float(number);
    net.builder.node(op_type, &[x, number], &[])
}

pub(super) fn cast(net: &mut Net, x: TensorId, to: i64) -> TensorId {
    net.builder.node("Cast", &[x], &[("to", Attribute::Int(to))])
}

pub(super) fn note(converted: &Converted) -> String {
    let notes = converted.report.warnings.iter().filter(|warning| warning.message.starts_with("input \""));
    notes.map(|warning| warning.message.clone()).collect()
}

fn takes_bytes(converted: &Converted) -> bool {
    converted.report.passes.contains(&"picture: the graph takes bytes, 0 to 255".to_owned())
}

/// What a model of `byte / 255` and a quantizer of it is, whatever the spelling.
pub(super) fn plain() -> Model {
    let (mut net, last) = network(None, 0.25, |net, image| net.input(image));
    let converted = net.check(last, 4);
    assert!(note(&converted).is_empty() && !takes_bytes(&converted));
    converted.model
}

pub(super) fn operators(model: &Model) -> Vec<&Operator> {
    model.nodes.iter().map(|node| &node.operator).collect()
}

pub(super) type Prepare = fn(&mut Net, TensorId) -> TensorId;

#[test]
fn graphs_that_divide_by_255_are_those_that_do_not() {
    let plain = plain();
    let uint8 = Some(ElementType::Unsigned(8));
    let spellings: [(Option<ElementType>, Prepare); 6] = [
        (uint8, |net, image| {
            let floats = cast(net, image, FLOAT);
            let divided = with_number(net, "Div", floats, 255.0);
            net.input(divided)
        }),
        (uint8, |net, image| {
            let floats = cast(net, image, FLOAT);
            let multiplied = with_number(net, "Mul", floats, 1.0 / 255.0);
            net.input(multiplied)
        }),
        (None, |net, image| {
            let divided = with_number(net, "Div", image, 255.0);
            net.input(divided)
        }),
        (Some(ElementType::F32), |net, image| {
            let half = half::f16::from_f32(1.0 / 255.0).to_f32();
            let half = net.builder.float(half);
            let multiplied = net.builder.node("Mul", &[half, image], &[]);
            net.input(multiplied)
        }),
        // Bytes that are 0 to 1 before they are multiplied again: as YOLOv5 feeds them.
        (None, |net, image| {
            let multiplied = with_number(net, "Mul", image, 255.0);
            let divided = with_number(net, "Div", multiplied, 255.0);
            net.input(divided)
        }),
        // The quantizer is not there: its codes are the input.
        (uint8, |net, image| {
            let scale = net.builder.float(1.0 / 255.0);
            net.builder.node("DequantizeLinear", &[image, scale], &[])
        }),
    ];
    for (index, (element, prepare)) in spellings.into_iter().enumerate() {
        let (mut net, last) = network(element, 0.25, prepare);
        let converted = net.check_interpreted(last, 4);
        assert_eq!(converted.model.input.pixel_levels, plain.input.pixel_levels, "{index}");
        assert_eq!(operators(&converted.model), operators(&plain), "{index}");
        assert_eq!(takes_bytes(&converted), index != 4, "{index}");
        // Where the type says it, there is nothing to tell.
        let told =
            note(&converted).contains("taken to be bytes, 0 to 255, since the graph itself divides by 255");
        assert_eq!(told, [2, 3].contains(&index), "{index}: {}", note(&converted));
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{index}");
    }
}

#[test]
fn pictures_are_bytes_where_numbers_to_1_would_be_crushed() {
    let spellings: [(f32, Prepare); 4] = [
        (64.0, |net, image| net.builder.quant(image, 1.0, 0.0, 8.0, false)),
        (64.0, |net, image| net.builder.quant(image, 2.0, 0.0, 7.0, false)),
        // From −1 to 1, with a quantizer and without one.
        (0.5, |net, image| {
            let divided = with_number(net, "Div", image, 127.5);
            let shifted = with_number(net, "Sub", divided, 1.0);
            net.builder.quant(shifted, 1.0 / 127.0, 0.0, 8.0, true)
        }),
        (0.5, |net, image| {
            let divided = with_number(net, "Div", image, 127.5);
            with_number(net, "Sub", divided, 1.0)
        }),
    ];
    for (index, (scale, prepare)) in spellings.into_iter().enumerate() {
        for element in [None, Some(ElementType::F32)] {
            let (mut net, last) = network(element, scale, prepare);
            let converted = net.check_interpreted(last, 4);
            let note = note(&converted);
            assert!(takes_bytes(&converted) && note.contains("since numbers from 0 to 1"), "{index}: {note}");
            assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{index}");
        }
    }
    // Levels of the picture's quantizer are the bytes themselves.
    let (mut net, last) = network(None, 64.0, spellings_scale_1);
    let converted = net.convert(last, 4).unwrap();
    assert!(
        converted
            .model
            .input
            .pixel_levels
            .of(0)
            .iter()
            .enumerate()
            .all(|(k, &level)| k == usize::from(level))
    );
}

fn spellings_scale_1(net: &mut Net, image: TensorId) -> TensorId {
    net.builder.quant(image, 1.0, 0.0, 8.0, false)
}

/// Quantizers whose clamp comes behind the rounding, in one node or in two, with a zero point between them.
#[test]
fn clamps_behind_the_rounding_tell_the_range() {
    fn centred(net: &mut Net, image: TensorId) -> TensorId {
        let scaled = with_number(net, "Div", image, 127.5);
        let shifted = with_number(net, "Sub", scaled, 1.0);
        let steps = with_number(net, "Div", shifted, 1.0 / 127.0);
        net.builder.node("Round", &[steps], &[])
    }
    let spellings: [Prepare; 3] = [
        |net, image| {
            let rounded = centred(net, image);
            let [low, high] = [-128.0, 127.0].map(|bound| net.builder.float(bound));
            let codes = net.builder.node("Clip", &[rounded, low, high], &[]);
            with_number(net, "Mul", codes, 1.0 / 127.0)
        },
        |net, image| {
            let rounded = centred(net, image);
            let above = with_number(net, "Max", rounded, -128.0);
            let codes = with_number(net, "Min", above, 127.0);
            with_number(net, "Mul", codes, 1.0 / 127.0)
        },
        |net, image| {
            let rounded = centred(net, image);
            let shifted = with_number(net, "Add", rounded, 128.0);
            let [low, high] = [0.0, 255.0].map(|bound| net.builder.float(bound));
            let codes = net.builder.node("Clip", &[shifted, low, high], &[]);
            let back = with_number(net, "Sub", codes, 128.0);
            with_number(net, "Mul", back, 1.0 / 127.0)
        },
    ];
    for (index, prepare) in spellings.into_iter().enumerate() {
        let (mut net, last) = network(None, 0.25, prepare);
        let converted = net.check_interpreted(last, 4);
        assert!(takes_bytes(&converted), "{index}");
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{index}");
    }
}

/// What is plausible for numbers to 1 stays so, in silence.
#[test]
fn pictures_up_to_1_stay_so() {
    let spellings: [Prepare; 5] = [
        |_, image| image,
        |net, image| net.builder.quant(image, 1.0 / 3.0, 0.0, 2.0, false),
        |net, image| net.builder.quant(image, 0.5, 0.0, 4.0, false),
        |net, image| {
            let multiplied = with_number(net, "Mul", image, 255.0);
            net.builder.quant(multiplied, 1.0, 0.0, 8.0, false)
        },
        |net, image| {
            let doubled = with_number(net, "Mul", image, 2.0);
            let shifted = with_number(net, "Sub", doubled, 1.0);
            net.builder.quant(shifted, 1.0 / 127.0, 0.0, 8.0, true)
        },
    ];
    for (index, prepare) in spellings.into_iter().enumerate() {
        let (mut net, last) = network(None, 0.25, prepare);
        let converted = net.check_interpreted(last, 4);
        assert!(!takes_bytes(&converted) && note(&converted).is_empty(), "{index}");
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{index}");
    }
}

/// A division by 255 tells, also where a quantizer of few levels does not.
#[test]
fn narrow_pictures_behind_a_division_are_bytes() {
    for scale in [1.0 / 15.0, 1.0 / 255.0] {
        let (mut net, last) = network(None, 0.25, |net, image| {
            let divided = with_number(net, "Div", image, 255.0);
            net.builder.quant(divided, scale, 0.0, 4.0, false)
        });
        let converted = net.check_interpreted(last, 4);
        assert!(note(&converted).contains("divides by 255"), "{}", note(&converted));
        assert_eq!(verdict(&net, &converted.model), Verdict::Equal);
    }
}

#[test]
fn pictures_of_no_known_range_are_refused() {
    let refused = |element, prepare: Prepare| {
        let (mut net, last) = network(element, 0.25, prepare);
        net.convert(last, 4).unwrap_err().to_string()
    };
    let lost = refused(None, |net, image| net.builder.quant(image, 1e4, 0.0, 8.0, false));
    assert!(lost.contains("input \"images\": what range its numbers have cannot be told"), "{lost}");
    assert!(lost.contains("From 0 to 1 they reach 1 of the 256 levels of \"Quant"), "{lost}");
    let error = refused(Some(ElementType::Signed(8)), |net, image| cast(net, image, FLOAT));
    assert!(
        error.contains("input \"images\" holds int8; expected a picture of floats or of uint8"),
        "{error}"
    );
    // Integers would be divided as integers.
    for prepare in
        [(|net: &mut Net, image| with_number(net, "Div", image, 255.0)) as Prepare, |net, image| {
            let words = cast(net, image, 6);
            with_number(net, "Div", words, 255.0)
        }]
    {
        let error = refused(Some(ElementType::Unsigned(8)), prepare);
        assert!(error.contains("reads the picture's uint8 bytes; expected a Cast to floats"), "{error}");
    }
    // The file says bytes, so bytes they are; but the picture is lost.
    let (mut net, last) = network(Some(ElementType::Unsigned(8)), 0.25, |net, image| {
        let floats = cast(net, image, FLOAT);
        net.input(floats)
    });
    let converted = net.check_interpreted(last, 4);
    assert!(note(&converted).contains("bytes reach 2 of the 256 levels"), "{}", note(&converted));
}

/// Converts under a range, whatever the graph says.
fn converted_as(net: &Net, range: PictureRange) -> Model {
    let options = Options { class_names: vec!["thing".into()], ..Options::default() };
    let mut graph = net.builder.graph.clone();
    let heads = run_passes(&mut graph, &options, &mut Report::default(), &mut |_| {}).unwrap();
    let lowered = lower::run(&graph, &heads, range, (None, false), &mut |_, _| {}).unwrap();
    emit::model(lowered, heads, ("images", range), Metadata::default()).unwrap().0
}

/// How a model compares with a network's graph on a picture of bytes, as `compare` and `--verify` see it.
pub fn verdict(net: &Net, model: &Model) -> Verdict {
    verdict_of_pictures(net, model, |pixels| pixels)
}

/// The same of a model that takes another picture than it should.
pub fn verdict_of_pictures(net: &Net, model: &Model, other: impl Fn(Vec<u8>) -> Vec<u8>) -> Verdict {
    comparison(net, model, other).verdict(Bar::Strict)
}

/// What is found where a model is compared with a network's graph.
pub fn comparison(net: &Net, model: &Model, other: impl Fn(Vec<u8>) -> Vec<u8>) -> Comparison {
    let graph = net.builder.graph.clone();
    let files = Vec::new();
    let source = Source { graph, name: String::new(), sha256: [0; 32], bytes: 0, files, described: None };
    let reference = Reference::of_source(&source, model).unwrap();
    let pixels = planar(&synthetic_picture([SIZE; 2]));
    let seen = other(pixels.clone());
    let execution = reference::execute(model, &seen);
    let named = model.values.iter().enumerate().filter(|(_, value)| !value.name.is_empty());
    let codes = named.filter_map(|(index, value)| {
        Some(Codes { name: value.name.clone(), data: execution.codes(ValueId(index as u32))? })
    });
    let executed = Executed { codes: codes.collect(), outputs: execution.outputs() };
    reference.compare(&pixels, &executed, &mut |_, _| {}).unwrap()
}

/// The same of a stem that slices bytes before it divides them.
#[test]
fn a_wrong_idea_of_a_sliced_picture_is_found() {
    let (mut net, image) = Net::new();
    let stem = stems::focus(&mut net, image);
    let divided = with_number(&mut net, "Div", stem, 255.0);
    let quantized = net.input(divided);
    let first = net.layer(quantized, [5, 12, 3, 3], 0.25);
    let last = net.layer(first, [4, 5, 1, 1], 0.3);
    assert!(takes_bytes(&net.convert(last, 4).unwrap()));
    assert_eq!(verdict(&net, &converted_as(&net, PictureRange::Bytes)), Verdict::Equal);
    assert_eq!(verdict(&net, &converted_as(&net, PictureRange::Unit)), Verdict::Different);
}

/// The guard: the source is fed by what its file says, so that a converter with a wrong idea of the picture is found out.
#[test]
fn a_wrong_idea_of_the_picture_is_found() {
    let uint8 = Some(ElementType::Unsigned(8));
    let spellings: [(Option<ElementType>, Prepare, PictureRange); 8] = [
        (
            uint8,
            |net, image| {
                let floats = cast(net, image, FLOAT);
                let multiplied = with_number(net, "Mul", floats, 1.0 / 255.0);
                net.input(multiplied)
            },
            PictureRange::Bytes,
        ),
        (
            uint8,
            |net, image| {
                let floats = cast(net, image, FLOAT);
                spellings_scale_1(net, floats)
            },
            PictureRange::Bytes,
        ),
        (None, |net, image| net.input(image), PictureRange::Unit),
        (None, |_, image| image, PictureRange::Unit),
        (None, spellings_scale_1, PictureRange::Bytes),
        (
            None,
            |net, image| {
                let divided = with_number(net, "Div", image, 255.0);
                net.input(divided)
            },
            PictureRange::Bytes,
        ),
        (None, |net, image| with_number(net, "Mul", image, 1.0 / 255.0), PictureRange::Bytes),
        (
            Some(ElementType::Unsigned(8)),
            |net, image| {
                let floats = cast(net, image, FLOAT);
                let divided = with_number(net, "Div", floats, 255.0);
                net.input(divided)
            },
            PictureRange::Bytes,
        ),
    ];
    for (index, (element, prepare, right)) in spellings.into_iter().enumerate() {
        let (mut net, last) = network(element, 0.25, prepare);
        net.convert(last, 4).unwrap();
        for range in [PictureRange::Unit, PictureRange::Bytes] {
            let expected = if range == right { Verdict::Equal } else { Verdict::Different };
            assert_eq!(verdict(&net, &converted_as(&net, range)), expected, "{index}: {range:?}");
        }
    }
}
