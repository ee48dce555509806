//! The YAML file of a data set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use saphyr::{Scalar, Yaml};
use ylb_source::{TextError, names, text};

use super::files::{Gathered, is_picture_name};
use super::{Findings, yaml};
use crate::error::{Context, DatasetError, Result, bail};

/// Keys that are no splits.
const OTHER_KEYS: [&str; 4] = ["path", "names", "nc", "download"];

/// What the YAML file says.
#[derive(Clone, Debug)]
pub struct Description {
    file: PathBuf,
    /// Where relative paths start.
    root: PathBuf,
    /// By name: folders and lists of pictures, as they are written.
    splits: BTreeMap<String, Vec<String>>,
    names: Vec<String>,
    /// How many names there should be, if it says that.
    count: Option<String>,
}

impl Description {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// If it cannot be read, is not YAML, or lacks class names.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            bail!("{}", instead_of_folder(path));
        }
        let text = match text::read(path, text::SHORT) {
            Err(TextError::IsModel) => bail!(
                "{} is a .ylb file: the model comes first, then the data set (eval MODEL.ylb DATA.yaml)",
                path.display()
            ),
            text => text.with_context(|| format!("cannot open {}", path.display()))?,
        };
        Self::parse(&text, path).with_context(|| format!("the data set file {} is wrong", path.display()))
    }

    /// Reads the text of the file `path`.
    fn parse(text: &str, path: &Path) -> Result<Self> {
        let documents = yaml::load(text)?;
        let root = documents.first().and_then(Yaml::as_mapping);
        let root = root.context("expected keys and values, such as \"names:\" and \"test: images/test\"")?;
        let (mut splits, mut names, mut base, mut count) = (BTreeMap::new(), None, None, None);
        for (key, value) in root {
            let key = scalar(key).context("a key is not text")?;
            match key.as_str() {
                "path" => base = optional(value).context("\"path\" is not text")?,
                "names" => names = Some(class_names(value).context("\"names\" is not a list of names")?),
                "nc" => count = scalar(value),
                // A split may be there without a value.
                key if !OTHER_KEYS.contains(&key) => drop(splits.insert(key.to_owned(), paths(value))),
                _ => {}
            }
        }
        let names: Vec<String> = names.context("it has no \"names\", the list of the classes")?;
        names::check(&names).map_err(|reason| DatasetError::new(format!("\"names\" is wrong: {reason}")))?;
        // Only a list of paths or one path makes a split; Roboflow's files, for one, have other keys too.
        let splits = splits.into_iter().filter_map(|(key, paths)| Some((key, paths?))).collect();
        Ok(Self { file: path.to_owned(), root: base_folder(path, base.as_deref()), splits, names, count })
    }

    /// What contradicts itself, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let count = self.count.iter().filter(|count| count.trim().parse() != Ok(self.names.len()));
        let file = self.file.display();
        count
            .map(|count| {
                format!("{file} says \"nc: {count}\", but has {} names; the names count", self.names.len())
            })
            .collect()
    }

    /// The YAML file itself.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The class names by class index.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The folders and lists of a split, as they are written.
    ///
    /// # Errors
    /// If there is no such split; the message names those there are.
    pub fn split(&self, split: &str) -> Result<&[String]> {
        let known = || self.splits.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let entries = self.splits.get(split);
        let entries = entries.with_context(|| {
            format!("{} has no split \"{split}\": choose one with --split ({})", self.file.display(), known())
        })?;
        Ok(entries)
    }

    /// Gathers the pictures of an entry of a split: those in a folder and the folders in it, or those that a text file
    /// lists, one path a line. Paths that begin with `./` are relative to the list. Returns the folder, if it is one.
    ///
    /// # Errors
    /// If there is no such folder or file, or a folder cannot be read.
    pub(crate) fn pictures(
        &self,
        entry: &str,
        gathered: &mut Gathered,
        findings: &mut Findings,
    ) -> Result<Option<PathBuf>> {
        let path = self.resolve(entry);
        if path.is_dir() {
            gathered.add_folder(&path, findings)?;
            return Ok(Some(path));
        }
        let here = || format!("{} names {entry}, but {}", self.file.display(), path.display());
        if is_picture_name(&path) && path.exists() {
            bail!("{} is a picture: name a folder, or a text file that lists pictures", here());
        }
        let text = text::read(&path, text::LONG).with_context(|| format!("{} cannot be opened", here()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let line = |line: &str| match line.strip_prefix("./") {
            Some(rest) => folder.join(rest),
            None => self.root.join(line),
        };
        for path in text.lines().map(str::trim).filter(|text| !text.is_empty()).map(line) {
            gathered.add_file(path);
        }
        Ok(None)
    }

    /// Exports of Roboflow say `../test/images` where they mean `test/images`; YOLOv5 forgives that.
    fn resolve(&self, entry: &str) -> PathBuf {
        let path = self.root.join(entry);
        match entry.strip_prefix("../") {
            Some(rest) if !path.exists() => self.root.join(rest),
            _ => path,
        }
    }
}

/// What to name in place of a folder.
fn instead_of_folder(path: &Path) -> String {
    let (name, inside) = (path.display(), path.join("data.yaml"));
    match inside.is_file() {
        true => format!("{name} is a folder: name the YAML file in it, {}", inside.display()),
        false => format!("{name} is a folder, but a data set is named by its YAML file, such as data.yaml"),
    }
}

/// Where relative paths start: at `path`, seen from the folder of the YAML file or, where that does not
/// exist, from the current folder, as when a program is started in the folder of all data sets.
fn base_folder(file: &Path, path: Option<&str>) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let Some(path) = path else { return folder.to_owned() };
    let beside = folder.join(path);
    let base = if !beside.is_dir() && Path::new(path).is_dir() { PathBuf::from(path) } else { beside };
    // Without the dots of "path: .", which is how most are written.
    base.components().collect()
}

/// The text of a scalar.
fn scalar(node: &Yaml<'_>) -> Option<String> {
    match node {
        Yaml::Value(Scalar::String(text)) => Some(text.to_string()),
        Yaml::Value(Scalar::Integer(number)) => Some(number.to_string()),
        Yaml::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        Yaml::Value(Scalar::Boolean(truth)) => Some(truth.to_string()),
        _ => None,
    }
}

/// The text of a scalar, or nothing of none.
fn optional(node: &Yaml<'_>) -> Option<Option<String>> {
    if node.is_null() { Some(None) } else { scalar(node).map(Some) }
}

/// One path or many; `None` of anything else.
fn paths(node: &Yaml<'_>) -> Option<Vec<String>> {
    match node {
        Yaml::Sequence(items) => items.iter().map(scalar).collect(),
        node => scalar(node).map(|path| vec![path]),
    }
}

/// Names as a list, or as a map from every class index.
fn class_names(node: &Yaml<'_>) -> Result<Vec<String>> {
    let name = |node: &Yaml<'_>| scalar(node).context("a name is not text");
    match node {
        Yaml::Sequence(items) => items.iter().map(name).collect(),
        Yaml::Mapping(items) => {
            let mut names = BTreeMap::new();
            for (key, value) in items {
                let key = scalar(key).context("a class index is not a number")?;
                let index: usize =
                    key.parse().ok().with_context(|| format!("\"{key}\" is not a class index"))?;
                names.insert(index, name(value)?);
            }
            if let Some(missing) = (0..names.len()).find(|index| !names.contains_key(index)) {
                bail!("the name of class {missing} is missing");
            }
            Ok(names.into_values().collect())
        }
        _ => bail!("expected a list, or a map from class indices"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Description> {
        Description::parse(text, Path::new("/data/set/data.yaml"))
    }

    #[test]
    fn every_way_of_writing_names_and_splits() {
        for text in [
            "path: .\ntrain: images/train\nval: images/val  # as usual\ntest:\nnames: [RBC, 'WBC', \"7\"]\nnc: 3\n",
            "names:\n  0: RBC\n  2: 7\n  1: WBC\ntrain:\n- images/train\nval: images/val\n",
            "{names: {0: RBC, 1: WBC, 2: '7'}, train: [images/train], val: images/val}",
        ] {
            let data = parse(text).unwrap();
            assert_eq!(data.names(), ["RBC", "WBC", "7"], "{text}");
            assert_eq!(data.split("train").unwrap(), ["images/train"], "{text}");
            let error = data.split("test").unwrap_err().to_string();
            assert!(error.contains("no split \"test\"") && error.contains("(train, val)"), "{error}");
            assert!(data.split("names").is_err());
        }
        let many = parse("names: [a]\nval: [one, two.txt]\n").unwrap();
        assert_eq!(many.split("val").unwrap(), ["one", "two.txt"]);
    }

    #[test]
    fn paths_start_at_the_file_or_at_path() {
        let root = |path: &str| parse(&format!("{path}\nnames: [a]\n")).unwrap().root;
        assert_eq!(root(""), Path::new("/data/set"));
        assert_eq!(root("path:"), Path::new("/data/set"));
        assert_eq!(root("path: ../other"), Path::new("/data/set/../other"));
        assert_eq!(root("path: /elsewhere"), Path::new("/elsewhere"));
    }

    #[test]
    fn a_count_that_contradicts_the_names_is_told() {
        assert!(parse("names: [a, b]\nnc: 2\n").unwrap().warnings().is_empty());
        let warnings = parse("names: [a, b]\nnc: 3\n").unwrap().warnings();
        assert_eq!(warnings, ["/data/set/data.yaml says \"nc: 3\", but has 2 names; the names count"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, reason) in [
            ("", "expected keys and values"),
            ("- a\n- b\n", "expected keys and values"),
            ("train: [a\n", "it is not YAML"),
            ("names: [[[[[[[a]]]]]]]\n", "a name is not text"),
            ("train: a\n", "no \"names\""),
            ("names: []\n", "\"names\" is wrong: it holds no class names"),
            ("names: cats\n", "expected a list"),
            ("names: [[a]]\n", "a name is not text"),
            ("names: {0: a, 2: b}\n", "the name of class 1 is missing"),
            ("names: {zero: a}\n", "\"zero\" is not a class index"),
            ("names: [a]\npath: [b]\n", "\"path\" is not text"),
            ("names: [a]\nnames: [b]\n", "it is not YAML"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(reason), "{text:?}: {error:?} does not say {reason:?}");
        }
    }
}
