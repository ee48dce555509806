//! Header, section table, padding and checksums.

use super::{Cursor, ReadError, Result};
use crate::container::{
    ALIGNMENT, CHECKSUM_OFFSET, ENTRY_LEN, HEADER_LEN, MAGIC, OPTIONAL_BIT, Section, SectionKind, VERSION,
    Version,
};
use crate::limits::MAX_SECTIONS;
use crate::weights::to_usize;

/// Bytes that keep their meaning in every version: the magic number and the version.
const VERSIONED_LEN: usize = 12;

/// A file whose container is sound: sections cover it without holes and have their checksums.
pub(super) struct Container<'a> {
    pub(super) version: Version,
    pub(super) sections: Vec<Section>,
    bytes: &'a [u8],
}

struct Header {
    sections: usize,
    file_len: u64,
}

impl<'a> Container<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self> {
        let version = version(bytes)?;
        let header = header(bytes)?;
        let sections = table(bytes, &header)?;
        checksums(bytes, &sections)?;
        // Only now: a damaged file is not a newer one.
        known(&sections, version)?;
        Ok(Self { version, sections, bytes })
    }

    /// A cursor at the beginning of a section.
    pub(super) fn cursor(&self, kind: SectionKind) -> Result<Cursor<'a>> {
        let section = self.sections.iter().find(|section| section.kind == kind);
        let section = section.ok_or(ReadError::MissingSection { section: kind })?;
        Ok(Cursor::new(kind, section_bytes(self.bytes, section)?))
    }
}

/// Checks that this is a file of a version whose header has the known layout.
fn version(bytes: &[u8]) -> Result<Version> {
    let start = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    if !MAGIC.starts_with(start) {
        let letters = start.get(1..4);
        let text = letters == MAGIC.get(1..4);
        return Err(if text { ReadError::TextTransfer } else { ReadError::NotYlb });
    }
    if bytes.len() < VERSIONED_LEN {
        return Err(truncated(HEADER_LEN, bytes));
    }
    let mut fields = Cursor::new(SectionKind(0), bytes);
    fields.take(MAGIC.len())?;
    let file = Version { major: fields.u16()?, minor: fields.u16()? };
    if file.major > VERSION.major {
        return Err(ReadError::NewerVersion { file, supported: VERSION });
    }
    if file.major == 0 {
        return Err(ReadError::UnknownVersion { file });
    }
    if file.major < VERSION.major {
        return Err(ReadError::OlderVersion { file });
    }
    Ok(file)
}

fn header(bytes: &[u8]) -> Result<Header> {
    let mut fields = Cursor::new(SectionKind(0), bytes);
    let too_short = |_| truncated(HEADER_LEN, bytes);
    fields.take(VERSIONED_LEN).map_err(too_short)?;
    let count = fields.u32().map_err(too_short)?;
    let file_len = fields.u64().map_err(too_short)?;
    let stored = fields.u32().map_err(too_short)?;
    let reserved = fields.u32().map_err(too_short)?;
    if count > MAX_SECTIONS {
        return Err(ReadError::TooManySections { count, limit: MAX_SECTIONS });
    }
    let sections = to_usize(count);
    let table_end = HEADER_LEN + sections * ENTRY_LEN;
    let actual = length(bytes);
    let Some(checked) = bytes.get(..table_end) else {
        return Err(ReadError::Truncated { expected: file_len.max(to_u64(table_end)), actual });
    };
    let computed = header_checksum(checked);
    if computed != stored {
        return Err(ReadError::HeaderChecksum { stored, computed });
    }
    if reserved != 0 {
        return Err(ReadError::Reserved { offset: CHECKSUM_OFFSET + 4 });
    }
    if actual < file_len {
        return Err(ReadError::Truncated { expected: file_len, actual });
    }
    if actual > file_len {
        return Err(ReadError::TrailingBytes { expected: file_len, actual });
    }
    Ok(Header { sections, file_len })
}

/// CRC-32 of header and section table, with zeros in the place of the checksum itself.
fn header_checksum(bytes: &[u8]) -> u32 {
    let (before, rest) = bytes.split_at(CHECKSUM_OFFSET.min(bytes.len()));
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(before);
    hasher.update(&[0; 4]);
    hasher.update(rest.get(4..).unwrap_or_default());
    hasher.finalize()
}

/// Reads the section table, and checks that its sections follow each other to the file's end.
fn table(bytes: &[u8], header: &Header) -> Result<Vec<Section>> {
    let mut fields = Cursor::new(SectionKind(0), bytes);
    fields.take(HEADER_LEN)?;
    let mut sections: Vec<Section> = Vec::with_capacity(header.sections);
    let mut end = to_u64(HEADER_LEN + header.sections * ENTRY_LEN);
    for _ in 0..header.sections {
        let entry = fields.offset();
        let kind = SectionKind(fields.u32()?);
        let crc32 = fields.u32()?;
        let section = Section { kind, crc32, offset: fields.u64()?, len: fields.u64()? };
        if fields.u64()? != 0 {
            return Err(ReadError::Reserved { offset: entry + 24 });
        }
        if sections.last().is_some_and(|previous| previous.kind >= kind) {
            return Err(ReadError::SectionOrder { section: kind });
        }
        end = follow(bytes, end, &section, header.file_len)?;
        sections.push(section);
    }
    if end != header.file_len {
        return Err(ReadError::Uncovered { end, file_len: header.file_len });
    }
    Ok(sections)
}

/// Checks that a section begins at the first aligned offset behind `end`, with zeros between, and is
/// inside the file. Returns the section's end.
fn follow(bytes: &[u8], end: u64, section: &Section, file_len: u64) -> Result<u64> {
    let &Section { kind, offset, len, .. } = section;
    // `end` is at most the file's length, which is that of a slice.
    let expected = end.next_multiple_of(to_u64(ALIGNMENT));
    if offset != expected {
        return Err(ReadError::SectionOffset { section: kind, expected, actual: offset });
    }
    let outside = ReadError::SectionEnd { section: kind, offset, len, file_len };
    let section_end = offset.checked_add(len).filter(|end| *end <= file_len).ok_or(outside)?;
    match range(bytes, end, offset) {
        Some(padding) if padding.iter().all(|byte| *byte == 0) => Ok(section_end),
        _ => Err(ReadError::Padding { section: kind }),
    }
}

fn checksums(bytes: &[u8], sections: &[Section]) -> Result<()> {
    for section in sections {
        let computed = crc32fast::hash(section_bytes(bytes, section)?);
        let stored = section.crc32;
        if computed != stored {
            return Err(ReadError::SectionChecksum { section: section.kind, stored, computed });
        }
    }
    Ok(())
}

/// Refuses sections that may not be skipped.
fn known(sections: &[Section], version: Version) -> Result<()> {
    let may_stay = |kind: SectionKind| kind.0 & OPTIONAL_BIT != 0 || SectionKind::ALL.contains(&kind);
    match sections.iter().find(|section| !may_stay(section.kind)) {
        None => Ok(()),
        Some(_) if version > VERSION => Err(ReadError::NewerVersion { file: version, supported: VERSION }),
        Some(section) => Err(ReadError::UnknownSection { section: section.kind }),
    }
}

fn section_bytes<'a>(bytes: &'a [u8], section: &Section) -> Result<&'a [u8]> {
    let &Section { kind, offset, len, .. } = section;
    let outside = ReadError::SectionEnd { section: kind, offset, len, file_len: length(bytes) };
    offset.checked_add(len).and_then(|end| range(bytes, offset, end)).ok_or(outside)
}

fn range(bytes: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn truncated(expected: usize, bytes: &[u8]) -> ReadError {
    ReadError::Truncated { expected: to_u64(expected), actual: length(bytes) }
}

fn length(bytes: &[u8]) -> u64 {
    to_u64(bytes.len())
}

/// No platform has a `usize` of more than 64 bits.
fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
