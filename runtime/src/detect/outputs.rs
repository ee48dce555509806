//! The source model's outputs, restored in floating point from the heads' exact integers.
//!
//! Nothing of this runs when objects are detected; it is what a comparison with the source model
//! looks at. Everything is computed in f64 and rounded once, to the f32 of the tensor.

use super::logit::raw_logit;
use super::map::{DecodeError, DecodeErrorKind, Elements, Head, Map, need_anchors};
use super::rules::anchors::real_sigmoid;
use super::rules::{Boxes, Rule, Site};
use ylb_format::model::{Detect, OutputKind, Value};

/// Restores the outputs of one network.
#[derive(Clone, Debug)]
pub struct RawOutputs {
    /// Numbers of a box in the head, and fields of the objectness, after which the classes come.
    pub(super) fields: usize,
    objectness: usize,
    pub(super) maps: Vec<Map>,
    /// Width and height of the network's input.
    pub(super) input: [f64; 2],
}

impl RawOutputs {
    /// Prepares a model's detection head, whose anchors need not be known; `values` are the model's.
    ///
    /// # Errors
    /// If there is no head, its description contradicts itself, or this version has no code for it.
    pub fn new(detect: &Detect, values: &[Value]) -> Result<Self, DecodeError> {
        let maps = Map::all(detect, values)?;
        // Every supported rule for scores has an objectness.
        let objectness = detect.objectness().ok_or(DecodeErrorKind::NoHead)? as usize;
        let extent = |extent: usize, map: usize| (extent as u64 * u64::from(detect.maps[map].stride)) as f64;
        let input = maps.first().map_or([1.0; 2], |map| [extent(map.width, 0), extent(map.height, 0)]);
        Ok(Self { fields: detect.fields() as usize, objectness, maps, input })
    }

    /// Numbers of a decoded box: centre, size, objectness, classes.
    pub(super) fn columns(&self) -> usize {
        SIDES + self.fields - self.objectness
    }

    /// Shape of an output.
    ///
    /// # Panics
    /// If the output is of a part that does not exist.
    pub fn shape(&self, kind: OutputKind) -> Vec<usize> {
        match kind {
            OutputKind::Head(of) => {
                let map = &self.maps[of.map as usize];
                vec![1, map.anchors_per_cell * map.fields, map.height, map.width]
            }
            OutputKind::HeadByAnchor(of) => {
                let map = &self.maps[of.map as usize];
                vec![1, map.anchors_per_cell, map.height, map.width, map.fields]
            }
            OutputKind::Decoded => vec![1, self.maps.iter().map(Map::rows).sum(), self.columns()],
            OutputKind::Arranged(arranged) => self.arranged_shape(arranged),
        }
    }

    /// Fills `tensor` with the output of that kind. `heads` are those of all feature maps.
    ///
    /// # Errors
    /// If boxes are asked for and the anchors are unknown.
    ///
    /// # Panics
    /// If `heads` are not of the shapes and kinds of the model's, or `tensor` has not as many elements
    /// as [`RawOutputs::shape`] says.
    pub fn fill(&self, kind: OutputKind, heads: &[Head<'_>], tensor: &mut [f32]) -> Result<(), DecodeError> {
        match kind {
            OutputKind::Head(of) => self.head_nchw(of.map as usize, &heads[of.map as usize], tensor),
            OutputKind::HeadByAnchor(of) => {
                self.head_by_anchor(of.map as usize, &heads[of.map as usize], tensor)
            }
            OutputKind::Decoded => self.decoded(heads, tensor)?,
            OutputKind::Arranged(arranged) => self.arranged(arranged, heads, tensor)?,
        }
        Ok(())
    }

    /// Logits of feature map `index` as `[1, na·fields, ny, nx]`.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub fn head_nchw(&self, index: usize, head: &Head<'_>, tensor: &mut [f32]) {
        let map = &self.maps[index];
        let area = map.height * map.width;
        assert_eq!(tensor.len(), map.rows() * map.fields, "elements of the tensor");
        map.boxes_of(head, |site, logits| {
            for (field, logit) in logits.iter().enumerate() {
                let channel = site.anchor * map.fields + field;
                tensor[channel * area + site.y * map.width + site.x] = *logit as f32;
            }
        });
    }

    /// Logits of feature map `index` as `[1, na, ny, nx, fields]`.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub fn head_by_anchor(&self, index: usize, head: &Head<'_>, tensor: &mut [f32]) {
        let map = &self.maps[index];
        assert_eq!(tensor.len(), map.rows() * map.fields, "elements of the tensor");
        map.boxes_of(head, |site, logits| {
            let row = map.row(site.anchor, site.y, site.x) - map.first_row;
            for (number, logit) in tensor[row * map.fields..].iter_mut().zip(logits) {
                *number = *logit as f32;
            }
        });
    }

    /// Boxes in input pixels with scores, of all feature maps, as `[1, Σ na·ny·nx, columns]`.
    ///
    /// # Errors
    /// If the anchors are unknown.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub fn decoded(&self, heads: &[Head<'_>], tensor: &mut [f32]) -> Result<(), DecodeError> {
        need_anchors(&self.maps)?;
        assert_eq!(heads.len(), self.maps.len(), "one head for each feature map");
        let rows: usize = self.maps.iter().map(Map::rows).sum();
        assert_eq!(tensor.len(), rows * self.columns(), "elements of the tensor");
        for (map, head) in self.maps.iter().zip(heads) {
            match &map.boxes {
                Some(Boxes::AnchorsSigmoid(rule)) => self.decode(map, rule, head, tensor),
                Some(Boxes::AnchorsExp(rule)) => self.decode(map, rule, head, tensor),
                None => unreachable!("anchors are known"),
            }
        }
        Ok(())
    }

    fn decode(&self, map: &Map, rule: &impl Rule, head: &Head<'_>, tensor: &mut [f32]) {
        let columns = self.columns();
        map.boxes_of(head, |site, logits| {
            let row = &mut tensor[map.row(site.anchor, site.y, site.x) * columns..][..columns];
            let (sides, scores) = row.split_at_mut(SIDES);
            let found = rule.real(site, |field| logits[field]);
            for (number, side) in sides.iter_mut().zip(found) {
                *number = side as f32;
            }
            for (number, logit) in scores.iter_mut().zip(&logits[self.objectness..]) {
                *number = real_sigmoid(*logit) as f32;
            }
        });
    }
}

/// Numbers of a decoded box before its scores.
const SIDES: usize = 4;

impl Map {
    /// Calls `visit` with every box of a head and its logits.
    fn boxes_of(&self, head: &Head<'_>, mut visit: impl FnMut(Site, &[f64])) {
        let channels = self.anchors_per_cell * self.fields;
        let maps = self.logits.channels(0, channels);
        let mut logits = vec![0.0; channels];
        for y in 0..self.height {
            for x in 0..self.width {
                let start = y * head.row_stride + x * head.pixel_stride;
                for ((channel, logit), &map) in logits.iter_mut().enumerate().zip(maps) {
                    let integer = match (head.elements, self.encoding) {
                        (Elements::Accumulators(numbers), None) => numbers[start + channel],
                        (Elements::NarrowAccumulators(numbers), None) => numbers[start + channel].into(),
                        (Elements::Levels(levels), Some(encoding)) => {
                            encoding.integer(levels[start + channel])
                        }
                        _ => panic!("a head is not of the kind that the model says"),
                    };
                    *logit = self.logits.real(raw_logit(integer, map));
                }
                for (anchor, logits) in logits.chunks_exact(self.fields).enumerate() {
                    visit(Site { anchor, y, x }, logits);
                }
            }
        }
    }
}
