//! Files without names, which vanish with the process unless they get one (`O_TMPFILE` in open(2)).

use std::fs::{File, Permissions};
use std::io::{self, Seek};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// A new file on the file system of a folder.
pub(super) fn create(folder: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::from_raw_mode(mode))?.into())
}

/// Gives a file a name, which must be free.
pub(super) fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// All of a file, to the disk, with its permissions.
pub(super) fn copy(mut from: &File, mut to: &File) -> io::Result<()> {
    from.rewind()?;
    io::copy(&mut from, &mut to)?;
    let permissions: Permissions = from.metadata()?.permissions();
    to.set_permissions(permissions)?;
    to.sync_all()
}
