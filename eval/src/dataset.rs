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
//! [`Description`] is the YAML file, [`load`] finds a split's pictures and reads their labels, and [`Findings`] tell what
//! is odd about them.

mod description;
mod files;
mod findings;
mod labels;
mod yaml;

pub use description::Description;
pub use files::is_picture_name;
pub use findings::{Findings, Tally};
pub use labels::Label;

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use ylb_source::text;

use crate::error::{Result, bail};

/// A picture and what is in it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The picture's file.
    pub picture: PathBuf,
    /// The objects in it; `None` if there is no label file, which is how backgrounds may be given.
    pub labels: Option<Vec<Label>>,
}

/// Reads a split: its pictures in the order of their paths, with their labels, and what is odd about them.
///
/// # Errors
/// If there is no such split, it has no pictures, label files are wrong, or none of the pictures has
/// one.
pub fn load(description: &Description, split: &str) -> Result<(Vec<Sample>, Findings)> {
    let mut findings = Findings::default();
    let (mut gathered, mut folders) = (files::Gathered::default(), Vec::new());
    for entry in description.split(split)? {
        folders.extend(description.pictures(entry, &mut gathered, &mut findings)?);
    }
    gathered.finish(&mut findings);
    let file = description.file().display();
    if gathered.pictures.is_empty() {
        let hint = if gathered.others.is_empty() {
            String::new()
        } else {
            format!(" that can be read: {}, but only JPEG and PNG are", findings.images_skipped.named())
        };
        bail!("the split \"{split}\" of {file} has no pictures{hint}");
    }
    let expected: HashSet<PathBuf> =
        gathered.pictures.iter().chain(&gathered.others).map(|picture| label_path(picture)).collect();
    for folder in folders.iter().map(|folder| label_folder(folder)).collect::<HashSet<_>>() {
        // There may be none, or none may be asked for.
        let found = if folder.is_dir() { files::label_files(&folder, &expected)? } else { Vec::new() };
        for path in found {
            findings.labels_without_image.add(|| path.display().to_string());
        }
    }
    let samples = read_all(gathered.pictures, description.names().len(), &mut findings)?;
    if samples.iter().all(|sample| sample.labels.is_none()) {
        bail!(
            "no picture of the split \"{split}\" of {file} has labels: expected such files as {}",
            label_path(&samples[0].picture).display()
        );
    }
    Ok((samples, findings))
}

/// Reads the labels of pictures.
///
/// # Errors
/// If some are wrong: how many, and the first.
fn read_all(pictures: Vec<PathBuf>, classes: usize, findings: &mut Findings) -> Result<Vec<Sample>> {
    let mut wrong = Tally::default();
    let mut samples = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let path = label_path(&picture);
        let labels = match text::read(&path, text::LONG) {
            Ok(text) => {
                Some(labels::parse(&text, classes, &path.display().to_string(), findings, &mut wrong))
            }
            Err(error) if error.is_missing() => None,
            Err(error) => {
                wrong.add(|| format!("{}: {error}", path.display()));
                None
            }
        };
        if labels.is_none() {
            findings.images_without_labels.add(|| picture.display().to_string());
        }
        samples.push(Sample { picture, labels });
    }
    match wrong.count {
        0 => Ok(samples),
        1 => bail!("a label is wrong: {}", wrong.told()),
        count => bail!("{count} labels are wrong: {}", wrong.told()),
    }
}

/// Where the labels of a folder's pictures are, see [`label_path`].
fn label_folder(folder: &Path) -> PathBuf {
    let labels = label_path(&folder.join("picture"));
    let folder = labels.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
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
        for (pictures, labels) in
            [("set/images/val", "set/labels/val"), ("images", "labels"), ("", "."), ("a", "a")]
        {
            assert_eq!(label_folder(Path::new(pictures)), Path::new(labels), "{pictures}");
        }
    }
}
