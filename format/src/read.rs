//! Bytes to a model.
//!
//! Reading goes inwards: the container (header, section table, checksums), the fields of each
//! section, then the model as a whole by [`validate()`](crate::validate()). No byte is used before the
//! check that allows it, and no memory is asked for before the bytes that must fill it are known to
//! exist.

mod container;
mod cursor;
mod curves;
mod error;
mod graph;
mod head;
mod input;
mod metadata;
mod quant;
mod staircase;

pub use error::ReadError;

use crate::container::{Section, SectionKind, VERSION, Version};
use crate::model::Model;
use container::Container;
use cursor::Cursor;

/// What a part of the reader returns.
type Result<T> = std::result::Result<T, ReadError>;

/// Cursors over the sections that describe the network. They advance together: a node's fields are in
/// GRAPH, its arrays in QUANT, its weights in WEIGHTS.
struct Sections<'a> {
    graph: Cursor<'a>,
    quant: Cursor<'a>,
    weights: Cursor<'a>,
}

/// Reads a model.
///
/// Takes a few milliseconds for a model of a few megabytes. Memory stays within a small multiple of
/// `bytes`, whatever they are.
///
/// # Errors
/// If `bytes` are not a complete, undamaged and valid `.ylb` file that this version can read.
pub fn read(bytes: &[u8]) -> Result<Model> {
    let container = Container::open(bytes)?;
    parse(&container).map_err(|error| error.of_version(container.version))
}

/// Lists the sections of a file after checking the container: the header, the section table and all
/// checksums, not what the sections say.
///
/// # Errors
/// As [`read()`], for the container.
pub fn sections(bytes: &[u8]) -> Result<Vec<Section>> {
    Ok(Container::open(bytes)?.sections)
}

fn parse(container: &Container<'_>) -> Result<Model> {
    let mut cursor = container.cursor(SectionKind::METADATA)?;
    let metadata = metadata::read(&mut cursor)?;
    cursor.finish()?;

    let mut sections = Sections {
        graph: container.cursor(SectionKind::GRAPH)?,
        quant: container.cursor(SectionKind::QUANT)?,
        weights: container.cursor(SectionKind::WEIGHTS)?,
    };
    let model = graph::read(&mut sections, metadata)?;
    sections.graph.finish()?;
    sections.quant.finish()?;
    sections.weights.finish()?;
    crate::validate(&model)?;
    Ok(model)
}

impl ReadError {
    /// In a file of a newer minor version, what is unknown is new, not wrong.
    fn of_version(self, version: Version) -> Self {
        match self {
            Self::UnknownCode { .. } if version > VERSION => {
                Self::NewerVersion { file: version, supported: VERSION }
            }
            error => error,
        }
    }
}
