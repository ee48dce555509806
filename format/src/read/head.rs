//! The detection head of section GRAPH.

use super::cursor::Cursor;
use super::graph::value_id;
use super::{Result, Sections};
use crate::container::codes;
use crate::limits::{MAX_ANCHORS, MAX_MAPS, MAX_PARTS};
use crate::model::{
    Arranged, BoxRule, Detect, HeadMap, HeadPart, Layout, MapPart, Numbers, Output, OutputKind, Scope,
    ScoreRule,
};
use crate::weights::to_usize;

pub(super) fn detect(sections: &mut Sections<'_>) -> Result<Detect> {
    let graph = &mut sections.graph;
    let classes = graph.u32()?;
    let boxes = box_rule(graph)?;
    let scores = score_rule(graph)?;
    let count = graph.small_count("feature maps of the detection head", MAX_MAPS)?;
    let maps = (0..count).map(|_| map(sections, boxes)).collect::<Result<_>>()?;
    Ok(Detect { classes, boxes, scores, maps })
}

fn box_rule(fields: &mut Cursor<'_>) -> Result<BoxRule> {
    let offset = fields.offset();
    Ok(match fields.u8()? {
        codes::BOXES_ANCHORS_SIGMOID => BoxRule::AnchorsSigmoid,
        codes::BOXES_ANCHORS_EXP => BoxRule::AnchorsExp,
        codes::BOXES_GRID_EXP => BoxRule::GridExp,
        codes::BOXES_DISTRIBUTIONS => BoxRule::Distributions { bins: fields.u8()? },
        codes::BOXES_DISTANCES => BoxRule::Distances,
        code => return Err(fields.unknown_code(offset, "rule for boxes", code)),
    })
}

fn score_rule(fields: &mut Cursor<'_>) -> Result<ScoreRule> {
    let offset = fields.offset();
    Ok(match fields.u8()? {
        codes::SCORES_OBJECTNESS_TIMES_CLASS => ScoreRule::ObjectnessTimesClass,
        codes::SCORES_CLASS => ScoreRule::Class,
        codes::SCORES_OBJECTNESS_TIMES_SOFTMAX => ScoreRule::ObjectnessTimesSoftmax,
        codes::SCORES_CONSTANT_OBJECTNESS => ScoreRule::ConstantObjectness,
        code => return Err(fields.unknown_code(offset, "rule for scores", code)),
    })
}

fn map(sections: &mut Sections<'_>, boxes: BoxRule) -> Result<HeadMap> {
    let fields = &mut sections.graph;
    let stride = fields.u32()?;
    let (mut anchors_per_cell, mut anchors, mut scale_xy) = (1, Vec::new(), 1.0);
    if boxes.has_anchors() {
        anchors_per_cell = u32::from(fields.u8()?);
        fields.check_count("anchors of a cell", to_usize(anchors_per_cell), to_usize(MAX_ANCHORS))?;
        scale_xy = fields.f32()?;
        if fields.flag("flag for anchors")? {
            for _ in 0..anchors_per_cell {
                anchors.push([fields.f32()?, fields.f32()?]);
            }
        }
    }
    let count = fields.small_count("parts of a feature map", MAX_PARTS)?;
    let parts = (0..count).map(|_| part(sections, anchors_per_cell)).collect::<Result<_>>()?;
    Ok(HeadMap { stride, anchors_per_cell, anchors, scale_xy, parts })
}

fn part(sections: &mut Sections<'_>, anchors_per_cell: u32) -> Result<HeadPart> {
    let Sections { graph, quant, .. } = sections;
    let value = value_id(graph)?;
    let [first, count] = graph.u32s()?;
    let shift = graph.u8()?;
    let channels = to_usize(count).saturating_mul(to_usize(anchors_per_cell));
    let multipliers = quant.numbers(channels, i32::from_le_bytes)?;
    let bias = quant.numbers(channels, i64::from_le_bytes)?;
    // Beyond a u32 no field is the last one's, which validation says.
    let fields = first..first.saturating_add(count);
    Ok(HeadPart { value, fields, multipliers, bias, shift })
}

pub(super) fn output(fields: &mut Cursor<'_>) -> Result<Output> {
    let name = fields.text()?;
    let offset = fields.offset();
    let kind = match fields.u8()? {
        codes::OUTPUT_HEAD => OutputKind::Head(map_part(fields)?),
        codes::OUTPUT_HEAD_BY_ANCHOR => OutputKind::HeadByAnchor(map_part(fields)?),
        codes::OUTPUT_DECODED => OutputKind::Decoded,
        codes::OUTPUT_ARRANGED => OutputKind::Arranged(arranged(fields)?),
        code => return Err(fields.unknown_code(offset, "kind of output", code)),
    };
    Ok(Output { name, kind })
}

fn arranged(fields: &mut Cursor<'_>) -> Result<Arranged> {
    let offset = fields.offset();
    let code = fields.u8()?;
    let numbers = Numbers::ALL.get(usize::from(code).wrapping_sub(1)).copied();
    let numbers = numbers.ok_or_else(|| fields.unknown_code(offset, "numbers of an output", code))?;
    let offset = fields.offset();
    let code = fields.u8()?;
    let layout = Layout::ALL.get(usize::from(code).wrapping_sub(1)).copied();
    let layout = layout.ok_or_else(|| fields.unknown_code(offset, "layout of an output", code))?;
    let offset = fields.offset();
    let of = match fields.u8()? {
        codes::OF_MAPS => Scope::Maps,
        codes::OF_PART => Scope::Part(map_part(fields)?),
        codes::OF_MAP => Scope::Map(u32::from(fields.u8()?)),
        code => return Err(fields.unknown_code(offset, "scope of an output", code)),
    };
    let [first, count] = fields.u32s()?;
    Ok(Arranged { numbers, layout, of, first, count })
}

fn map_part(fields: &mut Cursor<'_>) -> Result<MapPart> {
    Ok(MapPart { map: u32::from(fields.u8()?), part: u32::from(fields.u8()?) })
}
