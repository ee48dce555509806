//! Moves quantizers from in front of convolutions to behind what is quantized.
//!
//! ```text
//! conv ─ MaxPool ─ FakeQuant            ─►  conv ─ FakeQuant ─ MaxPool
//! conv ─ Concat(·, Resize) ─ FakeQuant  ─►  conv ─ FakeQuant ─ Concat(FakeQuant, Resize)
//! ```
//!
//! A quantizer is a non-decreasing function of each element, so it commutes with what only picks elements: `MaxPool`,
//! nearest `Resize`, a `Pad` of zeros (which is refused behind it where none of its codes stands for 0) and, where it has
//! one scale, `Concat`. Tools that quantize the inputs of convolutions
//! (TensorRT's, NNCF's,
//! AIMET's) leave floats in these operators, of which there are no codes to pick. What readers quantize differently is
//! picked once for each. A clamp or another function that is non-decreasing, between the two, moves along.
//!
//! Quantizers of equal numbers over one tensor become one. Where everything below is quantized already, nothing is
//! moved.

use std::collections::HashMap;
use std::sync::Arc;

use ylb_source::ir::{Attribute, Domain, Graph, Node, TensorId, TensorInfo};
use ylb_source::quantizer::Quantizer;

use super::attention::{MAT_MUL, SOFTMAX};
use super::averages::BORDER_AVERAGE;
use super::channels::CHANNELS;
use super::pad;
use super::rearranged::keeps_elements;
use super::spelled::{clamp, compares, copied, is_elementwise, with_number};
use super::trunc;

/// Attribute of an operator that hands codes on: their name in the source, of whose quantizer they are.
pub const CODES_NAME: &str = "codes_name";

/// What the pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Quantizers that were moved.
    pub moved: usize,
    /// Quantizers that were equal to an earlier one of the same tensor.
    pub merged: usize,
}

/// Longest way from a quantizer back to what is quantized. A spatial pyramid has three poolings and a concat.
const MAX_DEPTH: usize = 64;

/// Runs the pass, behind `quantizers` and `heads`.
pub fn run(graph: &mut Graph) -> Done {
    let states = states(graph);
    let producers = graph.producers();
    let old = std::mem::take(&mut graph.nodes);
    let mut pass = Pass { old: &old, producers, states, quantized: HashMap::new(), done: Done::default() };
    for node in &old {
        let rewritten = pass.rewritten(graph, node).unwrap_or_else(|| node.clone());
        graph.nodes.push(rewritten);
    }
    pass.done
}

/// What lowering can do with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Codes of values, and what numbers make of them.
    Codes,
    /// Functions of several values, or others of one.
    Values,
    /// Functions of something that is not quantized.
    Floats,
}

/// The state of each tensor.
pub(super) fn states(graph: &Graph) -> Vec<State> {
    let mut states = vec![State::Floats; graph.tensors.len()];
    graph.inputs.iter().for_each(|input| states[input.0] = State::Codes);
    for node in &graph.nodes {
        let moving = node.inputs.iter().flatten().filter(|&&id| graph.constant(id).is_none());
        let inputs: Vec<State> = moving.map(|id| states[id.0]).collect();
        let worst = inputs.iter().copied().fold(State::Codes, State::max);
        let linear = ["Add", "Sub", "Mul", "Div"].iter().any(|op| node.is(op)) && inputs.len() == 1;
        let cuts = compares(node) || ["Round", "Floor", "Ceil", "Sign"].iter().any(|op| node.is(op));
        let state = match &node.domain {
            Domain::Converter if node.op_type == CHANNELS => worst,
            Domain::Converter if [MAT_MUL, SOFTMAX, BORDER_AVERAGE].contains(&node.op_type.as_str()) => {
                State::Floats
            }
            Domain::Converter if node.op_type != trunc::ROUND => State::Codes,
            _ if cuts || node.is_linear_quantizer("DequantizeLinear") => State::Codes,
            _ if linear || picks(node) || copied(node).is_some() => worst,
            _ if is_elementwise(node) || node.domain == Domain::Converter => worst.max(State::Values),
            _ if ["Sigmoid", "LeakyRelu", "Tanh"].iter().any(|op| node.is(op)) => worst.max(State::Values),
            _ => State::Floats,
        };
        node.outputs.iter().for_each(|id| states[id.0] = state);
    }
    states
}

/// Whether each element of a node's output is one of its inputs', by an order alone, or what a `Pad` adds.
fn picks(node: &Node) -> bool {
    let nearest = node.text("mode", "nearest") == "nearest";
    let channels = node.domain == Domain::Converter && node.op_type == CHANNELS;
    let maximum = node.is("MaxPool") || node.is("GlobalMaxPool") || node.is("ReduceMax");
    channels
        || maximum
        || node.is("Concat")
        || node.is("Pad")
        || ((node.is("Resize") || node.is("Upsample")) && nearest)
}

/// A tensor, and what writes the last function of it that moves along.
type Source = (TensorId, Option<TensorId>);

/// What is moved: a quantizer, and functions before it, the last first.
struct Moving<'n> {
    node: &'n Node,
    quantizer: &'n Arc<Quantizer>,
    functions: &'n [Node],
}

impl Moving<'_> {
    fn key(&self, source: TensorId) -> Source {
        (source, self.functions.first().and_then(|last| last.outputs.first().copied()))
    }
}

struct Pass<'g> {
    old: &'g [Node],
    producers: Vec<Option<usize>>,
    states: Vec<State>,
    /// The quantized tensors that were made of a tensor, or of functions of it, which are known by what writes the last.
    quantized: HashMap<Source, Vec<(Arc<Quantizer>, TensorId)>>,
    done: Done,
}

impl Pass<'_> {
    /// The node that writes a quantizer's output if that quantizer is moved or merged; what it reads goes into the
    /// graph
    /// before it.
    fn rewritten(&mut self, graph: &mut Graph, node: &Node) -> Option<Node> {
        if node.domain != Domain::Converter {
            return None;
        }
        let quantizer = node.quantizer.clone()?;
        let &[output] = node.outputs.as_slice() else { return None };
        let source = self.origin(node.input(0)?);
        // One whose codes have a name of their own stays beside another that has one, too, where lowering takes it.
        let known = self.known((source, None), &quantizer);
        if let Some(known) =
            known.filter(|&known| self.take_over_name(graph, known, &quantizer) || self.is_stuck(source, 0))
        {
            self.done.merged += 1;
            return Some(node.rewritten(Domain::Onnx, "Identity", &[known]));
        }
        let (functions, below) = self.functions_before(graph, source);
        let moving = Moving { node, quantizer: &quantizer, functions: &functions };
        let moved = self.moved(graph, &moving, below, 0);
        self.done.moved += usize::from(moved.is_some());
        self.quantized.entry((source, None)).or_default().push((Arc::clone(&quantizer), output));
        moved.map(|last| Node { outputs: vec![output], ..last })
    }

    /// Non-decreasing functions between a tensor and what picks elements before it, the last first, and the tensor before
    /// them. None if nothing picks there.
    fn functions_before(&self, graph: &Graph, source: TensorId) -> (Vec<Node>, TensorId) {
        let (mut functions, mut id) = (Vec::new(), source);
        while let Some(node) = self.producer(id).filter(|_| functions.len() < MAX_DEPTH) {
            if picks(node) && !functions.is_empty() {
                return (functions, id);
            }
            let Some(input) = rising(graph, node) else { break };
            functions.push(node.clone());
            id = self.origin(input);
        }
        (Vec::new(), source)
    }

    /// Gives codes without a name that of an equal quantizer. Whether both have one name now, or none.
    fn take_over_name(&self, graph: &mut Graph, codes: TensorId, equal: &Quantizer) -> bool {
        let writer = graph.nodes.iter_mut().rev().find(|node| node.outputs.contains(&codes));
        let Some(quantizer) = writer.and_then(|node| node.quantizer.as_mut()) else { return true };
        if quantizer.codes_name.is_empty() {
            *quantizer =
                Arc::new(Quantizer { codes_name: equal.codes_name.clone(), ..quantizer.as_ref().clone() });
        }
        quantizer.codes_name == equal.codes_name || equal.codes_name.is_empty()
    }

    /// The tensor that another one is a copy of.
    fn origin(&self, mut id: TensorId) -> TensorId {
        while let Some(source) = self.producer(id).and_then(copied) {
            id = source;
        }
        id
    }

    fn producer(&self, id: TensorId) -> Option<&Node> {
        self.producers.get(id.0).copied().flatten().map(|index| &self.old[index])
    }

    /// An earlier tensor of the same codes.
    fn known(&self, source: Source, quantizer: &Quantizer) -> Option<TensorId> {
        let same = |other: &Quantizer| {
            *other == Quantizer { codes_name: other.codes_name.clone(), ..quantizer.clone() }
        };
        self.quantized.get(&source)?.iter().find(|(other, _)| same(other)).map(|&(_, id)| id)
    }

    /// Whether lowering cannot quantize a tensor where it is.
    fn is_stuck(&self, id: TensorId, depth: usize) -> bool {
        let Some(node) = self.producer(id).filter(|node| picks(node) && depth < MAX_DEPTH) else {
            return false;
        };
        let inputs: Vec<TensorId> = node.inputs.iter().flatten().map(|&id| self.origin(id)).collect();
        let state = inputs.first().map_or(State::Codes, |id| self.states[id.0]);
        match node.op_type.as_str() {
            "Concat" => inputs.iter().any(|&id| self.is_stuck(id, depth + 1) || self.is_transposed(id)),
            "MaxPool" | "Pad" => state != State::Codes,
            // Channels are taken of whatever it is.
            CHANNELS => false,
            _ => state == State::Floats,
        }
    }

    /// Whether a tensor is a function of a transposed convolution, pixel by pixel, whose codes are what is joined.
    fn is_transposed(&self, mut id: TensorId) -> bool {
        for _ in 0..MAX_DEPTH {
            let Some(node) = self.producer(self.origin(id)) else { return false };
            let by_pixel = keeps_elements(node) || node.is("BatchNormalization");
            if node.quantizer.is_some() || !by_pixel {
                return node.is("ConvTranspose");
            }
            let written = |id: &TensorId| self.producers.get(id.0).copied().flatten().is_some();
            let Some(source) = node.inputs.iter().flatten().copied().find(written) else { return false };
            id = source;
        }
        false
    }

    /// The node behind which a quantizer was, over quantized inputs.
    fn moved(
        &mut self,
        graph: &mut Graph,
        moving: &Moving<'_>,
        source: TensorId,
        depth: usize,
    ) -> Option<Node> {
        if depth > MAX_DEPTH || !self.is_stuck(source, 0) {
            return None;
        }
        let quantizer = moving.quantizer;
        let picking = self.producer(source)?.clone();
        let joins = picking.is("Concat");
        let channels = matches!(picking.int("axis", 0), 1 | -3);
        let one_scale = quantizer.scale.scalar().is_some() && quantizer.zero_point.scalar().is_some();
        let along_channels = quantizer.scale.axis == 1;
        if (joins && !(channels && one_scale))
            || (!one_scale && !along_channels)
            || picking.outputs.len() != 1
            || (picking.is("Pad") && !(moving.functions.is_empty() && pad::adds_zeros(graph, &picking)))
        {
            return None;
        }
        let count = if joins { picking.inputs.len() } else { 1 };
        if picking.inputs.iter().take(count).any(|id| id.is_none_or(|id| graph.constant(id).is_some())) {
            return None;
        }
        let mut inputs = picking.inputs.clone();
        for input in inputs.iter_mut().take(count).flatten() {
            *input = self.quantize(graph, moving, *input, depth + 1);
        }
        let named = Attribute::Text(quantizer.codes_name.clone());
        Some(Node { inputs, ..picking }.with(CODES_NAME, named))
    }

    /// The quantized tensor of a tensor, made if need be.
    fn quantize(
        &mut self,
        graph: &mut Graph,
        moving: &Moving<'_>,
        input: TensorId,
        depth: usize,
    ) -> TensorId {
        let source = self.origin(input);
        if let Some(known) = self.known(moving.key(source), moving.quantizer) {
            return known;
        }
        // Codes of a part have no name in the source.
        let own = Quantizer { codes_name: String::new(), ..moving.quantizer.as_ref().clone() };
        let own = Arc::new(own);
        let moving = Moving { quantizer: &own, ..*moving };
        let shape = graph.tensor(source).shape.clone();
        let made = self.moved(graph, &moving, source, depth).unwrap_or_else(|| {
            let mut last = source;
            for function in moving.functions.iter().rev() {
                let before = function.inputs.iter().flatten().copied();
                let before = before.into_iter().find(|&id| graph.constant(id).is_none());
                let inputs = function.inputs.iter().map(|&id| if id == before { Some(last) } else { id });
                let inputs = inputs.collect();
                let written = graph.add_tensor(TensorInfo { shape: shape.clone(), ..TensorInfo::default() });
                graph.nodes.push(Node { inputs, ..function.clone() }.writing(&[written]));
                last = written;
            }
            let node = moving.node;
            let quantized = node.rewritten(Domain::Converter, &node.op_type, &[last]);
            Node { quantizer: Some(Arc::clone(&own)), ..quantized }
        });
        let output = graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() });
        graph.nodes.push(Node { outputs: vec![output], ..made });
        self.quantized.entry(moving.key(source)).or_default().push((own, output));
        output
    }
}

/// What a non-decreasing function of one tensor reads, the same for all elements.
fn rising(graph: &Graph, node: &Node) -> Option<TensorId> {
    if let Some((source, _)) = clamp(graph, node) {
        return Some(source);
    }
    let known = ["Sigmoid", "Tanh", "Softplus"].iter().any(|op| node.is(op));
    if known || (node.is("LeakyRelu") && node.float("alpha", 0.01) >= 0.0) {
        return node.input(0);
    }
    let (source, number, first) = with_number(graph, node)?;
    let rises = node.is("Add")
        || (node.is("Sub") && !first)
        || (node.is("Mul") && number > 0.0)
        || (node.is("Div") && !first && number > 0.0);
    rises.then_some(source)
}
