//! Which convolution and which grid gets how many bits.

use crate::bits::{Asked, Bits};
use crate::forward::Forward;
use crate::sensitivity::{Choice, Trials};
use crate::structure::{Conv, Structure};

/// Widths of everything.
pub struct Plan {
    /// The largest code of each convolution's weights.
    pub most: Vec<i32>,
    /// The bits of each grid.
    pub activations: Vec<u32>,
}

impl Plan {
    /// Of a choice of widths.
    pub fn of_choice(choice: &Choice, trials: &Trials<'_>) -> Self {
        let bits = |(grid, &width): (usize, &usize)| {
            trials.of_grid(grid).nth(width).map_or(8, |(grid, _)| grid.bits())
        };
        Self {
            most: choice.weights.iter().map(|&width| trials.widths[width]).collect(),
            activations: choice.grids.iter().enumerate().map(bits).collect(),
        }
    }

    /// Of a network.
    pub fn new(network: &Forward, structure: &Structure, bits: Bits) -> Self {
        let weights = |conv: &Conv| network.convolution(conv.position).map_or(0, |c| c.weights.len());
        let all = structure.convolutions.iter().map(weights).sum();
        let winograd = winograd_grids(network, structure);
        let asked = |conv: &Conv| Asked {
            is_end: conv.is_first || conv.is_last,
            is_winograd: input_grid(network, structure, conv).is_some_and(|grid| winograd[grid]),
            parameters: [weights(conv), all],
        };
        Self {
            most: structure.convolutions.iter().map(|conv| bits.largest_code(asked(conv))).collect(),
            activations: winograd.iter().map(|&own| bits.activations(own)).collect(),
        }
    }
}

/// The grid of a convolution's input, where that is quantized itself and not by what passes through.
fn input_grid(network: &Forward, structure: &Structure, conv: &Conv) -> Option<usize> {
    let input = network.node(conv.position).input(0)?;
    structure.sites.get(&input).copied()
}

/// Which grids have no other readers than inner convolutions of 3×3 with stride 1.
fn winograd_grids(network: &Forward, structure: &Structure) -> Vec<bool> {
    let mut only = vec![true; structure.grids];
    for position in 0..network.len() {
        let node = network.node(position);
        let conv = structure.convolutions.iter().find(|conv| conv.position == position);
        let is_winograd = conv.is_some_and(|conv| {
            let inner = !conv.is_first && !conv.is_last;
            let plain =
                network.convolution(position).is_some_and(|c| c.shape[2..] == [3, 3] && c.groups == 1);
            let ones =
                |name: &str| node.ints(name).is_none_or(|values| values.iter().all(|&value| value == 1));
            inner && plain && ones("strides") && ones("dilations") && node.ints("pads") == Some(&[1; 4])
        });
        for grid in node.inputs.iter().flatten().filter_map(|id| structure.sites.get(id)) {
            only[*grid] &= is_winograd;
        }
    }
    only
}
