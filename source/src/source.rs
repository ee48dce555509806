//! What is converted: an ONNX file, or a folder of weights.

use std::fs::File;
use std::io::{Error, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::SourceError;
use crate::ir::Graph;
use crate::{onnx, weights};

/// A model to convert, or to compare with, as it was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it computes.
    pub graph: Graph,
    /// Name of its file or folder, without the folders that it lies in.
    pub name: String,
    /// SHA-256 of its files one after another: the ONNX file or `network.json`, then all others in the order of
    /// their names.
    pub sha256: [u8; 32],
    /// Bytes of all its files.
    pub bytes: u64,
    /// The files beside an ONNX model's own that its tensors lie in. None for a folder of weights.
    pub files: Vec<PathBuf>,
    /// What a folder says that a graph of raw heads does not.
    pub described: Option<Described>,
}

/// What only a folder of weights says about itself.
#[derive(Clone, Debug)]
pub struct Described {
    /// Class names.
    pub names: Vec<String>,
    /// Anchors in pixels: a list for each feature map of the head, smallest stride first.
    pub anchors: Vec<Vec<[f32; 2]>>,
}

impl Source {
    /// Reads an ONNX model. `name` is the file's without folders. Tensors that lie in other files are
    /// looked for in `folder`; nothing else is read.
    ///
    /// # Errors
    /// If the bytes are no ONNX model, contradict themselves, or need something that is not there.
    pub fn onnx(bytes: &[u8], name: &str, folder: Option<&Path>) -> Result<Self, SourceError> {
        let (graph, names) = onnx::decode(bytes, folder)?;
        let (mut digest, mut len) = (Sha256::new_with_prefix(bytes), bytes.len() as u64);
        let mut files = Vec::new();
        for name in names {
            let path = folder.unwrap_or(Path::new("")).join(&name);
            len += File::open(&path)
                .and_then(|mut file| digest_file(&mut digest, &mut file))
                .map_err(|error| SourceError::malformed(format!("cannot read \"{name}\": {error}")))?;
            files.push(path);
        }
        let sha256 = digest.finalize().into();
        Ok(Self { graph, name: name.to_owned(), sha256, bytes: len, files, described: None })
    }

    /// Reads a folder with `network.json` and arrays, as `docs/weights-folder.md` specifies it.
    ///
    /// # Errors
    /// If something in it is missing, too much, or not what `network.json` says: the file is named.
    pub fn weights(folder: &Path) -> Result<Self, SourceError> {
        let weights::Weights { graph, names, anchors, sha256, bytes } = weights::read(folder)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            graph,
            name,
            sha256,
            bytes,
            files: Vec::new(),
            described: Some(Described { names, anchors }),
        })
    }
}

/// Adds a file's bytes to a digest, and returns how many they are.
pub(crate) fn digest_file(digest: &mut Sha256, file: &mut File) -> Result<u64, Error> {
    let (mut buffer, mut total) = (vec![0; 1 << 16], 0);
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            return Ok(total);
        }
        digest.update(&buffer[..len]);
        total += len as u64;
    }
}
