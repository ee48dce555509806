//! The YAML file of a data set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use saphyr::{LoadableYamlNode, Scalar, Yaml};

use crate::images;

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
}

impl Description {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// If it cannot be read, is no YAML, or lacks class names.
    pub fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot open {}", path.display()))?;
        Self::parse(&text, path).with_context(|| format!("the data set file {} is wrong", path.display()))
    }

    /// Reads the text of the file `path`.
    fn parse(text: &str, path: &Path) -> Result<Self> {
        let documents = Yaml::load_from_str(text).map_err(|error| anyhow!("it is no YAML: {error}"))?;
        let root = documents.first().and_then(Yaml::as_mapping);
        let root = root.context("expected keys and values, such as \"names:\" and \"test: images/test\"")?;
        let (mut splits, mut names, mut base) = (BTreeMap::new(), None, None);
        for (key, value) in root {
            let key = scalar(key).context("a key is no text")?;
            match key.as_str() {
                "path" => base = optional(value).context("\"path\" is no text")?,
                "names" => names = Some(class_names(value).context("\"names\" is no list of names")?),
                // A split may be there without a value.
                key if !OTHER_KEYS.contains(&key) => drop(splits.insert(key.to_owned(), paths(value))),
                _ => {}
            }
        }
        let names: Vec<String> = names.context("it has no \"names\", the list of the classes")?;
        ensure!(!names.is_empty(), "\"names\" is empty");
        // Only a list of paths or one path makes a split; Roboflow's files, for one, have other keys too.
        let splits = splits.into_iter().filter_map(|(key, paths)| Some((key, paths?))).collect();
        Ok(Self { file: path.to_owned(), root: base_folder(path, base.as_deref()), splits, names })
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

    /// The pictures of an entry of a split: those in a folder, or those that a text file lists, one path
    /// a line. Paths that begin with `./` are relative to the list.
    ///
    /// # Errors
    /// If there is no such folder or file, or the folder has no pictures.
    pub fn pictures(&self, entry: &str) -> Result<Vec<PathBuf>> {
        let path = self.resolve(entry);
        if path.is_dir() {
            return images::collect(&[path]);
        }
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{} names {entry}, but {} cannot be opened", self.file.display(), path.display())
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let line = |line: &str| match line.strip_prefix("./") {
            Some(rest) => folder.join(rest),
            None => self.root.join(line),
        };
        Ok(text.lines().map(str::trim).filter(|text| !text.is_empty()).map(line).collect())
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

/// Where relative paths start: at `path`, seen from the folder of the YAML file or, where that does not
/// exist, from the current folder, as when a program is started in the folder of all data sets.
fn base_folder(file: &Path, path: Option<&str>) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let Some(path) = path else { return folder.to_owned() };
    let beside = folder.join(path);
    if !beside.is_dir() && Path::new(path).is_dir() { PathBuf::from(path) } else { beside }
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
    let name = |node: &Yaml<'_>| scalar(node).context("a name is no text");
    match node {
        Yaml::Sequence(items) => items.iter().map(name).collect(),
        Yaml::Mapping(items) => {
            let mut names = BTreeMap::new();
            for (key, value) in items {
                let key = scalar(key).context("a class index is no number")?;
                let index: usize =
                    key.parse().ok().with_context(|| format!("\"{key}\" is no class index"))?;
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
    fn mistakes_are_named() {
        for (text, reason) in [
            ("", "expected keys and values"),
            ("- a\n- b\n", "expected keys and values"),
            ("train: [a\n", "it is no YAML"),
            ("train: a\n", "no \"names\""),
            ("names: []\n", "\"names\" is empty"),
            ("names: cats\n", "expected a list"),
            ("names: [[a]]\n", "a name is no text"),
            ("names: {0: a, 2: b}\n", "the name of class 1 is missing"),
            ("names: {zero: a}\n", "\"zero\" is no class index"),
            ("names: [a]\npath: [b]\n", "\"path\" is no text"),
            ("names: [a]\nnames: [b]\n", "it is no YAML"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(reason), "{text:?}: {error:?} does not say {reason:?}");
        }
    }
}
