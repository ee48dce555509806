//! Scales that are small multiples of one unit, as equal scales and powers of two are.

/// Largest multiple.
const MAX_COUNT: i64 = 1 << 12;
/// Largest multiple that is a power of two: rounding never makes one of other scales.
const MAX_POWER: f64 = (1 << 24) as f64;
/// Largest divisor of the smallest scale.
const MAX_DIVISOR: i64 = 64;
/// Relative difference up to which numbers are equal: what a few roundings leave. Scales that have no
/// common unit come as close to a ratio of such small numbers once in 10^8 times.
const TOLERANCE: f64 = 8.0 * f64::EPSILON;

/// `scales[t] = counts[t] · unit`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Units {
    pub(super) unit: f64,
    pub(super) counts: Vec<i64>,
}

impl Units {
    /// The largest unit of some scales, which are positive.
    pub(super) fn of(scales: &[f64]) -> Option<Self> {
        let smallest = scales.iter().copied().fold(f64::INFINITY, f64::min);
        let multiples = |divisor: i64| -> Option<Vec<i64>> {
            let count = |scale: &f64| {
                let ratio = scale / smallest * divisor as f64;
                let count = ratio.round();
                let near = (ratio - count).abs() <= TOLERANCE * ratio && count <= MAX_COUNT as f64;
                let power = ratio == count && count <= MAX_POWER && (count as i64).count_ones() == 1;
                (near || power).then_some(count as i64)
            };
            scales.iter().map(count).collect()
        };
        (1..=MAX_DIVISOR).find_map(|divisor| {
            let counts = multiples(divisor)?;
            Some(Self { unit: smallest / divisor as f64, counts })
        })
    }

    /// The largest multiple.
    pub(super) fn largest(&self) -> i64 {
        self.counts.iter().copied().max().unwrap_or(1)
    }

    /// Multipliers of the unit, one a channel, as multipliers of each term.
    pub(super) fn repeated(&self, multipliers: &[i32]) -> Vec<i32> {
        let times = |&count: &i64| multipliers.iter().map(move |&m| (i64::from(m) * count) as i32);
        self.counts.iter().flat_map(times).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scales_and_small_ratios_have_a_unit() {
        assert_eq!(Units::of(&[0.3]), Some(Units { unit: 0.3, counts: vec![1] }));
        assert_eq!(Units::of(&[0.3, 0.3, 0.3]), Some(Units { unit: 0.3, counts: vec![1, 1, 1] }));
        assert_eq!(Units::of(&[0.5, 0.125]), Some(Units { unit: 0.125, counts: vec![4, 1] }));
        assert_eq!(Units::of(&[0.3, 0.3 * 65_536.0]), Some(Units { unit: 0.3, counts: vec![1, 65_536] }));
        let thirds = Units::of(&[0.1 * 3.0, 0.2]).unwrap();
        assert_eq!(thirds.counts, [3, 2]);
        assert_eq!(thirds.repeated(&[5, -7]), [15, -21, 10, -14]);
    }

    #[test]
    fn learned_scales_have_none() {
        assert_eq!(Units::of(&[f64::from(0.0713f32), f64::from(0.1529f32)]), None);
        // A 32-bit third is not a third.
        assert_eq!(Units::of(&[f64::from(1.0f32 / 3.0), 1.0 / 3.0]), None);
        assert_eq!(Units::of(&[1.0, 1e9]), None);
        assert_eq!(Units::of(&[1.0, 65_537.0]), None);
    }
}
