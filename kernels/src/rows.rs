//! Work on rows of levels: packing into planes and back, look-up, largest level.
//!
//! Everything that is not a convolution works on [`Form::Bytes`](crate::layout::Form::Bytes), one byte
//! a level. The instruction set is chosen once, by [`Rows::new`].

use crate::arch;
use crate::combine::CombineRow;
use crate::ukernel::Engine;

/// The fastest functions on rows that this CPU can run. Made once, when a network is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Rows(&'static RowKernels);

/// The functions that differ between instruction sets.
#[derive(Debug)]
pub(crate) struct RowKernels {
    pub(crate) engine: Engine,
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The row has been checked by [`PackRow::check`].
    pub(crate) pack: unsafe fn(&mut PackRow<'_>),
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The row has been checked by [`UnpackRow::check`].
    pub(crate) unpack: unsafe fn(&mut UnpackRow<'_>),
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The row has been checked by [`CombineRow::check`].
    pub(crate) combine: unsafe fn(&mut CombineRow<'_>),
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The rows have one length.
    pub(crate) lookup2: unsafe fn(Lookup2<'_>, output: &mut [u8]),
}

/// A function of two levels, as a table, and two rows of levels: see [`Rows::lookup2`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup2<'a> {
    pub(crate) a: &'a [u8],
    pub(crate) b: &'a [u8],
    pub(crate) b_levels: usize,
    pub(crate) table: &'a [u8],
}

/// THE list of row functions, fastest first.
static ROW_KERNELS: &[&RowKernels] = &[
    #[cfg(target_arch = "aarch64")]
    &arch::aarch64::pack::ROWS_NEON,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::avx512::pack::ROWS_AVX512,
    #[cfg(target_arch = "x86_64")]
    &arch::x86_64::pack::ROWS_AVX2,
    &arch::generic::pack::ROWS_GENERIC,
];

/// A row of pixels from bytes to planes. See [`Form::Planes`](crate::layout::Form::Planes).
#[derive(Debug)]
pub struct PackRow<'a> {
    /// The levels of pixel `p` begin at `p · level_stride`. Bits beyond `bits` are ignored.
    pub levels: &'a [u8],
    /// Bytes from a pixel to the next in `levels`.
    pub level_stride: usize,
    /// Number of pixels.
    pub pixels: usize,
    /// Channels of a pixel. Those missing to a multiple of 8 are written as level 0.
    pub channels: usize,
    /// Planes, 1 to 4.
    pub bits: u8,
    /// Result: `⌈channels / 8⌉ · bits` bytes for each pixel, at `p · pixel_stride`.
    pub planes: &'a mut [u8],
    /// Bytes from a pixel to the next in `planes`.
    pub pixel_stride: usize,
}

/// A row of pixels from planes to bytes.
#[derive(Debug)]
pub struct UnpackRow<'a> {
    /// `⌈channels / 8⌉ · bits` bytes for each pixel, at `p · pixel_stride`.
    pub planes: &'a [u8],
    /// Bytes from a pixel to the next in `planes`.
    pub pixel_stride: usize,
    /// Number of pixels.
    pub pixels: usize,
    /// Channels of a pixel; only these are written.
    pub channels: usize,
    /// Planes, 1 to 4.
    pub bits: u8,
    /// Result: the levels of pixel `p` begin at `p · level_stride`.
    pub levels: &'a mut [u8],
    /// Bytes from a pixel to the next in `levels`.
    pub level_stride: usize,
}

impl Rows {
    /// The fastest functions of this CPU, or those of an engine named in `restriction`, which is
    /// written as [`KERNELS_VARIABLE`](crate::cpu::KERNELS_VARIABLE): a comma-separated list. Parts
    /// that name no engine of such functions (`mulconv`, say) do not restrict them.
    pub fn new(restriction: &str) -> Self {
        let named = |rows: &Rows| restriction.split(',').any(|part| part.contains(rows.engine().name()));
        let mut available = Self::available();
        let fastest = available.clone().next();
        available.find(named).or(fastest).unwrap_or(Self(&arch::generic::pack::ROWS_GENERIC))
    }

    /// All that this CPU can run, fastest first.
    pub fn available() -> impl Iterator<Item = Self> + Clone {
        ROW_KERNELS.iter().copied().filter(|kernels| kernels.engine.is_available()).map(Self)
    }

    /// The instruction set.
    pub fn engine(&self) -> Engine {
        self.0.engine
    }

    /// Packs levels into planes.
    ///
    /// # Panics
    /// If `bits` is not 1 to 4, or a slice is shorter than the row asks for.
    pub fn pack(&self, mut row: PackRow<'_>) {
        row.check();
        // SAFETY: only available kernels are handed out, and the row was checked in the line before.
        unsafe { (self.0.pack)(&mut row) }
    }

    /// Unpacks planes to levels.
    ///
    /// # Panics
    /// If `bits` is not 1 to 4, or a slice is shorter than the row asks for.
    pub fn unpack(&self, mut row: UnpackRow<'_>) {
        row.check();
        // SAFETY: only available kernels are handed out, and the row was checked in the line before.
        unsafe { (self.0.unpack)(&mut row) }
    }

    /// Computes a function of two levels on planes.
    ///
    /// # Panics
    /// If a slice is shorter than the row asks for, or a pixel has a part of a level's planes.
    pub fn combine(&self, mut row: CombineRow<'_>) {
        row.check();
        // SAFETY: only available kernels are handed out, and the row was checked in the line before.
        unsafe { (self.0.combine)(&mut row) }
    }

    /// `output[i] = table[input[i]]`.
    ///
    /// # Panics
    /// If the rows' lengths differ.
    pub fn lookup(&self, input: &[u8], table: &[u8; 256], output: &mut [u8]) {
        assert_eq!(input.len(), output.len(), "row lengths differ");
        for (output, &level) in output.iter_mut().zip(input) {
            *output = table[usize::from(level)];
        }
    }

    /// `output[i] = table[a[i] · b_levels + b[i]]`, where `b_levels` is one more than the largest level
    /// of `b`.
    ///
    /// # Panics
    /// If the rows' lengths differ. If the table has no entry for a pair, panics or gives any level.
    pub fn lookup2(&self, a: &[u8], b: &[u8], b_levels: usize, table: &[u8], output: &mut [u8]) {
        assert!(a.len() == output.len() && b.len() == output.len(), "row lengths differ");
        // SAFETY: only available kernels are handed out, and the lengths were checked in the line before.
        unsafe { (self.0.lookup2)(Lookup2 { a, b, b_levels, table }, output) }
    }

    /// `output[i] = max(output[i], input[i])`: a row of a max-pool's window. Compilers vectorise it.
    ///
    /// # Panics
    /// If the rows' lengths differ.
    pub fn max_assign(&self, output: &mut [u8], input: &[u8]) {
        assert_eq!(input.len(), output.len(), "row lengths differ");
        for (output, &level) in output.iter_mut().zip(input) {
            *output = (*output).max(level);
        }
    }
}

impl PackRow<'_> {
    /// Bytes of a pixel in `planes`.
    pub(crate) fn pixel_len(&self) -> usize {
        self.channels.div_ceil(8) * usize::from(self.bits)
    }

    fn check(&self) {
        assert!((1..=4).contains(&self.bits), "{} planes", self.bits);
        assert!(
            reaches(self.pixels, self.level_stride, self.channels) <= self.levels.len(),
            "levels are too short"
        );
        assert!(
            reaches(self.pixels, self.pixel_stride, self.pixel_len()) <= self.planes.len(),
            "planes are too short"
        );
    }
}

impl UnpackRow<'_> {
    /// Bytes of a pixel in `planes`.
    pub(crate) fn pixel_len(&self) -> usize {
        self.channels.div_ceil(8) * usize::from(self.bits)
    }

    fn check(&self) {
        assert!((1..=4).contains(&self.bits), "{} planes", self.bits);
        assert!(
            reaches(self.pixels, self.pixel_stride, self.pixel_len()) <= self.planes.len(),
            "planes are too short"
        );
        assert!(
            reaches(self.pixels, self.level_stride, self.channels) <= self.levels.len(),
            "levels are too short"
        );
    }
}

/// Bytes up to the end of the last of `pixels` pixels.
///
/// # Panics
/// If they exceed a `usize`.
fn reaches(pixels: usize, stride: usize, len: usize) -> usize {
    let Some(last) = pixels.checked_sub(1) else { return 0 };
    last.checked_mul(stride).and_then(|last| last.checked_add(len)).expect("row geometry overflows")
}
