//! How many classes heads of one convolution a map have, as far as the shapes of outputs or the caller tell.

use ylb_format::limits::MAX_ANCHORS;
use ylb_source::ir::TensorId;

use super::check::Checker;
use super::{Hints, Map, families, not_a_detector};
use crate::error::ConvertError;

impl Checker<'_, '_> {
    /// Classes from the outputs' shapes; for raw heads from what the caller knows, else assuming
    /// three anchors a cell.
    pub fn find_classes(&mut self, hints: Hints) -> Result<(), ConvertError> {
        let others = families::detect(self.family, 0).fields() as usize;
        self.classes = self.classes_of_whole_heads(hints, others)?;
        Ok(())
    }

    fn classes_of_whole_heads(&self, hints: Hints, others: usize) -> Result<usize, ConvertError> {
        if let Some(fields) = self.fields_by_shape(others)? {
            return Ok(fields - others);
        }
        if let Some(classes) = hints.classes {
            return Ok(classes);
        }
        if let Some(anchors) = hints.anchors_per_cell {
            let channels: Vec<usize> = self.maps.iter().map(Map::channels).collect();
            let fits = |&channels: &usize| channels % anchors == 0 && channels / anchors > others;
            if anchors > 0 && channels.iter().all(fits) {
                return Ok(channels[0] / anchors - others);
            }
        }
        let channels = self.maps.first().map_or(0, Map::channels);
        if !channels.is_multiple_of(3) || channels < 3 * others {
            return Err(not_a_detector(format!(
                "raw heads of {channels} channels: give the class names to tell anchors from classes"
            )));
        }
        Ok(channels / 3 - others)
    }

    /// Numbers of a box in the heads, as far as the shape of an output tells.
    fn fields_by_shape(&self, others: usize) -> Result<Option<usize>, ConvertError> {
        let mut shapes = Vec::new();
        for &output in &self.finder.graph.outputs {
            shapes.push((self.run_zeros(output)?.shape().to_vec(), self.finder.frontier(output)?));
        }
        let whole = shapes.iter().find_map(|(shape, behind)| self.whole_rows(shape, behind, others));
        Ok(whole
            .or_else(|| shapes.iter().find_map(|(shape, behind)| self.some_columns(shape, behind, others))))
    }

    fn maps_behind<'s>(&'s self, behind: &'s [TensorId]) -> impl Iterator<Item = &'s Map> {
        self.maps.iter().filter(|map| behind.iter().any(|&tensor| map.part_of(tensor).is_some()))
    }

    /// Of outputs that have all numbers of each box.
    fn whole_rows(&self, shape: &[usize], behind: &[TensorId], others: usize) -> Option<usize> {
        // A head whose cells are flat does not say how many anchors they have.
        let flat = |map: &Map| shape == [1, map.channels(), map.cells()];
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
            let anchors = |map: &Map| map.channels() / fields;
            fields >= others
                && self.maps_behind(behind).all(|map| {
                    map.channels() % fields == 0 && (1..=MAX_ANCHORS as usize).contains(&anchors(map))
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
        let flat = |map: &Map| [map.channels(), map.cells()] == [first, second];
        if self.maps_behind(behind).count() < self.maps.len() || self.maps.iter().any(flat) {
            return None;
        }
        [first, second].into_iter().find_map(|rows| {
            let anchors = rows / cells.max(1);
            let channels = self.maps.first()?.channels();
            let fits = rows % cells.max(1) == 0
                && (1..=MAX_ANCHORS as usize).contains(&anchors)
                && self.maps.iter().all(|map| map.channels() == channels)
                && channels % anchors == 0
                && channels / anchors >= others;
            fits.then(|| channels / anchors)
        })
    }
}
