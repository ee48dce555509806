//! What a converted model's owner may want to know: layers that gain nothing from their widths, and
//! outputs that nothing needs.

use ylb_format::model::{BoxRule, Model, Operator, OutputKind, Preprocessing, Requantize};

use crate::report::{Row, Warning, WarningKind};

/// Widest levels and weights that the runtime multiplies plane by plane; wider ones are bytes.
const MAX_PLANES: u32 = 4;

/// Forgets warnings of convolutions computed more than once where only one computation is left: of the others the codes
/// became a part of the function of that one.
pub fn forget_unread(warnings: &mut Vec<Warning>, model: &Model) {
    let computed = |name: &str| model.nodes.iter().filter(|node| node.name == name).count();
    warnings.retain(|warning| warning.kind != WarningKind::ComputedTwice || computed(&warning.node) > 1);
}

/// Warnings about a model and its rows, which are in the order of its nodes.
pub fn warnings(model: &Model, rows: &[Row]) -> Vec<Warning> {
    let (mut wide_levels, mut wide_weights, mut wide_sums) = (Vec::new(), Vec::new(), Vec::new());
    for (node, row) in model.nodes.iter().zip(rows) {
        let Operator::Conv(conv) = &node.operator else { continue };
        let weight_bits = row.weight_bits.map_or(0, u32::from);
        let narrow = |bits: u32| bits <= MAX_PLANES;
        match (narrow(weight_bits), narrow(row.input_bits)) {
            (true, false) if conv.terms.iter().any(|term| is_exact_sum(model, term.input.0)) => {
                wide_sums.push(row.node.as_str());
            }
            (true, false) => wide_levels.push(row.node.as_str()),
            // Heads have 8-bit weights in every export, whatever the rest has.
            (false, true) if row.output_bits.is_some() => wide_weights.push(row.node.as_str()),
            _ => {}
        }
    }
    let layers = [
        (wide_levels, "narrow weights over activations of more than 4 bits are multiplied as bytes"),
        (wide_weights, "weights of more than 4 bits over narrow activations are multiplied as bytes"),
        (wide_sums, "narrow weights over a sum that needs more than 4 bits are multiplied as bytes"),
    ];
    let mut warnings: Vec<Warning> =
        layers.into_iter().filter_map(|(names, what)| about_layers(&names, what)).collect();
    warnings.extend(repeated_heads(model));
    warnings.extend(picture_of_family(model));
    warnings
}

/// Of a head whose family usually has pictures of another kind than this model.
fn picture_of_family(model: &Model) -> Option<Warning> {
    let Preprocessing { order, placement, .. } = model.input.preprocessing;
    let usual = Preprocessing::default();
    let told = order != usual.order || placement != usual.placement;
    (model.detect.boxes == BoxRule::GridExp && !told).then(|| {
        let message = "boxes are YOLOX's, whose own exports take bytes of blue, green, red in the top left corner: if this one \
                       does, convert with --bytes --bgr --letterbox corner";
        Warning::of_model(WarningKind::Picture, message)
    })
}

fn about_layers(names: &[&str], what: &str) -> Option<Warning> {
    let (first, others) = names.split_first()?;
    let also = match others.len() {
        0 => String::new(),
        count => format!(" (and in {count} more: {})", others.join(", ")),
    };
    let message =
        format!("{what}{also}: the narrow side makes the file smaller, but the layer no faster than 8 bits");
    Some(Warning::at(first, WarningKind::NarrowSide, message))
}

/// Whether a value is the unrounded sum of others, or a concat or copy with one in it.
fn is_exact_sum(model: &Model, value: u32) -> bool {
    let Some(node) = model.nodes.iter().find(|node| node.output.0 == value) else { return false };
    let unit = |requantize: &Requantize| matches!(requantize, Requantize::Scale { multipliers, .. } if multipliers.iter().all(|&m| m == 1));
    match &node.operator {
        Operator::Add { requantize, .. } => unit(requantize),
        // Operators read values of earlier nodes only, so this ends.
        handing if handing.hands_levels_on() => {
            handing.inputs().iter().any(|input| is_exact_sum(model, input.0))
        }
        _ => false,
    }
}

/// Raw heads beside the boxes that are decoded from them, as exports for training have them.
fn repeated_heads(model: &Model) -> Option<Warning> {
    let decoded = model.outputs.iter().find(|output| output.kind == OutputKind::Decoded)?;
    let raw = model.outputs.iter().filter(|output| output.kind != OutputKind::Decoded);
    let names: Vec<&str> = raw.map(|output| output.name.as_str()).collect();
    let (first, joined) = (names.first()?, names.join(", "));
    let message = format!(
        "no box needs the outputs {joined}: they are the heads that \"{}\" is decoded from",
        decoded.name
    );
    Some(Warning::at(first, WarningKind::UnneededOutputs, message))
}
