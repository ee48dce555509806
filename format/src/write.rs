//! A model to bytes, and bytes to a file.

mod curves;
mod graph;
mod head;
mod input;
mod section;
mod staircase;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::container::{ALIGNMENT, CHECKSUM_OFFSET, ENTRY_LEN, HEADER_LEN, MAGIC, SectionKind, VERSION};
use crate::file;
use crate::model::Model;
use crate::validate::Violation;
use section::{Section, length};

/// Sections of [`SectionKind::ALL`].
const SECTIONS: u32 = 4;

/// Sections that describe the network; a node adds to all of them.
#[derive(Default)]
struct Sections {
    graph: Section,
    quant: Section,
    weights: Section,
}

/// Why a model cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The model breaks a promise of [`model`](crate::model): [`read()`](crate::read()) would refuse it.
    #[error("the model is invalid: {0}")]
    Invalid(#[from] Violation),
    /// The file cannot be created, written or renamed.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The bytes of a model's file. Equal models give equal bytes.
///
/// # Errors
/// If the model is invalid.
pub fn write(model: &Model) -> Result<Vec<u8>, WriteError> {
    crate::validate(model)?;
    let sections = graph::sections(model);

    let table_end = HEADER_LEN + sections.len() * ENTRY_LEN;
    let mut table = Section::default();
    let mut body = Vec::new();
    for (kind, section) in SectionKind::ALL.into_iter().zip(&sections) {
        let offset = (table_end + body.len()).next_multiple_of(ALIGNMENT);
        body.resize(offset - table_end, 0);
        body.extend_from_slice(&section.bytes);
        table.u32(kind.0);
        table.u32(crc32fast::hash(&section.bytes));
        table.u64(length(offset));
        table.u64(length(section.bytes.len()));
        table.u64(0);
    }

    let mut file = Section { bytes: MAGIC.to_vec() };
    file.u16(VERSION.major);
    file.u16(VERSION.minor);
    file.u32(SECTIONS);
    file.u64(length(table_end + body.len()));
    file.u32(0);
    file.u32(0);
    file.bytes.append(&mut table.bytes);
    let checksum = crc32fast::hash(&file.bytes);
    file.bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4].copy_from_slice(&checksum.to_le_bytes());
    file.bytes.append(&mut body);
    Ok(file.bytes)
}

/// Writes a model's file, or leaves the path as it was, as [`file::replace`] says.
///
/// # Errors
/// If the model is invalid, which is found before anything is written, or the operating system refuses.
/// No temporary file is left.
pub fn write_file(model: &Model, path: &Path) -> Result<(), WriteError> {
    let bytes = write(model)?;
    file::replace(path, |writer| writer.write_all(&bytes))
        .map_err(|source| WriteError::Io { path: path.to_owned(), source })
}
