//! Heads of several convolutions a map, and those of YOLOv2, through the whole converter, and compared with the export's
//! own.

use ylb_format::model::{
    Arranged, BoxRule, Layout, MapPart, Numbers, OutputKind, PicturePlacement, Scope, ScoreRule,
};
use ylb_source::ir::ElementType;

use super::heads::{Decode as ByAnchors, anchors, decoded as boxes_by_anchors, detector, heads};
use super::pictures::verdict;
use super::*;
use crate::compare::Verdict;
use crate::families;

const CLASSES: usize = 3;

/// How a family's boxes are decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decode {
    /// Four numbers, or four distributions of so many.
    Distances { bins: usize },
    /// `(t + grid)·stride`, `e^t·stride`.
    Grid,
}

/// What the rows of the export are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rows {
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
pub(super) fn parts(channels: &[usize]) -> (Net, [(Vec<TensorId>, usize); 2]) {
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
pub(super) fn flat(
    net: &mut Net,
    maps: &[(Vec<TensorId>, usize)],
    index: usize,
    channels: usize,
) -> TensorId {
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

/// The same by a product with a vector, or with a matrix of one column, as linear layers of four rows a box have it.
fn means_by_product(net: &mut Net, boxes: TensorId, bins: usize, rows: usize, matrix: bool) -> TensorId {
    let numbers: Vec<f32> = (0..bins).map(|bin| bin as f32).collect();
    let turned = net.builder.node("Transpose", &[boxes], &[("perm", ints(&[0, 2, 1]))]);
    let shape = if matrix { vec![-1, bins as i64] } else { vec![1, rows as i64, 4, bins as i64] };
    let split = net.reshaped(turned, &shape);
    let shares = net.builder.node("Softmax", &[split], &[("axis", Attribute::Int(-1))]);
    let numbers = net.builder.floats(&[bins, 1][..if matrix { 2 } else { 1 }], &numbers);
    let means = net.two("MatMul", shares, numbers);
    let means = net.reshaped(means, &[1, rows as i64, 4]);
    net.builder.node("Transpose", &[means], &[("perm", ints(&[0, 2, 1]))])
}

#[test]
fn means_of_distributions_by_products_of_matrices() {
    let bins = 6;
    for matrix in [false, true] {
        let (mut net, maps) = parts(&[4 * bins, CLASSES]);
        let strides = [1, 2];
        let [boxes, classes] =
            [(0, 4 * bins), (1, CLASSES)].map(|(part, channels)| flat(&mut net, &maps, part, channels));
        let means = means_by_product(&mut net, boxes, bins, strides.map(cells).iter().sum(), matrix);
        let sides = decoded(&mut net, means, Decode::Distances { bins }, &strides, false);
        let classes = net.sigmoid(classes);
        net.builder.graph.outputs = vec![net.joined_at(&[sides, classes], 1)];
        let model = convert(&net, &Options::default()).unwrap().model;
        assert_eq!(model.detect.boxes, BoxRule::Distributions { bins: bins as u8 });
        assert_eq!(verdict(&net, &model), Verdict::Equal);
    }
}

/// NanoDet's and PicoDet's rows: scores, and distributions before their decode. What they are is said, not guessed.
#[test]
fn scores_before_distributions_are_refused_by_name() {
    let bins = 8;
    for (classes, apart) in [(3, false), (3, true), (4, false), (4, true)] {
        let channels = if apart { vec![classes, 4 * bins] } else { vec![classes + 4 * bins] };
        let (mut net, maps) = parts(&channels);
        let rows: Vec<TensorId> =
            (0..channels.len()).map(|part| flat(&mut net, &maps, part, channels[part])).collect();
        let rows = if apart { net.joined_at(&rows, 1) } else { rows[0] };
        let [scores, boxes] =
            [(0, classes), (classes, classes + 4 * bins)].map(|(start, end)| net.part(rows, 1, start, end));
        let scores = net.sigmoid(scores);
        let joined = net.joined_at(&[scores, boxes], 1);
        let output = net.builder.node("Transpose", &[joined], &[("perm", ints(&[0, 2, 1]))]);
        net.builder.graph.outputs = vec![output];
        let error = convert(&net, &Options::default()).unwrap_err().to_string();
        let said = format!("{classes} scores and the logits of four distributions of 8, as NanoDet");
        // Three channels are no boxes, whatever the rows are.
        let said = if apart && classes == 3 { "as NanoDet and PicoDet have them" } else { &said };
        assert!(error.contains(said), "{error}");
        let cut = error.contains("--outputs ") && error.contains("--head yolov8");
        assert_eq!(cut, apart, "{error}");
        assert_eq!(error.contains("of one convolution"), !apart, "{error}");
    }
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
pub(super) fn anchor_free(decode: Decode, rows: Rows, transposed: bool, coarse_first: bool) -> Net {
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

/// Heads as they are: what they are is told by their channels, or by the names of the classes.
#[test]
fn raw_heads_of_parts() {
    type Find = fn(&Options) -> Options;
    let named: Find = |options| Options {
        class_names: (0..64).map(|class| format!("class {class}")).collect(),
        ..options.clone()
    };
    let plain: Find = Options::clone;
    let told: Find = |options| Options { head: families::by_name("yolov8"), ..options.clone() };
    let sixteen = BoxRule::Distributions { bins: 16 };
    let cases: [(&[usize], Find, BoxRule, u32); 8] = [
        (&[64, 3], plain, sixteen, 3),
        (&[4, 64], plain, sixteen, 4),
        (&[4, 64], named, BoxRule::Distances, 64),
        (&[3, 4], plain, BoxRule::Distances, 3),
        (&[20, 4], told, BoxRule::Distributions { bins: 5 }, 4),
        (&[20, 7], plain, BoxRule::Distributions { bins: 5 }, 7),
        (&[3, 4, 1], plain, BoxRule::GridExp, 3),
        (&[4, 1, 1], plain, BoxRule::GridExp, 1),
    ];
    for (channels, options, boxes, classes) in cases {
        let (mut net, maps) = parts(channels);
        net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
        let Converted { model, report } = convert(&net, &options(&Options::default())).unwrap();
        assert_eq!((model.detect.boxes, model.detect.classes), (boxes, classes), "{channels:?}");
        for (output, index) in model.outputs.iter().zip(0..) {
            let OutputKind::Head(MapPart { map, .. }) = output.kind else { panic!("{:?}", output.kind) };
            assert_eq!(map, index / channels.len() as u32);
        }
        assert_eq!(verdict(&net, &model), Verdict::Equal);
        let warned = report.warnings.iter().any(|warning| warning.message.contains("(--head)"));
        let one_family = boxes == BoxRule::GridExp || options(&Options::default()).head.is_some();
        assert_eq!(warned, !one_family, "{:?}", report.warnings);
        // YOLOX's own exports have another kind of picture, which is told as long as no option says any.
        let noted = |options: &Options| {
            let report = convert(&net, options).unwrap().report;
            report.warnings.iter().any(|warning| warning.message.contains("--bytes --bgr --letterbox corner"))
        };
        assert_eq!(noted(&options(&Options::default())), boxes == BoxRule::GridExp);
        let corner = Options { placement: PicturePlacement::Corner, ..Options::default() };
        assert!(!noted(&options(&corner)));
    }
    let (mut net, maps) = parts(&[5, 7]);
    net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("raw heads of 5 and 7 channels: give the class names"), "{error}");
    let anchors = Options { anchors: Some(vec![vec![[1.0, 1.0]]; 2]), ..Options::default() };
    let (mut net, maps) = parts(&[64, 3]);
    net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
    let error = convert(&net, &anchors).unwrap_err().to_string();
    assert!(error.contains("have no anchors: leave out --anchors"), "{error}");
}

/// As PicoDet's: scores behind a logistic function are no boxes, whatever their channels; a map of stride 1 and one of 2.
#[test]
fn raw_boxes_beside_logistic_scores() {
    for (channels, boxes) in [([4, 32], 1), ([32, 4], 0), ([64, 32], 1), ([5, 32], 1), ([64, 4], 1)] {
        let (mut net, maps) = parts(&channels);
        let mut outputs = Vec::new();
        for (heads, stride) in &maps {
            for (index, &head) in heads.iter().enumerate() {
                let flat = net.reshaped(head, &[1, channels[index] as i64, cells(*stride) as i64]);
                let rows = net.builder.node("Transpose", &[flat], &[("perm", ints(&[0, 2, 1]))]);
                outputs.push(if index == boxes { rows } else { net.sigmoid(rows) });
            }
        }
        net.builder.graph.outputs = outputs;
        let Converted { model, report } = convert(&net, &Options::default()).unwrap();
        let rule = match channels[boxes] {
            4 => BoxRule::Distances,
            of_sides => BoxRule::Distributions { bins: of_sides as u8 / 4 },
        };
        assert_eq!((model.detect.boxes, model.detect.classes), (rule, channels[1 - boxes] as u32));
        assert!(report.warnings.iter().any(|warning| warning.message.contains("(--head)")));
        assert_eq!(verdict(&net, &model), Verdict::Equal, "{channels:?}");
    }
}

/// NanoDet's: one convolution a map gives classes and distributions.
#[test]
fn raw_heads_of_classes_and_distributions_are_refused_by_name() {
    // Of 4 classes, they might be four anchors of nine numbers.
    for classes in [1, 3, 5] {
        let (mut net, maps) = parts(&[classes + 32]);
        net.builder.graph.outputs = maps.iter().map(|(heads, _)| heads[0]).collect();
        let class_names = (0..classes).map(|class| format!("class {class}")).collect();
        let error = convert(&net, &Options { class_names, ..Options::default() }).unwrap_err().to_string();
        assert!(error.contains("as of NanoDet and PicoDet, which is not taken"), "{error}");
    }
}

/// Heads that are joined for each map, and YOLOX's rows of boxes before their decode.
#[test]
fn raw_heads_joined() {
    let (mut net, maps) = parts(&[64, CLASSES]);
    net.builder.graph.outputs = maps.iter().map(|(heads, _)| net.joined_at(heads, 1)).collect();
    let model = convert(&net, &Options::default()).unwrap().model;
    for (output, map) in model.outputs.iter().zip(0..) {
        let expected = Arranged {
            numbers: Numbers::Logits,
            layout: Layout::Planes,
            of: Scope::Map(map),
            first: 0,
            count: 64 + CLASSES as u32,
        };
        assert_eq!(output.kind, OutputKind::Arranged(expected));
    }
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    // Classes of as many channels as boxes have.
    let (mut net, maps) = parts(&[4, 1, 4]);
    let joined: Vec<TensorId> = maps
        .iter()
        .map(|(heads, stride)| {
            let [objectness, classes] = [heads[1], heads[2]].map(|head| net.sigmoid(head));
            let joined = net.joined_at(&[heads[0], objectness, classes], 1);
            net.reshaped(joined, &[1, 9, cells(*stride) as i64])
        })
        .collect();
    let columns = net.joined_at(&joined, 2);
    net.builder.graph.outputs =
        vec![net.builder.node("Transpose", &[columns], &[("perm", ints(&[0, 2, 1]))])];
    let model = convert(&net, &Options::default()).unwrap().model;
    assert_eq!((model.detect.boxes, model.detect.classes), (BoxRule::GridExp, 4));
    let expected =
        Arranged { numbers: Numbers::RawBoxes, layout: Layout::Rows, of: Scope::Maps, first: 0, count: 9 };
    assert_eq!(model.outputs[0].kind, OutputKind::Arranged(expected));
    assert_eq!(verdict(&net, &model), Verdict::Equal);
}

/// Parts that differ between maps, and more of them than any family has.
#[test]
fn parts_that_fit_no_family_are_refused() {
    let (mut net, maps) = parts(&[64, 3, 2, 5]);
    net.builder.graph.outputs = maps.iter().flat_map(|(heads, _)| heads).copied().collect();
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("4 heads of [16, 16] cells; expected one, or boxes and classes"), "{error}");
    let (mut net, maps) = parts(&[64, 3, 4, 7]);
    let [(fine, _), (coarse, _)] = &maps;
    net.builder.graph.outputs = vec![fine[0], fine[1], coarse[2], coarse[3]];
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("of another feature map; expected the same numbers of a box"), "{error}");
}

/// YOLOv2: the boxes of YOLOv3, and classes by softmax.
#[test]
fn classes_by_softmax_are_those_of_yolov2() {
    let (mut net, image) = Net::new();
    let (head, stride) = heads(&mut net, image)[1];
    let side = SIZE / stride;
    // Three anchors of four numbers of a box, an objectness, one class: a share of one.
    let split = net.reshaped(head, &[1, 2, 9, side as i64, side as i64]);
    let rows = net.builder.node("Transpose", &[split], &[("perm", ints(&[0, 1, 3, 4, 2]))]);
    let [xy, wh, objectness, classes] =
        [(0, 2), (2, 4), (4, 5), (5, 9)].map(|(start, end)| net.part(rows, 4, start, end));
    let cells = (0..side * side).flat_map(|cell| [(cell % side) as f32, (cell / side) as f32]);
    let grid = net.builder.floats(&[1, 1, side, side, 2], &cells.collect::<Vec<_>>());
    let sizes: Vec<f32> = anchors(stride)[..2].as_flattened().to_vec();
    let sizes = net.builder.floats(&[1, 2, 1, 1, 2], &sizes);
    let (xy, pixels) = (net.sigmoid(xy), net.builder.float(stride as f32));
    let xy = net.two("Add", xy, grid);
    let xy = net.two("Mul", xy, pixels);
    let wh = net.builder.node("Exp", &[wh], &[]);
    let wh = net.two("Mul", wh, sizes);
    let objectness = net.sigmoid(objectness);
    let classes = net.builder.node("Softmax", &[classes], &[("axis", Attribute::Int(-1))]);
    let joined = net.joined_at(&[xy, wh, objectness, classes], 4);
    net.builder.graph.outputs = vec![net.reshaped(joined, &[1, 2 * (side * side) as i64, 9])];
    let model = convert(&net, &Options::default()).unwrap().model;
    let detect = &model.detect;
    assert_eq!((detect.boxes, detect.classes), (BoxRule::AnchorsExp, 4));
    assert_eq!(detect.scores, ScoreRule::ObjectnessTimesSoftmax);
    assert_eq!(detect.maps[0].anchors, anchors(stride)[..2]);
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    let mut other = model;
    other.detect.scores = ScoreRule::ObjectnessTimesClass;
    assert_eq!(verdict(&net, &other), Verdict::Different);
}

/// Boxes with an objectness and no class, as detectors of faces have them: the objectness is the score of one class.
#[test]
fn an_objectness_alone_is_the_score_of_one_class() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let feature = net.layer(input, [4, 3, 3, 3], 0.25);
    let weights = net.weights([15, 4, 1, 1]);
    let head = net.conv(feature, weights);
    let side = SIZE as i64;
    let split = net.reshaped(head, &[1, 3, 5, side, side]);
    let rows = net.builder.node("Transpose", &[split], &[("perm", ints(&[0, 1, 3, 4, 2]))]);
    let sigmas = net.sigmoid(rows);
    let [xy, wh, objectness] = [(0, 2), (2, 4), (4, 5)].map(|(start, end)| net.part(sigmas, 4, start, end));
    let cells = (0..SIZE * SIZE).flat_map(|cell| [cell % SIZE, cell / SIZE].map(|at| at as f32 - 0.5));
    let grid = net.builder.floats(&[1, 1, SIZE, SIZE, 2], &cells.collect::<Vec<_>>());
    let sizes = net.builder.floats(&[1, 3, 1, 1, 2], anchors(1).as_flattened());
    let two = net.builder.float(2.0);
    let [xy, wh] = [xy, wh].map(|sigmas| net.two("Mul", sigmas, two));
    let (xy, wh) = (net.two("Add", xy, grid), net.two("Mul", wh, wh));
    let wh = net.two("Mul", wh, sizes);
    let joined = net.joined_at(&[xy, wh, objectness], 4);
    net.builder.graph.outputs = vec![net.reshaped(joined, &[1, 3 * side * side, 5])];
    for name in [None, Some("yolov5"), Some("yolov5-objectness")] {
        let options = Options { head: name.and_then(families::by_name), ..Options::default() };
        let model = convert(&net, &options).unwrap().model;
        assert_eq!((model.detect.boxes, model.detect.classes), (BoxRule::AnchorsSigmoid, 1));
        assert_eq!((model.detect.scores, model.outputs[0].kind), (ScoreRule::Class, OutputKind::Decoded));
        assert_eq!(verdict(&net, &model), Verdict::Equal);
    }
    let options = Options { head: families::by_name("yolov3"), ..Options::default() };
    let error = convert(&net, &options).unwrap_err().to_string();
    assert!(error.contains("those of yolov5-objectness, not of yolov3 as was said"), "{error}");
    // Who says that there is no class where there is one is told.
    let decoded = detector(ByAnchors::Squares, false);
    let options = Options { head: families::by_name("yolov5-objectness"), ..Options::default() };
    let error = convert(&decoded, &options).unwrap_err().to_string();
    assert!(error.contains("those of yolov5, not of yolov5-objectness as was said"), "{error}");
}

/// YOLOv7's implicit knowledge, added before the last convolution and multiplied behind it, by channel.
#[test]
fn implicit_knowledge_is_part_of_the_head() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let feature = net.layer(input, [4, 3, 3, 3], 0.25);
    let numbers = net.numbers(4);
    let added = net.builder.floats(&[1, 4, 1, 1], &numbers);
    let before = net.two("Add", added, feature);
    let weights = net.weights([18, 4, 1, 1]);
    let head = net.conv(before, weights);
    let factors: Vec<f32> = net.numbers(18).iter().map(|number| 1.0 + number / 8.0).collect();
    let factors = net.builder.floats(&[1, 18, 1, 1], &factors);
    let head = net.two("Mul", factors, head);
    let output = boxes_by_anchors(&mut net, (head, 1), ByAnchors::Squares);
    net.builder.graph.outputs = vec![output];
    let model = convert(&net, &Options::default()).unwrap().model;
    assert_eq!(verdict(&net, &model), Verdict::Equal);
    // The guard: the numbers count.
    let mut other = model;
    other.detect.maps[0].parts[0].bias[0] += 1 << other.detect.maps[0].parts[0].shift;
    assert_eq!(verdict(&net, &other), Verdict::Different);
}

/// Numbers by channel before a window that sees positions outside of the tensor do not fit.
#[test]
fn implicit_knowledge_before_padded_convolutions_is_refused() {
    let (mut net, image) = Net::new();
    let input = net.input(image);
    let feature = net.layer(input, [4, 3, 3, 3], 0.25);
    let numbers = net.numbers(4);
    let added = net.builder.floats(&[1, 4, 1, 1], &numbers);
    let before = net.two("Add", added, feature);
    let weights = net.weights([18, 4, 3, 3]);
    let head = net.builder.node("Conv", &[before, weights], &[("pads", ints(&[1; 4]))]);
    net.builder.graph.outputs = vec![head];
    let error = convert(&net, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("offsets by channel"), "{error}");
}
