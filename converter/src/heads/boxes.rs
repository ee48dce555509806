//! Outputs that are boxes of all maps, decoded, with scores or without.

use ylb_format::model::{Arranged, BoxRule, Extents, Layout, Numbers, OutputKind, Scope, ScoreRule};
use ylb_source::ir::{Tensor, TensorId};

use super::check::{Checker, Random, SIDES};
use super::families::{self, Family, decode, sigmoid};
use super::{Hints, Map, not_a_detector};
use crate::error::ConvertError;

/// The ways of writing the sides of boxes, and behind them an objectness and classes, or their products.
const SPELLINGS: [Numbers; 9] = [
    Numbers::Boxes,
    Numbers::UnitBoxes,
    Numbers::Corners,
    Numbers::UnitCorners,
    Numbers::ScoredBoxes,
    Numbers::ScoredUnitBoxes,
    Numbers::ScoredCorners,
    Numbers::ScoredUnitCorners,
    Numbers::CellBoxes,
];

/// Where the rows of an output lie, and how many columns they have.
#[derive(Clone, Copy)]
struct Rows {
    layout: Layout,
    count: usize,
    columns: usize,
}

/// How a family explains an output.
struct Explained {
    family: &'static dyn Family,
    scales: Vec<f32>,
}

impl Checker<'_, '_> {
    /// The layout and the columns of an output of that shape, if its rows are the boxes of all maps.
    pub(super) fn layout_of_rows(&self, shape: &[usize]) -> Option<(Layout, usize)> {
        let rows: usize = self.maps.iter().map(Map::rows).sum();
        match *shape {
            [1, found, columns] if found == rows => Some((Layout::Rows, columns)),
            [1, columns, found] if found == rows => Some((Layout::Columns, columns)),
            [1, found, 1, columns] if found == rows => Some((Layout::SharedRows, columns)),
            _ => None,
        }
    }

    /// Whether the first four columns differ between rows for heads of zeros, as places of boxes do. Logits are equal
    /// there, and logistic functions of them.
    pub(super) fn has_places(&self, zeros: &Tensor, layout: Layout, columns: usize) -> bool {
        let count = zeros.len() / columns.max(1);
        let extents = Extents { rows: count, map: None };
        let at = |row: usize, column: usize| zeros.get(layout.position(extents, columns, row, column));
        (0..SIDES.min(columns)).any(|column| (1..count).any(|row| at(row, column) != at(0, column)))
            || (1..SIDES.min(columns)).any(|column| at(0, column) != at(0, 0))
    }

    /// What an output of boxes holds; fills in the family and the anchors. `None` if it is none.
    ///
    /// # Errors
    /// If they are boxes of no family that is known, or of another than was said.
    pub(super) fn decoded(
        &mut self,
        output: TensorId,
        zeros: &Tensor,
        random: &Random,
        hints: Hints,
    ) -> Result<Option<OutputKind>, ConvertError> {
        let Some((layout, columns)) = self.layout_of_rows(zeros.shape()) else { return Ok(None) };
        if columns < SIDES || !self.has_places(zeros, layout, columns) {
            return Ok(None);
        }
        let rows = Rows { layout, columns, count: zeros.len() / columns };
        let most = self.families().map(|family| self.columns_of(family)).max().unwrap_or(0);
        if columns > most {
            return Ok(None);
        }
        let (mut first, mut sizeless) = (None, None);
        // Of fewer columns no scores are products.
        for numbers in SPELLINGS.into_iter().filter(|numbers| !numbers.are_scored() || columns > SIDES) {
            let [zeros, found] = [zeros, &random.found].map(|tensor| self.in_pixels(tensor, rows, numbers));
            if self.boxes.has_anchors() {
                match self.anchors(&zeros, columns) {
                    Ok(anchors) => self.maps.iter_mut().zip(anchors).for_each(|(map, own)| map.anchors = own),
                    Err(error) => {
                        sizeless.get_or_insert(error);
                        continue;
                    }
                }
            }
            let explained = match self.explain(&found, random, columns, numbers.are_scored()) {
                Ok(explained) => explained,
                Err(index) => {
                    first.get_or_insert(index);
                    continue;
                }
            };
            self.accept(output, explained, hints)?;
            let all = columns == self.columns_of(self.family);
            if all && numbers == Numbers::Boxes && layout == Layout::Rows {
                return Ok(Some(OutputKind::Decoded));
            }
            let count = columns as u32;
            let arranged = Arranged { numbers, layout, of: Scope::Maps, first: 0, count };
            return Ok(Some(OutputKind::Arranged(arranged)));
        }
        match (first, sizeless) {
            (None, Some(error)) => Err(self.finder.blame(output, error)),
            (first, _) => {
                // Where the export has the number.
                let (row, column) = (first.unwrap_or(0) / columns, first.unwrap_or(0) % columns);
                let place = layout.position(Extents { rows: rows.count, map: None }, columns, row, column);
                Err(self.differs(output, place, &random.found))
            }
        }
    }

    /// Rows of centre, size and scores in pixels, from rows that spell sides otherwise.
    fn in_pixels(&self, tensor: &Tensor, rows: Rows, numbers: Numbers) -> Vec<f64> {
        let Rows { layout, count, columns } = rows;
        let extents = Extents { rows: count, map: None };
        let [height, width] = self.maps[0].size.map(|cells| (cells * self.maps[0].stride) as f64);
        let strides = self.maps.iter().flat_map(|map| std::iter::repeat_n(map.stride as f64, map.rows()));
        let mut found = Vec::with_capacity(count * columns);
        for (row, stride) in (0..count).zip(strides) {
            let unit = match numbers {
                Numbers::CellBoxes => [stride; 2],
                _ if numbers.are_parts() => [width, height],
                _ => [1.0; 2],
            };
            let at = |column: usize| tensor.get(layout.position(extents, columns, row, column));
            let [a, b, c, d] = [0, 1, 2, 3].map(|side| at(side) * unit[side % 2]);
            found.extend(match numbers.are_corners() {
                true => [(a + c) / 2.0, (b + d) / 2.0, c - a, d - b],
                false => [a, b, c, d],
            });
            found.extend((SIDES..columns).map(at));
        }
        found
    }

    /// The anchors of each map: with heads of zeros every box is as large as its anchor.
    fn anchors(&self, zeros: &[f64], columns: usize) -> Result<Vec<Vec<[f32; 2]>>, ConvertError> {
        let mut row = 0;
        let mut all = Vec::with_capacity(self.maps.len());
        for map in &self.maps {
            let anchor = |anchor: usize| {
                let start = (row + anchor * map.cells()) * columns;
                [zeros[start + 2] as f32, zeros[start + 3] as f32]
            };
            let anchors: Vec<[f32; 2]> = (0..map.anchors_per_cell).map(anchor).collect();
            if anchors.iter().flatten().any(|extent| !(*extent > 0.0 && extent.is_finite())) {
                return Err(not_a_detector(format!(
                    "boxes of no size where heads are 0: anchors of {anchors:?} pixels"
                )));
            }
            row += map.rows();
            all.push(anchors);
        }
        Ok(all)
    }

    /// The family whose formula gives the boxes for random heads, or where the first that could is wrong.
    fn explain(
        &self,
        found: &[f64],
        random: &Random,
        columns: usize,
        scored: bool,
    ) -> Result<Explained, usize> {
        let mut first = None;
        let most = |family: &dyn Family| if scored { SIDES + self.classes } else { self.columns_of(family) };
        for family in self.families().filter(|&family| columns <= most(family)) {
            let Some(scales) = self.scales(family, found, random, columns) else { continue };
            match self.first_wrong(family, &scales, found, (random, scored), columns) {
                None => return Ok(Explained { family, scales }),
                Some(index) => first.get_or_insert(index),
            };
        }
        Err(first.unwrap_or(0))
    }

    /// The first number that is not what a family's formula gives.
    fn first_wrong(
        &self,
        family: &dyn Family,
        scales: &[f32],
        found: &[f64],
        (random, scored): (&Random, bool),
        columns: usize,
    ) -> Option<usize> {
        let detect = self.detect_of(family);
        let mut start = 0;
        for (map, &scale_xy) in self.maps.iter().zip(scales) {
            for (row, logits) in self.rows_of(map, &random.heads).iter().enumerate() {
                let expected = decode(family, &detect, &map.place(row, scale_xy), logits);
                let expected = if scored { families::scored(&detect, expected) } else { expected };
                let own = &found[start..start + columns];
                if let Some(column) = (0..columns).find(|&column| {
                    let grid = if column < SIDES / 2 { self.coarse() } else { 0.0 };
                    self.differ(own[column], expected[column], grid)
                }) {
                    return Some(start + column);
                }
                start += columns;
            }
        }
        None
    }

    /// Takes the family that explains an output.
    fn accept(&mut self, output: TensorId, explained: Explained, hints: Hints) -> Result<(), ConvertError> {
        let Explained { family, scales } = explained;
        // Whoever says which boxes they are need not say that there is no class.
        let is = |given| given == family || families::with_objectness(given, false) == family;
        if let Some(given) = hints.family.filter(|&given| !is(given)) {
            let (found, given) = (family.name(), given.name());
            let error = format!("its boxes are those of {found}, not of {given} as was said");
            return Err(self.finder.blame(output, not_a_detector(error)));
        }
        (self.family, self.family_known) = (family, true);
        if !matches!(self.boxes, BoxRule::Distributions { .. }) {
            self.boxes = family.boxes();
        }
        self.maps.iter_mut().zip(scales).for_each(|(map, scale_xy)| map.scale_xy = scale_xy);
        Ok(())
    }

    /// The factor of each map's centres: `(x / stride − cell − ½) / (σ − ½)`, from the box whose σ says it best.
    fn scales(
        &self,
        family: &dyn Family,
        found: &[f64],
        random: &Random,
        columns: usize,
    ) -> Option<Vec<f32>> {
        let mut start = 0;
        let mut scale = |map: &Map| {
            let rows = self.rows_of(map, &random.heads);
            let best = rows.iter().enumerate().max_by(|a, b| a.1[0].abs().total_cmp(&b.1[0].abs()));
            let (row, logits) = best?;
            let x = found[(start + row) * columns];
            let [_, cell] = map.place(row, 1.0).cell;
            start += map.rows();
            family.scale_xy((x / map.stride as f64 - cell as f64 - 0.5) / (sigmoid(logits[0]) - 0.5))
        };
        self.maps.iter().map(&mut scale).collect()
    }

    /// Columns of decoded boxes of a family.
    pub(super) fn columns_of(&self, family: &dyn Family) -> usize {
        self.detect_of(family).columns() as usize
    }

    /// The families that heads of these parts may be of: the one that an output has told, if one has.
    pub(super) fn families(&self) -> impl Iterator<Item = &'static dyn Family> {
        let (known, own, boxes) = (self.family_known, self.family, self.boxes);
        families::ALL.into_iter().filter(move |family| {
            let whole = boxes.has_anchors() && family.boxes().has_anchors();
            let alike = (family.scores() == ScoreRule::Class) == (own.scores() == ScoreRule::Class);
            match known {
                true => *family == own,
                false if whole => alike,
                false => families::same_rule(family.boxes(), boxes),
            }
        })
    }
}
