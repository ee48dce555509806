//! Last convolutions whose weights are floats, on request: what boxes are made of, on which no code hangs.
//!
//! Weights are taken as three bytes each, `w ≈ S·(w0 + w1/254 + w2/254²)`, and so are activations that nothing quantizes, each byte what the
//! ones before it left over. A convolution over them is one of six terms: of products of bytes those that matter in 24
//! bits. Activations that are codes are what they are, and the terms are three.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use ylb_format::limits::MAX_TERMS;
use ylb_source::ir::{Node, Tensor};
use ylb_source::quantizer::{Order, PerAxis, QuantizedConstant, Quantizer, Rounding};
use ylb_source::window;

use super::conv::{PendingConv, PendingKind, parts};
use super::cut::Codes;
use super::join::Joined;
use super::weights::weight_format;
use super::{Feature, LoweredValue, Lowering, Segment, format_window};
use crate::error::ConvertError;
use crate::expr::{Binary, ConvIndex, Expr, Unary, ValueIndex};
use crate::report::{Warning, WarningKind};
use crate::staircase::Levels;

/// Bytes of a number.
const BYTES: usize = 3;
/// The largest code of a byte.
const MOST: f64 = 127.0;
/// A byte's step in those of the next: half a step is just the next one's largest code.
const RATIO: f64 = 254.0;

impl Lowering<'_> {
    /// A convolution with weights that are floats.
    pub(super) fn float_conv(&mut self, node: &Node, weights: &Tensor) -> Result<Feature, ConvertError> {
        let &[outputs, inputs, rows, columns] = weights.shape() else {
            return Err(ConvertError::unsupported("expected weights of rank 4"));
        };
        let shape = [outputs, inputs, rows, columns];
        let feature = self.feature(node.required_input(0)?)?;
        let feature = self.in_order(&feature)?;
        if node.int("group", 1) != 1 || inputs != feature.channels() || outputs == 0 {
            return Err(ConvertError::unsupported(
                "weights of floats in groups; expected a weight quantizer",
            ));
        }
        let extents = [1, feature.channels(), feature.height, feature.width];
        let geometry = window::of_node(node, &extents, Some([rows, columns]))?;
        let [height, width] = geometry.output_size([feature.height, feature.width])?;
        let window = format_window(geometry);
        let padded = window.padding.iter().any(|&extent| extent > 0);
        let reals = weights.to_f64();
        let of_weights = bytes_of(&reals, outputs)?;
        let of_input = match self.is_codes(&feature) {
            true => vec![feature.as_ref().clone()],
            false => self.bytes_of_floats(node, &feature)?,
        };
        let mut bias = self.bias(node, outputs)?;
        let mut terms = Vec::new();
        for (above, input) in of_input.iter().enumerate() {
            let Joined { operands, offsets } = self.operands(input, 1, padded)?;
            add_offsets(&mut bias, &offsets, &reals, shape);
            let parts = parts(operands, 1, &mut []);
            for (byte, quantized) in of_weights.iter().enumerate().take(BYTES - above) {
                let format = weight_format(quantized, outputs)?;
                for part in &parts {
                    let mut term = self.term(part, quantized, &format, shape, 1, window)?;
                    term.scale *= RATIO.powi(-(byte as i32));
                    terms.push(term);
                }
            }
        }
        if terms.len() > MAX_TERMS {
            return Err(ConvertError::unsupported(format!(
                "weights of floats over {} terms; expected at most {MAX_TERMS}",
                terms.len()
            )));
        }
        let message = "its weights are floats: they are taken as three bytes each, and so are activations that nothing \
                       quantizes; logits are not equal to the export's, but within some 10⁻⁶ of what they can be";
        self.warnings.push(Warning::at(&node.name, WarningKind::FloatHead, message));
        self.convs.push(PendingConv {
            name: node.name.clone(),
            kind: PendingKind::Conv,
            terms,
            weight_scales: (0..outputs).map(|output| of_weights[0].scale_at(output)).collect(),
            bias,
            window,
            groups: 1,
            shape: [outputs, height, width],
            emitted: false,
        });
        let expr = Rc::new(Expr::Conv(ConvIndex(self.convs.len() - 1)));
        let segments = vec![Segment { channels: outputs, expr }];
        Ok(Feature { segments, height, width, order: None })
    }

    /// Whether a feature is scaled codes, as convolutions read them.
    fn is_codes(&self, feature: &Feature) -> bool {
        feature.segments.iter().all(|segment| self.linear(&segment.expr).is_ok())
    }

    /// What nothing quantizes, as codes of one byte each, of falling scales.
    fn bytes_of_floats(&mut self, node: &Node, feature: &Feature) -> Result<Vec<Feature>, ConvertError> {
        let mut reach = 0.0f64;
        for segment in &feature.segments {
            for channel in 0..segment.channels {
                let range = self.code_range(&segment.expr, channel);
                reach = reach.max(range.low.abs()).max(range.high.abs());
            }
        }
        if !(reach.is_finite() && reach > 0.0) {
            return Err(ConvertError::unsupported(format!(
                "its input reaches {reach}; expected a quantizer"
            )));
        }
        // Scales of quantizers have 32 bits, so that is what is left over of.
        let scales: [f32; BYTES] =
            std::array::from_fn(|byte| (reach / MOST * RATIO.powi(-(byte as i32))) as f32);
        let mut segments: Vec<Vec<Segment>> = vec![Vec::new(); BYTES];
        for segment in &feature.segments {
            let mut rest = Rc::clone(&segment.expr);
            let shape = [segment.channels, feature.height, feature.width];
            for (own, scale) in segments.iter_mut().zip(scales) {
                let value = self.byte_of(node, &rest, shape, scale)?;
                let real = Rc::new(Expr::Codes(value)).binary(Binary::Mul, &Expr::number(scale.into()));
                rest = rest.binary(Binary::Sub, &real);
                own.push(Segment { channels: segment.channels, expr: real });
            }
        }
        Ok(segments.into_iter().map(|segments| Feature { segments, ..feature.clone() }).collect())
    }

    /// The nearest code of a scale.
    fn byte_of(
        &mut self,
        node: &Node,
        expr: &Rc<Expr>,
        shape: [usize; 3],
        scale: f32,
    ) -> Result<ValueIndex, ConvertError> {
        let quantizer = Quantizer {
            order: Order::RoundThenClamp,
            rounding: Rounding::HalfEven,
            low: -(MOST as i64),
            high: MOST as i64,
            scale: PerAxis::uniform(scale),
            zero_point: PerAxis::uniform(0.0),
            codes_name: String::new(),
        };
        quantizer.validate()?;
        let levels = Levels { low: quantizer.low, step: 1, max_level: (2.0 * MOST) as u8 };
        let function = Unary::Quantize(Arc::new(quantizer));
        let leaves = expr.leaves();
        if leaves.convs.len() + leaves.values.len() == 1 {
            let segment = Segment { channels: shape[0], expr: Rc::clone(expr) };
            let feature = Feature { segments: vec![segment], height: shape[1], width: shape[2], order: None };
            let codes = Codes { name: String::new(), levels, zero_point: Some(0), scale: scale.into() };
            return self.cut(node, &feature, &function, &codes);
        }
        let output = LoweredValue {
            name: String::new(),
            shape,
            low: levels.low,
            step: 1,
            max_level: levels.max_level,
            zero_point: Some(0),
            scale: scale.into(),
            origin: None,
            accumulators: false,
        };
        // The next byte makes good for a neighbouring code.
        let cut = self.cut_near(&node.name, &expr.unary(function), levels, output)?;
        cut.map(|(value, _)| value).ok_or_else(|| {
            ConvertError::unsupported(
                "weights of floats over activations that are no function of one convolution, or differ between channels; \
                 expected a quantizer before it",
            )
        })
    }
}

/// Weights as three bytes each, of scales by output channel that fall by [`RATIO`].
fn bytes_of(reals: &[f64], outputs: usize) -> Result<Vec<QuantizedConstant>, ConvertError> {
    if reals.iter().any(|real| !real.is_finite()) {
        return Err(ConvertError::malformed("weights that are infinite or not a number"));
    }
    let each = (reals.len() / outputs).max(1);
    let largest = |own: &[f64]| own.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let scales: Vec<f64> = reals
        .chunks(each)
        .map(|own| match largest(own) {
            most if most > 0.0 => most / MOST,
            _ => 1.0,
        })
        .collect();
    let mut rest = reals.to_vec();
    let mut bytes = Vec::with_capacity(BYTES);
    for byte in 0..BYTES {
        let mut codes = Vec::with_capacity(rest.len());
        for (index, rest) in rest.iter_mut().enumerate() {
            let scale = scales[index / each] * RATIO.powi(-(byte as i32));
            let code = (*rest / scale).round().clamp(-MOST, MOST);
            *rest -= code * scale;
            codes.push(code as i32);
        }
        let (low, high) = (-(MOST as i64), MOST as i64);
        let (scale, zero_point) = (scales.clone(), vec![0.0]);
        bytes.push(QuantizedConstant { codes, low, high, step: 1, scale, zero_point });
    }
    Ok(bytes)
}

/// Adds what numbers that stand beside some input channels add to each output.
fn add_offsets(
    bias: &mut Option<Vec<f64>>,
    offsets: &[(Range<usize>, f64)],
    reals: &[f64],
    [outputs, inputs, rows, columns]: [usize; 4],
) {
    if offsets.is_empty() {
        return;
    }
    let taps = rows * columns;
    let bias = bias.get_or_insert_with(|| vec![0.0; outputs]);
    for (output, bias) in bias.iter_mut().enumerate() {
        for (range, offset) in offsets {
            let own = &reals[output * inputs * taps..][range.start * taps..range.end * taps];
            *bias += offset * own.iter().sum::<f64>();
        }
    }
}
