//! Expressions that are sums of scaled codes: `Σ scale · (code − zero point)`.

use std::collections::HashMap;
use std::rc::Rc;

use super::{LoweredValue, Lowering};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Binary, Expr, Unary, ValueIndex};

/// One value of a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Addend {
    pub(super) value: ValueIndex,
    /// What one integer of it stands for; positive.
    pub(super) scale: f64,
    /// Code that stands for 0.
    pub(super) zero_point: f64,
}

/// A partial result: addends, or a number for all channels.
#[derive(Clone, Debug)]
enum Form {
    Number(f64),
    Sum(Vec<Addend>),
}

impl Lowering<'_> {
    /// Reads an expression as a sum of scaled codes.
    ///
    /// # Errors
    /// If it is none: something before it is not quantized, or a scale differs between channels.
    pub(super) fn linear(&self, expr: &Rc<Expr>) -> Result<Vec<Addend>, ConvertError> {
        let mut forms: HashMap<*const Expr, Form> = HashMap::new();
        let mut last = Form::Number(0.0);
        for node in expr.nodes() {
            let at = |operand: &Rc<Expr>| forms[&Rc::as_ptr(operand)].clone();
            last = match &*node {
                Expr::Codes(value) => Form::Sum(vec![Addend { value: *value, scale: 1.0, zero_point: 0.0 }]),
                Expr::Conv(conv) => {
                    return Err(ConvertError::new(
                        ErrorKind::NotQuantized,
                        format!(
                            "its input is not quantized: expected a quantizer between convolution \
                             \"{}\" and this node",
                            self.convs[conv.0].name
                        ),
                    ));
                }
                Expr::Constant(numbers) => match **numbers {
                    [number] => Form::Number(number),
                    _ => {
                        return Err(ConvertError::unsupported(
                            "its input has scales or offsets by channel; expected one scale for \
                             the whole tensor",
                        ));
                    }
                },
                Expr::Unary(function, a) => self.linear_unary(function, at(a))?,
                Expr::Binary(function, a, b) => linear_binary(*function, at(a), at(b))?,
            };
            forms.insert(Rc::as_ptr(&node), last.clone());
        }
        match last {
            Form::Sum(addends) => self.checked(addends),
            Form::Number(_) => Err(ConvertError::unsupported("its input is constant")),
        }
    }

    fn linear_unary(&self, function: &Unary, form: Form) -> Result<Form, ConvertError> {
        match (function, &form) {
            (Unary::Pixel, Form::Sum(addends)) => {
                let scaled = addends.iter().map(|a| Addend { scale: a.scale / 255.0, ..*a });
                Ok(Form::Sum(scaled.collect()))
            }
            // Clamps that no code reaches change nothing, as a ReLU of codes from 0 on.
            (Unary::Relu, Form::Sum(addends)) if self.lowest(addends) >= 0.0 => Ok(form),
            (Unary::Clip { low, high }, Form::Sum(addends))
                if self.lowest(addends) >= *low && self.highest(addends) <= *high =>
            {
                Ok(form)
            }
            (_, Form::Number(_)) => Err(ConvertError::unsupported("an unfolded constant")),
            _ => Err(ConvertError::new(
                ErrorKind::NotQuantized,
                format!("its input is not quantized: expected a quantizer behind {function:?}"),
            )),
        }
    }

    pub(super) fn lowest(&self, addends: &[Addend]) -> f64 {
        let real = |a: &Addend| a.scale * (self.values[a.value.0].low as f64 - a.zero_point);
        addends.iter().map(real).sum()
    }

    pub(super) fn highest(&self, addends: &[Addend]) -> f64 {
        let real = |a: &Addend| {
            let value = &self.values[a.value.0];
            let high = value.low + value.step * i64::from(value.max_level);
            a.scale * (high as f64 - a.zero_point)
        };
        addends.iter().map(real).sum()
    }

    /// Zero points must be integers and scales positive; both may be off by rounding only.
    fn checked(&self, mut addends: Vec<Addend>) -> Result<Vec<Addend>, ConvertError> {
        for addend in &mut addends {
            let rounded = addend.zero_point.round();
            if (addend.zero_point - rounded).abs() > 1e-6 || rounded.abs() > 255.0 {
                return Err(ConvertError::unsupported(format!(
                    "its input has zero point {}; expected an integer of at most 8 bits",
                    addend.zero_point
                )));
            }
            addend.zero_point = rounded;
            if !(addend.scale > 0.0 && addend.scale.is_finite()) {
                return Err(ConvertError::unsupported(format!(
                    "its input has scale {}; expected a positive finite number",
                    addend.scale
                )));
            }
        }
        Ok(addends)
    }

    /// The value of an addend, with the addend's zero point. A value whose codes were already read
    /// with another zero point is copied.
    pub(super) fn fix_zero_point(&mut self, addend: Addend) -> ValueIndex {
        let wanted = addend.zero_point as i16;
        let value = &mut self.values[addend.value.0];
        if value.scale == 0.0 {
            value.scale = addend.scale;
        }
        match value.zero_point {
            None => value.zero_point = Some(wanted),
            Some(own) if own == wanted => {}
            Some(_) => {
                let table: Vec<u8> = (0..=value.max_level).collect();
                let copy = LoweredValue {
                    name: String::new(),
                    zero_point: Some(wanted),
                    scale: addend.scale,
                    origin: None,
                    ..value.clone()
                };
                return self.add_map("", addend.value, copy, table);
            }
        }
        addend.value
    }
}

fn linear_binary(function: Binary, a: Form, b: Form) -> Result<Form, ConvertError> {
    let shifted = |mut addends: Vec<Addend>, by: f64| {
        if let Some(first) = addends.first_mut() {
            first.zero_point -= by / first.scale;
        }
        Form::Sum(addends)
    };
    let scaled = |addends: Vec<Addend>, by: f64| {
        Form::Sum(addends.into_iter().map(|a| Addend { scale: a.scale * by, ..a }).collect())
    };
    Ok(match (function, a, b) {
        (Binary::Add, Form::Sum(a), Form::Sum(b)) => {
            let mut sum = a;
            for addend in b {
                let same = |other: &&mut Addend| {
                    other.value == addend.value && other.zero_point == addend.zero_point
                };
                match sum.iter_mut().find(same) {
                    Some(other) => other.scale += addend.scale,
                    None => sum.push(addend),
                }
            }
            Form::Sum(sum)
        }
        (Binary::Add, Form::Sum(a), Form::Number(b)) | (Binary::Add, Form::Number(b), Form::Sum(a)) => {
            shifted(a, b)
        }
        (Binary::Sub, Form::Sum(a), Form::Number(b)) => shifted(a, -b),
        (Binary::Mul, Form::Sum(a), Form::Number(b)) | (Binary::Mul, Form::Number(b), Form::Sum(a)) => {
            scaled(a, b)
        }
        (Binary::Div, Form::Sum(a), Form::Number(b)) => {
            Form::Sum(a.into_iter().map(|addend| Addend { scale: addend.scale / b, ..addend }).collect())
        }
        _ => {
            return Err(ConvertError::new(
                ErrorKind::NotQuantized,
                format!(
                    "its input is not quantized: {function:?} of feature maps; expected a quantizer \
                     behind it"
                ),
            ));
        }
    })
}
