//! Sums of convolutions, and of convolutions and codes, as one convolution of several terms.
//!
//! ```text
//! γ₁ · (W₁ ∗ x) + β₁ + γ₂ · (W₂ ∗ y) + β₂ + γ₃ · z     RepVGG before it is fused, the shared layers of CBAM
//! ```
//!
//! Each accumulator is a term; what multiplies it may differ between channels. A smaller kernel gets zeros around it, and codes are
//! read by weights of 1. What follows the sum is the function of one real number, as behind a convolution over several
//! scales: exact, or but for near ties that the report bounds.

use std::collections::HashMap;
use std::rc::Rc;

use ylb_format::limits::{MAX_DEPTH, MAX_TERMS};
use ylb_format::model::{WeightEncoding, Weights, Window};

use super::conv::{PendingKind, PendingTerm};
use super::{Lowering, PendingConv};
use crate::error::ConvertError;
use crate::expr::{Binary, ConvIndex, Expr, Unary, ValueIndex};

/// What a sum is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Leaf {
    Conv(ConvIndex),
    Codes(ValueIndex),
}

/// `Σ factors · leaf + numbers`, by channel.
#[derive(Clone, Debug)]
struct Affine {
    /// In the order in which they were met.
    leaves: Vec<(Leaf, Vec<f64>)>,
    numbers: Vec<f64>,
}

impl Lowering<'_> {
    /// A function of several convolutions, or of convolutions and codes, as one of a single convolution, where it depends on
    /// nothing but a sum of them.
    pub(super) fn one_convolution(
        &mut self,
        node: &str,
        expr: &Rc<Expr>,
    ) -> Result<Option<(ConvIndex, Rc<Expr>)>, ConvertError> {
        let all = expr.leaves();
        let Some(&first) = all.convs.first() else { return Ok(None) };
        if all.convs.iter().any(|conv| self.convs[conv.0].kind != PendingKind::Conv) {
            return Ok(None);
        }
        let channels = self.convs[first.0].shape[0];
        let Some(sum) = expr.nodes().into_iter().find(|node| node.leaves() == all) else { return Ok(None) };
        let Some(affine) = affine(&sum, channels) else { return Ok(None) };
        let Some(conv) = self.joined(node, affine)? else { return Ok(None) };
        let whole = expr.with_leaf(&sum, &Rc::new(Expr::Conv(conv)));
        let leaves = whole.leaves();
        Ok((leaves.values.is_empty() && leaves.convs.len() == 1).then_some((conv, whole)))
    }

    /// The convolution that computes an affine function of others, if they fit together.
    fn joined(&mut self, node: &str, affine: Affine) -> Result<Option<ConvIndex>, ConvertError> {
        let of_conv = |(leaf, factors): &(Leaf, Vec<f64>)| match leaf {
            Leaf::Conv(conv) => Some((self.convs[conv.0].clone(), factors.clone())),
            Leaf::Codes(_) => None,
        };
        let convs: Vec<(PendingConv, Vec<f64>)> = affine.leaves.iter().filter_map(of_conv).collect();
        let Some((first, _)) = convs.first() else { return Ok(None) };
        let (shape, groups, stride) = (first.shape, first.groups, first.window.stride);
        let size_of = |value: ValueIndex| &self.values[value.0].shape[1..];
        let size = size_of(first.terms[0].value).to_vec();
        let alike = |conv: &PendingConv| {
            let same = conv.shape == shape && conv.groups == groups && conv.window.stride == stride;
            same && conv.terms.iter().all(|term| size_of(term.value) == size)
        };
        if !convs.iter().all(|(conv, _)| alike(conv)) {
            return Ok(None);
        }
        let window = around(convs.iter().map(|(conv, _)| conv.window));
        let mut bias = affine.numbers;
        let mut terms = Vec::new();
        for (conv, factors) in &convs {
            for (channel, own) in bias.iter_mut().enumerate() {
                *own += conv.bias.as_ref().map_or(0.0, |bias| bias[channel]) * factors[channel];
            }
            for term in &conv.terms {
                let Some(weights) = surrounded(&term.weights, &conv.window, &window) else { return Ok(None) };
                let own = |channel: usize| term.factors.as_ref().map_or(1.0, |factors| factors[channel]);
                let scales =
                    (0..shape[0]).map(|c| conv.weight_scales[c] * factors[c] * own(c)).collect::<Vec<f64>>();
                terms.push(PendingTerm { factors: Some(scales), weights, ..term.clone() });
            }
        }
        for (leaf, factors) in &affine.leaves {
            let Leaf::Codes(value) = *leaf else { continue };
            let Some(term) = self.codes_as_term(value, factors, (shape, groups), &window)? else {
                return Ok(None);
            };
            let zero_point = f64::from(self.values[value.0].zero_point.unwrap_or(0));
            bias.iter_mut().zip(factors).for_each(|(own, factor)| *own += factor * zero_point);
            terms.push(term);
        }
        if terms.len() > MAX_TERMS {
            return Err(ConvertError::unsupported(format!(
                "a sum of convolutions over {} values of different scales; expected at most {MAX_TERMS}",
                terms.len()
            )));
        }
        let weight_scales = shared_factors(&mut terms, shape[0]);
        let bias = Some(bias);
        self.convs.push(PendingConv {
            name: node.to_owned(),
            kind: PendingKind::Conv,
            terms,
            weight_scales,
            bias,
            window,
            groups,
            shape,
            emitted: false,
        });
        Ok(Some(ConvIndex(self.convs.len() - 1)))
    }

    /// Integers of a value, each read by a weight of 1.
    fn codes_as_term(
        &mut self,
        value: ValueIndex,
        factors: &[f64],
        (shape, groups): ([usize; 3], usize),
        window: &Window,
    ) -> Result<Option<PendingTerm>, ConvertError> {
        self.values[value.0].zero_point.get_or_insert(0);
        let own = self.values[value.0].shape;
        let each = shape[0] / groups;
        // A group of several channels reads several of the value's, which must be the same.
        let depth =
            (each as u64).saturating_mul(window.kernel.iter().map(|&extent| u64::from(extent)).product());
        if own != shape || window.stride != [1, 1] || depth > MAX_DEPTH {
            return Ok(None);
        }
        let one = |at: usize| u8::from(at % each == at / each % each);
        let codes: Vec<u8> = (0..shape[0] * each).map(one).collect();
        let extents = [shape[0] as u32, each as u32, 1, 1];
        let weights = Weights::from_codes(extents, WeightEncoding::TwosComplement, 2, &codes, Vec::new());
        let centre = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };
        let Some(weights) = surrounded(&weights, &centre, window) else { return Ok(None) };
        let read = self.values[value.0].clone().into_model();
        let Some(encoding) = read.encoding() else { return Ok(None) };
        let range = (i64::from(encoding.integer(0)), i64::from(encoding.integer(encoding.max_level)));
        let range = (range.0.min(0), range.1.max(0));
        let (factors, ranges) = (Some(factors.to_vec()), vec![range; shape[0]]);
        Ok(Some(PendingTerm { value, scale: 1.0, factors, weights, ranges }))
    }
}

/// What all terms have in common: by channel the factors of the first, if the others' are the same; then their own are none.
fn shared_factors(terms: &mut [PendingTerm], channels: usize) -> Vec<f64> {
    let first = terms[0].factors.clone();
    if terms.iter().all(|term| term.factors == first) {
        terms.iter_mut().for_each(|term| term.factors = None);
        return first.unwrap_or_else(|| vec![1.0; channels]);
    }
    vec![1.0; channels]
}

/// The window that covers all others, aligned at their first output.
fn around(windows: impl Iterator<Item = Window> + Clone) -> Window {
    let mut whole = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };
    for window in windows.clone() {
        whole.stride = window.stride;
        for d in 0..2 {
            whole.padding[d] = whole.padding[d].max(window.padding[d]);
        }
    }
    let below = |window: &Window, d: usize| window.kernel[d].saturating_sub(window.padding[d]);
    for d in 0..2 {
        let most = windows.clone().map(|window| below(&window, d)).max().unwrap_or(1);
        whole.kernel[d] = whole.padding[d] + most;
        // Rows and columns behind the last of the input that the last output sees.
        let behind = |window: &Window| window.padding[d + 2] as i64 - i64::from(below(window, d));
        let last = windows.clone().map(|window| behind(&window)).max().unwrap_or(0);
        whole.padding[d + 2] = u32::try_from(last + i64::from(most)).unwrap_or(0);
    }
    whole
}

/// Weights with zeros around them, so that they see the same through a larger window; `None` if no weight is 0.
fn surrounded(weights: &Weights, own: &Window, whole: &Window) -> Option<Weights> {
    if own.kernel == whole.kernel && own.padding == whole.padding {
        return Some(weights.clone());
    }
    let [outputs, inputs, rows, columns] = weights.shape.map(|extent| extent as usize);
    let [height, width] = whole.kernel.map(|extent| extent as usize);
    let [top, left] = [0, 1].map(|d| (whole.padding[d] - own.padding[d]) as usize);
    let codes = weights.codes();
    let mut zeros = Vec::with_capacity(outputs);
    for output in 0..outputs {
        let zero_point = weights.zero_points.get(output).map_or(0, |&zero| i32::from(zero));
        zeros.push(zero_code(weights.encoding, weights.bits, zero_point)?);
    }
    let mut larger = Vec::with_capacity(outputs * inputs * height * width);
    for (channel, kernel) in codes.chunks_exact(rows * columns).enumerate() {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let inside = (top..top + rows).contains(&y) && (left..left + columns).contains(&x);
            larger.push(if inside {
                kernel[(y - top) * columns + x - left]
            } else {
                zeros[channel / inputs]
            });
        }
    }
    let shape = [weights.shape[0], weights.shape[1], whole.kernel[0], whole.kernel[1]];
    Some(Weights::from_codes(shape, weights.encoding, weights.bits, &larger, weights.zero_points.clone()))
}

/// The code of the weight 0.
fn zero_code(encoding: WeightEncoding, bits: u8, zero_point: i32) -> Option<u8> {
    let range = match encoding {
        WeightEncoding::Unsigned => 0..1 << bits,
        WeightEncoding::TwosComplement => -(1 << (bits - 1))..1 << (bits - 1),
        WeightEncoding::Bipolar => 0..0,
    };
    let mask = ((1u32 << bits) - 1) as u8;
    range.contains(&zero_point).then_some(zero_point as u8 & mask)
}

/// Reads an expression as an affine function of its leaves, by channel.
fn affine(expr: &Rc<Expr>, channels: usize) -> Option<Affine> {
    let mut forms: HashMap<*const Expr, Affine> = HashMap::new();
    let mut last = None;
    for node in expr.nodes() {
        let at = |operand: &Rc<Expr>| forms.get(&Rc::as_ptr(operand)).cloned();
        let leaf =
            |leaf: Leaf| Affine { leaves: vec![(leaf, vec![1.0; channels])], numbers: vec![0.0; channels] };
        let form = match &*node {
            Expr::Conv(conv) => leaf(Leaf::Conv(*conv)),
            Expr::Codes(value) => leaf(Leaf::Codes(*value)),
            Expr::Constant(numbers) => {
                let number = |channel: usize| numbers[if numbers.len() == 1 { 0 } else { channel }];
                Affine { leaves: Vec::new(), numbers: (0..channels).map(number).collect() }
            }
            Expr::Unary(Unary::Neg, a) => at(a)?.times(&vec![-1.0; channels]),
            Expr::Unary(..) => return None,
            Expr::Binary(function, a, b) => combined(*function, at(a)?, at(b)?)?,
        };
        forms.insert(Rc::as_ptr(&node), form.clone());
        last = Some(form);
    }
    last
}

fn combined(function: Binary, a: Affine, b: Affine) -> Option<Affine> {
    let inverse = |numbers: &[f64]| numbers.iter().map(|number| 1.0 / number).collect::<Vec<f64>>();
    match function {
        Binary::Add => Some(a.plus(b)),
        Binary::Sub => {
            let minus = vec![-1.0; b.numbers.len()];
            Some(a.plus(b.times(&minus)))
        }
        Binary::Mul if b.leaves.is_empty() => Some(a.times(&b.numbers)),
        Binary::Mul if a.leaves.is_empty() => Some(b.times(&a.numbers)),
        Binary::Div if b.leaves.is_empty() => Some(a.times(&inverse(&b.numbers))),
        _ => None,
    }
}

impl Affine {
    fn times(mut self, by: &[f64]) -> Self {
        let scale = |numbers: &mut Vec<f64>| numbers.iter_mut().zip(by).for_each(|(own, by)| *own *= by);
        self.leaves.iter_mut().for_each(|(_, factors)| scale(factors));
        scale(&mut self.numbers);
        self
    }

    fn plus(mut self, other: Self) -> Self {
        let add = |numbers: &mut Vec<f64>, more: &[f64]| {
            numbers.iter_mut().zip(more).for_each(|(own, more)| *own += more);
        };
        add(&mut self.numbers, &other.numbers);
        for (leaf, factors) in other.leaves {
            match self.leaves.iter_mut().find(|(own, _)| *own == leaf) {
                Some((_, own)) => add(own, &factors),
                None => self.leaves.push((leaf, factors)),
            }
        }
        self
    }
}
