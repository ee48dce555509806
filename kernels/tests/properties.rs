//! What holds for all encodings, planes and convolutions.

#[path = "support/case.rs"]
mod case;

use case::{Case, Fill, Shape, operands_of};
use proptest::collection::vec;
use proptest::prelude::*;
use ylb_kernels::bitplanes::{BitPlanes, NotBitPlanes, pack};
use ylb_kernels::encoding::Encoding;
use ylb_kernels::families::direct::{Conv, ConvKernel};
use ylb_kernels::reference::{ConvShape, Window, conv};
use ylb_kernels::registry;

const ENCODINGS: [Encoding; 3] = [Encoding::Unsigned, Encoding::TwosComplement, Encoding::Bipolar];

#[test]
fn codes_and_values_are_inverse() {
    for encoding in ENCODINGS {
        for bits in 1..=8u8 {
            let codes: Vec<u8> = (0..1u16 << bits).map(|code| code as u8).collect();
            let values: Vec<i32> = codes.iter().map(|&code| encoding.value(code, bits)).collect();
            let range = encoding.range(bits);
            assert_eq!((values.iter().min(), values.iter().max()), (Some(range.start()), Some(range.end())));
            for (&code, &value) in codes.iter().zip(&values) {
                assert_eq!(encoding.code(value, bits), Some(code), "{encoding:?} {bits}");
            }
            let known = (-300..300).filter(|&value| encoding.code(value, bits).is_some()).count();
            assert_eq!(known, codes.len(), "{encoding:?} {bits}");
        }
    }
}

#[test]
fn values_are_those_of_the_encodings() {
    assert_eq!([0, 1].map(|code| Encoding::Bipolar.value(code, 1)), [-1, 1]);
    assert_eq!([0, 1, 2, 3].map(|code| Encoding::Bipolar.value(code, 2)), [-3, -1, 1, 3]);
    assert_eq!([0, 1, 2, 3].map(|code| Encoding::TwosComplement.value(code, 2)), [0, 1, -2, -1]);
    assert_eq!([0, 1].map(|code| Encoding::TwosComplement.value(code, 1)), [0, -1]);
    assert_eq!(Encoding::TwosComplement.range(8), -128..=127);
    assert_eq!(Encoding::Unsigned.range(8), 0..=255);
}

/// The definition: a plane a bit, codes in order, the first in the lowest bit of the first byte.
fn planes_by_definition(codes: &[u8], bits: u8) -> Vec<u8> {
    let plane_len = codes.len().div_ceil(8);
    let mut planes = vec![0; plane_len * usize::from(bits)];
    for (i, code) in codes.iter().enumerate() {
        for plane in 0..usize::from(bits) {
            planes[plane * plane_len + i / 8] |= (code >> plane & 1) << (i % 8);
        }
    }
    planes
}

/// Codes and their width.
fn codes() -> impl Strategy<Value = (Vec<u8>, u8)> {
    (1..=8u8).prop_flat_map(|bits| (vec(0..=(u8::MAX >> (8 - bits)), 0..100), Just(bits)))
}

proptest! {
    #[test]
    fn planes_hold_the_codes((codes, bits) in codes()) {
        let bytes = pack(&codes, bits);
        prop_assert_eq!(&bytes, &planes_by_definition(&codes, bits));
        let planes = BitPlanes::new(&bytes, codes.len(), bits).unwrap();
        prop_assert_eq!(planes.codes().collect::<Vec<_>>(), codes);
    }

    #[test]
    fn a_tail_bit_is_found((codes, bits) in codes(), plane in 0..8u8, bit in 0..8usize) {
        let (plane, bit) = (plane % bits, bit.max(codes.len() % 8));
        prop_assume!(codes.len() % 8 != 0);
        let mut bytes = pack(&codes, bits);
        bytes[(usize::from(plane) + 1) * codes.len().div_ceil(8) - 1] |= 1 << bit;
        prop_assert_eq!(BitPlanes::new(&bytes, codes.len(), bits), Err(NotBitPlanes::TailBits(plane)));
    }

    #[test]
    fn a_wrong_length_is_found((codes, bits) in codes(), more in 1..3usize) {
        let mut bytes = pack(&codes, bits);
        let expected = Some(bytes.len());
        bytes.extend(vec![0; more]);
        let found = bytes.len();
        let error = NotBitPlanes::Length { expected, found };
        prop_assert_eq!(BitPlanes::new(&bytes, codes.len(), bits), Err(error));
    }

    /// A convolution is linear: the oracle's results for two inputs add up to that for their sum.
    #[test]
    fn the_oracle_is_linear(
        channels in 1..4usize, height in 1..6usize, width in 1..6usize, outputs in 1..4usize,
        kernel in 1..4usize, stride in 1..3usize, padding in 0..2usize, seed in any::<u64>(),
    ) {
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding.min(kernel - 1); 4] };
        let shape = ConvShape { channels, height, width, outputs, groups: 1, window };
        let mut random = case::Random(seed);
        let mut numbers = |len: usize| (0..len).map(|_| random.within(-255..=255)).collect::<Vec<_>>();
        let (a, b) = (numbers(channels * height * width), numbers(channels * height * width));
        let weights = numbers(shape.weights());
        let sum: Vec<i32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let results = conv(&shape, &a, &weights).into_iter().zip(conv(&shape, &b, &weights));
        prop_assert_eq!(conv(&shape, &sum, &weights), results.map(|(a, b)| a + b).collect::<Vec<_>>());
    }

    #[test]
    fn micro_kernels_equal_the_formula(
        kernel in any::<prop::sample::Index>(), operands in any::<prop::sample::Index>(),
        pixels in 0..10usize, runs in 0..5usize, groups in 0..24usize, odd in 0..8usize,
        step in 0..20usize, outputs in any::<prop::sample::Index>(), seed in any::<u64>(),
    ) {
        let available: Vec<Conv> = registry::available::<ConvKernel>().collect();
        let conv = kernel.get(&available);
        let kernel = conv.kernel();
        let (depth, step) = (groups * 8, step * 8);
        let (depth, step) = if kernel.bit_serial { (depth, step) } else { (depth + odd, step + odd) };
        let outputs = outputs.index(kernel.nr + 1);
        let supported = operands_of(kernel, depth, outputs);
        prop_assume!(!supported.is_empty());
        let shape = Shape { pixels, runs, depth, step, outputs };
        let case = Case::new(kernel, *operands.get(&supported), shape, Fill::Random(seed));
        prop_assert_eq!(case.failure(conv), None);
    }
}
