//! Outputs of source models that have the numbers of boxes in other arrangements.

use super::MapPart;

/// The numbers of boxes, arranged as an output of the source model has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arranged {
    /// Which numbers.
    pub numbers: Numbers,
    /// Where they lie.
    pub layout: Layout,
    /// Of which boxes and parts.
    pub of: Scope,
    /// The first of the columns that the output has: of the fields of a part or of a box, or of the columns of decoded
    /// boxes.
    pub first: u32,
    /// How many columns it has.
    pub count: u32,
}

/// What of the head an output is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All maps, in order.
    Maps,
    /// A part of a map.
    Part(MapPart),
    /// A map, with all its parts: its index in [`Detect::maps`](super::Detect::maps).
    Map(u32),
}

/// Which numbers an output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Logits.
    Logits,
    /// The logistic function of each logit.
    Logistic,
    /// Decoded boxes in input pixels, with scores.
    Boxes,
    /// The same with boxes in parts of the input's width and height.
    UnitBoxes,
    /// Decoded boxes in input pixels as left, top, right and bottom edge, with scores.
    Corners,
    /// The same with edges in parts of the input's width and height.
    UnitCorners,
    /// Logits of the box's fields, and behind them the scores of decoded boxes: boxes that are still to be decoded.
    RawBoxes,
    /// As `Boxes`, but for the objectness: what is left out, each class is multiplied by.
    ScoredBoxes,
    /// The same of `UnitBoxes`.
    ScoredUnitBoxes,
    /// The same of `Corners`.
    ScoredCorners,
    /// The same of `UnitCorners`.
    ScoredUnitCorners,
    /// As `Boxes`, with boxes in cells of their map.
    CellBoxes,
}

/// Where the numbers of an output lie. Rows are boxes: by map, anchor, row and column of cells. `n` is the number of
/// columns, `na` that of a cell's anchors, `ny` and `nx` are rows and columns of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[1, rows, n]`.
    Rows,
    /// `[1, n, rows]`.
    Columns,
    /// `[1, na·n, ny, nx]`, of one map, as are those that follow up to `AnchorsLast`.
    Planes,
    /// `[1, na·n, ny·nx]`.
    FlatPlanes,
    /// `[1, na, n, ny, nx]`.
    PlanesByAnchor,
    /// `[1, na, ny, nx, n]`.
    ByAnchor,
    /// `[1, ny, nx, na·n]`.
    ChannelsLast,
    /// `[1, ny, nx, na, n]`.
    AnchorsLast,
    /// `[1, rows, 1, n]`, of all maps or of one: boxes that all classes share.
    SharedRows,
}

/// The extents that an arrangement is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Boxes altogether.
    pub rows: usize,
    /// Of one map: anchors of a cell, rows and columns of cells.
    pub map: Option<[usize; 3]>,
}

impl Numbers {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Logits,
        Self::Logistic,
        Self::Boxes,
        Self::UnitBoxes,
        Self::Corners,
        Self::UnitCorners,
        Self::RawBoxes,
        Self::ScoredBoxes,
        Self::ScoredUnitBoxes,
        Self::ScoredCorners,
        Self::ScoredUnitCorners,
        Self::CellBoxes,
    ];

    /// Whether they are decoded boxes.
    pub const fn are_boxes(self) -> bool {
        matches!(self, Self::Boxes | Self::UnitBoxes | Self::CellBoxes)
            || self.are_corners()
            || self.are_scored()
    }

    /// Whether they are decoded boxes by their edges.
    pub const fn are_corners(self) -> bool {
        matches!(self, Self::Corners | Self::UnitCorners | Self::ScoredCorners | Self::ScoredUnitCorners)
    }

    /// Whether they are decoded boxes in parts of the input's width and height.
    pub const fn are_parts(self) -> bool {
        matches!(self, Self::UnitBoxes | Self::UnitCorners | Self::ScoredUnitBoxes | Self::ScoredUnitCorners)
    }

    /// Whether they are decoded boxes whose classes are multiplied by the objectness.
    pub const fn are_scored(self) -> bool {
        matches!(
            self,
            Self::ScoredBoxes | Self::ScoredUnitBoxes | Self::ScoredCorners | Self::ScoredUnitCorners
        )
    }
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rows,
        Self::Columns,
        Self::Planes,
        Self::FlatPlanes,
        Self::PlanesByAnchor,
        Self::ByAnchor,
        Self::ChannelsLast,
        Self::AnchorsLast,
        Self::SharedRows,
    ];

    /// Whether it is one of a single map.
    pub const fn of_one_map(self) -> bool {
        !matches!(self, Self::Rows | Self::Columns | Self::SharedRows)
    }

    /// The shape of an output of so many columns; `None` if the layout is one of a single map and there is none.
    pub fn shape(self, Extents { rows, map }: Extents, columns: usize) -> Option<Vec<usize>> {
        let [anchors, height, width] = match self {
            Self::Rows => return Some(vec![1, rows, columns]),
            Self::Columns => return Some(vec![1, columns, rows]),
            Self::SharedRows => return Some(vec![1, rows, 1, columns]),
            _ => map?,
        };
        Some(match self {
            Self::Planes => vec![1, anchors * columns, height, width],
            Self::FlatPlanes => vec![1, anchors * columns, height * width],
            Self::PlanesByAnchor => vec![1, anchors, columns, height, width],
            Self::ChannelsLast => vec![1, height, width, anchors * columns],
            Self::AnchorsLast => vec![1, height, width, anchors, columns],
            _ => vec![1, anchors, height, width, columns],
        })
    }

    /// Where the number of a row and a column lies in an output of so many columns.
    pub fn position(
        self,
        Extents { rows, map }: Extents,
        columns: usize,
        row: usize,
        column: usize,
    ) -> usize {
        let (anchors, cells) = map.map_or((1, rows), |[anchors, height, width]| (anchors, height * width));
        let (anchor, cell) = (row / cells.max(1), row % cells.max(1));
        match self {
            Self::Rows | Self::SharedRows | Self::ByAnchor => row * columns + column,
            Self::Columns => column * rows + row,
            Self::Planes | Self::FlatPlanes | Self::PlanesByAnchor => {
                (anchor * columns + column) * cells + cell
            }
            Self::ChannelsLast | Self::AnchorsLast => (cell * anchors + anchor) * columns + column,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every layout has a place for each number, and no two share one.
    #[test]
    fn positions_are_a_permutation() {
        let extents = Extents { rows: 2 * 3 * 4, map: Some([2, 3, 4]) };
        for layout in Layout::ALL {
            let shape = layout.shape(extents, 5).unwrap();
            assert_eq!(shape.iter().product::<usize>(), 120, "{layout:?}");
            let mut seen = [false; 120];
            for (row, column) in (0..24).flat_map(|row| (0..5).map(move |column| (row, column))) {
                let place = &mut seen[layout.position(extents, 5, row, column)];
                assert!(!std::mem::replace(place, true), "{layout:?}");
            }
            assert_eq!(layout.shape(Extents { map: None, ..extents }, 5).is_none(), layout.of_one_map());
        }
        // The third box of the second anchor, its column 4: channel 9 of cell 2.
        assert_eq!(Layout::Planes.position(extents, 5, 14, 4), 9 * 12 + 2);
        assert_eq!(Layout::ChannelsLast.position(extents, 5, 14, 4), 2 * 10 + 9);
    }
}
