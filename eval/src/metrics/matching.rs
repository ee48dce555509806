//! Which guess is right about which object.

use std::array;

use super::overlap::overlap;
use super::{Edges, Guess, THRESHOLDS};

/// The guesses of one class over all pictures.
#[derive(Clone, Debug, Default)]
pub struct Ranked {
    /// Objects of the class.
    pub objects: usize,
    /// The most confident first.
    pub guesses: Vec<Judged>,
}

/// A guess and whether it is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// How sure the detector is.
    pub confidence: f64,
    /// Whether it is right, at each threshold of the overlap.
    pub right: [bool; THRESHOLDS],
}

/// Smallest overlap that makes a guess right; `index` is below [`THRESHOLDS`].
pub fn threshold(index: usize) -> f64 {
    // As numpy.linspace(0.5, 0.95, 10) rounds: its last point is set, not computed.
    if index + 1 == THRESHOLDS { 0.95 } else { 0.5 + index as f64 * ((0.95 - 0.5) / 9.0) }
}

/// Judges the guesses of one picture and class, the most confident first.
///
/// At each threshold, guesses choose in turn: each takes the object that it overlaps most, of those
/// that no better guess took, if the overlap reaches the threshold. Of equal overlaps the last object
/// is taken, as by pycocotools.
pub fn match_picture(guesses: &[Guess], objects: &[Edges]) -> Vec<Judged> {
    // pycocotools lets an overlap of 1, but for rounding, pass any threshold.
    let thresholds: [f64; THRESHOLDS] = array::from_fn(|index| threshold(index).min(1.0 - 1e-10));
    // By object and threshold. Guesses are gone through once, all thresholds together: memory does not grow with the
    // number of pairs.
    let mut taken = vec![[false; THRESHOLDS]; objects.len()];
    let mut judge = |guess: &Guess| {
        let mut best = [None; THRESHOLDS];
        let mut least = thresholds;
        for (object, (edges, taken)) in objects.iter().zip(&taken).enumerate() {
            let overlap = overlap(&guess.edges, edges);
            for index in (0..THRESHOLDS).take_while(|&index| overlap >= thresholds[index]) {
                if !taken[index] && overlap >= least[index] {
                    (best[index], least[index]) = (Some(object), overlap);
                }
            }
        }
        for (index, object) in best.iter().enumerate() {
            if let Some(object) = *object {
                taken[object][index] = true;
            }
        }
        Judged { confidence: guess.confidence, right: best.map(|object| object.is_some()) }
    };
    guesses.iter().map(&mut judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(confidence: f64, edges: Edges) -> Guess {
        Guess { class: 0, confidence, edges }
    }

    #[test]
    fn the_thresholds_are_those_of_coco() {
        let hundredths: Vec<i64> =
            (0..THRESHOLDS).map(|index| (threshold(index) * 100.0).round() as i64).collect();
        assert_eq!(hundredths, [50, 55, 60, 65, 70, 75, 80, 85, 90, 95]);
    }

    #[test]
    fn an_object_is_found_once_and_by_the_most_confident() {
        let object = [0.0, 0.0, 10.0, 10.0];
        // The second one fits better, but comes later.
        let judged = match_picture(&[guess(0.9, [0.0, 0.0, 10.0, 8.0]), guess(0.8, object)], &[object]);
        assert_eq!(judged[0].right, [true, true, true, true, true, true, true, false, false, false]);
        assert_eq!(judged[1].right, [false, false, false, false, false, false, false, true, true, true]);
    }

    #[test]
    fn a_guess_takes_the_object_that_it_overlaps_most() {
        let objects = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 12.0]];
        let judged = match_picture(&[guess(0.9, objects[1]), guess(0.5, objects[0])], &objects);
        assert_eq!(judged.map_right(), [10, 10]);
    }

    #[test]
    fn without_objects_nothing_is_right() {
        let judged = match_picture(&[guess(0.9, [0.0, 0.0, 1.0, 1.0])], &[]);
        assert_eq!(judged.map_right(), [0]);
        assert!(match_picture(&[], &[[0.0, 0.0, 1.0, 1.0]]).is_empty());
    }

    /// The definition, threshold by threshold, on boxes on a grid: many overlap equally.
    #[test]
    fn all_thresholds_at_once_are_each_by_itself() {
        let mut state = 7u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from((state >> 16) % below)
        };
        let mut edges = || {
            let (left, top) = (next(4), next(4));
            [left, top, left + 6.0 + next(3), top + 6.0 + next(3)]
        };
        let mut found = 0;
        for _ in 0..200 {
            let objects: Vec<Edges> = (0..12).map(|_| edges()).collect();
            let guesses: Vec<Guess> = (0..9).map(|_| guess(0.5, edges())).collect();
            let judged = match_picture(&guesses, &objects);
            for index in 0..THRESHOLDS {
                let mut free: Vec<Edges> = objects.clone();
                for (guess, judged) in guesses.iter().zip(&judged) {
                    let best = (0..free.len()).max_by(|&a, &b| {
                        overlap(&guess.edges, &free[a]).total_cmp(&overlap(&guess.edges, &free[b]))
                    });
                    let best = best.filter(|&best| overlap(&guess.edges, &free[best]) >= threshold(index));
                    assert_eq!(judged.right[index], best.is_some());
                    best.map(|best| free.remove(best));
                    found += usize::from(best.is_some());
                }
            }
        }
        assert!(found > 2000, "{found}");
    }

    /// At how many thresholds each guess is right.
    trait MapRight {
        fn map_right(&self) -> Vec<usize>;
    }

    impl MapRight for Vec<Judged> {
        fn map_right(&self) -> Vec<usize> {
            self.iter().map(|judged| judged.right.iter().filter(|right| **right).count()).collect()
        }
    }
}
