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

/// Convolutions, weights in thousands, and millions of multiply-accumulates.
fn counted(net: Net, input: u32) -> [usize; 3] {
    let model = network(&specification(net, input));
    let mut sums = [0; 3];
    for node in &model.nodes {
        let Operator::Conv(conv) = &node.operator else { continue };
        let (value, weights) = (model.value(node.output), conv.terms[0].weights.len());
        sums[0] += 1;
        sums[1] += weights;
        sums[2] += weights * (value.height * value.width) as usize;
    }
    [sums[0], sums[1] / 1000, sums[2] / 1_000_000]
}

#[test]
fn networks_have_the_published_sizes() {
    // Published are 1.87 million parameters and 4.5 billion operations, two a multiply-accumulate, at 640.
    assert_eq!(counted(Net::Yolov5(Size::N), 640), [60, 1861, 2234]);
    // 3.16 million and 8.7 billion, those of the 16 numbers behind each distribution among them.
    assert_eq!(counted(Net::Yolov8(Size::N), 640), [71, 3146, 4371]);
    // 11.2 million and 28.6 billion.
    assert_eq!(counted(Net::Yolov8(Size::S), 640), [71, 11146, 14300]);
    // 6.2 million and 13.8 billion.
    assert_eq!(counted(Net::Yolov7Tiny, 640), [58, 6211, 6850]);
    // 0.91 million and 1.08 billion at 416.
    assert_eq!(counted(Net::YoloxNano, 416), [113, 896, 522]);
}

#[test]
fn every_network_is_valid_and_is_called_as_it_is_asked_for() {
    for net in Net::all() {
        assert_eq!(net.to_string().parse(), Ok(net));
        if matches!(net, Net::Yolov5(Size::L | Size::X) | Net::Yolov8(Size::L | Size::X)) {
            continue; // Seconds of random weights.
        }
        let model = network(&specification(net, 64));
        ylb_format::validate(&model).unwrap_or_else(|violation| panic!("{net}: {violation}"));
    }
    assert!("yolov4".parse::<Net>().unwrap_err().starts_with("expected yolov5n,"));
}
