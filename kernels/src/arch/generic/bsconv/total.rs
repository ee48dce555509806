//! Sums of the levels of a window, for encodings whose weights are not unsigned.

use super::MAX_BITS;
use crate::simd::Simd;

/// Sum of the levels of a window: vectors of planes are counted by byte, and the bytes of a plane
/// added up with the plane's weight.
///
/// # Safety
/// - `steps · A` bytes from `window` plus each run's offset are readable, and 64 more.
#[inline(always)]
pub(crate) unsafe fn window_total<S: Simd, const A: usize>(
    simd: S,
    window: *const u8,
    runs: &[usize],
    steps: usize,
) -> i32 {
    /// Vectors of counts, up to 8 each, that a byte holds.
    const VECTORS: usize = 255 / 8;
    let whole = S::LANES / A * A;
    let mut counts = simd.zero();
    let mut counted = 0;
    let mut total = 0;
    for &run in runs {
        let mut position = 0;
        while position < steps * A {
            let now = whole.min(steps * A - position);
            // SAFETY: `position` is in the run, and a vector is not longer than the slack behind it;
            // the mask starts at most 64 bytes before the middle of 128.
            let levels = unsafe {
                let mask = simd.load(HEAD_MASKS.as_ptr().add(MASK_LEN - now));
                simd.and(simd.load(window.add(run + position)), mask)
            };
            if counted == VECTORS {
                total += weigh::<S, A>(simd, counts);
                counts = simd.zero();
                counted = 0;
            }
            counts = simd.add(counts, simd.popcount(levels));
            counted += 1;
            position += now;
        }
    }
    total + weigh::<S, A>(simd, counts)
}

/// Sum of the levels whose set bits were counted by byte, `[group][plane]`.
#[inline(always)]
fn weigh<S: Simd, const A: usize>(simd: S, counts: S::Bytes) -> i32 {
    let mut total = 0;
    for (j, mask) in PLANE_MASKS[A - 1].iter().enumerate().take(A) {
        // SAFETY: a mask has 64 bytes, and no vector has more.
        let mask = unsafe { simd.load(mask.as_ptr()) };
        total += simd.reduce(simd.and(counts, mask)) << j;
    }
    total as i32
}

/// At least the bytes of the widest vector.
const MASK_LEN: usize = 64;

/// From byte `MASK_LEN − n` on: `n` bytes of ones, then zeros.
static HEAD_MASKS: [u8; 2 * MASK_LEN] = {
    let mut masks = [0; 2 * MASK_LEN];
    let mut byte = 0;
    while byte < MASK_LEN {
        masks[byte] = 0xff;
        byte += 1;
    }
    masks
};

/// By `[A − 1][plane]`: ones where a byte belongs to the plane.
static PLANE_MASKS: [[[u8; MASK_LEN]; MAX_BITS]; MAX_BITS] = {
    let mut masks = [[[0; MASK_LEN]; MAX_BITS]; MAX_BITS];
    let mut planes = 1;
    while planes <= MAX_BITS {
        let mut byte = 0;
        while byte < MASK_LEN {
            masks[planes - 1][byte % planes][byte] = 0xff;
            byte += 1;
        }
        planes += 1;
    }
    masks
};
