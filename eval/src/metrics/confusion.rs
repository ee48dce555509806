//! What was taken for what.

use super::overlap::overlap;
use super::{Edges, Scene};

/// Least overlap that makes a guess one about an object.
const LEAST_OVERLAP: f64 = 0.5;

/// Counts of guesses by what they are about. Unlike in the COCO metric, classes need not agree for a
/// guess and an object to be paired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// By what is there, then by what was found; the last of both is the background.
    counts: Vec<usize>,
}

impl Confusion {
    /// Counts guesses of at least `confidence`. In each picture, guesses and objects that overlap by a
    /// half or more are paired, those that overlap most first.
    ///
    /// # Panics
    /// If a class is not below `classes`.
    pub fn new(scenes: &[Scene], classes: usize, confidence: f64) -> Self {
        let mut confusion = Self { classes, counts: vec![0; (classes + 1) * (classes + 1)] };
        for scene in scenes {
            confusion.add(scene, confidence);
        }
        confusion
    }

    fn add(&mut self, scene: &Scene, confidence: f64) {
        let guesses: Vec<(usize, Edges)> = scene
            .guesses
            .iter()
            .filter(|guess| guess.confidence >= confidence)
            .map(|guess| (guess.class, guess.edges))
            .collect();
        let mut pairs = Vec::new();
        for (object, at) in scene.objects.iter().enumerate() {
            for (guess, (_, edges)) in guesses.iter().enumerate() {
                let overlap = overlap(&at.edges, edges);
                if overlap >= LEAST_OVERLAP {
                    pairs.push((overlap, object, guess));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut found = vec![None; scene.objects.len()];
        let mut used = vec![false; guesses.len()];
        for (_, object, guess) in pairs {
            if found[object].is_none() && !used[guess] {
                found[object] = Some(guesses[guess].0);
                used[guess] = true;
            }
        }
        for (object, found) in scene.objects.iter().zip(found) {
            self.count(object.class, found.unwrap_or(self.classes));
        }
        for ((class, _), used) in guesses.iter().zip(used) {
            if !used {
                self.count(self.classes, *class);
            }
        }
    }

    fn count(&mut self, there: usize, found: usize) {
        assert!(there <= self.classes && found <= self.classes, "a class out of range");
        self.counts[there * (self.classes + 1) + found] += 1;
    }

    /// Number of classes, without the background.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `there` was taken for `found`. The number of classes stands for the background: an
    /// object that was not found, or something found where nothing is.
    ///
    /// # Panics
    /// If one of them is above the number of classes.
    pub fn get(&self, there: usize, found: usize) -> usize {
        assert!(there <= self.classes && found <= self.classes, "a class out of range");
        self.counts[there * (self.classes + 1) + found]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Guess, Object};
    use super::*;

    #[test]
    fn pairs_and_leftovers() {
        let at = |x: f64| [x, 0.0, x + 10.0, 10.0];
        let object = |class, x| Object { class, edges: at(x) };
        let guess = |class, confidence, x| Guess { class, confidence, edges: at(x) };
        let scene = Scene {
            objects: vec![object(0, 0.0), object(1, 100.0), object(1, 200.0)],
            guesses: vec![
                guess(0, 0.9, 1.0),
                guess(1, 0.99, 2.0),   // fits worse: a second box on the same object
                guess(0, 0.8, 100.0),  // takes a 1 for a 0
                guess(1, 0.05, 200.0), // not sure enough
                guess(1, 0.7, 300.0),  // nothing there
            ],
        };
        let confusion = Confusion::new(&[scene], 2, 0.25);
        let rows: Vec<Vec<usize>> =
            (0..3).map(|there| (0..3).map(|found| confusion.get(there, found)).collect()).collect();
        assert_eq!(rows, [[1, 0, 0], [1, 0, 1], [0, 2, 0]]);
    }
}
