//! Heads of several convolutions a map, and those of YOLOv2, through the whole converter, and compared with the export's
//! own.

use ylb_format::model::{Arranged, BoxRule, Layout, MapPart, Numbers, OutputKind, Scope, ScoreRule};
use ylb_source::ir::ElementType;

use super::heads::{Decode as ByAnchors, anchors, decoded as boxes_by_anchors, detector, heads};
use super::pictures::verdict;
use super::*;
use crate::compare::Verdict;
use crate::families;

mod anchored;
mod raw;

const CLASSES: usize = 3;

/// How a family's boxes are decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Decode {
    /// Four numbers, or four distributions of so many.
    Distances { bins: usize },
    /// `(t + grid)·stride`, `e^t·stride`.
    Grid,
}

/// What the rows of the export are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rows {
    /// Centre and size, classes.
    Boxes,
    /// The same with a constant objectness of 1 between.
    ConstantObjectness,
    /// Left, top, right, bottom, classes.
    Corners,
}

impl Net {
    fn reshaped(&mut self, from: TensorId, shape: &[i64]) -> TensorId {
        let shape = self.builder.constant(Tensor::indices(shape));
        self.builder.node("Reshape", &[from, shape], &[])
    }

    fn joined_at(&mut self, parts: &[TensorId], axis: i64) -> TensorId {
        self.builder.node("Concat", parts, &[("axis", Attribute::Int(axis))])
    }

    fn part(&mut self, from: TensorId, axis: i64, start: usize, end: usize) -> TensorId {
        let bounds = [start, end, axis as usize];
        let bounds = bounds.map(|value| self.builder.constant(Tensor::indices(&[value as i64])));
        self.builder.node("Slice", &[from, bounds[0], bounds[1], bounds[2]], &[])
    }

    fn two(&mut self, op: &str, a: TensorId, b: TensorId) -> TensorId {
        self.builder.node(op, &[a, b], &[])
    }

    fn sigmoid(&mut self, from: TensorId) -> TensorId {
        self.builder.node("Sigmoid", &[from], &[])
    }
}

/// Convolutions of so many channels over each of two feature maps, the finer first: by map, the heads; and the strides.
fn parts(channels: &[usize]) -> (Net, [(Vec<TensorId>, usize); 2]) {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let fine = net.layer(input, [4, 3, 3, 3], 0.25);
    let weights = net.weights([4, 4, 3, 3]);
    let attributes = [("pads", ints(&[1; 4])), ("strides", ints(&[2, 2]))];
    let coarse = net.builder.node("Conv", &[fine, weights], &attributes);
    let coarse = net.builder.node("Relu", &[coarse], &[]);
    let coarse = net.builder.quant(coarse, 0.25, 0.0, 4.0, false);
    let maps = [(fine, 1), (coarse, 2)].map(|(feature, stride)| {
        let heads = channels.iter().map(|&channels| {
            let weights = net.weights([channels, 4, 1, 1]);
            net.conv(feature, weights)
        });
        (heads.collect(), stride)
    });
    (net, maps)
}

fn cells(stride: usize) -> usize {
    (SIZE / stride) * (SIZE / stride)
}

/// `[1, channels, cells]` of all maps: their parts of that index, side by side.
fn flat(net: &mut Net, maps: &[(Vec<TensorId>, usize)], index: usize, channels: usize) -> TensorId {
    let of_map = |(heads, stride): &(Vec<TensorId>, usize)| {
        net.reshaped(heads[index], &[1, channels as i64, cells(*stride) as i64])
    };
    let parts: Vec<TensorId> = maps.iter().map(of_map).collect();
    net.joined_at(&parts, 2)
}

/// Columns `[1, 2, rows]` of the cells of all maps, x then y, plus an offset, and strides `[1, rows]`.
fn grid(net: &mut Net, strides: &[usize], offset: f32) -> [TensorId; 2] {
    let of_map = |stride: usize| (0..cells(stride)).map(move |cell| (cell, SIZE / stride, stride));
    let all: Vec<(usize, usize, usize)> = strides.iter().flat_map(|&stride| of_map(stride)).collect();
    let x = all.iter().map(|&(cell, side, _)| (cell % side) as f32 + offset);
    let y = all.iter().map(|&(cell, side, _)| (cell / side) as f32 + offset);
    let points = net.builder.floats(&[1, 2, all.len()], &x.chain(y).collect::<Vec<_>>());
    let strides: Vec<f32> = all.iter().map(|&(_, _, stride)| stride as f32).collect();
    [points, net.builder.floats(&[1, all.len()], &strides)]
}

/// Centre and size, or edges, in pixels: `[1, 4, rows]`, from the boxes' heads of all maps.
fn decoded(net: &mut Net, boxes: TensorId, decode: Decode, strides: &[usize], corners: bool) -> TensorId {
    if decode == Decode::Grid {
        let [points, strides] = grid(net, strides, 0.0);
        let [xy, wh] = [(0, 2), (2, 4)].map(|(start, end)| net.part(boxes, 1, start, end));
        let xy = net.two("Add", xy, points);
        let wh = net.builder.node("Exp", &[wh], &[]);
        let joined = net.joined_at(&[xy, wh], 1);
        return net.two("Mul", joined, strides);
    }
    let [points, strides] = grid(net, strides, 0.5);
    let [before, behind] = [(0, 2), (2, 4)].map(|(start, end)| net.part(boxes, 1, start, end));
    let [first, last] = [net.two("Sub", points, before), net.two("Add", points, behind)];
    let sides = if corners {
        [first, last]
    } else {
        let (sum, two) = (net.two("Add", first, last), net.builder.float(2.0));
        [net.two("Div", sum, two), net.two("Sub", last, first)]
    };
    let joined = net.joined_at(&sides, 1);
    net.two("Mul", joined, strides)
}

/// The means of distributions, `[1, 4, rows]`, by softmax and a convolution, as YOLOv8's export writes them.
fn means(net: &mut Net, boxes: TensorId, bins: usize, rows: usize) -> TensorId {
    let split = net.reshaped(boxes, &[1, 4, bins as i64, rows as i64]);
    let turned = net.builder.node("Transpose", &[split], &[("perm", ints(&[0, 2, 1, 3]))]);
    let shares = net.builder.node("Softmax", &[turned], &[("axis", Attribute::Int(1))]);
    let weights: Vec<f32> = (0..bins).map(|bin| bin as f32).collect();
    let weights = net.builder.floats(&[1, bins, 1, 1], &weights);
    let means = net.builder.node("Conv", &[shares, weights], &[("kernel_shape", ints(&[1, 1]))]);
    net.reshaped(means, &[1, 4, rows as i64])
}

/// Puts a tensor on a grid and back, as ONNX Runtime does round every convolution.
fn on_grid(net: &mut Net, from: TensorId, scale: f32) -> TensorId {
    let (scale, zero) = (net.builder.float(scale), net.builder.constant(int8(&[], &[0])));
    let codes = net.builder.node("QuantizeLinear", &[from, scale, zero], &[]);
    net.builder.node("DequantizeLinear", &[codes, scale, zero], &[])
}

fn int8(shape: &[usize], codes: &[i64]) -> Tensor {
    Tensor::integers(shape, ElementType::Signed(8), codes.iter().copied()).unwrap()
}

/// The means of distributions whose convolution is quantized, as YOLOv8 is by `export format=onnx quantize=8`.
#[test]
fn quantized_means_of_distributions_are_those_of_whole_numbers() {
    let bins = 16;
    let (mut net, maps) = parts(&[4 * bins, CLASSES]);
    let strides = [1, 2];
    let count: usize = strides.iter().map(|&stride| cells(stride)).sum();
    let boxes = flat(&mut net, &maps, 0, 4 * bins);
    let split = net.reshaped(boxes, &[1, 4, bins as i64, count as i64]);
    let turned = net.builder.node("Transpose", &[split], &[("perm", ints(&[0, 2, 1, 3]))]);
    let shares = net.builder.node("Softmax", &[turned], &[("axis", Attribute::Int(1))]);
    let shares = on_grid(&mut net, shares, 1.0 / 127.0);
    // Steps of 15/127: off by up to a seventeenth.
    let step = 15.0 / 127.0;
    let codes: Vec<i64> = (0..bins).map(|bin| (bin as f64 / step).round() as i64).collect();
    let weights = net.builder.constant(int8(&[1, bins, 1, 1], &codes));
    let (scale, zero) = (net.builder.float(step as f32), net.builder.constant(int8(&[], &[0])));
    let weights = net.builder.node("DequantizeLinear", &[weights, scale, zero], &[]);
    let means = net.builder.node("Conv", &[shares, weights], &[]);
    let means = on_grid(&mut net, means, step as f32);
    let means = net.reshaped(means, &[1, 4, count as i64]);
    let sides = decoded(&mut net, means, Decode::Distances { bins }, &strides, false);
    let logits = flat(&mut net, &maps, 1, CLASSES);
    let scores = net.sigmoid(logits);
    net.builder.graph.outputs = vec![net.joined_at(&[sides, scores], 1)];
    let Converted { model, report } = convert(&net, &Options::default()).unwrap();
    assert_eq!(model.detect.boxes, BoxRule::Distributions { bins: 16 });
    let dropped = |warning: &crate::Warning| warning.message.contains("inside the decode of the boxes (3)");
    assert!(report.warnings.iter().any(dropped), "{:?}", report.warnings);
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    // Of other weights than whole numbers nothing is a mean.
    let codes: Vec<i64> = codes.iter().map(|code| code * 2 / 3).collect();
    let wrong =
        net.builder.graph.tensors.iter_mut().find(|info| info.shape.as_deref() == Some(&[1, bins, 1, 1]));
    wrong.unwrap().constant = Some(std::sync::Arc::new(int8(&[1, bins, 1, 1], &codes)));
    assert_eq!(convert(&net, &Options::default()).unwrap_err().kind(), ErrorKind::NotADetector);
}

/// A detector of anchor-free heads: its output is columns `[1, n, rows]`, or rows `[1, rows, n]`.
fn anchor_free(decode: Decode, rows: Rows, transposed: bool, coarse_first: bool) -> Net {
    let (box_channels, objectness) = match decode {
        Decode::Distances { bins } => (4 * bins, false),
        Decode::Grid => (4, true),
    };
    let channels: Vec<usize> =
        [box_channels].into_iter().chain(objectness.then_some(1)).chain([CLASSES]).collect();
    let (mut net, mut maps) = parts(&channels);
    if coarse_first {
        maps.reverse();
    }
    let strides: Vec<usize> = maps.iter().map(|(_, stride)| *stride).collect();
    let count: usize = strides.iter().map(|&stride| cells(stride)).sum();
    let boxes = flat(&mut net, &maps, 0, box_channels);
    let boxes = match decode {
        Decode::Distances { bins } if bins > 1 => means(&mut net, boxes, bins, count),
        _ => boxes,
    };
    let sides = decoded(&mut net, boxes, decode, &strides, rows == Rows::Corners);
    let mut joined = vec![sides];
    if rows == Rows::ConstantObjectness {
        joined.push(net.builder.floats(&[1, 1, count], &vec![1.0; count]));
    }
    for (index, &channels) in channels.iter().enumerate().skip(1) {
        let logits = flat(&mut net, &maps, index, channels);
        joined.push(net.sigmoid(logits));
    }
    let output = net.joined_at(&joined, 1);
    let turned = |net: &mut Net| net.builder.node("Transpose", &[output], &[("perm", ints(&[0, 2, 1]))]);
    let output = if transposed { turned(&mut net) } else { output };
    net.builder.graph.outputs = vec![output];
    net
}

fn convert(net: &Net, options: &Options) -> Result<Converted, ConvertError> {
    convert_graph(net.builder.graph.clone(), Metadata::default(), options, &mut |_| {})
}

/// Every family of anchor-free heads, decoded, in columns and in rows, the maps in both orders.
#[test]
fn anchor_free_heads_are_recognised() {
    use Decode::{Distances, Grid};
    let cases = [
        (
            Distances { bins: 16 },
            Rows::Boxes,
            "yolov8",
            BoxRule::Distributions { bins: 16 },
            ScoreRule::Class,
        ),
        (
            Distances { bins: 5 },
            Rows::Corners,
            "yolov8",
            BoxRule::Distributions { bins: 5 },
            ScoreRule::Class,
        ),
        (
            Distances { bins: 17 },
            Rows::ConstantObjectness,
            "yolov6m",
            BoxRule::Distributions { bins: 17 },
            ScoreRule::ConstantObjectness,
        ),
        (Distances { bins: 1 }, Rows::Boxes, "yolo26", BoxRule::Distances, ScoreRule::Class),
        (Distances { bins: 1 }, Rows::Corners, "yolo26", BoxRule::Distances, ScoreRule::Class),
        (
            Distances { bins: 1 },
            Rows::ConstantObjectness,
            "yolov6",
            BoxRule::Distances,
            ScoreRule::ConstantObjectness,
        ),
        (Grid, Rows::Boxes, "yolox", BoxRule::GridExp, ScoreRule::ObjectnessTimesClass),
    ];
    for (decode, rows, name, boxes, scores) in cases {
        for (transposed, coarse_first) in [(false, false), (true, false), (true, true)] {
            let net = anchor_free(decode, rows, transposed, coarse_first);
            let Converted { model, report } = convert(&net, &Options::default()).unwrap();
            let detect = &model.detect;
            assert_eq!((detect.boxes, detect.scores, detect.classes), (boxes, scores, CLASSES as u32));
            let strides: Vec<u32> = detect.maps.iter().map(|map| map.stride).collect();
            assert_eq!(strides, if coarse_first { [2, 1] } else { [1, 2] });
            let said = format!("heads: {name}, {CLASSES} classes, strides");
            assert!(report.passes.iter().any(|pass| pass.starts_with(&said)), "{:?}", report.passes);
            let layout = if transposed { Layout::Rows } else { Layout::Columns };
            let numbers = if rows == Rows::Corners { Numbers::Corners } else { Numbers::Boxes };
            let count = detect.columns() as u32;
            let arranged = Arranged { numbers, layout, of: Scope::Maps, first: 0, count };
            let plain = (numbers, layout) == (Numbers::Boxes, Layout::Rows);
            let expected = if plain { OutputKind::Decoded } else { OutputKind::Arranged(arranged) };
            assert_eq!(model.outputs[0].kind, expected, "{name}");
            assert_eq!(verdict(&net, &model), Verdict::Equal, "{name}");
            // The guard: what is compared with the export tells the rules apart.
            let mut other = model;
            other.detect.maps.iter_mut().for_each(|map| map.stride *= 2);
            assert_eq!(verdict(&net, &other), Verdict::Different, "{name}");
        }
    }
}

/// A head of other boxes than any family's, and one that is said to be another's.
#[test]
fn other_boxes_are_refused() {
    let mut net = anchor_free(Decode::Distances { bins: 4 }, Rows::Boxes, false, false);
    let columns = net.builder.graph.outputs[0];
    let factor = net.builder.float(1.01);
    net.builder.graph.outputs = vec![net.two("Mul", columns, factor)];
    let error = convert(&net, &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADetector);
    assert!(error.to_string().contains("yolov8 (ltrb"), "{error}");
    let net = anchor_free(Decode::Distances { bins: 1 }, Rows::Boxes, false, false);
    let told = |name| Options { head: families::by_name(name), ..Options::default() };
    assert!(convert(&net, &told("yolo26")).is_ok());
    let error = convert(&net, &told("yolov6")).unwrap_err().to_string();
    assert!(error.contains("those of yolo26, not of yolov6 as was said"), "{error}");
    let error = convert(&net, &told("yolov8")).unwrap_err().to_string();
    assert!(error.contains("are not those of yolov8 as was said (--head)"), "{error}");
}

/// Exports that select boxes are told to be made without, and how heads are taken in place.
#[test]
fn selected_boxes_are_refused() {
    let mut net = anchor_free(Decode::Distances { bins: 1 }, Rows::Corners, true, false);
    let rows = net.builder.graph.outputs[0];
    let count = net.builder.constant(Tensor::indices(&[300]));
    net.builder.graph.outputs = vec![net.two("TopK", rows, count)];
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("export without it (nms, end2end), or cut it off (--outputs "), "{error}");
    assert!(!error.contains("--anchors"), "{error}");
}

/// Boxes and scores as outputs of their own, either first.
#[test]
fn boxes_and_scores_of_parts_apart() {
    for scores_first in [false, true] {
        let mut net = anchor_free(Decode::Distances { bins: 16 }, Rows::Boxes, false, false);
        let columns = net.builder.graph.outputs[0];
        let node = net.builder.graph.nodes.iter().find(|node| node.outputs.contains(&columns)).unwrap();
        let mut outputs: Vec<TensorId> = node.inputs.iter().flatten().copied().collect();
        if scores_first {
            outputs.reverse();
        }
        net.builder.graph.outputs = outputs;
        let model = convert(&net, &Options::default()).unwrap().model;
        assert_eq!(model.detect.boxes, BoxRule::Distributions { bins: 16 });
        assert_eq!(model.detect.classes, CLASSES as u32);
        assert_eq!(verdict(&net, &model), Verdict::Equal);
    }
}
