//! What calibration has to say of each layer.

use std::collections::BTreeMap;

use ylb_source::ir::TensorId;

use crate::cost::bits_of;
use crate::forward::Forward;
use crate::grid::Grid;
use crate::histogram::Histogram;
use crate::sensitivity::{Choice, Trials};
use crate::structure::Structure;
use crate::weights::Weights;

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

/// What fewer bits cost the heads, in one layer alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The node's name.
    pub name: String,
    /// Whether it are the weights that had fewer bits, or what is read by convolutions.
    pub of_weights: bool,
    /// Every width that was tried.
    pub tried: Vec<Tried>,
    /// The bits that a budget left it.
    pub chosen: Option<u32>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Bits of a code.
    pub bits: u32,
    /// Energy of the heads over that of their error, in decibels.
    pub signal_to_noise: f64,
}

/// What a budget buys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Afforded {
    /// What the network is thought to cost, in the budget's unit.
    pub cost: f64,
    /// Energy of the heads over that of their error, all layers together, in decibels.
    pub signal_to_noise: f64,
}

/// A loss in decibels.
pub fn decibels(loss: f64) -> f64 {
    -10.0 * loss.max(f64::MIN_POSITIVE).log10()
}

/// The trials of all layers.
pub fn trials(
    network: &Forward,
    structure: &Structure,
    trials: &Trials<'_>,
    choice: Option<&Choice>,
) -> Vec<Trial> {
    let tried = |bits: u32, loss: f64| Tried { bits, signal_to_noise: decibels(loss) };
    let mut all = Vec::new();
    for (index, conv) in structure.convolutions.iter().enumerate() {
        let losses = trials.of_weights(index).zip(trials.widths);
        let own: Vec<Tried> = losses.map(|(loss, &most)| tried(bits_of(most), loss)).collect();
        if own.len() > 1 {
            let chosen = choice.map(|choice| bits_of(trials.widths[choice.weights[index]]));
            all.push(Trial {
                name: network.node(conv.position).name.clone(),
                of_weights: true,
                tried: own,
                chosen,
            });
        }
    }
    for grid in 0..structure.grids {
        let own: Vec<Tried> = trials.of_grid(grid).map(|(grid, loss)| tried(grid.bits(), loss)).collect();
        let writes = |position: &usize| {
            network.node(*position).outputs.iter().any(|id| structure.sites.get(id) == Some(&grid))
        };
        let Some(position) = (0..network.len()).find(writes) else { continue };
        if own.len() > 1 {
            let chosen = choice.map(|choice| own[choice.grids[grid]].bits);
            all.push(Trial {
                name: network.node(position).name.clone(),
                of_weights: false,
                tried: own,
                chosen,
            });
        }
    }
    all
}

/// Bits and errors of what was quantized.
pub fn layers(
    network: &Forward,
    structure: &Structure,
    weights: &BTreeMap<TensorId, Weights>,
    linear: &BTreeMap<TensorId, (Weights, Error)>,
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
        let weights = node.outputs.first().and_then(|id| linear.get(id)).map(|(_, error)| *error);
        if own.is_some() || weights.is_some() {
            layers.push(Layer { name, weights, activations: own });
        }
    }
    layers
}
