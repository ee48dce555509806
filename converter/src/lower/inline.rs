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
        let mut own = Rc::clone(expr);
        for _ in 0..MAX_DEPTH {
            own = own.substitute(|leaf| match leaf {
                Expr::Codes(value) => self.definitions.get(value).cloned(),
                _ => None,
            });
            let leaves = own.leaves();
            if !leaves.convs.iter().eq(&only)
                || !leaves.values.iter().all(|v| self.definitions.contains_key(v))
            {
                return None;
            }
            if leaves.values.is_empty() {
                return Some(own);
            }
        }
        None
    }
}
