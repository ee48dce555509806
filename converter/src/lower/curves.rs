//! Joins of what nothing quantizes: sums and products of functions of accumulators, and of codes.
//!
//! ```text
//! silu(conv a) + silu(conv b) + scale · code          a shortcut of an export that quantizes the inputs of convolutions only
//! hardswish(conv a) · hardsigmoid(conv b)             its gate
//! ```
//!
//! Accumulators are kept, and each function is computed in fixed point, by a cubic in pieces. What follows the join is the
//! function of one real number, as behind a convolution over several scales: exact but for near ties, whose width the
//! report bounds.

use std::rc::Rc;

use ylb_format::limits::MAX_CURVE_OPERANDS;
use ylb_format::model::{CurveOperand, Curves, Operator};

use self::fit::Placement;
use self::fixed::{Fixed, Operand, RealFunction};
use super::conv::PendingKind;
use super::cut::{LARGE_TIE_BOUND, unreachable_conv};
use super::{LoweredValue, Lowering, id_of};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Binary, ConvIndex, Expr, Program, Unary, ValueIndex};
use crate::report::{Row, Warning, WarningKind};
use crate::staircase::{Levels, Staircase};

mod fit;
mod fixed;

/// Most factors of a product.
const MAX_FACTORS: usize = 3;
/// Parts of a step above which codes behind a join would be a matter of chance.
const MAX_TIE_BOUND: f64 = 1e-4;

/// What a part of a join is a function of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaf {
    Conv(ConvIndex),
    /// A value and what is looked up from it.
    Root(ValueIndex),
}

impl Lowering<'_> {
    /// Cuts a function of a sum or product of functions of one convolution, or of codes, each. `None` if it is none.
    pub(super) fn cut_curves(
        &mut self,
        node_name: &str,
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<Option<ValueIndex>, ConvertError> {
        let Some((value, tie_bound)) = self.cut_near(node_name, expr, levels, output)? else {
            return Ok(None);
        };
        self.tell_near_ties(node_name, tie_bound)?;
        Ok(Some(value))
    }

    /// The same, and how near to a step a number may get the neighbouring code.
    pub(super) fn cut_near(
        &mut self,
        node_name: &str,
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<Option<(ValueIndex, f64)>, ConvertError> {
        let all = expr.leaves();
        let Some(join) = expr.nodes().into_iter().find(|node| node.leaves() == all) else { return Ok(None) };
        let (parts, product) = match self.addends_of(&join) {
            Some(addends) => (addends, false),
            None => match self.factors_of(&join) {
                Some(factors) => (factors, true),
                None => return Ok(None),
            },
        };
        let Some(operands) = self.operands_of(parts, output.shape, product)? else { return Ok(None) };
        let fixed = if product { Fixed::product(&operands) } else { Fixed::sum(&operands) };
        let Some(fixed) = fixed else { return Ok(None) };
        let behind = expr.with_leaf(&join, &real_of(fixed.unit));
        if !behind.is_uniform() {
            return Ok(None);
        }
        let (thresholds, found) = staircase(&behind, levels, fixed.reach)?;
        let tie_bound = fixed.error / mean_distance(&thresholds, fixed.reach);
        let Fixed { combine, curves, functions, .. } = fixed;
        let mut join_of = Vec::with_capacity(operands.len());
        for (operand, function) in operands.iter().zip(functions) {
            let input = match operand.leaf {
                Leaf::Root(value) => value,
                Leaf::Conv(conv) => self.kept(conv),
            };
            join_of.push(CurveOperand { input: id_of(input), function });
        }
        let read: Vec<ValueIndex> = join_of.iter().map(|operand| ValueIndex(operand.input.index())).collect();
        let join = Curves { operands: join_of, combine, curves, thresholds, levels: found };
        let output = self.add_value(output);
        self.add_row(Row { tie_bound, ..Row::of("Curves", "staircase") }, node_name, output, &read);
        self.add_node(node_name, output, Operator::Curves(join));
        Ok(Some((output, tie_bound)))
    }

    fn tell_near_ties(&mut self, node_name: &str, tie_bound: f64) -> Result<(), ConvertError> {
        if tie_bound > MAX_TIE_BOUND {
            return Err(ConvertError::new(
                ErrorKind::Inexact,
                format!(
                    "joins activations that are not quantized, and their functions have corners or reaches that fixed \
                     point follows only to {tie_bound:.0e} of a step; expected a quantizer before the join"
                ),
            ));
        }
        if tie_bound > LARGE_TIE_BOUND {
            let message = format!(
                "it joins activations that are not quantized: values within {tie_bound:.0e} of a step may get the \
                 neighbouring code"
            );
            self.warnings.push(Warning::at(node_name, WarningKind::NearTies, message));
        }
        Ok(())
    }

    /// The leaf that an expression is a function of, if it is of one only.
    fn leaf_of(&self, expr: &Rc<Expr>) -> Option<Leaf> {
        let leaves = expr.leaves();
        let values: Vec<ValueIndex> = leaves.values.into_iter().collect();
        let convs: Vec<ConvIndex> = leaves.convs.into_iter().collect();
        match (&values[..], &convs[..]) {
            ([], &[conv]) => Some(Leaf::Conv(conv)),
            ([_, ..], []) => self.common_root(&values).map(|root| Leaf::Root(self.root(root))),
            _ => None,
        }
    }

    /// The parts of a sum, one for each leaf; multiples of sums are sums of multiples.
    fn addends_of(&self, sum: &Rc<Expr>) -> Option<Vec<(Leaf, Rc<Expr>)>> {
        let mut of: Vec<(Leaf, Rc<Expr>)> = Vec::new();
        let mut pending = vec![Rc::clone(sum)];
        while let Some(part) = pending.pop() {
            if let Some(leaf) = self.leaf_of(&part) {
                match of.iter_mut().find(|(own, _)| *own == leaf) {
                    Some((_, whole)) => *whole = whole.binary(Binary::Add, &part),
                    None => of.push((leaf, part)),
                }
                continue;
            }
            let constant = |x: &Rc<Expr>| matches!(**x, Expr::Constant(_));
            match &*part {
                Expr::Binary(Binary::Add, a, b) => pending.extend([Rc::clone(b), Rc::clone(a)]),
                Expr::Binary(Binary::Sub, a, b) => pending.extend([b.unary(Unary::Neg), Rc::clone(a)]),
                Expr::Unary(Unary::Neg, a) => match &**a {
                    Expr::Binary(Binary::Add, a, b) => {
                        pending.extend([b.unary(Unary::Neg), a.unary(Unary::Neg)]);
                    }
                    Expr::Binary(Binary::Sub, a, b) => pending.extend([Rc::clone(b), a.unary(Unary::Neg)]),
                    _ => return None,
                },
                Expr::Binary(times @ (Binary::Mul | Binary::Div), a, number) if constant(number) => {
                    let Expr::Binary(plus @ (Binary::Add | Binary::Sub), x, y) = &**a else { return None };
                    pending.push(x.binary(*times, number).binary(*plus, &y.binary(*times, number)));
                }
                _ => return None,
            }
            if pending.len() + of.len() > 4 * MAX_CURVE_OPERANDS {
                return None;
            }
        }
        (of.len() <= MAX_CURVE_OPERANDS).then_some(of)
    }

    /// The factors of a product of functions, one for each leaf.
    fn factors_of(&self, product: &Rc<Expr>) -> Option<Vec<(Leaf, Rc<Expr>)>> {
        let mut of: Vec<(Leaf, Rc<Expr>)> = Vec::new();
        let mut pending = vec![Rc::clone(product)];
        while let Some(part) = pending.pop() {
            match (self.leaf_of(&part), &*part) {
                (Some(leaf), _) => match of.iter_mut().find(|(own, _)| *own == leaf) {
                    Some((_, whole)) => *whole = whole.binary(Binary::Mul, &part),
                    None => of.push((leaf, part)),
                },
                (None, Expr::Binary(Binary::Mul, a, b)) => pending.extend([Rc::clone(b), Rc::clone(a)]),
                _ => return None,
            }
        }
        (of.len() <= MAX_FACTORS).then_some(of)
    }

    /// Functions of the leaves, the whole one first where the other is a gate. `None` where they do not fit together, or a
    /// function differs between channels by more than factors and addends.
    fn operands_of(
        &self,
        parts: Vec<(Leaf, Rc<Expr>)>,
        shape: [usize; 3],
        product: bool,
    ) -> Result<Option<Vec<Operand>>, ConvertError> {
        let mut placements = Vec::with_capacity(parts.len());
        for (leaf, expr) in &parts {
            let placement = match leaf {
                Leaf::Root(_) => None,
                Leaf::Conv(conv) => {
                    let pending = &self.convs[conv.0];
                    let single = pending.kind == PendingKind::Conv && pending.terms.len() == 1;
                    let found = if single { Placement::find(pending, expr) } else { None };
                    let Some(placement) = found else { return Ok(None) };
                    Some(placement)
                }
            };
            placements.push(placement);
        }
        // Addends of one function share its curve.
        let addends = placements.iter().flatten().filter(|_| !product);
        let reach = addends.map(|placement| placement.reach).fold(0.0, f64::max);
        let mut operands = Vec::with_capacity(parts.len());
        for ((leaf, expr), placement) in parts.into_iter().zip(placements) {
            let function = match (leaf, placement) {
                (Leaf::Root(root), _) => self.table_of(root, &expr).map(RealFunction::Table),
                (_, Some(placement)) => {
                    let fitted = placement.reaching(reach).fitted(product)?;
                    fitted.map(|own| RealFunction::Curve(Box::new(own)))
                }
                (_, None) => None,
            };
            let Some(function) = function else { return Ok(None) };
            operands.push(Operand { leaf, function });
        }
        let shape_of = |operand: &Operand| match operand.leaf {
            Leaf::Root(value) => self.values[value.0].shape,
            Leaf::Conv(conv) => self.convs[conv.0].shape,
        };
        operands.sort_by_key(|operand| shape_of(operand) != shape);
        let fits = operands.iter().enumerate().all(|(index, operand)| {
            let own = shape_of(operand);
            let gate = own.iter().zip(shape).all(|(&own, all)| own == 1 || own == all);
            own == shape || (product && index > 0 && gate)
        });
        Ok(fits.then_some(operands))
    }

    /// The number for each level of a value; `None` where channels differ.
    fn table_of(&self, root: ValueIndex, expr: &Rc<Expr>) -> Option<Vec<f64>> {
        if !expr.is_uniform() {
            return None;
        }
        let values: Vec<ValueIndex> = expr.leaves().values.into_iter().collect();
        Some(self.reals(root, &[(Rc::clone(expr), false)], &values))
    }

    /// The accumulators of a convolution, which are computed once.
    fn kept(&mut self, conv: ConvIndex) -> ValueIndex {
        if let Some(&kept) = self.kept.get(&conv) {
            return kept;
        }
        let pending = self.convs[conv.0].clone();
        let kept = self.add_value(LoweredValue::accumulators(pending.shape));
        self.emit_conv(conv, kept, pending.operator(None), "");
        self.kept.insert(conv, kept);
        kept
    }
}

/// A real number of which an integer is so many units.
fn real_of(unit: f64) -> Rc<Expr> {
    Rc::new(Expr::Codes(ValueIndex(0))).binary(Binary::Mul, &Expr::number(unit))
}

/// Thresholds of what follows a join, and levels.
fn staircase(behind: &Rc<Expr>, levels: Levels, reach: i64) -> Result<(Vec<i64>, Vec<u8>), ConvertError> {
    let program = Program::compile(behind, 0, |_: ValueIndex| 0, |_| unreachable_conv());
    let found = Staircase::find(&program, levels, -reach, reach)?;
    let thresholds = found.steps.iter().skip(1).map(|&(start, _)| start).collect();
    Ok((thresholds, found.steps.iter().map(|&(_, level)| level).collect()))
}

/// The mean distance between steps.
fn mean_distance(thresholds: &[i64], reach: i64) -> f64 {
    match thresholds {
        [first, .., last] => (last - first) as f64 / (thresholds.len() - 1) as f64,
        // A single step is compared with all that there is.
        _ => 2.0 * reach as f64,
    }
}
