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
//! | weights of 8 bits; of transposed convolutions and linear layers always | one scale for each output channel, nearest |
//! | weights that have codes already | those |
//! | weights of less | least squares against the float network, layer after layer (`reconstruct`) |
//! | bits by layer for a budget | least sum of losses that were measured layer by layer (`sensitivity`, `search`) |
//! | heads and their decode | floats of exact accumulators, as everywhere |
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use ylb_source::SourceError;
use ylb_source::ir::{Graph, TensorId};

mod bits;
mod budget;
mod cost;
mod dynamic;
mod emit;
mod float_network;
mod forward;
mod grid;
mod histogram;
mod linear;
mod plan;
mod reconstruct;
mod report;
mod search;
mod sensitivity;
mod structure;
mod wanted;
mod weights;

pub use bits::Bits;
pub use budget::Budget;
pub use dynamic::rewritten as without_dynamic_grids;
pub use float_network::FloatNetwork;
pub use grid::Spacing;
pub use reconstruct::Parts;
pub use report::{Afforded, Error, Layer, Trial, Tried};
pub use wanted::Wanted;

use forward::Forward;
use grid::Grid;
use histogram::Histogram;
use plan::Plan;
use sensitivity::Trials;
use structure::{Conv, Structure};
use weights::Weights;

/// A quantized network.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// The graph, with quantizers.
    pub graph: Graph,
    /// What was quantized, in the order of computation.
    pub layers: Vec<Layer>,
    /// What fewer bits cost each layer, where that was measured.
    pub trials: Vec<Trial>,
    /// What came of the budget, if there was one.
    pub afforded: Option<Afforded>,
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
    /// A layer was tried with some bits.
    Trial {
        /// Trials altogether.
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
    wanted: Wanted,
    watcher: Watcher<'_>,
) -> Result<Calibrated, SourceError> {
    if pictures.is_empty() {
        return Err(SourceError::unsupported("no pictures to calibrate on"));
    }
    let mut network = Forward::new(graph.clone(), size)?;
    let linear = linear::found(&network);
    let mut graph = Cow::Borrowed(graph);
    if !linear.is_empty() {
        graph = Cow::Owned(linear::quantized(&graph, &linear)?);
        network = Forward::new(graph.clone().into_owned(), size)?;
    }
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
    let mut plan = Plan::new(&network, &structure, wanted.bits);
    let (mut trials, mut afforded) = (Vec::new(), None);
    if wanted.budget.is_some() || wanted.sensitivity {
        let grids = histograms
            .par_iter()
            .map(|own| wanted.grid_widths().iter().map(|&bits| own.grid(bits)).collect());
        let measured = (pictures, size);
        let widths = wanted.weight_widths();
        let own = Trials::measure(&network, &structure, widths, grids.collect(), measured, watcher)?;
        let found =
            wanted.budget.map(|budget| search::within(budget, &own, &network, &structure)).transpose()?;
        if let Some(found) = &found {
            plan = Plan::of_choice(&found.choice, &own);
            afforded = Some(Afforded { cost: found.cost, signal_to_noise: report::decibels(found.loss) });
        }
        trials = report::trials(&network, &structure, &own, found.as_ref().map(|found| &found.choice));
    }
    let grid = |index: usize| match wanted.spacing {
        Spacing::Equal => histograms[index].grid(plan.activations[index]),
        Spacing::Powers => histograms[index].powers(plan.activations[index]),
    };
    let chosen: Vec<Grid> = (0..structure.grids).into_par_iter().map(grid).collect();
    let grids: BTreeMap<TensorId, Grid> =
        structure.sites.iter().map(|(&id, &index)| (id, chosen[index])).collect();
    let weights = if wanted.is_low() {
        let how = (size, wanted.parts);
        reconstruct::run(&network, &structure, &plan.most, &grids, pictures, how, watcher)?
    } else {
        nearest(&network, &structure, &plan.most)
    };
    // `byte / 255` in 32 bits is a hair off the byte's multiple, and a hair is enough where 8 bits have steps: the quantizer says
    // that the bytes are codes.
    let all = grids.clone().into_iter().chain(network.picture_grid()).collect();
    let mut emitted = emit::graph(&graph, &weights, &computed_biases(&network, &structure), &all)?;
    shape_outputs(&network, &pictures[0], &mut emitted)?;
    let layers = report::layers(&network, &structure, &weights, &linear, &grids, &histograms);
    Ok(Calibrated { graph: emitted, layers, trials, afforded })
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

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
