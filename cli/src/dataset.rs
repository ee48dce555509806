//! Data sets in the layout of YOLOv5: a YAML file that names folders of pictures, and beside each
//! picture's folder one of labels.
//!
//! ```text
//! data.yaml            path: .             optional: where the other paths start
//!                      train: images/train, val: images/val, test: images/test
//!                      names: [RBC, WBC, Platelets]
//! images/test/a.jpg
//! labels/test/a.txt    0 0.51 0.33 0.2 0.25    class, centre x, centre y, width, height
//! ```
//!
//! [`description`] reads the YAML file, [`labels`] the labels.

mod description;
mod labels;

pub use description::Description;
pub use labels::{Label, parse};

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// A picture and what is in it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The picture's file.
    pub picture: PathBuf,
    /// The objects in it; `None` if there is no label file, which is how backgrounds may be given.
    pub labels: Option<Vec<Label>>,
}

/// Reads a split: its pictures in the order of their paths, with their labels.
///
/// # Errors
/// If there is no such split, it has no pictures, a label file is wrong, or none of the pictures has
/// one.
pub fn load(description: &Description, split: &str) -> Result<Vec<Sample>> {
    let mut pictures = Vec::new();
    for entry in description.split(split)? {
        pictures.extend(description.pictures(entry)?);
    }
    pictures.sort();
    pictures.dedup();
    let file = description.file().display();
    ensure!(!pictures.is_empty(), "the split \"{split}\" of {file} has no pictures");
    let sample = |picture: PathBuf| -> Result<Sample> {
        let labels = read_labels(&label_path(&picture), description.names().len())?;
        Ok(Sample { picture, labels })
    };
    let samples = pictures.into_iter().map(sample).collect::<Result<Vec<_>>>()?;
    if samples.iter().all(|sample| sample.labels.is_none()) {
        bail!(
            "no picture of the split \"{split}\" of {file} has labels: expected such files as {}",
            label_path(&samples[0].picture).display()
        );
    }
    Ok(samples)
}

/// Where the labels of a picture are: the last folder `images` of its path becomes `labels`, the
/// extension `txt`. Without such a folder they lie beside the picture.
pub fn label_path(picture: &Path) -> PathBuf {
    let components: Vec<Component<'_>> = picture.components().collect();
    let folders = &components[..components.len().saturating_sub(1)];
    let images = folders.iter().rposition(|folder| folder.as_os_str() == "images");
    let replaced = components.iter().enumerate().map(|(index, component)| match images {
        Some(images) if images == index => "labels".as_ref(),
        _ => component.as_os_str(),
    });
    replaced.collect::<PathBuf>().with_extension("txt")
}

fn read_labels(path: &Path, classes: usize) -> Result<Option<Vec<Label>>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let labels = parse(&text, classes);
            Ok(Some(labels.with_context(|| format!("the labels {} are wrong", path.display()))?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the labels {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lie_in_the_folder_beside_the_pictures() {
        for (picture, labels) in [
            ("/data/cells/images/test/a.jpg", "/data/cells/labels/test/a.txt"),
            ("images/a.b.PNG", "labels/a.b.txt"),
            ("/images/set/images/a.jpg", "/images/set/labels/a.txt"),
            ("/data/myimages/images", "/data/myimages/images.txt"),
            ("photos/a.jpg", "photos/a.txt"),
        ] {
            assert_eq!(label_path(Path::new(picture)), Path::new(labels), "{picture}");
        }
    }
}
