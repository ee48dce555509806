//! Tensors whose bytes lie in a file beside the model's.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path};

use super::schema::StringStringEntryProto;
use crate::error::{ErrorKind, SourceError};

/// Most bytes that may come from other files, as many as a model's own file may have.
const MAX_BYTES: u64 = 1 << 31;

/// Where a model's other files are, and what was read from them.
#[derive(Debug)]
pub struct External<'a> {
    folder: Option<&'a Path>,
    bytes: u64,
    /// Names of the files that were read.
    names: BTreeSet<String>,
}

impl<'a> External<'a> {
    /// Files in a folder, or none.
    pub fn new(folder: Option<&'a Path>) -> Self {
        Self { folder, bytes: 0, names: BTreeSet::new() }
    }

    /// Names of all files that were read.
    pub fn into_names(self) -> BTreeSet<String> {
        self.names
    }

    /// The bytes that a tensor's entries describe, which must be `len`.
    ///
    /// # Errors
    /// If there is no folder, the file is not a plain one directly in it, or is too short.
    pub fn read(&mut self, entries: &[StringStringEntryProto], len: usize) -> Result<Vec<u8>, SourceError> {
        let entry = |key: &str| {
            let found = entries.iter().find(|entry| entry.key.as_deref() == Some(key));
            found.and_then(|entry| entry.value.as_deref())
        };
        let location = entry("location")
            .ok_or_else(|| SourceError::malformed("its elements lie in another file without a name"))?;
        let Some(folder) = self.folder else {
            return Err(SourceError::unsupported(format!(
                "its elements lie in another file, \"{location}\", which was not given; save the model \
                 with its weights inside"
            )));
        };
        let number = |key: &str, default: u64| match entry(key) {
            None => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| {
                SourceError::malformed(format!("its {key} in \"{location}\" is \"{text}\", not a number"))
            }),
        };
        let (offset, wanted) = (number("offset", 0)?, len as u64);
        let stored = number("length", wanted)?;
        if stored != wanted {
            return Err(SourceError::malformed(format!(
                "\"{location}\" holds {stored} bytes for it; expected {wanted}"
            )));
        }
        self.bytes = self.bytes.saturating_add(wanted);
        if self.bytes > MAX_BYTES {
            return Err(SourceError::new(ErrorKind::TooLarge, "more than 2 GiB in other files"));
        }
        let path = folder.join(checked_name(location)?);
        let bytes = read_slice(&path, offset, len)
            .map_err(|reason| SourceError::malformed(format!("cannot read \"{location}\": {reason}")))?;
        self.names.insert(location.to_owned());
        Ok(bytes)
    }
}

/// A file's name, without any folder: a model must not make us read what does not belong to it.
fn checked_name(location: &str) -> Result<&Path, SourceError> {
    let path = Path::new(location);
    let mut components = path.components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) => Ok(Path::new(name)),
        _ => Err(SourceError::unsupported(format!(
            "its elements lie in \"{location}\"; expected a file beside the model's, without a folder"
        ))),
    }
}

fn read_slice(path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    // Links could lead anywhere, and pipes never end.
    let metadata = std::fs::symlink_metadata(path).map_err(text)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    if offset.checked_add(len as u64).is_none_or(|end| end > metadata.len()) {
        return Err(format!("{len} bytes at {offset} are beyond its end at {}", metadata.len()));
    }
    let mut file = File::open(path).map_err(text)?;
    file.seek(SeekFrom::Start(offset)).map_err(text)?;
    let mut bytes = vec![0; len];
    file.read_exact(&mut bytes).map_err(text)?;
    Ok(bytes)
}
