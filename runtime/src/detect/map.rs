//! The heads of a detector: where their numbers lie and what they stand for.

use super::logit::LogitScale;
use super::rules::Boxes;
use ylb_format::limits::{MAX_ANCHORS, MAX_SHIFT};
use ylb_format::model::{Detect, Encoding, HeadMap, HeadPart, ScoreRule, Value, ValueKind};

/// Largest height and width of a network's input and largest stride, in pixels: fixed-point boxes
/// reach twice as far.
const MAX_INPUT_EXTENT: u64 = 1 << 14;

/// Largest width and height of an anchor in pixels; a box is up to four times as large.
const MAX_ANCHOR: f32 = 4096.0;

/// What the network left for one feature map: `height × width` cells of `channels` numbers each.
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

/// Why a head cannot be decoded. Feature maps count from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// Nothing to decode.
    #[error("the network has no detection head")]
    NoHead,
    /// The source model ends before the boxes are decoded and nobody said which anchors it has.
    #[error("the export carried no anchors: convert again with --anchors")]
    MissingAnchors,
    /// A family of detectors that this version has no code for.
    #[error("the detection head has {what}, which this version does not support yet: update yolo-lowbit")]
    Unsupported {
        /// What the head has.
        what: &'static str,
    },
    /// Anchors that no detector has.
    #[error(
        "feature map {map}: an anchor of {width} x {height} pixels, \
         but sides must be above 0 and at most {MAX_ANCHOR}"
    )]
    BadAnchor {
        /// The feature map.
        map: usize,
        /// The anchor's width.
        width: f32,
        /// The anchor's height.
        height: f32,
    },
    /// The map's numbers contradict one another.
    #[error("feature map {map} of the detection head: {problem}")]
    Inconsistent {
        /// The feature map.
        map: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// One feature map of the head, checked.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// Boxes per cell.
    pub anchors_per_cell: usize,
    /// Numbers of a box.
    pub fields: usize,
    /// The rule for boxes; `None` if it has anchors and the export did not say which.
    pub boxes: Option<Boxes>,
    /// How to read [`Elements::Levels`]; `None` for accumulators.
    pub encoding: Option<Encoding>,
    /// Channels to logits.
    pub logits: LogitScale,
    /// Row of this map's first box among the decoded boxes of all maps.
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

/// What a detection head has that this version has no code for, if anything.
pub(crate) fn unsupported(detect: &Detect) -> Option<&'static str> {
    let Detect { boxes, scores, maps, .. } = detect;
    let several = |map: &HeadMap| map.parts.len() > 1;
    match () {
        () if maps.is_empty() => None,
        () if !Boxes::is_supported(*boxes) => Some(boxes.name()),
        () if *scores != ScoreRule::ObjectnessTimesClass => Some(scores.name()),
        () => maps.iter().any(several).then_some("feature maps of several convolutions"),
    }
}

impl Map {
    /// All maps of a detection head. `values` are the model's.
    ///
    /// # Errors
    /// If there are none, what is said about one contradicts itself or the values, or this version has no code for them.
    pub fn all(detect: &Detect, values: &[Value]) -> Result<Vec<Self>, DecodeError> {
        if detect.maps.is_empty() || detect.classes == 0 {
            return Err(DecodeErrorKind::NoHead.into());
        }
        if let Some(what) = unsupported(detect) {
            return Err(DecodeErrorKind::Unsupported { what }.into());
        }
        let mut first_row = 0;
        let mut maps = Vec::with_capacity(detect.maps.len());
        for (index, map) in detect.maps.iter().enumerate() {
            let fail = |problem| DecodeErrorKind::Inconsistent { map: index, problem };
            let [part] = &map.parts[..] else {
                return Err(fail("it has no parts").into());
            };
            let value = values.get(part.value.index()).ok_or_else(|| fail("its value does not exist"))?;
            check(map, part, value, detect.fields()).map_err(fail)?;
            check_anchors(index, map)?;
            let map = Self::new(map, part, value, detect, first_row)?;
            first_row += map.rows();
            maps.push(map);
        }
        Ok(maps)
    }

    fn new(
        map: &HeadMap,
        part: &HeadPart,
        value: &Value,
        detect: &Detect,
        first_row: usize,
    ) -> Result<Self, DecodeErrorKind> {
        let known = !detect.boxes.has_anchors() || !map.anchors.is_empty();
        Ok(Self {
            height: value.height as usize,
            width: value.width as usize,
            anchors_per_cell: map.anchors_per_cell as usize,
            fields: detect.fields() as usize,
            boxes: known.then(|| Boxes::new(detect.boxes, map)).transpose()?,
            encoding: match value.kind {
                ValueKind::Levels(encoding) => Some(encoding),
                ValueKind::Accumulators => None,
            },
            logits: LogitScale::new(part),
            first_row,
        })
    }

    /// Number of boxes.
    pub fn rows(&self) -> usize {
        self.anchors_per_cell * self.height * self.width
    }

    /// Row of a box among the decoded boxes of all maps: ordered by map, anchor, y, x.
    #[inline]
    pub fn row(&self, anchor: usize, y: usize, x: usize) -> usize {
        self.first_row + (anchor * self.height + y) * self.width + x
    }
}

/// Whether what is said about a map fits its value.
fn check(map: &HeadMap, part: &HeadPart, value: &Value, fields: u64) -> Result<(), &'static str> {
    if !(1..=MAX_ANCHORS).contains(&map.anchors_per_cell) {
        return Err("a cell must have 1 to 16 anchors");
    }
    let channels = u64::from(value.channels);
    if channels != u64::from(map.anchors_per_cell) * fields {
        return Err("its channels are not anchors times the numbers of a box");
    }
    if part.multipliers.len() as u64 != channels || part.bias.len() as u64 != channels {
        return Err("there must be one multiplier and one bias for each channel");
    }
    if part.shift > MAX_SHIFT {
        return Err("its shift exceeds 62");
    }
    let extent = u64::from(value.height.max(value.width)) * u64::from(map.stride);
    if extent == 0 || extent > MAX_INPUT_EXTENT {
        return Err("cells times stride must be 1 to 16384 pixels");
    }
    if !map.anchors.is_empty() && map.anchors.len() != map.anchors_per_cell as usize {
        return Err("there must be one anchor size for each anchor of a cell");
    }
    Ok(())
}

fn check_anchors(index: usize, map: &HeadMap) -> Result<(), DecodeErrorKind> {
    let usable = |&side: &f32| side > 0.0 && side <= MAX_ANCHOR;
    match map.anchors.iter().find(|size| !size.iter().all(usable)) {
        None => Ok(()),
        Some(&[width, height]) => Err(DecodeErrorKind::BadAnchor { map: index, width, height }),
    }
}

/// Refuses a head whose anchors are not known.
pub(crate) fn need_anchors(maps: &[Map]) -> Result<(), DecodeError> {
    if maps.iter().any(|map| map.boxes.is_none()) {
        return Err(DecodeErrorKind::MissingAnchors.into());
    }
    Ok(())
}
