//! The order of things: from a source to a model and an account of it.

use ylb_format::model::{BoxRule, ChannelOrder, Metadata, TensorLayout, WITHOUT_DECODE_QUANTIZERS};
use ylb_source::picture::{PictureRange, is_channels_last};
use ylb_source::{Source, ir, names};

use crate::heads::selection::Cut;
use crate::heads::{Heads, Hints, Map, families};
use crate::{ConvertError, Converted, ErrorKind, Options, Progress, Report, Warning, WarningKind};
use crate::{advice, emit, heads, lower, passes};

/// Converts an ONNX model. `source_name` is the file's name without folders; `progress` is called
/// now and then.
///
/// # Errors
/// If the file is broken, or holds something that has no exact integer form that is known here.
pub fn convert(
    onnx_bytes: &[u8],
    source_name: &str,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, ConvertError> {
    progress(Progress::Reading);
    let source = Source::onnx(onnx_bytes, source_name, options.model_folder.as_deref())?;
    convert_source(&source, options, progress)
}

/// Converts a model that was read already; [`Options::model_folder`] means nothing here. Of a folder of
/// weights, names and anchors are those that it says, whatever the options are.
///
/// # Errors
/// If it holds something that has no exact integer form that is known here.
pub fn convert_source(
    source: &Source,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, ConvertError> {
    if let Some(bits) = options.requantize_joins.filter(|bits| ![8, 16].contains(bits)) {
        let message = format!("joins requantized to {bits} bits; expected 8 or 16");
        return Err(ConvertError::new(ErrorKind::Unsupported, message));
    }
    let origin = Metadata {
        converter: format!("yolo-lowbit {}", env!("CARGO_PKG_VERSION")),
        source_name: source.name.clone(),
        source_sha256: source.sha256,
        ..Metadata::default()
    };
    let Some(described) = &source.described else {
        return convert_graph(source.graph.clone(), origin, options, progress);
    };
    let options = Options {
        class_names: described.names.clone(),
        anchors: Some(described.anchors.clone()),
        head: Some(families::DEFAULT),
        ..options.clone()
    };
    let mut converted = convert_graph(source.graph.clone(), origin, &options, progress)?;
    // A folder says its anchors; that a graph does not is no news of it.
    converted.report.warnings.retain(|warning| warning.kind != WarningKind::AnchorsByOption);
    converted.report.format = WEIGHTS_FOLDER.into();
    converted.model.metadata.source_format = WEIGHTS_FOLDER.into();
    Ok(converted)
}

/// What a folder of weights is called where other sources have the name of an export.
const WEIGHTS_FOLDER: &str = "weights folder";

/// A warning for raw heads of which nobody says what they are.
fn head_by_default(heads: &Heads) -> String {
    format!(
        "raw heads do not say how boxes follow from them: taken for {}'s; for others give their family (--head)",
        heads.family.title()
    )
}

/// Everything after the parser.
pub(crate) fn convert_graph(
    mut graph: ir::Graph,
    origin: Metadata,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, ConvertError> {
    let mut report = Report::default();
    let layout = layout_of(&graph);
    let heads = run_passes(&mut graph, options, &mut report, progress)?;
    let picture = lower::understand(&graph)?;
    report.passes.push(picture_sentence(picture.range).into());
    report.warnings.extend(picture.note);
    let step = &mut |done, total| progress(Progress::Lowering { done, total });
    let lowered =
        lower::run(&graph, &heads, picture.range, (options.requantize_joins, options.float_heads), step)?;
    report.warnings.extend(lowered.warnings.iter().cloned());
    let class_names = checked_names(class_names(&graph, options), &heads, options, &mut report)?;
    let dropped = report.warnings.iter().any(|warning| warning.kind == WarningKind::DecodeQuantizers);
    let suffix = if dropped { WITHOUT_DECODE_QUANTIZERS } else { "" };
    let metadata = Metadata { source_format: format!("{}{suffix}", report.format), class_names, ..origin };
    let input = graph.inputs.first().map(|&id| graph.tensor(id));
    let input_name = input.map(|info| info.name.clone()).unwrap_or_default();
    if let Some([_, _, height, width]) = input.and_then(|info| info.shape.as_deref()) {
        report.image_size = [*height, *width];
    }
    let (mut model, rows) = emit::model(lowered, heads, (&input_name, picture.range), metadata)?;
    let wanted = &mut model.input.preprocessing;
    (wanted.layout, wanted.order, wanted.placement) = (layout, options.channels, options.placement);
    if let Some(fill) = options.fill {
        wanted.fill = [fill; 3];
    }
    advice::forget_unread(&mut report.warnings, &model);
    report.warnings.extend(advice::warnings(&model, &rows));
    report.rows = rows;
    Ok(Converted { model, report })
}

/// The passes in their order; afterwards the graph's outputs are the heads.
pub(crate) fn run_passes(
    graph: &mut ir::Graph,
    options: &Options,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<Heads, ConvertError> {
    passes::outputs::run(graph, &options.outputs)?;
    if passes::rearranged::put_channels_first(graph) {
        report.passes.push("picture: its channels come last".into());
    }
    let nodes = graph.nodes.len();
    progress(Progress::Pass("qoperator"));
    let integer_operators = passes::qoperator::run(graph)?;
    report.passes.push(format!("qoperator: {integer_operators} integer operators rewritten"));
    progress(Progress::Pass("constants"));
    let folded = passes::constants::run(graph, options.image_size)?;
    report.passes.push(format!("constants: {folded} of {nodes} nodes do not depend on the picture"));
    progress(Progress::Pass("trunc"));
    let truncations = passes::trunc::run(graph)?;
    if truncations > 0 {
        report.passes.push(format!("trunc: {truncations} truncations written as arithmetic"));
    }
    spelled(graph, report, progress)?;
    progress(Progress::Pass("quantizers"));
    let found = passes::quantizers::run(graph)?;
    report.format = format_name(found, integer_operators).to_owned();
    report.passes.push(format!(
        "quantizers: {} activation quantizers of QONNX, {} of QuantizeLinear ({} with Clip)",
        found.qonnx, found.linear, found.clipped
    ));
    progress(Progress::Pass("unjoined"));
    let unjoined = passes::unjoined::run(graph);
    if unjoined > 0 {
        report
            .passes
            .push(format!("unjoined: {unjoined} concats along rows or columns computed part by part"));
    }
    progress(Progress::Pass("rearranged"));
    rearranged(graph, options, report)?;
    progress(Progress::Pass("decode"));
    let pads = passes::pad::run(graph)?;
    if pads > 0 {
        report.passes.push(format!("pad: {pads} merged into what reads them"));
    }
    heads::check_kinds(graph)?;
    let feature_map = passes::decode::quantized_feature_map(graph);
    report.warnings.extend(passes::decode::run(graph, options.keep_decode_quantizers)?);
    progress(Progress::Pass("heads"));
    let names = class_names(graph, options).len();
    let classes = (names > 0).then_some(names);
    let hints = Hints { classes, anchors_per_cell: anchors_per_cell(options), family: options.head };
    if let Some(Cut { node, op_type, output }) = heads::selection::cut(graph, hints) {
        report.passes.push(format!(
            "selection: cut off from \"{node}\" ({op_type}) on, for \"run\" selects itself; the output is \"{output}\""
        ));
    }
    let mut heads = heads::run(graph, hints).map_err(|error| feature_map.unwrap_or(error))?;
    supply_anchors(&mut heads, options, report)?;
    report.passes.push(heads_sentence(&heads));
    progress(Progress::Pass("prune"));
    // A stem is absorbed only if nothing else reads it: dead nodes must not count.
    let pruned = passes::prune::run(graph);
    progress(Progress::Pass("focus"));
    let stems = passes::focus::run(graph)?;
    report.passes.push(format!("focus: {stems} stems absorbed"));
    let pruned = pruned + passes::prune::run(graph);
    report.passes.push(format!("prune: {pruned} nodes removed"));
    progress(Progress::Pass("channels"));
    let channels = passes::channels::run(graph)?;
    if channels > 0 {
        report.passes.push(format!("channels: {channels} tensors are channels of others"));
        passes::prune::run(graph);
    }
    progress(Progress::Pass("vectors"));
    let layers = passes::vectors::run(graph)?;
    if layers > 0 {
        report.passes.push(format!("vectors: {layers} linear layers written as convolutions"));
    }
    progress(Progress::Pass("averages"));
    let averages = passes::averages::run(graph)?;
    if averages > 0 {
        report.passes.push(format!("averages: {averages} written as sums"));
    }
    progress(Progress::Pass("placement"));
    let placed = passes::placement::run(graph);
    if placed != passes::placement::Done::default() {
        let (moved, merged) = (placed.moved, placed.merged);
        report
            .passes
            .push(format!("placement: {moved} quantizers moved, {merged} equal to another of their tensor"));
        passes::prune::run(graph);
    }
    progress(Progress::Pass("transposed"));
    let transposed = passes::transposed::run(graph)?;
    if transposed > 0 {
        report.passes.push(format!(
            "transposed: {transposed} written as convolutions whose pixels follow one another"
        ));
    }
    progress(Progress::Pass("grids"));
    let parts = heads.maps.iter().flat_map(|map| &map.parts).filter(|_| options.float_heads);
    let spared = parts.map(|part| part.tensor).collect();
    report.passes.push(grids_sentence(&passes::grids::run(graph, &spared)?));
    progress(Progress::Pass("dilations"));
    let dilated = passes::dilations::run(graph)?;
    if dilated > 0 {
        report.passes.push(format!("dilations: {dilated} written as zeros between weights"));
    }
    Ok(heads)
}

/// The passes that read quantizers spelled as arithmetic.
fn spelled(
    graph: &mut ir::Graph,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ConvertError> {
    progress(Progress::Pass("openvino"));
    let bounded = passes::openvino::run(graph)?;
    progress(Progress::Pass("roundings"));
    let roundings = passes::roundings::run(graph);
    progress(Progress::Pass("straight_through"));
    let estimators = passes::straight_through::run(graph);
    progress(Progress::Pass("clamps"));
    let clamps = passes::clamps::run(graph)?;
    progress(Progress::Pass("written_out"));
    let quantizers = passes::written_out::run(graph);
    let found = [
        ("openvino", bounded, "quantizers of OpenVINO written as arithmetic"),
        ("roundings", roundings, "roundings spelled as arithmetic"),
        ("straight_through", estimators.count(), "straight-through estimators taken as what they estimate"),
        ("clamps", clamps, "clamps moved in front of a rounding"),
        ("written_out", quantizers, "activation quantizers written as arithmetic"),
    ];
    let found = found.into_iter().filter(|(_, count, _)| *count > 0);
    report.passes.extend(found.map(|(pass, count, what)| format!("{pass}: {count} {what}")));
    report.warnings.extend(estimators.warning());
    Ok(())
}

/// The pass of this name, and what the user should know of it.
fn rearranged(graph: &mut ir::Graph, options: &Options, report: &mut Report) -> Result<(), ConvertError> {
    let found = passes::rearranged::run(graph)?;
    if found.reversed && options.channels == ChannelOrder::Bgr {
        return Err(ConvertError::new(
            ErrorKind::Unsupported,
            "the graph itself reverses the picture's channels: leave out --bgr",
        ));
    }
    if found.undone > 0 {
        report.passes.push(format!("rearranged: {} operators that undo a rearrangement", found.undone));
    }
    if let (true, &[input]) = (found.reversed, graph.inputs.as_slice()) {
        let message = format!(
            "input \"{}\": it is taken to be blue, green, red, since the graph itself reverses the picture's channels",
            graph.tensor(input).name
        );
        report.warnings.push(Warning::of_model(WarningKind::Picture, message));
    }
    Ok(())
}

/// Order of the extents of a graph's input.
fn layout_of(graph: &ir::Graph) -> TensorLayout {
    let shape = graph.inputs.first().and_then(|&input| graph.tensor(input).shape.as_deref());
    if shape.is_some_and(is_channels_last) { TensorLayout::Nhwc } else { TensorLayout::Nchw }
}

fn format_name(found: passes::quantizers::Found, integer_operators: usize) -> &'static str {
    if integer_operators > 0 {
        return "QOperator";
    }
    match (found.qonnx, found.linear, found.clipped) {
        (1.., _, _) => "QONNX",
        (0, 1.., 1..) => "QCDQ",
        (0, 1.., 0) => "QDQ",
        (0, 0, _) => "fake quantization",
    }
}

/// Names from the options, else those that YOLOv5's `export.py` leaves in the metadata.
fn class_names(graph: &ir::Graph, options: &Options) -> Vec<String> {
    if !options.class_names.is_empty() {
        return options.class_names.clone();
    }
    graph.metadata.get("names").and_then(|text| names::parse_flow(text)).unwrap_or_default()
}

/// Names fit the head, or are wrong: those given are an error, those of the metadata a warning.
fn checked_names(
    names: Vec<String>,
    heads: &Heads,
    options: &Options,
    report: &mut Report,
) -> Result<Vec<String>, ConvertError> {
    if names.is_empty() || names.len() == heads.classes {
        return Ok(names);
    }
    let message = format!("{} class names for a model of {} classes", names.len(), heads.classes);
    if !options.class_names.is_empty() {
        return Err(ConvertError::new(ErrorKind::NotADetector, message));
    }
    report.warnings.push(Warning::of_model(WarningKind::ClassNames, format!("{message}; ignored")));
    Ok(Vec::new())
}

/// Raw heads carry no anchors; the options may.
fn supply_anchors(heads: &mut Heads, options: &Options, report: &mut Report) -> Result<(), ConvertError> {
    // Boxes, objectness and classes of three convolutions are of one family.
    let by_default = !heads.family_known && options.head.is_none() && heads.boxes != BoxRule::GridExp;
    let message = head_by_default(heads);
    let mut warn = |kind, message: &str| report.warnings.push(Warning::of_model(kind, message));
    if !heads.boxes.has_anchors() {
        if options.anchors.is_some() {
            return Err(ConvertError::new(
                ErrorKind::NotADetector,
                format!("boxes of {} have no anchors: leave out --anchors", heads.family.title()),
            ));
        }
        if by_default {
            warn(WarningKind::HeadByDefault, &message);
        }
        return Ok(());
    }
    if heads.are_decodable() {
        return Ok(());
    }
    let Some(anchors) = &options.anchors else {
        warn(
            WarningKind::NoAnchors,
            "the outputs are raw heads, which carry no anchors: give them to get boxes",
        );
        return Ok(());
    };
    // Whatever order the maps are in, anchors are given finest first.
    let mut by_stride: Vec<&mut Map> = heads.maps.iter_mut().collect();
    by_stride.sort_by_key(|map| map.stride);
    let fits = anchors.len() == by_stride.len()
        && by_stride.iter().zip(anchors).all(|(map, anchors)| map.anchors_per_cell == anchors.len());
    let positive = anchors.iter().flatten().flatten().all(|&e| e > 0.0 && e.is_finite());
    if !fits || !positive {
        let counts: Vec<String> = by_stride.iter().map(|map| map.anchors_per_cell.to_string()).collect();
        return Err(ConvertError::new(
            ErrorKind::NotADetector,
            format!(
                "the anchors given (--anchors) do not fit: expected {} maps, finest first, of {} pairs of positive \
                 numbers, for {} classes",
                counts.len(),
                counts.join(", "),
                heads.classes
            ),
        ));
    }
    for (map, anchors) in by_stride.into_iter().zip(anchors) {
        map.anchors.clone_from(anchors);
    }
    warn(WarningKind::AnchorsByOption, "anchors are those given by option; the model carries none");
    if by_default {
        warn(WarningKind::HeadByDefault, &message);
    }
    Ok(())
}

/// Anchors of a cell, if anchors were given, and of each map as many.
fn anchors_per_cell(options: &Options) -> Option<usize> {
    let anchors = options.anchors.as_deref()?;
    let first = anchors.first()?.len();
    anchors.iter().all(|of_map| of_map.len() == first).then_some(first)
}

fn grids_sentence(found: &passes::grids::Found) -> String {
    let count = |(bits, count): (&u32, &usize)| format!("{count} of {bits} bits");
    let counts: Vec<String> = found.iter().map(count).collect();
    match counts.as_slice() {
        [] => "grids: all weights have a quantizer".into(),
        counts => format!("grids: recovered for folded weights, {}", counts.join(", ")),
    }
}

fn picture_sentence(range: PictureRange) -> &'static str {
    match range {
        PictureRange::Unit => "picture: the graph takes numbers from 0 to 1",
        PictureRange::Bytes => "picture: the graph takes bytes, 0 to 255",
    }
}

fn heads_sentence(heads: &Heads) -> String {
    let strides: Vec<String> = heads.maps.iter().map(|map| map.stride.to_string()).collect();
    let decode = match (heads.boxes.has_anchors(), heads.are_decodable()) {
        (false, _) => "without anchors",
        (true, true) => "anchors known",
        (true, false) => "anchors unknown",
    };
    let (family, classes) = (heads.family.name(), heads.classes);
    let family = if heads.family_known { family.to_owned() } else { format!("taken for {family}") };
    format!("heads: {family}, {classes} classes, strides {}, {decode}", strides.join(", "))
}
