//! Where values live: stores, buffers and the arena.
//!
//! A *store* is one copy of a value in one form. Stores lie in *buffers*; the stores of a concat's
//! inputs may share the buffer of its output, as slices of wider pixels. Buffers lie in the *arena*,
//! one allocation, at offsets planned before the first frame.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use ylb_kernels::layout::{Form, Layout};

use crate::error::OutOfMemory;

/// Alignment of buffers in the arena and of blocks of weights: a cache line.
pub const ALIGNMENT: usize = 64;

/// Bytes that start at a multiple of [`ALIGNMENT`].
#[derive(Default)]
pub struct AlignedBytes(Vec<CacheLine>);

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct CacheLine([u8; ALIGNMENT]);

/// `len` zeros.
///
/// # Errors
/// If there is no memory for so many: a file decides how many.
pub fn zeros<T: Zeroable + Clone>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut zeros = Vec::new();
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    zeros.try_reserve_exact(len).map_err(|_| OutOfMemory { bytes })?;
    zeros.resize(len, T::zeroed());
    Ok(zeros)
}

impl AlignedBytes {
    /// At least `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        Self(vec![CacheLine::zeroed(); len.div_ceil(ALIGNMENT)])
    }

    /// The same.
    ///
    /// # Errors
    /// If there is no memory for so many.
    pub fn try_zeroed(len: usize) -> Result<Self, OutOfMemory> {
        zeros(len.div_ceil(ALIGNMENT)).map(Self)
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    /// All bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Index of a buffer of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub usize);

/// A copy of a value's levels in one form.
#[derive(Clone, Debug)]
pub struct Store {
    /// The buffer it lies in.
    pub buffer: BufferId,
    /// Its geometry; `pixel_stride` spans the whole pixel of a shared buffer.
    pub layout: Layout,
    /// Bytes from a pixel's start to this store's first channel.
    pub pixel_offset: usize,
    /// Which stored channel is which channel of the value: `(first stored, first logical, count)`.
    /// Stored channels in no segment are holes; they hold level 0.
    pub segments: Vec<Segment>,
    /// The bytes of one pixel of the border; none without a border.
    pub border_pixel: Vec<u8>,
    /// Where the buffer lies in the arena; known once the arena is planned.
    pub range: Range<usize>,
}

/// Neighbouring channels that lie side by side in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First channel in the store.
    pub stored: usize,
    /// First channel of the value.
    pub logical: usize,
    /// Number of channels.
    pub len: usize,
}

/// The accumulators of a head, `[pixel][channel]`.
#[derive(Clone, Debug)]
pub struct AccumulatorStore {
    /// Whether they are kept in 16 bits.
    pub narrow: bool,
    /// The buffer it lies in.
    pub buffer: BufferId,
    /// Where the buffer lies in the arena; known once the arena is planned.
    pub range: Range<usize>,
}

/// Every copy of one value.
#[derive(Clone, Debug, Default)]
pub struct ValueStorage {
    /// Copies of levels, at most one a form.
    pub stores: Vec<Store>,
    /// Accumulators, for a value that holds no levels.
    pub accumulators: Option<AccumulatorStore>,
}

impl Store {
    /// Offset, in the buffer, of the first channel of a pixel; negative coordinates are in the border.
    pub fn offset(&self, y: isize, x: isize) -> usize {
        self.layout.offset(y, x) + self.pixel_offset
    }

    /// The channels `first..first + count` of the value where they lie, if they can be read there: as planes only whole
    /// groups of 8 channels, or the last ones, behind which there is nothing.
    pub fn view(&self, first: usize, count: usize) -> Option<Self> {
        let form = self.layout.form;
        let mut segments: Vec<Segment> = Vec::new();
        for segment in &self.segments {
            let start = first.max(segment.logical);
            let end = (first + count).min(segment.logical + segment.len);
            if start < end {
                let stored = segment.stored + start - segment.logical;
                segments.push(Segment { stored, logical: start - first, len: end - start });
                let whole_groups = stored.is_multiple_of(8)
                    && (end == segment.logical + segment.len || (end - start).is_multiple_of(8));
                if matches!(form, Form::Planes { .. }) && !whole_groups {
                    return None;
                }
            }
        }
        let start = segments.first()?.stored;
        segments.iter_mut().for_each(|segment| segment.stored -= start);
        let last = segments.last()?;
        let channels = match form {
            Form::Planes { .. } => (last.stored + last.len).next_multiple_of(8),
            Form::Bytes => last.stored + last.len,
        };
        Some(self.part(start, channels, segments))
    }

    /// Stored channels from `start` on.
    fn part(&self, start: usize, channels: usize, segments: Vec<Segment>) -> Self {
        let layout = Layout { channels, ..self.layout };
        let start = self.layout.form.pixel_len(start);
        let border_pixel = self.border_pixel.get(start..start + layout.pixel_len()).unwrap_or_default();
        Self {
            buffer: self.buffer,
            layout,
            pixel_offset: self.pixel_offset + start,
            segments,
            border_pixel: border_pixel.to_vec(),
            range: self.range.clone(),
        }
    }

    /// The part of a concat's output that one of its inputs fills: each input is one segment.
    pub fn slice(&self, input: usize) -> Self {
        let Segment { stored, len, .. } = self.segments[input];
        let form = self.layout.form;
        let channels = match form {
            Form::Planes { .. } => len.next_multiple_of(8),
            Form::Bytes => len,
        };
        self.part(stored, channels, vec![Segment { stored: 0, logical: 0, len }])
    }
}

impl ValueStorage {
    /// The copy in a form.
    pub fn store(&self, form: Form) -> Option<&Store> {
        self.stores.iter().find(|store| store.layout.form == form)
    }

    /// The copy that is cheapest to read level by level: bytes before planes.
    pub fn any_store(&self) -> Option<&Store> {
        self.store(Form::Bytes).or_else(|| self.stores.first())
    }
}

/// Most buffers that one step writes: one for each form of its output.
pub const MAX_WRITTEN: usize = 2;

/// An arena cut into the buffers that a step writes and everything else.
pub struct Borrowed<'a> {
    /// Unwritten stretches with their offsets in the arena.
    unwritten: [(usize, &'a [u8]); MAX_WRITTEN + 1],
    /// The buffers written, in the order asked for; empty slices fill up.
    pub written: [&'a mut [u8]; MAX_WRITTEN],
}

impl<'a> Borrowed<'a> {
    /// Cuts `arena`. The ranges must not overlap: the plan never lets them.
    pub fn cut(arena: &'a mut [u8], ranges: [Range<usize>; MAX_WRITTEN]) -> Self {
        let swap = !ranges[1].is_empty() && ranges[1].start < ranges[0].start;
        let [first, second] = if swap { [1, 0] } else { [0, 1] };
        let (before, rest) = arena.split_at_mut(ranges[first].start);
        let (first_buffer, rest) = rest.split_at_mut(ranges[first].len());
        if ranges[second].is_empty() {
            let after = (ranges[first].end, &*rest);
            let unwritten = [(0, &*before), after, (usize::MAX, &[][..])];
            return Self { unwritten, written: [first_buffer, &mut []] };
        }
        let (between, rest) = rest.split_at_mut(ranges[second].start - ranges[first].end);
        let (second_buffer, rest) = rest.split_at_mut(ranges[second].len());
        let unwritten = [(0, &*before), (ranges[first].end, &*between), (ranges[second].end, &*rest)];
        let written = if swap { [second_buffer, first_buffer] } else { [first_buffer, second_buffer] };
        Self { unwritten, written }
    }

    /// A buffer that this step reads.
    ///
    /// # Panics
    /// If the step writes it too: the plan never lets it.
    pub fn read(&self, range: &Range<usize>) -> &'a [u8] {
        for (start, bytes) in self.unwritten {
            if start <= range.start && range.end <= start.saturating_add(bytes.len()) {
                return &bytes[range.start - start..range.end - start];
            }
        }
        panic!("a step reads a buffer that it writes: the plan is wrong");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ylb_kernels::layout::Border;

    fn store(form: Form, parts: &[usize]) -> Store {
        let (mut stored, mut logical, mut segments) = (0, 0, Vec::new());
        for &len in parts {
            segments.push(Segment { stored, logical, len });
            logical += len;
            stored += if form == Form::Bytes { len } else { len.next_multiple_of(8) };
        }
        let layout = Layout::dense(form, stored, 4, 5, Border::default());
        Store {
            buffer: BufferId(7),
            layout,
            pixel_offset: 0,
            segments,
            border_pixel: Vec::new(),
            range: 0..0,
        }
    }

    #[test]
    fn views_of_bytes_are_anywhere_those_of_planes_at_groups() {
        let bytes = store(Form::Bytes, &[12, 20]);
        let view = bytes.view(5, 10).unwrap();
        assert_eq!((view.pixel_offset, view.layout.channels, view.layout.pixel_stride), (5, 10, 32));
        let parts = [(0, 0, 7), (7, 7, 3)].map(|(stored, logical, len)| Segment { stored, logical, len });
        assert_eq!(view.segments, parts);
        assert_eq!(view.view(7, 3).unwrap().pixel_offset, 12);

        let planes = store(Form::Planes { bits: 4 }, &[12, 20]);
        let view = planes.view(8, 4).unwrap();
        assert_eq!((view.pixel_offset, view.layout.channels), (4, 8));
        // Channel 12 is stored as channel 16.
        assert_eq!(planes.view(12, 8).unwrap().pixel_offset, 8);
        assert_eq!(planes.view(8, 12).unwrap().layout.channels, 16);
        for (first, count) in [(5, 8), (0, 4), (12, 12), (0, 13)] {
            assert!(planes.view(first, count).is_none(), "{first} {count}");
        }
    }

    #[test]
    fn cutting_gives_written_and_unwritten_bytes() {
        let fresh = || (0..100u8).collect::<Vec<_>>();
        for ranges in [[10..20, 0..0], [10..20, 30..50], [30..50, 10..20], [0..10, 90..100]] {
            let mut arena = fresh();
            let borrowed = Borrowed::cut(&mut arena, ranges.clone());
            for (range, written) in ranges.iter().zip(&borrowed.written) {
                let expected: Vec<u8> = range.clone().map(|byte| byte as u8).collect();
                assert_eq!(*written, &expected[..]);
            }
            assert_eq!(borrowed.read(&(60..62)), [60, 61]);
            assert_eq!(borrowed.read(&(20..30)), &fresh()[20..30]);
        }
    }

    #[test]
    #[should_panic(expected = "reads a buffer that it writes")]
    fn reading_what_is_written_panics() {
        let mut arena = vec![0; 100];
        let borrowed = Borrowed::cut(&mut arena, [10..20, 0..0]);
        borrowed.read(&(15..30));
    }

    #[test]
    fn memory_that_there_is_not_is_an_error() {
        assert_eq!(zeros::<i32>(3), Ok(vec![0; 3]));
        assert_eq!(
            zeros::<i32>(usize::MAX / 2),
            Err(OutOfMemory { bytes: (usize::MAX as u64 / 2).saturating_mul(4) })
        );
        assert!(AlignedBytes::try_zeroed(usize::MAX).is_err());
    }

    #[test]
    fn aligned_bytes_are_aligned() {
        let bytes = AlignedBytes::zeroed(65);
        assert_eq!(bytes.bytes().len(), 128);
        assert_eq!(bytes.bytes().as_ptr().align_offset(ALIGNMENT), 0);
    }
}
