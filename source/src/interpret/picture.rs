//! What the source's input is fed: see [`crate::picture`].
//!
//! Nothing that the converter found out is used. Where the file's type does not say it, the nodes before the first
//! quantizers and convolutions are run on a picture of all bytes, once as `byte / 255` and once as the bytes, and what
//! they make of it is counted.

use std::collections::{BTreeMap, BTreeSet};

use super::{Interpreter, evaluate};
use crate::error::SourceError;
use crate::eval;
use crate::ir::{Domain, ElementType, Node, Tensor, TensorId};
use crate::picture::{BEYOND, DIVISOR_TOLERANCE, Reach, is_channels_last, is_crushed};

/// How a picture is written into the source's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Feed {
    element: Element,
    /// Whether its shape is `[1, height, width, 3]`.
    channels_last: bool,
    /// Whether it takes blue, green, red.
    reversed: bool,
}

/// What a byte of the picture becomes in the source's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Element {
    /// A float: `byte / 255`, divided in 32 bits, which is the number that an exported network gets.
    #[default]
    Unit,
    /// A float: the byte.
    Numbers,
    /// An integer of 8 bits: the byte.
    Bytes,
}

/// Elements of a channel that are looked at: far more than there are bytes.
const LOOKED_AT: usize = 1 << 12;

impl Feed {
    /// Finds out what a source takes.
    ///
    /// # Errors
    /// If it takes no picture of floats or bytes.
    pub(super) fn of(source: &Interpreter) -> Result<Self, SourceError> {
        let input = source.graph.inputs[0];
        let shape = source.graph.tensor(input).shape.as_deref();
        let mut feed = Self { channels_last: shape.is_some_and(is_channels_last), ..Self::default() };
        feed.element = feed.element_of(source, input)?;
        feed.reversed = Probe::reverses_channels(source, feed);
        Ok(feed)
    }

    fn element_of(self, source: &Interpreter, input: TensorId) -> Result<Element, SourceError> {
        match source.graph.input_types.get(&input) {
            None | Some(ElementType::F32 | ElementType::F64) => {}
            Some(ElementType::Unsigned(8)) => return Ok(Element::Bytes),
            Some(other) => {
                let name = &source.graph.tensor(input).name;
                return Err(SourceError::unsupported(format!(
                    "input \"{name}\" holds {other}; expected a picture of floats or of uint8"
                )));
            }
        }
        let ends = Probe::sinks(source, self, |byte| if byte < 128 { -BEYOND } else { BEYOND });
        let probe = Probe { source, feed: self, ends };
        if !source.divides_by_255(input) && !probe.crushes(Element::Unit) {
            return Ok(Element::Unit);
        }
        Ok(if probe.crushes(Element::Numbers) { Element::Unit } else { Element::Numbers })
    }

    /// The input for a picture of bytes.
    pub(super) fn picture(self, pixels: &[u8], [height, width]: [usize; 2]) -> Result<Tensor, SourceError> {
        let plane = height * width;
        if pixels.len() != 3 * plane {
            let problem = format!("{} bytes for a picture of {height}x{width} pixels", pixels.len());
            return Err(SourceError::malformed(problem));
        }
        let channel = |channel: usize| if self.reversed { 2 - channel } else { channel };
        let arranged: Vec<u8> = match self.channels_last {
            true => (0..3 * plane).map(|index| pixels[channel(index % 3) * plane + index / 3]).collect(),
            false => (0..3).flat_map(|c| pixels[channel(c) * plane..][..plane].iter().copied()).collect(),
        };
        let shape = self.shape([height, width]);
        match self.element {
            Element::Bytes => {
                Tensor::integers(&shape, ElementType::Unsigned(8), arranged.iter().map(|&byte| byte.into()))
            }
            element => Tensor::f64(&shape, arranged.iter().map(|&byte| element.number(byte)).collect()),
        }
    }

    /// What a byte is multiplied by, where floats are taken.
    pub(super) fn scale(self) -> Option<f32> {
        match self.element {
            Element::Unit => Some(1.0 / 255.0),
            Element::Numbers => Some(1.0),
            Element::Bytes => None,
        }
    }

    fn shape(self, [height, width]: [usize; 2]) -> [usize; 4] {
        if self.channels_last { [1, height, width, 3] } else { [1, 3, height, width] }
    }
}

impl Element {
    fn number(self, byte: u8) -> f64 {
        match self {
            Self::Unit => f64::from(f32::from(byte) / 255.0),
            Self::Numbers | Self::Bytes => f64::from(byte),
        }
    }
}

impl Interpreter {
    /// Whether the first arithmetic that is done with the input, wherever it is read, makes 1/255 of 1.
    fn divides_by_255(&self, input: TensorId) -> bool {
        let mut same = BTreeSet::from([input]);
        let mut found = false;
        for &index in &self.steps {
            let node = &self.graph.nodes[index];
            let reads = |id: &Option<TensorId>| id.is_some_and(|id| same.contains(&id));
            if !node.inputs.iter().any(reads) {
                continue;
            }
            if node.is("Cast") || (node.domain == Domain::Onnx && eval::moves_elements(&node.op_type)) {
                same.extend(&node.outputs);
                continue;
            }
            let Ok(one) = Tensor::f64(&[1, 1, 1, 1], vec![1.0]) else { return false };
            let operand = |id: &Option<TensorId>| match id {
                Some(id) if same.contains(id) => Some(&one),
                Some(id) => self.constants[id.0].as_deref(),
                None => None,
            };
            let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(operand).collect();
            let quotient = (node.is("Div") || node.is("Mul"))
                .then(|| evaluate(node, &inputs, true, self.graph.opset).ok()?.tensors.pop())
                .flatten();
            let near = |x: f64| (x * 255.0 - 1.0).abs() <= DIVISOR_TOLERANCE;
            if !quotient.is_some_and(|quotient| quotient.to_f64().into_iter().all(near)) {
                return false;
            }
            found = true;
        }
        found
    }
}

/// What quantizers, or operators that read several elements, get of a picture: numbers by channel.
struct Sink {
    is_codes: bool,
    channels: Vec<Vec<f64>>,
}

/// The source up to its first sinks.
struct Probe<'s> {
    source: &'s Interpreter,
    feed: Feed,
    /// What becomes of numbers that no picture has.
    ends: Vec<Sink>,
}

impl Probe<'_> {
    fn crushes(&self, element: Element) -> bool {
        let sinks = Self::sinks(self.source, self.feed, |byte| element.number(byte));
        sinks.iter().zip(&self.ends).any(|(sink, ends)| is_crushed(sink.reach(ends)))
    }

    /// What sinks get of a picture of all bytes.
    fn sinks(source: &Interpreter, feed: Feed, number: impl Fn(u8) -> f64) -> Vec<Sink> {
        let [height, width] = source.size;
        let numbers = (0..3 * height * width).map(|index| number(byte(index))).collect();
        let picture = Tensor::f64(&feed.shape(source.size), numbers);
        picture.map_or_else(|_| Vec::new(), |picture| Self::walk(source, picture, false))
    }

    /// Whether all that reads several elements gets the channels of the picture in reversed order: of each channel alone
    /// it is looked at where it arrives.
    fn reverses_channels(source: &Interpreter, feed: Feed) -> bool {
        // Most graphs leave the picture as it is.
        let nodes = source.steps.iter().map(|&index| &source.graph.nodes[index]);
        if !nodes
            .take_while(|node| !node.is("Conv"))
            .any(|node| ["Gather", "Slice", "Split"].iter().any(|op| node.is(op)))
        {
            return false;
        }
        let [height, width] = source.size;
        let plane = height * width;
        let arrivals = |channel: usize| {
            let own = |index: usize| if index / plane == channel { byte(index) } else { 0 };
            let pixels: Vec<u8> = (0..3 * plane).map(own).collect();
            let picture = feed.picture(&pixels, source.size).and_then(|picture| match feed.element {
                // Quantizers and arithmetic of the probe take floats.
                Element::Bytes => Tensor::f64(picture.shape(), picture.to_f64()),
                _ => Ok(picture),
            });
            let sinks = picture.map_or_else(|_| Vec::new(), |picture| Self::walk(source, picture, true));
            sinks
                .into_iter()
                .map(|sink| sink.channels.iter().map(|numbers| is_lively(numbers)).collect())
                .collect::<Vec<Vec<bool>>>()
        };
        let [first, second, third] = [0, 1, 2].map(arrivals);
        let reversed = |sink: usize| {
            let all = [&first[sink], &second[sink], &third[sink]];
            (0..first[sink].len()).all(|at| (0..3).all(|channel| all[channel][at] == (at % 3 == 2 - channel)))
                && first[sink].len() % 3 == 0
        };
        !first.is_empty()
            && first.len() == second.len()
            && first.len() == third.len()
            && (0..first.len()).all(reversed)
    }

    /// Runs the source on a picture, as far as every operator takes its elements one by one. Where the interpreter does
    /// not get further, the real run tells. `through`: beyond quantizers, so that only what reads several elements is a sink.
    fn walk(source: &Interpreter, picture: Tensor, through: bool) -> Vec<Sink> {
        let mut known = BTreeMap::from([(source.graph.inputs[0], picture)]);
        let (mut sinks, mut seen) = (Vec::new(), BTreeSet::new());
        // Rounded numbers, whose clamp may be still to come.
        let mut rounded: BTreeSet<TensorId> = BTreeSet::new();
        for &index in &source.steps {
            let node = &source.graph.nodes[index];
            let Some(read) = node.inputs.iter().flatten().find(|id| known.contains_key(id)).copied() else {
                continue;
            };
            let through_codes = through && node.is_linear_quantizer("DequantizeLinear");
            if !takes_single_elements(node) && !through_codes {
                if seen.insert(read) {
                    sinks.push(Sink::of(&known[&read], !known[&read].element().is_float()));
                }
                continue;
            }
            let operand = |id: &Option<TensorId>| match id {
                Some(id) => known.get(id).or(source.constants[id.0].as_deref()).map(Some),
                None => Some(None),
            };
            let Some(inputs) = node.inputs.iter().map(operand).collect::<Option<Vec<_>>>() else { continue };
            let Ok(results) = evaluate(node, &inputs, true, source.graph.opset) else { continue };
            if through {
                known.extend(node.outputs.iter().copied().zip(results.tensors));
                continue;
            }
            if let (Some(codes), Some(real)) = (&results.codes, results.tensors.first()) {
                if let Ok(codes) = Tensor::f64(real.shape(), codes.clone()) {
                    sinks.push(Sink::of(&codes, true));
                }
                continue;
            }
            let rounds = matches!(node.op_type.as_str(), "Round" | "Floor" | "Ceil" | "Sign");
            if rounds || node.inputs.iter().flatten().any(|id| rounded.contains(id)) {
                let clamps = matches!(node.op_type.as_str(), "Clip" | "Max" | "Min" | "Relu");
                if rounds || clamps {
                    sinks.extend(results.tensors.first().map(|codes| Sink::of(codes, true)));
                }
                if matches!(node.op_type.as_str(), "Div" | "Mul") {
                    continue;
                }
                rounded.extend(&node.outputs);
            }
            known.extend(node.outputs.iter().copied().zip(results.tensors));
        }
        sinks
    }
}

/// Bytes without a pattern, so that slices of the picture hold all of them too (Fibonacci hashing).
fn byte(index: usize) -> u8 {
    ((index as u32).wrapping_mul(2_654_435_769) >> 24) as u8
}

/// Whether numbers differ from each other.
fn is_lively(numbers: &[f64]) -> bool {
    numbers.iter().any(|number| number != &numbers[0])
}

/// Whether an operator computes each element of its output from one of its input, or moves it.
fn takes_single_elements(node: &Node) -> bool {
    match (&node.domain, node.op_type.as_str()) {
        (Domain::Qonnx, _) => true,
        (Domain::Onnx | Domain::Microsoft, "QuantizeLinear") => true,
        (Domain::Onnx, op_type) => {
            eval::moves_elements(op_type)
                || matches!(
                    op_type,
                    "Abs"
                        | "Add"
                        | "BatchNormalization"
                        | "Cast"
                        | "Ceil"
                        | "Clip"
                        | "Div"
                        | "Dropout"
                        | "Exp"
                        | "Floor"
                        | "HardSigmoid"
                        | "HardSwish"
                        | "LeakyRelu"
                        | "Max"
                        | "Min"
                        | "Mish"
                        | "Mul"
                        | "Neg"
                        | "PRelu"
                        | "Relu"
                        | "Round"
                        | "Sigmoid"
                        | "Sign"
                        | "Softplus"
                        | "Sub"
                        | "Tanh"
                )
        }
        _ => false,
    }
}

impl Sink {
    fn of(tensor: &Tensor, is_codes: bool) -> Self {
        let count = match *tensor.shape() {
            [1, channels, _, _] => channels.max(1),
            _ => 1,
        };
        let len = tensor.len() / count;
        let channel = |channel: usize| {
            (0..len.min(LOOKED_AT)).map(|index| tensor.get(channel * len + index)).collect::<Vec<_>>()
        };
        Self { is_codes, channels: (0..count).map(channel).collect() }
    }

    /// What the channel that gets most gets; `ends` are the same sink's ends.
    fn reach(&self, ends: &Self) -> Reach {
        let distance = |sink: &Self| {
            let of_channel = |numbers: &Vec<f64>| {
                let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                high - numbers.iter().copied().fold(f64::INFINITY, f64::min)
            };
            sink.channels.iter().map(of_channel).fold(0.0, f64::max)
        };
        if !self.is_codes {
            return Reach::Spread(distance(self));
        }
        let different = |numbers: &Vec<f64>| {
            let mut numbers = numbers.clone();
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            numbers.len()
        };
        let reached = self.channels.iter().map(different).max().unwrap_or(0);
        Reach::Levels { reached, all: distance(ends) + 1.0 }
    }
}
