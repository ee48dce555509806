//! Files that are written: safely, and never in the place of those that are read.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::commands::UsageError;

/// Writes a file whole or not at all, as [`ylb_format::file::replace`] does. The folder must exist.
///
/// # Errors
/// If `fill` fails or the file cannot be written, with its name.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    ylb_format::file::replace(path, fill).with_context(|| format!("cannot write {}", path.display()))
}

/// Files that must not be written to, known by what they are: links and other spellings lead to the same one.
#[derive(Debug, Default)]
pub struct Reserved(HashMap<Identity, PathBuf>);

/// What makes a file the same, however it is called. A file has several: the first lasts until it is replaced, the
/// second is there before the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    /// Number of the device, and of the file on it: hard links share them.
    #[cfg(unix)]
    Inode(u64, u64),
    /// Without links.
    Path(PathBuf),
}

impl Reserved {
    /// All of these files.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut reserved = Self::default();
        paths.into_iter().for_each(|path| reserved.add(path.as_ref()));
        reserved
    }

    /// Adds a file, which need not exist. Devices and pipes are not added: to write to one loses nothing.
    pub fn add(&mut self, path: &Path) {
        for identity in identities(path) {
            self.0.entry(identity).or_insert_with(|| path.to_owned());
        }
    }

    /// Whether a file is one of these.
    pub fn holds(&self, path: &Path) -> bool {
        self.find(path).is_some()
    }

    fn find(&self, path: &Path) -> Option<&Path> {
        identities(path).iter().find_map(|identity| self.0.get(identity)).map(PathBuf::as_path)
    }

    /// Checks that a file may be written to; `option` names it.
    ///
    /// # Errors
    /// A [`UsageError`] if it is one of these, or a folder.
    pub fn check(&self, path: &Path, option: &str) -> Result<()> {
        let shown = path.display();
        if path.is_dir() {
            return Err(UsageError(format!("{shown} is a folder: name a file in it with {option}")).into());
        }
        let Some(input) = self.find(path) else {
            return Ok(());
        };
        let same = if input == path { String::new() } else { format!(" ({})", input.display()) };
        Err(UsageError(format!("{shown} is an input{same}: name another file with {option}")).into())
    }
}

/// None for what is neither a file nor a folder.
fn identities(path: &Path) -> Vec<Identity> {
    let found = fs::metadata(path);
    if found.as_ref().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Vec::new();
    }
    let mut identities = Vec::new();
    #[cfg(unix)]
    if let Ok(found) = &found {
        use std::os::unix::fs::MetadataExt;
        identities.push(Identity::Inode(found.dev(), found.ino()));
    }
    identities.extend(path.canonicalize().ok().or_else(|| canonical_place(path)).map(Identity::Path));
    identities
}

/// The path without links of a file that is not there yet.
fn canonical_place(path: &Path) -> Option<PathBuf> {
    let target = ylb_format::file::follow_links(path).ok()?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(folder.join(target.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_they_are() {
        let folder = std::env::temp_dir().join(format!("yolo-lowbit-reserved-{}", std::process::id()));
        fs::create_dir_all(folder.join("inner")).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("a"), "a").unwrap();
        fs::write(path("b"), "a").unwrap();
        let reserved = Reserved::new([path("a"), path("new")]);
        for (name, held) in [
            ("a", true),
            ("inner/../a", true),
            ("b", false),
            ("new", true),
            ("inner/../new", true),
            ("inner/new", false),
        ] {
            assert_eq!(reserved.holds(&path(name)), held, "{name}");
            assert_eq!(reserved.check(&path(name), "-o").is_err(), held, "{name}");
        }
        // Also once it is written.
        fs::write(path("new"), "").unwrap();
        assert!(reserved.holds(&path("new")));
        fs::remove_file(path("new")).unwrap();
        assert!(reserved.check(&path("inner"), "-o").unwrap_err().to_string().contains("is a folder"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink("a", path("link")).unwrap();
            symlink("link", path("second")).unwrap();
            symlink("../new", path("inner/dangling")).unwrap();
            fs::hard_link(path("a"), path("hard")).unwrap();
            for name in ["link", "second", "hard", "inner/dangling"] {
                assert!(reserved.holds(&path(name)), "{name}");
            }
            let devices = Reserved::new(["/dev/null"]);
            assert!(!devices.holds(Path::new("/dev/null")));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
