//! What computes a convolution's sums, with its weights.

use ylb_kernels::families::depthwise::Depthwise;
use ylb_kernels::families::direct::Conv;
use ylb_kernels::layout::Form;
use ylb_kernels::requantize::{AccumulatorRange, PlaneSteps, RequantizeSpec, Requantizer};
use ylb_kernels::ukernel::Engine;

use super::depthwise::DepthwiseTerm;
use super::direct::Term;
use crate::ops::Setting;

/// A micro-kernel with the terms that it computes.
pub enum Terms {
    /// Direct convolution.
    Direct(Conv, Vec<Term>),
    /// Each channel by itself.
    Depthwise(Depthwise, Vec<DepthwiseTerm>),
}

impl Terms {
    /// Bytes of packed weights.
    pub fn packed_len(&self) -> usize {
        match self {
            Self::Direct(_, terms) => terms.iter().map(|term| term.weights.bytes().len()).sum(),
            Self::Depthwise(_, terms) => terms.iter().map(|term| term.weights.bytes().len()).sum(),
        }
    }

    /// Name of the micro-kernel.
    pub fn kernel_name(&self) -> &'static str {
        match self {
            Self::Direct(kernel, _) => kernel.kernel().name,
            Self::Depthwise(kernel, _) => kernel.kernel().name,
        }
    }

    /// Number of terms.
    pub fn count(&self) -> usize {
        match self {
            Self::Direct(_, terms) => terms.len(),
            Self::Depthwise(_, terms) => terms.len(),
        }
    }

    /// The micro-kernel and the term of a convolution that the micro-kernel ends.
    pub fn single(&self) -> (Conv, &Term) {
        match self {
            Self::Direct(kernel, terms) => (*kernel, &terms[0]),
            Self::Depthwise(..) => unreachable!("depthwise convolutions end outside of their micro-kernel"),
        }
    }

    /// Whether its tiles are so fast that scattered sums take longer than a copy, or there is one anyway because
    /// accumulators are `narrow`: see [`ConvOp::accumulators_by_pixels`](super::ConvOp::accumulators_by_pixels).
    pub fn gains_by_pixels(&self, narrow: bool) -> bool {
        match self {
            Self::Direct(kernel, terms) => {
                terms.len() == 1 && (narrow || kernel.kernel().capabilities.dense_sums)
            }
            Self::Depthwise(..) => false,
        }
    }

    /// The requantizer of the terms' sums, see [`ToAccumulators::requantizer`](super::to_accumulators::ToAccumulators::requantizer).
    pub fn requantizer(
        &mut self,
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        engine: Engine,
    ) -> Requantizer {
        let single = match self {
            Self::Direct(_, terms) => match &mut terms[..] {
                [term] => Some(&mut term.to_accumulators),
                _ => None,
            },
            Self::Depthwise(_, terms) => match &mut terms[..] {
                [term] => Some(&mut term.to_accumulators),
                _ => None,
            },
        };
        match single {
            Some(to_accumulators) => to_accumulators.requantizer(spec, ranges, engine),
            None => Requantizer::new(spec, ranges).with_engine(engine),
        }
    }

    /// Whether the micro-kernel can requantize itself: it can sums of a single term that are accumulators.
    pub fn makes_levels(&self, requantizer: &Requantizer) -> bool {
        match self {
            Self::Direct(kernel, terms) => match &terms[..] {
                [term] => term.to_accumulators.is_nothing() && kernel.makes_levels(requantizer),
                _ => false,
            },
            Self::Depthwise(..) => false,
        }
    }

    /// The way from sums to planes, if there is one: for a single term without corrections at the border
    /// whose output is kept in planes, and then perhaps as bytes.
    pub fn plane_steps(
        &self,
        spec: &RequantizeSpec,
        ranges: &[AccumulatorRange],
        setting: &Setting<'_>,
    ) -> Option<PlaneSteps> {
        let Self::Direct(kernel, terms) = self else {
            return None;
        };
        let stores = &setting.plan.storage[setting.output.index()].stores;
        let ([term], [store, others @ ..]) = (&terms[..], &stores[..]) else {
            return None;
        };
        let Form::Planes { bits } = store.layout.form else {
            return None;
        };
        let bytes = |form: Form| form == Form::Bytes;
        if term.to_accumulators.corrects_border() || !others.iter().all(|other| bytes(other.layout.form)) {
            return None;
        }
        let widths = [term.weight_bits, term.activation_bits];
        kernel.plane_steps(spec, ranges, &term.to_accumulators.transform, bits, widths)
    }
}
