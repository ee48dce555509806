//! Boxes by distributions of the distances of their sides from the cell's centre: YOLOv8 to v12.
//!
//! ```text
//! d = Σ b · e^(t_b) / Σ e^(t_b)     over the bins b = 0, 1, ...
//! left  = (cell + ½ − d) · stride
//! right = (cell + ½ + d) · stride
//! ```

use ylb_format::model::HeadMap;

use super::super::sigmoid::LOGIT_BITS;
use super::super::softmax::{MEAN_BITS, mean};
use super::distances::Distances;
use super::{Rule, Site};

/// The rule.
#[derive(Clone, Debug)]
pub struct Distributions {
    distances: Distances,
    bins: usize,
}

impl Distributions {
    /// For a map, and distributions of so many numbers.
    pub fn new(map: &HeadMap, bins: u8) -> Self {
        Self { distances: Distances::new(map), bins: usize::from(bins) }
    }
}

impl Rule for Distributions {
    #[inline]
    fn edges(&self, site: Site, logit: impl Fn(usize) -> i64) -> [i32; 4] {
        const { assert!(MEAN_BITS == LOGIT_BITS) };
        let bins = |side: usize| side * self.bins..(side + 1) * self.bins;
        self.distances.edges_at(site, [0, 1, 2, 3].map(|side| i64::from(mean(bins(side).map(&logit)))))
    }

    fn real(&self, site: Site, logit: impl Fn(usize) -> f64) -> [f64; 4] {
        let distance = |side: usize| {
            let logits = || (0..self.bins).map(|bin| logit(side * self.bins + bin));
            // Only differences count, and e to the power of the largest may be beyond every float.
            let largest = logits().fold(f64::NEG_INFINITY, f64::max);
            let (sum, moment) = logits().zip(0..).fold((0.0, 0.0), |(sum, moment), (logit, bin)| {
                let weight = (logit - largest).exp();
                (sum + weight, moment + f64::from(bin) * weight)
            });
            moment / sum
        };
        self.distances.real_at(site, [0, 1, 2, 3].map(distance))
    }
}
