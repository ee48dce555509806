//! The source model's outputs, restored in floating point from the heads' exact integers.
//!
//! Nothing of this runs when objects are detected; it is what a comparison with the source model
//! looks at. Everything is computed in f64 and rounded once, to the f32 of the tensor.

use super::head::{DecodeError, Elements, Head, Level, need_anchors};
use super::logit::raw_logit;
use ylb_format::model::{Detect, OutputKind, Value};

/// Restores the outputs of one network.
#[derive(Clone, Debug)]
pub struct RawOutputs {
    /// Numbers of a box: x, y, width, height, objectness, classes.
    fields: usize,
    levels: Vec<Level>,
}

impl RawOutputs {
    /// Prepares a model's detection head, whose anchors need not be known; `values` are the model's.
    ///
    /// # Errors
    /// If there is no head or its description contradicts itself.
    pub fn new(detect: &Detect, values: &[Value]) -> Result<Self, DecodeError> {
        Ok(Self { fields: 5 + detect.classes as usize, levels: Level::all(detect, values)? })
    }

    /// Shape of an output.
    ///
    /// # Panics
    /// If the output is of a level that does not exist.
    pub fn shape(&self, kind: OutputKind) -> Vec<usize> {
        let no = self.fields;
        match kind {
            OutputKind::Head(index) => {
                let level = &self.levels[index as usize];
                vec![1, level.anchors_per_cell * no, level.height, level.width]
            }
            OutputKind::HeadByAnchor(index) => {
                let level = &self.levels[index as usize];
                vec![1, level.anchors_per_cell, level.height, level.width, no]
            }
            OutputKind::Decoded => vec![1, self.levels.iter().map(Level::rows).sum(), no],
        }
    }

    /// Fills `tensor` with the output of that kind. `heads` are those of all levels.
    ///
    /// # Errors
    /// If boxes are asked for and the anchors are unknown.
    ///
    /// # Panics
    /// If `heads` are not of the shapes and kinds of the model's, or `tensor` has not as many elements
    /// as [`RawOutputs::shape`] says.
    pub fn fill(&self, kind: OutputKind, heads: &[Head<'_>], tensor: &mut [f32]) -> Result<(), DecodeError> {
        match kind {
            OutputKind::Head(index) => {
                self.head_nchw(index as usize, &heads[index as usize], tensor);
            }
            OutputKind::HeadByAnchor(index) => {
                self.head_by_anchor(index as usize, &heads[index as usize], tensor);
            }
            OutputKind::Decoded => self.decoded(heads, tensor)?,
        }
        Ok(())
    }

    /// Logits of level `index` as `[1, na·no, ny, nx]`.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub fn head_nchw(&self, index: usize, head: &Head<'_>, tensor: &mut [f32]) {
        let level = &self.levels[index];
        let area = level.height * level.width;
        assert_eq!(tensor.len(), level.rows() * self.fields, "elements of the tensor");
        self.each(index, head, |anchor, y, x, field, logit| {
            tensor[(anchor * self.fields + field) * area + y * level.width + x] = logit as f32;
        });
    }

    /// Logits of level `index` as `[1, na, ny, nx, no]`.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub fn head_by_anchor(&self, index: usize, head: &Head<'_>, tensor: &mut [f32]) {
        let level = &self.levels[index];
        assert_eq!(tensor.len(), level.rows() * self.fields, "elements of the tensor");
        self.each(index, head, |anchor, y, x, field, logit| {
            let row = level.row(anchor, y, x) - level.first_row;
            tensor[row * self.fields + field] = logit as f32;
        });
    }

    /// Boxes in input pixels with scores, of all levels, as `[1, Σ na·ny·nx, no]`.
    ///
    /// # Errors
    /// If the anchors are unknown.
    ///
    /// # Panics
    /// See [`RawOutputs::fill`].
    pub fn decoded(&self, heads: &[Head<'_>], tensor: &mut [f32]) -> Result<(), DecodeError> {
        need_anchors(&self.levels)?;
        assert_eq!(heads.len(), self.levels.len(), "one head for each level");
        let rows: usize = self.levels.iter().map(Level::rows).sum();
        assert_eq!(tensor.len(), rows * self.fields, "elements of the tensor");
        for (index, (level, head)) in self.levels.iter().zip(heads).enumerate() {
            let stride = f64::from(level.stride);
            self.each(index, head, |anchor, y, x, field, logit| {
                let sigma = 1.0 / (1.0 + (-logit).exp());
                let size = level.anchors[anchor];
                let number = match field {
                    0 => (2.0 * sigma - 0.5 + x as f64) * stride,
                    1 => (2.0 * sigma - 0.5 + y as f64) * stride,
                    2 | 3 => (2.0 * sigma).powi(2) * f64::from(size[field - 2]),
                    _ => sigma,
                };
                tensor[level.row(anchor, y, x) * self.fields + field] = number as f32;
            });
        }
        Ok(())
    }

    /// Calls `visit(anchor, y, x, field, logit)` for every number of a head.
    fn each(&self, index: usize, head: &Head<'_>, mut visit: impl FnMut(usize, usize, usize, usize, f64)) {
        let level = &self.levels[index];
        let channels = level.anchors_per_cell * self.fields;
        let maps = level.logits.channels(0, channels);
        for y in 0..level.height {
            for x in 0..level.width {
                let start = y * head.row_stride + x * head.pixel_stride;
                for (channel, &map) in maps.iter().enumerate() {
                    let integer = match (head.elements, level.encoding) {
                        (Elements::Accumulators(numbers), None) => numbers[start + channel],
                        (Elements::NarrowAccumulators(numbers), None) => numbers[start + channel].into(),
                        (Elements::Levels(levels), Some(encoding)) => {
                            encoding.integer(levels[start + channel])
                        }
                        _ => panic!("head {index} is not of the kind that the model says"),
                    };
                    let logit = level.logits.real(raw_logit(integer, map));
                    let (anchor, field) = (channel / self.fields, channel % self.fields);
                    visit(anchor, y, x, field, logit);
                }
            }
        }
    }
}
