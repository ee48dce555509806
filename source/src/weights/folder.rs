//! The folder's files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::arrays::{Arrays, in_file, too_large};
use crate::error::SourceError;
use crate::ir::MAX_ELEMENTS;
use crate::npy::{self, Array};

/// Name of the file that describes the network.
pub const NETWORK: &str = "network.json";
/// Largest description accepted.
const MAX_NETWORK: u64 = 1 << 24;
/// Most bytes of all files together.
const MAX_BYTES: u64 = 1 << 31;
/// Most files, of whatever kind.
const MAX_FILES: usize = 1 << 17;

/// Whether a file of this name must be an array that a layer has.
pub fn is_array(name: &str) -> bool {
    name.ends_with(".npy")
}

/// A folder while it is read.
pub struct Folder<'p> {
    path: &'p Path,
    /// Names of all `.npy` files.
    files: BTreeSet<String>,
    /// Those of them that were read.
    read: BTreeSet<String>,
    bytes: u64,
}

impl<'p> Folder<'p> {
    /// Lists a folder.
    ///
    /// # Errors
    /// If it is none, or cannot be read.
    pub fn open(path: &'p Path) -> Result<Self, SourceError> {
        let cannot =
            |error: std::io::Error| SourceError::malformed(format!("cannot read the folder: {error}"));
        let mut files = BTreeSet::new();
        for (count, entry) in fs::read_dir(path).map_err(cannot)?.enumerate() {
            if count >= MAX_FILES {
                return Err(SourceError::malformed(format!("the folder has more than {MAX_FILES} files")));
            }
            let name = entry.map_err(cannot)?.file_name();
            let name = name.to_string_lossy();
            if is_array(&name) {
                files.insert(name.into_owned());
            }
        }
        Ok(Self { path, files, read: BTreeSet::new(), bytes: 0 })
    }

    /// The bytes of `network.json`, without a byte order mark.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be read.
    pub fn network(&mut self) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let file = self.file(NETWORK, MAX_NETWORK)?;
        file.take(MAX_NETWORK).read_to_end(&mut bytes).map_err(|error| in_file(NETWORK, error))?;
        if bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        Ok(bytes)
    }

    fn file(&mut self, name: &str, most: u64) -> Result<File, SourceError> {
        let path = self.path.join(name);
        // Links could lead anywhere, and pipes never end.
        let metadata = fs::symlink_metadata(&path).map_err(|error| in_file(name, error))?;
        if !metadata.is_file() {
            return Err(in_file(name, "not a regular file"));
        }
        self.bytes = self.bytes.saturating_add(metadata.len());
        if metadata.len() > most || self.bytes > MAX_BYTES {
            let reason = format!("{} bytes; expected at most {most}, and 2 GiB altogether", metadata.len());
            return Err(too_large(name, reason));
        }
        File::open(&path).map_err(|error| in_file(name, error))
    }

    /// The SHA-256 of `network.json` and, behind it, all arrays in the order of their names, and how many
    /// bytes they are.
    ///
    /// # Errors
    /// If an array belongs to no layer, or a file cannot be read.
    pub fn finish(self) -> Result<([u8; 32], u64), SourceError> {
        if let Some(unread) = self.files.difference(&self.read).next() {
            return Err(in_file(
                unread,
                "belongs to no layer of network.json; expected only arrays that its layers have",
            ));
        }
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        for name in std::iter::once(NETWORK).chain(self.files.iter().map(String::as_str)) {
            let mut file = File::open(self.path.join(name)).map_err(|error| in_file(name, error))?;
            let len = crate::source::digest_file(&mut digest, &mut file);
            bytes += len.map_err(|error| in_file(name, error))?;
        }
        Ok((digest.finalize().into(), bytes))
    }
}

impl Arrays for Folder<'_> {
    fn array(&mut self, name: &str, shapes: &[&[usize]]) -> Result<Option<Array>, SourceError> {
        if !self.files.contains(name) {
            return Ok(None);
        }
        self.read.insert(name.to_owned());
        let most = shapes.iter().map(|shape| shape.iter().product()).max().unwrap_or(0);
        let mut file = self.file(name, MAX_BYTES)?;
        let wanted: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
        let array = npy::read(&mut file, usize::min(MAX_ELEMENTS, most.max(1))).map_err(|reason| {
            in_file(name, format_args!("{reason}; expected shape {}", wanted.join(" or ")))
        })?;
        if !shapes.contains(&array.shape.as_slice()) {
            let reason = format!("shape {:?}; expected {}", array.shape, wanted.join(" or "));
            return Err(in_file(name, reason));
        }
        Ok(Some(array))
    }
}
