//! Takes out what only rearranges the picture or a feature map: transpositions to NHWC and back, and a reversal of the
//! picture's channels.
//!
//! ```text
//! x ─ Transpose ─ Relu ─ quantizer ─ Transpose⁻¹ ─ Conv   ─►   x ─ Relu ─ quantizer ─ Conv
//! BGR picture ─ Sub, Div ─ reversed channels ─ Conv       ─►   RGB picture ─ Sub′, Div′ ─ Conv
//! ```
//!
//! Operators that work element by element do so in any arrangement, with their constants arranged alike; those that work pixel
//! by pixel, where rows and columns are exchanged. So each is done
//! once more on the tensor as it was; where an arrangement is undone, what was done so is read, and the rest is read by
//! nothing any more. A graph that reverses the picture's channels takes blue, green, red and computes with red, green,
//! blue, so its input becomes the RGB picture. What is not undone is left as it was.

use std::collections::HashMap;
use std::sync::Arc;

use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::{PerAxis, Quantizer};

use super::spelled::is_elementwise;
use super::{prune, trunc};
use crate::error::ConvertError;

mod picture;

pub use picture::put_channels_first;
use picture::{check_input, replace_input};

/// A tensor as an arrangement of another one: its axis `a` is axis `axes[a]` of `source`, whose channels are reversed
/// before that, if `reversed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arranged {
    source: TensorId,
    axes: [usize; 4],
    reversed: bool,
    /// A function of the picture, element by element.
    picture: bool,
}

/// What was undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Operators that undo an arrangement.
    pub undone: usize,
    /// Whether the picture is taken as blue, green, red.
    pub reversed: bool,
}

/// Runs the pass.
///
/// # Errors
/// If the picture's channels are read both as they are and reversed, or a constant contradicts its shape.
pub fn run(graph: &mut Graph) -> Result<Found, ConvertError> {
    let mut pass = Pass::new(graph);
    pass.walk()?;
    let reversed = pass.reverses_picture;
    if reversed {
        let mut flipped = graph.clone();
        let old = flipped.inputs[0];
        let shape = flipped.tensor(old).shape.clone().unwrap_or_default();
        let order = Some(Arc::new(Tensor::indices(&[2, 1, 0])));
        let order =
            flipped.add_tensor(TensorInfo { shape: Some(vec![3]), constant: order, ..Default::default() });
        replace_input(&mut flipped, shape, "Gather", Some(order), ("axis", Attribute::Int(1)));
        pass = Pass::new(&flipped);
        let source = flipped.inputs[0];
        pass.arranged.insert(old, Arranged { source, axes: IDENTITY, reversed: true, picture: true });
        pass.walk()?;
    }
    let Pass { graph: mut changed, nodes, undone, .. } = pass;
    changed.nodes = nodes;
    prune::unread(&mut changed);
    check_input(&changed)?;
    if undone > 0 {
        *graph = changed;
    }
    Ok(Found { undone, reversed })
}

const IDENTITY: [usize; 4] = [0, 1, 2, 3];

impl Arranged {
    /// The tensor itself.
    fn itself(source: TensorId, picture: bool) -> Self {
        Self { source, axes: IDENTITY, reversed: false, picture }
    }

    fn is_plain(&self) -> bool {
        self.axes == IDENTITY && !self.reversed
    }

    fn same_way(&self, other: &Self) -> bool {
        (self.axes, self.reversed) == (other.axes, other.reversed)
    }

    /// Where the source's channels are.
    fn channel_axis(&self) -> usize {
        self.axes.iter().position(|&axis| axis == 1).unwrap_or(1)
    }
}

struct Pass {
    graph: Graph,
    producers: Vec<Option<usize>>,
    arranged: HashMap<TensorId, Arranged>,
    nodes: Vec<Node>,
    undone: usize,
    reverses_picture: bool,
}

impl Pass {
    fn new(graph: &Graph) -> Self {
        let mut arranged = HashMap::new();
        if let &[input] = graph.inputs.as_slice() {
            arranged.insert(input, Arranged::itself(input, true));
        }
        Self {
            producers: graph.producers(),
            graph: graph.clone(),
            arranged,
            nodes: Vec::new(),
            undone: 0,
            reverses_picture: false,
        }
    }

    fn walk(&mut self) -> Result<(), ConvertError> {
        for node in self.graph.nodes.clone() {
            let known = node.outputs.iter().any(|id| self.arranged.contains_key(id));
            match node.outputs.as_slice() {
                &[output] if !known && self.graph.constant(output).is_none() => {
                    self.node(node, output)?;
                }
                _ => self.nodes.push(node),
            }
        }
        Ok(())
    }

    fn node(&mut self, node: Node, output: TensorId) -> Result<(), ConvertError> {
        let arranged =
            if node.is("Transpose") { self.transposed(&node) } else { self.reversed(&node, output) };
        if let Some(arranged) = arranged {
            if arranged.is_plain() {
                self.undone += 1;
                self.arranged.insert(output, Arranged::itself(output, arranged.picture));
                self.nodes.push(node.rewritten(Domain::Onnx, "Identity", &[arranged.source]));
                return Ok(());
            }
            self.arranged.insert(output, arranged);
        } else if let Some(arranged) = self.common(&node, output) {
            if arranged.is_plain() {
                self.arranged.insert(output, Arranged::itself(output, arranged.picture));
            } else if let Some(copy) = self.on_source(&node, &arranged).map_err(|error| node.blame(error))? {
                self.arranged.insert(output, Arranged { source: copy.outputs[0], ..arranged });
                self.nodes.push(copy);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    fn rank_4(&self, id: TensorId) -> Option<[usize; 4]> {
        self.graph.tensor(id).shape.as_deref()?.try_into().ok()
    }

    fn transposed(&self, node: &Node) -> Option<Arranged> {
        let input = node.input(0)?;
        self.rank_4(input)?;
        let arranged = self.arranged.get(&input).copied().unwrap_or(Arranged::itself(input, false));
        let axes: Vec<usize> = match node.ints("perm") {
            Some(perm) => perm.iter().map(|&axis| usize::try_from(axis).ok()).collect::<Option<_>>()?,
            None => vec![3, 2, 1, 0],
        };
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        (sorted == IDENTITY)
            .then(|| Arranged { axes: std::array::from_fn(|a| arranged.axes[axes[a]]), ..arranged })
    }

    /// How all that a node reads is arranged, if it works element by element or joins.
    fn common(&self, node: &Node, output: TensorId) -> Option<Arranged> {
        let by_pixel = !keeps_elements(node) && keeps_pixels(&self.graph, node);
        if !(keeps_elements(node) || by_pixel || node.is("Concat")) {
            return None;
        }
        let mut all = node.inputs.iter().flatten().filter(|id| self.graph.constant(**id).is_none());
        let mut common = *self.arranged.get(all.next()?)?;
        for id in all {
            let other = self.arranged.get(id).filter(|other| other.same_way(&common))?;
            common.picture &= other.picture;
        }
        if node.is("Concat") {
            common.picture = false;
            return (!common.reversed
                && node.inputs.iter().all(|id| id.is_some_and(|id| self.graph.constant(id).is_none())))
            .then_some(common);
        }
        if by_pixel {
            // Channels stay where weights expect them.
            return (common.axes[..2] == IDENTITY[..2] && !common.reversed).then_some(common);
        }
        let shape = self.rank_4(output)?;
        let fits = |id: &TensorId| self.graph.constant(*id).is_some() || self.rank_4(*id) == Some(shape);
        node.inputs.iter().flatten().all(fits).then_some(common)
    }

    /// A node that does the same with the sources.
    fn on_source(&mut self, node: &Node, arranged: &Arranged) -> Result<Option<Node>, ConvertError> {
        let mut copy = node.clone();
        let by_channel = !keeps_elements(node) && !node.is("Concat");
        for input in copy.inputs.iter_mut().flatten() {
            *input = match self.graph.constant(*input).cloned() {
                Some(_) if by_channel => *input,
                Some(constant) => match self.constant(&constant, node, arranged)? {
                    Some(None) => *input,
                    Some(Some(own)) => own,
                    None => return Ok(None),
                },
                None => self.arranged[input].source,
            };
        }
        if let Some(quantizer) = &node.quantizer {
            let Some(quantizer) = quantizer_of_source(quantizer, arranged) else { return Ok(None) };
            copy.quantizer = Some(Arc::new(quantizer));
        }
        if node.is("Concat") {
            let axis = node.int("axis", 0);
            let axis = usize::try_from(if axis < 0 { axis + 4 } else { axis }).ok();
            let Some(axis) = axis.and_then(|axis| arranged.axes.get(axis)) else { return Ok(None) };
            copy.attributes.insert("axis".into(), Attribute::Int(*axis as i64));
        }
        let Some(shape) = node.outputs.first().and_then(|&id| self.rank_4(id)) else { return Ok(None) };
        let shape = Some(source_shape(shape, arranged).to_vec());
        copy.outputs = vec![self.graph.add_tensor(TensorInfo { shape, ..TensorInfo::default() })];
        Ok(Some(copy))
    }

    /// A constant operand as it lies beside the sources: `Some(None)` if it does as it is, `None` if it has no place there.
    fn constant(
        &mut self,
        constant: &Tensor,
        node: &Node,
        arranged: &Arranged,
    ) -> Result<Option<Option<TensorId>>, ConvertError> {
        if constant.len() == 1 && constant.shape().len() <= 4 {
            return Ok(Some(None));
        }
        let own = constant.shape();
        if own.len() > 4 || node.is_linear_quantizer("DequantizeLinear") {
            return Ok(None);
        }
        let mut shape = [1; 4];
        shape[4 - own.len()..].copy_from_slice(own);
        let target = source_shape(shape, arranged);
        let strides: [usize; 4] = std::array::from_fn(|a| shape[a + 1..].iter().product());
        let order: Vec<usize> = (0..constant.len())
            .map(|index| {
                let mut rest = index;
                let mut at = [0; 4];
                for axis in (0..4).rev() {
                    at[axis] = rest % target[axis];
                    rest /= target[axis];
                }
                if arranged.reversed {
                    at[1] = target[1] - 1 - at[1];
                }
                (0..4).map(|a| at[arranged.axes[a]] * strides[a]).sum()
            })
            .collect();
        let tensor = constant.gathered(&target, &order)?;
        let constant = Some(Arc::new(tensor));
        let info = TensorInfo { shape: Some(target.to_vec()), constant, ..TensorInfo::default() };
        Ok(Some(Some(self.graph.add_tensor(info))))
    }
}

/// Extents of the source of a tensor of this shape.
fn source_shape(shape: [usize; 4], arranged: &Arranged) -> [usize; 4] {
    let mut source = [1; 4];
    for (&axis, extent) in arranged.axes.iter().zip(shape) {
        source[axis] = extent;
    }
    source
}

/// The same quantizer of the source; its codes are those of the file in another arrangement, so their name would mislead.
fn quantizer_of_source(quantizer: &Quantizer, arranged: &Arranged) -> Option<Quantizer> {
    let along = |numbers: &PerAxis| {
        if numbers.values.len() == 1 {
            return Some(numbers.clone());
        }
        let axis = *arranged.axes.get(numbers.axis)?;
        let mut values = numbers.values.clone();
        if arranged.reversed && axis == 1 {
            values.reverse();
        }
        Some(PerAxis { values, axis })
    };
    let (scale, zero_point) = (along(&quantizer.scale)?, along(&quantizer.zero_point)?);
    Some(Quantizer { scale, zero_point, codes_name: String::new(), ..quantizer.clone() })
}

/// Whether a node computes each pixel of its output from the same one of its first input, all others being constants: a
/// convolution of one pixel, a normalization by channel.
pub(super) fn keeps_pixels(graph: &Graph, node: &Node) -> bool {
    let shape = |id: Option<TensorId>| graph.tensor(id?).shape.as_deref();
    let constants = node.inputs.iter().skip(1).flatten().all(|id| graph.constant(*id).is_some());
    let (Some(&[_, _, height, width]), true) = (shape(node.input(0)), constants) else { return false };
    let one_pixel = || matches!(shape(node.input(1)), Some([_, _, 1, 1]));
    let unpadded = || node.ints("pads").is_none_or(|pads| pads.iter().all(|&pad| pad == 0));
    let steps = || node.ints("strides").is_none_or(|strides| strides.iter().all(|&stride| stride == 1));
    let same =
        || matches!(shape(node.outputs.first().copied()), Some(&[_, _, h, w]) if [h, w] == [height, width]);
    node.is("BatchNormalization") || (node.is("Conv") && one_pixel() && unpadded() && steps() && same())
}

/// Whether a node computes each element of its output from the same one of each input.
pub(super) fn keeps_elements(node: &Node) -> bool {
    const FUNCTIONS: [&str; 10] = [
        "Elu",
        "Exp",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mish",
        "PRelu",
        "Sigmoid",
        "Softplus",
        "Tanh",
    ];
    let own =
        node.domain == Domain::Converter && [trunc::ROUND, trunc::TRUNC].contains(&node.op_type.as_str());
    node.quantizer.is_some()
        || own
        || is_elementwise(node)
        || node.is_linear_quantizer("DequantizeLinear")
        || (node.domain == Domain::Onnx && FUNCTIONS.contains(&node.op_type.as_str()))
}
