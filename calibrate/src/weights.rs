//! Weights as integers: one scale for each output channel, and codes on either side of 0.

use crate::grid::short;

/// A convolution's weights as codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The codes in the order of the weights.
    pub codes: Vec<i32>,
    /// What a code of each output channel stands for.
    pub scales: Vec<f32>,
    /// The largest code; the smallest is its opposite.
    pub most: i32,
    /// A new bias, where there is one.
    pub bias: Option<Vec<f32>>,
    /// Extents; of a convolution: output channels, input channels of a group, rows, columns.
    pub shape: Vec<usize>,
    /// The axis of output channels.
    pub axis: usize,
}

impl Weights {
    /// The nearest codes, of grids that reach each channel's largest weight.
    pub fn nearest(weights: &[f32], shape: [usize; 4], most: i32) -> Self {
        let depth: usize = shape[1..].iter().product();
        let mut codes = Vec::with_capacity(weights.len());
        let mut scales = Vec::with_capacity(shape[0]);
        for channel in weights.chunks_exact(depth.max(1)) {
            let largest = channel.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
            let scale = Some(short(largest / most as f32, true)).filter(|&scale| scale > LEAST);
            codes.extend(channel.iter().map(|w| scale.map_or(0, |scale| code(*w, scale, most))));
            scales.push(scale);
        }
        // A channel of zeros may have any scale, and one that is far above the others' takes bits of the multipliers that all share.
        let least = scales.iter().copied().flatten().reduce(f32::min).unwrap_or(1.0);
        let scales = scales.into_iter().map(|scale| scale.unwrap_or(least)).collect();
        Self { codes, scales, most, bias: None, shape: shape.to_vec(), axis: 0 }
    }

    /// The same where output channels lie along another axis.
    pub fn nearest_along(weights: &[f32], shape: &[usize], axis: usize, most: i32) -> Self {
        let channels = shape[axis];
        let inner: usize = shape[axis + 1..].iter().product();
        let depth = weights.len() / channels.max(1);
        // Where a number is, and where it is with the channels first.
        let place = |index: usize| {
            let (outer, rest) = (index / (channels * inner), index % (channels * inner));
            rest / inner * depth + outer * inner + rest % inner
        };
        let mut first = vec![0.0; weights.len()];
        weights.iter().enumerate().for_each(|(index, &weight)| first[place(index)] = weight);
        let own = Self::nearest(&first, [channels, depth, 1, 1], most);
        let codes = (0..weights.len()).map(|index| own.codes[place(index)]).collect();
        Self { codes, shape: shape.to_vec(), axis, ..own }
    }

    /// The numbers that the codes stand for.
    pub fn reals(&self) -> Vec<f32> {
        let inner: usize = self.shape[self.axis + 1..].iter().product();
        let scale = |index: usize| self.scales[index / inner.max(1) % self.scales.len().max(1)];
        self.codes.iter().enumerate().map(|(index, &code)| code as f32 * scale(index)).collect()
    }

    /// Bits of a code.
    pub fn bits(&self) -> u32 {
        33 - self.most.leading_zeros()
    }

    /// Energy of the weights over that of the errors, in decibels.
    pub fn signal_to_noise(&self, weights: &[f32]) -> f64 {
        let energy: f64 = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        let differences = weights.iter().zip(self.reals()).map(|(w, r)| f64::from(*w) - f64::from(r));
        let noise: f64 = differences.map(|d| d * d).sum();
        10.0 * (energy / noise.max(f64::MIN_POSITIVE)).log10()
    }
}

/// Channels of numbers below so many times the largest code are nearly none, and have codes of 0.
const LEAST: f32 = 1e-30;

/// The nearest code.
fn code(weight: f32, scale: f32, most: i32) -> i32 {
    ((weight / scale).round_ties_even() as i32).clamp(-most, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_is_within_half_a_step() {
        let weights = [0.5, -1.27, 0.004, 0.0, 0.0, 0.0, 300.0, -3.0, 151.2];
        let quantized = Weights::nearest(&weights, [3, 3, 1, 1], 127);
        assert_eq!((quantized.scales.len(), quantized.bits()), (3, 8));
        for (index, (weight, real)) in weights.iter().zip(quantized.reals()).enumerate() {
            let step = quantized.scales[index / 3];
            assert!((weight - real).abs() <= 0.5001 * step, "{weight} became {real}");
        }
        assert_eq!(quantized.codes[1], -127);
        assert_eq!(&quantized.codes[3..6], &[0, 0, 0]);
        assert_eq!(quantized.scales[1], quantized.scales[0]);
        assert!(quantized.signal_to_noise(&weights) > 40.0);
    }

    #[test]
    fn output_channels_may_lie_along_any_axis() {
        // Two output channels of three numbers each, of a layer `[inputs, outputs]`.
        let own = Weights::nearest_along(&[0.5, -12.7, 1.27, 6.0, -0.3, 0.1], &[3, 2], 1, 127);
        assert_eq!((own.scales.len(), own.shape.as_slice()), (2, &[3, 2][..]));
        assert_eq!(own.codes, [50, -127, 127, 60, -30, 1]);
        let by_rows = Weights::nearest_along(&[0.5, 1.27, -0.3, -12.7, 6.0, 0.1], &[2, 3], 0, 127);
        assert_eq!(by_rows.scales, own.scales);
        assert!((own.reals()[1] + 12.7).abs() < 0.06 && (own.reals()[2] - 1.27).abs() < 0.006);
    }

    #[test]
    fn bits_are_those_of_the_codes() {
        let bits = |most| Weights::nearest(&[1.0], [1; 4], most).bits();
        assert_eq!([127, 31, 14, 7, 3, 1].map(bits), [8, 6, 5, 4, 3, 2]);
    }
}
