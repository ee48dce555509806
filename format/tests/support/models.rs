//! Models to write: the smallest, one with every operator, one with YOLOv5n's shape.

use ylb_format::model::*;

/// Unsigned levels `0..=max_level` of scale 0.5.
pub fn unsigned(max_level: u8) -> Encoding {
    Encoding { max_level, step: 1, low: 0, zero_point: 0, scale: 0.5 }
}

pub fn value(name: &str, [channels, height, width]: [u32; 3], encoding: Encoding) -> Value {
    Value { name: name.to_owned(), channels, height, width, kind: ValueKind::Levels(encoding) }
}

pub fn accumulators(name: &str, [channels, height, width]: [u32; 3]) -> Value {
    Value { name: name.to_owned(), channels, height, width, kind: ValueKind::Accumulators }
}

pub fn node(name: &str, output: u32, operator: Operator) -> Node {
    Node { name: name.to_owned(), output: ValueId(output), operator }
}

pub fn square(kernel: u32, stride: u32, padding: u32) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 4] }
}

/// Weights whose codes go round through all that `bits` bits have.
pub fn cyclic(shape: [u32; 4], encoding: WeightEncoding, bits: u8) -> Weights {
    let len = shape.iter().product::<u32>();
    let mask = u8::MAX >> (8 - bits);
    let codes: Vec<u8> = (0..len).map(|index| (index * 7 / 3) as u8 & mask).collect();
    Weights::from_codes(shape, encoding, bits, &codes, vec![])
}

pub fn term(input: u32, weights: Weights) -> ConvTerm {
    ConvTerm { input: ValueId(input), weights }
}

/// A picture of one pixel, seen in black and white; a convolution decides whether two colours of
/// three are on. The worked example of `docs/ylb-format.md`.
pub fn tiny() -> Model {
    let bits = Encoding { max_level: 1, step: 1, low: 0, zero_point: 0, scale: 1.0 };
    let mut pixel_levels = [0; 256];
    pixel_levels[128..].fill(1);
    let weights = Weights::from_codes([1, 3, 1, 1], WeightEncoding::Unsigned, 1, &[1, 0, 1], vec![]);
    Model {
        metadata: Metadata {
            converter: "example 1".to_owned(),
            source_name: "tiny.onnx".to_owned(),
            source_format: "QONNX".to_owned(),
            ..Metadata::default()
        },
        input: Input::new("in", ValueId(0), pixel_levels),
        values: vec![value("x", [3, 1, 1], bits), value("y", [1, 1, 1], bits)],
        nodes: vec![node(
            "conv",
            1,
            Operator::Conv(Conv {
                terms: vec![term(0, weights)],
                window: square(1, 1, 0),
                groups: 1,
                requantize: Some(Requantize::Scale { multipliers: vec![1], bias: vec![-1], shift: 0 }),
            }),
        )],
        outputs: vec![],
        detect: Detect::default(),
    }
}

/// Node indices of [`detector`].
pub mod nodes {
    pub const STEM: usize = 0;
    pub const POOL: usize = 1;
    pub const CONCAT: usize = 2;
    pub const TWO_TERMS: usize = 3;
    pub const GROUPED: usize = 4;
    pub const ADD: usize = 5;
    pub const MAP: usize = 6;
    pub const UPSAMPLE: usize = 7;
    pub const HEAD: usize = 8;
}

/// A detector with every operator, every requantization and every kind of output.
pub fn detector() -> Model {
    let bipolar = Encoding { max_level: 1, step: 2, low: -1, zero_point: 0, scale: 0.0 };
    let signed = Encoding { max_level: 15, step: 1, low: -8, zero_point: -3, scale: 0.125 };
    let values = vec![
        value("image", [3, 8, 8], unsigned(255)),
        value("stem", [4, 4, 4], unsigned(3)),
        value("pool", [4, 4, 4], Encoding { scale: 0.25, ..unsigned(3) }),
        value("", [8, 4, 4], unsigned(3)),
        value("two terms", [6, 4, 4], signed),
        value("grouped", [6, 4, 4], bipolar),
        value("sum", [6, 4, 4], unsigned(7)),
        value("map", [6, 4, 4], unsigned(15)),
        value("", [6, 8, 8], unsigned(15)),
        accumulators("head 0", [14, 8, 8]),
        value("head 1", [7, 4, 4], signed),
    ];
    let conv = |terms, window, groups, requantize| Operator::Conv(Conv { terms, window, groups, requantize });
    let scale = |multipliers: Vec<i32>, channels| Requantize::Scale {
        multipliers,
        bias: vec![1 << 23; channels],
        shift: 24,
    };
    let mut asymmetric = cyclic([6, 8, 3, 3], WeightEncoding::Unsigned, 4);
    asymmetric.zero_points = vec![8, 7, 0, -1, 255, -255];
    let nodes = vec![
        node(
            "stem",
            1,
            conv(
                vec![term(0, cyclic([4, 3, 3, 3], WeightEncoding::TwosComplement, 8))],
                square(3, 2, 1),
                1,
                Some(scale(vec![40_000, -50_000, i32::MAX, i32::MIN], 4)),
            ),
        ),
        node("pool", 2, Operator::MaxPool { input: ValueId(1), window: square(3, 1, 1) }),
        node("", 3, Operator::Concat { inputs: vec![ValueId(1), ValueId(2)] }),
        node(
            "two terms",
            4,
            conv(
                vec![term(3, asymmetric), term(1, cyclic([6, 4, 3, 3], WeightEncoding::TwosComplement, 2))],
                square(3, 1, 1),
                1,
                Some(scale((-6..6).map(|factor| factor * 99_999).collect(), 6)),
            ),
        ),
        node(
            "grouped",
            5,
            conv(
                vec![term(2, cyclic([6, 2, 1, 1], WeightEncoding::Bipolar, 1))],
                square(1, 1, 0),
                2,
                Some(Requantize::Staircase {
                    thresholds: vec![vec![], vec![0], vec![-1], vec![3], vec![-2, 2], vec![1]],
                    levels: [&[1][..], &[0, 1], &[1, 0], &[0, 1], &[1, 0, 1], &[0, 1]]
                        .map(<[u8]>::to_vec)
                        .to_vec(),
                }),
            ),
        ),
        node(
            "sum",
            6,
            Operator::Add {
                inputs: vec![ValueId(4), ValueId(5)],
                requantize: Requantize::ScaledStaircase {
                    multipliers: vec![1 << 23, -3],
                    bias: vec![-1 << 22],
                    thresholds: vec![i64::MIN, -5, 0, i64::MAX],
                    levels: vec![0, 7, 1, 2, 3],
                },
            },
        ),
        node("map", 7, Operator::Map { input: ValueId(6), table: vec![0, 15, 3, 3, 1, 0, 14, 2] }),
        node("up", 8, Operator::Upsample { input: ValueId(7), factor: 2 }),
        node(
            "head 0",
            9,
            conv(
                vec![term(8, cyclic([14, 6, 1, 1], WeightEncoding::TwosComplement, 8))],
                square(1, 1, 0),
                1,
                None,
            ),
        ),
        node(
            "head 1",
            10,
            conv(
                vec![term(7, cyclic([7, 6, 1, 1], WeightEncoding::Bipolar, 3))],
                square(1, 1, 0),
                1,
                Some(scale(vec![70_000; 7], 7)),
            ),
        ),
    ];
    let map = |value, stride, anchors: &[[f32; 2]]| HeadMap {
        stride,
        anchors_per_cell: anchors.len() as u32,
        anchors: anchors.to_vec(),
        scale_xy: 2.0,
        parts: vec![part(value, 0..7, anchors.len())],
    };
    let output = |name: &str, kind| Output { name: name.to_owned(), kind };
    let mut pixel_levels = [0; 256];
    pixel_levels.iter_mut().zip(0..=255).for_each(|(level, byte)| *level = byte);
    Model {
        metadata: Metadata {
            converter: "yolo-lowbit test".to_owned(),
            source_name: "modèle.onnx".to_owned(),
            source_format: "QCDQ".to_owned(),
            source_sha256: [0xa5; 32],
            class_names: vec!["person".to_owned(), String::new()],
        },
        input: Input::new("images", ValueId(0), pixel_levels),
        values,
        nodes,
        outputs: vec![
            output("raw", OutputKind::Head(MapPart::whole(0))),
            output("by anchor", OutputKind::HeadByAnchor(MapPart::whole(1))),
            output("boxes", OutputKind::Decoded),
        ],
        detect: Detect {
            classes: 2,
            maps: vec![map(9, 8, &[[10.0, 13.5], [33.0, 23.0]]), map(10, 16, &[[116.0, 90.0]])],
            ..Detect::default()
        },
    }
}

/// A part of a feature map.
pub fn part(value: u32, fields: std::ops::Range<u32>, anchors: usize) -> HeadPart {
    let channels = anchors * (fields.end - fields.start) as usize;
    HeadPart {
        value: ValueId(value),
        fields,
        multipliers: vec![12_345; channels],
        bias: vec![-(1 << 30); channels],
        shift: 24,
    }
}

/// A detector of the family and score rule, whose only map comes from a convolution for boxes, one for the objectness
/// if there is one, and one for three classes.
pub fn in_parts(boxes: BoxRule, scores: ScoreRule) -> Model {
    let mut model = tiny();
    let (nodes, values) = (&mut model.nodes, &mut model.values);
    let detect = Detect { classes: 3, boxes, scores, maps: Vec::new() };
    let mut map = HeadMap { parts: Vec::new(), ..HeadMap::whole(ValueId(0), 8, &detect, 1) };
    nodes.clear();
    values.truncate(1);
    let mut fields = 0;
    for (id, count) in (1..).zip([boxes.fields(), u32::from(scores.has_objectness()), 3]) {
        if count == 0 {
            continue;
        }
        let (id, weights) =
            (id.min(values.len() as u32), cyclic([count, 3, 1, 1], WeightEncoding::Unsigned, 1));
        let conv =
            Conv { terms: vec![term(0, weights)], window: square(1, 1, 0), groups: 1, requantize: None };
        nodes.push(node("", id, Operator::Conv(conv)));
        values.push(accumulators("", [count, 1, 1]));
        map.parts.push(part(id, fields..fields + count, 1));
        fields += count;
    }
    model.detect = Detect { maps: vec![map], ..detect };
    let last = model.detect.maps[0].parts.len() as u32 - 1;
    let output =
        |part| Output { name: format!("part {part}"), kind: OutputKind::Head(MapPart { map: 0, part }) };
    model.outputs = vec![output(0), output(last)];
    model
}
