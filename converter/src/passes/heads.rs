//! Finds the heads of a YOLOv5 detector behind the graph's outputs, and what is done with them.
//!
//! A decode is recognised by what it computes, not by how it is written: exporters spell it with
//! `Split` or `Slice`, in place with `ScatterND`, with grids as constants or built from shapes. Walking
//! back from an output to the nearest convolutions gives the heads. The nodes between are then run:
//! heads of zeros reveal the anchors, and random heads must give YOLOv5's boxes for every row.

use std::collections::{BTreeSet, HashMap};

use ylb_format::model::{Output, OutputKind};

use crate::error::{ConvertError, ErrorKind};

mod formula;

use formula::{decode, rows_of};
use ylb_source::eval;
use ylb_source::ir::{Graph, Node, Tensor, TensorId, element_count};

/// The detection head as the graph has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heads {
    /// One entry a feature-map level, smallest stride first.
    pub levels: Vec<Head>,
    /// Number of classes.
    pub classes: usize,
    /// The graph's outputs in their order.
    pub outputs: Vec<Output>,
}

/// One feature-map level.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `[1, na·no, ny, nx]`: what the last convolution, or the quantizer behind it, gives.
    pub tensor: TensorId,
    /// Input pixels a cell.
    pub stride: usize,
    /// Anchors a cell.
    pub anchors_per_cell: usize,
    /// Width and height of the anchors in pixels; empty if the graph does not say.
    pub anchors: Vec<[f32; 2]>,
}

/// What the caller knows about a network that may not say it itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// Number of classes, if names were given.
    pub classes: Option<usize>,
}

/// Largest difference between a decode and its formula, relative to 1 and to the value: decodes
/// are written in 32-bit constants.
const TOLERANCE: f64 = 1e-4;

/// Largest distance of a box's center from the formula, in cells, where the export quantized the
/// grid: an 8-bit grid of 160 cells, as of a picture of 1280 pixels, is off by up to 0.32.
const COARSE_GRID: f64 = 0.4;

/// Runs the pass: afterwards the graph's outputs are the heads.
///
/// # Errors
/// If an output is not a YOLOv5 head, with or without its decode.
pub fn run(graph: &mut Graph, hints: Hints) -> Result<Heads, ConvertError> {
    let coarse_grid = super::decode::has_quantized_constants(graph);
    let finder = Finder { graph, producers: graph.producers(), coarse_grid };
    let image = graph.inputs.first().and_then(|&id| graph.tensor(id).shape.clone());
    let Some(&[_, _, height, width]) = image.as_deref() else {
        return Err(not_a_detector("expected a picture as input"));
    };
    if graph.outputs.is_empty() {
        return Err(not_a_detector("the graph has no outputs"));
    }
    let behind =
        graph.outputs.iter().map(|&output| finder.frontier(output)).collect::<Result<Vec<_>, _>>()?;
    let tensors: BTreeSet<TensorId> = behind.iter().flatten().copied().collect();
    let mut levels = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        levels.push(finder.level(tensor, [height, width])?);
    }
    levels.sort_by_key(|level| (level.head.stride, level.head.tensor));
    let mut heads = Heads { classes: finder.classes(&behind, &levels, hints)?, ..Heads::default() };
    for level in &mut levels {
        let rows = 5 + heads.classes;
        if level.channels % rows != 0 || level.channels / rows > 16 {
            return Err(finder.blame(
                level.head.tensor,
                not_a_detector(format!(
                    "a head of {} channels; expected anchors times {rows}, for {} classes",
                    level.channels, heads.classes
                )),
            ));
        }
        level.head.anchors_per_cell = level.channels / rows;
    }
    for (&output, behind) in graph.outputs.iter().zip(&behind) {
        let kind = finder.output(output, behind, &mut levels, heads.classes)?;
        heads.outputs.push(Output { name: graph.tensor(output).name.clone(), kind });
    }
    heads.levels = levels.into_iter().map(|level| level.head).collect();
    graph.outputs = heads.levels.iter().map(|level| level.tensor).collect();
    Ok(heads)
}

/// Whether a node writes what may be a head: a convolution, or the quantizer behind it.
pub(super) fn is_head(graph: &Graph, producers: &[Option<usize>], node: &Node) -> bool {
    let producer = |id: TensorId| producers[id.0].map(|index| &graph.nodes[index]);
    let from_conv = |id: TensorId| producer(id).is_some_and(|node| node.is("Conv"));
    node.is("Conv") || (node.quantizer.is_some() && node.input(0).is_some_and(from_conv))
}

fn not_a_detector(message: impl Into<String>) -> ConvertError {
    ConvertError::new(ErrorKind::NotADetector, message)
}

/// A level while its anchors are not known yet.
struct Level {
    head: Head,
    channels: usize,
    size: [usize; 2],
}

impl Level {
    fn shape(&self) -> [usize; 4] {
        [1, self.channels, self.size[0], self.size[1]]
    }
}

struct Finder<'g> {
    graph: &'g Graph,
    producers: Vec<Option<usize>>,
    /// The decode reads quantized constants.
    coarse_grid: bool,
}

impl Finder<'_> {
    fn producer(&self, id: TensorId) -> Option<&Node> {
        self.producers[id.0].map(|index| &self.graph.nodes[index])
    }

    fn blame(&self, id: TensorId, error: ConvertError) -> ConvertError {
        match self.producer(id) {
            Some(node) => node.blame(error),
            None => error,
        }
    }

    /// The nearest convolutions (with their quantizers) that an output is computed from.
    fn frontier(&self, output: TensorId) -> Result<Vec<TensorId>, ConvertError> {
        let mut seen = BTreeSet::from([output]);
        let mut pending = vec![output];
        let mut heads = Vec::new();
        while let Some(id) = pending.pop() {
            if self.graph.constant(id).is_some() {
                continue;
            }
            match self.producer(id) {
                Some(node) if is_head(self.graph, &self.producers, node) => heads.push(id),
                Some(node) => {
                    pending.extend(node.inputs.iter().flatten().filter(|&&id| seen.insert(id)));
                }
                None => {
                    return Err(not_a_detector(format!(
                        "output \"{}\" does not come from convolutions alone",
                        self.graph.tensor(output).name
                    )));
                }
            }
        }
        if heads.is_empty() {
            let name = &self.graph.tensor(output).name;
            return Err(not_a_detector(format!("output \"{name}\" does not depend on the picture")));
        }
        heads.sort();
        Ok(heads)
    }

    fn level(&self, tensor: TensorId, image: [usize; 2]) -> Result<Level, ConvertError> {
        let Some(&[1, channels, height, width]) = self.graph.tensor(tensor).shape.as_deref() else {
            let error = not_a_detector("expected a head of shape [1, channels, h, w]");
            return Err(self.blame(tensor, error));
        };
        let stride = image[0] / height.max(1);
        if stride == 0 || stride * height != image[0] || stride * width != image[1] {
            let message = format!(
                "a head of {height}x{width} cells for a picture of {}x{} pixels; expected one stride",
                image[0], image[1]
            );
            return Err(self.blame(tensor, not_a_detector(message)));
        }
        let head = Head { tensor, stride, anchors_per_cell: 0, anchors: Vec::new() };
        Ok(Level { head, channels, size: [height, width] })
    }

    /// Classes from the outputs' shapes; for raw heads from what the caller knows, else assuming
    /// three anchors a cell.
    fn classes(
        &self,
        behind: &[Vec<TensorId>],
        levels: &[Level],
        hints: Hints,
    ) -> Result<usize, ConvertError> {
        for (&output, _) in self.graph.outputs.iter().zip(behind) {
            let values = self.run_zeros(output, levels)?;
            if let [1, _, rows] | [1, _, _, _, rows] = *values.shape() {
                return rows
                    .checked_sub(5)
                    .ok_or_else(|| not_a_detector(format!("rows of {rows} numbers; expected at least 5")));
            }
        }
        if let Some(classes) = hints.classes {
            return Ok(classes);
        }
        let channels = levels.first().map_or(0, |level| level.channels);
        if !channels.is_multiple_of(3) || channels < 15 {
            return Err(not_a_detector(format!(
                "raw heads of {channels} channels: give the class names to tell anchors from classes"
            )));
        }
        Ok(channels / 3 - 5)
    }

    fn run_zeros(&self, output: TensorId, levels: &[Level]) -> Result<Tensor, ConvertError> {
        let mut heads = HashMap::new();
        for level in levels {
            let shape = level.shape();
            heads.insert(level.head.tensor, Tensor::f64(&shape, vec![0.0; element_count(&shape)?])?);
        }
        self.run(output, heads)
    }

    /// Value of an output for given values of the heads.
    fn run(&self, output: TensorId, mut values: HashMap<TensorId, Tensor>) -> Result<Tensor, ConvertError> {
        if let Some(value) = values.remove(&output) {
            return Ok(value);
        }
        for node in &self.graph.nodes {
            let known =
                node.outputs.iter().all(|id| values.contains_key(id) || self.graph.constant(*id).is_some());
            let lookup = |id: &Option<TensorId>| match id {
                None => Some(None),
                Some(id) => {
                    let constant = self.graph.constant(*id).map(AsRef::as_ref);
                    values.get(id).or(constant).map(Some)
                }
            };
            let Some(inputs) = node.inputs.iter().map(lookup).collect::<Option<Vec<_>>>() else {
                continue;
            };
            if known || !node.inputs.iter().flatten().any(|id| values.contains_key(id)) {
                continue;
            }
            let Some(outputs) = eval::evaluate(node, &inputs, self.graph.opset)? else {
                continue;
            };
            values.extend(node.outputs.iter().copied().zip(outputs));
        }
        values.remove(&output).ok_or_else(|| {
            let error = not_a_detector("expected heads, or YOLOv5's decode of them");
            self.blame(output, error)
        })
    }

    /// What an output holds; fills in the anchors where it tells them.
    fn output(
        &self,
        output: TensorId,
        behind: &[TensorId],
        levels: &mut [Level],
        classes: usize,
    ) -> Result<OutputKind, ConvertError> {
        let zeros = self.run_zeros(output, levels)?;
        let single = match behind {
            [id] => levels.iter().position(|level| level.head.tensor == *id),
            _ => None,
        };
        let kind = match (zeros.shape().len(), single) {
            (4, Some(level)) => OutputKind::Head(level as u32),
            (5, Some(level)) => OutputKind::HeadByAnchor(level as u32),
            (3, _) => {
                self.read_anchors(output, &zeros, behind, levels, classes)?;
                OutputKind::Decoded
            }
            _ => {
                let shape = zeros.shape();
                let error = not_a_detector(format!("an output of shape {shape:?}"));
                return Err(self.blame(output, error));
            }
        };
        self.check(output, kind, levels, classes)?;
        Ok(kind)
    }

    /// With heads of zeros every box is as large as its anchor.
    fn read_anchors(
        &self,
        output: TensorId,
        zeros: &Tensor,
        behind: &[TensorId],
        levels: &mut [Level],
        classes: usize,
    ) -> Result<(), ConvertError> {
        let cells = |level: &Level| level.size[0] * level.size[1];
        let rows: usize = levels.iter().map(|l| l.head.anchors_per_cell * cells(l)).sum();
        if zeros.shape() != [1, rows, 5 + classes] || behind.len() != levels.len() {
            let error = not_a_detector(format!(
                "decoded boxes of shape {:?}; expected [1, {rows}, {}]",
                zeros.shape(),
                5 + classes
            ));
            return Err(self.blame(output, error));
        }
        let mut row = 0;
        for level in levels {
            let anchors: Vec<[f32; 2]> = (0..level.head.anchors_per_cell)
                .map(|anchor| {
                    let start = (row + anchor * cells(level)) * (5 + classes);
                    [zeros.get(start + 2) as f32, zeros.get(start + 3) as f32]
                })
                .collect();
            if anchors.iter().flatten().any(|extent| !(*extent > 0.0 && extent.is_finite())) {
                let error = not_a_detector(format!("anchors of {anchors:?} pixels"));
                return Err(self.blame(output, error));
            }
            row += level.head.anchors_per_cell * cells(level);
            level.head.anchors = anchors;
        }
        Ok(())
    }

    /// Compares an output with its formula on random heads.
    fn check(
        &self,
        output: TensorId,
        kind: OutputKind,
        levels: &[Level],
        classes: usize,
    ) -> Result<(), ConvertError> {
        let mut state = 1u64;
        let mut random = || {
            // A linear congruential generator (Knuth's MMIX constants): uniform in -4 .. 4.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / f64::from(1 << 24) * 8.0 - 4.0
        };
        let mut heads = HashMap::new();
        for level in levels {
            let shape = level.shape();
            let values = (0..element_count(&shape)?).map(|_| random()).collect();
            heads.insert(level.head.tensor, Tensor::f64(&shape, values)?);
        }
        let expected = match kind {
            OutputKind::Head(index) => heads[&levels[index as usize].head.tensor].to_f64(),
            OutputKind::HeadByAnchor(index) => {
                let level = &levels[index as usize];
                rows_of(level, classes, &heads[&level.head.tensor], |_, _, _, x| x)
            }
            OutputKind::Decoded => levels
                .iter()
                .flat_map(|level| {
                    rows_of(level, classes, &heads[&level.head.tensor], |anchor, cell, k, x| {
                        decode(&level.head, anchor, cell, k, x)
                    })
                })
                .collect(),
        };
        let found = self.run(output, heads)?;
        let largest_stride = levels.iter().map(|level| level.head.stride).max().unwrap_or(0) as f64;
        let wrong = (found.len() != expected.len()).then_some(0).or_else(|| {
            (0..expected.len()).find(|&index| {
                let difference = (found.get(index) - expected[index]).abs();
                let center = kind == OutputKind::Decoded && index % (5 + classes) < 2;
                let grid = if self.coarse_grid && center { COARSE_GRID * largest_stride } else { 0.0 };
                difference.is_nan() || difference > grid + TOLERANCE * expected[index].abs().max(1.0)
            })
        });
        match wrong {
            None => Ok(()),
            Some(index) => {
                let error = not_a_detector(format!(
                    "element {index} of output \"{}\" (shape {:?}) is not what YOLOv5's head gives \
                     there: expected heads, raw or by anchor, or xy = (2σ − 0.5 + grid)·stride, \
                     wh = (2σ)²·anchor, scores σ, levels by stride",
                    self.graph.tensor(output).name,
                    found.shape()
                ));
                Err(self.blame(output, error))
            }
        }
    }
}
