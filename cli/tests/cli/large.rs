//! Valid models of few bytes that would take much time or memory, were they believed.

use ylb_format::model::*;

use crate::limited;
use crate::support::{Folder, assert_says};

/// Values, and with them nodes, that a model may have.
const MANY: u32 = 65_536;

/// Levels of a number of channels, a row of pixels.
fn levels(channels: u32, width: u32, max_level: u8) -> Value {
    let encoding = Encoding { max_level, step: 1, low: 0, zero_point: 0, scale: 0.0 };
    Value { name: String::new(), channels, height: 1, width, kind: ValueKind::Levels(encoding) }
}

fn model(values: Vec<Value>, operators: Vec<Operator>) -> Model {
    let node = |(operator, output)| Node { name: String::new(), output: ValueId(output), operator };
    Model {
        metadata: Metadata::default(),
        input: Input::new("", ValueId(0), [1; 256]),
        values,
        nodes: operators.into_iter().zip(1..).map(node).collect(),
        outputs: Vec::new(),
        detect: Detect { classes: 1, ..Detect::default() },
    }
}

fn map(input: u32) -> Operator {
    Operator::Map { input: ValueId(input), table: vec![1, 0] }
}

fn add(inputs: &[u32], bias: i64) -> Operator {
    let requantize = Requantize::Scale { multipliers: vec![1; inputs.len()], bias: vec![bias], shift: 1 };
    Operator::Add { inputs: inputs.iter().copied().map(ValueId).collect(), requantize }
}

/// A convolution of pixels, with weights of 1.
fn conv(channels: u32, requantize: bool) -> Operator {
    let weights = Weights {
        shape: [channels, 3, 1, 1],
        encoding: WeightEncoding::Unsigned,
        bits: 1,
        planes: vec![0x55; channels as usize * 3 / 8],
        zero_points: Vec::new(),
    };
    let count = channels as usize;
    let scale = Requantize::Scale { multipliers: vec![1; count], bias: vec![0; count], shift: 2 };
    Operator::Conv(Conv {
        terms: vec![ConvTerm { input: ValueId(0), weights }],
        window: Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] },
        groups: 1,
        requantize: requantize.then_some(scale),
    })
}

/// A model that loads within the limits.
fn loads(name: &str, model: &Model) {
    let folder = Folder::new(&format!("large_{name}"));
    let file = ylb_format::write(model).unwrap();
    assert!(file.len() < 6 << 20, "{} bytes", file.len());
    folder.write("large.ylb", file);
    let end = limited::run(&folder, &["info", "large.ylb"]);
    assert_eq!(end.fault(), None);
    assert_eq!(end.status, 0, "{}", end.stderr);
    eprintln!("{name}: {:.2} s of {}", end.seconds, end.most);
}

/// A model that is refused, in words.
fn is_refused(name: &str, model: &Model, words: &[&str]) {
    let folder = Folder::new(&format!("large_{name}"));
    folder.write("large.ylb", ylb_format::write(model).unwrap());
    folder.save("a.png", &crate::support::squares(64, 64, &[]));
    for args in [&["info", "large.ylb"] as &[&str], &["run", "large.ylb", "a.png"], &["bench", "large.ylb"]] {
        let end = limited::run(&folder, args);
        assert_eq!((end.fault(), end.status), (None, 1), "{args:?}: {}", end.stderr);
        assert_says(&end.stderr, words);
    }
}

#[test]
fn a_chain_of_maps() {
    loads("chain", &model(vec![levels(3, 1, 1); MANY as usize], (0..MANY - 1).map(map).collect()));
}

#[test]
fn very_many_values_at_a_time() {
    // All maps are there before the first sum.
    let maps = MANY / 3 * 2;
    let sums = (1..=maps / 2).map(|number| add(&[number, maps + 1 - number], 1));
    let operators: Vec<Operator> = (0..maps).map(|_| map(0)).chain(sums).collect();
    loads("fan", &model(vec![levels(3, 1, 1); operators.len() + 1], operators));
}

#[test]
fn very_many_sums_of_all_pairs_of_levels() {
    for (name, max_level) in [("bytes", 255), ("nibbles", 15)] {
        let operators: Vec<Operator> = (0..MANY - 1).map(|number| add(&[number, 0], number.into())).collect();
        loads(name, &model(vec![levels(3, 1, max_level); MANY as usize], operators));
    }
    let operators: Vec<Operator> = (0..MANY - 1).map(|number| add(&[number, 0, 0, number], 3)).collect();
    loads("fours", &model(vec![levels(3, 1, 255); MANY as usize], operators));
}

#[test]
fn a_value_that_very_many_concats_read() {
    // Each with another reader of the same value.
    let pairs = MANY / 2 - 2;
    let mut operators = vec![map(0)];
    operators.extend((0..pairs).map(|_| map(1)));
    operators.extend((0..pairs).map(|pair| Operator::Concat { inputs: vec![ValueId(2 + pair), ValueId(1)] }));
    let mut values = vec![levels(3, 1, 1); 2 + pairs as usize];
    values.extend(vec![levels(6, 1, 1); pairs as usize]);
    loads("concats", &model(values, operators));
}

#[test]
fn very_many_values_of_very_many_channels() {
    let mut values = vec![levels(3, 1, 1)];
    values.extend(vec![levels(MANY, 1, 1); MANY as usize - 1]);
    let operators = std::iter::once(conv(MANY, true)).chain((1..MANY - 1).map(map)).collect();
    loads("wide", &model(values, operators));
}

/// As the file `valid-17GB.ylb`: sixteen heads of which each is within the limits.
#[test]
fn heads_of_gigabytes() {
    let pixels = Value { height: 4096, ..levels(3, 8192, 1) };
    let head = Value { kind: ValueKind::Accumulators, channels: 8, ..pixels.clone() };
    let mut values = vec![pixels];
    values.extend(vec![head; 16]);
    let mut model = model(values, (0..16).map(|_| conv(8, false)).collect());
    let detect = Detect { classes: 3, ..Detect::default() };
    let maps = (1..=16).map(|number| HeadMap::whole(ValueId(number), number, &detect, 1)).collect();
    model.detect = Detect { maps, ..detect };
    is_refused("heads", &model, &["large.ylb: ", "MB of memory", "limit is 4295 MB"]);
}

/// A row of 2^28 elements, of which working memory holds several.
#[test]
fn rows_of_gigabytes() {
    let mut values = vec![levels(3, 65_536, 1)];
    values.extend(vec![levels(4096, 65_536, 1); 2]);
    let model = model(values, vec![conv(4096, true), add(&[1, 1, 1, 1], 0)]);
    is_refused("rows", &model, &["large.ylb: ", "MB of memory", "limit is 4295 MB"]);
}
