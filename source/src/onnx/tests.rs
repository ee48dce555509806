use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::schema::*;
use super::*;
use crate::interpret::Interpreter;
use crate::ir::{ElementType, Tensor};
use crate::source::Source;

fn decode(bytes: &[u8]) -> Result<Graph, SourceError> {
    Ok(super::decode(bytes, None)?.0)
}

fn info(name: &str, extents: &[Option<i64>]) -> ValueInfoProto {
    let dimension = |value: &Option<i64>| DimensionProto { dim_value: *value, dim_param: None };
    let shape = TensorShapeProto { dim: extents.iter().map(dimension).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(1), shape: Some(shape) };
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(1),
        raw_data: Some(data.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ..Default::default()
    }
}

fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn model() -> ModelProto {
    let import = OperatorSetIdProto { domain: None, version: Some(13) };
    ModelProto {
        ir_version: Some(7),
        opset_import: vec![import],
        graph: Some(GraphProto {
            node: vec![node("Add", &["images", "b"], "sum"), node("Relu", &["sum"], "out")],
            initializer: vec![floats("b", &[1], &[0.5])],
            input: vec![info("images", &[Some(1), Some(3), None, Some(8)]), info("b", &[Some(1)])],
            output: vec![info("out", &[])],
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn initializers_listed_as_inputs_are_none() {
    let graph = decode(&model().encode_to_vec()).unwrap();
    let names =
        |ids: &[TensorId]| -> Vec<String> { ids.iter().map(|&id| graph.tensor(id).name.clone()).collect() };
    assert_eq!((names(&graph.inputs), names(&graph.outputs)), (vec!["images".into()], vec!["out".into()]));
    assert_eq!(graph.tensor(graph.inputs[0]).shape, Some(vec![1, 3, 0, 8]));
    assert_eq!(graph.opset, 13);
    assert_eq!(graph.nodes[0].name, "sum");
    assert_eq!(graph.constant_input(&graph.nodes[0], 1).unwrap().scalar(), Some(0.5));
}

/// The bias in a file beside the model.
fn with_external_bias(entries: &[(&str, &str)]) -> ModelProto {
    let mut model = model();
    let bias = &mut model.graph.as_mut().unwrap().initializer[0];
    bias.raw_data = None;
    bias.data_location = Some(1);
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    bias.external_data = entries.iter().map(entry).collect();
    model
}

#[test]
fn tensors_in_files_beside_the_model() {
    let folder = std::env::temp_dir().join(format!("ylb-external-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    let bytes: Vec<u8> = [1.5f32, 2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    for name in ["weights.bin", "inner/weights.bin"] {
        std::fs::write(folder.join(name), &bytes).unwrap();
    }
    let read = |entries: &[(&str, &str)], folder: Option<&Path>| {
        let graph = from_proto(with_external_bias(entries), folder)?.0;
        Ok::<_, SourceError>(graph.constant_input(&graph.nodes[0], 1).unwrap().get(0))
    };
    let inside = Some(folder.as_path());
    let place = ("location", "weights.bin");
    assert_eq!(read(&[place, ("offset", "4"), ("length", "4")], inside), Ok(2.5));
    assert_eq!(read(&[place], inside), Ok(1.5));
    let outside = folder.join("weights.bin").display().to_string();
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a Path>, &'a str);
    let refused: [Case<'_>; 9] = [
        (&[place], None, "save the model with its weights inside"),
        (&[], inside, "without a name"),
        (&[("location", "inner/weights.bin")], inside, "without a folder"),
        (&[("location", "../weights.bin")], inside, "without a folder"),
        (&[("location", &outside)], inside, "without a folder"),
        (&[("location", "inner")], inside, "not a regular file"),
        (&[place, ("offset", "5")], inside, "beyond its end"),
        (&[place, ("offset", "-1")], inside, "not a number"),
        (&[place, ("length", "8")], inside, "holds 8 bytes"),
    ];
    for (entries, folder, what) in refused {
        let error = read(entries, folder).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("initializer \"b\""), "{error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.join("weights.bin"), folder.join("link.bin")).unwrap();
        let error = read(&[("location", "link.bin")], inside).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A model is what its file and the files beside it say together.
#[test]
fn the_hash_covers_files_beside_the_model() {
    let folder = std::env::temp_dir().join(format!("ylb-hash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let bytes: Vec<u8> = [1.5f32, 2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(folder.join("weights.bin"), &bytes).unwrap();
    std::fs::write(folder.join("other.bin"), &bytes).unwrap();
    let onnx = with_external_bias(&[("location", "weights.bin")]).encode_to_vec();
    let source = Source::onnx(&onnx, "model.onnx", Some(&folder)).unwrap();
    let together: [u8; 32] = Sha256::digest([&onnx[..], &bytes].concat()).into();
    assert_eq!((source.sha256, source.bytes), (together, (onnx.len() + bytes.len()) as u64));
    std::fs::write(folder.join("weights.bin"), vec![0; 8]).unwrap();
    assert_ne!(Source::onnx(&onnx, "model.onnx", Some(&folder)).unwrap().sha256, together);
    std::fs::remove_dir_all(&folder).unwrap();
    // Of a model in one file it is that file's.
    let onnx = model().encode_to_vec();
    let alone: [u8; 32] = Sha256::digest(&onnx).into();
    assert_eq!(Source::onnx(&onnx, "model.onnx", None).unwrap().sha256, alone);
}

#[test]
fn every_truncation_is_an_error_or_a_smaller_model() {
    let bytes = model().encode_to_vec();
    for len in 0..bytes.len() {
        _ = decode(&bytes[..len]);
    }
    assert!(decode(b"").is_err());
    assert!(decode(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn contradictions_are_told() {
    let change = |change: &dyn Fn(&mut GraphProto)| {
        let mut model = model();
        change(model.graph.as_mut().unwrap());
        from_proto(model, None).unwrap_err()
    };
    let error = change(&|graph| graph.node[0].input[1] = "nowhere".into());
    assert!(error.to_string().contains("\"nowhere\""), "{error}");
    assert_eq!(error.op_type(), Some("Add"));
    let error = change(&|graph| graph.node[1].output[0] = "sum".into());
    assert!(error.to_string().contains("defined twice"), "{error}");
    let error = change(&|graph| graph.output[0] = info("other", &[]));
    assert!(error.to_string().contains("\"other\""), "{error}");
    let error = change(&|graph| graph.initializer[0].dims = vec![2]);
    assert!(error.to_string().contains("\"b\""), "{error}");
    let error = change(&|graph| graph.initializer[0].dims = vec![1 << 40, 1 << 40]);
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let error = change(&|graph| graph.initializer[0].data_location = Some(1));
    assert!(error.to_string().contains("another file"), "{error}");
    let error = change(&|graph| graph.node[0].input[1] = graph.node[1].output[0].clone());
    assert!(error.to_string().contains("nothing before it writes"), "{error}");
}

/// What turns graphs into half precision adds its casts in the end, that of the input too.
#[test]
fn nodes_may_stand_in_any_order() {
    let mut reversed = model();
    reversed.graph.as_mut().unwrap().node.reverse();
    let ops = |model| {
        let (graph, _) = from_proto(model, None).unwrap();
        graph.nodes.into_iter().map(|node| node.op_type).collect::<Vec<_>>()
    };
    assert_eq!(ops(reversed), ops(model()));
}

fn decoded(data_type: i32, dims: &[i64], fill: impl Fn(&mut TensorProto)) -> Tensor {
    let mut proto = TensorProto { data_type: Some(data_type), dims: dims.to_vec(), ..Default::default() };
    fill(&mut proto);
    tensor::decode(&proto, &mut External::new(None)).unwrap()
}

#[test]
fn sub_byte_integers_are_packed_lowest_bits_first() {
    let int4 = decoded(22, &[3], |proto| proto.raw_data = Some(vec![0x8f, 0x07]));
    assert_eq!((int4.element(), int4.to_integers()), (ElementType::Signed(4), vec![-1, -8, 7]));
    let uint4 = decoded(21, &[3], |proto| proto.int32_data = vec![0x8f, 0x07]);
    assert_eq!(uint4.to_integers(), [15, 8, 7]);
    let int2 = decoded(26, &[4], |proto| proto.raw_data = Some(vec![0b1110_0100]));
    assert_eq!(int2.to_integers(), [0, 1, -2, -1]);
    let uint2 = decoded(25, &[5], |proto| proto.raw_data = Some(vec![0b1110_0100, 2]));
    assert_eq!(uint2.to_integers(), [0, 1, 2, 3, 2]);
}

#[test]
fn every_way_to_store_numbers() {
    let half = decoded(10, &[1], |proto| proto.raw_data = Some(vec![0x00, 0x3c]));
    assert_eq!((half.element(), half.scalar()), (ElementType::F32, Some(1.0)));
    let bfloat = decoded(16, &[1], |proto| proto.int32_data = vec![0x3f80]);
    assert_eq!(bfloat.scalar(), Some(1.0));
    assert_eq!(decoded(1, &[], |proto| proto.float_data = vec![2.5]).scalar(), Some(2.5));
    assert_eq!(decoded(11, &[], |proto| proto.double_data = vec![0.1]).scalar(), Some(0.1));
    assert_eq!(decoded(7, &[2], |proto| proto.int64_data = vec![-1, 9]).to_integers(), [-1, 9]);
    assert_eq!(decoded(3, &[2], |proto| proto.raw_data = Some(vec![0xff, 1])).to_integers(), [-1, 1]);
    assert_eq!(decoded(2, &[1], |proto| proto.int32_data = vec![200]).to_integers(), [200]);
    assert_eq!(
        decoded(6, &[1], |proto| proto.raw_data = Some(vec![0, 0, 0, 0x80])).scalar(),
        Some(-2147483648.0)
    );
    assert_eq!(decoded(9, &[2], |proto| proto.raw_data = Some(vec![0, 1])).to_integers(), [0, 1]);
}

proptest! {
    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        _ = decode(&bytes);
    }

    #[test]
    fn damaged_models_never_panic(at in 0usize..200, byte in any::<u8>()) {
        let mut bytes = model().encode_to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        _ = Source::onnx(&bytes, "", None).and_then(|source| Interpreter::of_graph(source.graph, [8, 8]));
    }
}

#[test]
fn inputs_say_their_type() {
    let with_type = |number: Option<i32>| {
        let mut model = model();
        let input = &mut model.graph.as_mut().unwrap().input[0];
        input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = number;
        decode(&model.encode_to_vec())
    };
    let found = |number| {
        let graph = with_type(number).unwrap();
        graph.input_types.get(&graph.inputs[0]).copied()
    };
    assert_eq!([found(None), found(Some(0))], [None; 2]);
    let types = [(1, ElementType::F32), (2, ElementType::Unsigned(8)), (10, ElementType::F32)];
    for (number, element) in types {
        assert_eq!(found(Some(number)), Some(element));
    }
    let error = with_type(Some(8)).unwrap_err().to_string();
    assert_eq!(error, "input \"images\" holds elements of ONNX data type 8");
}

/// Operator sets 7 and 8 have the scales of `Upsample` as an attribute; they become an input, as later ones have them.
#[test]
fn scales_of_old_upsamples_become_an_input() {
    let mut model = model();
    let scales = AttributeProto {
        name: Some("scales".into()),
        r#type: Some(6),
        floats: vec![1.0, 1.0, 2.0, 2.0],
        ..Default::default()
    };
    let graph = model.graph.as_mut().unwrap();
    graph.node[1] = NodeProto { attribute: vec![scales], ..node("Upsample", &["sum"], "out") };
    let graph = decode(&model.encode_to_vec()).unwrap();
    let upsample = graph.nodes.last().unwrap();
    assert_eq!(graph.constant_input(upsample, 1).unwrap().to_f64(), [1.0, 1.0, 2.0, 2.0]);
}
