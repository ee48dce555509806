//! Quantizers inside the function of one accumulator, such as that of the sigmoid in `x · q(sigmoid(x))`.
//!
//! A quantizer cuts: its codes become a value. Where what reads them reads the convolution before them as well, both
//! depend on the same accumulator, and the codes are what their quantizer computes of it, once more, in the middle
//! of the
//! function. Nothing is assumed about that function: it is a staircase like any other, which may fall where it is a
//! product. If nothing else reads the value, it is removed in the end.

use std::rc::Rc;

use super::Lowering;
use crate::expr::{ConvIndex, Expr};

/// Most quantizers one inside another.
const MAX_DEPTH: usize = 16;

impl Lowering<'_> {
    /// An expression of one convolution and of values as one of the convolution alone, where the values were cut
    /// from it.
    pub(super) fn of_one_accumulator(&self, expr: &Rc<Expr>) -> Option<Rc<Expr>> {
        let leaves = expr.leaves();
        let only: Vec<ConvIndex> = leaves.convs.into_iter().collect();
        if only.len() != 1 || leaves.values.is_empty() {
            return None;
        }
        self.of_one_conv(expr).filter(|(conv, _)| *conv == only[0]).map(|(_, own)| own)
    }

    /// An expression as one of a single convolution, where all its values were cut from that.
    pub(super) fn of_one_conv(&self, expr: &Rc<Expr>) -> Option<(ConvIndex, Rc<Expr>)> {
        let mut own = Rc::clone(expr);
        for _ in 0..MAX_DEPTH {
            let leaves = own.leaves();
            let known = leaves.values.iter().all(|value| self.definitions.contains_key(value));
            let mut convs = leaves.convs.into_iter();
            match (convs.next(), convs.next(), leaves.values.is_empty()) {
                (Some(conv), None, true) => return Some((conv, own)),
                (_, None, false) if known => {}
                _ => return None,
            }
            own = own.substitute(|leaf| match leaf {
                Expr::Codes(value) => self.definitions.get(value).cloned(),
                _ => None,
            });
        }
        None
    }
}
