//! Outputs whose numbers are those of heads or of boxes in another arrangement than YOLOv5's own export has: boxes in
//! columns, logistic functions of heads, boxes and scores apart, parts of the picture in place of pixels.
//!
//! Which arrangement it is, is told by values: of all that have the output's shape, one must give every number of it for
//! random heads.

use ylb_format::limits::MAX_ANCHORS;
use ylb_format::model::{Arranged, Extents, Layout, MapPart, Numbers, OutputKind};
use ylb_source::ir::{Tensor, TensorId};

use super::check::{Checker, Random, SIDES};
use super::families::sigmoid;
use super::{Hints, Map};
use crate::error::ConvertError;

impl Checker<'_, '_> {
    /// Numbers of a box in the heads, as far as the shape of an output tells.
    pub(super) fn fields_by_shape(&self, others: usize) -> Result<Option<usize>, ConvertError> {
        let mut shapes = Vec::new();
        for &output in &self.finder.graph.outputs {
            shapes.push((self.run_zeros(output)?.shape().to_vec(), self.finder.frontier(output)?));
        }
        let whole = shapes.iter().find_map(|(shape, behind)| self.whole_rows(shape, behind, others));
        Ok(whole
            .or_else(|| shapes.iter().find_map(|(shape, behind)| self.some_columns(shape, behind, others))))
    }

    fn maps_behind<'s>(&'s self, behind: &'s [TensorId]) -> impl Iterator<Item = &'s Map> {
        self.maps.iter().filter(|map| behind.contains(&map.tensor))
    }

    /// Of outputs that have all numbers of each box.
    fn whole_rows(&self, shape: &[usize], behind: &[TensorId], others: usize) -> Option<usize> {
        // A head whose cells are flat does not say how many anchors they have.
        let flat = |map: &Map| shape == [1, map.channels, map.cells()];
        let candidates: Vec<(usize, usize)> = match *shape {
            [1, _, _] if behind.len() == 1 && self.maps_behind(behind).any(flat) => Vec::new(),
            [1, first, second] => vec![(first, second), (second, first)],
            [1, anchors, a, b, c] => {
                let by_anchor = |fields: usize, rows: usize| (anchors * rows, fields);
                vec![by_anchor(c, a * b), by_anchor(a, b * c), (anchors * a * b, c)]
            }
            _ => Vec::new(),
        };
        let fits = |&(rows, fields): &(usize, usize)| {
            let anchors = |map: &Map| map.channels / fields;
            fields >= others
                && self.maps_behind(behind).all(|map| {
                    map.channels % fields == 0 && (1..=MAX_ANCHORS as usize).contains(&anchors(map))
                })
                && self.maps_behind(behind).map(|map| anchors(map) * map.cells()).sum::<usize>() == rows
        };
        let last = |shape: &[usize]| match *shape {
            [1, height, width, anchors, fields] => Some((height * width * anchors, fields)),
            _ => None,
        };
        candidates.into_iter().chain(last(shape)).find(fits).map(|(_, fields)| fields)
    }

    /// Of outputs that have some numbers of each box of all maps: as many rows as boxes say how many a cell has.
    fn some_columns(&self, shape: &[usize], behind: &[TensorId], others: usize) -> Option<usize> {
        let &[1, first, second] = shape else { return None };
        let cells: usize = self.maps_behind(behind).map(Map::cells).sum();
        let flat = |map: &Map| [map.channels, map.cells()] == [first, second];
        if self.maps_behind(behind).count() < self.maps.len() || self.maps.iter().any(flat) {
            return None;
        }
        [first, second].into_iter().find_map(|rows| {
            let anchors = rows / cells.max(1);
            let channels = self.maps.first()?.channels;
            let fits = rows % cells.max(1) == 0
                && (1..=MAX_ANCHORS as usize).contains(&anchors)
                && self.maps.iter().all(|map| map.channels == channels)
                && channels % anchors == 0
                && channels / anchors >= others;
            fits.then(|| channels / anchors)
        })
    }

    /// Centre and size of every box in pixels, row by row, if an output of heads of zeros holds them.
    pub(super) fn boxes(&self, zeros: &Tensor) -> Option<Tensor> {
        let rows: usize = self.maps.iter().map(Map::rows).sum();
        let (layout, columns) = match *zeros.shape() {
            [1, found, columns] if found == rows => (Layout::Rows, columns),
            [1, columns, found] if found == rows => (Layout::Columns, columns),
            _ => return None,
        };
        if columns < SIDES || rows == 0 {
            return None;
        }
        let extents = Extents { rows, map: None };
        let at = |row: usize, column: usize| zeros.get(layout.position(extents, columns, row, column));
        let places = (0..rows).flat_map(|row| (0..SIDES).map(move |column| (row, column)));
        let numbers: Vec<f64> = places.map(|(row, column)| at(row, column)).collect();
        // Heads of zeros have equal logits, and equal logistic functions of them.
        if numbers.iter().all(|number| *number == numbers[0]) {
            return None;
        }
        let scale = self.unit(&numbers);
        let numbers = numbers.iter().enumerate().map(|(index, number)| number * scale[index % 2]).collect();
        Tensor::f64(&[1, rows, SIDES], numbers).ok()
    }

    /// Width and height of the picture if sides are parts of them, else 1.
    fn unit(&self, sides: &[f64]) -> [f64; 2] {
        let centres = sides.chunks_exact(SIDES).flat_map(|sides| &sides[..2]);
        let parts = centres.fold(0.0, |largest, &centre| f64::max(largest, centre)) < 1.0;
        let [height, width] =
            self.maps.first().map_or([1; 2], |map| map.size.map(|cells| cells * map.stride));
        if parts { [width as f64, height as f64] } else { [1.0; 2] }
    }

    /// What an output holds that is not as YOLOv5's own export has it.
    pub(super) fn arranged(
        &mut self,
        output: TensorId,
        zeros: &Tensor,
        random: &Random,
        hints: Hints,
    ) -> Result<OutputKind, ConvertError> {
        let behind = self.finder.frontier(output)?;
        let single = match &behind[..] {
            [id] => self.maps.iter().position(|map| map.tensor == *id),
            _ => None,
        };
        if behind.len() == self.maps.len()
            && let Some(kind) = self.arranged_boxes(output, zeros, random, hints)?
        {
            return Ok(kind);
        }
        if let Some(map) = single {
            let of = MapPart::whole(map as u32);
            if let Some(found) = self.arranged_head(random, &self.maps[map..=map], Some(of)) {
                self.order_known = true;
                return Ok(found);
            }
        }
        if behind.len() == self.maps.len() {
            let orders = if self.order_known { 1 } else { 2 };
            for _ in 0..orders {
                if let Some(found) = self.arranged_head(random, &self.maps, None) {
                    self.order_known = true;
                    return Ok(found);
                }
                if !self.order_known {
                    self.maps.reverse();
                }
            }
        }
        Err(self.differs(output, 0, &random.found))
    }

    /// Boxes, with scores or without.
    fn arranged_boxes(
        &mut self,
        output: TensorId,
        zeros: &Tensor,
        random: &Random,
        hints: Hints,
    ) -> Result<Option<OutputKind>, ConvertError> {
        let Some(boxes) = self.boxes(zeros) else { return Ok(None) };
        let rows = boxes.shape()[1];
        let extents = Extents { rows, map: None };
        let layout = if zeros.shape()[1] == rows { Layout::Rows } else { Layout::Columns };
        let columns = zeros.len() / rows;
        if columns > self.columns() {
            return Ok(None);
        }
        let numbers = if in_pixels(zeros, &boxes, layout) { Numbers::Boxes } else { Numbers::UnitBoxes };
        let [height, width] = self.maps[0].size.map(|cells| (cells * self.maps[0].stride) as f64);
        let scale = |column: usize| match (numbers, column) {
            (Numbers::UnitBoxes, 0 | 2) => width,
            (Numbers::UnitBoxes, 1 | 3) => height,
            _ => 1.0,
        };
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let number =
            |(row, column)| random.found.get(layout.position(extents, columns, row, column)) * scale(column);
        let found = Tensor::f64(&[1, rows, columns], places.map(number).collect())?;
        self.read_anchors(output, zeros)?;
        self.decoded(output, &Random { heads: random.heads.clone(), found }, hints, columns)?;
        let count = columns as u32;
        Ok(Some(OutputKind::Arranged(Arranged { numbers, layout, part: None, first: 0, count })))
    }

    /// Logits of some maps, or logistic functions of them.
    fn arranged_head(&self, random: &Random, maps: &[Map], part: Option<MapPart>) -> Option<OutputKind> {
        let rows: Vec<Vec<f64>> = maps.iter().flat_map(|map| self.rows_of(map, &random.heads)).collect();
        let map = part.and(maps.first()).map(|map| [map.anchors_per_cell, map.size[0], map.size[1]]);
        let extents = Extents { rows: rows.len(), map };
        let (columns, rest) =
            (random.found.len() / rows.len().max(1), random.found.len() % rows.len().max(1));
        let fields = self.fields();
        if columns == 0 || columns > fields || rest != 0 {
            return None;
        }
        let layouts = Layout::ALL.into_iter().filter(|layout| {
            layout.shape(extents, columns).is_some_and(|shape| shape == random.found.shape())
        });
        let firsts = || (0..=fields - columns).filter(|&first| [0, SIDES, SIDES + 1].contains(&first));
        for layout in layouts {
            for (numbers, first) in
                [Numbers::Logits, Numbers::Logistic].into_iter().flat_map(|n| firsts().map(move |f| (n, f)))
            {
                let mut expected = vec![0.0; random.found.len()];
                for (row, logits) in rows.iter().enumerate() {
                    for column in 0..columns {
                        let logit = logits[first + column];
                        expected[layout.position(extents, columns, row, column)] =
                            if numbers == Numbers::Logits { logit } else { sigmoid(logit) };
                    }
                }
                if self.first_difference(&random.found, &expected, None).is_none() {
                    let (first, count) = (first as u32, columns as u32);
                    return Some(OutputKind::Arranged(Arranged { numbers, layout, part, first, count }));
                }
            }
        }
        None
    }
}

/// Whether an output has its boxes in pixels, as they are.
pub(super) fn in_pixels(zeros: &Tensor, boxes: &Tensor, layout: Layout) -> bool {
    let rows = boxes.shape()[1];
    let extents = Extents { rows, map: None };
    let last = layout.position(extents, zeros.len() / rows.max(1), rows.saturating_sub(1), 0);
    zeros.get(last) == boxes.get(rows.saturating_sub(1) * SIDES)
}

impl Map {
    fn cells(&self) -> usize {
        self.size[0] * self.size[1]
    }
}
