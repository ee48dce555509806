//! Pictures: which files of a folder are some, and how they are read.

mod decode;
mod formats;
mod jpeg;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use ylb_eval::dataset::is_picture_name;

pub use decode::{Picture, panic_is_caught, read};

/// The pictures that a command line names: files as they are, folders by their pictures in the order
/// of their names. Folders inside folders are not entered.
///
/// # Errors
/// If a path does not exist or a folder has no pictures.
pub fn collect(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    list(inputs).into_iter().map(|listed| listed.problem.map_or(Ok(listed.path), Err)).collect()
}

/// A picture that a command line names; or a path that leads to none, and why.
#[derive(Debug)]
pub struct Listed {
    /// The picture, or what was named.
    pub path: PathBuf,
    /// Why there is no picture.
    pub problem: Option<Error>,
}

/// As [`collect`], for commands that go on where a path does not exist or a folder has no pictures.
pub fn list(inputs: &[PathBuf]) -> Vec<Listed> {
    let mut listed = Vec::new();
    for input in inputs {
        match pictures_of(input) {
            Ok(pictures) => listed.extend(pictures.into_iter().map(|path| Listed { path, problem: None })),
            Err(problem) => listed.push(Listed { path: input.clone(), problem: Some(problem) }),
        }
    }
    listed
}

fn pictures_of(input: &Path) -> Result<Vec<PathBuf>> {
    let metadata = fs::metadata(input).with_context(|| format!("cannot open {}", input.display()))?;
    if metadata.is_dir() { pictures_of_folder(input) } else { Ok(vec![input.to_owned()]) }
}

fn pictures_of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    let mut pictures = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if is_picture_name(&path) && path.is_file() {
            pictures.push(path);
        }
    }
    ensure!(
        !pictures.is_empty(),
        "{} has no pictures: name a folder with .jpg, .jpeg or .png files in it",
        folder.display()
    );
    pictures.sort();
    Ok(pictures)
}
