//! What the nodes between the heads and an output compute, told by running them.

use std::collections::HashMap;

use ylb_format::model::{BoxRule, Detect, Layout, MapPart, OutputKind};

use super::families::{self, Family, Place};
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
    /// The rule for boxes, with the bins that the head has.
    pub boxes: BoxRule,
    pub maps: Vec<Map>,
    pub classes: usize,
}

/// An output's values for random heads.
pub(super) struct Random {
    pub heads: HashMap<TensorId, Tensor>,
    pub found: Tensor,
}

impl<'f, 'g> Checker<'f, 'g> {
    pub fn new(finder: &'f Finder<'g>, maps: Vec<Map>, coarse_grid: bool) -> Self {
        let family = families::DEFAULT;
        Self { finder, coarse_grid, family, family_known: false, boxes: family.boxes(), maps, classes: 0 }
    }

    /// Takes a family until an output tells another.
    pub fn take(&mut self, family: &'static dyn Family) {
        (self.family, self.boxes) = (family, family.boxes());
    }

    /// The head of a family, with the classes and the bins that the heads have, without maps.
    pub fn detect_of(&self, family: &dyn Family) -> Detect {
        let detect = families::detect(family, self.classes);
        match self.boxes {
            BoxRule::Distributions { .. } => Detect { boxes: self.boxes, ..detect },
            _ => detect,
        }
    }

    /// Numbers of a box in the head.
    pub fn fields(&self) -> usize {
        self.detect_of(self.family).fields() as usize
    }

    /// Heads of zeros.
    pub(super) fn zeros(&self) -> Result<HashMap<TensorId, Tensor>, ConvertError> {
        self.heads_of(|| 0.0)
    }

    /// Heads of numbers that look random.
    pub(super) fn random_heads(&self) -> Result<HashMap<TensorId, Tensor>, ConvertError> {
        let mut state = 1u64;
        self.heads_of(|| {
            // A linear congruential generator (Knuth's MMIX constants): uniform in -4 .. 4.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / f64::from(1 << 24) * 8.0 - 4.0
        })
    }

    fn heads_of(&self, mut number: impl FnMut() -> f64) -> Result<HashMap<TensorId, Tensor>, ConvertError> {
        let mut heads = HashMap::new();
        for (map, part) in self.maps.iter().flat_map(|map| map.parts.iter().map(move |part| (map, part))) {
            let shape = part.shape(map);
            let values = (0..element_count(&shape)?).map(|_| number()).collect();
            heads.insert(part.tensor, Tensor::f64(&shape, values)?);
        }
        Ok(heads)
    }

    pub(super) fn run_zeros(&self, output: TensorId) -> Result<Tensor, ConvertError> {
        self.finder.run(output, self.zeros()?)
    }

    fn random(&self, output: TensorId) -> Result<Random, ConvertError> {
        let heads = self.random_heads()?;
        let found = self.finder.run(output, heads.clone())?;
        Ok(Random { heads, found })
    }

    /// Brings the maps into the order in which an output of all of them has their boxes.
    pub fn find_order(&mut self) -> Result<(), ConvertError> {
        for &output in &self.finder.graph.outputs {
            let behind = self.finder.frontier(output)?;
            let zeros = self.run_zeros(output)?;
            let Some((layout, columns)) = self.layout_of_rows(zeros.shape()) else { continue };
            let rows = zeros.len() / columns.max(1);
            let mut firsts = Vec::with_capacity(self.maps.len());
            for map in &self.maps {
                let own: Vec<TensorId> = map.parts.iter().map(|part| part.tensor).collect();
                let own: Vec<TensorId> = own.into_iter().filter(|tensor| behind.contains(tensor)).collect();
                let moved = self.moved_by(output, &zeros, &own)?;
                let row = |place: usize| match layout {
                    Layout::Columns => place % rows,
                    _ => place / columns,
                };
                firsts.push(moved.into_iter().map(row).min());
            }
            if firsts.iter().all(Option::is_some) {
                let mut ordered: Vec<_> = firsts.into_iter().zip(std::mem::take(&mut self.maps)).collect();
                ordered.sort_by_key(|(first, _)| *first);
                self.maps = ordered.into_iter().map(|(_, map)| map).collect();
                return Ok(());
            }
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
        let random = self.random(output)?;
        if let &[tensor] = behind
            && let Some(kind) = self.plain_head(tensor, &random)
        {
            return Ok(kind);
        }
        if let Some(error) = self.scores_before_distributions(output, &random) {
            return Err(error);
        }
        let reached = |map: &Map| behind.iter().any(|&tensor| map.part_of(tensor).is_some());
        if self.maps.iter().all(reached)
            && let Some(kind) = self.decoded(output, &zeros, &random, hints)?
        {
            return Ok(kind);
        }
        self.arranged(behind, &random).ok_or_else(|| self.differs(output, 0, &random.found))
    }

    /// A head as it is, or by anchor.
    fn plain_head(&self, tensor: TensorId, random: &Random) -> Option<OutputKind> {
        let (map, part) = self.place_of(tensor)?;
        let (own, of) = (&self.maps[map], MapPart { map: map as u32, part: part as u32 });
        let fields = own.parts[part].fields.clone();
        let (kind, expected) = if random.found.shape() == own.parts[part].shape(own) {
            (OutputKind::Head(of), random.heads[&tensor].to_f64())
        } else if random.found.shape() == own.by_anchor(fields.len()) {
            let rows = self.rows_of(own, &random.heads);
            (
                OutputKind::HeadByAnchor(of),
                rows.into_iter().flat_map(|row| row[fields.clone()].to_vec()).collect(),
            )
        } else {
            return None;
        };
        self.equal(&random.found, &expected).then_some(kind)
    }

    /// Map and part of a head.
    pub(super) fn place_of(&self, tensor: TensorId) -> Option<(usize, usize)> {
        let mut parts = self.maps.iter().map(|map| map.part_of(tensor)).enumerate();
        parts.find_map(|(map, part)| Some((map, part?)))
    }

    /// The logits of a map's boxes, by anchor, row and column of cells.
    pub(super) fn rows_of(&self, map: &Map, heads: &HashMap<TensorId, Tensor>) -> Vec<Vec<f64>> {
        let row = |row: usize| {
            let (anchor, cell) = (row / map.cells(), row % map.cells());
            let numbers = |part: &super::Part| {
                let (head, fields) = (&heads[&part.tensor], part.fields.len());
                let first = anchor * fields;
                (0..fields).map(|field| head.get((first + field) * map.cells() + cell)).collect::<Vec<_>>()
            };
            map.parts.iter().flat_map(numbers).collect()
        };
        (0..map.rows()).map(row).collect()
    }

    /// How far centres of boxes may be from the formula's.
    pub(super) fn coarse(&self) -> f64 {
        let largest = self.maps.iter().map(|map| map.stride).max().unwrap_or(0) as f64;
        if self.coarse_grid { COARSE_GRID * largest } else { 0.0 }
    }

    /// Whether a number is not what it should be. NaN never is.
    pub(super) fn differ(&self, found: f64, expected: f64, beside: f64) -> bool {
        let difference = (found - expected).abs();
        difference.is_nan() || difference > beside + TOLERANCE * expected.abs().max(1.0)
    }

    /// Whether an output has these numbers.
    pub(super) fn equal(&self, found: &Tensor, expected: &[f64]) -> bool {
        let mut numbers = expected.iter().enumerate();
        found.len() == expected.len()
            && numbers.all(|(index, &expected)| !self.differ(found.get(index), expected, 0.0))
    }

    pub(super) fn differs(&self, output: TensorId, index: usize, found: &Tensor) -> ConvertError {
        let families: Vec<String> =
            self.families().map(|family| format!("{} ({})", family.name(), family.formula())).collect();
        let error = not_a_detector(format!(
            "element {index} of output \"{}\" (shape {:?}) is not what a known head gives there: expected heads, raw \
             or by anchor, or boxes and scores as of {}",
            self.finder.graph.tensor(output).name,
            found.shape(),
            families.join(", ")
        ));
        self.finder.blame(output, error)
    }
}

impl Map {
    /// Where the box of a row is: rows go by anchor, row and column of cells.
    pub(super) fn place(&self, row: usize, scale_xy: f32) -> Place {
        let [_, width] = self.size;
        let (anchor, cell) = (row / self.cells(), row % self.cells());
        Place {
            stride: self.stride as f64,
            scale_xy: f64::from(scale_xy),
            anchor: self.anchors.get(anchor).map_or([0.0; 2], |size| size.map(f64::from)),
            cell: [cell / width, cell % width],
        }
    }
}
