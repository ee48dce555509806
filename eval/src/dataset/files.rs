//! Which files belong to a data set: pictures and label files in folders, however deep.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Findings;
use super::findings::Tally;
use crate::error::{Context, Result};

/// Formats that val.py or other tools take for pictures and this program does not read, by extension.
const OTHER_FORMATS: [(&str, &str); 17] = [
    ("avif", "AVIF"),
    ("bmp", "BMP"),
    ("dng", "DNG"),
    ("gif", "GIF"),
    ("heic", "HEIC"),
    ("heif", "HEIF"),
    ("jfif", "JFIF"),
    ("jp2", "JPEG 2000"),
    ("jxl", "JPEG XL"),
    ("pbm", "PBM"),
    ("pfm", "PFM"),
    ("pgm", "PGM"),
    ("pnm", "PNM"),
    ("ppm", "PPM"),
    ("tif", "TIFF"),
    ("tiff", "TIFF"),
    ("webp", "WebP"),
];

/// File name extensions of pictures, in lower case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Whether a file's name says that it is a picture. Hidden files are none: macOS leaves files such as
/// `._photo.jpg` on memory cards, which hold no picture.
pub fn is_picture_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && EXTENSIONS.iter().any(|extension| has_extension(path, extension))
}

/// Pictures while they are gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Those that can be read, as they were found.
    pub pictures: Vec<PathBuf>,
    /// Those of other formats.
    pub others: Vec<PathBuf>,
    /// Real paths of the folders that were read.
    entered: HashSet<PathBuf>,
}

impl Gathered {
    /// Adds all pictures in a folder and the folders in it, as val.py does.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn add_folder(&mut self, folder: &Path, findings: &mut Findings) -> Result<()> {
        let (mut found, repeated) = (Vec::new(), &mut findings.folders_repeated);
        walk(folder, &mut self.entered, repeated, |path| found.push(path))?;
        for path in found {
            // Stereo cameras' files are JPEG, and val.py takes them.
            if is_picture_name(&path) || has_extension(&path, "mpo") {
                self.pictures.push(path);
            } else if other_format(&path).is_some() {
                self.others.push(path);
            }
        }
        Ok(())
    }

    /// Adds a picture by its path.
    pub fn add_file(&mut self, path: PathBuf) {
        let list = if other_format(&path).is_some() { &mut self.others } else { &mut self.pictures };
        list.push(path);
    }

    /// Puts the pictures in order and leaves out what came before, under whatever path. Links to a picture are pictures
    /// of their own: their labels are. Then counts what was found.
    pub fn finish(&mut self, findings: &mut Findings) {
        let mut folders = HashMap::new();
        for list in [&mut self.pictures, &mut self.others] {
            list.sort();
            let mut known = HashSet::new();
            list.retain(|path| {
                let new = known.insert(identity(path, &mut folders));
                if !new {
                    findings.images_repeated.add(|| path.display().to_string());
                }
                new
            });
        }
        for path in &self.others {
            let format = other_format(path).unwrap_or_default();
            findings.images_skipped.add(|| format!("{} ({format})", path.display()));
        }
    }
}

/// A path that is the same for all spellings of it.
fn identity(path: &Path, folders: &mut HashMap<PathBuf, PathBuf>) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default();
    if !folders.contains_key(folder) {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folders.insert(folder.to_owned(), here.canonicalize().unwrap_or_else(|_| folder.to_owned()));
    }
    folders[folder].join(name)
}

/// The label files with objects in a folder and the folders in it, in order.
///
/// # Errors
/// If a folder or file cannot be read.
pub fn label_files(folder: &Path, expected: &HashSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(folder, &mut HashSet::new(), &mut Tally::default(), |path| {
        if has_extension(&path, "txt") && !expected.contains(&path) {
            files.push(path);
        }
    })?;
    files.retain(|path| has_labels(path));
    files.sort();
    Ok(files)
}

/// Whether the first line is numbers: notes and lists of classes lie among labels, too.
fn has_labels(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| {
        use std::io::Read;
        file.take(4096).read_to_end(&mut start)
    });
    let text = String::from_utf8_lossy(&start);
    let line = text.trim_start_matches('\u{feff}').lines().find(|line| !line.trim().is_empty());
    let numbers = line.unwrap_or_default().split_whitespace().take(5);
    read.is_ok() && numbers.filter(|field| field.parse::<f64>().is_ok()).count() == 5
}

/// Calls `file` for each file in a folder and the folders in it that is not hidden, in order within each folder. A link
/// to a folder is entered, but none twice: links can lead round in circles.
fn walk(
    root: &Path,
    entered: &mut HashSet<PathBuf>,
    repeated: &mut Tally,
    mut file: impl FnMut(PathBuf),
) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("cannot read the folder {}", folder.display());
        if !entered.insert(folder.canonicalize().with_context(unreadable)?) {
            repeated.add(|| folder.display().to_string());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(&folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let (path, mut kind) = (entry.path(), entry.file_type().with_context(unreadable)?);
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_symlink() {
                match fs::metadata(&path) {
                    Ok(metadata) => kind = metadata.file_type(),
                    // A link to nowhere is a file that cannot be read, which will be said.
                    Err(_) => file(path.clone()),
                }
            }
            if kind.is_dir() {
                inside.push(path);
            } else if kind.is_file() {
                file(path);
            }
        }
        // The first is to be taken off first.
        inside.sort_by(|a, b| b.cmp(a));
        folders.append(&mut inside);
    }
    Ok(())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|theirs| theirs.eq_ignore_ascii_case(extension))
}

/// The format of a picture that is not read.
fn other_format(path: &Path) -> Option<&'static str> {
    OTHER_FORMATS.into_iter().find(|(extension, _)| has_extension(path, extension)).map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, which hold their names.
    fn folder(test: &str, files: &[&str]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("yolo-lowbit-files-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn names(root: &Path, paths: &[PathBuf]) -> Vec<String> {
        paths.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn names_of_pictures() {
        for name in ["a.jpg", "b.JPEG", "folder.x/c.Png"] {
            assert!(is_picture_name(Path::new(name)), "{name}");
        }
        for name in ["a.txt", "jpg", ".jpg", "._a.jpg", "a.jpg.bak", "a.gif"] {
            assert!(!is_picture_name(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn pictures_of_all_folders_in_order() {
        let root = folder(
            "deep",
            &[
                "b.jpg",
                "a/z.PNG",
                "a/y/x.jpeg",
                "c.bmp",
                "a/d.WEBP",
                "e.txt",
                ".hidden/f.jpg",
                ".g.jpg",
                "h.mpo",
            ],
        );
        let (mut gathered, mut findings) = (Gathered::default(), Findings::default());
        gathered.add_folder(&root, &mut findings).unwrap();
        gathered.finish(&mut findings);
        assert_eq!(names(&root, &gathered.pictures), ["a/y/x.jpeg", "a/z.PNG", "b.jpg", "h.mpo"]);
        let skipped = findings.images_skipped.named();
        assert!(skipped.contains("a/d.WEBP (WebP), ") && skipped.ends_with("c.bmp (BMP)"), "{skipped}");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn links_do_not_lead_round() {
        use std::os::unix::fs::symlink;
        let root = folder("links", &["a/one.jpg", "b/two.jpg"]);
        symlink(&root, root.join("a/up")).unwrap();
        symlink(root.join("a"), root.join("b/over")).unwrap();
        symlink("self", root.join("self")).unwrap();
        symlink("nowhere", root.join("gone.jpg")).unwrap();
        symlink("one.jpg", root.join("a/link.jpg")).unwrap();
        let (mut gathered, mut findings) = (Gathered::default(), Findings::default());
        gathered.add_folder(&root, &mut findings).unwrap();
        gathered.finish(&mut findings);
        assert_eq!(names(&root, &gathered.pictures), ["a/link.jpg", "a/one.jpg", "b/two.jpg", "gone.jpg"]);
        assert_eq!(findings.folders_repeated.count, 2);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_picture_counts_once_however_it_is_written() {
        let root = folder("spellings", &["a/one.jpg", "b/two.jpg"]);
        let (mut gathered, mut findings) = (Gathered::default(), Findings::default());
        for path in
            ["a/one.jpg", "a/./one.jpg", "b/../a/one.jpg", "a/one.jpg", "b/two.jpg", "gone/one.jpg", "c.bmp"]
        {
            gathered.add_file(root.join(path));
        }
        gathered.finish(&mut findings);
        assert_eq!(names(&root, &gathered.pictures), ["a/one.jpg", "b/two.jpg", "gone/one.jpg"]);
        assert_eq!((findings.images_repeated.count, findings.images_skipped.count), (3, 1));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn label_files_are_those_with_numbers() {
        let root = folder("labels", &["classes.txt", "a/notes.txt", "c.json"]);
        fs::write(root.join("a/b.txt"), "\n0 0.5 0.5 1 1\n").unwrap();
        fs::write(root.join("d.txt"), "\u{feff}0 0.5 0.5 1 1").unwrap();
        fs::write(root.join("expected.txt"), "0 0.5 0.5 1 1").unwrap();
        fs::write(root.join("empty.txt"), "\n").unwrap();
        let found = label_files(&root, &HashSet::from([root.join("expected.txt")])).unwrap();
        assert_eq!(names(&root, &found), ["a/b.txt", "d.txt"]);
        fs::remove_dir_all(&root).unwrap();
    }
}
