//! What is converted: an ONNX file, or a folder of weights.

use std::fs::File;
use std::io::{Error, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::ConvertError;
use crate::ir::Graph;
use crate::{onnx, weights};

/// A model to convert, or to compare with, as it was read.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) graph: Graph,
    pub(crate) name: String,
    pub(crate) sha256: [u8; 32],
    pub(crate) bytes: u64,
    pub(crate) files: Vec<PathBuf>,
    /// What a folder says that a graph of raw heads does not.
    pub(crate) described: Option<Described>,
}

/// What only a folder of weights says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) names: Vec<String>,
    pub(crate) anchors: Vec<Vec<[f32; 2]>>,
}

impl Source {
    /// Reads an ONNX model. `name` is the file's without folders. Tensors that lie in other files are
    /// looked for in `folder`; nothing else is read.
    ///
    /// # Errors
    /// If the bytes are no ONNX model, contradict themselves, or need something that is not there.
    pub fn onnx(bytes: &[u8], name: &str, folder: Option<&Path>) -> Result<Self, ConvertError> {
        let (graph, names) = onnx::decode(bytes, folder)?;
        let (mut digest, mut len) = (Sha256::new_with_prefix(bytes), bytes.len() as u64);
        let mut files = Vec::new();
        for name in names {
            let path = folder.unwrap_or(Path::new("")).join(&name);
            len += File::open(&path)
                .and_then(|mut file| digest_file(&mut digest, &mut file))
                .map_err(|error| ConvertError::malformed(format!("cannot read \"{name}\": {error}")))?;
            files.push(path);
        }
        let sha256 = digest.finalize().into();
        Ok(Self { graph, name: name.to_owned(), sha256, bytes: len, files, described: None })
    }

    /// Reads a folder with `network.json` and arrays, as `docs/weights-folder.md` specifies it.
    ///
    /// # Errors
    /// If something in it is missing, too much, or not what `network.json` says: the file is named.
    pub fn weights(folder: &Path) -> Result<Self, ConvertError> {
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

    /// SHA-256 of the model's files one behind another: the ONNX file or `network.json`, then all others
    /// in the order of their names.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// The files beside an ONNX model's own that its tensors lie in. None for a folder of weights.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
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
