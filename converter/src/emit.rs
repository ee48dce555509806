//! The model, put together from what lowering gives.

use ylb_format::model::{Input, Metadata, Model, Operator, PixelLevels, PixelRange, ValueId};
use ylb_source::picture::PictureRange;

use crate::error::{ConvertError, ErrorKind};
use crate::heads::Heads;
use crate::lower::Lowered;
use crate::report::Row;

/// Builds the model and checks every promise that the file format makes.
///
/// # Errors
/// If the model breaks one of them: some count or number is beyond what the format can hold.
pub fn model(
    lowered: Lowered,
    heads: Heads,
    (input_name, picture): (&str, PictureRange),
    metadata: Metadata,
) -> Result<(Model, Vec<Row>), ConvertError> {
    let mut pixel_levels = [0u8; 256];
    for (level, byte) in pixel_levels.iter_mut().zip(0..=255) {
        *level = byte;
    }
    let mut input = Input::new(input_name, lowered.pixels, pixel_levels);
    input.preprocessing.range = match picture {
        PictureRange::Unit => PixelRange::Unit,
        PictureRange::Bytes => PixelRange::Bytes,
    };
    let mut rows = lowered.rows;
    let mut model = Model {
        metadata,
        input,
        values: lowered.values,
        nodes: lowered.nodes,
        outputs: heads.outputs,
        detect: lowered.detect,
    };
    if let Some((value, tables)) = lowered.pixel_tables {
        model.input.value = value;
        model.input.pixel_levels = match tables[0] == tables[1] && tables[1] == tables[2] {
            true => PixelLevels::Same(tables[0]),
            false => PixelLevels::ByChannel(tables),
        };
    }
    remove_unread(&mut model, &mut rows);
    if model.input.value != lowered.pixels {
        drop_pixels(&mut model, lowered.pixels)?;
    }
    absorb_input_quantizer(&mut model, &mut rows);
    ylb_format::validate(&model).map_err(|violation| {
        ConvertError::new(ErrorKind::Inexact, format!("the model does not fit the file format: {violation}"))
    })?;
    Ok((model, rows))
}

/// Removes operators whose values nothing reads: those between two quantizers of which a single table
/// was made, such as the sigmoid of a SiLU that is quantized on its own.
fn remove_unread(model: &mut Model, rows: &mut Vec<Row>) {
    // Readers come after what they read, so one walk from the end finds all.
    for index in (0..model.nodes.len()).rev() {
        let output = model.nodes[index].output;
        let read = model.nodes.iter().any(|node| node.operator.inputs().contains(&output))
            || model.detect.parts().any(|part| part.value == output);
        if !read {
            model.nodes.remove(index);
            rows.remove(index);
            remove_value(model, output);
        }
    }
}

/// Removes the picture's bytes, where tables by channel made another value the input.
fn drop_pixels(model: &mut Model, pixels: ValueId) -> Result<(), ConvertError> {
    let read = model.nodes.iter().any(|node| node.operator.inputs().contains(&pixels))
        || model.detect.parts().any(|part| part.value == pixels);
    if read {
        return Err(ConvertError::unsupported(
            "the picture is read both behind a function by channel and without it; expected one quantizer of it",
        ));
    }
    remove_value(model, pixels);
    Ok(())
}

/// Where nothing but one look-up reads the picture, the look-up becomes the input's.
fn absorb_input_quantizer(model: &mut Model, rows: &mut Vec<Row>) {
    let pixels = model.input.value;
    let readers: Vec<usize> = (0..model.nodes.len())
        .filter(|&index| model.nodes[index].operator.inputs().contains(&pixels))
        .collect();
    let &[reader] = readers.as_slice() else { return };
    let Operator::Map { table, .. } = &model.nodes[reader].operator else { return };
    if let Ok(levels) = <[u8; 256]>::try_from(table.as_slice()) {
        model.input.pixel_levels = PixelLevels::Same(levels);
        model.input.value = model.nodes[reader].output;
        model.nodes.remove(reader);
        rows.remove(reader);
        remove_value(model, pixels);
    }
}

/// Removes a value that no node writes or reads.
fn remove_value(model: &mut Model, removed: ValueId) {
    model.values.remove(removed.0 as usize);
    let renumber = |id: &mut ValueId| {
        if id.0 > removed.0 {
            id.0 -= 1;
        }
    };
    renumber(&mut model.input.value);
    for node in &mut model.nodes {
        renumber(&mut node.output);
        node.operator.inputs_mut().into_iter().for_each(renumber);
    }
    model.detect.maps.iter_mut().flat_map(|map| &mut map.parts).for_each(|part| renumber(&mut part.value));
}
