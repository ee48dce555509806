//! The detection head: its convolutions, found from the graph's outputs, and what is done with them.
//!
//! A decode is recognised by what it computes, not by how it is written: exporters spell it with
//! `Split` or `Slice`, in place with `ScatterND`, with grids as constants or built from shapes. Walking
//! back from an output to the nearest convolutions gives the heads ([`find`]). The nodes between are then run
//! ([`check`]): heads of zeros reveal the anchors, and random heads must give what one of the [`families`] computes, for
//! every row.

use std::collections::BTreeSet;

use ylb_format::limits::MAX_ANCHORS;
use ylb_format::model::Output;

use crate::error::{ConvertError, ErrorKind};
use ylb_source::ir::{Graph, TensorId};

mod arrange;
mod blame;
mod check;
pub mod families;
mod find;

pub(crate) use check::COARSE_GRID;
use check::Checker;
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
    /// `[1, na·fields, ny, nx]`: what the last convolution, or the quantizer behind it, gives.
    pub tensor: TensorId,
    /// Channels of the tensor.
    pub channels: usize,
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
    let tensors: BTreeSet<TensorId> = behind.iter().flatten().copied().collect();
    let mut maps = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        maps.push(finder.map(tensor)?);
    }
    maps.sort_by_key(|map| (map.stride, map.tensor));
    let coarse_grid = crate::passes::decode::has_quantized_constants(graph);
    let mut checker = Checker::new(&finder, maps, coarse_grid, hints.family.unwrap_or(families::DEFAULT));
    checker.find_classes(hints)?;
    if checker.classes == 0 {
        return Err(not_a_detector(
            "the boxes have an objectness and no class; expected at least one: train with one class",
        ));
    }
    let fields = checker.fields();
    for map in &mut checker.maps {
        if map.channels % fields != 0 || map.channels / fields > MAX_ANCHORS as usize {
            let (channels, classes) = (map.channels, checker.classes);
            let message = format!(
                "a head of {channels} channels; expected anchors times {fields}, for {classes} classes: if it is no \
                 head, leave its output out (--outputs, with the names of the others)"
            );
            return Err(finder.blame(map.tensor, not_a_detector(message)));
        }
        map.anchors_per_cell = map.channels / fields;
    }
    checker.find_order()?;
    let mut outputs = Vec::with_capacity(behind.len());
    for (&output, behind) in graph.outputs.iter().zip(&behind) {
        let kind = checker.output(output, behind, hints)?;
        outputs.push(Output { name: graph.tensor(output).name.clone(), kind });
    }
    let Checker { family, family_known, mut maps, classes, .. } = checker;
    if !family_known {
        maps.iter_mut().for_each(|map| map.scale_xy = family.boxes().usual_scale_xy());
    }
    graph.outputs = maps.iter().map(|map| map.tensor).collect();
    Ok(Heads { family, family_known, maps, classes, outputs })
}

impl Map {
    /// `[1, anchors, rows, columns, fields]`.
    fn by_anchor(&self, fields: usize) -> [usize; 5] {
        [1, self.anchors_per_cell, self.size[0], self.size[1], fields]
    }

    /// `[1, channels, rows, columns]`.
    fn shape(&self) -> [usize; 4] {
        [1, self.channels, self.size[0], self.size[1]]
    }

    /// Boxes of the map.
    fn rows(&self) -> usize {
        self.anchors_per_cell * self.size[0] * self.size[1]
    }
}

fn not_a_detector(reason: impl Into<String>) -> ConvertError {
    ConvertError::new(ErrorKind::NotADetector, reason)
}
