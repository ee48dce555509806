//! The neutral path: a network as `network.json` and a folder of `.npy` arrays, for those whose tool
//! exports nothing that this converter reads. `docs/weights-folder.md` specifies it.
//!
//! The folder becomes the graph that an export of the same network would be, and goes the same way
//! from there: nothing behind this module knows that there was no ONNX file.

use std::ffi::OsStr;
use std::path::Path;

use crate::error::SourceError;
use crate::ir::Graph;

mod arrays;
mod folder;
mod graph;
mod network;

pub use arrays::Arrays;
pub use folder::NETWORK;
pub use graph::build;
pub use network::{Activation, Codes, Kind, Layer, Network, Op};
pub use ylb_zoo::PICTURE;

use folder::Folder;

/// What a folder holds.
#[derive(Debug)]
pub(crate) struct Weights {
    /// The network, its outputs the raw heads.
    pub graph: Graph,
    /// Class names.
    pub names: Vec<String>,
    /// Anchors in pixels by level.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// SHA-256 of all files one behind another: `network.json`, then the arrays by name.
    pub sha256: [u8; 32],
    /// Bytes of all files.
    pub bytes: u64,
}

/// Whether a file of this name is a part of the network in its folder; others are ignored.
pub fn is_weights_file(name: &OsStr) -> bool {
    name == NETWORK || folder::is_array(&name.to_string_lossy())
}

/// Reads a folder.
///
/// # Errors
/// If something in it is missing, too much, or not what `network.json` says: the file is named.
pub(crate) fn read(path: &Path) -> Result<Weights, SourceError> {
    let mut folder = Folder::open(path)?;
    let json = folder.network()?;
    let network = Network::parse(&json)?;
    let graph = build(&network, &mut folder)?;
    let (sha256, bytes) = folder.finish()?;
    Ok(Weights { graph, names: network.names, anchors: network.anchors, sha256, bytes })
}
