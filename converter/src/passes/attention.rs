//! Recognises self-attention: products of two activations as matrices, and softmax between them.
//!
//! ```text
//! [1, c, h, w] ─ Reshape ─ Split ─ q, k, v              in heads, of which each has its channels and all positions
//! qᵀ · k ─ Mul ─ quantizer ─ Softmax ─ quantizer ─ p    a channel for each position that a position looks at
//! v · pᵀ ─ Reshape ─ [1, c, h, w]
//! ```
//!
//! Positions may fall into areas, one behind the other, which come before the heads: YOLO12's area attention.
//!
//! Which element of which feature map each operand holds is known, however it was moved there ([`Moved`]). So a product is known to
//! sum over channels of both, or over positions, and becomes an operator on feature maps. What stands behind it until the next
//! product, softmax or feature map works element by element, and is done with the feature map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ylb_format::model::Along;
use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};

use super::channels::{CHANNELS, Moved, ORDER, numbered};
use super::spelled::is_elementwise;
use crate::error::ConvertError;

/// The operator of [`Domain::Converter`] that multiplies feature maps as matrices.
pub const MAT_MUL: &str = "MatMul";
/// The operator of [`Domain::Converter`] that is a softmax over groups of channels.
pub const SOFTMAX: &str = "Softmax";
/// Groups of channels.
pub const GROUPS: &str = "groups";
/// Areas of positions, one behind the other, each of which attends to itself only.
pub const AREAS: &str = "areas";
/// 1 if a product sums over positions, otherwise 0.
pub const POSITIONS: &str = "positions";

/// What a node does, done with feature maps.
pub(super) struct Rewritten {
    pub(super) nodes: Vec<Node>,
    /// The node's output, as elements of the last of them.
    pub(super) output: Moved,
}

/// A node that multiplies, compares or changes moved elements.
pub(super) fn rewritten(
    graph: &mut Graph,
    moved: &HashMap<TensorId, Moved>,
    node: &Node,
) -> Result<Option<Rewritten>, ConvertError> {
    let &[output] = node.outputs.as_slice() else { return Ok(None) };
    if graph.constant(output).is_some() {
        return Ok(None);
    }
    if node.is("MatMul") {
        return product(graph, moved, node);
    }
    let mut moving = node.inputs.iter().flatten().filter(|id| graph.constant(**id).is_none());
    let (Some(input), None) = (moving.next(), moving.next()) else { return Ok(None) };
    let Some(Moved { base, elements }) = moved.get(input) else { return Ok(None) };
    if node.is("Softmax") {
        return Ok(softmax(graph, node, *base, elements));
    }
    Ok(elementwise(graph, node, *input, *base, elements))
}

/// The same function of the whole feature map.
fn elementwise(
    graph: &mut Graph,
    node: &Node,
    input: TensorId,
    base: TensorId,
    elements: &Tensor,
) -> Option<Rewritten> {
    let single = |id: &TensorId| *id == input || graph.constant(*id).is_some_and(|tensor| tensor.len() == 1);
    let one_scale = node
        .quantizer
        .as_ref()
        .is_none_or(|quantizer| quantizer.scale.values.len() == 1 && quantizer.zero_point.values.len() == 1);
    let known = is_elementwise(node) || node.quantizer.is_some();
    if !known || !one_scale || !node.inputs.iter().flatten().all(single) {
        return None;
    }
    let mut own = node.clone();
    for id in own.inputs.iter_mut().flatten().filter(|id| **id == input) {
        *id = base;
    }
    if let Some(quantizer) = &mut own.quantizer {
        Arc::make_mut(quantizer).codes_name.clear();
    }
    let shape = graph.tensor(base).shape.clone();
    let made = graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() });
    own.outputs = vec![made];
    let output = Moved { base: made, elements: elements.clone() };
    Some(Rewritten { nodes: vec![own], output })
}

/// A softmax over all channels of a group.
fn softmax(graph: &mut Graph, node: &Node, base: TensorId, elements: &Tensor) -> Option<Rewritten> {
    let rank = elements.shape().len() as i64;
    let axis = node.int("axis", if graph.opset < 13 { 1 } else { -1 });
    if axis != -1 && axis != rank - 1 {
        return None;
    }
    let [channels, plane] = extents(graph, base)?;
    let compared = *elements.shape().last()?;
    if compared == 0 || !channels.is_multiple_of(compared) || elements.len() != channels * plane {
        return None;
    }
    for row in 0..elements.len() / compared {
        let place = |at: usize| {
            let number = elements.get(row * compared + at) as usize;
            (number / plane / compared, number % plane)
        };
        if (0..compared).any(|at| place(at) != place(0)) {
            return None;
        }
    }
    let attributes = BTreeMap::from([(GROUPS.to_owned(), Attribute::Int((channels / compared) as i64))]);
    let shape = graph.tensor(base).shape.clone();
    let made = graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() });
    let own = converter(node, SOFTMAX, vec![base], made, attributes);
    let output = Moved { base: made, elements: elements.clone() };
    Some(Rewritten { nodes: vec![own], output })
}

/// Channels of a feature map, and positions of each.
fn extents(graph: &Graph, id: TensorId) -> Option<[usize; 2]> {
    match *graph.tensor(id).shape.as_deref()? {
        [1, channels, height, width] => Some([channels, height * width]),
        _ => None,
    }
}

/// An operand of a product: matrices of elements of a feature map, one a group.
struct Operand {
    base: TensorId,
    groups: usize,
    /// Rows and columns.
    size: [usize; 2],
    /// Positions of a channel.
    plane: usize,
    elements: Tensor,
}

impl Operand {
    fn of(
        graph: &Graph,
        moved: &HashMap<TensorId, Moved>,
        id: TensorId,
    ) -> Result<Option<Self>, ConvertError> {
        let (base, elements) = match moved.get(&id) {
            Some(moved) => (moved.base, moved.elements.clone()),
            None => match numbered(graph, id)? {
                Some(elements) => (id, elements),
                None => return Ok(None),
            },
        };
        let (Some([_, plane]), [front @ .., rows, columns]) = (extents(graph, base), elements.shape()) else {
            return Ok(None);
        };
        let (groups, size) = (front.iter().product(), [*rows, *columns]);
        Ok(Some(Self { base, groups, size, plane, elements }))
    }

    /// Areas of positions that the groups are of, and groups of each.
    fn areas(&self, positions: usize) -> Option<[usize; 2]> {
        let areas = self.plane.checked_div(positions).filter(|&areas| areas > 0)?;
        let whole = areas * positions == self.plane && self.groups.is_multiple_of(areas);
        whole.then_some([areas, self.groups / areas])
    }

    /// The channel of each group and row, if rows are channels and columns are all positions of an area in their order; where
    /// `transposed`, of each group and column.
    fn channels(&self, transposed: bool) -> Option<Channels> {
        let [rows, columns] = self.size;
        let [own, positions] = if transposed { [columns, rows] } else { [rows, columns] };
        let [areas, heads] = self.areas(positions)?;
        let mut channels = Vec::with_capacity(heads * own);
        for (group, channel) in
            (0..self.groups).flat_map(|group| (0..own).map(move |channel| (group, channel)))
        {
            let number = |position: usize| {
                let [row, column] = if transposed { [position, channel] } else { [channel, position] };
                self.elements.get((group * rows + row) * columns + column) as usize
            };
            let (first, area) = (number(0), group / heads);
            let own_channel = (first / self.plane) as i64;
            if first % self.plane != area * positions || (0..positions).any(|at| number(at) != first + at) {
                return None;
            }
            match area {
                0 => channels.push(own_channel),
                // All areas have the same channels.
                _ if channels[group % heads * own + channel] != own_channel => return None,
                _ => {}
            }
        }
        Some(Channels { channels, areas })
    }
}

/// Channels of all groups of an area, and how many areas there are.
struct Channels {
    channels: Vec<i64>,
    areas: usize,
}

/// A product of two operands as one of feature maps.
fn product(
    graph: &mut Graph,
    moved: &HashMap<TensorId, Moved>,
    node: &Node,
) -> Result<Option<Rewritten>, ConvertError> {
    let (Some(first), Some(second)) = (node.input(0), node.input(1)) else { return Ok(None) };
    if graph.constant(first).is_some() || graph.constant(second).is_some() {
        return Ok(None);
    }
    let (Some(x), Some(y)) = (Operand::of(graph, moved, first)?, Operand::of(graph, moved, second)?) else {
        return Ok(None);
    };
    if x.groups != y.groups || x.size[1] != y.size[0] {
        return Ok(None);
    }
    // What is multiplied, what stands for weights, what is summed, and whether the result's rows are its positions.
    let found = match (x.channels(false), x.channels(true), y.channels(false), y.channels(true)) {
        // Positions × channels, channels × positions.
        (_, Some(a), Some(b), _) => Some(((&x, a), (&y, b), Along::Channels, true)),
        // Channels × positions, positions as channels × positions.
        (Some(b), _, Some(a), _) => Some(((&y, a), (&x, b), Along::Positions, false)),
        // Positions × positions as channels, positions × channels.
        (_, Some(a), _, Some(b)) => Some(((&x, a), (&y, b), Along::Positions, true)),
        _ => None,
    };
    let Some(((a, a_channels), (b, b_channels), along, rows_are_positions)) = found else { return Ok(None) };
    let Some(&[1, _, height, width]) = graph.tensor(a.base).shape.as_deref() else { return Ok(None) };
    let (areas, Channels { channels: a_channels, .. }) = (a_channels.areas, a_channels);
    let (b_areas, Channels { channels: b_channels, .. }) = (b_channels.areas, b_channels);
    if areas != b_areas || (areas > 1 && a.plane != b.plane) {
        return Ok(None);
    }
    let groups = x.groups / areas;
    let each = match along {
        Along::Channels => b.plane / areas,
        Along::Positions => b_channels.len() / groups,
    };
    let [rows, columns] = [x.size[0], y.size[1]];
    let plane = height * width;
    let number = |at: usize| {
        let (group, row, column) = (at / columns / rows, at / columns % rows, at % columns);
        let [channel, position] = if rows_are_positions { [column, row] } else { [row, column] };
        let first = group / groups * (plane / areas);
        ((group % groups * each + channel) * plane + first + position) as f32
    };
    let mut shape = first_extents(graph, moved, first);
    shape.extend([rows, columns]);
    let elements = Tensor::f32(&shape, (0..x.groups * rows * columns).map(number).collect())?;
    let mut nodes = Vec::new();
    let mut inputs = Vec::with_capacity(2);
    for (operand, channels) in [(a, a_channels), (b, b_channels)] {
        inputs.push(taken(graph, node, operand.base, channels, &mut nodes));
    }
    let made = Some(vec![1, groups * each, height, width]);
    let made = graph.add_tensor(TensorInfo { shape: made, ..TensorInfo::default() });
    let attributes = BTreeMap::from([
        (GROUPS.to_owned(), Attribute::Int(groups as i64)),
        (AREAS.to_owned(), Attribute::Int(areas as i64)),
        (POSITIONS.to_owned(), Attribute::Int((along == Along::Positions).into())),
    ]);
    nodes.push(converter(node, MAT_MUL, inputs, made, attributes));
    Ok(Some(Rewritten { nodes, output: Moved { base: made, elements } }))
}

/// The extents of an operand before those of its matrices.
fn first_extents(graph: &Graph, moved: &HashMap<TensorId, Moved>, id: TensorId) -> Vec<usize> {
    let shape = match moved.get(&id) {
        Some(moved) => moved.elements.shape().to_vec(),
        None => graph.tensor(id).shape.clone().unwrap_or_default(),
    };
    shape[..shape.len().saturating_sub(2)].to_vec()
}

/// Some channels of a feature map: a node that takes them, or the map itself.
fn taken(
    graph: &mut Graph,
    node: &Node,
    base: TensorId,
    channels: Vec<i64>,
    nodes: &mut Vec<Node>,
) -> TensorId {
    let Some(&[1, all, height, width]) = graph.tensor(base).shape.as_deref() else { return base };
    if channels.len() == all && channels.iter().enumerate().all(|(at, &own)| own == at as i64) {
        return base;
    }
    let shape = Some(vec![1, channels.len(), height, width]);
    let made = graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() });
    let attributes = BTreeMap::from([(ORDER.to_owned(), Attribute::Ints(channels))]);
    nodes.push(converter(node, CHANNELS, vec![base], made, attributes));
    made
}

/// An operator of the converter in the place of a node.
fn converter(
    node: &Node,
    op_type: &str,
    inputs: Vec<TensorId>,
    output: TensorId,
    attributes: BTreeMap<String, Attribute>,
) -> Node {
    let mut made = node.rewritten(Domain::Converter, op_type, &inputs).writing(&[output]);
    made.attributes.extend(attributes);
    made
}
