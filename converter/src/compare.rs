//! The proof: a model beside its source, tensor by tensor.
//!
//! The source is run by the [`interpret`](ylb_source::interpret) module, the model by whoever asks, mostly
//! the runtime; its codes and outputs come here as plain data.
//!
//! # The bar
//!
//! A model is *equal* to its source if every code is, and every number of the outputs lies within
//! 1e-3 of the source's (for the box columns of decoded outputs, plus 1e-5 of the value: their
//! pixels are 32-bit floats). That is what the converter promises, and what [`Bar::Strict`] asks of
//! every model. Quantizers inside the decode of the boxes that the model says it dropped are dropped of the source, too.
//!
//! With activations of 8 bits nearly every picture has codes that lie so near a half that two
//! floating-point programs round them differently, and each changes codes further down by 1.
//! [`Bar::Close`], which must be asked for, therefore lets models with activations above 4 bits, not counting the picture and
//! the detection head, pass as *close*: at most 5 % of all codes are off, each by 1, and each output
//! differs by at most 0.03 of its standard deviation in the mean.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use ylb_format::model::{MapPart, Model, OutputKind, Scope, Value, ValueId};
use ylb_source::Source;
use ylb_source::interpret::{Interpretation, Interpreter, Reals};

use crate::error::{ConvertError, ErrorKind};
use crate::passes::{self, decode};
use crate::reference::FloatTensor;

mod picture;

pub use picture::{planar, synthetic_picture};

/// Largest difference of an output.
pub const OUTPUT_TOLERANCE: f64 = 1e-3;
/// What the box columns of decoded outputs may differ in addition, relative to their value.
pub const BOX_TOLERANCE: f64 = 1e-5;
/// Widest activations whose codes must all be equal under [`Bar::Close`].
pub const EXACT_BITS: u8 = 4;
/// Largest share of codes that are off by 1 in a model with wider activations.
pub const OFF_BY_ONE_SHARE: f64 = 0.05;
/// Largest mean difference of such a model's outputs, in standard deviations of the source's.
pub const MEAN_TOLERANCE: f64 = 0.03;

/// How much is asked of a model; see the [module documentation](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bar {
    /// Equal.
    #[default]
    Strict,
    /// Equal, or close where activations are wider than 4 bits.
    Close,
}

/// How a model compares with its source; see the [module documentation](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every code is equal, and the outputs are within their tolerance.
    Equal,
    /// Codes are off by 1, as few as activations of that width may be.
    Close,
    /// Neither.
    Different,
}

/// What an executor made of a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executed {
    /// Codes of every named value of the model.
    pub codes: Vec<Codes>,
    /// The model's outputs, in its order.
    pub outputs: Vec<FloatTensor>,
}

/// Codes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// The value's name.
    pub name: String,
    /// Channel by channel, row by row.
    pub data: Vec<i16>,
}

/// A source model, ready to be compared with the model that was made from it.
#[derive(Debug)]
pub struct Reference<'m> {
    model: &'m Model,
    interpreter: Interpreter,
}

/// What was found for one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Named values in the order in which they are computed.
    pub values: Vec<ValueComparison>,
    /// Outputs in their order.
    pub outputs: Vec<OutputComparison>,
    /// Bits of the widest activation, the picture and the detection head aside.
    pub activation_bits: u8,
}

/// Codes of a value beside those of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueComparison {
    /// Name of the node that computes it; empty for the picture.
    pub node: String,
    /// Name of the source's tensor.
    pub name: String,
    /// Bits of a code.
    pub bits: u8,
    /// Number of codes.
    pub elements: usize,
    /// Codes that differ by 1 level.
    pub off_by_one: usize,
    /// Codes that differ by more.
    pub worse: usize,
    /// Largest difference, in levels.
    pub largest: u32,
}

/// An output beside that of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputComparison {
    /// Its name.
    pub name: String,
    /// Node that computes the element with the largest excess: a convolution of the detection head.
    pub node: String,
    /// Number of elements.
    pub elements: usize,
    /// Largest difference.
    pub largest: f64,
    /// Largest amount by which an element leaves its tolerance; 0 or less is within.
    pub excess: f64,
    /// Mean difference in standard deviations of the source's output.
    pub mean_deviations: f64,
}

/// The first tensor, in the order of computation, that differs from the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence<'a> {
    /// Name of the node that computes it; empty for the picture.
    pub node: &'a str,
    /// Name of the tensor.
    pub tensor: &'a str,
}

impl<'m> Reference<'m> {
    /// Reads the source model of `model`. Tensors that lie in other files than its own are looked
    /// for in `folder`.
    ///
    /// # Errors
    /// If the model was made from another file, or the file cannot be interpreted.
    pub fn new(onnx: &[u8], folder: Option<&Path>, model: &'m Model) -> Result<Self, ConvertError> {
        Self::of_source(&Source::onnx(onnx, "", folder)?, model)
    }

    /// The same of a source that was read already.
    ///
    /// # Errors
    /// If the model was made from another one, or the source cannot be interpreted.
    pub fn of_source(source: &Source, model: &'m Model) -> Result<Self, ConvertError> {
        if source.sha256 != model.metadata.source_sha256 {
            let origin = match model.metadata.source_name.as_str() {
                "" => "another file".to_owned(),
                name => format!("another file, then called \"{name}\""),
            };
            return Err(ConvertError::new(
                ErrorKind::OtherSource,
                format!("the model was made from {origin}: their SHA-256 differ"),
            ));
        }
        let input = model.picture();
        let size = [input.height as usize, input.width as usize];
        let mut graph = source.graph.clone();
        // A model may have been made of a part of the graph.
        let names: Vec<String> = model.outputs.iter().map(|output| output.name.clone()).collect();
        if passes::outputs::run(&mut graph, &names).is_err() {
            graph.clone_from(&source.graph); // what is missing is said where outputs are compared
        }
        if model.metadata.drops_decode_quantizers() {
            graph = decode::without(&graph, size)?;
        }
        let interpreter = Interpreter::of_graph(graph, size)?;
        Ok(Self { model, interpreter })
    }

    /// Compares what an executor made of a picture with what the source makes of it. `pixels` are
    /// bytes, `[3, height, width]`, letterboxed already. `progress` is told how many of how many nodes
    /// of the source are done.
    ///
    /// # Errors
    /// If the source cannot be interpreted, or the model names tensors, or has tensors of shapes, that
    /// the source has not.
    ///
    /// # Panics
    /// If codes of a value or an output of the model are missing in `executed`.
    pub fn compare(
        &self,
        pixels: &[u8],
        executed: &Executed,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Comparison, ConvertError> {
        let named = self.named_values();
        let names: BTreeSet<&str> = named.iter().map(|(_, value)| value.name.as_str()).collect();
        let source = self.interpreter.run(pixels, &names, progress)?;
        let codes: HashMap<&str, &[i16]> =
            executed.codes.iter().map(|codes| (codes.name.as_str(), codes.data.as_slice())).collect();
        let mut values = Vec::with_capacity(named.len());
        for (node, value) in named {
            values.push(compare_value(node, value, codes[value.name.as_str()], &source)?);
        }
        assert_eq!(executed.outputs.len(), self.model.outputs.len(), "outputs of the model");
        if source.outputs.len() != self.model.outputs.len() {
            return Err(ConvertError::malformed(format!(
                "the source has {} outputs, the model {}",
                source.outputs.len(),
                self.model.outputs.len()
            )));
        }
        let mut outputs = Vec::with_capacity(source.outputs.len());
        for (index, (own, reals)) in executed.outputs.iter().zip(&source.outputs).enumerate() {
            outputs.push(self.compare_output(self.model.outputs[index].kind, own, reals)?);
        }
        Ok(Comparison { values, outputs, activation_bits: self.activation_bits() })
    }

    /// Values that hold codes of the source, in the order of computation, with their nodes' names.
    fn named_values(&self) -> Vec<(&'m str, &'m Value)> {
        let input = ("", self.model.input.value);
        let nodes = self.model.nodes.iter().map(|node| (node.name.as_str(), node.output));
        let value = |(node, id): (&'m str, ValueId)| (node, self.model.value(id));
        let named = |(_, value): &(&str, &Value)| !value.name.is_empty() && value.encoding().is_some();
        std::iter::once(input).chain(nodes).map(value).filter(named).collect()
    }

    fn activation_bits(&self) -> u8 {
        let is_head = |id: ValueId| self.model.detect.parts().any(|part| part.value == id);
        let written = self.model.nodes.iter().map(|node| node.output).filter(|&id| !is_head(id));
        let encodings = written.filter_map(|id| self.model.value(id).encoding());
        encodings.map(|encoding| encoding.bits()).max().unwrap_or(0)
    }

    fn compare_output(
        &self,
        kind: OutputKind,
        own: &FloatTensor,
        source: &Reals,
    ) -> Result<OutputComparison, ConvertError> {
        if own.shape != source.shape || own.name != source.name {
            return Err(ConvertError::malformed(format!(
                "output \"{}\" of the source has shape {:?}; the model has \"{}\" of shape {:?}",
                source.name, source.shape, own.name, own.shape
            )));
        }
        let columns = own.shape.last().copied().unwrap_or(1).max(1);
        let relative = |index: usize| match kind {
            OutputKind::Decoded if index % columns < 4 => BOX_TOLERANCE,
            OutputKind::Arranged(arranged) if arranged.numbers.are_boxes() => BOX_TOLERANCE,
            _ => 0.0,
        };
        let (mut largest, mut excess, mut worst, mut sum) = (0.0, f64::NEG_INFINITY, 0, 0.0);
        for (index, (&own, &expected)) in own.data.iter().zip(&source.data).enumerate() {
            let difference = (f64::from(own) - expected).abs();
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            let beyond = difference - OUTPUT_TOLERANCE - relative(index) * expected.abs();
            if beyond > excess {
                (excess, worst) = (beyond, index);
            }
            largest = f64::max(largest, difference);
            sum += difference;
        }
        let elements = own.data.len();
        let deviation = standard_deviation(&source.data);
        let mean = sum / elements.max(1) as f64;
        Ok(OutputComparison {
            name: own.name.clone(),
            node: self.head_node(kind, worst / columns).to_owned(),
            elements,
            largest,
            excess,
            mean_deviations: if mean == 0.0 { 0.0 } else { mean / deviation },
        })
    }

    /// Node of the detection head that a row of an output comes from.
    fn head_node(&self, kind: OutputKind, row: usize) -> &'m str {
        let maps = &self.model.detect.maps;
        let part = |of: MapPart| maps.get(of.map as usize)?.parts.get(of.part as usize);
        let part = match kind {
            OutputKind::Head(of) | OutputKind::HeadByAnchor(of) => part(of),
            OutputKind::Arranged(arranged) => part(match arranged.of {
                Scope::Maps => MapPart::default(),
                Scope::Map(map) => MapPart::whole(map),
                Scope::Part(of) => of,
            }),
            OutputKind::Decoded => {
                let mut ends = maps.iter().scan(0, |end, map| {
                    let value = self.model.value(map.parts.first()?.value);
                    *end += (value.height * value.width * map.anchors_per_cell) as usize;
                    Some(*end)
                });
                let map = ends.position(|end| row < end).unwrap_or(0);
                part(MapPart::whole(map as u32))
            }
        };
        let value = part.map(|part| part.value);
        let node = self.model.nodes.iter().find(|node| Some(node.output) == value);
        node.map_or("", |node| &node.name)
    }
}

fn compare_value(
    node: &str,
    value: &Value,
    own: &[i16],
    source: &Interpretation,
) -> Result<ValueComparison, ConvertError> {
    let malformed = |problem: String| {
        ConvertError::malformed(format!("tensor \"{}\" of the model: {problem}", value.name))
    };
    let Some(expected) = source.codes.get(&value.name) else {
        return Err(malformed("the source has no such tensor".into()));
    };
    if own.len() != expected.len() {
        return Err(malformed(format!("{} codes, {} in the source", own.len(), expected.len())));
    }
    let (step, bits) = value.encoding().map_or((1, 0), |e| (u32::from(e.step), e.bits()));
    let mut comparison = ValueComparison {
        node: node.to_owned(),
        name: value.name.clone(),
        bits,
        elements: own.len(),
        off_by_one: 0,
        worse: 0,
        largest: 0,
    };
    for (&own, &expected) in own.iter().zip(expected) {
        let difference = i32::from(own).abs_diff(expected).div_ceil(step.max(1));
        comparison.off_by_one += usize::from(difference == 1);
        comparison.worse += usize::from(difference > 1);
        comparison.largest = comparison.largest.max(difference);
    }
    Ok(comparison)
}

fn standard_deviation(numbers: &[f64]) -> f64 {
    let count = numbers.len().max(1) as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt()
}

impl ValueComparison {
    /// Codes that are equal.
    pub fn equal(&self) -> usize {
        self.elements - self.off_by_one - self.worse
    }

    /// Whether all codes are equal.
    pub fn is_equal(&self) -> bool {
        self.off_by_one + self.worse == 0
    }
}

impl Comparison {
    /// Number of codes, of those off by one, and of those that are worse.
    pub fn totals(&self) -> [usize; 3] {
        self.values.iter().fold([0; 3], |[elements, off, worse], value| {
            [elements + value.elements, off + value.off_by_one, worse + value.worse]
        })
    }

    /// The first tensor that differs from the source's: an output only if it leaves its tolerance.
    pub fn first_divergence(&self) -> Option<Divergence<'_>> {
        let value = self.values.iter().find(|value| !value.is_equal());
        let value = value.map(|value| Divergence { node: &value.node, tensor: &value.name });
        let output = self.outputs.iter().find(|output| output.excess > 0.0);
        value.or(output.map(|output| Divergence { node: &output.node, tensor: &output.name }))
    }

    /// How the model compares with its source under a bar.
    pub fn verdict(&self, bar: Bar) -> Verdict {
        if self.first_divergence().is_none() {
            return Verdict::Equal;
        }
        let [elements, off_by_one, worse] = self.totals();
        let few = worse == 0 && off_by_one as f64 <= OFF_BY_ONE_SHARE * elements as f64;
        let near = self.outputs.iter().all(|output| output.mean_deviations <= MEAN_TOLERANCE);
        if bar == Bar::Close && self.activation_bits > EXACT_BITS && few && near {
            return Verdict::Close;
        }
        Verdict::Different
    }
}

#[cfg(test)]
mod tests;
