//! Writing a file whole or not at all: for `.ylb` files, and for whatever else a program of ours writes.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
mod unnamed;

/// Symbolic links that are followed one after another, as many as Linux follows.
const MAX_LINKS: u32 = 40;
/// Names that are tried for a temporary file. They are random: that one is taken is chance, that all are is not.
const MAX_NAMES: u32 = 100;

/// Makes `path` a file of what `fill` writes, or leaves it as it was.
///
/// The bytes go to a temporary file in the same folder, which is synced to the disk before it gets the name:
/// whoever opens `path`, also after a power failure, sees the old file or the whole new one. It has the permissions
/// of the file that it replaces, or those of any new file. If `path` is a symbolic link, the link stays and the file
/// it leads to is replaced; if it is a device or a pipe, it is written to.
///
/// Where Linux and the file system can, the temporary file has no name until it is complete, so that nothing is left
/// in the folder even by a process that is killed.
///
/// # Errors
/// What `fill` returns, or what the operating system says. No temporary file is left.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let found = fs::metadata(path).ok();
    match &found {
        Some(found) if found.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
        // Renaming would put a file in the place of a device or pipe such as /dev/stdout.
        Some(found) if !found.is_file() => {
            let mut writer = BufWriter::new(OpenOptions::new().write(true).open(path)?);
            fill(&mut writer)?;
            return Ok(writer.flush()?);
        }
        _ => {}
    }
    let target = follow_links(path)?;
    let folder = folder_of(&target);
    let temporary = Temporary::create(folder, found.as_ref())?;
    let mut writer = BufWriter::new(&temporary.file);
    fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    temporary.finish(&target)?;
    sync_folder(folder);
    Ok(())
}

/// Where a path leads, which need not exist. [`fs::canonicalize`] cannot do that.
///
/// # Errors
/// If links lead round in a circle, or one cannot be read.
pub fn follow_links(path: &Path) -> io::Result<PathBuf> {
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

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
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

/// A file that is gone unless it is finished.
struct Temporary {
    file: File,
    /// None while it has no name.
    path: Option<PathBuf>,
}

impl Temporary {
    /// A new file with the permissions of the one that it is to replace, or of any new file.
    fn create(folder: &Path, replaced: Option<&Metadata>) -> io::Result<Self> {
        let mode = replaced.map_or(0o666, mode);
        #[cfg(target_os = "linux")]
        let temporary = match unnamed::create(folder, mode) {
            Ok(file) => Self { file, path: None },
            // Not every file system has files without names. What else is wrong concerns named ones, too.
            Err(_) => Self::create_named(folder, mode)?,
        };
        #[cfg(not(target_os = "linux"))]
        let temporary = Self::create_named(folder, mode)?;
        if let Some(permissions) = replaced.and_then(permissions) {
            // Creation takes away what the umask says.
            temporary.file.set_permissions(permissions)?;
        }
        Ok(temporary)
    }

    fn create_named(folder: &Path, mode: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // Nothing that is there is opened, be it a link that somebody laid in the way.
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let (file, path) = free_name(folder, |path| options.open(path))?;
        Ok(Self { file, path: Some(path) })
    }

    /// The file to the disk, and under the name of `target`.
    fn finish(mut self, target: &Path) -> io::Result<()> {
        // Before it has the name: after a power failure that must not lead to an empty file.
        self.file.sync_all()?;
        #[cfg(target_os = "linux")]
        if self.path.is_none() && self.give_name(target)? {
            return Ok(());
        }
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
            self.path = None;
        }
        Ok(())
    }

    /// Gives an unnamed file the name of `target` if that is free, and otherwise a temporary one. Returns whether
    /// it is `target`'s.
    #[cfg(target_os = "linux")]
    fn give_name(&mut self, target: &Path) -> io::Result<bool> {
        if unnamed::give_name(&self.file, target).is_ok() {
            return Ok(true);
        }
        match free_name(folder_of(target), |path| unnamed::give_name(&self.file, path)) {
            Ok(((), path)) => self.path = Some(path),
            // Without /proc, or where files may not be linked.
            Err(_) => {
                let named = Self::create_named(folder_of(target), 0o600)?;
                unnamed::copy(&self.file, &named.file)?;
                *self = named;
            }
        }
        Ok(false)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Does something that takes a name of which there is no file. The name is short, whatever the target's.
fn free_name<T>(folder: &Path, mut take: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(T, PathBuf)> {
    let random = RandomState::new();
    for number in 0..MAX_NAMES {
        let path = folder.join(format!(".ylb-{:016x}.tmp", random.hash_one(number)));
        match take(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|taken| (taken, path)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(unix)]
fn mode(found: &Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
}

#[cfg(unix)]
fn permissions(found: &Metadata) -> Option<Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(mode(found)))
}

#[cfg(not(unix))]
fn mode(_: &Metadata) -> u32 {
    0
}

#[cfg(not(unix))]
fn permissions(_: &Metadata) -> Option<Permissions> {
    None
}

#[cfg(test)]
mod tests;
