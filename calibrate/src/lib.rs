//! Quantization after training: from a float detector and a few pictures to what a training with quantizers would have
//! exported.
//!
//! ```text
//! ir::Graph ─ forward ─► numbers ─ histogram ─► grids ─┐
//!     │                                                ├─ emit ─► ir::Graph with quantizers
//!     └─ structure ─► which tensors, which share ──────┘
//!                     weights, reconstruct ─► codes ───┘
//! ```
//!
//! The result is a source like any other: it is written as an ONNX file, converted exactly, and compared with what was
//! converted. So nothing here knows integer models, and the converter chooses nothing.
//!
//! Numbers are the same for any number of threads and on every machine.
//!
//! | what | method |
//! |---|---|
//! | activations | asymmetric grids of 8 bits with the least squared error on the pictures; one for what meets in a concat |
//! | the picture | its bytes, by a quantizer of theirs |
//! | weights of 8 bits | one scale for each output channel, nearest |
//! | weights that have codes already | those |
//! | weights of less | least squares against the float network, layer after layer (`reconstruct`) |
//! | heads and their decode | floats of exact accumulators, as everywhere |
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use rayon::prelude::*;
use ylb_source::SourceError;
use ylb_source::ir::{Graph, TensorId};

mod bits;
mod dynamic;
mod emit;
mod float_network;
mod forward;
mod histogram;
mod plan;
mod reconstruct;
mod structure;
mod weights;

pub use bits::Bits;
pub use dynamic::rewritten as without_dynamic_grids;
pub use float_network::FloatNetwork;

use forward::Forward;
use histogram::{Grid, Histogram};
use plan::Plan;
use structure::{Conv, Structure};
use weights::Weights;

/// A quantized network.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// The graph, with quantizers.
    pub graph: Graph,
    /// What was quantized, in the order of computation.
    pub layers: Vec<Layer>,
}

/// A convolution, or another node whose result is quantized.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The node's name.
    pub name: String,
    /// Bits and error of its weights, if it has some.
    pub weights: Option<Error>,
    /// Bits and error of what it writes, if that is quantized.
    pub activations: Option<Error>,
}

/// What quantizing did to numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Error {
    /// Bits of a code.
    pub bits: u32,
    /// Energy of the numbers over that of the differences, in decibels: 6 are a bit.
    pub signal_to_noise: f64,
}

/// How far a calibration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A picture went through the float network.
    Picture {
        /// Pictures altogether.
        total: usize,
    },
    /// The weights of a convolution were chosen.
    Layer {
        /// Convolutions altogether.
        total: usize,
    },
}

/// Who is told of progress, from any thread.
pub type Watcher<'w> = &'w (dyn Fn(Progress) + Sync);

/// Quantizes a float network. Pictures are bytes, `[3, height, width]`, letterboxed already, of `size` pixels, which the
/// network takes.
///
/// # Errors
/// If there are no pictures, the network has no convolutions with constant weights or is quantized already, holds something that is
/// not known, or computes numbers that are not finite.
pub fn calibrate(
    graph: &Graph,
    size: [usize; 2],
    pictures: &[Vec<u8>],
    bits: Bits,
    watcher: Watcher<'_>,
) -> Result<Calibrated, SourceError> {
    if pictures.is_empty() {
        return Err(SourceError::unsupported("no pictures to calibrate on"));
    }
    let network = Forward::new(graph.clone(), size)?;
    let structure = Structure::of(&network);
    if structure.convolutions.is_empty() {
        return Err(SourceError::unsupported("no convolution with constant weights: nothing to quantize"));
    }
    if structure.sites.is_empty() && structure.convolutions.iter().all(|conv| conv.is_quantized) {
        return Err(SourceError::unsupported(
            "its convolutions and what they read are quantized already: convert it without --calibrate",
        ));
    }
    let histograms = observe(&network, &structure, pictures, watcher)?;
    let plan = Plan::new(&network, &structure, bits);
    let chosen: Vec<Grid> = (0..structure.grids)
        .into_par_iter()
        .map(|index| histograms[index].grid(plan.activations[index]))
        .collect();
    let grids: BTreeMap<TensorId, Grid> =
        structure.sites.iter().map(|(&id, &index)| (id, chosen[index])).collect();
    let weights = if bits.is_low() {
        reconstruct::run(&network, &structure, &plan.most, &grids, pictures, size, watcher)?
    } else {
        nearest(&network, &structure, &plan.most)
    };
    // `byte / 255` in 32 bits is a hair off the byte's multiple, and a hair is enough where 8 bits have steps: the quantizer says
    // that the bytes are codes.
    let all = grids.clone().into_iter().chain(network.picture_grid()).collect();
    let mut emitted = emit::graph(graph, &weights, &computed_biases(&network, &structure), &all)?;
    shape_outputs(&network, &pictures[0], &mut emitted)?;
    let layers = layers(&network, &structure, &weights, &grids, &histograms);
    Ok(Calibrated { graph: emitted, layers })
}

/// Counts the numbers of all tensors that are to be quantized, by grid.
fn observe(
    network: &Forward,
    structure: &Structure,
    pictures: &[Vec<u8>],
    watcher: Watcher<'_>,
) -> Result<Vec<Histogram>, SourceError> {
    let last = structure.convolutions.iter().map(|conv| conv.position).max().unwrap_or(0);
    let of_picture = |pixels: &Vec<u8>| -> Result<Vec<Histogram>, SourceError> {
        let mut histograms = vec![Histogram::default(); structure.grids];
        let mut values = network.start(pixels)?;
        for position in 0..last {
            network.step(position, &mut values, &[])?;
            let node = network.node(position);
            for (id, grid) in node.outputs.iter().filter_map(|id| Some((id, structure.sites.get(id)?))) {
                let Some(tensor) = values.get(*id) else { continue };
                if !histograms[*grid].add(forward::conv::view(tensor)?) {
                    return Err(node.blame(SourceError::unsupported(
                        "it computes numbers that are not finite, for a picture of the calibration",
                    )));
                }
            }
        }
        watcher(Progress::Picture { total: pictures.len() });
        Ok(histograms)
    };
    let merge = |mut all: Vec<Histogram>, one: Vec<Histogram>| {
        all.iter_mut().zip(one).for_each(|(all, one)| all.merge(one));
        Ok(all)
    };
    let none = || Ok(vec![Histogram::default(); structure.grids]);
    pictures.par_iter().map(of_picture).try_reduce_with(merge).unwrap_or_else(none)
}

/// Biases that the file computes, as of integers that count units of a grid that is no more.
fn computed_biases(network: &Forward, structure: &Structure) -> BTreeMap<TensorId, Vec<f32>> {
    let bias = |conv: &Conv| {
        let id = network.node(conv.position).input(2)?;
        let is_computed = network.graph().constant(id).is_none();
        let own = network.convolution(conv.position).filter(|_| is_computed)?;
        Some((conv.output, own.bias.clone()))
    };
    structure.convolutions.iter().filter_map(bias).collect()
}

/// Writes the shapes of the outputs into the graph, which reading a file leaves out. Where they cannot be computed (a non-maximum
/// suppression, say, that the conversion cuts off), they stay open.
fn shape_outputs(network: &Forward, pixels: &[u8], graph: &mut Graph) -> Result<(), SourceError> {
    let mut values = network.start(pixels)?;
    if (0..network.len()).any(|position| network.step(position, &mut values, &[]).is_err()) {
        return Ok(());
    }
    for id in graph.outputs.clone() {
        graph.tensors[id.0].shape = values.get(id).map(|tensor| tensor.shape().to_vec());
    }
    Ok(())
}

fn nearest(network: &Forward, structure: &Structure, most: &[i32]) -> BTreeMap<TensorId, Weights> {
    let of_conv = |(conv, &most): (&Conv, &i32)| {
        if conv.is_quantized {
            return None;
        }
        let own = network.convolution(conv.position)?;
        Some((conv.output, Weights::nearest(&own.weights, own.shape, most)))
    };
    structure.convolutions.iter().zip(most).filter_map(of_conv).collect()
}

fn layers(
    network: &Forward,
    structure: &Structure,
    weights: &BTreeMap<TensorId, Weights>,
    grids: &BTreeMap<TensorId, Grid>,
    histograms: &[Histogram],
) -> Vec<Layer> {
    let activations = |id: &TensorId| {
        let (grid, histogram) = (grids.get(id)?, structure.sites.get(id)?);
        let signal_to_noise = histograms[*histogram].signal_to_noise(*grid);
        Some(Error { bits: grid.bits(), signal_to_noise })
    };
    let mut layers = Vec::new();
    let sites_of_convolutions: Vec<TensorId> =
        structure.convolutions.iter().filter_map(|conv| conv.site).collect();
    for position in 0..network.len() {
        let node = network.node(position);
        let name = node.name.clone();
        if let Some(conv) = structure.convolutions.iter().find(|conv| conv.position == position) {
            let float = network.convolution(position).map(|own| own.weights.as_slice());
            let error = |own: &Weights| Error {
                bits: own.bits(),
                signal_to_noise: own.signal_to_noise(float.unwrap_or_default()),
            };
            let weights = weights.get(&conv.output).map(error);
            layers.push(Layer { name, weights, activations: conv.site.as_ref().and_then(activations) });
            continue;
        }
        let own = node.outputs.iter().filter(|id| !sites_of_convolutions.contains(id)).find_map(activations);
        if let Some(own) = own {
            layers.push(Layer { name, weights: None, activations: Some(own) });
        }
    }
    layers
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
