//! What the nodes between the heads and an output compute, told by running them.

use std::collections::HashMap;

use ylb_format::model::{Layout, MapPart, OutputKind};

use super::arrange::in_pixels;
use super::families::{self, Family, Place, decode, sigmoid};
use super::{Finder, Hints, Map, not_a_detector};
use crate::error::ConvertError;
use ylb_source::ir::{Tensor, TensorId, element_count};

/// Largest difference between a decode and its formula, relative to 1 and to the value: decodes
/// are written in 32-bit constants.
const TOLERANCE: f64 = 1e-4;

/// Largest distance of a box's center from the formula, in cells, where the export quantized the
/// grid: an 8-bit grid of 160 cells, as of a picture of 1280 pixels, is off by up to 0.32.
pub const COARSE_GRID: f64 = 0.4;

/// Numbers of a row of decoded boxes before its scores: centre and size.
pub(super) const SIDES: usize = 4;

/// Compares a graph's outputs with the families' formulas.
pub(super) struct Checker<'f, 'g> {
    pub(super) finder: &'f Finder<'g>,
    /// The decode reads quantized constants.
    coarse_grid: bool,
    pub family: &'static dyn Family,
    /// Whether an output has said which family it is.
    pub family_known: bool,
    pub maps: Vec<Map>,
    /// Whether an output has said in which order.
    pub order_known: bool,
    pub classes: usize,
}

/// An output's values for random heads.
pub(super) struct Random {
    pub heads: HashMap<TensorId, Tensor>,
    pub found: Tensor,
}

impl<'f, 'g> Checker<'f, 'g> {
    pub fn new(
        finder: &'f Finder<'g>,
        maps: Vec<Map>,
        coarse_grid: bool,
        family: &'static dyn Family,
    ) -> Self {
        Self { finder, coarse_grid, family, family_known: false, maps, order_known: false, classes: 0 }
    }

    /// Numbers of a box in the head.
    pub fn fields(&self) -> usize {
        families::detect(self.family, self.classes).fields() as usize
    }

    /// Classes from the outputs' shapes; for raw heads from what the caller knows, else assuming
    /// three anchors a cell.
    pub fn find_classes(&mut self, hints: Hints) -> Result<(), ConvertError> {
        let others = families::detect(self.family, 0).fields() as usize;
        self.classes = self.classes(hints, others)?;
        Ok(())
    }

    fn classes(&self, hints: Hints, others: usize) -> Result<usize, ConvertError> {
        if let Some(fields) = self.fields_by_shape(others)? {
            return Ok(fields - others);
        }
        if let Some(classes) = hints.classes {
            return Ok(classes);
        }
        if let Some(anchors) = hints.anchors_per_cell {
            let channels: Vec<usize> = self.maps.iter().map(|map| map.channels).collect();
            let fits = |&channels: &usize| channels % anchors == 0 && channels / anchors > others;
            if anchors > 0 && channels.iter().all(fits) {
                return Ok(channels[0] / anchors - others);
            }
        }
        let channels = self.maps.first().map_or(0, |map| map.channels);
        if !channels.is_multiple_of(3) || channels < 3 * others {
            return Err(not_a_detector(format!(
                "raw heads of {channels} channels: give the class names to tell anchors from classes"
            )));
        }
        Ok(channels / 3 - others)
    }

    pub(super) fn run_zeros(&self, output: TensorId) -> Result<Tensor, ConvertError> {
        let mut heads = HashMap::new();
        for map in &self.maps {
            let shape = map.shape();
            heads.insert(map.tensor, Tensor::f64(&shape, vec![0.0; element_count(&shape)?])?);
        }
        self.finder.run(output, heads)
    }

    /// Brings the maps into the order of the decoded boxes: with heads of zeros the first box of a map is centred in its
    /// first cell, half a stride from the corner.
    pub fn find_order(&mut self) -> Result<(), ConvertError> {
        for &output in &self.finder.graph.outputs {
            let zeros = self.run_zeros(output)?;
            let Some(boxes) = self.boxes(&zeros) else { continue };
            let (mut ordered, mut rest, mut row) = (Vec::new(), self.maps.clone(), 0);
            while !rest.is_empty() {
                let stride = 2.0 * boxes.get(row * SIDES);
                let distance = |map: &Map| (map.stride as f64 / stride.max(1e-9)).ln().abs();
                let nearest = rest.iter().map(distance).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
                let map = rest.remove(nearest.map_or(0, |(index, _)| index));
                row += map.rows();
                ordered.push(map);
            }
            (self.maps, self.order_known) = (ordered, true);
            return Ok(());
        }
        Ok(())
    }

    /// What an output holds; fills in the anchors and the family where it tells them.
    pub fn output(
        &mut self,
        output: TensorId,
        behind: &[TensorId],
        hints: Hints,
    ) -> Result<OutputKind, ConvertError> {
        let zeros = self.run_zeros(output)?;
        let single = match behind {
            [id] => self.maps.iter().position(|map| map.tensor == *id),
            _ => None,
        };
        let random = self.random(output)?;
        let (kind, expected) = match (zeros.shape().len(), single) {
            (4, Some(map)) => {
                let expected = random.heads[&self.maps[map].tensor].to_f64();
                (OutputKind::Head(MapPart::whole(map as u32)), expected)
            }
            (5, Some(map)) => {
                let expected = self.rows_of(&self.maps[map], &random.heads).into_iter().flatten().collect();
                (OutputKind::HeadByAnchor(MapPart::whole(map as u32)), expected)
            }
            (3, _) if self.is_decoded(&zeros, behind) => {
                self.read_anchors(output, &zeros)?;
                self.decoded(output, &random, hints, self.columns())?;
                return Ok(OutputKind::Decoded);
            }
            _ => return self.arranged(output, &zeros, &random, hints),
        };
        let shape = match kind {
            OutputKind::HeadByAnchor(_) => single.map(|map| self.maps[map].by_anchor(self.fields()).to_vec()),
            _ => single.map(|map| self.maps[map].shape().to_vec()),
        };
        if shape.is_some_and(|shape| shape == zeros.shape())
            && self.first_difference(&random.found, &expected, None).is_none()
        {
            self.order_known = true;
            return Ok(kind);
        }
        self.arranged(output, &zeros, &random, hints)
    }

    /// Whether an output is all boxes with all their columns, row by row.
    fn is_decoded(&self, zeros: &Tensor, behind: &[TensorId]) -> bool {
        let rows: usize = self.maps.iter().map(Map::rows).sum();
        zeros.shape() == [1, rows, self.columns()]
            && behind.len() == self.maps.len()
            && self.boxes(zeros).is_some_and(|boxes| in_pixels(zeros, &boxes, Layout::Rows))
    }

    /// With heads of zeros every box is as large as its anchor.
    pub(super) fn read_anchors(&mut self, output: TensorId, zeros: &Tensor) -> Result<(), ConvertError> {
        let Some(boxes) = self.boxes(zeros) else { return Ok(()) };
        let mut row = 0;
        for map in &mut self.maps {
            let cells = map.size[0] * map.size[1];
            let anchors: Vec<[f32; 2]> = (0..map.anchors_per_cell)
                .map(|anchor| {
                    let start = (row + anchor * cells) * SIDES;
                    [boxes.get(start + 2) as f32, boxes.get(start + 3) as f32]
                })
                .collect();
            if anchors.iter().flatten().any(|extent| !(*extent > 0.0 && extent.is_finite())) {
                let error = not_a_detector(format!(
                    "boxes of no size where heads are 0: anchors of {anchors:?} pixels"
                ));
                return Err(self.finder.blame(output, error));
            }
            row += map.rows();
            map.anchors = anchors;
        }
        Ok(())
    }

    pub(super) fn columns(&self) -> usize {
        families::detect(self.family, self.classes).columns() as usize
    }

    pub(super) fn random(&self, output: TensorId) -> Result<Random, ConvertError> {
        let mut state = 1u64;
        let mut random = || {
            // A linear congruential generator (Knuth's MMIX constants): uniform in -4 .. 4.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / f64::from(1 << 24) * 8.0 - 4.0
        };
        let mut heads = HashMap::new();
        for map in &self.maps {
            let shape = map.shape();
            let values = (0..element_count(&shape)?).map(|_| random()).collect();
            heads.insert(map.tensor, Tensor::f64(&shape, values)?);
        }
        let found = self.finder.run(output, heads.clone())?;
        Ok(Random { heads, found })
    }

    /// Finds the family whose formula gives an output for random heads.
    /// Rows have so many of the columns of decoded boxes.
    pub(super) fn decoded(
        &mut self,
        output: TensorId,
        random: &Random,
        hints: Hints,
        columns: usize,
    ) -> Result<(), ConvertError> {
        let families = families::ALL;
        let mut first = None;
        for family in families {
            let Some(scales) = self.scales(family, random, columns) else { continue };
            let mut expected = Vec::with_capacity(random.found.len());
            for (map, &scale_xy) in self.maps.iter().zip(&scales) {
                for (row, logits) in self.rows_of(map, &random.heads).iter().enumerate() {
                    let numbers = decode(family, &map.place(row, scale_xy), logits);
                    expected.extend_from_slice(&numbers[..columns]);
                }
            }
            let difference = self.first_difference(&random.found, &expected, Some(columns));
            let Some(index) = difference else {
                if let Some(given) = hints.family.filter(|given| given.boxes() != family.boxes()) {
                    let (found, given) = (family.name(), given.name());
                    let error = format!("its boxes are those of {found}, not of {given} as was said");
                    return Err(self.finder.blame(output, not_a_detector(error)));
                }
                (self.family, self.family_known) = (family, true);
                self.maps.iter_mut().zip(scales).for_each(|(map, scale_xy)| map.scale_xy = scale_xy);
                return Ok(());
            };
            first.get_or_insert(index);
        }
        Err(self.differs(output, first.unwrap_or(0), &random.found))
    }

    /// The factor of each map's centres: `(x / stride − cell − ½) / (σ − ½)`, from the box whose σ says it best.
    fn scales(&self, family: &dyn Family, random: &Random, columns: usize) -> Option<Vec<f32>> {
        let mut start = 0;
        let mut scale = |map: &Map| {
            let rows = self.rows_of(map, &random.heads);
            let best = rows.iter().enumerate().max_by(|a, b| a.1[0].abs().total_cmp(&b.1[0].abs()));
            let (row, logits) = best?;
            let x = random.found.get((start + row) * columns);
            let [_, cell] = map.place(row, 1.0).cell;
            start += map.rows();
            family.scale_xy((x / map.stride as f64 - cell as f64 - 0.5) / (sigmoid(logits[0]) - 0.5))
        };
        self.maps.iter().map(&mut scale).collect()
    }

    /// The logits of a map's boxes, by anchor, row and column of cells.
    pub(super) fn rows_of(&self, map: &Map, heads: &HashMap<TensorId, Tensor>) -> Vec<Vec<f64>> {
        let (head, fields) = (&heads[&map.tensor], self.fields());
        let cells = map.size[0] * map.size[1];
        let row = |row: usize| {
            let (anchor, cell) = (row / cells, row % cells);
            (0..fields).map(|field| head.get((anchor * fields + field) * cells + cell)).collect()
        };
        (0..map.rows()).map(row).collect()
    }

    /// The first element that is not what it should be. Decoded boxes have so many `columns`.
    pub(super) fn first_difference(
        &self,
        found: &Tensor,
        expected: &[f64],
        columns: Option<usize>,
    ) -> Option<usize> {
        let largest_stride = self.maps.iter().map(|map| map.stride).max().unwrap_or(0) as f64;
        let centre = |index: usize| columns.is_some_and(|columns| index % columns < SIDES / 2);
        (found.len() != expected.len()).then_some(0).or_else(|| {
            (0..expected.len()).find(|&index| {
                let difference = (found.get(index) - expected[index]).abs();
                let grid = if self.coarse_grid && centre(index) { COARSE_GRID * largest_stride } else { 0.0 };
                difference.is_nan() || difference > grid + TOLERANCE * expected[index].abs().max(1.0)
            })
        })
    }

    pub(super) fn differs(&self, output: TensorId, index: usize, found: &Tensor) -> ConvertError {
        let families: Vec<String> =
            families::ALL.iter().map(|family| format!("{} ({})", family.name(), family.formula())).collect();
        let error = not_a_detector(format!(
            "element {index} of output \"{}\" (shape {:?}) is not what a known head gives there: expected heads, raw \
             or by anchor, or boxes and scores σ as of {}",
            self.finder.graph.tensor(output).name,
            found.shape(),
            families.join(", ")
        ));
        self.finder.blame(output, error)
    }
}

impl Map {
    /// Where the box of a row is: rows go by anchor, row and column of cells.
    fn place(&self, row: usize, scale_xy: f32) -> Place {
        let [height, width] = self.size;
        let (anchor, cell) = (row / (height * width), row % (height * width));
        Place {
            stride: self.stride as f64,
            scale_xy: f64::from(scale_xy),
            anchor: self.anchors.get(anchor).map_or([0.0; 2], |size| size.map(f64::from)),
            cell: [cell / width, cell % width],
        }
    }
}
