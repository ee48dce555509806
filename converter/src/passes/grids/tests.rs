use ylb_source::ir::Builder;
use ylb_source::ir::TensorId;

use super::*;

/// Numbers that look random: uniform in −1 .. 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0
    }

    fn integer(&mut self, low: i32, high: i32) -> i32 {
        low + ((self.next() + 1.0) / 2.0 * f64::from(high - low + 1)) as i32
    }
}

/// `code · alpha`, then `· gamma`, in 32 bits as a simplifier folds it.
fn folded(integers: &[i32], alpha: f32, gamma: f32) -> Vec<f32> {
    integers.iter().map(|&integer| integer as f32 * alpha * gamma).collect()
}

fn convolution(shape: &[usize], weights: &[f32]) -> (Graph, TensorId) {
    let (mut builder, image) = Builder::picture(8, 8);
    let weights = builder.floats(shape, weights);
    builder.node("Conv", &[image, weights], &[]);
    (builder.graph, weights)
}

/// Largest difference between weights and their recovered form, relative to the largest weight.
fn residual(quantized: &QuantizedConstant, weights: &[f32], channels: usize) -> f64 {
    let per_channel = weights.len() / channels;
    let largest = weights.iter().map(|w| f64::from(w.abs())).fold(0.0, f64::max);
    let off = |(index, &weight): (usize, &f32)| {
        let channel = index / per_channel;
        let integer = f64::from(quantized.codes[index]) - quantized.zero_point_at(channel);
        (integer * quantized.scale_at(channel) - f64::from(weight)).abs() / largest
    };
    weights.iter().enumerate().map(off).fold(0.0, f64::max)
}

/// Every range of codes comes back in as few bits as the quantizer had, whatever the sign of gamma.
#[test]
fn folded_weights_give_their_codes_back() {
    let ranges = [(-1, 1, 2), (-2, 1, 2), (-7, 7, 4), (-8, 7, 4), (-4, 3, 3), (-127, 127, 8), (-128, 127, 8)];
    let mut random = Random(1);
    for (low, high, bits) in ranges {
        let mut weights = Vec::new();
        for channel in 0..6 {
            let integers: Vec<i32> = match channel {
                // Both ends occur, with an even and an odd number, so that no common factor hides.
                0 => (0..27).map(|k| [low, high, 1, 0][k % 4]).collect(),
                _ => (0..27).map(|_| random.integer(low, high)).collect(),
            };
            let gamma = if channel % 2 == 0 { -1.7 } else { 0.3 } * (1.0 + channel as f32 / 7.0);
            weights.extend(folded(&integers, 0.013_7, gamma));
        }
        let (mut graph, id) = convolution(&[6, 3, 3, 3], &weights);
        assert_eq!(run(&mut graph, &BTreeSet::new()).unwrap(), Found::from([(bits, 1)]), "{low} to {high}");
        let quantized = graph.tensor(id).quantized.as_ref().unwrap();
        assert!(residual(quantized, &weights, 6) < TOLERANCE, "{low} to {high}");
    }
}

#[test]
fn binary_weights_take_one_bit() {
    let weights = [folded(&[1, -1, 1, 1], 0.2, 0.7), folded(&[-1, -1, -1, 1], 0.3, -0.9)].concat();
    let (mut graph, id) = convolution(&[2, 1, 2, 2], &weights);
    assert_eq!(run(&mut graph, &BTreeSet::new()).unwrap(), Found::from([(1, 1)]));
    let quantized = graph.tensor(id).quantized.as_ref().unwrap();
    assert_eq!(
        (quantized.codes.as_slice(), &quantized.zero_point[..]),
        (&[1, 0, 1, 1, 1, 1, 1, 0][..], &[0.5][..])
    );
}

/// DoReFa's 2-bit levels: −1, −1/3, 1/3, 1, rounded after the subtraction.
#[test]
fn grids_without_zero_take_odd_integers() {
    let level = |k: i32| (2.0 * (k as f32 / 3.0) - 1.0) * 0.77;
    let weights: Vec<f32> = (0..32).map(|k| level(k * k % 5 % 4)).collect();
    let (mut graph, id) = convolution(&[2, 1, 4, 4], &weights);
    assert_eq!(run(&mut graph, &BTreeSet::new()).unwrap(), Found::from([(2, 1)]));
    let quantized = graph.tensor(id).quantized.as_ref().unwrap();
    assert_eq!((quantized.low, quantized.high, &quantized.zero_point[..]), (0, 3, &[1.5][..]));
    assert!(residual(quantized, &weights, 2) < TOLERANCE);
}

/// A common factor of all codes, and a channel that a gamma of 0 emptied.
#[test]
fn common_factors_and_empty_channels_are_harmless() {
    let weights = [folded(&[6, -4, 2, 0], 0.1, 1.0), folded(&[7, -3, 2, 1], 0.1, 0.0)].concat();
    let (mut graph, id) = convolution(&[2, 1, 2, 2], &weights);
    run(&mut graph, &BTreeSet::new()).unwrap();
    let quantized = graph.tensor(id).quantized.as_ref().unwrap();
    assert_eq!(quantized.codes.iter().map(|code| code.abs()).collect::<Vec<_>>(), [3, 2, 1, 0, 0, 0, 0, 0]);
    assert!(residual(quantized, &weights, 2) < TOLERANCE);
}

/// `uint8` weights with a zero point reach further than 8 signed bits.
#[test]
fn asymmetric_grids_keep_a_zero_point() {
    let integers: Vec<i32> = (0..64).map(|k| k * 4 - 70).chain([185, -70, 1]).collect();
    let weights = folded(&integers, 0.004, 1.0);
    let (mut graph, id) = convolution(&[1, 1, 1, 67], &weights);
    run(&mut graph, &BTreeSet::new()).unwrap();
    let quantized = graph.tensor(id).quantized.as_ref().unwrap();
    assert_eq!((quantized.low, quantized.high, &quantized.zero_point[..]), (0, 255, &[70.0][..]));
    assert!(residual(quantized, &weights, 1) < TOLERANCE);
}

/// Floats lie on no grid: not random ones, and not a 4-bit grid that is off by far more than rounding.
#[test]
fn floats_are_refused_by_node() {
    let mut random = Random(7);
    for trial in 0..2000 {
        let len = 3 + trial % 20;
        let weights: Vec<f64> = (0..len).map(|_| random.next()).collect();
        assert_eq!(channel_grid(&weights), None, "{weights:?}");
    }
    let mut weights = folded(&[5, -7, 3, 2, 1, 4, -6, 7, -2], 0.1, 1.0);
    weights[4] *= 1.000_01;
    let (mut graph, _) = convolution(&[1, 1, 3, 3], &weights);
    let error = run(&mut graph, &BTreeSet::new()).unwrap_err();
    assert_eq!((error.kind(), error.op_type()), (ErrorKind::NotQuantized, Some("Conv")));
    assert!(error.to_string().contains("output channel 0 lie on no grid"), "{error}");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (mut graph, _) = convolution(&[2, 1, 1, 2], &[1.0, 2.0, 1.0, bad]);
        let error = run(&mut graph, &BTreeSet::new()).unwrap_err().to_string();
        assert!(error.contains(&format!("weight 1 of output channel 1 is {bad}")), "{error}");
    }
    // Weights of rank 0 have no channels.
    let (mut graph, _) = convolution(&[], &[1.0]);
    assert!(run(&mut graph, &BTreeSet::new()).is_err());
}

/// Code 0 is for zeros: beside a huge weight all others would be nearer to it than 32-bit floats tell apart.
#[test]
fn a_huge_weight_does_not_swallow_the_others() {
    let others = [1.0, -2.0, 0.5, 1.7, 0.0, 3.0, -0.3, 1.0];
    for huge in [1e6f32, 1e8, 1e12, 1e30] {
        let mut weights = others.to_vec();
        weights.push(huge);
        let (mut graph, _) = convolution(&[1, 1, 3, 3], &weights);
        let error = run(&mut graph, &BTreeSet::new()).unwrap_err().to_string();
        if huge > 1e6 {
            let told = format!("a weight of 3.000e-1 beside one of {huge:.3e}");
            assert!(error.contains(&told), "{error}");
        }
    }
    // Zeros beside it are zeros, whatever their sign.
    let (mut graph, id) = convolution(&[1, 1, 1, 4], &[0.0, 1e30, -0.0, -1e30]);
    run(&mut graph, &BTreeSet::new()).unwrap();
    let quantized = graph.tensor(id).quantized.as_ref().unwrap();
    assert_eq!(residual(quantized, &[0.0, 1e30, -0.0, -1e30], 1), 0.0);
}
