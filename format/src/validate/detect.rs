//! The detection head and the outputs.

use std::collections::{HashMap, HashSet};

use super::{HeadProblem, Violation};
use crate::limits::{MAX_ANCHORS, MAX_BINS, MAX_EXTENT, MAX_PARTS, MAX_SCALE_XY, MAX_SHIFT};
use crate::model::{
    Arranged, BoxRule, Detect, HeadMap, HeadPart, MapPart, Model, OutputKind, Scope, Value, ValueId,
};
use crate::weights::to_usize;

pub(super) fn validate(model: &Model) -> Result<(), Violation> {
    let Detect { classes, boxes, maps, .. } = &model.detect;
    // Whoever reads a model allocates for each class, with or without a head.
    if *classes > MAX_EXTENT || (*classes == 0 && !maps.is_empty()) {
        return Err(Violation::Classes { classes: *classes, limit: MAX_EXTENT });
    }
    if let BoxRule::Distributions { bins } = *boxes
        && !(2..=MAX_BINS).contains(&bins)
    {
        return Err(Violation::Bins { bins, limit: MAX_BINS });
    }
    let mut read = HashSet::new();
    let mut strides = HashMap::new();
    for (index, map) in maps.iter().enumerate() {
        let fail = |problem| Violation::Head { map: index, problem };
        self::map(model, map).map_err(fail)?;
        if let Some(first) = strides.insert(map.stride, index) {
            return Err(fail(HeadProblem::SharedStride { stride: map.stride, map: first }));
        }
        parts(model, map, &mut read).map_err(fail)?;
    }
    outputs(model)
}

/// What a map says by itself.
fn map(model: &Model, map: &HeadMap) -> Result<(), HeadProblem> {
    let &HeadMap { stride, anchors_per_cell: anchors, scale_xy: scale, .. } = map;
    if !(1..=MAX_EXTENT).contains(&stride) {
        return Err(HeadProblem::Stride { stride, limit: MAX_EXTENT });
    }
    if !(1..=MAX_ANCHORS).contains(&anchors) {
        return Err(HeadProblem::AnchorsPerCell { anchors, limit: MAX_ANCHORS });
    }
    if !(1.0..=MAX_SCALE_XY).contains(&scale) {
        return Err(HeadProblem::ScaleXy { scale, limit: MAX_SCALE_XY });
    }
    let plain = anchors == 1 && map.anchors.is_empty() && scale.to_bits() == 1f32.to_bits();
    if !model.detect.boxes.has_anchors() && !plain {
        return Err(HeadProblem::AnchorsWithoutRule);
    }
    sizes(map)
}

fn sizes(map: &HeadMap) -> Result<(), HeadProblem> {
    let (len, anchors) = (map.anchors.len(), map.anchors_per_cell);
    if len != 0 && len != to_usize(anchors) {
        return Err(HeadProblem::AnchorsLen { len, anchors });
    }
    let usable = |size: &f32| size.is_finite() && *size > 0.0;
    match map.anchors.iter().enumerate().find(|(_, size)| !size.iter().all(usable)) {
        None => Ok(()),
        Some((anchor, &[width, height])) => Err(HeadProblem::Anchor { anchor, width, height }),
    }
}

/// The parts of a map: together all fields, each of a value that no other part has read.
fn parts(model: &Model, map: &HeadMap, read: &mut HashSet<ValueId>) -> Result<(), HeadProblem> {
    if !(1..=MAX_PARTS).contains(&map.parts.len()) {
        return Err(HeadProblem::Parts { parts: map.parts.len(), limit: MAX_PARTS });
    }
    let all = model.detect.fields();
    let mut expected = 0;
    let mut cells = None;
    for (index, part) in map.parts.iter().enumerate() {
        let (start, end) = (part.fields.start, part.fields.end);
        if start != expected || start >= end || u64::from(end) > all {
            return Err(HeadProblem::Fields { part: index, start, end, all, expected });
        }
        expected = end;
        let id = part.value;
        let values = model.values.len();
        let unknown = HeadProblem::UnknownValue { part: index, value: id.0, values };
        let value = model.values.get(to_usize(id.0)).ok_or(unknown)?;
        if !read.insert(id) {
            return Err(HeadProblem::SharedValue { part: index, value: id.0 });
        }
        let (rows, columns) = *cells.get_or_insert((value.height, value.width));
        let (height, width) = (value.height, value.width);
        if (height, width) != (rows, columns) {
            return Err(HeadProblem::Cells { part: index, height, width, rows, columns });
        }
        channels(map, part, value)?;
        logits(index, part, value)?;
    }
    let last = map.parts.len() - 1;
    if u64::from(expected) != all {
        let start = map.parts.get(last).map_or(0, |part| part.fields.start);
        return Err(HeadProblem::Fields { part: last, start, end: expected, all, expected });
    }
    Ok(())
}

fn channels(map: &HeadMap, part: &HeadPart, value: &Value) -> Result<(), HeadProblem> {
    let (channels, anchors) = (value.channels, map.anchors_per_cell);
    // At most 2^16 classes and 2^8 fields beside them.
    let fields = part.fields.end - part.fields.start;
    if u64::from(channels) != u64::from(anchors) * u64::from(fields) {
        return Err(HeadProblem::Channels { value: part.value.0, channels, anchors, fields });
    }
    if part.multipliers.len() != to_usize(channels) {
        return Err(HeadProblem::MultipliersLen { len: part.multipliers.len(), channels });
    }
    if part.bias.len() != to_usize(channels) {
        return Err(HeadProblem::BiasLen { len: part.bias.len(), channels });
    }
    if part.shift > MAX_SHIFT {
        return Err(HeadProblem::Shift { shift: part.shift, limit: MAX_SHIFT });
    }
    Ok(())
}

/// `|x| · |multiplier| + |bias|` fits an i64, where `x` is an integer of the value's encoding or any
/// i32 that is an accumulator.
fn logits(index: usize, part: &HeadPart, value: &Value) -> Result<(), HeadProblem> {
    let bound = match value.encoding() {
        Some(encoding) => encoding.max_magnitude().unsigned_abs(),
        None => u64::from(i32::MAX.unsigned_abs()),
    };
    let channels = part.multipliers.iter().zip(&part.bias);
    for (channel, (multiplier, bias)) in channels.enumerate() {
        // At most 2^31 · 2^31 + 2^63.
        let magnitude = bound * u64::from(multiplier.unsigned_abs()) + bias.unsigned_abs();
        if i64::try_from(magnitude).is_err() {
            return Err(HeadProblem::Overflow { part: index, channel });
        }
    }
    Ok(())
}

/// Whether there are the columns that an output has, and it is of as many maps as its layout and its numbers.
fn is_arranged(detect: &Detect, Arranged { numbers, layout, of, first, count }: Arranged) -> bool {
    let columns = match of {
        _ if numbers.are_scored() => 4 + u64::from(detect.classes),
        _ if numbers.are_boxes() => detect.columns(),
        Scope::Part(of) => {
            let part = detect.maps.get(to_usize(of.map)).and_then(|map| map.parts.get(to_usize(of.part)));
            part.map_or(0, |part| u64::from(part.fields.end.saturating_sub(part.fields.start)))
        }
        Scope::Maps | Scope::Map(_) => detect.fields(),
    };
    let fits = count > 0 && u64::from(first) + u64::from(count) <= columns && !detect.maps.is_empty();
    fits && if of == Scope::Maps { !layout.of_one_map() } else { !numbers.are_boxes() }
}

fn outputs(model: &Model) -> Result<(), Violation> {
    let Detect { boxes, maps, .. } = &model.detect;
    let lacks = |map: &HeadMap| boxes.has_anchors() && map.anchors.is_empty();
    let decodable = !maps.is_empty() && !maps.iter().any(lacks);
    let mut names = HashSet::new();
    for output in &model.outputs {
        let name = || output.name.clone();
        if !names.insert(output.name.as_str()) {
            return Err(Violation::DuplicateOutput { name: name() });
        }
        match output.kind {
            OutputKind::Head(of) | OutputKind::HeadByAnchor(of) => {
                let parts = maps.get(to_usize(of.map)).map_or(0, |map| map.parts.len());
                if to_usize(of.part) >= parts {
                    return Err(Violation::UnknownPart { name: name(), map: of.map, part: of.part });
                }
            }
            OutputKind::Decoded if !decodable => return Err(Violation::NoAnchors { name: name() }),
            OutputKind::Decoded => {}
            OutputKind::Arranged(arranged) => {
                let of = match arranged.of {
                    Scope::Maps => None,
                    Scope::Map(map) => Some(MapPart::whole(map)),
                    Scope::Part(part) => Some(part),
                };
                if let Some(MapPart { map, part }) = of
                    && to_usize(part) >= maps.get(to_usize(map)).map_or(0, |map| map.parts.len())
                {
                    return Err(Violation::UnknownPart { name: name(), map, part });
                }
                if arranged.numbers.are_boxes() && !decodable {
                    return Err(Violation::NoAnchors { name: name() });
                }
                if !is_arranged(&model.detect, arranged) {
                    return Err(Violation::Arrangement { name: name() });
                }
            }
        }
    }
    Ok(())
}
