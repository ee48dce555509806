//! What is said of networks that are refused: which node stands in the way, in the file's own words, and what to do.

use super::*;

fn refused(net: &Net) -> String {
    let options = Options { class_names: vec!["thing".into()], ..Options::default() };
    let result = convert_graph(net.builder.graph.clone(), Metadata::default(), &options, &mut |_| {});
    let message = result.expect_err("a network that must be refused").to_string();
    assert!(!message.contains("FakeQuant") && !message.contains('{'), "{message}");
    message
}

/// A head of 18 channels.
fn head(net: &mut Net, input: TensorId, channels: usize) -> TensorId {
    let weights = net.weights([18, channels, 1, 1]);
    net.conv(input, weights)
}

/// Boxes of one class and one head, without anchors that mean anything.
fn rows(net: &mut Net, head: TensorId) -> TensorId {
    let builder = &mut net.builder;
    let shape = builder.constant(Tensor::indices(&[1, 3, 6, -1]));
    let rows = builder.node("Reshape", &[head, shape], &[]);
    let rows = builder.node("Transpose", &[rows], &[("perm", ints(&[0, 1, 3, 2]))]);
    let shape = builder.constant(Tensor::indices(&[1, -1, 6]));
    builder.node("Reshape", &[rows, shape], &[])
}

/// An operator whose output nobody knows is blamed itself, wherever the head behind it is.
#[test]
fn unknown_operators_are_blamed_themselves() {
    let cases = [
        ("LRN", "(LRN): an operator that the converter does not know"),
        (
            "mct_quantizers::ActivationLutPOTQuantizer",
            "(mct_quantizers::ActivationLutPOTQuantizer): an operator of a tool's own",
        ),
        ("trt::FP8QuantizeLinear", "(trt::FP8QuantizeLinear): an operator of a tool's own"),
        ("LearnedQuantizer", "(LearnedQuantizer): an operator that the converter does not know"),
        ("MaxPool", "(MaxPool): expected a kernel_shape"),
    ];
    for (operator, expected) in cases {
        let (mut net, image) = Net::new();
        let input = net.input(image);
        let layer = net.layer(input, [4, 3, 3, 3], 0.25);
        let unknown = net.builder.node(operator, &[layer], &[]);
        let layer = net.layer(unknown, [4, 4, 3, 3], 0.25);
        let head = head(&mut net, layer, 4);
        net.builder.graph.outputs = vec![head];
        let message = refused(&net);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn float_ends_are_told_to_train_with_8_bits() {
    let float_weights = |net: &mut Net, shape: [usize; 4]| {
        let floats = net.numbers(shape.iter().product());
        net.builder.floats(&shape, &floats)
    };
    for (position, expected) in
        [(0, Some("It is the first convolution")), (1, None), (2, Some("It is the detection convolution"))]
    {
        let (mut net, image) = Net::new();
        let mut last = net.input(image);
        for (layer, shape) in [[4, 3, 3, 3], [4, 4, 3, 3], [18, 4, 1, 1]].into_iter().enumerate() {
            let weights = if layer == position { float_weights(&mut net, shape) } else { net.weights(shape) };
            let attributes = [("pads", ints(&[(shape[2] / 2) as i64; 4]))];
            last = net.builder.node("Conv", &[last, weights], &attributes);
            if layer < 2 {
                last = net.builder.quant(last, 0.25, 0.0, 4.0, true);
            }
        }
        net.builder.graph.outputs = vec![last];
        let message = refused(&net);
        assert!(message.contains("plain floats"), "{message}");
        assert_eq!(message.contains("8-bit weights"), expected.is_some(), "{message}");
        assert!(message.contains(expected.unwrap_or_default()), "{message}");
    }
}

#[test]
fn quantizers_are_called_as_in_the_file() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let joined = net.builder.quant(conv, 0.25, 0.0, 12.0, true);
    let head = head(&mut net, joined, 4);
    net.builder.graph.outputs = vec![head];
    let message = refused(&net);
    assert!(message.contains("(qonnx.custom_op.general::Quant)"), "{message}");
}

#[test]
fn clips_without_a_quantizer_are_named() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let weights = net.weights([4, 3, 3, 3]);
    let conv = net.conv(input, weights);
    let bounds = [0.0, 15.0].map(|bound| net.builder.float(bound));
    let weights = net.weights([4, 3, 3, 3]);
    let other = net.conv(input, weights);
    let [a, b] = [(conv, 0.25), (other, 0.3)].map(|(x, scale)| net.builder.quant(x, scale, 0.0, 4.0, true));
    let sum = net.builder.node("Add", &[a, b], &[]);
    let clip = net.builder.node("Clip", &[sum, bounds[0], bounds[1]], &[]);
    let head = head(&mut net, clip, 4);
    net.builder.graph.outputs = vec![head];
    let message = refused(&net);
    assert!(message.contains("behind Clip from 0 to 15"), "{message}");
}

/// Networks that are no detectors, and outputs that are no heads, are told as what they are.
#[test]
fn outputs_are_told_as_what_they_are() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let layer = net.layer(input, [4, 3, 3, 3], 0.25);
    let head = head(&mut net, layer, 4);
    let boxes = rows(&mut net, head);
    let weights = net.weights([8, 4, 1, 1]);
    let map = net.conv(layer, weights);
    let map = net.builder.node("Relu", &[map], &[]);
    let (boxes_name, map_name) =
        (net.builder.graph.tensor(boxes).name.clone(), net.builder.graph.tensor(map).name.clone());

    let pooled = net.builder.node("GlobalAveragePool", &[map], &[]);
    net.builder.graph.outputs = vec![pooled];
    let message = refused(&net);
    assert!(
        message.contains("(GlobalAveragePool): output") && message.contains("a classifier's"),
        "{message}"
    );

    net.builder.graph.outputs = vec![boxes, map];
    let message = refused(&net);
    let expected = format!("output \"{map_name}\" (shape [1, 8, 16, 16]) is none of the heads");
    assert!(message.contains(&expected) && message.contains("segmentation"), "{message}");

    let quantized = net.builder.quant(map, 0.25, 0.0, 4.0, false);
    net.builder.graph.outputs = vec![boxes, quantized];
    let message = refused(&net);
    assert!(message.contains(&format!("left out (--outputs {boxes_name})")), "{message}");

    net.builder.graph.outputs = vec![head, quantized];
    let message = refused(&net);
    let head_name = net.builder.graph.tensor(head).name.clone();
    assert!(message.contains(&format!("leave it out (--outputs {head_name})")), "{message}");

    let selected = net.builder.node("NonMaxSuppression", &[boxes], &[]);
    net.builder.graph.outputs = vec![selected];
    let message = refused(&net);
    assert!(message.contains("\"run\" does itself"), "{message}");
    assert!(message.contains(&format!("--outputs {}", net.builder.graph.tensor(head).name)), "{message}");
}

/// What stands behind the heads is cut off by the names of tensors, also for the comparison.
#[test]
fn named_outputs_cut_off_what_is_behind_them() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let layer = net.layer(input, [4, 3, 3, 3], 0.25);
    let head = head(&mut net, layer, 4);
    let selected = net.builder.node("NonMaxSuppression", &[head], &[]);
    net.builder.graph.outputs = vec![selected];
    let name = net.builder.graph.tensor(head).name.clone();
    let options =
        Options { class_names: vec!["thing".into()], outputs: vec![name.clone()], ..Options::default() };
    let graph = net.builder.graph.clone();
    let model = convert_graph(graph, Metadata::default(), &options, &mut |_| {}).unwrap().model;
    assert_eq!(model.outputs[0].name, name);
    assert_eq!(pictures::verdict(&net, &model), crate::compare::Verdict::Equal);
}

/// Exports beside the checkout; none, with a message, where there are none.
fn wild() -> Vec<std::path::PathBuf> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases-wild");
    let Ok(cases) = std::fs::read_dir(&folder) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", folder.display());
        eprintln!("SKIPPED: this test needs {}", folder.display());
        return Vec::new();
    };
    cases.map(|case| case.unwrap().path().join("model.onnx")).filter(|path| path.is_file()).collect()
}

/// Whatever passes make of a node: messages know it by the name and the operator that the file has.
#[test]
fn nodes_are_called_as_the_file_calls_them() {
    for path in wild() {
        let bytes = std::fs::read(&path).unwrap();
        let source = Source::onnx(&bytes, "model.onnx", None).unwrap();
        let written: std::collections::BTreeSet<(String, String)> =
            source.graph.nodes.iter().map(|node| (node.name.clone(), node.written_for())).collect();
        let known = |name: &str, operator: &str| written.contains(&(name.to_owned(), operator.to_owned()));
        let mut graph = source.graph.clone();
        let made = run_passes(&mut graph, &Options::default(), &mut Report::default(), &mut |_| {});
        for node in graph.nodes.iter().filter(|_| made.is_ok()) {
            // A picture's channels are put in order before anything that the file has.
            let input = graph.inputs.iter().any(|&id| graph.tensor(id).name == node.name);
            assert!(input || known(&node.name, &node.written_for()), "{}: {node:?}", path.display());
        }
        let Err(error) = crate::convert_source(&source, &Options::default(), &mut |_| {}) else { continue };
        let message = error.to_string();
        if let Some((name, operator)) = error.node_name().zip(error.op_type()) {
            assert!(known(name, operator), "{}: {message}", path.display());
        }
        let internal =
            ["FakeQuant ", "(FakeQuant)", "RoundInPassing", "Interleave", "Some(", " { ", "Index("];
        assert!(!internal.iter().any(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    }
}
