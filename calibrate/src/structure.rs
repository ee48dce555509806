//! Which tensors of a float network get a quantizer, and which of them share a grid.
//!
//! ```text
//! Conv ─ BatchNormalization ─ Sigmoid, Mul ─┤quantizer├─ Conv
//!                                           └────────── Concat, MaxPool, Resize: codes pass through, one grid
//! x ┤q├ + y ┤q├ ─┤quantizer├─               a sum has a grid of its own, its operands have theirs
//! ```
//!
//! A *function* is computed of each element (activations, normalizations, casts); functions of one convolution stay
//! together, and the quantizer stands behind the last of them. A *pass* only picks or moves elements, so that codes go
//! through it. All else reads quantized tensors and writes something new. What only the picture goes into, whose
//! bytes are codes, and what no convolution reads, the decode of the boxes, stay as they are. (A convolution behind a softmax is part of
//! the decode.)

use std::collections::{BTreeMap, BTreeSet};

use ylb_source::eval;
use ylb_source::ir::{Domain, Graph, Node, TensorId};

use crate::forward::Forward;

/// What is to be quantized.
#[derive(Clone, Debug, Default)]
pub struct Structure {
    /// Convolutions in the order of computation.
    pub convolutions: Vec<Conv>,
    /// Tensors that get a quantizer, and their grid's number.
    pub sites: BTreeMap<TensorId, usize>,
    /// How many grids there are.
    pub grids: usize,
}

/// A convolution that gets integer weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// The step that computes it.
    pub position: usize,
    /// The tensor that it writes.
    pub output: TensorId,
    /// The quantized tensor that its functions end in, if there is one.
    pub site: Option<TensorId>,
    /// The number of the grid that it reads, if it is one of these.
    pub grid: Option<usize>,
    /// Whether it reads the picture.
    pub is_first: bool,
    /// Whether no convolution reads what it writes.
    pub is_last: bool,
    /// Whether its weights have codes already.
    pub is_quantized: bool,
}

/// What a node does with elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Conv,
    Pass,
    Function,
    Quantizer,
    /// Extents of a tensor: no picture goes through.
    Shape,
    Other,
}

/// What a tensor is a function of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Picture,
    Tensor(TensorId),
}

fn kind(network: &Forward, position: usize) -> Kind {
    const PASSES: [&str; 5] = ["MaxPool", "Concat", "Resize", "Upsample", "Pad"];
    const FUNCTIONS: [&str; 27] = [
        "Abs",
        "Add",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Div",
        "Dropout",
        "Elu",
        "Exp",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Max",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Pow",
        "Relu",
        "Sigmoid",
        "Softplus",
        "Sqrt",
        "Sub",
        "Tanh",
        "Log",
    ];
    let node = network.node(position);
    let op_type = node.op_type.as_str();
    if network.convolution(position).is_some() {
        return if reads_softmax(network, node) { Kind::Other } else { Kind::Conv };
    }
    if is_quantizer(node) {
        return Kind::Quantizer;
    }
    match node.domain {
        Domain::Onnx if ["Shape", "Size"].contains(&op_type) => Kind::Shape,
        Domain::Onnx if FUNCTIONS.contains(&op_type) => Kind::Function,
        Domain::Onnx if PASSES.contains(&op_type) || eval::moves_elements(op_type) => Kind::Pass,
        _ => Kind::Other,
    }
}

impl Structure {
    /// Of a network.
    pub fn of(network: &Forward) -> Self {
        let kinds: Vec<Kind> = (0..network.len()).map(|position| kind(network, position)).collect();
        let needed = needed(network, &kinds);
        let mut walk = Walk::new(network, &kinds, &needed);
        (0..network.len()).for_each(|position| walk.node(position));
        walk.finish()
    }

    /// Tensors that some convolution depends on.
    pub fn needed(network: &Forward) -> BTreeSet<TensorId> {
        let kinds: Vec<Kind> = (0..network.len()).map(|position| kind(network, position)).collect();
        needed(network, &kinds)
    }
}

/// Whether a convolution takes the mean of distributions, as in the decode of YOLOv8: it is no layer of the network.
fn reads_softmax(network: &Forward, conv: &Node) -> bool {
    let mut tensor = conv.input(0);
    while let Some(id) = tensor {
        let Some(node) = network.graph().nodes.iter().find(|node| node.outputs.contains(&id)) else {
            return false;
        };
        if node.is("Softmax") {
            return true;
        }
        tensor = node.input(0).filter(|_| eval::moves_elements(&node.op_type));
    }
    false
}

/// Whether constants come from a quantizer of the file, however it is written: rounding is enough.
pub fn have_codes(graph: &Graph, constants: TensorId) -> bool {
    let (mut pending, mut seen) = (vec![constants], BTreeSet::new());
    while let Some(id) = pending.pop() {
        let Some(node) = graph.nodes.iter().find(|node| node.outputs.contains(&id)) else { continue };
        if is_quantizer(node) {
            return true;
        }
        pending.extend(node.inputs.iter().flatten().filter(|&&input| seen.insert(input)));
    }
    false
}

/// Whether a node is a quantizer, or the rounding of one that is written as arithmetic.
pub fn is_quantizer(node: &Node) -> bool {
    let is_linear = ["QuantizeLinear", "DequantizeLinear"].iter().any(|op| node.is_linear_quantizer(op));
    let rounds = ["Round", "Floor", "Ceil", "Sign"].iter().any(|op| node.is(op));
    let of_tool = node.op_type.ends_with("PerTensorAffine") || node.op_type == "FakeQuantize";
    is_linear || rounds || of_tool || node.domain == Domain::Qonnx
}

/// A node's inputs that depend on the picture.
fn moving<'n>(network: &'n Forward, node: &'n Node) -> impl Iterator<Item = TensorId> + 'n {
    node.inputs.iter().copied().flatten().filter(|&id| network.constant(id).is_none())
}

/// Tensors that some convolution depends on.
fn needed(network: &Forward, kinds: &[Kind]) -> BTreeSet<TensorId> {
    let mut needed = BTreeSet::new();
    for position in (0..network.len()).rev() {
        let node = network.node(position);
        if kinds[position] == Kind::Conv {
            needed.extend(node.input(0));
        } else if node.outputs.iter().any(|id| needed.contains(id)) {
            needed.extend(moving(network, node));
        }
    }
    needed
}

/// The network is walked once, in the order of computation.
struct Walk<'n> {
    network: &'n Forward,
    kinds: &'n [Kind],
    needed: &'n BTreeSet<TensorId>,
    origins: Vec<Origin>,
    /// Tensors that a pass writes: nothing is quantized behind it.
    carried: BTreeSet<TensorId>,
    /// Tensors that a quantizer of the file writes, and what becomes of them without another.
    coded: BTreeSet<TensorId>,
    /// Extents, and what is computed of them.
    sizes: BTreeSet<TensorId>,
    /// The picture, shifted or scaled by other numbers in each channel: no bytes any more, so that it gets a grid.
    normalized: BTreeSet<TensorId>,
    /// Tensors that are read as codes.
    read: BTreeSet<TensorId>,
    /// Union-find of tensors that share a grid.
    parents: Vec<usize>,
    convolutions: Vec<Conv>,
}

impl<'n> Walk<'n> {
    fn new(network: &'n Forward, kinds: &'n [Kind], needed: &'n BTreeSet<TensorId>) -> Self {
        let tensors = network.graph().tensors.len();
        Self {
            network,
            kinds,
            needed,
            origins: vec![Origin::Picture; tensors],
            carried: BTreeSet::new(),
            coded: BTreeSet::new(),
            sizes: BTreeSet::new(),
            normalized: BTreeSet::new(),
            read: BTreeSet::new(),
            parents: (0..tensors).collect(),
            convolutions: Vec::new(),
        }
    }

    fn node(&mut self, position: usize) {
        let node = self.network.node(position);
        let is_size = moving(self.network, node).all(|id| self.sizes.contains(&id));
        if is_size || self.kinds[position] == Kind::Shape {
            self.sizes.extend(&node.outputs);
            return;
        }
        let inputs: Vec<TensorId> = match self.kinds[position] {
            Kind::Conv => node.input(0).into_iter().collect(),
            _ => moving(self.network, node).collect(),
        };
        let is_picture = |id: &TensorId| match self.origins[id.0] {
            Origin::Picture => true,
            Origin::Tensor(root) => self.normalized.contains(&root),
        };
        let (of_picture, is_first) =
            (inputs.iter().all(|&id| self.origins[id.0] == Origin::Picture), inputs.iter().all(is_picture));
        let is_read =
            self.kinds[position] == Kind::Conv || node.outputs.iter().any(|id| self.needed.contains(id));
        let own = node.outputs.first().map_or(Origin::Picture, |&id| Origin::Tensor(id));
        let origin = match self.kinds[position] {
            Kind::Conv => {
                self.convolution(position, node, is_first);
                own
            }
            Kind::Function if of_picture && self.is_by_channel(node) => {
                self.normalized.extend(&node.outputs);
                own
            }
            _ if of_picture => Origin::Picture,
            Kind::Quantizer => {
                self.coded.extend(&node.outputs);
                own
            }
            Kind::Function => {
                if self.keeps_codes(node, &inputs) {
                    self.coded.extend(&node.outputs);
                }
                let first = self.origins[inputs[0].0];
                if inputs.iter().all(|&id| self.origins[id.0] == first) {
                    node.outputs.iter().for_each(|id| self.origins[id.0] = first);
                    return;
                }
                own
            }
            Kind::Pass => {
                self.pass(&inputs, &node.outputs);
                own
            }
            Kind::Shape | Kind::Other => own,
        };
        let takes_codes = self.kinds[position] != Kind::Quantizer && is_read;
        self.read.extend(inputs.iter().filter(|_| takes_codes && origin != Origin::Picture));
        for &output in &node.outputs {
            self.origins[output.0] = match origin {
                Origin::Picture => Origin::Picture,
                Origin::Tensor(_) => Origin::Tensor(output),
            };
        }
    }

    fn convolution(&mut self, position: usize, node: &Node, is_first: bool) {
        let Some(&output) = node.outputs.first() else { return };
        let is_last = !self.needed.contains(&output);
        let is_quantized = node.input(1).is_some_and(|id| have_codes(self.network.graph(), id));
        let conv = Conv { position, output, site: None, grid: None, is_first, is_last, is_quantized };
        self.convolutions.push(conv);
    }

    /// All that goes through shares a grid, but for what has one of its own already.
    fn pass(&mut self, inputs: &[TensorId], outputs: &[TensorId]) {
        let fixed = |id: &TensorId| self.coded.contains(id) || self.origins[id.0] == Origin::Picture;
        let free: Vec<TensorId> = inputs.iter().copied().filter(|id| !fixed(id)).collect();
        if free.is_empty() {
            self.coded.extend(outputs);
            return;
        }
        self.carried.extend(outputs);
        let Some(&first) = outputs.first() else { return };
        for &id in outputs.iter().chain(&free) {
            self.join(first, id);
        }
    }

    /// Whether a node computes with several numbers.
    fn is_by_channel(&self, node: &Node) -> bool {
        let mut constants = node.inputs.iter().flatten().filter_map(|id| self.network.constant(*id));
        constants.any(|constant| constant.len() > 1)
    }

    /// Whether a node makes of codes what still is codes: a copy, or one number for all.
    fn keeps_codes(&self, node: &Node, inputs: &[TensorId]) -> bool {
        let op = |names: &[&str]| names.iter().any(|name| node.is(name));
        let single = |id: &TensorId| self.network.constant(*id).is_none_or(|constant| constant.len() == 1);
        let is_linear = op(&["Mul", "Div", "Add", "Sub"]) && node.inputs.iter().flatten().all(single);
        matches!(inputs, [input] if self.coded.contains(input))
            && (op(&["Identity", "Cast", "Dropout"]) || is_linear)
    }

    fn root(&self, mut index: usize) -> usize {
        while self.parents[index] != index {
            index = self.parents[index];
        }
        index
    }

    fn join(&mut self, a: TensorId, b: TensorId) {
        let (a, b) = (self.root(a.0), self.root(b.0));
        // The smaller stands for both, whatever the order.
        self.parents[a.max(b)] = a.min(b);
    }

    fn finish(self) -> Structure {
        let is_own = |id: &TensorId| !self.carried.contains(id) && !self.coded.contains(id);
        let is_site = |id: &&TensorId| is_own(id) && matches!(self.origins[id.0], Origin::Tensor(_));
        let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
        let mut sites = BTreeMap::new();
        for &id in self.read.iter().filter(is_site) {
            let next = numbers.len();
            sites.insert(id, *numbers.entry(self.root(id.0)).or_insert(next));
        }
        let site_of =
            |output: TensorId| sites.keys().copied().find(|id| self.origins[id.0] == Origin::Tensor(output));
        let grid_of = |conv: &Conv| {
            let input = self.network.node(conv.position).input(0)?;
            numbers.get(&self.root(input.0)).copied()
        };
        let finished = |conv: &Conv| Conv { site: site_of(conv.output), grid: grid_of(conv), ..*conv };
        let convolutions = self.convolutions.iter().map(finished).collect();
        Structure { convolutions, sites, grids: numbers.len() }
    }
}

#[cfg(test)]
mod tests;
