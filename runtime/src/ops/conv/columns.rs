//! Convolutions of few channels: the rows of a window side by side.
//!
//! In the first layer a row of a window has 18 levels, and the largest tiles multiply 64 at a time. So the rows under a row
//! of outputs are interleaved first, by *groups* of as many columns as windows are apart:
//!
//! ```text
//! columns[group][kernel row][column of the group][channel]
//! ```
//!
//! A window is then one run of `kernel columns / stride` groups, and the next window begins a group further on.

use ylb_format::model::{Conv as ModelConv, Model};
use ylb_kernels::layout::READ_SLACK;

use crate::storage::{Borrowed, Store};

/// Geometry of interleaved rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Kernel rows.
    rows: usize,
    /// Levels of a row in a group.
    piece: usize,
    /// Groups of a window.
    window: usize,
    /// Groups of a row of outputs.
    groups: usize,
}

impl Columns {
    /// For a convolution of the picture that ends in levels, if its window is a whole number of groups. Only of the
    /// picture it is certain that neighbours touch each other.
    pub fn new(model: &Model, conv: &ModelConv) -> Option<Self> {
        let [term] = &conv.terms[..] else {
            return None;
        };
        let [_, channels, rows, columns] = term.weights.shape.map(|extent| extent as usize);
        let stride = conv.window.stride[1] as usize;
        let whole = rows > 1 && columns.is_multiple_of(stride);
        let fits = whole && conv.groups == 1 && conv.requantize.is_some() && term.input == model.input.value;
        let width = model.value(term.input).width as usize;
        let padding = (conv.window.padding[1] + conv.window.padding[3]) as usize;
        let outputs = (width + padding - columns) / stride + 1;
        let window = columns / stride;
        fits.then(|| Self { rows, piece: stride * channels, window, groups: outputs - 1 + window })
    }

    /// Levels of a row of a window.
    pub fn run_len(&self) -> usize {
        self.window * self.piece
    }

    /// Levels of a window.
    pub fn depth(&self) -> usize {
        self.window * self.group_len()
    }

    /// Bytes from a window to the next.
    pub fn group_len(&self) -> usize {
        self.rows * self.piece
    }

    /// Bytes of interleaved rows, with what may be read behind them.
    pub fn len(&self) -> usize {
        self.groups * self.group_len() + READ_SLACK
    }

    /// Puts the weights of each output, `[kernel row][kernel column][channel]`, in the order of the levels.
    pub fn reorder(&self, weights: &mut [u8]) {
        let mut reordered = vec![0; self.depth()];
        for weights in weights.chunks_exact_mut(self.depth()) {
            let pieces = weights.chunks_exact(self.piece).enumerate();
            for (at, piece) in pieces {
                let (row, group) = (at / self.window, at % self.window);
                reordered[(group * self.rows + row) * self.piece..][..self.piece].copy_from_slice(piece);
            }
            weights.copy_from_slice(&reordered);
        }
    }

    /// Interleaves the rows under a row of outputs, whose first window begins at (row, column) of the input.
    pub fn interleave(
        &self,
        memory: &Borrowed<'_>,
        store: &Store,
        [row, column]: [isize; 2],
        out: &mut [u8],
    ) {
        let levels = memory.read(&store.range);
        let out = &mut out[..self.groups * self.group_len()];
        let row = |kernel_row: usize| {
            &levels[store.offset(row + kernel_row as isize, column)..][..self.groups * self.piece]
        };
        // The usual first layer of YOLOv5; copies of a constant length take two instructions.
        if (self.rows, self.piece) == (6, 6) {
            return interleave::<6, 6>(std::array::from_fn(row), out);
        }
        for kernel_row in 0..self.rows {
            let pieces = row(kernel_row).chunks_exact(self.piece);
            for (piece, out) in pieces.zip(out.chunks_exact_mut(self.group_len())) {
                out[kernel_row * self.piece..][..self.piece].copy_from_slice(piece);
            }
        }
    }
}

/// Interleaves `R` rows of pieces of `P` bytes.
fn interleave<const R: usize, const P: usize>(rows: [&[u8]; R], out: &mut [u8]) {
    let rows = rows.map(|row| row.as_chunks::<P>().0);
    let (out, _) = out.as_chunks_mut::<P>();
    let (out, _) = out.as_chunks_mut::<R>();
    for (group, out) in out.iter_mut().enumerate() {
        for (out, row) in out.iter_mut().zip(rows) {
            *out = row[group];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_levels() {
        // 2 kernel rows of 4 columns of 1 channel, windows 2 columns apart.
        let columns = Columns { rows: 2, piece: 2, window: 2, groups: 3 };
        let mut weights = [0, 1, 2, 3, 10, 11, 12, 13];
        columns.reorder(&mut weights);
        assert_eq!(weights, [0, 1, 10, 11, 2, 3, 12, 13]);
        let (first, second) = ([0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]);
        let mut out = [0; 12];
        interleave::<2, 2>([&first, &second], &mut out);
        assert_eq!(out, [0, 1, 10, 11, 2, 3, 12, 13, 4, 5, 14, 15]);
    }
}
