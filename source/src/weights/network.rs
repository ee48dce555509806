//! `network.json`: the network's layers and what they compute.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use ylb_zoo::{Function, PICTURE, yolov5};

use super::arrays::in_file;
use super::folder::NETWORK;
use crate::error::SourceError;

/// What `format` must say.
const FORMAT: &str = "yolo-lowbit weights 1";
/// Most layers of a network; YOLOv5x6 has about 240.
const MAX_LAYERS: usize = 10_000;
/// Most classes, and channels, rows or columns of a layer, as many as a `.ylb` file has: their products fit.
pub const MAX_EXTENT: usize = 65_536;
/// Bytes of a layer's name: with what follows it, a file's name.
const MAX_NAME: usize = 200;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    format: String,
    /// Height and width of the picture.
    pub image_size: [usize; 2],
    /// Class names.
    pub names: Vec<String>,
    /// For each level of the detection head, smallest stride first: width and height in pixels.
    pub anchors: Vec<Vec<[f32; 2]>>,
    architecture: Option<Architecture>,
    #[serde(default)]
    layers: Vec<Layer>,
    /// Behind convolutions that do not say.
    #[serde(default)]
    activation: Activation,
    /// Added to variances of batch normalizations.
    #[serde(default = "default_epsilon")]
    pub bn_epsilon: f32,
    /// Codes of the weights that `overrides` do not name.
    weights: Codes,
    /// Codes of the activations that `overrides` do not name.
    activations: Codes,
    #[serde(default)]
    overrides: BTreeMap<String, Override>,
}

/// A known network in the place of a list of layers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Architecture {
    /// YOLOv5 6.0 and later, with 3 levels.
    Yolov5(Multiples),
    /// YOLOv5 6.0 and later, with 4 levels.
    Yolov5P6(Multiples),
}

/// What sets the sizes of a family apart.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Multiples {
    depth_multiple: f64,
    width_multiple: f64,
}

impl Architecture {
    /// Its layers.
    fn layers(&self) -> Result<Vec<Layer>, String> {
        let (build, multiples): (fn(_) -> _, _) = match self {
            Self::Yolov5(multiples) => (yolov5::p5, multiples),
            Self::Yolov5P6(multiples) => (yolov5::p6, multiples),
        };
        let &Multiples { depth_multiple, width_multiple } = multiples;
        let layers = build(yolov5::Multiples { depth_multiple, width_multiple })?;
        layers.into_iter().map(Layer::of_zoo).collect()
    }
}

/// How integers are spread.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `0 ..= 2^bits − 1`.
    Unsigned,
    /// `−2^(bits−1) ..= 2^(bits−1) − 1`.
    Signed,
    /// Odd numbers, `−(2^bits − 1) ..= 2^bits − 1`: with one bit −1 and 1.
    Bipolar,
}

/// A range of codes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    /// 1 to 8.
    pub bits: u32,
    /// How they are spread.
    pub kind: Kind,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    weights: Option<Codes>,
    activations: Option<Codes>,
    activation: Option<Activation>,
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x < 0 ? 0.1 · x : x`.
    LeakyRelu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · min(max(x / 6 + 1/2, 0), 1)`.
    Hardswish,
    /// `x · tanh(ln(1 + e^x))`.
    Mish,
}

/// What a layer does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A convolution with what follows it.
    Conv,
    /// The sum of two or more.
    Add,
    /// Channels one after another.
    Concat,
    /// The largest of each window.
    MaxPool,
    /// Rows and columns repeated.
    Upsample,
    /// A convolution for each level of the detection head.
    Detect,
}

/// One layer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its name, and the first part of its files' names.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Names of what it reads; by default the layer before it.
    #[serde(default)]
    pub from: Vec<String>,
    /// Output channels of a convolution.
    pub channels: Option<usize>,
    /// Rows and columns of the window of a convolution or a pooling.
    pub kernel: Option<usize>,
    /// Step of the window, by default 1.
    pub stride: Option<usize>,
    /// Padding at each side, by default half of the window, rounded down.
    pub padding: Option<usize>,
    /// Groups of channels of a convolution, by default 1.
    pub groups: Option<usize>,
    /// How often an upsampling repeats rows and columns.
    pub factor: Option<usize>,
}

fn default_epsilon() -> f32 {
    1e-3
}

impl Codes {
    /// Smallest and largest code.
    pub fn range(self) -> (i64, i64) {
        match self.kind {
            Kind::Unsigned => (0, (1 << self.bits) - 1),
            Kind::Signed => (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1),
            Kind::Bipolar => (1 - (1 << self.bits), (1 << self.bits) - 1),
        }
    }
}

impl std::fmt::Display for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Unsigned => "unsigned",
            Kind::Signed => "signed",
            Kind::Bipolar => "bipolar",
        };
        write!(f, "{} bits, {kind}", self.bits)
    }
}

impl Network {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// If it is not such a file, or contradicts itself: [`NETWORK`] is named.
    pub fn parse(json: &[u8]) -> Result<Self, SourceError> {
        Self::checked(json).map_err(|reason| in_file(NETWORK, reason))
    }

    fn checked(json: &[u8]) -> Result<Self, String> {
        let mut network: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if network.format != FORMAT {
            return Err(format!("its format is \"{}\"; expected \"{FORMAT}\"", network.format));
        }
        match (&network.architecture, network.layers.is_empty()) {
            (Some(architecture), true) => network.layers = architecture.layers()?,
            (None, false) => {}
            _ => return Err("expected either \"architecture\" or \"layers\"".into()),
        }
        network.check_layers()?;
        network.check_numbers()?;
        Ok(network)
    }

    /// Layers in the order of computation.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Codes of a convolution's weights.
    pub fn weights(&self, layer: &str) -> Codes {
        self.overrides.get(layer).and_then(|own| own.weights).unwrap_or(self.weights)
    }

    /// Codes that a layer writes. Those of the picture are bytes unless an override says otherwise.
    pub fn activations(&self, layer: &str) -> Codes {
        let default = match layer {
            PICTURE => Codes { bits: 8, kind: Kind::Unsigned },
            _ => self.activations,
        };
        self.overrides.get(layer).and_then(|own| own.activations).unwrap_or(default)
    }

    /// What follows a convolution.
    pub fn activation(&self, layer: &str) -> Activation {
        self.overrides.get(layer).and_then(|own| own.activation).unwrap_or(self.activation)
    }

    fn check_layers(&mut self) -> Result<(), String> {
        if self.layers.len() > MAX_LAYERS {
            return Err(format!("{} layers; expected at most {MAX_LAYERS}", self.layers.len()));
        }
        let mut known = BTreeSet::from([PICTURE.to_owned()]);
        let mut last = PICTURE.to_owned();
        let mut detects = 0;
        for layer in &mut self.layers {
            let name = layer.name.clone();
            check_name(&name)?;
            if layer.from.is_empty() {
                layer.from.push(last);
            }
            if let Some(unknown) = layer.from.iter().find(|from| !known.contains(*from)) {
                return Err(format!("layer \"{name}\" reads \"{unknown}\", which no layer before it writes"));
            }
            layer.check().map_err(|reason| format!("layer \"{name}\": {reason}"))?;
            if layer.op == Op::Detect {
                detects += 1;
                for level in 0..layer.from.len() {
                    insert(&mut known, format!("{name}.{level}"))?;
                }
            }
            insert(&mut known, name.clone())?;
            last = name;
        }
        if detects != 1 || self.layers.last().is_none_or(|layer| layer.op != Op::Detect) {
            return Err(format!("{detects} layers \"detect\"; expected one, the last layer"));
        }
        match self.overrides.keys().find(|name| !known.contains(*name)) {
            Some(name) => Err(format!("overrides name \"{name}\", which is no layer")),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), String> {
        let overrides = self.overrides.values();
        let weights = overrides.clone().filter_map(|own| own.weights).chain([self.weights]);
        for codes in weights.chain(overrides.filter_map(|own| own.activations)).chain([self.activations]) {
            if !(1..=8).contains(&codes.bits) {
                return Err(format!("codes of {} bits; expected 1 to 8", codes.bits));
            }
        }
        let activations = self.overrides.values().filter_map(|own| own.activations).chain([self.activations]);
        if let Some(codes) = activations.into_iter().find(|c| c.kind == Kind::Bipolar && c.bits != 1) {
            return Err(format!("activations of {codes}; expected 1 bit where they are bipolar"));
        }
        let levels = self.layers.last().map_or(0, |layer| layer.from.len());
        let positive = self.anchors.iter().flatten().flatten().all(|&e| e > 0.0 && e.is_finite());
        if self.anchors.len() != levels
            || self.anchors.iter().any(|a| a.is_empty() || a.len() > 16)
            || !positive
        {
            return Err(format!(
                "anchors of {} levels; expected a list of 1 to 16 pairs of positive numbers for each of \
                 {levels} levels",
                self.anchors.len()
            ));
        }
        if self.names.is_empty() || self.names.len() > MAX_EXTENT {
            return Err(format!("{} class names; expected 1 to {MAX_EXTENT}", self.names.len()));
        }
        if self.image_size.iter().any(|extent| !(1..=1 << 14).contains(extent)) {
            return Err(format!("pictures of {:?} pixels; expected 1 to 16384", self.image_size));
        }
        if !(self.bn_epsilon >= 0.0 && self.bn_epsilon.is_finite()) {
            return Err(format!("bn_epsilon is {}; expected 0 or more", self.bn_epsilon));
        }
        Ok(())
    }
}

fn insert(known: &mut BTreeSet<String>, name: String) -> Result<(), String> {
    if known.contains(&name) {
        return Err(format!("two layers are called \"{name}\""));
    }
    known.insert(name);
    Ok(())
}

/// Whether a window is padded by as much at each side.
fn even(window: ylb_zoo::Window) -> bool {
    window.padding == [window.padding[0]; 4]
}

/// A layer's name becomes part of files' names.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(format!(
            "a layer is called {name:?}; expected 1 to {MAX_NAME} letters, digits, '.', '_' or '-', and no \
             '.' first"
        ));
    }
    Ok(())
}

impl Layer {
    /// A layer of a known architecture as `layers` would have it.
    fn of_zoo(layer: ylb_zoo::Layer) -> Result<Self, String> {
        let ylb_zoo::Layer { name, op, from } = layer;
        let plain = |op| Self {
            name: name.clone(),
            op,
            from: from.clone(),
            channels: None,
            kernel: None,
            stride: None,
            padding: None,
            groups: None,
            factor: None,
        };
        let windowed = |op, window: ylb_zoo::Window| Self {
            kernel: Some(window.kernel),
            stride: Some(window.stride),
            padding: Some(window.padding[0]),
            ..plain(op)
        };
        Ok(match op {
            ylb_zoo::Op::Conv { channels, window, groups, function: Function::Activation }
                if even(window) =>
            {
                Self { channels: Some(channels), groups: Some(groups), ..windowed(Op::Conv, window) }
            }
            ylb_zoo::Op::Add => plain(Op::Add),
            ylb_zoo::Op::Concat => plain(Op::Concat),
            ylb_zoo::Op::MaxPool(window) if even(window) => windowed(Op::MaxPool, window),
            ylb_zoo::Op::Upsample(factor) => Self { factor: Some(factor), ..plain(Op::Upsample) },
            ylb_zoo::Op::Detect => plain(Op::Detect),
            // What architectures to come need is added here with them.
            other => {
                return Err(format!("layer \"{name}\" is a {other:?}, which a weights folder does not have"));
            }
        })
    }

    fn check(&self) -> Result<(), String> {
        let fields = [
            ("channels", self.channels),
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("padding", self.padding),
            ("groups", self.groups),
            ("factor", self.factor),
        ];
        let (inputs, needed, allowed): (_, &[&str], &[&str]) = match self.op {
            Op::Conv => (1..=1, &["channels", "kernel"], &["stride", "padding", "groups"]),
            Op::Add => (2..=16, &[], &[]),
            Op::Concat => (2..=64, &[], &[]),
            Op::MaxPool => (1..=1, &["kernel"], &["stride", "padding"]),
            Op::Upsample => (1..=1, &["factor"], &[]),
            Op::Detect => (1..=16, &[], &[]),
        };
        if !inputs.contains(&self.from.len()) {
            return Err(format!("reads {} layers; expected {inputs:?}", self.from.len()));
        }
        for (field, value) in fields {
            let known = needed.contains(&field) || allowed.contains(&field);
            let most = if matches!(field, "channels" | "groups") { MAX_EXTENT } else { 64 };
            let least = usize::from(field != "padding");
            match value {
                Some(_) if !known => return Err(format!("\"{field}\" does not belong to it")),
                None if needed.contains(&field) => return Err(format!("expected \"{field}\"")),
                Some(value) if !(least..=most).contains(&value) => {
                    return Err(format!("{field} is {value}; expected {least} to {most}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
