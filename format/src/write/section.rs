//! Little-endian fields, one after another: the counterpart of the reader's cursor.

/// A section's bytes so far.
#[derive(Default)]
pub(super) struct Section {
    pub(super) bytes: Vec<u8>,
}

impl Section {
    pub(super) fn u8(&mut self, number: u8) {
        self.bytes.push(number);
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn u32s(&mut self, numbers: &[u32]) {
        self.numbers(numbers, u32::to_le_bytes);
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn i16(&mut self, number: i16) {
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn f32(&mut self, number: f32) {
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn f64(&mut self, number: f64) {
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn numbers<const N: usize, T: Copy>(&mut self, numbers: &[T], to_le_bytes: fn(T) -> [u8; N]) {
        self.bytes.extend(numbers.iter().copied().flat_map(to_le_bytes));
    }

    /// A number of 1 to 10 bytes: seven bits each, the lowest first, the eighth bit set in all but the last.
    pub(super) fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.u8(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.u8(number.to_le_bytes()[0]);
    }

    /// A text: a u16 of its length in bytes, then UTF-8.
    pub(super) fn text(&mut self, text: &str) {
        self.u16(narrow(text.len()));
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A u8 that counts.
    pub(super) fn small_count(&mut self, count: usize) {
        self.u8(narrow(count));
    }

    /// A u32 that counts.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(narrow(count));
    }
}

/// A length or count in fewer bits.
///
/// # Panics
/// If it does not fit, which the limits of a valid model exclude.
pub(super) fn narrow<T: TryFrom<usize>>(count: usize) -> T {
    T::try_from(count).ok().expect("a valid model's counts fit their fields")
}

/// A length in memory, which no platform counts with more than 64 bits.
pub(super) fn length(len: usize) -> u64 {
    narrow(len)
}
