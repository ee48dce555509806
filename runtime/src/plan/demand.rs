//! What operators want of the plan: in which forms, and with what border, they read values.

use ylb_format::model::{Model, Operator, ValueId};
use ylb_kernels::layout::{Border, Form};

use super::placement::Placement;

/// An operator's demands. Those that nothing is said about read whatever there is.
pub trait Planned {
    /// What it needs.
    fn demand(&self, _demands: &mut Demands) {}

    /// What it would like, when it is known what all operators need.
    fn wish(&self, _demands: &mut Demands, _read_as: &FormsRead) {}

    /// Whether the accumulators that it writes fit 16 bits.
    fn fits_16_bits(&self, _model: &Model) -> bool {
        false
    }
}

/// The forms of values, as far as they are known.
pub struct Demands(Vec<Demand>);

/// What the plan gathers about a value before it makes stores.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// The forms that it is kept in.
    pub forms: Vec<Form>,
    /// The border around it.
    pub border: Border,
    /// Whether an operator goes through its levels one by one, for which bytes are best.
    by_level: bool,
    /// For slices: whether they are read in whatever form their input has.
    pub any_form: bool,
}

/// By value, the forms in which it has to be read, be it as a part of a concat, or a slice of it.
pub struct FormsRead(Vec<Vec<Form>>);

impl Demands {
    /// Those of all operators, in the order of the model's nodes.
    pub(super) fn gather<'a>(
        model: &Model,
        operators: impl Iterator<Item = &'a dyn Planned> + Clone,
    ) -> Self {
        let mut demands = Self(vec![Demand::default(); model.values.len()]);
        operators.clone().for_each(|operator| operator.demand(&mut demands));
        // The picture is written as bytes, and quantized heads are read as bytes.
        demands.read_as(model.input.value, Form::Bytes);
        for part in model.detect.parts() {
            demands.read_as(part.value, Form::Bytes);
        }
        let forms = FormsRead::new(model, &demands);
        operators.for_each(|operator| operator.wish(&mut demands, &forms));
        demands
    }

    /// What is read of slices is read of their inputs, too. A slice that lies in a concat is copied there.
    pub(super) fn through_slices(mut self, model: &Model, placements: &[Option<Placement>]) -> Self {
        for node in model.nodes.iter().rev() {
            let Operator::Slice { input, first } = node.operator else { continue };
            let demand = self.0[node.output.index()].clone();
            if placements[node.output.index()].is_some() {
                self.by_level(input);
                continue;
            }
            for &form in &demand.forms {
                let groups = form == Form::Bytes || first.is_multiple_of(8);
                if groups {
                    self.read_as(input, form);
                } else {
                    self.by_level(input);
                }
            }
            if demand.by_level {
                self.by_level(input);
            }
            self.0[node.output.index()].any_form = demand.forms.is_empty();
            self.border(input, demand.border);
        }
        self
    }

    /// A value has to be kept in a form.
    pub fn read_as(&mut self, value: ValueId, form: Form) {
        let forms = &mut self.0[value.index()].forms;
        if !forms.contains(&form) {
            forms.push(form);
        }
    }

    /// A value needs a border.
    pub fn border(&mut self, value: ValueId, border: Border) {
        let whole = &mut self.0[value.index()].border;
        *whole = whole.max(border);
    }

    /// A value is read level by level.
    pub fn by_level(&mut self, value: ValueId) {
        self.0[value.index()].by_level = true;
    }

    /// A value is best kept in a form, unless another one is needed.
    pub fn prefer(&mut self, value: ValueId, form: Form) {
        let forms = &mut self.0[value.index()].forms;
        if forms.is_empty() {
            forms.push(form);
        }
    }

    /// Values that share a buffer share its border, and those that nobody reads by themselves need no copy
    /// of their own.
    pub(super) fn settle(mut self, placements: &[Option<Placement>]) -> Vec<Demand> {
        for (demand, placement) in self.0.iter_mut().zip(placements) {
            if demand.forms.is_empty() && (demand.by_level || placement.is_none()) {
                demand.forms.push(Form::Bytes);
            }
            // Planes first: micro-kernels write them, and bytes are made of them.
            demand.forms.sort();
        }
        for (value, placement) in placements.iter().enumerate() {
            if let Some(placement) = placement {
                let border = self.0[value].border;
                self.border(placement.concat, border);
            }
        }
        self.0
    }
}

impl FormsRead {
    fn new(model: &Model, demands: &Demands) -> Self {
        let mut forms: Vec<Vec<Form>> = demands.0.iter().map(|demand| demand.forms.clone()).collect();
        for node in model.nodes.iter().rev() {
            if let Operator::Concat { .. } | Operator::Slice { .. } = &node.operator {
                let whole = forms[node.output.index()].clone();
                for input in node.operator.inputs() {
                    // Each once: what many concats read in turn would have a form for each way to it.
                    let forms = &mut forms[input.index()];
                    let new: Vec<Form> = whole.iter().filter(|form| !forms.contains(form)).copied().collect();
                    forms.extend(new);
                }
            }
        }
        Self(forms)
    }

    /// Whether a value that is read in some forms is read in others only.
    pub fn reads_other(&self, value: ValueId, form: Form) -> bool {
        let forms = &self.0[value.index()];
        !forms.is_empty() && !forms.contains(&form)
    }
}
