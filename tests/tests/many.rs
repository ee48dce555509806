//! A network of so many values and sums that other methods are chosen: memory is planned in order of time, and sums
//! and products get no tables. The runtime against the reference executor.

use std::collections::BTreeMap;
use std::sync::Arc;

use ylb_converter::reference::execute;
use ylb_format::model::*;
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{Network, Session, SessionOptions};
use ylb_tests::rng::Rng;

const NODES: u32 = 3000;
const HEIGHT: u32 = 5;
const WIDTH: u32 = 6;
/// One anchor, one class.
const CHANNELS: u32 = 6;

fn value(index: u32, channels: u32, kind: ValueKind) -> Value {
    Value { name: format!("value {index}"), channels, height: HEIGHT, width: WIDTH, kind }
}

/// Sums and products of the last value and any, mostly, and maps; then a head.
fn model(rng: &mut Rng) -> Model {
    let encoding = |rng: &mut Rng| {
        let low = -(rng.below(9) as i16);
        Encoding { max_level: 15, step: 1, low, zero_point: 0, scale: 0.0 }
    };
    let mut values = vec![value(0, 3, ValueKind::Levels(encoding(rng)))];
    let mut nodes = Vec::new();
    for output in 1..=NODES {
        let last = ValueId(output - 1);
        let any = ValueId(rng.below(output as usize) as u32);
        let kind = rng.below(5);
        let operator = if kind == 0 {
            Operator::Map { input: last, table: rng.bytes(16).iter().map(|byte| byte & 15).collect() }
        } else if kind == 1 {
            let multipliers = vec![150 + rng.below(100) as i32];
            let bias = vec![i64::from(rng.below(2000) as i32) + 500];
            Operator::Mul {
                inputs: [last, any],
                requantize: Requantize::Scale { multipliers, bias, shift: 8 },
            }
        } else {
            // The sum of two, and something on top: levels that differ from value to value.
            let multipliers = vec![200 + rng.below(100) as i32, -(rng.below(200) as i32)];
            let bias = vec![i64::from(rng.below(2000) as i32) + 500];
            let requantize = Requantize::Scale { multipliers, bias, shift: 8 };
            Operator::Add { inputs: vec![last, any], requantize }
        };
        values.push(value(output, 3, ValueKind::Levels(encoding(rng))));
        nodes.push(Node { name: String::new(), output: ValueId(output), operator });
    }
    let weights = Weights {
        shape: [CHANNELS, 3, 1, 1],
        encoding: WeightEncoding::Bipolar,
        bits: 1,
        planes: vec![0x5a, 0x69, 1],
        zero_points: Vec::new(),
    };
    let head = Conv {
        terms: vec![ConvTerm { input: ValueId(NODES), weights }],
        window: Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] },
        groups: 1,
        requantize: None,
    };
    values.push(value(NODES + 1, CHANNELS, ValueKind::Accumulators));
    nodes.push(Node { name: String::new(), output: ValueId(NODES + 1), operator: Operator::Conv(head) });
    let detect = Detect { classes: 1, ..Detect::default() };
    let mut map = HeadMap::whole(ValueId(NODES + 1), 1, &detect, 1);
    map.anchors = vec![[1.0, 1.0]];
    map.parts[0].shift = 4;
    Model {
        metadata: Metadata::default(),
        input: Input::new("images", ValueId(0), std::array::from_fn(|byte| byte as u8 >> 4)),
        values,
        nodes,
        outputs: vec![Output { name: "head".to_owned(), kind: OutputKind::Head(MapPart::whole(0)) }],
        detect: Detect { maps: vec![map], ..detect },
    }
}

#[test]
fn networks_of_very_many_nodes_run_as_they_are_defined() {
    let mut rng = Rng::new(7);
    let model = model(&mut rng);
    ylb_format::write(&model).expect("a valid model");
    let area = (HEIGHT * WIDTH) as usize;
    let planes = rng.bytes(3 * area);
    let pixels: Vec<u8> = (0..3 * area).map(|index| planes[index % 3 * area + index / 3]).collect();
    let reference = execute(&model, &planes);
    let dispatch = Dispatch::restricted_to("").expect("all kernels");
    let network = Arc::new(Network::new(model.clone(), &dispatch).expect("a network"));
    // Values share memory only where each is not kept.
    assert!(network.arena_len() < NODES as usize * area * 3, "{} bytes", network.arena_len());
    for keep_values in [false, true] {
        let options = SessionOptions { threads: 1, keep_values, profile: false };
        let mut session = Session::new(Arc::clone(&network), options).expect("a session");
        for _ in 0..2 {
            session.run_pixels(&pixels).expect("a frame");
            let outputs = session.outputs().expect("outputs");
            assert_eq!(outputs[0].data, reference.outputs()[0].data);
        }
        let codes: BTreeMap<_, _> =
            session.codes().into_iter().map(|codes| (codes.name.clone(), codes.data)).collect();
        assert_eq!(codes.len(), if keep_values { NODES as usize + 1 } else { 0 });
        let mut different_levels = 0;
        for (index, value) in model.values.iter().enumerate().filter(|_| keep_values) {
            let Some(expected) = reference.codes(ValueId(index as u32)) else { continue };
            assert!(codes[&value.name] == expected, "{}", value.name);
            different_levels += usize::from(expected.iter().any(|code| *code != expected[0]));
        }
        assert!(
            !keep_values || different_levels > NODES as usize / 2,
            "{different_levels} values are not constant"
        );
    }
}
