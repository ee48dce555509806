//! The bits of every layer, for a budget.

use ylb_source::SourceError;
use ylb_source::ir::TensorId;

use crate::budget::{self, Budget, Way};
use crate::cost::{accumulators, level};
use crate::forward::Forward;
use crate::sensitivity::{Choice, Trials};
use crate::structure::Structure;

/// Choices beside the one with the least sum that are measured as a whole, in each of so many rounds.
const BESIDE: usize = 12;
/// Rounds, each of which starts from the best choice of the one before.
const ROUNDS: usize = 4;
/// Bytes of a file beside the weights: by output channel (multiplier, bias), by convolution (a staircase of 8 bits as differences,
/// a name), and once. Fitted to files of trained networks, which it meets within a hundredth: 149 kB of 60 convolutions with 4824 channels
/// (models/cells-float.onnx), 154 kB of 63 with 5401 (a YOLOv8n). Where channels share no staircase there is more.
const BYTES: [f64; 3] = [12.0, 1250.0, 20_000.0];

/// What was chosen, and what it costs.
pub struct Found {
    /// The choice.
    pub choice: Choice,
    /// Its bytes or cycles.
    pub cost: f64,
    /// What the heads lose by it, all layers together.
    pub loss: f64,
}

/// Layers that are chosen together, and what cannot be chosen.
struct Groups {
    groups: Vec<Vec<Way>>,
    fixed: f64,
}

/// Searches for the choice with the least loss within a budget.
///
/// # Errors
/// If a node is not known, or the budget is below what the network takes with the fewest bits.
pub fn within(
    budget: Budget,
    trials: &Trials<'_>,
    network: &Forward,
    structure: &Structure,
) -> Result<Found, SourceError> {
    let (groups, most) = match budget {
        Budget::Bytes(bytes) => (by_bytes(trials, structure), bytes),
        Budget::Cycles(cycles) => (by_cycles(trials, network, structure), cycles),
    };
    let Groups { groups, fixed } = groups;
    let left = most - fixed;
    let cost =
        |chosen: &[usize]| groups.iter().zip(chosen).map(|(ways, &index)| ways[index].cost).sum::<f64>();
    let chosen = budget::best(&groups, left).ok_or_else(|| {
        let cheapest: f64 = groups.iter().map(|ways| ways[0].cost).sum();
        let least = match budget {
            Budget::Bytes(_) => Budget::Bytes(fixed + cheapest),
            Budget::Cycles(_) => Budget::Cycles(fixed + cheapest),
        };
        SourceError::unsupported(format!(
            "a budget of {budget} is too small: with the fewest bits it takes {least}"
        ))
    })?;
    let widest = Choice { weights: vec![0; structure.convolutions.len()], grids: vec![0; structure.grids] };
    let choice = |chosen: &[usize]| {
        let mut choice = widest.clone();
        for way in groups.iter().zip(chosen).map(|(ways, &index)| &ways[index]) {
            way.weights.iter().for_each(|&(conv, width)| choice.weights[conv] = width);
            way.grid.iter().for_each(|&(grid, width)| choice.grids[grid] = width);
        }
        choice
    };
    let mut best = (trials.joint(&choice(&chosen))?, chosen);
    for _ in 0..ROUNDS {
        let before = best.0;
        for other in budget::neighbours(&groups, &best.1, left, BESIDE) {
            let loss = trials.joint(&choice(&other))?;
            if loss < best.0 {
                best = (loss, other);
            }
        }
        if best.0 >= before {
            break;
        }
    }
    let (loss, chosen) = best;
    Ok(Found { choice: choice(&chosen), cost: fixed + cost(&chosen), loss })
}

/// Every convolution by itself: bits of activations are not in the file.
fn by_bytes(trials: &Trials<'_>, structure: &Structure) -> Groups {
    let mut fixed = BYTES[2];
    let mut groups = Vec::new();
    for (index, conv) in structure.convolutions.iter().enumerate() {
        let work = &trials.works[index];
        fixed += BYTES[0] * work.shape[0] as f64 + if conv.is_last { 0.0 } else { BYTES[1] };
        let way = |(width, loss): (usize, f64)| Way {
            cost: work.bytes(trials.widths[width]),
            loss,
            grid: None,
            weights: vec![(index, width)],
        };
        let ways: Vec<Way> = trials.of_weights(index).enumerate().map(way).collect();
        match ways.len() {
            0 => fixed += work.bytes(trials.widths[0]),
            1 => fixed += ways[0].cost,
            _ => groups.push(budget::worthwhile(ways)),
        }
    }
    Groups { groups, fixed }
}

/// Every grid with the convolutions that read it: what these take hangs on both.
fn by_cycles(trials: &Trials<'_>, network: &Forward, structure: &Structure) -> Groups {
    let mut fixed = 0.0;
    let mut readers = vec![Vec::new(); structure.grids];
    let mut groups = Vec::new();
    for (index, conv) in structure.convolutions.iter().enumerate() {
        let work = &trials.works[index];
        if conv.is_last {
            fixed += accumulators(work.shape[0] * work.pixels);
        }
        match conv.grid.filter(|_| !conv.is_quantized) {
            Some(grid) => readers[grid].push(index),
            None => {
                let ways = weight_ways(trials, index, 8);
                match ways.as_slice() {
                    [] => fixed += work.cycles(trials.widths[0], 8),
                    _ => groups.push(budget::worthwhile(ways)),
                }
            }
        }
    }
    for (grid, readers) in readers.iter().enumerate() {
        let is_line = structure.sites.iter().any(|(&id, &own)| own == grid && is_line(network, id));
        let mut all = Vec::new();
        for (width, (own, loss)) in trials.of_grid(grid).enumerate() {
            let cost = trials.numbers[grid] as f64 * level(own.bits(), is_line);
            let mut ways = vec![Way { cost, loss, grid: Some((grid, width)), weights: Vec::new() }];
            for &conv in readers {
                let more = budget::worthwhile(weight_ways(trials, conv, own.bits()));
                let both = |way: &Way| more.iter().map(|more| joined(way, more)).collect::<Vec<_>>();
                ways = budget::worthwhile(ways.iter().flat_map(both).collect());
            }
            all.extend(ways);
        }
        groups.push(budget::worthwhile(all));
    }
    Groups { groups, fixed }
}

fn weight_ways(trials: &Trials<'_>, conv: usize, bits: u32) -> Vec<Way> {
    let cost = |width: usize| trials.works[conv].cycles(trials.widths[width], bits);
    let ways = trials.of_weights(conv).enumerate();
    ways.map(|(width, loss)| Way { cost: cost(width), loss, grid: None, weights: vec![(conv, width)] })
        .collect()
}

fn joined(a: &Way, b: &Way) -> Way {
    let weights = a.weights.iter().chain(&b.weights).copied().collect();
    Way { cost: a.cost + b.cost, loss: a.loss + b.loss, grid: a.grid.or(b.grid), weights }
}

/// Whether what is quantized is a clamped line of a convolution, or a sum.
fn is_line(network: &Forward, site: TensorId) -> bool {
    let mut tensor = site;
    for position in (0..network.len()).rev() {
        let node = network.node(position);
        if !node.outputs.contains(&tensor) {
            continue;
        }
        let mut moving = node.inputs.iter().flatten().filter(|id| network.constant(**id).is_none());
        let (first, second) = (moving.next(), moving.next());
        match (node.op_type.as_str(), first, second) {
            ("Conv", ..) | ("Add" | "Sub", Some(_), Some(_)) => return true,
            (
                "Relu" | "Clip" | "BatchNormalization" | "Add" | "Sub" | "Mul" | "Div" | "Identity",
                Some(&one),
                None,
            ) => {
                tensor = one;
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
