use ylb_format::model::Operator;

use super::*;
use crate::yolov5::Size;

fn specification(net: Net, input: u32) -> Specification {
    Specification {
        net,
        input: [input; 2],
        weight_bits: 2,
        activation_bits: 2,
        edge_weight_bits: 8,
        classes: 80,
        activation: Activation::Relu,
        grid: Grid::Signed,
        seed: 1,
    }
}

/// Convolutions of a synthetic network, their weights, and millions of multiply-accumulates; means aside, whose weights are 1.
fn counted(net: Net, input: u32) -> [usize; 3] {
    let model = network(&specification(net, input));
    let mut sums = [0; 3];
    for node in &model.nodes {
        let Operator::Conv(conv) = &node.operator else { continue };
        if conv.requantize.is_some() && conv.window.kernel.into_iter().max() > Some(6) {
            continue;
        }
        let (value, weights) = (model.value(node.output), conv.terms[0].weights.len());
        sums[0] += 1;
        sums[1] += weights;
        sums[2] += weights * (value.height * value.width) as usize;
    }
    [sums[0], sums[1], sums[2] / 1_000_000]
}

#[test]
fn networks_have_the_published_operations() {
    // Published are 4.5 billion operations, two a multiply-accumulate, at 640.
    assert_eq!(counted(Net::Yolov5(Size::N), 640), [60, 1_861_888, 2234]);
    // 8.7 billion, and 28.6.
    assert_eq!(counted(Net::Yolov8(Size::N), 640), [71, 3_146_160, 4371]);
    assert_eq!(counted(Net::Yolov8(Size::S), 640), [71, 11_146_080, 14300]);
    // 6.5 billion.
    assert_eq!(counted(Net::Yolo11(Size::N), 640), [98, 2_607_968, 3239]);
    // 5.4 billion.
    assert_eq!(counted(Net::Yolo26(Size::N), 640), [115, 2_400_160, 2678]);
    // 13.8 billion.
    assert_eq!(counted(Net::Yolov7Tiny, 640), [58, 6_211_552, 6850]);
    // 5.57 billion at 416.
    assert_eq!(counted(Net::Yolov3Tiny, 416), [13, 8_845_488, 2782]);
    // 0.91 million parameters and 1.08 billion operations at 416.
    assert_eq!(counted(Net::YoloxNano, 416), [113, 896_512, 522]);
    // Nothing is published of the whole; of its backbone see below.
    assert_eq!(counted(Net::Yolov5nMobilenetV3, 640), [80, 1_808_072, 1298]);
}

/// Numbers that a network's layers learn, for 80 classes: weights, so many for each channel of a batch normalization, and
/// biases of the head's convolutions and of gates. `times` says how often a layer counts.
fn parameters(net: Net, normalized: usize, times: impl Fn(&str) -> usize) -> usize {
    let Architecture { layers, head } = net.architecture(80);
    let fields = head.boxes.fields() as usize + usize::from(head.scores.has_objectness()) + 80;
    let mut channels: HashMap<&str, usize> = HashMap::from([(PICTURE, 3)]);
    let mut sum = 0;
    for layer in &layers {
        let own: Vec<usize> = layer.from.iter().map(|from| channels[from.as_str()]).collect();
        let outputs = match layer.op {
            Op::Conv { channels, window, groups, .. } => {
                let weights = own[0] / groups * channels * window.kernel * window.kernel;
                let of_gate = layer.name.ends_with("squeeze") || layer.name.ends_with("excite");
                let more = if of_gate { 1 } else { normalized };
                sum += times(&layer.name) * (weights + more * channels);
                channels
            }
            Op::Concat => own.iter().sum(),
            Op::MatMul { along: layer::Along::Positions, .. } => own[1],
            Op::Detect => {
                for (index, inputs) in own.iter().enumerate() {
                    let part = index % (head.cuts.len() + 1);
                    let first = part.checked_sub(1).map_or(0, |before| head.cuts[before] as usize);
                    let last = head.cuts.get(part).map_or(fields, |&cut| cut as usize);
                    let anchors = head.anchors.first().map_or(1, Vec::len);
                    sum += times(&layer.name) * anchors * (last - first) * (inputs + 1);
                }
                0
            }
            _ => own[0],
        };
        channels.insert(&layer.name, outputs);
    }
    sum
}

#[test]
fn networks_have_the_published_parameters() {
    let each = |net| parameters(net, 2, |_| 1);
    assert_eq!([Size::N, Size::S].map(Net::Yolov5).map(each), [1_872_157, 7_235_389]);
    // Each has the 16 numbers behind a distribution, too.
    assert_eq!([Size::N, Size::S].map(Net::Yolov8).map(each), [3_157_200 - 16, 11_166_560 - 16]);
    assert_eq!(
        [Size::N, Size::S, Size::M, Size::L, Size::X].map(Net::Yolo11).map(each),
        [2_624_080, 9_458_752, 20_114_688, 25_372_160, 56_966_176].map(|published| published - 16)
    );
    // Published are those of two heads, one of which is for training.
    let twice = |net| parameters(net, 2, |name| 1 + usize::from(name.starts_with("model.23")));
    assert_eq!(
        [Size::N, Size::S, Size::M, Size::L, Size::X].map(Net::Yolo26).map(twice),
        [2_572_280, 10_009_784, 21_896_248, 26_299_704, 58_993_368]
    );
    // A file of 35 434 956 bytes: 20 in front, 4 a number, of which a batch normalization has four a channel.
    assert_eq!(parameters(Net::Yolov3Tiny, 4, |_| 1), (35_434_956 - 20) / 4);
    // The backbone of 927 008 numbers, less its last convolution, which is the classifier's here.
    let backbone = parameters(Net::Yolov5nMobilenetV3, 2, |name| usize::from(is_of_backbone(name)));
    assert_eq!(backbone, 927_008 - 576 * (96 + 2));
}

/// Whether a layer is of the first twelve modules.
fn is_of_backbone(name: &str) -> bool {
    name.split('.').nth(1).and_then(|module| module.parse().ok()).is_some_and(|module: usize| module < 12)
}

#[test]
fn every_network_is_valid_and_is_called_as_it_is_asked_for() {
    for net in Net::all() {
        assert_eq!(net.to_string().parse(), Ok(net));
        let large = [Size::M, Size::L, Size::X].into_iter();
        let mut large =
            large.flat_map(|size| [Net::Yolov5, Net::Yolov8, Net::Yolo11, Net::Yolo26].map(|net| net(size)));
        if large.any(|large| large == net) {
            continue; // Seconds of random weights.
        }
        for (activation, grid) in [
            (Activation::Relu, Grid::Signed),
            (Activation::Silu, Grid::Signed),
            (Activation::LeakyRelu, Grid::ZeroPoint),
        ] {
            let model = network(&Specification { activation, grid, ..specification(net, 64) });
            ylb_format::validate(&model).unwrap_or_else(|violation| panic!("{net}: {violation}"));
        }
    }
    assert!("yolov4".parse::<Net>().unwrap_err().starts_with("expected yolov5, yolov8"));
}
