//! What families of micro-kernels are asked for a convolution, and what they answer.

use ylb_format::model::{Conv as ModelConv, ConvTerm, Model};
use ylb_kernels::families::direct::Operands;
use ylb_kernels::layout::Form;
use ylb_kernels::registry::{Dispatch, Preference};

use crate::ops::{Prepared, Setting};
use crate::storage::Store;
use crate::weight_codes::{WeightCodes, byte_codes, unsigned_codes};

/// Most bits of weights and levels that are kept as bit planes.
const MAX_PLANES: u8 = 4;

/// A convolution that somebody has to compute.
pub struct Problem<'a> {
    /// The model.
    pub model: &'a Model,
    /// The convolution.
    pub conv: &'a ModelConv,
    /// The choice among micro-kernels.
    pub dispatch: &'a Dispatch,
    /// Each term's weights as bytes.
    pub codes: Vec<WeightCodes>,
    /// What each term asks of a direct convolution of one group.
    pub operands: Vec<Operands>,
}

/// A family's answer.
pub struct Candidate {
    /// How good it is: the best of all families is taken, of equally good ones the first.
    pub preference: Preference,
    /// The form in which each term's input is read.
    pub forms: Vec<Form>,
    /// How weights are written.
    pub coding: Coding,
    /// What becomes of it if it is taken.
    pub family: Box<dyn Family>,
}

/// A micro-kernel with what its family needs to know to make an operator of it.
pub trait Family {
    /// Packs weights for a plan.
    fn prepare(&self, chosen: &Chosen<'_>, setting: &Setting<'_>) -> Prepared;
}

/// A convolution with what was chosen for it.
#[derive(Clone, Copy)]
pub struct Chosen<'a> {
    /// The convolution.
    pub conv: &'a ModelConv,
    /// The form in which each term's input is read.
    pub forms: &'a [Form],
    /// Each term's weights, in the coding that was asked for.
    pub codes: &'a [WeightCodes],
}

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As signed bytes.
    Bytes,
    /// As unsigned codes, for bit planes.
    Unsigned,
    /// As the numbers that they are.
    Numbers,
}

impl<'a> Chosen<'a> {
    /// Each term with its weights and the store that it reads.
    pub fn terms<'s>(
        &self,
        setting: &Setting<'s>,
    ) -> impl Iterator<Item = (&'a ConvTerm, &'a WeightCodes, &'s Store)> + use<'a, 's> {
        let plan = setting.plan;
        let stores = self.conv.terms.iter().zip(self.forms).map(|(term, &form)| {
            plan.storage[term.input.index()].store(form).expect("the plan stores what candidates read")
        });
        let terms = self.conv.terms.iter().zip(self.codes).zip(stores);
        terms.map(|((term, codes), store)| (term, codes, store))
    }
}

impl<'a> Problem<'a> {
    /// Looks at the weights.
    pub fn new(model: &'a Model, conv: &'a ModelConv, dispatch: &'a Dispatch) -> Self {
        let codes: Vec<WeightCodes> = conv.terms.iter().map(|term| byte_codes(&term.weights)).collect();
        let operands = conv.terms.iter().zip(&codes).map(|(term, codes)| operands(model, conv, term, codes));
        let operands = operands.collect();
        Self { model, conv, dispatch, codes, operands }
    }

    /// The weights as they are read.
    pub fn into_codes(self, coding: Coding) -> Vec<WeightCodes> {
        let terms = self.conv.terms.iter();
        match coding {
            Coding::Bytes => self.codes,
            Coding::Unsigned => {
                let terms = terms.zip(self.codes);
                terms.map(|(term, bytes)| unsigned_codes(&term.weights, bytes.sums)).collect()
            }
            Coding::Numbers => terms.map(|term| WeightCodes::none(&term.weights)).collect(),
        }
    }

    /// Term, operands and weights, where there is nothing but one group, one term and levels to make: what the families take
    /// that leave the general case to direct convolution.
    pub fn plain(&self) -> Option<(&ConvTerm, &Operands, &WeightCodes)> {
        let ([term], [operands], [codes]) = (&self.conv.terms[..], &self.operands[..], &self.codes[..])
        else {
            return None;
        };
        let plain = self.conv.groups == 1 && self.conv.requantize.is_some() && codes.offsets.is_empty();
        plain.then_some((term, operands, codes))
    }
}

fn operands(model: &Model, conv: &ModelConv, term: &ConvTerm, codes: &WeightCodes) -> Operands {
    let [outputs, channels, _, columns] = term.weights.shape.map(|extent| extent as usize);
    let (min_weight, max_weight) = codes.extremes();
    let max_level = model.encoding(term.input).max_level;
    // Bit planes hold whole groups of 8 channels: convolutions in groups, whose channels need not
    // start at a byte, are left to the multiplying micro-kernels.
    let weight_bits = if conv.groups == 1 { term.weights.bits } else { 8 };
    let bit_serial = weight_bits <= MAX_PLANES && max_level < 1 << MAX_PLANES;
    let channels = if bit_serial { channels.next_multiple_of(8) } else { channels };
    Operands {
        max_level,
        weight_bits,
        min_weight,
        max_weight,
        depth: columns * channels,
        outputs: outputs / conv.groups as usize,
    }
}
