//! Why bytes are not a model.

use thiserror::Error;

use crate::container::{SectionKind, Version};
use crate::validate::Violation;

/// Why a `.ylb` file cannot be read. The text is one line and does not name the file.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file begins with something else.
    #[error("this is not a .ylb file; convert a model with `yolo-lowbit convert`")]
    NotYlb,
    /// Line endings were translated, or eighth bits cleared.
    #[error("the file was damaged by a transfer as text; copy it again in binary mode")]
    TextTransfer,
    /// The file ends early.
    #[error("the file is truncated: {actual} of {expected} bytes; copy it again")]
    Truncated {
        /// Bytes that the file should have, or the fewest that it can have.
        expected: u64,
        /// Bytes that it has.
        actual: u64,
    },
    /// Something follows the file.
    #[error("{actual} bytes are {} more than the file should have; copy it again", actual - expected)]
    TrailingBytes {
        /// Bytes that the file should have.
        expected: u64,
        /// Bytes that it has.
        actual: u64,
    },
    /// The file's format is newer than this crate.
    #[error("the file has format version {file}, and this program reads {supported}: update yolo-lowbit")]
    NewerVersion {
        /// Version of the file.
        file: Version,
        /// Newest version that is read completely.
        supported: Version,
    },
    /// The file's format is older than what this crate reads.
    #[error(
        "the file has format version {file}, which this program no longer reads: \
         convert the model again with `yolo-lowbit convert`"
    )]
    OlderVersion {
        /// Version of the file.
        file: Version,
    },
    /// The file's format version was never published.
    #[error("the file claims format version {file}, which does not exist; copy it again")]
    UnknownVersion {
        /// Version of the file.
        file: Version,
    },
    /// The section table is longer than the limit.
    #[error("the file has {count} sections; the limit is {limit}")]
    TooManySections {
        /// Sections.
        count: u32,
        /// How many there may be.
        limit: u32,
    },
    /// Header or section table are not what was written.
    #[error("the file's header is damaged (checksum {computed:08x}, not {stored:08x}); copy it again")]
    HeaderChecksum {
        /// In the file.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// Bytes that have no meaning yet are not zero.
    #[error("reserved bytes at offset {offset} are not zero")]
    Reserved {
        /// Where they begin, from the file's beginning.
        offset: usize,
    },
    /// Sections are not in ascending order of their kinds, or one occurs twice.
    #[error("section {section} is out of order or occurs twice")]
    SectionOrder {
        /// The section.
        section: SectionKind,
    },
    /// A section does not begin where the previous one ends.
    #[error("section {section} begins at {actual} instead of {expected}")]
    SectionOffset {
        /// The section.
        section: SectionKind,
        /// The first aligned offset behind what comes before.
        expected: u64,
        /// The offset in the section table.
        actual: u64,
    },
    /// A section does not end inside the file.
    #[error("section {section}, {len} bytes at {offset}, exceeds the file's {file_len} bytes")]
    SectionEnd {
        /// The section.
        section: SectionKind,
        /// Its offset.
        offset: u64,
        /// Its length.
        len: u64,
        /// Bytes of the file.
        file_len: u64,
    },
    /// The sections do not cover the file.
    #[error("the last section ends at {end}, but the file at {file_len}")]
    Uncovered {
        /// End of the last section.
        end: u64,
        /// Bytes of the file.
        file_len: u64,
    },
    /// The padding before a section is not zero.
    #[error("the padding before section {section} is not zero; copy the file again")]
    Padding {
        /// The section that follows.
        section: SectionKind,
    },
    /// A section is not what was written.
    #[error("section {section} is damaged (checksum {computed:08x}, not {stored:08x}); copy the file again")]
    SectionChecksum {
        /// The section.
        section: SectionKind,
        /// In the section table.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A section that this crate does not know and must not skip.
    #[error("the file has an unknown section {section}")]
    UnknownSection {
        /// The section.
        section: SectionKind,
    },
    /// A section is missing.
    #[error("the file has no section {section}")]
    MissingSection {
        /// The section.
        section: SectionKind,
    },
    /// A field goes beyond its section.
    #[error("section {section} ends inside a field: {needed} bytes at {offset}, {available} there")]
    FieldBeyondSection {
        /// The section.
        section: SectionKind,
        /// Where the field begins, from the section's beginning.
        offset: usize,
        /// Bytes that the field has, or the fewest that it can have.
        needed: u64,
        /// Bytes from there to the section's end.
        available: usize,
    },
    /// A section has bytes that no field takes.
    #[error("section {section} has {unread} bytes that belong to nothing")]
    UnreadBytes {
        /// The section.
        section: SectionKind,
        /// Bytes behind the last field.
        unread: usize,
    },
    /// A count is beyond its limit.
    #[error("section {section} has {count} {what}; the limit is {limit}")]
    Count {
        /// The section.
        section: SectionKind,
        /// Of what, in the plural.
        what: &'static str,
        /// The count.
        count: u64,
        /// How many there may be.
        limit: usize,
    },
    /// A text is not UTF-8.
    #[error("the text at {offset} of section {section} is not UTF-8")]
    NotUtf8 {
        /// The section.
        section: SectionKind,
        /// Where the text begins, from the section's beginning.
        offset: usize,
    },
    /// A number that stands for something, but for nothing known.
    #[error("{code} at {offset} of section {section} is no {what}")]
    UnknownCode {
        /// The section.
        section: SectionKind,
        /// Where it is, from the section's beginning.
        offset: usize,
        /// What it should stand for.
        what: &'static str,
        /// The number.
        code: u8,
    },
    /// A number of several bytes, or a run of levels, that no writer writes so.
    #[error("the number at {offset} of section {section} {problem}")]
    Number {
        /// The section.
        section: SectionKind,
        /// Where it begins, from the section's beginning.
        offset: usize,
        /// What is wrong with it, to follow the number's name.
        problem: &'static str,
    },
    /// The fields are whole, but not those of a valid model.
    #[error("the model is invalid: {0}")]
    Invalid(#[from] Violation),
}
