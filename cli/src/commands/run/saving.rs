//! Under which names pictures with boxes are saved, and how.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;

use crate::files::{self, Reserved};

/// Names for results: the input's own name in the result folder, but never that of an input, and
/// never the same one twice. Results of an earlier run are replaced.
pub struct ResultNames {
    folder: PathBuf,
    /// What must not be written to: all inputs, and what was already written.
    taken: Reserved,
}

impl ResultNames {
    /// Makes the folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new<'a>(folder: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| {
            format!(
                "cannot make the folder {}: choose another one with --out, or give --no-save",
                folder.display()
            )
        })?;
        Ok(Self { folder: folder.to_path_buf(), taken: Reserved::new(inputs) })
    }

    /// Where the result for an input goes: `photo.jpg`, or `photo-2.jpg` and so on if that is taken.
    pub fn next(&mut self, input: &Path) -> PathBuf {
        let stem = input.file_stem().unwrap_or_default().to_string_lossy();
        let extension = match input.extension().and_then(|extension| extension.to_str()) {
            Some(extension) if ["jpg", "jpeg", "png"].contains(&extension.to_ascii_lowercase().as_str()) => {
                extension
            }
            _ => "jpg",
        };
        let numbered = (2..).map(|number| format!("{stem}-{number}.{extension}"));
        let mut paths =
            std::iter::once(format!("{stem}.{extension}")).chain(numbered).map(|name| self.folder.join(name));
        let path = paths.find(|path| !self.is_taken(path)).expect("the names do not end");
        self.taken.add(&path);
        path
    }

    /// Nor is a name taken that leads elsewhere: nobody named the file that is there.
    fn is_taken(&self, path: &Path) -> bool {
        path.is_symlink() || self.taken.holds(path)
    }
}

/// Saves a picture as PNG or JPEG, as its name says.
///
/// # Errors
/// If the file cannot be written.
pub fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    const JPEG_QUALITY: u8 = 92;
    let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    files::write(path, |writer| {
        if is_png {
            ylb_pictures::write_png(picture, writer)?;
        } else {
            ylb_pictures::write_jpeg(picture, JPEG_QUALITY, writer)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_inputs_nor_results_are_overwritten() {
        let folder = std::env::temp_dir().join(format!("yolo-lowbit-names-{}", std::process::id()));
        let other = folder.join("other");
        fs::create_dir_all(&other).unwrap();
        let inputs: Vec<PathBuf> = ["a.jpg", "other/a.jpg", "other/b.PNG", "c-2.png", "other/scan"]
            .map(|name| folder.join(name))
            .into();
        for input in &inputs {
            fs::write(input, "picture").unwrap();
        }
        // An earlier result, and a link to an input under the name of a result.
        fs::write(folder.join("b.PNG"), "result").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(other.join("b.PNG"), folder.join("scan.jpg")).unwrap();

        let mut names = ResultNames::new(&folder, &inputs).unwrap();
        let results: Vec<PathBuf> = inputs.iter().map(|input| names.next(input)).collect();
        let mut expected = ["a-2.jpg", "a-3.jpg", "b.PNG", "c-2-2.png", "scan.jpg"];
        if cfg!(unix) {
            expected[4] = "scan-2.jpg";
        }
        assert_eq!(results, expected.map(|name| folder.join(name)));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn pictures_are_saved_in_the_format_of_their_name() {
        let folder = std::env::temp_dir();
        let picture = RgbImage::from_pixel(20, 10, image::Rgb([200, 100, 50]));
        for (name, start) in [("a.png", b"\x89PN"), ("a.JPG", b"\xff\xd8\xff")] {
            let path = folder.join(format!("yolo-lowbit-save-{}-{name}", std::process::id()));
            save(&picture, &path).unwrap();
            assert!(fs::read(&path).unwrap().starts_with(start), "{name}");
            let read = crate::images::read(&path, 1000).unwrap().pixels;
            assert!(read.dimensions() == (20, 10) && read.get_pixel(5, 5).0[0].abs_diff(200) < 3);
            fs::remove_file(&path).unwrap();
        }
    }
}
