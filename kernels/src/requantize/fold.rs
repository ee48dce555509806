//! Requantization of sums instead of accumulators, where that takes other constants only.

use super::{AccumulatorRange, AccumulatorTransform, RequantizeSpec};

impl RequantizeSpec {
    /// The same map of what a transform starts from: that of `x` to the level of `sum_scale · x + constants[c]`, with the
    /// ranges of `x`. It is the same integer arithmetic in another order: nothing is rounded.
    ///
    /// `None` if the transform takes totals, there are several terms, channels share constants that their transforms do
    /// not, or a constant would leave its type.
    pub fn of_sums(
        &self,
        ranges: &[AccumulatorRange],
        transform: &AccumulatorTransform,
    ) -> Option<(Self, Vec<AccumulatorRange>)> {
        let (scale, constants) = (transform.sum_scale, &transform.constants);
        let one_each = self.channels() == constants.len() && ranges.len() == constants.len();
        if !(one_each && self.terms() == 1 && scale > 0 && transform.total_scales.is_empty()) {
            return None;
        }
        let scaled = |multipliers: &[i32]| -> Option<Vec<i32>> {
            multipliers.iter().map(|multiplier| multiplier.checked_mul(scale)).collect()
        };
        // acc · m + b = x · (scale · m) + (b + constant · m): the sums are the same, so they still fit.
        let added = |multipliers: &[i32], bias: &[i64]| -> Option<Vec<i64>> {
            let channels = multipliers.iter().zip(bias).zip(constants);
            channels
                .map(|((&multiplier, &bias), &constant)| {
                    bias.checked_add(i64::from(multiplier) * i64::from(constant))
                })
                .collect()
        };
        let spec = match self {
            Self::Scale { multipliers, bias, shift, max_level } => Self::Scale {
                bias: added(multipliers, bias)?,
                multipliers: scaled(multipliers)?,
                shift: *shift,
                max_level: *max_level,
            },
            Self::ScaledStaircase { multipliers, bias, thresholds, levels } => Self::ScaledStaircase {
                bias: added(multipliers, bias)?,
                multipliers: scaled(multipliers)?,
                thresholds: thresholds.clone(),
                levels: levels.clone(),
            },
            Self::Staircase { thresholds, levels } => {
                if scale != 1 {
                    // Two thresholds might become one.
                    return None;
                }
                let moved = |(thresholds, &constant): (&Vec<i32>, &i32)| -> Option<Vec<i32>> {
                    thresholds.iter().map(|threshold| threshold.checked_sub(constant)).collect()
                };
                let thresholds = thresholds.iter().zip(constants).map(moved).collect::<Option<_>>()?;
                Self::Staircase { thresholds, levels: levels.clone() }
            }
        };
        let range = |(range, &constant): (&AccumulatorRange, &i32)| {
            let start = |end: i32| i64::from(end) - i64::from(constant);
            // The smallest and the largest x in the range: rounded inwards.
            let (min, max) =
                (-(-start(range.min)).div_euclid(scale.into()), start(range.max).div_euclid(scale.into()));
            let range = AccumulatorRange { min: min.try_into().ok()?, max: max.try_into().ok()? };
            (range.min <= range.max).then_some(range)
        };
        let ranges = ranges.iter().zip(constants).map(range).collect::<Option<_>>()?;
        Some((spec, ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(sum_scale: i32, constants: Vec<i32>) -> AccumulatorTransform {
        AccumulatorTransform { sum_scale, total_scales: Vec::new(), constants }
    }

    fn specs() -> [RequantizeSpec; 3] {
        let (multipliers, bias) = (vec![7, -3], vec![-20, 50]);
        let scaled = (multipliers.clone(), bias.clone());
        [
            RequantizeSpec::Scale { multipliers, bias, shift: 3, max_level: 15 },
            RequantizeSpec::ScaledStaircase {
                multipliers: scaled.0,
                bias: scaled.1,
                thresholds: vec![-100, 0, 9, 70],
                levels: vec![3, 2, 3, 4, 9],
            },
            RequantizeSpec::Staircase {
                thresholds: vec![vec![-9, 4], vec![0, 1]],
                levels: vec![vec![0, 1, 2], vec![5, 4, 6]],
            },
        ]
    }

    #[test]
    fn levels_of_sums_are_those_of_their_accumulators() {
        let ranges = [AccumulatorRange { min: -40, max: 33 }, AccumulatorRange { min: -7, max: 90 }];
        for spec in specs() {
            for scale in [1, 2, 3] {
                let constants = [11, -25];
                let folded = spec.of_sums(&ranges, &transform(scale, constants.to_vec()));
                let Some((folded, sums)) = folded else {
                    assert!(matches!(spec, RequantizeSpec::Staircase { .. }) && scale > 1);
                    continue;
                };
                for (channel, (range, constant)) in sums.iter().zip(constants).enumerate() {
                    let accumulator = |sum: i32| scale * sum + constant;
                    assert!(
                        accumulator(range.min) >= ranges[channel].min
                            && accumulator(range.max) <= ranges[channel].max
                    );
                    assert!(accumulator(range.min - 1) < ranges[channel].min);
                    assert!(accumulator(range.max + 1) > ranges[channel].max);
                    for sum in range.min..=range.max {
                        assert_eq!(
                            folded.level(channel, sum),
                            spec.level(channel, accumulator(sum)),
                            "{sum} of {spec:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_folded() {
        let ranges = [AccumulatorRange { min: -40, max: 33 }; 2];
        for spec in specs() {
            assert!(spec.of_sums(&ranges, &transform(1, vec![1, 2])).is_some());
            assert_eq!(spec.of_sums(&ranges, &transform(-1, vec![1, 2])), None);
            assert_eq!(spec.of_sums(&ranges, &transform(1, vec![1])), None);
            assert_eq!(spec.of_sums(&ranges[..1], &transform(1, vec![1, 2])), None);
            let totals = AccumulatorTransform { total_scales: vec![1, 1], ..transform(1, vec![1, 2]) };
            assert_eq!(spec.of_sums(&ranges, &totals), None);
            let far = [AccumulatorRange { min: i32::MIN, max: 0 }; 2];
            assert_eq!(spec.of_sums(&far, &transform(1, vec![1, 2])), None);
        }
        let [scale, ..] = specs();
        assert_eq!(scale.of_sums(&ranges, &transform(i32::MAX / 6, vec![1, 2])), None);
    }
}
