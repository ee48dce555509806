//! Joins of curves, as the documentation of the model says it.

use ylb_format::model::{Combine, Curve, CurveOperand, Curves, OperandFunction, Value};

use super::{Execution, extents};

impl Execution<'_> {
    /// Levels of a sum or product of functions.
    pub(super) fn joined(&self, join: &Curves, output: &Value) -> Vec<u8> {
        let [channels, height, width] = extents(output);
        let level = |index: usize| {
            let number = |operand: &CurveOperand| {
                let at = self.partner(operand.input, [height, width])(index);
                i128::from(self.operand(join, operand, at))
            };
            let joined = match join.combine {
                Combine::Sum => join.operands.iter().map(number).sum::<i128>(),
                Combine::Product { shift } => {
                    let numbers = join.operands.iter().map(number);
                    numbers.reduce(|product, own| (product * own) >> shift).unwrap_or(0)
                }
            };
            join.levels[join.thresholds.iter().filter(|&&threshold| i128::from(threshold) <= joined).count()]
        };
        (0..channels * height * width).map(level).collect()
    }

    /// The function of an element of an operand.
    fn operand(&self, join: &Curves, operand: &CurveOperand, at: usize) -> i64 {
        match &operand.function {
            OperandFunction::Table(table) => table[usize::from(self.levels(operand.input)[at])],
            OperandFunction::Curve { curve, multipliers, bias, shift } => {
                let [_, height, width] = extents(self.model.value(operand.input));
                let channel = at / (height * width);
                let accumulator = i128::from(self.accumulators(operand.input)[at]);
                let x =
                    ((accumulator * i128::from(multipliers[channel])) >> shift) + i128::from(bias[channel]);
                value(&join.curves[usize::from(*curve)], x) as i64
            }
        }
    }
}

/// A curve at a place.
fn value(curve: &Curve, x: i128) -> i128 {
    let width = curve.width;
    let piece = (x >> width).clamp(0, curve.pieces.len() as i128 - 1);
    let d = x - (piece << width);
    let [k0, k1, k2, k3] = curve.pieces[piece as usize].map(i128::from);
    k0 + ((d * (k1 + ((d * (k2 + ((d * k3) >> width))) >> width))) >> width)
}
