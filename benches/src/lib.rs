//! What the benchmarks in `benches/benches` share; see `make bench`.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ylb_format::model::Operator;
use ylb_kernels::registry::Dispatch;
use ylb_runtime::{Network, Session, SessionOptions};
use ylb_zoo::Net;
use ylb_zoo::synthetic::{self, Activation, Grid, Specification};
use ylb_zoo::yolov5::Size;

/// Rows and columns of the networks' input.
pub const SIDE: u32 = 320;

/// Weight and activation bits.
pub const BITS: [[u8; 2]; 5] = [[1, 1], [1, 2], [2, 2], [4, 4], [8, 8]];

/// YOLOv5n with random weights, 8 bits in the first convolution and the heads.
///
/// # Panics
/// If the environment names micro-kernels that this CPU does not have.
pub fn network([weight_bits, activation_bits]: [u8; 2]) -> Arc<Network> {
    let model = synthetic::network(&Specification {
        net: Net::Yolov5(Size::N),
        input: [SIDE; 2],
        weight_bits,
        activation_bits,
        edge_weight_bits: 8,
        classes: 80,
        activation: Activation::Relu,
        grid: Grid::Signed,
        seed: 1,
    });
    let dispatch = Dispatch::from_environment().expect("YLB_KERNELS names micro-kernels of this CPU");
    Arc::new(Network::new(model, &dispatch).expect("a valid network"))
}

/// A session of one thread.
///
/// # Panics
/// If the system gives no memory.
pub fn session(network: &Arc<Network>, profile: bool) -> Session {
    let options = SessionOptions { threads: 1, profile, ..SessionOptions::default() };
    Session::new(Arc::clone(network), options).expect("a session")
}

/// A picture for a session of [`network`].
pub fn pixels() -> Vec<u8> {
    (0..SIDE * SIDE * 3).map(|index| (index * 31 % 256) as u8).collect()
}

/// Size of a convolution of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Rows and columns of the kernel: it is square.
    pub kernel: usize,
    /// Rows and columns from a window to the next.
    pub stride: usize,
    /// Rows and columns of padding on each side.
    pub padding: usize,
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Rows and columns of the output.
    pub side: usize,
}

impl Layer {
    /// Multiply-accumulates.
    pub fn macs(&self) -> u64 {
        (self.kernel * self.kernel * self.channels[0] * self.channels[1] * self.side * self.side) as u64
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kernel, stride, channels: [inputs, outputs], side, .. } = self;
        write!(f, "{kernel}x{kernel} stride {stride}, {inputs} to {outputs} channels, {side}x{side}")
    }
}

/// The convolutions of different sizes, each with the number of the first node that has it.
pub fn layers(network: &Network) -> Vec<(usize, Layer)> {
    let model = network.model();
    let mut seen = HashSet::new();
    let layer = |(number, node): (usize, &ylb_format::model::Node)| {
        let Operator::Conv(conv) = &node.operator else {
            return None;
        };
        let [outputs, inputs, kernel, _] = conv.terms[0].weights.shape.map(|extent| extent as usize);
        let layer = Layer {
            kernel,
            stride: conv.window.stride[0] as usize,
            padding: conv.window.padding[0] as usize,
            channels: [inputs, outputs],
            side: model.value(node.output).height as usize,
        };
        Some((number, layer))
    };
    model.nodes.iter().enumerate().filter_map(layer).filter(|(_, layer)| seen.insert(*layer)).collect()
}

/// The float network of the same shape, if `benches/peers/run.sh` has made it. `target` is Cargo's folder.
pub fn float_model(target: &Path) -> Option<PathBuf> {
    let folder = env::var_os("YLB_PEER_MODELS").map_or_else(|| target.join("peers"), PathBuf::from);
    let path = folder.join(format!("yolov5n-{SIDE}-fp32.onnx"));
    path.exists().then_some(path)
}
