//! Networks in floats, calibrated and converted: one of each family of heads, and the bodies that detectors have.

use ylb_calibrate::{Bits, Spacing, Wanted, calibrate};

use super::families::{Decode, Rows, anchor_free};
use super::heads::{Decode as ByAnchors, detector};
use super::pictures::verdict;
use super::*;
use crate::compare::Verdict;

/// The graph without its quantizers: what a training in floats would have exported.
fn in_floats(mut graph: Graph) -> Graph {
    let quantizers: Vec<(TensorId, TensorId)> = graph
        .nodes
        .iter()
        .filter(|node| node.domain == ylb_source::ir::Domain::Qonnx)
        .filter_map(|node| Some((node.output().ok()?, node.input(0)?)))
        .collect();
    let source = |id: TensorId| quantizers.iter().find(|(output, _)| *output == id).map(|(_, input)| *input);
    for node in &mut graph.nodes {
        for input in node.inputs.iter_mut().flatten() {
            while let Some(before) = source(*input) {
                *input = before;
            }
        }
    }
    graph.nodes.retain(|node| node.domain != ylb_source::ir::Domain::Qonnx);
    graph
}

fn pictures() -> Vec<Vec<u8>> {
    let pixel = |picture: usize, index: usize| (index * (picture + 3) * 37 % 251) as u8;
    (0..4).map(|picture| (0..3 * SIZE * SIZE).map(|index| pixel(picture, index)).collect()).collect()
}

/// Calibrates a network, converts it, and compares all codes.
fn check(float: &Graph, wanted: Wanted, what: &str) -> Converted {
    let graph = calibrate(float, [SIZE; 2], &pictures(), wanted, &|_| {}).unwrap().graph;
    let options = Options { class_names: vec!["thing".into()], ..Options::default() };
    let options = if what.contains("raw") { options } else { Options::default() };
    let converted = convert_graph(graph.clone(), Metadata::default(), &options, &mut |_| {});
    let converted = converted.unwrap_or_else(|error| panic!("{what}: {error}"));
    let net = Net { builder: Builder { graph }, state: 0 };
    assert_eq!(verdict(&net, &converted.model), Verdict::Equal, "{what}");
    converted
}

fn wanted(bits: &str) -> Wanted {
    bits.parse::<Bits>().unwrap().into()
}

#[test]
fn heads_of_every_family() {
    let by_anchors = [
        ("yolov5", ByAnchors::Squares),
        ("yolov3", ByAnchors::Exponentials(1.0)),
        ("yolov4", ByAnchors::Exponentials(1.2)),
    ];
    for (name, decode) in by_anchors {
        for bits in ["w8a8", "w4a8"] {
            check(&in_floats(detector(decode, false).builder.graph), wanted(bits), name);
        }
    }
    for (name, decode, rows) in [
        ("yolov8", Decode::Distances { bins: 16 }, Rows::Boxes),
        ("yolov6m", Decode::Distances { bins: 17 }, Rows::ConstantObjectness),
        ("yolo26", Decode::Distances { bins: 1 }, Rows::Corners),
        ("yolov6", Decode::Distances { bins: 1 }, Rows::ConstantObjectness),
        ("yolox", Decode::Grid, Rows::Boxes),
    ] {
        for bits in ["w8a8", "w4a8"] {
            let Converted { report, .. } =
                check(&in_floats(anchor_free(decode, rows, true, false).builder.graph), wanted(bits), name);
            let said = format!("heads: {name}, ");
            assert!(report.passes.iter().any(|pass| pass.starts_with(&said)), "{:?}", report.passes);
        }
    }
}

impl Net {
    /// A convolution in floats that keeps the size, or divides it by its stride.
    fn float_conv(&mut self, x: TensorId, shape: [usize; 4], stride: i64, groups: i64) -> TensorId {
        let numbers = self.numbers(shape.iter().product());
        let reach = (shape[1..].iter().product::<usize>() as f32).sqrt();
        let weights =
            self.builder.floats(&shape, &numbers.iter().map(|x| 1.5 * x / reach).collect::<Vec<_>>());
        let numbers: Vec<f32> = self.numbers(shape[0]).iter().map(|x| x / 5.0).collect();
        let bias = self.builder.floats(&[shape[0]], &numbers);
        let attributes = [
            ("pads", ints(&[(shape[2] / 2) as i64; 4])),
            ("strides", ints(&[stride; 2])),
            ("group", Attribute::Int(groups)),
        ];
        self.builder.node("Conv", &[x, weights, bias], &attributes)
    }

    fn silu(&mut self, x: TensorId) -> TensorId {
        let sigmoid = self.builder.node("Sigmoid", &[x], &[]);
        self.builder.node("Mul", &[x, sigmoid], &[])
    }

    fn halves(&mut self, x: TensorId) -> [TensorId; 2] {
        [(0i64, 4i64), (4, 8)].map(|(start, end)| {
            let bounds = [start, end, 1].map(|value| self.builder.constant(Tensor::indices(&[value])));
            self.builder.node("Slice", &[x, bounds[0], bounds[1], bounds[2]], &[])
        })
    }
}

type Body = fn(&mut Net, TensorId) -> TensorId;

/// What is between the first convolution and the head: 8 channels in, 8 out.
const BODIES: [(&str, Body); 7] = [
    ("C3: a bottleneck with a sum, and a concat", |net, x| {
        let [a, b] = [0, 1].map(|_| net.float_conv(x, [4, 8, 1, 1], 1, 1)).map(|x| net.silu(x));
        let inner = net.float_conv(a, [4, 4, 3, 3], 1, 1);
        let inner = net.silu(inner);
        let sum = net.builder.node("Add", &[a, inner], &[]);
        net.builder.node("Concat", &[sum, b], &[("axis", Attribute::Int(1))])
    }),
    ("C2f: halves of a convolution", |net, x| {
        let [a, b] = net.halves(x);
        let inner = net.float_conv(b, [4, 4, 3, 3], 1, 1);
        let inner = net.silu(inner);
        let sum = net.builder.node("Add", &[b, inner], &[]);
        let joined = net.builder.node("Concat", &[a, b, sum], &[("axis", Attribute::Int(1))]);
        net.float_conv(joined, [8, 12, 1, 1], 1, 1)
    }),
    ("SPPF: poolings one behind the other", |net, x| {
        let window = [("kernel_shape", ints(&[5, 5])), ("pads", ints(&[2; 4]))];
        let pooled = net.builder.node("MaxPool", &[x], &window);
        let again = net.builder.node("MaxPool", &[pooled], &window);
        let joined = net.builder.node("Concat", &[x, pooled, again], &[("axis", Attribute::Int(1))]);
        net.float_conv(joined, [8, 24, 1, 1], 1, 1)
    }),
    ("a pyramid: down, up and a concat", |net, x| {
        let down = net.float_conv(x, [8, 8, 3, 3], 2, 1);
        let down = net.builder.node("LeakyRelu", &[down], &[("alpha", Attribute::Float(0.1))]);
        let none = net.builder.floats(&[0], &[]);
        let scales = net.builder.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let nearest = [
            ("coordinate_transformation_mode", Attribute::Text("asymmetric".into())),
            ("nearest_mode", Attribute::Text("floor".into())),
        ];
        let up = net.builder.node("Resize", &[down, none, scales], &nearest);
        let joined = net.builder.node("Concat", &[up, x], &[("axis", Attribute::Int(1))]);
        net.float_conv(joined, [8, 16, 3, 3], 1, 1)
    }),
    ("ShuffleNet and MobileNet: one window a channel, shuffled", |net, x| {
        let own = net.float_conv(x, [8, 1, 3, 3], 1, 8);
        let clipped = [0.0, 6.0].map(|bound| net.builder.float(bound));
        let own = net.builder.node("Clip", &[own, clipped[0], clipped[1]], &[]);
        let side = SIZE as i64;
        let split = net.builder.constant(Tensor::indices(&[1, 2, 4, side, side]));
        let split = net.builder.node("Reshape", &[own, split], &[]);
        let turned = net.builder.node("Transpose", &[split], &[("perm", ints(&[0, 2, 1, 3, 4]))]);
        let back = net.builder.constant(Tensor::indices(&[1, 8, side, side]));
        let shuffled = net.builder.node("Reshape", &[turned, back], &[]);
        net.float_conv(shuffled, [8, 8, 1, 1], 1, 1)
    }),
    ("a gate of channels", |net, x| {
        let mean = net.builder.node("GlobalAveragePool", &[x], &[]);
        let narrow = net.float_conv(mean, [4, 8, 1, 1], 1, 1);
        let narrow = net.builder.node("Relu", &[narrow], &[]);
        let gate = net.float_conv(narrow, [8, 4, 1, 1], 1, 1);
        let gate = net.builder.node("Sigmoid", &[gate], &[]);
        net.builder.node("Mul", &[x, gate], &[])
    }),
    ("RepVGG before it is fused: a sum of convolutions", |net, x| {
        let [a, b] = [3, 1].map(|kernel| net.float_conv(x, [8, 8, kernel, kernel], 1, 1));
        net.builder.node("Add", &[a, b], &[])
    }),
];

#[test]
fn bodies_of_detectors() {
    let mut log2 = wanted("w8a8");
    log2.spacing = Spacing::Powers;
    for (name, body) in BODIES {
        let (mut net, image) = Net::new();
        let first = net.float_conv(image, [8, 3, 3, 3], 1, 1);
        let first = net.silu(first);
        let inner = body(&mut net, first);
        let last = net.silu(inner);
        let head = net.float_conv(last, [18, 8, 1, 1], 1, 1);
        net.builder.graph.outputs = vec![head];
        // A gate multiplies: products of powers are no few numbers of one step.
        let spacings = if name.contains("gate") { vec![] } else { vec![log2] };
        for wanted in [wanted("w8a8"), wanted("w4a4"), wanted("fast")].into_iter().chain(spacings) {
            check(&net.builder.graph, wanted, &format!("raw head, {name}, {wanted}"));
        }
    }
}
