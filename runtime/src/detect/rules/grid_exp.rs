//! Boxes without anchors, whose sizes are exponentials: YOLOX.
//!
//! ```text
//! centre = (t + cell) · stride
//! size   = e^t · stride
//! ```

use ylb_format::model::HeadMap;

use super::super::sigmoid::LOGIT_BITS;
use super::anchors::around;
use super::anchors_exp::half_side;
use super::{COORDINATE_BITS, Rule, Site};

/// The rule.
#[derive(Clone, Debug)]
pub struct GridExp {
    stride: u32,
}

impl GridExp {
    /// For a map.
    pub fn new(map: &HeadMap) -> Self {
        Self { stride: map.stride }
    }
}

impl Rule for GridExp {
    #[inline]
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i64) -> [i32; 4] {
        const DROPPED: u32 = LOGIT_BITS - COORDINATE_BITS;
        // Logits are below 2^39 and strides at most 2^14.
        let centre = |field: usize, cell: usize| {
            let cells = logit(field) + ((cell as i64) << LOGIT_BITS);
            (cells * i64::from(self.stride) + (1 << (DROPPED - 1))) >> DROPPED
        };
        let side = u64::from(self.stride) << COORDINATE_BITS;
        let [left, right] = around(centre(0, site.x), half_side(logit(2), side));
        let [top, bottom] = around(centre(1, site.y), half_side(logit(3), side));
        [left, top, right, bottom]
    }

    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4] {
        let stride = f64::from(self.stride);
        let centre = |field: usize, cell: usize| (logit(field) + cell as f64) * stride;
        let side = |field: usize| logit(field).exp() * stride;
        [centre(0, site.x), centre(1, site.y), side(2), side(3)]
    }
}
