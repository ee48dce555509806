//! Codes for a row of weights, one after another: each is moved to where the error of the layer's result is least while all
//! others stay.
//!
//! With `w` the target, `z` the codes, `s` their scale and `C` the moments of the input, the error of an output channel is
//! `(s z − w) C (s z − w)ᵀ`. It is least in `s` at `⟨z, wC⟩ / ⟨z, zC⟩`, and in one code where its gradient vanishes.

use rayon::prelude::*;

use super::matrix::{Moments, dot};
use crate::grid::short;

/// What is added to the moments' diagonal, in parts of its mean: codes that hardly matter stay near their weights.
const DAMPING: f64 = 0.01;
/// Sweeps over all codes.
pub const SWEEPS: usize = 3;
/// Scales that are tried at first: from a quarter of the largest weight's to all of it.
const FRACTIONS: usize = 60;
/// How much a sweep may change the scale: more means that hardly a code is left.
const CHANGE: std::ops::RangeInclusive<f64> = 0.3..=3.0;

/// Chooses codes and scales of rows of weights. Rows of zeros stay as they are.
pub fn run(
    moments: &Moments,
    target: &[f64],
    (most, sweeps): (i32, usize),
    codes: &mut [i32],
    scales: &mut [f32],
) {
    let depth = moments.depth();
    let metric = moments.damped(DAMPING);
    let rows = target.par_chunks_exact(depth).zip(codes.par_chunks_exact_mut(depth)).zip(scales);
    rows.for_each(|((target, codes), scale)| {
        if let Some(found) = row(&metric, target, (most, sweeps), codes) {
            *scale = found;
        }
    });
}

/// Codes of one row, and their scale.
fn row(metric: &[f64], target: &[f64], (most, sweeps): (i32, usize), codes: &mut [i32]) -> Option<f32> {
    let depth = target.len();
    let first = nearest_scale(target, most)?;
    let most = f64::from(most);
    let mut z: Vec<f64> = target.iter().map(|w| (w / first).round_ties_even().clamp(-most, most)).collect();
    let wanted = times(target, metric);
    let mut scale = first;
    for _ in 0..sweeps {
        scale = best_scale(&z, &wanted, &times(&z, metric), scale);
        let mut gradient: Vec<f64> =
            times(&z, metric).iter().zip(&wanted).map(|(own, wanted)| scale * own - wanted).collect();
        for k in 0..depth {
            let row = &metric[k * depth..][..depth];
            let next = (z[k] - gradient[k] / (row[k] * scale)).round_ties_even().clamp(-most, most);
            if next != z[k] {
                let by = scale * (next - z[k]);
                gradient.iter_mut().zip(row).for_each(|(gradient, c)| *gradient += by * c);
                z[k] = next;
            }
        }
    }
    if sweeps > 0 {
        scale = best_scale(&z, &wanted, &times(&z, metric), scale);
    }
    let single = short(scale as f32, false);
    if !(single > f32::MIN_POSITIVE && single.is_finite()) {
        return None;
    }
    codes.iter_mut().zip(&z).for_each(|(code, z)| *code = *z as i32);
    Some(single)
}

/// The scale whose nearest codes have the least squared error.
fn nearest_scale(target: &[f64], most: i32) -> Option<f64> {
    let largest = target.iter().fold(0.0f64, |largest, w| largest.max(w.abs()));
    let full = largest / f64::from(most);
    if !(full > 1e-30 && full.is_finite()) {
        return None;
    }
    let most = f64::from(most);
    let error = |scale: f64| -> f64 {
        let difference = |w: &f64| w - scale * (w / scale).round_ties_even().clamp(-most, most);
        target.iter().map(|w| difference(w).powi(2)).sum()
    };
    let scale = |k: usize| full * (0.25 + 0.75 * k as f64 / (FRACTIONS - 1) as f64);
    let scales = (0..FRACTIONS).map(scale);
    scales.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, scale)| scale)
}

/// The best scale for codes, or the old one where that is far off.
fn best_scale(z: &[f64], wanted: &[f64], own: &[f64], old: f64) -> f64 {
    let scale = dot(z, wanted) / dot(z, own);
    if CHANGE.contains(&(scale / old)) { scale } else { old }
}

/// A row times a symmetric matrix. Codes are often 0.
fn times(row: &[f64], matrix: &[f64]) -> Vec<f64> {
    let mut result = vec![0.0; row.len()];
    for (&x, line) in row.iter().zip(matrix.chunks_exact(row.len())).filter(|(x, _)| **x != 0.0) {
        result.iter_mut().zip(line).for_each(|(sum, c)| *sum += x * c);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Correlated inputs, for which rounding each weight alone is far from the best.
    fn metric(depth: usize) -> Vec<f64> {
        let of =
            |i: usize, j: usize| 0.9f64.powi(i.abs_diff(j) as i32) * (1.0 + (i % 3) as f64 * (j % 3) as f64);
        (0..depth * depth).map(|k| of(k / depth, k % depth)).collect()
    }

    fn error(metric: &[f64], target: &[f64], codes: &[i32], scale: f64) -> f64 {
        let difference: Vec<f64> = codes.iter().zip(target).map(|(&z, w)| f64::from(z) * scale - w).collect();
        dot(&times(&difference, metric), &difference)
    }

    #[test]
    fn descent_is_better_than_the_nearest_codes() {
        let metric = metric(40);
        for most in [1, 3, 7, 14] {
            let (mut found, mut simple) = (0.0, 0.0);
            for seed in [5, 13, 17, 37] {
                let target: Vec<f64> = (0..40).map(|k| ((k * seed % 23) as f64 - 11.0) / 7.0).collect();
                let mut codes = vec![0; 40];
                let scale = f64::from(row(&metric, &target, (most, SWEEPS), &mut codes).unwrap());
                assert!(codes.iter().all(|code| code.abs() <= most));
                found += error(&metric, &target, &codes, scale);
                let own = nearest_scale(&target, most).unwrap();
                let code = |w: &f64| (w / own).round_ties_even().clamp(f64::from(-most), most.into()) as i32;
                simple += error(&metric, &target, &target.iter().map(code).collect::<Vec<_>>(), own);
            }
            println!("{most}: {found} of {simple}");
            assert!(found < 0.9 * simple, "{most}: {found} of {simple}");
        }
    }

    #[test]
    fn rows_of_zeros_have_no_scale() {
        let mut codes = vec![0; 4];
        assert_eq!(row(&metric(4), &[0.0; 4], (7, SWEEPS), &mut codes), None);
        assert_eq!(codes, [0; 4]);
    }
}
