//! What stands in the way where the heads cannot be read: the node that is the cause, and never the head behind it.

use std::collections::{BTreeSet, HashMap};

use ylb_format::model::Extents;
use ylb_source::ir::{Domain, Graph, Node, Tensor, TensorId};

use super::check::{Checker, Random, SIDES};
use super::families::sigmoid;
use super::find::Finder;
use super::not_a_detector;
use crate::error::ConvertError;
use crate::passes;

/// Operators that make one number of a whole feature map, as classifiers do.
const CLASSIFIES: [&str; 4] = ["GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "Gemm"];

/// Parts of the names of operators that select boxes.
const SELECTS: [&str; 4] = ["NonMaxSuppression", "NMS", "DetectionOutput", "TopK"];

impl<'g> Finder<'g> {
    /// Why a head has no shape: the first node before it whose inputs have shapes and whose output has none, or whose
    /// operator nobody knows.
    pub fn shapeless(&self, head: TensorId) -> ConvertError {
        let before = self.ancestors(head, |_| false);
        let stands = |node: &&Node| {
            let written = |id: &TensorId| before.contains(id) && self.graph.constant(*id).is_none();
            let unknown = |id: &&TensorId| self.graph.tensor(**id).shape.is_none();
            let foreign = matches!(node.domain, Domain::Other(_));
            node.outputs.iter().any(written) && (foreign || node.outputs.iter().any(|id| unknown(&id)))
        };
        match self.graph.nodes.iter().find(stands) {
            Some(node) => node.blame(passes::why_without_shape(self.graph, node)),
            None => {
                let shape = &self.graph.tensor(head).shape;
                let shape = shape.as_ref().map_or_else(|| "unknown".into(), |shape| format!("{shape:?}"));
                let error =
                    format!("its output is of shape {shape}; expected a head of shape [1, channels, h, w]");
                self.blame(head, not_a_detector(error))
            }
        }
    }

    /// Why an output cannot be computed from its heads: the first node on the way that cannot be run.
    pub fn not_run(&self, output: TensorId, values: &HashMap<TensorId, Tensor>) -> ConvertError {
        let known = |id: &TensorId| values.contains_key(id) || self.graph.constant(*id).is_some();
        let before = self.ancestors(output, known);
        let stands = |node: &&Node| {
            let missing = |id: &TensorId| before.contains(id) && !known(id);
            node.outputs.iter().any(missing) && node.inputs.iter().flatten().all(known)
        };
        let expected = "expected heads, or the decode of a known family of them";
        let (node, reason) = match self.selection(output, known) {
            Some(node) => (
                node,
                "it selects boxes, which \"run\" does itself: export without it (nms, end2end)".to_owned(),
            ),
            None => match self.graph.nodes.iter().find(stands) {
                Some(node) => (
                    node,
                    format!("an operator that the converter does not know behind the heads; {expected}"),
                ),
                None => return self.blame(output, not_a_detector(expected)),
            },
        };
        node.blame(not_a_detector(format!("{reason}, or cut it off ({})", self.cut(output))))
    }

    /// The first node that selects boxes, between where the walk stops and an output.
    pub(super) fn selection(&self, output: TensorId, stop: impl Fn(&TensorId) -> bool) -> Option<&'g Node> {
        let before = self.ancestors(output, &stop);
        let selects = |node: &&Node| {
            let needed = node.outputs.iter().any(|id| before.contains(id) && !stop(id));
            needed && SELECTS.iter().any(|part| node.op_type.contains(part))
        };
        self.graph.nodes.iter().find(selects)
    }

    /// The options that leave the heads of an output, and nothing behind them.
    fn cut(&self, output: TensorId) -> String {
        let heads = self.frontier(output).unwrap_or_default();
        let names: Vec<&str> = heads.iter().map(|&id| self.graph.tensor(id).name.as_str()).collect();
        // Of several heads a map no family has anchors.
        let sizes: BTreeSet<&[usize]> =
            heads.iter().filter_map(|&id| self.graph.tensor(id).shape.as_deref()?.get(2..)).collect();
        let with = if sizes.len() == heads.len() { ", with --anchors" } else { "" };
        format!("--outputs {}{with}", names.join(","))
    }

    /// What to do about scores that stand before distributions.
    pub(super) fn measured_from_centres(&self, output: TensorId) -> String {
        let cut = self.cut(output);
        format!(
            "if it is the cells' centres, as PicoDet's are and NanoDet-Plus' are not, give {cut} --head yolov8"
        )
    }

    /// Refuses outputs that are no detector's before anything is asked of their heads.
    pub fn check_kinds(&self, behind: &[Vec<TensorId>]) -> Result<(), ConvertError> {
        let graph = self.graph;
        for (&output, heads) in graph.outputs.iter().zip(behind) {
            let between = self.ancestors(output, |id| heads.contains(id));
            let classifies = |node: &&Node| {
                let runs =
                    node.outputs.iter().any(|id| between.contains(id) && graph.constant(*id).is_none());
                runs && CLASSIFIES.iter().any(|op| node.is(op))
            };
            if let Some(node) = graph.nodes.iter().find(classifies) {
                let error = format!(
                    "output \"{}\" comes from it, as a classifier's does: no detector; expected boxes, or the heads \
                     of feature maps",
                    graph.tensor(output).name
                );
                return Err(node.blame(not_a_detector(error)));
            }
        }
        self.check_strays(behind)
    }

    /// Beside decoded boxes every feature map must be one of theirs.
    fn check_strays(&self, behind: &[Vec<TensorId>]) -> Result<(), ConvertError> {
        let graph = self.graph;
        let rank = |id: TensorId| graph.tensor(id).shape.as_ref().map_or(0, Vec::len);
        let decoded: Vec<usize> = (0..behind.len()).filter(|&k| rank(graph.outputs[k]) == 3).collect();
        let of_boxes: BTreeSet<TensorId> = decoded.iter().flat_map(|&k| &behind[k]).copied().collect();
        let (Some(&first), true) = (decoded.first(), decoded.len() < behind.len()) else { return Ok(()) };
        let stray = (0..behind.len())
            .find(|&k| rank(graph.outputs[k]) == 4 && behind[k].iter().any(|head| !of_boxes.contains(head)));
        let Some(stray) = stray else { return Ok(()) };
        let boxes = &graph.tensor(graph.outputs[first]).name;
        let map = graph.tensor(graph.outputs[stray]);
        Err(not_a_detector(format!(
            "output \"{}\" (shape {:?}) is none of the heads that \"{boxes}\" is computed from: the masks of a \
             segmentation network, which is not supported, or a feature map, which can be left out \
             (--outputs {boxes})",
            map.name,
            map.shape.as_deref().unwrap_or_default()
        )))
    }

    /// The tensors that one is computed from, itself among them, back to those where the walk stops.
    pub(super) fn ancestors(&self, tensor: TensorId, stop: impl Fn(&TensorId) -> bool) -> BTreeSet<TensorId> {
        let mut found = BTreeSet::from([tensor]);
        let mut pending = vec![tensor];
        while let Some(id) = pending.pop() {
            let Some(node) = self.producer(id).filter(|_| !stop(&id)) else { continue };
            pending.extend(node.inputs.iter().flatten().filter(|&&input| found.insert(input)));
        }
        found
    }
}

impl Checker<'_, '_> {
    /// Why rows of scores, and of distributions behind them that are not decoded, are refused: NanoDet and PicoDet have
    /// them, whose cells' points lie in different places that their exports do not show.
    pub(super) fn scores_before_distributions(
        &self,
        output: TensorId,
        random: &Random,
    ) -> Option<ConvertError> {
        let (layout, columns) = self.layout_of_rows(random.found.shape())?;
        let parts = self.maps[0].parts.len();
        // In the order in which the output has their parts.
        let rows = self.maps.iter().flat_map(|map| self.rows_of(map, &random.heads));
        let rows: Vec<Vec<f64>> = rows.collect();
        let extents = Extents { rows: rows.len(), map: None };
        let is = |row: usize, column: usize, number: f64| {
            let found = random.found.get(layout.position(extents, columns, row, column));
            !self.differ(found, number, 0.0)
        };
        if rows.iter().any(|row| row.len() != columns) {
            return None;
        }
        let scores = (0..columns).take_while(|&column| is(0, column, sigmoid(rows[0][column]))).count();
        let bins = (columns - scores) / SIDES;
        let all = |(row, logits): (usize, &Vec<f64>)| {
            let number =
                |column: usize| if column < scores { sigmoid(logits[column]) } else { logits[column] };
            (0..columns).all(|column| is(row, column, number(column)))
        };
        if scores == 0 || bins < 2 || bins * SIDES + scores != columns || !rows.iter().enumerate().all(all) {
            return None;
        }
        let what = match parts {
            1 => "heads of one convolution that has both are of no family that is known here".to_owned(),
            _ => self.finder.measured_from_centres(output),
        };
        let error = format!(
            "its rows are {scores} scores and the logits of four distributions of {bins}, as NanoDet and PicoDet have \
             them, which do not show where distances are measured from: {what}"
        );
        Some(self.finder.blame(output, not_a_detector(error)))
    }
}

/// Refuses outputs that are no detector's, as far as the graph's shape shows it.
///
/// # Errors
/// Names the output, and what it is.
pub fn check_kinds(graph: &Graph) -> Result<(), ConvertError> {
    let finder = Finder::new(graph);
    // What an output comes from that has no heads at all is said where heads are looked for.
    let behind = graph.outputs.iter().map(|&output| finder.frontier(output)).collect::<Result<Vec<_>, _>>();
    behind.map_or(Ok(()), |behind| finder.check_kinds(&behind))
}
