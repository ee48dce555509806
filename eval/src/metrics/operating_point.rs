//! The confidence at which a detector does best, and its precision and recall there.

use super::matching::Ranked;

/// Confidences that are tried: 0.000, 0.001, … 0.999.
const STEPS: u32 = 1000;

/// A detector at one confidence threshold, judged at an overlap of 0.5.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatingPoint {
    /// Guesses of at least this confidence count.
    pub confidence: f64,
    /// Share of the guesses that are right, the mean over classes with objects.
    pub precision: f64,
    /// Share of the objects that are found, the mean over classes with objects.
    pub recall: f64,
    /// Harmonic mean of precision and recall, the mean over classes with objects.
    pub f1: f64,
    /// Precision and recall by class; `None` for classes without objects.
    pub classes: Vec<Option<[f64; 2]>>,
}

/// A class, ready to be asked for many confidences.
struct Counts {
    objects: usize,
    /// Falling.
    confidences: Vec<f64>,
    /// How many of the first guesses are right, from none of them to all.
    right: Vec<usize>,
}

impl Counts {
    fn new(class: &Ranked) -> Self {
        let mut right = vec![0];
        for judged in &class.guesses {
            right.push(right[right.len() - 1] + usize::from(judged.right[0]));
        }
        let confidences = class.guesses.iter().map(|judged| judged.confidence).collect();
        Self { objects: class.objects, confidences, right }
    }

    /// Of a class with objects. The precision of no guesses is 0.
    fn precision_and_recall(&self, least: f64) -> Option<[f64; 2]> {
        let count = self.confidences.partition_point(|&confidence| confidence >= least);
        let right = self.right[count] as f64;
        (self.objects > 0).then(|| [right / count.max(1) as f64, right / self.objects as f64])
    }
}

/// The point of the best F1 in the mean over the classes that have objects, of equal ones that of the
/// lowest confidence. `None` if no class has objects.
pub fn best(ranked: &[Ranked]) -> Option<OperatingPoint> {
    if ranked.iter().all(|class| class.objects == 0) {
        return None;
    }
    let counts: Vec<Counts> = ranked.iter().map(Counts::new).collect();
    let points = (0..STEPS).map(|step| point(&counts, f64::from(step) / f64::from(STEPS)));
    points.reduce(|best, point| if point.f1 > best.f1 { point } else { best })
}

fn point(counts: &[Counts], confidence: f64) -> OperatingPoint {
    let classes: Vec<_> = counts.iter().map(|class| class.precision_and_recall(confidence)).collect();
    let mean = |value: fn([f64; 2]) -> f64| {
        super::mean(classes.iter().flatten().map(|&point| value(point))).unwrap_or_default()
    };
    OperatingPoint {
        confidence,
        precision: mean(|[precision, _]| precision),
        recall: mean(|[_, recall]| recall),
        f1: mean(f1),
        classes,
    }
}

fn f1([precision, recall]: [f64; 2]) -> f64 {
    if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

#[cfg(test)]
mod tests {
    use super::super::matching::Judged;
    use super::*;

    fn class(objects: usize, guesses: &[(f64, bool)]) -> Ranked {
        let judged = |&(confidence, right): &(f64, bool)| Judged { confidence, right: [right; 10] };
        Ranked { objects, guesses: guesses.iter().map(judged).collect() }
    }

    #[test]
    fn the_best_f1_decides() {
        let cells = class(4, &[(0.9, true), (0.8, true), (0.5, true), (0.3, false), (0.2, false)]);
        let point = best(&[cells, class(0, &[(0.9, false)])]).unwrap();
        // Above 0.3 and up to 0.5: three of three are right, and three of four are found.
        assert_eq!((point.confidence, point.precision, point.recall), (0.301, 1.0, 0.75));
        assert!((point.f1 - 6.0 / 7.0).abs() < 1e-12);
        assert_eq!(point.classes, [Some([1.0, 0.75]), None]);
    }

    #[test]
    fn nothing_found_and_nothing_there() {
        let point = best(&[class(2, &[])]).unwrap();
        assert_eq!((point.precision, point.recall, point.f1), (0.0, 0.0, 0.0));
        assert_eq!(best(&[class(0, &[])]), None);
    }
}
