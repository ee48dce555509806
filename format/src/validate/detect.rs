//! The detection head and the outputs.

use std::collections::{HashMap, HashSet};

use super::{DetectProblem, Violation};
use crate::limits::{MAX_ANCHORS, MAX_EXTENT, MAX_SHIFT};
use crate::model::{Detect, DetectLevel, Model, OutputKind, Value};
use crate::weights::to_usize;

pub(super) fn validate(model: &Model) -> Result<(), Violation> {
    let Detect { classes, levels } = &model.detect;
    // Whoever reads a model allocates for each class, with or without a head.
    if *classes > MAX_EXTENT || (*classes == 0 && !levels.is_empty()) {
        return Err(Violation::Classes { classes: *classes, limit: MAX_EXTENT });
    }
    let mut readers = HashMap::new();
    let mut previous = 0;
    for (index, level) in levels.iter().enumerate() {
        let fail = |problem| Violation::Detect { level: index, problem };
        if let Some(first) = readers.insert(level.value, index) {
            return Err(fail(DetectProblem::SharedValue { value: level.value.0, level: first }));
        }
        detect_level(model, level).map_err(fail)?;
        let stride = level.stride;
        if stride <= previous {
            return Err(fail(DetectProblem::StrideOrder { stride, previous }));
        }
        previous = stride;
    }
    outputs(model)
}

fn detect_level(model: &Model, level: &DetectLevel) -> Result<(), DetectProblem> {
    let values = model.values.len();
    let unknown = DetectProblem::UnknownValue { value: level.value.0, values };
    let value = model.values.get(to_usize(level.value.0)).ok_or(unknown)?;

    let &DetectLevel { stride, anchors_per_cell: anchors, shift, .. } = level;
    if !(1..=MAX_EXTENT).contains(&stride) {
        return Err(DetectProblem::Stride { stride, limit: MAX_EXTENT });
    }
    if !(1..=MAX_ANCHORS).contains(&anchors) {
        return Err(DetectProblem::AnchorsPerCell { anchors, limit: MAX_ANCHORS });
    }
    // At most 2^4 · (5 + 2^16).
    let classes = model.detect.classes;
    let channels = value.channels;
    if channels != anchors * (5 + classes) {
        let value = level.value.0;
        return Err(DetectProblem::Channels { value, channels, anchors, classes });
    }
    sizes(level)?;
    if level.multipliers.len() != to_usize(channels) {
        return Err(DetectProblem::MultipliersLen { len: level.multipliers.len(), channels });
    }
    if level.bias.len() != to_usize(channels) {
        return Err(DetectProblem::BiasLen { len: level.bias.len(), channels });
    }
    if shift > MAX_SHIFT {
        return Err(DetectProblem::Shift { shift, limit: MAX_SHIFT });
    }
    logits(level, value)
}

fn sizes(level: &DetectLevel) -> Result<(), DetectProblem> {
    let (len, anchors) = (level.anchors.len(), level.anchors_per_cell);
    if len != 0 && len != to_usize(anchors) {
        return Err(DetectProblem::AnchorsLen { len, anchors });
    }
    let usable = |size: &f32| size.is_finite() && *size > 0.0;
    match level.anchors.iter().enumerate().find(|(_, size)| !size.iter().all(usable)) {
        None => Ok(()),
        Some((anchor, &[width, height])) => Err(DetectProblem::Anchor { anchor, width, height }),
    }
}

/// `|x| · |multiplier| + |bias|` fits an i64, where `x` is an integer of the value's encoding or any
/// i32 that is an accumulator.
fn logits(level: &DetectLevel, value: &Value) -> Result<(), DetectProblem> {
    let bound = match value.encoding() {
        Some(encoding) => encoding.max_magnitude().unsigned_abs(),
        None => u64::from(i32::MAX.unsigned_abs()),
    };
    let channels = level.multipliers.iter().zip(&level.bias);
    for (channel, (multiplier, bias)) in channels.enumerate() {
        // At most 2^31 · 2^31 + 2^63.
        let magnitude = bound * u64::from(multiplier.unsigned_abs()) + bias.unsigned_abs();
        if i64::try_from(magnitude).is_err() {
            return Err(DetectProblem::Overflow { channel });
        }
    }
    Ok(())
}

fn outputs(model: &Model) -> Result<(), Violation> {
    let levels = &model.detect.levels;
    let mut names = HashSet::new();
    for output in &model.outputs {
        let name = || output.name.clone();
        if !names.insert(output.name.as_str()) {
            return Err(Violation::DuplicateOutput { name: name() });
        }
        match output.kind {
            OutputKind::Head(level) | OutputKind::HeadByAnchor(level) => {
                if to_usize(level) >= levels.len() {
                    let levels = levels.len();
                    return Err(Violation::UnknownLevel { name: name(), level, levels });
                }
            }
            OutputKind::Decoded => {
                if levels.is_empty() || levels.iter().any(|level| level.anchors.is_empty()) {
                    return Err(Violation::NoAnchors { name: name() });
                }
            }
        }
    }
    Ok(())
}
