//! Any other function of two values: a table of all pairs of their levels. What a sum or a product of codes says in fewer
//! numbers is said so; this is for products of functions, of codes with offsets, or of both.

use std::rc::Rc;

use ylb_format::model::Operator;

use super::{LoweredValue, Lowering, id_of};
use crate::error::ConvertError;
use crate::expr::{Expr, ValueIndex};
use crate::report::Row;
use crate::staircase::Levels;

impl Lowering<'_> {
    /// Cuts a function of two values, or of what was looked up from two; `None` if it is of more or fewer, or they do not fit
    /// together.
    pub(super) fn cut_pairs(
        &mut self,
        node_name: &str,
        values: &[ValueIndex],
        expr: &Rc<Expr>,
        levels: Levels,
        output: LoweredValue,
    ) -> Result<Option<ValueIndex>, ConvertError> {
        let mut roots: Vec<ValueIndex> = values.iter().map(|&value| self.root(value)).collect();
        roots.sort_unstable();
        roots.dedup();
        if let [first, _] = roots[..]
            && self.values[first.0].shape != output.shape
        {
            roots.reverse();
        }
        let [whole, other] = roots[..] else { return Ok(None) };
        let fits = |(&own, extent): (&usize, usize)| own == extent || own == 1;
        if self.values[whole.0].shape != output.shape
            || !self.values[other.0].shape.iter().zip(output.shape).all(fits)
            || !expr.is_uniform()
        {
            return Ok(None);
        }
        let count = |value: ValueIndex| usize::from(self.values[value.0].max_level) + 1;
        // The first of the two changes fastest, where a table's second does.
        let order = [other, whole];
        let table = self.by_combination(&order, values, expr, levels, count(whole) * count(other))?;
        let output = self.add_value(output);
        self.add_row(Row::of("PairMap", "table"), node_name, output, &[whole, other]);
        let inputs = [whole, other].map(id_of);
        self.add_node(node_name, output, Operator::PairMap { inputs, table });
        Ok(Some(output))
    }
}
