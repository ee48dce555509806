//! What a tensor element is, as a function of integers: the symbolic form that lowering works with.
//!
//! Between two quantizers everything in a detector's body works element by element: bias, batch
//! normalization, activation, scaling. Lowering keeps such a chain as an [`Expr`] over codes and
//! accumulators until a quantizer turns it into an integer again. Then the expression is compiled for
//! each channel ([`Program`]) and evaluated in 64-bit floats, in the graph's order: at a point, or over
//! an interval, which bounds it from both sides without knowing anything about its shape.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use ylb_source::quantizer::{Quantizer, Rounding};

mod names;
mod program;

pub use program::{ConvReading, Interval, Program};

/// A node of an element-wise computation. Shared subexpressions are shared references.
#[derive(Clone, Debug)]
pub enum Expr {
    /// The code of an element of a lowered value.
    Codes(ValueIndex),
    /// The real result of a convolution that is not emitted yet: its accumulators times their
    /// scales, plus its bias.
    Conv(ConvIndex),
    /// One number, or one a channel.
    Constant(Rc<[f64]>),
    /// A function of one number.
    Unary(Unary, Rc<Expr>),
    /// A function of two numbers.
    Binary(Binary, Rc<Expr>, Rc<Expr>),
}

/// Index of a lowered value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueIndex(pub usize);

/// Index of a pending convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConvIndex(pub usize);

/// Functions of one number. All but [`Unary::Neg`], [`Unary::Abs`] and powers of a base below 1 are non-decreasing,
/// which [`Program::range`] relies on.
#[derive(Clone, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, low), high)`.
    Clip {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// `x < 0 ? slope · x : x` with a slope of at least 0.
    LeakyRelu {
        /// Slope below 0.
        slope: f64,
    },
    /// `1 / (1 + e^−x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `e^x`.
    Exp,
    /// `base^x`.
    Power {
        /// Positive.
        base: f64,
    },
    /// `ln x`; no number below 0.
    Log,
    /// `√x`; no number below 0.
    Sqrt,
    /// `−x`.
    Neg,
    /// `|x|`.
    Abs,
    /// Rounding to an integer.
    Round(Rounding),
    /// −1, 0 or 1.
    Sign,
    /// The code that a quantizer of one scale gives.
    Quantize(Arc<Quantizer>),
    /// A byte of the picture to the number that most networks see: `b / 255` in 32 bits.
    Pixel,
}

/// Functions of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// `a > b ? 1 : 0`.
    Greater,
    /// `a ≥ b ? 1 : 0`.
    GreaterOrEqual,
    /// `a ≠ 0 ? b : 0`, whatever `b` is: a half of `Where`.
    Select,
}

/// What an expression depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// Values whose codes occur.
    pub values: BTreeSet<ValueIndex>,
    /// Convolutions that occur.
    pub convs: BTreeSet<ConvIndex>,
}

impl Expr {
    /// One number for all channels.
    pub fn number(value: f64) -> Rc<Self> {
        Rc::new(Self::Constant(Rc::from([value])))
    }

    /// A function of this expression.
    pub fn unary(self: &Rc<Self>, function: Unary) -> Rc<Self> {
        Rc::new(Self::Unary(function, Rc::clone(self)))
    }

    /// A function of this expression and another.
    pub fn binary(self: &Rc<Self>, function: Binary, other: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self::Binary(function, Rc::clone(self), Rc::clone(other)))
    }

    /// What the expression depends on.
    pub fn leaves(self: &Rc<Self>) -> Leaves {
        let mut leaves = Leaves::default();
        for node in self.nodes() {
            match &*node {
                Self::Codes(value) => _ = leaves.values.insert(*value),
                Self::Conv(conv) => _ = leaves.convs.insert(*conv),
                _ => {}
            }
        }
        leaves
    }

    /// Whether all its constants are the same for all channels.
    pub fn is_uniform(self: &Rc<Self>) -> bool {
        self.nodes().iter().all(|node| !matches!(&**node, Self::Constant(c) if c.len() > 1))
    }

    /// All distinct nodes, operands before those that use them; the last is this one. Walks without
    /// recursion: graphs may be deep.
    pub fn nodes(self: &Rc<Self>) -> Vec<Rc<Self>> {
        let mut done = BTreeSet::new();
        let mut order = Vec::new();
        let mut stack = vec![(Rc::clone(self), false)];
        while let Some((node, expanded)) = stack.pop() {
            let address = Rc::as_ptr(&node) as usize;
            if done.contains(&address) {
                continue;
            }
            if expanded {
                done.insert(address);
                order.push(node);
                continue;
            }
            stack.push((Rc::clone(&node), true));
            match &*node {
                Self::Unary(_, a) => stack.push((Rc::clone(a), false)),
                Self::Binary(_, a, b) => {
                    stack.push((Rc::clone(b), false));
                    stack.push((Rc::clone(a), false));
                }
                _ => {}
            }
        }
        order
    }

    /// The same computation over other leaves: `replace` gives the expression for a leaf.
    pub fn substitute(self: &Rc<Self>, mut replace: impl FnMut(&Self) -> Option<Rc<Self>>) -> Rc<Self> {
        let mut results: HashMap<*const Self, Rc<Self>> = HashMap::new();
        let mut last = Rc::clone(self);
        for node in self.nodes() {
            let find = |operand: &Rc<Self>| {
                results.get(&Rc::as_ptr(operand)).map_or_else(|| Rc::clone(operand), Rc::clone)
            };
            last = match &*node {
                Self::Unary(function, a) => find(a).unary(function.clone()),
                Self::Binary(function, a, b) => find(a).binary(*function, &find(b)),
                leaf => replace(leaf).unwrap_or_else(|| Rc::clone(&node)),
            };
            results.insert(Rc::as_ptr(&node), Rc::clone(&last));
        }
        last
    }

    /// The same computation with `leaf` in the place of the inner node `node`, which is known by its
    /// address.
    pub fn with_leaf(self: &Rc<Self>, node: &Rc<Self>, leaf: &Rc<Self>) -> Rc<Self> {
        let mut results: HashMap<*const Self, Rc<Self>> = HashMap::new();
        let mut last = Rc::clone(self);
        for own in self.nodes() {
            let find = |operand: &Rc<Self>| {
                results.get(&Rc::as_ptr(operand)).map_or_else(|| Rc::clone(operand), Rc::clone)
            };
            last = match &*own {
                _ if Rc::ptr_eq(&own, node) => Rc::clone(leaf),
                Self::Unary(function, a) => find(a).unary(function.clone()),
                Self::Binary(function, a, b) => find(a).binary(*function, &find(b)),
                _ => Rc::clone(&own),
            };
            results.insert(Rc::as_ptr(&own), Rc::clone(&last));
        }
        last
    }

    /// Takes the operands out, leaving leaves in their place.
    fn take_operands(&mut self, into: &mut Vec<Rc<Self>>) {
        let leaf = || Rc::new(Self::Codes(ValueIndex(0)));
        match self {
            Self::Unary(_, a) => into.push(std::mem::replace(a, leaf())),
            Self::Binary(_, a, b) => {
                into.push(std::mem::replace(a, leaf()));
                into.push(std::mem::replace(b, leaf()));
            }
            _ => {}
        }
    }
}

/// Drops without recursion: a chain of nodes may be as long as a hostile graph.
impl Drop for Expr {
    fn drop(&mut self) {
        let mut pending = Vec::new();
        self.take_operands(&mut pending);
        while let Some(mut operand) = pending.pop() {
            if let Some(last_owner) = Rc::get_mut(&mut operand) {
                last_owner.take_operands(&mut pending);
            }
        }
    }
}

/// `x · sigmoid(x)` and its relatives are products, whatever node they were written as.
pub fn hard_sigmoid(x: &Rc<Expr>, alpha: f64, beta: f64) -> Rc<Expr> {
    x.binary(Binary::Mul, &Expr::number(alpha))
        .binary(Binary::Add, &Expr::number(beta))
        .unary(Unary::Clip { low: 0.0, high: 1.0 })
}

#[cfg(test)]
mod tests;
