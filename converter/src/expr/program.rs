//! Expressions compiled for one channel, evaluated at points and over intervals.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Binary, ConvIndex, Expr, Unary, ValueIndex};

/// A closed interval; `[−∞, +∞]` where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// An expression for one channel. Inputs are numbered by the caller.
#[derive(Clone, Debug)]
pub struct Program {
    instructions: Vec<Instruction>,
}

#[derive(Clone, Debug)]
enum Instruction {
    Input(usize),
    Constant(f64),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
}

/// How a program reads a convolution: `Σ input · factor`, plus the bias if there is one.
#[derive(Clone, Debug)]
pub struct ConvReading {
    /// Program input and factor of every term.
    pub terms: Vec<(usize, f64)>,
    /// The channel's bias.
    pub bias: Option<f64>,
}

/// Relative error allowed for `exp`, `tanh` and `ln`, which are not correctly rounded: some units in
/// the last place, more than any mathematical library in use.
const LIBRARY_ERROR: f64 = 4.0 * f64::EPSILON;

impl Interval {
    /// The interval that holds one number.
    pub fn point(value: f64) -> Self {
        Self { low: value, high: value }
    }

    /// The interval of all numbers.
    const ALL: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    fn widened(self) -> Self {
        let widen = |x: f64, sign: f64| match x.is_infinite() {
            true => x,
            false => x + sign * (x.abs() * LIBRARY_ERROR + f64::MIN_POSITIVE),
        };
        Self { low: widen(self.low, -1.0), high: widen(self.high, 1.0) }
    }

    /// From two bounds that may not be numbers, after `∞ − ∞` or `0 · ∞`.
    fn checked(low: f64, high: f64) -> Self {
        if low.is_nan() || high.is_nan() { Self::ALL } else { Self { low, high } }
    }
}

impl Program {
    /// Compiles an expression for one channel. `value_input` numbers the inputs for codes,
    /// `conv_input` says how a convolution is read.
    pub fn compile(
        expr: &Rc<Expr>,
        channel: usize,
        value_input: impl Fn(ValueIndex) -> usize,
        conv_input: impl Fn(ConvIndex) -> ConvReading,
    ) -> Self {
        let mut instructions = Vec::new();
        let mut position: HashMap<*const Expr, usize> = HashMap::new();
        for node in expr.nodes() {
            let at = |operand: &Rc<Expr>| position[&Rc::as_ptr(operand)];
            match &*node {
                Expr::Codes(value) => instructions.push(Instruction::Input(value_input(*value))),
                Expr::Conv(conv) => push_conv(&mut instructions, &conv_input(*conv)),
                Expr::Constant(values) => {
                    let value = values[if values.len() == 1 { 0 } else { channel }];
                    instructions.push(Instruction::Constant(value));
                }
                Expr::Unary(function, a) => {
                    instructions.push(Instruction::Unary(function.clone(), at(a)));
                }
                Expr::Binary(function, a, b) => {
                    instructions.push(Instruction::Binary(*function, at(a), at(b)));
                }
            }
            position.insert(Rc::as_ptr(&node), instructions.len() - 1);
        }
        Self { instructions }
    }

    /// The value for given inputs. `scratch` is reused between calls.
    pub fn value(&self, inputs: &[f64], scratch: &mut Vec<f64>) -> f64 {
        scratch.clear();
        for instruction in &self.instructions {
            let value = match instruction {
                Instruction::Input(index) => inputs[*index],
                Instruction::Constant(value) => *value,
                Instruction::Unary(function, a) => apply(function, scratch[*a]),
                Instruction::Binary(function, a, b) => combine(*function, scratch[*a], scratch[*b]),
            };
            scratch.push(value);
        }
        scratch.last().copied().unwrap_or(f64::NAN)
    }

    /// Bounds of the value for inputs from intervals: every result of [`Program::value`] lies within.
    /// That holds without outward rounding, because the basic operations are rounded correctly and
    /// correct rounding never changes the order of two numbers.
    pub fn range(&self, inputs: &[Interval], scratch: &mut Vec<Interval>) -> Interval {
        scratch.clear();
        for instruction in &self.instructions {
            let range = match instruction {
                Instruction::Input(index) => inputs[*index],
                Instruction::Constant(value) => Interval::point(*value),
                Instruction::Unary(function, a) => apply_range(function, scratch[*a]),
                Instruction::Binary(function, a, b) => combine_range(*function, scratch[*a], scratch[*b]),
            };
            scratch.push(range);
        }
        scratch.last().copied().unwrap_or(Interval::ALL)
    }
}

fn push_conv(instructions: &mut Vec<Instruction>, reading: &ConvReading) {
    let mut sum: Option<usize> = None;
    for &(input, factor) in &reading.terms {
        let start = instructions.len();
        instructions.push(Instruction::Input(input));
        instructions.push(Instruction::Constant(factor));
        instructions.push(Instruction::Binary(Binary::Mul, start, start + 1));
        if let Some(sum) = sum {
            instructions.push(Instruction::Binary(Binary::Add, sum, start + 2));
        }
        sum = Some(instructions.len() - 1);
    }
    if let (Some(sum), Some(bias)) = (sum, reading.bias) {
        let start = instructions.len();
        instructions.push(Instruction::Constant(bias));
        instructions.push(Instruction::Binary(Binary::Add, sum, start));
    }
}

fn apply(function: &Unary, x: f64) -> f64 {
    match function {
        // What is no number is no code either: no clamp may make one of it.
        _ if x.is_nan() => x,
        Unary::Relu => x.max(0.0),
        Unary::Clip { low, high } => x.max(*low).min(*high),
        Unary::LeakyRelu { slope } if x < 0.0 => slope * x,
        Unary::LeakyRelu { .. } => x,
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Tanh => x.tanh(),
        // Written so that neither large nor small arguments overflow.
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Unary::Exp => x.exp(),
        Unary::Power { base } => base.powf(x),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Round(rounding) => rounding.round(x),
        Unary::Sign if x == 0.0 => 0.0,
        Unary::Sign => x.signum(),
        Unary::Quantize(quantizer) => {
            let (scale, zero_point) = (quantizer.scale.values[0], quantizer.zero_point.values[0]);
            quantizer.code_f64(x, f64::from(scale), f64::from(zero_point))
        }
        Unary::Pixel => f64::from(x as f32 / 255.0),
    }
}

fn combine(function: Binary, a: f64, b: f64) -> f64 {
    let number = |holds: bool| if holds { 1.0 } else { 0.0 };
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Select if a.is_nan() => a,
        Binary::Select => {
            if a == 0.0 {
                0.0
            } else {
                b
            }
        }
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Greater => number(a > b),
        Binary::GreaterOrEqual => number(a >= b),
    }
}

fn apply_range(function: &Unary, x: Interval) -> Interval {
    let (low, high) = (apply(function, x.low), apply(function, x.high));
    match function {
        Unary::Neg => Interval::checked(high, low),
        Unary::Abs if x.low <= 0.0 && x.high >= 0.0 => Interval::checked(0.0, low.max(high)),
        Unary::Abs => Interval::checked(low.min(high), low.max(high)),
        Unary::Sigmoid | Unary::Tanh | Unary::Softplus | Unary::Exp => Interval::checked(low, high).widened(),
        Unary::Power { .. } => Interval::checked(low.min(high), low.max(high)).widened(),
        // Below 0 there is no number, which only a look at a point may say.
        Unary::Log if x.low < 0.0 && x.high >= 0.0 => Interval { low: f64::NEG_INFINITY, high }.widened(),
        Unary::Log => Interval::checked(low, high).widened(),
        Unary::Sqrt if x.low < 0.0 && x.high >= 0.0 => Interval { low: 0.0, high },
        _ => Interval::checked(low, high),
    }
}

fn combine_range(function: Binary, a: Interval, b: Interval) -> Interval {
    match function {
        Binary::Sub => Interval::checked(a.low - b.high, a.high - b.low),
        Binary::Greater | Binary::GreaterOrEqual => {
            Interval::checked(combine(function, a.low, b.high), combine(function, a.high, b.low))
        }
        Binary::Select if a.low == 0.0 && a.high == 0.0 => Interval::point(0.0),
        Binary::Select if a.low > 0.0 || a.high < 0.0 => b,
        Binary::Select => Interval { low: b.low.min(0.0), high: b.high.max(0.0) },
        Binary::Div if b.low <= 0.0 && b.high >= 0.0 => Interval::ALL,
        Binary::Mul | Binary::Div => {
            let corners = [
                combine(function, a.low, b.low),
                combine(function, a.low, b.high),
                combine(function, a.high, b.low),
                combine(function, a.high, b.high),
            ];
            if corners.iter().any(|corner| corner.is_nan()) {
                return Interval::ALL;
            }
            Interval {
                low: corners.into_iter().fold(f64::INFINITY, f64::min),
                high: corners.into_iter().fold(f64::NEG_INFINITY, f64::max),
            }
        }
        _ => Interval::checked(combine(function, a.low, b.low), combine(function, a.high, b.high)),
    }
}
