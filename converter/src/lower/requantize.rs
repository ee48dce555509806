//! The exact requantization of a convolution.

use std::rc::Rc;

use ylb_format::model::Requantize;

use super::{Lowering, PendingConv};
use crate::error::{ConvertError, ErrorKind};
use crate::expr::{ConvIndex, Expr, Program, ValueIndex};
use crate::fit;
use crate::staircase::{Levels, Staircase};

impl Lowering<'_> {
    /// Accumulators of a convolution to the levels that an expression of it gives.
    pub(super) fn requantize(
        &self,
        conv: ConvIndex,
        expr: &Rc<Expr>,
        levels: Levels,
    ) -> Result<Requantize, ConvertError> {
        let conv = &self.convs[conv.0];
        let [term] = conv.terms.as_slice() else {
            return Err(ConvertError::new(
                ErrorKind::Unsupported,
                format!(
                    "convolution \"{}\" reads values of {} different scales; expected one scale, or \
                     a quantizer behind the sum or concat",
                    conv.name,
                    conv.terms.len()
                ),
            ));
        };
        let mut staircases = Vec::with_capacity(conv.shape[0]);
        for (channel, &(first, last)) in term.ranges.iter().enumerate() {
            let program = compile(conv, expr, channel);
            staircases.push(Staircase::find(&program, levels, first, last)?);
        }
        Ok(smallest(staircases, levels.max_level))
    }
}

fn compile(conv: &PendingConv, expr: &Rc<Expr>, channel: usize) -> Program {
    Program::compile(expr, channel, |_: ValueIndex| 0, |_| conv.reading(channel))
}

/// The form of staircases that takes the fewest bytes.
fn smallest(staircases: Vec<Staircase>, max_level: u8) -> Requantize {
    const SCALE_BYTES: usize = 12;
    let table_bytes = |staircase: &Staircase| 5 * staircase.steps.len() + 4;
    let tables: usize = staircases.iter().map(table_bytes).sum();
    if SCALE_BYTES * staircases.len() <= tables
        && let Some(scale) = fit::scale(&staircases, max_level)
    {
        let fit::Scale { multipliers, bias, shift } = scale;
        return Requantize::Scale { multipliers, bias, shift };
    }
    let (mut thresholds, mut levels) = (Vec::new(), Vec::new());
    for staircase in staircases {
        // Starts are reachable accumulators, which fit an i32.
        thresholds.push(staircase.steps.iter().skip(1).map(|&(start, _)| start as i32).collect());
        levels.push(staircase.steps.iter().map(|&(_, level)| level).collect());
    }
    Requantize::Staircase { thresholds, levels }
}

/// A requantization's name in tables.
pub(super) fn kind_name(requantize: &Requantize) -> &'static str {
    match requantize {
        Requantize::Scale { .. } => "scale",
        Requantize::Staircase { .. } => "staircase",
        Requantize::ScaledStaircase { .. } => "scaled staircase",
    }
}
