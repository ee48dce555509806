//! Replacing a file all at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Symbolic links that are followed one after another, as many as Linux follows.
const MAX_LINKS: u32 = 40;

/// Makes `path` a file of these bytes, or leaves it as it was.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        // Renaming would put a file in the place of a device or pipe such as /dev/stdout.
        Ok(found) if !found.is_file() => {
            return OpenOptions::new().write(true).open(path)?.write_all(bytes);
        }
        _ => {}
    }
    let target = follow_links(path)?;
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (mut file, temporary) = Temporary::create(folder)?;
    file.write_all(bytes)?;
    // Before the rename: after a power failure the name must not lead to an empty file.
    file.sync_all()?;
    drop(file);
    temporary.rename(&target)?;
    sync_folder(folder);
    Ok(())
}

/// Where a path leads, which need not exist. `fs::canonicalize` cannot do that.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return Ok(path);
        }
        let target = fs::read_link(&path)?;
        // Joining an absolute path gives that path.
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The folder's list of files to the disk, where the system has such a thing. The file is complete
/// either way; at worst a power failure brings back the old one.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
}

/// A file that is removed unless it gets a name.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// A new file with the permissions of any new file. The name is short, whatever the target's.
    fn create(folder: &Path) -> io::Result<(File, Self)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".ylb-{}-{number}.tmp", process::id()));
            match File::create_new(&path) {
                Ok(file) => {
                    return Ok((file, Self { path, renamed: false }));
                }
                // Left by a process that had the same number and was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
