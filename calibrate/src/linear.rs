//! Layers with weights that are no convolutions: transposed convolutions, and linear layers on pooled maps.
//!
//! They are few and small, as YOLOv6's enlargements and the gates of squeeze-and-excitation are. So their weights have 8 bits,
//! whatever was asked for, one scale for each output channel, and the nearest codes. That is done first: the float network that
//! everything else is measured against has these weights already.

use std::collections::BTreeMap;

use ylb_source::SourceError;
use ylb_source::ir::{Graph, Node, Tensor, TensorId};

use crate::emit;
use crate::forward::Forward;
use crate::report::Error;
use crate::structure::{Structure, have_codes};
use crate::weights::Weights;

/// Largest code.
const MOST: i32 = 127;

/// The layers in a network's body whose weights are floats: codes of these, and their error, by the tensor that a layer writes.
pub fn found(network: &Forward) -> BTreeMap<TensorId, (Weights, Error)> {
    let needed = Structure::needed(network);
    let is_inner = |node: &Node| node.outputs.first().is_some_and(|id| needed.contains(id));
    let nodes = (0..network.len()).map(|position| network.node(position)).filter(|node| is_inner(node));
    nodes.filter_map(|node| Some((*node.outputs.first()?, weights(network, node)?))).collect()
}

/// The graph with codes in the place of these weights.
///
/// # Errors
/// If numbers do not fit their shapes.
pub fn quantized(
    source: &Graph,
    layers: &BTreeMap<TensorId, (Weights, Error)>,
) -> Result<Graph, SourceError> {
    let weights = layers.iter().map(|(&id, (weights, _))| (id, weights.clone())).collect();
    emit::graph(source, &weights, &BTreeMap::new(), &BTreeMap::new())
}

/// A layer's weights as codes, if it has constant ones in floats.
fn weights(network: &Forward, node: &Node) -> Option<(Weights, Error)> {
    let id = node.input(1)?;
    let weights: &Tensor = network.constant(id).filter(|_| !have_codes(network.graph(), id))?;
    let axis = match weights.shape().len() {
        4 if node.is("ConvTranspose") => 1,
        2 if node.is("Gemm") => usize::from(node.int("transB", 0) == 0),
        2 if node.is("MatMul") => 1,
        _ => return None,
    };
    let numbers: Vec<f32> = weights.to_f64().into_iter().map(|x| x as f32).collect();
    let own = Weights::nearest_along(&numbers, weights.shape(), axis, MOST);
    let error = Error { bits: own.bits(), signal_to_noise: own.signal_to_noise(&numbers) };
    Some((own, error))
}
