//! The counters of bit-serial convolution, and how they are emptied before they overflow.

use super::{CHUNK, MAX_BITS};
use crate::simd::Simd;

/// Most classes: those of 4-bit weights and levels.
const MAX_CLASSES: usize = 2 * MAX_BITS - 1;

/// A loop over planes without the loop. Left to a compiler, 16 pairs of planes with a popcount of
/// several instructions stay a loop, and the counters in memory: a tenth of the speed.
macro_rules! unrolled {
    ($index:ident in 0..$end:ident, $body:block) => {
        unrolled!(@ $index $end $body 0 1 2 3)
    };
    (@ $index:ident $end:ident $body:block $($value:literal)*) => {
        $(if $value < $end {
            let $index: usize = $value;
            $body
        })*
    };
}

/// Steps that a counter of 8 bits holds: one adds at most 8 for each pair of planes in a class.
pub(super) const fn count_steps(w: usize, a: usize) -> usize {
    let pairs = if w < a { w } else { a };
    255 / (8 * pairs)
}

/// Steps that a sum of 16 bits holds: one adds at most 8 products of the largest codes.
const fn sum_steps(w: usize, a: usize) -> usize {
    65535 / (8 * ((1 << w) - 1) * ((1 << a) - 1))
}

/// What is counted, and where sums go.
pub(crate) mod mode {
    /// Ones in both weights and levels; sums of 16 bits are emptied into the result.
    pub(crate) const WIDE: u8 = 0;
    /// The same; sums stay in 16 bits, and wrap around there.
    pub(crate) const NARROW: u8 = 1;
    /// Where weights and levels differ, subtracted from sums that stay in 16 bits.
    pub(crate) const DIFFERENCES: u8 = 2;
}
use mode::{DIFFERENCES, NARROW, WIDE};

/// Counters and sums of `M` strips of one pixel, in one of the modes.
pub(crate) struct Counters<'a, S: Simd, const W: usize, const A: usize, const M: usize, const MODE: u8> {
    simd: S,
    /// By strip and class; the last classes are unused unless `W` and `A` are 4.
    counts: [[S::Bytes; MAX_CLASSES]; M],
    sums: &'a mut [S::Sums; M],
    /// Chunks that the counts have room for.
    left: usize,
    /// Steps that the sums hold.
    summed: usize,
    /// `M · S::LANES` numbers.
    result: *mut i32,
    /// Whether `result` has been written.
    written: bool,
}

impl<'a, S: Simd, const W: usize, const A: usize, const M: usize, const MODE: u8>
    Counters<'a, S, W, A, M, MODE>
{
    /// Whether counts and sums are too many registers beside what a step needs. Then the sums are
    /// better in memory altogether than moved there and back around every loop.
    const SUMS_IN_MEMORY: bool =
        M * (W + A - 1 + 2) > if MODE == WIDE { S::REGISTERS / 2 } else { S::REGISTERS * 5 / 8 };
    /// Chunks of steps that the counts hold.
    const CHUNKS: usize = count_steps(W, A) / CHUNK;

    /// Counters at 0, and sums as they are.
    ///
    /// # Safety
    /// - If the mode is `WIDE`, `M · S::LANES` numbers from `result` on are writable as long as the counters exist.
    #[inline(always)]
    pub(crate) unsafe fn new(simd: S, sums: &'a mut [S::Sums; M], result: *mut i32) -> Self {
        const { assert!(matches!(MODE, WIDE | NARROW | DIFFERENCES)) }
        if Self::SUMS_IN_MEMORY {
            simd.keep_in_memory(sums);
        }
        let counts = [[simd.zero(); MAX_CLASSES]; M];
        Self { simd, counts, sums, left: Self::CHUNKS, summed: 0, result, written: false }
    }

    /// Makes room for a chunk, if there is none; returns for how many there is room.
    #[inline(always)]
    pub(super) fn room(&mut self) -> usize {
        if self.left == 0 {
            self.empty_counts();
        }
        self.left
    }

    /// Accounts for chunks for which there was room. One that is not full counts as a whole.
    #[inline(always)]
    pub(super) fn counted(&mut self, chunks: usize) {
        self.left -= chunks;
    }

    /// Step `K` of a source and of each strip's weights. Returns the source.
    ///
    /// # Safety
    /// - The source holds bytes `K · A` to `K · A + A − 1`.
    /// - Vectors `K · W` to `K · W + W − 1` from each of `weights` on are readable.
    #[inline(always)]
    pub(super) unsafe fn step<const K: usize>(
        &mut self,
        source: S::Source,
        weights: &[*const u8; M],
    ) -> S::Source {
        let simd = self.simd;
        let mut levels = [simd.zero(); MAX_BITS];
        unrolled!(j in 0..A, {
            // SAFETY: the caller vouches for the source's bytes.
            levels[j] = unsafe { simd.broadcast(source, K * A + j) };
        });
        for m in 0..M {
            unrolled!(i in 0..W, {
                // SAFETY: the caller vouches for the vectors.
                let weights = unsafe { simd.load(weights[m].add((K * W + i) * S::LANES)) };
                unrolled!(j in 0..A, {
                    let counted = match MODE {
                        DIFFERENCES => simd.xor(weights, levels[j]),
                        _ => simd.and(weights, levels[j]),
                    };
                    self.counts[m][i + j] = simd.add(self.counts[m][i + j], simd.popcount(counted));
                });
            });
        }
        simd.after(source, self.counts[M - 1][W + A - 2])
    }

    /// Empties the counts into the sums.
    #[inline(always)]
    pub(crate) fn empty_counts(&mut self) {
        let counted = (Self::CHUNKS - self.left) * CHUNK;
        if MODE == WIDE && self.summed + counted > sum_steps(W, A) {
            self.empty_sums();
        }
        for m in 0..M {
            for class in 0..W + A - 1 {
                let (sums, counts) = (self.sums[m], self.counts[m][class]);
                self.sums[m] = match MODE {
                    DIFFERENCES => self.simd.subtract_shifted(sums, counts, class as u32),
                    _ => self.simd.add_shifted(sums, counts, class as u32),
                };
                self.counts[m][class] = self.simd.zero();
            }
        }
        self.summed += counted;
        self.left = Self::CHUNKS;
    }

    /// Empties the sums into the result.
    #[inline(always)]
    fn empty_sums(&mut self) {
        for m in 0..M {
            // SAFETY: `new`'s caller vouches for the numbers; they are read only after a write.
            unsafe {
                let result = self.result.add(m * S::LANES);
                self.simd.store_sums(self.sums[m], result, self.written);
            }
            self.sums[m] = self.simd.zero_sums();
        }
        self.summed = 0;
        self.written = true;
    }

    /// Empties everything into the result.
    #[inline(always)]
    pub(super) fn finish(mut self) {
        self.empty_counts();
        self.empty_sums();
    }
}
