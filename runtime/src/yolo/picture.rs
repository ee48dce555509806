//! The caller's picture: borrowed pixels and how to read them.

/// Largest width and height of a picture: positions up to here are exact in the resizer's f32.
pub const MAX_EXTENT: usize = 1 << 24;

/// Order of the bytes of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as OpenCV and many cameras have it.
    Bgr,
    /// Red, green, blue, and an opacity that is ignored.
    Rgba,
    /// One byte, which stands for all three colours.
    Gray,
}

/// Pixels of a picture, top row first.
///
/// The fields may be set directly; whoever takes a picture runs [`Picture::check`].
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Pixel (x, y) starts at byte `y · stride + x · format.bytes()`.
    pub pixels: &'a [u8],
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// Bytes from a row to the next, at least `width · format.bytes()`. The last row need not be
    /// followed by the rest of its stride.
    pub stride: usize,
    /// Order of the bytes of a pixel.
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
    /// Bytes of a pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba => 4,
            Self::Gray => 1,
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
        let (width, height, stride) = (self.width, self.height, self.stride);
        if width == 0 || height == 0 {
            return Err(PictureErrorKind::Empty { width, height }.into());
        }
        if width > MAX_EXTENT || height > MAX_EXTENT {
            return Err(PictureErrorKind::TooLarge { width, height }.into());
        }
        let row = width * self.format.bytes();
        if stride < row {
            return Err(PictureErrorKind::StrideTooSmall { stride, width, row }.into());
        }
        let needed =
            (height - 1).checked_mul(stride).and_then(|above| above.checked_add(row)).unwrap_or(usize::MAX);
        let given = self.pixels.len();
        if given < needed {
            return Err(PictureErrorKind::TooFewBytes { needed, given }.into());
        }
        Ok(())
    }

    /// The bytes of row `y`, nothing behind its last pixel.
    ///
    /// # Panics
    /// If the row is not inside [`Picture::pixels`], which [`Picture::check`] rules out for
    /// `y < height`.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.pixels[y * self.stride..][..self.width * self.format.bytes()]
    }
}
