//! How staircases are stored: their thresholds as differences of differences, their levels as runs.
//!
//! A function that is nearly straight has thresholds at nearly equal distances, and its levels go up or down by one for
//! most of its way. What is stored is therefore mostly zeros and ones, one byte a threshold instead of five to nine:
//! with a SiLU of 8 bits, a layer whose channels have each a staircase of its own takes a fifth.
//!
//! The two halves are `read::staircase` and `write::staircase`; here is what both know. A number is stored as a varint (seven bits a byte, the lowest first), a signed one with its sign in the lowest bit
//! (0, −1, 1, −2, … are 0, 1, 2, 3, …), as in Protocol Buffers. All arithmetic wraps around at 64 bits, so that every
//! list of thresholds can be stored, and each in one way only.

/// A threshold as a signed number of 64 bits, and back.
pub(crate) trait Threshold: Copy {
    /// The number. Unsigned ones keep their bits.
    fn to_i64(self) -> i64;

    /// The threshold, if the number is one.
    fn from_i64(number: i64) -> Option<Self>;
}

impl Threshold for i32 {
    fn to_i64(self) -> i64 {
        i64::from(self)
    }

    fn from_i64(number: i64) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Threshold for i64 {
    fn to_i64(self) -> i64 {
        self
    }

    fn from_i64(number: i64) -> Option<Self> {
        Some(number)
    }
}

impl Threshold for u64 {
    fn to_i64(self) -> i64 {
        self.cast_signed()
    }

    fn from_i64(number: i64) -> Option<Self> {
        Some(number.cast_unsigned())
    }
}

/// The sign in the lowest bit: small magnitudes become small numbers.
pub(crate) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::{unzigzag, zigzag};

    #[test]
    fn signs_go_to_the_lowest_bit_and_back() {
        let numbers = [0, -1, 1, -2, 2, i64::MAX, i64::MIN];
        let expected = [0, 1, 2, 3, 4, u64::MAX - 1, u64::MAX];
        assert_eq!(numbers.map(zigzag), expected);
        assert_eq!(expected.map(unzigzag), numbers);
    }
}
