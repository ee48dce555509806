//! Little-endian fields of a section, one after another.

use super::{ReadError, Result};
use crate::container::SectionKind;
use crate::weights::to_usize;

/// A position in a section.
pub(super) struct Cursor<'a> {
    section: SectionKind,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(section: SectionKind, bytes: &'a [u8]) -> Self {
        Self { section, bytes, offset: 0 }
    }

    /// Where the next field begins, from the section's beginning.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.offset)
    }

    /// Checks that every byte has been read.
    pub(super) fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            unread => Err(ReadError::UnreadBytes { section: self.section, unread }),
        }
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.offset.checked_add(len);
        match end.and_then(|end| self.bytes.get(self.offset..end)) {
            Some(bytes) => {
                self.offset += len;
                Ok(bytes)
            }
            None => Err(self.beyond(u64::try_from(len).unwrap_or(u64::MAX))),
        }
    }

    /// The next `len` bytes, where `None` stands for more than a u64 can count.
    pub(super) fn take_u64(&mut self, len: Option<u64>) -> Result<&'a [u8]> {
        match len.and_then(|len| usize::try_from(len).ok()) {
            Some(len) => self.take(len),
            None => Err(self.beyond(len.unwrap_or(u64::MAX))),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn f32(&mut self) -> Result<f32> {
        self.array().map(f32::from_le_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        self.array().map(f64::from_le_bytes)
    }

    pub(super) fn u32s<const N: usize>(&mut self) -> Result<[u32; N]> {
        let mut extents = [0; N];
        for extent in &mut extents {
            *extent = self.u32()?;
        }
        Ok(extents)
    }

    /// A text: a u16 of its length in bytes, then UTF-8.
    pub(super) fn text(&mut self) -> Result<String> {
        let offset = self.offset;
        let len = usize::from(self.u16()?);
        let text = std::str::from_utf8(self.take(len)?);
        text.map(str::to_owned).map_err(|_| ReadError::NotUtf8 { section: self.section, offset })
    }

    /// 0 or 1.
    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool> {
        let offset = self.offset;
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            code => Err(self.unknown_code(offset, what, code)),
        }
    }

    /// A u32 that counts things of at least `min_len` bytes each: no more than the limit, and no more
    /// than can follow. What it returns may be allocated.
    pub(super) fn count(&mut self, what: &'static str, limit: usize, min_len: usize) -> Result<usize> {
        let count = self.u32()?;
        self.check_count(what, to_usize(count), limit)?;
        self.check_remaining(to_usize(count), min_len)?;
        Ok(to_usize(count))
    }

    /// Checks that `count` things of at least `min_len` bytes each can follow.
    pub(super) fn check_remaining(&self, count: usize, min_len: usize) -> Result<()> {
        let needed = count.saturating_mul(min_len);
        if needed > self.remaining() {
            return Err(self.beyond(u64::try_from(needed).unwrap_or(u64::MAX)));
        }
        Ok(())
    }

    /// A u8 that counts things whose number has a limit.
    pub(super) fn small_count(&mut self, what: &'static str, limit: usize) -> Result<usize> {
        let count = usize::from(self.u8()?);
        self.check_count(what, count, limit)?;
        Ok(count)
    }

    pub(super) fn check_count(&self, what: &'static str, count: usize, limit: usize) -> Result<()> {
        if count <= limit {
            return Ok(());
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        Err(ReadError::Count { section: self.section, what, count, limit })
    }

    /// `count` numbers of `N` bytes.
    pub(super) fn numbers<const N: usize, T>(
        &mut self,
        count: usize,
        from_le_bytes: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let len = count.checked_mul(N).and_then(|len| u64::try_from(len).ok());
        let (chunks, _) = self.take_u64(len)?.as_chunks::<N>();
        Ok(chunks.iter().copied().map(from_le_bytes).collect())
    }

    /// A number of 1 to 10 bytes: seven bits each, the lowest first, the eighth bit set in all but the last.
    pub(super) fn varint(&mut self) -> Result<u64> {
        let offset = self.offset;
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(self.not_so(offset, "exceeds 64 bits"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest {
                    Ok(number)
                } else {
                    Err(self.not_so(offset, "is longer than it need be"))
                };
            }
        }
        Err(self.not_so(offset, "exceeds 64 bits"))
    }

    pub(super) fn not_so(&self, offset: usize, problem: &'static str) -> ReadError {
        ReadError::Number { section: self.section, offset, problem }
    }

    pub(super) fn unknown_code(&self, offset: usize, what: &'static str, code: u8) -> ReadError {
        ReadError::UnknownCode { section: self.section, offset, what, code }
    }

    fn beyond(&self, needed: u64) -> ReadError {
        let (section, offset) = (self.section, self.offset);
        ReadError::FieldBeyondSection { section, offset, needed, available: self.remaining() }
    }
}
