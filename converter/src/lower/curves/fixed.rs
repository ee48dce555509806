//! Joins in fixed point: how many bits each function has, and how far all of it can be off.

use ylb_format::model::{Combine, Curve, OperandFunction};

use super::Leaf;
use super::fit::{Fitted, Place};

/// Bits of a join: fewer than a float has, so that rounding errors of a few units in its last place do not show.
const JOIN_BITS: i32 = 46;
/// Most fraction bits of a function.
const MAX_FRACTION: i32 = 36;

/// An operand in real numbers: a function of one leaf.
pub(super) struct Operand {
    pub(super) leaf: Leaf,
    pub(super) function: RealFunction,
}

/// What an operand is, before it is rounded to fixed point.
pub(super) enum RealFunction {
    Table(Vec<f64>),
    Curve(Box<Fitted>),
}

/// A join in integers.
pub(super) struct Fixed {
    pub(super) combine: Combine,
    pub(super) curves: Vec<Curve>,
    pub(super) functions: Vec<OperandFunction>,
    /// What one unit of the join stands for.
    pub(super) unit: f64,
    /// How far the join can be off, in units.
    pub(super) error: f64,
    /// Its largest magnitude, in units.
    pub(super) reach: i64,
}

impl Fixed {
    pub(super) fn sum(operands: &[Operand]) -> Option<Self> {
        let reach: f64 = operands.iter().map(Operand::reach).sum();
        let most = operands.iter().map(Operand::most_fraction).fold(fraction_of(reach)?, i32::min);
        let fraction = (most >= 0).then_some(most)?;
        let room = room_of(operands);
        let (mut functions, mut curves, mut error) = (Vec::new(), Vec::new(), 0.0);
        for operand in operands {
            let (function, off) = operand.fixed(fraction, room, &mut curves)?;
            functions.push(function);
            error += off;
        }
        let reach = (reach * f64::from(fraction).exp2() + error).ceil() as i64 + 1;
        let unit = f64::from(-fraction).exp2();
        Some(Self { combine: Combine::Sum, curves, functions, unit, error, reach })
    }

    pub(super) fn product(operands: &[Operand]) -> Option<Self> {
        if let Some(exact) = Self::product_of_integers(operands) {
            return Some(exact);
        }
        let reach: f64 = operands.iter().map(Operand::reach).product();
        let others = operands.len() as i32 - 1;
        let own = |operand: &Operand| Some(fraction_of(operand.reach())?.min(operand.most_fraction()));
        let fractions: Vec<i32> = operands.iter().map(own).collect::<Option<_>>()?;
        // One shift for each product, after which there is a fraction that the join has room for.
        let excess = fractions.iter().sum::<i32>() - fraction_of(reach)?;
        let shift = (excess + others - 1) / others;
        if !(0..=62).contains(&shift) {
            return None;
        }
        let fraction = fractions.iter().sum::<i32>() - shift * others;
        let room = room_of(operands);
        let (mut functions, mut curves) = (Vec::new(), Vec::new());
        // Parts of the whole by which factors are off; rounding after each product.
        let (mut error, mut partial) = (0.0, 0.0);
        for (index, (operand, &own)) in operands.iter().zip(&fractions).enumerate() {
            let (function, off) = operand.fixed(own, room, &mut curves)?;
            let elsewhere = operands.iter().enumerate().filter(|(other, _)| *other != index);
            let elsewhere: f64 = elsewhere.map(|(_, other)| other.reach()).product();
            error += off * f64::from(-own).exp2() * elsewhere;
            partial = if index == 0 {
                0.0
            } else {
                partial * operand.reach() * f64::from(own - shift).exp2() + 1.0
            };
            functions.push(function);
        }
        let unit = f64::from(-fraction).exp2();
        // The errors' products, which are far smaller, within a thousandth.
        let error = error / unit * 1.001 + partial;
        let reach = (reach / unit + error).ceil() as i64 + 1;
        Some(Self { combine: Combine::Product { shift: shift as u8 }, curves, functions, unit, error, reach })
    }

    /// A product of numbers that are multiples of one number each, as codes are: one of integers.
    fn product_of_integers(operands: &[Operand]) -> Option<Self> {
        let (mut unit, mut reach, mut functions) = (1.0, 1, Vec::new());
        for operand in operands {
            let RealFunction::Table(table) = &operand.function else { return None };
            let step = table.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(f64::INFINITY, f64::min);
            let whole = |x: &f64| {
                let multiple = (x / step).round();
                let near = (multiple * step - x).abs() <= 1e-12 * x.abs().max(step);
                (near && multiple.abs() <= 65_536.0).then_some(multiple as i64)
            };
            let table: Vec<i64> = table.iter().map(whole).collect::<Option<_>>()?;
            reach *= table.iter().map(|x| x.abs()).max().unwrap_or(0).max(1);
            unit *= step;
            functions.push(OperandFunction::Table(table));
        }
        let combine = Combine::Product { shift: 0 };
        // Floats round the product of the numbers themselves.
        let error = reach as f64 * 1e-15;
        (reach < 1 << JOIN_BITS).then_some(Self {
            combine,
            curves: Vec::new(),
            functions,
            unit,
            error,
            reach,
        })
    }
}

impl Operand {
    /// The largest magnitude.
    fn reach(&self) -> f64 {
        match &self.function {
            RealFunction::Table(table) => table.iter().fold(0.0, |most: f64, x| most.max(x.abs())),
            RealFunction::Curve(fitted) => fitted.reach,
        }
    }

    /// The most fraction bits that there is room for.
    fn most_fraction(&self) -> i32 {
        match &self.function {
            RealFunction::Table(_) => MAX_FRACTION,
            RealFunction::Curve(fitted) => fitted.most_fraction(),
        }
    }

    /// With so many fraction bits, and how far that can be off, in units of the last. Equal curves are one.
    fn fixed(&self, fraction: i32, room: i32, curves: &mut Vec<Curve>) -> Option<(OperandFunction, f64)> {
        Some(match &self.function {
            RealFunction::Table(table) => {
                let unit = f64::from(fraction).exp2();
                (OperandFunction::Table(table.iter().map(|x| (x * unit).round() as i64).collect()), 0.5)
            }
            RealFunction::Curve(fitted) => {
                let (curve, Place { multipliers, bias, shift }, error) = fitted.fixed(fraction, room)?;
                let known = curves.iter().position(|own| *own == curve);
                let index = known.unwrap_or(curves.len());
                if known.is_none() {
                    curves.push(curve);
                }
                (OperandFunction::Curve { curve: index as u8, multipliers, bias, shift }, error)
            }
        })
    }
}

/// Most fraction bits of places, for all operands the same.
fn room_of(operands: &[Operand]) -> i32 {
    let room = |operand: &Operand| match &operand.function {
        RealFunction::Table(_) => None,
        RealFunction::Curve(fitted) => Some(fitted.placement.room()),
    };
    operands.iter().filter_map(room).min().unwrap_or(0)
}

/// Fraction bits for numbers up to a magnitude, if there are enough.
fn fraction_of(reach: f64) -> Option<i32> {
    if !(reach.is_finite() && reach > 0.0) {
        return None;
    }
    let bits = JOIN_BITS - reach.log2().ceil() as i32;
    (bits >= 0).then_some(bits.min(MAX_FRACTION))
}
