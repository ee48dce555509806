//! Tiles that end in levels: their sums are requantized while they are in the L1 cache, in a loop over pixels that is
//! made for the arithmetic. By [`Requantizer::apply`](crate::requantize::Requantizer::apply), which finds it anew for
//! each 32 pixels and compares 16 sums instead of 32 at a time, and with a call for each row, the 1×1 convolutions of
//! YOLOv5s at 80×80 took 1.6 times as long.

use std::arch::x86_64::*;

use super::tiles::{Grid, for_sums};
use super::{LANES, OUTPUTS, PARTS};
use crate::arch::generic::requantize::{Convert, lanes};
use crate::arch::x86_64::avx512::requantize::{Few, Fixed, Gathered, Shifted};
use crate::families::direct::{LevelsEnd, LevelsTile};
use crate::requantize::RequantizeTile;
use crate::requantize::forms::{Form, Thresholds};

/// Most thresholds that are compared here.
const STEPS: usize = 3;

/// # Safety
/// - As `run` of [`ConvLevels`](crate::families::direct::ConvLevels).
pub(super) unsafe fn run_levels<const S: usize>(tile: &mut LevelsTile<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.end.requantizer.arithmetic() {
            Form::Thresholds16(form) if form.steps <= 1 => levels(&Packed::<1>(form), tile, S),
            Form::Thresholds16(form) if form.steps <= STEPS => levels(&Packed::<STEPS>(form), tile, S),
            Form::Thresholds32(form) if form.steps <= STEPS => {
                levels(&Halves(Few::<i32, STEPS>(form)), tile, S)
            }
            Form::Narrow(form) => levels(&Halves(Shifted(form)), tile, S),
            Form::Fixed(form) => levels(&Halves(Fixed(form)), tile, S),
            Form::Cells(form) => levels(&Halves(Gathered(form)), tile, S),
            _ => levels(&Any, tile, S),
        }
    }
}

/// Requantization of the sums of 32 outputs.
trait Finish {
    /// What depends on the outputs only.
    type Constants;

    /// The constants of 32 outputs from `first` on.
    fn constants(&self, end: &LevelsEnd<'_>, first: usize) -> Self::Constants;

    /// Writes the levels of those outputs of pixels, whose sums are `[pixel][32]`, from `at` on, `channels` of each pixel.
    fn finish(
        &self,
        constants: &Self::Constants,
        end: &mut LevelsEnd<'_>,
        sums: &[[i32; OUTPUTS]],
        place: Place,
    );
}

/// Where levels go.
#[derive(Clone, Copy)]
struct Place {
    /// First output of the block.
    first: usize,
    /// Outputs that exist, at most 32.
    channels: usize,
    /// Offset of the first pixel's first level.
    at: usize,
}

/// Of a micro-kernel of `parts` times 32 outputs, which is not a constant here: the program would have three times as many
/// of these loops.
///
/// # Safety
/// - As [`run_levels`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn levels<F: Finish>(form: &F, tile: &mut LevelsTile<'_>, parts: usize) {
    let LevelsTile { conv, end, rows } = tile;
    let constants: [F::Constants; PARTS] = std::array::from_fn(|part| form.constants(end, part * OUTPUTS));
    let finish = |end: &mut LevelsEnd<'_>, part: usize, sums: &[[i32; OUTPUTS]], at: usize| {
        let first = part * OUTPUTS;
        let channels = end.outputs.saturating_sub(first).min(OUTPUTS);
        if channels > 0 {
            form.finish(&constants[part], end, sums, Place { first, channels, at: at + first });
        }
    };
    if conv.pixels == 0 {
        return;
    }
    if conv.depth == 0 || conv.runs.is_empty() {
        for (row, pixel) in (0..rows.count).flat_map(|row| (0..conv.pixels).map(move |pixel| (row, pixel))) {
            let at = row * rows.level_step + pixel * end.level_stride;
            (0..parts).for_each(|part| finish(end, part, &[[0; OUTPUTS]], at));
        }
        return;
    }
    let grid = Grid::new(conv, *rows);
    // SAFETY: the CPU is the caller's promise, and `is_available` has got the permission. The tile was checked, and has
    // pixels, runs and levels.
    unsafe {
        for_sums(conv, &grid, parts, |tile, part, sums| {
            grid.for_spans(tile, |pixel, [row, column], count| {
                let at = row * rows.level_step + column * end.level_stride;
                finish(end, part, &sums[pixel..][..count], at);
            });
        });
    }
}

/// [`Thresholds`] of at most `N` steps in 16 bits: sums are packed with saturation, so that 32 are compared at once.
///
/// Packing takes four sums of the first 16 outputs and four of the others in turn; thresholds lie in the same order, and
/// one permutation puts the levels of two pixels in theirs.
struct Packed<'a, const N: usize>(&'a Thresholds<i16>);

/// Constants of [`Packed`].
struct PackedConstants<const N: usize> {
    thresholds: [__m512i; N],
    /// Twice those of 32 outputs.
    base: __m512i,
    direction: __m512i,
}

/// Where level `32 p + o` of two pixels `p` is after packing.
static ORDER: [u8; 64] = {
    let mut order = [0; 64];
    let mut at = 0;
    while at < 64 {
        let (pixel, half, output) = (at / 32, at / 16 % 2, at % 16);
        order[at] = (output / 4 * 16 + pixel * 8 + half * 4 + output % 4) as u8;
        at += 1;
    }
    order
};

impl<const N: usize> Finish for Packed<'_, N> {
    type Constants = PackedConstants<N>;

    #[inline(always)]
    fn constants(&self, end: &LevelsEnd<'_>, first: usize) -> Self::Constants {
        let form = self.0;
        let row = form.base.len();
        let channels = [first, first + LANES].map(|output| channel(end, output));
        // SAFETY: the caller, `levels`, has the instructions.
        unsafe {
            let mut thresholds = [_mm512_set1_epi16(i16::MAX); N];
            for (step, thresholds) in thresholds.iter_mut().enumerate().take(form.steps) {
                let first = lanes(&form.thresholds, step * row + channels[0]);
                *thresholds = pack(first, lanes(&form.thresholds, step * row + channels[1]));
            }
            let base = twice(lanes(&form.base, channels[0]), lanes(&form.base, channels[1]));
            let direction = twice(lanes(&form.direction, channels[0]), lanes(&form.direction, channels[1]));
            PackedConstants { thresholds, base, direction }
        }
    }

    #[inline(always)]
    fn finish(
        &self,
        constants: &Self::Constants,
        end: &mut LevelsEnd<'_>,
        sums: &[[i32; OUTPUTS]],
        place: Place,
    ) {
        // SAFETY: the caller, `levels`, has the instructions; vectors are loaded from and stored to arrays of their
        // length.
        unsafe {
            let stride = end.level_stride;
            let (pairs, rest) = sums.as_chunks::<2>();
            for (pair, [first, second]) in pairs.iter().enumerate() {
                let levels = constants.levels(constants.counts(first), constants.counts(second));
                let at = place.at + 2 * pair * stride;
                store(end, at, place.channels, _mm512_castsi512_si256(levels));
                store(end, at + stride, place.channels, _mm512_extracti64x4_epi64::<1>(levels));
            }
            if let [last] = rest {
                let levels = constants.levels(constants.counts(last), _mm512_setzero_si512());
                let at = place.at + 2 * pairs.len() * stride;
                store(end, at, place.channels, _mm512_castsi512_si256(levels));
            }
        }
    }
}

// These are functions, not closures, which would be compiled without the instructions that they are inlined for.
impl<const N: usize> PackedConstants<N> {
    /// Minus the number of thresholds that the sums of a pixel exceed.
    ///
    /// # Safety
    /// - The CPU has AVX-512.
    #[inline(always)]
    unsafe fn counts(&self, sums: &[i32; OUTPUTS]) -> __m512i {
        // SAFETY: the CPU is the caller's promise; both halves of the array are loaded.
        unsafe {
            let first = _mm512_loadu_si512(sums.as_ptr().cast());
            let sums = _mm512_packs_epi32(first, _mm512_loadu_si512(sums.as_ptr().add(LANES).cast()));
            let mut counts = _mm512_movm_epi16(_mm512_cmpgt_epi16_mask(sums, self.thresholds[0]));
            for &thresholds in &self.thresholds[1..] {
                let passed = _mm512_cmpgt_epi16_mask(sums, thresholds);
                counts = _mm512_mask_sub_epi16(counts, passed, counts, _mm512_set1_epi16(1));
            }
            counts
        }
    }

    /// The levels of two pixels.
    ///
    /// # Safety
    /// - The CPU has AVX-512.
    #[inline(always)]
    unsafe fn levels(&self, first: __m512i, second: __m512i) -> __m512i {
        // SAFETY: the CPU is the caller's promise; the table has 64 bytes.
        unsafe {
            let order = _mm512_loadu_si512(ORDER.as_ptr().cast());
            let counts = _mm512_permutexvar_epi8(order, _mm512_packs_epi16(first, second));
            _mm512_add_epi8(self.base, _mm512_xor_si512(counts, self.direction))
        }
    }
}

/// Thresholds in the order in which sums are packed.
///
/// # Safety
/// - The CPU has AVX-512.
#[inline(always)]
unsafe fn pack(first: &[i16; LANES], second: &[i16; LANES]) -> __m512i {
    // SAFETY: the CPU is the caller's promise; the arrays have the vectors' length.
    unsafe {
        let first = _mm512_cvtepi16_epi32(_mm256_loadu_si256(first.as_ptr().cast()));
        _mm512_packs_epi32(first, _mm512_cvtepi16_epi32(_mm256_loadu_si256(second.as_ptr().cast())))
    }
}

/// Two times the bytes of 32 outputs.
///
/// # Safety
/// - The CPU has AVX-512.
#[inline(always)]
unsafe fn twice(first: &[u8; LANES], second: &[u8; LANES]) -> __m512i {
    // SAFETY: the CPU is the caller's promise; the arrays have the vectors' length.
    unsafe {
        let first = _mm_loadu_si128(first.as_ptr().cast());
        _mm512_broadcast_i64x4(_mm256_set_m128i(_mm_loadu_si128(second.as_ptr().cast()), first))
    }
}

/// The channel whose constants an output has; of outputs that do not exist, any.
fn channel(end: &LevelsEnd<'_>, output: usize) -> usize {
    end.constants_channel(if output < end.outputs { output } else { 0 })
}

/// Stores the first `channels` of 32 levels.
///
/// # Safety
/// - The CPU has AVX-512.
#[inline(always)]
unsafe fn store(end: &mut LevelsEnd<'_>, at: usize, channels: usize, levels: __m256i) {
    let out = &mut end.levels[at..][..channels];
    // SAFETY: the CPU is the caller's promise; the mask leaves only bytes of the slice.
    unsafe {
        if channels == OUTPUTS {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), levels);
        } else {
            _mm256_mask_storeu_epi8(out.as_mut_ptr().cast(), (1u32 << channels) - 1, levels);
        }
    }
}

/// Arithmetic for 16 outputs, twice.
struct Halves<F>(F);

impl<F: Convert<1>> Finish for Halves<F> {
    type Constants = [F::Constants; 2];

    #[inline(always)]
    fn constants(&self, end: &LevelsEnd<'_>, first: usize) -> Self::Constants {
        [first, first + LANES].map(|output| self.0.constants(channel(end, output)))
    }

    #[inline(always)]
    fn finish(
        &self,
        constants: &Self::Constants,
        end: &mut LevelsEnd<'_>,
        sums: &[[i32; OUTPUTS]],
        place: Place,
    ) {
        for (pixel, sums) in sums.iter().enumerate() {
            let out = &mut end.levels[place.at + pixel * end.level_stride..][..place.channels];
            for (half, (constants, out)) in constants.iter().zip(out.chunks_mut(LANES)).enumerate() {
                let levels = self.0.convert(constants, [lanes(sums, half * LANES)]);
                match out.first_chunk_mut() {
                    Some(out) => *out = levels,
                    None => out.copy_from_slice(&levels[..out.len()]),
                }
            }
        }
    }
}

/// Whatever the requantizer does.
struct Any;

impl Finish for Any {
    type Constants = ();

    fn constants(&self, _: &LevelsEnd<'_>, _: usize) {}

    fn finish(&self, (): &(), end: &mut LevelsEnd<'_>, sums: &[[i32; OUTPUTS]], place: Place) {
        end.requantizer.apply(&mut RequantizeTile {
            accumulators: &[sums.as_flattened()],
            stride: OUTPUTS,
            pixels: sums.len(),
            first_channel: end.first_channel + place.first,
            channels: place.channels,
            levels: &mut end.levels[place.at..],
            level_stride: end.level_stride,
        });
    }
}
