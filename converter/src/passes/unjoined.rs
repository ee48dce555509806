//! Takes apart what is joined along rows or columns, and split again in the same places, as coordinate attention does.
//!
//! ```text
//! a, b ─ Concat (rows) ─ Conv 1×1 ─ act ─ quantizer ─ Split (rows)  ─►  a ─ Conv 1×1 ─ act ─ quantizer
//!                                                                       b ─ Conv 1×1 ─ act ─ quantizer
//! ```
//!
//! What works pixel by pixel does the same with each part. So the convolution between is made once for each, of equal weights;
//! codes of the joined map are none of the file's any more, and lose their names. Where the joined map is read by anything
//! else, it stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use ylb_source::eval;
use ylb_source::ir::{Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::{PerAxis, Quantizer};

use super::prune;
use super::rearranged::{keeps_elements, keeps_pixels};

/// Runs the pass. Returns how many concats are gone.
pub fn run(graph: &mut Graph) -> usize {
    let mut count = 0;
    let concats: Vec<TensorId> =
        graph.nodes.iter().filter(|node| node.is("Concat")).flat_map(|node| node.outputs.clone()).collect();
    for joined in concats {
        if let Some(changed) = Parts::new(graph, joined).and_then(|parts| parts.unjoined(graph.clone())) {
            *graph = changed;
            count += 1;
        }
    }
    if count > 0 {
        prune::unread(graph);
    }
    count
}

/// A map of several parts one behind the other.
struct Parts {
    joined: TensorId,
    inputs: Vec<TensorId>,
    /// The axis of rows or of columns.
    axis: usize,
    /// By part, its extent along the axis.
    extents: Vec<usize>,
}

impl Parts {
    /// The parts of a concat along rows or columns.
    fn new(graph: &Graph, joined: TensorId) -> Option<Self> {
        let node = graph.nodes.iter().find(|node| node.outputs == [joined])?;
        let axis = node.int("axis", 0);
        let axis = usize::try_from(if axis < 0 { axis + 4 } else { axis })
            .ok()
            .filter(|axis| [2, 3].contains(axis))?;
        let inputs: Vec<TensorId> = node.inputs.iter().copied().collect::<Option<_>>()?;
        let shape = |id: &TensorId| graph.tensor(*id).shape.as_deref().filter(|shape| shape.len() == 4);
        let extents = inputs.iter().map(|id| Some(shape(id)?[axis])).collect::<Option<_>>()?;
        let moving = inputs.iter().all(|id| graph.constant(*id).is_none());
        (moving && inputs.len() > 1 && shape(&joined).is_some()).then_some(Self {
            joined,
            inputs,
            axis,
            extents,
        })
    }

    /// The graph without the concat, or `None` if something behind it needs the joined map.
    fn unjoined(&self, mut graph: Graph) -> Option<Graph> {
        // Operators that quantizers were made of may still be there, read by nothing.
        prune::unread(&mut graph);
        let mut parts = BTreeMap::from([(self.joined, self.inputs.clone())]);
        let mut split = false;
        for node in std::mem::take(&mut graph.nodes) {
            let read: Vec<TensorId> =
                node.inputs.iter().flatten().filter(|id| parts.contains_key(id)).copied().collect();
            if read.is_empty() {
                graph.nodes.push(node);
            } else if let Some(taken) = self.taken(&graph, &node) {
                let of = &parts[&read[0]];
                let identities = node.outputs.iter().zip(taken);
                graph.nodes.extend(identities.map(|(&output, part)| {
                    node.rewritten(Domain::Onnx, "Identity", &[of[part]]).writing(&[output])
                }));
                split = true;
            } else if let (&[output], true) =
                (node.outputs.as_slice(), self.works_on_parts(&graph, &node, &parts))
            {
                let own = (0..self.extents.len())
                    .map(|part| self.of_part(&mut graph, &node, part, &parts))
                    .collect();
                parts.insert(output, own);
            } else {
                return None;
            }
        }
        let output = graph.outputs.iter().any(|id| parts.contains_key(id));
        (split && !output).then_some(graph)
    }

    /// The part that each output of a node is, if it only takes parts.
    fn taken(&self, graph: &Graph, node: &Node) -> Option<Vec<usize>> {
        if !["Split", "Slice", "Gather"].iter().any(|op_type| node.is(op_type)) {
            return None;
        }
        // Channels may be others than those that were joined.
        let shape = graph.tensor(node.input(0)?).shape.clone().filter(|shape| shape.len() == 4)?;
        let rows = self.extents.iter().sum::<usize>();
        let inner: usize = shape[self.axis + 1..].iter().product();
        // Where along the axis each element is, with one channel for all.
        let places = (0..rows * inner).map(|at| (at / inner) as f32).collect();
        let mut line = [1, 1, 1, 1];
        line[self.axis..].copy_from_slice(&[&[rows], &shape[self.axis + 1..]].concat());
        let places = Tensor::f32(&line, places).ok()?;
        let constants = (1..node.inputs.len()).map(|at| graph.constant_input(node, at).map(AsRef::as_ref));
        let operands: Vec<Option<&Tensor>> = std::iter::once(Some(&places)).chain(constants).collect();
        let known =
            operands.iter().zip(&node.inputs).all(|(operand, input)| operand.is_some() || input.is_none());
        // What takes channels finds but one of them here.
        let found = known.then(|| eval::evaluate(node, &operands, graph.opset).ok()?).flatten()?;
        let part_of = |found: &Tensor| {
            let mut first = 0;
            let starts = self.extents.iter().map(|extent| {
                first += extent;
                first - extent
            });
            let is = |start: usize, extent: usize| {
                let whole = found.shape().get(self.axis) == Some(&extent) && found.len() == extent * inner;
                whole && (0..found.len()).all(|at| found.get(at) as usize == start + at / inner)
            };
            starts.zip(&self.extents).position(|(start, &extent)| is(start, extent))
        };
        let taken: Vec<usize> = found.iter().map(part_of).collect::<Option<_>>()?;
        let whole = |(&output, &part): (&TensorId, &usize)| {
            let extents = graph.tensor(output).shape.as_deref();
            extents.is_some_and(|own| {
                own.iter().enumerate().all(|(axis, &extent)| {
                    extent == if axis == self.axis { self.extents[part] } else { shape[axis] }
                })
            })
        };
        let all = taken.len() == node.outputs.len() && node.outputs.iter().zip(&taken).all(whole);
        all.then_some(taken)
    }

    /// Whether a node does with each part what it does with the joined map.
    fn works_on_parts(&self, graph: &Graph, node: &Node, parts: &BTreeMap<TensorId, Vec<TensorId>>) -> bool {
        let joined = |id: &TensorId| parts.contains_key(id);
        if !keeps_elements(node) {
            return node.input(0).is_some_and(|id| joined(&id)) && keeps_pixels(graph, node);
        }
        let quantizer = node.quantizer.as_ref().is_none_or(|quantizer| {
            let by_axis = |numbers: &PerAxis| numbers.values.len() == 1 || numbers.axis != self.axis;
            by_axis(&quantizer.scale) && by_axis(&quantizer.zero_point)
        });
        // A constant is the same for all rows, counted from the last extent.
        let same = |id: &TensorId| {
            let shape = graph.constant(*id).map(|constant| constant.shape().to_vec()).unwrap_or(vec![0; 4]);
            let extent = (shape.len() + self.axis).checked_sub(4).map_or(1, |at| shape[at]);
            extent == 1
        };
        quantizer && node.inputs.iter().flatten().all(|id| joined(id) || same(id))
    }

    /// What a node makes of a part.
    fn of_part(
        &self,
        graph: &mut Graph,
        node: &Node,
        part: usize,
        parts: &BTreeMap<TensorId, Vec<TensorId>>,
    ) -> TensorId {
        let own = |id: &Option<TensorId>| id.map(|id| parts.get(&id).map_or(id, |parts| parts[part]));
        let inputs = node.inputs.iter().map(own).collect();
        let shape = node.outputs.first().and_then(|&id| graph.tensor(id).shape.clone()).map(|mut shape| {
            shape[self.axis] = self.extents[part];
            shape
        });
        let output = graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() });
        let quantizer = node
            .quantizer
            .as_deref()
            .map(|quantizer| Arc::new(Quantizer { codes_name: String::new(), ..quantizer.clone() }));
        graph.nodes.push(Node { inputs, outputs: vec![output], quantizer, ..node.clone() });
        output
    }
}
