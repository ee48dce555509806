//! Weights of few bits, layer after layer: what the quantized network computes up to a layer meets what the float network
//! computes there, so that a layer makes up for the errors of those before it.
//!
//! For each convolution, with `X` the windows of some pixels as columns, in floats and after quantization:
//!
//! ```text
//! C = Xc Xcᵀ / N      Xc = Xq − mean        what the layer's input is like
//! D = (Xf − mean − Xc) Xcᵀ / N              what is missing of it
//! W' = W + W D (C + λ)⁻¹                    the weights that give the float result best
//! codes: those nearest to W' in the metric C, by coordinate descent   (descent)
//! bias' = bias + W mean(Xf) − Wq mean(Xq)
//! ```
//!
//! The closed form is that of layer-wise reconstruction with the float network as target (Hubara et al., "Accurate Post Training
//! Quantization With Small Calibration Sets", 2021; Frantar et al., "GPTQ", 2023); descent on one code at a time is that of
//! Behdin et al., "QuantEase", 2023.

use std::collections::BTreeMap;

use rayon::prelude::*;
use ylb_source::SourceError;
use ylb_source::ir::{Tensor, TensorId};

use crate::forward::conv::{Convolution, view};
use crate::forward::{Forward, Values};
use crate::grid::Grid;
use crate::structure::{Conv, Structure};
use crate::weights::Weights;
use crate::{Progress, Watcher};

mod descent;
mod matrix;

use matrix::{Moments, Samples};

/// Windows of a layer that are looked at, of all pictures together.
const SAMPLES: usize = 8192;
/// Most pixels of all pictures that go through the network side by side: their feature maps are in memory twice.
const PIXELS: usize = 16 * 640 * 640;
/// Fewest pictures, however large.
const FEWEST: usize = 8;
/// Most pictures.
const MOST: usize = 32;

/// A picture on its way through both networks.
pub struct Pair {
    /// What the float network computed of it.
    pub float: Values,
    /// The same of the quantized network.
    pub quantized: Values,
}

/// What a group of channels reads.
pub struct Input {
    /// `None` where codes are the nearest ones, or where it never changes.
    moments: Option<Moments>,
    float_means: Vec<f64>,
    quantized_means: Vec<f64>,
}

/// What is done for weights of less than 8 bits. All of it, but where it is measured what each part is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Least squares shift the weights so that they make up for errors of the layers before.
    pub shift: bool,
    /// Sweeps of coordinate descent over the codes; 0: the nearest codes, of scales with the least squared error.
    pub sweeps: usize,
    /// The bias takes up what the layer's mean is off by.
    pub bias: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self { shift: true, sweeps: descent::SWEEPS, bias: true }
    }
}

/// Chooses the weights of all convolutions. `most` is the largest code of each.
///
/// # Errors
/// If a node is not known, or contradicts itself.
pub fn run(
    network: &Forward,
    structure: &Structure,
    most: &[i32],
    grids: &BTreeMap<TensorId, Grid>,
    pictures: &[Vec<u8>],
    (size, parts): ([usize; 2], Parts),
    watcher: Watcher<'_>,
) -> Result<BTreeMap<TensorId, Weights>, SourceError> {
    let fit = (PIXELS / (size[0] * size[1]).max(1)).clamp(FEWEST, MOST);
    let mut pairs = pairs(network, &pictures[..fit.min(pictures.len())])?;
    let run = Run { network, grids };
    let mut all = BTreeMap::new();
    let mut position = 0;
    for (index, (conv, &most)) in structure.convolutions.iter().zip(most).enumerate() {
        let Some(own) = network.convolution(conv.position) else { continue };
        run.steps(position..conv.position, None, &mut pairs)?;
        position = conv.position;
        watcher(Progress::Layer { total: structure.convolutions.len() });
        if conv.is_quantized {
            continue;
        }
        let inputs = run.inputs(conv, own, &pairs, (index, SAMPLES), most < 127)?;
        let weights = chosen(own, most, &inputs, parts);
        let bias = weights.bias.clone().unwrap_or_else(|| own.bias.clone());
        let quantized = own.with(weights.reals(), bias);
        run.steps(conv.position..conv.position + 1, Some(&quantized), &mut pairs)?;
        position = conv.position + 1;
        all.insert(conv.output, weights);
    }
    Ok(all)
}

/// Pictures at the beginning of both networks.
///
/// # Errors
/// If one has not as many bytes as the network's picture.
pub fn pairs(network: &Forward, pictures: &[Vec<u8>]) -> Result<Vec<Pair>, SourceError> {
    let start = |pixels: &Vec<u8>| -> Result<Pair, SourceError> {
        let float = network.start(pixels)?;
        Ok(Pair { quantized: float.clone(), float })
    };
    pictures.iter().map(start).collect()
}

/// Codes and bias of a convolution, with what its inputs are like.
pub fn chosen(own: &Convolution, most: i32, inputs: &[Input], parts: Parts) -> Weights {
    let (outputs, depth) = (own.shape[0] / own.groups, own.depth());
    let mut all = Weights::nearest(&own.weights, own.shape, most);
    let mut bias = own.bias.clone();
    for (group, input) in inputs.iter().enumerate() {
        let channels = group * outputs..(group + 1) * outputs;
        let float = &own.weights[channels.start * depth..channels.end * depth];
        let codes = &mut all.codes[channels.start * depth..channels.end * depth];
        let scales = &mut all.scales[channels.clone()];
        if let Some(moments) = input.moments.as_ref().filter(|_| most < 127) {
            let target = match parts.shift {
                true => moments.target(float),
                false => float.iter().map(|&weight| weight.into()).collect(),
            };
            descent::run(moments, &target, (most, parts.sweeps), codes, scales);
        }
        if !parts.bias {
            continue;
        }
        let reals = codes.chunks_exact(depth).zip(scales.iter());
        for ((bias, float), (codes, scale)) in
            bias[channels].iter_mut().zip(float.chunks_exact(depth)).zip(reals)
        {
            let wanted: f64 = float.iter().zip(&input.float_means).map(|(w, m)| f64::from(*w) * m).sum();
            let given = codes.iter().zip(&input.quantized_means);
            let given: f64 = given.map(|(&code, m)| f64::from(code as f32 * scale) * m).sum();
            *bias = (f64::from(*bias) + wanted - given) as f32;
        }
    }
    all.bias = Some(bias);
    all
}

/// Both networks.
pub struct Run<'r> {
    /// The float one.
    pub network: &'r Forward,
    /// Where the quantized one has grids, and which.
    pub grids: &'r BTreeMap<TensorId, Grid>,
}

impl Run<'_> {
    /// Both networks go some steps, the quantized one with another convolution.
    ///
    /// # Errors
    /// If a node is not known, or contradicts itself.
    pub fn steps(
        &self,
        positions: std::ops::Range<usize>,
        quantized: Option<&Convolution>,
        pairs: &mut [Pair],
    ) -> Result<(), SourceError> {
        pairs.par_iter_mut().try_for_each(|pair| {
            for position in positions.clone() {
                let own = quantized.or_else(|| self.network.convolution(position));
                self.network.step(position, &mut pair.float, &[])?;
                self.network.step_with(position, &mut pair.quantized, &[], own)?;
                for id in &self.network.node(position).outputs {
                    let (Some(grid), Some(tensor)) = (self.grids.get(id), pair.quantized.get(*id)) else {
                        continue;
                    };
                    let nearest = view(tensor)?.iter().map(|&x| grid.nearest(x)).collect();
                    let nearest = Tensor::f32(tensor.shape(), nearest)?;
                    pair.quantized.set(*id, nearest.into());
                }
            }
            Ok(())
        })
    }

    /// What the inputs of a convolution are like, group by group; `low`: whether its codes have less than 8 bits.
    pub fn inputs(
        &self,
        conv: &Conv,
        own: &Convolution,
        pairs: &[Pair],
        (seed, count): (usize, usize),
        low: bool,
    ) -> Result<Vec<Input>, SourceError> {
        let input = |group: usize| {
            let samples = self.samples(conv, own, pairs, group, (seed, count))?;
            let moments = if low { Moments::of(&samples) } else { None };
            Ok(Input { moments, float_means: samples.float_means, quantized_means: samples.quantized_means })
        };
        (0..own.groups).map(input).collect()
    }

    /// Windows at places that are as good as random, the same in both networks and in every run.
    fn samples(
        &self,
        conv: &Conv,
        own: &Convolution,
        pairs: &[Pair],
        group: usize,
        (seed, count): (usize, usize),
    ) -> Result<Samples, SourceError> {
        let node = self.network.node(conv.position);
        let input = node.required_input(0)?;
        let missing = || node.blame(SourceError::malformed("its input was not computed"));
        let each = count.div_ceil(pairs.len().max(1));
        let mut samples = Samples::new(own.depth());
        let (mut float_column, mut quantized_column) = (Vec::new(), Vec::new());
        for (index, pair) in pairs.iter().enumerate() {
            let float = pair.float.get(input).ok_or_else(missing)?;
            let quantized = pair.quantized.get(input).ok_or_else(missing)?;
            let place = own.place(node, float)?;
            let pixels = place.output[0] * place.output[1];
            let channels = group * own.shape[1] * place.plane()..(group + 1) * own.shape[1] * place.plane();
            let (float, quantized) = (&view(float)?[channels.clone()], &view(quantized)?[channels]);
            let mut state = (seed as u64) << 32 | index as u64;
            for sample in 0..each.min(pixels) {
                let pixel = if each < pixels { next(&mut state) as usize % pixels } else { sample };
                place.column(float, pixel, &mut float_column);
                place.column(quantized, pixel, &mut quantized_column);
                samples.add(&float_column, &quantized_column);
            }
        }
        samples.finish();
        Ok(samples)
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
