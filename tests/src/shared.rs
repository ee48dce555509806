//! Reference material beside the checkout: real exports with reference outputs, and photographs. It
//! is no part of the repository; tests that need it skip without it, loudly.

use std::path::PathBuf;

/// A file or folder of the reference material. `None`, after a message, where there is none.
///
/// # Panics
/// If it is missing in continuous integration (`CI=true`), where no test may be skipped.
pub fn path(name: &str) -> Option<PathBuf> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = workspace.join("../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{} is missing", path.display());
    eprintln!("SKIPPED: this test needs {}", path.display());
    None
}
