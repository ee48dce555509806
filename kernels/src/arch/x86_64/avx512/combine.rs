//! Functions of levels on bit planes with AVX-512. Of two bits, the planes of `a` and `b` are copied to both bytes
//! of each pair, so that both polynomials are evaluated side by side.

use std::arch::x86_64::*;

use crate::combine::{CombineRow, PlaneFunction};

/// Bytes of a vector.
const LANES: usize = 64;

/// Computes a row, which has been checked.
///
/// # Safety
/// - The CPU has AVX-512F and AVX-512BW.
pub(super) unsafe fn combine_row(row: &mut CombineRow<'_>) {
    // SAFETY: the CPU is the caller's promise.
    unsafe {
        match row.function.bits {
            1 => combine::<2>(row),
            _ => combine::<4>(row),
        }
    }
}

/// # Safety
/// - The CPU has AVX-512F and AVX-512BW; the row has been checked, and its levels have `V / 2` bits.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn combine<const V: usize>(row: &mut CombineRow<'_>) {
    let function = row.function;
    let len = row.pixel_len;
    if row.strides != [len; 3] && len > 0 && len <= LANES / 2 {
        return gathered::<V>(row);
    }
    // SAFETY: this function's promises.
    row.for_each(|a, b, output| unsafe { vectors::<V>(function, a, b, output) });
}

/// Pixels with gaps between them: as many at a time as a vector holds.
#[target_feature(enable = "avx512f,avx512bw")]
fn gathered<const V: usize>(row: &mut CombineRow<'_>) {
    match row.pixel_len {
        2 => gathered_len::<V, 2>(row),
        4 => gathered_len::<V, 4>(row),
        8 => gathered_len::<V, 8>(row),
        16 => gathered_len::<V, 16>(row),
        32 => gathered_len::<V, 32>(row),
        len => gathered_pixels::<V>(row, len),
    }
}

/// [`gathered_pixels`] of a constant length, so that copying takes an instruction.
#[target_feature(enable = "avx512f,avx512bw")]
fn gathered_len<const V: usize, const LEN: usize>(row: &mut CombineRow<'_>) {
    gathered_pixels::<V>(row, LEN);
}

#[inline(always)]
fn gathered_pixels<const V: usize>(row: &mut CombineRow<'_>, len: usize) {
    let [a_stride, b_stride, output_stride] = row.strides;
    let at_once = LANES / len;
    for first in (0..row.pixels).step_by(at_once) {
        let count = (row.pixels - first).min(at_once);
        let (mut a, mut b, mut output) = ([0; LANES], [0; LANES], [0; LANES]);
        for pixel in 0..count {
            let at = first + pixel;
            a[pixel * len..][..len].copy_from_slice(&row.a[at * a_stride..][..len]);
            b[pixel * len..][..len].copy_from_slice(&row.b[at * b_stride..][..len]);
        }
        // SAFETY: the callers have the instructions.
        unsafe { vectors::<V>(row.function, &a, &b, &mut output) };
        for pixel in 0..count {
            let out = &mut row.output[(first + pixel) * output_stride..][..len];
            out.copy_from_slice(&output[pixel * len..][..len]);
        }
    }
}

/// A stretch of levels that have `V` bits together.
///
/// # Safety
/// - The CPU has AVX-512F and AVX-512BW.
#[inline(always)]
unsafe fn vectors<const V: usize>(function: &PlaneFunction, a: &[u8], b: &[u8], output: &mut [u8]) {
    // SAFETY: the CPU is the caller's promise. The masks leave only bytes of the slices, which are of equal
    // length.
    unsafe {
        let coefficients: [__m512i; 16] = std::array::from_fn(|product| {
            let [low, high] = function.coefficients[product];
            let high = if V == 2 { low } else { high };
            _mm512_set1_epi16(i16::from_le_bytes([low, high]))
        });
        let low_bytes = _mm512_set1_epi16(0xff);
        let low = |x: __m512i| {
            let low = _mm512_and_si512(x, low_bytes);
            _mm512_or_si512(low, _mm512_slli_epi16::<8>(low))
        };
        let high = |x: __m512i| low(_mm512_srli_epi16::<8>(x));
        for at in (0..output.len()).step_by(LANES) {
            let mask = u64::MAX >> (LANES - (output.len() - at).min(LANES));
            let a = _mm512_maskz_loadu_epi8(mask, a.as_ptr().add(at).cast());
            let b = _mm512_maskz_loadu_epi8(mask, b.as_ptr().add(at).cast());
            let factors = if V == 2 { [a, b, a, b] } else { [low(a), high(a), low(b), high(b)] };
            let mut products = [_mm512_set1_epi8(-1); 16];
            let mut sum = coefficients[0];
            for (variable, &factor) in factors.iter().enumerate().take(V) {
                for smaller in 0..1 << variable {
                    let product = smaller | 1 << variable;
                    products[product] = _mm512_and_si512(products[smaller], factor);
                    // sum ^ (product & coefficient)
                    sum = _mm512_ternarylogic_epi32::<0x78>(sum, products[product], coefficients[product]);
                }
            }
            _mm512_mask_storeu_epi8(output.as_mut_ptr().add(at).cast(), mask, sum);
        }
    }
}
