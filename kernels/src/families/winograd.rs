//! Exact integer Winograd convolution F(2×2, 3×3): the contract between its micro-kernels and their caller.
//!
//! A 3×3 convolution with stride 1 takes 36 multiplications for 2×2 outputs; the minimal filtering
//! algorithm (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, arXiv:1509.09308)
//! takes 16. With `d` the 4×4 levels under 2×2 outputs, `g` the 3×3 weights of an output and a channel:
//!
//! ```text
//!        | 1  0 -1  0 |          | 2  0  0 |
//!   Bᵀ = | 0  1  1  0 |     2G = | 1  1  1 |     Aᵀ = | 1  1  1  0 |
//!        | 0 -1  1  0 |          | 1 -1  1 |          | 0  1 -1 -1 |
//!        | 0  1  0 -1 |          | 0  0  2 |
//!
//!   U = 2G g 2Gᵀ      V = Bᵀ d B      M[i][j] = Σ over channels of U[i][j] · V[i][j]
//!   4 · sums = Aᵀ M A
//! ```
//!
//! `G` has halves. With `2G` everything is an integer, and the result is four times the sums, exactly:
//! a shift takes it back. It is exact only while nothing overflows. Entries of `2G` add up to 9 at most over
//! a kernel, those of `Bᵀ` to 4 over a patch, so that
//!
//! | | `U` | `V` | `U · V`, two of them |
//! |---|---|---|---|
//! | weights −8 to 7, levels 0 to 15 | −72 to 72 | −30 to 60 | 8640 |
//! | weights −14 to 14, levels 0 to 31 | −126 to 126 | −62 to 124 | 31248 |
//!
//! and everything up to the second line fits i8, i8 and i16. What does not is refused ([`supports`]). Sums are of
//! 32 bits and wrap around, so that four times a sum must fit an i32, and does: [`MAX_CHANNELS`].
//!
//! A call computes two rows of outputs. First the levels of a strip are transformed, for all outputs:
//!
//! ```text
//! transformed[tile][16 channels][j][i]        vectors of 16 channels; a tile is 2×2 outputs
//! ```
//!
//! and then block after block of outputs is computed from it.

use crate::families::direct::Operands;
use crate::layout::READ_SLACK;
use crate::registry::{Candidate, Dispatch};
use crate::ukernel::{Available, Engine, Family, Listed, MicroKernel};

/// Output columns of a strip, at most.
pub const STRIP: usize = 32;
/// Most tiles of a strip.
const TILES: usize = STRIP / 2;
/// Output channels of a block.
pub const OUTPUTS: usize = 16;
/// Channels of a vector; those that do not exist have weights of 0.
pub(crate) const LANES: usize = 16;
/// Multiplications of a tile.
pub(crate) const POINTS: usize = 16;
/// Taps of a kernel.
const TAPS: usize = 9;
/// Largest magnitude of a weight: 9 · 14 fits an i8.
const MAX_WEIGHT: i32 = 14;
/// Largest level: 4 · 31 fits an i8.
const MAX_LEVEL: u8 = 31;
/// Most input channels: four times the largest sum, of 9 · 14 · 31 for each channel, fits an i32.
pub const MAX_CHANNELS: usize = 100_000;
/// Numbers of partial sums of a tile: column of `M`, row of `Aᵀ M`, output.
pub(crate) const PARTIAL: usize = 4 * 2 * OUTPUTS;

/// A Winograd micro-kernel.
#[derive(Debug)]
pub struct WinogradKernel {
    /// `winconv_<dst>_<act>_<wgt>_<tile>_<engine>[_<tech>]`, see `docs/kernels.md`; a tile is 4 pixels.
    pub name: &'static str,
    /// What the CPU must have.
    pub engine: Engine,
    /// Estimated multiply-accumulates of the convolution per cycle, as of
    /// [`ConvKernel`](crate::families::direct::ConvKernel): only ratios matter.
    pub rate: fn(&Operands) -> f32,
    /// Place of a weight among the 64 of 4 channels and [`OUTPUTS`] outputs.
    pub(crate) position: fn(output: usize, channel: usize) -> usize,
    /// Transforms levels.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The strip has been checked by `LevelsStrip::check`.
    pub(crate) transform: unsafe fn(&mut LevelsStrip<'_>),
    /// Computes a block of outputs.
    ///
    /// # Safety
    /// - The CPU has the engine's instructions.
    /// - The strip has been checked by `OutputsStrip::check`.
    pub(crate) run: unsafe fn(&mut OutputsStrip<'_>),
}

/// Levels under one or two rows of outputs, to be transformed.
#[derive(Debug)]
pub struct LevelsStrip<'a> {
    /// The input, as bytes. Must reach [`READ_SLACK`] bytes beyond the last pixel that is read.
    pub input: &'a [u8],
    /// Offset of the first output's window: of the pixel above and left of it.
    pub input_offset: usize,
    /// Bytes from a row to the next.
    pub row_stride: usize,
    /// Bytes from a pixel to the next.
    pub pixel_stride: usize,
    /// Input channels.
    pub channels: usize,
    /// Rows of outputs, 1 or 2. Of one row, `rows + 2` rows of levels are read, and the second row of
    /// results is meaningless.
    pub rows: usize,
    /// Columns of outputs, 1 to [`STRIP`]. Of an odd number, the last column of results is meaningless.
    pub columns: usize,
    /// Result: [`transformed_len`] numbers.
    pub transformed: &'a mut [i8],
}

/// A block of outputs of a strip, to be computed.
#[derive(Debug)]
pub struct OutputsStrip<'a> {
    /// The strip's levels, transformed.
    pub transformed: &'a [i8],
    /// Input channels.
    pub channels: usize,
    /// Columns of outputs, 1 to [`STRIP`].
    pub columns: usize,
    /// The block's weights, packed.
    pub weights: &'a [u8],
    /// Working memory: [`partial_len`] numbers.
    pub partial: &'a mut [i32],
    /// Result: `[2 rows][columns, rounded up to even][OUTPUTS]` sums.
    pub sums: &'a mut [i32],
}

/// Numbers of a strip's transformed levels.
pub fn transformed_len(channels: usize, columns: usize) -> usize {
    columns.div_ceil(2) * channels.next_multiple_of(LANES) * POINTS
}

/// Numbers of working memory for a strip.
pub fn partial_len(columns: usize) -> usize {
    columns.div_ceil(2) * PARTIAL
}

/// Sums of a strip.
pub fn sums_len(columns: usize) -> usize {
    2 * columns.next_multiple_of(2) * OUTPUTS
}

/// Whether the algorithm is exact for these operands: of a 3×3 convolution, depth of three taps.
pub fn supports(operands: &Operands) -> bool {
    let largest = i32::from(operands.max_weight).max(-i32::from(operands.min_weight));
    largest <= MAX_WEIGHT && operands.max_level <= MAX_LEVEL && operands.depth / 3 <= MAX_CHANNELS
}

/// `2G g 2Gᵀ` of a 3×3 kernel, in rows, as `[i][j]`.
pub fn transform_weights(kernel: &[i32; TAPS]) -> [[i32; 4]; 4] {
    let transform = |[a, b, c]: [i32; 3]| [2 * a, a + b + c, a - b + c, 2 * c];
    let rows: [[i32; 4]; 3] =
        std::array::from_fn(|row| transform([kernel[3 * row], kernel[3 * row + 1], kernel[3 * row + 2]]));
    let columns: [[i32; 4]; 4] =
        std::array::from_fn(|column| transform([rows[0][column], rows[1][column], rows[2][column]]));
    std::array::from_fn(|i| std::array::from_fn(|j| columns[j][i]))
}

impl MicroKernel for WinogradKernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn engine(&self) -> Engine {
        self.engine
    }

    fn op(&self) -> &'static str {
        "winconv"
    }

    fn tile(&self) -> Option<[usize; 2]> {
        Some([4, OUTPUTS])
    }
}

impl Family for WinogradKernel {
    fn listed(list: &Listed) -> &'static [&'static Self] {
        list.winograd
    }
}

/// A Winograd micro-kernel that this CPU can run.
pub type Winograd = Available<WinogradKernel>;

/// The best micro-kernel for a 3×3 convolution with stride 1 and one term. `None` if it would not be exact.
pub fn candidate(dispatch: &Dispatch, term: &Operands) -> Option<Candidate<WinogradKernel>> {
    dispatch.best(|winograd: &Winograd| supports(term).then(|| (winograd.kernel().rate)(term)))
}

impl Winograd {
    /// Bytes of a packed block.
    pub fn packed_len(&self, channels: usize) -> usize {
        POINTS * channels.next_multiple_of(LANES) * OUTPUTS
    }

    /// Packs a block of weights: `codes` are the bytes of i8, `[output < OUTPUTS][tap][channel]`, 0 for
    /// outputs that do not exist.
    ///
    /// ```text
    /// packed [j][16 channels][4 channels][i](output and channel: by micro-kernel)
    /// ```
    ///
    /// # Panics
    /// If a slice has another length, or a transformed weight is no i8: [`supports`] said no.
    pub fn pack(&self, codes: &[u8], channels: usize, out: &mut [u8]) {
        assert_eq!(codes.len(), OUTPUTS * TAPS * channels, "weights");
        assert_eq!(out.len(), self.packed_len(channels), "packed weights");
        out.fill(0);
        for output in 0..OUTPUTS {
            let codes = &codes[output * TAPS * channels..][..TAPS * channels];
            for channel in 0..channels {
                let kernel = std::array::from_fn(|tap| i32::from(codes[tap * channels + channel] as i8));
                for (i, row) in transform_weights(&kernel).iter().enumerate() {
                    for (j, &weight) in row.iter().enumerate() {
                        let quad = j * channels.div_ceil(LANES) * (LANES / 4) + channel / 4;
                        let place = (self.kernel().position)(output, channel % 4);
                        let weight = i8::try_from(weight).expect("transformed weights are bytes");
                        out[(quad * 4 + i) * (4 * OUTPUTS) + place] = weight as u8;
                    }
                }
            }
        }
    }

    /// Transforms a strip's levels.
    ///
    /// # Panics
    /// If an operand is shorter than the strip's geometry asks for.
    pub fn transform(&self, strip: &mut LevelsStrip<'_>) {
        strip.check();
        // SAFETY: the CPU has the instructions, or `self` could not have been made; the strip was checked
        // in the line before.
        unsafe { (self.kernel().transform)(strip) }
    }

    /// Computes a block of outputs.
    ///
    /// # Panics
    /// If an operand is shorter than the strip's geometry asks for.
    pub fn run(&self, strip: &mut OutputsStrip<'_>) {
        strip.check(self.packed_len(strip.channels));
        // SAFETY: as above.
        unsafe { (self.kernel().run)(strip) }
    }
}

impl LevelsStrip<'_> {
    /// Offset of the pixel in row and column of the strip's levels; for those beyond the last, of the last.
    pub(crate) fn pixel(&self, row: usize, column: usize) -> usize {
        let (row, column) = (row.min(self.rows + 1), column.min(self.columns + 1));
        self.input_offset + row * self.row_stride + column * self.pixel_stride
    }

    /// Panics unless every access of a micro-kernel that keeps its contract is inside its operand.
    fn check(&self) {
        assert!((1..=2).contains(&self.rows), "{} rows", self.rows);
        assert!((1..=STRIP).contains(&self.columns), "{} columns", self.columns);
        assert!((1..=MAX_CHANNELS).contains(&self.channels), "{} channels", self.channels);
        let rows = self.row_stride.checked_mul(self.rows + 1);
        let columns = self.pixel_stride.checked_mul(self.columns + 1);
        let end = rows
            .zip(columns)
            .and_then(|(rows, columns)| self.input_offset.checked_add(rows)?.checked_add(columns))
            .and_then(|last| last.checked_add(self.channels)?.checked_add(READ_SLACK))
            .expect("strip geometry overflows");
        assert!(end <= self.input.len(), "input of {} bytes, {end} needed", self.input.len());
        let len = transformed_len(self.channels, self.columns);
        assert!(len <= self.transformed.len(), "no room for transformed levels");
    }
}

impl OutputsStrip<'_> {
    /// Tiles of the strip.
    pub(crate) fn tiles(&self) -> usize {
        self.columns.div_ceil(2)
    }

    /// The same for a block whose weights take `packed_len` bytes.
    fn check(&self, packed_len: usize) {
        assert!((1..=TILES).contains(&self.tiles()), "{} columns", self.columns);
        assert!((1..=MAX_CHANNELS).contains(&self.channels), "{} channels", self.channels);
        let len = transformed_len(self.channels, self.columns);
        assert!(len <= self.transformed.len(), "transformed levels are too short");
        assert!(packed_len <= self.weights.len(), "weights are too short");
        assert!(partial_len(self.columns) <= self.partial.len(), "working memory is too short");
        assert!(sums_len(self.columns) <= self.sums.len(), "sums are too short");
    }
}
