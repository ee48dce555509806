//! Rows of an output, split among threads.
//!
//! A step writes its output row by row. A [`Band`] is a stretch of those rows together with exactly
//! the bytes that they occupy in each of the output's stores, so that bands are disjoint slices and
//! threads need no locks. Each band also writes the border around its rows: buffers share the arena,
//! so a border may have been overwritten since the last frame.

use std::ops::Range;

use ylb_kernels::layout::Form;
use ylb_kernels::rows::{PackRow, Rows, UnpackRow};

use crate::accumulators::Accumulators;
use crate::storage::{MAX_WRITTEN, Store, ValueStorage};
use crate::threads::join;

/// Rows of an output with the memory they occupy.
pub struct Band<'a> {
    /// The rows, without the border.
    pub rows: Range<usize>,
    targets: [Option<Target<'a>>; MAX_WRITTEN],
    /// Accumulators of these rows, for an output that holds no levels.
    pub accumulators: Accumulators<'a>,
    height: usize,
}

/// One store of an output, cut to a band.
struct Target<'a> {
    store: &'a Store,
    /// The bytes from the band's first row (or the border above it) on.
    bytes: &'a mut [u8],
    /// Offset of `bytes` in the buffer.
    start: usize,
}

impl<'a> Band<'a> {
    /// All rows of a value that holds levels. `written` are the buffers of its stores, in order.
    pub fn levels(height: usize, storage: &'a ValueStorage, written: [&'a mut [u8]; MAX_WRITTEN]) -> Self {
        let mut written = written.into_iter();
        let mut stores = storage.stores.iter();
        let targets = std::array::from_fn(|_| {
            let (store, bytes) = (stores.next()?, written.next()?);
            Some(Target { store, bytes, start: 0 })
        });
        Self { rows: 0..height, targets, accumulators: Accumulators::none(), height }
    }

    /// All rows of a value that holds accumulators.
    pub fn accumulators(height: usize, accumulators: Accumulators<'a>) -> Self {
        Self { rows: 0..height, targets: [None, None], accumulators, height }
    }

    /// Splits the band into `pieces` of about equal size and runs `work` on each, in parallel.
    pub fn for_each<F: Fn(Band<'_>) + Sync>(self, pieces: usize, work: &F) {
        let pieces = pieces.min(self.rows.len());
        if pieces <= 1 {
            return work(self);
        }
        let [left_pieces, left_rows] = left_part(self.rows.len(), pieces);
        let middle = self.rows.start + left_rows;
        let (left, right) = self.split(middle);
        join(|| left.for_each(left_pieces, work), || right.for_each(pieces - left_pieces, work));
    }

    fn split(self, middle: usize) -> (Self, Self) {
        let Self { rows, targets, accumulators, height } = self;
        let (left_accumulators, right_accumulators) = accumulators.split(rows.len(), middle - rows.start);
        let mut left_targets = [None, None];
        let mut right_targets = [None, None];
        for (slot, target) in targets.into_iter().flatten().enumerate() {
            let Target { store, bytes, start } = target;
            let cut = (store.layout.border.top + middle) * store.layout.row_stride();
            let (left, right) = bytes.split_at_mut(cut - start);
            left_targets[slot] = Some(Target { store, bytes: left, start });
            right_targets[slot] = Some(Target { store, bytes: right, start: cut });
        }
        let left =
            Self { rows: rows.start..middle, targets: left_targets, accumulators: left_accumulators, height };
        let right =
            Self { rows: middle..rows.end, targets: right_targets, accumulators: right_accumulators, height };
        (left, right)
    }

    /// Writes a row, and the border beside it (and above the first, below the last row of the tensor).
    /// `levels` are `[column][level_stride]`, with `channels` of each pixel in use.
    pub fn write_row(&mut self, rows: &Rows, y: usize, levels: &[u8], level_stride: usize, channels: usize) {
        for target in self.targets.iter_mut().flatten() {
            target.write_row(rows, y, levels, level_stride, channels);
            target.write_border(y, self.height);
        }
    }

    /// Where the levels of the rows from `y` on are to be computed: in the store, if there is but one and it
    /// holds bytes, and otherwise in `buffer`, `[row][column][level_stride]`.
    pub fn levels_rows<'s>(
        &'s mut self,
        y: usize,
        buffer: &'s mut [u8],
        [width, level_stride]: [usize; 2],
    ) -> LevelsRows<'s> {
        match self.bytes_target() {
            Some(target) => {
                let layout = &target.store.layout;
                let start = target.store.offset(y as isize, 0) - target.start;
                LevelsRows {
                    bytes: &mut target.bytes[start..],
                    pixel_stride: layout.pixel_stride,
                    row_stride: layout.row_stride(),
                }
            }
            None => {
                LevelsRows { bytes: buffer, pixel_stride: level_stride, row_stride: width * level_stride }
            }
        }
    }

    /// Completes rows whose levels are where [`levels_rows`](Self::levels_rows) said: copies them, if that is
    /// the buffer, and writes the borders. `channels` of each pixel are in use.
    pub fn finish_levels_rows(
        &mut self,
        rows: &Rows,
        written: Range<usize>,
        buffer: &[u8],
        ([width, level_stride], channels): ([usize; 2], usize),
    ) {
        let height = self.height;
        if let Some(target) = self.bytes_target() {
            return written.for_each(|y| target.write_border(y, height));
        }
        for (y, levels) in written.zip(buffer.chunks_exact(width * level_stride)) {
            self.write_row(rows, y, levels, level_stride, channels);
        }
    }

    /// Whether the only store holds levels as bytes, so that they are computed where they belong.
    pub fn is_bytes(&self) -> bool {
        matches!(&self.targets, [Some(target), None] if target.store.layout.form == Form::Bytes)
    }

    /// The only store, if it holds levels as bytes.
    fn bytes_target<'s>(&'s mut self) -> Option<&'s mut Target<'a>> {
        match &mut self.targets {
            [Some(target), None] if target.store.layout.form == Form::Bytes => Some(target),
            _ => None,
        }
    }
}

/// Pieces and rows of the left part, where so many rows in so many pieces are cut in two.
fn left_part(rows: usize, pieces: usize) -> [usize; 2] {
    let left = pieces / 2;
    [left, rows * left / pieces]
}

/// Rows of each piece that [`Band::for_each`] makes.
fn piece_rows(rows: usize, pieces: usize, out: &mut Vec<usize>) {
    let pieces = pieces.min(rows);
    if pieces <= 1 {
        return out.push(rows);
    }
    let [left_pieces, left_rows] = left_part(rows, pieces);
    piece_rows(left_rows, left_pieces, out);
    piece_rows(rows - left_rows, pieces - left_pieces, out);
}

/// How well so many rows keep so many threads busy, 0 to 1: the work over what all threads could do
/// until the last is ready. Rows count as equal, and a thread that is ready takes the largest piece left.
pub fn balance(rows: usize, pieces: usize, threads: usize) -> f64 {
    let mut sizes = Vec::new();
    piece_rows(rows, pieces, &mut sizes);
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut loads = vec![0; threads.max(1)];
    for size in sizes {
        let free = loads.iter_mut().min().expect("there is a thread");
        *free += size;
    }
    let last = loads.iter().max().copied().unwrap_or(0);
    if last == 0 { 1.0 } else { rows as f64 / (loads.len() * last) as f64 }
}

/// Rows of levels, to be written.
pub struct LevelsRows<'a> {
    /// From the first level of the first pixel on.
    pub bytes: &'a mut [u8],
    /// Bytes from a pixel to the next.
    pub pixel_stride: usize,
    /// Bytes from a row to the next.
    pub row_stride: usize,
}

/// A row of a store in bit planes, to be written.
pub struct PlanesRow<'a> {
    /// From the first byte of the first pixel on.
    pub bytes: &'a mut [u8],
    /// Bytes from a pixel to the next.
    pub pixel_stride: usize,
}

impl<'a> Band<'a> {
    /// Row `y` of the first store, which is in planes.
    pub fn planes_row(&mut self, y: usize) -> PlanesRow<'_> {
        let target = self.targets[0].as_mut().expect("a value in planes has a store");
        let start = target.store.offset(y as isize, 0) - target.start;
        PlanesRow { bytes: &mut target.bytes[start..], pixel_stride: target.store.layout.pixel_stride }
    }

    /// Completes a row whose planes have been written: unpacks it into the other store if there is one,
    /// and writes the borders.
    pub fn finish_planes_row(&mut self, rows: &Rows, y: usize, channels: usize) {
        let height = self.height;
        let [Some(planes), others @ ..] = &mut self.targets else {
            return;
        };
        planes.write_border(y, height);
        let layout = &planes.store.layout;
        let Form::Planes { bits } = layout.form else {
            return;
        };
        let start = planes.store.offset(y as isize, 0) - planes.start;
        for target in others.iter_mut().flatten() {
            let out = target.store.offset(y as isize, 0) - target.start;
            rows.unpack(UnpackRow {
                planes: &planes.bytes[start..],
                pixel_stride: layout.pixel_stride,
                pixels: layout.width,
                channels,
                bits,
                levels: &mut target.bytes[out..],
                level_stride: target.store.layout.pixel_stride,
            });
            target.write_border(y, height);
        }
    }
}

impl Target<'_> {
    fn write_row(&mut self, rows: &Rows, y: usize, levels: &[u8], level_stride: usize, channels: usize) {
        let layout = &self.store.layout;
        let out = &mut self.bytes[self.store.offset(y as isize, 0) - self.start..];
        match layout.form {
            Form::Planes { bits } => {
                rows.pack(PackRow {
                    levels,
                    level_stride,
                    channels,
                    pixels: layout.width,
                    bits,
                    planes: out,
                    pixel_stride: layout.pixel_stride,
                });
            }
            Form::Bytes if layout.pixel_stride == channels && level_stride == channels => {
                let len = layout.width * channels;
                out[..len].copy_from_slice(&levels[..len]);
            }
            Form::Bytes => {
                let pixels = levels.chunks_exact(level_stride).take(layout.width);
                for (pixel, out) in pixels.zip(out.chunks_mut(layout.pixel_stride)) {
                    out[..channels].copy_from_slice(&pixel[..channels]);
                }
            }
        }
    }

    fn write_border(&mut self, y: usize, height: usize) {
        let border = self.store.layout.border;
        let width = self.store.layout.width as isize;
        let (left, right) = (border.left as isize, border.right as isize);
        let row = y as isize;
        self.fill(row, -left..0);
        self.fill(row, width..width + right);
        if y == 0 {
            for above in -(border.top as isize)..0 {
                self.fill(above, -left..width + right);
            }
        }
        if y + 1 == height {
            for below in 0..border.bottom as isize {
                self.fill(row + 1 + below, -left..width + right);
            }
        }
    }

    fn fill(&mut self, y: isize, columns: Range<isize>) {
        if columns.is_empty() {
            return;
        }
        let first = self.store.offset(y, columns.start) - self.start;
        let pattern = &self.store.border_pixel[..];
        let pixel_stride = self.store.layout.pixel_stride;
        let pixels = columns.len();
        // Beside a row there is one pixel mostly, which is sooner copied than looked at.
        if pixels > 1 && pixel_stride == pattern.len() && pattern.iter().all(|&byte| byte == pattern[0]) {
            self.bytes[first..first + pixels * pixel_stride].fill(pattern[0]);
            return;
        }
        for pixel in 0..pixels {
            let at = first + pixel * pixel_stride;
            self.bytes[at..at + pattern.len()].copy_from_slice(pattern);
        }
    }
}

/// Writes the whole border of a store into its buffer.
pub fn write_border(store: &Store, buffer: &mut [u8]) {
    let mut target = Target { store, bytes: buffer, start: 0 };
    (0..store.layout.height).for_each(|y| target.write_border(y, store.layout.height));
}

/// Reads row `y` of a value as levels `[column][level_stride]`: from the store itself where it lies
/// just so, otherwise through `buffer`.
pub fn read_row<'a>(
    rows: &Rows,
    store: &Store,
    bytes: &'a [u8],
    y: usize,
    level_stride: usize,
    buffer: &'a mut [u8],
) -> &'a [u8] {
    let layout = &store.layout;
    let input = &bytes[store.offset(y as isize, 0)..];
    let len = layout.width * level_stride;
    // Behind the last channel of a pixel are others of the same buffer, or none; never what lies behind the buffer.
    if layout.form == Form::Bytes && layout.pixel_stride == level_stride && store.pixel_offset == 0 {
        return &input[..len];
    }
    for segment in &store.segments {
        match layout.form {
            Form::Bytes => {
                let pixels = buffer[..len].chunks_exact_mut(level_stride);
                for (pixel, input) in pixels.zip(input.chunks(layout.pixel_stride)) {
                    pixel[segment.logical..][..segment.len]
                        .copy_from_slice(&input[segment.stored..][..segment.len]);
                }
            }
            Form::Planes { bits } => {
                let input = &input[layout.form.pixel_len(segment.stored)..];
                rows.unpack(UnpackRow {
                    planes: input,
                    pixel_stride: layout.pixel_stride,
                    channels: segment.len,
                    pixels: layout.width,
                    bits,
                    levels: &mut buffer[segment.logical..len],
                    level_stride,
                });
            }
        }
    }
    // Operators go through whole strides: what lies between pixels must be levels, too.
    let channels = store.segments.last().map_or(0, |last| last.logical + last.len);
    if channels < level_stride {
        buffer[..len].chunks_exact_mut(level_stride).for_each(|pixel| pixel[channels..].fill(0));
    }
    &buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::level_stride;
    use crate::storage::{BufferId, Segment};
    use ylb_kernels::layout::{Border, Layout};

    #[test]
    fn pieces_are_those_of_the_run() {
        for rows in 0..40 {
            for pieces in 1..12 {
                let mut planned = Vec::new();
                piece_rows(rows, pieces, &mut planned);
                let run = std::sync::Mutex::new(Vec::new());
                Band::accumulators(rows, Accumulators::Wide(&mut vec![0; rows]))
                    .for_each(pieces, &|band| run.lock().expect("no panic").push(band.rows));
                let mut run = run.into_inner().expect("no panic");
                run.sort_by_key(|rows| (rows.start, rows.end));
                assert_eq!(run.iter().map(|rows| rows.len()).collect::<Vec<_>>(), planned);
                assert_eq!(planned.iter().sum::<usize>(), rows);
            }
        }
    }

    /// A view's last pixel ends with the buffer, where its row of whole strides would not.
    #[test]
    fn rows_of_views_end_with_the_buffer() {
        let layout = Layout::dense(Form::Bytes, 16, 2, 3, Border::default());
        let whole = Store {
            buffer: BufferId(0),
            layout,
            pixel_offset: 0,
            segments: vec![Segment { stored: 0, logical: 0, len: 16 }],
            border_pixel: Vec::new(),
            range: 0..0,
        };
        let bytes: Vec<u8> = (1..=2 * 3 * 16).collect();
        let view = whole.view(4, 12).expect("bytes anywhere");
        let stride = level_stride(12);
        assert_eq!(stride, view.layout.pixel_stride, "the case that looks like a row in place");
        let mut buffer = vec![0xff; 3 * stride];
        let row = read_row(&Rows::new(""), &view, &bytes, 1, stride, &mut buffer);
        for (pixel, whole) in row.chunks_exact(stride).zip(bytes[3 * 16..].chunks_exact(16)) {
            assert_eq!((&pixel[..12], &pixel[12..]), (&whole[4..], &[0; 4][..]));
        }
    }

    #[test]
    fn threads_without_rows_are_idle() {
        assert_eq!(balance(80, 8, 4), 1.0);
        assert_eq!(balance(20, 8, 4), 1.0);
        assert_eq!(balance(10, 8, 4), 10.0 / 12.0);
        assert_eq!(balance(1, 8, 4), 0.25);
        assert_eq!(balance(7, 1, 1), 1.0);
    }
}
