//! Pictures: which files of a folder are some, and how they are read.

mod decode;
mod formats;
mod jpeg;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};

pub use decode::{Picture, panic_is_caught, read};

/// File name extensions of pictures, in lower case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

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

/// Whether a file's name says that it is a picture. Hidden files are none: macOS leaves files such as
/// `._photo.jpg` on memory cards, which hold no picture.
pub fn is_picture_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden
        && extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pictures() {
        for name in ["a.jpg", "b.JPEG", "folder.x/c.Png"] {
            assert!(is_picture_name(Path::new(name)), "{name}");
        }
        for name in ["a.txt", "jpg", ".jpg", "._a.jpg", "a.jpg.bak", "a.gif"] {
            assert!(!is_picture_name(Path::new(name)), "{name}");
        }
    }
}
