//! Boxes by anchors whose sizes are squares of sigmoids: YOLOv5 and v7.
//!
//! ```text
//! centre = (k·σ(t) − (k − 1)/2 + cell) · stride
//! size   = (2σ(t))² · anchor
//! ```

use ylb_format::model::HeadMap;

use super::super::logit::limited;
use super::super::sigmoid::{SIGMOID_BITS, sigmoid};
use super::{COORDINATE_BITS, Rule, Site};

/// Fraction bits of the centre's factor: those of an f32 of at least 1.
const FACTOR_BITS: u32 = 23;

/// Where the boxes of a map are: common to all rules with anchors.
#[derive(Clone, Debug)]
pub struct Anchors {
    stride: u32,
    /// `k` with [`FACTOR_BITS`] fraction bits.
    factor: i64,
    /// Width and height of each anchor, exact.
    pub sizes: Vec<[f64; 2]>,
    /// The same with [`COORDINATE_BITS`] fraction bits.
    pub fixed: Vec<[u64; 2]>,
}

/// The rule.
#[derive(Clone, Debug)]
pub struct AnchorsSigmoid(Anchors);

impl Anchors {
    /// Takes stride, anchors and factor of a map.
    pub fn new(map: &HeadMap) -> Self {
        let scale = (1 << COORDINATE_BITS) as f32;
        // A product with a power of two, at most 2^28: exact but for the rounding to an integer.
        let fixed = |side: f32| (side * scale).round() as u64;
        Self {
            stride: map.stride,
            // Exact: a product with a power of two that leaves no fraction.
            factor: (map.scale_xy * (1 << FACTOR_BITS) as f32) as i64,
            sizes: map.anchors.iter().map(|size| size.map(f64::from)).collect(),
            fixed: map.anchors.iter().map(|size| size.map(fixed)).collect(),
        }
    }

    /// `(k·σ − (k − 1)/2 + cell) · stride` with [`COORDINATE_BITS`] fraction bits.
    #[inline]
    pub fn centre(&self, sigma: u32, cell: usize) -> i64 {
        // Below 2^15 cells and strides no product reaches 2^62.
        const DROPPED: u32 = SIGMOID_BITS - COORDINATE_BITS;
        let scaled = (self.factor * i64::from(sigma)) >> FACTOR_BITS;
        let excess = (self.factor - (1 << FACTOR_BITS)) << (SIGMOID_BITS - FACTOR_BITS - 1);
        let cells = scaled - excess + ((cell as i64) << SIGMOID_BITS);
        (cells * i64::from(self.stride) + (1 << (DROPPED - 1))) >> DROPPED
    }

    /// The same in real numbers.
    pub fn real_centre(&self, logit: f64, cell: usize) -> f64 {
        let factor = self.factor as f64 / f64::from(1 << FACTOR_BITS);
        (factor * real_sigmoid(logit) - (factor - 1.0) / 2.0 + cell as f64) * f64::from(self.stride)
    }
}

impl AnchorsSigmoid {
    /// For a map whose anchors are known.
    pub fn new(map: &HeadMap) -> Self {
        Self(Anchors::new(map))
    }
}

impl Rule for AnchorsSigmoid {
    #[inline]
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i64) -> [i32; 4] {
        let [x, y, width, height] = [0, 1, 2, 3].map(|field| sigmoid(limited(logit(field))));
        let [anchor_width, anchor_height] = self.0.fixed[site.anchor];
        let [left, right] = around(self.0.centre(x, site.x), half_side(width, anchor_width));
        let [top, bottom] = around(self.0.centre(y, site.y), half_side(height, anchor_height));
        [left, top, right, bottom]
    }

    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4] {
        let size = self.0.sizes[site.anchor];
        let side = |side: usize| (2.0 * real_sigmoid(logit(2 + side))).powi(2) * size[side];
        [self.0.real_centre(logit(0), site.x), self.0.real_centre(logit(1), site.y), side(0), side(1)]
    }
}

/// `(2σ)² · anchor / 2`, the anchor and the result with [`COORDINATE_BITS`] fraction bits.
#[inline]
fn half_side(sigma: u32, anchor: u64) -> i64 {
    let square = (u64::from(sigma).pow(2) + (1 << (SIGMOID_BITS - 1))) >> SIGMOID_BITS;
    // Half of 2² is the shift's missing bit.
    ((square * anchor + (1 << (SIGMOID_BITS - 2))) >> (SIGMOID_BITS - 1)) as i64
}

/// `middle ± half`, clamped to an i32.
#[inline]
pub fn around(middle: i64, half: i64) -> [i32; 2] {
    [coordinate(middle - half), coordinate(middle + half)]
}

/// A coordinate clamped to an i32.
#[inline]
pub fn coordinate(edge: i64) -> i32 {
    edge.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// σ in real numbers.
pub fn real_sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}
