//! Zeros around a feature map become the padding of the convolutions and poolings that read it.
//!
//! ```text
//! x ─ Pad ─ Conv             ─►  x ─ Conv (padding)
//! x ─ Pad ─ quantizer ─ Conv ─►  x ─ quantizer ─ Conv (padding)
//! ```
//!
//! A function between that leaves 0 what it is, as a quantizer with a code for 0 does, is the same before the padding as
//! behind it; its codes are fewer than the export's, and not compared. A pooling takes the zeros of a `Pad` for elements,
//! its own padding for nothing: both give the same maximum where nothing is below 0. A `Pad` of which all this is not true
//! stays where it adds zeros, and is refused otherwise, unless it is a part of the decode.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ylb_source::eval::{self, Padding};
use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId};
use ylb_source::quantizer::{Order, Quantizer};
use ylb_source::window;

use crate::error::ConvertError;

/// Values that no feature map reaches: a pooling over a `Pad` of them ignores it.
const LEAST: f64 = -1e30;

/// What a `Pad` that cannot be merged is refused with.
const KEPT: &str = "pads with other numbers than zeros, or cuts off rows or columns; expected zeros in rows and columns \
                        around a feature map";

/// Runs the pass. Returns how many `Pad` nodes were merged.
///
/// # Errors
/// If one in front of a convolution cannot be merged.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut merged = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if !node.is("Pad") || graph.constant(node.output()?).is_some() {
            continue;
        }
        let padding = planar(graph, node);
        let readers = padding.and_then(|padding| Some((Readers::of(graph, index, padding.value)?, padding)));
        match readers {
            Some((readers, padding)) => readers.merge(graph, index, padding)?,
            // Zeros that take part in a maximum stay.
            None if padding.is_some_and(|padding| padding.value == 0.0) => continue,
            None if in_body(graph, index) => return Err(node.blame(ConvertError::unsupported(KEPT))),
            None => continue,
        }
        merged += 1;
    }
    Ok(merged)
}

/// Whether a node adds rows and columns of zeros, and nothing else.
pub(super) fn adds_zeros(graph: &Graph, node: &Node) -> bool {
    planar(graph, node).is_some_and(|padding| padding.value == 0.0)
}

/// Whether a convolution depends on a node.
fn in_body(graph: &Graph, index: usize) -> bool {
    let mut behind: BTreeSet<TensorId> = graph.nodes[index].outputs.iter().copied().collect();
    graph.nodes[index + 1..].iter().any(|node| {
        let depends = node.inputs.iter().flatten().any(|id| behind.contains(id));
        behind.extend(node.outputs.iter().filter(|_| depends));
        depends && node.is("Conv")
    })
}

/// Elements around a plane.
#[derive(Clone, Copy)]
struct Planar {
    /// Top, left, bottom, right.
    pads: [usize; 4],
    value: f64,
}

/// The padding of a node that adds rows and columns only.
fn planar(graph: &Graph, node: &Node) -> Option<Planar> {
    let rank = graph.tensor(node.input(0)?).shape.as_ref()?.len();
    let constants: Vec<Option<&Tensor>> = (0..node.inputs.len())
        .map(|position| graph.constant_input(node, position).map(AsRef::as_ref))
        .collect();
    let Padding { before, after, value } = eval::padding_of(node, &constants, rank).ok()?;
    let (&[0, 0, top, left], &[0, 0, bottom, right]) = (&before[..], &after[..]) else { return None };
    let extent = |pad: i64| usize::try_from(pad).ok();
    Some(Planar { pads: [extent(top)?, extent(left)?, extent(bottom)?, extent(right)?], value })
}

/// What reads a padded tensor.
#[derive(Default)]
struct Readers {
    /// Convolutions and poolings.
    windows: Vec<usize>,
    /// Functions between.
    between: Vec<usize>,
}

impl Readers {
    /// All that read a `Pad`, if each can do without it.
    fn of(graph: &Graph, pad: usize, value: f64) -> Option<Self> {
        let mut readers = Self::default();
        let input = graph.nodes[pad].input(0)?;
        let mut pending: Vec<TensorId> = graph.nodes[pad].outputs.clone();
        while let Some(id) = pending.pop() {
            if graph.outputs.contains(&id) {
                return None;
            }
            let reads = |node: &Node| node.inputs.contains(&Some(id));
            for (index, node) in graph.nodes.iter().enumerate().filter(|(_, node)| reads(node)) {
                let conv = node.is("Conv") && node.input(0) == Some(id) && node.input(1) != Some(id);
                if conv && value == 0.0 {
                    readers.windows.push(index);
                } else if node.is("MaxPool") {
                    if !(value <= LEAST || value == 0.0 && from_zero(graph, input)) {
                        return None;
                    }
                    readers.windows.push(index);
                } else if value == 0.0 && keeps_zero(graph, node) {
                    readers.between.push(index);
                    pending.extend(&node.outputs);
                } else {
                    return None;
                }
            }
        }
        (!readers.windows.is_empty()).then_some(readers)
    }

    fn merge(self, graph: &mut Graph, pad: usize, padding: Planar) -> Result<(), ConvertError> {
        let mut attributes = BTreeMap::new();
        for &index in &self.windows {
            let node = &graph.nodes[index];
            let shape = |id: TensorId| graph.tensor(id).shape.clone().unwrap_or_default();
            let input = shape(node.required_input(0)?);
            let kernel = match node.input(1).filter(|_| node.is("Conv")).map(shape).as_deref() {
                Some(&[_, _, rows, columns]) => Some([rows, columns]),
                _ => None,
            };
            let own = window::of_node(node, &input, kernel).map_err(|error| node.blame(error))?.padding;
            let pads = own.iter().zip(padding.pads).map(|(&own, more)| (own + more) as i64).collect();
            attributes.insert(index, Attribute::Ints(pads));
        }
        for (index, pads) in attributes {
            let node = &mut graph.nodes[index];
            node.attributes.remove("auto_pad");
            node.attributes.insert("pads".into(), pads);
        }
        let shape = graph.nodes[pad].input(0).and_then(|id| graph.tensor(id).shape.clone());
        for &index in &self.between {
            if let Some(quantizer) = &mut graph.nodes[index].quantizer {
                Arc::make_mut(quantizer).codes_name.clear();
            }
            for id in graph.nodes[index].outputs.clone() {
                graph.tensors[id.0].name.clear();
            }
        }
        for index in self.between.into_iter().chain([pad]) {
            for id in graph.nodes[index].outputs.clone() {
                graph.tensors[id.0].shape.clone_from(&shape);
            }
        }
        let input = graph.nodes[pad].required_input(0)?;
        graph.nodes[pad] = graph.nodes[pad].rewritten(Domain::Onnx, "Identity", &[input]);
        Ok(())
    }
}

/// Whether a function of one tensor makes 0 of 0.
fn keeps_zero(graph: &Graph, node: &Node) -> bool {
    if let Some(quantizer) = &node.quantizer {
        return has_zero(quantizer);
    }
    const KEEP: [&str; 9] =
        ["Identity", "Dropout", "Relu", "LeakyRelu", "Round", "Floor", "Ceil", "Sign", "Neg"];
    let by_number = |position: usize| {
        graph.constant_input(node, position).and_then(|tensor| tensor.scalar()).is_some_and(|x| x != 0.0)
    };
    match node.op_type.as_str() {
        _ if node.domain != Domain::Onnx => false,
        "Mul" => by_number(0) || by_number(1),
        "Div" => by_number(1),
        "Cast" => eval::cast_target(node).is_ok_and(|to| to.is_float()),
        "Clip" => bounds(graph, node).is_some_and(|(low, high)| low <= 0.0 && high >= 0.0),
        op_type => KEEP.contains(&op_type),
    }
}

/// Whether a code stands for 0, the one that 0 becomes.
fn has_zero(quantizer: &Quantizer) -> bool {
    let code = |zero: &f32| {
        zero.fract() == 0.0 && (quantizer.low..=quantizer.high).contains(&(f64::from(*zero) as i64))
    };
    quantizer.order != Order::Bipolar && quantizer.zero_point.values.iter().all(code)
}

fn bounds(graph: &Graph, node: &Node) -> Option<(f64, f64)> {
    let constants: Vec<Option<&Tensor>> = (0..node.inputs.len())
        .map(|position| graph.constant_input(node, position).map(AsRef::as_ref))
        .collect();
    let known = (1..node.inputs.len()).all(|k| node.input(k).is_none() || constants[k].is_some());
    eval::known_clip(node, &constants).ok().flatten().filter(|_| known)
}

/// Whether no element is below 0, as far as the operators that made them show it.
fn from_zero(graph: &Graph, tensor: TensorId) -> bool {
    let producers = graph.producers();
    let mut pending = vec![tensor];
    while let Some(id) = pending.pop() {
        let Some(node) = producers[id.0].map(|index| &graph.nodes[index]) else { return false };
        if let Some(quantizer) = &node.quantizer {
            let lowest = |zero: &f32| quantizer.low as f64 >= f64::from(*zero);
            if quantizer.order == Order::Bipolar || !quantizer.zero_point.values.iter().all(lowest) {
                return false;
            }
            continue;
        }
        let positive = |position: usize| {
            graph.constant_input(node, position).and_then(|tensor| tensor.scalar()).is_some_and(|x| x > 0.0)
        };
        match node.op_type.as_str() {
            _ if node.domain != Domain::Onnx => return false,
            "Relu" | "Sigmoid" => {}
            "Clip" if bounds(graph, node).is_some_and(|(low, _)| low >= 0.0) => {}
            "Mul" if positive(1) => pending.extend(node.input(0)),
            "Mul" if positive(0) => pending.extend(node.input(1)),
            "Div" if positive(1) => pending.extend(node.input(0)),
            "Identity" | "Dropout" | "Cast" | "Round" | "Floor" | "Ceil" | "MaxPool" => {
                pending.extend(node.input(0));
            }
            "Concat" => pending.extend(node.inputs.iter().flatten()),
            _ => return false,
        }
    }
    true
}
