//! Functions of levels on bit planes with NEON. Of two bits, the planes of `a` and `b` are copied to both
//! bytes of each pair (TRN), so that both polynomials are evaluated side by side: 46 instructions for 64
//! levels.

use std::arch::aarch64::*;

use crate::arch::aarch64::simd::Neon;
use crate::arch::generic::combine::combine;
use crate::combine::{CombineRow, PlaneFunction};

/// Bytes of a vector.
const LANES: usize = 16;

/// Computes a row, which has been checked.
///
/// # Safety
/// - The CPU has Advanced SIMD.
pub(crate) unsafe fn combine_row(row: &mut CombineRow<'_>) {
    // SAFETY: the CPU has NEON, the caller's promise.
    let neon = unsafe { Neon::new_unchecked() };
    let function = row.function;
    let len = if row.strides == [row.pixel_len; 3] { LANES } else { row.pixel_len };
    match (function.bits, len) {
        (1, 2) => gathered::<2, 2>(neon, row),
        (1, 4) => gathered::<2, 4>(neon, row),
        (1, 8) => gathered::<2, 8>(neon, row),
        (1, _) => row.for_each(|a, b, output| vectors::<2>(neon, function, a, b, output)),
        (_, 4) => gathered::<4, 4>(neon, row),
        (_, 8) => gathered::<4, 8>(neon, row),
        (_, _) => row.for_each(|a, b, output| vectors::<4>(neon, function, a, b, output)),
    }
}

/// Pixels of `LEN` bytes with gaps between them: as many at a time as a vector holds.
fn gathered<const V: usize, const LEN: usize>(neon: Neon, row: &mut CombineRow<'_>) {
    let [a_stride, b_stride, output_stride] = row.strides;
    for first in (0..row.pixels).step_by(LANES / LEN) {
        let count = (row.pixels - first).min(LANES / LEN);
        let (mut a, mut b, mut output) = ([0; LANES], [0; LANES], [0; LANES]);
        for pixel in 0..count {
            let at = first + pixel;
            a[pixel * LEN..][..LEN].copy_from_slice(&row.a[at * a_stride..][..LEN]);
            b[pixel * LEN..][..LEN].copy_from_slice(&row.b[at * b_stride..][..LEN]);
        }
        vectors::<V>(neon, row.function, &a, &b, &mut output);
        for pixel in 0..count {
            let out = &mut row.output[(first + pixel) * output_stride..][..LEN];
            out.copy_from_slice(&output[pixel * LEN..][..LEN]);
        }
    }
}

/// A stretch of levels that have `V` bits together.
#[inline(always)]
fn vectors<const V: usize>(_: Neon, function: &PlaneFunction, a: &[u8], b: &[u8], output: &mut [u8]) {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let (output, output_rest) = output.as_chunks_mut::<LANES>();
    // SAFETY: the token proves NEON; loads and stores are of arrays of 16 bytes, or of two copied.
    unsafe {
        let coefficients: [uint8x16_t; 16] = std::array::from_fn(|product| {
            let [low, high] = function.coefficients[product];
            let high = if V == 2 { low } else { high };
            vreinterpretq_u8_u16(vdupq_n_u16(u16::from_le_bytes([low, high])))
        });
        for ((a, b), output) in a.iter().zip(b).zip(output) {
            let (a, b) = (vld1q_u8(a.as_ptr()), vld1q_u8(b.as_ptr()));
            let factors = if V == 2 {
                [a, b, a, b]
            } else {
                [vtrn1q_u8(a, a), vtrn2q_u8(a, a), vtrn1q_u8(b, b), vtrn2q_u8(b, b)]
            };
            let mut products = [vdupq_n_u8(u8::MAX); 16];
            let mut sum = coefficients[0];
            for (variable, &factor) in factors.iter().enumerate().take(V) {
                for smaller in 0..1 << variable {
                    let product = smaller | 1 << variable;
                    products[product] =
                        if smaller == 0 { factor } else { vandq_u8(products[smaller], factor) };
                    sum = veorq_u8(sum, vandq_u8(products[product], coefficients[product]));
                }
            }
            vst1q_u8(output.as_mut_ptr(), sum);
        }
    }
    combine(function, a_rest, b_rest, output_rest);
}
