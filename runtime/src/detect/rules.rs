//! Rules for boxes: one file each, with the rule in fixed point and in real numbers.
//!
//! A rule is prepared for a feature map, once, and asked for the boxes of candidates alone, which are few.

pub(crate) mod anchors;
mod anchors_exp;
mod distances;
mod distributions;
mod grid_exp;

use ylb_format::model::{BoxRule, HeadMap};

use anchors::AnchorsSigmoid;
use anchors_exp::AnchorsExp;
use distances::Distances;
use distributions::Distributions;
use grid_exp::GridExp;

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
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i64) -> [i32; 4];

    /// Centre (x, y), width and height, as the source model's float arithmetic has them.
    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4];
}

/// The rule of a feature map whose anchors are known, if its boxes have some.
#[derive(Clone, Debug)]
pub(crate) enum Boxes {
    AnchorsSigmoid(AnchorsSigmoid),
    AnchorsExp(AnchorsExp),
    GridExp(GridExp),
    Distributions(Distributions),
    Distances(Distances),
}

impl Boxes {
    /// Prepares a rule for a map.
    pub fn new(rule: BoxRule, map: &HeadMap) -> Self {
        match rule {
            BoxRule::AnchorsSigmoid => Self::AnchorsSigmoid(AnchorsSigmoid::new(map)),
            BoxRule::AnchorsExp => Self::AnchorsExp(AnchorsExp::new(map)),
            BoxRule::GridExp => Self::GridExp(GridExp::new(map)),
            BoxRule::Distributions { bins } => Self::Distributions(Distributions::new(map, bins)),
            BoxRule::Distances => Self::Distances(Distances::new(map)),
        }
    }
}

impl Rule for Boxes {
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i64) -> [i32; 4] {
        match self {
            Self::AnchorsSigmoid(rule) => rule.edges(site, logit),
            Self::AnchorsExp(rule) => rule.edges(site, logit),
            Self::GridExp(rule) => rule.edges(site, logit),
            Self::Distributions(rule) => rule.edges(site, logit),
            Self::Distances(rule) => rule.edges(site, logit),
        }
    }

    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4] {
        match self {
            Self::AnchorsSigmoid(rule) => rule.real(site, logit),
            Self::AnchorsExp(rule) => rule.real(site, logit),
            Self::GridExp(rule) => rule.real(site, logit),
            Self::Distributions(rule) => rule.real(site, logit),
            Self::Distances(rule) => rule.real(site, logit),
        }
    }
}
