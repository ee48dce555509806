//! Requantized sums of functions of values, such as `silu(a) + silu(b)` between quantizers.
//!
//! A function of one value is a table: an integer for each of its levels, in units so fine that the sum of a combination of
//! levels tells the level that the float graph gives. Where all combinations can be looked at, that is checked; where they are
//! too many, what follows the sum is looked at, and the report bounds how near to a step the rounding of the tables can
//! matter.

use std::collections::BTreeMap;
use std::rc::Rc;

use ylb_format::limits::MAX_ADDENDS;
use ylb_format::model::Operator;

use super::cut::unreachable_conv;
use super::product::requantize;
use super::{LoweredValue, Lowering, id_of};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{Binary, Expr, Program, ValueIndex};
use crate::report::Row;
use crate::staircase::{Levels, Staircase};

/// Most combinations of levels that are looked at.
const MAX_COMBINATIONS: usize = 1 << 20;
/// The largest sum of entries, less what rounding adds.
const MAX_SUM: f64 = (i32::MAX - 8) as f64;
/// How often a coarser unit is tried.
const MAX_TRIES: i32 = 8;

/// What is summed of a value: each part, and whether it is subtracted.
type Parts = Vec<(Rc<Expr>, bool)>;

/// A sum whose addends are functions of one value each.
struct Addends {
    /// The node that is the sum.
    sum: Rc<Expr>,
    /// By value.
    of: Vec<(ValueIndex, Parts)>,
}

impl Lowering<'_> {
    /// Cuts a function of a sum of functions of values each; `None` if it is none.
    pub(super) fn cut_functions(
        &mut self,
        node_name: &str,
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<Option<ValueIndex>, ConvertError> {
        let Some(addends) = self.addends(values, expr) else { return Ok(None) };
        let roots: Vec<ValueIndex> = addends.of.iter().map(|(root, _)| *root).collect();
        if roots.iter().any(|root| self.values[root.0].shape != output.shape) {
            return Ok(None);
        }
        let reals: Vec<Vec<f64>> =
            addends.of.iter().map(|(root, parts)| self.reals(*root, parts, values)).collect();
        let largest = |table: &Vec<f64>| table.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let reach: f64 = reals.iter().map(largest).sum();
        if !(reach.is_finite() && reach > 0.0) {
            return Ok(None);
        }
        let fraction = (MAX_SUM / reach).log2().floor() as i32;
        let combinations: usize = reals.iter().map(Vec::len).product();
        let (tables, map, tie_bound) = if combinations <= MAX_COMBINATIONS {
            let exact = self.by_combination(&roots, values, expr, levels, combinations)?;
            let found = (0..MAX_TRIES).find_map(|coarser| {
                let tables = in_units(&reals, fraction - coarser);
                Some((by_sum(&tables, &exact)?, tables))
            });
            let (by_sum, tables) = found.ok_or_else(inexact)?;
            (tables, requantize(&by_sum, levels.max_level)?, 0.0)
        } else {
            let tables = in_units(&reals, fraction);
            let (by_sum, bound) = staircase(&addends.sum, expr, levels, &tables, fraction)?;
            (tables, requantize(&by_sum, levels.max_level)?, bound)
        };
        let kind = super::requantize::kind_name(&map);
        let output = self.add_value(output);
        self.add_row(Row { tie_bound, ..Row::of("AddTables", kind) }, node_name, output, &roots);
        let inputs = roots.into_iter().map(id_of).collect();
        self.add_node(node_name, output, Operator::AddTables { inputs, tables, requantize: map });
        Ok(Some(output))
    }

    /// The innermost node that reads all values, if it is a sum of functions of at most [`MAX_ADDENDS`] values.
    fn addends(&self, values: &[ValueIndex], expr: &Rc<Expr>) -> Option<Addends> {
        let sum = expr.nodes().into_iter().find(|node| node.leaves().values.iter().eq(values))?;
        let mut of: Vec<(ValueIndex, Parts)> = Vec::new();
        let mut pending = vec![(Rc::clone(&sum), false)];
        while let Some((part, minus)) = pending.pop() {
            let own: Vec<ValueIndex> = part.leaves().values.into_iter().collect();
            let Some(root) = self.common_root(&own).map(|root| self.root(root)) else {
                let Expr::Binary(function @ (Binary::Add | Binary::Sub), a, b) = &*part else { return None };
                pending.push((Rc::clone(b), minus ^ (*function == Binary::Sub)));
                pending.push((Rc::clone(a), minus));
                continue;
            };
            match of.iter_mut().find(|(known, _)| *known == root) {
                Some((_, parts)) => parts.push((part, minus)),
                None => of.push((root, vec![(part, minus)])),
            }
        }
        (2..=MAX_ADDENDS).contains(&of.len()).then_some(Addends { sum, of })
    }

    /// What is summed of a value, for each of its levels.
    pub(super) fn reals(
        &self,
        root: ValueIndex,
        parts: &[(Rc<Expr>, bool)],
        values: &[ValueIndex],
    ) -> Vec<f64> {
        let position = |value: ValueIndex| values.binary_search(&value).unwrap_or(0);
        let programs: Vec<(Program, bool)> = parts
            .iter()
            .map(|(part, minus)| (Program::compile(part, 0, position, |_| unreachable_conv()), *minus))
            .collect();
        let mut scratch = Vec::new();
        let mut real = |level: u8| {
            let codes: Vec<f64> = values.iter().map(|&value| self.code_from(value, root, level)).collect();
            let signed = programs.iter().map(|(program, minus)| {
                let x = program.value(&codes, &mut scratch);
                if *minus { -x } else { x }
            });
            signed.sum()
        };
        (0..=self.values[root.0].max_level).map(&mut real).collect()
    }

    /// The code of a value for a level of its root; of others any.
    fn code_from(&self, value: ValueIndex, root: ValueIndex, level: u8) -> f64 {
        let own = &self.values[value.0];
        let level = self.level_from(value, root, level).min(own.max_level);
        (own.low + own.step * i64::from(level)) as f64
    }

    /// The level for each combination of levels, the first value's changing fastest.
    pub(super) fn by_combination(
        &self,
        roots: &[ValueIndex],
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        combinations: usize,
    ) -> Result<Vec<u8>, ConvertError> {
        let position = |value: ValueIndex| values.binary_search(&value).unwrap_or(0);
        let program = Program::compile(expr, 0, position, |_| unreachable_conv());
        let root_of = |&value: &ValueIndex| {
            let found = roots.iter().position(|&root| self.root(value) == root);
            found.unwrap_or(0)
        };
        let owners: Vec<usize> = values.iter().map(root_of).collect();
        let counts: Vec<usize> = roots.iter().map(|r| usize::from(self.values[r.0].max_level) + 1).collect();
        let (mut scratch, mut codes) = (Vec::new(), vec![0.0; values.len()]);
        let mut result = Vec::with_capacity(combinations);
        for index in 0..combinations {
            for (code, (&value, &owner)) in codes.iter_mut().zip(values.iter().zip(&owners)) {
                let before: usize = counts[..owner].iter().product();
                let level = (index / before % counts[owner]) as u8;
                *code = self.code_from(value, roots[owner], level);
            }
            result.push(levels.level(program.value(&codes, &mut scratch))?);
        }
        Ok(result)
    }
}

/// Numbers in units of `2^−fraction`.
fn in_units(reals: &[Vec<f64>], fraction: i32) -> Vec<Vec<i32>> {
    let unit = f64::from(fraction).exp2();
    reals.iter().map(|table| table.iter().map(|x| (x * unit).round() as i32).collect()).collect()
}

/// The level for each sum of entries; `None` if one sum has two.
fn by_sum(tables: &[Vec<i32>], levels: &[u8]) -> Option<BTreeMap<i64, u8>> {
    let mut by_sum = BTreeMap::new();
    for (index, &level) in levels.iter().enumerate() {
        let (mut rest, mut sum) = (index, 0);
        for table in tables {
            sum += i64::from(table[rest % table.len()]);
            rest /= table.len();
        }
        if *by_sum.entry(sum).or_insert(level) != level {
            return None;
        }
    }
    Some(by_sum)
}

/// The level at the beginning of each step of what follows a sum, and how near to a step, in parts of the mean distance
/// between steps, rounded tables can give the other side.
fn staircase(
    sum: &Rc<Expr>,
    expr: &Rc<Expr>,
    levels: Levels,
    tables: &[Vec<i32>],
    fraction: i32,
) -> Result<(BTreeMap<i64, u8>, f64), ConvertError> {
    let end = |pick: fn(&Vec<i32>) -> Option<i32>| -> i64 {
        tables.iter().map(|table| i64::from(pick(table).unwrap_or(0))).sum()
    };
    let first = end(|table| table.iter().copied().min());
    let last = end(|table| table.iter().copied().max());
    let real =
        Rc::new(Expr::Codes(ValueIndex(0))).binary(Binary::Mul, &Expr::number(f64::from(-fraction).exp2()));
    let program = Program::compile(&expr.with_leaf(sum, &real), 0, |_: ValueIndex| 0, |_| unreachable_conv());
    let found = Staircase::find(&program, levels, first, last)?;
    let mut by_sum: BTreeMap<i64, u8> = found.steps.iter().copied().collect();
    by_sum.entry(last).or_insert_with(|| found.steps.last().map_or(0, |&(_, level)| level));
    let distance = (last - first) as f64 / found.steps.len() as f64;
    Ok((by_sum, 0.5 * tables.len() as f64 / distance.max(1.0)))
}

fn inexact() -> ConvertError {
    ConvertError::new(
        ErrorKind::Inexact,
        "the sum of functions lies so near to the border between two codes that 32-bit integers do not tell the sides \
         apart",
    )
}
