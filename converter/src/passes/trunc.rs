//! Writes QONNX `Trunc`, which drops low bits of an integer, as the arithmetic that it stands for.
//!
//! ```text
//! Trunc, 5 inputs  ─►  x / scale + zero ─ nearest integer ─ · 2^−k ─ codes ─ (− zero) · scale
//! Trunc, 6 inputs  ─►  the same with a Clip before the codes, and the output's own zero point and scale
//! ```
//!
//! Five inputs (data, scale, zero point, widths of input and output) are the operator's first version, where
//! `k` is the difference of the widths; six are the second, whose fifth input is the scale of the output, and
//! `2^k` the ratio of the scales (QONNX 1.0, `custom_op/general/trunc.py`). The inner rounding makes no codes:
//! [`ROUND`] stays a part of the function that lowering cuts at [`TRUNC`].

use std::sync::Arc;

use ylb_source::ir::{Attribute, Domain, Graph, Node, Tensor, TensorId, TensorInfo};
use ylb_source::quantizer::Rounding;

use crate::error::ConvertError;

/// The converter's operator that rounds to the nearest integer, halves to the even one, and makes no codes.
pub const ROUND: &str = "RoundInPassing";
/// QONNX's operator, and the converter's own that makes codes by `rounding_mode`.
pub const TRUNC: &str = "Trunc";

/// Largest difference of the widths, and least: a negative one multiplies.
const MAX_SHIFT: f64 = 31.0;

/// Runs the pass, behind `constants`. Returns how many nodes were rewritten.
///
/// # Errors
/// If a parameter is not constant, or is none that the operator can have.
pub fn run(graph: &mut Graph) -> Result<usize, ConvertError> {
    let mut rewritten = 0;
    for node in std::mem::take(&mut graph.nodes) {
        if node.domain == Domain::Qonnx && node.op_type == TRUNC {
            rewrite(graph, &node).map_err(|error| node.blame(error))?;
            rewritten += 1;
        } else {
            graph.nodes.push(node);
        }
    }
    Ok(rewritten)
}

/// The parameters of a `Trunc`.
struct Parameters {
    scale: Arc<Tensor>,
    zero_point: Arc<Tensor>,
    /// `2^−k`.
    factor: f64,
    /// Of the second version.
    output: Option<Output>,
}

struct Output {
    scale: Arc<Tensor>,
    /// Smallest and largest code.
    range: [f64; 2],
}

impl Parameters {
    fn of(graph: &Graph, node: &Node) -> Result<Self, ConvertError> {
        let constant = |position: usize| {
            let id = node.required_input(position)?;
            graph.constant(id).cloned().ok_or_else(|| {
                ConvertError::unsupported("scales, zero point and widths must be constants; one is not")
            })
        };
        let (scale, zero_point) = (positive(constant(1)?)?, constant(2)?);
        if zero_point.to_f64().iter().any(|zero| zero.fract() != 0.0 || zero.abs() > 1e9) {
            return Err(ConvertError::unsupported("a zero point that is no integer"));
        }
        let input_bits = width(constant(3)?.as_ref())?;
        match node.inputs.len() {
            5 => {
                let factor = (width(constant(4)?.as_ref())? - input_bits).exp2();
                Ok(Self { scale, zero_point, factor, output: None })
            }
            6 => {
                let output_scale = positive(constant(4)?)?;
                let factor = 1.0 / ratio(&scale, &output_scale)?;
                let range = range(node, width(constant(5)?.as_ref())?);
                let output = Some(Output { scale: output_scale, range });
                Ok(Self { scale, zero_point, factor, output })
            }
            count => Err(ConvertError::malformed(format!("{count} inputs; expected 5 or 6"))),
        }
    }
}

fn positive(scale: Arc<Tensor>) -> Result<Arc<Tensor>, ConvertError> {
    if scale.to_f64().iter().all(|&scale| scale > 0.0 && scale.is_finite()) && !scale.is_empty() {
        return Ok(scale);
    }
    Err(ConvertError::unsupported("a scale that is not positive; expected positive finite numbers"))
}

fn width(tensor: &Tensor) -> Result<f64, ConvertError> {
    let bits = tensor.scalar().filter(|bits| bits.fract() == 0.0 && (1.0..=32.0).contains(bits));
    bits.ok_or_else(|| ConvertError::unsupported("expected bit widths of 1 to 32"))
}

/// Smallest and largest code of a width.
fn range(node: &Node, bits: f64) -> [f64; 2] {
    let narrow = if node.int("narrow", 0) != 0 { 1.0 } else { 0.0 };
    match node.int("signed", 1) {
        0 => [0.0, bits.exp2() - 1.0 - narrow],
        _ => [-(bits - 1.0).exp2() + narrow, (bits - 1.0).exp2() - 1.0],
    }
}

/// The power of two that is closest to the ratio of the scales, which must be the same for all channels.
fn ratio(scale: &Tensor, output: &Tensor) -> Result<f64, ConvertError> {
    let (scales, outputs) = (scale.to_f64(), output.to_f64());
    let mut shifts = (0..scales.len().max(outputs.len())).map(|channel| {
        let at = |numbers: &[f64]| numbers.get(channel).or(numbers.first()).copied().unwrap_or(1.0);
        (at(&outputs) / at(&scales)).log2().round_ties_even()
    });
    let first = shifts.next().unwrap_or(0.0);
    if first.abs() > MAX_SHIFT || shifts.any(|shift| shift != first) {
        return Err(ConvertError::unsupported(
            "scales of input and output whose ratio is not one power of two up to 2^31",
        ));
    }
    Ok(first.exp2())
}

fn rewrite(graph: &mut Graph, node: &Node) -> Result<(), ConvertError> {
    let input = node.required_input(0)?;
    if graph.constant(input).is_some() {
        return Err(ConvertError::unsupported("truncates a constant; expected a feature map"));
    }
    let Parameters { scale, zero_point, factor, output } = Parameters::of(graph, node)?;
    let mode = node.text("rounding_mode", "FLOOR").to_owned();
    Rounding::named(&mode)?;
    let mut writer = Writer { graph, node, shape: None };
    writer.shape = writer.graph.tensor(input).shape.clone();
    let has_zero_point = zero_point.to_f64().iter().any(|&zero| zero != 0.0);

    let mut x = writer.binary("Div", input, &scale)?;
    if has_zero_point {
        x = writer.binary("Add", x, &zero_point)?;
    }
    x = writer.push(Domain::Converter, ROUND, &[x], None);
    x = writer.number("Mul", x, factor)?;
    if let Some(output) = &output {
        let [low, high] = output.range.map(|bound| Tensor::f64(&[], vec![bound]));
        let bounds = [writer.constant(low?), writer.constant(high?)];
        x = writer.push(Domain::Onnx, "Clip", &[x, bounds[0], bounds[1]], None);
    }
    x = writer.push(Domain::Converter, TRUNC, &[x], Some(("rounding_mode", Attribute::Text(mode))));
    // The codes are known by the name of the tensor that stands for them in the source.
    let name = writer.graph.tensor(node.output()?).name.clone();
    writer.graph.tensors[x.0].name = name;
    if has_zero_point {
        let factor = if output.is_some() { factor } else { 1.0 };
        let zeros = zero_point.to_f64().into_iter().map(|zero| zero * factor).collect();
        x = writer.binary("Sub", x, &Tensor::f64(zero_point.shape(), zeros)?)?;
    }
    writer.binary("Mul", x, output.as_ref().map_or(&scale, |output| &output.scale))?;
    if let Some(last) = graph.nodes.last_mut() {
        last.outputs.clone_from(&node.outputs);
    }
    Ok(())
}

/// Appends nodes in the place of one.
struct Writer<'g> {
    graph: &'g mut Graph,
    node: &'g Node,
    shape: Option<Vec<usize>>,
}

impl Writer<'_> {
    fn constant(&mut self, tensor: Tensor) -> TensorId {
        let (shape, constant) = (Some(tensor.shape().to_vec()), Some(Arc::new(tensor)));
        self.graph.add_tensor(TensorInfo { shape, constant, ..TensorInfo::default() })
    }

    /// An operator of a tensor and a constant, in 64 bits.
    fn binary(&mut self, op_type: &str, x: TensorId, constant: &Tensor) -> Result<TensorId, ConvertError> {
        let constant = self.constant(Tensor::f64(constant.shape(), constant.to_f64())?);
        Ok(self.push(Domain::Onnx, op_type, &[x, constant], None))
    }

    fn number(&mut self, op_type: &str, x: TensorId, number: f64) -> Result<TensorId, ConvertError> {
        self.binary(op_type, x, &Tensor::f64(&[], vec![number])?)
    }

    fn push(
        &mut self,
        domain: Domain,
        op_type: &str,
        inputs: &[TensorId],
        attribute: Option<(&str, Attribute)>,
    ) -> TensorId {
        let output = self.graph.add_tensor(TensorInfo { shape: self.shape.clone(), ..TensorInfo::default() });
        let made = self.node.rewritten(domain, op_type, inputs).writing(&[output]);
        self.graph.nodes.push(match attribute {
            Some((name, value)) => made.with(name, value),
            None => made,
        });
        output
    }
}

#[cfg(test)]
mod tests;
