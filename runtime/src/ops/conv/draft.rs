//! A convolution before there is a plan: what was chosen to compute it, and what that wants of the plan.

use ylb_format::model::{Conv as ModelConv, Model};
use ylb_kernels::layout::Border;
use ylb_kernels::registry::Dispatch;

use super::ConvOp;
use crate::accumulators::fit_16_bits;
use crate::choice::{self, Compute, ConvChoice};
use crate::ops::lookup::LookupOp;
use crate::ops::winograd::WinogradOp;
use crate::ops::{Draft, Prepared, Setting};
use crate::plan::demand::{Demands, Planned};
use crate::requantize;

/// A convolution that is to be prepared.
pub struct ConvDraft<'a> {
    conv: &'a ModelConv,
    choice: ConvChoice,
}

impl<'a> ConvDraft<'a> {
    /// Chooses what computes a convolution; `None` if nothing can.
    pub fn new(model: &Model, conv: &'a ModelConv, dispatch: &Dispatch) -> Option<Self> {
        choice::choose(model, conv, dispatch).map(|choice| Self { conv, choice })
    }
}

impl Planned for ConvDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        let [top, left, bottom, right] = self.conv.window.padding.map(|extent| extent as usize);
        for (term, &form) in self.conv.terms.iter().zip(&self.choice.forms) {
            demands.read_as(term.input, form);
            demands.border(term.input, Border { top, left, bottom, right });
        }
    }

    fn fits_16_bits(&self, model: &Model) -> bool {
        let mut terms = self.conv.terms.iter().zip(&self.choice.codes);
        terms.all(|(term, codes)| fit_16_bits(&requantize::conv_ranges(model, term, codes)))
    }
}

impl Draft for ConvDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let (conv, choice) = (self.conv, &self.choice);
        let &Setting { model, plan, output, .. } = setting;
        match choice.compute {
            Compute::Winograd(kernel) => {
                Prepared::one(WinogradOp::new(model, conv, choice, kernel, output, plan), setting)
            }
            Compute::Lookup(kernel, planes) => {
                let op = LookupOp::new(model, conv, choice, (kernel, planes), output, plan);
                Prepared::one(op, setting)
            }
            Compute::Dense(_) | Compute::Depthwise(_) => {
                Prepared::one(ConvOp::new(model, conv, choice, output, plan), setting)
            }
        }
    }
}
