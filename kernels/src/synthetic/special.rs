//! Calls of the micro-kernels that have an operator of their own: Winograd's algorithm and table look-up.
//!
//! Unlike [`Strip`](super::Strip) a call computes all output channels, as transforming levels or making tables
//! pays for all of them together.

use super::Shape;
use crate::families::direct::{self, Operands};
use crate::families::lookup::{self, Lookup, LookupTile};
use crate::families::winograd::{self, LevelsStrip, OutputsStrip, Winograd};
use crate::layout::READ_SLACK;
use crate::registry::{self, Dispatch, Preference};

/// A micro-kernel with an operator of its own.
#[derive(Clone, Copy, Debug)]
pub enum Special {
    /// Winograd's algorithm.
    Winograd(Winograd),
    /// Table look-up, for weights of that many planes.
    Lookup(Lookup, usize),
}

/// A call of such a micro-kernel, with operands that look random.
#[derive(Debug)]
pub struct SpecialStrip {
    shape: Shape,
    special: Special,
    levels: Vec<u8>,
    transformed: Vec<i8>,
    tables: Vec<u8>,
    /// By block of outputs.
    weights: Vec<Vec<u8>>,
    partial: Vec<i32>,
    sums: Vec<i32>,
}

impl Special {
    /// All that are exact for a convolution of this size, with stride 1, that reads `operands`.
    pub fn of(shape: Shape, operands: &Operands) -> Vec<Self> {
        let winograd = registry::available().filter(|_| shape.fits_winograd(operands));
        let planes = shape.lookup_planes(operands);
        let lookup = registry::available().zip(planes.into_iter().cycle());
        winograd
            .map(Self::Winograd)
            .chain(lookup.map(|(lookup, planes)| Self::Lookup(lookup, planes)))
            .collect()
    }

    /// The micro-kernel's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Winograd(winograd) => winograd.kernel().name,
            Self::Lookup(lookup, _) => lookup.kernel().name,
        }
    }
}

/// The name of what the dispatcher chooses for a convolution of this size with stride 1. `None` does not happen for operands
/// of [`Shape::operands`].
pub fn chosen(dispatch: &Dispatch, shape: Shape, operands: &Operands) -> Option<&'static str> {
    let [rows, columns] = shape.kernel;
    let window = [shape.channels * rows * columns, shape.channels];
    let winograd = || winograd::candidate(dispatch, operands).filter(|_| shape.fits_winograd(operands));
    let lookup = || lookup::candidate(dispatch, operands, window, shape.lookup_planes(operands)?);
    let candidates = [
        direct::candidate(dispatch, &[*operands]).map(|direct| direct.described()),
        winograd().map(|winograd| winograd.described()),
        lookup().map(|lookup| lookup.described()),
    ];
    let better = |best: (&'static str, Preference), next: (&'static str, Preference)| {
        if next.1 > best.1 { next } else { best }
    };
    candidates.into_iter().flatten().reduce(better).map(|(name, _)| name)
}

impl Shape {
    fn fits_winograd(&self, operands: &Operands) -> bool {
        self.kernel == [3, 3] && winograd::supports(operands)
    }

    /// Planes of weights that may be looked up: sums of 16 bits must hold the largest.
    fn lookup_planes(&self, operands: &Operands) -> Option<usize> {
        let planes = lookup::planes(operands.min_weight, operands.max_weight)?;
        let largest = i64::from(operands.max_weight.unsigned_abs().max(operands.min_weight.unsigned_abs()));
        let taps = (self.kernel[0] * self.kernel[1] * self.channels) as i64;
        let fits = taps * largest * i64::from(operands.max_level) <= i64::from(i16::MAX);
        let tables = self.channels.is_multiple_of(lookup::QUAD) && operands.max_level <= lookup::MAX_LEVEL;
        (fits && tables).then_some(planes)
    }

    /// Columns of outputs of a strip, two rows of which are computed.
    fn strip_columns(&self) -> usize {
        self.pixels.min(winograd::STRIP)
    }

    /// Pixels of a row under the outputs.
    fn row_pixels(&self, outputs: usize) -> usize {
        outputs + self.kernel[1] - 1
    }
}

impl SpecialStrip {
    /// Makes up and packs the operands of one call.
    ///
    /// # Panics
    /// If the micro-kernel is none of [`Special::of`] for this size and these operands.
    pub fn new(special: Special, shape: Shape, operands: &Operands) -> Self {
        let [rows, columns] = shape.kernel;
        let noise = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        let (low, high) = (i16::from(operands.min_weight), i16::from(operands.max_weight));
        let code = |index: usize| (low + i16::from(noise(index)) % (high - low + 1)) as u8;
        let depth = rows * columns * shape.channels;
        let (input_pixels, nr) = match special {
            Special::Winograd(_) => (4 * shape.row_pixels(shape.strip_columns()), winograd::OUTPUTS),
            Special::Lookup(..) => (rows * shape.row_pixels(shape.pixels), lookup::OUTPUTS),
        };
        let blocks = 0..shape.outputs.div_ceil(nr);
        let packed = |block: usize| {
            let codes: Vec<u8> = (0..nr * depth).map(|index| code(block * nr * depth + index)).collect();
            match special {
                Special::Winograd(winograd) => {
                    let mut packed = vec![0; winograd.packed_len(shape.channels)];
                    winograd.pack(&codes, shape.channels, &mut packed);
                    packed
                }
                Special::Lookup(lookup, planes) => {
                    let quads = columns * shape.channels / lookup::QUAD;
                    let mut packed = vec![0; lookup.packed_len(rows, quads, planes)];
                    lookup.pack(&codes, [rows, quads, planes], &mut packed);
                    packed
                }
            }
        };
        let levels = input_pixels * shape.channels;
        let columns = shape.strip_columns();
        Self {
            levels: (0..levels + READ_SLACK).map(|index| noise(index) % (operands.max_level + 1)).collect(),
            transformed: vec![0; winograd::transformed_len(shape.channels, columns)],
            tables: vec![0; levels / lookup::QUAD * lookup::TABLE],
            weights: blocks.map(packed).collect(),
            partial: vec![0; winograd::partial_len(columns)],
            sums: vec![0; winograd::sums_len(columns).max(shape.pixels * lookup::OUTPUTS)],
            shape,
            special,
        }
    }

    /// Multiply-accumulates that a direct convolution would take for the outputs of a call.
    pub fn macs(&self) -> u64 {
        let Shape { kernel: [rows, columns], channels, outputs, pixels } = self.shape;
        let pixels = match self.special {
            Special::Winograd(_) => 2 * self.shape.strip_columns(),
            Special::Lookup(..) => pixels,
        };
        (pixels * outputs * rows * columns * channels) as u64
    }

    /// Computes the sums of one block after the other.
    pub fn run(&mut self) {
        match self.special {
            Special::Winograd(winograd) => self.run_winograd(winograd),
            Special::Lookup(lookup, planes) => self.run_lookup(lookup, planes),
        }
    }

    fn run_winograd(&mut self, winograd: Winograd) {
        let (channels, columns) = (self.shape.channels, self.shape.strip_columns());
        winograd.transform(&mut LevelsStrip {
            input: &self.levels,
            input_offset: 0,
            row_stride: self.shape.row_pixels(columns) * channels,
            pixel_stride: channels,
            channels,
            rows: 2,
            columns,
            transformed: &mut self.transformed,
        });
        for weights in &self.weights {
            winograd.run(&mut OutputsStrip {
                transformed: &self.transformed,
                channels,
                columns,
                weights,
                partial: &mut self.partial,
                sums: &mut self.sums,
            });
        }
    }

    /// Makes the tables of one of the rows: a window's others were made for the rows of outputs before.
    fn run_lookup(&mut self, lookup: Lookup, planes: usize) {
        let Shape { kernel: [rows, columns], channels, pixels, .. } = self.shape;
        let row_levels = self.shape.row_pixels(pixels) * channels;
        let pixel_len = channels / lookup::QUAD * lookup::TABLE;
        let row_len = row_levels / lookup::QUAD * lookup::TABLE;
        lookup.make_tables(&self.levels[..row_levels], &mut self.tables[..row_len]);
        let runs: [usize; 8] = std::array::from_fn(|row| row * row_len);
        for weights in &self.weights {
            lookup.run(&mut LookupTile {
                tables: &self.tables,
                offset: 0,
                pixel_step: pixel_len,
                runs: &runs[..rows],
                quads: columns * channels / lookup::QUAD,
                planes,
                weights,
                pixels,
                sums: &mut self.sums,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::direct::Conv;

    #[test]
    fn every_special_micro_kernel_runs_on_what_it_takes() {
        let shape = Shape { kernel: [3, 3], channels: 32, outputs: 48, pixels: 5 };
        let mut names = Vec::new();
        for bits in [[2, 2], [2, 4], [3, 3], [4, 4], [8, 8]] {
            let operands = shape.operands(bits[0], bits[1]);
            for special in Special::of(shape, &operands) {
                let mut strip = SpecialStrip::new(special, shape, &operands);
                strip.run();
                assert!(strip.sums.iter().any(|&sum| sum != 0), "{}", special.name());
                let rows = if matches!(special, Special::Winograd(_)) { 2 } else { 1 };
                assert_eq!(strip.macs(), rows * 5 * 48 * 9 * 32);
                names.push(special.name());
            }
        }
        for family in ["winconv", "lutconv"] {
            assert!(names.iter().any(|name| name.starts_with(family)), "{names:?}");
        }
        let wide = shape.operands(8, 8);
        assert!(Special::of(shape, &wide).is_empty(), "nothing of theirs is exact at 8 bits");
    }

    #[test]
    fn the_choice_is_among_what_is_exact() {
        let dispatch = Dispatch::restricted_to("").expect("no restriction");
        for channels in [16, 64] {
            for kernel in [[1, 1], [3, 3]] {
                let shape = Shape { kernel, channels, outputs: 64, pixels: 32 };
                for bits in [[1, 1], [2, 2], [2, 4], [4, 4], [8, 8]] {
                    let operands = shape.operands(bits[0], bits[1]);
                    let chosen = chosen(&dispatch, shape, &operands).expect("something takes everything");
                    let special = Special::of(shape, &operands);
                    let exact = registry::available()
                        .filter(|conv: &Conv| (conv.kernel().supports)(&operands))
                        .map(|conv| conv.kernel().name)
                        .chain(special.iter().map(Special::name));
                    assert!(exact.into_iter().any(|name| name == chosen), "{chosen}");
                }
            }
        }
    }
}
