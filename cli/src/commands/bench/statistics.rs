//! Figures that describe a list of durations.

use std::time::Duration;

use serde::Serialize;

use crate::output::as_ms;

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// The shortest.
    pub min: f64,
    /// Half are shorter.
    pub median: f64,
    /// 95 of 100 are not longer.
    pub p95: f64,
    /// The longest.
    pub max: f64,
    /// The average.
    pub mean: f64,
}

impl Statistics {
    /// Describes durations.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let len = durations.len();
        let middle = [durations[(len - 1) / 2], durations[len / 2]];
        // Nearest rank: the smallest element that 95 % of all do not exceed.
        let p95 = durations[(len * 95).div_ceil(100) - 1];
        Self {
            min: as_ms(durations[0]),
            median: as_ms(middle[0] + middle[1]) / 2.0,
            p95: as_ms(p95),
            max: as_ms(durations[len - 1]),
            mean: as_ms(durations.iter().sum()) / len as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_lists() {
        let of = |ms: &[u64]| Statistics::of(ms.iter().map(|&ms| Duration::from_millis(ms)).collect());
        assert_eq!(of(&[7]), Statistics { min: 7.0, median: 7.0, p95: 7.0, max: 7.0, mean: 7.0 });
        assert_eq!(of(&[4, 1, 3, 2]), Statistics { min: 1.0, median: 2.5, p95: 4.0, max: 4.0, mean: 2.5 });
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), Statistics { min: 1.0, median: 50.5, p95: 95.0, max: 100.0, mean: 50.5 });
    }
}
