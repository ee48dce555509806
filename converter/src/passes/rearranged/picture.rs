//! The picture's own arrangement: channels that come last, and channels in reverse.

use ylb_source::eval;
use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::picture::is_channels_last;

use super::{Arranged, Pass};
use crate::error::ConvertError;

/// Most operators that one reversal of channels is written with, one behind the other.
const MAX_DEPTH: usize = 4;

/// Makes the input of a graph that takes `[1, height, width, 3]` one of `[1, 3, height, width]`, with a transposition behind
/// it. Returns whether it did.
pub fn put_channels_first(graph: &mut Graph) -> bool {
    let &[input] = graph.inputs.as_slice() else { return false };
    match graph.tensor(input).shape.as_deref() {
        Some(&[batch, height, width, channels]) if is_channels_last(&[batch, height, width, channels]) => {
            let axes = Attribute::Ints(vec![0, 2, 3, 1]);
            replace_input(graph, vec![batch, channels, height, width], "Transpose", None, ("perm", axes));
            true
        }
        _ => false,
    }
}

/// Puts a new input before the graph's, which a node makes of it.
pub(super) fn replace_input(
    graph: &mut Graph,
    shape: Vec<usize>,
    op_type: &str,
    operand: Option<TensorId>,
    (key, value): (&str, Attribute),
) {
    let old = graph.inputs[0];
    let name = graph.tensor(old).name.clone();
    let new =
        graph.add_tensor(TensorInfo { name: name.clone(), shape: Some(shape), ..TensorInfo::default() });
    graph.inputs[0] = new;
    if let Some(element) = graph.input_types.remove(&old) {
        graph.input_types.insert(new, element);
    }
    let node = Node {
        name,
        domain: Domain::Onnx,
        op_type: op_type.to_owned(),
        inputs: [Some(new)].into_iter().chain(operand.map(Some)).collect(),
        outputs: vec![old],
        attributes: [(key.to_owned(), value)].into(),
        quantizer: None,
    };
    graph.nodes.insert(0, node);
}

/// What was put before the old input must be gone.
pub(super) fn check_input(graph: &Graph) -> Result<(), ConvertError> {
    let (Some(node), &[input]) = (graph.nodes.first(), graph.inputs.as_slice()) else { return Ok(()) };
    let name = &graph.tensor(input).name;
    if node.input(0) != Some(input) || node.name != *name {
        return Ok(());
    }
    let problem = match node.op_type.as_str() {
        "Gather" => {
            "its channels are read reversed in one place and as they are in another; expected one order of colours"
        }
        "Transpose" => {
            "its channels come last, and nothing brings them to the front; expected a Transpose to [1, 3, height, \
                        width] before the first layer"
        }
        _ => return Ok(()),
    };
    Err(ConvertError::unsupported(format!("input \"{name}\": {problem}")))
}

impl Pass {
    /// What a node gives that completes a reversal of the picture's channels.
    pub(super) fn reversed(&mut self, node: &Node, output: TensorId) -> Option<Arranged> {
        if node.domain != Domain::Onnx || node.is("Identity") || !eval::moves_elements(&node.op_type) {
            return None;
        }
        let (base, moved) = self.probe(node, 0, 0)?;
        let arranged = self.arranged.get(&base).copied().filter(|arranged| arranged.picture)?;
        let axis = arranged.channel_axis();
        let whole = self.rank_4(base).filter(|shape| shape[axis] == 3);
        if whole.is_none() || self.rank_4(output) != whole {
            return None;
        }
        let probe = probe_of(axis)?;
        if moved == probe {
            return Some(arranged);
        }
        if moved != reversed_along(&probe, axis)? {
            return None;
        }
        self.reverses_picture |= !arranged.reversed;
        Some(Arranged { reversed: !arranged.reversed, ..arranged })
    }

    /// Runs operators that move elements on a small tensor of different numbers, from the arranged tensor on that they all
    /// read. Gives that one, and the result at a position of the last node's outputs.
    fn probe(&self, node: &Node, position: usize, depth: usize) -> Option<(TensorId, Tensor)> {
        if depth > MAX_DEPTH || node.domain != Domain::Onnx || !eval::moves_elements(&node.op_type) {
            return None;
        }
        let (mut base, mut inputs) = (None, Vec::with_capacity(node.inputs.len()));
        for id in &node.inputs {
            let Some(id) = *id else {
                inputs.push(None);
                continue;
            };
            if let Some(constant) = self.graph.constant(id) {
                inputs.push(Some(Tensor::clone(constant)));
                continue;
            }
            let (source, tensor) = match self.arranged.get(&id).filter(|arranged| arranged.picture) {
                Some(arranged) => (id, probe_of(arranged.channel_axis())?),
                None => {
                    let producer = &self.graph.nodes[self.producers[id.0]?];
                    let position = producer.outputs.iter().position(|output| *output == id)?;
                    self.probe(producer, position, depth + 1)?
                }
            };
            if base.replace(source).is_some_and(|other| other != source) {
                return None;
            }
            inputs.push(Some(tensor));
        }
        let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
        let outputs = eval::evaluate(node, &inputs, self.graph.opset).ok()??;
        Some((base?, outputs.into_iter().nth(position)?))
    }
}

/// A small tensor of different numbers with three channels.
fn probe_of(channel_axis: usize) -> Option<Tensor> {
    let mut shape = [1, 2, 2, 2];
    shape[channel_axis] = 3;
    let len: usize = shape.iter().product();
    Tensor::f32(&shape, (0..len).map(|index| index as f32).collect()).ok()
}

fn reversed_along(tensor: &Tensor, axis: usize) -> Option<Tensor> {
    let inner: usize = tensor.shape()[axis + 1..].iter().product();
    let order: Vec<usize> = (0..tensor.len())
        .map(|index| {
            let channel = index / inner % 3;
            index - channel * inner + (2 - channel) * inner
        })
        .collect();
    tensor.gathered(tensor.shape(), &order).ok()
}
