//! The picture, and what range its numbers have: see [`ylb_source::picture`].

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use ylb_source::eval;
use ylb_source::ir::{Domain, ElementType, Graph, Node, TensorId};
use ylb_source::picture::{BEYOND, DIVISOR_TOLERANCE, PictureRange, Reach, is_crushed};
use ylb_source::quantizer::Rounding;

use super::cut::unreachable_conv;
use super::{Feature, LoweredValue, Lowering, PIXELS, Segment};
use crate::error::ConvertError;
use crate::expr::{Binary, Expr, Program, Unary};
use crate::passes::trunc;
use crate::report::{Warning, WarningKind};

/// How a graph's input is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Understood {
    /// What an element of the input is.
    pub range: PictureRange,
    /// How that is known, where a user should look at it.
    pub note: Option<Warning>,
}

/// Finds out what the numbers of a graph's input are.
///
/// # Errors
/// If its type is none of a picture, its bytes are computed with as integers, or the picture is lost whatever its range.
pub fn understand(graph: &Graph) -> Result<Understood, ConvertError> {
    let &[input] = graph.inputs.as_slice() else {
        return Err(ConvertError::malformed("expected one input"));
    };
    let name = &graph.tensor(input).name;
    let note = |message: String| {
        Some(Warning::of_model(WarningKind::Picture, format!("input \"{name}\": {message}")))
    };
    match graph.input_types.get(&input) {
        None | Some(ElementType::F32 | ElementType::F64) => {}
        Some(ElementType::Unsigned(8)) => {
            check_bytes(graph, input)?;
            let note = crushed(graph, PictureRange::Bytes)?.and_then(|place| {
                note(format!("the picture's bytes {place}: is a division by 255 missing behind it?"))
            });
            return Ok(Understood { range: PictureRange::Bytes, note });
        }
        Some(other) => {
            return Err(ConvertError::unsupported(format!(
                "input \"{name}\" holds {other}; expected a picture of floats or of uint8"
            )));
        }
    }
    let [unit, bytes] = [PictureRange::Unit, PictureRange::Bytes].map(|range| crushed(graph, range));
    let (range, note) = match (divisor(graph, input), unit?, bytes?) {
        (None, None, _) | (Some(_), None, Some(_)) => (PictureRange::Unit, None),
        (Some(node), _, None) => {
            let why = format!("the graph itself divides by 255 (\"{}\")", node.name);
            (PictureRange::Bytes, note(format!("its numbers are taken to be bytes, 0 to 255, since {why}")))
        }
        (None, Some(place), None) => {
            let why = format!("numbers from 0 to 1 {place}");
            (PictureRange::Bytes, note(format!("its numbers are taken to be bytes, 0 to 255, since {why}")))
        }
        (_, Some(unit), Some(bytes)) => {
            return Err(ConvertError::unsupported(format!(
                "input \"{name}\": what range its numbers have cannot be told. From 0 to 1 they {unit}; from 0 to 255 \
                 they {bytes}: export the model with a quantizer of the picture that fits one of them"
            )));
        }
    };
    Ok(Understood { range, note })
}

/// Bytes must become floats before anything computes with them: integers would be divided as integers.
fn check_bytes(graph: &Graph, input: TensorId) -> Result<(), ConvertError> {
    let mut bytes = BTreeSet::from([input]);
    for node in &graph.nodes {
        if !node.inputs.iter().flatten().any(|id| bytes.contains(id)) {
            continue;
        }
        let to_floats = node.is_linear_quantizer("DequantizeLinear")
            || (node.is("Cast") && eval::cast_target(node)?.is_float());
        match node.op_type.as_str() {
            _ if to_floats => {}
            "Identity" | "Slice" | "Split" | "Concat" | "Transpose" | "Reshape" | "Gather" => {
                bytes.extend(&node.outputs);
            }
            _ => {
                return Err(node.blame(ConvertError::unsupported(
                    "reads the picture's uint8 bytes; expected a Cast to floats, or DequantizeLinear, before it",
                )));
            }
        }
    }
    Ok(())
}

/// The node that divides the input by 255 before anything else, if all that read it do.
fn divisor(graph: &Graph, input: TensorId) -> Option<&Node> {
    let mut same = BTreeSet::from([input]);
    let mut found = None;
    for node in &graph.nodes {
        if !node.inputs.iter().flatten().any(|id| same.contains(id)) {
            continue;
        }
        if matches!(node.op_type.as_str(), "Identity" | "Cast") && node.domain == Domain::Onnx {
            same.extend(&node.outputs);
            continue;
        }
        let number = |position: usize| graph.constant_input(node, position)?.scalar();
        let divisor = match node.op_type.as_str() {
            "Div" => number(1)?,
            "Mul" => 1.0 / number(0).or_else(|| number(1))?,
            _ => return None,
        };
        if ((divisor / 255.0 - 1.0).abs() > DIVISOR_TOLERANCE) || node.domain != Domain::Onnx {
            return None;
        }
        found = found.or(Some(node));
    }
    found
}

/// Where a picture is crushed, in words that follow "numbers".
struct Place {
    node: String,
    reach: Reach,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        match self.reach {
            Reach::Levels { reached, all } => write!(f, "reach {reached} of the {all} levels of \"{node}\""),
            Reach::Spread(distance) => {
                write!(f, "are at most {distance:.2e} apart where \"{node}\" reads them")
            }
        }
    }
}

/// Lowers what comes before the first quantizers and convolutions, for one range: the first of these that crushes the
/// picture.
fn crushed(graph: &Graph, range: PictureRange) -> Result<Option<Place>, ConvertError> {
    let mut lowering = Lowering::new(graph, None);
    lowering.picture(range)?;
    for node in &graph.nodes {
        let known = |id: &&TensorId| lowering.features[id.0].is_some();
        let Some(&read) = node.inputs.iter().flatten().find(known) else { continue };
        let feature = lowering.feature(read)?;
        let reach = match first_code(node) {
            Some(code) => feature.levels_reached(&*code),
            None if is_boundary(node) => feature.spread(),
            None => {
                // What cannot be lowered is told when it is.
                let _ = lowering.node(node);
                continue;
            }
        };
        if is_crushed(reach) {
            return Ok(Some(Place { node: node.name.clone(), reach }));
        }
    }
    Ok(None)
}

/// Operators that read more than one element, or codes.
fn is_boundary(node: &Node) -> bool {
    matches!(node.op_type.as_str(), "Conv" | "MaxPool" | "Resize" | "Upsample")
}

/// A code of a number in a channel.
type Code<'n> = Box<dyn Fn(f64, usize) -> f64 + 'n>;

/// What a quantizer makes of a number; `None` for other operators.
fn first_code(node: &Node) -> Option<Code<'_>> {
    if let Some(quantizer) = &node.quantizer {
        return Some(Box::new(move |x, channel| {
            let at = |numbers: &[f32]| f64::from(numbers[if channel < numbers.len() { channel } else { 0 }]);
            quantizer.code_f64(x, at(&quantizer.scale.values), at(&quantizer.zero_point.values))
        }));
    }
    let rounding = match (&node.domain, node.op_type.as_str()) {
        (Domain::Converter, trunc::TRUNC) => Rounding::named(node.text("rounding_mode", "FLOOR")).ok()?,
        (Domain::Onnx, "Round") => Rounding::HalfEven,
        (Domain::Onnx, "Floor") => Rounding::Floor,
        (Domain::Onnx, "Ceil") => Rounding::Ceil,
        (Domain::Onnx, "Sign") => return Some(Box::new(|x, _| if x == 0.0 { 0.0 } else { x.signum() })),
        _ => return None,
    };
    Some(Box::new(move |x, _| rounding.round(x)))
}

impl Feature {
    /// Calls with each channel's number and its function of a byte.
    fn for_each_channel(&self, mut visit: impl FnMut(usize, &mut dyn FnMut(f64) -> f64)) {
        let mut first = 0;
        for segment in &self.segments {
            // A function without constants by channel is the same for all.
            let channels = if segment.expr.is_uniform() { 1 } else { segment.channels };
            for channel in 0..channels {
                let program = Program::compile(&segment.expr, channel, |_| 0, |_| unreachable_conv());
                let mut scratch = Vec::new();
                visit(first + channel, &mut |byte| program.value(&[byte], &mut scratch));
            }
            first += segment.channels;
        }
    }

    /// Levels of a quantizer that the bytes reach, in the channel that reaches most.
    fn levels_reached(&self, code: &dyn Fn(f64, usize) -> f64) -> Reach {
        let (mut reached, mut all) = (0, 0.0f64);
        self.for_each_channel(|channel, value| {
            let mut codes: Vec<f64> = (0..=255).map(|byte| code(value(f64::from(byte)), channel)).collect();
            codes.sort_by(f64::total_cmp);
            codes.dedup();
            reached = reached.max(codes.len());
            all = all.max((code(value(BEYOND), channel) - code(value(-BEYOND), channel)).abs() + 1.0);
        });
        Reach::Levels { reached, all }
    }

    /// Distance of the numbers that the bytes become, in the channel where it is largest.
    fn spread(&self) -> Reach {
        let mut distance = 0.0f64;
        self.for_each_channel(|_, value| {
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for byte in 0..=255 {
                let x = value(f64::from(byte));
                (low, high) = (low.min(x), high.max(x));
            }
            distance = distance.max(high - low);
        });
        Reach::Spread(distance)
    }
}

impl Lowering<'_> {
    /// The picture: bytes as codes, of which the network sees `byte / 255` or the byte.
    pub(super) fn picture(&mut self, range: PictureRange) -> Result<(), ConvertError> {
        let Some(&input) = self.graph.inputs.first() else {
            return Err(ConvertError::malformed("expected an input"));
        };
        let Some(&[1, 3, height, width]) = self.graph.tensor(input).shape.as_deref() else {
            return Err(ConvertError::malformed("expected a picture as input"));
        };
        let codes = Rc::new(Expr::Codes(PIXELS));
        let (scale, expr) = match range {
            PictureRange::Unit => (1.0 / 255.0, codes.unary(Unary::Pixel)),
            PictureRange::Bytes => (1.0, codes),
        };
        self.values.push(LoweredValue {
            name: String::new(),
            shape: [3, height, width],
            low: 0,
            step: 1,
            max_level: 255,
            zero_point: Some(0),
            scale,
            origin: None,
            accumulators: false,
        });
        let segments = vec![Segment { channels: 3, expr }];
        self.features[input.0] = Some(Rc::new(Feature { segments, height, width, order: None }));
        Ok(())
    }

    /// `DequantizeLinear` of the picture's bytes, which are codes already: `(byte − zero point) · scale`.
    pub(super) fn dequantized_picture(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let number = |position: usize, default: f64| match node.input(position) {
            None => Some(default),
            Some(_) => self.graph.constant_input(node, position)?.scalar(),
        };
        let (Some(scale), Some(zero_point)) = (number(1, f64::NAN), number(2, 0.0)) else {
            return Err(ConvertError::unsupported(
                "expected one constant scale and zero point of the picture",
            ));
        };
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(ConvertError::unsupported(format!(
                "a scale of {scale}; expected a positive finite number"
            )));
        }
        feature.map(|segment, _| {
            let shifted = segment.expr.binary(Binary::Sub, &Expr::number(zero_point));
            Ok(shifted.binary(Binary::Mul, &Expr::number(f64::from(scale as f32))))
        })
    }
}
