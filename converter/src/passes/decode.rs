//! Quantizers inside the decode of the boxes, between the heads and the graph's outputs.
//!
//! ```text
//! head ─ Sigmoid ─ FakeQuant ─ Mul ─ FakeQuant ─ ...  ─►  head ─ Sigmoid ─ Mul ─ ...
//! ```
//!
//! A `.ylb` model decodes in floats, so these quantizers have no place in it. Some tools put them there
//! by default, and one scale for box corners in pixels and scores below 1 leaves little of the
//! scores. Dropping them changes the outputs for the better; it is told, the model says so, and
//! [`without`] drops them of a source that is compared with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ylb_format::limits::MAX_BINS;
use ylb_source::ir::{Domain, Graph, Node, Tensor, TensorId};

use crate::error::{ConvertError, ErrorKind};
use crate::heads::{self, COARSE_GRID};
use crate::report::{Warning, WarningKind};

/// Runs the pass, which drops quantizers unless they are to be kept. Returns what the user should know.
///
/// # Errors
/// If there are such quantizers and they must not be dropped.
pub fn run(graph: &mut Graph, keep: bool) -> Result<Option<Warning>, ConvertError> {
    let quantizers = find(graph);
    let Some(&first) = quantizers.first() else { return Ok(None) };
    if keep {
        return Err(graph.nodes[first].blame(ConvertError::unsupported(format!(
            "quantizes inside the decode of the boxes, the first of {} that do; expected a decode in \
             floats: exclude it from quantization, or drop these quantizers (without --keep-decode-quantizers)",
            quantizers.len()
        ))));
    }
    let names: Vec<&str> = quantizers.iter().map(|&index| graph.nodes[index].name.as_str()).collect();
    let message = format!(
        "quantizers dropped inside the decode of the boxes ({}): {}; boxes and scores are finer than the \
         export's",
        names.len(),
        names.join(", ")
    );
    for index in quantizers {
        let output = graph.nodes[index].output()?;
        if let Some(bins) = graph.constant(output).and_then(|constant| whole_bins(constant)) {
            graph.tensors[output.0].constant = Some(Arc::new(bins?));
        }
        let node = &graph.nodes[index];
        // Those of constants are folded: nothing runs them any more.
        if node.quantizer.is_some() {
            graph.nodes[index] = node.rewritten(Domain::Onnx, "Identity", &[node.required_input(0)?]);
        }
    }
    Ok(Some(Warning::of_model(WarningKind::DecodeQuantizers, message)))
}

/// How to refuse the graph if it turns out to have an output that is a feature map: the first that a quantizer is dropped of.
pub fn quantized_feature_map(graph: &Graph) -> Option<ConvertError> {
    feature_map(graph, *find(graph).first()?)
}

/// The refusal of an output that is a feature map behind its quantizer.
fn feature_map(graph: &Graph, quantizer: usize) -> Option<ConvertError> {
    let output = graph.nodes[quantizer].outputs.iter().find(|id| graph.outputs.contains(id))?;
    let info = graph.tensor(*output);
    let shape = info.shape.as_ref().filter(|shape| shape.len() == 4)?;
    let others = graph.outputs.iter().filter(|id| *id != output);
    let others: Vec<&str> = others.map(|&id| graph.tensor(id).name.as_str()).collect();
    let cut = if others.is_empty() { String::new() } else { format!(" (--outputs {})", others.join(",")) };
    Some(graph.nodes[quantizer].blame(ConvertError::new(
        ErrorKind::NotADetector,
        format!(
            "output \"{}\" (shape {shape:?}) is quantized behind an activation function, as feature maps are, and no \
             head: leave it out{cut}",
            info.name
        ),
    )))
}

/// A source without the quantizers that the pass drops, for pictures of this size, to be compared with a model that was made so.
/// Grids of cells that were quantized are whole cells again.
///
/// # Errors
/// If passes before this one refuse the source, or a quantizer is spelled in a way that is not known here.
pub fn without(source: &Graph, size: [usize; 2]) -> Result<Graph, ConvertError> {
    let mut seen = source.clone();
    let mut plain = source.clone();
    if super::qoperator::run(&mut seen)? > 0 {
        plain = seen.clone();
    }
    super::rearranged::put_channels_first(&mut seen);
    super::constants::run(&mut seen, Some(size))?;
    super::quantizers::run(&mut seen)?;
    let producers = plain.producers();
    let mut removed = BTreeSet::new();
    for index in find(&seen) {
        let node = &seen.nodes[index];
        let output = node.output()?;
        let unknown = || {
            node.blame(ConvertError::unsupported(
                "the interpreter cannot leave out this quantizer of the decode",
            ))
        };
        let &Some(own) = producers.get(output.0).ok_or_else(unknown)? else { return Err(unknown()) };
        if let Some(constant) = seen.constant(output) {
            if let Some(whole) = whole_cells(constant).or_else(|| whole_bins(constant)) {
                plain.tensors[output.0].constant = Some(Arc::new(whole?));
                removed.insert(own);
            }
            continue;
        }
        let source = before_quantizer(&plain, &producers, &plain.nodes[own]).ok_or_else(unknown)?;
        plain.nodes[own] = plain.nodes[own].rewritten(Domain::Onnx, "Identity", &[source]);
    }
    let mut index = 0;
    plain.nodes.retain(|_| {
        index += 1;
        !removed.contains(&(index - 1))
    });
    Ok(plain)
}

/// What a quantizer's last node quantizes.
fn before_quantizer(graph: &Graph, producers: &[Option<usize>], last: &Node) -> Option<TensorId> {
    if last.domain == Domain::Qonnx {
        return last.input(0);
    }
    let mut node = last;
    while !node.is_linear_quantizer("QuantizeLinear") {
        let passes = ["DequantizeLinear", "Clip", "Cast", "Identity"];
        if !passes.contains(&node.op_type.as_str()) {
            return None;
        }
        node = &graph.nodes[producers[node.input(0)?.0]?];
    }
    node.input(0)
}

/// The cells, or those less a half, that numbers nearby stand for; `None` if they are no grid.
fn whole_cells(constant: &Tensor) -> Option<Result<Tensor, ConvertError>> {
    let numbers = constant.to_f64();
    if constant.shape().last() != Some(&2) || numbers.len() < 4 {
        return None;
    }
    let cells = |offset: f64| -> Vec<f64> { numbers.iter().map(|x| (x - offset).round() + offset).collect() };
    let farthest = |cells: &Vec<f64>| {
        cells.iter().zip(&numbers).map(|(cell, number)| (cell - number).abs()).fold(0.0, f64::max)
    };
    let [whole, half] = [cells(0.0), cells(-0.5)];
    let nearest = if farthest(&whole) <= farthest(&half) { whole } else { half };
    let least = nearest.iter().copied().fold(f64::INFINITY, f64::min);
    let is_grid = farthest(&nearest) <= COARSE_GRID && (-0.5..=0.0).contains(&least);
    let numbers: Vec<f32> = nearest.iter().map(|&cell| cell as f32).collect();
    is_grid.then(|| Ok(Tensor::f32(constant.shape(), numbers)?))
}

/// The whole numbers 0, 1, 2, ..., of which distributions have their means, that weights of a convolution nearby stand for;
/// `None` if they are no such weights.
fn whole_bins(constant: &Tensor) -> Option<Result<Tensor, ConvertError>> {
    let &[1, bins, 1, 1] = constant.shape() else { return None };
    let numbers = constant.to_f64();
    let near = |(number, bin): (&f64, f64)| (number - bin).abs() < COARSE_GRID;
    let whole = || (0..u8::MAX).map(f64::from).take(bins);
    let are_bins = (2..=usize::from(MAX_BINS)).contains(&bins) && numbers.iter().zip(whole()).all(near);
    are_bins.then(|| Ok(Tensor::f32(constant.shape(), whole().map(|bin| bin as f32).collect())?))
}

/// Nodes between heads and outputs that quantize activations, or constants such as the grid.
fn find(graph: &Graph) -> Vec<usize> {
    let producers = graph.producers();
    let mut found = BTreeSet::new();
    let mut seen: BTreeSet<TensorId> = graph.outputs.iter().copied().collect();
    let mut pending = graph.outputs.clone();
    while let Some(id) = pending.pop() {
        let Some(index) = producers[id.0] else { continue };
        let node = &graph.nodes[index];
        if graph.constant(id).is_some() {
            if is_constant_quantizer(node) {
                found.insert(index);
            }
            continue;
        }
        if heads::is_head(graph, &producers, node) {
            continue;
        }
        if node.quantizer.is_some() {
            found.insert(index);
        }
        pending.extend(node.inputs.iter().flatten().filter(|&&input| seen.insert(input)));
    }
    found.into_iter().collect()
}

/// Whether a folded node put its constant on a quantization grid.
fn is_constant_quantizer(node: &Node) -> bool {
    node.is_linear_quantizer("DequantizeLinear") || node.domain == Domain::Qonnx
}

/// Whether a decode reads constants that were quantized, such as the grid of cells. The numbers that distributions have
/// their means of are whole again.
pub fn has_quantized_constants(graph: &Graph) -> bool {
    let is_bins = |node: &Node| {
        let constant = node.output().ok().and_then(|output| graph.constant(output));
        constant.is_some_and(|constant| whole_bins(constant).is_some())
    };
    find(graph)
        .into_iter()
        .map(|index| &graph.nodes[index])
        .any(|node| is_constant_quantizer(node) && !is_bins(node))
}
