//! What a network in floats computes at its heads, for whoever compares something with it.

use ylb_source::SourceError;
use ylb_source::ir::{Graph, Tensor, TensorId};

use crate::forward::Forward;

/// A float network that tells what some of its nodes compute.
#[derive(Debug)]
pub struct FloatNetwork {
    network: Forward,
    /// The tensors, and the step behind which all are known.
    wanted: Vec<TensorId>,
    end: usize,
}

impl FloatNetwork {
    /// Takes a graph for pictures of `[height, width]` pixels; `nodes` are the names of the convolutions whose results are wanted, with what
    /// is added to each channel or multiplied by it (YOLOv7's implicit knowledge).
    ///
    /// # Errors
    /// If the graph takes no such picture, or has no such convolution.
    pub fn new(graph: &Graph, size: [usize; 2], nodes: &[&str]) -> Result<Self, SourceError> {
        let network = Forward::new(graph.clone(), size)?;
        let (mut wanted, mut end) = (Vec::with_capacity(nodes.len()), 0);
        for &name in nodes {
            let is_wanted = |position: &usize| {
                let node = network.node(*position);
                node.name == name && node.is("Conv")
            };
            let position = (0..network.len()).find(is_wanted).ok_or_else(|| {
                SourceError::malformed(format!("the float network has no convolution \"{name}\""))
            })?;
            let (tensor, last) = behind_numbers_by_channel(&network, position)?;
            wanted.push(tensor);
            end = end.max(last + 1);
        }
        Ok(Self { network, wanted, end })
    }

    /// What the nodes compute for a picture, as `calibrate` takes it: tensors of 32-bit floats, in the order in which they were
    /// asked for.
    ///
    /// # Errors
    /// If the picture has another size, or a node is not known.
    pub fn run(&self, pixels: &[u8]) -> Result<Vec<Tensor>, SourceError> {
        let mut values = self.network.start(pixels)?;
        (0..self.end).try_for_each(|position| self.network.step(position, &mut values, &self.wanted))?;
        let tensor = |id: &TensorId| values.get(*id).map(|tensor| Tensor::clone(tensor));
        let tensors: Option<Vec<Tensor>> = self.wanted.iter().map(tensor).collect();
        tensors.ok_or_else(|| SourceError::malformed("a head was not computed"))
    }
}

/// A convolution's result, or what becomes of it by numbers for each channel, and the step that computes it.
fn behind_numbers_by_channel(
    network: &Forward,
    mut position: usize,
) -> Result<(TensorId, usize), SourceError> {
    let mut tensor = network.node(position).output()?;
    loop {
        let reads = |position: &usize| network.node(*position).inputs.contains(&Some(tensor));
        let mut readers = (0..network.len()).filter(reads);
        let (Some(next), None) = (readers.next(), readers.next()) else { return Ok((tensor, position)) };
        let node = network.node(next);
        let is_arithmetic = ["Add", "Sub", "Mul", "Div"].iter().any(|op| node.is(op));
        let by_channel = |id: &TensorId| {
            let shape = network.constant(*id).map(|constant| constant.shape());
            matches!(shape, Some(&[1, channels, 1, 1] | &[channels, 1, 1]) if channels > 1)
        };
        if !is_arithmetic || !node.inputs.iter().flatten().any(by_channel) {
            return Ok((tensor, position));
        }
        (tensor, position) = (node.output()?, next);
    }
}
