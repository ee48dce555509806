//! Canonical bit planes: how small unsigned codes are stored independently of any CPU.
//!
//! `len` codes of `bits` bits are `bits` planes one after another, the least significant first. Plane
//! `p` holds bit `p` of every code: that of code `i` is bit `i % 8` of byte `i / 8`. A plane takes
//! `⌈len / 8⌉` bytes, and the bits behind its last code, the *tail bits*, are 0, so that equal codes
//! are equal bytes.

/// Codes stored as canonical bit planes; the tail bits are known to be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitPlanes<'a> {
    bytes: &'a [u8],
    len: usize,
    bits: u8,
}

/// Why bytes are not canonical bit planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotBitPlanes {
    /// Codes have 1 to 8 bits, not this many.
    Bits(u8),
    /// The number of bytes is not that of `bits` planes of `len` codes.
    Length {
        /// Bytes that the planes would take; `None` if that exceeds a `usize`.
        expected: Option<usize>,
        /// Bytes given.
        found: usize,
    },
    /// A bit behind the last code of this plane is not 0.
    TailBits(u8),
}

/// Bytes of one plane of `len` codes.
pub const fn plane_len(len: usize) -> usize {
    len.div_ceil(8)
}

/// Packs codes into planes. Bits of a code beyond `bits` are ignored.
///
/// # Panics
/// If `bits` is not 1 to 8.
pub fn pack(codes: &[u8], bits: u8) -> Vec<u8> {
    assert!((1..=8).contains(&bits), "codes have 1 to 8 bits, not {bits}");
    let plane = |plane: u8| {
        let byte = move |codes: &[u8]| {
            codes.iter().enumerate().fold(0, |byte, (i, code)| byte | (code >> plane & 1) << i)
        };
        codes.chunks(8).map(byte)
    };
    (0..bits).flat_map(plane).collect()
}

impl<'a> BitPlanes<'a> {
    /// Reads `bytes` as `bits` planes of `len` codes.
    ///
    /// # Errors
    /// If the width, the number of bytes or a tail bit is wrong.
    pub fn new(bytes: &'a [u8], len: usize, bits: u8) -> Result<Self, NotBitPlanes> {
        if !(1..=8).contains(&bits) {
            return Err(NotBitPlanes::Bits(bits));
        }
        let expected = plane_len(len).checked_mul(usize::from(bits));
        if expected != Some(bytes.len()) {
            return Err(NotBitPlanes::Length { expected, found: bytes.len() });
        }
        let planes = Self { bytes, len, bits };
        let tail = len % 8;
        if tail != 0 {
            let last_byte = |plane: u8| planes.plane(plane)[plane_len(len) - 1];
            if let Some(plane) = (0..bits).find(|&plane| last_byte(plane) >> tail != 0) {
                return Err(NotBitPlanes::TailBits(plane));
            }
        }
        Ok(planes)
    }

    /// Number of codes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no codes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bits of a code.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// One plane.
    ///
    /// # Panics
    /// If there is no such plane.
    pub fn plane(&self, plane: u8) -> &'a [u8] {
        let len = plane_len(self.len);
        &self.bytes[usize::from(plane) * len..][..len]
    }

    /// One code.
    ///
    /// # Panics
    /// If there is no such code.
    pub fn code(&self, index: usize) -> u8 {
        assert!(index < self.len, "code {index} of {}", self.len);
        let len = plane_len(self.len);
        (0..self.bits).fold(0, |code, plane| {
            let byte = self.bytes[usize::from(plane) * len + index / 8];
            code | (byte >> (index % 8) & 1) << plane
        })
    }

    /// All codes in order.
    pub fn codes(&self) -> impl ExactSizeIterator<Item = u8> + use<'a> {
        let planes = *self;
        (0..self.len).map(move |index| planes.code(index))
    }
}

impl std::fmt::Display for NotBitPlanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bits(bits) => write!(f, "codes of {bits} bits; 1 to 8 expected"),
            Self::Length { expected: Some(expected), found } => {
                write!(f, "bit planes take {expected} bytes, not {found}")
            }
            Self::Length { expected: None, .. } => write!(f, "bit planes are too long for this machine"),
            Self::TailBits(plane) => write!(f, "plane {plane} has bits behind its last code"),
        }
    }
}

impl std::error::Error for NotBitPlanes {}
