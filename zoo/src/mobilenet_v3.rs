//! YOLOv5n on MobileNetV3-Small (Howard and others, "Searching for MobileNetV3", 2019).
//!
//! The backbone is that of the paper's table up to its last bottleneck; what follows is YOLOv5's from the pyramid of poolings
//! on, with its widths. Squeezed layers have a quarter of the channels, in eighths, as the published weights have. The
//! activation function of the network is hard swish, and the logistic function of its gates a hard one; ReLU stands where the
//! table has it.

use crate::layer::{Function, Layer, Op, PICTURE};
use crate::layers::Layers;
use crate::yolov5::{self, Size};

/// One bottleneck: extent of the window, channels inside, channels, gate, function, step.
type Bottleneck = (usize, usize, usize, bool, Function, usize);

const BOTTLENECKS: [Bottleneck; 11] = [
    (3, 16, 16, true, Function::Relu, 2),
    (3, 72, 24, false, Function::Relu, 2),
    (3, 88, 24, false, Function::Relu, 1),
    (5, 96, 40, true, Function::Activation, 2),
    (5, 240, 40, true, Function::Activation, 1),
    (5, 240, 40, true, Function::Activation, 1),
    (5, 120, 48, true, Function::Activation, 1),
    (5, 144, 48, true, Function::Activation, 1),
    (5, 288, 96, true, Function::Activation, 2),
    (5, 576, 96, true, Function::Activation, 1),
    (5, 576, 96, true, Function::Activation, 1),
];
/// The last bottlenecks of strides 8 and 16.
const FINER: [usize; 2] = [3, 8];

/// The network with levels of strides 8, 16 and 32.
pub fn layers() -> Vec<Layer> {
    let (net, outputs) = backbone();
    let finer = FINER.map(|index| outputs[index].as_str());
    yolov5::behind(net, outputs.len(), Size::N.multiples(), finer)
}

/// The backbone, and the last layer of each of its modules.
fn backbone() -> (Layers, Vec<String>) {
    let mut net = Layers::new();
    let mut outputs = vec![net.conv("model.0", PICTURE, 16, 3, 2)];
    for (index, bottleneck) in BOTTLENECKS.into_iter().enumerate() {
        let input = net.last();
        outputs.push(residual(&mut net, &format!("model.{}", index + 1), &input, bottleneck));
    }
    (net, outputs)
}

fn residual(net: &mut Layers, name: &str, input: &str, bottleneck: Bottleneck) -> String {
    let (kernel, hidden, channels, gated, function, stride) = bottleneck;
    let inputs = net.channels(input).expect("a layer with channels");
    let mut trunk = input.to_owned();
    if hidden != inputs {
        trunk = net.function(format!("{name}.expand"), &trunk, hidden, [1, 1], function);
    }
    trunk = net.depthwise(format!("{name}.each"), &trunk, hidden, [kernel, stride], function);
    if gated {
        trunk = gate(net, name, &trunk, hidden);
    }
    let narrow = net.linear(format!("{name}.project"), &trunk, channels);
    match stride == 1 && inputs == channels {
        true => net.push(format!("{name}.add"), Op::Add, &[input, &narrow]),
        false => narrow,
    }
}

/// Each channel times a number that follows from the means of all.
fn gate(net: &mut Layers, name: &str, input: &str, channels: usize) -> String {
    let mean = net.push(format!("{name}.mean"), Op::Mean, &[input]);
    let squeezed = net.function(format!("{name}.squeeze"), &mean, squeezed(channels), [1, 1], Function::Relu);
    let gate = net.function(format!("{name}.excite"), &squeezed, channels, [1, 1], Function::Gate);
    net.push(format!("{name}.gated"), Op::Gated, &[input, &gate])
}

/// A quarter, to the nearest multiple of 8 that is not much less.
fn squeezed(channels: usize) -> usize {
    let nearest = (channels / 4 + 4) / 8 * 8;
    let nearest = nearest.max(8);
    if nearest * 10 < channels / 4 * 9 { nearest + 8 } else { nearest }
}
