//! Depthwise convolution: every channel with a kernel of its own.
//!
//! There is nothing to share between output channels, so levels and weights are multiplied where they
//! lie, channels side by side in the lanes of vectors. Weights are 16 bits wide: an 8-bit weight with
//! its zero point subtracted fits.
//!
//! ```text
//! sums[p][c] = Σ_{t < taps} weights[t][c] · level[p][t][c]
//!
//! level[p][t] starts at byte  input_offset + p · pixel_step + taps[t]
//! ```

use crate::arch;
#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64::simd::Avx2;

/// One call of [`Depthwise::run`]: neighbouring output pixels of one output row. See the
/// [module documentation](self) for what is computed. A convolution of many channels can be cut into
/// slices of channels by moving `input_offset` and handing over the slice's weights.
#[derive(Debug)]
pub struct DepthwiseTile<'a> {
    /// The input tensor, one byte a level.
    pub input: &'a [u8],
    /// Offset of the window of the first output pixel.
    pub input_offset: usize,
    /// Bytes from a window to the window of the next output pixel.
    pub pixel_step: usize,
    /// Offset of each tap from its window's offset.
    pub taps: &'a [usize],
    /// Channels to compute.
    pub channels: usize,
    /// `[tap][channels]`.
    pub weights: &'a [i16],
    /// Output pixels to compute.
    pub pixels: usize,
    /// Result, `[pixels][channels]`. Sums wrap around at 32 bits.
    pub sums: &'a mut [i32],
}

/// Depthwise convolution with the best instructions of this CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depthwise {
    #[cfg(target_arch = "x86_64")]
    avx2: Option<Avx2>,
}

impl Depthwise {
    /// Asks the CPU what it can do.
    pub fn new() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            avx2: Avx2::new(),
        }
    }

    /// The same with portable code only.
    pub fn portable() -> Self {
        Self::default()
    }

    /// Computes a tile.
    ///
    /// # Panics
    /// If an operand is shorter than the tile's geometry asks for.
    pub fn run(&self, tile: &mut DepthwiseTile<'_>) {
        tile.check();
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = self.avx2 {
            return arch::x86_64::depthwise::depthwise(avx2, tile);
        }
        arch::generic::depthwise::depthwise(tile);
    }
}

impl DepthwiseTile<'_> {
    /// Panics unless every level, weight and sum is inside its operand.
    fn check(&self) {
        if self.pixels == 0 {
            return;
        }
        let last_tap = self.taps.iter().copied().max().unwrap_or(0);
        let end = self
            .pixel_step
            .checked_mul(self.pixels - 1)
            .and_then(|windows| windows.checked_add(self.input_offset)?.checked_add(last_tap))
            .and_then(|window| window.checked_add(self.channels))
            .expect("tile geometry overflows");
        assert!(end <= self.input.len(), "input of {} bytes, {end} needed", self.input.len());
        let needed = |count: usize| count.checked_mul(self.channels).expect("tile geometry overflows");
        assert!(needed(self.taps.len()) <= self.weights.len(), "weights are too short");
        assert!(needed(self.pixels) <= self.sums.len(), "sums are too short");
    }
}
