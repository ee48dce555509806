//! Folders of weights made up of random numbers, in memory and on disk. The converter's tests use them, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ylb_source::npy::{self, Array, Elements};
use ylb_source::weights::{self, Arrays, Layer, NETWORK, Network, Op, PICTURE};
use ylb_source::{Described, Source, SourceError};

/// Numbers that look random and are the same every time.
pub struct Random(u64);

impl Random {
    /// From 0 to 1.
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next()
    }
}

/// Arrays of random numbers for whatever network asks: activations neither die nor saturate.
pub struct Made {
    random: Random,
    /// Codes of weights.
    pub range: (i64, i64),
    /// Weights of an output channel of the convolution asked for last.
    fan_in: usize,
    /// Endings of the files that there are, beside those of weights.
    present: &'static [&'static str],
    /// Names of layers whose outputs have a quantizer; set from the network.
    quantized: BTreeSet<String>,
    /// Whether sums and concats go without.
    pub naive: bool,
    /// What was made, by file name.
    made: BTreeMap<String, Array>,
}

/// Every activation and join has a quantizer of its own.
pub const ALL_QUANTIZED: &[&str] = &[".bias.npy", ".output_scale.npy"];

impl Made {
    pub fn new(bits: u32, present: &'static [&'static str]) -> Self {
        let half = 1 << (bits - 1);
        Self {
            random: Random(7),
            range: (-half, half - 1),
            fan_in: 1,
            present,
            quantized: BTreeSet::new(),
            naive: false,
            made: BTreeMap::new(),
        }
    }

    /// Takes the layers that have a quantizer. Heads stay raw, as most exports leave them.
    pub fn of(mut self, network: &Network) -> Self {
        let own = |layer: &&Layer| layer.op == Op::Conv || (!self.naive && layer.op != Op::Detect);
        let layers = network.layers().iter().filter(own).map(|layer| layer.name.clone());
        self.quantized = layers.chain([PICTURE.to_owned()]).collect();
        self
    }

    fn elements(&mut self, file: &str, count: usize) -> Elements {
        let mut reals =
            |low, high| Elements::F32((0..count).map(|_| self.random.between(low, high)).collect());
        let ending = file.rsplit('.').nth(1).unwrap();
        match ending {
            "weight" => {
                let (low, high) = self.range;
                let levels = (high - low + 1) as f32;
                let code = |_| low + ((self.random.next() * levels) as i64).min(high - low);
                Elements::Integers((0..count).map(code).collect())
            }
            "weight_scale" => {
                let deviation = (self.range.1 - self.range.0 + 1) as f32 / 12f32.sqrt();
                let usual = 1.5 / (deviation * (self.fan_in as f32).sqrt());
                reals(0.6 * usual, 1.4 * usual)
            }
            "output_scale" if file.starts_with("image") => Elements::F32(vec![1.0 / 255.0]),
            "output_scale" => reals(0.09, 0.16),
            "multiplier" | "bn_gamma" => reals(-0.5, 1.5),
            "bn_var" => reals(0.5, 1.5),
            "output_zero_point" => Elements::Integers(vec![5]),
            "weight_zero_point" => Elements::Integers((0..count as i64).map(|c| c % 3).collect()),
            _ => reals(-0.3, 0.3),
        }
    }
}

impl Arrays for Made {
    fn array(&mut self, file: &str, shapes: &[&[usize]]) -> Result<Option<Array>, SourceError> {
        let is_weight = file.ends_with(".weight.npy") || file.ends_with(".weight_scale.npy");
        let absent = file.split_once(".output_").is_some_and(|(name, _)| !self.quantized.contains(name));
        if !is_weight && (absent || !self.present.iter().any(|ending| file.ends_with(ending))) {
            return Ok(None);
        }
        let shape = shapes.last().unwrap().to_vec();
        let shape = if file.contains(".output_") { Vec::new() } else { shape };
        if file.ends_with(".weight.npy") {
            self.fan_in = shape[1..].iter().product();
        }
        let elements = self.elements(file, shape.iter().product());
        let array = Array { shape, elements };
        self.made.insert(file.to_owned(), array.clone());
        Ok(Some(array))
    }
}

/// A source of random numbers, and those numbers.
pub fn made(json: &str, arrays: Made) -> Result<(Source, BTreeMap<String, Array>), SourceError> {
    let network = Network::parse(json.as_bytes())?;
    let mut arrays = arrays.of(&network);
    let graph = weights::build(&network, &mut arrays)?;
    let described = Described { names: network.names, anchors: network.anchors };
    let source = Source {
        graph,
        name: "made".into(),
        sha256: [1; 32],
        bytes: 0,
        files: Vec::new(),
        described: Some(described),
    };
    Ok((source, arrays.made))
}

/// The `.npy` file of an array.
pub fn npy_file(array: &Array) -> Vec<u8> {
    let (descriptor, data): (_, Vec<u8>) = match &array.elements {
        Elements::F32(values) => ("<f4", values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Elements::F64(values) => ("<f8", values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Elements::Integers(values) => {
            ("<i2", values.iter().flat_map(|&x| (x as i16).to_le_bytes()).collect())
        }
    };
    let shape: String = array.shape.iter().map(|extent| format!("{extent},")).collect();
    let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut bytes = npy::MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Writes a folder of its own for a test.
pub fn saved(test: &str, json: &str, arrays: &BTreeMap<String, Array>) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ylb-weights-{test}-{}", std::process::id()));
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(NETWORK), json).unwrap();
    for (name, array) in arrays {
        fs::write(folder.join(name), npy_file(array)).unwrap();
    }
    folder
}

/// A few layers of every kind.
pub const SMALL: &str = r#"{
    "format": "yolo-lowbit weights 1",
    "image_size": [32, 48],
    "names": ["cat"],
    "anchors": [[[10, 13], [16, 30]], [[30, 61], [62, 45]]],
    "activation": "relu",
    "weights": {"bits": 4, "kind": "signed"},
    "activations": {"bits": 4, "kind": "unsigned"},
    "layers": [
        {"name": "stem", "op": "conv", "channels": 5, "kernel": 6, "stride": 2, "padding": 2},
        {"name": "a", "op": "conv", "channels": 7, "kernel": 3, "stride": 2},
        {"name": "b", "op": "conv", "channels": 7, "kernel": 3, "groups": 7},
        {"name": "sum", "op": "add", "from": ["a", "b"]},
        {"name": "pool", "op": "max_pool", "kernel": 5},
        {"name": "join", "op": "concat", "from": ["sum", "pool"]},
        {"name": "down", "op": "conv", "channels": 6, "kernel": 3, "stride": 2},
        {"name": "up", "op": "upsample", "factor": 2},
        {"name": "fine", "op": "concat", "from": ["up", "join"]},
        {"name": "last", "op": "conv", "channels": 9, "kernel": 1},
        {"name": "head", "op": "detect", "from": ["last", "down"]}
    ]
}"#;
