use std::collections::BTreeSet;

use ylb_source::interpret::Interpreter;
use ylb_source::ir::{Node, Tensor};
use ylb_source::{Source, encode_onnx};

use super::*;
use crate::samples::{SIZE, linear, network, pictures, with_constant};

fn calibrated(bits: Bits) -> Calibrated {
    calibrate(&network(), SIZE, &pictures(8), bits.into(), &|_| {}).unwrap()
}

fn output(graph: &Graph, pixels: &[u8]) -> Vec<f64> {
    let interpreter = Interpreter::of_graph(graph.clone(), SIZE).unwrap();
    interpreter.run(pixels, &BTreeSet::new(), &mut |_, _| {}).unwrap().outputs.remove(0).data
}

/// Root of the mean squared difference to the float network, on pictures that were not calibrated on.
fn difference(graph: &Graph) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for pixels in pictures(12).iter().skip(8) {
        let (own, float) = (output(graph, pixels), output(&network(), pixels));
        sum += own.iter().zip(&float).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        count += own.len();
    }
    (sum / count as f64).sqrt()
}

#[test]
fn eight_bits_are_nearly_the_float_network() {
    let own = difference(&calibrated(Bits::default()).graph);
    assert!(own < 0.01, "{own}");
}

/// Least squares against the float network are worth more than rounding to the nearest.
#[test]
fn weights_of_four_bits_are_reconstructed() {
    let bits: Bits = "w4a8".parse().unwrap();
    let reconstructed = calibrated(bits);
    let network_of = Forward::new(network(), SIZE).unwrap();
    let structure = Structure::of(&network_of);
    let plan = Plan::new(&network_of, &structure, bits);
    let rounded = nearest(&network_of, &structure, &plan.most);
    let histograms = observe(&network_of, &structure, &pictures(8), &|_| {}).unwrap();
    let grids = structure.sites.iter().map(|(&id, &grid)| (id, histograms[grid].grid(8))).collect();
    let rounded = emit::graph(&network(), &rounded, &BTreeMap::new(), &grids).unwrap();
    let (own, simple) = (difference(&reconstructed.graph), difference(&rounded));
    assert!(own < 0.8 * simple, "{own} of {simple}");
    let bits: Vec<u32> = reconstructed.layers.iter().filter_map(|layer| Some(layer.weights?.bits)).collect();
    assert_eq!(bits, [8, 4, 4, 4, 4, 8]);
}

/// Byte for byte, whatever the number of threads.
#[test]
fn threads_change_nothing() {
    for bits in [Bits::default(), Bits::Small, "w3a6".parse().unwrap()] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| encode_onnx(&calibrated(bits).graph).unwrap())
        };
        assert!(with(1) == with(4), "{bits}");
    }
}

/// The file says the same as the graph, and nothing is left in floats.
#[test]
fn the_graph_is_written_and_read_again() {
    for bits in ["w8a8", "w4a4", "fast"].map(|bits| bits.parse().unwrap()) {
        let graph = calibrated(bits).graph;
        let read = Source::onnx(&encode_onnx(&graph).unwrap(), "a.onnx", None).unwrap().graph;
        for pixels in pictures(2) {
            assert_eq!(output(&graph, &pixels), output(&read, &pixels));
        }
        let convolutions: Vec<_> = read.nodes.iter().filter(|node| node.is("Conv")).collect();
        assert_eq!(convolutions.len(), 6);
        let producers = read.producers();
        for conv in convolutions {
            let weights = producers[conv.inputs[1].unwrap().0].map(|index| &read.nodes[index]);
            assert!(weights.is_some_and(|node| node.is("DequantizeLinear")), "{}", conv.name);
        }
    }
}

/// Before operator set 13 only `com.microsoft` has scales by channel.
#[test]
fn old_operator_sets_get_the_operators_of_microsoft() {
    let mut graph = network();
    graph.opset = 12;
    let own = calibrate(&graph, SIZE, &pictures(2), Wanted::default(), &|_| {}).unwrap().graph;
    let read = Source::onnx(&encode_onnx(&own).unwrap(), "a.onnx", None).unwrap().graph;
    let of_microsoft =
        |node: &&Node| node.op_type == "DequantizeLinear" && node.domain == ylb_source::ir::Domain::Microsoft;
    // Six convolutions, six sites, and the picture.
    assert_eq!(read.nodes.iter().filter(of_microsoft).count(), 6 + 6 + 1);
}

/// Transposed convolutions and linear layers get weights of 8 bits by output channel, whatever was asked for, and are listed.
#[test]
fn layers_that_are_no_convolutions_have_weights_of_eight_bits() {
    for bits in [Bits::default(), "w4a4".parse().unwrap()] {
        let own = calibrate(&linear(), SIZE, &pictures(4), bits.into(), &|_| {}).unwrap();
        let graph = Source::onnx(&encode_onnx(&own.graph).unwrap(), "a.onnx", None).unwrap().graph;
        let producers = graph.producers();
        for (op_type, axis) in [("ConvTranspose", 1), ("Gemm", 0), ("MatMul", 1)] {
            let node = graph.nodes.iter().find(|node| node.is(op_type)).unwrap();
            let weights = &graph.nodes[producers[node.inputs[1].unwrap().0].unwrap()];
            assert!(weights.is("DequantizeLinear"), "{op_type}");
            assert_eq!(weights.int("axis", 9), axis, "{op_type}");
            let layer = own.layers.iter().find(|layer| layer.name == node.name).unwrap();
            let error = layer.weights.unwrap();
            assert!(error.bits == 8 && error.signal_to_noise > 40.0, "{op_type}: {error:?}");
        }
        assert_eq!(own.layers.iter().filter(|layer| layer.weights.is_some()).count(), 3 + 3);
    }
    let own = calibrate(&linear(), SIZE, &pictures(8), Wanted::default(), &|_| {}).unwrap();
    for pixels in pictures(12).iter().skip(8) {
        let (own, float) = (output(&own.graph, pixels), output(&linear(), pixels));
        assert!(own.iter().zip(&float).all(|(a, b)| (a - b).abs() < 0.03));
    }
}

/// Two convolutions may read the same floats: each gets codes of its own.
#[test]
fn shared_weights_get_names_of_their_own() {
    let mut graph = network();
    let convolutions: Vec<usize> = (0..graph.nodes.len()).filter(|&k| graph.nodes[k].is("Conv")).collect();
    let shared = graph.nodes[convolutions[2]].inputs[1];
    graph.nodes[convolutions[4]].inputs[1] = shared;
    let own = calibrate(&graph, SIZE, &pictures(2), Wanted::default(), &|_| {}).unwrap().graph;
    Source::onnx(&encode_onnx(&own).unwrap(), "a.onnx", None).unwrap();
}

/// Bytes that are codes: what the graph makes of a picture does not hang on how `byte / 255` is rounded.
#[test]
fn the_picture_gets_a_quantizer_of_its_bytes() {
    let graph = calibrated(Bits::default()).graph;
    let first = &graph.nodes[0];
    assert!(first.is("QuantizeLinear") && first.inputs[0] == Some(graph.inputs[0]));
    assert_eq!(graph.constant_input(first, 1).unwrap().get(0) as f32, 1.0 / 255.0);
    let readers = graph.nodes.iter().filter(|node| node.inputs.contains(&Some(graph.inputs[0])));
    assert_eq!(readers.count(), 1);
    // Inputs of integers take the bytes themselves.
    let mut bytes = network();
    bytes.input_types.insert(bytes.inputs[0], ylb_source::ir::ElementType::Unsigned(8));
    assert!(Forward::new(bytes, SIZE).unwrap().picture_grid().is_none());
}

/// Integers of a bias count units of the grid of an input that has another one now: they become floats.
#[test]
fn computed_biases_become_floats() {
    let mut graph = network();
    let id = |graph: &mut Graph, tensor: Tensor| {
        let (shape, constant) = (Some(tensor.shape().to_vec()), Some(tensor.into()));
        graph.add_tensor(ylb_source::ir::TensorInfo {
            name: format!("t{}", graph.tensors.len()),
            shape,
            constant,
            quantized: None,
        })
    };
    let codes = Tensor::integers(
        &[8],
        ylb_source::ir::ElementType::Signed(32),
        (0..8i32).map(|k| i64::from(k) * 1000),
    )
    .unwrap();
    let codes = id(&mut graph, codes);
    let scale = id(&mut graph, Tensor::f32(&[], vec![1e-4]).unwrap());
    let bias = graph.add_tensor(ylb_source::ir::TensorInfo { name: "bias".into(), ..Default::default() });
    let quantizer = Node {
        name: "bias".into(),
        domain: ylb_source::ir::Domain::Onnx,
        op_type: "DequantizeLinear".into(),
        inputs: vec![Some(codes), Some(scale)],
        outputs: vec![bias],
        attributes: BTreeMap::new(),
        quantizer: None,
    };
    graph.nodes[0].inputs[2] = Some(bias);
    graph.nodes.insert(0, quantizer);
    let own = calibrate(&graph, SIZE, &pictures(1), Wanted::default(), &|_| {}).unwrap().graph;
    let conv = own.nodes.iter().find(|node| node.is("Conv")).unwrap();
    assert_eq!(own.constant_input(conv, 2).unwrap().get(7), f64::from(0.7f32));
}

/// Other tools want to know what the outputs look like.
#[test]
fn outputs_have_shapes() {
    let graph = calibrated(Bits::default()).graph;
    assert_eq!(graph.tensor(graph.outputs[0]).shape, Some(vec![1, 6, 12, 8]));
    // What is unknown behind the heads is the converter's concern.
    let mut builder = ylb_source::ir::Builder { graph: network() };
    let output = builder.graph.outputs[0];
    let unknown = builder.node("NonMaxSuppression", &[output], &[]);
    builder.graph.outputs = vec![unknown];
    let graph = calibrate(&builder.graph, SIZE, &pictures(1), Wanted::default(), &|_| {}).unwrap().graph;
    assert_eq!(graph.tensor(graph.outputs[0]).shape, None);
}

#[test]
fn progress_is_told() {
    let counts = std::sync::Mutex::new([0; 2]);
    let watcher = |progress: Progress| match progress {
        Progress::Picture { total } => counts.lock().unwrap()[0] += usize::from(total == 8),
        Progress::Layer { total } => counts.lock().unwrap()[1] += usize::from(total == 6),
        Progress::Trial { .. } => {}
    };
    calibrate(&network(), SIZE, &pictures(8), Bits::Small.into(), &watcher).unwrap();
    assert_eq!(*counts.lock().unwrap(), [8, 6]);
}

#[test]
fn what_cannot_be_quantized_is_refused() {
    let run = |graph: &Graph, pictures: &[Vec<u8>]| {
        calibrate(graph, SIZE, pictures, Wanted::default(), &|_| {}).unwrap_err().to_string()
    };
    let message = run(&network(), &[]);
    assert!(message.contains("no pictures"), "{message}");
    let message = run(&network(), &[vec![0; 7]]);
    assert!(message.contains("7 bytes"), "{message}");
    let mut without = network();
    without.nodes.clear();
    without.outputs = without.inputs.clone();
    assert!(run(&without, &pictures(1)).contains("nothing to quantize"));
    let mut infinite = network();
    let bias = infinite.nodes[0].inputs[2].unwrap();
    with_constant(&mut infinite, bias, Tensor::f32(&[8], vec![f32::INFINITY; 8]).unwrap());
    let message = run(&infinite, &pictures(1));
    assert!(message.contains("not finite"), "{message}");
}

/// The heads of the float network are what the interpreter gives.
#[test]
fn what_is_quantized_already_is_not_calibrated_again() {
    let once = calibrated(Bits::default()).graph;
    let again = calibrate(&once, SIZE, &pictures(1), Wanted::default(), &|_| {}).unwrap_err();
    assert!(again.to_string().contains("quantized already"), "{again}");
}

#[test]
fn heads_of_the_float_network() {
    let graph = network();
    let head = graph.nodes.iter().rfind(|node| node.is("Conv")).unwrap().name.clone();
    let float = FloatNetwork::new(&graph, SIZE, &[&head]).unwrap();
    let pixels = &pictures(1)[0];
    let found = float.run(pixels).unwrap().remove(0);
    for (index, expected) in output(&graph, pixels).iter().enumerate() {
        let own = 1.0 / (1.0 + (-found.get(index)).exp());
        assert!((own - expected).abs() < 1e-5);
    }
    // Numbers by channel behind a head belong to it.
    let mut known = ylb_source::ir::Builder { graph: graph.clone() };
    let (at, end) = (known.graph.nodes.len() - 1, known.graph.nodes[known.graph.nodes.len() - 1].inputs[0]);
    let factors = known.floats(&[1, 6, 1, 1], &[2.0; 6]);
    let scaled = known.node("Mul", &[end.unwrap(), factors], &[]);
    known.graph.nodes[at].inputs[0] = Some(scaled);
    known.graph.nodes.swap(at, at + 1);
    let twice = FloatNetwork::new(&known.graph, SIZE, &[&head]).unwrap().run(pixels).unwrap().remove(0);
    assert!((0..twice.len()).all(|index| twice.get(index) == 2.0 * found.get(index)));
    let error = FloatNetwork::new(&graph, SIZE, &["nowhere"]).unwrap_err().to_string();
    assert!(error.contains("no convolution \"nowhere\""), "{error}");
}
