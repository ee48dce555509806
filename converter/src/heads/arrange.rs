//! Outputs whose numbers are those of heads in another arrangement: logistic functions of heads, channels last, all maps
//! in rows, boxes that are still to be decoded beside scores, products of objectness and class.
//!
//! Which arrangement it is, is told by values: of all that have the output's shape, one must give every number of it for
//! random heads.

use std::ops::Range;

use ylb_format::model::{Arranged, Extents, Layout, MapPart, Numbers, OutputKind, Scope};
use ylb_source::ir::TensorId;

use super::Map;
use super::check::{Checker, Random, SIDES};
use super::families::{scored, scores, sigmoid};

/// What an output may be of.
struct Candidate<'m> {
    of: Scope,
    maps: &'m [Map],
    /// Fields that its columns are some of.
    fields: Range<usize>,
}

impl Checker<'_, '_> {
    /// What an output holds that is computed of these heads, if it is logits of some fields, or functions of them.
    pub(super) fn arranged(&self, behind: &[TensorId], random: &Random) -> Option<OutputKind> {
        let candidate = self.candidate(behind)?;
        let maps = candidate.maps;
        let rows: Vec<Vec<f64>> = maps.iter().flat_map(|map| self.rows_of(map, &random.heads)).collect();
        let map = (candidate.of != Scope::Maps).then(|| &maps[0]);
        let map = map.map(|map| [map.anchors_per_cell, map.size[0], map.size[1]]);
        let extents = Extents { rows: rows.len(), map };
        let count = rows.len().max(1);
        let (columns, rest) = (random.found.len() / count, random.found.len() % count);
        if columns == 0 || columns > candidate.fields.len() || rest != 0 {
            return None;
        }
        let layouts = Layout::ALL.into_iter().filter(|layout| {
            layout.shape(extents, columns).is_some_and(|shape| shape == random.found.shape())
        });
        let firsts = self.firsts(&candidate, columns);
        let whole = maps.len() == self.maps.len() && candidate.fields.len() == self.fields();
        for layout in layouts {
            for numbers in [Numbers::Logits, Numbers::Logistic, Numbers::RawBoxes, Numbers::ScoredBoxes] {
                // Products of objectness and class without their boxes, which are decoded in another output.
                let products = [SIDES];
                let scored = numbers.are_scored();
                let firsts = match scored {
                    true if whole && columns <= self.classes && !layout.of_one_map() => &products[..],
                    true => &[],
                    false => &firsts[..],
                };
                let all: Vec<Vec<f64>> = rows.iter().map(|logits| self.numbers(numbers, logits)).collect();
                for &first in firsts {
                    let mut expected = vec![0.0; random.found.len()];
                    for (row, numbers) in all.iter().enumerate() {
                        for column in 0..columns {
                            expected[layout.position(extents, columns, row, column)] =
                                numbers[first + column];
                        }
                    }
                    if self.equal(&random.found, &expected) {
                        let start = if numbers.are_boxes() { 0 } else { candidate.fields.start };
                        let (first, count) = ((first - start) as u32, columns as u32);
                        let of = if scored { Scope::Maps } else { candidate.of };
                        return Some(OutputKind::Arranged(Arranged { numbers, layout, of, first, count }));
                    }
                }
            }
        }
        None
    }

    /// What an output that comes from these heads may be of.
    fn candidate(&self, behind: &[TensorId]) -> Option<Candidate<'_>> {
        let places: Vec<(usize, usize)> = behind.iter().filter_map(|&id| self.place_of(id)).collect();
        let &(map, part) = places.first()?;
        let one = places.iter().all(|&(own, _)| own == map);
        let reached = |index: &usize| places.iter().any(|(own, _)| own == index);
        let fields = 0..self.fields();
        match places[..] {
            [_] => {
                let of = Scope::Part(MapPart { map: map as u32, part: part as u32 });
                let fields = self.maps[map].parts[part].fields.clone();
                Some(Candidate { of, maps: &self.maps[map..=map], fields })
            }
            _ if one => Some(Candidate { of: Scope::Map(map as u32), maps: &self.maps[map..=map], fields }),
            _ if (0..self.maps.len()).all(|index| reached(&index)) => {
                Some(Candidate { of: Scope::Maps, maps: &self.maps, fields })
            }
            _ => None,
        }
    }

    /// Fields that so many columns may begin with.
    fn firsts(&self, candidate: &Candidate<'_>, columns: usize) -> Vec<usize> {
        let detect = self.detect_of(self.family);
        let mut firsts = vec![0, detect.boxes.fields() as usize, detect.first_class() as usize];
        firsts.push(candidate.fields.start);
        firsts.sort_unstable();
        firsts.dedup();
        firsts.retain(|first| candidate.fields.contains(first) && first + columns <= candidate.fields.end);
        firsts
    }

    /// The numbers of a box.
    fn numbers(&self, numbers: Numbers, logits: &[f64]) -> Vec<f64> {
        let detect = self.detect_of(self.family);
        match numbers {
            Numbers::Logistic => logits.iter().copied().map(sigmoid).collect(),
            Numbers::RawBoxes => {
                let mut row = logits[..detect.boxes.fields() as usize].to_vec();
                scores(&detect, logits, &mut row);
                row
            }
            Numbers::ScoredBoxes => {
                let mut row = vec![0.0; SIDES];
                scores(&detect, logits, &mut row);
                scored(&detect, row)
            }
            _ => logits.to_vec(),
        }
    }
}
