//! The caller's picture: borrowed pixels and how to read them, and how they become the network's input.
//!
//! From the picture's bytes to the input's levels there are only integers; floating point appears in geometry that
//! depends on sizes alone (a letterbox's sampling positions).

pub mod letterbox;

pub use letterbox::{Band, Letterbox, Placement, RowCache};

/// Largest width and height of a picture: positions up to here are exact in the resizer's f32.
pub const MAX_EXTENT: usize = 1 << 24;

/// How the bytes of a picture make pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as OpenCV and many cameras have it.
    Bgr,
    /// Red, green, blue, and an opacity that is ignored.
    Rgba,
    /// Blue, green, red, and an opacity that is ignored.
    Bgra,
    /// One byte, which stands for all three colours.
    Gray,
    /// Two pixels in four bytes: luma, blue chroma, luma, red chroma. What most USB cameras send. See
    /// below for the colours.
    Yuyv,
    /// A plane of luma, one byte a pixel, followed at once by a plane of half as many rows with the same
    /// stride: blue chroma and red chroma, one pair for 2 x 2 pixels. What hardware decoders and camera
    /// processors write.
    ///
    /// The colours of this format and of [`PixelFormat::Yuyv`] are video's usual ones, BT.601 with
    /// luma from 16 to 235, in OpenCV's arithmetic: a picture is found as if `cvtColor` had made it
    /// RGB. The width must be even; in this format the height, too.
    Nv12,
}

/// Pixels of a picture, top row first.
///
/// The fields may be set directly; whoever takes a picture runs [`Picture::check`].
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Pixel (x, y) starts at byte `y · stride + x · format.bytes()`; the planes of
    /// [`PixelFormat::Nv12`] follow one another.
    pub pixels: &'a [u8],
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// Bytes from a row to the next, at least `width · format.bytes()`. The last row need not be
    /// followed by the rest of its stride.
    pub stride: usize,
    /// How the bytes make pixels.
    pub format: PixelFormat,
}

/// A picture whose sizes contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct PictureError(#[from] PictureErrorKind);

/// What is wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PictureErrorKind {
    /// It has no pixels.
    #[error("the picture is empty: {width} x {height} pixels")]
    Empty {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// A side exceeds [`MAX_EXTENT`].
    #[error("the picture of {width} x {height} pixels is too large: a side may have {MAX_EXTENT}")]
    TooLarge {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// Pixels of this format come in pairs.
    #[error("a {format:?} picture has an even width{}, but this one has {width} x {height} pixels", if *.format == PixelFormat::Nv12 { " and height" } else { "" })]
    Odd {
        /// The format.
        format: PixelFormat,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The stride is less than a row.
    #[error("the picture's stride is {stride} bytes, but a row of {width} pixels takes {row}")]
    StrideTooSmall {
        /// The stride given.
        stride: usize,
        /// Columns.
        width: usize,
        /// Bytes of a row.
        row: usize,
    },
    /// The slice ends before the last pixel.
    #[error("the picture needs {needed} bytes for its sizes and stride, but {given} were given")]
    TooFewBytes {
        /// Bytes needed; `usize::MAX` if the number is larger than that.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
}

impl PixelFormat {
    /// Bytes from a pixel to the next in its row; those of luma, where chroma lies apart.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba | Self::Bgra => 4,
            Self::Yuyv => 2,
            Self::Gray | Self::Nv12 => 1,
        }
    }

    /// Pixels that share a chroma value, across and down: widths and heights are multiples of them.
    const fn chroma_block(self) -> [usize; 2] {
        match self {
            Self::Yuyv => [2, 1],
            Self::Nv12 => [2, 2],
            _ => [1, 1],
        }
    }
}

impl PictureError {
    /// What is wrong.
    pub const fn kind(&self) -> &PictureErrorKind {
        &self.0
    }
}

impl<'a> Picture<'a> {
    /// A picture whose rows follow one another without a gap.
    ///
    /// # Errors
    /// See [`Picture::check`].
    pub fn new(
        pixels: &'a [u8],
        width: usize,
        height: usize,
        format: PixelFormat,
    ) -> Result<Self, PictureError> {
        let stride = width.saturating_mul(format.bytes());
        Self::with_stride(pixels, width, height, stride, format)
    }

    /// A picture whose rows start `stride` bytes apart.
    ///
    /// # Errors
    /// See [`Picture::check`].
    pub fn with_stride(
        pixels: &'a [u8],
        width: usize,
        height: usize,
        stride: usize,
        format: PixelFormat,
    ) -> Result<Self, PictureError> {
        let picture = Self { pixels, width, height, stride, format };
        picture.check()?;
        Ok(picture)
    }

    /// Checks that there are pixels, that no side is too large, and that all rows lie in
    /// [`Picture::pixels`] without overlap.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn check(&self) -> Result<(), PictureError> {
        self.check_sizes()?;
        let (needed, given) = (self.needed(), self.pixels.len());
        if given < needed {
            return Err(PictureErrorKind::TooFewBytes { needed, given }.into());
        }
        Ok(())
    }

    /// Checks all but the number of bytes.
    ///
    /// # Errors
    /// As [`Picture::check`].
    pub fn check_sizes(&self) -> Result<(), PictureError> {
        let (width, height, stride) = (self.width, self.height, self.stride);
        if width == 0 || height == 0 {
            return Err(PictureErrorKind::Empty { width, height }.into());
        }
        if width > MAX_EXTENT || height > MAX_EXTENT {
            return Err(PictureErrorKind::TooLarge { width, height }.into());
        }
        let [across, down] = self.format.chroma_block();
        if width % across != 0 || height % down != 0 {
            return Err(PictureErrorKind::Odd { format: self.format, width, height }.into());
        }
        let row = width * self.format.bytes();
        if stride < row {
            return Err(PictureErrorKind::StrideTooSmall { stride, width, row }.into());
        }
        Ok(())
    }

    /// Bytes that the picture's sizes, stride and format ask for, from its first pixel to its last;
    /// `usize::MAX` if that is more than an address can say.
    pub fn needed(&self) -> usize {
        let chroma_rows = if self.format == PixelFormat::Nv12 { self.height / 2 } else { 0 };
        let row = self.width.saturating_mul(self.format.bytes());
        let above = (self.height + chroma_rows).saturating_sub(1).checked_mul(self.stride);
        above.and_then(|above| above.checked_add(row)).unwrap_or(usize::MAX)
    }

    /// The pairs of blue and red chroma of row `y` of an [`PixelFormat::Nv12`] picture.
    ///
    /// # Panics
    /// See [`Picture::row`].
    fn chroma_row(&self, y: usize) -> &'a [u8] {
        &self.pixels[(self.height + y / 2) * self.stride..][..self.width]
    }

    /// The bytes of row `y`, nothing behind its last pixel; of [`PixelFormat::Nv12`] its luma.
    ///
    /// # Panics
    /// If the row is not inside [`Picture::pixels`], which [`Picture::check`] rules out for
    /// `y < height`.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.pixels[y * self.stride..][..self.width * self.format.bytes()]
    }
}
