//! Requantized sums of two to four values, checked over every combination of their levels.

use std::collections::BTreeMap;
use std::rc::Rc;

use ylb_format::model::{Operator, Requantize};

use super::cut::unreachable_conv;
use super::linear::{Addend, Linear};
use super::{LoweredValue, Lowering, id_of, too_large};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Binary, Expr, Program, ValueIndex};
use crate::report::Row;
use crate::staircase::{Levels, MAX_STEPS};

/// Most combinations of levels that are looked at.
const MAX_COMBINATIONS: usize = 1 << 20;
/// Bits of the largest multiplier.
const MULTIPLIER_BITS: i32 = 30;

/// A sum's function as a list: one entry for each combination of levels.
struct Combinations {
    /// Integers of the addends.
    integers: Vec<Vec<i64>>,
    /// Level of the result.
    levels: Vec<u8>,
    /// What one integer of each addend stands for.
    scales: Vec<f64>,
}

impl Lowering<'_> {
    /// Whether a function of values is one of a sum of them with a scale each.
    pub(super) fn linear_sum(&self, expr: &Rc<Expr>) -> bool {
        sum_below(expr).and_then(|sum| self.linear(&sum)).is_ok()
    }

    /// Cuts a function of a sum of functions of values, or says why it is none.
    pub(super) fn cut_functions_or_sum(
        &mut self,
        node_name: &str,
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        match self.cut_functions(node_name, values, expr, levels, output.clone())? {
            Some(value) => Ok(value),
            None => self.cut_sum(node_name, values, expr, levels, output),
        }
    }

    pub(super) fn cut_sum(
        &mut self,
        node_name: &str,
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        for value in values {
            self.values[value.0].zero_point.get_or_insert(0);
        }
        let addends = self.joined_sum(values, expr)?.addends;
        let combinations = self.combinations(values, &addends, expr, levels)?;
        let requantize =
            combinations.scale(levels.max_level).or_else(|| combinations.staircase()).ok_or_else(|| {
                ConvertError::new(
                    ErrorKind::Inexact,
                    "the sum has no exact integer form with 31-bit multipliers",
                )
            })?;
        let inputs = values.iter().map(|&value| id_of(value)).collect();
        let output = self.add_value(output);
        let kind = super::requantize::kind_name(&requantize);
        self.add_row(Row::of("Add", kind), node_name, output, values);
        self.add_node(node_name, output, Operator::Add { inputs, requantize });
        Ok(output)
    }

    /// The sum that an expression of several values is a function of: the innermost part that reads them all.
    pub(super) fn joined_sum(&self, values: &[ValueIndex], expr: &Rc<Expr>) -> Result<Linear, ConvertError> {
        let reads_all = |node: &Rc<Expr>| node.leaves().values.iter().eq(values);
        if let Some(sum) = expr.nodes().into_iter().find(reads_all)
            && let Ok(linear) = self.linear(&sum)
        {
            return Ok(linear);
        }
        self.linear(&sum_below(expr)?)
    }

    /// The numbers that a function of a sum takes, for all levels of its values.
    pub(super) fn numbers_of_sum(&self, values: &[ValueIndex], expr: &Rc<Expr>) -> Option<Vec<f64>> {
        let counts: Vec<usize> = values.iter().map(|v| usize::from(self.values[v.0].max_level) + 1).collect();
        let total = counts.iter().try_fold(1usize, |product, &count| product.checked_mul(count))?;
        let position = |value: ValueIndex| values.binary_search(&value).unwrap_or(0);
        let program = Program::compile(expr, 0, position, |_| unreachable_conv());
        let (mut scratch, mut numbers) = (Vec::new(), Vec::new());
        for index in 0..Some(total).filter(|&total| total <= MAX_COMBINATIONS)? {
            let mut rest = index;
            let codes: Vec<f64> = values
                .iter()
                .zip(&counts)
                .map(|(value, count)| {
                    let (value, level) = (&self.values[value.0], (rest % count) as i64);
                    rest /= count;
                    (value.low + value.step * level) as f64
                })
                .collect();
            numbers.push(program.value(&codes, &mut scratch));
        }
        Some(numbers)
    }

    fn combinations(
        &self,
        values: &[ValueIndex],
        addends: &[Addend],
        expr: &Rc<Expr>,
        levels: Levels,
    ) -> Result<Combinations, ConvertError> {
        let counts: Vec<usize> = values.iter().map(|v| usize::from(self.values[v.0].max_level) + 1).collect();
        let total: usize = counts.iter().product();
        if total > MAX_COMBINATIONS {
            return Err(too_large(format!(
                "a sum of {} values with {total} combinations of levels",
                values.len()
            )));
        }
        let position = |value: ValueIndex| values.binary_search(&value).unwrap_or(0);
        let program = Program::compile(expr, 0, position, |_| unreachable_conv());
        let mut result = Combinations { integers: Vec::new(), levels: Vec::new(), scales: Vec::new() };
        for value in values {
            let scale = addends.iter().find(|addend| addend.value == *value).map(|a| a.scale);
            result
                .scales
                .push(scale.ok_or_else(|| ConvertError::unsupported("expected a sum of quantized values"))?);
        }
        let mut scratch = Vec::new();
        for index in 0..total {
            let mut rest = index;
            let mut codes = Vec::with_capacity(values.len());
            let mut integers = Vec::with_capacity(values.len());
            for (value, count) in values.iter().zip(&counts) {
                let value = &self.values[value.0];
                let level = (rest % count) as u8;
                rest /= count;
                codes.push((value.low + value.step * i64::from(level)) as f64);
                integers.push(value.integer(level));
            }
            result.levels.push(levels.level(program.value(&codes, &mut scratch))?);
            result.integers.push(integers);
        }
        Ok(result)
    }
}

/// The sum under rounding, clamps, activations and uniform constants.
fn sum_below(expr: &Rc<Expr>) -> Result<Rc<Expr>, ConvertError> {
    let mut current = Rc::clone(expr);
    loop {
        let next = match &*current {
            Expr::Unary(_, a) => Rc::clone(a),
            Expr::Binary(function, a, b) => match (&**a, &**b) {
                (_, Expr::Constant(_)) => Rc::clone(a),
                (Expr::Constant(_), _) => Rc::clone(b),
                _ if matches!(function, Binary::Add | Binary::Sub) => return Ok(current),
                _ => {
                    return Err(ConvertError::unsupported(format!(
                        "{function} of quantized values; expected a sum"
                    )));
                }
            },
            _ => return Err(ConvertError::unsupported("expected a sum of quantized values")),
        };
        current = next;
    }
}

impl Combinations {
    /// Integer factors in the ratio of the scales, the largest below `2^bits`.
    fn factors(&self, per_unit: f64) -> Vec<i64> {
        self.scales.iter().map(|scale| (scale * per_unit).round() as i64).collect()
    }

    fn weighted(&self, factors: &[i64]) -> Vec<i64> {
        let dot = |integers: &Vec<i64>| integers.iter().zip(factors).map(|(a, b)| a * b).sum();
        self.integers.iter().map(dot).collect()
    }

    /// A scale that gives every combination's level, if there is one.
    fn scale(&self, max_level: u8) -> Option<Requantize> {
        let (low, high) = self.slopes(max_level)?;
        let slope = (low + high) / 2.0;
        let largest = self.scales.iter().copied().fold(0.0, f64::max) * slope;
        let shift = (f64::from(MULTIPLIER_BITS) - largest.log2()).floor().clamp(0.0, 50.0) as u8;
        let multipliers = self.factors(slope * f64::from(shift).exp2());
        let sums = self.weighted(&multipliers);
        // Each combination bounds the bias from below (its level is reached) and above (no more).
        let (mut least, mut most) = (i64::MIN, i64::MAX);
        for (&sum, &level) in sums.iter().zip(&self.levels) {
            let reached = i64::from(level) << shift;
            if level > 0 {
                least = least.max(reached - sum);
            }
            if level < max_level {
                most = most.min(reached + (1 << shift) - 1 - sum);
            }
        }
        let bias = match (least, most) {
            (i64::MIN, i64::MAX) => 0,
            (i64::MIN, most) => most,
            (least, i64::MAX) => least,
            _ if least > most => return None,
            _ => least + (most - least) / 2,
        };
        let multipliers = multipliers.into_iter().map(i32::try_from).collect::<Result<_, _>>().ok()?;
        Some(Requantize::Scale { multipliers, bias: vec![bias], shift })
    }

    /// Bounds of the levels per real unit of the sum: no pair of combinations may contradict them.
    fn slopes(&self, max_level: u8) -> Option<(f64, f64)> {
        let real = |integers: &Vec<i64>| -> f64 {
            integers.iter().zip(&self.scales).map(|(a, b)| *a as f64 * b).sum()
        };
        // Lowest sum that reaches a level, highest sum that stays below it.
        let mut reached: BTreeMap<u8, f64> = BTreeMap::new();
        let mut below: BTreeMap<u8, f64> = BTreeMap::new();
        for (integers, &level) in self.integers.iter().zip(&self.levels) {
            let sum = real(integers);
            let least = reached.entry(level).or_insert(sum);
            *least = least.min(sum);
            let most = below.entry(level).or_insert(sum);
            *most = most.max(sum);
        }
        let (mut low, mut high) = (0.0f64, f64::INFINITY);
        for (&k, &least) in reached.iter().filter(|&(&k, _)| k > 0) {
            for (&l, &most) in below.iter().filter(|&(&l, _)| l < max_level) {
                let (distance, levels) = (most - least, f64::from(l) + 1.0 - f64::from(k));
                if distance > 0.0 {
                    high = high.min(levels / distance);
                } else if distance < 0.0 {
                    low = low.max(levels / distance);
                }
            }
        }
        (low <= high && high.is_finite() && high > 0.0).then_some((low, high))
    }

    /// Thresholds on the scaled sum; always exact where the level is a function of it.
    fn staircase(&self) -> Option<Requantize> {
        let largest = self.scales.iter().copied().fold(0.0, f64::max);
        let equal = self.scales.iter().all(|&scale| scale == largest);
        let per_unit = if equal { 1.0 } else { f64::from(MULTIPLIER_BITS).exp2() } / largest;
        let multipliers = self.factors(per_unit);
        let mut by_sum: BTreeMap<i64, u8> = BTreeMap::new();
        for (sum, &level) in self.weighted(&multipliers).into_iter().zip(&self.levels) {
            if *by_sum.entry(sum).or_insert(level) != level {
                return None;
            }
        }
        let (mut thresholds, mut levels): (Vec<i64>, Vec<u8>) = (Vec::new(), Vec::new());
        for (sum, level) in by_sum {
            match levels.last() {
                Some(&last) if last == level => {}
                Some(_) => {
                    thresholds.push(sum);
                    levels.push(level);
                }
                None => levels.push(level),
            }
        }
        let multipliers = multipliers.into_iter().map(i32::try_from).collect::<Result<_, _>>().ok()?;
        (thresholds.len() <= MAX_STEPS).then_some(Requantize::ScaledStaircase {
            multipliers,
            bias: vec![0],
            thresholds,
            levels,
        })
    }
}
