//! The input.

use super::section::Section;
use crate::container::codes;
use crate::model::{
    ChannelOrder, Input, PicturePlacement, PixelLevels, PixelRange, Preprocessing, TensorLayout,
};

impl Section {
    pub(super) fn input(&mut self, input: &Input) {
        self.text(&input.name);
        self.u32(input.value.0);
        self.preprocessing(&input.preprocessing);
        self.u8(u8::from(matches!(input.pixel_levels, PixelLevels::ByChannel(_))));
        self.bytes.extend(input.pixel_levels.tables().iter().flatten());
    }

    fn preprocessing(&mut self, preprocessing: &Preprocessing) {
        self.u8(match preprocessing.range {
            PixelRange::Unit => codes::RANGE_UNIT,
            PixelRange::Bytes => codes::RANGE_BYTES,
        });
        self.numbers(&preprocessing.mean, f32::to_le_bytes);
        self.numbers(&preprocessing.deviation, f32::to_le_bytes);
        self.u8(match preprocessing.order {
            ChannelOrder::Rgb => codes::ORDER_RGB,
            ChannelOrder::Bgr => codes::ORDER_BGR,
        });
        self.u8(match preprocessing.layout {
            TensorLayout::Nchw => codes::LAYOUT_NCHW,
            TensorLayout::Nhwc => codes::LAYOUT_NHWC,
        });
        self.u8(match preprocessing.placement {
            PicturePlacement::Centre => codes::PLACEMENT_CENTRE,
            PicturePlacement::Corner => codes::PLACEMENT_CORNER,
            PicturePlacement::Stretch => codes::PLACEMENT_STRETCH,
        });
        self.bytes.extend(preprocessing.fill);
    }
}
