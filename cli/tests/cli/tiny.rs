//! A network so small that its results are known by thought: it finds squares of 8 pixels in red,
//! green or blue on black.
//!
//! One convolution of 8x8 pixels at stride 8 sums up the brightness of each cell (objectness) and by
//! how much one colour outweighs the others (classes). A lit cell gives one box of 16x16 pixels round
//! its centre. The picture is 64x64.

use ylb_format::model::*;

/// Names of the classes.
pub const CLASSES: [&str; 3] = ["red", "green", "blue"];

/// Confidence of a cell full of one colour: σ(48 · 16320 / 2^16 − 6)².
pub const CONFIDENCE: f64 = 0.994_825;

const SIZE: u32 = 64;
const CELL: u32 = 8;
const CHANNELS: usize = 8;
/// Places of objectness and of the first class behind x, y, w and h.
const OBJECTNESS: usize = 4;
const FIRST_CLASS: usize = 5;

/// The network's file.
pub fn file() -> Vec<u8> {
    ylb_format::write(&model()).unwrap()
}

/// The network with other names of its classes and of its only node.
pub fn file_with_names(classes: [&str; 3], node: &str) -> Vec<u8> {
    let mut model = model();
    model.metadata.class_names = classes.map(str::to_owned).to_vec();
    model.nodes[0].name = node.to_owned();
    ylb_format::write(&model).unwrap()
}

/// The network without anchors, as an export without box decoding leaves it.
pub fn file_without_anchors() -> Vec<u8> {
    let mut model = model();
    model.detect.maps[0].anchors.clear();
    model.outputs[0].kind = OutputKind::Head(MapPart::whole(0));
    ylb_format::write(&model).unwrap()
}

fn model() -> Model {
    let bytes = Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 1.0 / 255.0 };
    let cells = SIZE / CELL;
    let value = |name: &str, channels, extent, kind| Value {
        name: name.to_owned(),
        channels,
        height: extent,
        width: extent,
        kind,
    };
    let conv = Conv {
        terms: vec![ConvTerm { input: ValueId(0), weights: weights() }],
        window: Window { kernel: [CELL; 2], stride: [CELL; 2], padding: [0; 4] },
        groups: 1,
        requantize: None,
    };
    let lit = |channel: usize| channel >= OBJECTNESS;
    let detect = Detect { classes: 3, ..Detect::default() };
    let mut map = HeadMap::whole(ValueId(1), CELL, &detect, 1);
    map.anchors = vec![[16.0, 16.0]];
    let part = &mut map.parts[0];
    part.multipliers = (0..CHANNELS).map(|channel| if lit(channel) { 48 } else { 0 }).collect();
    part.bias = (0..CHANNELS).map(|channel| if lit(channel) { -6 << 16 } else { 0 }).collect();
    part.shift = 16;
    Model {
        metadata: Metadata {
            converter: "by hand".to_owned(),
            source_name: "tiny.onnx".to_owned(),
            source_format: "none".to_owned(),
            source_sha256: [0xab; 32],
            class_names: CLASSES.map(str::to_owned).to_vec(),
        },
        input: Input::new("images", ValueId(0), std::array::from_fn(|byte| byte as u8)),
        values: vec![
            value("pixels/codes", 3, SIZE, ValueKind::Levels(bytes)),
            value("", CHANNELS as u32, cells, ValueKind::Accumulators),
        ],
        nodes: vec![Node { name: "/head".to_owned(), output: ValueId(1), operator: Operator::Conv(conv) }],
        outputs: vec![Output { name: "output0".to_owned(), kind: OutputKind::Decoded }],
        detect: Detect { maps: vec![map], ..detect },
    }
}

/// Weights −1, 0 and 1 as two bits in two's complement.
fn weights() -> Weights {
    let weight = |output: usize, colour: usize| match output {
        OBJECTNESS => 1i8,
        FIRST_CLASS.. if output - FIRST_CLASS == colour => 1,
        FIRST_CLASS.. => -1,
        _ => 0,
    };
    let cell = (CELL * CELL) as usize;
    let mut planes = vec![0u8; 2 * CHANNELS * 3 * cell / 8];
    let plane_len = planes.len() / 2;
    for output in 0..CHANNELS {
        for index in 0..3 * cell {
            let flat = output * 3 * cell + index;
            let code = weight(output, index / cell) as u8;
            for plane in 0..2 {
                planes[plane * plane_len + flat / 8] |= (code >> plane & 1) << (flat % 8);
            }
        }
    }
    Weights {
        shape: [CHANNELS as u32, 3, CELL, CELL],
        encoding: WeightEncoding::TwosComplement,
        bits: 2,
        planes,
        zero_points: Vec::new(),
    }
}
