//! Rules for boxes: one file each, with the rule in fixed point and in real numbers.
//!
//! A rule is prepared for a feature map, once; [`Boxes`] is matched once a map and frame, so that the loop over cells is
//! compiled for each rule.

pub(crate) mod anchors;
mod anchors_exp;

use ylb_format::model::{BoxRule, HeadMap};

use super::map::DecodeErrorKind;
use anchors::AnchorsSigmoid;
use anchors_exp::AnchorsExp;

/// Fraction bits of a candidate's coordinates.
pub const COORDINATE_BITS: u32 = 16;

/// One anchor of one cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub anchor: usize,
    pub y: usize,
    pub x: usize,
}

/// From the logits of a box's fields to the box, in pixels of the network's input.
pub(crate) trait Rule {
    /// Left, top, right and bottom edge with [`COORDINATE_BITS`] fraction bits, clamped to an i32. `logit` has
    /// [`LOGIT_BITS`](super::sigmoid::LOGIT_BITS) fraction bits.
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i32) -> [i32; 4];

    /// Centre (x, y), width and height, as the source model's float arithmetic has them.
    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4];
}

/// The rule of a feature map whose anchors are known.
#[derive(Clone, Debug)]
pub(crate) enum Boxes {
    AnchorsSigmoid(AnchorsSigmoid),
    AnchorsExp(AnchorsExp),
}

impl Boxes {
    /// Prepares a rule for a map.
    ///
    /// # Errors
    /// If this version has no code for it.
    pub fn new(rule: BoxRule, map: &HeadMap) -> Result<Self, DecodeErrorKind> {
        match rule {
            BoxRule::AnchorsSigmoid => Ok(Self::AnchorsSigmoid(AnchorsSigmoid::new(map))),
            BoxRule::AnchorsExp => Ok(Self::AnchorsExp(AnchorsExp::new(map))),
            _ => Err(DecodeErrorKind::Unsupported { what: rule.name() }),
        }
    }

    /// Whether this version has code for a rule.
    pub fn is_supported(rule: BoxRule) -> bool {
        matches!(rule, BoxRule::AnchorsSigmoid | BoxRule::AnchorsExp)
    }
}
