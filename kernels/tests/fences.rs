//! What the source text must keep to, file by file.

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files under a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true if path.file_name().is_some_and(|name| name == "target") => Vec::new(),
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn kernels() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines outside of `arch` that name the tile registers, in a text of a file there.
fn trespassers(path: &Path, text: &str) -> Vec<String> {
    let named = |line: &&str| line.to_ascii_lowercase().contains(concat!("am", "x"));
    text.lines().filter(named).map(|line| format!("{}: {line}", path.display())).collect()
}

/// The engine with tile registers, which is for servers, is an affair of `arch`: others see what a micro-kernel can do.
#[test]
fn tile_registers_are_fenced() {
    let arch = kernels().join("src/arch");
    let workspace = kernels().parent().expect("a workspace");
    // In a package of its own there is no workspace around it.
    let is_crate = |folder: &PathBuf| folder.join("Cargo.toml").is_file();
    let entries = fs::read_dir(workspace).expect("a folder").map(|entry| entry.expect("an entry").path());
    let folders = entries.filter(is_crate);
    let outside = folders.flat_map(|folder| sources(&folder)).filter(|path| !path.starts_with(&arch));
    let found: Vec<String> =
        outside.flat_map(|path| trespassers(&path, &fs::read_to_string(&path).expect("a text"))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let line = concat!("if engine == Engine::Am", "x {");
    assert_eq!(trespassers(Path::new("a.rs"), line).len(), 1, "the check sees what it looks for");
}

/// The statics of a text that describe micro-kernels, with the string that follows each.
fn described(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("static ") {
        let rest = &text[at + "static ".len()..];
        let Some((name, rest)) = rest.split_once(':') else { continue };
        let kind = rest.trim_start().split([' ', ';']).next().unwrap_or_default();
        if !kind.ends_with("Kernel")
            || !name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        {
            continue;
        }
        let string = rest.split('"').nth(1).unwrap_or_default();
        found.push((name.to_owned(), string.to_owned()));
    }
    found
}

#[test]
fn statics_are_called_as_their_micro_kernels() {
    let mut count = 0;
    for path in sources(&kernels().join("src/arch")) {
        for (name, string) in described(&fs::read_to_string(&path).expect("a text")) {
            assert_eq!(name, string.to_ascii_uppercase(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 40, "only {count} micro-kernels found");
    let wrong = described("static OTHER: ConvKernel = kernel(\"bsconv\");");
    assert_eq!(wrong, [("OTHER".to_owned(), "bsconv".to_owned())]);
}
