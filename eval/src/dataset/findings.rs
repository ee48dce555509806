//! What the owner of a data set should know about it: what was left out, repaired, or is wrong.

use serde::Serialize;

/// Findings of one kind: how many, and the first few by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: usize,
    examples: Vec<String>,
}

impl Tally {
    /// How many are named.
    const EXAMPLES: usize = 3;

    /// Counts one; `example` names it, and is asked only for the first few.
    pub fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(example());
        }
    }

    /// The first few, and how many more: `a, b, c and 4 more`.
    pub fn named(&self) -> String {
        self.joined(", ")
    }

    /// The first few sentences, and how many more.
    pub fn told(&self) -> String {
        self.joined("; ")
    }

    fn joined(&self, separator: &str) -> String {
        let more = match self.count - self.examples.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        self.examples.join(separator) + &more
    }

    /// `1 label`, `2 labels`.
    fn counted(&self, one: &str, many: &str) -> String {
        format!("{} {}", self.count, if self.count == 1 { one } else { many })
    }
}

impl Serialize for Tally {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.count.serialize(serializer)
    }
}

/// All that was found in a split that is not as usual, though work can go on; serialized, the counts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Pictures of formats that are not read, with the format.
    pub images_skipped: Tally,
    /// Pictures that the split names more than once; they count once.
    pub images_repeated: Tally,
    /// Pictures without a label file; they count as empty.
    pub images_without_labels: Tally,
    /// Label files with objects whose picture does not exist.
    pub labels_without_image: Tally,
    /// Folders that were not entered because they had been already.
    pub folders_repeated: Tally,
    /// Labels that came twice in a file.
    pub labels_repeated: Tally,
    /// Labels that are polygons; the boxes round them count.
    pub polygons: Tally,
    /// Labels that reached a little out of the picture.
    pub labels_cut: Tally,
}

impl Findings {
    /// A sentence for each kind of finding.
    pub fn warnings(&self) -> Vec<String> {
        let kinds: [(&Tally, &str, &str, &str); 8] = [
            (
                &self.images_skipped,
                "picture skipped with its labels",
                "pictures skipped with their labels",
                "; JPEG and PNG are read",
            ),
            (&self.images_repeated, "repeated picture left out", "repeated pictures left out", ""),
            (
                &self.folders_repeated,
                "folder skipped, as it was read before",
                "folders skipped, as they were read before",
                "",
            ),
            (
                &self.images_without_labels,
                "image without a label file, taken for empty",
                "images without a label file, taken for empty",
                "",
            ),
            (&self.labels_without_image, "label file without a picture", "label files without a picture", ""),
            (&self.labels_repeated, "duplicate label removed", "duplicate labels removed", ""),
            (
                &self.polygons,
                "polygon label counts as the box round it",
                "polygon labels count as the boxes round them",
                "",
            ),
            (
                &self.labels_cut,
                "label reaches out of its picture by 1 % or less and is cut",
                "labels reach out of their pictures by 1 % or less and are cut",
                "",
            ),
        ];
        let found = kinds.iter().filter(|(tally, ..)| tally.count > 0);
        found
            .map(|(tally, one, many, hint)| format!("{}: {}{hint}", tally.counted(one, many), tally.named()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_named() {
        let mut findings = Findings::default();
        assert!(findings.warnings().is_empty());
        findings.images_skipped.add(|| "b.bmp (BMP)".to_owned());
        for line in 1..=5 {
            findings.labels_repeated.add(|| format!("a.txt line {line}"));
        }
        assert_eq!(
            findings.warnings(),
            [
                "1 picture skipped with its labels: b.bmp (BMP); JPEG and PNG are read",
                "5 duplicate labels removed: a.txt line 1, a.txt line 2, a.txt line 3 and 2 more",
            ]
        );
        let counts = serde_json::to_value(&findings).unwrap();
        assert_eq!((&counts["labels_repeated"], &counts["polygons"]), (&5.into(), &0.into()));
    }
}
