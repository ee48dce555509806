//! Joins of curves: that every number is computed in 64 bits, but for products before a shift.

use super::graph::{find, input_count, input_shape, output};
use super::{NodeProblem, requantize};
use crate::limits::{MAX_CURVE_OPERANDS, MAX_PIECE_WIDTH, MAX_PIECES, MAX_SHIFT};
use crate::model::{Combine, Conv, Curve, CurveOperand, Curves, Model, OperandFunction, Operator, Value};
use crate::weights::to_usize;

/// Most operands of a product.
const MAX_FACTORS: usize = 3;
/// What an operand, and what a curve is looked at, may reach.
const MAX_REACH: i128 = 1 << 58;

pub(super) fn validate(model: &Model, join: &Curves, written: &Value) -> Result<(), NodeProblem> {
    let output = output(written)?;
    let (least, most) = match join.combine {
        Combine::Sum => (1, MAX_CURVE_OPERANDS),
        Combine::Product { .. } => (2, MAX_FACTORS),
    };
    input_count(join.operands.len(), least, most)?;
    join.curves.iter().zip(0u8..).try_for_each(|(curve, index)| pieces(curve, index))?;
    let mut reaches = Vec::with_capacity(join.operands.len());
    for (index, operand) in join.operands.iter().enumerate() {
        let value = find(model, operand.input)?;
        let shape = written.shape();
        let gate = index > 0 && matches!(join.combine, Combine::Product { .. });
        let fits = |(&own, whole): (&u32, u32)| own == whole || (gate && own == 1);
        if !value.shape().iter().zip(shape).all(fits) {
            input_shape(index, shape, value)?;
        }
        reaches.push(reach(index, operand, (value, accumulators(model, operand)), &join.curves)?);
    }
    if let Combine::Product { shift } = join.combine {
        if shift > MAX_SHIFT {
            return Err(NodeProblem::Shift { shift, limit: MAX_SHIFT });
        }
        let mut product = reaches.first().copied().unwrap_or(0);
        for (index, reach) in reaches.iter().enumerate().skip(1) {
            // A shift rounds down, and the magnitude of a negative number up.
            product = ((product * reach) >> shift) + 1;
            if product > MAX_REACH {
                return Err(NodeProblem::CurveRange { input: index });
            }
        }
    }
    requantize::staircase(0, &join.thresholds, &join.levels, output.encoding)
}

/// Pieces by themselves.
fn pieces(curve: &Curve, index: u8) -> Result<(), NodeProblem> {
    let &Curve { width, ref pieces } = curve;
    if width > MAX_PIECE_WIDTH || !(1..=MAX_PIECES).contains(&pieces.len()) {
        return Err(NodeProblem::Pieces { curve: index, pieces: pieces.len(), width });
    }
    let ends = [pieces.first(), pieces.last()];
    if ends.into_iter().flatten().any(|&[_, _, square, cube]| (square, cube) != (0, 0)) {
        return Err(NodeProblem::CurveEnds { curve: index });
    }
    // What is multiplied with a distance of less than 2^width.
    let rest = |piece: &[i64; 4]| piece.iter().skip(1).map(|k| i128::from(k.unsigned_abs())).sum::<i128>();
    match pieces.iter().find(|piece| rest(piece) >= 1 << (62 - width)) {
        None => Ok(()),
        Some(_) => Err(NodeProblem::Pieces { curve: index, pieces: pieces.len(), width }),
    }
}

/// The largest magnitude of a convolution's accumulators, as far as its weights tell it.
fn accumulators(model: &Model, operand: &CurveOperand) -> i128 {
    let writer = model.nodes.iter().find(|node| node.output == operand.input);
    let of_weights = writer.and_then(|writer| match &writer.operator {
        Operator::Conv(Conv { terms, requantize: None, .. }) => {
            let term = terms.first()?;
            let input = model.values.get(to_usize(term.input.0))?.encoding()?;
            let sums = term.weights.channel_sums();
            Some(i128::from(sums.iter().map(|sum| sum.magnitude).max()? * input.max_magnitude()))
        }
        _ => None,
    });
    of_weights.unwrap_or(1 << 31)
}

/// The largest magnitude that an operand has.
fn reach(
    input: usize,
    operand: &CurveOperand,
    (value, accumulators): (&Value, i128),
    curves: &[Curve],
) -> Result<i128, NodeProblem> {
    let largest = |numbers: &[i64]| numbers.iter().map(|k| i128::from(k.unsigned_abs())).max().unwrap_or(0);
    let reach = match (&operand.function, value.encoding()) {
        (OperandFunction::Table(table), Some(encoding)) => {
            let levels = usize::from(encoding.max_level) + 1;
            if table.len() != levels {
                return Err(NodeProblem::TableLen { len: table.len(), levels });
            }
            largest(table)
        }
        (OperandFunction::Curve { curve, multipliers, bias, shift }, None) => {
            let channels = to_usize(value.channels);
            if multipliers.len() != channels {
                return Err(NodeProblem::MultipliersLen { len: multipliers.len(), terms: 1, channels });
            }
            if bias.len() != channels {
                return Err(NodeProblem::BiasLen { len: bias.len(), channels });
            }
            if *shift > MAX_SHIFT {
                return Err(NodeProblem::Shift { shift: *shift, limit: MAX_SHIFT });
            }
            let Some(own) = curves.get(usize::from(*curve)) else {
                return Err(NodeProblem::UnknownCurve { input, curve: *curve, curves: curves.len() });
            };
            // A shift rounds down, and the magnitude of a negative number up.
            let place = (((largest(multipliers) * accumulators) >> shift) + 1) + largest(bias);
            if place > MAX_REACH {
                return Err(NodeProblem::CurveRange { input });
            }
            along(own, place)
        }
        (OperandFunction::Table(_), None) => {
            return Err(NodeProblem::InputIsAccumulators { value: operand.input.0 });
        }
        (OperandFunction::Curve { .. }, Some(_)) => return Err(NodeProblem::InputIsLevels { input }),
    };
    if reach > MAX_REACH { Err(NodeProblem::CurveRange { input }) } else { Ok(reach) }
}

/// The largest magnitude of a curve up to a place.
fn along(curve: &Curve, place: i128) -> i128 {
    let width = curve.width;
    let last = curve.pieces.len() - 1;
    let all = (i128::try_from(curve.pieces.len()).unwrap_or(i128::MAX)) << width;
    let of_piece = |(index, piece): (usize, &[i64; 4])| {
        let [own, line, ..] = piece.map(|k| i128::from(k.unsigned_abs()));
        if index == 0 || index == last {
            // As far as the place is from the piece's beginning.
            own + ((line * (place + all)) >> width) + 1
        } else {
            piece.iter().map(|k| i128::from(k.unsigned_abs())).sum::<i128>() + 3
        }
    };
    curve.pieces.iter().enumerate().map(of_piece).max().unwrap_or(0)
}
