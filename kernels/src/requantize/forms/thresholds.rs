//! Comparisons with all thresholds.

use super::super::RequantizeSpec;
use super::super::steps::Steps;
use super::{LANES, Problem, pad};

/// Steps up to which comparing with all thresholds is at least as fast as multiplying.
const FEW_STEPS: usize = 3;
/// Steps up to which comparing with all thresholds is faster than a search.
pub(super) const MANY_STEPS: usize = 15;

/// `base + (−count ^ direction)` in bytes that wrap around, where `count` is the number of thresholds
/// less than the accumulator (vector comparisons give −1) and `direction` is all ones in rising
/// channels. There, as `−count ^ −1` is `count − 1`, the base is one more than the first level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thresholds<T> {
    /// `[step][channels + LANES]`
    pub(crate) thresholds: Vec<T>,
    /// Steps of the channel that has most.
    pub(crate) steps: usize,
    pub(crate) base: Vec<u8>,
    pub(crate) direction: Vec<u8>,
}

/// For few steps, of which `never` is out of reach.
pub(super) fn of<T: Copy + TryFrom<i64> + Ord>(problem: &Problem<'_>, never: T) -> Option<Thresholds<T>> {
    let most = match problem.spec {
        RequantizeSpec::Scale { .. } => FEW_STEPS,
        _ => MANY_STEPS,
    };
    let steps = problem.steps.as_ref()?;
    if steps.iter().any(|steps| steps.positions.len() > most) {
        return None;
    }
    Thresholds::new(steps, never)
}

impl<T: Copy + TryFrom<i64> + Ord> Thresholds<T> {
    /// `never` is the largest `T`: no saturated accumulator exceeds it. `None` if a threshold is not
    /// below it or no `T` at all.
    fn new(all: &[Steps], never: T) -> Option<Self> {
        let steps = all.iter().map(|steps| steps.positions.len()).max().unwrap_or(0);
        let mut thresholds = Vec::with_capacity(steps * (all.len() + LANES));
        for step in 0..steps {
            let of_channel = |steps: &Steps| match steps.positions.get(step) {
                None => Some(never),
                Some(&position) => {
                    T::try_from(i64::from(position) - 1).ok().filter(|&threshold| threshold < never)
                }
            };
            let row: Option<Vec<T>> = all.iter().map(of_channel).collect();
            thresholds.extend(pad(row?));
        }
        let base = |steps: &Steps| steps.first.wrapping_add(u8::from(!steps.falling));
        let direction = |steps: &Steps| if steps.falling { 0 } else { u8::MAX };
        Some(Self {
            thresholds,
            steps,
            base: pad(all.iter().map(base).collect()),
            direction: pad(all.iter().map(direction).collect()),
        })
    }
}
