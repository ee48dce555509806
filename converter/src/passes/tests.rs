use ylb_format::model::{MapPart, OutputKind};
use ylb_source::ir::Builder;
use ylb_source::ir::{Attribute, Domain, ElementType, Graph, Tensor, TensorId};
use ylb_source::quantizer::Order;

use super::{constants, decode, prune, qoperator, quantizers, unjoined};
use crate::error::ErrorKind;
use crate::heads::{self, Hints};

mod hostile;

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

fn uint8(value: i64) -> Tensor {
    Tensor::integers(&[], ElementType::Unsigned(8), [value].into_iter()).unwrap()
}

#[test]
fn constants_fold_scales_and_shapes() {
    let (mut builder, image) = Builder::picture(8, 16);
    let two = builder.float(2.0);
    let scale = builder.float(0.1);
    let scale = builder.node("Mul", &[scale, two], &[]);
    let relu = builder.node("Relu", &[image], &[]);
    let shape = builder.node("Shape", &[relu], &[]);
    let rows = builder.constant(Tensor::indices(&[2]));
    let rows = builder.node("Gather", &[shape, rows], &[]);
    let scaled = builder.node("Mul", &[relu, scale], &[]);
    let mut graph = builder.graph;
    assert_eq!(constants::run(&mut graph, None).unwrap(), 3);
    assert_eq!(graph.constant(scale).unwrap().scalar(), Some(f64::from(0.1f32 * 2.0)));
    assert_eq!(graph.constant(rows).unwrap().scalar(), Some(8.0));
    assert_eq!(graph.tensor(scaled).shape, Some(vec![1, 3, 8, 16]));
    assert!(graph.constant(scaled).is_none());
}

/// The bias of a `QLinearConv` counts units of its accumulator, exactly: in 32 bits the product of the scales is
/// another number, and a tie of sum and bias would be none.
#[test]
fn biases_of_integer_convolutions_are_exact() {
    let (mut builder, image) = Builder::picture(4, 4);
    let (input, scales) = (0.1f32, [0.3f32, 0.7]);
    let scale = builder.node(
        "Constant",
        &[],
        &[("value", Attribute::Tensor(Tensor::f32(&[], vec![input]).unwrap().into()))],
    );
    let zero = builder.constant(uint8(0));
    let codes = builder.node("QuantizeLinear", &[image, scale, zero], &[]);
    let integers = |shape: &[usize], element, values: Vec<i64>| {
        Tensor::integers(shape, element, values.into_iter()).unwrap()
    };
    let weights = builder.constant(integers(&[2, 3, 1, 1], ElementType::Signed(8), vec![1; 6]));
    let weight_scales = builder.floats(&[2], &scales);
    let weight_zeros = builder.constant(integers(&[2], ElementType::Signed(8), vec![0; 2]));
    let bias = builder.constant(integers(&[2], ElementType::Signed(32), vec![1000, -7]));
    let inputs = [codes, scale, zero, weights, weight_scales, weight_zeros, scale, zero, bias];
    builder.node("QLinearConv", &inputs, &[]);
    let mut graph = builder.graph;
    assert_eq!(qoperator::run(&mut graph).unwrap(), 1);
    let conv = graph.nodes.iter().find(|node| node.is("Conv")).unwrap();
    let units = scales.map(|scale| f64::from(input) * f64::from(scale));
    assert_eq!(graph.constant_input(conv, 2).unwrap().to_f64(), [1000.0 * units[0], -7.0 * units[1]]);
}

#[test]
fn open_sizes_need_an_option() {
    let open = || {
        let (mut builder, image) = Builder::picture(0, 0);
        builder.graph.tensors[image.0].shape = Some(vec![0, 3, 0, 0]);
        builder.graph
    };
    let error = constants::run(&mut open(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DynamicShape);
    assert!(error.to_string().contains("--imgsz"));
    let mut graph = open();
    constants::run(&mut graph, Some([64, 96])).unwrap();
    assert_eq!(graph.tensor(graph.inputs[0]).shape, Some(vec![1, 3, 64, 96]));
    let (builder, _) = Builder::picture(32, 32);
    assert!(constants::run(&mut builder.graph.clone(), Some([64, 64])).is_err());
}

#[test]
fn shapes_of_convolutions_poolings_and_resizes() {
    let (mut builder, image) = Builder::picture(16, 16);
    let weights = builder.floats(&[4, 3, 3, 3], &[0.0; 108]);
    let conv =
        builder.node("Conv", &[image, weights], &[("strides", ints(&[2, 2])), ("pads", ints(&[1; 4]))]);
    let pool = builder.node("MaxPool", &[conv], &[("kernel_shape", ints(&[5, 5])), ("pads", ints(&[2; 4]))]);
    let empty = builder.floats(&[0], &[]);
    let scales = builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let resize = builder.node("Resize", &[pool, empty, scales], &[]);
    let joined = builder.node("Concat", &[resize, resize], &[("axis", Attribute::Int(1))]);
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    let shape = |id: TensorId| graph.tensor(id).shape.clone().unwrap();
    assert_eq!(shape(conv), [1, 4, 8, 8]);
    assert_eq!(shape(pool), [1, 4, 8, 8]);
    assert_eq!(shape(joined), [1, 8, 16, 16]);
}

#[test]
fn quantizers_of_qonnx_become_fake_quant() {
    let (mut builder, image) = Builder::picture(8, 8);
    let output = builder.quant(image, 0.5, 2.0, 3.0, true);
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    assert_eq!(quantizers::run(&mut graph).unwrap().qonnx, 1);
    let node = graph.nodes.last().unwrap();
    let quantizer = node.quantizer.as_ref().unwrap();
    assert_eq!((node.domain.clone(), node.inputs.as_slice()), (Domain::Converter, &[Some(image)][..]));
    assert_eq!((quantizer.low, quantizer.high, quantizer.order), (-4, 3, Order::ClampThenRound));
    assert_eq!(quantizer.codes_name, graph.tensor(output).name);
}

#[test]
fn clipped_pairs_become_one_fake_quant_for_all_readers() {
    let (mut builder, image) = Builder::picture(8, 8);
    let scale = builder.float(0.25);
    let zero = builder.constant(uint8(3));
    let (low, high) = (builder.constant(uint8(0)), builder.constant(uint8(15)));
    let codes = builder.node("QuantizeLinear", &[image, scale, zero], &[]);
    let clipped = builder.node("Clip", &[codes, low, high], &[]);
    let first = builder.node("microsoft::DequantizeLinear", &[clipped, scale, zero], &[]);
    let second = builder.node("DequantizeLinear", &[clipped, scale, zero], &[]);
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    let found = quantizers::run(&mut graph).unwrap();
    assert_eq!((found.qonnx, found.linear, found.clipped), (0, 2, 2));
    let writer = |id: TensorId| graph.nodes.iter().find(|node| node.outputs.contains(&id)).unwrap();
    let quantizer = writer(first).quantizer.as_ref().unwrap();
    assert_eq!((quantizer.low, quantizer.high), (0, 15));
    assert_eq!(quantizer.codes_name, graph.tensor(clipped).name);
    assert!(writer(second).is("Identity"));
    assert_eq!(writer(second).inputs, [Some(first)]);
}

#[test]
fn codes_read_with_another_scale_are_refused() {
    let (mut builder, image) = Builder::picture(8, 8);
    let (scale, other) = (builder.float(0.25), builder.float(0.5));
    let zero = builder.constant(uint8(0));
    let codes = builder.node("QuantizeLinear", &[image, scale, zero], &[]);
    builder.node("DequantizeLinear", &[codes, other, zero], &[]);
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    let error = quantizers::run(&mut graph).unwrap_err();
    assert_eq!(error.op_type(), Some("DequantizeLinear"));
}

/// A head of two anchors and one class on a picture of 8x16 pixels, stride 4.
fn head(builder: &mut Builder, image: TensorId) -> TensorId {
    let weights = builder.floats(&[12, 3, 1, 1], &[0.1; 36]);
    builder.node("Conv", &[image, weights], &[("strides", ints(&[4, 4]))])
}

/// `[1, 12, 2, 4]` to `[1, 2, 2, 4, 6]`.
fn by_anchor(builder: &mut Builder, head: TensorId) -> TensorId {
    let shape = builder.constant(Tensor::indices(&[1, 2, 6, 2, 4]));
    let reshaped = builder.node("Reshape", &[head, shape], &[]);
    builder.node("Transpose", &[reshaped], &[("perm", ints(&[0, 1, 3, 4, 2]))])
}

fn grid() -> Vec<f32> {
    let mut grid = Vec::new();
    for _anchor in 0..2 {
        for (y, x) in (0..2).flat_map(|y| (0..4).map(move |x| (y, x))) {
            grid.extend([x as f32 - 0.5, y as f32 - 0.5]);
        }
    }
    grid
}

/// The decode with slices instead of a split, and with a stride that may be wrong.
fn decoded(builder: &mut Builder, head: TensorId, stride: f32) -> TensorId {
    let rows = by_anchor(builder, head);
    let sigmoid = builder.node("Sigmoid", &[rows], &[]);
    let part = |builder: &mut Builder, from: i64, to: i64| {
        let bounds = [from, to, -1].map(|value| builder.constant(Tensor::indices(&[value])));
        builder.node("Slice", &[sigmoid, bounds[0], bounds[1], bounds[2]], &[])
    };
    let (xy, wh, rest) = (part(builder, 0, 2), part(builder, 2, 4), part(builder, 4, i64::MAX));
    let (two, stride) = (builder.float(2.0), builder.float(stride));
    let grid = builder.floats(&[1, 2, 2, 4, 2], &grid());
    let anchors = builder.floats(&[1, 2, 1, 1, 2], &[10.0, 13.0, 16.0, 30.0]);
    let xy = builder.node("Mul", &[xy, two], &[]);
    let xy = builder.node("Add", &[xy, grid], &[]);
    let xy = builder.node("Mul", &[xy, stride], &[]);
    let wh = builder.node("Mul", &[wh, two], &[]);
    let wh = builder.node("Mul", &[wh, wh], &[]);
    let wh = builder.node("Mul", &[wh, anchors], &[]);
    let joined = builder.node("Concat", &[xy, wh, rest], &[("axis", Attribute::Int(4))]);
    let shape = builder.constant(Tensor::indices(&[1, 16, 6]));
    builder.node("Reshape", &[joined, shape], &[])
}

fn found(builder: Builder, hints: Hints) -> Result<heads::Heads, crate::ConvertError> {
    let mut graph = builder.graph;
    constants::run(&mut graph, None)?;
    heads::run(&mut graph, hints)
}

#[test]
fn decodes_are_recognised_by_what_they_compute() {
    let (mut builder, image) = Builder::picture(8, 16);
    let head = head(&mut builder, image);
    let output = decoded(&mut builder, head, 4.0);
    builder.graph.outputs = vec![output];
    let heads = found(builder, Hints::default()).unwrap();
    assert_eq!((heads.classes, heads.outputs[0].kind), (1, OutputKind::Decoded));
    assert_eq!((heads.maps[0].stride, heads.maps[0].anchors_per_cell), (4, 2));
    assert_eq!(heads.maps[0].anchors, [[10.0, 13.0], [16.0, 30.0]]);
    assert_eq!(heads.maps[0].parts[0].tensor, head);
}

#[test]
fn other_decodes_are_refused() {
    let (mut builder, image) = Builder::picture(8, 16);
    let head = head(&mut builder, image);
    let output = decoded(&mut builder, head, 4.01);
    builder.graph.outputs = vec![output];
    let error = found(builder, Hints::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADetector);
}

/// The decode with its scores, and on request its grid, behind 8-bit quantizers.
fn quantized_decode(grid_too: bool) -> Graph {
    let (mut builder, image) = Builder::picture(8, 16);
    let head = head(&mut builder, image);
    let output = decoded(&mut builder, head, 4.0);
    let scale = builder.float(0.125);
    let zero = builder.constant(uint8(4));
    let codes = builder.node("QuantizeLinear", &[output, scale, zero], &[]);
    let real = builder.node("DequantizeLinear", &[codes, scale, zero], &[]);
    builder.graph.outputs = vec![real];
    let mut graph = builder.graph;
    if grid_too {
        let add = graph.nodes.iter().position(|node| node.op_type == "Add").unwrap();
        let grid = graph.nodes[add].inputs[1].unwrap();
        let shape = graph.tensor(grid).shape.clone().unwrap();
        let values = graph.constant(grid).unwrap().to_f64();
        // Steps of 0.15 in place of cells: off by less than a tenth of a cell.
        let codes = values.iter().map(|value| (value / 0.15).round() as i64 + 4);
        let element = ElementType::Unsigned(8);
        let codes = Tensor::integers(&shape, element, codes.collect::<Vec<_>>().into_iter()).unwrap();
        let mut builder = Builder { graph };
        let (codes, scale) = (builder.constant(codes), builder.float(0.15));
        let real = builder.node("DequantizeLinear", &[codes, scale, zero], &[]);
        graph = builder.graph;
        let dequantize = graph.nodes.pop().unwrap();
        graph.nodes[add].inputs[1] = Some(real);
        graph.nodes.insert(add, dequantize);
    }
    constants::run(&mut graph, None).unwrap();
    quantizers::run(&mut graph).unwrap();
    graph
}

#[test]
fn quantizers_in_the_decode_are_dropped_or_refused() {
    for (grid_too, count) in [(false, "(1): "), (true, "(2): ")] {
        let mut graph = quantized_decode(grid_too);
        let error = decode::run(&mut graph.clone(), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("--keep-decode-quantizers"), "{error}");
        let warning = decode::run(&mut graph, false).unwrap().unwrap();
        assert!(warning.message.contains(count), "{}", warning.message);
        assert!(warning.message.contains("DequantizeLinear"), "{}", warning.message);
        let heads = heads::run(&mut graph, Hints::default()).unwrap();
        assert_eq!(heads.outputs[0].kind, OutputKind::Decoded);
        assert_eq!(heads.maps[0].anchors, [[10.0, 13.0], [16.0, 30.0]]);
    }
}

/// Quantizers of the heads themselves are none of the decode's.
#[test]
fn quantized_heads_keep_their_quantizers() {
    let (mut builder, image) = Builder::picture(8, 16);
    let head = head(&mut builder, image);
    let head = builder.quant(head, 0.1, 0.0, 8.0, true);
    let output = decoded(&mut builder, head, 4.0);
    builder.graph.outputs = vec![output];
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    quantizers::run(&mut graph).unwrap();
    assert_eq!(decode::run(&mut graph, false).unwrap(), None);
    assert_eq!(heads::run(&mut graph, Hints::default()).unwrap().maps[0].parts[0].tensor, head);
}

#[test]
fn raw_heads_and_heads_by_anchor() {
    let (mut builder, image) = Builder::picture(8, 16);
    let head = head(&mut builder, image);
    builder.graph.outputs = vec![head];
    let raw = builder.graph.clone();
    let error =
        found(Builder { graph: raw.clone() }, Hints { classes: Some(2), ..Hints::default() }).unwrap_err();
    assert!(error.to_string().contains("12 channels"), "{error}");
    let heads = found(Builder { graph: raw }, Hints { classes: Some(1), ..Hints::default() }).unwrap();
    assert_eq!((heads.classes, heads.outputs[0].kind), (1, OutputKind::Head(MapPart::whole(0))));
    let rows = by_anchor(&mut builder, head);
    builder.graph.outputs = vec![rows, head];
    let heads = found(builder, Hints::default()).unwrap();
    let kinds: Vec<OutputKind> = heads.outputs.iter().map(|output| output.kind).collect();
    assert_eq!(kinds, [OutputKind::HeadByAnchor(MapPart::whole(0)), OutputKind::Head(MapPart::whole(0))]);
    assert_eq!(heads.classes, 1);
}

#[test]
fn nodes_behind_the_heads_are_pruned() {
    let (mut builder, image) = Builder::picture(8, 16);
    let head = head(&mut builder, image);
    let output = decoded(&mut builder, head, 4.0);
    builder.graph.outputs = vec![output];
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    heads::run(&mut graph, Hints::default()).unwrap();
    prune::run(&mut graph);
    let left: Vec<&str> = graph.nodes.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(left, ["Conv"]);
}

/// Maps joined by rows, a function, and what takes a part of that: the graph, and whether it was computed part by part.
fn joined(take: impl Fn(&mut Builder, TensorId) -> TensorId, parts: usize) -> usize {
    let (mut builder, picture) = Builder::picture(8, 8);
    let both = vec![picture; parts];
    let map = builder.node("Concat", &both, &[("axis", Attribute::Int(2))]);
    let relu = builder.node("Relu", &[map], &[]);
    let taken = take(&mut builder, relu);
    builder.graph.outputs = vec![taken];
    let mut graph = builder.graph;
    constants::run(&mut graph, None).unwrap();
    let before = graph.nodes.len();
    let found = unjoined::run(&mut graph);
    assert_eq!(graph.nodes.iter().any(|node| node.is("Concat")), found == 0);
    assert!(found > 0 || graph.nodes.len() == before);
    found
}

/// Only whole parts are taken apart: a part and a bit, or channels, need the joined map.
#[test]
fn joined_maps_are_taken_apart_where_whole_parts_are_taken() {
    let slice = |from: i64, to: i64, axis: i64| {
        move |builder: &mut Builder, x: TensorId| {
            let bounds = [from, to, axis].map(|number| builder.constant(Tensor::indices(&[number])));
            builder.node("Slice", &[x, bounds[0], bounds[1], bounds[2]], &[])
        }
    };
    assert_eq!(joined(slice(8, 16, 2), 2), 1);
    assert_eq!(joined(slice(-8, i64::MAX, 2), 3), 1);
    assert_eq!(joined(slice(7, 15, 2), 2), 0);
    assert_eq!(joined(slice(0, 1, 1), 2), 0);
    assert_eq!(joined(slice(0, 2, 1), 1), 0);
    let channels = |builder: &mut Builder, x: TensorId| {
        let order = builder.constant(Tensor::indices(&[2, 0]));
        builder.node("Gather", &[x, order], &[("axis", Attribute::Int(1))])
    };
    assert_eq!(joined(channels, 2), 0);
    let channel_of_a_part = |builder: &mut Builder, x: TensorId| {
        let bounds = [[0, 8], [1, 16], [1, 2]].map(|numbers| builder.constant(Tensor::indices(&numbers)));
        builder.node("Slice", &[x, bounds[0], bounds[1], bounds[2]], &[])
    };
    assert_eq!(joined(channel_of_a_part, 2), 0);
}
