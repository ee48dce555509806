//! The heads of a detector: where their numbers lie and what they stand for.

use super::logit::LogitScale;
use ylb_format::model::{Detect, DetectLevel, Encoding, Value, ValueKind};

/// Most anchors of a cell.
pub(crate) const MAX_ANCHORS_PER_CELL: usize = 16;

/// Largest height and width of a network's input and largest stride, in pixels: fixed-point boxes
/// reach twice as far.
const MAX_INPUT_EXTENT: u64 = 1 << 14;

/// Largest width and height of an anchor in pixels; a box is up to four times as large.
const MAX_ANCHOR: f32 = 4096.0;

/// What the network left for one level: `height × width` cells of `channels` numbers each.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The numbers; the first is channel 0 of the top left cell. Channels are contiguous.
    pub elements: Elements<'a>,
    /// Elements from a cell to its right neighbour, at least the number of channels.
    pub pixel_stride: usize,
    /// Elements from a row of cells to the next, at least `width · pixel_stride`.
    pub row_stride: usize,
}

/// The numbers of a head.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Accumulators of the head's convolution.
    Accumulators(&'a [i32]),
    /// The same, where all fit 16 bits.
    NarrowAccumulators(&'a [i16]),
    /// Levels, in an export that quantizes the heads; read through the value's encoding.
    Levels(&'a [u8]),
}

/// A detection head that cannot be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct DecodeError(#[from] DecodeErrorKind);

/// Why a head cannot be decoded. `level` counts from 0, finest first.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// Nothing to decode.
    #[error("the network has no detection head")]
    NoHead,
    /// The source model ends before the boxes are decoded and nobody said which anchors it has.
    #[error("the export carried no anchors: convert again with --anchors")]
    MissingAnchors,
    /// Anchors that no detector has.
    #[error(
        "level {level}: an anchor of {width} x {height} pixels, \
         but sides must be above 0 and at most {MAX_ANCHOR}"
    )]
    BadAnchor {
        /// The level.
        level: usize,
        /// The anchor's width.
        width: f32,
        /// The anchor's height.
        height: f32,
    },
    /// The level's numbers contradict one another.
    #[error("level {level} of the detection head: {problem}")]
    Inconsistent {
        /// The level.
        level: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// One level of the head, checked.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// Input pixels per cell.
    pub stride: u32,
    /// Boxes per cell.
    pub anchors_per_cell: usize,
    /// Their sizes in input pixels; empty if the export did not say.
    pub anchors: Vec<[f32; 2]>,
    /// How to read [`Elements::Levels`]; `None` for accumulators.
    pub encoding: Option<Encoding>,
    /// Channels to logits.
    pub logits: LogitScale,
    /// Row of this level's first box among the decoded boxes of all levels.
    pub first_row: usize,
}

impl DecodeError {
    /// Why.
    pub const fn kind(&self) -> &DecodeErrorKind {
        &self.0
    }
}

impl<'a> Head<'a> {
    /// A head whose `channels` numbers a cell lie side by side, `width` cells a row.
    pub const fn dense(elements: Elements<'a>, channels: usize, width: usize) -> Self {
        Self { elements, pixel_stride: channels, row_stride: width * channels }
    }
}

impl Level {
    /// All levels of a detection head. `values` are the model's.
    ///
    /// # Errors
    /// If there are none, or what is said about one contradicts itself or the values.
    pub fn all(detect: &Detect, values: &[Value]) -> Result<Vec<Self>, DecodeError> {
        if detect.levels.is_empty() || detect.classes == 0 {
            return Err(DecodeErrorKind::NoHead.into());
        }
        let mut first_row = 0;
        let mut levels = Vec::with_capacity(detect.levels.len());
        for (index, level) in detect.levels.iter().enumerate() {
            let fields = 5 + u64::from(detect.classes);
            let level = Self::new(index, level, fields, values, first_row)?;
            first_row += level.rows();
            levels.push(level);
        }
        Ok(levels)
    }

    fn new(
        index: usize,
        level: &DetectLevel,
        fields: u64,
        values: &[Value],
        first_row: usize,
    ) -> Result<Self, DecodeError> {
        let fail = |problem| {
            let level = index;
            DecodeErrorKind::Inconsistent { level, problem }
        };
        let value = values.get(level.value.0 as usize).ok_or_else(|| fail("its value does not exist"))?;
        if !(1..=MAX_ANCHORS_PER_CELL).contains(&(level.anchors_per_cell as usize)) {
            return Err(fail("a cell must have 1 to 16 anchors").into());
        }
        let channels = u64::from(value.channels);
        if channels != u64::from(level.anchors_per_cell) * fields {
            return Err(fail("its channels are not anchors times (5 + classes)").into());
        }
        if level.multipliers.len() as u64 != channels || level.bias.len() as u64 != channels {
            return Err(fail("there must be one multiplier and one bias for each channel").into());
        }
        if level.shift > 62 {
            return Err(fail("its shift exceeds 62").into());
        }
        let extent = u64::from(value.height.max(value.width)) * u64::from(level.stride);
        if extent == 0 || extent > MAX_INPUT_EXTENT {
            return Err(fail("cells times stride must be 1 to 16384 pixels").into());
        }
        if !level.anchors.is_empty() && level.anchors.len() != level.anchors_per_cell as usize {
            return Err(fail("there must be one anchor size for each anchor of a cell").into());
        }
        for &[width, height] in &level.anchors {
            if ![width, height].iter().all(|&side| side > 0.0 && side <= MAX_ANCHOR) {
                let level = index;
                return Err(DecodeErrorKind::BadAnchor { level, width, height }.into());
            }
        }
        Ok(Self {
            height: value.height as usize,
            width: value.width as usize,
            stride: level.stride,
            anchors_per_cell: level.anchors_per_cell as usize,
            anchors: level.anchors.clone(),
            encoding: match value.kind {
                ValueKind::Levels(encoding) => Some(encoding),
                ValueKind::Accumulators => None,
            },
            logits: LogitScale::new(level),
            first_row,
        })
    }

    /// Number of boxes.
    pub fn rows(&self) -> usize {
        self.anchors_per_cell * self.height * self.width
    }

    /// Row of a box among the decoded boxes of all levels: ordered by level, anchor, y, x.
    pub fn row(&self, anchor: usize, y: usize, x: usize) -> usize {
        self.first_row + (anchor * self.height + y) * self.width + x
    }
}

/// Refuses a head without anchors.
pub(crate) fn need_anchors(levels: &[Level]) -> Result<(), DecodeError> {
    if levels.iter().any(|level| level.anchors.is_empty()) {
        return Err(DecodeErrorKind::MissingAnchors.into());
    }
    Ok(())
}
