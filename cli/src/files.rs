//! Writing files so that a reader never sees half of one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file under a temporary name in its folder and then renames it: whoever opens `path` sees
/// the old contents or all of the new. The folder must exist.
///
/// # Errors
/// If `write` fails or the folder cannot be written to; nothing is left behind then.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let name = path.file_name().context("this is a folder, not a file name")?;
    let mut temporary_name = OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary_name);

    let written = File::create(&temporary).map_err(anyhow::Error::from).and_then(|file| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush()?;
        Ok(fs::rename(&temporary, path)?)
    });
    if written.is_err() {
        // The error that is reported is the one that led here.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether both paths lead to the same existing file.
pub fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty_folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("yolo-lowbit-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let folder = empty_folder("replace");
        let path = folder.join("result.txt");
        fs::write(&path, "old").unwrap();
        write_atomically(&path, |writer| Ok(writer.write_all(b"new")?)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_failure_keeps_the_old_contents() {
        let folder = empty_folder("keep");
        let path = folder.join("result.txt");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |writer| {
            writer.write_all(b"half")?;
            anyhow::bail!("the disk is on fire")
        });
        assert_eq!(error.unwrap_err().to_string(), "the disk is on fire");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
