//! Quantizers: where an expression becomes an integer and a new value begins.

use std::rc::Rc;
use std::sync::Arc;

use ylb_format::limits::MAX_ADDENDS;
use ylb_format::model::Operator;
use ylb_source::ir::Node;
use ylb_source::quantizer::{Order, PerAxis, Quantizer, Rounding};

use super::conv::PendingKind;
use super::elementwise::slice;
use super::requantize::Requantized;
use super::{Feature, LoweredValue, Lowering, PIXELS, Segment, id_of, product};
use crate::error::ConvertError;
use crate::expr::{Binary, ConvIndex, Expr, Interval, Program, Unary, ValueIndex};
use crate::report::{Row, Warning, WarningKind};
use crate::staircase::Levels;

/// Above this part of a step, a user should know that near ties may be decided otherwise: about one
/// code of a picture's millions.
pub(super) const LARGE_TIE_BOUND: f64 = 1e-6;

/// The codes that a cut makes.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    /// Name of the source tensor that holds them; empty for a part of one.
    pub(super) name: String,
    pub(super) levels: Levels,
    /// Code that stands for 0, if the quantizer says.
    pub(super) zero_point: Option<i16>,
    /// 0 if the quantizer does not say.
    pub(super) scale: f64,
}

impl Lowering<'_> {
    pub(super) fn fake_quant(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let Some(quantizer) = node.quantizer.clone() else {
            return Err(ConvertError::malformed("expected a quantizer"));
        };
        let feature = self.feature(node.required_input(0)?)?;
        self.warn_of_relu_before_bipolar(node, &quantizer, &feature);
        if quantizer.scale.scalar().is_none() {
            return self.fake_quant_by_channel(node, &quantizer, &feature);
        }
        let (scale, zero_point) = per_tensor(&quantizer)?;
        let codes = Codes {
            name: feature.name_of_codes(&quantizer.codes_name),
            levels: levels_of(&quantizer)?,
            zero_point: Some(zero_point as i16),
            scale,
        };
        let function = Unary::Quantize(quantizer);
        let value = self.cut(node, &feature, &function, &codes)?;
        let real = Rc::new(Expr::Codes(value))
            .binary(Binary::Sub, &Expr::number(zero_point))
            .binary(Binary::Mul, &Expr::number(scale));
        Ok(feature.whole(real))
    }

    /// A quantizer with a scale for each channel: the same codes as of one scale, over `x / scale`.
    fn fake_quant_by_channel(
        &mut self,
        node: &Node,
        quantizer: &Quantizer,
        feature: &Feature,
    ) -> Result<Feature, ConvertError> {
        let scales: Vec<f64> = quantizer.scale.values.iter().copied().map(f64::from).collect();
        let scales = feature.as_they_lie(&scales);
        if quantizer.scale.axis != 1 || scales.len() != feature.channels() {
            return Err(ConvertError::malformed(format!(
                "{} scales along axis {} for {} channels; expected one for each channel",
                scales.len(),
                quantizer.scale.axis,
                feature.channels()
            )));
        }
        let unit = Quantizer { scale: PerAxis::uniform(1.0), ..quantizer.clone() };
        let (_, zero_point) = per_tensor(&unit)?;
        let codes = Codes {
            name: feature.name_of_codes(&quantizer.codes_name),
            levels: levels_of(quantizer)?,
            zero_point: Some(zero_point as i16),
            scale: 0.0,
        };
        let divided =
            feature.map(|segment, range| Ok(segment.expr.binary(Binary::Div, &slice(&scales, range))))?;
        let value = self.cut(node, &divided, &Unary::Quantize(Arc::new(unit)), &codes)?;
        let real = Rc::new(Expr::Codes(value))
            .binary(Binary::Sub, &Expr::number(zero_point))
            .binary(Binary::Mul, &Rc::new(Expr::Constant(Rc::from(scales))));
        Ok(feature.whole(real))
    }

    /// `Round` and its relatives, where a quantizer is written out as arithmetic. The codes' range
    /// follows from what comes before.
    pub(super) fn written_out(&mut self, node: &Node, function: Unary) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for segment in &feature.segments {
            for channel in 0..segment.channels {
                let range = self.code_range(&segment.expr.unary(function.clone()), channel);
                (low, high) = (low.min(range.low), high.max(range.high));
            }
        }
        if !(high > low && high - low <= 255.0 && low >= -255.0 && high <= 255.0) {
            return Err(ConvertError::unsupported(format!(
                "rounds to integers from {low} to {high}; expected at most 8 bits, from a Clip to integers before \
                 or behind it"
            )));
        }
        let levels = Levels { low: low as i64, step: 1, max_level: (high - low) as u8 };
        let name = feature.name_of_codes(&self.graph.tensor(node.output()?).name);
        let codes = Codes { name, levels, zero_point: None, scale: 0.0 };
        let value = self.cut(node, &feature, &function, &codes)?;
        Ok(feature.whole(Rc::new(Expr::Codes(value))))
    }

    /// A rounding to the nearest integer that makes no codes: a part of the function of the next quantizer.
    pub(super) fn rounded_in_passing(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        feature.map(|segment, _| Ok(segment.expr.unary(Unary::Round(Rounding::HalfEven))))
    }

    /// Bounds of an integer expression over everything its inputs can be.
    pub(super) fn code_range(&self, expr: &Rc<Expr>, channel: usize) -> Interval {
        let leaves = expr.leaves();
        let mut inputs = Vec::new();
        let values: Vec<ValueIndex> = leaves.values.iter().copied().collect();
        for value in &values {
            let value = &self.values[value.0];
            let high = value.low + value.step * i64::from(value.max_level);
            inputs.push(Interval { low: value.low as f64, high: high as f64 });
        }
        let convs: Vec<ConvIndex> = leaves.convs.iter().copied().collect();
        let mut first_term = Vec::new();
        for conv in &convs {
            first_term.push(inputs.len());
            for term in &self.convs[conv.0].terms {
                // Products of activations have one range for all channels.
                let (low, high) = term.ranges[channel.min(term.ranges.len() - 1)];
                inputs.push(Interval { low: low as f64, high: high as f64 });
            }
        }
        let position = |value: ValueIndex| values.binary_search(&value).unwrap_or(0);
        let program = Program::compile(expr, channel, position, |conv| {
            let pending = &self.convs[conv.0];
            let mut reading = pending.reading(channel.min(pending.shape[0] - 1));
            let offset = convs.binary_search(&conv).map_or(0, |at| first_term[at]);
            reading.terms.iter_mut().for_each(|(input, _)| *input += offset);
            reading
        });
        program.range(&inputs, &mut Vec::new())
    }

    /// Cuts a tensor by an integer function and returns the value of the codes.
    pub(super) fn cut(
        &mut self,
        node: &Node,
        feature: &Feature,
        function: &Unary,
        codes: &Codes,
    ) -> Result<ValueIndex, ConvertError> {
        let known = |value: &LoweredValue| !value.name.is_empty() && value.name == codes.name;
        if self.values.iter().any(known) {
            return Err(ConvertError::unsupported("its codes are read in two different ways"));
        }
        let size = [feature.height, feature.width];
        if let [segment] = feature.segments.as_slice() {
            return self.cut_segment(node, segment, size, function, codes);
        }
        let part = Codes { name: String::new(), ..codes.clone() };
        let mut parts = Vec::with_capacity(feature.segments.len());
        for segment in &feature.segments {
            parts.push(self.cut_segment(node, segment, size, function, &part)?);
        }
        self.concat_values(&node.name, &codes.name, &parts)
    }

    fn cut_segment(
        &mut self,
        node: &Node,
        segment: &Segment,
        [height, width]: [usize; 2],
        function: &Unary,
        codes: &Codes,
    ) -> Result<ValueIndex, ConvertError> {
        let output = LoweredValue {
            name: codes.name.clone(),
            shape: [segment.channels, height, width],
            low: codes.levels.low,
            step: codes.levels.step,
            max_level: codes.levels.max_level,
            zero_point: codes.zero_point,
            scale: codes.scale,
            origin: None,
            accumulators: false,
        };
        let expr = segment.expr.unary(function.clone());
        let expr = self.of_one_accumulator(&expr).unwrap_or(expr);
        let expr = self.joinable(node, output.shape, expr)?;
        let leaves = expr.leaves();
        let values: Vec<ValueIndex> = leaves.values.into_iter().collect();
        let convs: Vec<ConvIndex> = leaves.convs.into_iter().collect();
        match (values.as_slice(), convs.as_slice()) {
            ([], &[conv]) => self.cut_conv(conv, &expr, codes.levels, output),
            ([_, ..], []) => match self.common_root(&values) {
                Some(PIXELS) if !expr.is_uniform() && values.len() == 1 => {
                    self.cut_pixels(&expr, codes.levels, output)
                }
                Some(root) if expr.is_uniform() => {
                    self.cut_map(&node.name, root, &values, &expr, codes.levels, output)
                }
                None if expr.is_uniform() && values.len() <= MAX_ADDENDS => {
                    self.cut_several(&node.name, &values, &expr, codes.levels, output)
                }
                // Differs between channels, or has more values than one sum.
                None if expr.is_uniform() => {
                    match self.cut_curves(&node.name, &expr, codes.levels, output.clone())? {
                        Some(value) => Ok(value),
                        None => self.cut_by_channel(&node.name, &values, &expr, codes.levels, output),
                    }
                }
                _ => self.cut_by_channel(&node.name, &values, &expr, codes.levels, output),
            },
            ([], []) => Err(ConvertError::unsupported("quantizes a constant")),
            _ => match self.one_convolution(&node.name, &expr)? {
                Some((conv, expr)) => self.cut_conv(conv, &expr, codes.levels, output),
                None => {
                    let joined = self.cut_curves(&node.name, &expr, codes.levels, output)?;
                    joined.ok_or_else(|| self.joined_floats(node))
                }
            },
        }
    }

    /// Cuts a function of several values: of their product or sum, of functions of them, or any of two.
    fn cut_several(
        &mut self,
        node_name: &str,
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        let known = match product::factors(expr) {
            Some(factors) => self.cut_product(node_name, &factors, expr, levels, output.clone()),
            None if self.linear_sum(expr) => self.cut_sum(node_name, values, expr, levels, output.clone()),
            None => self.cut_functions_or_sum(node_name, values, expr, levels, output.clone()),
        };
        match known {
            Ok(value) => Ok(value),
            Err(error) => match self.cut_pairs(node_name, values, expr, levels, output.clone())? {
                Some(value) => Ok(value),
                None => self.cut_curves(node_name, expr, levels, output)?.ok_or(error),
            },
        }
    }

    pub(super) fn cut_conv(
        &mut self,
        conv: ConvIndex,
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        if !matches!(self.convs[conv.0].kind, PendingKind::Conv | PendingKind::Average) {
            return self.cut_attention(conv, expr, levels, output);
        }
        let Requantized { map, tie_bound } = self.requantize(conv, expr, levels)?;
        let kind = super::requantize::kind_name(&map);
        let operator = self.convs[conv.0].operator(Some(map));
        let output = self.add_value(output);
        self.definitions.insert(output, Rc::clone(expr));
        self.emit_conv(conv, output, operator, kind);
        if let Some(row) = self.rows.last_mut() {
            row.tie_bound = tie_bound;
        }
        if tie_bound > LARGE_TIE_BOUND {
            let message = format!(
                "its input joins values of different scales, and 31-bit multipliers are coarse for \
                 them: values within {tie_bound:.0e} of a step may get the neighbouring code"
            );
            self.warnings.push(Warning::at(&self.convs[conv.0].name, WarningKind::NearTies, message));
        }
        Ok(output)
    }

    /// Appends a convolution's operator and its row.
    pub(super) fn emit_conv(
        &mut self,
        conv: ConvIndex,
        output: ValueIndex,
        operator: Operator,
        kind: &'static str,
    ) {
        let pending = &mut self.convs[conv.0];
        let name = pending.name.clone();
        if std::mem::replace(&mut pending.emitted, true) {
            let message = "its output is quantized in more than one way; it is computed for each";
            self.warnings.push(Warning::at(&name, WarningKind::ComputedTwice, message));
        }
        let inputs: Vec<ValueIndex> = self.convs[conv.0].terms.iter().map(|t| t.value).collect();
        let row = Row::of_conv(&self.convs[conv.0], &operator, kind);
        self.add_row(row, &name, output, &inputs);
        self.add_node(&name, output, operator);
    }

    /// A function of the picture by channel, which becomes the input's tables: no operator looks up by channel.
    fn cut_pixels(
        &mut self,
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        let mut tables = [[0; 256]; 3];
        let mut scratch = Vec::new();
        for (channel, table) in tables.iter_mut().enumerate() {
            let program = Program::compile(expr, channel, |_| 0, |_| unreachable_conv());
            for (level, byte) in table.iter_mut().zip(0u8..=255) {
                *level = levels.level(program.value(&[f64::from(byte)], &mut scratch))?;
            }
        }
        if self.pixel_tables.is_some() {
            return Err(ConvertError::unsupported(
                "the picture is quantized in more than one way, by channel; expected one quantizer of it",
            ));
        }
        let value = self.add_value(output);
        self.pixel_tables = Some((id_of(value), Box::new(tables)));
        Ok(value)
    }

    fn warn_of_relu_before_bipolar(&mut self, node: &Node, quantizer: &Quantizer, feature: &Feature) {
        let relu = |segment: &Segment| matches!(&*segment.expr, Expr::Unary(Unary::Relu, _));
        if quantizer.order == Order::Bipolar && feature.segments.iter().any(relu) {
            let message = "BipolarQuant behind Relu makes every code +1: an unsigned 1-bit activation \
                           was exported wrongly";
            self.warnings.push(Warning::at(&node.name, WarningKind::ReluBeforeBipolar, message));
        }
    }
}

/// Expressions over values alone have no convolutions to read.
pub(super) fn unreachable_conv() -> crate::expr::ConvReading {
    crate::expr::ConvReading { terms: Vec::new(), bias: None }
}

impl Feature {
    /// A tensor of the same shape with one expression for all channels.
    pub(super) fn whole(&self, expr: Rc<Expr>) -> Self {
        let segments = vec![Segment { channels: self.channels(), expr }];
        Self { segments, ..self.clone() }
    }

    /// The name that codes have in the source model; none where they lie in another order than there.
    fn name_of_codes(&self, name: &str) -> String {
        if self.order.is_some() { String::new() } else { name.to_owned() }
    }
}

/// The one scale and zero point of an activation quantizer.
fn per_tensor(quantizer: &Quantizer) -> Result<(f64, f64), ConvertError> {
    match (quantizer.scale.scalar(), quantizer.zero_point.scalar()) {
        (Some(scale), Some(zero_point)) if zero_point.abs() <= 255.0 => {
            Ok((f64::from(scale), f64::from(zero_point)))
        }
        (Some(_), Some(zero_point)) => {
            Err(ConvertError::unsupported(format!("a zero point of {zero_point}; expected at most 255")))
        }
        _ => Err(ConvertError::unsupported(format!(
            "an activation quantizer of {} scales; expected one for the whole tensor",
            quantizer.scale.values.len().max(quantizer.zero_point.values.len())
        ))),
    }
}

fn levels_of(quantizer: &Quantizer) -> Result<Levels, ConvertError> {
    let step = quantizer.step();
    let count = quantizer.high.abs_diff(quantizer.low) / step.unsigned_abs();
    if count > 255 || quantizer.low < -255 || quantizer.high > 255 {
        return Err(ConvertError::unsupported(format!(
            "activation codes from {} to {}; expected at most 8 bits",
            quantizer.low, quantizer.high
        )));
    }
    Ok(Levels { low: quantizer.low, step, max_level: count as u8 })
}
