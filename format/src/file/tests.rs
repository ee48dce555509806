//! The ways that a file system decides about; everything else is tested from outside, in `tests/file.rs`.

use std::path::PathBuf;

use super::*;

fn folder(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ylb-format-inside-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_named_file_is_gone_unless_it_is_finished() {
    let folder = folder("named");
    let temporary = Temporary::create_named(&folder, 0o666).unwrap();
    let [name] = &names(&folder)[..] else { panic!("one file") };
    assert!(name.starts_with(".ylb-") && name.len() < 30, "{name}");
    drop(temporary);
    assert_eq!(names(&folder), [""; 0]);

    let temporary = Temporary::create_named(&folder, 0o666).unwrap();
    (&temporary.file).write_all(b"new").unwrap();
    temporary.finish(&folder.join("a")).unwrap();
    assert_eq!(
        (names(&folder), fs::read(folder.join("a")).unwrap()),
        (vec!["a".to_owned()], b"new".to_vec())
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn names_that_are_taken_are_left_alone() {
    let folder = folder("taken");
    let mut tried = Vec::new();
    let taken = free_name(&folder, |path| {
        tried.push(path.to_owned());
        if tried.len() < 4 { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(7) }
    });
    assert_eq!(taken.unwrap(), (7, tried[3].clone()));
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), 4);
    let none = free_name(&folder, |_| io::Result::<()>::Err(io::ErrorKind::AlreadyExists.into()));
    assert_eq!(none.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    fs::remove_dir_all(&folder).unwrap();
}

/// As without /proc, where an unnamed file cannot get a name.
#[test]
#[cfg(target_os = "linux")]
fn an_unnamed_file_is_copied_where_it_cannot_be_linked() {
    let folder = folder("copied");
    let Ok(file) = unnamed::create(&folder, 0o640) else {
        eprintln!("SKIPPED: {} has no files without names", folder.display());
        return;
    };
    (&file).write_all(b"all of it").unwrap();
    let named = Temporary::create_named(&folder, 0o600).unwrap();
    unnamed::copy(&file, &named.file).unwrap();
    named.finish(&folder.join("a")).unwrap();
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"all of it");
    assert_eq!(mode(&fs::metadata(folder.join("a")).unwrap()), mode(&file.metadata().unwrap()));
    assert_eq!(names(&folder), ["a"]);
    fs::remove_dir_all(&folder).unwrap();
}
