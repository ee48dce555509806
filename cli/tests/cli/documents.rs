//! What the documents name exists: files, headings, commands and their options, targets of the Makefile.
//!
//! Whether the commands do what is promised is tried by `scripts/test-documents.py`, which runs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Folder;

/// A document of the repository, as its path from there and its text.
struct Document {
    name: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<Document> {
    let mut names: Vec<String> = [
        "README",
        "CONTRIBUTING",
        "CHANGELOG",
        "models/README",
        "training/README",
        "tests/fixtures/exports/README",
    ]
    .map(|name| format!("{name}.md"))
    .into();
    for file in fs::read_dir(root().join("docs")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    let read = |name: String| Document { text: fs::read_to_string(root().join(&name)).expect(&name), name };
    names.into_iter().map(read).collect()
}

/// The lines inside of fences, or of indented code, with continued lines joined; or all others.
fn lines(text: &str, code: bool) -> Vec<String> {
    let (mut fenced, mut found, mut continued) = (false, Vec::<String>::new(), false);
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if (fenced || line.starts_with("    ")) == code {
            let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, code));
            match found.last_mut() {
                Some(last) if continued => last.push_str(part),
                _ => found.push(part.to_owned()),
            }
            continued = more;
        }
    }
    found
}

/// What stands between backticks.
fn spans(text: &str) -> Vec<String> {
    lines(text, false).join(" ").split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Code in which commands may stand, without comments.
fn commands(text: &str) -> Vec<Vec<String>> {
    let all = lines(text, true).into_iter().chain(spans(text));
    let words = |line: String| {
        let line = line.split(" # ").next().unwrap_or_default().trim().to_owned();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    all.map(words).filter(|words| words.len() > 1).collect()
}

/// An option as it is called, without brackets and values.
fn option(word: &str) -> Option<&str> {
    let word = word.trim_matches(['[', ']', ',', '.', ')', '(']);
    let end =
        word.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-')).unwrap_or(word.len());
    let name = &word[..end];
    (name.starts_with('-')
        && name.trim_start_matches('-').starts_with(|letter: char| letter.is_ascii_lowercase()))
    .then_some(name)
}

/// The names by which headings can be linked to.
fn anchors(text: &str) -> Vec<String> {
    let headings = lines(text, false).into_iter().filter(|line| line.starts_with('#'));
    let anchor = |line: String| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let folder = root().join(&document.name).parent().unwrap().to_owned();
        let text = lines(&document.text, false).join("\n");
        for link in text.split("](").skip(1).filter_map(|behind| behind.split_once(')')).map(|(link, _)| link)
        {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { root().join(&document.name) } else { folder.join(path) };
            let has_anchor =
                || anchors(&fs::read_to_string(&path).unwrap()).iter().any(|found| found == anchor);
            if !path.exists() || !anchor.is_empty() && !has_anchor() {
                broken.push(format!("{}: {link}", document.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn files_that_are_named_exist() {
    let folders =
        fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // What commands make is not the repository's.
    let made = |name: &str| ["target", "dist", "runs"].contains(&name) || name.starts_with('.');
    let folders: Vec<String> = folders.filter(|name| !made(name)).collect();
    let (mut named, mut missing) = (0, Vec::new());
    for document in documents() {
        for span in spans(&document.text) {
            let plain = span.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
            let in_repository =
                span.split_once('/').is_some_and(|(folder, _)| folders.iter().any(|name| name == folder));
            if plain && in_repository {
                named += 1;
                if !root().join(&span).exists() {
                    missing.push(format!("{}: {span}", document.name));
                }
            }
        }
    }
    assert!(named > 20 && missing.is_empty(), "{named} named; missing: {missing:#?}");
}

#[test]
fn commands_and_options_exist() {
    let folder = Folder::new("documents");
    let subcommands = ["convert", "run", "compare", "eval", "info", "bench", "generate"];
    let help: BTreeMap<&str, String> =
        subcommands.into_iter().map(|name| (name, folder.run(&[name, "--help"]).done())).collect();
    let training = fs::read_dir(root().join("training/ylb_training")).unwrap();
    let training: String =
        training.map(|file| fs::read_to_string(file.unwrap().path()).unwrap_or_default()).collect();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();

    let (mut checked, mut wrong) = (0, Vec::new());
    for document in documents() {
        for words in commands(&document.text) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut expect = |there: bool, what: &str| {
                checked += 1;
                if !there {
                    wrong.push(format!("{}: {what} of {:?}", document.name, words.join(" ")));
                }
            };
            match words[..] {
                ["yolo-lowbit", name, ref rest @ ..]
                | ["cargo", "run", "--release", "--", name, ref rest @ ..]
                    if name.starts_with(|letter: char| letter.is_ascii_lowercase()) =>
                {
                    let text = help.get(name).map_or("", String::as_str);
                    expect(!text.is_empty(), name);
                    // An option is followed by its value, the other form of its name, or the end of the line.
                    let has = |name: &str| {
                        [" ", ",", "\n", "[", "="].iter().any(|end| text.contains(&format!(" {name}{end}")))
                    };
                    rest.iter().filter_map(|word| option(word)).for_each(|name| expect(has(name), name));
                }
                ["python", "-m", "ylb_training", name, ref rest @ ..] => {
                    let has = |name: &str| training.contains(&format!("\"{name}\""));
                    expect(has(name), name);
                    rest.iter().filter_map(|word| option(word)).for_each(|name| expect(has(name), name));
                }
                ["make", target, ..] => {
                    let rule = format!("\n{target}:");
                    expect(makefile.contains(&rule), target);
                }
                _ => {}
            }
        }
    }
    assert!(checked > 50 && wrong.is_empty(), "{checked} checked; wrong: {wrong:#?}");
}
