//! Values by themselves, and the input.

use std::collections::HashMap;

use super::{ValueProblem, Violation};
use crate::limits::{MAX_CODE, MAX_ELEMENTS, MAX_EXTENT};
use crate::model::{Encoding, Model, PixelLevels, Preprocessing, Value};
use crate::weights::to_usize;

pub(super) fn validate(model: &Model) -> Result<(), Violation> {
    let mut names = HashMap::new();
    for (value, index) in model.values.iter().zip(0u32..) {
        value_by_itself(value).map_err(|problem| Violation::Value {
            value: index,
            name: value.name.clone(),
            problem,
        })?;
        if value.name.is_empty() {
            continue;
        }
        if let Some(first) = names.insert(value.name.as_str(), index) {
            let name = value.name.clone();
            return Err(Violation::DuplicateName { first, second: index, name });
        }
    }
    input(model)
}

fn value_by_itself(value: &Value) -> Result<(), ValueProblem> {
    let &Value { channels, height, width, .. } = value;
    if [channels, height, width].iter().any(|extent| !(1..=MAX_EXTENT).contains(extent)) {
        return Err(ValueProblem::Extent { channels, height, width, limit: MAX_EXTENT });
    }
    // Three factors of at most 2^16 each.
    let elements = u64::from(channels) * u64::from(height) * u64::from(width);
    if elements > MAX_ELEMENTS {
        return Err(ValueProblem::Elements { elements, limit: MAX_ELEMENTS });
    }
    value.encoding().map_or(Ok(()), encoding)
}

fn encoding(encoding: &Encoding) -> Result<(), ValueProblem> {
    let &Encoding { max_level, step, low, zero_point, scale } = encoding;
    let codes = -MAX_CODE..=MAX_CODE;
    if max_level == 0 {
        return Err(ValueProblem::MaxLevel);
    }
    if !(1..=2).contains(&step) {
        return Err(ValueProblem::Step { step });
    }
    if !codes.contains(&low) {
        return Err(ValueProblem::Low { low });
    }
    if !codes.contains(&zero_point) {
        return Err(ValueProblem::ZeroPoint { zero_point });
    }
    // One spelling of "unknown": −0 would be a second.
    if !scale.is_finite() || scale.is_sign_negative() {
        return Err(ValueProblem::Scale { scale });
    }
    Ok(())
}

fn input(model: &Model) -> Result<(), Violation> {
    let id = model.input.value.0;
    let Some(value) = model.values.get(to_usize(id)) else {
        return Err(Violation::UnknownInput { value: id, values: model.values.len() });
    };
    let Some(encoding) = value.encoding() else {
        return Err(Violation::InputIsAccumulators { value: id });
    };
    if value.channels != 3 {
        return Err(Violation::InputChannels { channels: value.channels });
    }
    pixel_levels(&model.input.pixel_levels, encoding.max_level)?;
    preprocessing(&model.input.preprocessing)
}

fn pixel_levels(levels: &PixelLevels, max_level: u8) -> Result<(), Violation> {
    let tables = levels.tables();
    if tables.len() > 1 && tables.iter().all(|table| Some(table) == tables.first()) {
        return Err(Violation::EqualPixelLevels);
    }
    let mut all = tables.iter().flat_map(|table| table.iter().enumerate());
    match all.find(|(_, level)| **level > max_level) {
        None => Ok(()),
        Some((byte, &level)) => Err(Violation::PixelLevel { byte, level, max_level }),
    }
}

/// One spelling of 0: −0 would be a second.
fn preprocessing(preprocessing: &Preprocessing) -> Result<(), Violation> {
    let mean = |mean: &f32| mean.is_finite() && (*mean != 0.0 || mean.is_sign_positive());
    let deviation = |deviation: &f32| deviation.is_finite() && *deviation > 0.0;
    let Preprocessing { mean: means, deviation: deviations, .. } = preprocessing;
    if means.iter().all(mean) && deviations.iter().all(deviation) {
        return Ok(());
    }
    Err(Violation::Normalization { mean: *means, deviation: *deviations })
}
