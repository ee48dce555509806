//! Models: opening them with messages that help, and their layers in words.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use ylb_format::model::{Conv, Model, Operator};
use ylb_runtime::{Network, Session, SessionOptions, StepInfo};
use ylb_source::Source;

/// Opens a `.ylb` file.
///
/// # Errors
/// If it cannot be read, is an ONNX file, is no valid model, or is of a newer format version.
pub fn open(path: &Path) -> Result<Arc<Network>> {
    let cannot_load = || format!("cannot load {}", path.display());
    // A first look, for the reasons that are clearer when the file as a whole is in view.
    let found = fs::metadata(path).with_context(cannot_load)?;
    let what = if found.is_dir() { "folder" } else { "pipe or a device" };
    ensure!(found.is_file(), "{} is a {what}, but the model must be a .ylb file", path.display());
    let mut start = [0; 8];
    let mut file = File::open(path).with_context(cannot_load)?;
    let read = file.read(&mut start).with_context(cannot_load)?;
    if looks_like_onnx(path, &start[..read]) {
        bail!("{0} is an ONNX file: convert it first with \"yolo-lowbit convert {0}\"", path.display());
    }
    Ok(Arc::new(Network::open(path)?))
}

/// Opens what a model is made from: an ONNX file, or a folder of weights.
///
/// # Errors
/// If it cannot be read, or holds no model; `cannot` says what it was wanted for.
pub fn open_source(path: &Path, cannot: impl Fn() -> String) -> Result<Source> {
    if path.is_dir() {
        return Source::weights(path).with_context(cannot);
    }
    let bytes = fs::read(path).with_context(|| format!("cannot open {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Source::onnx(&bytes, &name, path.parent()).with_context(cannot)
}

/// Starts threads and takes memory for a network.
///
/// # Errors
/// If the system does not give them.
pub fn start(network: &Arc<Network>, options: SessionOptions) -> Result<Session> {
    Session::new(Arc::clone(network), options).context("cannot start the network")
}

/// By its name, or by the field that every exporter writes first: the IR version.
fn looks_like_onnx(path: &Path, start: &[u8]) -> bool {
    const IR_VERSION_FIELD: u8 = 0x08;
    let named_so = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    named_so || matches!(start, [IR_VERSION_FIELD, 1..=20, ..])
}

/// A class's name, or its number where the model names none.
pub fn class_name(model: &Model, class: u32) -> String {
    let name = usize::try_from(class).ok().and_then(|class| model.metadata.class_names.get(class));
    name.cloned().unwrap_or_else(|| format!("class{class}"))
}

/// A layer in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the source model's node.
    pub name: String,
    /// The operator, such as `Conv`, `Add` or `MaxPool`.
    pub operator: &'static str,
    /// Window, stride and so on, such as `3x3/2`. Empty if there is nothing to say.
    pub details: String,
    /// Channels, height and width of the output.
    pub output_shape: [u32; 3],
    /// Bits of a weight; `None` without weights.
    pub weight_bits: Option<u8>,
    /// Bits of what is read: of the widest input, where there are several.
    pub activation_bits: Option<u8>,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Bytes that the weights take in the file.
    pub weight_bytes: u64,
    /// Bytes that they take in memory, as the micro-kernel wants them.
    pub packed_bytes: u64,
    /// Micro-kernel chosen on this CPU, or what is done in a layer without one.
    pub kernel: String,
    /// How sums become levels, see [`crate::requantization`]; `None` where they do not.
    pub requantization: Option<&'static str>,
}

/// All layers of a network, in the order of execution.
pub fn layers(network: &Network) -> Vec<Layer> {
    network.steps().map(|step| layer(network.model(), &step)).collect()
}

fn layer(model: &Model, step: &StepInfo<'_>) -> Layer {
    let operator = &step.node.operator;
    let output = model.value(step.node.output);
    let inputs = operator.inputs();
    let input_bits = inputs.iter().filter_map(|&input| Some(model.value(input).encoding()?.bits()));
    let terms = match operator {
        Operator::Conv(conv) => conv.terms.as_slice(),
        _ => &[],
    };
    Layer {
        name: step.node.name.clone(),
        operator: operator.name(),
        details: details(operator),
        output_shape: [output.channels, output.height, output.width],
        weight_bits: terms.iter().map(|term| term.weights.bits).max(),
        activation_bits: input_bits.max(),
        macs: step.macs,
        weight_bytes: terms.iter().map(|term| term.weights.planes.len() as u64).sum(),
        packed_bytes: step.packed_bytes as u64,
        kernel: step.kernel.to_owned(),
        requantization: step.requantization.map(|requantization| requantization.form),
    }
}

/// What tells an operator from others of its name.
fn details(operator: &Operator) -> String {
    let window = |window: &ylb_format::model::Window| {
        let [rows, columns] = window.kernel;
        let stride = match window.stride {
            [1, 1] => String::new(),
            [vertical, horizontal] if vertical == horizontal => format!("/{vertical}"),
            [vertical, horizontal] => format!("/{vertical},{horizontal}"),
        };
        format!("{rows}x{columns}{stride}")
    };
    match operator {
        Operator::Conv(conv) => format!("{}{}", window(&conv.window), extras(conv)),
        Operator::Map { table, .. } => format!("{} levels", table.len()),
        Operator::MaxPool { window: pool, .. } => window(pool),
        Operator::Upsample { factor, .. } => format!("x{factor}"),
        Operator::Slice { first, .. } => format!("from {first}"),
        Operator::Pad { padding: [top, left, bottom, right], .. } => format!("{top},{left},{bottom},{right}"),
        _ => format!("{} inputs", operator.inputs().len()),
    }
}

/// What is unusual about a convolution.
fn extras(conv: &Conv) -> String {
    let mut extras = String::new();
    if conv.groups > 1 {
        extras.push_str(&format!(", {} groups", conv.groups));
    }
    if conv.terms.len() > 1 {
        extras.push_str(&format!(", {} scales", conv.terms.len()));
    }
    extras
}

impl Layer {
    /// Operator and details in one cell of a table.
    pub fn title(&self) -> String {
        format!("{} {}", self.operator, self.details)
    }

    /// The output's shape in one cell of a table.
    pub fn shape(&self) -> String {
        let [channels, height, width] = self.output_shape;
        format!("{channels}x{height}x{width}")
    }

    /// Weight and activation bits as one usually writes them: `W2A4`.
    pub fn bits(&self) -> String {
        let bits =
            |letter: &str, bits: Option<u8>| bits.map(|bits| format!("{letter}{bits}")).unwrap_or_default();
        bits("W", self.weight_bits) + &bits("A", self.activation_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ylb_format::model::{ConvTerm, ValueId, WeightEncoding, Weights, Window};

    #[test]
    fn onnx_is_recognised_by_name_or_contents() {
        assert!(looks_like_onnx(Path::new("a.ONNX"), b""));
        assert!(looks_like_onnx(Path::new("model"), b"\x08\x08\x12\x07pytorch"));
        assert!(!looks_like_onnx(Path::new("a.ylb"), b"\x8eYLB\r\n\x1a\n"));
        assert!(!looks_like_onnx(Path::new("a.ylb"), b""));
    }

    #[test]
    fn operators_in_words() {
        let weights = Weights {
            shape: [1, 1, 3, 3],
            encoding: WeightEncoding::Bipolar,
            bits: 1,
            planes: vec![0; 2],
            zero_points: Vec::new(),
        };
        let term = ConvTerm { input: ValueId(0), weights };
        let window = Window { kernel: [3, 5], stride: [2, 2], padding: [1; 4] };
        let conv = Conv { terms: vec![term.clone(), term], window, groups: 4, requantize: None };
        assert_eq!(details(&Operator::Conv(conv)), "3x5/2, 4 groups, 2 scales");
        let window = Window { kernel: [5, 5], stride: [1, 1], padding: [2; 4] };
        assert_eq!(details(&Operator::MaxPool { input: ValueId(0), window }), "5x5");
        assert_eq!(details(&Operator::Concat { inputs: vec![ValueId(0); 3] }), "3 inputs");
        assert_eq!(details(&Operator::Slice { input: ValueId(0), first: 8 }), "from 8");
        assert_eq!(details(&Operator::Pad { input: ValueId(0), padding: [0, 0, 1, 1] }), "0,0,1,1");
    }
}
