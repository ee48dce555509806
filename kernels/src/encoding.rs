//! What the bits of a weight mean.

use std::ops::RangeInclusive;

/// How `bits` bits, read as the unsigned number *code*, translate to a value. Widths of 1 to 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The code itself: 0 to 2^bits − 1.
    Unsigned,
    /// Two's complement, the top bit counts negative: −2^(bits−1) to 2^(bits−1) − 1.
    TwosComplement,
    /// Every bit is a sign: `2·code − (2^bits − 1)`, odd numbers only; one bit is −1 or +1.
    Bipolar,
}

impl Encoding {
    /// The value of a code. Bits of `code` beyond `bits` are ignored.
    ///
    /// # Panics
    /// If `bits` is not 1 to 8.
    pub const fn value(self, code: u8, bits: u8) -> i32 {
        let mask = mask(bits);
        let code = code as i32 & mask;
        match self {
            Self::Unsigned => code,
            Self::TwosComplement if code > mask >> 1 => code - mask - 1,
            Self::TwosComplement => code,
            Self::Bipolar => 2 * code - mask,
        }
    }

    /// The code of a value; `None` for a value that has none.
    ///
    /// # Panics
    /// If `bits` is not 1 to 8.
    pub const fn code(self, value: i32, bits: u8) -> Option<u8> {
        let mask = mask(bits);
        let (low, high) = self.bounds(bits);
        if value < low || value > high {
            return None;
        }
        match self {
            Self::Unsigned | Self::TwosComplement => Some((value & mask) as u8),
            Self::Bipolar if (value + mask) % 2 == 0 => Some(((value + mask) / 2) as u8),
            Self::Bipolar => None,
        }
    }

    /// Smallest to largest value.
    ///
    /// # Panics
    /// If `bits` is not 1 to 8.
    pub const fn range(self, bits: u8) -> RangeInclusive<i32> {
        let (low, high) = self.bounds(bits);
        low..=high
    }

    const fn bounds(self, bits: u8) -> (i32, i32) {
        let mask = mask(bits);
        match self {
            Self::Unsigned => (0, mask),
            Self::TwosComplement => (-(mask >> 1) - 1, mask >> 1),
            Self::Bipolar => (-mask, mask),
        }
    }
}

const fn mask(bits: u8) -> i32 {
    assert!(bits >= 1 && bits <= 8, "widths are 1 to 8 bits");
    (1 << bits) - 1
}
