//! The tables of `docs/converting.md` name a test in every row: each must exist.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's folder.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Sources that a prefix stands for, as the page says: files, or folders of them.
const PLACES: &[(&str, &[&str])] = &[
    ("arranged", &["converter/src/tests/arranged.rs"]),
    ("cases", &["converter/tests/cases.rs"]),
    ("exports", &["converter/src/tests/exports.rs"]),
    ("families", &["converter/src/tests/families.rs"]),
    ("selection", &["converter/src/tests/selection.rs"]),
    ("few_numbers", &["converter/src/tests/few_numbers.rs"]),
    ("guards", &["converter/src/tests/guards.rs"]),
    ("group_scales", &["converter/src/tests/group_scales.rs"]),
    ("transposed", &["converter/src/tests/transposed.rs"]),
    ("heads", &["converter/src/tests/heads.rs"]),
    ("messages", &["converter/src/tests/messages.rs"]),
    ("pad", &["converter/src/tests/pad.rs"]),
    ("window", &["source/src/window.rs"]),
    ("pictures", &["converter/src/tests/pictures.rs"]),
    ("picture_orders", &["converter/src/tests/picture_orders.rs"]),
    ("rounding", &["converter/src/tests/rounding.rs"]),
    ("spelling", &["converter/src/tests/spelling"]),
    ("stems", &["converter/src/tests/stems.rs"]),
    ("attention", &["converter/src/tests/attention.rs"]),
    ("averages", &["converter/src/tests/averages.rs"]),
    ("by_channel", &["converter/src/tests/by_channel.rs"]),
    ("channels", &["converter/src/tests/channels.rs"]),
    ("conv_sums", &["converter/src/tests/conv_sums.rs"]),
    ("curves", &["converter/src/tests/curves.rs"]),
    ("dilations", &["converter/src/tests/dilations.rs"]),
    ("float_heads", &["converter/src/tests/float_heads.rs"]),
    ("function_sums", &["converter/src/tests/function_sums.rs"]),
    ("gates", &["converter/src/tests/gates.rs"]),
    ("one_accumulator", &["converter/src/tests/one_accumulator.rs"]),
    ("placement", &["converter/src/tests/placement.rs"]),
    ("passes", &["converter/src/passes/tests.rs", "converter/src/passes/tests/hostile.rs"]),
    ("trunc", &["converter/src/passes/trunc/tests.rs"]),
    ("grids", &["converter/src/passes/grids/tests.rs"]),
    ("lower", &["converter/src/lower/tests"]),
    ("weights", &["converter/src/tests/weights", "source/tests"]),
    (
        "onnx",
        &[
            "source/src/onnx/fused.rs",
            "source/src/onnx/tests.rs",
            "source/src/onnx/inline/tests.rs",
            "source/src/onnx/upgrade/tests.rs",
        ],
    ),
    ("cli", &["cli/tests/cli"]),
    ("fixtures", &["tests/tests/exports.rs"]),
];

/// Whether `prefix::name`, `prefix::file::name` or `prefix::file` is a test, or a file of tests.
fn exists(root: &Path, path: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    let Some((_, places)) = PLACES.iter().find(|(prefix, _)| *prefix == parts[0]) else { return false };
    places.iter().map(|place| root.join(place)).any(|place| match (place.is_dir(), &parts[1..]) {
        (true, [file]) => holds_test(&place.join(format!("{file}.rs")), ""),
        (true, [file, name]) => holds_test(&place.join(format!("{file}.rs")), name),
        (false, [name]) => holds_test(&place, name),
        _ => false,
    })
}

/// Whether a file has a test of this name, or any where the name is empty.
fn holds_test(file: &Path, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        // Tests that a macro makes are words of its list.
        if !name.is_empty() && line == format!("{name},") {
            return true;
        }
        match line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
            Some((found, _)) if is_test && (name.is_empty() || found == name) => return true,
            Some(_) => is_test = false,
            None => is_test |= line == "#[test]",
        }
    }
    false
}

/// Rows of all tables whose last column is `test`, as line numbers and last cells.
fn last_cells(page: &str) -> Vec<(usize, &str)> {
    let mut cells = Vec::new();
    let mut in_table = false;
    for (index, line) in page.lines().enumerate() {
        let last =
            line.strip_prefix('|').and_then(|row| row.trim_end().trim_end_matches('|').rsplit('|').next());
        match last.map(str::trim) {
            None => in_table = false,
            Some("test") => in_table = true,
            Some("---") => {}
            Some(cell) if in_table => cells.push((index + 1, cell)),
            Some(_) => {}
        }
    }
    cells
}

/// What is wrong with a page, a line each.
fn faults(root: &Path, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, cell) in last_cells(page) {
        let names: Vec<&str> =
            cell.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect();
        if names.is_empty() {
            faults.push(format!("line {line} names no test: {cell}"));
        }
        let missing = names.into_iter().filter(|name| !exists(root, name));
        faults.extend(missing.map(|name| format!("line {line}: no test {name}")));
    }
    faults
}

#[test]
fn every_row_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/converting.md")).unwrap();
    assert!(last_cells(&page).len() > 50, "the tables were not found");
    let faults = faults(&root(), &page);
    assert!(faults.is_empty(), "docs/converting.md:\n{}", faults.join("\n"));
}

#[test]
fn wrong_names_are_found() {
    let page = "| part | test |\n|---|---|\n\
                | a | `cases::no_such_case` |\n| b | by hand |\n| c | `fixtures::lsq_w4a4`, `lower::joins::no` |\n\
                | d | `nowhere::lsq_w4a4` |\n| e | `cli::no_file` |\n| f | `exports::warnings_of` |\n\n\
                | no tests | here |\n|---|---|\n| a | b |\n";
    assert_eq!(
        faults(&root(), page),
        [
            "line 3: no test cases::no_such_case",
            "line 4 names no test: by hand",
            "line 5: no test lower::joins::no",
            "line 6: no test nowhere::lsq_w4a4",
            "line 7: no test cli::no_file",
            // A function, but no test.
            "line 8: no test exports::warnings_of",
        ]
    );
}
