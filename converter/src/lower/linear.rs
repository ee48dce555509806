//! Expressions that are sums of scaled codes: `Σ scale · (code − zero point)`.

use std::collections::HashMap;
use std::rc::Rc;

use super::{LoweredValue, Lowering};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Binary, Expr, Unary, ValueIndex};

/// Largest magnitude of a zero point in the file format.
const MAX_ZERO_POINT: f64 = 255.0;

/// One value of a sum.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Addend {
    pub(super) value: ValueIndex,
    /// What one integer of it stands for; positive.
    pub(super) scale: f64,
    /// By channel, what multiplies the scale; `None`: nothing does.
    pub(super) factors: Option<Rc<[f64]>>,
    /// Code that stands for 0.
    pub(super) zero_point: f64,
}

/// A sum of scaled codes and a number, the same for all channels, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Linear {
    pub(super) addends: Vec<Addend>,
    /// What zero points, which are integers, leave over: the offset of an LSQ+ quantizer.
    pub(super) offset: f64,
    /// By channel, what is added.
    pub(super) offsets: Option<Rc<[f64]>>,
}

impl Linear {
    /// Whether nothing stands beside the codes.
    pub(super) fn is_centred(&self) -> bool {
        self.offset == 0.0 && self.offsets.is_none()
    }
}

/// A partial result: addends, or a number for all channels or for each.
#[derive(Clone, Debug)]
enum Form {
    Number(f64),
    Numbers(Rc<[f64]>),
    Sum(Vec<Addend>),
    /// Addends, and a number for each channel.
    Shifted(Vec<Addend>, Rc<[f64]>),
}

impl Lowering<'_> {
    /// Reads an expression as a sum of scaled codes.
    ///
    /// # Errors
    /// If it is none: something before it is not quantized, or an offset differs between channels.
    pub(super) fn linear(&self, expr: &Rc<Expr>) -> Result<Linear, ConvertError> {
        let mut forms: HashMap<*const Expr, Form> = HashMap::new();
        let mut last = Form::Number(0.0);
        for node in expr.nodes() {
            let at = |operand: &Rc<Expr>| forms[&Rc::as_ptr(operand)].clone();
            last = match &*node {
                Expr::Codes(value) => {
                    let value = *value;
                    Form::Sum(vec![Addend { value, scale: 1.0, factors: None, zero_point: 0.0 }])
                }
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
                    _ => Form::Numbers(Rc::clone(numbers)),
                },
                Expr::Unary(function, a) => self.linear_unary(function, at(a))?,
                Expr::Binary(function, a, b) => linear_binary(*function, at(a), at(b))?,
            };
            forms.insert(Rc::as_ptr(&node), last.clone());
        }
        match last {
            Form::Sum(addends) => checked(addends, None),
            Form::Shifted(addends, numbers) => checked(addends, Some(numbers)),
            Form::Number(_) | Form::Numbers(_) => Err(ConvertError::unsupported("its input is constant")),
        }
    }

    fn linear_unary(&self, function: &Unary, form: Form) -> Result<Form, ConvertError> {
        match (function, &form) {
            (Unary::Pixel, Form::Sum(addends)) => {
                let scaled = addends.iter().map(|a| Addend { scale: a.scale / 255.0, ..a.clone() });
                Ok(Form::Sum(scaled.collect()))
            }
            // Clamps that no code reaches change nothing, as a ReLU of codes from 0 on.
            (Unary::Relu, Form::Sum(addends)) if one_scale(addends) && self.lowest(addends) >= 0.0 => {
                Ok(form)
            }
            (Unary::Clip { low, high }, Form::Sum(addends))
                if one_scale(addends) && self.lowest(addends) >= *low && self.highest(addends) <= *high =>
            {
                Ok(form)
            }
            (_, Form::Number(_) | Form::Numbers(_)) => Err(ConvertError::unsupported("an unfolded constant")),
            _ => Err(ConvertError::new(
                ErrorKind::NotQuantized,
                format!("its input is not quantized: expected a quantizer behind {function}"),
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

    /// The value of an addend, with the addend's zero point. A value whose codes were already read
    /// with another zero point is copied.
    pub(super) fn fix_zero_point(&mut self, addend: &Addend) -> ValueIndex {
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

/// Zero points become integers, and what that leaves over a number beside them. Scales must be positive.
fn checked(mut addends: Vec<Addend>, offsets: Option<Rc<[f64]>>) -> Result<Linear, ConvertError> {
    let mut offset = 0.0;
    for addend in &mut addends {
        let scale = addend.scale;
        let factors = addend.factors.iter().flat_map(|factors| factors.iter().copied());
        if let Some(bad) =
            std::iter::once(scale).chain(factors).find(|scale| !(*scale > 0.0 && scale.is_finite()))
        {
            return Err(ConvertError::unsupported(format!(
                "its input has scale {bad}; expected a positive finite number"
            )));
        }
        let rounded = addend.zero_point.round().clamp(-MAX_ZERO_POINT, MAX_ZERO_POINT);
        // More than rounding leaves.
        if (addend.zero_point - rounded).abs() > 1e-6 {
            if addend.factors.is_some() {
                return Err(ConvertError::unsupported(
                    "its input has scales by channel and an offset that is no whole number of steps; \
                     expected one scale for the whole tensor",
                ));
            }
            offset += scale * (rounded - addend.zero_point);
        }
        addend.zero_point = rounded;
    }
    if !offset.is_finite() {
        return Err(ConvertError::unsupported(format!("its input has an offset of {offset}")));
    }
    Ok(Linear { addends, offset, offsets })
}

/// Whether no scale differs between channels.
fn one_scale(addends: &[Addend]) -> bool {
    addends.iter().all(|addend| addend.factors.is_none())
}

fn linear_binary(function: Binary, a: Form, b: Form) -> Result<Form, ConvertError> {
    let shifted = |mut addends: Vec<Addend>, by: f64| {
        if !one_scale(&addends) {
            return Err(ConvertError::unsupported(
                "its input has scales by channel and an offset behind them; expected one scale for the \
                 whole tensor",
            ));
        }
        if let Some(first) = addends.first_mut() {
            first.zero_point -= by / first.scale;
        }
        Ok(Form::Sum(addends))
    };
    let scaled = |addends: Vec<Addend>, by: f64| {
        Form::Sum(addends.into_iter().map(|a| Addend { scale: a.scale * by, ..a }).collect())
    };
    let by_channel = |addends: Vec<Addend>, numbers: Rc<[f64]>, divide: bool| {
        let with = |a: Addend| {
            let own = |index: usize| a.factors.as_ref().map_or(1.0, |factors| factors[index]);
            let factor = |(index, &by): (usize, &f64)| if divide { own(index) / by } else { own(index) * by };
            Addend { factors: Some(numbers.iter().enumerate().map(factor).collect()), ..a }
        };
        Form::Sum(addends.into_iter().map(with).collect())
    };
    Ok(match (function, a, b) {
        (Binary::Add, Form::Sum(a), Form::Sum(b)) => {
            let mut sum = a;
            for addend in b {
                let same = |other: &&mut Addend| {
                    other.value == addend.value
                        && other.zero_point == addend.zero_point
                        && other.factors == addend.factors
                };
                match sum.iter_mut().find(same) {
                    Some(other) => other.scale += addend.scale,
                    None => sum.push(addend),
                }
            }
            Form::Sum(sum)
        }
        (Binary::Add, Form::Sum(a), Form::Number(b)) | (Binary::Add, Form::Number(b), Form::Sum(a)) => {
            shifted(a, b)?
        }
        (Binary::Sub, Form::Sum(a), Form::Number(b)) => shifted(a, -b)?,
        (Binary::Mul, Form::Sum(a), Form::Number(b)) | (Binary::Mul, Form::Number(b), Form::Sum(a)) => {
            scaled(a, b)
        }
        (Binary::Div, Form::Sum(a), Form::Number(b)) => {
            Form::Sum(a.into_iter().map(|addend| Addend { scale: addend.scale / b, ..addend }).collect())
        }
        (Binary::Mul, Form::Sum(a), Form::Numbers(b)) | (Binary::Mul, Form::Numbers(b), Form::Sum(a)) => {
            by_channel(a, b, false)
        }
        (Binary::Div, Form::Sum(a), Form::Numbers(b)) => by_channel(a, b, true),
        (Binary::Add, Form::Sum(a), Form::Numbers(b)) | (Binary::Add, Form::Numbers(b), Form::Sum(a)) => {
            Form::Shifted(a, b)
        }
        (Binary::Sub, Form::Sum(a), Form::Numbers(b)) => Form::Shifted(a, b.iter().map(|own| -own).collect()),
        // What numbers do to codes and to the numbers beside them.
        (_, Form::Shifted(a, own), by @ (Form::Number(_) | Form::Numbers(_)))
        | (Binary::Add | Binary::Mul, by @ (Form::Number(_) | Form::Numbers(_)), Form::Shifted(a, own))
            if matches!(function, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div) =>
        {
            let at = |index: usize| match &by {
                Form::Number(number) => *number,
                Form::Numbers(numbers) => numbers[index],
                _ => 0.0,
            };
            let shift = |(index, own): (usize, &f64)| match function {
                Binary::Add => own + at(index),
                Binary::Sub => own - at(index),
                Binary::Mul => own * at(index),
                _ => own / at(index),
            };
            let own: Rc<[f64]> = own.iter().enumerate().map(shift).collect();
            match (function, by) {
                (Binary::Add | Binary::Sub, _) => Form::Shifted(a, own),
                (_, by) => match linear_binary(function, Form::Sum(a), by)? {
                    Form::Sum(a) => Form::Shifted(a, own),
                    other => other,
                },
            }
        }
        _ => {
            return Err(ConvertError::new(
                ErrorKind::NotQuantized,
                format!(
                    "its input is not quantized: {function} of feature maps; expected a quantizer \
                     behind it"
                ),
            ));
        }
    })
}
