//! What the heads lose where one layer has fewer bits: measured, width by width, with everything else in floats.
//!
//! A layer's loss is the energy of the heads' error over that of the heads around their mean, on a few pictures. The float network is
//! run once a picture, and each trial starts from what it had computed up to the layer. Errors of different layers hardly
//! depend on each other, so that the loss of many together is about the sum of theirs; [`Trials::joint`] measures it.

use std::collections::BTreeMap;

use rayon::prelude::*;
use ylb_source::SourceError;
use ylb_source::ir::{Tensor, TensorId};

use crate::cost::Work;
use crate::forward::conv::{Convolution, view};
use crate::forward::{Forward, Values};
use crate::grid::Grid;
use crate::reconstruct::{self, Parts, Run};
use crate::structure::Structure;
use crate::weights::Weights;
use crate::{Progress, Watcher};

/// Windows of a layer that codes are chosen by.
const SAMPLES: usize = 2048;
/// Pictures that codes are chosen by.
const PICTURES: usize = 8;
/// Most pixels of the pictures that losses are measured on, together.
const PIXELS: usize = 640 * 640;
/// Fewest of these pictures, and most.
const MEASURED: [usize; 2] = [2, 4];

/// A layer's weights at one width.
struct Narrow {
    weights: Weights,
    loss: f64,
}

/// Everything that was measured.
pub struct Trials<'t> {
    network: &'t Forward,
    structure: &'t Structure,
    /// Largest codes of the widths that were tried, the widest first.
    pub widths: &'t [i32],
    /// By convolution and width. Ends have the widest only, and what has codes already none.
    weights: Vec<Vec<Narrow>>,
    /// By grid and width: the grid and its loss.
    grids: Vec<Vec<(Grid, f64)>>,
    /// By convolution.
    pub works: Vec<Work>,
    /// Numbers of each grid's tensors.
    pub numbers: Vec<usize>,
    heads: Heads,
    pictures: &'t [Vec<u8>],
    /// What the float network gives at the heads, by picture.
    floats: Vec<Vec<Tensor>>,
}

/// Where a network ends.
struct Heads {
    tensors: Vec<TensorId>,
    /// The step behind which all of them are known.
    end: usize,
}

/// Which of its widths each layer has.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// By convolution.
    pub weights: Vec<usize>,
    /// By grid.
    pub grids: Vec<usize>,
}

/// A change of the float network.
#[derive(Default)]
struct Change {
    convolutions: BTreeMap<usize, Convolution>,
    grids: BTreeMap<TensorId, Grid>,
}

impl<'t> Trials<'t> {
    /// Measures the losses of all convolutions at all widths, and of all grids; `grids` are those of each number.
    ///
    /// # Errors
    /// If a node is not known, or contradicts itself.
    pub fn measure(
        network: &'t Forward,
        structure: &'t Structure,
        widths: &'t [i32],
        grids: Vec<Vec<Grid>>,
        (pictures, size): (&'t [Vec<u8>], [usize; 2]),
        watcher: Watcher<'_>,
    ) -> Result<Self, SourceError> {
        let last = structure.convolutions.iter().filter(|conv| conv.is_last);
        let heads = Heads {
            tensors: last.clone().map(|conv| conv.output).collect(),
            end: last.map(|conv| conv.position + 1).max().unwrap_or(0),
        };
        let fit = (PIXELS / (size[0] * size[1]).max(1)).clamp(MEASURED[0], MEASURED[1]);
        let mut trials = Self {
            network,
            structure,
            widths,
            weights: Vec::new(),
            grids: grids
                .into_iter()
                .map(|grids| grids.into_iter().map(|grid| (grid, 0.0)).collect())
                .collect(),
            works: Vec::new(),
            numbers: vec![0; structure.grids],
            heads,
            pictures: &pictures[..fit.min(pictures.len())],
            floats: Vec::new(),
        };
        trials.choose_codes(&pictures[..PICTURES.min(pictures.len())])?;
        trials.measure_losses(watcher)?;
        Ok(trials)
    }

    /// Codes of every convolution at every width, for the input that the float network gives it.
    fn choose_codes(&mut self, pictures: &[Vec<u8>]) -> Result<(), SourceError> {
        let none = BTreeMap::new();
        let run = Run { network: self.network, grids: &none };
        let mut pairs = reconstruct::pairs(self.network, pictures)?;
        let parts = Parts { shift: false, ..Parts::default() };
        let mut position = 0;
        for (index, conv) in self.structure.convolutions.iter().enumerate() {
            let mut all = Vec::new();
            run.steps(position..conv.position, None, &mut pairs)?;
            position = conv.position;
            if let Some(own) = self.network.convolution(conv.position).filter(|_| !conv.is_quantized) {
                let widths = if conv.is_first || conv.is_last { &self.widths[..1] } else { self.widths };
                let inputs = run.inputs(conv, own, &pairs, (index, SAMPLES), widths.len() > 1)?;
                let narrow = |&most: &i32| Narrow {
                    weights: reconstruct::chosen(own, most, &inputs, parts),
                    loss: 0.0,
                };
                all = widths.iter().map(narrow).collect();
            }
            self.weights.push(all);
        }
        Ok(())
    }

    fn measure_losses(&mut self, watcher: Watcher<'_>) -> Result<(), SourceError> {
        let weights = self
            .weights
            .iter()
            .enumerate()
            .flat_map(|(conv, all)| (0..all.len()).map(move |width| (conv, width)));
        let grids = self
            .grids
            .iter()
            .enumerate()
            .flat_map(|(grid, all)| (0..all.len()).map(move |width| (grid, width)));
        let tasks: Vec<(bool, usize, usize)> = weights
            .map(|(conv, width)| (true, conv, width))
            .chain(grids.map(|(grid, width)| (false, grid, width)))
            .collect();
        let mut losses = vec![0.0; tasks.len()];
        for index in 0..self.pictures.len() {
            let (starts, float) = self.float(index)?;
            self.floats.push(float);
            let loss = |&(of_weights, layer, width): &(bool, usize, usize)| {
                let change = match of_weights {
                    true => Change {
                        convolutions: self.convolution(layer, width).into_iter().collect(),
                        ..Change::default()
                    },
                    false => Change { grids: self.sites(layer, width).collect(), ..Change::default() },
                };
                let start = if of_weights {
                    self.structure.convolutions[layer].position
                } else {
                    self.first_site(layer)
                };
                let loss = self.loss(index, start, starts[start].clone(), &change);
                watcher(Progress::Trial { total: tasks.len() * self.pictures.len() });
                loss
            };
            let own: Vec<f64> = tasks.par_iter().map(loss).collect::<Result<_, SourceError>>()?;
            losses.iter_mut().zip(own).for_each(|(all, own)| *all += own);
        }
        let count = self.pictures.len().max(1) as f64;
        for (&(of_weights, layer, width), loss) in tasks.iter().zip(losses) {
            let place = match of_weights {
                true => &mut self.weights[layer][width].loss,
                false => &mut self.grids[layer][width].1,
            };
            *place = loss / count;
        }
        Ok(())
    }

    /// The float network on a picture: what it has computed before each step, and the heads. Sizes are noted.
    fn float(&mut self, index: usize) -> Result<(Vec<Values>, Vec<Tensor>), SourceError> {
        let network = self.network;
        let mut values = network.start(&self.pictures[index])?;
        let mut starts = Vec::with_capacity(self.heads.end);
        let (mut works, mut numbers) = (Vec::new(), vec![0; self.structure.grids]);
        for position in 0..self.heads.end {
            starts.push(values.clone());
            let node = network.node(position);
            if let Some(conv) = self.structure.convolutions.iter().find(|conv| conv.position == position) {
                let input = node.input(0).and_then(|id| values.get(id));
                let own = network.convolution(position);
                let work = own.zip(input).map(|(own, input)| own.work(node, input)).transpose()?;
                debug_assert_eq!(conv.position, position);
                works.push(work.unwrap_or_default());
            }
            network.step(position, &mut values, &self.heads.tensors)?;
            for id in &node.outputs {
                let (Some(&grid), Some(tensor)) = (self.structure.sites.get(id), values.get(*id)) else {
                    continue;
                };
                numbers[grid] += tensor.len();
            }
        }
        (self.works, self.numbers) = (works, numbers);
        Ok((starts, self.at_heads(&values)?))
    }

    fn at_heads(&self, values: &Values) -> Result<Vec<Tensor>, SourceError> {
        let head = |id: &TensorId| values.get(*id).map(|tensor| Tensor::clone(tensor));
        let heads: Option<Vec<Tensor>> = self.heads.tensors.iter().map(head).collect();
        heads.ok_or_else(|| SourceError::malformed("a head was not computed"))
    }

    fn convolution(&self, conv: usize, width: usize) -> Option<(usize, Convolution)> {
        let position = self.structure.convolutions[conv].position;
        let (own, Narrow { weights, .. }) =
            (self.network.convolution(position)?, self.weights[conv].get(width)?);
        let bias = weights.bias.clone().unwrap_or_else(|| own.bias.clone());
        Some((position, own.with(weights.reals(), bias)))
    }

    fn sites(&self, grid: usize, width: usize) -> impl Iterator<Item = (TensorId, Grid)> {
        let own = self.grids[grid].get(width).map(|(grid, _)| *grid);
        let sites = self.structure.sites.iter().filter(move |(_, number)| **number == grid);
        sites.filter_map(move |(&id, _)| Some((id, own?)))
    }

    /// The first step that writes a tensor of a grid.
    fn first_site(&self, grid: usize) -> usize {
        let writes = |position: &usize| {
            self.network.node(*position).outputs.iter().any(|id| self.structure.sites.get(id) == Some(&grid))
        };
        (0..self.heads.end).find(writes).unwrap_or(0)
    }

    /// What a change loses on a picture; `values` are those before the step that it starts with.
    fn loss(
        &self,
        index: usize,
        start: usize,
        mut values: Values,
        change: &Change,
    ) -> Result<f64, SourceError> {
        for position in start..self.heads.end {
            let own = change.convolutions.get(&position).or_else(|| self.network.convolution(position));
            self.network.step_with(position, &mut values, &self.heads.tensors, own)?;
            for id in &self.network.node(position).outputs {
                let (Some(grid), Some(tensor)) = (change.grids.get(id), values.get(*id)) else { continue };
                let nearest = view(tensor)?.iter().map(|&x| grid.nearest(x)).collect();
                let nearest = Tensor::f32(tensor.shape(), nearest)?;
                values.set(*id, nearest.into());
            }
        }
        let heads = self.at_heads(&values)?;
        let losses =
            self.floats[index].iter().zip(&heads).map(|(float, own)| Ok(noise(view(float)?, view(own)?)));
        let losses: Vec<f64> = losses.collect::<Result<_, SourceError>>()?;
        Ok(losses.iter().sum::<f64>() / losses.len().max(1) as f64)
    }

    /// What a choice for all layers together loses.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn joint(&self, choice: &Choice) -> Result<f64, SourceError> {
        let convolutions = choice.weights.iter().enumerate();
        let grids = choice.grids.iter().enumerate();
        let change = Change {
            convolutions: convolutions.filter_map(|(conv, &width)| self.convolution(conv, width)).collect(),
            grids: grids.flat_map(|(grid, &width)| self.sites(grid, width)).collect(),
        };
        let loss = |index: usize| self.loss(index, 0, self.network.start(&self.pictures[index])?, &change);
        let losses: Vec<f64> =
            (0..self.pictures.len()).into_par_iter().map(loss).collect::<Result<_, SourceError>>()?;
        Ok(losses.iter().sum::<f64>() / losses.len().max(1) as f64)
    }

    /// The losses of a convolution, by width.
    pub fn of_weights(&self, conv: usize) -> impl ExactSizeIterator<Item = f64> {
        self.weights[conv].iter().map(|narrow| narrow.loss)
    }

    /// The losses of a grid, by width.
    pub fn of_grid(&self, grid: usize) -> impl ExactSizeIterator<Item = (Grid, f64)> {
        self.grids[grid].iter().copied()
    }
}

/// Energy of an error over that of the numbers around their mean.
fn noise(float: &[f32], own: &[f32]) -> f64 {
    let mean = float.iter().map(|&x| f64::from(x)).sum::<f64>() / float.len().max(1) as f64;
    let square = |x: f64| x * x;
    let energy: f64 = float.iter().map(|&x| square(f64::from(x) - mean)).sum();
    let error: f64 = float.iter().zip(own).map(|(&x, &y)| square(f64::from(x) - f64::from(y))).sum();
    error / energy.max(f64::MIN_POSITIVE)
}
