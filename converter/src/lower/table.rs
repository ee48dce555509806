//! Functions of the codes of one value, as look-up tables.

use std::rc::Rc;

use ylb_format::model::Operator;

use super::cut::unreachable_conv;
use super::{LoweredValue, Lowering, id_of};
use crate::error::ConvertError;
use crate::expr::{Expr, Program, ValueIndex};
use crate::report::Row;
use crate::staircase::Levels;

impl Lowering<'_> {
    /// The one value that all others were looked up from, if there is one.
    pub(super) fn common_root(&self, values: &[ValueIndex]) -> Option<ValueIndex> {
        if let &[only] = values {
            return Some(only);
        }
        let first = self.root(*values.first()?);
        values.iter().all(|&value| self.root(value) == first).then_some(first)
    }

    /// The value that a value was looked up from, by one table or several.
    pub(super) fn root(&self, mut value: ValueIndex) -> ValueIndex {
        while let Some((source, _)) = &self.values[value.0].origin {
            value = *source;
        }
        value
    }

    /// The level of a value for a level of its root.
    pub(super) fn level_from(&self, value: ValueIndex, root: ValueIndex, level: u8) -> u8 {
        if value == root {
            return level;
        }
        match &self.values[value.0].origin {
            Some((source, table)) => table[usize::from(self.level_from(*source, root, level))],
            None => level,
        }
    }

    /// Codes of values that were looked up from one, for a level of that one.
    pub(super) fn codes_at(&self, values: &[ValueIndex], root: ValueIndex, level: u8) -> Vec<f64> {
        let code = |value: &ValueIndex| {
            let own = self.level_from(*value, root, level);
            let value = &self.values[value.0];
            (value.low + value.step * i64::from(own)) as f64
        };
        values.iter().map(code).collect()
    }

    pub(super) fn cut_map(
        &mut self,
        node_name: &str,
        root: ValueIndex,
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<ValueIndex, ConvertError> {
        let position = |value: ValueIndex| values.binary_search(&value).unwrap_or(0);
        let program = Program::compile(expr, 0, position, |_| unreachable_conv());
        let mut table = Vec::with_capacity(256);
        let mut scratch = Vec::new();
        for level in 0..=self.values[root.0].max_level {
            table.push(levels.level(program.value(&self.codes_at(values, root, level), &mut scratch))?);
        }
        let output = self.add_map(node_name, root, output, table);
        self.definitions.insert(output, Rc::clone(expr));
        Ok(output)
    }

    /// Appends a look-up of a value.
    pub(super) fn add_map(
        &mut self,
        node_name: &str,
        input: ValueIndex,
        mut output: LoweredValue,
        table: Vec<u8>,
    ) -> ValueIndex {
        output.origin = Some((input, table.clone()));
        let output = self.add_value(output);
        self.add_row(Row::of("Map", "table"), node_name, output, &[input]);
        self.add_node(node_name, output, Operator::Map { input: id_of(input), table });
        output
    }
}
