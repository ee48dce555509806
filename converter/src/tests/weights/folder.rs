//! Folders on disk.

use ylb_source::ir::Builder;
use ylb_source::ir::{Attribute, TensorId};

use super::*;

/// What is read is what was written: the graph on disk converts to the model of the graph in memory.
#[test]
fn a_folder_becomes_a_model() {
    let (source, arrays) = made(SMALL, Made::new(4, ALL_QUANTIZED)).unwrap();
    let folder = saved("model", SMALL, &arrays);
    let read = Source::weights(&folder).unwrap();
    let converted = convert(&read);
    prove(&read, &converted);
    let mut other = convert(&source);
    assert_eq!(converted.report.format, "weights folder");
    assert_eq!(converted.model.metadata.class_names, ["cat"]);
    assert_eq!(converted.model.detect.maps[0].anchors, [[10.0, 13.0], [16.0, 30.0]]);
    // Of the stem's 4-bit weights over bytes; none of the anchors, which the folder says.
    let warnings = &converted.report.warnings;
    assert!(warnings.iter().all(|warning| warning.node == "stem"), "{warnings:?}");
    assert_eq!(converted.model.metadata.source_sha256, read.sha256);
    assert_ne!(read.sha256, source.sha256);
    other.model.metadata = converted.model.metadata.clone();
    assert!(other.model == converted.model);
    // Names of layers are those of nodes and of codes.
    let model = converted.model;
    for name in ["stem", "a", "b", "sum", "down", "last"] {
        assert!(model.nodes.iter().any(|node| node.name == name), "{name}");
        assert!(model.values.iter().any(|value| value.name == name), "{name}");
    }
    // The hash covers every file.
    let file = folder.join("a.bias.npy");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_ne!(Source::weights(&folder).unwrap().sha256, read.sha256);
    fs::remove_dir_all(&folder).unwrap();
}

/// Editors of Windows put a byte order mark first, which JSON does not have.
#[test]
fn a_byte_order_mark_does_not_matter() {
    let (_, arrays) = made(SMALL, Made::new(4, ALL_QUANTIZED)).unwrap();
    let folder = saved("mark", &format!("\u{feff}{SMALL}"), &arrays);
    assert_eq!(convert(&Source::weights(&folder).unwrap()).model.metadata.class_names, ["cat"]);
    fs::remove_dir_all(&folder).unwrap();
}

/// Every optional array, every kind of codes and every activation.
#[test]
fn arrays_of_every_kind() {
    let json = |weights: &str, activations: &str, activation: &str| {
        SMALL
            .replace(r#"{"bits": 4, "kind": "signed"}"#, weights)
            .replace(r#"{"bits": 4, "kind": "unsigned"}"#, activations)
            .replace("relu", activation)
    };
    let signed = r#"{"bits": 4, "kind": "signed"}"#;
    let unsigned = r#"{"bits": 3, "kind": "unsigned"}"#;
    let bn: &[&str] = &[".bn_gamma.npy", ".bn_beta.npy", ".bn_mean.npy", ".bn_var.npy", ".output_scale.npy"];
    for (weights, activations, activation, present) in [
        (signed, signed, "silu", bn),
        (signed, signed, "mish", &[".multiplier.npy", ".bias.npy", ".output_scale.npy"]),
        (signed, signed, "hardswish", &[".bias.npy", ".output_scale.npy"]),
        (signed, unsigned, "relu6", &[".multiplier.npy", ".output_scale.npy"]),
        (signed, signed, "leaky_relu", bn),
        (
            signed,
            unsigned,
            "none",
            &[".output_scale.npy", ".output_zero_point.npy", ".weight_zero_point.npy"],
        ),
    ] {
        let (source, _) = made(&json(weights, activations, activation), Made::new(4, present)).unwrap();
        prove(&source, &convert(&source));
    }
    let bipolar = r#"{"bits": 1, "kind": "bipolar"}"#;
    let mut arrays = Made::new(1, &[".output_scale.npy", ".bias.npy"]);
    arrays.range = (0, 0);
    let error = made(&json(bipolar, bipolar, "none"), arrays).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("a code of 0; expected odd numbers from -1 to 1"), "{error}");
}

/// Weights and activations of −1 and 1, and weights of −3, −1, 1, 3, or of −255 to 255.
#[test]
fn odd_codes() {
    struct Odd(Made, i64);
    impl Arrays for Odd {
        fn array(&mut self, file: &str, shapes: &[&[usize]]) -> Result<Option<Array>, SourceError> {
            let mut array = self.0.array(file, shapes)?;
            if let Some(Array { elements: Elements::Integers(codes), .. }) = &mut array {
                codes.iter_mut().for_each(|code| *code = 2 * *code - self.1);
            }
            Ok(array)
        }
    }
    let unsigned = r#"{"bits": 2, "kind": "unsigned"}"#;
    for (bits, activations) in [(1, r#"{"bits": 1, "kind": "bipolar"}"#), (2, unsigned), (8, unsigned)] {
        let json = SMALL
            .replace(r#"{"bits": 4, "kind": "signed"}"#, &format!(r#"{{"bits": {bits}, "kind": "bipolar"}}"#))
            .replace(r#"{"bits": 4, "kind": "unsigned"}"#, activations)
            .replace("relu", "none");
        let network = Network::parse(json.as_bytes()).unwrap();
        let mut arrays = Made::new(bits, ALL_QUANTIZED).of(&network);
        arrays.range = (0, (1 << bits) - 1);
        let graph = weights::build(&network, &mut Odd(arrays, (1 << bits) - 1)).unwrap();
        let described = Described { names: network.names, anchors: network.anchors };
        let name = "odd".into();
        let source =
            Source { graph, name, sha256: [1; 32], bytes: 0, files: Vec::new(), described: Some(described) };
        let converted = convert(&source);
        let widest = converted.report.rows.iter().filter_map(|row| row.weight_bits).max();
        assert_eq!(widest, Some(bits as u8));
        prove(&source, &converted);
    }
}

/// The same network as an export would have it gives the same outputs.
#[test]
fn a_folder_equals_an_export() {
    let json = r#"{
        "format": "yolo-lowbit weights 1", "image_size": [16, 16], "names": ["a"],
        "anchors": [[[1, 2], [3, 4], [5, 6]]], "activation": "relu",
        "weights": {"bits": 4, "kind": "signed"}, "activations": {"bits": 4, "kind": "unsigned"},
        "layers": [
            {"name": "one", "op": "conv", "channels": 6, "kernel": 3},
            {"name": "two", "op": "conv", "channels": 6, "kernel": 3, "stride": 2},
            {"name": "head", "op": "detect"}
        ]
    }"#;
    let (source, arrays) = made(json, Made::new(4, ALL_QUANTIZED)).unwrap();
    let (mut builder, image) = Builder::picture(16, 16);
    let reals = |name: &str| match &arrays[name].elements {
        Elements::F32(values) => values.clone(),
        Elements::F64(values) => values.iter().map(|&x| x as f32).collect(),
        Elements::Integers(values) => values.iter().map(|&x| x as f32).collect(),
    };
    let mut last = builder.quant(image, 1.0 / 255.0, 0.0, 8.0, false);
    for (name, stride) in [("one", 1), ("two", 2), ("head.0", 1)] {
        let weights = &arrays[&format!("{name}.weight.npy")];
        let scales = reals(&format!("{name}.weight_scale.npy"));
        let per_channel = weights.shape[1..].iter().product::<usize>();
        // A code times its scale, in the 32 bits of a training framework: the quantizer gives the code back.
        let floats: Vec<f32> = reals(&format!("{name}.weight.npy"))
            .iter()
            .enumerate()
            .map(|(index, code)| code * scales[index / per_channel])
            .collect();
        let floats = builder.floats(&weights.shape, &floats);
        let parameters: [TensorId; 3] =
            [builder.floats(&[weights.shape[0], 1, 1, 1], &scales), builder.float(0.0), builder.float(4.0)];
        let weights_id =
            builder.node("qonnx::Quant", &[floats, parameters[0], parameters[1], parameters[2]], &[]);
        let bias = builder.floats(&[weights.shape[0]], &reals(&format!("{name}.bias.npy")));
        let pads = Attribute::Ints(vec![(weights.shape[2] / 2) as i64; 4]);
        let strides = Attribute::Ints(vec![stride; 2]);
        last = builder.node("Conv", &[last, weights_id, bias], &[("pads", pads), ("strides", strides)]);
        if name != "head.0" {
            let relu = builder.node("Relu", &[last], &[]);
            last = builder.quant(relu, reals(&format!("{name}.output_scale.npy"))[0], 0.0, 4.0, false);
        }
    }
    builder.graph.outputs = vec![last];
    let described = Described { names: vec!["a".into()], anchors: Vec::new() };
    let export = Source {
        graph: builder.graph,
        name: "export".into(),
        sha256: [1; 32],
        bytes: 0,
        files: Vec::new(),
        described: Some(described),
    };
    let options = Options { class_names: vec!["a".into()], ..Options::default() };
    let exported = convert_graph(export.graph, Default::default(), &options, &mut |_| {}).unwrap();
    let own = convert(&source);
    let pixels = crate::compare::planar(&crate::compare::synthetic_picture([16, 16]));
    let outputs = |model| reference::execute(model, &pixels).outputs();
    let (mut a, b) = (outputs(&own.model), outputs(&exported.model));
    a[0].name.clone_from(&b[0].name);
    assert_eq!(a, b);
}
