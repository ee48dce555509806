//! The source model's outputs from what a model computes.

use std::ops::Range;

use ylb_format::model::{Arranged, Extents, HeadMap, Layout, MapPart, Numbers, Output, OutputKind, Scope};

use super::{Execution, FloatTensor, extents};
use crate::heads::families::{self, Place};

/// Numbers of a box's sides.
const SIDES: usize = 4;

impl Execution<'_> {
    /// The source model's outputs. Anchors that are unknown have no size.
    pub fn outputs(&self) -> Vec<FloatTensor> {
        let output = |output: &Output| {
            let (shape, data) = self.arranged(self.arrangement(output.kind));
            let data = data.into_iter().map(|x| x as f32).collect();
            FloatTensor { name: output.name.clone(), shape, data }
        };
        self.model.outputs.iter().map(output).collect()
    }

    /// An output as an arrangement.
    fn arrangement(&self, kind: OutputKind) -> Arranged {
        let part = |layout, of: MapPart| {
            let fields = self.fields_of(Scope::Part(of));
            Arranged {
                numbers: Numbers::Logits,
                layout,
                of: Scope::Part(of),
                first: 0,
                count: fields.len() as u32,
            }
        };
        match kind {
            OutputKind::Head(of) => part(Layout::Planes, of),
            OutputKind::HeadByAnchor(of) => part(Layout::ByAnchor, of),
            OutputKind::Decoded => Arranged {
                numbers: Numbers::Boxes,
                layout: Layout::Rows,
                of: Scope::Maps,
                first: 0,
                count: self.model.detect.columns() as u32,
            },
            OutputKind::Arranged(arranged) => arranged,
        }
    }

    /// The fields of a box that an output is of.
    fn fields_of(&self, of: Scope) -> Range<usize> {
        match of {
            Scope::Maps | Scope::Map(_) => 0..self.model.detect.fields() as usize,
            Scope::Part(of) => {
                let part = &self.model.detect.maps[of.map as usize].parts[of.part as usize];
                part.fields.start as usize..part.fields.end as usize
            }
        }
    }

    /// Shape and numbers of an output.
    fn arranged(&self, arranged: Arranged) -> (Vec<usize>, Vec<f64>) {
        let Arranged { numbers, layout, of, first, count } = arranged;
        let maps: Vec<usize> = match of {
            Scope::Maps => (0..self.model.detect.maps.len()).collect(),
            Scope::Map(map) | Scope::Part(MapPart { map, .. }) => vec![map as usize],
        };
        let one = |&map: &usize| {
            let [height, width] = self.cells_of(map);
            [self.model.detect.maps[map].anchors_per_cell as usize, height, width]
        };
        let map = maps.first().filter(|_| of != Scope::Maps).map(one);
        let rows: Vec<Vec<f64>> = maps.into_iter().flat_map(|map| self.numbers(numbers, map)).collect();
        let first = first as usize + if numbers.are_boxes() { 0 } else { self.fields_of(of).start };
        let (extents, count) = (Extents { rows: rows.len(), map }, count as usize);
        let mut data = vec![0.0; rows.len() * count];
        for (row, numbers) in rows.iter().enumerate() {
            for column in 0..count {
                data[layout.position(extents, count, row, column)] = numbers[first + column];
            }
        }
        (layout.shape(extents, count).expect("a layout that fits its maps"), data)
    }

    /// Rows and columns of a map's cells.
    fn cells_of(&self, map: usize) -> [usize; 2] {
        let [_, height, width] = extents(self.model.value(self.model.detect.maps[map].parts[0].value));
        [height, width]
    }

    /// The numbers of the boxes of a map, by anchor, row and column of cells.
    fn numbers(&self, numbers: Numbers, index: usize) -> Vec<Vec<f64>> {
        let detect = &self.model.detect;
        let (map, [height, width]) = (&detect.maps[index], self.cells_of(index));
        let family = families::of(detect.boxes);
        let input = self.model.picture();
        let input = [f64::from(input.width), f64::from(input.height)];
        let decoded = |row: usize, logits: &[f64]| {
            let cell = row % (height * width);
            let place = Place {
                stride: f64::from(map.stride),
                scale_xy: f64::from(map.scale_xy),
                anchor: anchor(map, row / (height * width)),
                cell: [cell / width, cell % width],
            };
            let mut row = families::decode(family, detect, &place, logits);
            if numbers.are_scored() {
                row = families::scored(detect, row);
            }
            if numbers.are_corners() {
                let [x, y, width, height] = [row[0], row[1], row[2] / 2.0, row[3] / 2.0];
                row[..SIDES].copy_from_slice(&[x - width, y - height, x + width, y + height]);
            }
            if numbers == Numbers::CellBoxes {
                row[..SIDES].iter_mut().for_each(|number| *number /= place.stride);
            } else if numbers.are_parts() {
                row[..SIDES].iter_mut().enumerate().for_each(|(side, number)| *number /= input[side % 2]);
            }
            row
        };
        let of_box = |(row, logits): (usize, Vec<f64>)| match numbers {
            Numbers::Logits => logits,
            Numbers::Logistic => logits.into_iter().map(families::sigmoid).collect(),
            Numbers::RawBoxes => {
                let mut row = logits[..detect.boxes.fields() as usize].to_vec();
                families::scores(detect, &logits, &mut row);
                row
            }
            _ => decoded(row, &logits),
        };
        self.rows(index).into_iter().enumerate().map(of_box).collect()
    }

    /// Logits of the boxes of a map, by anchor, row and column of cells.
    fn rows(&self, index: usize) -> Vec<Vec<f64>> {
        let map = &self.model.detect.maps[index];
        let [height, width] = self.cells_of(index);
        let mut rows = vec![Vec::new(); map.anchors_per_cell as usize * height * width];
        for (part, number) in map.parts.iter().zip(0..) {
            let logits = self.logits(MapPart { map: index as u32, part: number });
            let fields = part.fields.len();
            for (row, numbers) in rows.iter_mut().enumerate() {
                let (anchor, cell) = (row / (height * width), row % (height * width));
                let channel = |field: usize| anchor * fields + field;
                numbers.extend((0..fields).map(|field| logits[channel(field) * height * width + cell]));
            }
        }
        rows
    }
}

/// Width and height of an anchor.
fn anchor(map: &HeadMap, index: usize) -> [f64; 2] {
    map.anchors.get(index).map_or([0.0; 2], |size| size.map(f64::from))
}
