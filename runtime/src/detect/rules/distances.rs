//! Boxes by the distances of their sides from the cell's centre: YOLOv6 n and s, YOLO26.
//!
//! ```text
//! left  = (cell + ½ − t) · stride
//! right = (cell + ½ + t) · stride
//! ```

use ylb_format::model::HeadMap;

use super::super::sigmoid::LOGIT_BITS;
use super::anchors::coordinate;
use super::{COORDINATE_BITS, Rule, Site};

/// The rule.
#[derive(Clone, Debug)]
pub struct Distances {
    stride: u32,
}

impl Distances {
    /// For a map.
    pub fn new(map: &HeadMap) -> Self {
        Self { stride: map.stride }
    }

    /// The edges from distances of the left, top, right and bottom edge in cells, with [`LOGIT_BITS`] fraction bits.
    #[inline]
    pub fn edges_at(&self, site: Site, [left, top, right, bottom]: [i64; 4]) -> [i32; 4] {
        const DROPPED: u32 = LOGIT_BITS - COORDINATE_BITS;
        let centre = |cell: usize| ((cell as i64) << LOGIT_BITS) + (1 << (LOGIT_BITS - 1));
        // Distances are below 2^39 and strides at most 2^14.
        let edge =
            |cells: i64| coordinate((cells * i64::from(self.stride) + (1 << (DROPPED - 1))) >> DROPPED);
        let (x, y) = (centre(site.x), centre(site.y));
        [edge(x - left), edge(y - top), edge(x + right), edge(y + bottom)]
    }

    /// Centre and size from the same distances in real numbers.
    pub fn real_at(&self, site: Site, [left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
        let stride = f64::from(self.stride);
        let centre =
            |cell: usize, before: f64, behind: f64| (cell as f64 + 0.5 + (behind - before) / 2.0) * stride;
        [
            centre(site.x, left, right),
            centre(site.y, top, bottom),
            (left + right) * stride,
            (top + bottom) * stride,
        ]
    }
}

impl Rule for Distances {
    #[inline]
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i64) -> [i32; 4] {
        self.edges_at(site, [0, 1, 2, 3].map(logit))
    }

    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4] {
        self.real_at(site, [0, 1, 2, 3].map(logit))
    }
}
