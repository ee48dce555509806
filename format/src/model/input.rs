//! The network's input: a picture, and how it is prepared.

use super::ValueId;

/// The network's input: a picture, placed in the input value's height and width.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name of the input tensor in the source model.
    pub name: String,
    /// The value that holds the picture's levels; it has 3 channels, in [`Preprocessing::order`].
    pub value: ValueId,
    /// How the source model wants its picture.
    pub preprocessing: Preprocessing,
    /// Level of each possible byte of a pixel.
    pub pixel_levels: PixelLevels,
}

/// Levels of the bytes of a pixel, whatever numbers the source model makes of them.
#[allow(clippy::large_enum_variant, reason = "a model has one, mostly of one table")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PixelLevels {
    /// One table for all channels.
    Same([u8; 256]),
    /// A table for each channel of the input value. They are not all equal.
    ByChannel(Box<[[u8; 256]; 3]>),
}

/// How a source model wants its picture. Range, mean, deviation and layout say what its input tensor holds: an element
/// is `(x − mean) / deviation`, where `x` is the byte or a 255th of it. No level depends on them, as
/// [`Input::pixel_levels`] has them worked in. The default is YOLOv5's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// What a byte of a pixel is before mean and deviation.
    pub range: PixelRange,
    /// Subtracted, by channel of the input value: finite.
    pub mean: [f32; 3],
    /// Divided by, by channel of the input value: positive and finite.
    pub deviation: [f32; 3],
    /// Which colours the channels are.
    pub order: ChannelOrder,
    /// Order of the input tensor's extents.
    pub layout: TensorLayout,
    /// Where the picture lies in the input.
    pub placement: PicturePlacement,
    /// Bytes around the picture, by channel of the input value.
    pub fill: [u8; 3],
}

/// What a byte of a pixel is in the source model's input tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelRange {
    /// `byte / 255`.
    #[default]
    Unit,
    /// The byte.
    Bytes,
}

/// Order of the channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// Order of the extents of the source model's input tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TensorLayout {
    /// `[1, 3, height, width]`.
    #[default]
    Nchw,
    /// `[1, height, width, 3]`.
    Nhwc,
}

/// Where a picture lies in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PicturePlacement {
    /// Resized with its proportions kept, in the middle: YOLOv5.
    #[default]
    Centre,
    /// Resized with its proportions kept, at the top left: YOLOX.
    Corner,
    /// Resized to the input's size, whatever its proportions: YOLOv2.
    Stretch,
}

impl Input {
    /// A picture as YOLOv5 takes it.
    pub fn new(name: &str, value: ValueId, pixel_levels: [u8; 256]) -> Self {
        let pixel_levels = PixelLevels::Same(pixel_levels);
        Self { name: name.to_owned(), value, preprocessing: Preprocessing::default(), pixel_levels }
    }
}

impl PixelLevels {
    /// The table of a channel of the input value.
    ///
    /// # Panics
    /// If there are tables by channel, and none of that number.
    pub fn of(&self, channel: usize) -> &[u8; 256] {
        match self {
            Self::Same(table) => table,
            Self::ByChannel(tables) => &tables[channel],
        }
    }

    /// All tables: one, or one for each channel.
    pub fn tables(&self) -> &[[u8; 256]] {
        match self {
            Self::Same(table) => std::slice::from_ref(table),
            Self::ByChannel(tables) => &tables[..],
        }
    }

    /// The tables.
    pub fn tables_mut(&mut self) -> &mut [[u8; 256]] {
        match self {
            Self::Same(table) => std::slice::from_mut(table),
            Self::ByChannel(tables) => &mut tables[..],
        }
    }
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self {
            range: PixelRange::Unit,
            mean: [0.0; 3],
            deviation: [1.0; 3],
            order: ChannelOrder::Rgb,
            layout: TensorLayout::Nchw,
            placement: PicturePlacement::Centre,
            fill: [114; 3],
        }
    }
}
