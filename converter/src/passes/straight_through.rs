//! Straight-through estimators: what training computes with one gradient and exports as it was written.
//!
//! ```text
//! x + (q − x), (q − x) + x, x − (x − q), −(x − q) + x, q + (x − x)  ─►  q
//! ```
//!
//! `q` is a quantized function of `x`, mostly, in every order of the operands, with `Identity` and `Cast` for
//! `detach` between. Sums and differences of feature maps are followed as counts of what they add up; where
//! all but one quantized tensor cancel, that one is the sum in real arithmetic. In floats it is so exactly where `q` is
//! `Round`, `Floor` or `Ceil` of `x`: a number and its rounding lie on one grid, and so does their difference. Elsewhere `q − x` may
//! be rounded, and the export's own result is off by as much: that is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ylb_source::ir::{Domain, Graph, Node, TensorId};

use super::spelled::{compares, is_elementwise, origin, rounds};
use crate::report::{Warning, WarningKind};

/// Most tensors that a sum is followed over; larger ones count as one tensor.
const MAX_TERMS: usize = 6;

/// What the pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Estimators that are exact in floats.
    pub exact: usize,
    /// First outputs of the others.
    pub rounded: Vec<String>,
}

impl Found {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.exact + self.rounded.len()
    }

    /// What the user should know.
    pub fn warning(&self) -> Option<Warning> {
        let first = self.rounded.first()?;
        let message = format!(
            "{} quantizers are written as x + (q - x) and taken as q; 32-bit floats round the difference, so the \
             export's own results may differ in the last bit (where it is \"{first}\", for one)",
            self.rounded.len()
        );
        Some(Warning::of_model(WarningKind::StraightThrough, message))
    }
}

/// A sum: how often each tensor is added, and what it was added and taken away again.
#[derive(Clone, Debug, Default)]
struct Sum {
    counts: BTreeMap<TensorId, i32>,
    cancelled: BTreeSet<TensorId>,
}

impl Sum {
    fn of(id: TensorId) -> Self {
        Self { counts: BTreeMap::from([(id, 1)]), cancelled: BTreeSet::new() }
    }

    fn scaled(mut self, sign: i32) -> Self {
        self.counts.values_mut().for_each(|count| *count *= sign);
        self
    }

    fn plus(mut self, other: Self) -> Self {
        for (id, count) in other.counts {
            let own = self.counts.entry(id).or_insert(0);
            *own = own.saturating_add(count);
        }
        self.cancelled.extend(other.cancelled);
        let gone = self.counts.iter().filter(|&(_, &count)| count == 0);
        self.cancelled.extend(gone.map(|(&id, _)| id));
        self.counts.retain(|_, &mut count| count != 0);
        self
    }

    /// The one tensor that is left, if others cancelled.
    fn survivor(&self) -> Option<TensorId> {
        let (&id, &count) = self.counts.first_key_value()?;
        (self.counts.len() == 1 && count == 1 && !self.cancelled.is_empty()).then_some(id)
    }
}

/// Runs the pass, behind `constants`.
pub fn run(graph: &mut Graph) -> Found {
    let producers = graph.producers();
    let mut found = Found::default();
    let mut sums: HashMap<TensorId, Sum> = HashMap::new();
    let mut quantized = vec![false; graph.tensors.len()];
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some(&output) = node.outputs.first() else { continue };
        if graph.constant(output).is_some() {
            continue;
        }
        let inputs = || node.inputs.iter().flatten();
        quantized[output.0] = quantizes(node) || (is_elementwise(node) && inputs().any(|id| quantized[id.0]));
        let Some(sum) = sum_of(graph, &producers, &sums, node) else { continue };
        if let Some(survivor) = sum.survivor().filter(|id| quantized[id.0]) {
            let exact = rounds_the_cancelled(graph, &producers, survivor, &sum.cancelled);
            if exact {
                found.exact += 1;
            } else {
                found.rounded.push(graph.tensor(output).name.clone());
            }
            graph.nodes[index] = graph.nodes[index].rewritten(Domain::Onnx, "Identity", &[survivor]);
            sums.insert(output, Sum::of(survivor));
        } else if sum.counts.len() <= MAX_TERMS && sum.cancelled.len() <= MAX_TERMS {
            sums.insert(output, sum);
        }
    }
    found
}

/// Whether a node's output takes few values, whatever its input is.
fn quantizes(node: &Node) -> bool {
    rounds(node)
        || node.is("Sign")
        || compares(node)
        || node.is_linear_quantizer("DequantizeLinear")
        || node.domain == Domain::Qonnx
        || node.quantizer.is_some()
}

/// What a sum or difference of feature maps of one shape adds up; `None` for other nodes.
fn sum_of(
    graph: &Graph,
    producers: &[Option<usize>],
    sums: &HashMap<TensorId, Sum>,
    node: &Node,
) -> Option<Sum> {
    let term = |position: usize| {
        let id = origin(graph, producers, node.input(position)?);
        graph.constant(id).is_none().then(|| sums.get(&id).cloned().unwrap_or_else(|| Sum::of(id)))
    };
    let shape = |position: usize| graph.tensor(node.inputs[position]?).shape.as_ref();
    let (a, b) = match node.op_type.as_str() {
        "Neg" if node.domain == Domain::Onnx => return Some(term(0)?.scaled(-1)),
        "Add" | "Sub" if node.domain == Domain::Onnx && node.inputs.len() == 2 => (term(0)?, term(1)?),
        _ => return None,
    };
    if shape(0).is_none() || shape(0) != shape(1) {
        return None;
    }
    Some(a.plus(b.scaled(if node.is("Sub") { -1 } else { 1 })))
}

/// Whether a tensor is the rounding of the only tensor that cancelled.
fn rounds_the_cancelled(
    graph: &Graph,
    producers: &[Option<usize>],
    survivor: TensorId,
    cancelled: &BTreeSet<TensorId>,
) -> bool {
    let Some(node) = producers[survivor.0].map(|index| &graph.nodes[index]).filter(|node| rounds(node))
    else {
        return false;
    };
    let source = node.input(0).map(|id| origin(graph, producers, id));
    cancelled.iter().all(|&id| Some(id) == source)
}

#[cfg(test)]
mod tests;
