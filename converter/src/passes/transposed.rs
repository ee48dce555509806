//! Writes transposed convolutions as convolutions whose pixels follow one another.
//!
//! ```text
//! ConvTranspose, stride 2 ─ BatchNormalization ─ Relu ─ quantizer
//!     ─►  4 × (Conv ─ BatchNormalization ─ Relu ─ quantizer) ─ Interleave
//! ```
//!
//! Of a stride `s`, every output row has only the weights that lie a multiple of `s` from each other: rows `y mod s` are
//! convolutions of their own, over the input as it is, with a part of the weights in reverse. What works element by element
//! behind it is done on each of them up to its quantizer, since integers are what pixels follow one another of. The same
//! is done behind a pixel shuffle, of which `channels` has made the parts.

use std::collections::HashMap;
use std::sync::Arc;

use ylb_source::eval;
use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::{PerAxis, QuantizedConstant};
use ylb_source::window::{self, Transposed};

use super::placement::CODES_NAME;
use super::rearranged::keeps_elements;
use super::spelled::rounds;
use crate::error::ConvertError;

/// The converter's operator whose output has the pixels of its inputs in turn.
pub const INTERLEAVE: &str = "Interleave";

/// Largest stride.
const MAX_STRIDE: usize = 4;

/// Runs the pass, behind `placement` and before `grids`. Returns how many were rewritten.
///
/// # Errors
/// If one has a geometry that is not known here.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let in_turn = |node: &Node| node.is("ConvTranspose") || is_interleave(node);
    if !graph.nodes.iter().any(in_turn) {
        return Ok(0);
    }
    let mut pass =
        Pass { producers: graph.producers(), old: std::mem::take(&mut graph.nodes), phases: HashMap::new() };
    let mut count = 0;
    for index in 0..pass.old.len() {
        let node = pass.old[index].clone();
        let constant = node.outputs.iter().any(|&id| graph.constant(id).is_some());
        if node.is("ConvTranspose") && !constant {
            pass.convolutions(graph, &node).map_err(|error| node.blame(error))?;
            count += 1;
        } else if is_interleave(&node) {
            pass.join_inputs(graph, &node);
            pass.phases.insert(node.output()?, node.inputs.iter().flatten().copied().collect());
        } else if !pass.in_phases(graph, &node)? {
            pass.join_inputs(graph, &node);
            graph.nodes.push(node);
        }
    }
    for output in graph.outputs.clone() {
        if let Some(node) = pass.producers[output.0].map(|index| pass.old[index].clone()) {
            pass.join(graph, &node, output);
        }
    }
    Ok(count)
}

/// Whether a node puts the pixels of tensors in turn, as a pixel shuffle does.
fn is_interleave(node: &Node) -> bool {
    node.domain == Domain::Converter && node.op_type == INTERLEAVE
}

struct Pass {
    old: Vec<Node>,
    producers: Vec<Option<usize>>,
    /// Tensors that are not joined yet: those whose pixels follow one another.
    phases: HashMap<TensorId, Vec<TensorId>>,
}

impl Pass {
    /// Appends the convolutions of a transposed one.
    fn convolutions(&mut self, graph: &mut Graph, node: &Node) -> Result<(), ConvertError> {
        let (input, weights) = (node.required_input(0)?, node.required_input(1)?);
        let output = node.output()?;
        self.join_inputs(graph, node);
        let (Some(shape), Some(&[channels, group, rows, columns])) =
            (graph.tensor(input).shape.clone(), graph.tensor(weights).shape.as_deref())
        else {
            return Err(ConvertError::unsupported("expected a feature map and weights of rank 4"));
        };
        let Some(reals) = graph.constant(weights).cloned() else {
            return Err(ConvertError::unsupported(
                "its weights are not constant; expected a weight quantizer",
            ));
        };
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(1).max(1);
        let geometry = window::transposed(node, &shape, [rows, columns])?;
        let stride = geometry.stride[0];
        let even = geometry.output.iter().all(|extent| extent % stride == 0);
        if geometry.stride != [stride; 2] || stride > MAX_STRIDE || !even {
            return Err(ConvertError::unsupported(format!(
                "a transposed convolution of strides {:?} to {:?} rows and columns; expected strides of 1 to {MAX_STRIDE}, \
                 the same both ways, and a multiple of them",
                geometry.stride, geometry.output
            )));
        }
        let source = Source {
            groups,
            shape: [channels, group, rows, columns],
            reals,
            codes: self.codes(graph, weights, groups)?,
        };
        let name = graph.tensor(weights).name.clone();
        let mut phases = Vec::with_capacity(stride * stride);
        for (down, right) in (0..stride).flat_map(|down| (0..stride).map(move |right| (down, right))) {
            let part = [Part::of(&geometry, 0, down, shape[2])?, Part::of(&geometry, 1, right, shape[3])?];
            let info = TensorInfo { name: name.clone(), ..source.part(&part)? };
            let own = graph.add_tensor(info);
            let extents = [1, groups * group, geometry.output[0] / stride, geometry.output[1] / stride];
            let phase =
                graph.add_tensor(TensorInfo { shape: Some(extents.to_vec()), ..TensorInfo::default() });
            let mut conv = node.rewritten(Domain::Onnx, "Conv", &[input, own]).writing(&[phase]);
            conv.inputs.extend(node.input(2).map(Some));
            let pads = [part[0].before, part[1].before, part[0].behind, part[1].behind];
            let ints =
                |numbers: &[usize]| Attribute::Ints(numbers.iter().map(|&number| number as i64).collect());
            graph.nodes.push(conv.with("group", Attribute::Int(groups as i64)).with("pads", ints(&pads)));
            phases.push(phase);
        }
        self.phases.insert(output, phases);
        Ok(())
    }

    /// Does on each phase what a node does on all pixels, if that is the same. Behind a quantizer they are joined.
    fn in_phases(&mut self, graph: &mut Graph, node: &Node) -> Result<bool, ConvertError> {
        let by_pixel = keeps_elements(node) || node.is("BatchNormalization");
        let constant = |id: TensorId| graph.constant(id);
        let mut count = None;
        for &id in node.inputs.iter().flatten() {
            match (constant(id), self.phases.get(&id)) {
                (Some(tensor), _) => {
                    let plain = matches!(tensor.shape(), [.., _, 1, 1]) || tensor.len() == 1;
                    if !plain && !node.is("BatchNormalization") {
                        return Ok(false);
                    }
                }
                (None, Some(phases)) if count.is_none_or(|count| count == phases.len()) => {
                    count = Some(phases.len())
                }
                _ => return Ok(false),
            }
        }
        let (Some(count), true, &[output]) = (count, by_pixel, node.outputs.as_slice()) else {
            return Ok(false);
        };
        let shape = match node.inputs.iter().flatten().find_map(|id| self.phases.get(id)) {
            Some(phases) => graph.tensor(phases[0]).shape.clone(),
            None => None,
        };
        let mut phases = Vec::with_capacity(count);
        for phase in 0..count {
            let mut copy = node.clone();
            for input in copy.inputs.iter_mut().flatten() {
                *input = self.phases.get(input).map_or(*input, |phases| phases[phase]);
            }
            // Codes of one phase have no name in the source.
            if let Some(quantizer) = &mut copy.quantizer {
                Arc::make_mut(quantizer).codes_name.clear();
            }
            let own = graph.add_tensor(TensorInfo { shape: shape.clone(), ..TensorInfo::default() });
            graph.nodes.push(copy.writing(&[own]));
            phases.push(own);
        }
        self.phases.insert(output, phases);
        if node.quantizer.is_some() || rounds(node) || node.is("Sign") {
            self.join(graph, node, output);
        }
        Ok(true)
    }

    fn join_inputs(&mut self, graph: &mut Graph, node: &Node) {
        for &id in node.inputs.iter().flatten() {
            self.join(graph, node, id);
        }
    }

    /// Appends what makes a tensor of its phases, in the place of a node.
    fn join(&mut self, graph: &mut Graph, node: &Node, id: TensorId) {
        let Some(phases) = self.phases.remove(&id) else { return };
        let name = match &node.quantizer {
            Some(quantizer) => quantizer.codes_name.clone(),
            None if rounds(node) || node.is("Sign") => graph.tensor(id).name.clone(),
            // What reads it, not what makes its codes.
            None => String::new(),
        };
        let joined = match phases[..] {
            [only] => node.rewritten(Domain::Onnx, "Identity", &[only]),
            _ => {
                node.rewritten(Domain::Converter, INTERLEAVE, &phases).with(CODES_NAME, Attribute::Text(name))
            }
        };
        graph.nodes.push(joined.writing(&[id]));
    }

    /// The weights' codes, if each output channel has one scale.
    fn codes(
        &self,
        graph: &Graph,
        weights: TensorId,
        groups: usize,
    ) -> Result<Option<QuantizedConstant>, ConvertError> {
        let info = graph.tensor(weights);
        if let Some(own) =
            info.quantized.as_ref().filter(|own| own.scale.len() == 1 && own.zero_point.len() == 1)
        {
            return Ok(Some(own.as_ref().clone()));
        }
        let (Some(node), Some(shape)) =
            (self.producers[weights.0].map(|index| &self.old[index]), info.shape.as_deref())
        else {
            return Ok(None);
        };
        let inputs: Vec<Option<&Tensor>> =
            (0..node.inputs.len()).map(|k| graph.constant_input(node, k).map(AsRef::as_ref)).collect();
        let Some(Some(input)) = inputs.first().copied() else { return Ok(None) };
        let (codes, low, high, step, scale, zero) = if node.is_linear_quantizer("DequantizeLinear") {
            let axis = node.int("axis", 1);
            let known = node
                .input(0)
                .and_then(|id| graph.tensor(id).quantized.as_ref())
                .map(|own| (own.low, own.high));
            let Some((low, high)) = known.or_else(|| input.element().integer_range()) else {
                return Ok(None);
            };
            let numbers = |position: usize| match inputs.get(position).copied().flatten() {
                Some(tensor) => PerAxis::along(tensor, axis, shape.len()),
                None => Ok(PerAxis::uniform(0.0)),
            };
            let codes = input.to_integers();
            (codes, low, high, 1, numbers(1)?, numbers(2)?)
        } else if let Some(quantizer) = eval::quantizer_of(node, &inputs, shape.len())? {
            let codes = quantizer.codes(input)?;
            (codes, quantizer.low, quantizer.high, quantizer.step(), quantizer.scale, quantizer.zero_point)
        } else {
            return Ok(None);
        };
        let per_output = |numbers: &PerAxis| by_output(numbers, shape, groups);
        let (Some(scale), Some(zero_point)) = (per_output(&scale), per_output(&zero)) else {
            return Ok(None);
        };
        let codes =
            codes.into_iter().map(|code| code.clamp(i32::MIN.into(), i32::MAX.into()) as i32).collect();
        Ok(Some(QuantizedConstant { codes, low, high, step, scale, zero_point }))
    }
}

/// Output channel of an element of weights `[channels, outputs / groups, rows, columns]`.
fn output_of([channels, group, rows, columns]: [usize; 4], groups: usize, index: usize) -> usize {
    let plane = index / (rows * columns);
    plane / group / (channels / groups).max(1) * group + plane % group
}

/// Numbers of the elements by output channel, if each channel has one.
fn by_output(numbers: &PerAxis, shape: &[usize], groups: usize) -> Option<Vec<f64>> {
    let shape: [usize; 4] = shape.try_into().ok()?;
    let mut found = vec![None; shape[1] * groups];
    for index in 0..shape.iter().product() {
        let number = f64::from(numbers.at(&shape, index));
        if *found[output_of(shape, groups, index)].get_or_insert(number) != number {
            return None;
        }
    }
    found.into_iter().collect()
}

/// The rows, or the columns, that the outputs of one phase have, and the padding of their convolution.
struct Part {
    /// Indices of the weights, in the order of the convolution; none where nothing but the bias gets there.
    taps: Vec<usize>,
    before: usize,
    behind: usize,
}

impl Part {
    /// Along an axis `d` of extent `input`.
    ///
    /// Output `q · stride + phase` has the weights `k` with `k = phase + padding` modulo the stride, which lie at input
    /// `q + (phase + padding − k) / stride`.
    fn of(geometry: &Transposed, d: usize, phase: usize, input: usize) -> Result<Self, ConvertError> {
        let (stride, kernel) = (geometry.stride[d], geometry.kernel[d]);
        let start = phase + geometry.padding[d];
        let taps: Vec<usize> = (start % stride..kernel).step_by(stride).collect();
        let (last, ahead) = (taps.len().saturating_sub(1), if taps.is_empty() { 0 } else { start / stride });
        let outputs = geometry.output[d] / stride;
        let padding = last.checked_sub(ahead).zip((outputs + ahead).checked_sub(input));
        let fits = padding.filter(|&(before, behind)| before <= last && behind <= last);
        let (before, behind) = fits.ok_or_else(|| {
            ConvertError::unsupported(format!(
                "a transposed convolution of {kernel} rows or columns, stride {stride}, from {input} to {}; expected as many \
                 as the stride times the input's",
                geometry.output[d]
            ))
        })?;
        Ok(Self { taps: taps.into_iter().rev().collect(), before, behind })
    }
}

/// Weights of a transposed convolution.
struct Source {
    groups: usize,
    /// Input channels, output channels of a group, rows, columns.
    shape: [usize; 4],
    reals: Arc<Tensor>,
    codes: Option<QuantizedConstant>,
}

impl Source {
    /// Those of one phase, as a convolution has them.
    fn part(&self, [rows, columns]: &[Part; 2]) -> Result<TensorInfo, ConvertError> {
        let [channels, group, tall, wide] = self.shape;
        let (outputs, inputs) = (group * self.groups, channels / self.groups);
        let empty = rows.taps.is_empty() || columns.taps.is_empty();
        let shape = [outputs, inputs, rows.taps.len().max(1), columns.taps.len().max(1)];
        // Where there are no weights, one that is 0 stands for them.
        let mut order: Vec<Option<usize>> = Vec::with_capacity(shape.iter().product());
        for (output, input) in (0..outputs).flat_map(|output| (0..inputs).map(move |input| (output, input))) {
            let plane = (output / group * inputs + input) * group + output % group;
            if empty {
                order.extend(std::iter::repeat_n(None, shape[2] * shape[3]));
                continue;
            }
            let taps =
                rows.taps.iter().flat_map(|&row| columns.taps.iter().map(move |&column| (row, column)));
            order.extend(taps.map(|(row, column)| Some((plane * tall + row) * wide + column)));
        }
        let reals = order.iter().map(|index| index.map_or(0.0, |index| self.reals.get(index))).collect();
        let quantized = match &self.codes {
            None => None,
            Some(all) => {
                let per_output = order.len() / outputs.max(1);
                let code = |(position, index): (usize, &Option<usize>)| match *index {
                    Some(index) => Ok(all.codes[index]),
                    None => super::dilations::zero_code(all, position / per_output.max(1)),
                };
                let codes = order.iter().enumerate().map(code).collect::<Result<_, _>>()?;
                Some(Arc::new(QuantizedConstant { codes, ..all.clone() }))
            }
        };
        let constant = Some(Arc::new(Tensor::f64(&shape, reals)?));
        Ok(TensorInfo { shape: Some(shape.to_vec()), constant, quantized, ..TensorInfo::default() })
    }
}
