//! Casts: to floats they change nothing, to integers they cut off what is behind the point.

use std::collections::HashMap;
use std::rc::Rc;

use ylb_source::eval;
use ylb_source::ir::Node;
use ylb_source::quantizer::Rounding;

use super::{Feature, Lowering};
use crate::error::ConvertError;
use crate::expr::{Binary, Expr, Unary};

impl Lowering<'_> {
    pub(super) fn cast(&mut self, node: &Node) -> Result<Feature, ConvertError> {
        let feature = self.feature(node.required_input(0)?)?;
        let target = eval::cast_target(node)?;
        if target.is_float() {
            return Ok(feature.as_ref().clone());
        }
        let Some((first, last)) = target.integer_range() else {
            return Err(ConvertError::unsupported(format!(
                "casts a feature map to {target}; expected floats or integers"
            )));
        };
        for segment in &feature.segments {
            for channel in 0..segment.channels {
                let range = self.code_range(&segment.expr, channel);
                if range.low <= first as f64 - 1.0 || range.high >= last as f64 + 1.0 {
                    return Err(ConvertError::unsupported(format!(
                        "casts numbers from {:.1} to {:.1} to {target}, which holds {first} to {last}; expected a \
                         Clip before it",
                        range.low, range.high
                    )));
                }
            }
        }
        if feature.segments.iter().all(|segment| is_whole(&segment.expr)) {
            return Ok(feature.as_ref().clone());
        }
        self.written_out(node, Unary::Round(Rounding::Truncate))
    }
}

/// Whether an expression gives integers by what it is made of.
fn is_whole(expr: &Rc<Expr>) -> bool {
    let mut whole: HashMap<*const Expr, bool> = HashMap::new();
    let mut last = false;
    for node in expr.nodes() {
        let at = |operand: &Rc<Expr>| whole.get(&Rc::as_ptr(operand)).copied().unwrap_or(false);
        last = match &*node {
            Expr::Codes(_) => true,
            Expr::Constant(numbers) => numbers.iter().all(|number| number.fract() == 0.0),
            Expr::Unary(Unary::Round(_) | Unary::Sign | Unary::Quantize(_), _) => true,
            Expr::Unary(Unary::Clip { low, high }, a) => {
                let bound = |bound: f64| bound.is_infinite() || bound.fract() == 0.0;
                at(a) && bound(*low) && bound(*high)
            }
            Expr::Unary(Unary::Relu | Unary::Neg | Unary::Abs, a) => at(a),
            Expr::Binary(Binary::Greater | Binary::GreaterOrEqual, ..) => true,
            Expr::Binary(Binary::Select, _, b) => at(b),
            Expr::Binary(function, a, b) => *function != Binary::Div && at(a) && at(b),
            Expr::Conv(_) | Expr::Unary(..) => false,
        };
        whole.insert(Rc::as_ptr(&node), last);
    }
    last
}
