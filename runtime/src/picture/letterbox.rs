//! Letterbox: the picture, resized with its proportions kept, centred on grey; or in the top left corner, as YOLOX has it,
//! or stretched.
//!
//! Geometry as YOLOv5's `letterbox` for a fixed input size (`auto=False`), small pictures enlarged;
//! arithmetic as OpenCV's `resize` with `INTER_LINEAR` on 8-bit pixels, byte for byte
//! (`taps` and `resample` have the details). The result lands where the network reads it, as the
//! input's levels.

mod resample;
mod taps;
mod yuv;

use super::{Picture, PictureError, PixelFormat};
use resample::Resampler;
use std::ops::Range;
use taps::{Columns, RowTap, set_rows};
use ylb_format::model::{ChannelOrder, PicturePlacement, Preprocessing};

pub use resample::RowCache;

/// Where a picture lies in the network's input, and how to get back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Columns and rows of the picture.
    pub picture: [usize; 2],
    /// Columns and rows that it takes in the network's input.
    pub size: [usize; 2],
    /// Columns left of it and rows above it.
    pub offset: [usize; 2],
    /// Input pixels per picture pixel along each axis, before `size` was rounded.
    gain: [f64; 2],
    /// Input pixels left of the picture and above it, before they were rounded down.
    padding: [f64; 2],
}

/// Resizes pictures for one network.
#[derive(Clone, Debug)]
pub struct Letterbox {
    width: usize,
    height: usize,
    levels: Levels,
    /// The border's levels.
    fill: [u8; 3],
    /// Whether the network takes blue first.
    blue_first: bool,
    place: PicturePlacement,
    source: Option<([usize; 2], PixelFormat)>,
    placement: Placement,
    columns: Columns,
    rows: Vec<RowTap>,
}

/// Levels of bytes.
#[derive(Clone, Debug)]
enum Levels {
    /// The bytes themselves.
    Bytes,
    /// A table.
    Same(Box<[u8; 256]>),
    /// A table for each channel.
    ByChannel(Box<[[u8; 256]; 3]>),
}

impl Levels {
    fn of(tables: [&[u8; 256]; 3]) -> Self {
        let [first, second, third] = tables;
        if first != second || second != third {
            return Self::ByChannel(Box::new(tables.map(|table| *table)));
        }
        let identity = first.iter().zip(0..=255).all(|(&level, byte)| level == byte);
        if identity { Self::Bytes } else { Self::Same(Box::new(*first)) }
    }

    /// Makes levels of the bytes of whole pixels.
    fn apply(&self, bytes: &mut [u8]) {
        match self {
            Self::Bytes => {}
            Self::Same(table) => bytes.iter_mut().for_each(|byte| *byte = table[usize::from(*byte)]),
            Self::ByChannel(tables) => {
                for pixel in bytes.chunks_exact_mut(3) {
                    pixel
                        .iter_mut()
                        .zip(tables.iter())
                        .for_each(|(byte, table)| *byte = table[usize::from(*byte)]);
                }
            }
        }
    }
}

/// Rows of the network's input to be filled.
#[derive(Debug)]
pub struct Band<'a> {
    /// Rows, counted from the top of the input.
    pub rows: Range<usize>,
    /// Levels of pixel (x, y): 3 from `(y − rows.start) · row_stride + 3 · x`. Bytes between the rows
    /// are not touched.
    pub levels: &'a mut [u8],
    /// Bytes from a row to the next, at least 3 for each column of the input.
    pub row_stride: usize,
}

impl Placement {
    /// Places a picture in a network's input; both `[width, height]`, at least 1.
    ///
    /// Sizes as Python's `round` makes them, half to even. Where that gives 0, for pictures hundreds
    /// of times as long as wide, YOLOv5 fails; here the picture is 1 pixel wide.
    pub fn new(picture: [usize; 2], input: [usize; 2]) -> Self {
        Self::of(picture, input, PicturePlacement::Centre)
    }

    /// The same where a network wants its pictures there. In the corner they are as YOLOX's `preproc` has them: sizes are
    /// rounded down.
    pub fn of(picture: [usize; 2], input: [usize; 2], place: PicturePlacement) -> Self {
        let ratio = |axis: usize| input[axis] as f64 / picture[axis] as f64;
        let gain = ratio(0).min(ratio(1));
        let scaled = |axis: usize| picture[axis] as f64 * gain;
        let (offset, padding) = ([0; 2], [0.0; 2]);
        match place {
            PicturePlacement::Centre => {}
            PicturePlacement::Corner => {
                let size = [0, 1].map(|axis| (scaled(axis) as usize).clamp(1, input[axis]));
                return Self { picture, size, offset, gain: [gain; 2], padding };
            }
            PicturePlacement::Stretch => {
                return Self { picture, size: input, offset, gain: [0, 1].map(ratio), padding };
            }
        }
        let size = |axis| (scaled(axis).round_ties_even() as usize).clamp(1, input[axis]);
        let size = [size(0), size(1)];
        Self {
            picture,
            size,
            // YOLOv5 splits d spare pixels into round(d/2 − 0.1) and round(d/2 + 0.1).
            offset: [(input[0] - size[0]) / 2, (input[1] - size[1]) / 2],
            gain: [gain; 2],
            padding: [(input[0] as f64 - scaled(0)) / 2.0, (input[1] as f64 - scaled(1)) / 2.0],
        }
    }

    /// From a point of the network's input to the nearest one of the picture. As YOLOv5's
    /// `scale_boxes`, this uses the padding before it was rounded.
    pub fn to_picture(&self, x: f64, y: f64) -> (f64, f64) {
        let point = |axis: usize, position: f64| {
            let position = (position - self.padding[axis]) / self.gain[axis];
            position.clamp(0.0, self.picture[axis] as f64)
        };
        (point(0, x), point(1, y))
    }
}

impl Letterbox {
    /// For a network whose input has that many columns and rows, at least 1. `pixel_levels` and `fill`
    /// are those of the model: the level of each byte, and the border's byte.
    ///
    /// All memory that any picture will need is allocated here.
    ///
    /// # Panics
    /// If the input has no columns or rows.
    pub fn new(width: usize, height: usize, pixel_levels: &[u8; 256], fill: u8) -> Self {
        Self::by_channel([width, height], [pixel_levels; 3], [fill; 3])
    }

    /// The same with a table and a byte of the border for each channel; `size` is columns and rows.
    ///
    /// # Panics
    /// If the input has no columns or rows.
    pub fn by_channel([width, height]: [usize; 2], pixel_levels: [&[u8; 256]; 3], fill: [u8; 3]) -> Self {
        Self {
            width,
            height,
            levels: Levels::of(pixel_levels),
            fill: std::array::from_fn(|channel| pixel_levels[channel][usize::from(fill[channel])]),
            blue_first: false,
            place: PicturePlacement::Centre,
            source: None,
            placement: Placement::new([width, height], [width, height]),
            columns: Columns::with_capacity(width),
            rows: Vec::with_capacity(height),
        }
    }

    /// The same for a network whose pictures have that order of channels and lie there.
    #[must_use]
    pub fn wanted_as(self, wanted: &Preprocessing) -> Self {
        Self { blue_first: wanted.order == ChannelOrder::Bgr, place: wanted.placement, ..self }
    }

    /// Working memory for one thread.
    pub fn row_cache(&self) -> RowCache {
        RowCache::new(self.width)
    }

    /// Prepares for pictures of this one's size and format; free if the last one's were the same.
    ///
    /// # Errors
    /// If the picture's sizes contradict each other.
    pub fn prepare(&mut self, picture: &Picture<'_>) -> Result<(), PictureError> {
        picture.check()?;
        let size = [picture.width, picture.height];
        let source = (size, picture.format);
        if self.source != Some(source) {
            self.placement = Placement::of(size, [self.width, self.height], self.place);
            let bytes = picture.format.bytes();
            self.columns.set(size[0], self.placement.size[0], bytes);
            set_rows(&mut self.rows, size[1], self.placement.size[1]);
            self.source = Some(source);
        }
        Ok(())
    }

    /// Where the pictures that it is prepared for are placed.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Fills some rows of the network's input; bands may be filled in any order and in parallel, each
    /// thread with a cache of its own.
    ///
    /// # Panics
    /// If it is not prepared for a picture of this size and format, the picture is not valid, or the band is not inside the
    /// input or its slice.
    pub fn fill(&self, picture: &Picture<'_>, band: Band<'_>, cache: &mut RowCache) {
        let size = [picture.width, picture.height];
        assert_eq!(self.source, Some((size, picture.format)), "prepared for another picture");
        assert!(band.rows.end <= self.height, "rows {:?} of {}", band.rows, self.height);
        let [left, top] = self.placement.offset;
        let [width, height] = self.placement.size;
        let resampler = Resampler { picture, columns: &self.columns, rows: &self.rows };
        cache.forget();
        for (index, y) in band.rows.enumerate() {
            let row = &mut band.levels[index * band.row_stride..][..3 * self.width];
            let Some(y) = y.checked_sub(top).filter(|&y| y < height) else {
                self.border(row);
                continue;
            };
            let (before, rest) = row.split_at_mut(3 * left);
            let (inside, after) = rest.split_at_mut(3 * width);
            self.border(before);
            resampler.row(y, cache, inside);
            if self.blue_first {
                inside.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
            }
            self.levels.apply(inside);
            self.border(after);
        }
    }

    /// Fills whole pixels with the border.
    fn border(&self, row: &mut [u8]) {
        match self.fill {
            [first, second, third] if first == second && second == third => row.fill(first),
            fill => row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&fill)),
        }
    }
}
