//! What is asked of a calibration.

use std::fmt;

use crate::bits::Bits;
use crate::budget::Budget;
use crate::grid::Spacing;
use crate::reconstruct::Parts;

/// What is asked of a calibration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Bits of weights and activations, where there is no budget.
    pub bits: Bits,
    /// How the numbers of activations are spaced.
    pub spacing: Spacing,
    /// What the network may cost: bits are chosen layer by layer.
    pub budget: Option<Budget>,
    /// Whether to measure what fewer bits cost each layer.
    pub sensitivity: bool,
    /// What is done for weights of few bits.
    pub parts: Parts,
}

impl Wanted {
    /// Whether some layer gets weights of less than 8 bits, which are worth more than rounding to the nearest.
    pub fn is_low(self) -> bool {
        self.bits.is_low() || self.budget.is_some()
    }

    /// Whether so few bits lose much of what a network has learned, if it is not trained with them.
    pub fn loses_much(self) -> bool {
        self.bits.loses_much() || self.spacing == Spacing::Powers
    }

    /// The largest codes of weights that are tried.
    pub(crate) fn weight_widths(self) -> &'static [i32] {
        &[127, 31, 14, 7, 3, 1]
    }

    /// The bits of grids that are tried. In a file they take no room.
    pub(crate) fn grid_widths(self) -> &'static [u32] {
        match self.budget {
            Some(Budget::Bytes(_)) if !self.sensitivity => &[8],
            _ => &[8, 6, 5, 4],
        }
    }
}

impl From<Bits> for Wanted {
    fn from(bits: Bits) -> Self {
        Self { bits, ..Self::default() }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.budget, self.spacing) {
            (Some(budget), _) => write!(f, "{budget}"),
            (None, Spacing::Equal) => write!(f, "{}", self.bits),
            (None, Spacing::Powers) => write!(f, "{} with powers of two", self.bits),
        }
    }
}
