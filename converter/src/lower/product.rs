//! Requantized products of two values, exact for every pair of their levels.

use std::collections::BTreeMap;
use std::rc::Rc;

use ylb_format::model::{Operator, Requantize};

use super::cut::unreachable_conv;
use super::{LoweredValue, Lowering, id_of};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Binary, Expr, Leaves, Program, ValueIndex};
use crate::fit;
use crate::report::Row;
use crate::staircase::{Levels, MAX_STEPS, Staircase};

/// The factors of a product of which an expression is a function, if it is one.
pub(super) fn factors(expr: &Rc<Expr>) -> Option<[Rc<Expr>; 2]> {
    let product = ValueIndex(usize::MAX);
    let only = Leaves { values: [product].into(), convs: [].into() };
    // Operands come before those that use them: the innermost product is found first.
    expr.nodes().into_iter().find_map(|node| {
        let Expr::Binary(Binary::Mul, a, b) = &*node else { return None };
        let constant = |factor: &Rc<Expr>| matches!(**factor, Expr::Constant(_));
        let around = || expr.with_leaf(&node, &Rc::new(Expr::Codes(product)));
        let found = !constant(a) && !constant(b) && around().leaves() == only;
        found.then(|| [Rc::clone(a), Rc::clone(b)])
    })
}

impl Lowering<'_> {
    /// Cuts a function of the product of two values. One of them may have an extent of 1 along some axes.
    pub(super) fn cut_product(
        &mut self,
        node_name: &str,
        factors: &[Rc<Expr>; 2],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        let own = [self.factor(&factors[0])?, self.factor(&factors[1])?];
        let by_product = self.by_product(own, expr, levels)?;
        let requantize = requantize(&by_product, levels.max_level)?;
        // The whole map first, then a gate.
        let gate_first = self.values[own[0].read.0].shape != output.shape;
        let inputs = if gate_first { [own[1].read, own[0].read] } else { [own[0].read, own[1].read] };
        let [whole, gate] = inputs.map(|input| self.values[input.0].shape);
        let fits = |(&own, extent): (&usize, usize)| own == extent || own == 1;
        if whole != output.shape || !gate.iter().zip(whole).all(fits) {
            return Err(ConvertError::unsupported(format!(
                "a product of values of shape {whole:?} and {gate:?}; expected equal shapes, or extents of 1 in the \
                 second"
            )));
        }
        let output = self.add_value(output);
        let kind = super::requantize::kind_name(&requantize);
        self.add_row(Row::of("Mul", kind), node_name, output, &inputs);
        self.add_node(node_name, output, Operator::Mul { inputs: inputs.map(id_of), requantize });
        Ok(output)
    }

    /// The value that is a factor, with its zero point.
    fn factor(&mut self, expr: &Rc<Expr>) -> Result<Factor, ConvertError> {
        let linear = self.linear(expr)?;
        match &linear.addends[..] {
            [addend] if addend.factors.is_none() && linear.is_centred() => {
                Ok(Factor { codes: addend.value, read: self.fix_zero_point(addend) })
            }
            _ => Err(ConvertError::unsupported(
                "a product of sums, or of values with scales by channel or with an offset that is no whole number \
                 of steps; expected a quantizer of one scale on both factors",
            )),
        }
    }

    /// The level for each product of integers that there is.
    fn by_product(
        &self,
        factors: [Factor; 2],
        expr: &Rc<Expr>,
        levels: Levels,
    ) -> Result<BTreeMap<i64, u8>, ConvertError> {
        let [first, second] = factors;
        let position = |value: ValueIndex| usize::from(value != first.codes);
        let program = Program::compile(expr, 0, position, |_| unreachable_conv());
        let [a, b] = [first, second].map(|factor| &self.values[factor.read.0]);
        let code = |value: &LoweredValue, level: u8| (value.low + value.step * i64::from(level)) as f64;
        let (mut by_product, mut scratch) = (BTreeMap::new(), Vec::new());
        for x in 0..=a.max_level {
            for y in 0..=b.max_level {
                let level = levels.level(program.value(&[code(a, x), code(b, y)], &mut scratch))?;
                if *by_product.entry(a.integer(x) * b.integer(y)).or_insert(level) != level {
                    return Err(ConvertError::new(
                        ErrorKind::Inexact,
                        "the product lies on the border between two codes and rounds to both of them, as its \
                         factors are; it has no exact integer form",
                    ));
                }
            }
        }
        Ok(by_product)
    }
}

/// A factor of a product.
#[derive(Clone, Copy)]
struct Factor {
    /// The value whose codes the expression reads.
    codes: ValueIndex,
    /// The value that the operator reads: the same, or a copy with another zero point.
    read: ValueIndex,
}

/// A scale where one is exact, otherwise a staircase, which always is.
pub(super) fn requantize(by_product: &BTreeMap<i64, u8>, max_level: u8) -> Result<Requantize, ConvertError> {
    let mut steps: Vec<(i64, u8)> = Vec::new();
    for (&product, &level) in by_product {
        if steps.last().is_none_or(|&(_, last)| last != level) {
            steps.push((product, level));
        }
    }
    if steps.len() > MAX_STEPS {
        return Err(ConvertError::new(
            ErrorKind::Inexact,
            format!("the function of the product or sum has more than {MAX_STEPS} steps"),
        ));
    }
    let last = by_product.last_key_value().map_or(0, |(&product, _)| product);
    let staircase = Staircase { steps, last };
    if let Some(fit::Scale { multipliers, bias, shift }) =
        fit::scale(std::slice::from_ref(&staircase), max_level, fit::MAX_MULTIPLIER)
    {
        return Ok(Requantize::Scale { multipliers, bias, shift });
    }
    // Products of two codes fit an i32.
    let thresholds = staircase.steps.iter().skip(1).map(|&(product, _)| product as i32).collect();
    let levels = staircase.steps.iter().map(|&(_, level)| level).collect();
    Ok(Requantize::Staircase { thresholds: vec![thresholds], levels: vec![levels] })
}
