//! Numbers of which there are few, on a grid: codes that no quantizer of equal steps makes.
//!
//! ```text
//! 2^round(log2 x)           of codes k:          {1, 2, 4, …, 128} · step
//! Σ (x > threshold) · step  of an accumulator:   {0, 1, 2, 3} · step
//! ```
//!
//! What a convolution or a sum reads must be integers of one step. Where an expression is a function of the codes of one
//! value, it takes one number for each code; where it is one of a convolution through comparisons or roundings, it takes
//! as many as there are. If all of them are multiples of one step, at most 255 of it apart, they are integers after all: a
//! table, or a staircase. The multiples are found as those of folded weights are ([`channel_grid`]), up to the rounding of
//! 32-bit floats.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use ylb_format::limits::MAX_ADDENDS;
use ylb_source::ir::{Node, TensorId};
use ylb_source::quantizer::Rounding;

use super::cut::unreachable_conv;
use super::requantize::resolution;
use super::{Feature, LoweredValue, Lowering, Segment, product};
use crate::error::ConvertError;
use crate::expr::{Binary, ConvIndex, Expr, Interval, Program, Unary, ValueIndex};
use crate::passes::grids::channel_grid;
use crate::staircase::Levels;

/// Most different numbers.
const MAX_NUMBERS: usize = 256;
/// Most looks at the function of one channel.
const MAX_EVALUATIONS: usize = 1 << 20;
/// Deepest expression that is searched for parts.
const MAX_DEPTH: usize = 64;

/// Numbers as multiples of a step.
struct Grid {
    step: f64,
    low: i64,
    max_level: u8,
}

impl Grid {
    /// The coarsest grid that holds numbers, which has a code for 0.
    fn of(numbers: &[f64]) -> Option<Self> {
        let grid = channel_grid(numbers)?;
        let low = grid.integers.iter().copied().min()?.min(0);
        let high = grid.integers.iter().copied().max()?.max(0);
        let max_level = u8::try_from(high - low).ok().filter(|&levels| levels > 0)?;
        Some(Self { step: grid.step, low: low.into(), max_level })
    }

    fn levels(&self) -> Levels {
        Levels { low: self.low, step: 1, max_level: self.max_level }
    }

    fn value(&self, shape: [usize; 3]) -> LoweredValue {
        LoweredValue {
            name: String::new(),
            shape,
            low: self.low,
            step: 1,
            max_level: self.max_level,
            zero_point: Some(0),
            scale: self.step,
            origin: None,
            accumulators: false,
        }
    }

    /// The nearest multiple of the step, counted in steps.
    fn code(&self, expr: &Rc<Expr>) -> Rc<Expr> {
        expr.binary(Binary::Div, &Expr::number(self.step)).unary(Unary::Round(Rounding::HalfEven))
    }

    fn real(&self, value: ValueIndex) -> Rc<Expr> {
        Rc::new(Expr::Codes(value)).binary(Binary::Mul, &Expr::number(self.step))
    }
}

impl Lowering<'_> {
    /// An expression before its cut, in which parts of a join that take few numbers are integers.
    pub(super) fn joinable(
        &mut self,
        node: &Node,
        shape: [usize; 3],
        expr: Rc<Expr>,
    ) -> Result<Rc<Expr>, ConvertError> {
        let leaves = expr.leaves();
        let is_linear = |part: &Rc<Expr>| self.linear(part).is_ok();
        let joined = match (leaves.values.len(), leaves.convs.len()) {
            (_, 0) => product::factors(&expr).is_none_or(|factors| factors.iter().all(is_linear)),
            (values, convs) => values == 0 && convs == 1,
        };
        if joined { Ok(expr) } else { self.on_grids(node, shape, &expr) }
    }

    /// Makes integers of a tensor's numbers where they are none yet and can be. Whoever reads it from here on reads
    /// those; what cannot be stays as it is, and is refused by who reads it.
    ///
    /// # Errors
    /// If a function gives what is no code.
    pub(super) fn bring_on_grids(&mut self, node: &Node, id: TensorId) -> Result<(), ConvertError> {
        let feature = self.feature(id)?;
        if feature.segments.iter().all(|segment| self.linear(&segment.expr).is_ok()) {
            return Ok(());
        }
        let mut segments = Vec::with_capacity(feature.segments.len());
        for Segment { channels, expr } in &feature.segments {
            let shape = [*channels, feature.height, feature.width];
            let expr = match self.linear(expr) {
                Ok(_) => Rc::clone(expr),
                Err(_) => self.on_grids(node, shape, expr)?,
            };
            segments.push(Segment { channels: *channels, expr });
        }
        let (height, width) = (feature.height, feature.width);
        self.features[id.0] =
            Some(Rc::new(Feature { segments, height, width, order: feature.order.clone() }));
        Ok(())
    }

    /// An expression with integers in the place of its largest parts that take few numbers on a grid.
    pub(super) fn on_grids(
        &mut self,
        node: &Node,
        shape: [usize; 3],
        expr: &Rc<Expr>,
    ) -> Result<Rc<Expr>, ConvertError> {
        let once = self.parts_on_grids(node, shape, expr, &mut HashMap::new(), 0)?;
        if Rc::ptr_eq(&once, expr) {
            return Ok(once);
        }
        // What was a function of convolutions may now be one of a sum of values.
        self.parts_on_grids(node, shape, &once, &mut HashMap::new(), 0)
    }

    /// The same for parts that are not `done` yet, by their address.
    fn parts_on_grids(
        &mut self,
        node: &Node,
        shape: [usize; 3],
        expr: &Rc<Expr>,
        done: &mut HashMap<*const Expr, Rc<Expr>>,
        depth: usize,
    ) -> Result<Rc<Expr>, ConvertError> {
        if let Some(done) = done.get(&Rc::as_ptr(expr)) {
            return Ok(Rc::clone(done));
        }
        let found = match self.part_on_grid(node, shape, expr)? {
            Some(found) => found,
            None if depth > MAX_DEPTH => Rc::clone(expr),
            None => match &**expr {
                Expr::Unary(function, a) => {
                    let own = self.parts_on_grids(node, shape, a, done, depth + 1)?;
                    if Rc::ptr_eq(&own, a) { Rc::clone(expr) } else { own.unary(function.clone()) }
                }
                Expr::Binary(function, a, b) => {
                    let [left, right] = [
                        self.parts_on_grids(node, shape, a, done, depth + 1)?,
                        self.parts_on_grids(node, shape, b, done, depth + 1)?,
                    ];
                    let same = Rc::ptr_eq(&left, a) && Rc::ptr_eq(&right, b);
                    if same { Rc::clone(expr) } else { left.binary(*function, &right) }
                }
                _ => Rc::clone(expr),
            },
        };
        done.insert(Rc::as_ptr(expr), Rc::clone(&found));
        Ok(found)
    }

    /// Integers for a whole expression; itself if it is a sum of them already, `None` if it is not on a grid as a whole.
    fn part_on_grid(
        &mut self,
        node: &Node,
        shape: [usize; 3],
        expr: &Rc<Expr>,
    ) -> Result<Option<Rc<Expr>>, ConvertError> {
        let leaves = expr.leaves();
        let values: Vec<ValueIndex> = leaves.values.into_iter().collect();
        let convs: Vec<ConvIndex> = leaves.convs.into_iter().collect();
        let found = match (values.as_slice(), convs.as_slice()) {
            ([], []) => return Ok(Some(Rc::clone(expr))),
            ([_, ..], []) if self.linear(expr).is_ok() => return Ok(Some(Rc::clone(expr))),
            ([_, ..], []) => match self.common_root(&values) {
                Some(root) => self.table_on_grid(node, shape, &values, root, expr)?,
                None if is_stepped(expr) => self.sum_on_grid(node, shape, &values, expr)?,
                None => None,
            },
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
        // Signs and magnitudes that were cut one by one, say.
        match self.of_one_conv(expr) {
            Some((conv, own)) if is_stepped(&own) && self.convs[conv.0].shape == shape => {
                self.staircase_on_grid(shape, conv, &own)
            }
            _ => Ok(None),
        }
    }

    /// A function of the codes of one value.
    fn table_on_grid(
        &mut self,
        node: &Node,
        [channels, ..]: [usize; 3],
        values: &[ValueIndex],
        root: ValueIndex,
        expr: &Rc<Expr>,
    ) -> Result<Option<Rc<Expr>>, ConvertError> {
        if !expr.is_uniform() || self.values[root.0].shape[0] != channels {
            return Ok(None);
        }
        let position = |value: ValueIndex| values.binary_search(&value).unwrap_or(0);
        let program = Program::compile(expr, 0, position, |_| unreachable_conv());
        let mut scratch = Vec::new();
        let number = |level: u8| program.value(&self.codes_at(values, root, level), &mut scratch);
        let numbers: Vec<f64> = (0..=self.values[root.0].max_level).map(number).collect();
        let Some(grid) = Grid::of(&numbers) else { return Ok(None) };
        let output = grid.value(self.values[root.0].shape);
        let value = self.cut_map(&node.name, root, values, &grid.code(expr), grid.levels(), output)?;
        Ok(Some(grid.real(value)))
    }

    /// A function of a sum of values through comparisons or roundings.
    fn sum_on_grid(
        &mut self,
        node: &Node,
        shape: [usize; 3],
        values: &[ValueIndex],
        expr: &Rc<Expr>,
    ) -> Result<Option<Rc<Expr>>, ConvertError> {
        if !expr.is_uniform() || values.len() > MAX_ADDENDS || self.joined_sum(values, expr).is_err() {
            return Ok(None);
        }
        let Some(mut numbers) = self.numbers_of_sum(values, expr) else { return Ok(None) };
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        let Some(grid) = Grid::of(&numbers).filter(|_| numbers.len() <= MAX_NUMBERS) else { return Ok(None) };
        let output = grid.value(shape);
        let value = self.cut_sum(&node.name, values, &grid.code(expr), grid.levels(), output)?;
        Ok(Some(grid.real(value)))
    }

    /// A function of a convolution through comparisons or roundings.
    fn staircase_on_grid(
        &mut self,
        shape: [usize; 3],
        conv: ConvIndex,
        expr: &Rc<Expr>,
    ) -> Result<Option<Rc<Expr>>, ConvertError> {
        let pending = &self.convs[conv.0];
        let mut reached = Reached::default();
        for channel in 0..shape[0] {
            let (low, high) = pending.real_range(channel);
            let resolution = resolution(low, high);
            let unit = f64::from(resolution).exp2();
            let reading = pending.reading_of_real(channel, resolution);
            let program = Program::compile(expr, channel, |_| 0, |_| reading.clone());
            let (first, last) = ((low * unit).floor() as i64 - 1, (high * unit).ceil() as i64 + 1);
            if !reached.add(&program, first, last) {
                return Ok(None);
            }
        }
        let Some(grid) = Grid::of(&reached.numbers()) else { return Ok(None) };
        let value = self.cut_conv(conv, &grid.code(expr), grid.levels(), grid.value(shape))?;
        Ok(Some(grid.real(value)))
    }
}

/// Numbers that a function takes.
#[derive(Default)]
struct Reached {
    /// Their bits.
    numbers: BTreeSet<u64>,
}

impl Reached {
    fn numbers(&self) -> Vec<f64> {
        self.numbers.iter().map(|&bits| f64::from_bits(bits)).collect()
    }

    /// Adds what a program gives for all integers of a range. `false` if that is too much, or no number.
    fn add(&mut self, program: &Program, first: i64, last: i64) -> bool {
        let (mut scratch, mut range_scratch) = (Vec::new(), Vec::new());
        let mut pending = vec![(first, last)];
        let mut evaluations = 0;
        while let Some((low, high)) = pending.pop() {
            evaluations += 1;
            let range = program.range(&[Interval { low: low as f64, high: high as f64 }], &mut range_scratch);
            let number = match low == high {
                true => Some(program.value(&[low as f64], &mut scratch)),
                false => (range.low == range.high).then_some(range.low),
            };
            match number {
                Some(number) if !number.is_finite() => return false,
                // −0 is 0.
                Some(number) => _ = self.numbers.insert((number + 0.0).to_bits()),
                None => {
                    let middle = low + (high - low) / 2;
                    pending.push((middle + 1, high));
                    pending.push((low, middle));
                }
            }
            if self.numbers.len() > MAX_NUMBERS || evaluations > MAX_EVALUATIONS {
                return false;
            }
        }
        true
    }
}

/// Whether every way from a convolution to the result goes through something that takes steps.
fn is_stepped(expr: &Rc<Expr>) -> bool {
    let mut stepped: HashMap<*const Expr, bool> = HashMap::new();
    let mut last = false;
    for node in expr.nodes() {
        let at = |operand: &Rc<Expr>| stepped.get(&Rc::as_ptr(operand)).copied().unwrap_or(false);
        last = match &*node {
            Expr::Constant(_) | Expr::Unary(Unary::Round(_) | Unary::Sign | Unary::Quantize(_), _) => true,
            Expr::Binary(Binary::Greater | Binary::GreaterOrEqual, ..) => true,
            Expr::Unary(_, a) => at(a),
            Expr::Binary(_, a, b) => at(a) && at(b),
            Expr::Conv(_) | Expr::Codes(_) => false,
        };
        stepped.insert(Rc::as_ptr(&node), last);
    }
    last
}
