//! Which source pixels an output pixel is made of, and in which shares: OpenCV's `INTER_LINEAR` for
//! 8-bit pixels.
//!
//! Output position `d` lies at `p = f32((d + 0.5) · scale − 0.5)` in the source, with
//! `scale = source / output` in f64. The two pixels round `p` have weights of 11 bits, `1 − f` and `f`
//! of its fraction `f`, each rounded half to even. At the ends the axes differ: a column left of the
//! first or from the last on is that column alone; a row outside is replaced by the nearest, but both
//! weights stay. (Their products are truncated one by one, so that is not the same as one row alone.)

/// Fraction bits of a weight.
pub const WEIGHT_BITS: u32 = 11;

/// Weight 1.
const WEIGHT_ONE: u16 = 1 << WEIGHT_BITS;

/// The columns that the columns of the output are made of.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Offset of the left source pixel in its row, in bytes. The right one is its neighbour; where
    /// that does not exist its weight is 0.
    pub offsets: Vec<u32>,
    /// Weights of the left and the right pixel, each three times: once for each colour.
    pub weights: [Vec<u16>; 2],
    /// Whether no right pixel has a weight: output columns are source columns.
    pub alone: bool,
    /// Whether the source has as many columns as the output, so that they are the same.
    pub same: bool,
}

/// The rows that a row of the output is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowTap {
    /// Indices of the upper and the lower source row.
    pub source: [u32; 2],
    /// Their weights.
    pub weights: [u16; 2],
}

impl Columns {
    /// Memory for up to `extent` output columns.
    pub fn with_capacity(extent: usize) -> Self {
        Self {
            offsets: Vec::with_capacity(extent),
            weights: [Vec::with_capacity(3 * extent), Vec::with_capacity(3 * extent)],
            ..Self::default()
        }
    }

    /// Sets `output` columns over `source` columns of `bytes` bytes a pixel.
    pub fn set(&mut self, source: usize, output: usize, bytes: usize) {
        let last = source as i64 - 1;
        let [left, right] = &mut self.weights;
        self.offsets.clear();
        left.clear();
        right.clear();
        for (index, weights) in positions(source, output) {
            let inside = (0..last).contains(&index);
            let weights = if inside { weights } else { [WEIGHT_ONE, 0] };
            // A width of up to 2^24 and 4 bytes a pixel fit.
            self.offsets.push((index.clamp(0, last) * bytes as i64) as u32);
            left.extend([weights[0]; 3]);
            right.extend([weights[1]; 3]);
        }
        self.alone = right.iter().all(|&weight| weight == 0);
        self.same = source == output;
    }
}

/// Sets the taps of `output` rows over `source` rows.
pub fn set_rows(taps: &mut Vec<RowTap>, source: usize, output: usize) {
    let last = source as i64 - 1;
    taps.clear();
    taps.extend(positions(source, output).map(|(index, weights)| RowTap {
        source: [index, index + 1].map(|index| index.clamp(0, last) as u32),
        weights,
    }));
}

/// Index of the first source pixel, possibly outside, and the weights, for each output pixel.
fn positions(source: usize, output: usize) -> impl Iterator<Item = (i64, [u16; 2])> {
    let scale = source as f64 / output as f64;
    (0..output).map(move |d| {
        let position = ((d as f64 + 0.5) * scale - 0.5) as f32;
        let index = position.floor();
        let fraction = position - index;
        // At most 2048.
        let weight = |share: f32| (share * f32::from(WEIGHT_ONE)).round_ties_even() as u16;
        (index as i64, [weight(1.0 - fraction), weight(fraction)])
    })
}
