//! The input of section GRAPH.

use super::Result;
use super::cursor::Cursor;
use super::graph::value_id;
use crate::container::codes;
use crate::model::{
    ChannelOrder, Input, PicturePlacement, PixelLevels, PixelRange, Preprocessing, TensorLayout,
};

pub(super) fn input(fields: &mut Cursor<'_>) -> Result<Input> {
    let name = fields.text()?;
    let value = value_id(fields)?;
    let preprocessing = preprocessing(fields)?;
    let pixel_levels = if fields.flag("flag for levels by channel")? {
        PixelLevels::ByChannel(Box::new([fields.array()?, fields.array()?, fields.array()?]))
    } else {
        PixelLevels::Same(fields.array()?)
    };
    Ok(Input { name, value, preprocessing, pixel_levels })
}

fn preprocessing(fields: &mut Cursor<'_>) -> Result<Preprocessing> {
    let range = choice(
        fields,
        "range of a picture",
        &[(codes::RANGE_UNIT, PixelRange::Unit), (codes::RANGE_BYTES, PixelRange::Bytes)],
    )?;
    let mean = [fields.f32()?, fields.f32()?, fields.f32()?];
    let deviation = [fields.f32()?, fields.f32()?, fields.f32()?];
    let order = choice(
        fields,
        "order of channels",
        &[(codes::ORDER_RGB, ChannelOrder::Rgb), (codes::ORDER_BGR, ChannelOrder::Bgr)],
    )?;
    let layout = choice(
        fields,
        "layout of a tensor",
        &[(codes::LAYOUT_NCHW, TensorLayout::Nchw), (codes::LAYOUT_NHWC, TensorLayout::Nhwc)],
    )?;
    let placement = choice(
        fields,
        "placement of a picture",
        &[
            (codes::PLACEMENT_CENTRE, PicturePlacement::Centre),
            (codes::PLACEMENT_CORNER, PicturePlacement::Corner),
            (codes::PLACEMENT_STRETCH, PicturePlacement::Stretch),
        ],
    )?;
    let fill = fields.array()?;
    Ok(Preprocessing { range, mean, deviation, order, layout, placement, fill })
}

/// One of a few numbers.
fn choice<T: Copy>(fields: &mut Cursor<'_>, what: &'static str, known: &[(u8, T)]) -> Result<T> {
    let offset = fields.offset();
    let code = fields.u8()?;
    let found = known.iter().find(|(number, _)| *number == code);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| fields.unknown_code(offset, what, code))
}
