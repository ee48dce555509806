//! The source model's outputs, restored in floating point from the heads' exact integers.
//!
//! Nothing of this runs when objects are detected; it is what a comparison with the source model
//! looks at. Everything is computed in f64 and rounded once, to the f32 of the tensor.
//!
//! Every kind of output is an arrangement of numbers that belong to boxes.

use super::map::{DecodeError, Head, Map, need_anchors};
use super::part::BoxNumbers;
use super::rules::anchors::real_sigmoid;
use super::rules::{Rule, Site};
use ylb_format::model::{
    Arranged, Detect, Extents, Layout, MapPart, Numbers, OutputKind, Scope, ScoreRule, Value,
};

/// Restores the outputs of one network.
#[derive(Clone, Debug)]
pub struct RawOutputs {
    detect: Detect,
    maps: Vec<Map>,
    /// Width and height of the network's input.
    input: [f64; 2],
}

impl RawOutputs {
    /// Prepares a model's detection head, whose anchors need not be known; `values` are the model's.
    ///
    /// # Errors
    /// If there is no head, or its description contradicts itself.
    pub fn new(detect: &Detect, values: &[Value]) -> Result<Self, DecodeError> {
        let maps = Map::all(detect, values)?;
        let extent = |extent: usize, map: usize| (extent as u64 * u64::from(detect.maps[map].stride)) as f64;
        let input = maps.first().map_or([1.0; 2], |map| [extent(map.width, 0), extent(map.height, 0)]);
        // Multipliers and biases are the maps' already.
        let maps_alone = Detect { maps: Vec::new(), ..detect.clone() };
        Ok(Self { detect: maps_alone, maps, input })
    }

    /// Shape of an output.
    ///
    /// # Panics
    /// If the output is of a part that does not exist, or of all maps in a layout of one.
    pub fn shape(&self, kind: OutputKind) -> Vec<usize> {
        let Arranged { layout, of, count, .. } = self.arranged(kind);
        layout.shape(self.extents(of), count as usize).expect("a layout that fits its maps")
    }

    /// Fills `tensor` with the output of that kind. `heads` are those of all parts of all feature maps.
    ///
    /// # Errors
    /// If boxes are asked for and the anchors are unknown.
    ///
    /// # Panics
    /// If `heads` are not of the shapes and kinds of the model's, or `tensor` has not as many elements
    /// as [`RawOutputs::shape`] says.
    pub fn fill(&self, kind: OutputKind, heads: &[Head<'_>], tensor: &mut [f32]) -> Result<(), DecodeError> {
        let Arranged { numbers, layout, of, first, count } = self.arranged(kind);
        if numbers.are_boxes() {
            need_anchors(&self.maps)?;
        }
        let parts: usize = self.maps.iter().map(|map| map.parts.len()).sum();
        assert_eq!(heads.len(), parts, "one head for each part of a feature map");
        let extents = self.extents(of);
        let (first, count) = (first as usize, count as usize);
        assert_eq!(tensor.len(), extents.rows * count, "elements of the tensor");
        let first = first + self.first_field(of);
        let maps = self.maps_of(of);
        let first_row = maps.first().map_or(0, |map| map.first_row);
        for map in maps {
            map.boxes_of(map.heads(heads), |site, logits| {
                let row = map.row(site) - first_row;
                let found = self.numbers(numbers, map, site, logits);
                for (column, &number) in found[first..first + count].iter().enumerate() {
                    tensor[layout.position(extents, count, row, column)] = number as f32;
                }
            });
        }
        Ok(())
    }

    /// Boxes in input pixels with scores, of all feature maps, as `[1, Σ na·ny·nx, columns]`.
    ///
    /// # Errors
    /// If the anchors are unknown.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub fn decoded(&self, heads: &[Head<'_>], tensor: &mut [f32]) -> Result<(), DecodeError> {
        self.fill(OutputKind::Decoded, heads, tensor)
    }

    /// An output as an arrangement.
    fn arranged(&self, kind: OutputKind) -> Arranged {
        let of_part = |layout, of: MapPart| {
            let fields = self.maps[of.map as usize].parts[of.part as usize].fields.len();
            Arranged { numbers: Numbers::Logits, layout, of: Scope::Part(of), first: 0, count: fields as u32 }
        };
        match kind {
            OutputKind::Head(of) => of_part(Layout::Planes, of),
            OutputKind::HeadByAnchor(of) => of_part(Layout::ByAnchor, of),
            OutputKind::Decoded => Arranged {
                numbers: Numbers::Boxes,
                layout: Layout::Rows,
                of: Scope::Maps,
                first: 0,
                count: self.detect.columns() as u32,
            },
            OutputKind::Arranged(arranged) => arranged,
        }
    }

    /// The maps that an output is of.
    fn maps_of(&self, of: Scope) -> &[Map] {
        match of {
            Scope::Maps => &self.maps,
            Scope::Map(map) | Scope::Part(MapPart { map, .. }) => {
                std::slice::from_ref(&self.maps[map as usize])
            }
        }
    }

    /// The field that an output's columns count from.
    fn first_field(&self, of: Scope) -> usize {
        match of {
            Scope::Maps | Scope::Map(_) => 0,
            Scope::Part(MapPart { map, part }) => self.maps[map as usize].parts[part as usize].fields.start,
        }
    }

    fn extents(&self, of: Scope) -> Extents {
        let maps = self.maps_of(of);
        let one = (of != Scope::Maps).then(|| &maps[0]);
        Extents {
            rows: maps.iter().map(Map::rows).sum(),
            map: one.map(|map| [map.anchors_per_cell, map.height, map.width]),
        }
    }

    /// The numbers of a box: its fields, or its columns.
    fn numbers(&self, numbers: Numbers, map: &Map, site: Site, logits: &[f64]) -> Vec<f64> {
        let box_fields = self.detect.boxes.fields() as usize;
        match numbers {
            Numbers::Logits => logits.to_vec(),
            Numbers::Logistic => logits.iter().copied().map(real_sigmoid).collect(),
            Numbers::RawBoxes => {
                let mut row = logits[..box_fields].to_vec();
                self.scores(logits, &mut row);
                row
            }
            _ => {
                let rule = map.boxes.as_ref().expect("anchors are known");
                let [x, y, width, height] = rule.real(site, |field| logits[field]);
                let mut row = match numbers.are_corners() {
                    true => {
                        vec![x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
                    }
                    false => vec![x, y, width, height],
                };
                let unit = match numbers {
                    Numbers::CellBoxes => [map.stride; 2],
                    _ if numbers.are_parts() => self.input,
                    _ => [1.0; 2],
                };
                row.iter_mut().enumerate().for_each(|(index, side)| *side /= unit[index % 2]);
                let scored = numbers.are_scored();
                if self.detect.scores == ScoreRule::ConstantObjectness && !scored {
                    row.push(1.0);
                }
                let sides = row.len();
                self.scores(logits, &mut row);
                if scored && self.detect.objectness().is_some() {
                    let objectness = row.remove(sides);
                    row[sides..].iter_mut().for_each(|score| *score *= objectness);
                }
                row
            }
        }
    }

    /// Appends the objectness, where there is one, and the classes.
    fn scores(&self, logits: &[f64], row: &mut Vec<f64>) {
        let (objectness, classes) = logits.split_at(self.detect.first_class() as usize);
        row.extend(self.detect.objectness().map(|field| real_sigmoid(objectness[field as usize])));
        if self.detect.scores != ScoreRule::ObjectnessTimesSoftmax {
            row.extend(classes.iter().copied().map(real_sigmoid));
            return;
        }
        let largest = classes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = classes.iter().map(|logit| (logit - largest).exp()).sum();
        row.extend(classes.iter().map(|logit| (logit - largest).exp() / sum));
    }
}

impl Map {
    /// Calls `visit` with every box of a map and its logits.
    fn boxes_of(&self, heads: &[Head<'_>], mut visit: impl FnMut(Site, &[f64])) {
        let fields = self.parts.last().map_or(0, |part| part.fields.end);
        let mut logits = vec![0.0; fields];
        for y in 0..self.height {
            for (x, anchor) in (0..self.width).flat_map(|x| (0..self.anchors_per_cell).map(move |a| (x, a))) {
                let site = Site { anchor, y, x };
                let numbers = BoxNumbers { map: self, heads, site };
                logits.iter_mut().enumerate().for_each(|(field, logit)| *logit = numbers.real(field));
                visit(site, &logits);
            }
        }
    }
}
