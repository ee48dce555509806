//! A convolution before there is a plan: which family of micro-kernels computes it, and what that wants of the plan.

use ylb_format::model::{Conv as ModelConv, Model};
use ylb_kernels::layout::{Border, Form};
use ylb_kernels::registry::Dispatch;

use super::candidate::{Candidate, Chosen, Family, Problem};
use super::{depthwise, direct, lookup, winograd};
use crate::accumulators::fit_16_bits;
use crate::ops::{Draft, Prepared, Setting};
use crate::plan::demand::{Demands, Planned};
use crate::requantize;
use crate::weight_codes::WeightCodes;

/// THE list of families.
static FAMILIES: [fn(&Problem<'_>) -> Option<Candidate>; 4] =
    [direct::candidate, winograd::candidate, lookup::candidate, depthwise::candidate];

/// A convolution that is to be prepared.
pub struct ConvDraft<'a> {
    conv: &'a ModelConv,
    forms: Vec<Form>,
    codes: Vec<WeightCodes>,
    family: Box<dyn Family>,
}

impl<'a> ConvDraft<'a> {
    /// Chooses what computes a convolution; `None` if nothing can.
    pub fn new(model: &Model, conv: &'a ModelConv, dispatch: &Dispatch) -> Option<Self> {
        let problem = Problem::new(model, conv, dispatch);
        let candidates = FAMILIES.iter().filter_map(|candidate| candidate(&problem));
        let better =
            |best: Candidate, next: Candidate| if next.preference > best.preference { next } else { best };
        let Candidate { forms, coding, family, .. } = candidates.reduce(better)?;
        Some(Self { conv, forms, codes: problem.into_codes(coding), family })
    }
}

impl Planned for ConvDraft<'_> {
    fn demand(&self, demands: &mut Demands) {
        let [top, left, bottom, right] = self.conv.window.padding.map(|extent| extent as usize);
        for (term, &form) in self.conv.terms.iter().zip(&self.forms) {
            demands.read_as(term.input, form);
            demands.border(term.input, Border { top, left, bottom, right });
        }
    }

    fn fits_16_bits(&self, model: &Model) -> bool {
        let mut terms = self.conv.terms.iter().zip(&self.codes);
        // Sums of several terms have as many bits as there are.
        self.conv.requantize.is_none()
            && terms.all(|(term, codes)| fit_16_bits(&requantize::conv_ranges(model, term, codes)))
    }
}

impl Draft for ConvDraft<'_> {
    fn prepare(&self, setting: &Setting<'_>) -> Prepared {
        let chosen = Chosen { conv: self.conv, forms: &self.forms, codes: &self.codes };
        self.family.prepare(&chosen, setting)
    }
}
