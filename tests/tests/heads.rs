//! Heads whose sums just fit 16 bits, and just do not: the runtime against the reference executor.

use std::sync::Arc;

use ylb_converter::reference::execute;
use ylb_format::model::{
    Conv, ConvTerm, Detect, Encoding, HeadMap, Input, MapPart, Metadata, Model, Node, Operator, Output,
    OutputKind, Value, ValueId, ValueKind, WeightEncoding, Weights, Window,
};
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{Network, Session, SessionOptions};

const EXTENT: u32 = 9;
/// One anchor, three classes.
const CHANNELS: u32 = 8;

/// A head alone, on the pixels: every weight is `weight`.
fn model(weight: i16) -> Model {
    let bytes = Encoding { max_level: 255, step: 1, low: 0, zero_point: 0, scale: 1.0 / 255.0 };
    let value = |channels, kind| Value { name: String::new(), channels, height: EXTENT, width: EXTENT, kind };
    // Of 8 bits, from 0 on: a negative weight is a zero point.
    let (code, zero_points) =
        if weight < 0 { (0, vec![-weight; CHANNELS as usize]) } else { (weight, Vec::new()) };
    let plane_len = 3 * CHANNELS as usize / 8;
    let planes = (0..8).flat_map(|plane| vec![if code >> plane & 1 == 1 { 255 } else { 0 }; plane_len]);
    let weights = Weights {
        shape: [CHANNELS, 3, 1, 1],
        encoding: WeightEncoding::Unsigned,
        bits: 8,
        planes: planes.collect(),
        zero_points,
    };
    let conv = Conv {
        terms: vec![ConvTerm { input: ValueId(0), weights }],
        window: Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] },
        groups: 1,
        requantize: None,
    };
    let detect = Detect { classes: 3, ..Detect::default() };
    let mut map = HeadMap::whole(ValueId(1), 1, &detect, 1);
    map.anchors = vec![[1.0, 1.0]];
    map.parts[0].multipliers.fill(1 << 10);
    map.parts[0].shift = 16;
    Model {
        metadata: Metadata::default(),
        input: Input::new("images", ValueId(0), std::array::from_fn(|byte| byte as u8)),
        values: vec![value(3, ValueKind::Levels(bytes)), value(CHANNELS, ValueKind::Accumulators)],
        nodes: vec![Node { name: "head".to_owned(), output: ValueId(1), operator: Operator::Conv(conv) }],
        outputs: vec![Output { name: "output".to_owned(), kind: OutputKind::Head(MapPart::whole(0)) }],
        detect: Detect { maps: vec![map], ..detect },
    }
}

/// Bytes planned for a network whose heads have such weights, and what it leaves for a picture with the largest
/// sums in its first half.
fn run(weight: i16, kernels: &str, threads: usize) -> usize {
    let area = (EXTENT * EXTENT) as usize;
    let byte = |index: usize| if index < area / 2 { 255 } else { (index * 7 % 256) as u8 };
    let planes: Vec<u8> = (0..3 * area).map(|index| byte(index % area)).collect();
    let pixels: Vec<u8> = (0..3 * area).map(|index| byte(index / 3)).collect();
    let model = model(weight);
    let expected = execute(&model, &planes).outputs().swap_remove(0).data;
    let dispatch = Dispatch::restricted_to(kernels).expect("kernels");
    let network = Arc::new(Network::new(model, &dispatch).expect("a network"));
    let options = SessionOptions { threads, ..SessionOptions::default() };
    let mut session = Session::new(Arc::clone(&network), options).expect("a session");
    session.run_pixels(&pixels).expect("a frame");
    let outputs = session.outputs().expect("outputs");
    assert_eq!(outputs[0].data, expected, "weights of {weight}, {kernels:?}, {threads} threads");
    network.arena_len()
}

#[test]
fn sums_are_kept_in_16_bits_only_where_all_fit() {
    for kernels in ["", "generic"] {
        for threads in [1, 3] {
            // 3 channels of 255: 32130 and 32895.
            let [narrow, wide] = [42, 43].map(|weight| run(weight, kernels, threads));
            assert!(narrow < wide, "{narrow} bytes, and {wide}");
            assert_eq!([-42, -43].map(|weight| run(weight, kernels, threads)), [narrow, wide]);
        }
    }
}
