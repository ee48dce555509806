//! Source models' outputs whose numbers are those of boxes in another arrangement.

use ylb_format::model::{Arranged, Extents, MapPart, Numbers};

use super::map::{DecodeError, Head, Map};
use super::outputs::RawOutputs;
use super::rules::anchors::real_sigmoid;

impl RawOutputs {
    /// The maps that an output is of, with their indices.
    fn maps_of(&self, part: Option<MapPart>) -> &[Map] {
        match part {
            Some(of) => std::slice::from_ref(&self.maps[of.map as usize]),
            None => &self.maps,
        }
    }

    fn extents(&self, part: Option<MapPart>) -> Extents {
        let map = part.map(|of| &self.maps[of.map as usize]);
        Extents {
            rows: self.maps_of(part).iter().map(Map::rows).sum(),
            map: map.map(|map| [map.anchors_per_cell, map.height, map.width]),
        }
    }

    /// Shape of an arranged output.
    ///
    /// # Panics
    /// If it is of a part that does not exist, or of all maps in a layout of one.
    pub(super) fn arranged_shape(&self, Arranged { layout, part, count, .. }: Arranged) -> Vec<usize> {
        layout.shape(self.extents(part), count as usize).expect("a layout that fits its maps")
    }

    /// Fills `tensor` with an arranged output.
    ///
    /// # Errors
    /// If boxes are asked for and the anchors are unknown.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub(super) fn arranged(
        &self,
        arranged: Arranged,
        heads: &[Head<'_>],
        tensor: &mut [f32],
    ) -> Result<(), DecodeError> {
        let Arranged { numbers, layout, part, first, count } = arranged;
        let extents = self.extents(part);
        let (first, count) = (first as usize, count as usize);
        assert_eq!(tensor.len(), extents.rows * count, "elements of the tensor");
        let columns = if numbers.are_boxes() { self.columns() } else { self.fields };
        let mut rows = vec![0.0; extents.rows * columns];
        if numbers.are_boxes() {
            self.decoded(heads, &mut rows)?;
        } else {
            let start = part.map_or(0, |of| of.map as usize);
            let mut rest = &mut rows[..];
            for (index, map) in self.maps_of(part).iter().enumerate() {
                let own;
                (own, rest) = rest.split_at_mut(map.rows() * columns);
                self.head_by_anchor(start + index, &heads[start + index], own);
            }
        }
        let [width, height] = self.input;
        for (row, numbers_of) in rows.chunks_exact(columns).enumerate() {
            for (column, &number) in numbers_of[first..first + count].iter().enumerate() {
                let number = f64::from(number);
                let number = match (numbers, first + column) {
                    (Numbers::Logistic, _) => real_sigmoid(number),
                    (Numbers::UnitBoxes, 0 | 2) => number / width,
                    (Numbers::UnitBoxes, 1 | 3) => number / height,
                    _ => number,
                };
                tensor[layout.position(extents, count, row, column)] = number as f32;
            }
        }
        Ok(())
    }
}
