//! What `eval` says, for people and for programs.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use ylb_eval::dataset::Findings;
use ylb_eval::metrics::{Accuracy, OperatingPoint, Scene};

use crate::args::EvalArgs;
use crate::output::{Align, Table, count};
use crate::stages::Stages;
use crate::text;

/// The figures; serialized, the JSON document of `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    model: String,
    data: String,
    split: String,
    images: usize,
    objects: usize,
    /// Of all classes.
    #[serde(flatten)]
    mean: Figures,
    f1: f64,
    /// The confidence of precision, recall and F1.
    confidence: f64,
    #[serde(serialize_with = "by_name")]
    per_class: Vec<ClassFigures>,
    settings: Settings,
    #[serde(flatten)]
    odd: Odd,
    /// Means over the pictures.
    #[serde(rename = "times_ms")]
    times: Stages,
}

/// What is odd about the data set, or does not fit the model.
#[derive(Debug, Serialize)]
pub struct Odd {
    /// Counts by kind.
    pub findings: Findings,
    /// What was said about it.
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Figures {
    map50_95: f64,
    map50: f64,
    precision: f64,
    recall: f64,
}

/// The figures of a class: none where it has no objects.
#[derive(Debug, Serialize)]
struct ClassFigures {
    #[serde(skip)]
    name: String,
    class: usize,
    objects: usize,
    map50_95: Option<f64>,
    map50: Option<f64>,
    precision: Option<f64>,
    recall: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Settings {
    conf: f32,
    iou: f32,
    max_det: usize,
    best_class: bool,
}

/// An object with a field for each class, in the order of the classes.
fn by_name<S: Serializer>(classes: &[ClassFigures], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(classes.len()))?;
    for class in classes {
        map.serialize_entry(&class.name, class)?;
    }
    map.end()
}

impl Report {
    /// Gathers the figures. `iou` is what boxes were suppressed by; `times` are means.
    ///
    /// # Errors
    /// If there are no objects.
    pub fn new(
        args: &EvalArgs,
        iou: f32,
        names: &[String],
        scenes: &[Scene],
        accuracy: &Accuracy,
        odd: Odd,
        times: Stages,
    ) -> Result<Self> {
        let no_objects = "there are no objects";
        let best = accuracy.best.as_ref().context(no_objects)?;
        let mean = Figures {
            map50_95: accuracy.map50_95().context(no_objects)?,
            map50: accuracy.map50().context(no_objects)?,
            precision: best.precision,
            recall: best.recall,
        };
        Ok(Self {
            model: args.model.display().to_string(),
            data: args.data.display().to_string(),
            split: args.split.clone(),
            images: scenes.len(),
            objects: scenes.iter().map(|scene| scene.objects.len()).sum(),
            mean,
            f1: best.f1,
            confidence: best.confidence,
            per_class: per_class(names, accuracy, best),
            settings: Settings { conf: args.conf, iou, max_det: args.max_det, best_class: args.best_class },
            odd,
            times,
        })
    }

    /// The confidence at which precision and recall are given.
    pub fn confidence(&self) -> f64 {
        self.confidence
    }
}

fn per_class(names: &[String], accuracy: &Accuracy, best: &OperatingPoint) -> Vec<ClassFigures> {
    let classes = accuracy.classes.iter().zip(&best.classes).zip(unique(names)).enumerate();
    let figures = classes.map(|(class, ((accuracy, point), name))| ClassFigures {
        name,
        class,
        objects: accuracy.objects,
        map50_95: accuracy.map50_95(),
        map50: accuracy.map50(),
        precision: point.map(|[precision, _]| precision),
        recall: point.map(|[_, recall]| recall),
    });
    figures.collect()
}

/// Names that are all different, as fields of an object must be: a name that was there before gets its
/// class number.
fn unique(names: &[String]) -> impl Iterator<Item = String> {
    let mut known = HashSet::new();
    names.iter().enumerate().map(
        move |(class, name)| {
            if known.insert(name) { name.clone() } else { format!("{name} ({class})") }
        },
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [model, data, split] = [&self.model, &self.data, &self.split].map(|text| text::line(text));
        let (images, objects) = (count(self.images, "image"), count(self.objects, "object"));
        writeln!(f, "{model} on the split \"{split}\" of {data}: {images}, {objects}")?;
        let mut columns = vec![("class", Align::Left)];
        columns
            .extend(["objects", "precision", "recall", "mAP50", "mAP50-95"].map(|name| (name, Align::Right)));
        let mut table = Table::new(&columns);
        let share = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let mut row = |name: &str, objects: usize, figures: [Option<f64>; 4]| {
            table.row([name.to_owned(), objects.to_string()].into_iter().chain(figures.map(share)).collect());
        };
        let Figures { map50_95, map50, precision, recall } = self.mean;
        row("all", self.objects, [precision, recall, map50, map50_95].map(Some));
        for class in &self.per_class {
            row(&class.name, class.objects, [class.precision, class.recall, class.map50, class.map50_95]);
        }
        write!(f, "{table}")?;
        writeln!(
            f,
            "precision and recall at confidence {:.3}, where the mean F1 is best ({:.3})",
            self.confidence, self.f1
        )?;
        writeln!(f, "mean times: {}", self.times)
    }
}
