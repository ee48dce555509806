//! The heads of a detector: where their numbers lie and what they stand for.

use super::part::Part;
use super::rules::{Boxes, Site};
use ylb_format::limits::{MAX_ANCHORS, MAX_SHIFT};
use ylb_format::model::{Detect, HeadMap, HeadPart, Value};

/// Largest height and width of a network's input and largest stride, in pixels: fixed-point boxes
/// reach twice as far.
const MAX_INPUT_EXTENT: u64 = 1 << 14;

/// Largest width and height of an anchor in pixels; a box is up to four times as large.
const MAX_ANCHOR: f32 = 4096.0;

/// What the network left for one part of a feature map: `height × width` cells of `channels` numbers each.
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
    /// Input pixels a cell.
    pub stride: f64,
    /// Boxes per cell.
    pub anchors_per_cell: usize,
    /// The rule for boxes; `None` if it has anchors and the export did not say which.
    pub boxes: Option<Boxes>,
    /// Parts, which have all fields in their order.
    pub parts: Vec<Part>,
    /// Index of the first part among those of all maps.
    pub first_part: usize,
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

impl Map {
    /// All maps of a detection head. `values` are the model's.
    ///
    /// # Errors
    /// If there are none, or what is said about one contradicts itself or the values.
    pub fn all(detect: &Detect, values: &[Value]) -> Result<Vec<Self>, DecodeError> {
        if detect.maps.is_empty() || detect.classes == 0 {
            return Err(DecodeErrorKind::NoHead.into());
        }
        let (mut first_row, mut first_part) = (0, 0);
        let mut maps = Vec::with_capacity(detect.maps.len());
        for (index, map) in detect.maps.iter().enumerate() {
            let fail = |problem| DecodeErrorKind::Inconsistent { map: index, problem };
            check_anchors(index, map)?;
            let parts = parts(map, values, detect.fields()).map_err(fail)?;
            let value = &values[map.parts[0].value.index()];
            let known = !detect.boxes.has_anchors() || !map.anchors.is_empty();
            let map = Self {
                height: value.height as usize,
                width: value.width as usize,
                stride: f64::from(map.stride),
                anchors_per_cell: map.anchors_per_cell as usize,
                boxes: known.then(|| Boxes::new(detect.boxes, map)),
                parts,
                first_part,
                first_row,
            };
            first_row += map.rows();
            first_part += map.parts.len();
            maps.push(map);
        }
        Ok(maps)
    }

    /// Number of boxes.
    pub fn rows(&self) -> usize {
        self.anchors_per_cell * self.height * self.width
    }

    /// Row of a box among the decoded boxes of all maps: ordered by map, anchor, y, x.
    #[inline]
    pub fn row(&self, Site { anchor, y, x }: Site) -> usize {
        self.first_row + (anchor * self.height + y) * self.width + x
    }

    /// The heads of the map's parts among those of all maps.
    pub fn heads<'h, 'a>(&self, heads: &'h [Head<'a>]) -> &'h [Head<'a>] {
        &heads[self.first_part..][..self.parts.len()]
    }
}

/// The parts of a map, which must have all fields one after another, and must fit their values.
fn parts(map: &HeadMap, values: &[Value], fields: u64) -> Result<Vec<Part>, &'static str> {
    if !(1..=MAX_ANCHORS).contains(&map.anchors_per_cell) {
        return Err("a cell must have 1 to 16 anchors");
    }
    if !map.anchors.is_empty() && map.anchors.len() != map.anchors_per_cell as usize {
        return Err("there must be one anchor size for each anchor of a cell");
    }
    let (mut end, mut cells) = (0, None);
    let mut parts = Vec::with_capacity(map.parts.len());
    for part in &map.parts {
        let value = values.get(part.value.index()).ok_or("its value does not exist")?;
        if part.fields.start != end || part.fields.is_empty() {
            return Err("its parts do not have the numbers of a box one after another");
        }
        end = part.fields.end;
        if *cells.get_or_insert((value.height, value.width)) != (value.height, value.width) {
            return Err("its parts have different heights or widths");
        }
        check(map, part, value)?;
        parts.push(Part::new(part, value));
    }
    match u64::from(end) == fields {
        true => Ok(parts),
        false if parts.is_empty() => Err("it has no parts"),
        false => Err("its channels are not anchors times the numbers of a box"),
    }
}

/// Whether what is said about a part fits its value.
fn check(map: &HeadMap, part: &HeadPart, value: &Value) -> Result<(), &'static str> {
    let channels = u64::from(value.channels);
    if channels != u64::from(map.anchors_per_cell) * part.fields.len() as u64 {
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
