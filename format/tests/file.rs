//! Writing to a path: whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ylb_format::{WriteError, file, read, write, write_file};

#[path = "support/models.rs"]
#[allow(dead_code)]
mod models;

/// A fresh folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ylb-format-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn assert_written(path: &Path) {
    assert_eq!(read(&fs::read(path).unwrap()).unwrap(), models::tiny());
}

#[test]
fn creates_and_replaces() {
    let folder = Folder::new("creates");
    let path = folder.0.join("model.ylb");
    write_file(&models::tiny(), &path).unwrap();
    assert_written(&path);
    fs::write(&path, "old").unwrap();
    write_file(&models::tiny(), &path).unwrap();
    assert_written(&path);
    assert_eq!(folder.names(), ["model.ylb"]);
}

#[test]
fn an_invalid_model_leaves_the_old_file() {
    let folder = Folder::new("invalid");
    let path = folder.0.join("model.ylb");
    fs::write(&path, "old").unwrap();
    let mut model = models::tiny();
    model.nodes.clear();
    assert!(matches!(write_file(&model, &path), Err(WriteError::Invalid(_))));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(folder.names(), ["model.ylb"]);
}

#[test]
fn a_failure_names_the_file_and_leaves_nothing() {
    let folder = Folder::new("failure");
    let missing = folder.0.join("missing").join("model.ylb");
    let error = write_file(&models::tiny(), &missing).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot write {}", missing.display())));

    let error = write_file(&models::tiny(), &folder.0).unwrap_err();
    assert!(matches!(error, WriteError::Io { .. }), "a folder: {error}");

    // The name is too long for the rename, not for the temporary file.
    let long = folder.0.join("x".repeat(300));
    assert!(matches!(write_file(&models::tiny(), &long), Err(WriteError::Io { .. })));
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn what_stops_half_way_leaves_the_old_file() {
    let folder = Folder::new("half_way");
    let path = folder.0.join("result");
    fs::write(&path, "old").unwrap();
    let stopped: io::Result<()> = file::replace(&path, |writer| {
        writer.write_all(&[0; 100_000])?;
        Err(io::Error::other("the disk is on fire"))
    });
    assert_eq!(stopped.unwrap_err().to_string(), "the disk is on fire");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(folder.names(), ["result"]);
}

#[test]
fn the_longest_name_is_written() {
    let folder = Folder::new("long");
    let name = "x".repeat(255);
    for _ in 0..2 {
        write_file(&models::tiny(), &folder.0.join(&name)).unwrap();
        assert_written(&folder.0.join(&name));
    }
    assert_eq!(folder.names(), [name]);
}

/// So that a process that is killed leaves nothing. Where the file system has no files without names there is one.
#[test]
#[cfg(target_os = "linux")]
fn nothing_is_seen_of_a_file_that_is_not_complete() {
    let folder = Folder::new("unseen");
    let path = folder.0.join("result");
    for old in [false, true] {
        let written: io::Result<()> = file::replace(&path, |writer| {
            writer.write_all(&[7; 100_000])?;
            match &folder.names()[..] {
                [name, ..] if name.starts_with(".ylb-") => {
                    eprintln!("SKIPPED: this file system has no O_TMPFILE")
                }
                names => assert_eq!(names.len(), usize::from(old), "{names:?}"),
            }
            Ok(())
        });
        written.unwrap();
        assert_eq!(fs::read(&path).unwrap(), [7; 100_000]);
        assert_eq!(folder.names(), ["result"]);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn permissions_are_those_of_any_new_file() {
        let folder = Folder::new("permissions");
        let plain = folder.0.join("plain");
        fs::write(&plain, "").unwrap();
        let path = folder.0.join("model.ylb");
        write_file(&models::tiny(), &path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
        // A file that is replaced keeps its own, whatever the umask.
        for wanted in [0o600, 0o666, 0o444] {
            fs::set_permissions(&path, PermissionsExt::from_mode(wanted)).unwrap();
            write_file(&models::tiny(), &path).unwrap();
            assert_eq!(mode(&path) & 0o777, wanted);
        }
    }

    #[test]
    fn a_pipe_is_written_to() {
        let folder = Folder::new("pipe");
        let pipe = folder.0.join("pipe");
        if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: there is no mkfifo");
            return;
        }
        let reader = thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write_file(&models::tiny(), &pipe).unwrap();
        assert_eq!(read(&reader.join().unwrap()).unwrap(), models::tiny());
        assert!(!fs::metadata(&pipe).unwrap().is_file());
        assert_eq!(folder.names(), ["pipe"]);
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let folder = Folder::new("links");
        let inner = folder.0.join("inner");
        fs::create_dir(&inner).unwrap();
        for target in ["inner/there.ylb", "inner/new.ylb"] {
            let link = folder.0.join("link.ylb");
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            if target.contains("there") {
                fs::write(&link, "old").unwrap();
            }
            write_file(&models::tiny(), &link).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_written(&folder.0.join(target));
        }
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 2);
        assert_eq!(folder.names(), ["inner", "link.ylb"]);
    }

    #[test]
    fn a_circle_of_links_is_an_error() {
        let folder = Folder::new("circle");
        symlink("b", folder.0.join("a")).unwrap();
        symlink("a", folder.0.join("b")).unwrap();
        let result = write_file(&models::tiny(), &folder.0.join("a"));
        assert!(matches!(result, Err(WriteError::Io { .. })));
        assert_eq!(folder.names(), ["a", "b"]);
    }

    #[test]
    fn a_device_is_written_to() {
        let null = Path::new("/dev/null");
        write_file(&models::tiny(), null).unwrap();
        assert!(!fs::metadata(null).unwrap().is_file());
    }
}

#[test]
fn equal_models_give_equal_bytes() {
    assert_eq!(write(&models::detector()).unwrap(), write(&models::detector()).unwrap());
}
