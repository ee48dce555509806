//! The layers of YOLOX-nano (Ge, Liu, Wang, Li and Sun, "YOLOX: Exceeding YOLO Series in 2021").
//!
//! Names are those of its modules. Its first layer rearranges each 2x2 pixels into channels before a convolution of
//! 3x3: together they are a convolution of 6x6 in steps of 2, which stands here.

use crate::layer::{Function, Layer, Op, PICTURE, Window};
use crate::layers::Layers;

/// Extents of the poolings behind the backbone.
const POOLS: [usize; 3] = [5, 9, 13];
/// Channels of the head.
const HEAD: usize = 64;

/// The network with levels of strides 8, 16 and 32.
pub fn layers() -> Vec<Layer> {
    let mut net = Builder { net: Layers::new() };
    let window = Window { kernel: 6, stride: 2, padding: [2; 4] };
    let stem = Op::Conv { channels: 16, window, groups: 1, function: Function::Activation };
    net.net.push("backbone.stem", stem, &[PICTURE]);
    net.stage("backbone.dark2", 32, 1);
    let p3 = net.stage("backbone.dark3", 64, 3);
    let p4 = net.stage("backbone.dark4", 128, 3);
    let last = net.net.last();
    net.separable("backbone.dark5.0", &last, 256, 2);
    let pooled = net.pyramid_pooling("backbone.dark5.1", 256);
    let p5 = net.partial("backbone.dark5.2", &pooled, 256, 1, false);

    let n5 = net.net.conv("lateral_conv0", &p5, 128, 1, 1);
    let m4 = net.up("C3_p4", &n5, &p4, 128);
    let n4 = net.net.conv("reduce_conv1", &m4, 64, 1, 1);
    let n3 = net.up("C3_p3", &n4, &p3, 64);
    let o4 = net.down("C3_n3", "bu_conv2", &n3, &n4, 128);
    let o5 = net.down("C3_n4", "bu_conv1", &o4, &n5, 256);
    net.detect(&[n3, o4, o5])
}

struct Builder {
    net: Layers,
}

impl Builder {
    /// 3x3 of each channel, then 1x1 of all: each a convolution with an activation function.
    fn separable(&mut self, name: &str, from: &str, channels: usize, stride: usize) -> String {
        let inputs = self.channels(from);
        let each =
            self.net.depthwise(format!("{name}.dconv"), from, inputs, [3, stride], Function::Activation);
        self.net.conv(format!("{name}.pconv"), &each, channels, 1, 1)
    }

    fn channels(&self, name: &str) -> usize {
        self.net.channels(name).expect("a layer with channels")
    }

    /// Half the size, then bottlenecks.
    fn stage(&mut self, name: &str, channels: usize, depth: usize) -> String {
        let last = self.net.last();
        let small = self.separable(&format!("{name}.0"), &last, channels, 2);
        self.partial(&format!("{name}.1"), &small, channels, depth, true)
    }

    /// Bottlenecks beside a convolution, joined.
    fn partial(&mut self, name: &str, input: &str, channels: usize, depth: usize, sums: bool) -> String {
        let half = channels / 2;
        let mut trunk = self.net.conv(format!("{name}.conv1"), input, half, 1, 1);
        let side = self.net.conv(format!("{name}.conv2"), input, half, 1, 1);
        for index in 0..depth {
            let own = format!("{name}.m.{index}");
            let first = self.net.conv(format!("{own}.conv1"), &trunk, half, 1, 1);
            let second = self.separable(&format!("{own}.conv2"), &first, half, 1);
            trunk = match sums {
                true => self.net.push(format!("{own}.add"), Op::Add, &[&trunk, &second]),
                false => second,
            };
        }
        let joined = self.net.push(format!("{name}.concat"), Op::Concat, &[&trunk, &side]);
        self.net.conv(format!("{name}.conv3"), &joined, channels, 1, 1)
    }

    fn pyramid_pooling(&mut self, name: &str, channels: usize) -> String {
        let last = self.net.last();
        let narrow = self.net.conv(format!("{name}.conv1"), &last, channels / 2, 1, 1);
        let pooled = self.net.pools(name, &narrow, &POOLS);
        let parts: Vec<&str> = [&narrow].into_iter().chain(&pooled).map(String::as_str).collect();
        let joined = self.net.push(format!("{name}.concat"), Op::Concat, &parts);
        self.net.conv(format!("{name}.conv2"), &joined, channels, 1, 1)
    }

    /// Twice the size, joined with a finer level.
    fn up(&mut self, name: &str, from: &str, finer: &str, channels: usize) -> String {
        let large = self.net.push(format!("{name}.up"), Op::Upsample(2), &[from]);
        let joined = self.net.push(format!("{name}.join"), Op::Concat, &[&large, finer]);
        self.partial(name, &joined, channels, 1, false)
    }

    /// Half the size, joined with a coarser level.
    fn down(&mut self, name: &str, halving: &str, from: &str, coarser: &str, channels: usize) -> String {
        let own = self.channels(from);
        let small = self.separable(halving, from, own, 2);
        let joined = self.net.push(format!("{name}.join"), Op::Concat, &[&small, coarser]);
        self.partial(name, &joined, channels, 1, false)
    }

    /// A convolution for each level, two for its classes and two for boxes and objectness, before the head's own.
    fn detect(mut self, levels: &[String]) -> Vec<Layer> {
        let mut inputs = Vec::new();
        for (level, input) in levels.iter().enumerate() {
            let stem = self.net.conv(format!("head.stems.{level}"), input, HEAD, 1, 1);
            let [scores, boxes] = ["cls", "reg"].map(|branch| {
                let own = format!("head.{branch}_convs.{level}");
                let first = self.separable(&format!("{own}.0"), &stem, HEAD, 1);
                self.separable(&format!("{own}.1"), &first, HEAD, 1)
            });
            // Boxes, objectness, classes.
            inputs.extend([boxes.clone(), boxes, scores]);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.net.detect("head", &inputs)
    }
}
