use ylb_format::model::{
    ConvTerm, Detect, Encoding, HeadMap, Input, Metadata, Output, OutputKind, WeightEncoding, Weights,
};

use super::*;

fn value(channels: u32, size: [u32; 2], encoding: Option<Encoding>) -> Value {
    let kind = encoding.map_or(ValueKind::Accumulators, ValueKind::Levels);
    Value { name: String::new(), channels, height: size[0], width: size[1], kind }
}

fn bytes() -> Encoding {
    Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 1.0 }
}

/// A model of one node over a 3-channel picture.
fn model(size: [u32; 2], output: Value, operator: Operator) -> Model {
    let mut pixel_levels = [0; 256];
    (0..=255).for_each(|byte| pixel_levels[usize::from(byte)] = byte);
    Model {
        metadata: Metadata::default(),
        input: Input::new("", ValueId(0), pixel_levels),
        values: vec![value(3, size, Some(bytes())), output],
        nodes: vec![Node { name: String::new(), output: ValueId(1), operator }],
        outputs: Vec::new(),
        detect: Detect::default(),
    }
}

fn window(kernel: u32, stride: u32, padding: u32) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 4] }
}

fn conv(window: Window, weights: Weights, groups: u32) -> Operator {
    let terms = vec![ConvTerm { input: ValueId(0), weights }];
    Operator::Conv(Conv { terms, window, groups, requantize: None })
}

#[test]
fn padded_positions_add_nothing() {
    // All nine weights 1, first channel only, whose integers are level − 1.
    let mut codes = vec![1; 9];
    codes.extend([0; 18]);
    let weights = Weights::from_codes([1, 3, 3, 3], WeightEncoding::Unsigned, 1, &codes, Vec::new());
    let mut model = model([2, 3], value(1, [2, 3], None), conv(window(3, 1, 1), weights, 1));
    model.values[0].kind = ValueKind::Levels(Encoding { zero_point: 1, ..bytes() });
    let mut pixels = vec![1, 2, 3, 4, 5, 6];
    pixels.extend([9; 12]);
    let execution = execute(&model, &pixels);
    let expected = [8, 15, 12, 8, 15, 12];
    assert_eq!(execution.elements(ValueId(1)), &Elements::Accumulators(expected.to_vec()));
}

#[test]
fn groups_and_strides() {
    let weights =
        Weights::from_codes([3, 1, 1, 1], WeightEncoding::TwosComplement, 2, &[1, 3, 2], Vec::new());
    let model = model([3, 3], value(3, [2, 2], None), conv(window(1, 2, 0), weights, 3));
    let pixels: Vec<u8> = (0..27).collect();
    let expected = [0, 2, 6, 8, -9, -11, -15, -17, -36, -40, -48, -52];
    let execution = execute(&model, &pixels);
    assert_eq!(execution.elements(ValueId(1)), &Elements::Accumulators(expected.to_vec()));
}

#[test]
fn pools_ignore_the_padding() {
    let operator = Operator::MaxPool { input: ValueId(0), window: window(3, 2, 1) };
    let model = model([3, 3], value(3, [2, 2], Some(bytes())), operator);
    let pixels: Vec<u8> = (0..27).collect();
    let expected = vec![4, 5, 7, 8, 13, 14, 16, 17, 22, 23, 25, 26];
    assert_eq!(execute(&model, &pixels).elements(ValueId(1)), &Elements::Levels(expected));
}

#[test]
fn requantizations_follow_their_formulas() {
    let terms = [vec![-3, 0, 1, 5], vec![2, 2, -2, 0]];
    let scale = Requantize::Scale { multipliers: vec![2, -1, 1, 3], bias: vec![1, 4], shift: 1 };
    // Channel 0: (2a + b + 1) >> 1; channel 1: (−a + 3b + 4) >> 1.
    assert_eq!(requantized(&scale, &terms, 2, 3), [0, 1, 0, 0]);
    let staircase = Requantize::Staircase {
        thresholds: vec![vec![-3, 0], vec![2]],
        levels: vec![vec![9, 7, 5], vec![1, 0]],
    };
    assert_eq!(requantized(&staircase, &terms[..1], 2, 9), [7, 5, 1, 0]);
    let scaled = Requantize::ScaledStaircase {
        multipliers: vec![1, 1],
        bias: vec![0],
        thresholds: vec![0, 3],
        levels: vec![4, 6, 5],
    };
    assert_eq!(requantized(&scaled, &terms, 1, 6), [4, 6, 4, 5]);
}

#[test]
fn heads_are_decoded_by_anchor_row_and_column() {
    let weights = Weights::from_codes([6, 3, 1, 1], WeightEncoding::Unsigned, 1, &[0; 18], Vec::new());
    let mut model = model([4, 8], value(6, [1, 2], None), conv(window(1, 4, 0), weights, 1));
    model.outputs = vec![
        Output { name: "out".into(), kind: OutputKind::Decoded },
        Output { name: "raw".into(), kind: OutputKind::Head(MapPart::whole(0)) },
    ];
    model.detect.classes = 1;
    let mut map = HeadMap::whole(ValueId(1), 4, &model.detect, 1);
    map.anchors = vec![[10.0, 20.0]];
    (map.parts[0].bias[5], map.parts[0].shift) = (2, 1);
    model.detect.maps = vec![map];
    let execution = execute(&model, &[0; 96]);
    let [out, raw] = &execution.outputs()[..] else { panic!() };
    assert_eq!((out.shape.as_slice(), raw.shape.as_slice()), (&[1, 2, 6][..], &[1, 6, 1, 2][..]));
    let sigmoid = 1.0 / (1.0 + (-1.0f64).exp()) as f32;
    assert_eq!(out.data[..6], [2.0, 2.0, 10.0, 20.0, 0.5, sigmoid]);
    assert_eq!(out.data[6..8], [6.0, 2.0]);
    assert_eq!(raw.data[10..], [1.0, 1.0]);
}
