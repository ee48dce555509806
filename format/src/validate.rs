//! Every promise of [`model`](crate::model), checked: by the reader for a file, by the writer for a
//! model.
//!
//! Checks go from the outside in, so that each may rely on those before it: texts and counts, values,
//! input, nodes in their order, then what the nodes leave (unwritten and unread values), the
//! detection head and the outputs. The first violation is the result.

mod attention;
mod conv;
mod curves;
mod detect;
mod graph;
mod head_problem;
mod node_problem;
mod requantize;
mod values;
mod violation;

pub use head_problem::HeadProblem;
pub use node_problem::NodeProblem;
pub use violation::{ValueProblem, Violation};

use crate::limits::{MAX_EXTENT, MAX_MAPS, MAX_OUTPUTS, MAX_TEXT, MAX_VALUES};
use crate::model::Model;
use crate::weights::to_usize;

/// Checks that a model keeps every promise of [`model`](crate::model) and the
/// [`limits`](crate::limits).
///
/// # Errors
/// The first violation found.
pub fn validate(model: &Model) -> Result<(), Violation> {
    counts(model)?;
    texts(model)?;
    values::validate(model)?;
    let usage = graph::validate(model)?;
    detect::validate(model)?;
    usage.validate(model)
}

fn counts(model: &Model) -> Result<(), Violation> {
    let classes = to_usize(MAX_EXTENT);
    for (what, count, limit) in [
        ("values", model.values.len(), MAX_VALUES),
        ("nodes", model.nodes.len(), MAX_VALUES),
        ("feature maps of the detection head", model.detect.maps.len(), MAX_MAPS),
        ("outputs", model.outputs.len(), MAX_OUTPUTS),
        ("class names", model.metadata.class_names.len(), classes),
    ] {
        if count > limit {
            return Err(Violation::TooMany { what, count, limit });
        }
    }
    let names = model.metadata.class_names.len();
    if names != 0 && names != to_usize(model.detect.classes) {
        return Err(Violation::ClassNames { names, classes: model.detect.classes });
    }
    Ok(())
}

fn texts(model: &Model) -> Result<(), Violation> {
    let metadata = &model.metadata;
    let once = [
        ("name of the converter", &metadata.converter),
        ("name of the source model", &metadata.source_name),
        ("format of the source model", &metadata.source_format),
        ("name of the input", &model.input.name),
    ];
    let class_names = metadata.class_names.iter().map(|name| ("name of a class", name));
    let values = model.values.iter().map(|value| ("name of a value", &value.name));
    let nodes = model.nodes.iter().map(|node| ("name of a node", &node.name));
    let outputs = model.outputs.iter().map(|output| ("name of an output", &output.name));
    let mut all = once.into_iter().chain(class_names).chain(values).chain(nodes).chain(outputs);
    match all.find(|(_, text)| text.len() > MAX_TEXT) {
        None => Ok(()),
        Some((what, text)) => Err(Violation::TextTooLong { what, len: text.len(), limit: MAX_TEXT }),
    }
}
