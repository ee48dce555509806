//! Where the levels of a tensor lie in memory.
//!
//! NHWC with a physical border: pixels of a row are contiguous, so the taps of one kernel row of a
//! convolution are one contiguous *run* of `kernel_width · channels` levels, at any stride, without
//! im2col or indirection. In [`Form::Planes`] the planes are interleaved byte by byte:
//!
//! ```text
//! 2 bits, 16 channels: a pixel is 4 bytes        g = group of 8 channels, p = plane
//!
//!   | g0p0 g0p1 g1p0 g1p1 | g0p0 g0p1 g1p0 g1p1 | ...
//!   |<---- pixel x-1 ---->|<----- pixel x ----->|
//!
//! bit i of byte g·bits + p = bit p of the level of channel 8g + i
//! ```

/// Bytes that must be readable behind the last pixel of every tensor: vector loads may reach there.
/// What they read there never influences a result.
pub const READ_SLACK: usize = 64;

/// How the levels of a pixel are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Bit planes, 1 to 4 bits, interleaved byte by byte for each group of 8 channels.
    Planes {
        /// Planes of a level.
        bits: u8,
    },
    /// One byte a level.
    Bytes,
}

/// Pixels around a tensor that hold the padding's level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Border {
    /// Rows above.
    pub top: usize,
    /// Columns before.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns after.
    pub right: usize,
}

/// Geometry of one tensor in one form. Lengths and offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The form of a pixel.
    pub form: Form,
    /// Channels as stored; a multiple of 8 in [`Form::Planes`].
    pub channels: usize,
    /// Rows without the border.
    pub height: usize,
    /// Columns without the border.
    pub width: usize,
    /// The border's size.
    pub border: Border,
    /// Bytes from a pixel to its right neighbour: at least [`Layout::pixel_len`]. More where the
    /// tensor is a slice of the channels of a wider one.
    pub pixel_stride: usize,
}

impl Border {
    /// The border that is as wide as both on every side.
    pub fn max(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }
}

impl Form {
    /// Bytes that `channels` channels of a pixel take. In [`Form::Planes`] a multiple of 8 channels.
    pub const fn pixel_len(self, channels: usize) -> usize {
        match self {
            Self::Planes { bits } => channels / 8 * bits as usize,
            Self::Bytes => channels,
        }
    }
}

impl Layout {
    /// A tensor whose pixels lie side by side. `channels` is rounded up to a multiple of 8 for planes.
    pub const fn dense(form: Form, channels: usize, height: usize, width: usize, border: Border) -> Self {
        let channels = match form {
            Form::Planes { .. } => channels.next_multiple_of(8),
            Form::Bytes => channels,
        };
        let pixel_stride = form.pixel_len(channels);
        Self { form, channels, height, width, border, pixel_stride }
    }

    /// Bytes of a pixel's channels.
    pub const fn pixel_len(&self) -> usize {
        self.form.pixel_len(self.channels)
    }

    /// Bytes from a row to the next.
    pub const fn row_stride(&self) -> usize {
        (self.border.left + self.width + self.border.right) * self.pixel_stride
    }

    /// Rows, the border's included.
    pub const fn rows(&self) -> usize {
        self.border.top + self.height + self.border.bottom
    }

    /// Bytes of the whole tensor with its border, without [`READ_SLACK`].
    pub const fn len(&self) -> usize {
        self.rows() * self.row_stride()
    }

    /// Whether the tensor has no elements.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Offset of pixel (`y`, `x`), counted from the tensor's top left pixel inside the border:
    /// negative coordinates are in the border.
    ///
    /// # Panics
    /// In debug builds, if the pixel is beyond the border.
    pub const fn offset(&self, y: isize, x: isize) -> usize {
        let row = y + self.border.top as isize;
        let column = x + self.border.left as isize;
        debug_assert!(row >= 0 && column >= 0);
        row as usize * self.row_stride() + column as usize * self.pixel_stride
    }
}
