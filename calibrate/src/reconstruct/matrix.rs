//! Second moments of a layer's input, and the equations that they are solved for.

use rayon::prelude::*;

/// Rows and columns of a tile of a product.
const TILE: [usize; 2] = [4, 8];
/// Samples of a block of a product, summed in 32 bits; blocks are added in 64.
const BLOCK: usize = 512;
/// What is added to the diagonal where the equations are solved, in parts of its mean.
const DAMPING: f64 = 0.05;

/// Windows of the same places in both networks.
pub struct Samples {
    depth: usize,
    /// One window after another.
    float: Vec<f32>,
    quantized: Vec<f32>,
    /// Means over the windows.
    pub float_means: Vec<f64>,
    /// The same of the quantized network.
    pub quantized_means: Vec<f64>,
}

impl Samples {
    /// None yet.
    pub fn new(depth: usize) -> Self {
        let means = vec![0.0; depth];
        Self {
            depth,
            float: Vec::new(),
            quantized: Vec::new(),
            float_means: means.clone(),
            quantized_means: means,
        }
    }

    /// Adds a window of each network.
    pub fn add(&mut self, float: &[f32], quantized: &[f32]) {
        self.float.extend_from_slice(float);
        self.quantized.extend_from_slice(quantized);
        self.float_means.iter_mut().zip(float).for_each(|(mean, x)| *mean += f64::from(*x));
        self.quantized_means.iter_mut().zip(quantized).for_each(|(mean, x)| *mean += f64::from(*x));
    }

    /// Computes the means.
    pub fn finish(&mut self) {
        let count = (self.float.len() / self.depth.max(1)).max(1) as f64;
        self.float_means.iter_mut().chain(&mut self.quantized_means).for_each(|mean| *mean /= count);
    }
}

/// Second moments of a layer's input.
pub struct Moments {
    depth: usize,
    /// Of the quantized network's windows around their mean; rows one after another.
    pub own: Vec<f64>,
    /// Of what the float network has in addition, with the quantized network's windows.
    missing: Vec<f64>,
}

impl Moments {
    /// Of samples; `None` where all of them are equal.
    pub fn of(samples: &Samples) -> Option<Self> {
        let depth = samples.depth;
        let (mut centred, mut missing) = (samples.quantized.clone(), samples.float.clone());
        for (centred, missing) in centred.chunks_exact_mut(depth).zip(missing.chunks_exact_mut(depth)) {
            for k in 0..depth {
                centred[k] -= samples.quantized_means[k] as f32;
                missing[k] = (missing[k] - samples.float_means[k] as f32) - centred[k];
            }
        }
        let count = (centred.len() / depth.max(1)).max(1) as f64;
        let own = product(&centred, &centred, depth, count);
        let missing = product(&missing, &centred, depth, count);
        (mean_of_diagonal(&own, depth) > 0.0).then_some(Self { depth, own, missing })
    }

    /// The weights that give the float result best: `W + W D (C + λ)⁻¹`.
    pub fn target(&self, weights: &[f32]) -> Vec<f64> {
        let depth = self.depth;
        let factor = cholesky(self.damped(DAMPING), depth);
        let solve = |weights: &[f32]| {
            let mut right = vec![0.0; depth];
            for (&weight, row) in weights.iter().zip(self.missing.chunks_exact(depth)) {
                right.iter_mut().zip(row).for_each(|(sum, d)| *sum += f64::from(weight) * d);
            }
            substitute(&factor, depth, &mut right);
            right.iter().zip(weights).map(|(x, &weight)| f64::from(weight) + x).collect::<Vec<_>>()
        };
        weights.par_chunks_exact(depth).flat_map_iter(solve).collect()
    }

    /// The moments with so many parts of the diagonal's mean added to it.
    pub fn damped(&self, parts: f64) -> Vec<f64> {
        let mut damped = self.own.clone();
        let by = parts * mean_of_diagonal(&self.own, self.depth);
        damped.iter_mut().step_by(self.depth + 1).for_each(|x| *x += by);
        damped
    }

    /// Rows of the moments.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

fn mean_of_diagonal(matrix: &[f64], depth: usize) -> f64 {
    matrix.iter().step_by(depth + 1).sum::<f64>() / depth.max(1) as f64
}

/// `aᵀ b / count`, where rows of `a` and `b` are samples.
fn product(a: &[f32], b: &[f32], depth: usize, count: f64) -> Vec<f64> {
    let columns = depth.div_ceil(TILE[1]) * TILE[1];
    let strip = |first: usize| {
        let mut sums = vec![0.0f64; TILE[0] * columns];
        let mut left = Vec::with_capacity(BLOCK);
        for (a, b) in a.chunks(BLOCK * depth).zip(b.chunks(BLOCK * depth)) {
            left.clear();
            left.extend(a.chunks_exact(depth).map(|row| tile::<{ TILE[0] }>(row, first)));
            for column in (0..depth).step_by(TILE[1]) {
                let mut tile_sums = [[0.0f32; TILE[1]]; TILE[0]];
                for (left, row) in left.iter().zip(b.chunks_exact(depth)) {
                    let right = tile::<{ TILE[1] }>(row, column);
                    for (sums, x) in tile_sums.iter_mut().zip(left) {
                        sums.iter_mut().zip(&right).for_each(|(sum, y)| *sum += x * y);
                    }
                }
                for (row, tile_sums) in tile_sums.iter().enumerate() {
                    let sums = &mut sums[row * columns + column..][..TILE[1]];
                    sums.iter_mut().zip(tile_sums).for_each(|(sum, own)| *sum += f64::from(*own));
                }
            }
        }
        let rows = TILE[0].min(depth - first);
        sums.chunks_exact(columns).take(rows).flat_map(|row| row[..depth].to_vec()).collect::<Vec<f64>>()
    };
    let firsts: Vec<usize> = (0..depth).step_by(TILE[0]).collect();
    let mut result: Vec<f64> = firsts.into_par_iter().flat_map_iter(strip).collect();
    result.iter_mut().for_each(|x| *x /= count);
    result
}

/// Some neighbours of a row, with zeros behind its end.
fn tile<const N: usize>(row: &[f32], first: usize) -> [f32; N] {
    match row.get(first..first + N).and_then(|part| part.try_into().ok()) {
        Some(part) => part,
        None => std::array::from_fn(|k| row.get(first + k).copied().unwrap_or(0.0)),
    }
}

/// The lower factor `L` of a positive definite matrix, in its place. What is above the diagonal means nothing.
fn cholesky(mut matrix: Vec<f64>, depth: usize) -> Vec<f64> {
    for i in 0..depth {
        let (done, rest) = matrix.split_at_mut(i * depth);
        let row = &mut rest[..depth];
        for j in 0..i {
            let other = &done[j * depth..][..depth];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        row[i] = (row[i] - dot(&row[..i], &row[..i])).max(f64::MIN_POSITIVE).sqrt();
    }
    matrix
}

/// Solves `L Lᵀ x = right`.
fn substitute(factor: &[f64], depth: usize, right: &mut [f64]) {
    for i in 0..depth {
        let row = &factor[i * depth..][..depth];
        right[i] = (right[i] - dot(&row[..i], &right[..i])) / row[i];
    }
    for i in (0..depth).rev() {
        let row = &factor[i * depth..][..depth];
        right[i] /= row[i];
        let x = right[i];
        right[..i].iter_mut().zip(row).for_each(|(right, l)| *right -= l * x);
    }
}

/// A sum of products in eight parts, which the compiler computes side by side.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a.zip(b) {
        for (sum, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::next;
    use super::*;

    fn samples(depth: usize, count: usize, quantize: impl Fn(f32) -> f32) -> Samples {
        let mut state = 7;
        let mut samples = Samples::new(depth);
        for _ in 0..count {
            let float: Vec<f32> = (0..depth).map(|_| (next(&mut state) % 1000) as f32 / 100.0).collect();
            let quantized: Vec<f32> = float.iter().map(|&x| quantize(x)).collect();
            samples.add(&float, &quantized);
        }
        samples.finish();
        samples
    }

    #[test]
    fn moments_are_those_of_the_definition() {
        let samples = samples(13, 1100, |x| x.round());
        let moments = Moments::of(&samples).unwrap();
        let count = 1100.0;
        for (i, j) in [(0, 0), (3, 12), (12, 3), (7, 8)] {
            let centred =
                |n: usize, k: usize| f64::from(samples.quantized[n * 13 + k]) - samples.quantized_means[k];
            let own: f64 = (0..1100).map(|n| centred(n, i) * centred(n, j)).sum::<f64>() / count;
            assert!((own - moments.own[i * 13 + j]).abs() < 1e-3, "{i} {j}");
            let missing =
                |n: usize| f64::from(samples.float[n * 13 + i]) - samples.float_means[i] - centred(n, i);
            let missing: f64 = (0..1100).map(|n| missing(n) * centred(n, j)).sum::<f64>() / count;
            assert!((missing - moments.missing[i * 13 + j]).abs() < 1e-3, "{i} {j}");
        }
    }

    /// An input of half the size is made up for by weights of twice the size, but for the damping.
    #[test]
    fn the_target_makes_up_for_what_the_input_lacks() {
        let moments = Moments::of(&samples(10, 2000, |x| x / 2.0)).unwrap();
        let weights: Vec<f32> = (0..20).map(|k| k as f32 - 7.0).collect();
        for (target, weight) in moments.target(&weights).iter().zip(&weights) {
            assert!(
                (target - 2.0 * f64::from(*weight)).abs() < 0.2 * f64::from(weight.abs()) + 0.5,
                "{target} {weight}"
            );
        }
        let same = Moments::of(&samples(10, 2000, |x| x)).unwrap();
        for (target, weight) in same.target(&weights).iter().zip(&weights) {
            assert!((target - f64::from(*weight)).abs() < 1e-4, "{target} {weight}");
        }
    }

    #[test]
    fn inputs_that_never_change_have_no_moments() {
        assert!(Moments::of(&samples(5, 100, |_| 3.0)).is_none());
    }

    #[test]
    fn equations_are_solved() {
        let moments = Moments::of(&samples(9, 500, |x| x)).unwrap();
        let matrix = moments.damped(0.1);
        let x: Vec<f64> = (0..9).map(|k| f64::from(k) - 4.0).collect();
        let mut right: Vec<f64> = matrix.chunks_exact(9).map(|row| dot(row, &x)).collect();
        substitute(&cholesky(matrix, 9), 9, &mut right);
        right.iter().zip(&x).for_each(|(found, wanted)| assert!((found - wanted).abs() < 1e-9));
    }
}
