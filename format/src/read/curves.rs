//! Joins of curves.

use super::graph::value_id;
use super::staircase::staircase;
use super::{Result, Sections};
use crate::container::codes;
use crate::limits::{MAX_CURVE_OPERANDS, MAX_EXTENT, MAX_PIECES};
use crate::model::{Combine, Curve, CurveOperand, Curves, OperandFunction};
use crate::weights::to_usize;

pub(super) fn read(sections: &mut Sections<'_>) -> Result<Curves> {
    let count = sections.graph.small_count("operands of a join", MAX_CURVE_OPERANDS)?;
    let operands = (0..count).map(|_| operand(sections)).collect::<Result<_>>()?;
    let graph = &mut sections.graph;
    let offset = graph.offset();
    let combine = match graph.u8()? {
        codes::COMBINE_SUM => Combine::Sum,
        codes::COMBINE_PRODUCT => Combine::Product { shift: graph.u8()? },
        code => return Err(graph.unknown_code(offset, "join of curves", code)),
    };
    let count = graph.small_count("curves of a join", MAX_CURVE_OPERANDS)?;
    let curves = (0..count).map(|_| curve(sections)).collect::<Result<_>>()?;
    let (thresholds, levels) = staircase(&mut sections.quant)?;
    Ok(Curves { operands, combine, curves, thresholds, levels })
}

fn operand(sections: &mut Sections<'_>) -> Result<CurveOperand> {
    let Sections { graph, quant, .. } = sections;
    let input = value_id(graph)?;
    let offset = graph.offset();
    let function = match graph.u8()? {
        codes::FUNCTION_TABLE => {
            let len = usize::from(quant.u16()?);
            quant.check_count("entries of a table", len, 256)?;
            OperandFunction::Table(quant.numbers(len, i64::from_le_bytes)?)
        }
        codes::FUNCTION_CURVE => {
            let (curve, shift) = (graph.u8()?, graph.u8()?);
            let channels = quant.count("channels of a curve", to_usize(MAX_EXTENT), 16)?;
            OperandFunction::Curve {
                curve,
                multipliers: quant.numbers(channels, i64::from_le_bytes)?,
                bias: quant.numbers(channels, i64::from_le_bytes)?,
                shift,
            }
        }
        code => return Err(graph.unknown_code(offset, "function of an operand", code)),
    };
    Ok(CurveOperand { input, function })
}

fn curve(sections: &mut Sections<'_>) -> Result<Curve> {
    let width = sections.graph.u8()?;
    let quant = &mut sections.quant;
    let count = usize::from(quant.u16()?);
    quant.check_count("pieces of a curve", count, MAX_PIECES)?;
    let numbers = quant.numbers(4 * count, i64::from_le_bytes)?;
    Ok(Curve { width, pieces: numbers.as_chunks::<4>().0.to_vec() })
}
