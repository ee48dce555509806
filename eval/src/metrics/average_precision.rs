//! Areas under precision-recall curves, as the mean precision over 101 recalls.

use super::THRESHOLDS;
use super::matching::Ranked;

/// Number of recalls at which the precision is read: 0.00, 0.01, … 1.00.
pub const RECALL_POINTS: usize = 101;

/// The recall of a point of a curve; `index` is below [`RECALL_POINTS`].
pub fn recall_point(index: usize) -> f64 {
    // As numpy.linspace(0, 1, 101) rounds.
    if index + 1 == RECALL_POINTS { 1.0 } else { index as f64 * 0.01 }
}

/// The curve at the first threshold, and the average precision at each. There must be objects.
pub fn average_precision(ranked: &Ranked) -> ([f64; RECALL_POINTS], [f64; THRESHOLDS]) {
    let curves: [_; THRESHOLDS] = std::array::from_fn(|index| curve(ranked, index));
    (curves[0], curves.map(|curve| curve.iter().sum::<f64>() / RECALL_POINTS as f64))
}

/// Precision at each recall point: the best that is reached with that recall or more, 0 where the
/// recall is not reached.
fn curve(ranked: &Ranked, threshold: usize) -> [f64; RECALL_POINTS] {
    let mut right = 0;
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(ranked.guesses.len());
    for (index, judged) in ranked.guesses.iter().enumerate() {
        right += usize::from(judged.right[threshold]);
        points.push((right as f64 / ranked.objects as f64, right as f64 / (index + 1) as f64));
    }
    let mut best = 0.0f64;
    for (_, precision) in points.iter_mut().rev() {
        best = best.max(*precision);
        *precision = best;
    }
    std::array::from_fn(|index| {
        let at = points.partition_point(|&(recall, _)| recall < recall_point(index));
        points.get(at).map_or(0.0, |&(_, precision)| precision)
    })
}
