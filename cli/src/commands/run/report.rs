//! What `run` says about pictures, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use ylb_format::model::Model;
use ylb_runtime::Detection;

use crate::model::class_name;
use crate::output::{self, Align, Table, milliseconds};
use crate::stages::Stages;
use crate::text;

/// The JSON document of `--json`.
#[derive(Debug, Serialize)]
pub struct Document {
    /// The model's path.
    pub model: String,
    /// One entry for each picture.
    pub images: Vec<Report>,
}

/// What became of a picture.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// It was searched.
    Found(Found),
    /// It could not be processed.
    Failure(Failure),
}

/// A picture that could not be processed.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// The picture's path.
    pub path: String,
    /// Why.
    pub error: String,
}

/// What was found in a picture.
#[derive(Debug, Serialize)]
pub struct Found {
    path: String,
    width: u32,
    height: u32,
    detections: Vec<Object>,
    #[serde(rename = "times_ms")]
    stages: Stages,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<String>,
    /// What the user should know about the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Object {
    class: u32,
    name: String,
    confidence: f32,
    #[serde(rename = "box")]
    edges: Edges,
}

/// Pixels of the picture, from its top left corner.
#[derive(Debug, Serialize)]
struct Edges {
    x1: f32,
    y1: f32,
    x2: f32,
    y2: f32,
}

impl Found {
    /// Gathers what is known about a picture.
    pub fn new(
        path: &Path,
        [width, height]: [u32; 2],
        model: &Model,
        detections: &[Detection],
        stages: Stages,
        saved: Option<&Path>,
    ) -> Self {
        let object = |found: &Detection| Object {
            class: found.class,
            name: class_name(model, found.class),
            confidence: found.confidence,
            edges: Edges { x1: found.left, y1: found.top, x2: found.right, y2: found.bottom },
        };
        Self {
            path: path.display().to_string(),
            width,
            height,
            detections: detections.iter().map(object).collect(),
            stages,
            saved: saved.map(|path| path.display().to_string()),
            warning: None,
        }
    }

    /// A summary as YOLOv5 prints it, the detections, the times and where the picture was saved.
    /// `position` is such as `1/2`.
    pub fn text(&self, position: &str) -> String {
        let Self { path, width, height, .. } = self;
        let path = text::line(path);
        let inference = milliseconds(self.stages.inference);
        let mut text = format!("image {position} {path}: {width}x{height} {}  {inference}\n", self.counts());
        if !self.detections.is_empty() {
            let headings = ["confidence", "x1", "y1", "x2", "y2"].map(|heading| (heading, Align::Right));
            let columns: Vec<_> = std::iter::once(("class", Align::Left)).chain(headings).collect();
            let mut table = Table::new(&columns);
            for Object { name, confidence, edges, .. } in &self.detections {
                let edges = [edges.x1, edges.y1, edges.x2, edges.y2].map(|edge| format!("{edge:.1}"));
                table.row([name.clone(), format!("{confidence:.3}")].into_iter().chain(edges).collect());
            }
            text.push_str(&table.to_string());
        }
        text.push_str(&format!("  {}\n", self.stages));
        if let Some(saved) = &self.saved {
            text.push_str(&format!("  saved to {}\n", text::line(saved)));
        }
        text
    }

    /// How many of each class, in the order of the classes: `4 RBC, 1 WBC`.
    fn counts(&self) -> String {
        let mut counts: BTreeMap<(u32, &str), usize> = BTreeMap::new();
        for object in &self.detections {
            *counts.entry((object.class, &object.name)).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|((_, name), count)| format!("{count} {}", text::line(name))).collect();
        if counts.is_empty() { "(nothing found)".to_owned() } else { counts.join(", ") }
    }
}

/// Sums over pictures.
#[derive(Debug, Default)]
pub struct Totals {
    /// Pictures that could not be processed, and folders without any.
    pub failed: usize,
    searched: usize,
    objects: usize,
    stages: Stages,
}

impl Totals {
    /// Adds a picture.
    pub fn add(&mut self, report: &Report) {
        let Report::Found(found) = report else {
            self.failed += 1;
            return;
        };
        self.searched += 1;
        self.objects += found.detections.len();
        self.stages += found.stages;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", output::count(self.searched, "image"), output::count(self.objects, "object"))?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        writeln!(f)?;
        if self.searched == 0 {
            return Ok(());
        }
        writeln!(f, "mean times: {}", self.stages.mean(self.searched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn object(class: u32, name: &str, confidence: f32) -> Object {
        let edges = Edges { x1: 1.0, y1: 2.25, x2: 100.0, y2: 30.0 };
        Object { class, name: name.to_owned(), confidence, edges }
    }

    fn found(detections: Vec<Object>) -> Found {
        let stages = Stages {
            decode: Duration::from_micros(3_100),
            preprocess: Duration::from_micros(1_200),
            inference: Duration::from_micros(12_300),
            postprocess: Duration::from_micros(400),
            save: Some(Duration::from_micros(6_000)),
        };
        let (path, saved) = ("in/a.jpg".to_owned(), Some("runs/a.jpg".to_owned()));
        Found { path, width: 640, height: 480, detections, stages, saved, warning: None }
    }

    #[test]
    fn text_for_people() {
        let found = found(vec![object(1, "WBC", 0.95), object(0, "RBC", 0.9), object(0, "RBC", 0.5)]);
        let expected = "\
image 1/2 in/a.jpg: 640x480 2 RBC, 1 WBC  12.3 ms
  class  confidence   x1   y1     x2    y2
  WBC         0.950  1.0  2.2  100.0  30.0
  RBC         0.900  1.0  2.2  100.0  30.0
  RBC         0.500  1.0  2.2  100.0  30.0
  decode 3.10 ms, preprocess 1.20 ms, inference 12.3 ms, postprocess 0.40 ms, draw and save 6.00 ms
  saved to runs/a.jpg
";
        assert_eq!(found.text("1/2"), expected);
    }

    #[test]
    fn nothing_found_is_said() {
        let text = found(Vec::new()).text("1/1");
        assert!(text.starts_with("image 1/1 in/a.jpg: 640x480 (nothing found)  12.3 ms\n  decode"), "{text}");
    }

    #[test]
    fn json_for_programs() {
        let failure = Failure { path: "b.jpg".to_owned(), error: "why".to_owned() };
        let images = vec![Report::Found(found(vec![object(0, "RBC", 0.5)])), Report::Failure(failure)];
        let json = serde_json::to_value(Document { model: "m.ylb".to_owned(), images }).unwrap();
        let expected = serde_json::json!({"model": "m.ylb", "images": [
            {"path": "in/a.jpg", "width": 640, "height": 480,
             "detections": [{"class": 0, "name": "RBC", "confidence": 0.5,
                             "box": {"x1": 1.0, "y1": 2.25, "x2": 100.0, "y2": 30.0}}],
             "times_ms": {"decode": 3.1, "preprocess": 1.2, "inference": 12.3, "postprocess": 0.4, "save": 6.0},
             "saved": "runs/a.jpg"},
            {"path": "b.jpg", "error": "why"},
        ]});
        assert_eq!(json, expected);
    }

    #[test]
    fn totals_are_means_over_what_was_searched() {
        let mut totals = Totals::default();
        totals.add(&Report::Found(found(vec![object(0, "RBC", 0.5)])));
        totals.add(&Report::Failure(Failure { path: String::new(), error: String::new() }));
        totals.add(&Report::Found(found(Vec::new())));
        let expected = "\
2 images, 1 object, 1 failed
mean times: decode 3.10 ms, preprocess 1.20 ms, inference 12.3 ms, postprocess 0.40 ms, draw and save 6.00 ms
";
        assert_eq!(totals.to_string(), expected);
    }
}
