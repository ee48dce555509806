//! Joins of curves.

use super::Sections;
use super::section::narrow;
use crate::container::codes;
use crate::model::{Combine, Curves, OperandFunction};

impl Sections {
    pub(super) fn curves(&mut self, curves: &Curves) {
        self.graph.small_count(curves.operands.len());
        for operand in &curves.operands {
            self.graph.u32(operand.input.0);
            match &operand.function {
                OperandFunction::Table(table) => {
                    self.graph.u8(codes::FUNCTION_TABLE);
                    self.quant.u16(narrow(table.len()));
                    self.quant.numbers(table, i64::to_le_bytes);
                }
                OperandFunction::Curve { curve, multipliers, bias, shift } => {
                    self.graph.u8(codes::FUNCTION_CURVE);
                    self.graph.u8(*curve);
                    self.graph.u8(*shift);
                    self.quant.count(multipliers.len());
                    self.quant.numbers(multipliers, i64::to_le_bytes);
                    self.quant.numbers(bias, i64::to_le_bytes);
                }
            }
        }
        match curves.combine {
            Combine::Sum => self.graph.u8(codes::COMBINE_SUM),
            Combine::Product { shift } => {
                self.graph.u8(codes::COMBINE_PRODUCT);
                self.graph.u8(shift);
            }
        }
        self.graph.small_count(curves.curves.len());
        for curve in &curves.curves {
            self.graph.u8(curve.width);
            self.quant.u16(narrow(curve.pieces.len()));
            curve.pieces.iter().for_each(|piece| self.quant.numbers(piece, i64::to_le_bytes));
        }
        self.quant.staircase(&curves.thresholds, &curves.levels);
    }
}
