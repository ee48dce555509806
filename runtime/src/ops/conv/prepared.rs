//! What computes a convolution's sums, with its weights.

use ylb_format::model::{Conv as ModelConv, ConvTerm, Model, ValueId};
use ylb_kernels::depthwise::Depthwise;
use ylb_kernels::layout::Form;
use ylb_kernels::requantize::{
    AccumulatorRange, AccumulatorTransform, PlaneSteps, RequantizeSpec, Requantizer,
};
use ylb_kernels::ukernel::{Conv, Engine};

use crate::choice::WeightCodes;
use crate::ops::prepack::{BorderCorrection, Term, transform};
use crate::plan::Plan;
use crate::storage::Store;

/// A micro-kernel with the terms that it computes.
pub(super) enum Prepared {
    Dense(Conv, Vec<Term>),
    Depthwise(Depthwise, Vec<DepthwiseTerm>),
}

/// One term of a depthwise convolution.
pub(super) struct DepthwiseTerm {
    pub(super) store: Store,
    pub(super) taps: Vec<usize>,
    /// `[tap][channel]`.
    pub(super) weights: Vec<i16>,
    pub(super) transform: AccumulatorTransform,
    pub(super) correction: Option<BorderCorrection>,
}

impl Prepared {
    /// Bytes of packed weights.
    pub(super) fn packed_len(&self) -> usize {
        match self {
            Self::Dense(_, terms) => terms.iter().map(|term| term.weights.bytes().len()).sum(),
            Self::Depthwise(_, terms) => terms.iter().map(|term| 2 * term.weights.len()).sum(),
        }
    }

    /// Name of the micro-kernel.
    pub(super) fn kernel_name(&self) -> &'static str {
        match self {
            Self::Dense(kernel, _) => kernel.kernel().name,
            Self::Depthwise(..) => "dwconv",
        }
    }

    /// Number of terms.
    pub(super) fn terms(&self) -> usize {
        match self {
            Self::Dense(_, terms) => terms.len(),
            Self::Depthwise(_, terms) => terms.len(),
        }
    }

    /// The micro-kernel and the term of a convolution that the micro-kernel ends.
    pub(super) fn single_term(&self) -> (Conv, &Term) {
        match self {
            Self::Dense(kernel, terms) => (*kernel, &terms[0]),
            Self::Depthwise(..) => unreachable!("depthwise convolutions end outside of their micro-kernel"),
        }
    }

    /// Whether its tiles are so fast that scattered sums take longer than a copy, or there is one anyway because
    /// accumulators are `narrow`: see [`ConvOp::accumulators_by_pixels`](super::ConvOp::accumulators_by_pixels).
    pub(super) fn gains_by_pixels(&self, narrow: bool) -> bool {
        match self {
            Self::Dense(kernel, terms) => {
                let fast = matches!(kernel.kernel().engine, Engine::Avx512 | Engine::Amx);
                terms.len() == 1 && (narrow || fast)
            }
            Self::Depthwise(..) => false,
        }
    }

    /// Whether the micro-kernel can requantize itself: it can sums of a single term that are accumulators.
    pub(super) fn makes_levels(&self, requantizer: &Requantizer) -> bool {
        match self {
            Self::Dense(kernel, terms) => match &terms[..] {
                [term] => {
                    term.sums_are_accumulators
                        && term.correction.is_none()
                        && kernel.makes_levels(requantizer)
                }
                _ => false,
            },
            Self::Depthwise(..) => false,
        }
    }

    /// The way from sums to planes, if there is one: for a single term without corrections at the border
    /// whose output is kept in planes, and then perhaps as bytes.
    pub(super) fn plane_steps(
        &self,
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        plan: &Plan,
        output: ValueId,
    ) -> Option<PlaneSteps> {
        let Self::Dense(kernel, terms) = self else {
            return None;
        };
        let ([term], [store, others @ ..]) = (&terms[..], &plan.storage[output.index()].stores[..]) else {
            return None;
        };
        let Form::Planes { bits } = store.layout.form else {
            return None;
        };
        if term.correction.is_some() || others.iter().any(|other| other.layout.form != Form::Bytes) {
            return None;
        }
        let widths = [term.weight_bits, term.activation_bits];
        kernel.plane_steps(spec, ranges, &term.transform, bits, widths)
    }
}

impl DepthwiseTerm {
    /// Orders the weights for the plan.
    pub(super) fn new(
        model: &Model,
        conv: &ModelConv,
        term: &ConvTerm,
        codes: &WeightCodes,
        store: &Store,
    ) -> Self {
        let [outputs, _, kernel_rows, kernel_columns] = term.weights.shape.map(|extent| extent as usize);
        let layout = &store.layout;
        let taps_of_row =
            |y: usize| (0..kernel_columns).map(move |x| y * layout.row_stride() + x * layout.pixel_stride);
        let taps: Vec<usize> = (0..kernel_rows).flat_map(taps_of_row).collect();
        let values = term.weights.decode();
        let weights = (0..taps.len())
            .flat_map(|tap| (0..outputs).map(move |output| (tap, output)))
            .map(|(tap, output)| values[output * taps.len() + tap])
            .collect();
        let (transform, correction) = transform(model, conv, term, codes);
        Self { store: store.clone(), taps, weights, transform, correction }
    }
}
