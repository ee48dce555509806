//! The detection head: its convolutions, found from the graph's outputs, and what is done with them.
//!
//! A decode is recognised by what it computes, not by how it is written: exporters spell it with
//! `Split` or `Slice`, in place with `ScatterND`, with grids as constants or built from shapes. Walking
//! back from an output to the nearest convolutions gives the heads ([`find`]), of which a feature map has one or several
//! ([`parts`]). The nodes between are then run ([`check`]): heads of zeros reveal the anchors, and random heads must give
//! what one of the [`families`] computes, for every row. What selects boxes behind them is cut off ([`selection`]).

use std::collections::BTreeSet;
use std::ops::Range;

use ylb_format::limits::MAX_ANCHORS;
use ylb_format::model::{BoxRule, Detect, Output};

use crate::error::{ConvertError, ErrorKind};
use ylb_source::ir::{Graph, TensorId};

mod arrange;
mod blame;
mod boxes;
mod check;
pub mod families;
mod find;
mod parts;
pub mod selection;
mod whole;

pub(crate) use check::COARSE_GRID;
use check::{Checker, SIDES};
use families::Family;
use find::Finder;

pub use blame::check_kinds;
pub use find::is_head;

/// The detection head as the graph has it.
#[derive(Clone, Debug)]
pub struct Heads {
    /// What is computed of the maps.
    pub family: &'static dyn Family,
    /// Whether the graph says so: raw heads do not.
    pub family_known: bool,
    /// The family's rule for boxes, with the bins that the head has.
    pub boxes: BoxRule,
    /// Feature maps, in the order in which the graph joins their boxes; of raw heads those of small strides first.
    pub maps: Vec<Map>,
    /// Number of classes.
    pub classes: usize,
    /// The graph's outputs in their order.
    pub outputs: Vec<Output>,
}

/// One feature map.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// What the map comes from; together they have all fields of a box, in their order.
    pub parts: Vec<Part>,
    /// Rows and columns of cells.
    pub size: [usize; 2],
    /// Input pixels a cell.
    pub stride: usize,
    /// Anchors a cell.
    pub anchors_per_cell: usize,
    /// Width and height of the anchors in pixels; empty if the graph does not say.
    pub anchors: Vec<[f32; 2]>,
    /// Factor of a box's centre inside its cell.
    pub scale_xy: f32,
}

/// Some of a map's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// `[1, na·fields, ny, nx]`: what the last convolution, or the quantizer or the numbers by channel behind it, gives.
    pub tensor: TensorId,
    /// Channels of the tensor.
    pub channels: usize,
    /// Which fields.
    pub fields: Range<usize>,
}

/// What the caller knows about a network that may not say it itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// Number of classes, if names were given.
    pub classes: Option<usize>,
    /// Anchors of a cell, if anchors were given.
    pub anchors_per_cell: Option<usize>,
    /// The family, if it was given.
    pub family: Option<&'static dyn Family>,
}

/// Finds the heads: afterwards the graph's outputs are the heads.
///
/// # Errors
/// If an output is no head of a known family, with or without its decode.
pub fn run(graph: &mut Graph, hints: Hints) -> Result<Heads, ConvertError> {
    let finder = Finder::new(graph);
    let behind =
        graph.outputs.iter().map(|&output| finder.frontier(output)).collect::<Result<Vec<_>, _>>()?;
    if behind.is_empty() {
        return Err(not_a_detector("the graph has no outputs"));
    }
    let maps = finder.maps(behind.iter().flatten().copied().collect::<BTreeSet<TensorId>>())?;
    let coarse_grid = crate::passes::decode::has_quantized_constants(graph);
    let mut checker = Checker::new(&finder, maps, coarse_grid);
    if checker.maps.iter().all(|map| map.parts.len() == 1) {
        whole_heads(&mut checker, hints)?;
    } else {
        checker.find_parts(hints)?;
    }
    checker.find_order()?;
    let mut outputs = Vec::with_capacity(behind.len());
    for (&output, behind) in graph.outputs.iter().zip(&behind) {
        let kind = checker.output(output, behind, hints)?;
        outputs.push(Output { name: graph.tensor(output).name.clone(), kind });
    }
    let Checker { family, family_known, boxes, mut maps, classes, .. } = checker;
    if !family_known {
        maps.iter_mut().for_each(|map| map.scale_xy = boxes.usual_scale_xy());
    }
    graph.outputs = maps.iter().flat_map(|map| &map.parts).map(|part| part.tensor).collect();
    Ok(Heads { family, family_known, boxes, maps, classes, outputs })
}

/// Heads of one convolution a map, which has all fields of several anchors.
fn whole_heads(checker: &mut Checker<'_, '_>, hints: Hints) -> Result<(), ConvertError> {
    if let Some(family) = hints.family.filter(|family| !family.boxes().has_anchors()) {
        return Err(not_a_detector(format!(
            "one head for each feature map, of which {} has several (--head)",
            family.name()
        )));
    }
    let family = hints.family.unwrap_or(families::DEFAULT);
    checker.take(families::with_objectness(family, true));
    checker.find_classes(hints)?;
    if checker.classes == 0 {
        // The objectness is that of the only class.
        checker.take(families::with_objectness(family, false));
        checker.classes = 1;
    }
    let fields = checker.fields();
    for map in &mut checker.maps {
        let channels = map.channels();
        if channels % fields != 0 || channels / fields > MAX_ANCHORS as usize {
            let classes = checker.classes;
            let boxes = channels.saturating_sub(classes);
            let both = match boxes > SIDES && boxes.is_multiple_of(SIDES) {
                true => {
                    " (of classes and distributions of distances in one, as of NanoDet and PicoDet, which is not taken, \
                     make a convolution of each)"
                }
                false => "",
            };
            let message = format!(
                "a head of {channels} channels; expected anchors times {fields}, for {classes} classes{both}: if it is no \
                 head, leave its output out (--outputs, with the names of the others)"
            );
            return Err(checker.finder.blame(map.parts[0].tensor, not_a_detector(message)));
        }
        map.anchors_per_cell = channels / fields;
        map.parts[0].fields = 0..fields;
    }
    Ok(())
}

impl Heads {
    /// The head without maps.
    pub fn detect(&self) -> Detect {
        Detect { boxes: self.boxes, ..families::detect(self.family, self.classes) }
    }

    /// Whether boxes can be decoded: their anchors are known, if they have some.
    pub fn are_decodable(&self) -> bool {
        !self.boxes.has_anchors() || self.maps.iter().all(|map| !map.anchors.is_empty())
    }
}

impl Map {
    /// `[1, anchors, rows, columns, fields]`.
    fn by_anchor(&self, fields: usize) -> [usize; 5] {
        [1, self.anchors_per_cell, self.size[0], self.size[1], fields]
    }

    /// Channels of all parts.
    fn channels(&self) -> usize {
        self.parts.iter().map(|part| part.channels).sum()
    }

    /// Cells of the map.
    fn cells(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Boxes of the map.
    fn rows(&self) -> usize {
        self.anchors_per_cell * self.cells()
    }

    /// Index of the part that a tensor is.
    fn part_of(&self, tensor: TensorId) -> Option<usize> {
        self.parts.iter().position(|part| part.tensor == tensor)
    }
}

impl Part {
    /// `[1, channels, rows, columns]` of a part of a map.
    fn shape(&self, map: &Map) -> [usize; 4] {
        [1, self.channels, map.size[0], map.size[1]]
    }
}

fn not_a_detector(reason: impl Into<String>) -> ConvertError {
    ConvertError::new(ErrorKind::NotADetector, reason)
}
