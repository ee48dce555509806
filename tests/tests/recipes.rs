//! The recipes of `docs/adding.md` name the files that a new thing touches: they exist, and those of the example are all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's folder.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Text in backticks that is a path of a file: folders, a name and an extension.
fn paths(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|code| code.contains('/') && Path::new(code).extension().is_some() && is_plain(code))
        .collect()
}

/// Whether it is one path and not a pattern or a command.
fn is_plain(code: &str) -> bool {
    !code.contains(['<', '*', '{', ' '])
}

/// All `.rs` files below a folder but those of tests, relative to `root`.
fn sources(root: &Path, folder: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        match entry.file_type().unwrap().is_dir() {
            true if name != "tests" => sources(root, &path, found),
            false if name.ends_with(".rs") && name != "tests.rs" => drop(found.insert(path)),
            _ => {}
        }
    }
}

/// The word and the folders of a section's comment: ``<!-- the files of `Word` in folder, folder -->``.
fn example(section: &str) -> Option<(&str, Vec<&str>)> {
    let comment = section.split_once("<!-- the files of `")?.1.split_once("-->")?.0;
    let (word, folders) = comment.split_once("` in ")?;
    Some((word, folders.split(',').map(str::trim).collect()))
}

/// The numbered list of a section.
fn steps(section: &str) -> String {
    let numbered = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit()) || line.starts_with("   ");
    section.lines().filter(numbered).collect()
}

/// What is wrong with a page, a line each.
fn faults(root: &Path, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let lost = paths(section).into_iter().filter(|path| !root.join(path).is_file());
        faults.extend(lost.map(|path| format!("{title}: no file {path}")));
        let Some((word, folders)) = example(section) else { continue };
        let mut all = BTreeSet::new();
        folders.iter().for_each(|folder| sources(root, folder, &mut all));
        let holds =
            |path: &&String| fs::read_to_string(root.join(path.as_str())).is_ok_and(|s| s.contains(word));
        let steps = steps(section);
        let (having, listed): (BTreeSet<&str>, BTreeSet<&str>) =
            (all.iter().filter(holds).map(String::as_str).collect(), paths(&steps));
        faults.extend(
            having.difference(&listed).map(|path| format!("{title}: {path} has {word}, no step names it")),
        );
        faults.extend(listed.difference(&having).map(|path| format!("{title}: {path} has no {word}")));
    }
    faults
}

#[test]
fn recipes_list_the_files_of_their_examples() {
    let page = fs::read_to_string(root().join("docs/adding.md")).unwrap();
    let examples = page.split("\n## ").filter(|section| example(section).is_some()).count();
    assert!(examples >= 2, "{examples} sections have an example");
    let faults = faults(&root(), &page);
    assert!(faults.is_empty(), "docs/adding.md:\n{}", faults.join("\n"));
}

#[test]
fn wrong_recipes_are_found() {
    let page = "# Page\n\n## A command\n\n<!-- the files of `Eval` in cli/src -->\n\n\
                1. `cli/src/args.rs`: see `cli/src/args/eval.rs`, `cli/src/args/<name>.rs`\n   \
                and `cli/src/commands/eval.rs`.\n2. `cli/src/commands.rs`, `cli/src/draw.rs`\n\n* `cli/tests/cli/none.rs` and `cli/src/lib`\n";
    assert_eq!(
        faults(&root(), page),
        [
            "A command: no file cli/tests/cli/none.rs",
            "A command: cli/src/commands/eval/report.rs has Eval, no step names it",
            "A command: cli/src/draw.rs has no Eval",
        ]
    );
}
