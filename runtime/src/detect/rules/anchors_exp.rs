//! Boxes by anchors whose sizes are multiplied by exponentials: YOLOv2, v3 and v4.
//!
//! ```text
//! centre = (k·σ(t) − (k − 1)/2 + cell) · stride
//! size   = e^t · anchor
//! ```

use ylb_format::model::HeadMap;

use super::super::exp::{MANTISSA_BITS, exp};
use super::super::logit::limited;
use super::super::sigmoid::sigmoid;
use super::anchors::{Anchors, around};
use super::{Rule, Site};

/// The rule.
#[derive(Clone, Debug)]
pub struct AnchorsExp(Anchors);

impl AnchorsExp {
    /// For a map whose anchors are known.
    pub fn new(map: &HeadMap) -> Self {
        Self(Anchors::new(map))
    }
}

impl Rule for AnchorsExp {
    #[inline]
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i64) -> [i32; 4] {
        let [width, height] = self.0.fixed[site.anchor];
        let [x, y] = [0, 1].map(|field| sigmoid(limited(logit(field))));
        let [left, right] = around(self.0.centre(x, site.x), half_side(logit(2), width));
        let [top, bottom] = around(self.0.centre(y, site.y), half_side(logit(3), height));
        [left, top, right, bottom]
    }

    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4] {
        let size = self.0.sizes[site.anchor];
        let side = |side: usize| logit(2 + side).exp() * size[side];
        [self.0.real_centre(logit(0), site.x), self.0.real_centre(logit(1), site.y), side(0), side(1)]
    }
}

/// `e^t · side / 2`; the side and the result have as many fraction bits as coordinates have.
#[inline]
pub fn half_side(logit: i64, side: u64) -> i64 {
    let power = exp(limited(logit));
    // Anchors are below 2^29, strides at most 2^30 and mantissas at most 2^31. The exponent is −32 to 23, so that the
    // shift is 8 to 63.
    let shift = (MANTISSA_BITS + 1).wrapping_add_signed(-power.exponent);
    let product = side * u64::from(power.mantissa);
    ((product + (1 << (shift - 1))) >> shift) as i64
}
