//! Operators that hand codes on under a name: pixels that follow one another, and concats of codes of one quantizer.

use std::rc::Rc;

use ylb_format::model::{Operator, interleave_factor};
use ylb_source::ir::Node;

use super::linear::Addend;
use super::{Feature, LoweredValue, Lowering, Segment, id_of};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Expr, ValueIndex};
use crate::passes::placement::CODES_NAME;
use crate::report::Row;

/// The name of the codes that an operator hands on, if a quantizer was moved before it.
pub(super) fn codes_name(node: &Node) -> String {
    node.text(CODES_NAME, "").to_owned()
}

impl Lowering<'_> {
    /// Values whose pixels follow one another, row by row of a square of them.
    pub(super) fn interleave(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let mut parts = Vec::with_capacity(node.inputs.len());
        for &id in node.inputs.iter().flatten() {
            parts.push(self.in_order(&self.feature(id)?)?);
        }
        let factor = interleave_factor(parts.len())
            .ok_or_else(|| ConvertError::malformed(format!("interleaves {} tensors", parts.len())))?;
        let first = Rc::clone(&parts[0]);
        let [height, width] = [first.height, first.width].map(|extent| extent * factor as usize);
        let mut segments = Vec::with_capacity(first.segments.len());
        for (index, segment) in first.segments.iter().enumerate() {
            let mut addends = Vec::with_capacity(parts.len());
            for part in &parts {
                let own = part.segments.get(index).filter(|own| own.channels == segment.channels);
                let own = own.ok_or_else(|| ConvertError::malformed("phases of different channels"))?;
                addends.push(self.only_addend(&own.expr)?);
            }
            let same = |addend: &Addend| {
                addend.scale == addends[0].scale
                    && addend.zero_point == addends[0].zero_point
                    && addend.factors == addends[0].factors
            };
            if !addends.iter().all(same) {
                return Err(ConvertError::malformed("phases of different scales"));
            }
            let values: Vec<ValueIndex> = addends.iter().map(|addend| self.fix_zero_point(addend)).collect();
            let values = self.of_equal_levels(&node.name, values)?;
            let name = if first.segments.len() == 1 { codes_name(node) } else { String::new() };
            let model = self.values[values[0].0].clone();
            let shape = [segment.channels, height, width];
            let output = self.add_value(LoweredValue { name, shape, origin: None, ..model });
            self.add_row(Row::of("Interleave", ""), &node.name, output, &values);
            let inputs = values.iter().map(|&value| id_of(value)).collect();
            self.add_node(&node.name, output, Operator::Interleave { inputs });
            let expr = of_codes(&segment.expr, output);
            segments.push(Segment { channels: segment.channels, expr });
        }
        Ok(Feature { segments, height, width, order: None })
    }

    /// The same codes in levels that mean the same in all values. Where a rounding makes codes, each value has levels for those
    /// that it reaches.
    fn of_equal_levels(
        &mut self,
        name: &str,
        values: Vec<ValueIndex>,
    ) -> Result<Vec<ValueIndex>, ConvertError> {
        let known = |value: &ValueIndex| &self.values[value.0];
        let (low, step) =
            (values.iter().map(|value| known(value).low).min().unwrap_or(0), known(&values[0]).step);
        let high = |value: &LoweredValue| value.low + value.step * i64::from(value.max_level);
        let high = values.iter().map(|value| high(known(value))).max().unwrap_or(0);
        let fits = |value: &ValueIndex| known(value).step == step && (known(value).low - low) % step == 0;
        let max_level = u8::try_from((high - low) / step).ok().filter(|_| values.iter().all(fits));
        let max_level = max_level.ok_or_else(|| ConvertError::malformed("phases of different codes"))?;
        let widened = |value: ValueIndex| {
            let own = self.values[value.0].clone();
            let all = LoweredValue { name: String::new(), low, max_level, ..own.clone() };
            if own.same_levels(&all) {
                return value;
            }
            let first = ((own.low - low) / step) as u8;
            let table = (0..=own.max_level).map(|level| first + level).collect();
            self.add_map(name, value, all, table)
        };
        Ok(values.into_iter().map(widened).collect())
    }

    /// The one value that an expression scales.
    fn only_addend(&self, expr: &Rc<Expr>) -> Result<Addend, ConvertError> {
        let linear = self.linear(expr)?;
        let plain = linear.is_centred() && linear.addends.len() == 1;
        match (linear.addends.into_iter().next(), plain) {
            (Some(addend), true) => Ok(addend),
            _ => Err(ConvertError::new(
                ErrorKind::NotQuantized,
                "its input is a sum, or has an offset that is no whole number of steps; expected a quantizer behind it",
            )),
        }
    }

    /// A concat whose codes have a name as one value, where it can be one.
    pub(super) fn named_concat(&mut self, node: &Node, joined: Feature) -> Result<Feature, ConvertError> {
        let name = codes_name(node);
        if name.is_empty() || joined.order.is_some() {
            return Ok(joined);
        }
        let Some(values) = self.values_of_one_scale(&joined) else { return Ok(joined) };
        let value = self.concat_values(&node.name, &name, &values)?;
        let expr = of_codes(&joined.segments[0].expr, value);
        Ok(joined.whole(expr))
    }

    /// The segments of a feature, one after another, as one; `None` where they are not codes of one scale.
    pub(super) fn as_one(&mut self, feature: &Feature) -> Result<Option<Segment>, ConvertError> {
        let Some(values) = self.values_of_one_scale(feature) else { return Ok(None) };
        let value = self.concat_values("", "", &values)?;
        let expr = of_codes(&feature.segments[0].expr, value);
        Ok(Some(Segment { channels: feature.channels(), expr }))
    }

    /// The values of which the segments of a feature are codes of one scale, if they are.
    fn values_of_one_scale(&mut self, feature: &Feature) -> Option<Vec<ValueIndex>> {
        let addends = feature.segments.iter().map(|segment| self.only_addend(&segment.expr));
        let addends = addends.collect::<Result<Vec<_>, _>>().ok()?;
        let values: Vec<ValueIndex> = addends.iter().map(|addend| self.fix_zero_point(addend)).collect();
        let plain = addends.iter().all(|own| own.factors.is_none() && own.scale == addends[0].scale);
        let same = |value: &ValueIndex| self.values[value.0].same_levels(&self.values[values[0].0]);
        (plain && values.iter().all(same)).then_some(values)
    }
}

/// An expression of the codes of one value as the same one of another's.
fn of_codes(expr: &Rc<Expr>, value: ValueIndex) -> Rc<Expr> {
    expr.substitute(|leaf| match leaf {
        Expr::Codes(_) => Some(Rc::new(Expr::Codes(value))),
        _ => None,
    })
}
