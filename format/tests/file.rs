//! Writing to a path: whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use ylb_format::{WriteError, read, write, write_file};

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

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

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
